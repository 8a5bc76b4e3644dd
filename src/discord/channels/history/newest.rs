//! Finds a channel's newest message from Discord's description of the channel, without reading
//! any messages.

use crate::discord::payload::PartialChannel;
use crate::leveling::MessageId;

/// The id of the channel's last message or, if it is a forum, of its last post (a thread).
pub(super) fn last_message(channel: &PartialChannel) -> Option<MessageId> {
    channel.last_message_id?.try_into().ok()
}

/// The newest message id in a channel; `None` for types that contain no messages. The channel's
/// own id counts too: a forum post's first message has the post's id, and Discord gives no last
/// message for a post that contains only that one.
pub(super) fn newest_in(channel: &PartialChannel) -> Option<MessageId> {
    let own = MessageId::new(channel.id.get());
    last_message(channel)
        .max(own)
        .filter(|_| channel.holds_messages())
}

pub(super) fn newer(channel: &PartialChannel, after: MessageId) -> bool {
    newest_in(channel).is_some_and(|newest| newest > after)
}
