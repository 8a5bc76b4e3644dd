//! Tracks which members must wait before they get roles, and which have left, as shown by events
//! and member lists.
//!
//! Kept in memory only: after a restart it is rebuilt from the member lists, which are read then
//! anyway. Only the time since which the guild has an onboarding is stored in the database.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashSet;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

use crate::leveling::{Admission, Onboarding, Screening, Timestamp, UserId};

/// Maximum number of members who wait to be stored in the queue of role checks while the database is
/// unavailable.
const MAX_TO_CHECK: usize = 10_000;

/// What showed a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownBy {
    /// The event of their joining.
    Join,
    /// Any other event, or the answer to a call.
    Other,
}

/// The states of members. Cheap to clone; all clones share them.
#[derive(Clone, Debug)]
pub struct MemberStates {
    waiting: Arc<DashSet<UserId>>,
    left: Arc<DashSet<UserId>>,
    /// Sends members whose roles must be checked.
    to_check: mpsc::Sender<UserId>,
    /// Notified when `to_check` was full.
    missed: Arc<Notify>,
    awaits_onboarding: bool,
    /// The state of the guild's onboarding, tracked even if the setting ignores it.
    onboarding: Arc<Mutex<Onboarding>>,
}

impl MemberStates {
    /// The initial state, in which nobody waits or has left. `awaits_onboarding` is the setting,
    /// and `onboarding_since` the time stored by an earlier run. Also returns the receiver of the
    /// members whose roles must be checked.
    pub fn new(
        awaits_onboarding: bool,
        onboarding_since: Option<Timestamp>,
    ) -> (Self, mpsc::Receiver<UserId>) {
        // Assume an onboarding until the guild is shown: a role given too early stays.
        let onboarding = onboarding_since.map_or(Onboarding::Unknown, Onboarding::AwaitedSince);
        let (to_check, receiver) = mpsc::channel(MAX_TO_CHECK);
        let states = Self {
            waiting: Arc::default(),
            left: Arc::default(),
            to_check,
            missed: Arc::default(),
            awaits_onboarding,
            onboarding: Arc::new(Mutex::new(onboarding)),
        };
        (states, receiver)
    }

    /// Updates a member's state from what Discord shows. Returns whether they must wait for
    /// roles.
    pub fn observe(&self, user: UserId, screening: Screening, shown_by: ShownBy) -> bool {
        let waits = match screening.admission(self.onboarding()) {
            Admission::Waits => true,
            Admission::Admitted => false,
            Admission::NotBegun => shown_by == ShownBy::Join || self.waiting.contains(&user),
        };
        let has_changed = if waits {
            self.waiting.insert(user)
        } else {
            self.waiting.remove(&user).is_some()
        };
        // An answer may be older than an event that arrived meanwhile. So the member's roles are
        // checked after a change in either direction.
        if has_changed || shown_by == ShownBy::Join {
            self.roles_may_be_wrong(user);
        }
        waits
    }

    /// Whether a user is known to have to wait for roles.
    pub fn waits(&self, user: UserId) -> bool {
        self.waiting.contains(&user)
    }

    /// Ends a user's waiting, because they have left.
    pub fn waits_no_more(&self, user: UserId) {
        self.waiting.remove(&user);
    }

    /// Notes that a user has left the guild or was removed from it.
    pub fn has_left(&self, user: UserId) {
        self.waiting.remove(&user);
        self.left.insert(user);
    }

    /// Notes that a user is in the guild.
    pub fn is_back(&self, user: UserId) {
        self.left.remove(&user);
    }

    /// Whether the last news of a user is that they left. They may be back by now.
    pub fn may_be_gone(&self, user: UserId) -> bool {
        self.left.contains(&user)
    }

    /// Requests that this member's roles are checked. Never waits.
    pub fn roles_may_be_wrong(&self, user: UserId) {
        // A closed channel means that the bot is stopping; the next run checks everyone.
        if let Err(TrySendError::Full(_)) = self.to_check.try_send(user) {
            self.missed.notify_one();
        }
    }

    /// Waits until the channel was too full for a member. The caller must then check everyone.
    pub async fn missed(&self) {
        self.missed.notified().await;
    }

    /// Whether the settings make members wait for the guild's onboarding.
    pub fn awaits_onboarding(&self) -> bool {
        self.awaits_onboarding
    }

    /// Notes whether the guild has an onboarding at `now`. Returns whether that changes who must
    /// wait.
    pub fn guild_has_onboarding(&self, has: bool, now: Timestamp) -> bool {
        let mut known = self.known_onboarding();
        let is = match (*known, has) {
            (Onboarding::AwaitedSince(since), true) => Onboarding::AwaitedSince(since),
            (_, true) => Onboarding::AwaitedSince(now),
            (_, false) => Onboarding::NotAwaited,
        };
        let is_news = *known != is;
        *known = is;
        self.awaits_onboarding && is_news
    }

    /// The time at which the bot first saw the onboarding that members must complete; `None` if
    /// they need not complete one, or it is unknown.
    pub fn onboarding_since(&self) -> Option<Timestamp> {
        match self.onboarding() {
            Onboarding::AwaitedSince(since) => Some(since),
            Onboarding::Unknown | Onboarding::NotAwaited => None,
        }
    }

    fn onboarding(&self) -> Onboarding {
        if self.awaits_onboarding {
            *self.known_onboarding()
        } else {
            Onboarding::NotAwaited
        }
    }

    fn known_onboarding(&self) -> MutexGuard<'_, Onboarding> {
        self.onboarding
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: u64 = 1 << 3;
    const COMPLETED: u64 = 1 << 1;

    fn user() -> UserId {
        UserId::new(7).unwrap()
    }

    fn shows(pending: bool, flags: u64) -> Screening {
        Screening {
            pending,
            flags: Some(flags),
            joined_at: None,
        }
    }

    #[test]
    fn any_sight_of_someone_who_passed_ends_the_waiting_and_has_them_looked_at() {
        let (states, mut told) = MemberStates::new(false, None);
        assert!(!states.observe(user(), shows(false, 0), ShownBy::Other));
        told.try_recv().unwrap_err();
        assert!(states.observe(user(), shows(true, 0), ShownBy::Other));
        assert_eq!(
            told.try_recv(),
            Ok(user()),
            "the answer may be older than an event"
        );
        assert!(states.observe(user(), shows(true, 0), ShownBy::Other));
        told.try_recv().unwrap_err();
        assert!(states.waits(user()));
        assert!(!states.observe(user(), shows(false, STARTED), ShownBy::Other));
        assert_eq!(told.try_recv(), Ok(user()));
        assert!(!states.waits(user()));
        states.observe(user(), shows(false, 0), ShownBy::Join);
        assert_eq!(
            told.try_recv(),
            Ok(user()),
            "a joining member is always checked"
        );
    }

    #[test]
    fn onboarding_holds_back_who_joins_or_has_begun_and_nobody_who_was_there_before() {
        let (states, _told) = MemberStates::new(true, None);
        assert!(!states.observe(user(), shows(false, 0), ShownBy::Other));
        assert!(states.observe(user(), shows(false, 0), ShownBy::Join));
        // Has not begun the onboarding yet.
        assert!(states.observe(user(), shows(false, 1), ShownBy::Other));
        assert!(states.observe(user(), shows(false, STARTED), ShownBy::Other));
        assert!(!states.observe(user(), shows(false, STARTED | COMPLETED), ShownBy::Other));
        assert!(states.observe(user(), shows(false, STARTED), ShownBy::Other));
        assert!(
            states.guild_has_onboarding(false, at(8)),
            "nobody has to wait now"
        );
        assert!(!states.guild_has_onboarding(false, at(9)));
        assert!(!states.observe(user(), shows(false, STARTED), ShownBy::Other));
    }

    #[test]
    fn the_time_at_which_the_onboarding_was_first_seen_stays_until_it_is_switched_off() {
        let (states, _told) = MemberStates::new(true, None);
        assert_eq!(states.onboarding_since(), None);
        assert!(states.guild_has_onboarding(true, at(5)));
        assert!(!states.guild_has_onboarding(true, at(6)));
        assert_eq!(states.onboarding_since(), Some(at(5)));
        // As after a restart: no event says that they have just joined.
        let (states, _told) = MemberStates::new(true, states.onboarding_since());
        let joined = |millis| Screening {
            joined_at: Some(at(millis)),
            ..shows(false, 0)
        };
        assert!(!states.observe(user(), joined(4), ShownBy::Other));
        assert!(states.observe(user(), joined(7), ShownBy::Other));
        assert!(states.guild_has_onboarding(false, at(8)));
        assert_eq!(states.onboarding_since(), None);
        assert!(states.guild_has_onboarding(true, at(9)));
        assert_eq!(states.onboarding_since(), Some(at(9)));
        let (without_setting, _told) = MemberStates::new(false, Some(at(5)));
        assert_eq!(without_setting.onboarding_since(), None);
        assert!(!without_setting.guild_has_onboarding(false, at(6)));
        assert!(!without_setting.observe(user(), joined(7), ShownBy::Other));
    }

    /// Times that are further apart than the allowed clock difference.
    fn at(step: i64) -> Timestamp {
        Timestamp::from_millis(step * 10_000).unwrap()
    }
}
