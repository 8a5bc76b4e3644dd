//! Points, and the table of a guild's levels.
//!
//! Points decide: a user's level is always computed from them, and never stored.

use std::fmt;

use super::RoleId;
use super::naming::{GuildRole, trim_role_name};

/// A user's total XP. Never above `i64::MAX`, the most that Postgres can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Points(u64);

impl Points {
    /// `None` above `i64::MAX`.
    pub const fn new(points: u64) -> Option<Self> {
        if points > i64::MAX as u64 {
            None
        } else {
            Some(Self(points))
        }
    }

    /// As a bare number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sum, at most `i64::MAX`.
    #[must_use]
    pub fn plus(self, amount: u64) -> Self {
        Self(self.0.saturating_add(amount).min(i64::MAX as u64))
    }

    /// `amount` more, or fewer where it is negative; never below 0 or above `i64::MAX`.
    #[must_use]
    pub fn changed_by(self, amount: i64) -> Self {
        Self(self.0.saturating_add_signed(amount).min(i64::MAX as u64))
    }
}

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A level's number, from 0. Everyone who has earned XP has at least level 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LevelNumber(pub u16);

impl fmt::Display for LevelNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One row of the levels table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// From 0, without gaps.
    pub number: LevelNumber,
    /// A user with this many points or more has reached this level.
    pub total_points_required: Points,
    /// Points from here to the next level.
    pub points_to_next_level: Points,
    /// The guild's role for this level; `None` until it has been created or matched by name.
    pub role_id: Option<RoleId>,
    /// The name of that role. `None`: this level has no role.
    pub role_name: Option<String>,
}

impl Level {
    /// This level's role, if it is one of `roles`.
    pub fn role_in<'a>(&self, roles: &'a [GuildRole]) -> Option<&'a GuildRole> {
        let id = self.role_id?;
        roles.iter().find(|role| role.id == id)
    }

    /// The name as Discord stores it; `None` if that is empty.
    pub fn stored_name(&self) -> Option<&str> {
        let name = trim_role_name(self.role_name.as_deref()?);
        Some(name).filter(|name| !name.is_empty())
    }
}

/// All levels of the guild, lowest first: level 0 at 0 points, no gaps, and totals that rise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels(Vec<Level>);

/// A user's level and the way to the next one, as the stat card shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The highest level that the points reach.
    pub level: LevelNumber,
    /// Points beyond that level's total.
    pub into_level: Points,
    /// Points from this level to the next; `None` at the top.
    pub needed: Option<Points>,
}

/// Why a set of rows is not a levels table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelsError {
    /// No rows at all.
    #[error("there are no levels")]
    Empty,
    /// No row has this number, although a higher one is there.
    #[error("level {0} is missing")]
    Missing(LevelNumber),
    /// Two rows have this number.
    #[error("level {0} appears twice")]
    Duplicate(LevelNumber),
    /// Level 0 requires more than 0 points.
    #[error("level 0 must require 0 points, not {0}")]
    FirstNotFree(Points),
    /// A level does not require more than the one below it.
    #[error("level {0} must require more points than the level below it")]
    NotRising(LevelNumber),
}

impl LevelsError {
    /// The level to blame. For [`Self::Missing`] the table has no such row.
    pub fn about(&self) -> LevelNumber {
        match *self {
            Self::Empty | Self::FirstNotFree(_) => LevelNumber(0),
            Self::Missing(number) | Self::Duplicate(number) | Self::NotRising(number) => number,
        }
    }

    /// The wrong field, by its name in a Django dump.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Empty | Self::Missing(_) | Self::Duplicate(_) => "number",
            Self::FirstNotFree(_) | Self::NotRising(_) => "total_points_required",
        }
    }
}

impl Levels {
    /// Sorts the rows and checks them.
    pub fn new(mut rows: Vec<Level>) -> Result<Self, LevelsError> {
        rows.sort_by_key(|level| level.number);
        let first = rows.first().ok_or(LevelsError::Empty)?;
        for (expected, level) in (0..).zip(&rows) {
            let expected = LevelNumber(expected);
            if level.number < expected {
                return Err(LevelsError::Duplicate(level.number));
            }
            if level.number > expected {
                return Err(LevelsError::Missing(expected));
            }
        }
        if first.total_points_required != Points::default() {
            return Err(LevelsError::FirstNotFree(first.total_points_required));
        }
        for pair in rows.windows(2) {
            if pair[1].total_points_required <= pair[0].total_points_required {
                return Err(LevelsError::NotRising(pair[1].number));
            }
        }
        Ok(Self(rows))
    }

    /// The rows, lowest first.
    pub fn rows(&self) -> &[Level] {
        &self.0
    }

    /// The level of this number.
    pub fn find(&self, number: u64) -> Option<&Level> {
        // Numbers count from 0 without gaps.
        self.0.get(usize::try_from(number).ok()?)
    }

    /// The level whose role this is.
    pub fn carrying(&self, role: RoleId) -> Option<&Level> {
        self.0.iter().find(|level| level.role_id == Some(role))
    }

    /// The level of a user with this many points.
    pub fn level_at(&self, points: Points) -> LevelNumber {
        self.0[self.index_at(points)].number
    }

    /// The level of a user with this many points, and the way to the next one.
    pub fn progress(&self, points: Points) -> Progress {
        let index = self.index_at(points);
        let start = self.0[index].total_points_required.get();
        Progress {
            level: self.0[index].number,
            into_level: Points(points.get() - start),
            needed: self
                .0
                .get(index + 1)
                .map(|next| Points(next.total_points_required.get() - start)),
        }
    }

    fn index_at(&self, points: Points) -> usize {
        // Level 0 requires 0 points, so that at least one row always qualifies.
        self.0
            .partition_point(|level| level.total_points_required <= points)
            - 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::leveling::mee6_total;

    #[test]
    fn a_level_begins_exactly_at_its_total() {
        let levels = Levels::mee6();
        for (points, level, into, needed) in [
            (0, 0, 0, Some(100)),
            (99, 0, 99, Some(100)),
            (100, 1, 0, Some(155)),
            (254, 1, 154, Some(155)),
            (255, 2, 0, Some(220)),
            (1_899_249, 99, 54_054, Some(54_055)),
            (1_899_250, 100, 0, None),
            (2_000_000, 100, 100_750, None),
        ] {
            let expected = Progress {
                level: LevelNumber(level),
                into_level: Points(into),
                needed: needed.map(Points),
            };
            assert_eq!(levels.progress(Points(points)), expected, "{points} points");
        }
    }

    #[test]
    fn rows_that_are_no_levels_table_are_refused() {
        let broken = |edit: fn(&mut Vec<Level>)| {
            let mut rows = Levels::mee6().rows()[..=5].to_vec();
            edit(&mut rows);
            Levels::new(rows).unwrap_err()
        };
        assert_eq!(broken(Vec::clear), LevelsError::Empty);
        assert_eq!(
            broken(|rows| drop(rows.remove(3))),
            LevelsError::Missing(LevelNumber(3))
        );
        assert_eq!(
            broken(|rows| drop(rows.remove(0))),
            LevelsError::Missing(LevelNumber(0))
        );
        assert_eq!(
            broken(|rows| rows.push(rows[2].clone())),
            LevelsError::Duplicate(LevelNumber(2))
        );
        assert_eq!(
            broken(|rows| rows[0].total_points_required = Points(1)),
            LevelsError::FirstNotFree(Points(1))
        );
        assert_eq!(
            broken(|rows| rows[4].total_points_required = rows[3].total_points_required),
            LevelsError::NotRising(LevelNumber(4))
        );
    }

    proptest! {
        #[test]
        fn more_points_never_mean_a_lower_level(a in 0_u64..3_000_000, b in 0_u64..3_000_000) {
            let levels = Levels::mee6();
            let (low, high) = (Points(a.min(b)), Points(a.max(b)));
            prop_assert!(levels.level_at(low) <= levels.level_at(high));
        }

        #[test]
        fn the_way_walked_and_the_way_left_make_the_step(points in 0_u64..1_899_250) {
            let progress = Levels::mee6().progress(Points(points));
            prop_assert!(progress.into_level < progress.needed.unwrap());
            prop_assert_eq!(mee6_total(progress.level.0) + progress.into_level.get(), points);
        }
    }
}
