//! The engine's inbox: a bounded queue of messages, history and requests.
//!
//! Listeners must not wait, so a message that does not fit is dropped and a gap is opened, as after
//! a lost session or an outage. The engine then applies nothing newer until the history has been
//! read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::adjustment::{Adjusted, AdjustmentError, AdjustmentRequest};
use super::commit_permit::CommitPermit;
use super::observations::{ChannelList, ListedMembers, Observation};
use super::request::{Pending, Request};
use super::rule_request::{RuleAnswer, RuleRequest};
use super::unplaced::UnplacedMessages;
use crate::leveling::{
    ChannelId, MessageId, ObservedMessage, ObservedProfile, RoleId, UserId, may_earn,
};
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
    /// All roles of the author, as a live message shows them. `None` if it does not, or if no rule
    /// is about a role.
    pub roles: Option<Box<[RoleId]>>,
}

impl EligibleMessage {
    /// The message for the engine; `None` if it may not earn XP.
    pub fn of(message: &ObservedMessage) -> Option<Self> {
        may_earn(&message.facts).then_some(Self {
            message: message.id,
            channel: message.channel,
            user: message.author,
            profile: None,
            roles: None,
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
    /// The channels and threads of the guild.
    pub channels: ChannelList,
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
    /// Where the threads stand that were read.
    pub channels: ChannelList,
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
    Adjust(Pending<AdjustmentRequest>),
    Rule(Pending<RuleRequest>),
    Observed(Observation),
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

/// A caller that waits for what they requested. Dropping it withdraws the request.
struct WaitingCaller<A> {
    permit: Arc<CommitPermit>,
    answered: oneshot::Receiver<Result<A, AdjustmentError>>,
}

impl<A> Drop for WaitingCaller<A> {
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
    /// Numbers the lists of members.
    lists: Arc<AtomicU64>,
    unplaced: Arc<UnplacedMessages>,
    history_missing: Arc<Notify>,
}

/// A list of members that is being read. The engine is told when it is dropped.
#[derive(Debug)]
pub struct MemberList {
    inbox: Inbox,
    number: u64,
    after: Option<MessageId>,
}

impl MemberList {
    /// Hands in members of the list, each with all their roles.
    pub async fn add(&self, members: Vec<(UserId, Box<[RoleId]>)>) {
        let listed = ListedMembers {
            list: self.number,
            after: self.after,
            members,
        };
        self.inbox
            .observe_list(Observation::ListedMembers(listed))
            .await;
    }
}

impl Drop for MemberList {
    fn drop(&mut self) {
        // If the inbox is full, the engine remembers for longer of whom it has heard.
        let ends = Delivery::Observed(Observation::ListEnds);
        let _ = self.inbox.sender.try_send(ends);
    }
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
    pub(super) fn new() -> (Self, mpsc::Receiver<Delivery>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let inbox = Self {
            sender,
            gap: Arc::default(),
            places: Arc::new(Semaphore::new(MAX_WAITING_COMMANDS)),
            lists: Arc::default(),
            unplaced: Arc::default(),
            history_missing: Arc::default(),
        };
        (inbox, receiver)
    }

    pub(super) fn gap_flag(&self) -> Arc<GapFlag> {
        Arc::clone(&self.gap)
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

    /// Tells the engine what an event shows. Never waits. `false` if the inbox is full: a gap is
    /// then open, after which the channels are listed again, and the caller must see to it that the
    /// members are.
    pub fn observe(&self, observation: Observation) -> bool {
        let sent = self.sender.try_send(Delivery::Observed(observation));
        let is_full = matches!(sent, Err(mpsc::error::TrySendError::Full(_)));
        if is_full {
            self.gap.open();
        }
        !is_full
    }

    /// Tells the engine what a list shows.
    pub async fn observe_list(&self, list: Observation) {
        // An engine that has ended needs no list.
        let _ = self.sender.send(Delivery::Observed(list)).await;
    }

    /// Call this just before requesting a list of members. What it shows holds for the messages
    /// after `after`, or after the end of the gap that is open.
    pub async fn list_members(&self, after: Option<MessageId>) -> MemberList {
        let number = self.lists.fetch_add(1, Ordering::Relaxed) + 1;
        self.observe_list(Observation::ListBegins(number)).await;
        MemberList {
            inbox: self.clone(),
            number,
            after,
        }
    }

    /// Messages in threads of which nothing is recorded.
    pub fn unplaced(&self) -> &UnplacedMessages {
        &self.unplaced
    }

    pub(super) fn unplaced_messages(&self) -> Arc<UnplacedMessages> {
        Arc::clone(&self.unplaced)
    }

    /// Notified when a part of the history is missing.
    pub fn history_missing(&self) -> &Arc<Notify> {
        &self.history_missing
    }

    /// Tells the engine that messages may have been missed until now: a gateway session has
    /// begun, or the guild is back after an outage. Never waits.
    pub fn open_gap(&self) {
        self.gap.open();
        // Tells which events came before the gap and which after it. If the inbox is full, the
        // gap is longer anyway.
        let marker = Delivery::Observed(Observation::GapOpens);
        let _ = self.sender.try_send(marker);
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
        self.ask(request, limit, Delivery::Adjust).await
    }

    /// Sets or ends a rule after everything offered before, as [`Self::adjust`] does.
    pub async fn change_rule(
        &self,
        request: RuleRequest,
        limit: Duration,
    ) -> Result<RuleAnswer, AdjustmentError> {
        self.ask(request, limit, Delivery::Rule).await
    }

    async fn ask<R: Request>(
        &self,
        request: R,
        limit: Duration,
        deliver: fn(Pending<R>) -> Delivery,
    ) -> Result<R::Answer, AdjustmentError> {
        let (answer, answered) = oneshot::channel();
        let permit = Arc::<CommitPermit>::default();
        let mut caller = WaitingCaller {
            permit: Arc::clone(&permit),
            answered,
        };
        let carried_out = async {
            let pending = Pending {
                request,
                permit,
                answer,
                place: self.place().await?,
            };
            let sent = self.sender.send(deliver(pending)).await;
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
