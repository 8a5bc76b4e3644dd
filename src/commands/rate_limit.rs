//! Limits how many commands and button presses of one member are answered in a short time.
//!
//! Reads no clock: the time comes from the ids that Discord gives to commands.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::leveling::{Timestamp, UserId};

/// Maximum number of members whose buckets are kept; the commands of further members are allowed.
/// No guild has so many active members at once.
const MAX_MEMBERS: usize = 10_000;

/// The limits for commands, button presses and notices. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RateLimits {
    /// Five commands at once, then one every four seconds.
    pub(super) commands: RateLimit,
    /// Ten presses at once, then one a second: buttons are pressed faster than commands are typed,
    /// and most answers do not fill the channel.
    pub(super) buttons: RateLimit,
    /// A member is told once in ten minutes that answers were left out.
    pub(super) left_out: RateLimit,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            commands: RateLimit::new(5, 4_000),
            buttons: RateLimit::new(10, 1_000),
            left_out: RateLimit::new(1, 600_000),
        }
    }
}

/// A token bucket for each member. A command takes a token; tokens come back over time.
#[derive(Clone, Debug)]
pub(super) struct RateLimit {
    /// Tokens in a full bucket.
    size: i64,
    /// Milliseconds until one token is back.
    refill_ms: i64,
    buckets: Arc<Mutex<Buckets>>,
}

#[derive(Debug)]
struct Buckets {
    /// The buckets that are not full.
    of: HashMap<UserId, Bucket>,
    /// When full buckets were last removed.
    swept_at_ms: i64,
}

/// The state of a bucket that is not full.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// When it will be full again, in milliseconds.
    full_at_ms: i64,
    /// Whether its owner has been told that it is empty.
    told: bool,
}

/// Whether a command runs, and whether its caller is told if not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It runs.
    Allowed,
    /// It does not run, and the caller is told so. This happens once before the bucket is full
    /// again.
    RefusedAndTold,
    /// It does not run, and the caller is told nothing.
    Refused,
}

impl RateLimit {
    fn new(size: i64, refill_ms: i64) -> Self {
        let buckets = Buckets {
            of: HashMap::new(),
            swept_at_ms: i64::MIN,
        };
        Self {
            size,
            refill_ms,
            buckets: Arc::new(Mutex::new(buckets)),
        }
    }

    /// Takes a token of `member` at `now`, if there is one.
    pub fn take(&self, member: UserId, now: Timestamp) -> Verdict {
        let now = now.millis();
        let full_after = self.size * self.refill_ms;
        let buckets = self.buckets.lock();
        let mut buckets = buckets.unwrap_or_else(PoisonError::into_inner);
        buckets.forget_full(now, full_after);
        let known = buckets.of.get(&member).copied();
        // A later time can only come from an id that was far ahead of its time.
        let known = known
            .filter(|known| known.full_at_ms > now && known.full_at_ms <= now + 2 * full_after);
        if known.is_none() && buckets.of.len() >= MAX_MEMBERS {
            return Verdict::Allowed;
        }
        let mut bucket = known.unwrap_or(Bucket {
            full_at_ms: now,
            told: false,
        });
        let verdict = if bucket.full_at_ms + self.refill_ms <= now + full_after {
            bucket.full_at_ms += self.refill_ms;
            Verdict::Allowed
        } else if bucket.told {
            Verdict::Refused
        } else {
            bucket.told = true;
            Verdict::RefusedAndTold
        };
        buckets.of.insert(member, bucket);
        verdict
    }
}

impl Buckets {
    /// Removes full buckets, at most once in the time in which a bucket fills, so the work for each
    /// command does not grow with the number of members.
    fn forget_full(&mut self, now: i64, full_after: i64) {
        let next = self.swept_at_ms.saturating_add(full_after);
        if (self.swept_at_ms..next).contains(&now) {
            return;
        }
        self.swept_at_ms = now;
        self.of
            .retain(|_, bucket| (now..=now + 2 * full_after).contains(&bucket.full_at_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + ms).expect("after 2015")
    }

    fn user(id: u64) -> UserId {
        UserId::new(id).expect("an id")
    }

    #[test]
    fn five_at_once_one_sentence_then_silence_until_a_token_is_back() {
        use Verdict::{Allowed, Refused, RefusedAndTold};
        let commands = RateLimits::default().commands;
        for (ms, verdict) in [
            (0, Allowed),
            (10, Allowed),
            (20, Allowed),
            (30, Allowed),
            (40, Allowed),
            (50, RefusedAndTold),
            (60, Refused),
            (3_999, Refused),
            (4_000, Allowed),
            (4_001, Refused),
            (8_000, Allowed),
            // The clocks of two of Discord's machines may differ a little.
            (7_900, Refused),
            (27_900, Allowed),
            // The bucket has been full again since 28,000.
            (60_000, Allowed),
            (60_000, Allowed),
            (60_000, Allowed),
            (60_000, Allowed),
            (60_000, Allowed),
            (60_000, RefusedAndTold),
        ] {
            assert_eq!(commands.take(user(7), at(ms)), verdict, "{ms}");
        }
        assert_eq!(
            commands.take(user(8), at(60_000)),
            Allowed,
            "another member"
        );
    }

    #[test]
    fn who_runs_commands_at_the_pace_of_the_refill_is_never_refused() {
        let commands = RateLimits::default().commands;
        for number in 0..1_000 {
            let verdict = commands.take(user(7), at(number * 4_000));
            assert_eq!(verdict, Verdict::Allowed);
        }
    }

    #[test]
    fn members_with_full_buckets_are_forgotten_and_their_number_is_bounded() {
        let commands = RateLimits::default().commands;
        for number in 1..=20_000 {
            let verdict = commands.take(user(number), at(0));
            assert_eq!(verdict, Verdict::Allowed);
        }
        assert_eq!(commands.buckets.lock().unwrap().of.len(), MAX_MEMBERS);
        commands.take(user(7), at(20_001));
        assert_eq!(commands.buckets.lock().unwrap().of.len(), 1);
    }

    #[test]
    fn an_id_far_ahead_of_its_time_silences_nobody() {
        let commands = RateLimits::default().commands;
        let year = 365 * 86_400_000;
        for ms in [year, 0, 1, 2, 3, 4] {
            assert_eq!(commands.take(user(7), at(ms)), Verdict::Allowed, "{ms}");
        }
        assert_ne!(commands.take(user(7), at(5)), Verdict::Allowed);
    }
}
