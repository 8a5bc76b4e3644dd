//! A clock that is set once and then runs by itself, for a job round that lasts long enough for its
//! `now` to become stale.

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// Advances with the monotonic clock, so changes to the system time do not affect it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start_time: DateTime<Utc>,
    started: Instant,
}

impl Clock {
    /// Starts the clock at `now`.
    pub(super) fn set(now: DateTime<Utc>) -> Self {
        Self {
            start_time: now,
            started: Instant::now(),
        }
    }

    /// The time given at the start, plus the time elapsed since then.
    pub(super) fn now(self) -> DateTime<Utc> {
        self.start_time + self.started.elapsed()
    }
}
