//! A new message: offers it to the XP engine if it may earn XP, and starts the text command in it.
//!
//! Awards no XP and answers nothing itself. The command framework runs commands, but this module
//! decides whether a message may run one at all: a bot's message, for example, may not.

use super::Listeners;
use crate::discord::payload::{PartialMessage, command};
use crate::leveling::{Sighting, UserId, may_command};

/// Handles a new message. `text` is its JSON, which the command framework parses by itself.
pub(super) fn on_message(listeners: &Listeners, message: PartialMessage<'_>, text: &str) {
    let runs_command =
        listeners.commands.begins_one(message.content()) && may_command(&message.facts());
    if message.guild_id == Some(listeners.env.guild.into())
        && let Some(seen) = message.seen(|user, seen| observe_author(listeners, user, seen))
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

/// Notes the author's profile. Returns `None`, because the engine finds the profile among the
/// unsaved ones and needs no copy with the message.
fn observe_author(listeners: &Listeners, user: UserId, sighting: Sighting) -> Option<Sighting> {
    listeners.sightings.wrote(user, sighting);
    None
}
