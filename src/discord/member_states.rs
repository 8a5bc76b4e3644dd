//! What events and lists have shown of members that matters before a role is given: who must
//! wait for roles, and who has left.
//!
//! Remembered in memory only: a restart learns it again from the lists that it reads anyway.
//! Since when the guild has an onboarding is stored, by a verification.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashSet;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

use crate::leveling::{Admission, Onboarding, Screening, Timestamp, UserId};

/// Where a member was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// In the event that they have joined.
    Joining,
    /// In any other event, or in an answer of Discord.
    There,
}

/// The states of members. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MemberStates {
    waiting: Arc<DashSet<UserId>>,
    left: Arc<DashSet<UserId>>,
    /// Whose roles are to be looked at.
    changed: mpsc::Sender<UserId>,
    /// Notified when there was no room for one of them.
    missed: Arc<Notify>,
    awaits_onboarding: bool,
    /// What is known of the guild's onboarding, whether or not it is awaited.
    onboarding: Arc<Mutex<Onboarding>>,
}

impl MemberStates {
    /// Nobody is known to wait or to have left. `awaits_onboarding` is the setting, and
    /// `onboarding_since` is stored from an earlier run; members whose state changes are sent
    /// to `changed`.
    pub fn new(
        awaits_onboarding: bool,
        onboarding_since: Option<Timestamp>,
        changed: mpsc::Sender<UserId>,
    ) -> Self {
        // Until the guild says otherwise: a role that is given too early is not taken back.
        let onboarding = onboarding_since.map_or(Onboarding::Unknown, Onboarding::AwaitedSince);
        Self {
            waiting: Arc::default(),
            left: Arc::default(),
            changed,
            missed: Arc::default(),
            awaits_onboarding,
            onboarding: Arc::new(Mutex::new(onboarding)),
        }
    }

    /// Takes in what Discord shows of a member; whether they must wait for roles.
    pub fn observe(&self, user: UserId, screening: Screening, seen: Seen) -> bool {
        let waits = match screening.admission(self.onboarding()) {
            Admission::Waits => true,
            Admission::Admitted => false,
            Admission::NotBegun => seen == Seen::Joining || self.waiting.contains(&user),
        };
        let has_changed = if waits {
            self.waiting.insert(user)
        } else {
            self.waiting.remove(&user).is_some()
        };
        // An answer may be older than an event that came meanwhile: so both ways are looked at.
        if has_changed || seen == Seen::Joining {
            self.look_at(user);
        }
        waits
    }

    /// Whether someone must wait for roles, as far as is known.
    pub fn waits(&self, user: UserId) -> bool {
        self.waiting.contains(&user)
    }

    /// Someone need not wait for roles any more: they have left.
    pub fn waits_no_more(&self, user: UserId) {
        self.waiting.remove(&user);
    }

    /// Someone left, or was made to.
    pub fn has_left(&self, user: UserId) {
        self.waiting.remove(&user);
        self.left.insert(user);
    }

    /// Someone who had left is there.
    pub fn is_back(&self, user: UserId) {
        self.left.remove(&user);
    }

    /// Whether someone was last heard of as leaving. They may be back.
    pub fn may_be_gone(&self, user: UserId) -> bool {
        self.left.contains(&user)
    }

    /// Waits until there is no room for a member who is to be looked at: then everyone is.
    pub async fn missed(&self) {
        self.missed.notified().await;
    }

    /// Whether it matters if the guild has an onboarding.
    pub fn awaits_onboarding(&self) -> bool {
        self.awaits_onboarding
    }

    /// The guild has an onboarding at `now`, or has none. Returns whether that is news that
    /// matters.
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

    /// Since when the bot has known of an onboarding that it waits for; `None` if it waits
    /// for none.
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

    fn look_at(&self, user: UserId) {
        // Nobody reads any more when the bot ends; the next session looks at everyone.
        if let Err(TrySendError::Full(_)) = self.changed.try_send(user) {
            self.missed.notify_one();
        }
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
        let (changed, mut told) = mpsc::channel(8);
        let states = MemberStates::new(false, None, changed);
        assert!(!states.observe(user(), shows(false, 0), Seen::There));
        told.try_recv().unwrap_err();
        assert!(states.observe(user(), shows(true, 0), Seen::There));
        assert_eq!(told.try_recv(), Ok(user()), "the list may have been old");
        assert!(states.observe(user(), shows(true, 0), Seen::There));
        told.try_recv().unwrap_err();
        assert!(states.waits(user()));
        assert!(!states.observe(user(), shows(false, STARTED), Seen::There));
        assert_eq!(told.try_recv(), Ok(user()));
        assert!(!states.waits(user()));
        states.observe(user(), shows(false, 0), Seen::Joining);
        assert_eq!(told.try_recv(), Ok(user()), "whoever joins");
    }

    #[test]
    fn onboarding_holds_back_who_joins_or_has_begun_and_nobody_who_was_there_before() {
        let (changed, _told) = mpsc::channel(8);
        let states = MemberStates::new(true, None, changed);
        assert!(!states.observe(user(), shows(false, 0), Seen::There));
        assert!(states.observe(user(), shows(false, 0), Seen::Joining));
        // Still not begun.
        assert!(states.observe(user(), shows(false, 1), Seen::There));
        assert!(states.observe(user(), shows(false, STARTED), Seen::There));
        assert!(!states.observe(user(), shows(false, STARTED | COMPLETED), Seen::There));
        assert!(states.observe(user(), shows(false, STARTED), Seen::There));
        assert!(states.guild_has_onboarding(false, at(8)), "nobody waits");
        assert!(!states.guild_has_onboarding(false, at(9)));
        assert!(!states.observe(user(), shows(false, STARTED), Seen::There));
    }

    #[test]
    fn the_time_at_which_the_onboarding_was_first_seen_stays_until_it_is_switched_off() {
        let (changed, _told) = mpsc::channel(8);
        let states = MemberStates::new(true, None, changed.clone());
        assert_eq!(states.onboarding_since(), None);
        assert!(states.guild_has_onboarding(true, at(5)));
        assert!(!states.guild_has_onboarding(true, at(6)));
        assert_eq!(states.onboarding_since(), Some(at(5)));
        // As after a restart: no event says that they have just joined.
        let states = MemberStates::new(true, states.onboarding_since(), changed.clone());
        let joined = |millis| Screening {
            joined_at: Some(at(millis)),
            ..shows(false, 0)
        };
        assert!(!states.observe(user(), joined(4), Seen::There));
        assert!(states.observe(user(), joined(7), Seen::There));
        assert!(states.guild_has_onboarding(false, at(8)));
        assert_eq!(states.onboarding_since(), None);
        assert!(states.guild_has_onboarding(true, at(9)));
        assert_eq!(states.onboarding_since(), Some(at(9)));
        let without_setting = MemberStates::new(false, Some(at(5)), changed);
        assert_eq!(without_setting.onboarding_since(), None);
        assert!(!without_setting.guild_has_onboarding(false, at(6)));
        assert!(!without_setting.observe(user(), joined(7), Seen::There));
    }

    /// Times that are further apart than clocks may differ.
    fn at(step: i64) -> Timestamp {
        Timestamp::from_millis(step * 10_000).unwrap()
    }
}
