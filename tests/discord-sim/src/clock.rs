//! The simulator's time, and the ids that are made from it.
//!
//! Discord's ids ("snowflakes") carry the time at which they were made, so time
//! and ids are one thing here. Nothing in this file waits: time is moved by the
//! machine's clock and by [`Clock::advance`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};

/// A Discord id. Every kind of id is the same plain number here: the simulator
/// speaks JSON, where they are all strings of digits anyway.
pub type Id = u64;

/// The first millisecond of 2015, where Discord's ids begin to count.
pub const DISCORD_EPOCH_MS: u64 = 1_420_070_400_000;

/// The smallest id that carries the time `ms` (Unix milliseconds).
pub const fn first_id_at(ms: u64) -> Id {
    ms.saturating_sub(DISCORD_EPOCH_MS) << 22
}

/// The time at which an id was made, in Unix milliseconds.
pub const fn time_of(id: Id) -> u64 {
    (id >> 22) + DISCORD_EPOCH_MS
}

/// A time as Discord writes it.
pub fn timestamp(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(DateTime::<Utc>::from_timestamp_millis)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Micros, false)
}

/// A time, so many seconds later, as HTTP writes it.
pub fn http_date(ms: u64, later_s: i64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| DateTime::<Utc>::from_timestamp(ms / 1_000 + later_s, 0))
        .unwrap_or_default()
        .format("%a, %d %b %Y %H:%M:%S GMT")
        .to_string()
}

/// The machine's clock plus an offset, and the last id that was given out.
#[derive(Debug, Default)]
pub struct Clock {
    offset: Duration,
    last_id: Id,
    /// What the next one thing is given instead of an id of its moment.
    odd: Option<Id>,
}

impl Clock {
    /// Unix milliseconds, as the simulated world sees them.
    pub fn now_ms(&self) -> u64 {
        let real = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from((real + self.offset).as_millis()).unwrap_or(u64::MAX)
    }

    /// Moves the world's time forward.
    pub fn advance(&mut self, by: Duration) {
        self.offset += by;
    }

    /// A new id: of this moment, and greater than every one before.
    pub fn snowflake(&mut self) -> Id {
        self.odd.take().unwrap_or_else(|| self.snowflakes(1))
    }

    /// Gives this id to whatever gets the next one by itself.
    pub fn give_next(&mut self, id: Id) {
        self.odd = Some(id);
    }

    /// The first of `count` new ids in a row.
    pub fn snowflakes(&mut self, count: u64) -> Id {
        let first = first_id_at(self.now_ms()).max(self.last_id + 1);
        self.last_id = first + count.saturating_sub(1);
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_their_time_and_grow() {
        let mut clock = Clock::default();
        let first = clock.snowflake();
        let second = clock.snowflake();
        assert!(second > first);
        clock.give_next(7);
        assert_eq!(clock.snowflake(), 7);
        assert!(clock.snowflake() > second);
        let before = clock.now_ms();
        clock.advance(Duration::from_secs(61));
        assert!(time_of(clock.snowflake()) >= before + 61_000);
    }

    #[test]
    fn times_are_written_as_discord_writes_them() {
        assert_eq!(
            timestamp(DISCORD_EPOCH_MS + 7),
            "2015-01-01T00:00:00.007000+00:00"
        );
        assert_eq!(
            http_date(784_111_777_999, 0),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
        assert_eq!(
            http_date(784_111_777_999, -38),
            "Sun, 06 Nov 1994 08:48:59 GMT"
        );
    }
}
