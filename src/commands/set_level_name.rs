//! `.set_level_name`: gives a level a role, or its role another name.

use super::answering::answer_at;
use super::naming::{self, Carried, Number, Scene, Wanted};
use super::rights::Right;
use super::{Context, Error, Manual, answer, autocomplete, defer};
use crate::error::UserError;
use crate::leveling::RoleName;

/// Give a level its role: a new one, one that is there, or another name
#[poise::command(
    prefix_command,
    slash_command,
    default_member_permissions = "MANAGE_MESSAGES",
    custom_data = "Manual {
        usage: \"set_level_name level \\\"name\\\"\",
        example: \"set_level_name 5 \\\"Missing Semicolon\\\"\",
        right: Right::Moderator,
    }"
)]
pub(super) async fn set_level_name(
    ctx: Context<'_>,
    #[description = "The level's number"]
    #[autocomplete = "autocomplete::levels"]
    #[min = 0]
    #[max = 100]
    level: Number,
    #[description = "The role's name: 1 to 100 characters"]
    #[autocomplete = "autocomplete::roles"]
    #[min_length = 1]
    #[max_length = 100]
    #[rest]
    name: String,
) -> Result<(), Error> {
    let typed = name;
    let name = RoleName::parse(&typed).map_err(|error| UserError(error.to_string()))?;
    defer(ctx).await?;
    let scene = Scene::of(ctx)?;
    match naming::carry(&scene, &level, &Wanted::Named { typed, name }).await? {
        Carried::Asked(question) => answer(ctx, *question).await,
        Carried::Done(done) => {
            let place = answer_at(ctx, &done.reply()).await?;
            done.follow(ctx.data(), place);
            Ok(())
        }
    }
}
