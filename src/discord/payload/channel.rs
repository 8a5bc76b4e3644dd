//! Channels and threads, lists of them, and events about deleted channels and messages.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serenity::model::id::{ChannelId, GuildId, MessageId};

use super::id_of;
use crate::discord::guild::channel_permissions::{Overwrite, lenient_overwrites};

/// A channel's id; other fields are ignored.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct ChannelRef {
    /// Required: parsing fails without it.
    pub id: ChannelId,
}

/// A `CHANNEL_DELETE` event.
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
    /// Required, as is the type.
    pub id: ChannelId,
    /// Discord's channel type, such as 0 for a text channel.
    #[serde(rename = "type")]
    pub kind: u8,
    /// The name, which is untrusted text; `None` where Discord leaves it out.
    pub name: Option<String>,
    /// The newest message, which may have been deleted since; `None` if there never was one.
    pub last_message_id: Option<MessageId>,
    /// For a thread, the channel that it belongs to. For a channel, its category.
    pub parent_id: Option<ChannelId>,
    /// The permission overwrites. `None` for threads, which use those of their parent channel, and
    /// if one of the overwrites was not understood.
    #[serde(default, deserialize_with = "lenient_overwrites")]
    pub permission_overwrites: Option<Vec<Overwrite>>,
    /// Only threads have this.
    pub thread_metadata: Option<ThreadMetadata>,
}

/// The fields that only threads have.
#[derive(Clone, Debug, Deserialize)]
pub struct ThreadMetadata {
    /// When the thread was last archived or unarchived, in ISO 8601.
    pub archive_timestamp: Option<String>,
}

/// A response that is a list of channels.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct ChannelList {
    /// Without the channels that were not understood; each of those is logged.
    #[serde(deserialize_with = "readable")]
    pub channels: Vec<PartialChannel>,
}

/// A response that is a list of threads, or one page of it.
#[derive(Debug, Deserialize)]
pub struct ThreadList {
    /// Without the threads that were not understood; each of those is logged.
    #[serde(deserialize_with = "readable")]
    pub threads: Vec<PartialChannel>,
    /// Whether there is another page. Discord sends it only for archived threads.
    #[serde(default)]
    pub has_more: bool,
}

/// Parses a list of channels, and logs and skips those that are not understood: one of them must
/// not make the others unavailable.
fn readable<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<PartialChannel>, D::Error> {
    let list: Vec<Value> = Vec::deserialize(list)?;
    let read = |channel: Value| {
        let id = id_of(&channel);
        let read = PartialChannel::deserialize(channel);
        if read.is_err() {
            tracing::error!(
                id,
                "Discord's description of a channel or thread was not understood; messages missed in it are not \
                 counted"
            );
        }
        read.ok()
    };
    Ok(list.into_iter().filter_map(read).collect())
}
