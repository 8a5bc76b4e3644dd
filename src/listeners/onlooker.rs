//! The events of `wall_e listen`: marks whose profile has changed, and does nothing else.
//!
//! Never counts XP, never answers, never asks Discord anything: it may run beside the bot.

use serenity::all as theirs;
use tokio::sync::mpsc;

use super::unreadable::Unparsed;
use crate::discord::payload::{Event, MemberEvent};
use crate::error::Stop;
use crate::leveling::{GuildId, Sighting, UserId};
use crate::profiles::Sightings;

/// What it works with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Onlooker {
    /// The guild served; events of others are passed over.
    pub guild: GuildId,
    /// Takes what is seen of users.
    pub sightings: Sightings,
    /// What makes going on pointless.
    pub stop: mpsc::Sender<Stop>,
    /// Events that were not understood, by type.
    pub unparsed: Unparsed,
}

impl Onlooker {
    /// Reacts to an event of the type `kind`; `text` is its JSON. Never waits.
    pub fn on_event(&self, kind: &str, text: &str) {
        let event = match Event::read(kind, text) {
            Ok(event) => event,
            Err(field) => return self.unparsed.note(kind, Some(&field)),
        };
        match event {
            Event::Message(event) if self.is_served(event.guild_id) => {
                event.seen(|user, seen| self.hears(user, seen));
            }
            Event::MemberJoined(event) | Event::MemberChanged(event)
                if self.is_served(Some(event.guild_id)) =>
            {
                self.hear(event);
            }
            Event::Ready(event) => {
                let mut guilds = event.guilds.iter().map(|guild| guild.id);
                if guilds.any(|guild| self.is_served(Some(guild))) {
                    tracing::info!(guild = %self.guild, "listening");
                } else {
                    // Whoever receives this ends the process; a second one changes nothing.
                    let _ = self.stop.try_send(Stop::NotInGuild(self.guild));
                }
            }
            _ => {}
        }
    }

    fn is_served(&self, guild: Option<theirs::GuildId>) -> bool {
        guild == Some(self.guild.into())
    }

    fn hear(&self, event: MemberEvent) {
        if let Some(user) = event.user()
            && let Some(seen) = event.seen()
        {
            self.sightings.heard(user, seen);
        }
    }

    /// Nothing is left for a message to carry.
    fn hears(&self, user: UserId, seen: Sighting) -> Option<Sighting> {
        self.sightings.heard(user, seen);
        None
    }
}
