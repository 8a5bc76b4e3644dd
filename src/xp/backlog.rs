//! The messages of a catch-up, which the engine applies a batch at a time.
//!
//! Holds them in order and says which history is missing among them. Applies nothing itself.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::batch::Batch;
use super::inbox::{EligibleMessage, History, MissingHistory};
use crate::leveling::{MessageId, UserId};
use crate::store::history_interval::UnreadSource;

/// How often the log reports the progress of a long catch-up.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Backlog {
    /// Sorted by id. The first `applied` of them are applied.
    messages: Vec<EligibleMessage>,
    applied: usize,
    /// Everything up to this message has been read.
    reached: MessageId,
    /// What could not be read up to there.
    missing: MissingHistory,
    /// Whether a batch has noted what is missing.
    is_missing_noted: bool,
    /// The oldest message, which is the first that may bring a level-up line.
    first: MessageId,
    /// Another gap was found meanwhile. It begins where this one ends, and includes the live
    /// messages received since.
    pub gap_follows: bool,
    /// How many messages were read, for the log.
    missed: usize,
    /// Users who have earned XP, for the log.
    earners: HashSet<UserId>,
    progress_logged_at: Instant,
}

/// Missing history: each source, with the messages between which it is missing.
pub(super) type MissingIntervals = Vec<(UnreadSource, MessageId, MessageId)>;

impl Backlog {
    /// The messages that were read, and the live ones that came meanwhile.
    pub fn new(history: History, waiting: Vec<EligibleMessage>) -> Self {
        let History {
            mut messages,
            reached,
            missing,
            ..
        } = history;
        // Messages newer than the start of the reading may have been read in one channel and
        // not in another. They all come live, and in order; or the session is lost once more,
        // and the next reading begins where this one ends.
        messages.retain(|seen| seen.message <= reached);
        let missed = messages.len();
        let mut backlog = Self {
            messages,
            applied: 0,
            reached,
            missing,
            is_missing_noted: false,
            first: reached,
            gap_follows: false,
            missed,
            earners: HashSet::new(),
            progress_logged_at: Instant::now(),
        };
        backlog.append(waiting);
        backlog
    }

    pub fn append(&mut self, waiting: Vec<EligibleMessage>) {
        self.messages.drain(..self.applied);
        self.applied = 0;
        self.messages.extend(waiting);
        self.messages.sort_unstable_by_key(|seen| seen.message);
        if let Some(seen) = self.messages.first() {
            self.first = self.first.min(seen.message);
        }
    }

    /// The messages that are not applied yet.
    pub fn rest(&self) -> &[EligibleMessage] {
        &self.messages[self.applied..]
    }

    pub fn first(&self) -> MessageId {
        self.first
    }

    pub fn reached(&self) -> MessageId {
        self.reached
    }

    /// All messages, applied ones included.
    pub fn into_messages(self) -> Vec<EligibleMessage> {
        self.messages
    }

    /// What is missing between `applied` and `reached`, the end of the batch that is about to be
    /// applied.
    pub fn missing_intervals(
        &self,
        applied: Option<MessageId>,
        reached: Option<MessageId>,
        is_last: bool,
    ) -> MissingIntervals {
        let Some(after) = applied.max(self.missing.floor) else {
            return Vec::new();
        };
        let interval = |source: &UnreadSource| {
            // Messages newer than the history that was read arrive live. That bound does not hold
            // for threads that no list contained, so their interval ends later.
            let bound = if source.source.is_thread_list() {
                self.missing.lists_until.max(Some(self.reached))?
            } else {
                self.reached
            };
            let end = if is_last { bound } else { bound.min(reached?) };
            if end > after {
                return Some((source.clone(), after, end));
            }
            // Only the margin that is read again before each gap is missing. The shortest
            // possible interval represents it.
            let next = MessageId::new(after.get() + 1)?;
            (is_last && !self.is_missing_noted).then(|| (source.clone(), after, next))
        };
        self.missing.sources.iter().filter_map(interval).collect()
    }

    /// Records that the next `count` messages were applied as this batch. `is_missing_noted` says
    /// whether the batch saved what is missing.
    pub fn advance(&mut self, count: usize, batch: &Batch, is_missing_noted: bool) {
        self.applied += count;
        self.is_missing_noted |= is_missing_noted;
        self.earners.extend(batch.users.iter().map(|row| row.user));
    }

    pub fn log_progress(&mut self) {
        if self.progress_logged_at.elapsed() >= PROGRESS_INTERVAL {
            self.progress_logged_at = Instant::now();
            tracing::info!(
                missed = self.missed,
                left = self.rest().len(),
                "missed messages are being counted"
            );
        }
    }

    pub fn log_end(&self) {
        if self.missed > 0 {
            tracing::info!(
                missed = self.missed,
                earned = self.earners.len(),
                "missed messages have been counted"
            );
        }
    }
}
