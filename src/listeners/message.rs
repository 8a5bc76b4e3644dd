//! A message was written: hand it to the engine if it may earn XP.
//!
//! Never awards, never answers; commands are the framework's.

use serenity::all::{Message, MessageReferenceKind};

use super::Listeners;
use crate::discord::wire::{self, BareMessage};
use crate::leveling::{MessageFacts, Profile};

/// A message, as serenity parsed it.
pub(super) fn on_message(listeners: &Listeners, message: &Message) {
    if message.guild_id != Some(listeners.guild.into()) {
        return;
    }
    let forwarded = message
        .message_reference
        .as_ref()
        .is_some_and(|reference| reference.kind == MessageReferenceKind::Forward);
    let facts = MessageFacts {
        kind: message.kind.into(),
        by_bot: message.author.bot,
        by_system: message.author.system,
        by_webhook: message.webhook_id.is_some(),
        forwarded,
    };
    let ids = (message.id, message.channel_id, message.author.id);
    let seen = wire::seen(
        |user| listeners.xp.is_named(user),
        facts,
        ids,
        || Profile {
            username: message.author.name.clone(),
            display_name: message.author.global_name.clone(),
            nickname: message
                .member
                .as_ref()
                .and_then(|member| member.nick.clone()),
            avatar_hash: message.author.avatar.as_ref().map(ToString::to_string),
        },
    );
    if let Some(seen) = seen {
        listeners.inbox.offer(seen);
    }
}

/// A message that serenity could not parse.
pub(super) fn on_bare_message(listeners: &Listeners, message: BareMessage) {
    if message.guild_id == Some(listeners.guild.into())
        && let Some(seen) = message.seen(|user| listeners.xp.is_named(user))
    {
        listeners.inbox.offer(seen);
    }
}
