//! How often a session may be begun: Discord allows a thousand a day and resets the
//! token of a bot that takes more. Pure: the time is an argument.
//!
//! Resuming costs nothing; a new session after each refusal is right for a bad hour and
//! ruinous for a bad day.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

/// So many sessions may be begun one after the other…
const FREE: u32 = 30;
/// …and one more after each of these: 576 a day.
const EVERY: Duration = Duration::from_secs(150);
/// Discord takes one session in five seconds (a `max_concurrency` of 1).
const APART: Duration = Duration::from_secs(5);

/// What may still be spent.
#[derive(Debug)]
pub(super) struct IdentifyLimiter {
    free: u32,
    every: Duration,
    /// When everything spent has been earned again.
    even_at: Option<Instant>,
    last: Option<Instant>,
}

/// What Discord says of the sessions that may be begun.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct SessionStartLimit {
    /// In 24 hours.
    pub total: u64,
    /// Of these, still.
    pub remaining: u64,
    /// Milliseconds until there are `total` again.
    pub reset_after: u64,
}

impl Default for IdentifyLimiter {
    fn default() -> Self {
        Self::new(FREE, EVERY)
    }
}

impl IdentifyLimiter {
    /// `free` sessions at once, and one for each `every` that passes.
    fn new(free: u32, every: Duration) -> Self {
        Self {
            free,
            every,
            even_at: None,
            last: None,
        }
    }

    /// Counts a session that is begun.
    pub fn spend(&mut self, now: Instant) {
        let even_at = self.even_at.map_or(now, |even_at| even_at.max(now));
        self.even_at = Some(even_at + self.every);
        self.last = Some(now);
    }

    /// When the next one may be begun; at once, if that is past.
    pub fn next_at(&self, now: Instant) -> Instant {
        let after_last = self.last.map_or(now, |last| last + APART);
        after_last.max(now + self.wait(now))
    }

    /// How long the budget makes the next one wait.
    fn wait(&self, now: Instant) -> Duration {
        let debt = self.even_at.map_or(Duration::ZERO, |even_at| {
            even_at.saturating_duration_since(now)
        });
        (debt + self.every).saturating_sub(self.every * self.free)
    }
}

/// How long to wait so that what is left of Discord's own count lasts until it is
/// renewed. The first half of it is free.
pub(super) fn pause_before_session(limit: SessionStartLimit) -> Duration {
    if limit.remaining.saturating_mul(2) >= limit.total {
        return Duration::ZERO;
    }
    Duration::from_millis(limit.reset_after / limit.remaining.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many sessions are begun within `day` by a bot that begins one whenever it may.
    fn begun_within(day: Duration) -> u32 {
        let start = Instant::now();
        let (mut limiter, mut now, mut begun) = (IdentifyLimiter::default(), start, 0);
        while now < start + day {
            limiter.spend(now);
            begun += 1;
            now = limiter.next_at(now);
        }
        begun
    }

    #[test]
    fn a_bad_quarter_of_an_hour_is_free_and_a_bad_day_is_survived() {
        for (minutes, least, most) in [(2, 24, 25), (15, 34, 37), (60, 52, 55), (24 * 60, 600, 610)]
        {
            let begun = begun_within(Duration::from_secs(60 * minutes));
            assert!(
                (least..=most).contains(&begun),
                "{begun} in {minutes} minutes"
            );
        }
    }

    #[test]
    fn what_was_spent_is_earned_again() {
        let start = Instant::now();
        let every = Duration::from_secs(100);
        let mut limiter = IdentifyLimiter::new(2, every);
        let at = |seconds| start + Duration::from_secs(seconds);
        for (now, spends, wait_s) in [
            (0, 0, 0),
            (0, 1, 0),
            (0, 1, 100),
            (60, 0, 40),
            (60, 1, 140),
            (200, 0, 0),
            (1_000, 1, 0),
            (1_000, 1, 100),
        ] {
            for _ in 0..spends {
                limiter.spend(at(now));
            }
            assert_eq!(
                limiter.wait(at(now)),
                Duration::from_secs(wait_s),
                "at {now}"
            );
        }
    }

    #[test]
    fn sessions_are_spread_once_half_of_the_day_is_used() {
        const HOUR_MS: u64 = 3_600_000;
        for (remaining, reset_after, expected_s) in [
            (1_000, 24 * HOUR_MS, 0),
            (500, HOUR_MS, 0),
            (499, HOUR_MS, 7),
            (100, 10 * HOUR_MS, 360),
            (1, HOUR_MS, 3_600),
            (0, HOUR_MS, 3_600),
        ] {
            let limit: SessionStartLimit = serde_json::from_value(serde_json::json!({
                "total": 1_000, "remaining": remaining, "reset_after": reset_after, "max_concurrency": 1
            }))
            .unwrap();
            assert_eq!(
                pause_before_session(limit).as_secs(),
                expected_s,
                "{remaining} left"
            );
        }
    }
}
