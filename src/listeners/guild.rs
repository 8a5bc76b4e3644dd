//! The guild becomes available or unavailable: at the start of a session, before and after an
//! outage of Discord, and when the bot is invited or removed.
//!
//! Discord does not send what happened while the guild was unavailable. So when the guild is
//! available again, this module opens a gap, for which the catch-up service reads the messages from
//! the history, and requests a reconcile of everyone's level roles.

use std::sync::atomic::Ordering;

use super::{Listeners, deleted, role};
use crate::discord::payload::PartialGuild;
use crate::error::Stop;
use crate::leveling::ChannelId;

/// A guild is available, or Discord says that it has an outage.
pub(super) fn on_create(listeners: &Listeners, guild: &PartialGuild) {
    if !became_available(listeners, guild) {
        return;
    }
    log_ready(listeners, guild.name.as_deref().unwrap_or("the guild"));
    role::on_guild(listeners, guild);
    if let Some(roles) = role::all_roles(guild) {
        listeners.observed(roles);
    }
    // Without a list that was understood, no channel may be treated as deleted.
    if let Some(channels) = &guild.channels {
        let channels = channels.iter();
        let channels = channels.filter_map(|channel| ChannelId::try_from(channel.id).ok());
        deleted::on_guild(listeners, channels.collect());
    }
}

/// A guild is unavailable because of an outage, or the bot is no longer in it.
pub(super) fn on_delete(listeners: &Listeners, guild: &PartialGuild) {
    if !listeners.serves(guild.id) {
        return;
    }
    listeners.bot.env.known_guild.is_in_doubt();
    if guild.is_unavailable() {
        log_outage(listeners);
    } else {
        // The receiver ends the process at the first message; others are not needed.
        let _ = listeners
            .stop
            .try_send(Stop::NotInGuild(listeners.bot.env.guild));
    }
}

/// Returns whether this is the served guild and it is available. If so, opens a gap and requests a
/// reconcile of everyone's roles and the list of bans. The gap must be open before the next event is
/// handled, because messages that Discord sends after this event have to wait for the history.
fn became_available(listeners: &Listeners, guild: &PartialGuild) -> bool {
    if !listeners.serves(guild.id) {
        return false;
    }
    if guild.is_unavailable() {
        log_outage(listeners);
        return false;
    }
    listeners.bot.inbox.open_gap();
    // Roles may have changed while Discord sent no events.
    listeners.bot.roles.book.forget();
    listeners.bot.roles.schedule.everyone_soon();
    listeners.bans.list_soon();
    tracing::info!(guild = %listeners.bot.env.guild, "the guild is available");
    true
}

/// Logs once per process that the bot is ready. If the database has no users yet, the line also
/// says what to try first.
fn log_ready(listeners: &Listeners, guild: &str) {
    if listeners.flags.said_ready.swap(true, Ordering::Relaxed) {
        return;
    }
    let prefix = listeners.commands.prefix();
    if listeners.bot.env.xp.is_empty() {
        tracing::info!(
            "wall_e is ready in {guild}: type {prefix}help there to see its commands; members who \
             write there earn XP from now on, {prefix}rank shows how much, and \
             {prefix}set_level_name gives a level a name and a role. The bot creates two private \
             channels if they are missing: one for telling moderators about problems, with the \
             first problem, and one for copies of avatars, with the first copy"
        );
    } else {
        tracing::info!("wall_e is ready in {guild}: type {prefix}help there to see its commands");
    }
}

fn log_outage(listeners: &Listeners) {
    tracing::warn!(
        guild = %listeners.bot.env.guild,
        "Discord reports an outage of the guild; messages missed meanwhile are read when it is back"
    );
}
