//! The event handler of `wall_e listen`, which only passes on the profiles that events show.
//!
//! It counts no XP, answers nothing and does not call Discord, so it can run beside the bot.

use serenity::all as theirs;
use tokio::sync::mpsc;

use super::unreadable::Unparsed;
use crate::discord::payload::{Event, MemberEvent};
use crate::error::Stop;
use crate::leveling::{GuildId, ObservedMessage, may_earn};
use crate::profiles::ProfileObserver;

/// The event handler. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Onlooker {
    /// The served guild; events of other guilds are ignored.
    pub guild: GuildId,
    /// Receives the profiles that events show.
    pub profiles: ProfileObserver,
    /// Receives the reason why the process must end.
    pub stop: mpsc::Sender<Stop>,
    /// Counts the events that were not understood, by type.
    pub unparsed: Unparsed,
}

impl Onlooker {
    /// Handles an event of the type `kind`, whose data is the JSON `text`. Never waits.
    pub fn on_event(&self, kind: &str, text: &str) {
        let event = match Event::read(kind, text) {
            Ok(event) => event,
            Err(field) => return self.unparsed.note(kind, Some(&field)),
        };
        match event {
            Event::Message(event) if self.is_served(event.guild_id) => {
                if let Some(message) = event.read() {
                    self.observe_author(message);
                }
            }
            Event::MemberJoined(event) | Event::MemberChanged(event)
                if self.is_served(Some(event.guild_id)) =>
            {
                self.observe_member(event);
            }
            Event::Ready(event) => {
                let mut guilds = event.guilds.iter().map(|guild| guild.id);
                if guilds.any(|guild| self.is_served(Some(guild))) {
                    tracing::info!(guild = %self.guild, "listening");
                } else {
                    // The receiver ends the process at the first message; others are not needed.
                    let _ = self.stop.try_send(Stop::NotInGuild(self.guild));
                }
            }
            _ => {}
        }
    }

    fn is_served(&self, guild: Option<theirs::GuildId>) -> bool {
        guild == Some(self.guild.into())
    }

    fn observe_member(&self, event: MemberEvent) {
        if let Some(user) = event.user()
            && let Some(seen) = event.seen()
        {
            self.profiles.heard(user, seen);
        }
    }

    /// Passes on the author's profile if the message may earn XP, as the bot does.
    fn observe_author(&self, message: ObservedMessage) {
        if may_earn(&message.facts)
            && let Some(seen) = message.profile
        {
            self.profiles.heard(message.author, seen);
        }
    }
}
