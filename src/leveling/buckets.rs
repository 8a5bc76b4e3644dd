//! Buckets: the hour within a two-week round in which a user's profile is refreshed.
//!
//! Only computes the schedule; sends no requests.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use chrono::{DateTime, TimeDelta, Utc};

/// Number of buckets: one for each hour of two weeks.
pub const BUCKETS: u16 = 336;

/// Duration of one bucket.
pub const BUCKET_DURATION: TimeDelta = TimeDelta::hours(1);
/// Maximum interval between two look-ups in a bucket that is past its hour.
const MAX_LATE_INTERVAL: TimeDelta = TimeDelta::seconds(5);

/// The number of a bucket, 1 to [`BUCKETS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BucketNumber(u16);

impl BucketNumber {
    /// The first bucket.
    pub const FIRST: Self = Self(1);

    /// `None` unless `number` is 1 to [`BUCKETS`].
    pub fn new(number: u16) -> Option<Self> {
        (1..=BUCKETS).contains(&number).then_some(Self(number))
    }

    /// The number, for the database.
    pub fn get(self) -> u16 {
        self.0
    }

    /// The bucket of the next hour. The first follows the last.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 % BUCKETS + 1)
    }
}

/// Assigns a bucket to each of `users` new users: each goes to the bucket that has the fewest users
/// at that point, the lowest number if several do. `filled` holds the number of users in each
/// bucket; a bucket that it does not name is empty.
pub fn assign(filled: &[(BucketNumber, u64)], users: usize) -> Vec<BucketNumber> {
    let mut counts = [0; BUCKETS as usize];
    for (bucket, count) in filled {
        counts[usize::from(bucket.0) - 1] = *count;
    }
    let mut emptiest: BinaryHeap<Reverse<(u64, BucketNumber)>> = (1..)
        .zip(counts)
        .map(|(number, count)| Reverse((count, BucketNumber(number))))
        .collect();
    let mut fill = || {
        let Reverse((count, bucket)) = emptiest.pop()?;
        emptiest.push(Reverse((count + 1, bucket)));
        Some(bucket)
    };
    (0..users).map_while(|_| fill()).collect()
}

/// When to look up the next of the `left` remaining users of a bucket. `began` is when the bucket
/// began; `last` is when its latest user was looked up, or `began` if none was. The look-ups are
/// spread evenly over the rest of the hour. After the hour they follow at a short fixed interval.
pub fn next_look(began: DateTime<Utc>, last: DateTime<Utc>, left: u32) -> DateTime<Utc> {
    let left = i32::try_from(left.max(1)).unwrap_or(i32::MAX);
    let remaining = began + BUCKET_DURATION - last;
    let late = MAX_LATE_INTERVAL.min(BUCKET_DURATION / left / 2);
    last + (remaining / left).max(late)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted(buckets: &[BucketNumber]) -> Vec<(BucketNumber, u64)> {
        let mut counts = std::collections::BTreeMap::new();
        for bucket in buckets {
            *counts.entry(*bucket).or_insert(0) += 1;
        }
        counts.into_iter().collect()
    }

    #[test]
    fn there_is_an_hour_for_each_of_two_weeks() {
        assert_eq!(BucketNumber::new(0), None);
        assert_eq!(BucketNumber::new(337), None);
        let mut bucket = BucketNumber::FIRST;
        for number in 1..=BUCKETS {
            assert_eq!(bucket.get(), number);
            bucket = bucket.next();
        }
        assert_eq!(bucket, BucketNumber::FIRST);
    }

    #[test]
    fn the_least_filled_and_of_these_the_lowest() {
        let bucket = |number| BucketNumber::new(number).unwrap();
        assert_eq!(
            assign(&[(bucket(1), 2), (bucket(2), 1)], 2),
            [bucket(3), bucket(4)]
        );
        let filled: Vec<_> = (1..=BUCKETS)
            .map(|number| (bucket(number), u64::from(number == 7)))
            .collect();
        let assigned = assign(&filled, 336);
        assert_eq!(assigned[..2], [bucket(1), bucket(2)]);
        assert_eq!(
            assigned[335],
            bucket(1),
            "the seventh was full, and the others are by now"
        );
    }

    #[test]
    fn seven_thousand_are_spread_evenly() {
        let counts = counted(&assign(&[], 7_000));
        let sizes = counts.iter().map(|(_, count)| *count);
        assert_eq!(
            (sizes.clone().min(), sizes.max(), counts.len()),
            (Some(20), Some(21), 336)
        );
    }

    #[test]
    fn a_bucket_is_worked_through_evenly_over_its_hour() {
        let began = DateTime::UNIX_EPOCH;
        let (mut last, mut looks) = (began, Vec::new());
        for left in (1..=20).rev() {
            last = next_look(began, last, left);
            looks.push((last - began).num_seconds());
        }
        let even: Vec<i64> = (1..=20).map(|nth| nth * 180).collect();
        assert_eq!(looks, even);
        // Resumed after a day: the look-ups follow at a short interval, not all at once.
        let late = began + TimeDelta::days(1);
        assert_eq!(next_look(began, late, 20), late + TimeDelta::seconds(5));
        let many = next_look(began, late, 3_600);
        assert_eq!(many, late + TimeDelta::milliseconds(500));
    }

    proptest! {
        #[test]
        fn any_order_of_arrivals_stays_balanced(arrivals in proptest::collection::vec(1_usize..400, 1..12)) {
            let mut all = Vec::new();
            for users in arrivals {
                let assigned = assign(&counted(&all), users);
                prop_assert_eq!(assigned.len(), users);
                all.extend(assigned);
            }
            let counts = counted(&all);
            let most = counts.iter().map(|(_, count)| *count).max().unwrap();
            let least = if counts.len() < usize::from(BUCKETS) {
                0
            } else {
                counts.iter().map(|(_, count)| *count).min().unwrap()
            };
            prop_assert!(most - least <= 1, "{} {}", most, least);
        }

        #[test]
        fn the_next_look_is_never_in_the_past_and_never_past_the_hour(
            after in 0_i64..7_200_000, left in 0_u32..100_000
        ) {
            let began = DateTime::UNIX_EPOCH;
            let last = began + TimeDelta::milliseconds(after);
            let next = next_look(began, last, left);
            prop_assert!(next >= last);
            prop_assert!(next <= (began + BUCKET_DURATION).max(last + MAX_LATE_INTERVAL));
        }
    }
}
