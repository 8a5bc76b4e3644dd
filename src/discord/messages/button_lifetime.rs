//! How long buttons work. Pure.

use crate::leveling::discord_time::TOLERANCE_MS;
use crate::leveling::{MessageId, Timestamp};

/// How long buttons work after their message, by the timestamps in Discord's ids.
const LIFETIME_MS: i64 = 15 * 60_000;
/// How long before that the buttons of an answer to an interaction are removed. This uses the
/// interaction's token, which expires after 15 minutes as well.
const REMOVAL_LEAD_MS: i64 = 60_000;

/// Whether the buttons of `message` still work in the interaction `press`, by the timestamps in
/// both ids.
pub fn still_work(message: MessageId, press: MessageId) -> bool {
    let (posted, pressed) = (message.sent_at().millis(), press.sent_at().millis());
    // If the message is newer than the press, one of the two ids is wrong.
    posted - pressed <= TOLERANCE_MS && press.sent_at() < close_at(message)
}

/// When the buttons of `message` stop working.
pub fn close_at(message: MessageId) -> Timestamp {
    let at = message.sent_at().millis() + LIFETIME_MS;
    Timestamp::from_millis(at).expect("after 2015")
}

/// When to remove the buttons of `message`, which answers an interaction: shortly before the
/// interaction's token expires.
pub fn close_by_token_at(message: MessageId) -> Timestamp {
    let at = close_at(message).millis() - REMOVAL_LEAD_MS;
    Timestamp::from_millis(at).expect("after 2015")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buttons_work_for_a_quarter_of_an_hour() {
        let at = |ms| MessageId::first_at(Timestamp::from_millis(1_700_000_000_000 + ms).unwrap());
        let message = at(0).unwrap();
        for (ms, work) in [
            (0, true),
            (LIFETIME_MS - 1, true),
            (LIFETIME_MS, false),
            (86_400_000, false),
            (-TOLERANCE_MS, true),
            (-86_400_000, false),
        ] {
            assert_eq!(still_work(message, at(ms).unwrap()), work, "{ms}");
        }
    }
}
