//! Two things measured in turn: medians of both, and of their ratio.

use std::time::{Duration, Instant};

/// A figure of ours, the reference, and how they compare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The median of ours.
    pub ours: f64,
    /// The median of the reference.
    pub reference: f64,
    /// The median of the rounds' own ratios.
    pub ratio: f64,
    /// The greatest of them.
    pub best_ratio: f64,
}

impl Pair {
    /// From rounds of `(ours, reference)`, at least one.
    pub fn of(rounds: &[(f64, f64)]) -> Self {
        let ratios = rounds
            .iter()
            .map(|(ours, reference)| ratio(*ours, *reference));
        Self {
            ours: median(rounds.iter().map(|round| round.0)),
            reference: median(rounds.iter().map(|round| round.1)),
            ratio: median(ratios.clone()),
            best_ratio: ratios.fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// As much as nothing is as much.
fn ratio(ours: f64, reference: f64) -> f64 {
    if ours.total_cmp(&reference).is_eq() {
        1.0
    } else {
        ours / reference
    }
}

/// Nanoseconds per call of both, each called `calls` times a round with the number of
/// the call.
pub fn ns_per_call(
    rounds: usize,
    calls: usize,
    mut ours: impl FnMut(usize),
    mut reference: impl FnMut(usize),
) -> Pair {
    // The first round fills the processor's caches and is not counted.
    let rounds: Vec<_> = (0..=rounds)
        .map(|_| (ns(calls, &mut ours), ns(calls, &mut reference)))
        .skip(1)
        .collect();
    Pair::of(&rounds)
}

/// Things a second.
pub fn rate(things: usize, took: Duration) -> f64 {
    float(things) / took.as_secs_f64()
}

/// A count as a figure.
pub fn float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

fn ns(calls: usize, call: &mut impl FnMut(usize)) -> f64 {
    let started = Instant::now();
    for number in 0..calls {
        call(number);
    }
    started.elapsed().as_secs_f64() * 1e9 / float(calls)
}

/// The middle one, or between the two in the middle.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_round_changes_little() {
        let pair = Pair::of(&[(1.0, 2.0), (90.0, 4.0), (2.0, 4.0)]);
        assert_eq!(
            pair,
            Pair {
                ours: 2.0,
                reference: 4.0,
                ratio: 0.5,
                best_ratio: 22.5,
            }
        );
        let even = Pair::of(&[(1.0, 1.0), (3.0, 1.0)]);
        assert!((even.ours - 2.0).abs() < f64::EPSILON);
    }
}
