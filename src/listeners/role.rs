//! A role, or the guild itself, was made, changed or deleted: by a human, or by the bot itself.
//!
//! Keeps what is known of the guild's roles, and says what is to be looked at again; what
//! levels carry follows nobody by what an event says.

use serenity::all as theirs;

use super::Listeners;
use crate::discord::guild::ONBOARDING;
use crate::discord::known_guild::GuildFacts;
use crate::discord::payload::{PartialGuild, RoleDeletion, RoleEvent};

/// The whole guild is shown, as at the beginning of a session and after an outage.
pub(super) fn on_guild(listeners: &Listeners, guild: &PartialGuild) {
    // Only noted: everyone is verified after this event in any case.
    see_onboarding(listeners, guild);
    let owner = guild.owner_id.and_then(|owner| owner.try_into().ok());
    match (owner, guild.roles()) {
        (Some(owner), Some(roles)) => listeners.known_guild.is_shown(GuildFacts { owner, roles }),
        _ => listeners.known_guild.is_in_doubt(),
    }
}

/// The guild has another name, another owner, or something else: two-factor authentication may
/// be demanded no more, and there may be another onboarding.
pub(super) fn on_guild_update(listeners: &Listeners, guild: &PartialGuild) {
    if guild.id.get() != listeners.env.guild.get() {
        return;
    }
    match guild.owner_id.map(TryInto::try_into) {
        Some(Ok(owner)) => listeners.known_guild.owner_is(owner),
        _ => on_unreadable(listeners, Some(guild.id.get())),
    }
    if see_onboarding(listeners, guild) {
        listeners.roles.verifications.soon();
    }
    if listeners.roles.book.has_refusals() {
        look_again(listeners);
    }
}

/// There is a new role.
pub(super) fn on_create(listeners: &Listeners, event: &RoleEvent) {
    listeners.roles.book.forget();
    note(listeners, event);
}

/// A role has another name, other rights, or another place. A level's new name is followed, and
/// what was wrong with its role may be right now.
pub(super) fn on_update(listeners: &Listeners, event: &RoleEvent) {
    note(listeners, event);
    match event.role.read() {
        Some(role) => changed(listeners, role.id.into()),
        None => listeners.roles.book.forget(),
    }
}

/// A role is gone. If a level carries it, moderators are asked what is to become of that.
pub(super) fn on_delete(listeners: &Listeners, event: &RoleDeletion) {
    let is_served = event.guild_id == listeners.env.guild.get();
    if let (true, Ok(role)) = (is_served, event.role_id.try_into()) {
        listeners.known_guild.role_is_gone(role);
    }
    changed(listeners, event.role_id);
}

/// Something of a guild's roles, or of the guild itself, has changed in a way that cannot be
/// read. It is all asked for again, unless it is certainly another guild.
pub(super) fn on_unreadable(listeners: &Listeners, guild: Option<u64>) {
    if guild.is_none_or(|guild| guild == listeners.env.guild.get()) {
        listeners.known_guild.is_in_doubt();
        listeners.roles.book.forget();
        look_again(listeners);
    }
}

/// What the bot can give and take may have changed: it is looked at again, and moderators are
/// told if something is lost. Events come in bursts, and are looked at together.
pub(super) fn look_again(listeners: &Listeners) {
    listeners.roles.book.reach_may_have_changed();
    listeners.roles.verifications.levels_soon();
}

/// Notes whether the guild has an onboarding; returns whether that is news that matters.
fn see_onboarding(listeners: &Listeners, guild: &PartialGuild) -> bool {
    let Some(features) = &guild.features else {
        return false;
    };
    let has_onboarding = features.iter().any(|feature| feature == ONBOARDING);
    let now = listeners.env.time.timestamp();
    listeners
        .env
        .members
        .guild_has_onboarding(has_onboarding, now)
}

fn changed(listeners: &Listeners, role: theirs::RoleId) {
    listeners.roles.book.forget();
    if role
        .try_into()
        .is_ok_and(|role| listeners.roles.book.is_about_reach(role))
    {
        look_again(listeners);
    }
}

fn note(listeners: &Listeners, event: &RoleEvent) {
    if event.guild_id != listeners.env.guild.get() {
        return;
    }
    match event.role.read() {
        Some(role) => listeners.known_guild.role_is(role),
        None => listeners.known_guild.is_in_doubt(),
    }
}
