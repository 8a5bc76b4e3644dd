//! The gateway's events that we react to: one visible list, one file each.
//!
//! Events are handled one after the other, in the order in which they came, and the next one is
//! not read before. So nothing in here waits: work that takes time is spawned.

mod deleted;
mod guild;
mod member;
mod message;
pub mod onlooker;
mod ready;
mod resumed;
mod role;
pub mod unreadable;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serenity::all as theirs;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::commands::Commands;
use crate::discord::RestError;
use crate::discord::known_guild::KnownGuild;
use crate::discord::message_gate::MessageGate;
use crate::discord::payload::{Event, command};
use crate::discord::unreadable::Unreadable;
use crate::environment::Environment;
use crate::error::Stop;
use crate::leveling::{MessageId, UserId};
use crate::profiles::Sightings;
use crate::roles::Roles;
use crate::xp::Inbox;

/// Everything that a listener may use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Listeners {
    /// What everything works with; events of other guilds are passed over.
    pub env: Environment,
    /// The bot itself.
    pub bot: UserId,
    /// The way to the engine.
    pub inbox: Inbox,
    /// The same for messages.
    pub gate: MessageGate,
    /// Takes what is seen of users.
    pub sightings: Sightings,
    /// Forgets level roles, and has them verified, when something about roles changes.
    pub roles: Roles,
    /// The guild's roles and its owner, kept current.
    pub known_guild: KnownGuild,
    /// Whoever runs commands.
    pub commands: Arc<Commands>,
    /// Whether commands of an earlier bot have been looked for.
    pub looked_for_old_commands: Arc<AtomicBool>,
    /// Whether it was said that the bot is ready.
    pub said_ready: Arc<AtomicBool>,
    /// Whether the session of the bot before is to be resumed, and was not yet.
    pub takes_up: Arc<AtomicBool>,
    /// What makes going on pointless.
    pub stop: mpsc::Sender<Stop>,
    /// Events that were not understood, by type.
    pub unparsed: unreadable::Unparsed,
    /// Holds what is done beside the events.
    pub tasks: TaskTracker,
    /// Ends that work.
    pub end: CancellationToken,
    /// Holds what is noted down of deletions; waited for at the end.
    pub notes: TaskTracker,
}

impl Listeners {
    /// Reacts to an event of the type `kind`; `text` is its JSON. Never waits: what takes time is
    /// done beside it. A fault of ours costs this event.
    pub fn on_event(&self, kind: &str, text: &str) {
        let reacting = AssertUnwindSafe(|| self.react(kind, text));
        if catch_unwind(reacting).is_err() {
            tracing::error!(kind, "an event was not handled because of a bug in wall_e");
            if kind == "MESSAGE_CREATE" {
                // It is read from the history.
                self.inbox.open_gap();
            }
        }
    }

    /// Prepares for the events of a session that another process has begun. An error says why
    /// it should not be resumed.
    pub async fn take_up_session(&self) -> Result<(), RestError> {
        resumed::take_up(self).await
    }

    fn react(&self, kind: &str, text: &str) {
        let event = match Event::read(kind, text) {
            Ok(event) => event,
            Err(field) => return unreadable::on_unreadable(self, kind, text, &field),
        };
        match event {
            Event::Message(event) => message::on_message(self, event, text),
            Event::Interaction => self.on_interaction(text),
            Event::Ready(event) => ready::on_ready(self, &event),
            Event::Resumed => resumed::on_resumed(self),
            Event::MemberJoined(event) => member::on_join(self, event),
            Event::MemberChanged(event) => member::on_update(self, event),
            Event::MemberLeft(event) => member::on_leave(self, &event),
            Event::RoleMade(event) => role::on_create(self, &event),
            Event::RoleChanged(event) => role::on_update(self, &event),
            Event::RoleDeleted(event) => role::on_delete(self, &event),
            Event::GuildThere(event) => guild::on_create(self, &event),
            Event::GuildChanged(event) => role::on_guild_update(self, &event),
            Event::GuildGone(event) => guild::on_delete(self, &event),
            Event::MessagesDeleted(event) => deleted::on_messages(self, &event),
            Event::ChannelDeleted(event) => deleted::on_channel(self, &event),
            Event::Other => {}
            Event::Unknown => self.unparsed.note(kind, None),
        }
    }

    fn on_interaction(&self, text: &str) {
        let read = match command::interaction(text) {
            Ok(read) => read,
            Err(field) => {
                self.unparsed.note("INTERACTION_CREATE", Some(&field));
                tracing::error!(
                    %field,
                    "a command or button press was not understood and gets no answer"
                );
                return;
            }
        };
        self.note_odd("INTERACTION_CREATE", read.odd.as_ref());
        if let Some(id) = MessageId::new(read.value.id().get()) {
            self.env.time.hear(id);
        }
        self.commands.start_interaction(read.value);
    }

    /// Whether it is the guild served.
    fn serves(&self, guild: theirs::GuildId) -> bool {
        guild == theirs::GuildId::from(self.env.guild)
    }

    /// Counts an event that had to be rebuilt.
    fn note_odd(&self, kind: &str, odd: Option<&Unreadable>) {
        if odd.is_some() {
            self.unparsed.note(kind, odd);
        }
    }

    /// Has something done beside the events, until the bot ends.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let end = self.end.clone();
        self.tasks.spawn(async move {
            end.run_until_cancelled(work).await;
        });
    }
}
