//! `.remove_level_name`: takes the role off a level, or off all of them. The roles themselves stay,
//! unless the moderator has them deleted too.

use super::all::All;
use super::naming::{self, Number, Scene};
use super::rights::{Right, guild_roles};
use super::{Context, Error, Manual, answer, autocomplete, defer, remove_all_names, usage};
use crate::error::UserError;

/// Take the role off a level, or off all of them
#[poise::command(
    prefix_command,
    slash_command,
    default_member_permissions = "MANAGE_MESSAGES",
    custom_data = "Manual {
        usage: \"remove_level_name level or all\",
        example: \"remove_level_name 5\",
        right: Right::Moderator,
        private: false,
    }"
)]
pub(super) async fn remove_level_name(
    ctx: Context<'_>,
    #[description = "The level's number"]
    #[autocomplete = "autocomplete::named_levels"]
    #[min = 0]
    #[max = 100]
    level: Option<Number>,
    #[description = "All levels; asks first"] all: Option<All>,
) -> Result<(), Error> {
    let scene = Scene::of(ctx)?;
    let reply = match (level, all) {
        (Some(level), None | Some(All(false))) => {
            defer(ctx).await?;
            let roles = guild_roles(ctx.data()).await?;
            naming::take_off(&scene, &level, &roles).await?
        }
        (None, Some(All(true))) => {
            defer(ctx).await?;
            remove_all_names::ask(&scene).await?
        }
        _ => return Err(UserError(usage(ctx)).into()),
    };
    answer(ctx, reply).await
}
