//! Limits how often the bot identifies, that is, starts a new gateway session. Discord allows
//! 1,000 a day and resets the token of a bot that exceeds this. Pure: the time is an argument.
//!
//! Resuming is not limited. A bot that starts a new session after every failure may do so for an
//! hour; if it went on for a day, it would lose its token. So there is a burst of sessions, and
//! then a slow steady rate.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

/// Sessions that may start in a burst.
const BURST: u32 = 30;
/// Time after which one more session is allowed: 576 a day.
const REFILL_INTERVAL: Duration = Duration::from_secs(150);
/// Discord accepts one identify in five seconds (a `max_concurrency` of 1).
const MIN_SPACING: Duration = Duration::from_secs(5);

/// A token bucket of sessions: it holds `burst` of them and gains one every `refill_interval`.
#[derive(Debug)]
pub(super) struct IdentifyLimiter {
    burst: u32,
    refill_interval: Duration,
    /// When the bucket is full again; `None` before the first session.
    full_at: Option<Instant>,
    /// When the last session started.
    last: Option<Instant>,
}

/// Discord's own count of a bot's sessions, from `GET /gateway/bot`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct SessionStartLimit {
    /// Sessions allowed in 24 hours.
    pub total: u64,
    /// Sessions that are left.
    pub remaining: u64,
    /// Milliseconds until `remaining` is reset to `total`.
    pub reset_after: u64,
}

impl Default for IdentifyLimiter {
    fn default() -> Self {
        Self::new(BURST, REFILL_INTERVAL)
    }
}

impl IdentifyLimiter {
    fn new(burst: u32, refill_interval: Duration) -> Self {
        Self {
            burst,
            refill_interval,
            full_at: None,
            last: None,
        }
    }

    /// Counts a session that starts now.
    pub fn spend(&mut self, now: Instant) {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now));
        self.full_at = Some(full_at + self.refill_interval);
        self.last = Some(now);
    }

    /// When the next session may start; never before `now`.
    pub fn next_at(&self, now: Instant) -> Instant {
        let after_last = self.last.map_or(now, |last| last + MIN_SPACING);
        after_last.max(now + self.wait(now))
    }

    /// How long the next session must wait until the bucket holds one.
    fn wait(&self, now: Instant) -> Duration {
        let until_full = self.full_at.map_or(Duration::ZERO, |full_at| {
            full_at.saturating_duration_since(now)
        });
        (until_full + self.refill_interval).saturating_sub(self.refill_interval * self.burst)
    }
}

/// How long to wait before a session, so that the sessions left in Discord's own count last until
/// it is reset. No wait while at least half of them are left.
pub(super) fn pause_before_session(limit: SessionStartLimit) -> Duration {
    if limit.remaining.saturating_mul(2) >= limit.total {
        return Duration::ZERO;
    }
    Duration::from_millis(limit.reset_after / limit.remaining.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many sessions start within `period` if the bot starts one whenever it may.
    fn started_within(period: Duration) -> u32 {
        let start = Instant::now();
        let (mut limiter, mut now, mut started) = (IdentifyLimiter::default(), start, 0);
        while now < start + period {
            limiter.spend(now);
            started += 1;
            now = limiter.next_at(now);
        }
        started
    }

    #[test]
    fn a_bad_quarter_of_an_hour_is_free_and_a_bad_day_is_survived() {
        for (minutes, least, most) in [(2, 24, 25), (15, 34, 37), (60, 52, 55), (24 * 60, 600, 610)]
        {
            let started = started_within(Duration::from_secs(60 * minutes));
            assert!(
                (least..=most).contains(&started),
                "{started} in {minutes} minutes"
            );
        }
    }

    #[test]
    fn what_was_spent_is_earned_again() {
        let start = Instant::now();
        let refill_interval = Duration::from_secs(100);
        let mut limiter = IdentifyLimiter::new(2, refill_interval);
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
