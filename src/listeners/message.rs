//! A message was written: hand it to the engine if it may earn XP, and see who wrote it.
//!
//! Never awards, never answers; commands are the framework's, but who may run one at all is
//! told here.

use super::Listeners;
use crate::discord::payload::{PartialMessage, command};
use crate::leveling::{Sighting, UserId, may_command};

/// Someone wrote `message`; `text` is its JSON.
pub(super) fn on_message(listeners: &Listeners, message: PartialMessage<'_>, text: &str) {
    let runs_command =
        listeners.commands.begins_one(message.content()) && may_command(&message.facts());
    if message.guild_id == Some(listeners.env.guild.into())
        && let Some(seen) = message.seen(|user, seen| notice(listeners, user, seen))
    {
        listeners.gate.offer(seen);
    }
    if runs_command {
        run_command(listeners, text);
    }
}

fn run_command(listeners: &Listeners, text: &str) {
    match command::message(text) {
        Ok(read) => {
            listeners.note_odd("MESSAGE_CREATE", read.odd.as_ref());
            listeners.commands.start_message(read.value);
        }
        Err(field) => tracing::error!(%field, "a command could not be read; it gets no answer"),
    }
}

/// The engine finds the author among the unsaved profiles: nothing goes with the message.
fn notice(listeners: &Listeners, user: UserId, sighting: Sighting) -> Option<Sighting> {
    listeners.sightings.wrote(user, sighting);
    None
}
