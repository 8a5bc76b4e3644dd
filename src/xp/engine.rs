//! The engine: orders messages, awards XP, commits. The only writer of XP.
//!
//! A batch is one transaction: users, days, level-ups, and the watermark that
//! admits it exactly once. While Postgres is away the batch is kept and tried
//! again; what comes meanwhile waits in the inbox.
//!
//! A gap (a new gateway session, an outage, an inbox that overflowed) stops the engine until
//! somebody has read the history from the frontier on. What comes live meanwhile
//! waits and is merged with what was read. All of it is applied in the order of the ids, in
//! batches of bounded size: each is a transaction of its own that moves the frontier to its
//! last message, so that a restart goes on from there. The level-up lines wait for the last
//! one, and are one for each member.
//!
//! A batch that takes Postgres too long is halved until it gets through.
//!
//! A change that a person asked for is a batch of its own, after the messages that came
//! before it. They are told whether it is saved, and are told the truth: a change is put
//! into a transaction only while somebody waits for it, and no further attempt is made
//! before it is known that the one before came to nothing.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::adjustment::{
    Adjusted, Adjustment, AdjustmentError, AdjustmentPlan, AdjustmentRequest, plan_adjustment,
};
use super::batch::{AuthorProfile, Batch, Lines, ProfilePlan, batch_end, plan};
use super::cache::XpCache;
use super::commit_permit::CommitPermit;
use super::inbox::{
    Delivery, EligibleMessage, GapMark, History, Inbox, LateHistory, MissingHistory, NotCounted,
    PendingAdjustment, Settle,
};
use super::late_messages::{Recorder, plan_interval};
use super::unsaved_profiles::Saver;
use crate::backoff::backoff;
use crate::leveling::{MessageId, UserId};
use crate::store::history_interval::{self, UnreadSource};
use crate::store::outbox::LevelUp;
use crate::store::updated_user;
use crate::store::user_point::profiles;
use crate::store::watermark::{HeldLines, Lost, Watermark};
use crate::store::{self, Connection, Database};

/// A batch is closed after this long: time for messages that overtook each other
/// to fall back into order, and short enough that nobody notices.
const WINDOW: Duration = Duration::from_millis(30);
/// A batch is closed at this size: some ten milliseconds of Postgres' time.
const MAX_BATCH: usize = 2_000;
/// Messages that may wait for the history. Beyond it they are forgotten, and the
/// reading starts again and finds them too.
const MAX_WAITING: usize = 200_000;
/// While Postgres is away the log says so this often.
const SAY_AGAIN: Duration = Duration::from_mins(1);
/// How long the stored row stays as it is where nothing more is earned.
const LAG: Duration = Duration::from_secs(5);
/// How long it may take to follow before that is put off.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the engine looks, during a catch-up, who of those that wait has left.
const PRUNE_INTERVAL: Duration = Duration::from_millis(100);
const RETRY_LEAST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(1);
/// How often the log says how far a long catch-up is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// How much one transaction may hold, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub struct CommitLimits {
    /// Messages, whether they earn or not.
    pub messages: usize,
    /// Users who wrote them.
    pub users: usize,
    /// How long a commit may take before its outcome is asked for.
    pub timeout: Duration,
}

impl Default for CommitLimits {
    /// About a second of Postgres' time, and much more time than that.
    fn default() -> Self {
        Self {
            messages: 20_000,
            users: 5_000,
            timeout: Duration::from_mins(1),
        }
    }
}

/// A stretch of history that must be read before anything newer is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Tells it from an earlier one, whose reading is of no use any more.
    pub number: u64,
    /// Where it begins; `None` on a database that has never seen a message.
    pub after: Option<MessageId>,
}

/// The engine, not yet running.
#[derive(Debug)]
pub struct Engine {
    database: Database,
    /// The engine's own: it waits for nobody and is given up whole.
    session: Option<Connection>,
    cache: Arc<XpCache>,
    zone: Tz,
    /// The row as this engine left it.
    watermark: Watermark,
    /// Up to where everything is applied: the watermark's frontier, or later where
    /// nothing was earned that would have been worth a commit at once.
    applied: Option<MessageId>,
    /// When the row is moved on although nothing was earned: if the frontier lags behind,
    /// and once after a batch, which shows whether that is still there (a failover may undo
    /// what the last beat did not see).
    follow_at: Option<Instant>,
    /// The frontier of a commit that was sent to Postgres and not answered: it may be
    /// stored or not. Found out before anything else is committed.
    in_doubt: Option<MessageId>,
    limits: CommitLimits,
    /// How many users a batch may have now: fewer after one that took too long.
    max_users: usize,
    deliveries: mpsc::Receiver<Delivery>,
    gap_mark: Arc<GapMark>,
    gaps: watch::Sender<Option<Gap>>,
    /// Set from the discovery of a gap until it is filled.
    catch_up: Option<CatchUp>,
    /// Commands that want to know when what is here has been committed.
    settling: Vec<Settle>,
    /// Changes to be carried out when the messages before them have been.
    asked: Vec<PendingAdjustment>,
    /// History that was read late, and whoever waits until it is counted.
    late: Vec<(LateHistory, oneshot::Sender<Result<(), NotCounted>>)>,
    /// What is remembered of counted messages while some history is missing.
    recorder: Recorder,
    is_recorder_resumed: bool,
    outbox_filled: Arc<Notify>,
}

/// A gap that is being filled.
#[derive(Debug)]
struct CatchUp {
    gap: Gap,
    /// What came live meanwhile.
    waiting: Vec<EligibleMessage>,
    /// What was read, and is being applied.
    backlog: Option<Backlog>,
}

/// The messages of a catch-up, which are applied a batch at a time.
#[derive(Debug)]
struct Backlog {
    /// Sorted by id.
    messages: Vec<EligibleMessage>,
    /// How many of them are applied.
    applied: usize,
    /// Everything up to this message has been read.
    reached: MessageId,
    /// What could not be read up to there.
    missing: MissingHistory,
    /// Whether a batch has noted that it is missing.
    is_missing_noted: bool,
    /// The first message that may bring a line.
    first: MessageId,
    /// Another gap was found meanwhile: it begins where this one ends, and what has come live
    /// since then belongs to it.
    gap_follows: bool,
    /// How many messages were read, for the log.
    missed: usize,
    /// Who has earned, for the log.
    earners: HashSet<UserId>,
    /// When the log last said how far this is.
    said_at: Instant,
}

impl Backlog {
    /// What was read, and what came live meanwhile.
    fn new(history: History, waiting: Vec<EligibleMessage>) -> Self {
        let History {
            mut messages,
            reached,
            missing,
            ..
        } = history;
        // What was written after the reading had begun may have been read in one channel
        // and not in another. All of it comes live, and in order; or the session is lost
        // once more, and the next reading begins where this one ends.
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
            said_at: Instant::now(),
        };
        backlog.append(waiting);
        backlog
    }

    fn append(&mut self, waiting: Vec<EligibleMessage>) {
        self.messages.drain(..self.applied);
        self.applied = 0;
        self.messages.extend(waiting);
        self.messages.sort_unstable_by_key(|seen| seen.message);
        if let Some(seen) = self.messages.first() {
            self.first = self.first.min(seen.message);
        }
    }

    fn rest(&self) -> &[EligibleMessage] {
        &self.messages[self.applied..]
    }

    /// What is missing, and in which interval, when everything after `applied` and up to
    /// `reached` is about to be applied.
    fn missing_intervals(
        &self,
        applied: Option<MessageId>,
        reached: Option<MessageId>,
        is_last: bool,
    ) -> Vec<(UnreadSource, MessageId, MessageId)> {
        let Some(after) = applied.max(self.missing.floor) else {
            return Vec::new();
        };
        let interval = |source: &UnreadSource| {
            // What is newer than what was reached comes live; but of a thread that is in no
            // list nobody knows what was reached.
            let bound = if source.source.is_list() {
                self.missing.lists_until.max(Some(self.reached))?
            } else {
                self.reached
            };
            let end = if is_last { bound } else { bound.min(reached?) };
            if end > after {
                return Some((source.clone(), after, end));
            }
            // Nothing new is missing, but what is read again before a gap: the least interval.
            let next = MessageId::new(after.get() + 1)?;
            (is_last && !self.is_missing_noted).then(|| (source.clone(), after, next))
        };
        self.missing.sources.iter().filter_map(interval).collect()
    }

    fn say_progress(&mut self) {
        if self.said_at.elapsed() >= PROGRESS_INTERVAL {
            self.said_at = Instant::now();
            tracing::info!(
                missed = self.missed,
                left = self.rest().len(),
                "what was missed is being counted"
            );
        }
    }
}

/// Which part of the whole a batch is: it says what becomes of the lines of a catch-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// What came live. No catch-up is under way.
    Live,
    /// A catch-up, or a part of one.
    CatchUp {
        /// Its first message.
        first: MessageId,
        is_last: bool,
    },
    /// Nothing but the frontier.
    Frontier,
}

impl Part {
    fn held_lines(self) -> HeldLines {
        match self {
            Self::Live => HeldLines::Release,
            Self::CatchUp {
                first,
                is_last: false,
            } => HeldLines::HoldFrom(first),
            // Those that an earlier part holds are released when they are merged.
            Self::CatchUp { is_last: true, .. } | Self::Frontier => HeldLines::Keep,
        }
    }
}

/// What has become of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Committed {
    Saved,
    /// Nothing is saved, since Postgres needed too long for so many users.
    TooSlow,
}

/// How an engine has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineEnd {
    /// The row as it left it.
    pub watermark: Watermark,
    /// Whether everything that was offered is applied. Otherwise the next start reads it.
    pub is_complete: bool,
}

/// What the engine and the rest of the bot have of each other.
#[derive(Debug)]
pub struct EngineHandles {
    /// The way in.
    pub inbox: Inbox,
    /// The gap whose history is wanted now.
    pub gaps: watch::Receiver<Option<Gap>>,
}

impl Engine {
    /// An engine that goes on from `watermark`, and the ways into and out of it.
    /// `outbox_filled` is notified after each commit that brought level-ups.
    pub fn new(
        database: Database,
        cache: Arc<XpCache>,
        zone: Tz,
        watermark: Watermark,
        outbox_filled: Arc<Notify>,
    ) -> (Self, EngineHandles) {
        let (inbox, deliveries, gap_mark) = Inbox::new();
        let (gaps, wanted) = watch::channel(None);
        let engine = Self {
            database,
            session: None,
            cache,
            zone,
            watermark,
            applied: watermark.frontier,
            follow_at: None,
            in_doubt: None,
            limits: CommitLimits::default(),
            max_users: CommitLimits::default().users,
            deliveries,
            gap_mark,
            gaps,
            catch_up: None,
            settling: Vec::new(),
            asked: Vec::new(),
            late: Vec::new(),
            recorder: Recorder::default(),
            is_recorder_resumed: false,
            outbox_filled,
        };
        (
            engine,
            EngineHandles {
                inbox,
                gaps: wanted,
            },
        )
    }

    /// With other limits, for tests.
    #[must_use]
    pub fn with_limits(self, limits: CommitLimits) -> Self {
        Self {
            limits,
            max_users: limits.users,
            ..self
        }
    }

    /// Works until `cancel`, then takes nothing more, commits what it has and ends.
    /// What waits for a history then, or is left of one, is left to the next start, which
    /// reads it; on a new database the next start would read nothing, so there it is counted.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<EngineEnd, Lost> {
        while let Some(messages) = self.next_batch(&cancel).await {
            // Whatever came after a gap came after its mark: looked at only now, the
            // mark cannot be missed.
            if self.gap_mark.take() {
                self.find_gap();
            }
            if self.catch_up.is_some() {
                self.go_on_catching_up(messages).await?;
            } else if !messages.is_empty() {
                self.apply(messages).await?;
            }
            self.carry_out_changes().await?;
            self.count_late().await?;
            if self.follow_at.is_some_and(|at| at <= Instant::now()) {
                self.follow().await?;
            }
            if self.catch_up.is_none() {
                for Settle { done, place } in self.settling.drain(..) {
                    // Whoever asked may have lost patience.
                    let _ = done.send(());
                    drop(place);
                }
            } else {
                // A catch-up may take long, and most of them wait for less than a second.
                self.settling.retain(|settle| !settle.done.is_closed());
            }
        }
        let has_gap = self.catch_up.is_some() || self.gap_mark.take();
        if self.applied.is_none()
            && let Some(CatchUp {
                mut waiting,
                backlog,
                ..
            }) = self.catch_up.take()
        {
            waiting.extend(backlog.into_iter().flat_map(|backlog| backlog.messages));
            self.apply(waiting).await?;
        }
        // So that a start after a quiet day does not take the day for a gap.
        if self.applied > self.watermark.frontier {
            self.follow().await?;
        }
        let is_saved = self.in_doubt.is_none() && self.applied == self.watermark.frontier;
        Ok(EngineEnd {
            watermark: self.watermark,
            is_complete: is_saved && !has_gap,
        })
    }

    /// Collects for a window of time. `None` when the inbox is closed and empty.
    async fn next_batch(&mut self, cancel: &CancellationToken) -> Option<Vec<EligibleMessage>> {
        let mut received = Vec::new();
        let is_applying = self.backlog().is_some();
        tokio::select! {
            biased;
            () = cancel.cancelled(), if !self.deliveries.is_closed() => self.deliveries.close(),
            () = self.gap_mark.opened() => {}
            () = until(self.follow_at) => return Some(Vec::new()),
            count = self.deliveries.recv_many(&mut received, MAX_BATCH) => {
                if count == 0 {
                    return None;
                }
            }
            // So that those who have left give their places to others.
            () = tokio::time::sleep(PRUNE_INTERVAL), if !self.settling.is_empty() => {
                return Some(Vec::new());
            }
            // Between two batches of a catch-up, what is here is taken and nothing waited for.
            () = std::future::ready(()), if is_applying => return Some(Vec::new()),
        }
        if is_applying {
            return Some(self.take_in(received));
        }
        let deadline = Instant::now() + WINDOW;
        // A command that waits closes the window: it came after all that it waits for.
        let somebody_waits = |received: &[Delivery]| {
            received
                .iter()
                .any(|one| matches!(one, Delivery::Settle(_) | Delivery::Adjust(_)))
        };
        while received.len() < MAX_BATCH && !somebody_waits(&received) {
            let room = MAX_BATCH - received.len();
            match tokio::time::timeout_at(deadline, self.deliveries.recv_many(&mut received, room))
                .await
            {
                Ok(0) if received.is_empty() => return None,
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        Some(self.take_in(received))
    }

    /// Puts what was received where it belongs; the messages are left.
    fn take_in(&mut self, received: Vec<Delivery>) -> Vec<EligibleMessage> {
        let mut messages = Vec::with_capacity(received.len());
        for delivery in received {
            match delivery {
                Delivery::Message(seen) => messages.push(seen),
                Delivery::History(history) => self.take_history(history),
                Delivery::Settle(settle) => self.settling.push(settle),
                Delivery::Adjust(asked) => self.asked.push(asked),
                Delivery::Late(late, answer) => self.late.push((late, answer)),
            }
        }
        messages
    }

    /// What was read and is not applied yet.
    fn backlog(&mut self) -> Option<&mut Backlog> {
        self.catch_up.as_mut()?.backlog.as_mut()
    }

    fn find_gap(&mut self) {
        // What comes waits for the history, and names do not. Messages that did not fit into the
        // inbox have left profiles behind, too.
        let is_known = |user| self.cache.get(user).is_some();
        self.cache.unsaved().leave_all_to_register(is_known);
        match self.backlog() {
            // What was read is true all the same, and the next reading begins behind it.
            Some(backlog) => backlog.gap_follows = true,
            None => self.begin_catch_up(),
        }
    }

    /// Stops applying and asks for the history from where everything is applied.
    fn begin_catch_up(&mut self) {
        let (number, waiting) = match self.catch_up.take() {
            Some(CatchUp { gap, waiting, .. }) => (gap.number + 1, waiting),
            None => (
                self.gaps.borrow().map_or(0, |gap| gap.number) + 1,
                Vec::new(),
            ),
        };
        let gap = Gap {
            number,
            after: self.applied,
        };
        self.catch_up = Some(CatchUp {
            gap,
            waiting,
            backlog: None,
        });
        self.gaps.send_replace(Some(gap));
    }

    fn take_history(&mut self, history: History) {
        if let Some(catch_up) = &mut self.catch_up
            && catch_up.gap.number == history.gap
            && catch_up.backlog.is_none()
        {
            let waiting = std::mem::take(&mut catch_up.waiting);
            catch_up.backlog = Some(Backlog::new(history, waiting));
        }
    }

    /// Lets live messages wait, and applies a batch of what was read, if that is here.
    async fn go_on_catching_up(&mut self, messages: Vec<EligibleMessage>) -> Result<(), Lost> {
        let Some(catch_up) = &mut self.catch_up else {
            return Ok(());
        };
        // Names do not wait for the history.
        for seen in &messages {
            if self.cache.get(seen.user).is_some() {
                self.cache.unsaved().leave_to_register(seen.user);
            }
        }
        catch_up.waiting.extend(messages);
        let mut backlog = catch_up.backlog.take();
        if let Some(backlog) = &mut backlog
            && !backlog.gap_follows
            && backlog.rest().len() <= self.limits.messages
        {
            backlog.append(std::mem::take(&mut catch_up.waiting));
        }
        if catch_up.waiting.len() > MAX_WAITING {
            tracing::warn!(
                "too many messages are waiting during catch-up; reading the history again, including them"
            );
            catch_up.waiting = Vec::new();
            match &mut backlog {
                Some(backlog) => backlog.gap_follows = true,
                None => self.begin_catch_up(),
            }
        }
        match backlog {
            Some(backlog) => self.apply_next(backlog).await,
            None => Ok(()),
        }
    }

    /// Applies the next batch of a catch-up; after the last one the catch-up is over.
    async fn apply_next(&mut self, mut backlog: Backlog) -> Result<(), Lost> {
        self.resume_recorder().await;
        let is_last = loop {
            let messages = backlog.rest();
            let end = batch_end(messages, self.limits.messages, self.max_users);
            let is_last = end == messages.len();
            let mut batch = self.plan(&messages[..end], Lines::OnePerUser);
            let read = is_last.then_some(backlog.reached);
            let reached = batch.last.max(read).max(self.applied);
            let part = Part::CatchUp {
                first: backlog.first,
                is_last,
            };
            let recorder = self.recorder.clone();
            let missing = backlog.missing_intervals(self.applied, reached, is_last);
            let is_missing_noted = !missing.is_empty();
            if is_missing_noted {
                let awarded_after = |at| self.cache.awarded_after(at);
                self.recorder.miss(&mut batch, missing, awarded_after);
            }
            self.recorder
                .remember(&mut batch, &messages[..end], self.applied);
            if batch.saves_nothing() && !is_last {
                self.applied = reached;
            } else if self.save_and_show(&mut batch, reached, part).await? == Committed::TooSlow {
                self.recorder = recorder;
                continue;
            }
            backlog.is_missing_noted |= is_missing_noted;
            backlog.applied += end;
            backlog
                .earners
                .extend(batch.users.iter().map(|row| row.user));
            break is_last;
        };
        if !is_last {
            backlog.say_progress();
            if let Some(catch_up) = &mut self.catch_up {
                catch_up.backlog = Some(backlog);
            }
            return Ok(());
        }
        if backlog.missed > 0 {
            tracing::info!(
                missed = backlog.missed,
                earned = backlog.earners.len(),
                "what was missed has been counted"
            );
        }
        // Lines may have waited for this.
        self.outbox_filled.notify_one();
        if backlog.gap_follows {
            self.begin_catch_up();
        } else {
            self.catch_up = None;
        }
        Ok(())
    }

    async fn apply(&mut self, mut messages: Vec<EligibleMessage>) -> Result<(), Lost> {
        self.resume_recorder().await;
        messages.sort_unstable_by_key(|seen| seen.message);
        let mut rest = messages.as_slice();
        while !rest.is_empty() {
            let end = batch_end(rest, self.limits.messages, self.max_users);
            let mut batch = self.plan(&rest[..end], Lines::All);
            let reached = batch.last.max(self.applied);
            let recorder = self.recorder.clone();
            self.recorder
                .remember(&mut batch, &rest[..end], self.applied);
            if batch.saves_nothing() {
                // Nothing to save but the frontier, which moves with the next batch that has
                // something, or soon by itself.
                self.applied = reached;
                if self.applied > self.watermark.frontier {
                    self.follow_at.get_or_insert_with(|| Instant::now() + LAG);
                }
            } else if self.save_and_show(&mut batch, reached, Part::Live).await?
                == Committed::TooSlow
            {
                self.recorder = recorder;
                continue;
            }
            rest = &rest[end..];
        }
        Ok(())
    }

    /// Takes up again, before anything is counted, what the engine before this one remembered.
    async fn resume_recorder(&mut self) {
        if self.is_recorder_resumed {
            return;
        }
        for attempt in 0.. {
            let error = match self.load_recorder().await {
                Ok(recorder) => {
                    self.recorder = recorder;
                    self.is_recorder_resumed = true;
                    return;
                }
                Err(error) => error,
            };
            if attempt == 0 {
                tracing::error!(%error, "XP cannot be counted before the database answers");
            }
            tokio::time::sleep(backoff(attempt, RETRY_LEAST, RETRY_MOST)).await;
        }
    }

    async fn load_recorder(&mut self) -> store::Result<Recorder> {
        let mut session = self.take_session().await?;
        let loaded = store::within(self.limits.timeout, async {
            let intervals = history_interval::all(&mut session).await?;
            let counted = history_interval::counted(&mut session, None).await?;
            Ok((intervals, counted))
        });
        let (intervals, counted) = loaded.await?;
        self.session = Some(session);
        let until = intervals.iter().map(|interval| interval.until).max();
        Ok(Recorder::resumed(until, &counted))
    }

    /// Counts what was read late.
    async fn count_late(&mut self) -> Result<(), Lost> {
        for (late, answer) in std::mem::take(&mut self.late) {
            let counted = if self.catch_up.is_some() {
                Err(NotCounted::CatchingUp)
            } else {
                self.count_interval(late).await?
            };
            // Whoever waited may be gone; they look at the database again.
            let _ = answer.send(counted);
        }
        Ok(())
    }

    async fn count_interval(&mut self, late: LateHistory) -> Result<Result<(), NotCounted>, Lost> {
        self.resume_recorder().await;
        let planned = match self.plan_interval(&late).await {
            Ok(planned) => planned,
            Err(CommitError::Lost(lost)) => return Err(lost),
            Err(CommitError::Store(error) | CommitError::TooSlow(error)) => {
                tracing::warn!(%error, "late messages could not be counted; trying again");
                return Ok(Err(NotCounted::NotSaved));
            }
        };
        // It has been counted before.
        let Some((mut batch, recorder)) = planned else {
            return Ok(Ok(()));
        };
        let Some(frontier) = self.applied else {
            return Ok(Err(NotCounted::NotSaved));
        };
        if self
            .save_and_show(&mut batch, Some(frontier), Part::Live)
            .await?
            == Committed::TooSlow
        {
            return Ok(Err(NotCounted::TooMany));
        }
        if let Some(recorder) = recorder {
            self.recorder = recorder;
        }
        let (interval, messages) = (late.interval, late.messages.len());
        tracing::info!(
            interval,
            messages,
            earned = batch.users.len(),
            "messages that could not be read before have been counted"
        );
        Ok(Ok(()))
    }

    /// What late messages come to; `None` if the interval is not missing any more.
    async fn plan_interval(
        &mut self,
        late: &LateHistory,
    ) -> Result<Option<(Batch, Option<Recorder>)>, CommitError> {
        self.resolve_doubt().await?;
        let mut users: Vec<UserId> = late.messages.iter().map(|seen| seen.user).collect();
        users.sort_unstable();
        users.dedup();
        let mut session = self.take_session().await?;
        let loaded = store::within(self.limits.timeout, async {
            let intervals = history_interval::all(&mut session).await?;
            // To be forgotten are messages of others, too.
            let is_last_part = intervals
                .iter()
                .any(|one| one.id == late.interval && one.until <= late.up_to);
            let of = (!is_last_part).then_some(users.as_slice());
            let counted = history_interval::counted(&mut session, of).await?;
            Ok((intervals, counted))
        });
        let (intervals, counted) = loaded.await?;
        self.session = Some(session);
        let known = |user| self.cache.get(user);
        let levels = self.cache.levels();
        Ok(plan_interval(
            late, intervals, counted, &levels, self.zone, known,
        ))
    }

    /// What the messages come to. Profiles of authors who do not earn are left to the register.
    fn plan(&self, messages: &[EligibleMessage], lines: Lines) -> Batch {
        let (cache, unsaved) = (&self.cache, self.cache.unsaved());
        let known = |user| cache.get(user);
        let observed = |user| unsaved.left_to(Saver::Engine, user);
        let batch = plan(messages, &cache.levels(), self.zone, lines, known, observed);
        for user in &batch.observed_only {
            unsaved.leave_to_register(*user);
        }
        batch
    }

    /// Commits a batch, then shows it to everyone.
    async fn save_and_show(
        &mut self,
        batch: &mut Batch,
        reached: Option<MessageId>,
        part: Part,
    ) -> Result<Committed, Lost> {
        let Some(frontier) = reached else {
            return Ok(Committed::Saved);
        };
        if self.commit(batch, frontier, part).await? == Committed::TooSlow {
            self.max_users = batch.users.len() / 2;
            tracing::warn!(
                users = batch.users.len(),
                "Postgres takes too long for so many users at once; saving half as many at a time"
            );
            return Ok(Committed::TooSlow);
        }
        self.max_users = (self.max_users * 2).min(self.limits.users);
        self.applied = reached;
        self.follow_at = (!batch.users.is_empty()).then(|| Instant::now() + LAG);
        self.cache.apply(&batch.users);
        for AuthorProfile { user, version, .. } in &batch.observed {
            if let Some(version) = version {
                self.cache.observed_is_saved(*user, *version);
            }
        }
        if !batch.level_ups.is_empty() {
            self.outbox_filled.notify_one();
        }
        Ok(Committed::Saved)
    }

    /// Lets the stored frontier follow where nothing was earned. One attempt: nothing is
    /// lost if it comes later or never, so nobody is kept waiting for it.
    async fn follow(&mut self) -> Result<(), Lost> {
        let attempted = async {
            self.resolve_doubt().await?;
            match self.applied {
                Some(frontier) => {
                    let nobody = Batch::default();
                    self.try_commit(&nobody, frontier, Part::Frontier).await
                }
                None => Ok(()),
            }
        };
        match tokio::time::timeout(PATIENCE, attempted).await {
            Ok(Err(CommitError::Lost(lost))) => return Err(lost),
            Ok(Ok(())) => self.follow_at = None,
            Ok(Err(CommitError::Store(_) | CommitError::TooSlow(_))) | Err(_) => {
                self.follow_at = Some(Instant::now() + LAG);
            }
        }
        Ok(())
    }

    /// Finds out what became of a commit that was not answered: whether it is saved. If it is
    /// not, it never will be.
    async fn resolve_doubt(&mut self) -> Result<bool, CommitError> {
        let Some(frontier) = self.in_doubt else {
            return Ok(false);
        };
        let mut session = self.take_session().await?;
        let now = store::within(self.limits.timeout, async {
            // A transaction whose COMMIT may be on its way holds the row: it is waited for.
            let mut transaction = store::begin(&mut session).await?;
            let now = store::watermark::lock(&mut transaction).await?;
            store::roll_back(transaction).await?;
            Ok(now)
        });
        let now = now.await?;
        self.session = Some(session);
        let saved = now != self.watermark;
        if saved {
            let outcome = self.watermark.outcome(Some(frontier), now);
            outcome.map_err(CommitError::Lost)?;
            self.watermark = now;
        }
        self.in_doubt = None;
        Ok(saved)
    }

    /// Tries until the batch is in, whatever Postgres goes through meanwhile. Gives up only
    /// where a smaller one may fit into its time.
    async fn commit(
        &mut self,
        batch: &mut Batch,
        frontier: MessageId,
        part: Part,
    ) -> Result<Committed, Lost> {
        let mut said = None::<Instant>;
        let (mut sent, mut too_slow) = (false, false);
        for attempt in 0.. {
            let attempted = async {
                let saved = self.resolve_doubt().await?;
                if sent && saved {
                    return Ok(Committed::Saved);
                }
                if too_slow && batch.users.len() > 1 {
                    return Ok(Committed::TooSlow);
                }
                sent = true;
                self.try_commit(batch, frontier, part).await?;
                Ok(Committed::Saved)
            };
            let error = match attempted.await {
                Ok(committed) => {
                    if said.is_some() && committed == Committed::Saved {
                        tracing::info!(
                            attempts = attempt + 1,
                            "the database is back and nothing was lost"
                        );
                    }
                    return Ok(committed);
                }
                Err(CommitError::Lost(lost)) => return Err(lost),
                Err(CommitError::TooSlow(error)) => {
                    too_slow = true;
                    error
                }
                Err(CommitError::Store(error)) => error,
            };
            if said.is_none_or(|last| last.elapsed() >= SAY_AGAIN) {
                said = Some(Instant::now());
                tracing::error!(%error, users = batch.users.len(), "XP could not be saved; keeping it and trying \
                                                                    again");
            }
            if error.is_about_the_values() && !batch.observed.is_empty() {
                for (user, version) in batch.drop_profiles() {
                    if let Some(version) = version {
                        self.cache.observed_is_saved(user, version);
                    }
                }
                tracing::error!("Postgres may be refusing a name; saving XP without names");
                continue;
            }
            tokio::time::sleep(backoff(attempt, RETRY_LEAST, RETRY_MOST)).await;
        }
        unreachable!("attempts are not counted out")
    }

    async fn try_commit(
        &mut self,
        batch: &Batch,
        frontier: MessageId,
        part: Part,
    ) -> Result<(), CommitError> {
        let mut session = self.take_session().await?;
        self.in_doubt = Some(frontier);
        let outcome = store::within(self.limits.timeout, async {
            if self.save(&mut session, batch, frontier, part).await? {
                return Ok(Ok(()));
            }
            // The row was not where we left it: another bot has moved in, or Postgres has
            // lost what it had.
            let now = store::watermark::read(&mut session).await?;
            Ok(self.watermark.outcome(Some(frontier), now))
        });
        let saved = outcome.await.map_err(|error| {
            if error.is_time_limit() {
                CommitError::TooSlow(error)
            } else {
                CommitError::Store(error)
            }
        })?;
        self.session = Some(session);
        saved.map_err(CommitError::Lost)?;
        self.in_doubt = None;
        self.watermark.batch_no += 1;
        self.watermark.frontier = Some(frontier);
        Ok(())
    }

    /// A session whose answer does not come is dropped, and with it, on the server's side
    /// too, whatever it still held.
    async fn take_session(&mut self) -> store::Result<Connection> {
        match self.session.take() {
            Some(session) => Ok(session),
            None => self.database.connect_apart().await,
        }
    }

    /// Saves everything, or nothing: `false` if the watermark stood elsewhere.
    async fn save(
        &self,
        session: &mut Connection,
        batch: &Batch,
        frontier: MessageId,
        part: Part,
    ) -> store::Result<bool> {
        let mut transaction = store::begin(session).await?;
        let (from, to) = (self.watermark, Some(frontier));
        if !store::watermark::advance(&mut transaction, from, to, part.held_lines()).await? {
            return Ok(false);
        }
        if !batch.users.is_empty() {
            let profiles = plan_profiles(&mut transaction, batch).await?;
            store::user_point::save(&mut transaction, &batch.users, &profiles.saved).await?;
            store::xp_day::add(&mut transaction, &batch.days).await?;
            if !profiles.queued.is_empty() {
                updated_user::mark(&mut transaction, &profiles.queued).await?;
            }
            if !profiles.pictures.is_empty() {
                updated_user::want_pictures_of(&mut transaction, &profiles.pictures).await?;
            }
        }
        if !batch.newcomers.is_empty() {
            store::role_work::ask_for_all(&mut transaction, &batch.newcomers).await?;
        }
        if !batch.level_ups.is_empty() {
            let mut level_ups = batch.level_ups.clone();
            if let Part::CatchUp { .. } = part {
                merge_held(&mut transaction, &mut level_ups).await?;
            }
            store::outbox::add(&mut transaction, &level_ups).await?;
        }
        if !batch.history.is_empty() {
            history_interval::save(&mut transaction, &batch.history).await?;
        }
        if let Part::CatchUp { is_last: true, .. } = part {
            store::watermark::release_lines(&mut transaction).await?;
        }
        store::commit(transaction).await?;
        Ok(true)
    }

    /// Carries out what was asked for, in the order in which it came.
    async fn carry_out_changes(&mut self) -> Result<(), Lost> {
        for asked in std::mem::take(&mut self.asked) {
            let about_points = !matches!(asked.request.adjustment, Adjustment::Hide { .. });
            if about_points && self.catch_up.is_some() {
                // What was missed came first, and points that are set are set after it.
                let _ = asked.answer.send(Err(AdjustmentError::CatchingUp));
            } else {
                self.carry_out(asked).await?;
            }
        }
        Ok(())
    }

    /// Tries for as long as somebody waits, and then until it is known what came of it.
    async fn carry_out(&mut self, asked: PendingAdjustment) -> Result<(), Lost> {
        let PendingAdjustment {
            request,
            permit,
            mut answer,
            place: _place,
        } = asked;
        for attempt in 0.. {
            // What is dropped here in mid-transaction is undone: its COMMIT was not sent.
            let attempted = tokio::select! {
                biased;
                () = nobody_waits(&mut answer, &permit) => return Ok(()),
                attempted = self.try_change(&request, &permit) => attempted,
            };
            let error = match attempted {
                Ok(answered) => {
                    let _ = answer.send(answered);
                    return Ok(());
                }
                Err(CommitError::Lost(lost)) => return Err(lost),
                Err(CommitError::Store(error) | CommitError::TooSlow(error)) => error,
            };
            if attempt == 0 {
                tracing::error!(%error, "a change could not be saved; trying again while its caller waits");
            }
            if error.is_about_the_values() && !permit.is_held() {
                let _ = answer.send(Err(AdjustmentError::NotSaved));
                return Ok(());
            }
            tokio::select! {
                biased;
                () = nobody_waits(&mut answer, &permit) => return Ok(()),
                () = tokio::time::sleep(backoff(attempt, RETRY_LEAST, RETRY_MOST)) => {}
            }
        }
        unreachable!("attempts are not counted out")
    }

    /// One attempt. Nothing of it is shown before it is known to be saved.
    async fn try_change(
        &mut self,
        request: &AdjustmentRequest,
        permit: &CommitPermit,
    ) -> Result<Result<Adjusted, AdjustmentError>, CommitError> {
        self.resolve_doubt().await?;
        let known = self.cache.get(request.user);
        let planned = plan_adjustment(known, request, &self.cache.levels());
        if planned.is_empty() {
            return Ok(Ok(planned.adjusted));
        }
        // No message is in it: the frontier stays where it is, and where there is none,
        // there still is none.
        let frontier = self.applied;
        let mut session = self.take_session().await?;
        let outcome = store::within(self.limits.timeout, async {
            if let Some(saved) = self
                .save_change(&mut session, &planned, frontier, permit)
                .await?
            {
                return Ok(Ok(saved));
            }
            // As with messages: an earlier attempt is saved, or we may not write any more.
            let now = store::watermark::read(&mut session).await?;
            Ok(self.watermark.outcome(frontier, now).map(Ok))
        });
        let saved = outcome.await?;
        self.session = Some(session);
        if let Err(refused) = saved.map_err(CommitError::Lost)? {
            return Ok(Err(refused));
        }
        self.watermark.batch_no += 1;
        self.watermark.frontier = frontier;
        self.follow_at = Some(Instant::now() + LAG);
        if let Some(row) = &planned.user {
            self.cache.apply(std::slice::from_ref(row));
        }
        if let Some((user, hidden)) = planned.hidden {
            self.cache.hide(user, hidden);
        }
        if planned.level_up.is_some() {
            self.outbox_filled.notify_one();
        }
        Ok(Ok(planned.adjusted))
    }

    /// Saves a change, or nothing: `None` if the watermark stood elsewhere.
    async fn save_change(
        &self,
        session: &mut Connection,
        planned: &AdjustmentPlan,
        frontier: Option<MessageId>,
        permit: &CommitPermit,
    ) -> store::Result<Option<Result<(), AdjustmentError>>> {
        let mut transaction = store::begin(session).await?;
        let from = self.watermark;
        let lines = HeldLines::Keep;
        if !store::watermark::advance(&mut transaction, from, frontier, lines).await? {
            return Ok(None);
        }
        // The row is ours and stands where we left it, so that no earlier attempt is saved
        // or ever will be.
        if !permit.acquire() {
            store::roll_back(transaction).await?;
            return Ok(Some(Err(AdjustmentError::NotSaved)));
        }
        let written = write_change(&mut transaction, planned).await;
        if !matches!(written, Ok(true)) {
            permit.release();
        }
        if !written? {
            store::roll_back(transaction).await?;
            return Ok(Some(Err(AdjustmentError::Repeated)));
        }
        store::commit(transaction).await?;
        Ok(Some(Ok(())))
    }
}

/// Has these level-ups take the place of those of the same users that earlier batches of the
/// catch-up brought.
async fn merge_held(transaction: &mut Connection, level_ups: &mut [LevelUp]) -> store::Result<()> {
    let users: Vec<UserId> = level_ups.iter().map(|level_up| level_up.user).collect();
    let risen_from = store::outbox::take_held(transaction, &users).await?;
    for level_up in level_ups {
        if let Some(&from) = risen_from.get(&level_up.user) {
            level_up.from = from;
        }
    }
    Ok(())
}

/// How what was observed of those who earned is saved. Their rows are held from here on, so that
/// nobody changes what this goes by.
async fn plan_profiles(transaction: &mut Connection, batch: &Batch) -> store::Result<ProfilePlan> {
    if batch.observed.is_empty() {
        return Ok(ProfilePlan::default());
    }
    // Everyone's, in one order: those of whom nothing was observed are written as well.
    let users: Vec<UserId> = batch.users.iter().map(|row| row.user).collect();
    let shown = profiles::hold(transaction, &users).await?;
    // Looked at with the rows held: whoever queues what they have looked up holds them too.
    let observed: Vec<UserId> = batch.observed.iter().map(|one| one.user).collect();
    let queued = updated_user::queued(transaction, &observed).await?;
    Ok(batch.plan_profiles(shown, &queued.into_iter().collect()))
}

/// `false` if the request has made a change before.
async fn write_change(
    transaction: &mut Connection,
    planned: &AdjustmentPlan,
) -> store::Result<bool> {
    if let Some(record) = &planned.record
        && !store::xp_change::add(transaction, record).await?
    {
        return Ok(false);
    }
    if let Some(row) = &planned.user {
        let nothing = BTreeMap::new();
        store::user_point::save(transaction, std::slice::from_ref(row), &nothing).await?;
    }
    if let Some((user, hidden)) = planned.hidden {
        store::user_point::hide(transaction, user, hidden).await?;
    }
    if let Some(level_up) = planned.level_up {
        store::outbox::add(transaction, &[level_up]).await?;
    }
    Ok(true)
}

/// Waits until a change is withdrawn; for ever if it is in a transaction by then, whose
/// outcome must be known.
async fn nobody_waits<T>(answer: &mut oneshot::Sender<T>, permit: &CommitPermit) {
    answer.closed().await;
    if permit.is_held() {
        std::future::pending::<()>().await;
    }
}

/// Waits until then; for ever if there is no such time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Why a batch is not in yet.
enum CommitError {
    Lost(Lost),
    Store(store::Error),
    /// It met a time limit.
    TooSlow(store::Error),
}

impl From<store::Error> for CommitError {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}
