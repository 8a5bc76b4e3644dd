//! `.remove_level_name`: takes the role off a level. The role itself stays, unless the
//! moderator has it deleted too.

use super::naming::{self, Number, Scene};
use super::rights::{Right, guild_roles};
use super::{Context, Error, Manual, answer, autocomplete, defer};

/// Take the role off a level
#[poise::command(
    prefix_command,
    slash_command,
    default_member_permissions = "MANAGE_MESSAGES",
    custom_data = "Manual {
        usage: \"remove_level_name level\",
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
    level: Number,
) -> Result<(), Error> {
    defer(ctx).await?;
    let scene = Scene::of(ctx)?;
    let roles = guild_roles(ctx.data()).await?;
    answer(ctx, naming::take_off(&scene, &level, &roles).await?).await
}
