//! The engine: orders messages, awards XP, commits. The only writer of XP.
//!
//! A batch is one transaction: users, days, level-ups, and the watermark that
//! admits it exactly once. While Postgres is unavailable the engine keeps the batch and tries
//! again; new messages wait in the inbox.
//!
//! After a gap (a new gateway session, an outage, an inbox that overflowed) the engine applies
//! nothing until the catch-up service has read the history from the frontier on. Live messages
//! wait meanwhile and are merged with the history. Then the engine applies everything in the
//! order of the ids, in batches of bounded size. Each batch is a transaction of its own that
//! moves the frontier to its last message, so that a restart continues from there. Level-up
//! lines are held until the last batch, and each member gets only one.
//!
//! If Postgres takes too long for a batch, the engine saves half as many users at a time until
//! a batch succeeds.
//!
//! The committer runs the transactions; `request` carries out what people ask for, and
//! `observations` holds what the guild's rules need to know of channels and members.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::adjustment::{AdjustmentError, AdjustmentRequest};
use super::backlog::Backlog;
use super::batch::{Announce, AuthorProfile, AwardRules, Batch, batch_end, plan};
use super::cache::XpCache;
use super::committer::{BatchKind, BatchOutcome, CommitError, Committer, retry_delay};
use super::inbox::{
    Delivery, EligibleMessage, GapFlag, History, Inbox, LateHistory, NotCounted, Settle,
};
use super::late_messages::{Recorder, plan_interval};
use super::observations::Observations;
use super::request::{Carrier, Pending, Request};
use super::rule_request::RuleRequest;
use super::unplaced::UnplacedMessages;
use super::unsaved_profiles::Saver;
use crate::leveling::{ChannelId, HistorySource, MessageId, UserId};
use crate::store::history_interval::{self, UnreadSource};
use crate::store::watermark::{Lost, Watermark};
use crate::store::{self, Database};

/// How long a batch collects messages: long enough to put messages that overtook each other back
/// into order, and short enough that nobody notices.
const BATCH_WINDOW: Duration = Duration::from_millis(30);
/// Maximum number of messages that one batch collects. Postgres saves them in some ten
/// milliseconds.
const BATCH_SIZE: usize = 2_000;
/// Maximum number of live messages that wait for the history. If there are more, the engine drops
/// them and requests the history again, which then contains them.
const MAX_WAITING_MESSAGES: usize = 200_000;
/// Delay before the frontier is saved on its own, if no batch saves it.
const FRONTIER_SAVE_DELAY: Duration = Duration::from_secs(5);
/// How often, during a catch-up, the engine removes waiting commands that have timed out.
const PRUNE_INTERVAL: Duration = Duration::from_millis(100);

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
    /// Postgres needs about a second for this much; the timeout is far above that.
    fn default() -> Self {
        Self {
            messages: 20_000,
            users: 5_000,
            timeout: Duration::from_mins(1),
        }
    }
}

/// A part of the history that must be read before anything newer is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Incremented with each gap. History for an earlier gap is discarded.
    pub number: u64,
    /// The message after which it begins; `None` on a database that has never seen a message.
    pub after: Option<MessageId>,
}

/// The engine, not yet running.
#[derive(Debug)]
pub struct Engine {
    committer: Committer,
    cache: Arc<XpCache>,
    zone: Tz,
    /// Everything up to this message is applied. Later than the watermark's frontier if the
    /// messages since then earned nothing.
    applied: Option<MessageId>,
    /// When to save the frontier on its own. Set while the stored frontier lags behind, and after
    /// each batch that saved users: saving then checks that the batch is still stored, because a
    /// failover of Postgres may undo a commit that the last lease renewal did not see.
    save_frontier_at: Option<Instant>,
    limits: CommitLimits,
    /// Current maximum number of users in a batch: reduced when a batch takes too long, and
    /// doubled, up to the limit, after each batch that is saved.
    max_users: usize,
    deliveries: mpsc::Receiver<Delivery>,
    gap_flag: Arc<GapFlag>,
    unplaced: Arc<UnplacedMessages>,
    /// Live messages in unknown threads, from before the history of the gap was read, that are not
    /// recorded as missing yet.
    unplaced_waiting: Vec<EligibleMessage>,
    /// Notified when a batch records missing history.
    history_missing: Arc<Notify>,
    gaps: watch::Sender<Option<Gap>>,
    /// Set from the discovery of a gap until it is filled.
    catch_up: Option<OpenGap>,
    /// Commands that wait until every message before them is committed.
    settling: Vec<Settle>,
    /// Adjustments to carry out once the messages before them are applied.
    adjustments: Vec<Pending<AdjustmentRequest>>,
    /// Changes of rules to carry out once the messages before them are applied.
    rules: Vec<Pending<RuleRequest>>,
    /// What was observed in the guild, until it is saved.
    observations: Observations,
    /// History that was read late, each with the channel that takes the answer.
    late: Vec<(LateHistory, oneshot::Sender<Result<(), NotCounted>>)>,
    /// Remembers counted messages while some history is missing.
    recorder: Recorder,
    is_recorder_resumed: bool,
    outbox_filled: Arc<Notify>,
}

/// A gap that is being filled.
#[derive(Debug)]
struct OpenGap {
    gap: Gap,
    /// Live messages that arrived meanwhile.
    waiting: Vec<EligibleMessage>,
    /// The history, once it is read.
    backlog: Option<Backlog>,
}

/// The state in which an engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineEnd {
    /// The watermark row as the engine left it.
    pub watermark: Watermark,
    /// Whether every message that the inbox was offered is applied and saved. If not, the next
    /// start reads the rest from the history.
    pub is_complete: bool,
}

/// How the rest of the bot reaches the engine.
#[derive(Debug)]
pub struct EngineHandles {
    /// Takes messages and requests.
    pub inbox: Inbox,
    /// The gap whose history the engine waits for.
    pub gaps: watch::Receiver<Option<Gap>>,
}

impl Engine {
    /// An engine that continues from `watermark`, and the handles to reach it.
    /// `outbox_filled` is notified after each commit that brought level-ups.
    pub fn new(
        database: Database,
        cache: Arc<XpCache>,
        zone: Tz,
        watermark: Watermark,
        outbox_filled: Arc<Notify>,
    ) -> (Self, EngineHandles) {
        let (inbox, deliveries) = Inbox::new();
        let (gaps, wanted) = watch::channel(None);
        let limits = CommitLimits::default();
        let engine = Self {
            committer: Committer::new(database, watermark, limits.timeout),
            cache,
            zone,
            applied: watermark.frontier,
            save_frontier_at: None,
            limits,
            max_users: limits.users,
            deliveries,
            gap_flag: inbox.gap_flag(),
            unplaced: inbox.unplaced_messages(),
            unplaced_waiting: Vec::new(),
            history_missing: Arc::clone(inbox.history_missing()),
            gaps,
            catch_up: None,
            settling: Vec::new(),
            adjustments: Vec::new(),
            rules: Vec::new(),
            observations: Observations::default(),
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
    pub fn with_limits(mut self, limits: CommitLimits) -> Self {
        self.committer.set_timeout(limits.timeout);
        Self {
            limits,
            max_users: limits.users,
            ..self
        }
    }

    /// Runs until `cancel`. Then closes the inbox, commits what it holds and ends.
    /// Messages that still wait for a history, and the rest of a backlog, are not counted: the
    /// next start reads them again. On a new database, which has no frontier, the next start
    /// would read nothing, so there they are counted.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<EngineEnd, Lost> {
        while let Some(messages) = self.next_batch(&cancel).await {
            // A sender sets the gap flag before it sends any message that follows the gap. The
            // flag is read only after the messages are received, so no gap is missed.
            if self.gap_flag.take() {
                self.handle_gap();
            }
            if self.catch_up.is_some() {
                self.continue_catch_up(messages).await?;
            } else {
                self.observations
                    .no_gap_is_open(&mut self.cache.xp_rules_mut(), self.applied);
                if !messages.is_empty() {
                    self.apply(messages).await?;
                }
            }
            self.carry_out_adjustments().await?;
            self.change_rules().await?;
            self.count_late_history().await?;
            if !self.observations.is_empty() {
                self.save_frontier_soon();
            }
            if self.save_frontier_at.is_some_and(|at| at <= Instant::now()) {
                self.save_frontier().await?;
            }
            self.answer_settled();
        }
        let has_gap = self.catch_up.is_some() || self.gap_flag.take();
        if self.applied.is_none()
            && let Some(OpenGap {
                mut waiting,
                backlog,
                ..
            }) = self.catch_up.take()
        {
            waiting.extend(backlog.into_iter().flat_map(Backlog::into_messages));
            self.apply(waiting).await?;
        }
        // Otherwise the next start would treat the time since the stored frontier as a gap, and
        // read messages again that earned nothing.
        if self.applied > self.committer.watermark().frontier || !self.observations.is_empty() {
            self.save_frontier().await?;
        }
        Ok(EngineEnd {
            watermark: self.committer.watermark(),
            is_complete: self.committer.is_stored(self.applied)
                && !has_gap
                && self.observations.is_empty(),
        })
    }

    /// Collects messages for a window of time. `None` when the inbox is closed and empty.
    async fn next_batch(&mut self, cancel: &CancellationToken) -> Option<Vec<EligibleMessage>> {
        let mut received = Vec::new();
        let is_applying = self.backlog().is_some();
        tokio::select! {
            biased;
            () = cancel.cancelled(), if !self.deliveries.is_closed() => self.deliveries.close(),
            () = self.gap_flag.opened() => {}
            () = sleep_until(self.save_frontier_at) => return Some(Vec::new()),
            count = self.deliveries.recv_many(&mut received, BATCH_SIZE) => {
                if count == 0 {
                    return None;
                }
            }
            // Wakes the loop, so that `answer_settled` drops commands that have timed out and
            // others can take their places.
            () = tokio::time::sleep(PRUNE_INTERVAL), if !self.settling.is_empty() => {
                return Some(Vec::new());
            }
            // Between two batches of a backlog, only take what has arrived already.
            () = std::future::ready(()), if is_applying => return Some(Vec::new()),
        }
        if is_applying {
            return Some(self.sort_deliveries(received));
        }
        let deadline = Instant::now() + BATCH_WINDOW;
        // A waiting command ends the window early: the messages that it waits for came before it.
        let has_waiting_command = |received: &[Delivery]| {
            received.iter().any(|one| {
                matches!(
                    one,
                    Delivery::Settle(_) | Delivery::Adjust(_) | Delivery::Rule(_)
                )
            })
        };
        while received.len() < BATCH_SIZE && !has_waiting_command(&received) {
            let room = BATCH_SIZE - received.len();
            match tokio::time::timeout_at(deadline, self.deliveries.recv_many(&mut received, room))
                .await
            {
                Ok(0) if received.is_empty() => return None,
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        Some(self.sort_deliveries(received))
    }

    /// Stores each delivery in the field for its kind, and returns the messages. What was observed
    /// is recorded in the order in which it came.
    fn sort_deliveries(&mut self, received: Vec<Delivery>) -> Vec<EligibleMessage> {
        let mut messages = Vec::with_capacity(received.len());
        for delivery in received {
            match delivery {
                Delivery::Message(seen) => {
                    self.observations.delivered(
                        seen.message,
                        || self.cache.xp_rules_mut(),
                        self.applied,
                    );
                    if let Some(roles) = &seen.roles {
                        let rules = &mut self.cache.xp_rules_mut();
                        self.observations.author(&seen, roles, rules, self.applied);
                    }
                    messages.push(seen);
                }
                Delivery::Observed(observation) => {
                    let rules = &mut self.cache.xp_rules_mut();
                    self.observations.observe(observation, rules, self.applied);
                }
                Delivery::History(history) => self.take_history(history),
                Delivery::Settle(settle) => self.settling.push(settle),
                Delivery::Adjust(pending) => self.adjustments.push(pending),
                Delivery::Rule(pending) => self.rules.push(pending),
                Delivery::Late(late, answer) => self.late.push((late, answer)),
            }
        }
        messages
    }

    /// Tells waiting commands that the messages before them are committed.
    fn answer_settled(&mut self) {
        if self.catch_up.is_some() {
            // They wait for the end of the catch-up. Most give up within a second, and are dropped.
            self.settling.retain(|settle| !settle.done.is_closed());
            return;
        }
        for Settle { done, place } in self.settling.drain(..) {
            // The command may have stopped waiting.
            let _ = done.send(());
            drop(place);
        }
    }

    fn backlog(&mut self) -> Option<&mut Backlog> {
        self.catch_up.as_mut()?.backlog.as_mut()
    }

    fn handle_gap(&mut self) {
        // Messages now wait for the history, but their authors' profiles must not. So the
        // register saves the known users' profiles that were left to the engine, including those
        // of messages that did not fit into the inbox.
        let is_known = |user| self.cache.get(user).is_some();
        self.cache.unsaved().leave_all_to_register(is_known);
        match self.backlog() {
            // The history that was read stays valid, and the next reading begins after it.
            Some(backlog) => backlog.gap_follows = true,
            None => self.begin_catch_up(),
        }
    }

    /// Stops applying messages and requests the history after the last applied one.
    fn begin_catch_up(&mut self) {
        let (number, waiting) = match self.catch_up.take() {
            Some(OpenGap { gap, waiting, .. }) => (gap.number + 1, waiting),
            None => (
                self.gaps.borrow().map_or(0, |gap| gap.number) + 1,
                Vec::new(),
            ),
        };
        self.observations.gap_begins();
        let gap = Gap {
            number,
            after: self.applied,
        };
        self.catch_up = Some(OpenGap {
            gap,
            waiting,
            backlog: None,
        });
        self.gaps.send_replace(Some(gap));
    }

    /// Accepts the history of the current gap. Drops that of an earlier gap.
    fn take_history(&mut self, history: History) {
        let is_wanted = |catch_up: &&mut OpenGap| {
            catch_up.gap.number == history.gap && catch_up.backlog.is_none()
        };
        let Some(catch_up) = self.catch_up.as_mut().filter(is_wanted) else {
            return;
        };
        let mut waiting = std::mem::take(&mut catch_up.waiting);
        self.observations.gap_is_read(
            &history.channels,
            &mut self.cache.xp_rules_mut(),
            Some(history.reached).max(self.applied),
        );
        let unplaced = self.take_unplaced(&mut waiting);
        self.unplaced_waiting.extend(unplaced);
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.backlog = Some(Backlog::new(history, waiting));
        }
    }

    /// Adds live messages to those that wait, and applies a batch of the backlog if there is one.
    async fn continue_catch_up(&mut self, messages: Vec<EligibleMessage>) -> Result<(), Lost> {
        let Some(catch_up) = &mut self.catch_up else {
            return Ok(());
        };
        // Profiles do not wait for the history.
        for seen in &messages {
            if self.cache.get(seen.user).is_some() {
                self.cache.unsaved().leave_to_register(seen.user);
            }
        }
        catch_up.waiting.extend(messages);
        let mut backlog = catch_up.backlog.take();
        let takes_more = backlog.as_ref().is_some_and(|backlog| {
            !backlog.gap_follows && backlog.rest().len() <= self.limits.messages
        });
        let mut added = Vec::new();
        if takes_more {
            added = std::mem::take(&mut catch_up.waiting);
        }
        if catch_up.waiting.len() > MAX_WAITING_MESSAGES {
            tracing::warn!(
                "too many messages are waiting during catch-up; reading the history again, including them"
            );
            catch_up.waiting = Vec::new();
            match &mut backlog {
                Some(backlog) => backlog.gap_follows = true,
                None => self.begin_catch_up(),
            }
        }
        let Some(mut backlog) = backlog else {
            return Ok(());
        };
        let mut unplaced = std::mem::take(&mut self.unplaced_waiting);
        unplaced.extend(self.take_unplaced(&mut added));
        if !unplaced.is_empty() {
            self.record_as_missing(&unplaced).await?;
        }
        if takes_more {
            backlog.append(added);
        }
        self.apply_from_backlog(backlog).await
    }

    /// Applies the next batch of a backlog. After the last batch the catch-up is over.
    async fn apply_from_backlog(&mut self, mut backlog: Backlog) -> Result<(), Lost> {
        self.resume_recorder().await;
        let is_last = loop {
            let messages = backlog.rest();
            let end = batch_end(messages, self.limits.messages, self.max_users);
            let is_last = end == messages.len();
            let mut batch = self.plan(&messages[..end], Announce::OnePerUser);
            let read = is_last.then_some(backlog.reached());
            let reached = batch.last.max(read).max(self.applied);
            let kind = BatchKind::CatchUp {
                first: backlog.first(),
                is_last,
            };
            let recorder = self.recorder.clone();
            let missing = backlog.missing_intervals(self.applied, reached, is_last);
            let is_missing_noted = !missing.is_empty();
            if is_missing_noted {
                let awarded_after = |at| self.cache.awarded_after(at);
                self.recorder
                    .note_missing(&mut batch, missing, awarded_after);
            }
            self.recorder.remember(
                &mut batch,
                &messages[..end],
                &self.cache.xp_rules(),
                self.applied,
            );
            if batch.saves_nothing() && !is_last {
                self.applied = reached;
            } else if self.commit_and_publish(&mut batch, reached, kind).await?
                == BatchOutcome::TooSlow
            {
                self.recorder = recorder;
                continue;
            }
            backlog.advance(end, &batch, is_missing_noted);
            break is_last;
        };
        if !is_last {
            backlog.log_progress();
            if let Some(catch_up) = &mut self.catch_up {
                catch_up.backlog = Some(backlog);
            }
            return Ok(());
        }
        backlog.log_end();
        // The last batch has released the held level-up lines.
        self.outbox_filled.notify_one();
        if backlog.gap_follows {
            self.begin_catch_up();
        } else {
            self.catch_up = None;
        }
        Ok(())
    }

    /// Applies live messages.
    async fn apply(&mut self, mut messages: Vec<EligibleMessage>) -> Result<(), Lost> {
        self.resume_recorder().await;
        messages.sort_unstable_by_key(|seen| seen.message);
        let unplaced = self.take_unplaced(&mut messages);
        if !unplaced.is_empty() {
            self.record_as_missing(&unplaced).await?;
        }
        let mut rest = messages.as_slice();
        while !rest.is_empty() {
            let end = batch_end(rest, self.limits.messages, self.max_users);
            let mut batch = self.plan(&rest[..end], Announce::EachLevelUp);
            let reached = batch.last.max(self.applied);
            let recorder = self.recorder.clone();
            self.recorder.remember(
                &mut batch,
                &rest[..end],
                &self.cache.xp_rules(),
                self.applied,
            );
            if batch.saves_nothing() {
                // Only the frontier is to be saved. The next batch that saves something moves it;
                // if none comes soon, the timer does.
                self.applied = reached;
                if self.applied > self.committer.watermark().frontier {
                    self.save_frontier_soon();
                }
            } else if self
                .commit_and_publish(&mut batch, reached, BatchKind::Live)
                .await?
                == BatchOutcome::TooSlow
            {
                self.recorder = recorder;
                continue;
            }
            rest = &rest[end..];
        }
        Ok(())
    }

    /// Removes the messages that cannot be judged before it is known where their threads stand.
    fn take_unplaced(&self, messages: &mut Vec<EligibleMessage>) -> Vec<EligibleMessage> {
        if self.applied.is_none() {
            // Without a frontier nothing can be recorded as missing before it.
            return Vec::new();
        }
        let rules = self.cache.xp_rules();
        let unplaced =
            messages.extract_if(.., |seen| rules.needs_place(seen.message, seen.channel));
        unplaced.collect()
    }

    /// Records messages as missing history, which is counted late. Nothing newer has to wait.
    async fn record_as_missing(&mut self, messages: &[EligibleMessage]) -> Result<(), Lost> {
        let Some(after) = self.applied else {
            return Ok(());
        };
        self.resume_recorder().await;
        let mut by_thread: BTreeMap<ChannelId, MessageId> = BTreeMap::new();
        for seen in messages {
            let newest = by_thread.entry(seen.channel).or_insert(seen.message);
            *newest = seen.message.max(*newest);
        }
        // The shortest interval stands for a message that came after newer ones were counted.
        let shortest = MessageId::new(after.get() + 1).unwrap_or(after);
        let missing = by_thread.into_iter().map(|(thread, newest)| {
            let source = UnreadSource {
                source: HistorySource::Messages(thread),
                name: String::new(),
            };
            (source, after, newest.max(shortest))
        });
        let mut batch = self.plan(&[], Announce::EachLevelUp);
        let awarded_after = |at| self.cache.awarded_after(at);
        self.recorder
            .note_missing(&mut batch, missing.collect(), awarded_after);
        // Leaves the level-up lines of a catch-up as they are.
        self.commit_and_publish(&mut batch, Some(after), BatchKind::Frontier)
            .await?;
        self.unplaced.keep(messages);
        self.history_missing.notify_one();
        Ok(())
    }

    /// Loads the messages that the previous engine remembered, before anything is counted.
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
            tokio::time::sleep(retry_delay(attempt)).await;
        }
    }

    async fn load_recorder(&mut self) -> store::Result<Recorder> {
        let loaded = self.committer.read(async |session| {
            let intervals = history_interval::all(session).await?;
            let counted = history_interval::counted(session, None).await?;
            Ok((intervals, counted))
        });
        let (intervals, counted) = loaded.await?;
        let until = intervals.iter().map(|interval| interval.until).max();
        Ok(Recorder::resumed(until, &counted))
    }

    async fn carry_out_adjustments(&mut self) -> Result<(), Lost> {
        for pending in std::mem::take(&mut self.adjustments) {
            if pending.request.adjustment.is_about_points() && self.catch_up.is_some() {
                // The missed messages were sent before the adjustment, so they count first.
                let _ = pending.answer.send(Err(AdjustmentError::CatchingUp));
                continue;
            }
            self.carry_out(pending).await?;
        }
        Ok(())
    }

    /// Rules are changed during a catch-up too: they do not affect messages from before.
    async fn change_rules(&mut self) -> Result<(), Lost> {
        for pending in std::mem::take(&mut self.rules) {
            // What was observed before a rule, such as who holds its role, must not be lost if the
            // rule is saved.
            if !self.observations.is_empty() {
                self.save_frontier().await?;
            }
            if !self.observations.is_empty() && self.applied.is_some() {
                let _ = pending.answer.send(Err(AdjustmentError::NotSaved));
                continue;
            }
            self.carry_out(pending).await?;
        }
        Ok(())
    }

    async fn carry_out<R: Request>(&mut self, pending: Pending<R>) -> Result<(), Lost> {
        let carrier = Carrier {
            committer: &mut self.committer,
            cache: &self.cache,
            frontier: self.applied,
            outbox_filled: &self.outbox_filled,
        };
        if carrier.carry_out(pending).await? {
            self.save_frontier_at = Some(Instant::now() + FRONTIER_SAVE_DELAY);
        }
        Ok(())
    }

    async fn count_late_history(&mut self) -> Result<(), Lost> {
        for (late, answer) in std::mem::take(&mut self.late) {
            let counted = if self.catch_up.is_some() {
                Err(NotCounted::CatchingUp)
            } else {
                self.count_interval(late).await?
            };
            // If the reader has stopped waiting, its next run reads from the database what is
            // still missing.
            let _ = answer.send(counted);
        }
        Ok(())
    }

    async fn count_interval(&mut self, late: LateHistory) -> Result<Result<(), NotCounted>, Lost> {
        self.resume_recorder().await;
        let reached = Some(late.up_to).max(self.applied);
        self.observations
            .channels(&late.channels, &mut self.cache.xp_rules_mut(), reached);
        let planned = match self.plan_interval(&late).await {
            Ok(planned) => planned,
            Err(CommitError::Lost(lost)) => return Err(lost),
            Err(CommitError::Store(error) | CommitError::TooSlow(error)) => {
                tracing::warn!(%error, "late messages could not be counted; trying again");
                return Ok(Err(NotCounted::NotSaved));
            }
        };
        // `None`: an earlier attempt has counted the interval.
        let Some((mut batch, recorder)) = planned else {
            return Ok(Ok(()));
        };
        let Some(frontier) = self.applied else {
            return Ok(Err(NotCounted::NotSaved));
        };
        if self
            .commit_and_publish(&mut batch, Some(frontier), BatchKind::Live)
            .await?
            == BatchOutcome::TooSlow
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

    /// Plans a batch of late messages; `None` if their interval is not missing any more.
    async fn plan_interval(
        &mut self,
        late: &LateHistory,
    ) -> Result<Option<(Batch, Option<Recorder>)>, CommitError> {
        self.committer.resolve_doubt().await?;
        let mut users: Vec<UserId> = late.messages.iter().map(|seen| seen.user).collect();
        users.sort_unstable();
        users.dedup();
        let loaded = self.committer.read(async |session| {
            let intervals = history_interval::all(session).await?;
            // The last part of an interval also decides which remembered messages are forgotten,
            // so it needs those of all users.
            let is_last_part = intervals
                .iter()
                .any(|one| one.id == late.interval && one.until <= late.up_to);
            let of = (!is_last_part).then_some(users.as_slice());
            let counted = history_interval::counted(session, of).await?;
            Ok((intervals, counted))
        });
        let (intervals, counted) = loaded.await?;
        let known = |user| self.cache.get(user);
        let rules = AwardRules {
            levels: &self.cache.levels(),
            xp_rules: &self.cache.xp_rules(),
            zone: self.zone,
        };
        let mut planned = plan_interval(late, intervals, counted, rules, known);
        if let Some((batch, _)) = &mut planned {
            self.observations.add_to(batch);
        }
        Ok(planned)
    }

    /// Plans a batch. Profiles of authors who do not earn are left to the register.
    fn plan(&self, messages: &[EligibleMessage], announce: Announce) -> Batch {
        let (cache, unsaved) = (&self.cache, self.cache.unsaved());
        let known = |user| cache.get(user);
        let observed = |user| unsaved.left_to(Saver::Engine, user);
        let rules = AwardRules {
            levels: &cache.levels(),
            xp_rules: &cache.xp_rules(),
            zone: self.zone,
        };
        let mut batch = plan(messages, rules, announce, known, observed);
        self.observations.add_to(&mut batch);
        for user in &batch.observed_only {
            unsaved.leave_to_register(*user);
        }
        batch
    }

    /// Commits a batch, then updates the cache and wakes the delivery of level-ups.
    async fn commit_and_publish(
        &mut self,
        batch: &mut Batch,
        reached: Option<MessageId>,
        kind: BatchKind,
    ) -> Result<BatchOutcome, Lost> {
        let Some(frontier) = reached else {
            return Ok(BatchOutcome::Saved);
        };
        let committed = self
            .committer
            .commit_batch(batch, frontier, kind, &self.cache);
        if committed.await? == BatchOutcome::TooSlow {
            self.max_users = batch.users.len() / 2;
            tracing::warn!(
                users = batch.users.len(),
                "Postgres takes too long for so many users at once; saving half as many at a time"
            );
            return Ok(BatchOutcome::TooSlow);
        }
        self.max_users = (self.max_users * 2).min(self.limits.users);
        self.applied = reached;
        self.save_frontier_at =
            (!batch.users.is_empty()).then(|| Instant::now() + FRONTIER_SAVE_DELAY);
        self.cache.apply(&batch.users);
        self.observations.saved(batch.records.len());
        for AuthorProfile { user, version, .. } in &batch.observed {
            if let Some(version) = version {
                self.cache.observed_is_saved(*user, *version);
            }
        }
        if !batch.level_ups.is_empty() {
            self.outbox_filled.notify_one();
        }
        Ok(BatchOutcome::Saved)
    }

    /// Saves the frontier without messages, and what was observed, in one attempt. If that fails,
    /// it is tried again later, so that no message waits for it.
    async fn save_frontier(&mut self) -> Result<(), Lost> {
        let mut batch = Batch::default();
        self.observations.add_to(&mut batch);
        let is_saved = self.committer.save_frontier(self.applied, &batch).await?;
        if is_saved && self.applied.is_some() {
            self.observations.saved(batch.records.len());
        }
        self.save_frontier_at = (!is_saved).then(|| Instant::now() + FRONTIER_SAVE_DELAY);
        Ok(())
    }

    fn save_frontier_soon(&mut self) {
        self.save_frontier_at
            .get_or_insert_with(|| Instant::now() + FRONTIER_SAVE_DELAY);
    }
}

/// Sleeps until a time; forever if there is none.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
