//! `.set_level_name`: gives a level a role, or its role another name.

use super::answering::answer_at;
use super::naming::{self, Carried, Number, Scene, Wanted};
use super::rights::{Right, guild_roles};
use super::{Context, Error, Manual, answer, autocomplete, defer};
use crate::error::UserError;
use crate::leveling::{RoleArgument, RoleId, trim_role_name};

/// Give a level its role: a new one, one that is there, or another name
#[poise::command(
    prefix_command,
    slash_command,
    default_member_permissions = "MANAGE_MESSAGES",
    custom_data = "Manual {
        usage: \"set_level_name level \\\"name\\\"\",
        example: \"set_level_name 5 \\\"Missing Semicolon\\\"\",
        right: Right::Moderator,
        private: false,
    }"
)]
pub(super) async fn set_level_name(
    ctx: Context<'_>,
    #[description = "The level's number"]
    #[autocomplete = "autocomplete::levels"]
    #[min = 0]
    #[max = 100]
    level: Number,
    #[description = "The role's name, 1 to 100 characters, or a mention of the role"]
    #[autocomplete = "autocomplete::roles"]
    #[min_length = 1]
    #[max_length = 100]
    #[rest]
    name: String,
) -> Result<(), Error> {
    let typed = name;
    let wanted = match RoleArgument::parse(&typed) {
        Ok(RoleArgument::Id(role)) => Wanted::Pointed(role),
        Ok(RoleArgument::Name(name)) => Wanted::Named { typed, name },
        // Whatever people may type: a role that is called so can be taken.
        Err(error) => match only_role_called(ctx, &typed).await {
            Some(role) => Wanted::Pointed(role),
            None => return Err(UserError(error.to_string()).into()),
        },
    };
    defer(ctx).await?;
    let scene = Scene::of(ctx)?;
    match naming::carry(&scene, &level, &wanted).await? {
        Carried::Asked(question) => answer(ctx, *question).await,
        Carried::Done(done) => {
            let answer = answer_at(ctx, &done.reply()).await?;
            done.follow(ctx.data(), Some(answer));
            Ok(())
        }
    }
}

/// The one role of this very name, as far as can be told without waiting. Everyone's is none.
async fn only_role_called(ctx: Context<'_>, typed: &str) -> Option<RoleId> {
    let data = ctx.data();
    let roles = guild_roles(data).await.ok()?;
    let name = trim_role_name(typed);
    let mut called = roles
        .iter()
        .filter(|role| role.name == name && role.id.get() != data.setting.guild.get());
    let only = called.next()?;
    called.next().is_none().then_some(only.id)
}
