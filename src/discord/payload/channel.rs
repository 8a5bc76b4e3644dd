//! Channels, threads, and lists of them.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serenity::model::id::{ChannelId, GuildId, MessageId};

use super::id_of;
use crate::discord::permissions::{Overwrite, lenient_overwrites};

/// A channel's id; other fields are ignored.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct ChannelRef {
    /// Discord's id.
    pub id: ChannelId,
}

/// A channel that was deleted.
#[derive(Debug, Deserialize)]
pub struct ChannelDeletion {
    /// Which.
    pub id: ChannelId,
    /// Where; `None` for direct messages.
    pub guild_id: Option<GuildId>,
}

/// Messages that were deleted, one or many.
#[derive(Debug, Deserialize)]
pub struct MessageDeletion {
    /// Where; `None` for direct messages.
    pub guild_id: Option<GuildId>,
    id: Option<MessageId>,
    #[serde(default)]
    ids: Vec<MessageId>,
}

impl MessageDeletion {
    /// Which.
    pub fn messages(&self) -> impl Iterator<Item = MessageId> + '_ {
        self.id.into_iter().chain(self.ids.iter().copied())
    }
}

/// A channel or a thread.
#[derive(Clone, Debug, Deserialize)]
pub struct PartialChannel {
    /// Its id.
    pub id: ChannelId,
    /// Discord's channel type.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Its name; hostile text, as all names.
    pub name: Option<String>,
    /// Its newest message, which may have been deleted.
    pub last_message_id: Option<MessageId>,
    /// Of a thread: the channel that it hangs on. Of a channel: its category.
    pub parent_id: Option<ChannelId>,
    /// Exceptions to what the guild's roles grant; `None` for threads, which have their
    /// parent's, and where they are not understood.
    #[serde(default, deserialize_with = "lenient_overwrites")]
    pub permission_overwrites: Option<Vec<Overwrite>>,
    /// Of a thread.
    pub thread_metadata: Option<ThreadMetadata>,
}

/// What only threads have.
#[derive(Clone, Debug, Deserialize)]
pub struct ThreadMetadata {
    /// When it was archived or brought back, in ISO 8601.
    pub archive_timestamp: Option<String>,
}

/// A list of channels.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct ChannelList {
    /// Those that could be read.
    #[serde(deserialize_with = "readable")]
    pub channels: Vec<PartialChannel>,
}

/// A list of threads.
#[derive(Debug, Deserialize)]
pub struct ThreadList {
    /// Those that could be read.
    #[serde(deserialize_with = "readable")]
    pub threads: Vec<PartialChannel>,
    /// Whether there is another page; only of archived ones.
    #[serde(default)]
    pub has_more: bool,
}

/// One channel that makes no sense must not hide the others.
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
