//! A message from the gateway or from a channel's history, with only the fields that XP, profiles
//! and text commands need.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serenity::model::id::{ChannelId, GuildId, MessageId, UserId};

use super::lenient::{lenient, lenient_object};
use super::member::{PartialMember, PartialUser};
use crate::leveling::{self, MessageFacts, Sighting, may_earn};
use crate::xp::EligibleMessage;

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

impl PartialMessage<'_> {
    /// The text of the message; empty if there is none.
    pub fn content(&self) -> &str {
        self.content.as_deref().unwrap_or_default()
    }

    /// The facts that decide whether the message may earn XP or run a command.
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

    /// The message for the XP engine; `None` if it may not earn XP. Calls `notice` with the author
    /// and the author's profile if the message shows a username. The profile that `notice` returns
    /// is handed to the engine together with the message.
    pub fn seen(
        self,
        notice: impl FnOnce(leveling::UserId, Sighting) -> Option<Sighting>,
    ) -> Option<EligibleMessage> {
        if !may_earn(&self.facts()) {
            return None;
        }
        let message = leveling::MessageId::try_from(self.id).ok()?;
        let channel = leveling::ChannelId::try_from(self.channel_id).ok()?;
        let user = leveling::UserId::try_from(self.author_id()).ok()?;
        // Messages from a channel's history have no member.
        let member = self.member.map(PartialMember::of_an_event);
        let profile = self.author.seen(member);
        let profile = profile.and_then(|sighting| notice(user, sighting));
        Some(EligibleMessage {
            message,
            channel,
            user,
            profile: profile.map(Box::new),
        })
    }

    fn author_id(&self) -> UserId {
        self.author.id
    }
}
