//! One queue for each channel that the bot posts in: one message at a time, in turns that are
//! fair to every author.
//!
//! The rate limiter serves calls in the order in which they came, so an author with many messages
//! would delay everyone else's. A caller therefore waits for its turn in the channel before it
//! posts, and holds the turn while it posts. No task runs for a queue: when a caller finishes or is
//! cancelled, its turn is dropped and passes to the next one. A channel without posts takes no
//! memory. `turns` decides who is next.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serenity::all::ChannelId;
use tokio::sync::oneshot;

use super::turns::{Author, Priority, Waiting};

/// The queues of all channels. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct ChannelQueues(Arc<QueueState>);

#[derive(Debug, Default)]
struct QueueState {
    /// The channels whose turn is held by a caller.
    queues: Mutex<HashMap<ChannelId, ChannelQueue>>,
    /// The number of the next entry.
    entries: AtomicU64,
    /// How many messages were left out since the start.
    left_out: AtomicU64,
}

#[derive(Debug, Default)]
struct ChannelQueue {
    waiting: Waiting,
    /// By entry: the sender through which the waiting caller receives the turn.
    hand_over: HashMap<u64, oneshot::Sender<Turn>>,
}

/// The right to post in a channel. Dropping it passes the right to the next in the queue.
#[derive(Debug)]
pub(in crate::discord) struct Turn {
    queues: ChannelQueues,
    channel: ChannelId,
}

/// The message must not be sent: its turn did not come in time, or too many messages were waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeftOut;

impl ChannelQueues {
    /// Waits for the turn in a channel, for at most `timeout`. A caller that stops waiting leaves
    /// the queue.
    pub async fn turn(
        &self,
        channel: ChannelId,
        priority: Priority,
        author: Author,
        timeout: Duration,
    ) -> Result<Turn, LeftOut> {
        let Some((place, turn)) = self.enqueue(channel, priority, author) else {
            return Ok(Turn {
                queues: self.clone(),
                channel,
            });
        };
        let given = tokio::time::timeout(timeout, turn).await;
        drop(place);
        given.ok().and_then(Result::ok).ok_or_else(|| {
            let count = self.0.left_out.fetch_add(1, Ordering::Relaxed) + 1;
            if count.is_power_of_two() {
                tracing::warn!(
                    %channel,
                    count,
                    "a message was not sent: too many messages wait for this channel"
                );
            }
            LeftOut
        })
    }

    /// Takes a place in the queue. If no caller holds the turn, gives it to this one at once and
    /// returns `None`.
    fn enqueue(
        &self,
        channel: ChannelId,
        priority: Priority,
        author: Author,
    ) -> Option<(QueuePlace, oneshot::Receiver<Turn>)> {
        let mut queues = self.lock();
        let Some(queue) = queues.get_mut(&channel) else {
            queues.insert(channel, ChannelQueue::default());
            return None;
        };
        let entry = self.0.entries.fetch_add(1, Ordering::Relaxed);
        let (hand_over, turn) = oneshot::channel();
        queue.hand_over.insert(entry, hand_over);
        if let Some(left_out) = queue.waiting.add(entry, priority, author) {
            // Dropping the sender ends that caller's wait with `LeftOut`.
            queue.hand_over.remove(&left_out);
        }
        let place = QueuePlace {
            queues: self.clone(),
            channel,
            entry,
        };
        Some((place, turn))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelId, ChannelQueue>> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut queues = self.queues.lock();
            let Some(queue) = queues.get_mut(&self.channel) else {
                return;
            };
            let next = queue.waiting.next();
            let hand_over = next.and_then(|entry| queue.hand_over.remove(&entry));
            if hand_over.is_none() {
                queues.remove(&self.channel);
            }
            hand_over
        };
        if let Some(hand_over) = next {
            let turn = Self {
                queues: self.queues.clone(),
                channel: self.channel,
            };
            // If that caller has just stopped waiting, `send` returns the turn, and dropping it
            // passes it on to the next one.
            drop(hand_over.send(turn));
        }
    }
}

/// A place in a queue. Dropping it removes the entry.
struct QueuePlace {
    queues: ChannelQueues,
    channel: ChannelId,
    entry: u64,
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        if let Some(queue) = self.queues.lock().get_mut(&self.channel) {
            queue.waiting.remove(self.entry);
            queue.hand_over.remove(&self.entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::leveling::UserId;

    const LONG: Duration = Duration::from_mins(1);

    fn user(id: u64) -> Author {
        Author::User(UserId::new(id).expect("an id"))
    }

    #[tokio::test]
    async fn one_caller_holds_the_turn_and_the_next_author_gets_it() {
        let (queues, channel) = (ChannelQueues::default(), ChannelId::new(1));
        let turn = |author| queues.turn(channel, Priority::Usual, author, LONG);
        let held = turn(user(7)).await.expect("nobody else wants it");
        let mut waiting: Vec<_> = [7, 7, 8].map(|id| Box::pin(turn(user(id)))).into();
        for one in &mut waiting {
            assert!(one.as_mut().now_or_never().is_none(), "it is held");
        }
        let elsewhere = queues.turn(ChannelId::new(2), Priority::Usual, user(7), LONG);
        assert!(
            elsewhere.now_or_never().is_some(),
            "another channel is free"
        );
        drop(held);
        let first = waiting[0].as_mut().now_or_never();
        let first = first.expect("its turn").expect("a turn");
        assert!(waiting[2].as_mut().now_or_never().is_none());
        drop(first);
        let other = waiting[2].as_mut().now_or_never();
        assert!(waiting[1].as_mut().now_or_never().is_none());
        drop(other.expect("the other author's turn"));
        let last = waiting[1].as_mut().now_or_never();
        drop(last.expect("its turn"));
        drop(waiting);
        assert!(queues.lock().is_empty(), "an idle channel takes no memory");
    }

    #[tokio::test]
    async fn a_caller_that_stops_waiting_does_not_block_the_queue() {
        let (queues, channel) = (ChannelQueues::default(), ChannelId::new(1));
        let turn = |author, timeout| queues.turn(channel, Priority::Usual, author, timeout);
        let held = turn(user(7), LONG).await.expect("nobody else wants it");
        assert_eq!(turn(user(8), Duration::ZERO).await.err(), Some(LeftOut));
        let mut cut_off = Box::pin(turn(user(8), LONG));
        assert!(cut_off.as_mut().now_or_never().is_none());
        drop(cut_off);
        let mut given_too_late = Box::pin(turn(user(8), LONG));
        assert!(given_too_late.as_mut().now_or_never().is_none());
        let mut last = Box::pin(turn(user(9), LONG));
        assert!(last.as_mut().now_or_never().is_none());
        drop(held);
        // It has been given the turn, but is dropped before it is polled again.
        drop(given_too_late);
        drop(last.as_mut().now_or_never().expect("its turn"));
        drop(last);
        assert!(queues.lock().is_empty());
    }

    #[tokio::test]
    async fn an_author_who_floods_a_channel_is_left_out() {
        let (queues, channel) = (ChannelQueues::default(), ChannelId::new(1));
        let turn = |author| queues.turn(channel, Priority::Usual, author, LONG);
        let held = turn(user(7)).await.expect("nobody else wants it");
        let mut flood: Vec<_> = (0..150).map(|_| Box::pin(turn(user(7)))).collect();
        let left_out = flood
            .iter_mut()
            .filter_map(|one| one.as_mut().now_or_never())
            .filter(|turn| turn.as_ref().err() == Some(&LeftOut));
        assert_eq!(left_out.count(), 50);
        let mut other = Box::pin(turn(user(8)));
        assert!(other.as_mut().now_or_never().is_none());
        drop(held);
        drop(flood);
        assert!(other.as_mut().now_or_never().expect("its turn").is_ok());
    }
}
