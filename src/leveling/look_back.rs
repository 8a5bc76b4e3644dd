//! How far back the history is read after a gap: at most so many hours.

/// The hours, unless the setting `WALLE_CATCH_UP_HOURS` gives another number.
pub const DEFAULT_HOURS: u32 = 24;

/// The hours in milliseconds.
pub fn millis(hours: u32) -> i64 {
    i64::from(hours) * 60 * 60 * 1_000
}
