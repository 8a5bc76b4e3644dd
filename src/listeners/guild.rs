//! The guild comes and goes: at the beginning of a session, around an outage of Discord, and
//! when the bot is invited or thrown out.
//!
//! What happened before the guild came was not sent: it is read from the history, and roles
//! are verified. Reads nothing itself.

use std::sync::atomic::Ordering;

use super::{Listeners, deleted, role};
use crate::discord::payload::PartialGuild;
use crate::error::Stop;
use crate::leveling::ChannelId;

/// A guild is there.
pub(super) fn on_create(listeners: &Listeners, guild: &PartialGuild) {
    if !came(listeners, guild) {
        return;
    }
    say_ready(listeners, guild.name.as_deref().unwrap_or("the guild"));
    role::on_guild(listeners, guild);
    // Channels that are not understood were not deleted.
    if let Some(channels) = &guild.channels {
        let channels = channels.iter();
        let channels = channels.filter_map(|channel| ChannelId::try_from(channel.id).ok());
        deleted::on_guild(listeners, channels.collect());
    }
}

/// A guild is gone: for a while (an outage of Discord) or for good.
pub(super) fn on_delete(listeners: &Listeners, guild: &PartialGuild) {
    if !listeners.serves(guild.id) {
        return;
    }
    listeners.known_guild.is_in_doubt();
    if guild.is_unavailable() {
        say_outage(listeners);
    } else {
        // Whoever receives this ends the process; a second one changes nothing.
        let _ = listeners
            .stop
            .try_send(Stop::NotInGuild(listeners.env.guild));
    }
}

/// Takes note that the guild served is there, if it is. Before anything is awaited: what is
/// sent after this event waits for the history.
fn came(listeners: &Listeners, guild: &PartialGuild) -> bool {
    if !listeners.serves(guild.id) {
        return false;
    }
    if guild.is_unavailable() {
        say_outage(listeners);
        return false;
    }
    listeners.inbox.open_gap();
    // Whatever became of roles meanwhile was not heard of.
    listeners.roles.book.forget();
    listeners.roles.verifications.soon();
    tracing::info!(guild = %listeners.env.guild, "the guild is there");
    true
}

/// Says once that the bot is there, and what to try: more to someone whose database is still empty.
fn say_ready(listeners: &Listeners, guild: &str) {
    if listeners.said_ready.swap(true, Ordering::Relaxed) {
        return;
    }
    let prefix = listeners.commands.prefix();
    if listeners.env.xp.is_empty() {
        tracing::info!(
            "wall_e is ready in {guild}: type {prefix}help there to see its commands; members who write there earn XP from \
             now on, {prefix}rank shows how much, and {prefix}set_level_name gives a level a name and a role. The bot makes two private channels if they are missing: one \
             in which it tells moderators of problems, as soon as there is one, and one that keeps copies of avatars, \
             with the first copy"
        );
    } else {
        tracing::info!("wall_e is ready in {guild}: type {prefix}help there to see its commands");
    }
}

fn say_outage(listeners: &Listeners) {
    tracing::warn!(
        guild = %listeners.env.guild,
        "Discord reports an outage of the guild; messages missed meanwhile are read when it is back"
    );
}
