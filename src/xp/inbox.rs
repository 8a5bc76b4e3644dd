//! The way into the engine.
//!
//! Listeners run on the gateway's thread, where nothing may wait: they offer a
//! message and go on. What does not fit, and what a lost session or an outage kept from coming,
//! is a gap: the engine stops before it until the history has been read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::adjustment::{Adjusted, AdjustmentError, AdjustmentRequest};
use super::commit_permit::CommitPermit;
use crate::leveling::{ChannelId, MessageId, Sighting, UserId};
use crate::store::history_interval::UnreadSource;

/// Messages that may wait for the engine; some minutes of a very busy guild.
const CAPACITY: usize = 100_000;
/// Commands and changes that may wait for the engine. Whoever is over it waits for as long as
/// they would have anyway, and is told what they would have been told then.
const MAX_WAITING: usize = 1_000;
/// How much longer than their patience people wait for a change that is in a transaction
/// already: the answer is then as good as there, or long in coming.
const GRACE: Duration = Duration::from_secs(1);

/// A message that may earn XP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EligibleMessage {
    /// Its id, which holds its time.
    pub message: MessageId,
    /// Where it was written.
    pub channel: ChannelId,
    /// Who wrote it.
    pub user: UserId,
    /// What a message of the history shows of its author, where no name is stored yet. What is
    /// heard live is in the cache's unsaved profiles instead. Boxed: a queue of 100,000 messages
    /// is moved and sorted, and hardly any has it.
    pub profile: Option<Box<Sighting>>,
}

/// What was read of a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The gap that it fills, by its number.
    pub gap: u64,
    /// The messages that may earn XP, in any order.
    pub messages: Vec<EligibleMessage>,
    /// Everything up to this message has been read, but for what is missing; of what is newer
    /// only a part.
    pub reached: MessageId,
    /// What could not be read.
    pub missing: MissingHistory,
}

/// What of a gap could not be read, and is counted later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MissingHistory {
    /// The sources that hold it.
    pub sources: Vec<UnreadSource>,
    /// What is older than this was not to be read.
    pub floor: Option<MessageId>,
    /// Threads that are in no list may hold messages up to this one that did not come live.
    pub lists_until: Option<MessageId>,
}

/// What was read of an interval after newer messages were counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateHistory {
    /// Which interval.
    pub interval: i64,
    /// The messages that may earn XP, in any order.
    pub messages: Vec<EligibleMessage>,
    /// The interval is complete up to this message.
    pub up_to: MessageId,
    /// Sources of which the interval is found to be missing as well.
    pub unread: Vec<UnreadSource>,
}

/// Why late messages were not counted. They can be handed in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCounted {
    /// A gap is being read, which comes first.
    #[error("what was missed is being counted")]
    CatchingUp,
    /// The database has not taken them.
    #[error("the database did not save them")]
    NotSaved,
    /// Postgres needs too long for so many.
    #[error("they are too many at once")]
    TooMany,
    /// Nobody counts any more.
    #[error("the engine has ended")]
    Ended,
}

/// What the engine finds in its inbox.
#[derive(Debug)]
pub(super) enum Delivery {
    Message(EligibleMessage),
    History(History),
    /// Answered when everything before it has been committed.
    Settle(Settle),
    Adjust(PendingAdjustment),
    Late(LateHistory, oneshot::Sender<Result<(), NotCounted>>),
}

/// Somebody who waits until everything before has been committed. Closed once nobody does.
#[derive(Debug)]
pub(super) struct Settle {
    pub done: oneshot::Sender<()>,
    /// Of those that may wait.
    pub place: OwnedSemaphorePermit,
}

/// A change, and the way to whoever waits for it.
#[derive(Debug)]
pub(super) struct PendingAdjustment {
    pub request: AdjustmentRequest,
    pub permit: Arc<CommitPermit>,
    /// Dropped without an answer where the engine ends. Closed once nobody waits.
    pub answer: oneshot::Sender<Result<Adjusted, AdjustmentError>>,
    /// Of those that may wait.
    pub place: OwnedSemaphorePermit,
}

/// Somebody who waits for a change. Whoever stops waiting, in whatever way, withdraws it.
struct Waiter {
    permit: Arc<CommitPermit>,
    answered: oneshot::Receiver<Result<Adjusted, AdjustmentError>>,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // Before the channel closes, which is what the engine notices.
        self.permit.abandon();
    }
}

/// Hands messages to the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Inbox {
    sender: mpsc::Sender<Delivery>,
    gap: Arc<GapMark>,
    /// Each waiter has one until the engine has let go of it, whether they still wait or not: a
    /// catch-up or a Postgres that is away lets no more of them pile up.
    places: Arc<Semaphore>,
}

/// Whether something was missed that the engine has not reacted to yet.
#[derive(Debug, Default)]
pub(super) struct GapMark {
    open: AtomicBool,
    opened: Notify,
}

impl GapMark {
    /// Opens a gap. What is offered after this call is seen by the engine after it
    /// has seen the gap.
    fn open(&self) -> bool {
        let opened = !self.open.swap(true, Ordering::AcqRel);
        self.opened.notify_one();
        opened
    }

    /// Whether a gap was opened since the last call.
    pub(super) fn take(&self) -> bool {
        self.open.swap(false, Ordering::AcqRel)
    }

    pub(super) async fn opened(&self) {
        self.opened.notified().await;
    }
}

impl Inbox {
    pub(super) fn new() -> (Self, mpsc::Receiver<Delivery>, Arc<GapMark>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let gap = Arc::new(GapMark::default());
        (
            Self {
                sender,
                gap: Arc::clone(&gap),
                places: Arc::new(Semaphore::new(MAX_WAITING)),
            },
            receiver,
            gap,
        )
    }

    /// Leaves a message for the engine. Never waits.
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

    /// Says that messages may have been missed until now: a gateway session has begun, or the
    /// guild is back after an outage. Never waits.
    pub fn open_gap(&self) {
        self.gap.open();
    }

    /// Fills a gap with what was read of it.
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

    /// Waits until everything offered before has been committed, but no longer
    /// than `patience`. Whether it came to that.
    pub async fn settled(&self, patience: Duration) -> bool {
        let (done, waiting) = oneshot::channel();
        let settle = async {
            let settle = Settle {
                done,
                place: self.place().await?,
            };
            self.sender.send(Delivery::Settle(settle)).await.ok()?;
            waiting.await.ok()
        };
        matches!(timeout(patience, settle).await, Ok(Some(())))
    }

    /// Has a change carried out after everything offered before, and waits until that is
    /// committed and shown. What comes back is true, also when `patience` ends first: the
    /// change is then withdrawn, so that it is never carried out behind anybody's back.
    pub async fn adjust(
        &self,
        request: AdjustmentRequest,
        patience: Duration,
    ) -> Result<Adjusted, AdjustmentError> {
        let (answer, answered) = oneshot::channel();
        let permit = Arc::<CommitPermit>::default();
        let mut waiter = Waiter {
            permit: Arc::clone(&permit),
            answered,
        };
        let carried_out = async {
            let asked = PendingAdjustment {
                request,
                permit,
                answer,
                place: self.place().await?,
            };
            let sent = self.sender.send(Delivery::Adjust(asked)).await;
            sent.ok()?;
            (&mut waiter.answered).await.ok()
        };
        match timeout(patience, carried_out).await {
            Ok(Some(answer)) => return answer,
            // The engine has ended.
            Ok(None) => {}
            Err(_) if waiter.permit.withdraw() => return Err(AdjustmentError::NotSaved),
            Err(_) => {
                if let Ok(Ok(answer)) = timeout(GRACE, &mut waiter.answered).await {
                    return answer;
                }
            }
        }
        Err(if waiter.permit.abandon() {
            AdjustmentError::NotSaved
        } else {
            AdjustmentError::Unknown
        })
    }

    /// A place among those who may wait; none is given any more once all are taken, until the
    /// engine lets go of one.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }
}
