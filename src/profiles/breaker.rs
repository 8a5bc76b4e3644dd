//! A circuit breaker for something that every avatar copy needs: the CDN or the avatar channel.
//! After a failure that concerns all copies it pauses them, then admits one copy at a time until
//! one succeeds.
//!
//! Pure: the caller passes the time, and logs and reports what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::leveling::UserId;

/// The longest pause.
pub(super) const MAX_PAUSE: Duration = Duration::from_mins(5);
/// If the images of this many users fail in a way that could be the image's fault, with no success
/// between them, the images are not to blame.
const MIN_SUSPECTS: usize = 2;
/// Maximum size of [`Breaker::failed`]. More users than this fail only in a long outage. The map is
/// then cleared, so the next failure of each user is again treated as part of the outage.
const MAX_FAILED: usize = 10_000;

/// How many copies may run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Admits {
    /// None: copies are paused.
    None,
    /// One, which tests whether copies work again.
    One,
    /// Any number.
    All,
}

/// The breaker. It starts as `Unknown`, not as `Works`: an earlier process may have posted a notice
/// that is out of date, so the first success is news.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Breaker {
    state: BreakerState,
    /// Users whose image has failed since the last success in a way that could be the image's
    /// fault.
    suspects: BTreeSet<UserId>,
    /// Number of copies that have succeeded.
    successes: u64,
    /// Users whose image has failed as in an outage and has not succeeded since, each with the
    /// value of `successes` at the first failure.
    failed: BTreeMap<UserId, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum BreakerState {
    #[default]
    Unknown,
    Works,
    Paused(Pause),
}

/// A pause after a failure that concerns all copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    /// Time of the first failure.
    pub since: DateTime<Utc>,
    /// The error of the first failure.
    pub why: String,
    /// How many test copies have failed since then.
    pub retries: u32,
    /// When the next test copy may run.
    until: DateTime<Utc>,
}

impl Breaker {
    /// How many copies may run at `now`. A pause that would end more than [`MAX_PAUSE`] from now
    /// began before the clock was set back, and is ignored.
    pub fn admits(&self, now: DateTime<Utc>) -> Admits {
        match &self.state {
            BreakerState::Unknown | BreakerState::Works => Admits::All,
            BreakerState::Paused(Pause { until, .. })
                if now < *until && *until <= now + MAX_PAUSE =>
            {
                Admits::None
            }
            BreakerState::Paused(_) => Admits::One,
        }
    }

    /// Records a failure that concerns all copies and pauses them. `pause_length` is called with
    /// the number of test copies that failed so far. Returns false if copies are already paused: of
    /// several copies that failed together, only the first counts.
    pub fn record_outage(
        &mut self,
        why: &str,
        now: DateTime<Utc>,
        pause_length: impl FnOnce(u32) -> Duration,
    ) -> bool {
        if self.admits(now) == Admits::None {
            return false;
        }
        let (since, why, retries) = match std::mem::take(&mut self.state) {
            BreakerState::Paused(pause) => (pause.since, pause.why, pause.retries + 1),
            _ => (now, why.to_owned(), 0),
        };
        let until = now + pause_length(retries).min(MAX_PAUSE);
        self.state = BreakerState::Paused(Pause {
            since,
            why,
            retries,
            until,
        });
        true
    }

    /// Records a failure that could be the fault of this user's image. Returns true if it more
    /// likely concerns all images.
    pub fn record_suspect(&mut self, user: UserId) -> bool {
        self.suspects.insert(user);
        self.pause().is_some() || self.suspects.len() >= MIN_SUSPECTS
    }

    /// Records a failure of this user's image that looks like an outage. Returns true if only the
    /// image is at fault: it failed before, others succeeded since, and copies are not paused.
    pub fn record_failure_of(&mut self, user: UserId) -> bool {
        if self.failed.len() >= MAX_FAILED {
            self.failed.clear();
        }
        let before = *self.failed.entry(user).or_insert(self.successes);
        self.successes > before && self.pause().is_none()
    }

    /// Records that a user's image was copied. Returns the pause that this ends, and whether the
    /// success is news: false if the state was `Works` already.
    pub fn record_success(&mut self, user: UserId) -> (Option<Pause>, bool) {
        self.suspects.clear();
        self.failed.remove(&user);
        self.successes += 1;
        match std::mem::replace(&mut self.state, BreakerState::Works) {
            BreakerState::Works => (None, false),
            BreakerState::Unknown => (None, true),
            BreakerState::Paused(pause) => (Some(pause), true),
        }
    }

    /// Makes the next success news, because this one could not be reported.
    pub fn mark_unreported(&mut self) {
        if self.state == BreakerState::Works {
            self.state = BreakerState::Unknown;
        }
    }

    /// The current pause, if any; it lasts until a test copy succeeds.
    pub fn pause(&self) -> Option<&Pause> {
        match &self.state {
            BreakerState::Paused(pause) => Some(pause),
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
    fn it_pauses_then_admits_one_copy_and_recovers_when_that_succeeds() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.admits(at(0)), Admits::All);
        assert!(breaker.record_outage("away", at(0), ten_seconds));
        assert!(
            !breaker.record_outage("also away", at(1), ten_seconds),
            "together"
        );
        for (second, admits) in [(1, Admits::None), (9, Admits::None), (10, Admits::One)] {
            assert_eq!(breaker.admits(at(second)), admits, "{second}");
        }
        let longer = |retries| Duration::from_secs(20) * retries;
        assert!(breaker.record_outage("still away", at(10), longer));
        assert_eq!(breaker.admits(at(29)), Admits::None);
        assert_eq!(breaker.admits(at(30)), Admits::One);
        let pause = breaker.pause().unwrap();
        assert_eq!(
            (pause.since, pause.why.as_str(), pause.retries),
            (at(0), "away", 1)
        );
        let (ended, is_news) = breaker.record_success(user(9));
        assert_eq!(
            (ended.map(|pause| pause.since), is_news),
            (Some(at(0)), true)
        );
        assert_eq!(breaker.record_success(user(9)), (None, false));
        assert_eq!(breaker.admits(at(31)), Admits::All);
        breaker.mark_unreported();
        assert_eq!(breaker.record_success(user(9)), (None, true));
    }

    #[test]
    fn no_pause_exceeds_the_maximum_even_when_the_clock_is_set_back() {
        let mut breaker = Breaker::default();
        breaker.record_outage("away", at(0), |_| Duration::from_hours(1));
        assert_eq!(breaker.admits(at(299)), Admits::None);
        assert_eq!(breaker.admits(at(300)), Admits::One);
        assert_eq!(breaker.admits(at(-3_600)), Admits::One, "set back");
    }

    #[test]
    fn failures_of_several_images_are_not_blamed_on_the_images() {
        let mut breaker = Breaker::default();
        assert!(!breaker.record_suspect(user(1)));
        assert!(!breaker.record_suspect(user(1)), "the same user again");
        breaker.record_success(user(9));
        assert!(
            !breaker.record_suspect(user(2)),
            "another succeeded between them"
        );
        assert!(breaker.record_suspect(user(3)));
        breaker.record_success(user(9));
        breaker.record_outage("away", at(0), ten_seconds);
        assert!(breaker.record_suspect(user(6)), "during a pause");
    }

    #[test]
    fn an_image_that_fails_again_after_others_succeeded_is_to_blame() {
        let mut breaker = Breaker::default();
        breaker.record_success(user(9));
        assert!(
            !breaker.record_failure_of(user(1)),
            "no other was tried since"
        );
        breaker.record_outage("away", at(0), ten_seconds);
        assert!(!breaker.record_failure_of(user(1)));
        assert!(!breaker.record_failure_of(user(2)));
        breaker.record_success(user(9));
        assert!(breaker.record_failure_of(user(1)));
        assert!(breaker.record_failure_of(user(1)), "until it succeeds");
        assert!(breaker.record_failure_of(user(2)));
        assert!(!breaker.record_failure_of(user(3)), "its first failure");
        breaker.record_outage("away", at(20), ten_seconds);
        assert!(!breaker.record_failure_of(user(1)), "during a pause");
        breaker.record_success(user(1));
        assert!(
            !breaker.record_failure_of(user(1)),
            "it succeeded meanwhile"
        );
        assert!(breaker.record_failure_of(user(2)));
    }

    #[test]
    fn the_number_of_remembered_failures_is_bounded() {
        let mut breaker = Breaker::default();
        for id in 1..=MAX_FAILED as u64 + 1 {
            assert!(!breaker.record_failure_of(user(id)));
        }
        assert_eq!(breaker.failed.len(), 1);
    }
}
