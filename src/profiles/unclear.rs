//! Users of whom an event showed less than is known: what they still have, Discord must be
//! asked. Who has still all of it is not asked for again for a while: then it is Discord that
//! leaves things out.
//!
//! Kept in memory, a bounded number: after a restart, everyone is compared with the list of members anyway.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::leveling::UserId;

/// How long a user is not asked for again who still had everything.
const REST: Duration = Duration::from_mins(1);
/// How soon a user is asked for again when Discord does not answer.
const RETRY: Duration = Duration::from_secs(30);
/// Users remembered at a time. The list of members shows what is not asked for.
const MAX_USERS: usize = 10_000;

/// The users. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Unclear(Arc<Mutex<Users>>);

#[derive(Debug, Default)]
struct Users {
    /// When each is to be asked for, or was last.
    known: BTreeMap<UserId, State>,
    /// The same users, in the order in which something is to be done.
    order: BTreeSet<(Instant, UserId)>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// To be asked for at this time.
    Waits(Instant),
    /// Not to be asked for before this time.
    Rests(Instant),
}

impl State {
    fn at(self) -> Instant {
        match self {
            Self::Waits(at) | Self::Rests(at) => at,
        }
    }
}

impl Unclear {
    /// Has a user asked for, if there is room.
    pub(super) fn ask(&self, user: UserId, now: Instant) {
        let mut users = self.users();
        let at = match users.known.get(&user) {
            Some(State::Waits(_)) => return,
            Some(State::Rests(until)) => now.max(*until),
            None if users.known.len() >= MAX_USERS => return,
            None => now,
        };
        users.set(user, State::Waits(at));
    }

    /// Someone to be asked for now.
    pub(super) fn next(&self, now: Instant) -> Option<UserId> {
        let mut users = self.users();
        while let Some((at, user)) = users.order.first().copied().filter(|(at, _)| *at <= now) {
            users.order.remove(&(at, user));
            if let Some(State::Waits(_)) = users.known.remove(&user) {
                return Some(user);
            }
        }
        None
    }

    /// A user could not be asked for now.
    pub(super) fn ask_later(&self, user: UserId, now: Instant) {
        self.users().set(user, State::Waits(now + RETRY));
    }

    /// A user was asked for and still has everything, or it is of no use to ask.
    pub(super) fn rest(&self, user: UserId, now: Instant) {
        let mut users = self.users();
        let until = now + REST;
        let state = match users.known.get(&user) {
            Some(State::Waits(_)) => State::Waits(until),
            _ => State::Rests(until),
        };
        users.set(user, state);
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Users {
    fn set(&mut self, user: UserId, state: State) {
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
    fn each_is_asked_for_once_in_a_while_and_the_last_doubt_is_never_dropped() {
        let (unclear, start) = (Unclear::default(), Instant::now());
        let user = |id| UserId::new(id).unwrap();
        for id in [1, 2, 1, 1] {
            unclear.ask(user(id), start);
        }
        assert_eq!(unclear.next(start), Some(user(1)));
        assert_eq!(unclear.next(start), Some(user(2)));
        assert_eq!(unclear.next(start), None);
        // Something was gone indeed, and something else may be.
        unclear.ask(user(1), start);
        assert_eq!(unclear.next(start), Some(user(1)));
        unclear.rest(user(1), start);
        unclear.ask(user(1), start);
        unclear.ask(user(2), start);
        unclear.rest(user(2), start);
        assert_eq!(unclear.next(start + REST / 2), None);
        assert_eq!(unclear.next(start + REST), Some(user(1)));
        assert_eq!(unclear.next(start + REST), Some(user(2)));
        unclear.rest(user(1), start + REST);
        assert_eq!(unclear.next(start + 2 * REST), None);
        assert!(unclear.users().known.is_empty(), "nobody is kept for ever");
    }

    #[test]
    fn their_number_is_bounded() {
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
