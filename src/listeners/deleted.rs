//! Deleted messages and channels. If a notice to moderators was deleted with them, the council
//! forgets that it was posted, and posts it again with the next report of that problem.
//!
//! Posts nothing itself.

use super::Listeners;
use crate::discord::payload::{ChannelDeletion, MessageDeletion};
use crate::leveling::{ChannelId, MessageId};

/// One or more messages were deleted.
pub(super) fn on_messages(listeners: &Listeners, event: &MessageDeletion) {
    if !event.guild_id.is_some_and(|guild| listeners.serves(guild)) {
        return;
    }
    let messages = event
        .messages()
        .filter_map(|id| MessageId::try_from(id).ok());
    let messages: Vec<MessageId> = messages.collect();
    let council = listeners.bot.env.council.clone();
    listeners
        .notes
        .spawn(async move { log_failure(council.messages_deleted(&messages).await) });
}

/// A channel was deleted.
pub(super) fn on_channel(listeners: &Listeners, event: &ChannelDeletion) {
    if !event.guild_id.is_some_and(|guild| listeners.serves(guild)) {
        return;
    }
    if let Ok(channel) = ChannelId::try_from(event.id) {
        let council = listeners.bot.env.council.clone();
        listeners
            .notes
            .spawn(async move { log_failure(council.channel_deleted(channel).await) });
    }
}

/// Takes the complete list of the guild's channels, at the start of a session. A channel that is
/// not in it was deleted while the bot was not connected.
pub(super) fn on_guild(listeners: &Listeners, channels: Vec<ChannelId>) {
    let council = listeners.bot.env.council.clone();
    listeners
        .notes
        .spawn(async move { log_failure(council.channels_are(&channels).await) });
}

fn log_failure(result: anyhow::Result<()>) {
    if let Err(error) = result {
        let error = format!("{error:#}");
        tracing::warn!(
            error,
            "a deletion could not be recorded; if it was a notice to moderators, it is posted \
             again only when its problem changes"
        );
    }
}
