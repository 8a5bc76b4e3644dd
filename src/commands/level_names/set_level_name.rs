//! `.set_level_name`: gives a level a role, or its role another name.

use super::RoleEdit;
use super::assign::{Outcome, assign};
use super::decide::WantedRole;
use crate::commands::args::LevelArgument;
use crate::commands::autocomplete;
use crate::commands::context::{Context, Error, Manual};
use crate::commands::respond::{answer, answer_at, defer};
use crate::commands::rights::guild_roles;
use crate::error::UserError;
use crate::leveling::{RoleArgument, RoleId, trim_role_name};

/// Give a level its role: a new one, one that is there, or another name
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::moderators(
        "set_level_name level \"name\"",
        "set_level_name 5 \"Missing Semicolon\"",
    )
)]
pub(in crate::commands) async fn set_level_name(
    ctx: Context<'_>,
    #[description = "The level's number"]
    #[autocomplete = "autocomplete::levels"]
    #[min = 0]
    #[max = 100]
    level: LevelArgument,
    #[description = "The role's name, 1 to 100 characters, or a mention of the role"]
    #[autocomplete = "autocomplete::roles"]
    #[min_length = 1]
    #[max_length = 100]
    #[rest]
    name: String,
) -> Result<(), Error> {
    let typed = name;
    let wanted = match RoleArgument::parse(&typed) {
        Ok(RoleArgument::Id(role)) => WantedRole::Mentioned(role),
        Ok(RoleArgument::Name(name)) => WantedRole::Named { typed, name },
        // The bot would not create a role of this name, but the guild may have one already.
        Err(error) => match only_role_called(ctx, &typed).await {
            Some(role) => WantedRole::Mentioned(role),
            None => return Err(UserError(error.to_string()).into()),
        },
    };
    defer(ctx).await?;
    match assign(RoleEdit::new(ctx)?, &level, &wanted).await? {
        Outcome::Question(question) => answer(ctx, *question).await,
        Outcome::Assigned(assigned) => {
            let answer = answer_at(ctx, &assigned.reply()).await?;
            assigned.apply_to_members(ctx.data(), Some(answer));
            Ok(())
        }
    }
}

/// The role of exactly this name, other than @everyone. `None` if there is none or more than one,
/// or if the guild's roles are unknown and Discord does not answer.
async fn only_role_called(ctx: Context<'_>, typed: &str) -> Option<RoleId> {
    let data = ctx.data();
    let roles = guild_roles(data).await.ok()?;
    let name = trim_role_name(typed);
    let mut called = roles
        .iter()
        .filter(|role| role.name == name && role.id.get() != data.bot.env.guild.get());
    let only = called.next()?;
    called.next().is_none().then_some(only.id)
}
