//! The cooldown: the least time between two awards of one user, in message time. Reads no clock.

use super::Timestamp;

/// The length of the cooldown, in milliseconds; as in MEE6.
pub const COOLDOWN_MS: i64 = 60_000;

/// Whether a message sent at `sent_at` may earn, after an award at `last_award`. Never before that
/// award, so that a message that is processed again earns nothing.
pub fn is_over(last_award: Timestamp, sent_at: Timestamp) -> bool {
    sent_at.millis() >= last_award.millis().saturating_add(COOLDOWN_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cooldown_is_sixty_seconds_of_message_time() {
        const T: i64 = 1_700_000_000_000;
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        for (after, earns) in [
            (0, false),
            (1, false),
            (59_999, false),
            (60_000, true),
            (60_001, true),
            (-1, false),
            (-86_400_000, false),
        ] {
            assert_eq!(is_over(at(T), at(T + after)), earns, "{after} ms after");
        }
    }
}
