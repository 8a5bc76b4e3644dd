//! What the durable queues have in common. A row in one of them is work that survives a restart:
//! [`outbox`](super::outbox) (level-ups to announce), [`role_work`](super::role_work) (members
//! whose roles to check), [`updated_user`](super::updated_user) (profiles to store and avatars to
//! copy) and [`open_buttons`](super::open_buttons) (buttons to remove).
//!
//! Each queue has `due`, which returns the rows to work on at a given time, `postpone`, which sets
//! when a row is due again, and `remove`, for a row that needs no more work. A row that may change
//! while somebody works on it has a version; `postpone` and `remove` leave other versions alone.
//!
//! Whether a row is due is decided by the `now` that the caller passes, which is Discord's time,
//! and never by the database's clock. The queues whose rows are given up after some attempts decide
//! by a [`RetryPolicy`](crate::backoff::RetryPolicy) when that is.

use chrono::{DateTime, TimeDelta, Utc};

/// A row whose time is later than this is due as well. No row is ever postponed by as much as
/// `max_delay`, so its time was written before the clock was set back, or came from a wrong id.
pub(super) fn impossibly_late(now: DateTime<Utc>, max_delay: TimeDelta) -> DateTime<Utc> {
    now + max_delay
}
