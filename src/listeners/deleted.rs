//! Messages and channels were deleted: what moderators had been told there is told again.
//!
//! Only notes it down; nothing is posted before somebody looks for problems again.

use serenity::all as theirs;

use super::Listeners;
use crate::leveling::{ChannelId, GuildId, MessageId};

/// Messages are gone, one or many.
pub(super) async fn on_messages(
    listeners: &Listeners,
    guild: Option<theirs::GuildId>,
    messages: &[theirs::MessageId],
) {
    if !is_served(listeners, guild) {
        return;
    }
    let messages = messages
        .iter()
        .filter_map(|id| MessageId::try_from(*id).ok());
    let messages: Vec<MessageId> = messages.collect();
    noted(listeners.council.messages_deleted(&messages).await);
}

/// A channel is gone.
pub(super) async fn on_channel(listeners: &Listeners, channel: &theirs::GuildChannel) {
    if !is_served(listeners, Some(channel.guild_id)) {
        return;
    }
    if let Ok(channel) = ChannelId::try_from(channel.id) {
        noted(listeners.council.channel_deleted(channel).await);
    }
}

/// The guild has these channels, as at the beginning of a session: one that is not among them
/// was deleted while nobody listened.
pub(super) async fn on_guild(listeners: &Listeners, channels: &[ChannelId]) {
    noted(listeners.council.channels_are(channels).await);
}

fn is_served(listeners: &Listeners, guild: Option<theirs::GuildId>) -> bool {
    guild.and_then(|guild| GuildId::try_from(guild).ok()) == Some(listeners.guild)
}

fn noted(result: anyhow::Result<()>) {
    if let Err(error) = result {
        let error = format!("{error:#}");
        tracing::warn!(
            error,
            "it could not be noted that something was deleted; if it told moderators of a problem, \
             they are told again when the problem changes"
        );
    }
}
