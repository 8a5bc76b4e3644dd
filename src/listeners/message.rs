//! A message was written: hand it to the engine if it may earn XP, and see who wrote it.
//!
//! Never awards, never answers; commands are the framework's.

use serenity::all::{Message, MessageReferenceKind, User};

use super::Listeners;
use crate::discord::wire::{self, BareMessage};
use crate::leveling::{Account, Membership, MessageFacts, Sighting, UserId};

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
        |user, sighting| notice(listeners, user, sighting),
        facts,
        ids,
        || Sighting {
            account: account(&message.author),
            member: message.member.as_ref().map(|member| Membership {
                nickname: member.nick.clone(),
                avatar_hash: member.avatar.as_ref().map(ToString::to_string),
            }),
        },
    );
    if let Some(seen) = seen {
        listeners.inbox.offer(seen);
    }
}

/// A message that serenity could not parse.
pub(super) fn on_bare_message(listeners: &Listeners, message: BareMessage) {
    if message.guild_id == Some(listeners.guild.into())
        && let Some(seen) = message.seen(|user, sighting| notice(listeners, user, sighting))
    {
        listeners.inbox.offer(seen);
    }
}

/// What a user is called, and their avatar, as serenity parsed it.
pub(super) fn account(user: &User) -> Account {
    Account {
        username: user.name.clone(),
        display_name: user.global_name.clone(),
        avatar_hash: user.avatar.as_ref().map(ToString::to_string),
    }
}

/// Whether a name is stored for an author; whether it is still theirs is looked at first.
fn notice(listeners: &Listeners, user: UserId, sighting: &Sighting) -> bool {
    listeners.sightings.heard(user, sighting);
    listeners.xp.is_named(user)
}
