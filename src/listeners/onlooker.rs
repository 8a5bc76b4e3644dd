//! The events of `wall_e listen`: marks whose profile has changed, and does nothing else.
//!
//! Never counts XP, never answers, never asks Discord anything: it may run beside the bot.

use serde::Deserialize;
use serenity::all::{Context, Event, RawEventHandler};
use tokio::sync::mpsc;

use super::{message, sight};
use crate::discord::wire::{BareMemberEvent, BareMessage};
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
}

#[serenity::async_trait]
impl RawEventHandler for Onlooker {
    async fn raw_event(&self, _: Context, event: Event) {
        match event {
            Event::MessageCreate(event) if self.is_served(event.message.guild_id) => {
                message::seen(&event.message, |user, seen| self.hears(user, seen));
            }
            Event::GuildMemberAdd(event) if self.is_served(Some(event.member.guild_id)) => {
                self.hear(sight::of_added(&event));
            }
            Event::GuildMemberUpdate(event) if self.is_served(Some(event.guild_id)) => {
                self.hear(sight::of_updated(&event));
            }
            Event::GuildMembersChunk(event) if self.is_served(Some(event.guild_id)) => {
                sight::in_chunk(&event).for_each(|seen| self.hear(Some(seen)));
            }
            Event::Ready(event) => {
                let there = event.ready.guilds.iter().map(|guild| guild.id);
                if there.map(Some).any(|guild| self.is_served(guild)) {
                    tracing::info!(guild = %self.guild, "listening");
                } else {
                    // Whoever receives this ends the process; a second one changes nothing.
                    let _ = self.stop.try_send(Stop::NotInGuild(self.guild));
                }
            }
            Event::Unknown(event) => match event.kind.as_str() {
                "MESSAGE_CREATE" => {
                    if let Ok(message) = BareMessage::deserialize(event.value)
                        && self.is_served(message.guild_id)
                    {
                        message.seen(|user, seen| self.hears(user, seen));
                    }
                }
                "GUILD_MEMBER_ADD" | "GUILD_MEMBER_UPDATE" => {
                    if let Ok(event) = BareMemberEvent::deserialize(event.value)
                        && self.is_served(Some(event.guild_id))
                    {
                        self.hear(event.user().zip(event.seen()));
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }
}

impl Onlooker {
    fn is_served(&self, guild: Option<serenity::all::GuildId>) -> bool {
        guild == Some(self.guild.into())
    }

    fn hear(&self, seen: Option<(UserId, Sighting)>) {
        if let Some((user, seen)) = seen {
            self.sightings.heard(user, seen);
        }
    }

    /// Nothing is left for a message to carry.
    fn hears(&self, user: UserId, seen: Sighting) -> Option<Sighting> {
        self.sightings.heard(user, seen);
        None
    }
}
