//! The engine's database session. Every XP transaction goes through it.
//!
//! Each transaction moves the watermark row on by one step, and only from where this engine
//! left it: so it is saved at most once, and never by a bot that another has replaced. If
//! Postgres does not answer a COMMIT, its outcome is read from the row before anything else
//! is committed. Decides nothing about XP.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::Instant;

use super::batch::{Batch, ProfilePlan};
use super::cache::XpCache;
use crate::backoff::Backoff;
use crate::leveling::{MessageId, UserId};
use crate::store::history_interval;
use crate::store::outbox::LevelUp;
use crate::store::updated_user;
use crate::store::user_point::profiles;
use crate::store::watermark::{HeldLines, Lost, Watermark};
use crate::store::{self, Connection, Database};

const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
/// How often the log repeats that XP cannot be saved.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_mins(1);
/// How long saving the frontier alone may take before it is put off.
const FRONTIER_TIMEOUT: Duration = Duration::from_secs(2);

/// The session, and the watermark row as this engine left it.
#[derive(Debug)]
pub(super) struct Committer {
    database: Database,
    /// Not from the pool, so it never waits for a free connection. Dropped if Postgres does not
    /// answer in time.
    session: Option<Connection>,
    watermark: Watermark,
    /// The frontier of a batch that was sent to Postgres and not answered: it may be stored
    /// or not. Adjustments need no entry here: their permit is held until their outcome is
    /// known, and nothing else is committed before.
    in_doubt: Option<MessageId>,
    /// How long one attempt may take.
    timeout: Duration,
}

/// Why an attempt failed. It may still have saved the batch if the COMMIT was not answered.
#[derive(Debug)]
pub(super) enum CommitError {
    Lost(Lost),
    Store(store::Error),
    /// The transaction met a time limit.
    TooSlow(store::Error),
}

impl From<store::Error> for CommitError {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchOutcome {
    Saved,
    /// Nothing is saved: Postgres took too long for this many users.
    TooSlow,
}

/// Where a batch comes from. This decides when its level-up lines are released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchKind {
    /// Live messages. No catch-up is under way.
    Live,
    /// A catch-up, or a part of one.
    CatchUp {
        /// The first message of the catch-up.
        first: MessageId,
        is_last: bool,
    },
    /// Nothing but the frontier.
    Frontier,
}

impl BatchKind {
    fn held_lines(self) -> HeldLines {
        match self {
            Self::Live => HeldLines::Release,
            Self::CatchUp {
                first,
                is_last: false,
            } => HeldLines::HoldFrom(first),
            // The last part releases what earlier parts hold, once that is merged.
            Self::CatchUp { is_last: true, .. } | Self::Frontier => HeldLines::Keep,
        }
    }
}

impl Committer {
    pub(super) fn new(database: Database, watermark: Watermark, timeout: Duration) -> Self {
        Self {
            database,
            session: None,
            watermark,
            in_doubt: None,
            timeout,
        }
    }

    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// The row as this engine left it.
    pub(super) fn watermark(&self) -> Watermark {
        self.watermark
    }

    /// Whether the stored row is known to say that everything up to `applied` is counted.
    pub(super) fn is_stored(&self, applied: Option<MessageId>) -> bool {
        self.in_doubt.is_none() && applied == self.watermark.frontier
    }

    /// One attempt at a transaction that moves the watermark to `frontier` and does what `write`
    /// does. If `write` returns a refusal, the transaction is rolled back and the refusal
    /// returned. When an earlier attempt at the same turns out to be saved, this one counts as
    /// saved and `write` is not called.
    pub(super) async fn commit<R>(
        &mut self,
        frontier: Option<MessageId>,
        lines: HeldLines,
        write: impl AsyncFnOnce(&mut Connection) -> store::Result<Option<R>>,
    ) -> Result<Option<R>, CommitError> {
        let from = self.watermark;
        let mut session = self.take_session().await?;
        let committed = store::within(self.timeout, async {
            let mut transaction = store::begin(&mut session).await?;
            if !store::watermark::advance(&mut transaction, from, frontier, lines).await? {
                // The row is not where we left it: an earlier attempt is saved, another bot has
                // taken over, or Postgres has lost what it had.
                drop(transaction);
                let now = store::watermark::read(&mut session).await?;
                return Ok(from.outcome(frontier, now).map(|()| None));
            }
            let refusal = write(&mut transaction).await?;
            match refusal {
                None => store::commit(transaction).await?,
                Some(_) => store::roll_back(transaction).await?,
            }
            Ok(Ok(refusal))
        });
        let committed = committed.await.map_err(|error| {
            if error.is_time_limit() {
                CommitError::TooSlow(error)
            } else {
                CommitError::Store(error)
            }
        })?;
        self.session = Some(session);
        let refusal = committed.map_err(CommitError::Lost)?;
        if refusal.is_none() {
            self.watermark.batch_no += 1;
            self.watermark.frontier = frontier;
        }
        Ok(refusal)
    }

    /// Retries until the batch is saved. Gives up only if the time limit was exceeded and a smaller
    /// batch may fit into it.
    pub(super) async fn commit_batch(
        &mut self,
        batch: &mut Batch,
        frontier: MessageId,
        kind: BatchKind,
        cache: &XpCache,
    ) -> Result<BatchOutcome, Lost> {
        let mut logged = None::<Instant>;
        let (mut sent, mut too_slow) = (false, false);
        for attempt in 0.. {
            let attempted = async {
                let saved = self.resolve_doubt().await?;
                if sent && saved {
                    return Ok(BatchOutcome::Saved);
                }
                if too_slow && batch.users.len() > 1 {
                    return Ok(BatchOutcome::TooSlow);
                }
                sent = true;
                self.try_batch(batch, frontier, kind).await?;
                Ok(BatchOutcome::Saved)
            };
            let error = match attempted.await {
                Ok(outcome) => {
                    if logged.is_some() && outcome == BatchOutcome::Saved {
                        tracing::info!(
                            attempts = attempt + 1,
                            "the database is back and nothing was lost"
                        );
                    }
                    return Ok(outcome);
                }
                Err(CommitError::Lost(lost)) => return Err(lost),
                Err(CommitError::TooSlow(error)) => {
                    too_slow = true;
                    error
                }
                Err(CommitError::Store(error)) => error,
            };
            if logged.is_none_or(|last| last.elapsed() >= FAILURE_LOG_INTERVAL) {
                logged = Some(Instant::now());
                tracing::error!(%error, users = batch.users.len(), "XP could not be saved; keeping it and trying \
                                                                    again");
            }
            if error.is_about_the_values() && !batch.observed.is_empty() {
                for (user, version) in batch.drop_profiles() {
                    if let Some(version) = version {
                        cache.observed_is_saved(user, version);
                    }
                }
                tracing::error!("Postgres may be refusing a name; saving XP without names");
                continue;
            }
            tokio::time::sleep(retry_delay(attempt)).await;
        }
        unreachable!("the attempts never run out")
    }

    /// Saves the frontier with a batch without messages, in one attempt. Returns whether it is
    /// saved; if not, nothing is lost, since the next start reads the messages after it again.
    pub(super) async fn save_frontier(
        &mut self,
        frontier: Option<MessageId>,
        batch: &Batch,
    ) -> Result<bool, Lost> {
        let attempted = async {
            self.resolve_doubt().await?;
            match frontier {
                Some(frontier) => self.try_batch(batch, frontier, BatchKind::Frontier).await,
                None => Ok(()),
            }
        };
        match tokio::time::timeout(FRONTIER_TIMEOUT, attempted).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(CommitError::Lost(lost))) => Err(lost),
            Ok(Err(CommitError::Store(_) | CommitError::TooSlow(_))) | Err(_) => Ok(false),
        }
    }

    async fn try_batch(
        &mut self,
        batch: &Batch,
        frontier: MessageId,
        kind: BatchKind,
    ) -> Result<(), CommitError> {
        // Nothing is in doubt while there is no session yet.
        let session = self.take_session().await?;
        self.session = Some(session);
        self.in_doubt = Some(frontier);
        self.commit(Some(frontier), kind.held_lines(), async |transaction| {
            write_batch(transaction, batch, kind).await?;
            Ok(None::<Infallible>)
        })
        .await?;
        self.in_doubt = None;
        Ok(())
    }

    /// Finds out whether a batch whose COMMIT was not answered is saved. If it is not, it never
    /// will be. `false` if there is none in doubt.
    pub(super) async fn resolve_doubt(&mut self) -> Result<bool, CommitError> {
        let Some(frontier) = self.in_doubt else {
            return Ok(false);
        };
        let now = self.read(async |session| {
            // A transaction whose COMMIT may still be on its way holds the row's lock: this
            // waits for it to end.
            let mut transaction = store::begin(session).await?;
            let now = store::watermark::lock(&mut transaction).await?;
            store::roll_back(transaction).await?;
            Ok(now)
        });
        let now = now.await?;
        let saved = now != self.watermark;
        if saved {
            let outcome = self.watermark.outcome(Some(frontier), now);
            outcome.map_err(CommitError::Lost)?;
            self.watermark = now;
        }
        self.in_doubt = None;
        Ok(saved)
    }

    /// Runs a query on the engine's session.
    pub(super) async fn read<T>(
        &mut self,
        read: impl AsyncFnOnce(&mut Connection) -> store::Result<T>,
    ) -> store::Result<T> {
        let mut session = self.take_session().await?;
        let found = store::within(self.timeout, read(&mut session)).await?;
        self.session = Some(session);
        Ok(found)
    }

    /// The caller puts the session back after an answer. Without an answer the session is dropped,
    /// and the server then rolls back whatever it still held.
    async fn take_session(&mut self) -> store::Result<Connection> {
        match self.session.take() {
            Some(session) => Ok(session),
            None => self.database.connect_apart().await,
        }
    }
}

/// The wait after a failed attempt; the first is 0.
pub(super) fn retry_delay(attempt: u32) -> Duration {
    BACKOFF.delay(attempt)
}

async fn write_batch(
    transaction: &mut Connection,
    batch: &Batch,
    kind: BatchKind,
) -> store::Result<()> {
    if !batch.users.is_empty() {
        let profiles = plan_profiles(transaction, batch).await?;
        store::user_point::save(transaction, &batch.users, &profiles.saved).await?;
        store::xp_day::add(transaction, &batch.days).await?;
        if !profiles.queued.is_empty() {
            updated_user::mark(transaction, &profiles.queued).await?;
        }
        if !profiles.pictures.is_empty() {
            updated_user::want_pictures_of(transaction, &profiles.pictures).await?;
        }
    }
    if !batch.role_checks.is_empty() {
        store::role_work::add_all(transaction, &batch.role_checks).await?;
    }
    if !batch.level_ups.is_empty() {
        let mut level_ups = batch.level_ups.clone();
        if let BatchKind::CatchUp { .. } = kind {
            merge_held_lines(transaction, &mut level_ups).await?;
        }
        store::outbox::add(transaction, &level_ups).await?;
    }
    if !batch.history.is_empty() {
        history_interval::save(transaction, &batch.history).await?;
    }
    if !batch.records.is_empty() {
        store::xp_record::add(transaction, &batch.records).await?;
    }
    if let BatchKind::CatchUp { is_last: true, .. } = kind {
        store::watermark::release_lines(transaction).await?;
    }
    Ok(())
}

/// Replaces the held level-up lines of earlier parts of a catch-up: a user's one line rises from
/// where their first one did.
async fn merge_held_lines(
    transaction: &mut Connection,
    level_ups: &mut [LevelUp],
) -> store::Result<()> {
    let users: Vec<UserId> = level_ups.iter().map(|level_up| level_up.user).collect();
    let risen_from = store::outbox::take_held(transaction, &users).await?;
    for level_up in level_ups {
        if let Some(&from) = risen_from.get(&level_up.user) {
            level_up.from = from;
        }
    }
    Ok(())
}

/// Decides how the observed profiles of authors who earned are saved. Locks these authors' rows,
/// so that nobody changes them before the commit.
async fn plan_profiles(transaction: &mut Connection, batch: &Batch) -> store::Result<ProfilePlan> {
    if batch.observed.is_empty() {
        return Ok(ProfilePlan::default());
    }
    // All of them, in one order: authors without an observed profile are written as well.
    let users: Vec<UserId> = batch.users.iter().map(|row| row.user).collect();
    let shown = profiles::hold(transaction, &users).await?;
    // Read with the rows locked: whoever adds to the queue locks them too.
    let observed: Vec<UserId> = batch.observed.iter().map(|one| one.user).collect();
    let queued = updated_user::queued(transaction, &observed).await?;
    Ok(batch.plan_profiles(shown, &queued.into_iter().collect()))
}
