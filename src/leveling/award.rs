//! How much XP one message earns.
//!
//! An award depends only on the message's id, on what its author earned before, and on the rate that
//! the guild's rules give the message. It uses no random numbers at run time and no wall clock. So a message that is processed twice counts
//! once, and a message that was missed live earns the same when it is read later.

use super::{MessageId, Points, Rate, Timestamp, cooldown};

/// The smallest amount and the number of possible amounts: 15..=25, as in MEE6.
const MIN_AMOUNT: u64 = 15;
const AMOUNT_COUNT: u64 = 11;
/// The greatest rate is 1,000 %.
const MAX_FACTOR: i128 = 10;

/// What a user has earned so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Total XP.
    pub points: Points,
    /// Number of messages that earned XP.
    pub message_count: u64,
    /// Send time of the latest message that earned XP.
    pub last_awarded_at: Option<Timestamp>,
}

impl Standing {
    /// Whether the user has a rank: at least one point or one message that earned XP.
    pub fn is_tracked(&self) -> bool {
        self.points > Points::default() || self.message_count > 0
    }

    /// The standing after `award`.
    #[must_use]
    pub fn with(self, award: Award) -> Self {
        Self {
            points: self.points.plus(award.amount),
            message_count: (self.message_count + 1).min(i64::MAX as u64),
            last_awarded_at: Some(award.at),
        }
    }
}

/// The XP that one message earns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Award {
    /// 15 to 25 points, at the message's rate: at least 1, at most 250.
    pub amount: u64,
    /// What the message would earn at the usual rate: 15 to 25 points.
    pub usual: u64,
    /// When the message was sent. The cooldown starts at this time.
    pub at: Timestamp,
}

/// The award for `message`, which earns at `rate`, to a user with this standing. `None` if it earns
/// nothing by a rule, within the cooldown, and for any message older than the latest award, so that
/// processing a message again has no effect.
pub fn award(standing: &Standing, message: MessageId, rate: Option<Rate>) -> Option<Award> {
    let rate = rate?;
    let at = message.sent_at();
    let last_award = standing.last_awarded_at;
    let may_earn = last_award.is_none_or(|last| cooldown::is_over(last, at));
    may_earn.then(|| {
        let usual = amount(message);
        Award {
            amount: rate.of(usual),
            usual,
            at,
        }
    })
}

/// Whether `messages` can have earned `points` in all, and `usual` points at the usual rate.
pub fn can_earn(messages: i64, usual: i128, points: i64) -> bool {
    let messages = i128::from(messages);
    let least = i128::from(MIN_AMOUNT) * messages;
    let most = i128::from(MIN_AMOUNT + AMOUNT_COUNT - 1) * messages;
    (least..=most).contains(&usual) && (messages..=MAX_FACTOR * usual).contains(&points.into())
}

/// An amount in 15..=25, uniformly distributed over ids and fixed for each message.
///
/// The finalizer of `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number
/// generators", 2014) mixes the id. The upper bits of the result select one of the eleven amounts.
fn amount(message: MessageId) -> u64 {
    let mut mixed = message.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let scaled = (u128::from(mixed) * u128::from(AMOUNT_COUNT)) >> 64;
    MIN_AMOUNT + u64::try_from(scaled).expect("below the number of amounts")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message_at(millis: i64) -> MessageId {
        MessageId::first_at(Timestamp::from_millis(millis).unwrap()).unwrap()
    }

    fn after_award_at(millis: i64) -> Standing {
        Standing {
            points: Points::new(20).unwrap(),
            message_count: 1,
            last_awarded_at: Timestamp::from_millis(millis),
        }
    }

    const T: i64 = 1_700_000_000_000;
    const USUAL: Option<Rate> = Some(Rate::USUAL);

    #[test]
    fn a_first_message_earns_and_another_only_after_the_cooldown() {
        assert!(award(&Standing::default(), message_at(T), USUAL).is_some());
        for (after, earns) in [(-1, false), (0, false), (59_999, false), (60_000, true)] {
            let award = award(&after_award_at(T), message_at(T + after), USUAL);
            assert_eq!(award.is_some(), earns, "{after} ms after");
        }
    }

    #[test]
    fn amounts_never_change_for_a_message_that_was_sent() {
        // Fixed values: another mixing function would change the XP of past messages.
        let known = [
            (175_928_847_299_117_063, 25),
            (1_000_000_000_000_000_000, 21),
            (1_311_000_000_000_000_001, 23),
        ];
        for (id, points) in known {
            assert_eq!(amount(MessageId::new(id).unwrap()), points, "{id}");
        }
    }

    #[test]
    fn amounts_are_spread_evenly() {
        let mut counts = [0_u32; 11];
        for n in 0..110_000_u64 {
            let id = (1_100_000_000_000_u64 + n * 997) << 20;
            counts[usize::try_from(amount(MessageId::new(id).unwrap()) - MIN_AMOUNT).unwrap()] += 1;
        }
        for (amount, count) in (MIN_AMOUNT..).zip(counts) {
            assert!(
                (9_500..=10_500).contains(&count),
                "{amount} points: {count} of 110,000"
            );
        }
    }

    #[test]
    fn nothing_overflows() {
        let most = i64::MAX as u64;
        let rich = Standing {
            points: Points::new(most).unwrap(),
            message_count: most,
            last_awarded_at: None,
        };
        let award = award(&rich, message_at(T), USUAL).unwrap();
        let richer = rich.with(award);
        assert_eq!((richer.points.get(), richer.message_count), (most, most));
    }

    #[test]
    fn only_what_messages_can_earn_is_possible() {
        for (messages, usual, points, possible) in [
            (0, 0, 0, true),
            (0, 0, 1, false),
            (0, 1, 1, false),
            (1, 15, 15, true),
            (1, 25, 25, true),
            (1, 14, 14, false),
            (1, 26, 26, false),
            (3, 60, 600, true),
            (3, 60, 601, false),
            (3, 60, 3, true),
            (3, 60, 2, false),
            (-1, -20, -20, false),
            (i64::MAX, i128::from(i64::MAX) * 20, i64::MAX, true),
        ] {
            assert_eq!(
                can_earn(messages, usual, points),
                possible,
                "{messages} messages, {usual}, {points} points"
            );
        }
    }

    proptest! {
        #[test]
        fn what_messages_earn_is_possible(
            awards in prop::collection::vec((0..i64::MAX.unsigned_abs(), 1..=10_000_000_u64), 0..20),
        ) {
            let (mut usual, mut points) = (0, 0);
            for (id, millionths) in &awards {
                let id = MessageId::new(id + 1).unwrap();
                let rate = Rate::from_millionths(*millionths);
                let award = award(&Standing::default(), id, rate).unwrap();
                usual += i128::from(award.usual);
                points += i64::try_from(award.amount).unwrap();
            }
            prop_assert!(can_earn(i64::try_from(awards.len()).unwrap(), usual, points));
        }

        #[test]
        fn applying_a_message_again_changes_nothing(sent in proptest::collection::vec(0_i64..10_000_000, 1..50)) {
            let mut sent = sent;
            sent.sort_unstable();
            let play = |rounds: usize| {
                let mut standing = Standing::default();
                for _ in 0..rounds {
                    for offset in &sent {
                        if let Some(award) = award(&standing, message_at(T + offset), USUAL) {
                            standing = standing.with(award);
                        }
                    }
                }
                standing
            };
            // When the same messages are read again, each is older than the latest award or
            // within its cooldown.
            prop_assert_eq!(play(1), play(2));
        }
    }
}
