//! Congratulates: delivers the outbox, one line for each level-up.
//!
//! A row leaves the outbox when its line is posted, or when it never can be. The
//! message's id is the nonce, so that a line posted twice is one line.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream};

use crate::backoff::backoff;
use crate::discord::{Rest, RestError, announce};
use crate::leveling::MessageId;
use crate::store::Database;
use crate::store::outbox::{self, LevelUp, Pending};
use crate::xp::XpCache;

/// Rows taken at a time.
const PAGE: u16 = 50;
/// Lines posted side by side: a channel that does not answer holds up no other.
const AT_ONCE: usize = 4;
const RETRY_LEAST: Duration = Duration::from_secs(2);
const RETRY_MOST: Duration = Duration::from_mins(5);
/// About an hour; a line that comes later than that would puzzle more than please.
const MOST_ATTEMPTS: u32 = 20;

/// What the task works with.
#[derive(Debug)]
pub struct LevelUps {
    /// Where the outbox is.
    pub database: Database,
    /// Knows who is hidden.
    pub xp: Arc<XpCache>,
    /// Posts the lines.
    pub rest: Rest,
    /// Lines that are posted although their rows could not be removed yet: a database
    /// that is away for longer than Discord remembers a nonce must not repeat them.
    pub posted: Mutex<BTreeSet<MessageId>>,
}

/// What becomes of a row.
enum Outcome {
    /// The line is posted, or must not be.
    Done,
    /// It may work later.
    Again,
}

impl LevelUps {
    /// Delivers everything that is due at `now`.
    pub async fn run_once(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        loop {
            let due = outbox::due(&mut *self.database.acquire().await?, now, PAGE).await?;
            if due.is_empty() {
                return Ok(());
            }
            let delivering = stream::iter(due).map(|pending| self.deliver(pending, now));
            // All of them to their end: one that fails must not cut off another whose line
            // is on its way, and which would be posted again.
            let outcomes: Vec<_> = delivering.buffer_unordered(AT_ONCE).collect().await;
            outcomes.into_iter().collect::<anyhow::Result<()>>()?;
        }
    }

    async fn deliver(&self, pending: Pending, now: DateTime<Utc>) -> anyhow::Result<()> {
        let message = pending.level_up.message;
        match self.post(&pending).await {
            Outcome::Done => {
                self.posted().insert(message);
                outbox::remove(&mut *self.database.acquire().await?, message).await?;
                self.posted().remove(&message);
            }
            Outcome::Again => {
                let next = now + backoff(pending.attempts, RETRY_LEAST, RETRY_MOST);
                outbox::postpone(&mut *self.database.acquire().await?, message, next).await?;
            }
        }
        Ok(())
    }

    async fn post(&self, pending: &Pending) -> Outcome {
        let LevelUp {
            message,
            user,
            channel,
            level,
        } = pending.level_up;
        if self.posted().contains(&message) {
            return Outcome::Done;
        }
        if self.xp.get(user).is_some_and(|user| user.hidden) {
            tracing::debug!(%user, %level, "a hidden user's level-up goes without a line");
            return Outcome::Done;
        }
        match announce::level_up(&self.rest, channel, message, user, level).await {
            Ok(()) => Outcome::Done,
            Err(error @ RestError::Refused { .. }) => {
                tracing::warn!(%error, %user, %level, %channel, "a level-up line may not be posted; it is left out");
                Outcome::Done
            }
            Err(error) if pending.attempts + 1 >= MOST_ATTEMPTS => {
                tracing::error!(%error, %user, %level, %channel, "a level-up line could not be posted for an hour; it is left out");
                Outcome::Done
            }
            Err(error) => {
                if pending.attempts == 0 {
                    tracing::warn!(%error, %user, %level, %channel, "a level-up line could not be posted; it is tried again");
                }
                Outcome::Again
            }
        }
    }

    fn posted(&self) -> std::sync::MutexGuard<'_, BTreeSet<MessageId>> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
