//! How much of the history before the frontier is read again, and the arithmetic for ids that are
//! some time earlier or later than another.

use crate::leveling::{MessageId, Timestamp};

/// How far before the frontier the history is read again: just before the gap, messages of
/// different channels may have arrived out of order.
pub(super) const MARGIN_MS: i64 = 5 * 60 * 1_000;
/// The largest assumed error of the estimate of Discord's time.
pub(super) const CLOCK_SLACK_MS: i64 = 15 * 60 * 1_000;

/// The lowest id of a message written `earlier_ms` before `message`.
pub(super) fn before(message: MessageId, earlier_ms: i64) -> MessageId {
    after_by(message, -earlier_ms)
}

/// The lowest id of a message written `later_ms` after `message`.
pub(super) fn after_by(message: MessageId, later_ms: i64) -> MessageId {
    const FIRST: MessageId = MessageId::new(1).expect("one is an id");
    let at = Timestamp::from_millis(message.sent_at().millis() + later_ms);
    at.and_then(MessageId::first_at).unwrap_or(FIRST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> impl Strategy<Value = MessageId> {
        (1..=i64::MAX as u64).prop_map(|id| MessageId::new(id).unwrap())
    }

    fn milliseconds() -> impl Strategy<Value = i64> {
        0..=i64::from(u32::MAX) * 3_600_000
    }

    proptest! {
        #[test]
        fn earlier_is_never_later(a in message(), b in message(), by in milliseconds(), more in milliseconds()) {
            let (first, second) = (a.min(b), a.max(b));
            prop_assert!(before(first, by) <= before(second, by));
            prop_assert!(before(first, by.max(more)) <= before(first, by.min(more)));
            prop_assert!(before(first, by) <= first);
        }
    }
}
