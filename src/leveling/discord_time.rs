//! Estimates Discord's clock from the time in Discord's responses and from the ids it sends.
//!
//! Reads no clock itself. The caller passes readings of a monotonic clock; the machine's wall
//! clock is not used for the estimate.

use std::collections::VecDeque;
use std::time::Duration;

use super::{MessageId, Timestamp};

/// How far an id may be ahead of Discord's time, in milliseconds. It allows for an estimate that
/// is slightly behind. It equals the overlap that each reading of the history adds before the
/// frontier, so a frontier that is ahead by no more than this skips no message.
pub const TOLERANCE_MS: i64 = 5 * 60_000;

/// Skew of the wall clock above which it is reported, in milliseconds.
const SKEW_REPORT_MS: i64 = 60_000;
/// Skew up to which a reported clock counts as right again, in milliseconds. It is lower than
/// [`SKEW_REPORT_MS`], so that a clock near that limit is not reported over and over.
const SKEW_RESOLVED_MS: i64 = 30_000;

/// Number of recent ids that are remembered, and how many of them must agree.
const SAMPLES: usize = 15;
const QUORUM: usize = 10;

/// The present time.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// By Discord's clock.
    pub discord: Timestamp,
    /// By the machine's clock.
    pub machine: Timestamp,
}

/// An estimate of Discord's time. A monotonic clock measures the time between observations; its
/// readings are passed as the time since any fixed moment.
#[derive(Clone, Debug, Default)]
pub struct TimeEstimate {
    /// The time in Discord's latest response minus the monotonic clock, in milliseconds.
    told: Option<i64>,
    /// The times of recent ids minus the monotonic clock, the newest last.
    recent: VecDeque<i64>,
}

impl TimeEstimate {
    /// Records that a response of Discord gave `time` as the current time.
    pub fn tell(&mut self, time: Timestamp, steady: Duration) {
        self.told = Some(time.millis() - millis(steady));
    }

    /// Records that an id arrived which was created at `time`.
    pub fn hear(&mut self, time: Timestamp, steady: Duration) {
        if self.recent.len() == SAMPLES {
            self.recent.pop_front();
        }
        self.recent.push_back(time.millis() - millis(steady));
    }

    /// The estimated current time; `None` before any observation.
    ///
    /// The latest response decides. Every genuine id was created before it arrived, so it is a
    /// lower bound. A few ids may be forged. The estimate therefore moves past the response, or
    /// does without one, only if ten of the last fifteen ids say so.
    pub fn now(&self, steady: Duration) -> Option<Timestamp> {
        let offset = self.told.max(self.agreed())?;
        Timestamp::from_millis(offset.saturating_add(millis(steady)))
    }

    /// The latest offset that at least [`QUORUM`] of the recent ids have reached.
    fn agreed(&self) -> Option<i64> {
        let mut sorted: Vec<i64> = self.recent.iter().copied().collect();
        sorted.sort_unstable_by_key(|offset| std::cmp::Reverse(*offset));
        sorted.get(QUORUM - 1).copied()
    }
}

/// The highest id that is accepted when Discord's time is `now`.
pub fn newest_believed(now: Timestamp) -> MessageId {
    const FIRST: MessageId = MessageId::new(1).expect("one is an id");
    const LAST: MessageId = MessageId::new(i64::MAX as u64).expect("it is an id");
    let latest = now.millis().saturating_add(TOLERANCE_MS).max(1);
    let id = Timestamp::from_millis(latest).and_then(MessageId::first_at);
    // No id exists for a time before 2015, and none that fits for a time after `LAST`.
    id.unwrap_or(if latest > LAST.sent_at().millis() {
        LAST
    } else {
        FIRST
    })
}

/// A report on the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkewNews {
    /// It is wrong by this many milliseconds; positive if it is ahead.
    Off(i64),
    /// It is right again after it was reported as wrong.
    Right,
}

/// What to report about a wall clock that is `skew_ms` ahead of Discord's time. `told_ms` is the
/// skew that was reported last. A skew is reported once, and again when it changes.
pub fn skew_news(told_ms: Option<i64>, skew_ms: i64) -> Option<SkewNews> {
    let off = skew_ms.saturating_abs();
    match told_ms {
        None => (off > SKEW_REPORT_MS).then_some(SkewNews::Off(skew_ms)),
        Some(_) if off <= SKEW_RESOLVED_MS => Some(SkewNews::Right),
        Some(told) => {
            let changed = skew_ms.saturating_sub(told).saturating_abs() > SKEW_REPORT_MS;
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
    /// The creation time of the highest id that fits.
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
        // The machine slept, and its monotonic clock stopped meanwhile.
        estimate.tell(at(NOW + YEAR), s(66));
        assert_eq!(estimate.now(s(67)), Some(at(NOW + YEAR + 1_000)));
    }

    #[test]
    fn it_takes_two_thirds_of_the_recent_ids_to_move_it() {
        // Forged ids in a row, and among ordinary ones.
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
        /// Up to nine forged ids among the last fifteen do not move the estimate.
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

        /// Genuine ids are created before they arrive, so they never move it.
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
