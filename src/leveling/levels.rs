//! Points, levels, and the curve between them.
//!
//! The levels of a guild are data. Points decide: a level is always computed
//! from them and never stored beside them.

use std::fmt;

use super::RoleId;
use super::naming::{GuildRole, trim_role_name};

/// A user's XP in all. Never above `i64::MAX`, which is what Postgres holds.
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

    /// The bare number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sum, held at `i64::MAX`.
    #[must_use]
    pub fn plus(self, amount: u64) -> Self {
        Self(self.0.saturating_add(amount).min(i64::MAX as u64))
    }

    /// So many more or fewer, held at 0 and at `i64::MAX`.
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

/// Which level: 0 for everyone who ever earned XP, 100 at the top of MEE6's curve.
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
    /// Counted from 0 without gaps.
    pub number: LevelNumber,
    /// Points from which on a user has this level.
    pub total_points_required: Points,
    /// Points from here to the next level.
    pub points_to_next_level: Points,
    /// The guild's role for this level, once it is known.
    pub role_id: Option<RoleId>,
    /// The name of that role, for the levels that have one.
    pub role_name: Option<String>,
}

impl Level {
    /// The role that it carries, if that is still in the guild.
    pub fn role_in<'a>(&self, roles: &'a [GuildRole]) -> Option<&'a GuildRole> {
        let id = self.role_id?;
        roles.iter().find(|role| role.id == id)
    }

    /// The name as Discord stores it; `None` if nothing is left of it then.
    pub fn stored_name(&self) -> Option<&str> {
        let name = trim_role_name(self.role_name.as_deref()?);
        Some(name).filter(|name| !name.is_empty())
    }
}

/// All levels of the guild, lowest first. Whoever holds one holds at least level
/// 0 at 0 points, no gaps, and totals that only rise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels(Vec<Level>);

/// How far a user is: the numbers of the stat card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The highest level whose total is reached.
    pub level: LevelNumber,
    /// Points since that level began.
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
    /// A number is skipped, or the first is not 0.
    #[error("level {0} is missing")]
    Missing(LevelNumber),
    /// A number stands there twice.
    #[error("level {0} is there twice")]
    Twice(LevelNumber),
    /// Level 0 does not begin at 0 points.
    #[error("level 0 must require 0 points, not {0}")]
    FirstNotFree(Points),
    /// A level does not require more than the one below it.
    #[error("level {0} must require more points than the level below it")]
    NotRising(LevelNumber),
}

impl LevelsError {
    /// Which level it is about; for [`Self::Missing`] none is there.
    pub fn about(&self) -> LevelNumber {
        match *self {
            Self::Empty | Self::FirstNotFree(_) => LevelNumber(0),
            Self::Missing(number) | Self::Twice(number) | Self::NotRising(number) => number,
        }
    }

    /// The field that is wrong, as Django's dump names it.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Empty | Self::Missing(_) | Self::Twice(_) => "number",
            Self::FirstNotFree(_) | Self::NotRising(_) => "total_points_required",
        }
    }
}

impl Levels {
    /// Checks and orders the rows.
    pub fn new(mut rows: Vec<Level>) -> Result<Self, LevelsError> {
        rows.sort_by_key(|level| level.number);
        let first = rows.first().ok_or(LevelsError::Empty)?;
        for (expected, level) in (0..).zip(&rows) {
            let expected = LevelNumber(expected);
            if level.number < expected {
                return Err(LevelsError::Twice(level.number));
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

    /// The level that carries this role.
    pub fn carrying(&self, role: RoleId) -> Option<&Level> {
        self.0.iter().find(|level| level.role_id == Some(role))
    }

    /// The highest level whose total is reached.
    pub fn level_at(&self, points: Points) -> LevelNumber {
        self.0[self.index_at(points)].number
    }

    /// The level and the way to the next one.
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

/// Points from level `number` to the next: `5L² + 50L + 100`, MEE6's published curve.
pub const fn mee6_points_to_next(number: u16) -> u64 {
    let level = number as u64;
    5 * level * level + 50 * level + 100
}

/// Points from nothing to level `number`: the sum of the steps below it.
pub const fn mee6_total(number: u16) -> u64 {
    let level = number as u64;
    5 * level * (2 * level * level + 27 * level + 91) / 6
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mee6() -> Levels {
        Levels::new((0..=100).map(row).collect()).unwrap()
    }

    fn row(number: u16) -> Level {
        Level {
            number: LevelNumber(number),
            total_points_required: Points(mee6_total(number)),
            points_to_next_level: Points(mee6_points_to_next(number)),
            role_id: None,
            role_name: None,
        }
    }

    #[test]
    fn the_curve_is_mee6s() {
        let published = [
            (0, 0),
            (1, 100),
            (2, 255),
            (3, 475),
            (10, 4_675),
            (50, 268_375),
            (100, 1_899_250),
        ];
        for (level, total) in published {
            assert_eq!(mee6_total(level), total, "level {level}");
        }
        for level in 0..100 {
            assert_eq!(
                mee6_total(level) + mee6_points_to_next(level),
                mee6_total(level + 1)
            );
        }
    }

    #[test]
    fn a_level_begins_exactly_at_its_total() {
        let levels = mee6();
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
            let mut rows: Vec<_> = (0..=5).map(row).collect();
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
            broken(|rows| rows.push(row(2))),
            LevelsError::Twice(LevelNumber(2))
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
            let levels = mee6();
            let (low, high) = (Points(a.min(b)), Points(a.max(b)));
            prop_assert!(levels.level_at(low) <= levels.level_at(high));
        }

        #[test]
        fn the_way_walked_and_the_way_left_make_the_step(points in 0_u64..1_899_250) {
            let progress = mee6().progress(Points(points));
            prop_assert!(progress.into_level < progress.needed.unwrap());
            prop_assert_eq!(mee6_total(progress.level.0) + progress.into_level.get(), points);
        }
    }
}
