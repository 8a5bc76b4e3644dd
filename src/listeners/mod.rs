//! Handlers for the gateway's events. `Listeners::react` lists them all; each kind has its file.
//!
//! Events are handled one at a time, in the order in which Discord sends them, and the next event
//! is read only after the handler has returned. So no handler may wait: work that takes time runs
//! in tasks.

mod channel;
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
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use serenity::all as theirs;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bans::BanObserver;
use crate::bot::Bot;
use crate::commands::Commands;
use crate::discord::RestError;
use crate::discord::payload::unreadable::Unreadable;
use crate::discord::payload::{Event, command};
use crate::error::Stop;
use crate::leveling::MessageId;
use crate::profiles::ProfileObserver;
use crate::xp::Observation;

/// The event handlers and all that they use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Listeners {
    /// The handles of the running bot. Events of guilds other than `bot.env.guild` are ignored.
    pub bot: Bot,
    /// Receives the profiles that events show.
    pub profiles: ProfileObserver,
    /// Receives the bans that events tell of.
    pub bans: BanObserver,
    /// Runs commands and button presses in tasks.
    pub commands: Arc<Commands>,
    /// What the handlers remember while the process runs.
    pub flags: Arc<Flags>,
    /// Receives the reason why the process must end.
    pub stop: mpsc::Sender<Stop>,
    /// Counts the events that were not understood, by type.
    pub unparsed: unreadable::Unparsed,
    /// Tracks the tasks that handlers spawn.
    pub tasks: TaskTracker,
    /// Cancels those tasks.
    pub end: CancellationToken,
    /// Tracks the tasks that record deletions. The shutdown waits for these instead of cancelling
    /// them.
    pub notes: TaskTracker,
}

/// What the handlers remember while the process runs.
#[derive(Debug, Default)]
pub struct Flags {
    /// Whether the search for an earlier bot's global commands has succeeded.
    looked_for_old_commands: AtomicBool,
    /// The guild as REST showed it when this process took up the session. What it shows holds after
    /// the events that Discord sends again, so it waits for `RESUMED`.
    taken_up: Mutex<Vec<Observation>>,
    /// Whether the log says already that the bot is ready.
    said_ready: AtomicBool,
    /// Whether this process is resuming the session of the previous one: set by
    /// [`Listeners::take_up_session`], cleared by `RESUMED` or `READY`.
    takes_up: AtomicBool,
}

impl Listeners {
    /// Handles an event of the type `kind`, whose data is the JSON `text`. Never waits. A panic in
    /// a handler is caught and logged, and loses only this event.
    pub fn on_event(&self, kind: &str, text: &str) {
        let reacting = AssertUnwindSafe(|| self.react(kind, text));
        if catch_unwind(reacting).is_err() {
            tracing::error!(kind, "an event was not handled because of a bug in wall_e");
            if kind == "MESSAGE_CREATE" {
                // The catch-up service then reads the message from the history.
                self.bot.inbox.open_gap();
            }
        }
    }

    /// Prepares for resuming a session that the previous bot process started, with calls to REST.
    /// After an error the session should not be resumed.
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
            Event::Banned(event) => member::on_ban(self, &event),
            Event::BanLifted(event) => member::on_ban_lifted(self, &event),
            Event::RoleMade(event) => role::on_create(self, &event),
            Event::RoleChanged(event) => role::on_update(self, &event),
            Event::RoleDeleted(event) => role::on_delete(self, &event),
            Event::GuildThere(event) => guild::on_create(self, &event),
            Event::GuildChanged(event) => role::on_guild_update(self, &event),
            Event::GuildGone(event) => guild::on_delete(self, &event),
            Event::MessagesDeleted(event) => deleted::on_messages(self, &event),
            Event::ChannelChanged(event) => {
                channel::on_change(self, &event);
                role::on_channel(self, &event);
            }
            Event::ChannelDeleted(event) => {
                channel::on_delete(self, &event);
                deleted::on_channel(self, &event);
                role::on_channel_deleted(self, &event);
            }
            Event::ThreadsListed(event) => channel::on_threads(self, &event),
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
            self.bot.env.time.hear(id);
        }
        self.commands.start_interaction(read.value);
    }

    /// Whether `guild` is the one that the bot serves.
    fn serves(&self, guild: theirs::GuildId) -> bool {
        guild == theirs::GuildId::from(self.bot.env.guild)
    }

    /// Tells the engine what an event shows that may decide what messages earn.
    fn observed(&self, observation: Observation) {
        if !self.bot.inbox.observe(observation) {
            // The engine has not heard of it, so everyone is to be listed again.
            self.bot.roles.schedule.everyone_soon();
        }
    }

    /// Counts an event that was rebuilt because serenity could not parse its field `odd`. Does
    /// nothing if there is no such field.
    fn note_odd(&self, kind: &str, odd: Option<&Unreadable>) {
        if odd.is_some() {
            self.unparsed.note(kind, odd);
        }
    }

    /// Runs `work` in a task, which is cancelled when the bot ends.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let end = self.end.clone();
        self.tasks.spawn(async move {
            end.run_until_cancelled(work).await;
        });
    }
}
