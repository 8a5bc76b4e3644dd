//! Counts the messages in parts of the history that could not be read during a catch-up. Retries
//! each part until it can be read, and tells the council which parts are missing.
//!
//! The engine decides which messages earn XP. An interval of missing history stays in the database
//! until the engine has counted it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream};
use tokio::sync::Notify;

use crate::backoff::Backoff;
use crate::bot::Bot;
use crate::discord::RestError;
use crate::discord::channels::council::Notice;
use crate::discord::channels::history::{
    HistoryReader, IntervalRead, Layout, NotRead, ReadingMemory,
};
use crate::job::Job;
use crate::leveling::{ChannelPlace, HistorySource, escape};
use crate::store::history_interval::{self, HistoryInterval, UnreadSource};
use crate::xp::{ChannelList, EligibleMessage, LateHistory, NotCounted};

/// Scope of the council's notices about missing history.
const SCOPE: &str = "history";
/// Sources read at the same time.
const CONCURRENCY: usize = 4;
/// Maximum number of messages counted in one transaction.
const BATCH_SIZE: usize = 5_000;
/// How long to wait for the engine to commit what it received before.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(4), Duration::from_hours(1));

/// The job that reads and counts missing history.
#[derive(Debug)]
pub struct CountLateHistory {
    bot: Bot,
    /// Remembers which sources fail, shared with the catch-up.
    memory: Arc<ReadingMemory>,
    state: HistoryState,
}

/// State kept from one run to the next.
#[derive(Debug)]
struct HistoryState {
    /// Whether this process has tried every interval once. It does so at its start even if they are
    /// not due, because the operator may have fixed the cause before restarting the bot.
    has_tried_all: AtomicBool,
    /// Current number of messages per transaction: halved after one that took too long, doubled
    /// after a success.
    batch_size: AtomicUsize,
    /// The texts of the notices that were last passed to the council, which retries by itself those
    /// that it could not post.
    told: Mutex<Option<Vec<String>>>,
    /// Intervals that are lost for good and of which the council has not been told yet.
    losses: Mutex<Losses>,
}

#[derive(Debug, Default)]
struct Losses {
    /// Key and text of each message to the council.
    untold: Vec<(String, String)>,
    /// The council is not told before this time, which is set after a failure.
    next_attempt_at: DateTime<Utc>,
}

impl Default for HistoryState {
    fn default() -> Self {
        Self {
            has_tried_all: AtomicBool::new(false),
            batch_size: AtomicUsize::new(BATCH_SIZE),
            told: Mutex::default(),
            losses: Mutex::default(),
        }
    }
}

impl Job for CountLateHistory {
    const NAME: &'static str = "late-history";
    const CADENCE: Duration = Duration::from_secs(2);

    fn wakes(&self) -> Option<Arc<Notify>> {
        Some(Arc::clone(self.bot.inbox.history_missing()))
    }

    async fn run_once(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        Box::pin(self.count_what_is_due(now)).await
    }
}

impl CountLateHistory {
    /// `memory` is that of the catch-up.
    pub fn new(bot: &Bot, memory: Arc<ReadingMemory>) -> Self {
        Self {
            bot: bot.clone(),
            memory,
            state: HistoryState::default(),
        }
    }

    /// Tries all intervals that are due at `now`, and tells the council what is missing.
    async fn count_what_is_due(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let missing = self.missing().await?;
        // Both run at the same time, so that neither waits for the other.
        let (counted, ()) = tokio::join!(self.try_due(&missing, now), self.tell_council(&missing));
        if !missing.is_empty() {
            self.tell_council(&self.missing().await?).await;
        }
        self.tell_losses(now).await;
        counted
    }

    async fn missing(&self) -> anyhow::Result<Vec<HistoryInterval>> {
        Ok(history_interval::all(&mut *self.bot.env.database.acquire().await?).await?)
    }

    async fn try_due(&self, missing: &[HistoryInterval], now: DateTime<Utc>) -> anyhow::Result<()> {
        let try_all = !self.state.has_tried_all.load(Ordering::Relaxed);
        let mut due: BTreeMap<HistorySource, Vec<HistoryInterval>> = BTreeMap::new();
        for interval in missing {
            let source = interval.source.source;
            // A source that has been read since its last failure, in a catch-up for example, is
            // tried at once.
            let is_due = interval.next_attempt_at <= now
                || try_all
                || (interval.attempts > 0 && !self.memory.is_failing(source));
            if is_due {
                due.entry(source).or_default().push(interval.clone());
            }
        }
        if due.is_empty() {
            return Ok(());
        }
        // During a catch-up, or while the database is unavailable, the engine could not count the
        // messages, so reading them would be wasted work.
        if !self.bot.inbox.settled(SETTLE_TIMEOUT).await {
            return Ok(());
        }
        self.state.has_tried_all.store(true, Ordering::Relaxed);
        let time = (&self.bot.env.time, false);
        let is_named = |author| self.bot.env.xp.is_named(author);
        let keep = |message| EligibleMessage::of_history(message, is_named);
        let reader = HistoryReader::new(
            &self.bot.env.rest,
            &keep,
            &self.memory,
            time,
            self.bot.env.guild,
            0,
        );
        let layout = match reader.layout().await {
            // The token was refused, and the bot is about to stop.
            Err(RestError::Revoked) => return Ok(()),
            layout => layout?,
        };
        let trying = stream::iter(due.into_values())
            .map(|intervals| self.try_source(&reader, &layout, intervals, now));
        let tried: Vec<_> = trying.buffer_unordered(CONCURRENCY).collect().await;
        tried.into_iter().collect()
    }

    /// Reads and counts the intervals of one source, oldest first, until one fails.
    async fn try_source(
        &self,
        reader: &HistoryReader<'_, EligibleMessage>,
        layout: &Layout,
        intervals: Vec<HistoryInterval>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        for interval in intervals {
            if !self.try_interval(reader, layout, &interval, now).await? {
                break;
            }
        }
        Ok(())
    }

    /// Reads and counts one interval. Returns whether to continue with the source's next interval.
    async fn try_interval(
        &self,
        reader: &HistoryReader<'_, EligibleMessage>,
        layout: &Layout,
        interval: &HistoryInterval,
        now: DateTime<Utc>,
    ) -> anyhow::Result<bool> {
        let (UnreadSource { source, name }, until) = (&interval.source, interval.until);
        let mut after = interval.after;
        while after < until {
            let read = match reader.read_interval(layout, *source, after, until).await {
                Ok(read) => read,
                Err(RestError::Revoked) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            let (read, lost) = match read {
                Ok(read) => (read, None),
                Err(NotRead::Failing(error)) => {
                    self.postpone(interval, &error, now).await?;
                    return Ok(false);
                }
                Err(why) => self.kept(reader, interval, why).await,
            };
            let up_to = read.up_to;
            let read = self.with_kept(*source, read);
            if !self.count(interval.id, read).await? {
                return Ok(false);
            }
            if let HistorySource::Messages(thread) = *source {
                self.bot.inbox.unplaced().forget(thread, up_to);
            }
            if let Some(why) = lost {
                self.note_loss(interval, &why);
                return Ok(true);
            }
            after = up_to;
        }
        tracing::info!(%source, %name, "this part of the history was read and counted");
        Ok(true)
    }

    /// What the bot still has of an interval that can never be read: copies of live messages in a
    /// thread whose channel was unknown. If the thread was deleted, its channel stays unknown and
    /// no channel's rule applies to them. Without any copies, the interval is lost.
    async fn kept(
        &self,
        reader: &HistoryReader<'_, EligibleMessage>,
        interval: &HistoryInterval,
        why: NotRead,
    ) -> (IntervalRead<EligibleMessage>, Option<NotRead>) {
        let mut read = IntervalRead {
            messages: Vec::new(),
            up_to: interval.until,
            unread: Vec::new(),
            threads: Vec::new(),
        };
        if let HistorySource::Messages(thread) = interval.source.source {
            read.messages = self.bot.inbox.unplaced().up_to(thread, interval.until);
            let parent = match why {
                NotRead::Forbidden => reader.parent_of(thread).await,
                _ => None,
            };
            read.threads.push(ChannelPlace {
                channel: thread,
                parent,
                is_thread: true,
            });
        }
        let lost = read.messages.is_empty().then_some(why);
        (read, lost)
    }

    /// Adds the messages that came live and were deleted before the thread was read.
    fn with_kept(
        &self,
        source: HistorySource,
        mut read: IntervalRead<EligibleMessage>,
    ) -> IntervalRead<EligibleMessage> {
        if let HistorySource::Messages(thread) = source {
            let mut kept = self.bot.inbox.unplaced().up_to(thread, read.up_to);
            let listed: BTreeSet<_> = read.messages.iter().map(|seen| seen.message).collect();
            kept.retain(|seen| !listed.contains(&seen.message));
            read.messages.extend(kept);
        }
        read
    }

    /// Sends the messages to the engine in batches. Returns whether all of them were counted.
    async fn count(
        &self,
        interval: i64,
        read: IntervalRead<EligibleMessage>,
    ) -> anyhow::Result<bool> {
        let IntervalRead {
            mut messages,
            up_to,
            mut unread,
            threads,
        } = read;
        messages.sort_unstable_by_key(|seen| seen.message);
        loop {
            let size = self.state.batch_size.load(Ordering::Relaxed);
            let rest = messages.split_off(size.min(messages.len()));
            let is_last = rest.is_empty();
            let part_up_to = messages.last().map(|seen| seen.message);
            let late = LateHistory {
                interval,
                up_to: part_up_to.filter(|_| !is_last).unwrap_or(up_to),
                messages: messages.clone(),
                // Sent with the first batch, because the bot may end before the last one.
                unread: unread.clone(),
                channels: ChannelList {
                    places: threads.clone(),
                    has_all_channels: false,
                },
            };
            match self.bot.inbox.count_late(late).await {
                Ok(()) if is_last => return Ok(true),
                Ok(()) => {
                    let size = (size * 2).min(BATCH_SIZE);
                    self.state.batch_size.store(size, Ordering::Relaxed);
                    (messages, unread) = (rest, Vec::new());
                }
                Err(NotCounted::TooMany) => {
                    let size = (size / 2).max(1);
                    self.state.batch_size.store(size, Ordering::Relaxed);
                    messages.extend(rest);
                }
                // The rest is read again in the next run.
                Err(NotCounted::CatchingUp | NotCounted::NotSaved | NotCounted::Ended) => {
                    return Ok(false);
                }
            }
        }
    }

    /// Schedules the next attempt for the interval's source.
    async fn postpone(
        &self,
        interval: &HistoryInterval,
        error: &RestError,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let UnreadSource { source, name } = &interval.source;
        tracing::debug!(%source, %name, %error, "this part of the history cannot be read yet");
        let wait = match error {
            RestError::Limited { wait, .. } => (*wait).min(BACKOFF.max()),
            _ => Duration::ZERO,
        };
        let pause = BACKOFF.delay(interval.attempts).max(wait);
        let mut session = self.bot.env.database.acquire().await?;
        Ok(history_interval::postpone(&mut session, *source, now + pause).await?)
    }

    /// Logs that an interval can never be read, and queues a message to the council. Called after
    /// the interval is committed as counted, so that it happens only once.
    fn note_loss(&self, interval: &HistoryInterval, why: &NotRead) {
        let UnreadSource { source, name } = &interval.source;
        let (logged, told) = match why {
            NotRead::Gone => (
                "the channel was deleted; messages missed in it are not counted",
                "it was deleted",
            ),
            _ => (
                "the bot is not allowed to read the channel's history; messages missed in it are not counted",
                "I don't have permission to read its history (View Channel, Read Message History)",
            ),
        };
        tracing::warn!(%source, %name, "{logged}");
        let key = format!("history-lost:{}", interval.id);
        let text = format!(
            "Messages written in {} while I was away are not counted: {told}.",
            described(&interval.source)
        );
        self.losses().untold.push((key, text));
    }

    /// Tells the council about lost intervals, until one message fails.
    async fn tell_losses(&self, now: DateTime<Utc>) {
        loop {
            let next = {
                let losses = self.losses();
                let is_due = losses.next_attempt_at <= now;
                losses.untold.first().filter(|_| is_due).cloned()
            };
            let Some((key, text)) = next else { return };
            match self.bot.env.council.say(&key, &text).await {
                Ok(()) => {
                    self.losses().untold.remove(0);
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(
                        error,
                        "the council could not be told yet which messages are lost"
                    );
                    self.losses().next_attempt_at = now + BACKOFF.max();
                }
            }
        }
    }

    fn losses(&self) -> std::sync::MutexGuard<'_, Losses> {
        let losses = self.state.losses.lock();
        losses.unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the council which sources have failed at least once, if that changed since the last
    /// time.
    async fn tell_council(&self, missing: &[HistoryInterval]) {
        let mut by_source: BTreeMap<HistorySource, &HistoryInterval> = BTreeMap::new();
        for interval in missing.iter().filter(|interval| interval.attempts > 0) {
            by_source.entry(interval.source.source).or_insert(interval);
        }
        let notices: Vec<Notice> = by_source.into_values().map(notice).collect();
        let texts: Vec<String> = notices.iter().map(|notice| notice.text.clone()).collect();
        if *self.told() == Some(texts.clone()) {
            return;
        }
        *self.told() = Some(texts);
        if let Err(error) = self.bot.env.council.tell(SCOPE, &notices).await {
            let error = format!("{error:#}");
            tracing::warn!(
                error,
                "the council could not be told yet which history cannot be read"
            );
        }
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Option<Vec<String>>> {
        self.state
            .told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn notice(oldest: &HistoryInterval) -> Notice {
    let UnreadSource { source, .. } = &oldest.source;
    let key = match source {
        HistorySource::Messages(channel) => format!("unread-messages:{channel}"),
        HistorySource::ArchivedThreads(channel) => format!("unread-archive:{channel}"),
        HistorySource::ActiveThreads => "unread-active-threads".to_owned(),
    };
    let since = oldest.after.sent_at().millis() / 1_000;
    Notice {
        key,
        text: format!(
            "Discord does not let me read {}. Messages written there after <t:{since}:f> while I was away are not \
             counted yet. I keep trying and will count them as soon as I can read them. Everything else counts as \
             usual, including new messages there.",
            described(&oldest.source)
        ),
        buttons: None,
    }
}

fn described(UnreadSource { source, name }: &UnreadSource) -> String {
    match source {
        HistorySource::Messages(channel) => {
            format!("the messages of <#{channel}>{}", in_parentheses(name))
        }
        HistorySource::ArchivedThreads(channel) => {
            format!(
                "the archived threads of <#{channel}>{}",
                in_parentheses(name)
            )
        }
        HistorySource::ActiveThreads => "the list of active threads".to_owned(),
    }
}

/// The name, escaped; nothing if it is not known.
fn in_parentheses(name: &str) -> String {
    if name.is_empty() {
        String::new()
    } else {
        format!(" ({})", escape(name))
    }
}
