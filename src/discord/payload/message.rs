//! A message from the gateway or from a channel's history, with only the fields that the bot needs.
//! Whether it earns XP is not decided here.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serenity::model::id::{ChannelId, GuildId, MessageId};

use super::lenient::{lenient, lenient_object};
use super::member::{PartialMember, PartialUser};
use crate::leveling::{MessageFacts, ObservedMessage, RoleId};

/// A message. Only its ids and its author are required: other fields may be missing or of any
/// type.
#[derive(Debug, Deserialize)]
pub struct PartialMessage<'a> {
    id: MessageId,
    channel_id: ChannelId,
    /// `None` in direct messages and in a channel's history, where Discord leaves it out.
    pub guild_id: Option<GuildId>,
    author: PartialUser,
    #[serde(rename = "type", default, deserialize_with = "lenient")]
    kind: Option<u8>,
    webhook_id: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "lenient_object")]
    message_reference: Option<Reference>,
    #[serde(default, deserialize_with = "lenient_object")]
    member: Option<PartialMember>,
    #[serde(borrow, default, deserialize_with = "lenient")]
    content: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
struct Reference {
    #[serde(rename = "type", default, deserialize_with = "lenient")]
    kind: Option<u64>,
}

/// All roles of a message's author, from the JSON of the message's event. `None` if it does not
/// show them, or not as expected. Parsed apart, since they matter only if a rule is about a role.
pub fn author_roles(text: &str) -> Option<Box<[RoleId]>> {
    #[derive(Deserialize)]
    struct Message {
        member: Member,
    }
    #[derive(Deserialize)]
    struct Member {
        roles: Vec<serenity::model::id::RoleId>,
    }
    let message: Message = serde_json::from_str(text).ok()?;
    let roles = message.member.roles.into_iter();
    roles.map(|role| RoleId::try_from(role).ok()).collect()
}

impl PartialMessage<'_> {
    /// The text of the message; empty if there is none.
    pub fn content(&self) -> &str {
        self.content.as_deref().unwrap_or_default()
    }

    /// What kind of message it is, and of author.
    pub fn facts(&self) -> MessageFacts {
        const FORWARD: u64 = 1;
        let reference = self.message_reference.as_ref();
        MessageFacts {
            kind: self.kind.unwrap_or(u8::MAX),
            by_bot: self.author.is_bot(),
            by_system: self.author.is_system(),
            by_webhook: self.webhook_id.is_some(),
            forwarded: reference.is_some_and(|reference| reference.kind == Some(FORWARD)),
        }
    }

    /// Converts it to an [`ObservedMessage`]; `None` if one of its ids cannot be stored.
    pub fn read(self) -> Option<ObservedMessage> {
        Some(ObservedMessage {
            id: self.id.try_into().ok()?,
            channel: self.channel_id.try_into().ok()?,
            author: self.author.id.try_into().ok()?,
            facts: self.facts(),
            // Messages from a channel's history have no member.
            profile: self
                .author
                .seen(self.member.map(PartialMember::of_an_event)),
        })
    }
}
