//! Deletes a role that no level carries any more, after a moderator has confirmed it. Everything is
//! checked again at the confirmation, also that the moderator may delete the role themselves.

use super::{RoleEdit, say};
use crate::commands::context::Error;
use crate::discord::guild::roles;
use crate::discord::messages::button_labels;
use crate::discord::messages::buttons::{self, ButtonAction, ButtonStyle};
use crate::discord::messages::reply::Reply;
use crate::leveling::{GuildRole, RoleId, RoleManager, RoleStays, escape, may_be_deleted};

pub(in crate::commands) async fn ask(
    edit: RoleEdit<'_>,
    manager: &RoleManager,
    role: RoleId,
) -> Result<Reply, Error> {
    let role = deletable(edit, manager, role).await?;
    let sentence = format!(
        "Delete the role {} from the guild? Everyone who has it loses it, and this cannot be undone.",
        escape(&role.name)
    );
    let delete = ButtonAction::DeleteRole { role: role.id };
    let choice = [
        (delete, button_labels::DELETE_ROLE, ButtonStyle::Danger),
        (
            ButtonAction::KeepAsIs,
            button_labels::KEEP_ROLE,
            ButtonStyle::Secondary,
        ),
    ];
    Ok(Reply::text(sentence).with_buttons(buttons::row(edit.caller, &choice)))
}

pub(in crate::commands) async fn carry_out(
    edit: RoleEdit<'_>,
    manager: &RoleManager,
    role: RoleId,
) -> Result<Reply, Error> {
    let data = edit.data;
    // While this lock is held, no level gets the role.
    let _lock = data.bot.roles.names.lock().await?;
    let role = deletable(edit, manager, role).await?;
    let reason = edit.reason("no longer a level role");
    let deleted = roles::delete(&data.bot.env.rest, data.bot.env.guild, role.id, &reason).await;
    deleted.map_err(|error| say::call_failed(error, "delete that role"))?;
    tracing::info!(role = %role.id, by = %edit.caller, "a role was deleted");
    let name = escape(&role.name);
    Ok(Reply::text(format!("The role {name} is deleted.")))
}

/// The role to delete, or an error for the moderator if it is gone or must stay.
async fn deletable(
    edit: RoleEdit<'_>,
    manager: &RoleManager,
    id: RoleId,
) -> Result<GuildRole, Error> {
    let (roles, bot_position) = edit.roles_and_bot_position().await?;
    manager.may_manage(&roles).map_err(say::cannot_delete)?;
    let role = roles.iter().find(|role| role.id == id);
    let role = role.ok_or_else(say::role_is_gone)?;
    let levels = edit.data.bot.env.xp.levels();
    let rights = edit.data.rights.protected();
    may_be_deleted(&levels, bot_position, &rights, role)
        .and_then(|()| {
            manager
                .may_delete(&roles, role)
                .map_err(RoleStays::NotTheirs)
        })
        .map_err(|stays| say::stays(&role.name, &stays))?;
    Ok(role.clone())
}
