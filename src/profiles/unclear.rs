//! Users whose profile in an event lacked something that is known, such as an avatar. The event
//! does not tell whether the user removed it, so Discord is asked. If nothing was removed, Discord
//! left it out of the event, and is not asked about this user again for a while.
//!
//! The queue is in memory and bounded. A restart loses it, but then the member list shows every
//! member's profile anyway.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::leveling::UserId;

/// How long a user is not asked about again after an answer that changed nothing.
const COOLDOWN: Duration = Duration::from_mins(1);
/// How soon Discord is asked again after it did not answer.
const RETRY_DELAY: Duration = Duration::from_secs(30);
/// Maximum number of users in the queue; more are dropped. The next member list shows those.
const MAX_USERS: usize = 10_000;

/// The queue of users to ask Discord about. Cheap to clone; all clones share one queue.
#[derive(Clone, Debug, Default)]
pub struct Unclear(Arc<Mutex<Users>>);

#[derive(Debug, Default)]
struct Users {
    /// Each user's state, with the time at which it ends.
    known: BTreeMap<UserId, UnclearState>,
    /// The same users, ordered by that time.
    order: BTreeSet<(Instant, UserId)>,
}

#[derive(Clone, Copy, Debug)]
enum UnclearState {
    /// Discord is asked about the user at this time.
    Waits(Instant),
    /// Discord is not asked about the user before this time.
    CoolsDown(Instant),
}

impl UnclearState {
    fn at(self) -> Instant {
        match self {
            Self::Waits(at) | Self::CoolsDown(at) => at,
        }
    }
}

impl Unclear {
    /// Queues a user, after their cooldown if there is one. Does nothing if the queue is full.
    pub(super) fn ask(&self, user: UserId, now: Instant) {
        let mut users = self.users();
        let at = match users.known.get(&user) {
            Some(UnclearState::Waits(_)) => return,
            Some(UnclearState::CoolsDown(until)) => now.max(*until),
            None if users.known.len() >= MAX_USERS => return,
            None => now,
        };
        users.set(user, UnclearState::Waits(at));
    }

    /// Takes a user who is due at `now` out of the queue.
    pub(super) fn next(&self, now: Instant) -> Option<UserId> {
        let mut users = self.users();
        while let Some((at, user)) = users.order.first().copied().filter(|(at, _)| *at <= now) {
            users.order.remove(&(at, user));
            if let Some(UnclearState::Waits(_)) = users.known.remove(&user) {
                return Some(user);
            }
        }
        None
    }

    /// Queues a user again about whom Discord gave no answer.
    pub(super) fn ask_later(&self, user: UserId, now: Instant) {
        self.users()
            .set(user, UnclearState::Waits(now + RETRY_DELAY));
    }

    /// Starts a user's cooldown: the answer changed nothing, or asking again would not help.
    pub(super) fn start_cooldown(&self, user: UserId, now: Instant) {
        let mut users = self.users();
        let until = now + COOLDOWN;
        let state = match users.known.get(&user) {
            Some(UnclearState::Waits(_)) => UnclearState::Waits(until),
            _ => UnclearState::CoolsDown(until),
        };
        users.set(user, state);
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Users {
    fn set(&mut self, user: UserId, state: UnclearState) {
        if let Some(before) = self.known.insert(user, state) {
            self.order.remove(&(before.at(), user));
        }
        self.order.insert((state.at(), user));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_asked_about_once_per_cooldown_and_the_last_request_is_kept() {
        let (unclear, start) = (Unclear::default(), Instant::now());
        let user = |id| UserId::new(id).unwrap();
        for id in [1, 2, 1, 1] {
            unclear.ask(user(id), start);
        }
        assert_eq!(unclear.next(start), Some(user(1)));
        assert_eq!(unclear.next(start), Some(user(2)));
        assert_eq!(unclear.next(start), None);
        // The answer changed something, so there is no cooldown.
        unclear.ask(user(1), start);
        assert_eq!(unclear.next(start), Some(user(1)));
        unclear.start_cooldown(user(1), start);
        unclear.ask(user(1), start);
        unclear.ask(user(2), start);
        unclear.start_cooldown(user(2), start);
        assert_eq!(unclear.next(start + COOLDOWN / 2), None);
        assert_eq!(unclear.next(start + COOLDOWN), Some(user(1)));
        assert_eq!(unclear.next(start + COOLDOWN), Some(user(2)));
        unclear.start_cooldown(user(1), start + COOLDOWN);
        assert_eq!(unclear.next(start + 2 * COOLDOWN), None);
        assert!(unclear.users().known.is_empty(), "no user is kept forever");
    }

    #[test]
    fn the_queue_is_bounded() {
        let (unclear, now) = (Unclear::default(), Instant::now());
        for id in 1..=20_000 {
            unclear.ask(UserId::new(id).unwrap(), now);
        }
        let users = unclear.users();
        assert_eq!(
            (users.known.len(), users.order.len()),
            (MAX_USERS, MAX_USERS)
        );
    }
}
