//! A message was written: hand it to the engine if it may earn XP, and see who wrote it.
//!
//! Never awards, never answers; commands are the framework's, but who may run one at all is
//! told here.

use serenity::all::{Message, MessageReferenceKind};

use super::Listeners;
use super::sight::of_author;
use crate::discord::wire::{self, BareMessage};
use crate::leveling::{MessageFacts, Sighting, UserId, may_command};
use crate::xp::Seen;

/// A message, as serenity parsed it.
pub(super) fn on_message(listeners: &Listeners, message: &Message) {
    if message.guild_id == Some(listeners.guild.into())
        && let Some(seen) = seen(message, |user, seen| notice(listeners, user, seen))
    {
        listeners.gate.offer(seen);
    }
}

/// Whether a message runs a command: it begins like one, and a human typed it.
pub(super) fn runs_command(listeners: &Listeners, message: &Message) -> bool {
    listeners.commands.begins_one(&message.content) && may_command(&facts(message))
}

/// A message that serenity could not parse.
pub(super) fn on_bare_message(listeners: &Listeners, message: BareMessage) {
    if message.guild_id == Some(listeners.guild.into())
        && let Some(seen) = message.seen(|user, sighting| notice(listeners, user, sighting))
    {
        listeners.gate.offer(seen);
    }
}

/// What the engine needs of a message, if it may earn XP. `notice` is given its author.
pub(super) fn seen(
    message: &Message,
    notice: impl FnOnce(UserId, Sighting) -> Option<Sighting>,
) -> Option<Seen> {
    let ids = (message.id, message.channel_id, message.author.id);
    wire::seen(notice, facts(message), ids, || Some(of_author(message)))
}

fn facts(message: &Message) -> MessageFacts {
    let reference = message.message_reference.as_ref();
    MessageFacts {
        kind: message.kind.into(),
        by_bot: message.author.bot,
        by_system: message.author.system,
        by_webhook: message.webhook_id.is_some(),
        forwarded: reference
            .is_some_and(|reference| reference.kind == MessageReferenceKind::Forward),
    }
}

/// The engine finds the author among the unsaved profiles: nothing goes with the message.
fn notice(listeners: &Listeners, user: UserId, sighting: Sighting) -> Option<Sighting> {
    listeners.sightings.wrote(user, sighting);
    None
}
