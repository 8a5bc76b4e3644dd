//! The engine's inbox: a bounded queue of messages, history and requests.
//!
//! Listeners must not wait, so a message that does not fit is dropped and a gap is opened, as after
//! a lost session or an outage. The engine then applies nothing newer until the history has been
//! read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::adjustment::{Adjusted, AdjustmentError, AdjustmentRequest, PendingAdjustment};
use super::commit_permit::CommitPermit;
use crate::leveling::{ChannelId, MessageId, ObservedMessage, ObservedProfile, UserId, may_earn};
use crate::store::history_interval::UnreadSource;

/// Maximum number of waiting messages: some minutes of a very busy guild.
const CAPACITY: usize = 100_000;
/// Maximum number of waiting commands. Further ones wait outside the inbox and time out with the
/// same answer.
const MAX_WAITING_COMMANDS: usize = 1_000;
/// Extra time for an adjustment that is in a transaction when its timeout ends: the answer is
/// either about to come or will not come soon.
const COMMIT_GRACE: Duration = Duration::from_secs(1);

/// A message that may earn XP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EligibleMessage {
    /// Its id, which contains its time.
    pub message: MessageId,
    /// The channel or thread in which it was sent.
    pub channel: ChannelId,
    /// Its author.
    pub user: UserId,
    /// The author's profile as a message of the history shows it, if no name is stored yet.
    /// Profiles from live messages are in the cache's unsaved profiles instead. Boxed, since a
    /// queue of 100,000 messages is moved and sorted, and hardly any of them has one.
    pub profile: Option<Box<ObservedProfile>>,
}

impl EligibleMessage {
    /// The message for the engine; `None` if it may not earn XP.
    pub fn of(message: &ObservedMessage) -> Option<Self> {
        may_earn(&message.facts).then_some(Self {
            message: message.id,
            channel: message.channel,
            user: message.author,
            profile: None,
        })
    }

    /// As [`Self::of`], for a message of the history: with the author's profile unless `is_named`,
    /// which tells whether a name of theirs is stored.
    pub fn of_history(
        message: ObservedMessage,
        is_named: impl FnOnce(UserId) -> bool,
    ) -> Option<Self> {
        let eligible = Self::of(&message)?;
        let profile = message.profile.filter(|_| !is_named(eligible.user));
        Some(Self {
            profile: profile.map(Box::new),
            ..eligible
        })
    }
}

/// The history of a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The number of the gap that it fills.
    pub gap: u64,
    /// The messages that may earn XP, in any order.
    pub messages: Vec<EligibleMessage>,
    /// Everything up to this message has been read, except what is `missing`. Newer messages
    /// may be in `messages` only in part.
    pub reached: MessageId,
    /// What could not be read.
    pub missing: MissingHistory,
}

/// The part of a gap that could not be read. It is counted later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MissingHistory {
    /// The channels and lists that could not be read.
    pub sources: Vec<UnreadSource>,
    /// Only messages after this one were wanted.
    pub floor: Option<MessageId>,
    /// Threads that no list contained may hold messages up to this one that did not come live.
    pub lists_until: Option<MessageId>,
}

/// The history of an interval, read after newer messages were counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateHistory {
    /// The id of its row in the database.
    pub interval: i64,
    /// The messages that may earn XP, in any order.
    pub messages: Vec<EligibleMessage>,
    /// The interval is complete up to this message.
    pub up_to: MessageId,
    /// Further sources in which the interval turned out to be missing.
    pub unread: Vec<UnreadSource>,
}

/// Why late messages were not counted. The caller may try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCounted {
    /// A gap is being filled, which comes first.
    #[error("missed messages are being counted")]
    CatchingUp,
    /// The database did not save them.
    #[error("the database did not save them")]
    NotSaved,
    /// Postgres did not save this many messages within the time limit; send fewer at a time.
    #[error("they are too many at once")]
    TooMany,
    /// The engine has ended.
    #[error("the engine has ended")]
    Ended,
}

#[derive(Debug)]
pub(super) enum Delivery {
    Message(EligibleMessage),
    History(History),
    /// Answered when everything before it has been committed.
    Settle(Settle),
    Adjust(PendingAdjustment),
    Late(LateHistory, oneshot::Sender<Result<(), NotCounted>>),
}

/// A command that waits until everything before it has been committed.
#[derive(Debug)]
pub(super) struct Settle {
    /// Closed once the command has stopped waiting.
    pub done: oneshot::Sender<()>,
    /// The command's place among those that may wait.
    pub place: OwnedSemaphorePermit,
}

/// A caller that waits for an adjustment. Dropping it withdraws the adjustment.
struct WaitingCaller {
    permit: Arc<CommitPermit>,
    answered: oneshot::Receiver<Result<Adjusted, AdjustmentError>>,
}

impl Drop for WaitingCaller {
    fn drop(&mut self) {
        // Before the channel closes, because the engine checks the permit when it does.
        self.permit.abandon();
    }
}

/// Hands messages and requests to the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Inbox {
    sender: mpsc::Sender<Delivery>,
    gap: Arc<GapFlag>,
    /// Permits for commands that wait. The engine returns a permit only when it has dealt with the
    /// command, even if the command has timed out, so requests cannot pile up during a catch-up or
    /// an outage of Postgres.
    places: Arc<Semaphore>,
}

/// Set when messages may have been missed, until the engine has reacted.
#[derive(Debug, Default)]
pub(super) struct GapFlag {
    open: AtomicBool,
    opened: Notify,
}

impl GapFlag {
    /// Returns whether it was not set before. The engine sees the gap before it sees messages
    /// that are offered after this call.
    fn open(&self) -> bool {
        let opened = !self.open.swap(true, Ordering::AcqRel);
        self.opened.notify_one();
        opened
    }

    /// Whether it was set since the last call.
    pub(super) fn take(&self) -> bool {
        self.open.swap(false, Ordering::AcqRel)
    }

    pub(super) async fn opened(&self) {
        self.opened.notified().await;
    }
}

impl Inbox {
    pub(super) fn new() -> (Self, mpsc::Receiver<Delivery>, Arc<GapFlag>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let gap = Arc::new(GapFlag::default());
        (
            Self {
                sender,
                gap: Arc::clone(&gap),
                places: Arc::new(Semaphore::new(MAX_WAITING_COMMANDS)),
            },
            receiver,
            gap,
        )
    }

    /// Offers a message. Never waits.
    pub fn offer(&self, seen: EligibleMessage) {
        let message = seen.message;
        let full = matches!(
            self.sender.try_send(Delivery::Message(seen)),
            Err(mpsc::error::TrySendError::Full(_))
        );
        if full && self.gap.open() {
            tracing::error!(
                %message,
                capacity = CAPACITY,
                "the inbox is full; messages that do not fit will be read from the history"
            );
        }
    }

    /// Tells the engine that messages may have been missed until now: a gateway session has
    /// begun, or the guild is back after an outage. Never waits.
    pub fn open_gap(&self) {
        self.gap.open();
    }

    /// Hands in the history of a gap.
    pub async fn fill(&self, history: History) {
        // An engine that has ended needs no history.
        let _ = self.sender.send(Delivery::History(history)).await;
    }

    /// Counts messages that were read late, and waits until they are committed.
    pub async fn count_late(&self, late: LateHistory) -> Result<(), NotCounted> {
        let (done, counted) = oneshot::channel();
        let sent = self.sender.send(Delivery::Late(late, done)).await;
        sent.map_err(|_| NotCounted::Ended)?;
        counted.await.unwrap_or(Err(NotCounted::Ended))
    }

    /// Waits, at most for `limit`, until everything offered before is committed. Returns whether
    /// it is.
    pub async fn settled(&self, limit: Duration) -> bool {
        let (done, waiting) = oneshot::channel();
        let settle = async {
            let settle = Settle {
                done,
                place: self.place().await?,
            };
            self.sender.send(Delivery::Settle(settle)).await.ok()?;
            waiting.await.ok()
        };
        matches!(timeout(limit, settle).await, Ok(Some(())))
    }

    /// Carries out an adjustment after everything offered before, and waits until it is
    /// committed and in the cache. If `limit` ends first, the adjustment is withdrawn and will
    /// not be carried out later.
    pub async fn adjust(
        &self,
        request: AdjustmentRequest,
        limit: Duration,
    ) -> Result<Adjusted, AdjustmentError> {
        let (answer, answered) = oneshot::channel();
        let permit = Arc::<CommitPermit>::default();
        let mut caller = WaitingCaller {
            permit: Arc::clone(&permit),
            answered,
        };
        let carried_out = async {
            let pending = PendingAdjustment {
                request,
                permit,
                answer,
                place: self.place().await?,
            };
            let sent = self.sender.send(Delivery::Adjust(pending)).await;
            sent.ok()?;
            (&mut caller.answered).await.ok()
        };
        match timeout(limit, carried_out).await {
            Ok(Some(answer)) => return answer,
            // The engine has ended.
            Ok(None) => {}
            Err(_) if caller.permit.withdraw() => return Err(AdjustmentError::NotSaved),
            Err(_) => {
                if let Ok(Ok(answer)) = timeout(COMMIT_GRACE, &mut caller.answered).await {
                    return answer;
                }
            }
        }
        Err(if caller.permit.abandon() {
            AdjustmentError::NotSaved
        } else {
            AdjustmentError::Unknown
        })
    }

    /// Waits for a free place among the waiting commands.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leveling::MessageFacts;

    fn message(by_bot: bool) -> ObservedMessage {
        ObservedMessage {
            id: MessageId::new(1 << 22).unwrap(),
            channel: ChannelId::new(2).unwrap(),
            author: UserId::new(3).unwrap(),
            facts: MessageFacts {
                kind: 0,
                by_bot,
                by_system: false,
                by_webhook: false,
                forwarded: false,
            },
            profile: Some(ObservedProfile::default()),
        }
    }

    #[test]
    fn a_profile_comes_along_only_from_the_history_and_only_if_no_name_is_stored() {
        let live = EligibleMessage::of(&message(false)).unwrap();
        assert_eq!((live.user, live.profile), (message(false).author, None));
        let of_history = |by_bot, is_named| {
            let kept = EligibleMessage::of_history(message(by_bot), |_| is_named);
            kept.map(|kept| kept.profile.is_some())
        };
        assert_eq!(of_history(false, false), Some(true));
        assert_eq!(of_history(false, true), Some(false));
        assert_eq!(of_history(true, false), None);
        assert_eq!(EligibleMessage::of(&message(true)), None);
    }
}
