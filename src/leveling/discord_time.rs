//! What time it is by Discord, told from what Discord sends: answers that say it, and ids.
//!
//! Never asks a clock: a steady one, which nobody sets, is an argument, and the machine's
//! wall clock has no say in it.

use std::collections::VecDeque;
use std::time::Duration;

use super::{MessageId, Timestamp};

/// How far ahead of Discord's time an id may be, in milliseconds. It covers an estimate that
/// is a little late, and is as long as what each reading of the history goes back before the
/// frontier: a frontier that is ahead by no more than this loses no message.
pub const TOLERANCE_MS: i64 = 5 * 60_000;

/// The wall clock may be off by so much before anybody is told, in milliseconds.
const SKEW_TOLD_MS: i64 = 60_000;
/// Below this it is right again: less, so that a clock on the edge is not told all the time.
const SKEW_OVER_MS: i64 = 30_000;

/// Ids that are remembered, and how many of them must agree.
const RECENT: usize = 15;
const AGREEING: usize = 10;

/// An estimate of Discord's time. Times between two observations are counted by the steady
/// clock, whose readings are passed as the time since any fixed moment.
#[derive(Clone, Debug, Default)]
pub struct TimeEstimate {
    /// What Discord's latest answer said, less the steady clock, in milliseconds.
    told: Option<i64>,
    /// The same for recent ids, the newest last.
    recent: VecDeque<i64>,
}

impl TimeEstimate {
    /// Discord has said that it is `time`.
    pub fn tell(&mut self, time: Timestamp, steady: Duration) {
        self.told = Some(time.millis() - millis(steady));
    }

    /// Something arrived whose id was given at `time`.
    pub fn hear(&mut self, time: Timestamp, steady: Duration) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(time.millis() - millis(steady));
    }

    /// What time it is; `None` before anything is known.
    ///
    /// What Discord says decides. An id is given before it arrives, so each is a time that has
    /// passed; a few that are wrong must not count, so it takes two thirds of the recent ones
    /// to say that it is later than what Discord's answer said, or to stand in for one.
    pub fn now(&self, steady: Duration) -> Option<Timestamp> {
        let offset = self.told.max(self.agreed())?;
        Timestamp::from_millis(offset.saturating_add(millis(steady)))
    }

    /// The latest time that enough of the recent ids have reached.
    fn agreed(&self) -> Option<i64> {
        let mut sorted: Vec<i64> = self.recent.iter().copied().collect();
        sorted.sort_unstable_by_key(|offset| std::cmp::Reverse(*offset));
        sorted.get(AGREEING - 1).copied()
    }
}

/// The highest id that is believed when it is `now` by Discord.
pub fn newest_believed(now: Timestamp) -> MessageId {
    const FIRST: MessageId = MessageId::new(1).expect("one is an id");
    const LAST: MessageId = MessageId::new(i64::MAX as u64).expect("it is an id");
    let latest = now.millis().saturating_add(TOLERANCE_MS).max(1);
    let id = Timestamp::from_millis(latest).and_then(MessageId::first_at);
    // Before 2015 there is no id, and later than this none that fits.
    id.unwrap_or(if latest > LAST.sent_at().millis() {
        LAST
    } else {
        FIRST
    })
}

/// What is told of a wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkewNews {
    /// It is off by so many milliseconds; above zero, ahead.
    Off(i64),
    /// It is right, after it was off.
    Right,
}

/// What is to be told of a wall clock that is `skew_ms` ahead of Discord's time, when `told_ms`
/// was told last: once, and again when it changes.
pub fn skew_news(told_ms: Option<i64>, skew_ms: i64) -> Option<SkewNews> {
    let off = skew_ms.saturating_abs();
    match told_ms {
        None => (off > SKEW_TOLD_MS).then_some(SkewNews::Off(skew_ms)),
        Some(_) if off <= SKEW_OVER_MS => Some(SkewNews::Right),
        Some(told) => {
            let changed = skew_ms.saturating_sub(told).saturating_abs() > SKEW_TOLD_MS;
            changed.then_some(SkewNews::Off(skew_ms))
        }
    }
}

fn millis(steady: Duration) -> i64 {
    i64::try_from(steady.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_750_000_000_000;
    const YEAR: i64 = 365 * 86_400_000;
    /// When the highest id that fits is given.
    const LAST_MS: i64 = 1_420_070_400_000 + (i64::MAX >> 22);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_goes_on_by_the_steady_clock() {
        let mut estimate = TimeEstimate::default();
        assert_eq!(estimate.now(s(5)), None);
        estimate.tell(at(NOW), s(5));
        assert_eq!(estimate.now(s(5)), Some(at(NOW)));
        assert_eq!(estimate.now(s(65)), Some(at(NOW + 60_000)));
        // The machine had slept, and its steady clock with it.
        estimate.tell(at(NOW + YEAR), s(66));
        assert_eq!(estimate.now(s(67)), Some(at(NOW + YEAR + 1_000)));
    }

    #[test]
    fn it_takes_two_thirds_of_the_recent_ids_to_move_it() {
        // Poisoned ids in a row, and among ordinary ones.
        for (poisoned, ordinary, moved) in [
            (1, 0, false),
            (9, 0, false),
            (10, 0, true),
            (1, 14, false),
            (9, 6, false),
            (7, 8, false),
            (10, 5, true),
        ] {
            for told in [true, false] {
                let mut estimate = TimeEstimate::default();
                if told {
                    estimate.tell(at(NOW), s(0));
                }
                for _ in 0..ordinary {
                    estimate.hear(at(NOW - 100), s(0));
                }
                for _ in 0..poisoned {
                    estimate.hear(at(NOW + YEAR), s(0));
                }
                let is_later = estimate.now(s(0)).is_some_and(|now| now > at(NOW));
                assert_eq!(is_later, moved, "{poisoned} of {}", poisoned + ordinary);
            }
        }
    }

    #[test]
    fn ids_stand_in_for_an_answer_that_says_no_time() {
        let mut estimate = TimeEstimate::default();
        for second in 0..9 {
            estimate.hear(at(NOW + 1_000 * i64::try_from(second).unwrap()), s(second));
            assert_eq!(estimate.now(s(second)), None);
        }
        estimate.hear(at(NOW + 9_000), s(9));
        assert_eq!(estimate.now(s(20)), Some(at(NOW + 20_000)));
    }

    #[test]
    fn ids_are_believed_up_to_a_few_minutes_ahead() {
        let newest = newest_believed(at(NOW));
        for (ahead, believed) in [
            (-YEAR, true),
            (0, true),
            (TOLERANCE_MS, true),
            (TOLERANCE_MS + 1, false),
            (YEAR, false),
        ] {
            let id = MessageId::first_at(at(NOW + ahead)).unwrap();
            assert_eq!(id <= newest, believed, "{ahead} ms ahead");
        }
        assert_eq!(newest_believed(at(-5)).get(), 1);
        assert_eq!(newest_believed(at(i64::MAX)).get(), i64::MAX as u64);
        assert_eq!(newest_believed(at(LAST_MS + 1)).get(), i64::MAX as u64);
    }

    #[test]
    fn a_skew_is_told_once_and_again_when_it_changes() {
        const HOUR: i64 = 3_600_000;
        for (told, skew, news) in [
            (None, 0, None),
            (None, 60_000, None),
            (None, -60_000, None),
            (None, 61_000, Some(SkewNews::Off(61_000))),
            (None, -3 * HOUR, Some(SkewNews::Off(-3 * HOUR))),
            (Some(3 * HOUR), 3 * HOUR + 50_000, None),
            (Some(3 * HOUR), 2 * HOUR, Some(SkewNews::Off(2 * HOUR))),
            (Some(3 * HOUR), -HOUR, Some(SkewNews::Off(-HOUR))),
            (Some(3 * HOUR), 30_000, Some(SkewNews::Right)),
            (Some(-HOUR), -1, Some(SkewNews::Right)),
            (Some(61_000), 45_000, None),
        ] {
            assert_eq!(skew_news(told, skew), news, "{told:?} {skew}");
        }
    }

    proptest! {
        /// Whatever else is heard, ids that are at most nine of the last fifteen move nothing.
        #[test]
        fn ids_in_the_minority_never_move_what_discord_said(
            poison in proptest::collection::vec(0..YEAR * 50, 0..=9),
            late in proptest::collection::vec(0..YEAR, 6..30),
            order in any::<u64>(),
        ) {
            let mut heard: Vec<i64> = late[..6].iter().map(|late| NOW - late).collect();
            heard.extend(poison.iter().map(|ahead| NOW + ahead));
            let turn = usize::try_from(order).unwrap_or_default() % heard.len();
            heard.rotate_left(turn);
            let mut estimate = TimeEstimate::default();
            for late in &late[6..] {
                estimate.hear(at(NOW - late), s(0));
            }
            for time in heard {
                estimate.hear(at(time), s(0));
            }
            estimate.tell(at(NOW), s(0));
            prop_assert_eq!(estimate.now(s(0)), Some(at(NOW)));
        }

        /// Never back: real ids are given before they arrive.
        #[test]
        fn real_ids_never_move_what_discord_said(
            lags in proptest::collection::vec((0..YEAR, 0_u64..10_000), 0..50),
        ) {
            let mut estimate = TimeEstimate::default();
            estimate.tell(at(NOW), s(0));
            for (lag, second) in lags {
                let now = NOW + 1_000 * i64::try_from(second).unwrap();
                estimate.hear(at(now - lag), s(second));
                prop_assert_eq!(estimate.now(s(second)), Some(at(now)));
            }
        }

        #[test]
        fn no_time_breaks_it(times in proptest::collection::vec((any::<i64>(), any::<u64>()), 0..40), told: bool) {
            let mut estimate = TimeEstimate::default();
            for (millis, id) in times {
                if let Some(time) = MessageId::new(id).map(MessageId::sent_at) {
                    estimate.hear(time, s(id % 1_000_000));
                }
                if told && let Some(time) = Timestamp::from_millis(millis % LAST_MS) {
                    estimate.tell(time, s(1));
                }
                if let Some(now) = estimate.now(s(2)) {
                    newest_believed(now);
                }
            }
        }
    }
}
