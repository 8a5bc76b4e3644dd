//! A role was made, changed or deleted: by a human, or by the bot itself.
//!
//! Keeps what is known of the guild's roles, and says what is to be looked at again; what
//! levels carry follows nobody by what an event says.

use serenity::all::{self as theirs, PartialGuild, Role, RoleId};

use super::Listeners;
use crate::discord::guild::from_theirs;
use crate::discord::known_guild::GuildFacts;

/// The whole guild is shown, as at the beginning of a session and after an outage.
pub(super) fn on_guild(listeners: &Listeners, guild: &theirs::Guild) {
    if guild.id != listeners.guild.get() {
        return;
    }
    let roles: Option<Vec<_>> = guild.roles.values().map(from_theirs).collect();
    match (guild.owner_id.try_into(), roles) {
        (Ok(owner), Some(roles)) => listeners.known_guild.is_shown(GuildFacts { owner, roles }),
        _ => listeners.known_guild.is_in_doubt(),
    }
}

/// The guild has another name, another owner, or something else.
pub(super) fn on_guild_update(listeners: &Listeners, guild: &PartialGuild) {
    if let (true, Ok(owner)) = (guild.id == listeners.guild.get(), guild.owner_id.try_into()) {
        listeners.known_guild.owner_is(owner);
    }
}

/// There is a new role.
pub(super) fn on_create(listeners: &Listeners, role: &Role) {
    listeners.book.forget();
    note(listeners, role);
}

/// A role has another name, other rights, or another place. A level's new name is followed, and
/// what was wrong with its role may be right now.
pub(super) fn on_update(listeners: &Listeners, role: &Role) {
    listeners.book.forget();
    note(listeners, role);
    if is_a_levels(listeners, role.id) {
        listeners.verifications.levels_soon();
    }
}

/// A role is gone. If a level carries it, moderators are asked what is to become of that.
pub(super) fn on_delete(listeners: &Listeners, guild: theirs::GuildId, role: RoleId) {
    listeners.book.forget();
    if let (true, Ok(role)) = (guild == listeners.guild.get(), role.try_into()) {
        listeners.known_guild.role_is_gone(role);
    }
    if is_a_levels(listeners, role) {
        listeners.verifications.levels_soon();
    }
}

fn note(listeners: &Listeners, role: &Role) {
    if role.guild_id != listeners.guild.get() {
        return;
    }
    match from_theirs(role) {
        Some(role) => listeners.known_guild.role_is(role),
        None => listeners.known_guild.is_in_doubt(),
    }
}

fn is_a_levels(listeners: &Listeners, role: RoleId) -> bool {
    let levels = listeners.xp.levels();
    role.try_into()
        .is_ok_and(|role| levels.carrying(role).is_some())
}
