//! How long to wait before a retry, and how often to retry.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// Exponential backoff with jitter. The full delay is `min` after the first failed attempt, doubles
/// with each further one, and is at most `max`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
}

/// The attempts of one loop.
#[derive(Debug)]
pub struct Attempts {
    backoff: Backoff,
    failed: u32,
}

/// How a durable queue retries an entry: after which delays, and how often in all.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The delays between two attempts.
    pub backoff: Backoff,
    /// Attempts after which the entry is given up.
    pub max_attempts: u32,
}

impl Backoff {
    /// Full delays from `min` to `max`.
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max }
    }

    /// The full delay after the first failed attempt.
    pub const fn min(self) -> Duration {
        self.min
    }

    /// The longest delay.
    pub const fn max(self) -> Duration {
        self.max
    }

    /// The delay after the attempt of this number; the first is 0. Random, between half of the full
    /// delay and all of it, so that callers who failed together do not retry together.
    pub fn delay(self, attempt: u32) -> Duration {
        let full = self.min.saturating_mul(2_u32.saturating_pow(attempt));
        full.min(self.max).mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Counts the attempts of a loop, and waits between them.
    pub const fn attempts(self) -> Attempts {
        Attempts {
            backoff: self,
            failed: 0,
        }
    }
}

impl Attempts {
    /// Number of attempts counted as failed.
    pub const fn failed(&self) -> u32 {
        self.failed
    }

    /// Whether no attempt has failed before the present one.
    pub const fn is_first(&self) -> bool {
        self.failed == 0
    }

    /// Counts a failed attempt. Returns how long to wait before the next one.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.backoff.delay(self.failed);
        self.failed = self.failed.saturating_add(1);
        delay
    }

    /// Counts a failed attempt, and waits until the next one may be made.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_delay()).await;
    }

    /// Starts over, after an attempt that succeeded.
    pub const fn reset(&mut self) {
        self.failed = 0;
    }
}

impl RetryPolicy {
    /// Whether an attempt is the last one, after `failed` others.
    pub const fn is_last(self, failed: u32) -> bool {
        failed.saturating_add(1) >= self.max_attempts
    }

    /// When to make the next attempt if one fails at `now`, after `failed` others.
    pub fn next_attempt(self, failed: u32, now: DateTime<Utc>) -> DateTime<Utc> {
        now + self.backoff.delay(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

    #[test]
    fn the_delay_doubles_up_to_the_maximum_and_never_overflows() {
        for (attempt, full) in [
            (0, 100),
            (1, 200),
            (3, 800),
            (7, 10_000),
            (31, 10_000),
            (u32::MAX, 10_000),
        ] {
            let wait = BACKOFF.delay(attempt).as_millis();
            assert!(
                (full / 2..=full).contains(&wait),
                "attempt {attempt}: {wait} ms"
            );
        }
    }

    #[test]
    fn an_entry_is_retried_until_its_attempts_are_used_up() {
        let retries = RetryPolicy {
            backoff: BACKOFF,
            max_attempts: 3,
        };
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        for (failed, full_ms, is_last) in [(0, 100, false), (1, 200, false), (2, 400, true)] {
            let wait_ms = (retries.next_attempt(failed, now) - now).num_milliseconds();
            assert!(
                (full_ms / 2..=full_ms).contains(&wait_ms),
                "{failed}: {wait_ms} ms"
            );
            assert_eq!(retries.is_last(failed), is_last, "{failed}");
        }
        assert!(retries.is_last(u32::MAX));
    }

    #[tokio::test]
    async fn attempts_are_counted_until_one_succeeds() {
        let mut attempts = Backoff::new(Duration::ZERO, Duration::ZERO).attempts();
        assert!(attempts.is_first());
        for failed in 1..4 {
            attempts.wait().await;
            assert_eq!((attempts.failed(), attempts.is_first()), (failed, false));
        }
        attempts.reset();
        assert!(attempts.is_first());
    }
}
