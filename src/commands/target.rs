//! The person a command is about: the caller, a mention, or a raw id.

use poise::serenity_prelude as serenity;
use poise::{PopArgument, SlashArgError, SlashArgument};

use crate::leveling::UserId;

/// Whom a command is about.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// Nobody else was named.
    Caller,
    /// Someone by id only, or someone the command came with.
    Other(UserId, Option<Box<serenity::User>>, Option<String>),
}

impl Target {
    /// Who it is; `None` for the caller.
    pub fn id(&self) -> Option<UserId> {
        match self {
            Self::Caller => None,
            Self::Other(id, ..) => Some(*id),
        }
    }

    /// Someone who was typed, with all that came with the message about them.
    fn mentioned(id: UserId, message: &serenity::Message) -> Self {
        let mentioned = message
            .mentions
            .iter()
            .find(|user| user.id.get() == id.get());
        let nickname = mentioned
            .and_then(|user| user.member.as_ref())
            .and_then(|member| member.nick.clone());
        Self::Other(id, mentioned.cloned().map(Box::new), nickname)
    }
}

/// Someone who must be named, where more words follow.
#[derive(Clone, Debug)]
pub(super) struct Someone(pub Target);

/// What was typed names nobody.
#[derive(Debug, thiserror::Error)]
#[error("that is not a user")]
pub(super) struct NotAUser;

/// `<@id>`, `<@!id>` or an id; `None` for nothing at all. Roles, channels,
/// `@everyone`, several people and everything else are refused.
fn parse(text: &str) -> Result<Option<UserId>, NotAUser> {
    let text = text.trim_matches(|c: char| {
        c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
    });
    if text.is_empty() {
        return Ok(None);
    }
    let digits = match text.strip_prefix("<@") {
        Some(mention) => mention
            .strip_prefix('!')
            .unwrap_or(mention)
            .strip_suffix('>')
            .ok_or(NotAUser)?,
        None => text,
    };
    // `parse` alone would take a sign. The shortest ids, of 2015, have 17 digits.
    if !(17..=20).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotAUser);
    }
    digits
        .parse()
        .ok()
        .and_then(UserId::new)
        .ok_or(NotAUser)
        .map(Some)
}

#[serenity::async_trait]
impl<'a> PopArgument<'a> for Target {
    /// Takes everything that is left: a name with a word too many is not a name.
    async fn pop_from(
        args: &'a str,
        attachment_index: usize,
        _: &serenity::Context,
        message: &serenity::Message,
    ) -> Result<(&'a str, usize, Self), (Box<dyn std::error::Error + Send + Sync>, Option<String>)>
    {
        let Some(id) = parse(args).map_err(|error| (error.into(), None))? else {
            return Ok(("", attachment_index, Self::Caller));
        };
        Ok(("", attachment_index, Self::mentioned(id, message)))
    }
}

#[serenity::async_trait]
impl<'a> PopArgument<'a> for Someone {
    /// Takes the first word.
    async fn pop_from(
        args: &'a str,
        attachment_index: usize,
        _: &serenity::Context,
        message: &serenity::Message,
    ) -> Result<(&'a str, usize, Self), (Box<dyn std::error::Error + Send + Sync>, Option<String>)>
    {
        let (first, rest) = args.split_once(char::is_whitespace).unwrap_or((args, ""));
        let id = parse(first).and_then(|id| id.ok_or(NotAUser));
        let id = id.map_err(|error| (error.into(), None))?;
        let target = Target::mentioned(id, message);
        Ok((rest.trim_start(), attachment_index, Self(target)))
    }
}

#[serenity::async_trait]
impl SlashArgument for Someone {
    async fn extract(
        ctx: &serenity::Context,
        interaction: &serenity::CommandInteraction,
        value: &serenity::ResolvedValue<'_>,
    ) -> Result<Self, SlashArgError> {
        Target::extract(ctx, interaction, value).await.map(Self)
    }

    fn create(builder: serenity::CreateCommandOption) -> serenity::CreateCommandOption {
        Target::create(builder)
    }
}

#[serenity::async_trait]
impl SlashArgument for Target {
    async fn extract(
        _: &serenity::Context,
        _: &serenity::CommandInteraction,
        value: &serenity::ResolvedValue<'_>,
    ) -> Result<Self, SlashArgError> {
        let serenity::ResolvedValue::User(user, member) = *value else {
            return Err(SlashArgError::new_command_structure_mismatch(
                "expected a user",
            ));
        };
        let id = user
            .id
            .try_into()
            .map_err(|()| SlashArgError::new_command_structure_mismatch("not a user's id"))?;
        let nickname = member.and_then(|member| member.nick.clone());
        Ok(Self::Other(id, Some(Box::new(user.clone())), nickname))
    }

    fn create(builder: serenity::CreateCommandOption) -> serenity::CreateCommandOption {
        builder.kind(serenity::CommandOptionType::User)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_are_told_from_everything_else() {
        let alice = UserId::new(175_928_847_299_117_063);
        for text in [
            "175928847299117063",
            "<@175928847299117063>",
            "<@!175928847299117063>",
            " \u{200b}<@175928847299117063>",
        ] {
            assert_eq!(parse(text).unwrap(), alice, "{text:?}");
        }
        for nobody in ["", "   ", "\u{200b}\u{200d}\u{feff}"] {
            assert_eq!(parse(nobody).unwrap(), None, "{nobody:?}");
        }
        let long = "x".repeat(4_000);
        for wrong in [
            "<@&175928847299117063>",
            "<#175928847299117063>",
            "@everyone",
            "@here",
            "banana",
            "0",
            "5",
            "-175928847299117063",
            "+175928847299117063",
            "99999999999999999999",
            "18446744073709551616",
            "<@175928847299117063",
            "<@175928847299117063> <@175928847299117063>",
            "<@175928847299117063> please",
            "１７５９２８８４７２９９１１７０６３",
            &long,
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_typed_breaks_it(text in "\\PC{0,60}|<@[!&]?[0-9]{0,25}>?") {
            let _ = parse(&text);
        }
    }
}
