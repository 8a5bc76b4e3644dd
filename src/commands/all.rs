//! The argument `all`: of commands that can be about one thing or about everything.

use poise::serenity_prelude as serenity;
use poise::{PopArgument, SlashArgError, SlashArgument};

/// The word `all` in a text command, a switch in a slash command.
#[derive(Clone, Copy, Debug)]
pub(super) struct All(pub bool);

/// What was typed is something else.
#[derive(Debug, thiserror::Error)]
#[error("expected the word all")]
struct NotAll;

#[serenity::async_trait]
impl<'a> PopArgument<'a> for All {
    async fn pop_from(
        args: &'a str,
        attachment_index: usize,
        _: &serenity::Context,
        _: &serenity::Message,
    ) -> Result<(&'a str, usize, Self), (Box<dyn std::error::Error + Send + Sync>, Option<String>)>
    {
        if args.trim().eq_ignore_ascii_case("all") {
            Ok(("", attachment_index, Self(true)))
        } else {
            Err((NotAll.into(), None))
        }
    }
}

#[serenity::async_trait]
impl SlashArgument for All {
    async fn extract(
        _: &serenity::Context,
        _: &serenity::CommandInteraction,
        value: &serenity::ResolvedValue<'_>,
    ) -> Result<Self, SlashArgError> {
        match value {
            serenity::ResolvedValue::Boolean(all) => Ok(Self(*all)),
            _ => Err(SlashArgError::new_command_structure_mismatch(
                "expected true or false",
            )),
        }
    }

    fn create(builder: serenity::CreateCommandOption) -> serenity::CreateCommandOption {
        builder.kind(serenity::CommandOptionType::Boolean)
    }
}
