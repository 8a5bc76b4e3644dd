//! `.remove_level_name`: takes the role off a level, or off all of them. The roles themselves stay,
//! unless the moderator has them deleted too.

use super::{RoleEdit, remove_all_names, say};
use crate::commands::args::{All, LevelArgument};
use crate::commands::autocomplete;
use crate::commands::context::{Context, Error, Manual, usage};
use crate::commands::respond::{answer, defer};
use crate::commands::rights::guild_roles;
use crate::discord::messages::button_labels;
use crate::discord::messages::buttons::{self, ButtonAction, ButtonStyle};
use crate::discord::messages::reply::Reply;
use crate::error::UserError;
use crate::leveling::{GuildRole, LevelNumber, RoleRewards, escape};

/// Take the role off a level, or off all of them
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::moderators("remove_level_name level or all", "remove_level_name 5")
)]
pub(in crate::commands) async fn remove_level_name(
    ctx: Context<'_>,
    #[description = "The level's number"]
    #[autocomplete = "autocomplete::named_levels"]
    #[min = 0]
    #[max = 100]
    level: Option<LevelArgument>,
    #[description = "All levels; asks first"] all: Option<All>,
) -> Result<(), Error> {
    let edit = RoleEdit::new(ctx)?;
    let reply = match (level, all) {
        (Some(level), None | Some(All(false))) => {
            defer(ctx).await?;
            let roles = guild_roles(ctx.data()).await?;
            remove(edit, &level, &roles).await?
        }
        (None, Some(All(true))) => {
            defer(ctx).await?;
            remove_all_names::ask(edit).await?
        }
        _ => return Err(UserError(usage(ctx)).into()),
    };
    answer(ctx, reply).await
}

/// For the council's button: removes the name of a level whose role is missing.
pub(in crate::commands) async fn remove_missing(
    edit: RoleEdit<'_>,
    level: LevelNumber,
) -> Result<Reply, Error> {
    let (roles, _) = edit.roles_and_bot_position().await?;
    let levels = edit.data.bot.env.xp.levels();
    let found = levels.find(level.0.into());
    if let Some(role) = found.and_then(|level| level.role_in(&roles)) {
        let sentence = format!(
            "Level {level} carries {} again; `remove_level_name {level}` takes it off.",
            escape(&role.name)
        );
        return Err(UserError(sentence).into());
    }
    remove(edit, &LevelArgument::from(level), &roles).await
}

/// Removes the level's name and role, and offers to delete the role if it is among `roles`.
async fn remove(
    edit: RoleEdit<'_>,
    level: &LevelArgument,
    roles: &[GuildRole],
) -> Result<Reply, Error> {
    let data = edit.data;
    let mut lock = data.bot.roles.names.lock().await?;
    let levels = data.bot.env.xp.levels();
    let Some(row) = levels.find(level.value) else {
        return Err(say::no_level(&levels, &level.typed).into());
    };
    let level = row.number;
    if row.role_name.is_none() && row.role_id.is_none() {
        return Err(UserError(format!("Level {level} has no role.")).into());
    }
    let role = row.role_in(roles);
    let name = role.map(|role| role.name.as_str());
    let name = name.or(row.role_name.as_deref()).unwrap_or("its role");
    lock.save(level, None, None).await?;
    data.bot.roles.book.forget();
    tracing::info!(%level, by = %edit.caller, "a level's name was removed");
    let sentence = format!("Level {level} no longer carries {}.", escape(name));
    let Some(role) = role.map(|role| role.id) else {
        // Comparing the levels with the guild's roles also removes the council's notice of the
        // missing role.
        data.bot.roles.schedule.levels_soon();
        return Ok(Reply::text(sentence));
    };
    let offer = (
        ButtonAction::OfferRoleDeletion { role },
        button_labels::DELETE_ROLE_TOO,
        ButtonStyle::Danger,
    );
    let mut stays = " The role itself stays in the guild, and its members keep it.".to_owned();
    if data.bot.env.settings.role_rewards() == RoleRewards::Replace {
        // Its holders have no other level role.
        data.bot.roles.schedule.everyone_soon();
        let mut lower = levels.rows().iter().take_while(|row| row.number < level);
        if lower.any(|row| row.role_in(roles).is_some()) {
            stays += " Those who have no higher level role get the next lower one.";
        }
    }
    Ok(Reply::text(sentence + &stays).with_buttons(buttons::row(edit.caller, &[offer])))
}
