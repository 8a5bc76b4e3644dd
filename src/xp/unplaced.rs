//! Live messages in threads whose parent channel is not recorded yet.
//!
//! A rule about the parent may apply to them, so what they earn is not known yet. The engine
//! records them as missing history, and they are read and counted once the parent is known. So no
//! other message has to wait, and a restart loses none of them.
//!
//! Copies are kept here, in memory, in case the thread and its history are deleted before that.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::inbox::EligibleMessage;
use crate::leveling::{ChannelId, MessageId};

/// Maximum number of messages kept. Further ones can only be read from the history.
const MAX_KEPT: usize = 10_000;

/// The messages, by thread.
#[derive(Debug, Default)]
pub struct UnplacedMessages(Mutex<BTreeMap<(ChannelId, MessageId), EligibleMessage>>);

impl UnplacedMessages {
    pub(super) fn keep(&self, messages: &[EligibleMessage]) {
        let mut kept = self.kept();
        for seen in messages {
            if kept.len() < MAX_KEPT {
                kept.insert((seen.channel, seen.message), seen.clone());
            }
        }
    }

    /// Removes and returns the messages in this thread up to `until`.
    pub fn take(&self, thread: ChannelId, until: MessageId) -> Vec<EligibleMessage> {
        let mut kept = self.kept();
        let first = MessageId::new(1).expect("1 is an id");
        let range = (thread, first)..=(thread, until);
        let keys: Vec<_> = kept.range(range).map(|(key, _)| *key).collect();
        keys.iter().filter_map(|key| kept.remove(key)).collect()
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<(ChannelId, MessageId), EligibleMessage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leveling::UserId;

    #[test]
    fn messages_are_kept_by_thread_and_taken_once() {
        let unplaced = UnplacedMessages::default();
        let seen = |channel, message| EligibleMessage {
            message: MessageId::new(message).unwrap(),
            channel: ChannelId::new(channel).unwrap(),
            user: UserId::new(3).unwrap(),
            profile: None,
            roles: None,
        };
        unplaced.keep(&[seen(7, 10), seen(8, 11), seen(7, 12), seen(7, 13)]);
        let take = |channel, until| {
            let taken = unplaced.take(
                ChannelId::new(channel).unwrap(),
                MessageId::new(until).unwrap(),
            );
            let ids = taken.iter().map(|seen| seen.message.get());
            ids.collect::<Vec<_>>()
        };
        assert_eq!(take(7, 12), [10, 12]);
        assert_eq!(take(7, 12), [0_u64; 0]);
        assert_eq!((take(7, 99), take(8, 11)), (vec![13], vec![11]));
    }
}
