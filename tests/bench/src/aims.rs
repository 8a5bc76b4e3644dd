//! What the project has set itself, in one place: by these figures `bench` ends well or not.
//!
//! Measures nothing.

use std::fmt;

use crate::measure::Pair;
use crate::table::Unit;

/// Messages of users whom the bot knows, under the names that it has.
pub const LOAD_KNOWN: Aim = LOAD;
/// Messages of users whom the bot knows, of whom each shows another name.
pub const LOAD_RENAMED: Aim = LOAD;
/// Messages of users whom the bot does not know.
pub const LOAD_NEW: Aim = LOAD;
/// The same, beside a client that counts with serenity, whose gateway the bot had before.
pub const LOAD_KNOWN_BESIDE_SERENITY: Aim = Aim {
    bound: Bound::AtLeast(0.4),
    floor: Some(Bound::AtLeast(0.3)),
    ..LOAD
};
/// From another bot's end to a session of our own.
pub const TAKEOVER: Aim = Aim {
    figure: Figure::Ours(Unit::Seconds),
    bound: Bound::AtMost(5.0),
    floor: None,
};
/// What the cache and the board keep of each user.
pub const BYTES_A_USER: Aim = Aim {
    figure: Figure::Ours(Unit::Bytes),
    bound: Bound::AtMost(200.0),
    floor: None,
};

/// The engine's commits in a guild with many rules, beside the same without rules.
pub const COMMITS_WITH_RULES: Aim = Aim {
    figure: Figure::BestRatio,
    bound: Bound::AtLeast(0.95),
    floor: Some(Bound::AtLeast(0.8)),
};

/// Of the rate of a client that only counts, with the same gateway. Optimised, such a client takes
/// some 2.5 µs of the processors for a message; the bot and Postgres together take 17 to 30, since
/// each message is saved. In a build for the tests the ratio is 0.5. The floor is where a defect
/// is certain: a scan of all users for each message costs more than nine tenths of the rate.
const LOAD: Aim = Aim {
    figure: Figure::BestRatio,
    bound: Bound::AtLeast(0.12),
    floor: Some(Bound::AtLeast(0.1)),
};

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Aim {
    figure: Figure,
    bound: Bound,
    /// What even a slow and busy machine keeps.
    floor: Option<Bound>,
}

/// By what an aim is judged.
#[derive(Clone, Copy, Debug)]
enum Figure {
    /// The best ratio of all rounds, each of which measures both: whatever else the machine
    /// does makes a round worse and never better.
    BestRatio,
    /// The median of ours, in this unit.
    Ours(Unit),
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// How strictly aims are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// By the aims.
    Aims,
    /// By their floors, where they have any: for machines that others use as well.
    Floors,
}

impl Aim {
    /// What is missing, if anything is.
    pub fn missed(self, pair: &Pair, judge: Judge) -> Option<String> {
        let bound = match judge {
            Judge::Aims => self.bound,
            Judge::Floors => self.floor?,
        };
        let value = match self.figure {
            Figure::BestRatio => pair.best_ratio,
            Figure::Ours(_) => pair.ours,
        };
        let met = match bound {
            Bound::AtLeast(least) => value >= least,
            Bound::AtMost(most) => value <= most,
        };
        (!met).then(|| format!("{}, not {}", self.figure.format(value), self.says(bound)))
    }

    fn says(self, bound: Bound) -> String {
        match bound {
            Bound::AtLeast(least) => format!("≥ {}", self.figure.format(least)),
            Bound::AtMost(most) => format!("≤ {}", self.figure.format(most)),
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.says(self.bound))
    }
}

impl Figure {
    fn format(self, value: f64) -> String {
        match self {
            Self::BestRatio => format!("{value:.2}"),
            Self::Ours(unit) => unit.format(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(best_ratio: f64) -> Pair {
        Pair {
            ours: 1.0,
            reference: 1.0,
            ratio: 0.01,
            best_ratio,
        }
    }

    #[test]
    fn an_aim_that_is_missed_says_by_how_much() {
        assert_eq!(LOAD_KNOWN.to_string(), "≥ 0.12");
        assert_eq!(LOAD_KNOWN.missed(&load(0.12), Judge::Aims), None);
        let missed = LOAD_KNOWN.missed(&load(0.11), Judge::Aims);
        assert_eq!(missed.as_deref(), Some("0.11, not ≥ 0.12"));
        let slow = Pair {
            ours: 5.5,
            ..load(1.0)
        };
        let missed = TAKEOVER.missed(&slow, Judge::Aims);
        assert_eq!(missed.as_deref(), Some("5.50 s, not ≤ 5.00 s"));
    }

    #[test]
    fn only_a_defect_falls_below_a_floor() {
        assert_eq!(LOAD_KNOWN.missed(&load(0.15), Judge::Floors), None);
        let missed = LOAD_KNOWN.missed(&load(0.04), Judge::Floors);
        assert_eq!(missed.as_deref(), Some("0.04, not ≥ 0.10"));
        let slow = Pair {
            ours: 99.0,
            ..load(1.0)
        };
        assert_eq!(TAKEOVER.missed(&slow, Judge::Floors), None);
    }
}
