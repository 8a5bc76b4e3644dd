//! Live messages in threads whose parent channel is not recorded yet.
//!
//! A rule about the parent may apply to them, so what they earn is not known yet. The engine
//! records them as missing history, and they are read and counted once the parent is known. So no
//! other message has to wait, and after a restart they are read from the history.
//!
//! Copies are kept here, in memory, in case the thread and its history are deleted before that.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
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

    /// The messages in this thread up to `until`.
    pub fn up_to(&self, thread: ChannelId, until: MessageId) -> Vec<EligibleMessage> {
        let kept = self.kept();
        let found = kept.range(range(thread, until));
        found.map(|(_, seen)| seen.clone()).collect()
    }

    /// Removes the messages in this thread up to `until`. Call this once they are counted.
    pub fn forget(&self, thread: ChannelId, until: MessageId) {
        let mut kept = self.kept();
        let keys: Vec<_> = kept
            .range(range(thread, until))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            kept.remove(&key);
        }
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<(ChannelId, MessageId), EligibleMessage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn range(thread: ChannelId, until: MessageId) -> RangeInclusive<(ChannelId, MessageId)> {
    let first = MessageId::new(1).expect("1 is an id");
    (thread, first)..=(thread, until)
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
            let (channel, until) = (
                ChannelId::new(channel).unwrap(),
                MessageId::new(until).unwrap(),
            );
            let kept = unplaced.up_to(channel, until);
            assert_eq!(unplaced.up_to(channel, until), kept);
            unplaced.forget(channel, until);
            let ids = kept.iter().map(|seen| seen.message.get());
            ids.collect::<Vec<_>>()
        };
        assert_eq!(take(7, 12), [10, 12]);
        assert_eq!(take(7, 12), [0_u64; 0]);
        assert_eq!((take(7, 99), take(8, 11)), (vec![13], vec![11]));
    }
}
