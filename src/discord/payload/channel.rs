//! Channels and threads, lists of them, and events about deleted channels and messages.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serenity::model::id::{ChannelId, GuildId, MessageId};

use super::channel_types::is_thread;
use super::id_of;
use super::lenient::lenient;
use crate::discord::guild::channel_permissions::lenient_overwrites;
use crate::leveling::{self, ChannelOverwrites, ChannelPlace, NamedChannel, Overwrite};

/// A channel's id; other fields are ignored.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct ChannelRef {
    /// Required: parsing fails without it.
    pub id: ChannelId,
}

/// A channel with its overwrites, in the list of the guild's channels.
#[derive(Debug, Deserialize)]
pub struct OverwrittenChannel {
    /// Required: parsing fails without it.
    pub id: ChannelId,
    #[serde(default, deserialize_with = "lenient")]
    name: Option<String>,
    #[serde(default)]
    parent_id: Option<ChannelId>,
    #[serde(default, deserialize_with = "lenient_overwrites")]
    permission_overwrites: Option<Vec<Overwrite>>,
}

impl OverwrittenChannel {
    /// Converts it to our own type; `None` if its id is not valid.
    pub fn read(self) -> Option<ChannelOverwrites> {
        Some(ChannelOverwrites {
            channel: NamedChannel {
                id: self.id.try_into().ok()?,
                name: self.name.unwrap_or_else(|| self.id.to_string()),
            },
            parent: self.parent_id.and_then(|parent| parent.try_into().ok()),
            overwrites: self.permission_overwrites,
        })
    }
}

/// A `CHANNEL_CREATE`, `CHANNEL_UPDATE`, `THREAD_CREATE` or `THREAD_UPDATE` event.
#[derive(Debug, Deserialize)]
pub struct ChannelEvent {
    /// The channel's guild; `None` for direct messages.
    pub guild_id: Option<GuildId>,
    id: ChannelId,
    #[serde(rename = "type")]
    kind: u8,
    #[serde(default)]
    parent_id: Parent,
    #[serde(default, deserialize_with = "lenient_overwrites")]
    permission_overwrites: Option<Vec<Overwrite>>,
}

/// A category, or a thread's channel.
#[derive(Clone, Copy, Debug, Default)]
enum Parent {
    /// The event does not tell.
    #[default]
    NotShown,
    /// `None` for a channel outside all categories.
    Shown(Option<ChannelId>),
}

impl<'de> Deserialize<'de> for Parent {
    fn deserialize<D: Deserializer<'de>>(field: D) -> Result<Self, D::Error> {
        Option::deserialize(field).map(Self::Shown)
    }
}

impl ChannelEvent {
    /// The channel, and its overwrites as far as they were understood; `None` for a thread, which
    /// has none of its own.
    pub fn overwrites(&self) -> Option<(leveling::ChannelId, Option<Vec<Overwrite>>)> {
        let channel = self.id.try_into().ok().filter(|_| !is_thread(self.kind))?;
        Some((channel, self.permission_overwrites.clone()))
    }

    /// Where the channel stands; `None` if the event does not tell.
    pub fn place(&self) -> Option<ChannelPlace> {
        match self.parent_id {
            Parent::NotShown => None,
            Parent::Shown(parent) => place(self.id, parent, self.kind),
        }
    }
}

fn place(id: ChannelId, parent: Option<ChannelId>, kind: u8) -> Option<ChannelPlace> {
    let parent = parent.map(leveling::ChannelId::try_from);
    Some(ChannelPlace {
        channel: id.try_into().ok()?,
        parent: parent.transpose().ok()?,
        is_thread: is_thread(kind),
    })
}

/// A `THREAD_LIST_SYNC` event.
#[derive(Debug, Deserialize)]
pub struct ThreadsEvent {
    /// The threads' guild.
    pub guild_id: GuildId,
    /// The threads that could be parsed. Each of the others is logged.
    #[serde(deserialize_with = "parse_or_skip")]
    pub threads: Vec<PartialChannel>,
}

/// A `CHANNEL_DELETE` or `THREAD_DELETE` event.
#[derive(Debug, Deserialize)]
pub struct ChannelDeletion {
    /// The deleted channel.
    pub id: ChannelId,
    /// The channel's guild; `None` for direct messages.
    pub guild_id: Option<GuildId>,
}

/// A `MESSAGE_DELETE` event, which has `id`, or a `MESSAGE_DELETE_BULK` event, which has `ids`.
#[derive(Debug, Deserialize)]
pub struct MessageDeletion {
    /// The messages' guild; `None` for direct messages.
    pub guild_id: Option<GuildId>,
    id: Option<MessageId>,
    #[serde(default)]
    ids: Vec<MessageId>,
}

impl MessageDeletion {
    /// The deleted messages, one or many.
    pub fn messages(&self) -> impl Iterator<Item = MessageId> + '_ {
        self.id.into_iter().chain(self.ids.iter().copied())
    }
}

/// A channel or a thread, as REST responses describe it.
#[derive(Clone, Debug, Deserialize)]
pub struct PartialChannel {
    /// Required: parsing fails without the id or the type.
    pub id: ChannelId,
    /// Discord's channel type, such as 0 for a text channel.
    #[serde(rename = "type")]
    pub kind: u8,
    /// The name, which is untrusted text; `None` where Discord leaves it out.
    pub name: Option<String>,
    /// The newest message, which may have been deleted since; `None` if there never was one.
    pub last_message_id: Option<MessageId>,
    /// The channel's guild; `None` for direct messages, and in some lists.
    pub guild_id: Option<GuildId>,
    /// For a thread, the channel that it belongs to. For a channel, its category.
    pub parent_id: Option<ChannelId>,
    /// The permission overwrites. `None` if one could not be parsed, and for threads, which use the
    /// overwrites of their parent channel.
    #[serde(default, deserialize_with = "lenient_overwrites")]
    pub permission_overwrites: Option<Vec<Overwrite>>,
    /// Only threads have this.
    pub thread_metadata: Option<ThreadMetadata>,
}

impl PartialChannel {
    /// Where the channel stands; `None` if an id cannot be stored.
    pub fn place(&self) -> Option<ChannelPlace> {
        place(self.id, self.parent_id, self.kind)
    }
}

/// The fields that only threads have.
#[derive(Clone, Debug, Deserialize)]
pub struct ThreadMetadata {
    /// When the thread was last archived or unarchived, in ISO 8601.
    pub archive_timestamp: Option<String>,
}

/// A response that is a list of channels.
#[derive(Debug)]
pub struct ChannelList {
    /// The channels that could be parsed. Each of the others is logged.
    pub channels: Vec<PartialChannel>,
    /// Whether all channels could be parsed.
    pub is_complete: bool,
}

impl<'de> Deserialize<'de> for ChannelList {
    fn deserialize<D: Deserializer<'de>>(list: D) -> Result<Self, D::Error> {
        let list: Vec<Value> = Vec::deserialize(list)?;
        let listed = list.len();
        let channels = parsed(list);
        Ok(Self {
            is_complete: channels.len() == listed,
            channels,
        })
    }
}

/// A response that is a list of threads, or one page of it.
#[derive(Debug, Deserialize)]
pub struct ThreadList {
    /// The threads that could be parsed. Each of the others is logged.
    #[serde(deserialize_with = "parse_or_skip")]
    pub threads: Vec<PartialChannel>,
    /// Whether there is another page. Discord sends it only for archived threads.
    #[serde(default)]
    pub has_more: bool,
}

/// Parses a list of channels. Logs and skips a channel that cannot be parsed, so that it does not
/// make the others unavailable.
fn parse_or_skip<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<PartialChannel>, D::Error> {
    Ok(parsed(Vec::deserialize(list)?))
}

fn parsed(list: Vec<Value>) -> Vec<PartialChannel> {
    let parse = |channel: Value| {
        let id = id_of(&channel);
        let parsed = PartialChannel::deserialize(channel);
        if parsed.is_err() {
            tracing::error!(
                id,
                "Discord's description of a channel or thread could not be parsed; the bot will not count messages \
                 that it missed there"
            );
        }
        parsed.ok()
    };
    list.into_iter().filter_map(parse).collect()
}
