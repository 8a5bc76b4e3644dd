//! A role was created, changed or deleted, or the guild itself or a channel's permissions changed: by
//! a human or by the bot.
//!
//! Updates the known roles of the guild, drops the cached level roles, and requests a comparison of
//! the levels with the guild's roles. An event alone never changes which role a level has.

use serenity::all as theirs;

use super::Listeners;
use crate::discord::guild::ONBOARDING;
use crate::discord::guild::known_guild::GuildFacts;
use crate::discord::payload::{
    ChannelDeletion, ChannelEvent, PartialGuild, RoleDeletion, RoleEvent,
};
use crate::leveling::{ChannelId, Overwrite};
use crate::xp::Observation;

/// The whole guild was received: at the start of a session or after an outage.
pub(super) fn on_guild(listeners: &Listeners, guild: &PartialGuild) {
    // The result does not matter: this event leads to a reconcile of everyone's roles anyway.
    observe_onboarding(listeners, guild);
    let owner = guild.owner_id.and_then(|owner| owner.try_into().ok());
    match (owner, guild.roles()) {
        (Some(owner), Some(roles)) => listeners
            .bot
            .env
            .known_guild
            .is_shown(GuildFacts { owner, roles }),
        _ => listeners.bot.env.known_guild.is_in_doubt(),
    }
}

/// All roles of the guild, for the rules on XP; `None` if they were not all understood.
pub(super) fn all_roles(guild: &PartialGuild) -> Option<Observation> {
    let roles = guild.roles()?;
    Some(Observation::Roles(
        roles.iter().map(|role| role.id).collect(),
    ))
}

/// The guild's own data changed: for example the owner, the onboarding, or whether moderators need
/// two-factor authentication, which can make Discord refuse role changes.
pub(super) fn on_guild_update(listeners: &Listeners, guild: &PartialGuild) {
    if guild.id.get() != listeners.bot.env.guild.get() {
        return;
    }
    match guild.owner_id.map(TryInto::try_into) {
        Some(Ok(owner)) => listeners.bot.env.known_guild.owner_is(owner),
        _ => on_unreadable(listeners, Some(guild.id.get())),
    }
    if observe_onboarding(listeners, guild) {
        listeners.bot.roles.schedule.everyone_soon();
    }
    if listeners.bot.roles.book.has_refusals() {
        recheck_levels(listeners);
    }
}

/// A role was created.
pub(super) fn on_create(listeners: &Listeners, event: &RoleEvent) {
    listeners.bot.roles.book.forget();
    observe_role(listeners, event);
}

/// A role's name, permissions or position changed. If it is a level's role, the requested
/// comparison gives the level the role's new name, and may find that a problem is solved.
pub(super) fn on_update(listeners: &Listeners, event: &RoleEvent) {
    observe_role(listeners, event);
    match event.role.read() {
        Some(role) => role_changed(listeners, role.id.into()),
        None => listeners.bot.roles.book.forget(),
    }
}

/// A role was deleted. If it is a level's role, the requested comparison asks moderators what to
/// do.
pub(super) fn on_delete(listeners: &Listeners, event: &RoleDeletion) {
    let is_served = event.guild_id == listeners.bot.env.guild.get();
    if let (true, Ok(role)) = (is_served, event.role_id.try_into()) {
        listeners.bot.env.known_guild.role_is_gone(role);
        listeners.observed(Observation::RoleGone(role));
    }
    role_changed(listeners, event.role_id);
}

/// A channel was created or changed. If its overwrites make a level's role one that moderates, or no
/// longer do, the requested comparison finds it.
pub(super) fn on_channel(listeners: &Listeners, event: &ChannelEvent) {
    if event.guild_id.is_some_and(|guild| listeners.serves(guild))
        && let Some((channel, overwrites)) = event.overwrites()
    {
        channel_changed(listeners, channel, overwrites);
    }
}

/// A channel was deleted, and its overwrites with it.
pub(super) fn on_channel_deleted(listeners: &Listeners, event: &ChannelDeletion) {
    if event.guild_id.is_some_and(|guild| listeners.serves(guild))
        && let Ok(channel) = event.id.try_into()
    {
        channel_changed(listeners, channel, Some(Vec::new()));
    }
}

fn channel_changed(listeners: &Listeners, channel: ChannelId, overwrites: Option<Vec<Overwrite>>) {
    if listeners.bot.roles.book.channel_is(channel, overwrites) {
        listeners.bot.roles.book.forget();
        listeners.bot.roles.schedule.levels_soon();
    }
}

/// An event about a guild or its roles was not understood. Marks everything that is known about
/// them as out of date, so that Discord is asked again. Does nothing if the event is certainly
/// about another guild. `guild` is `None` if the guild is unknown.
pub(super) fn on_unreadable(listeners: &Listeners, guild: Option<u64>) {
    if guild.is_none_or(|guild| guild == listeners.bot.env.guild.get()) {
        listeners.bot.env.known_guild.is_in_doubt();
        listeners.bot.roles.book.forget();
        recheck_levels(listeners);
    }
}

/// Requests a comparison of the levels with the guild's roles, because the roles that the bot can
/// assign may have changed. It tells moderators if the bot can no longer assign a level's role.
/// Several requests in a short time lead to one comparison.
pub(super) fn recheck_levels(listeners: &Listeners) {
    listeners.bot.roles.book.reach_may_have_changed();
    listeners.bot.roles.schedule.levels_soon();
}

/// Notes whether the guild has an onboarding. Returns whether this changes who may get level roles.
fn observe_onboarding(listeners: &Listeners, guild: &PartialGuild) -> bool {
    let Some(features) = &guild.features else {
        return false;
    };
    let has_onboarding = features.iter().any(|feature| feature == ONBOARDING);
    let now = listeners.bot.env.time.timestamp();
    listeners
        .bot
        .env
        .members
        .guild_has_onboarding(has_onboarding, now)
}

fn role_changed(listeners: &Listeners, role: theirs::RoleId) {
    listeners.bot.roles.book.forget();
    if role
        .try_into()
        .is_ok_and(|role| listeners.bot.roles.book.is_about_reach(role))
    {
        recheck_levels(listeners);
    }
}

fn observe_role(listeners: &Listeners, event: &RoleEvent) {
    if event.guild_id != listeners.bot.env.guild.get() {
        return;
    }
    match event.role.read() {
        Some(role) => listeners.bot.env.known_guild.role_is(role),
        None => listeners.bot.env.known_guild.is_in_doubt(),
    }
}
