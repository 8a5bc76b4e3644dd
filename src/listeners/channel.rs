//! Channels and threads are created, moved to another category and deleted.
//!
//! Passes on where they stand, which decides which rules on XP apply to their messages. Applies no
//! rule itself.

use super::Listeners;
use crate::discord::payload::{ChannelDeletion, ChannelEvent, PartialChannel, ThreadsEvent};
use crate::leveling::ChannelId;
use crate::xp::Observation;

/// A channel or thread was created or changed.
pub(super) fn on_change(listeners: &Listeners, event: &ChannelEvent) {
    if event.guild_id.is_some_and(|guild| listeners.serves(guild))
        && let Some(place) = event.place()
    {
        listeners.observed(Observation::Channel(place));
    }
}

/// A channel or thread was deleted.
pub(super) fn on_delete(listeners: &Listeners, event: &ChannelDeletion) {
    if event.guild_id.is_some_and(|guild| listeners.serves(guild))
        && let Ok(channel) = ChannelId::try_from(event.id)
    {
        listeners.observed(Observation::ChannelGone(channel));
    }
}

/// The bot can see a channel now, and Discord lists its active threads.
pub(super) fn on_threads(listeners: &Listeners, event: &ThreadsEvent) {
    if listeners.serves(event.guild_id) {
        for place in event.threads.iter().filter_map(PartialChannel::place) {
            listeners.observed(Observation::Channel(place));
        }
    }
}
