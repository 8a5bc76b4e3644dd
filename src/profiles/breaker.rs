//! When something that all copies of avatars need (the CDN, or the avatar channel) is left
//! alone as a whole, and how it is found out that it works again: by one copy at a time.
//!
//! Pure: times are arguments, and nobody is told anything here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::leveling::UserId;

/// The longest rest.
pub(super) const REST_MOST: Duration = Duration::from_mins(5);
/// From so many different images on that fail in a way that could be the image's fault, with
/// none that comes through between them, it is not the images.
const SEVERAL: usize = 2;
/// Users whose failures are remembered. More can only fail in a long outage; then all of them
/// are forgotten, and the next failure of each is not counted.
const MAX_FAILED: usize = 10_000;

/// How many copies may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Admits {
    /// None: it rests.
    None,
    /// One, to see whether it works again.
    One,
    /// As many as there are.
    All,
}

/// Whether something works. `Default` knows nothing yet: what an earlier bot has told of it may
/// be out of date.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Breaker {
    state: State,
    /// Whose images have failed in a way that could be the image's fault, since the last one
    /// that came through.
    suspects: BTreeSet<UserId>,
    /// How many images have come through.
    came_through: u64,
    /// Whose image has failed as if everything did and has not come through since, with
    /// `came_through` at the first failure.
    failed: BTreeMap<UserId, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unknown,
    Works,
    Rests(Pause),
}

/// A pause in which nothing is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    /// When it first failed.
    pub since: DateTime<Utc>,
    /// Why it did.
    pub why: String,
    /// How often it has been tried again in vain.
    pub retries: u32,
    /// When it may be tried again.
    until: DateTime<Utc>,
}

impl Breaker {
    /// How many copies may be made at `now`. A rest that ends later than any rest lasts began
    /// before the machine's clock was set back.
    pub fn admits(&self, now: DateTime<Utc>) -> Admits {
        match &self.state {
            State::Unknown | State::Works => Admits::All,
            State::Rests(Pause { until, .. }) if now < *until && *until <= now + REST_MOST => {
                Admits::None
            }
            State::Rests(_) => Admits::One,
        }
    }

    /// It has failed as a whole: it rests for `pause`, which is told how often it has been tried
    /// in vain. Whether that is news: of copies that were made together one counts.
    pub fn fails(
        &mut self,
        why: &str,
        now: DateTime<Utc>,
        pause: impl FnOnce(u32) -> Duration,
    ) -> bool {
        if self.admits(now) == Admits::None {
            return false;
        }
        let (since, why, retries) = match std::mem::take(&mut self.state) {
            State::Rests(rest) => (rest.since, rest.why, rest.retries + 1),
            _ => (now, why.to_owned(), 0),
        };
        let until = now + pause(retries).min(REST_MOST);
        self.state = State::Rests(Pause {
            since,
            why,
            retries,
            until,
        });
        true
    }

    /// Somebody's image has failed in a way that could be the image's fault; whether it is more
    /// likely that all of them would.
    pub fn suspects(&mut self, user: UserId) -> bool {
        self.suspects.insert(user);
        self.rest().is_some() || self.suspects.len() >= SEVERAL
    }

    /// Somebody's image has failed as if everything did. Returns whether it is about that very
    /// image: it failed before, others came through since, and nothing rests.
    pub fn fails_alone(&mut self, user: UserId) -> bool {
        if self.failed.len() >= MAX_FAILED {
            self.failed.clear();
        }
        let before = *self.failed.entry(user).or_insert(self.came_through);
        self.came_through > before && self.rest().is_none()
    }

    /// Somebody's came through. The rest that it ends, and whether there is anything to say of
    /// it.
    pub fn works(&mut self, user: UserId) -> (Option<Pause>, bool) {
        self.suspects.clear();
        self.failed.remove(&user);
        self.came_through += 1;
        match std::mem::replace(&mut self.state, State::Works) {
            State::Works => (None, false),
            State::Unknown => (None, true),
            State::Rests(rest) => (Some(rest), true),
        }
    }

    /// What was told of it may be out of date.
    pub fn doubt(&mut self) {
        if self.state == State::Works {
            self.state = State::Unknown;
        }
    }

    /// How it rests, if it does, or is only tried again with one copy.
    pub fn rest(&self) -> Option<&Pause> {
        match &self.state {
            State::Rests(rest) => Some(rest),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
    }

    fn ten_seconds(_: u32) -> Duration {
        Duration::from_secs(10)
    }

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    #[test]
    fn it_rests_is_tried_with_one_and_works_again() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.admits(at(0)), Admits::All);
        assert!(breaker.fails("away", at(0), ten_seconds));
        assert!(!breaker.fails("also away", at(1), ten_seconds), "together");
        for (second, admits) in [(1, Admits::None), (9, Admits::None), (10, Admits::One)] {
            assert_eq!(breaker.admits(at(second)), admits, "{second}");
        }
        let longer = |retries| Duration::from_secs(20) * retries;
        assert!(breaker.fails("still away", at(10), longer));
        assert_eq!(breaker.admits(at(29)), Admits::None);
        assert_eq!(breaker.admits(at(30)), Admits::One);
        let rest = breaker.rest().unwrap();
        assert_eq!(
            (rest.since, rest.why.as_str(), rest.retries),
            (at(0), "away", 1)
        );
        let (rest, is_news) = breaker.works(user(9));
        assert_eq!((rest.map(|rest| rest.since), is_news), (Some(at(0)), true));
        assert_eq!(breaker.works(user(9)), (None, false));
        assert_eq!(breaker.admits(at(31)), Admits::All);
        breaker.doubt();
        assert_eq!(breaker.works(user(9)), (None, true));
    }

    #[test]
    fn no_rest_lasts_longer_than_the_longest_whatever_the_clock_does() {
        let mut breaker = Breaker::default();
        breaker.fails("away", at(0), |_| Duration::from_hours(1));
        assert_eq!(breaker.admits(at(299)), Admits::None);
        assert_eq!(breaker.admits(at(300)), Admits::One);
        assert_eq!(breaker.admits(at(-3_600)), Admits::One, "set back");
    }

    #[test]
    fn what_fails_for_several_is_not_about_any_of_them() {
        let mut breaker = Breaker::default();
        assert!(!breaker.suspects(user(1)));
        assert!(!breaker.suspects(user(1)), "one and the same");
        breaker.works(user(9));
        assert!(!breaker.suspects(user(2)), "one came through between");
        assert!(breaker.suspects(user(3)));
        breaker.works(user(9));
        breaker.fails("away", at(0), ten_seconds);
        assert!(breaker.suspects(user(6)), "while it rests anyway");
    }

    #[test]
    fn what_fails_again_though_others_came_through_is_about_that_image() {
        let mut breaker = Breaker::default();
        breaker.works(user(9));
        assert!(!breaker.fails_alone(user(1)), "nobody else was tried since");
        breaker.fails("away", at(0), ten_seconds);
        assert!(!breaker.fails_alone(user(1)));
        assert!(!breaker.fails_alone(user(2)));
        breaker.works(user(9));
        assert!(breaker.fails_alone(user(1)));
        assert!(breaker.fails_alone(user(1)), "until it comes through");
        assert!(breaker.fails_alone(user(2)));
        assert!(!breaker.fails_alone(user(3)), "for the first time");
        breaker.fails("away", at(20), ten_seconds);
        assert!(!breaker.fails_alone(user(1)), "while it rests anyway");
        breaker.works(user(1));
        assert!(!breaker.fails_alone(user(1)), "it came through");
        assert!(breaker.fails_alone(user(2)));
    }

    #[test]
    fn the_number_of_failures_that_are_remembered_is_bounded() {
        let mut breaker = Breaker::default();
        for id in 1..=MAX_FAILED as u64 + 1 {
            assert!(!breaker.fails_alone(user(id)));
        }
        assert_eq!(breaker.failed.len(), 1);
    }
}
