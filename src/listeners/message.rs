//! A new message: offers it to the XP engine if it may earn XP, and starts the text command in it.
//!
//! Awards no XP and answers nothing itself. The command framework runs the commands, but this
//! module decides whether a message may run one: a bot's message, for example, may not.

use super::Listeners;
use crate::discord::payload::{PartialMessage, author_roles, command};
use crate::leveling::{ObservedMessage, may_command};
use crate::xp::EligibleMessage;

/// Handles a new message. `text` is its JSON, which the command framework parses by itself.
pub(super) fn on_message(listeners: &Listeners, message: PartialMessage<'_>, text: &str) {
    let runs_command =
        listeners.commands.begins_one(message.content()) && may_command(&message.facts());
    if message.guild_id == Some(listeners.bot.env.guild.into())
        && let Some(message) = message.read()
    {
        offer(listeners, message, text);
    }
    if runs_command {
        run_command(listeners, text);
    }
}

/// Offers a message to the engine if it may earn XP, with its author's roles if a rule is about
/// one. Before that, adds the author's profile to the unsaved profiles, where the engine finds it.
fn offer(listeners: &Listeners, message: ObservedMessage, text: &str) {
    let Some(mut eligible) = EligibleMessage::of(&message) else {
        return;
    };
    if listeners.bot.env.xp.xp_rules().names_roles() {
        eligible.roles = author_roles(text);
    }
    if let Some(profile) = message.profile {
        listeners.profiles.wrote(eligible.user, profile);
    }
    listeners.bot.gate.offer(eligible);
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
