//! Fills gaps: reads what the guild wrote while nobody listened, and hands it to the
//! engine.
//!
//! A reading that fails is begun again; a newer gap replaces it. Nothing is saved in
//! here, so that it can end at any point. Never lets XP wait for a word to people.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::backoff::backoff;
use crate::discord::RestError;
use crate::discord::history::{Missed, Reader, ReadingMemory, Unread};
use crate::environment::Environment;
use crate::leveling::{HistorySource, MessageId, Timestamp};
use crate::xp::{Gap, History, Inbox, MissingHistory};

const RETRY_LEAST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(30);
/// How long Discord is given to say what time it is.
const TIME_PATIENCE: Duration = Duration::from_secs(30);
/// Nobody is in a hurry to read it.
const TELL_MOST: Duration = Duration::from_mins(5);

/// Fills gaps.
#[derive(Debug)]
pub struct CatchUp {
    env: Environment,
    /// How far back missed messages are read, in hours.
    hours: u32,
    /// The way to the engine.
    inbox: Inbox,
    /// The gap that is open now.
    gaps: watch::Receiver<Option<Gap>>,
    /// What is remembered from one reading to the next.
    memory: Arc<ReadingMemory>,
    /// Notified when something was set aside.
    set_aside: Arc<Notify>,
    /// What was said, and what has yet to be.
    said: Mutex<Said>,
}

/// What people were told, and what they have yet to be told. It outlives a gap.
#[derive(Debug, Default)]
struct Said {
    /// Channels that may not be read and of which it was said, by id.
    hidden: BTreeSet<u64>,
    /// What was set aside and of which it was said, until it is read.
    set_aside: BTreeSet<HistorySource>,
    /// What the council has not been told yet.
    word: Option<Word>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    sentence: String,
    /// Which word it is: said once.
    key: String,
}

impl CatchUp {
    /// Reads up to `hours` back, and notifies `set_aside` of what could not be read.
    pub fn new(
        env: &Environment,
        hours: u32,
        (inbox, gaps): (Inbox, watch::Receiver<Option<Gap>>),
        memory: Arc<ReadingMemory>,
        set_aside: Arc<Notify>,
    ) -> Self {
        Self {
            env: env.clone(),
            hours,
            inbox,
            gaps,
            memory,
            set_aside,
            said: Mutex::default(),
        }
    }

    /// Fills each gap that the engine finds, until the engine has ended. Beside it the
    /// council is told what it must know, however long that takes: neither XP nor the
    /// next gap waits for it.
    pub async fn run(&self) {
        let news = Notify::new();
        tokio::select! {
            () = self.fill_each(&news) => {}
            () = self.tell_council(&news) => {}
        }
    }

    async fn fill_each(&self, news: &Notify) {
        let mut gaps = self.gaps.clone();
        let mut gap = *gaps.borrow_and_update();
        loop {
            let filling = async {
                if let Some(gap) = gap {
                    self.fill(gap, news).await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = filling => {}
                changed = gaps.changed() => if changed.is_err() { return },
            }
            gap = *gaps.borrow_and_update();
        }
    }

    async fn fill(&self, gap: Gap, news: &Notify) {
        let started = Instant::now();
        for attempt in 0.. {
            // A machine that has slept would take what was written meanwhile for the future.
            let fresh = self.env.time.ask(TIME_PATIENCE).await;
            let after = gap
                .after
                .map(|after| self.not_from_the_future(after, fresh));
            let reader = Reader::new(
                &self.env.rest,
                &self.env.xp,
                &self.memory,
                (&self.env.time, fresh),
                self.env.guild,
                self.hours,
            );
            match reader.read(after).await {
                Ok(mut missed) => {
                    let messages = std::mem::take(&mut missed.messages);
                    if !messages.is_empty() {
                        let (count, in_ms) = (messages.len(), started.elapsed().as_millis());
                        tracing::info!(
                            count,
                            in_ms,
                            "read the messages from while the bot was away"
                        );
                    }
                    self.inbox
                        .fill(History {
                            gap: gap.number,
                            messages,
                            reached: missed.reached,
                            missing: MissingHistory {
                                sources: missed.unread_sources(),
                                floor: missed.floor,
                                lists_until: missed.lists_until,
                            },
                        })
                        .await;
                    // Nothing is waited for from here on: a newer gap could cut it off.
                    self.say_hidden(&missed);
                    self.say_set_aside(&missed);
                    if missed.cut_off {
                        self.say_cut_off(missed.reached);
                        news.notify_one();
                    }
                    return;
                }
                Err(RestError::Revoked) => return,
                Err(error) => {
                    let pause = backoff(attempt, RETRY_LEAST, RETRY_MOST);
                    tracing::warn!(%error, "what was missed could not be read; trying again, XP waits until then");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// From where to read: as far back as is allowed, where the frontier is from the future.
    fn not_from_the_future(&self, after: MessageId, fresh: bool) -> MessageId {
        if !self.env.time.rules_out(after, fresh) {
            return after;
        }
        tracing::error!(
            frontier = %after,
            "the position up to which messages are counted is in the future; restart the bot to correct it; until \
             then each catch-up reads back as far as WALLE_CATCH_UP_HOURS allows"
        );
        let now = self.env.time.timestamp().millis();
        let start = Timestamp::from_millis(now - i64::from(self.hours) * 3_600_000);
        start.and_then(MessageId::first_at).unwrap_or(after)
    }

    fn say_hidden(&self, missed: &Missed) {
        for (channel, name) in &missed.hidden {
            if self.said().hidden.insert(channel.get()) {
                tracing::warn!(
                    %channel, %name,
                    "the bot is not allowed to read this channel's history, so messages missed in it are not \
                     counted; give the bot View Channel and Read Message History there"
                );
            }
        }
    }

    fn say_set_aside(&self, missed: &Missed) {
        let mut said = self.said();
        said.set_aside
            .retain(|source| self.memory.is_failing(*source));
        for (source, Unread { name, error }) in &missed.unread {
            if !said.set_aside.insert(*source) {
                continue;
            }
            tracing::warn!(
                %source, %name, %error,
                "this part of the history could not be read and is set aside; everything else is counted, and \
                 wall_e keeps trying to read it"
            );
        }
        if !missed.unread.is_empty() {
            self.set_aside.notify_one();
        }
    }

    fn say_cut_off(&self, reached: MessageId) {
        let hours = self.hours;
        tracing::error!(
            hours,
            "messages that are older than this were missed and are not counted: \
             set WALLE_CATCH_UP_HOURS higher to have more read the next time"
        );
        let sentence = format!(
            "I was away for longer than {hours} hours, and messages from before that time earned no XP. \
             To have me read further back the next time, set WALLE_CATCH_UP_HOURS to more than {hours} \
             and start me again."
        );
        let key = format!("long-gap:{reached}");
        self.said().word = Some(Word { sentence, key });
    }

    /// Never ends.
    async fn tell_council(&self, news: &Notify) {
        let mut attempt = 0;
        loop {
            let word = self.said().word.clone();
            let Some(word) = word else {
                news.notified().await;
                continue;
            };
            match self.env.council.say(&word.key, &word.sentence).await {
                Ok(()) => {
                    if attempt > 0 {
                        tracing::info!("the council has been told");
                    }
                    attempt = 0;
                    // Unless there is something newer to say by now.
                    self.said().word.take_if(|newest| *newest == word);
                }
                Err(error) if error.downcast_ref() == Some(&RestError::Revoked) => {
                    std::future::pending::<()>().await;
                }
                Err(error) => {
                    if attempt == 0 {
                        let error = format!("{error:#}");
                        tracing::warn!(error, "the council could not be told; trying again");
                    }
                    tokio::time::sleep(backoff(attempt, RETRY_LEAST, TELL_MOST)).await;
                    attempt += 1;
                }
            }
        }
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
