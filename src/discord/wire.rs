//! Discord's JSON where serenity's types will not do: only the fields that XP needs.
//!
//! Discord adds to messages all the time. One that serenity cannot parse any more
//! still earns, and does not take the other 99 of its page with it.

use serde::Deserialize;
use serenity::model::id::{ChannelId, GuildId, MessageId, UserId};

use crate::leveling::{self, MessageFacts, Profile, may_earn};
use crate::xp::Seen;

/// A message, from the gateway or from the history.
#[derive(Debug, Deserialize)]
pub struct BareMessage {
    id: MessageId,
    channel_id: ChannelId,
    /// Only the gateway says it.
    pub guild_id: Option<GuildId>,
    author: BareUser,
    #[serde(rename = "type")]
    kind: u8,
    webhook_id: Option<serde::de::IgnoredAny>,
    message_reference: Option<BareReference>,
    member: Option<BareMember>,
}

#[derive(Debug, Deserialize)]
struct BareUser {
    id: UserId,
    username: String,
    global_name: Option<String>,
    avatar: Option<String>,
    #[serde(default)]
    bot: bool,
    #[serde(default)]
    system: bool,
}

#[derive(Debug, Deserialize)]
struct BareReference {
    #[serde(rename = "type", default)]
    kind: u8,
}

#[derive(Debug, Deserialize)]
struct BareMember {
    nick: Option<String>,
}

/// A channel or a thread.
#[derive(Clone, Debug, Deserialize)]
pub struct BareChannel {
    /// Its id.
    pub id: ChannelId,
    /// Discord's channel type.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Its name; hostile text, as all names.
    pub name: Option<String>,
    /// Its newest message, which may have been deleted.
    pub last_message_id: Option<MessageId>,
    /// Of a thread.
    pub thread_metadata: Option<BareThread>,
}

/// What only threads have.
#[derive(Clone, Debug, Deserialize)]
pub struct BareThread {
    /// When it was archived or brought back, in ISO 8601.
    pub archive_timestamp: String,
}

/// A list of threads.
#[derive(Debug, Deserialize)]
pub struct BareThreads {
    /// The threads.
    pub threads: Vec<BareChannel>,
    /// Whether there is another page; only of archived ones.
    #[serde(default)]
    pub has_more: bool,
}

impl BareMessage {
    /// What the engine needs of it; `None` if it earns nothing.
    pub fn seen(self, is_named: impl FnOnce(leveling::UserId) -> bool) -> Option<Seen> {
        const FORWARD: u8 = 1;
        let Self {
            id,
            channel_id,
            author,
            kind,
            webhook_id,
            message_reference,
            member,
            ..
        } = self;
        let facts = MessageFacts {
            kind,
            by_bot: author.bot,
            by_system: author.system,
            by_webhook: webhook_id.is_some(),
            forwarded: message_reference.is_some_and(|reference| reference.kind == FORWARD),
        };
        seen(is_named, facts, (id, channel_id, author.id), || Profile {
            username: author.username,
            display_name: author.global_name,
            nickname: member.and_then(|member| member.nick),
            avatar_hash: author.avatar,
        })
    }
}

/// A message for the engine, if it may earn XP. The profile is built only for the
/// few whose name is not stored yet.
pub fn seen(
    is_named: impl FnOnce(leveling::UserId) -> bool,
    facts: MessageFacts,
    (message, channel, user): (MessageId, ChannelId, UserId),
    profile: impl FnOnce() -> Profile,
) -> Option<Seen> {
    if !may_earn(&facts) {
        return None;
    }
    let message = leveling::MessageId::try_from(message).ok()?;
    let channel = leveling::ChannelId::try_from(channel).ok()?;
    let user = leveling::UserId::try_from(user).ok()?;
    let named = is_named(user);
    Some(Seen {
        message,
        channel,
        user,
        profile: (!named).then(|| storable(profile())),
    })
}

/// Postgres cannot store a NUL, and no name should hold one.
fn storable(profile: Profile) -> Profile {
    let clean = |text: String| {
        if text.contains('\0') {
            text.replace('\0', "")
        } else {
            text
        }
    };
    Profile {
        username: clean(profile.username),
        display_name: profile.display_name.map(clean),
        nickname: profile.nickname.map(clean),
        avatar_hash: profile.avatar_hash.map(clean),
    }
}
