//! Decides which channels the bot may read. It does not request the others, because Discord bans
//! clients that are refused too often.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serenity::model::id as serenity_ids;

use super::HistoryReader;
use crate::discord::guild::channel_permissions::PermissionHolder;
use crate::discord::guild::{self, members, roles};
use crate::discord::payload::PartialChannel;
use crate::discord::rest::RestError;
use crate::leveling::permission_bits::{CONNECT, READ_MESSAGE_HISTORY, VIEW_CHANNEL};
use crate::leveling::{ChannelId, HistorySource, Overwrite};

/// Timeout of the call for the owner and roles that decide what the bot may read.
const ACCESS_TIMEOUT: Duration = Duration::from_secs(10);

/// Decides which channels the bot may read, as far as its permissions are known.
#[derive(Debug)]
pub(super) struct Access {
    /// `None` if Discord did not answer: then every channel is requested.
    bot: Option<PermissionHolder>,
    overwrites: BTreeMap<serenity_ids::ChannelId, Option<Vec<Overwrite>>>,
}

impl Access {
    pub(super) fn list(&mut self, channels: &[PartialChannel]) {
        let listed = channels.iter();
        let listed = listed.map(|channel| (channel.id, channel.permission_overwrites.clone()));
        self.overwrites = listed.collect();
    }

    /// The inputs of the permission computation for a channel or a thread's parent; `None` if
    /// they are not all known.
    fn inputs(&self, channel: &PartialChannel) -> Option<(&PermissionHolder, &[Overwrite])> {
        let of = if channel.is_thread() {
            channel.parent_id?
        } else {
            channel.id
        };
        Some((self.bot.as_ref()?, self.overwrites.get(&of)?.as_deref()?))
    }

    /// Whether the bot may read the channel; `None` if that is unknown.
    fn may_read(&self, channel: &PartialChannel) -> Option<bool> {
        let (bot, overwrites) = self.inputs(channel)?;
        let needed = VIEW_CHANNEL | READ_MESSAGE_HISTORY;
        let needed = if channel.is_voice() {
            needed | CONNECT
        } else {
            needed
        };
        Some(bot.in_channel(overwrites) & needed == needed)
    }

    /// A hash that changes with the permissions that apply to the channel.
    fn hash(&self, channel: &PartialChannel) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        self.inputs(channel)?.hash(&mut hasher);
        Some(hasher.finish())
    }
}

impl<M> HistoryReader<'_, M> {
    /// Asks Discord for the bot's permissions. They only save calls that would be refused: if
    /// Discord does not answer, every channel is requested.
    pub(super) async fn access(&self) -> Result<Access, RestError> {
        let asked = async {
            let own_id = match self.memory.own_id.get() {
                Some(id) => *id,
                None => members::own_id(self.rest).await?,
            };
            let _ = self.memory.own_id.set(own_id);
            let (owner, roles) =
                guild::owner_and_roles(self.rest, self.guild, ACCESS_TIMEOUT).await?;
            let held = roles::of_bot(self.rest, self.guild, own_id).await?;
            Ok(PermissionHolder::new(
                self.guild, owner, own_id, &held, &roles,
            ))
        };
        let bot = match asked.await {
            Ok(bot) => Some(bot),
            Err(RestError::Revoked) => return Err(RestError::Revoked),
            Err(error) => {
                tracing::warn!(%error, "the bot's permissions are unknown; requesting every channel's history");
                None
            }
        };
        Ok(Access {
            bot,
            overwrites: BTreeMap::new(),
        })
    }

    /// Whether Discord would refuse to show this source to the bot. Such a source is not
    /// requested, because Discord bans clients that are refused too often.
    pub(super) fn is_closed(
        &self,
        source: impl Fn(ChannelId) -> HistorySource,
        channel: &PartialChannel,
        access: &Access,
    ) -> bool {
        let was_refused = || {
            let source = source(channel.id.try_into().ok()?);
            let refused = self.memory.refused().get(&source).copied();
            Some(refused? == access.hash(channel)?)
        };
        access.may_read(channel) == Some(false) || was_refused() == Some(true)
    }

    /// Remembers that Discord refused a source which the computed permissions allow.
    pub(super) fn note_refusal(
        &self,
        source: impl Fn(ChannelId) -> HistorySource,
        channel: &PartialChannel,
        access: &Access,
    ) {
        if let (Ok(id), Some(hash)) = (channel.id.try_into(), access.hash(channel)) {
            self.memory.refused().insert(source(id), hash);
        }
    }
}
