//! Fills gaps: reads the messages that were written while the bot was not connected, and sends them
//! to the engine.
//!
//! A failed reading starts again from the beginning, and a newer gap replaces the current one. This
//! service saves nothing, so it can end at any point. XP never waits for a message to the council.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::backoff::Backoff;
use crate::bot::Bot;
use crate::discord::RestError;
use crate::discord::channels::history::{HistoryReader, Missed, ReadingMemory, Unread};
use crate::leveling::{HistorySource, MessageId, Timestamp, look_back};
use crate::xp::{ChannelList, EligibleMessage, Gap, History, MissingHistory};

const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// How long to wait for Discord's answer about its current time.
const TIME_TIMEOUT: Duration = Duration::from_secs(30);
/// For messages to the council, which are not urgent.
const COUNCIL_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(5));

/// The service that fills gaps.
#[derive(Debug)]
pub struct CatchUp {
    bot: Bot,
    /// Maximum age of missed messages that are read, in hours.
    hours: u32,
    /// The gap whose history the engine is waiting for, if any.
    gaps: watch::Receiver<Option<Gap>>,
    /// Remembers which sources fail, from one reading to the next.
    memory: Arc<ReadingMemory>,
    reported: Mutex<Reported>,
}

/// What was logged or told to the council, and what the council has yet to be told. Kept from one
/// gap to the next.
#[derive(Debug, Default)]
struct Reported {
    /// Ids of the channels that the bot may not read and that are in the log already.
    hidden: BTreeSet<u64>,
    /// Sources that could not be read and are in the log already; removed when they can be read.
    set_aside: BTreeSet<HistorySource>,
    /// The newest message that the council has not been told yet.
    message: Option<CouncilMessage>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct CouncilMessage {
    text: String,
    /// The council posts one message per key.
    key: String,
}

impl CatchUp {
    /// Reads messages of the last `hours` hours.
    pub fn new(
        bot: &Bot,
        hours: u32,
        gaps: watch::Receiver<Option<Gap>>,
        memory: Arc<ReadingMemory>,
    ) -> Self {
        Self {
            bot: bot.clone(),
            hours,
            gaps,
            memory,
            reported: Mutex::default(),
        }
    }

    /// Fills each gap that the engine finds, until the engine has ended. A second future tells the
    /// council, so that neither XP nor the next gap waits for that.
    pub async fn run(&self) {
        let message_waiting = Notify::new();
        tokio::select! {
            () = self.fill_each(&message_waiting) => {}
            () = self.tell_council(&message_waiting) => {}
        }
    }

    /// A new gap cancels the filling of the current one.
    async fn fill_each(&self, message_waiting: &Notify) {
        let mut gaps = self.gaps.clone();
        let mut gap = *gaps.borrow_and_update();
        loop {
            let filling = async {
                if let Some(gap) = gap {
                    self.fill(gap, message_waiting).await;
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

    async fn fill(&self, gap: Gap, message_waiting: &Notify) {
        let started = Instant::now();
        let mut attempts = BACKOFF.attempts();
        loop {
            // If the machine slept, its estimate of Discord's time is behind, and messages written
            // meanwhile would seem to be from the future.
            let fresh = self.bot.env.time.ask(TIME_TIMEOUT).await;
            let after = gap
                .after
                .map(|after| self.not_from_the_future(after, fresh));
            let is_named = |author| self.bot.env.xp.is_named(author);
            let keep = |message| EligibleMessage::of_history(message, is_named);
            let reader = HistoryReader::new(
                &self.bot.env.rest,
                &keep,
                &self.memory,
                (&self.bot.env.time, fresh),
                self.bot.env.guild,
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
                            "read the messages that were written while the bot was away"
                        );
                    }
                    self.bot
                        .inbox
                        .fill(History {
                            gap: gap.number,
                            messages,
                            reached: missed.reached,
                            missing: MissingHistory {
                                sources: missed.unread_sources(),
                                floor: missed.floor,
                                lists_until: missed.lists_until,
                            },
                            channels: ChannelList {
                                places: std::mem::take(&mut missed.places),
                                has_all_channels: missed.has_all_channels,
                            },
                        })
                        .await;
                    // No await from here on: a newer gap could cancel it there.
                    self.log_hidden_channels(&missed);
                    self.log_unread_sources(&missed);
                    if missed.cut_off {
                        self.report_cut_off(missed.reached);
                        message_waiting.notify_one();
                    }
                    return;
                }
                Err(RestError::Revoked) => return,
                Err(error) => {
                    tracing::warn!(%error, "missed messages could not be read; trying again, XP waits until then");
                    attempts.wait().await;
                }
            }
        }
    }

    /// The message to read from: `after`, or the oldest allowed position if `after` is from the
    /// future.
    fn not_from_the_future(&self, after: MessageId, fresh: bool) -> MessageId {
        if !self.bot.env.time.rules_out(after, fresh) {
            return after;
        }
        tracing::error!(
            frontier = %after,
            "the position up to which messages are counted is in the future; restart the bot to correct it; until \
             then each catch-up reads back as far as WALLE_CATCH_UP_HOURS allows"
        );
        let now = self.bot.env.time.timestamp().millis();
        let start = Timestamp::from_millis(now - look_back::millis(self.hours));
        start.and_then(MessageId::first_at).unwrap_or(after)
    }

    fn log_hidden_channels<M>(&self, missed: &Missed<M>) {
        for (channel, name) in &missed.hidden {
            if self.reported().hidden.insert(channel.get()) {
                tracing::warn!(
                    %channel, %name,
                    "the bot is not allowed to read this channel's history, so messages missed in it are not \
                     counted; give the bot View Channel and Read Message History there"
                );
            }
        }
    }

    fn log_unread_sources<M>(&self, missed: &Missed<M>) {
        let mut reported = self.reported();
        reported
            .set_aside
            .retain(|source| self.memory.is_failing(*source));
        for (source, Unread { name, error }) in &missed.unread {
            if !reported.set_aside.insert(*source) {
                continue;
            }
            tracing::warn!(
                %source, %name, %error,
                "this part of the history could not be read and is set aside; everything else is counted, and \
                 wall_e keeps trying to read it"
            );
        }
        if !missed.unread.is_empty() {
            self.bot.inbox.history_missing().notify_one();
        }
    }

    fn report_cut_off(&self, reached: MessageId) {
        let hours = self.hours;
        tracing::error!(
            hours,
            "messages that are older than this were missed and are not counted: \
             set WALLE_CATCH_UP_HOURS higher to have more read the next time"
        );
        let text = format!(
            "I was away for longer than {hours} hours, and messages from before that time earned no XP. \
             To have me read further back the next time, set WALLE_CATCH_UP_HOURS to more than {hours} \
             and start me again."
        );
        let key = format!("long-gap:{reached}");
        self.reported().message = Some(CouncilMessage { text, key });
    }

    /// Posts each queued message, with retries. Never returns.
    async fn tell_council(&self, message_waiting: &Notify) {
        let mut attempts = COUNCIL_BACKOFF.attempts();
        loop {
            let message = self.reported().message.clone();
            let Some(message) = message else {
                message_waiting.notified().await;
                continue;
            };
            match self.bot.env.council.say(&message.key, &message.text).await {
                Ok(()) => {
                    if !attempts.is_first() {
                        tracing::info!("the council has been told");
                    }
                    attempts.reset();
                    // A newer message may have replaced this one meanwhile.
                    self.reported().message.take_if(|newest| *newest == message);
                }
                Err(error) if error.downcast_ref() == Some(&RestError::Revoked) => {
                    std::future::pending::<()>().await;
                }
                Err(error) => {
                    if attempts.is_first() {
                        let error = format!("{error:#}");
                        tracing::warn!(error, "the council could not be told; trying again");
                    }
                    attempts.wait().await;
                }
            }
        }
    }

    fn reported(&self) -> MutexGuard<'_, Reported> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
