//! Delivers the outbox: for each level-up the roles that it brings, then one line.
//!
//! A row leaves the outbox when its line is posted, or when it never can be. The
//! message's id is the nonce, so that a line posted twice is one line.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream};

use crate::backoff::backoff;
use crate::discord::role_calls::RoleCalls;
use crate::discord::{Rest, RestError, announce};
use crate::leveling::{MessageId, RolePlan, UserId};
use crate::roles::{RoleBook, Verifications};
use crate::store::Database;
use crate::store::outbox::{self, LevelUp, Pending};
use crate::xp::XpCache;

const REASON: &str = "a level was reached";
/// How often a line waits for its role.
const ROLE_ATTEMPTS: u32 = 3;
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
    /// What level roles there are.
    pub book: RoleBook,
    /// Gives them.
    pub calls: RoleCalls,
    /// Looks at everything when one cannot be given.
    pub verifications: Verifications,
    /// Lines that are posted although their rows could not be removed yet: a database
    /// that is away for longer than Discord remembers a nonce must not repeat them.
    pub posted: Mutex<BTreeSet<(MessageId, UserId)>>,
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
        let LevelUp { message, user, .. } = pending.level_up;
        let outcome = match self.give_roles(&pending).await? {
            Ok(name) => self.post(&pending, name.as_deref()).await,
            Err(error) if pending.attempts < ROLE_ATTEMPTS => {
                if pending.attempts == 0 {
                    tracing::warn!(%error, %user, "a level's role could not be given; it is tried again");
                }
                Outcome::Again
            }
            // The line need not wait for longer; the verification gives the role.
            Err(_) => {
                self.verifications.soon();
                self.post(&pending, None).await
            }
        };
        match outcome {
            Outcome::Done => {
                self.posted().insert((message, user));
                outbox::remove(&mut *self.database.acquire().await?, message, user).await?;
                self.posted().remove(&(message, user));
            }
            Outcome::Again => {
                let next = now + backoff(pending.attempts, RETRY_LEAST, RETRY_MOST);
                outbox::postpone(&mut *self.database.acquire().await?, message, user, next).await?;
            }
        }
        Ok(())
    }

    /// Gives the roles of a level-up, once; the name of the one that the line speaks of. A
    /// role that is refused is the verification's to tell of, and does not hold up the line.
    async fn give_roles(
        &self,
        pending: &Pending,
    ) -> anyhow::Result<Result<Option<String>, RestError>> {
        let LevelUp {
            message,
            user,
            level,
            from,
            ..
        } = pending.level_up;
        let level_roles = match self.book.level_roles().await {
            Ok(level_roles) => level_roles,
            // The line is worth more than a list of roles that cannot be read.
            Err(RestError::Refused { .. } | RestError::NotUnderstood(_)) => {
                self.verifications.soon();
                return Ok(Ok(None));
            }
            Err(error) => return Ok(Err(error)),
        };
        // They would pass the screening by it; passing it is an event of its own.
        if self.book.is_awaited(user) {
            return Ok(Ok(None));
        }
        // By now a moderator may have taken XP away.
        let standing = self.xp.get(user).map(|user| user.standing);
        let deserved = level_roles.plan(&[], standing.as_ref()).add;
        let mut gained = level_roles.gained(from, level);
        gained.retain(|role| deserved.contains(role));
        let levels = self.xp.levels();
        let newest = gained.last().and_then(|role| levels.carrying(*role));
        let name = newest.and_then(|level| level.role_name.clone());
        if pending.roles_given || gained.is_empty() {
            return Ok(Ok(name));
        }
        let plan = RolePlan {
            add: gained,
            ..RolePlan::default()
        };
        let applied = match self.calls.apply(user, &plan, REASON).await {
            Ok(applied) => applied,
            Err(error) => return Ok(Err(error)),
        };
        if applied.is_whole() {
            let mut session = self.database.acquire().await?;
            outbox::roles_given(&mut session, message, user).await?;
        } else {
            self.book.forget();
            self.verifications.soon();
        }
        let newest = plan.add.last();
        let has_it = newest.is_some_and(|role| applied.given.contains(role));
        Ok(Ok(name.filter(|_| has_it)))
    }

    async fn post(&self, pending: &Pending, role: Option<&str>) -> Outcome {
        let LevelUp {
            message,
            user,
            channel,
            level,
            ..
        } = pending.level_up;
        if self.posted().contains(&(message, user)) {
            return Outcome::Done;
        }
        if self.xp.get(user).is_some_and(|user| user.hidden) {
            tracing::debug!(%user, %level, "a hidden user's level-up goes without a line");
            return Outcome::Done;
        }
        match announce::level_up(&self.rest, channel, message, user, level, role).await {
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

    fn posted(&self) -> std::sync::MutexGuard<'_, BTreeSet<(MessageId, UserId)>> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
