//! Messages and channels were deleted: what moderators had been told there is told again.
//!
//! Only notes it down; nothing is posted before somebody looks for problems again.

use super::Listeners;
use crate::discord::payload::{ChannelDeletion, MessageDeletion};
use crate::leveling::{ChannelId, MessageId};

/// Messages are gone, one or many.
pub(super) fn on_messages(listeners: &Listeners, event: &MessageDeletion) {
    if !event.guild_id.is_some_and(|guild| listeners.serves(guild)) {
        return;
    }
    let messages = event
        .messages()
        .filter_map(|id| MessageId::try_from(id).ok());
    let messages: Vec<MessageId> = messages.collect();
    let council = listeners.env.council.clone();
    listeners
        .notes
        .spawn(async move { noted(council.messages_deleted(&messages).await) });
}

/// A channel is gone.
pub(super) fn on_channel(listeners: &Listeners, event: &ChannelDeletion) {
    if !event.guild_id.is_some_and(|guild| listeners.serves(guild)) {
        return;
    }
    if let Ok(channel) = ChannelId::try_from(event.id) {
        let council = listeners.env.council.clone();
        listeners
            .notes
            .spawn(async move { noted(council.channel_deleted(channel).await) });
    }
}

/// The guild has these channels, as at the beginning of a session: one that is not among them
/// was deleted while nobody listened.
pub(super) fn on_guild(listeners: &Listeners, channels: Vec<ChannelId>) {
    let council = listeners.env.council.clone();
    listeners
        .notes
        .spawn(async move { noted(council.channels_are(&channels).await) });
}

fn noted(result: anyhow::Result<()>) {
    if let Err(error) = result {
        let error = format!("{error:#}");
        tracing::warn!(
            error,
            "a deletion could not be recorded; if it was a notice to moderators, they are told again when the \
             problem changes"
        );
    }
}
