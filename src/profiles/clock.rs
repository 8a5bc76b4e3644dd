//! A clock that goes on from the time it was given: for work that takes longer than a look.

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// Goes on by itself, whatever becomes of the machine's clock meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    given: DateTime<Utc>,
    at: Instant,
}

impl Clock {
    /// It is that time now.
    pub(super) fn set(now: DateTime<Utc>) -> Self {
        Self {
            given: now,
            at: Instant::now(),
        }
    }

    /// What time it is.
    pub(super) fn now(self) -> DateTime<Utc> {
        self.given + self.at.elapsed()
    }
}
