//! Counts later what could not be read when a gap was: tries each part of the history that was
//! set aside until it can be read, and tells the council which it is.
//!
//! Decides nothing about XP: the engine counts, and what is missing is in the database until
//! it has.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream};
use tokio::sync::Notify;

use crate::backoff::backoff;
use crate::discord::RestError;
use crate::discord::council::Notice;
use crate::discord::history::{IntervalRead, Layout, NotRead, Reader, ReadingMemory};
use crate::environment::Environment;
use crate::job::Job;
use crate::leveling::{HistorySource, escape};
use crate::store::history_interval::{self, HistoryInterval, UnreadSource};
use crate::xp::{Inbox, LateHistory, NotCounted};

/// Of the council's notices.
const SCOPE: &str = "history";
/// Sources that are read side by side.
const CONCURRENCY: usize = 4;
/// Messages that are counted in one transaction.
const BATCH_SIZE: usize = 5_000;
/// How long what came before is waited for.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);
const BACKOFF_MIN: Duration = Duration::from_secs(4);
const BACKOFF_MAX: Duration = Duration::from_hours(1);

/// Tries what was set aside.
#[derive(Debug)]
pub struct CountLateHistory {
    env: Environment,
    /// The way to the engine.
    inbox: Inbox,
    /// What is remembered from one reading to the next.
    memory: Arc<ReadingMemory>,
    /// Notified when something was set aside.
    set_aside: Arc<Notify>,
    state: State,
}

/// What is kept from one round to the next.
#[derive(Debug)]
struct State {
    /// Whether everything was tried once, whenever it is due: whoever starts the bot again
    /// may have mended something.
    has_tried_all: AtomicBool,
    /// How many messages are counted in one transaction: fewer after one that took too long.
    batch_size: AtomicUsize,
    /// What the council was given last. It keeps what it cannot say yet.
    told: Mutex<Option<Vec<String>>>,
    /// What was lost and is counted as such, and the council has not been told yet.
    losses: Mutex<Losses>,
}

#[derive(Debug, Default)]
struct Losses {
    /// The key and the text of each.
    untold: Vec<(String, String)>,
    /// Not before this time, after a failure.
    next_attempt_at: DateTime<Utc>,
}

impl Default for State {
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
        Some(Arc::clone(&self.set_aside))
    }

    async fn run_once(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        Box::pin(self.count_what_is_due(now)).await
    }
}

impl CountLateHistory {
    /// The job. `set_aside` is notified when there is something to try.
    pub fn new(
        env: &Environment,
        inbox: Inbox,
        memory: Arc<ReadingMemory>,
        set_aside: Arc<Notify>,
    ) -> Self {
        Self {
            env: env.clone(),
            inbox,
            memory,
            set_aside,
            state: State::default(),
        }
    }

    /// Tries everything that is due at `now`, and tells the council what is missing.
    async fn count_what_is_due(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let missing = self.missing().await?;
        // The council must not hold up what can be counted, and the other way round.
        let (counted, ()) = tokio::join!(self.try_due(&missing, now), self.tell_council(&missing));
        if !missing.is_empty() {
            self.tell_council(&self.missing().await?).await;
        }
        self.tell_losses(now).await;
        counted
    }

    async fn missing(&self) -> anyhow::Result<Vec<HistoryInterval>> {
        Ok(history_interval::all(&mut *self.env.database.acquire().await?).await?)
    }

    async fn try_due(&self, missing: &[HistoryInterval], now: DateTime<Utc>) -> anyhow::Result<()> {
        let try_all = !self.state.has_tried_all.load(Ordering::Relaxed);
        let mut due: BTreeMap<HistorySource, Vec<HistoryInterval>> = BTreeMap::new();
        for interval in missing {
            let source = interval.source.source;
            // One that was read in another gap meanwhile can be read now.
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
        // During a catch-up, or without a database, nothing could be counted: it would be read
        // in vain, again and again.
        if !self.inbox.settled(SETTLE_TIMEOUT).await {
            return Ok(());
        }
        self.state.has_tried_all.store(true, Ordering::Relaxed);
        let time = (&self.env.time, false);
        let reader = Reader::new(
            &self.env.rest,
            &self.env.xp,
            &self.memory,
            time,
            self.env.guild,
            0,
        );
        let layout = match reader.layout().await {
            // Nothing is asked any more.
            Err(RestError::Revoked) => return Ok(()),
            layout => layout?,
        };
        let trying = stream::iter(due.into_values())
            .map(|intervals| self.try_source(&reader, &layout, intervals, now));
        let tried: Vec<_> = trying.buffer_unordered(CONCURRENCY).collect().await;
        tried.into_iter().collect()
    }

    /// Reads and counts the intervals of one source, the oldest first.
    async fn try_source(
        &self,
        reader: &Reader<'_>,
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

    /// Whether it goes on with the next interval of the source.
    async fn try_interval(
        &self,
        reader: &Reader<'_>,
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
                Err(why) => {
                    let nothing = IntervalRead {
                        messages: Vec::new(),
                        up_to: until,
                        unread: Vec::new(),
                    };
                    (nothing, Some(why))
                }
            };
            let up_to = read.up_to;
            if !self.count(interval.id, read).await? {
                return Ok(false);
            }
            if let Some(why) = lost {
                self.note_loss(interval, &why);
                return Ok(true);
            }
            after = up_to;
        }
        tracing::info!(%source, %name, "this part of the history was read, and is counted");
        Ok(true)
    }

    /// Hands what was read to the engine, in parts; whether all of it was counted.
    async fn count(&self, interval: i64, read: IntervalRead) -> anyhow::Result<bool> {
        let IntervalRead {
            mut messages,
            up_to,
            mut unread,
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
                // In the first part: what follows may be cut off by the end of the bot.
                unread: unread.clone(),
            };
            match self.inbox.count_late(late).await {
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
                // It is read again in the next round.
                Err(NotCounted::CatchingUp | NotCounted::NotSaved | NotCounted::Ended) => {
                    return Ok(false);
                }
            }
        }
    }

    async fn postpone(
        &self,
        interval: &HistoryInterval,
        error: &RestError,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let UnreadSource { source, name } = &interval.source;
        tracing::debug!(%source, %name, %error, "this part of the history cannot be read yet");
        let wait = match error {
            RestError::Limited { wait, .. } => (*wait).min(BACKOFF_MAX),
            _ => Duration::ZERO,
        };
        let pause = backoff(interval.attempts, BACKOFF_MIN, BACKOFF_MAX).max(wait);
        let mut session = self.env.database.acquire().await?;
        Ok(history_interval::postpone(&mut session, *source, now + pause).await?)
    }

    /// Notes that an interval never can be read, once that counts.
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

    async fn tell_losses(&self, now: DateTime<Utc>) {
        loop {
            let next = {
                let losses = self.losses();
                let is_due = losses.next_attempt_at <= now;
                losses.untold.first().filter(|_| is_due).cloned()
            };
            let Some((key, text)) = next else { return };
            match self.env.council.say(&key, &text).await {
                Ok(()) => {
                    self.losses().untold.remove(0);
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "the council could not be told what was lost yet");
                    self.losses().next_attempt_at = now + BACKOFF_MAX;
                }
            }
        }
    }

    fn losses(&self) -> std::sync::MutexGuard<'_, Losses> {
        let losses = self.state.losses.lock();
        losses.unwrap_or_else(PoisonError::into_inner)
    }

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
        if let Err(error) = self.env.council.tell(SCOPE, &notices).await {
            let error = format!("{error:#}");
            tracing::warn!(
                error,
                "the council could not be told yet what cannot be read"
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
            format!("the messages of <#{channel}> ({})", escape(name))
        }
        HistorySource::ArchivedThreads(channel) => {
            format!("the archived threads of <#{channel}> ({})", escape(name))
        }
        HistorySource::ActiveThreads => "the list of active threads".to_owned(),
    }
}
