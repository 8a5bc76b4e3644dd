//! The guild comes and goes: at the beginning of a session, around an outage of Discord, and
//! when the bot is invited or thrown out.
//!
//! What happened before the guild came was not sent: it is read from the history, and roles
//! are verified. Reads nothing itself.

use std::sync::atomic::Ordering;

use serde_json::Value;
use serenity::all as theirs;

use super::{Listeners, deleted, role};
use crate::discord::wire::id_of;
use crate::error::Stop;
use crate::leveling::ChannelId;

/// A guild, as far as it takes to know that it is there.
#[derive(Debug)]
struct BareGuild {
    id: u64,
    /// Discord has trouble with it.
    unavailable: bool,
}

/// A guild is there.
pub(super) async fn on_create(listeners: &Listeners, guild: &theirs::Guild) {
    let bare = BareGuild {
        id: guild.id.get(),
        unavailable: guild.unavailable,
    };
    if came(listeners, &bare) {
        say_ready(listeners, &guild.name);
        role::on_guild(listeners, guild);
        let channels = guild.channels.keys();
        let channels: Vec<ChannelId> = channels
            .filter_map(|id| ChannelId::try_from(*id).ok())
            .collect();
        deleted::on_guild(listeners, &channels).await;
    }
}

/// A guild is there, or not yet, and serenity could not read what was said of it.
pub(super) fn on_raw_create(listeners: &Listeners, guild: &Value) {
    if let Some(bare) = BareGuild::read(guild)
        && came(listeners, &bare)
    {
        say_ready(listeners, guild["name"].as_str().unwrap_or("the guild"));
        listeners.known_guild.is_in_doubt();
    }
}

/// A guild is gone: for a while (an outage of Discord) or for good.
pub(super) fn on_delete(listeners: &Listeners, guild: &theirs::UnavailableGuild) {
    let guild = BareGuild {
        id: guild.id.get(),
        unavailable: guild.unavailable,
    };
    went(listeners, &guild);
}

/// The same, as far as it could be read.
pub(super) fn on_raw_delete(listeners: &Listeners, guild: &Value) {
    if let Some(guild) = BareGuild::read(guild) {
        went(listeners, &guild);
    }
}

impl BareGuild {
    fn read(guild: &Value) -> Option<Self> {
        Some(Self {
            id: id_of(guild)?,
            unavailable: guild["unavailable"] == true,
        })
    }
}

fn went(listeners: &Listeners, guild: &BareGuild) {
    if !is_served(listeners, guild) {
        return;
    }
    listeners.known_guild.is_in_doubt();
    if guild.unavailable {
        say_outage(listeners);
    } else {
        // Whoever receives this ends the process; a second one changes nothing.
        let _ = listeners.stop.try_send(Stop::NotInGuild(listeners.guild));
    }
}

/// Takes note that the guild served is there, if it is. Before anything is awaited: what is
/// sent after this event waits for the history.
fn came(listeners: &Listeners, guild: &BareGuild) -> bool {
    if !is_served(listeners, guild) {
        return false;
    }
    if guild.unavailable {
        say_outage(listeners);
        return false;
    }
    listeners.inbox.open_gap();
    // Whatever became of roles meanwhile was not heard of.
    listeners.book.forget();
    listeners.verifications.soon();
    tracing::info!(guild = %listeners.guild, "the guild is there");
    true
}

/// Says once that the bot is there, and what to try: more to someone whose database is still empty.
fn say_ready(listeners: &Listeners, guild: &str) {
    if listeners.said_ready.swap(true, Ordering::Relaxed) {
        return;
    }
    let prefix = listeners.commands.prefix();
    if listeners.xp.is_empty() {
        tracing::info!(
            "wall_e is ready in {guild}: type {prefix}help there to see its commands; members who write there earn XP from \
             now on, {prefix}rank shows how much, and {prefix}set_level_name gives a level a name and a role"
        );
    } else {
        tracing::info!("wall_e is ready in {guild}: type {prefix}help there to see its commands");
    }
}

fn say_outage(listeners: &Listeners) {
    tracing::warn!(
        guild = %listeners.guild,
        "Discord has trouble with the guild and sends nothing of it; what is missed is read \
         when it is back"
    );
}

fn is_served(listeners: &Listeners, guild: &BareGuild) -> bool {
    guild.id == listeners.guild.get()
}
