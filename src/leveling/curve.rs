//! MEE6's curve: how many points each level needs. Also the level names of the original guild.
//!
//! A new database gets its levels from this file. After that its table `level` is authoritative,
//! so a changed formula does not affect a database that is in use.

use super::levels::{Level, LevelNumber, Levels, Points};

/// The highest level in a new database.
pub const TOP_LEVEL: LevelNumber = LevelNumber(100);

/// The level names that `WALLE_LEVEL_NAMES=computing` selects.
pub const COMPUTING_NAMES: [(LevelNumber, &str); 20] = [
    (LevelNumber(0), "Hello World"),
    (LevelNumber(5), "Missing Semicolon"),
    (LevelNumber(10), "Manual Tester"),
    (LevelNumber(15), "Javascript Programmer"),
    (LevelNumber(20), "Syntax Error"),
    (LevelNumber(25), "Git Gud"),
    (LevelNumber(30), "Full Stack Developer"),
    (LevelNumber(35), "Assembly Programmer"),
    (LevelNumber(40), "Segmentation Fault"),
    (LevelNumber(45), "Vim User"),
    (LevelNumber(50), "Kernel"),
    (LevelNumber(55), "Stallman Follower"),
    (LevelNumber(60), "Forkbomb"),
    (LevelNumber(65), "Human Compiler"),
    (LevelNumber(70), "Gentoo Installer"),
    (LevelNumber(75), "HolyC"),
    (LevelNumber(80), "CD level80"),
    (LevelNumber(85), "THE 85"),
    (LevelNumber(90), "THE 90"),
    (LevelNumber(95), "THE 95"),
];

/// Points from level `number` to the next: `5L² + 50L + 100`.
pub const fn mee6_points_to_next(number: u16) -> u64 {
    let level = number as u64;
    5 * level * level + 50 * level + 100
}

/// Total points that level `number` needs: the sum of all steps below it.
pub const fn mee6_total(number: u16) -> u64 {
    let level = number as u64;
    5 * level * (2 * level * level + 27 * level + 91) / 6
}

impl Levels {
    /// All levels of the curve, without roles and names.
    pub fn mee6() -> Self {
        Self::mee6_up_to(TOP_LEVEL)
    }

    /// All levels of the curve with the names of [`COMPUTING_NAMES`], without roles.
    pub fn mee6_computing() -> Self {
        let mut rows = Self::mee6().rows().to_vec();
        for (level, name) in COMPUTING_NAMES {
            rows[usize::from(level.0)].role_name = Some(name.to_owned());
        }
        Self::new(rows).expect("names change no numbers")
    }

    fn mee6_up_to(top: LevelNumber) -> Self {
        let points = |points| Points::default().plus(points);
        let rows = (0..=top.0).map(|number| Level {
            number: LevelNumber(number),
            total_points_required: points(mee6_total(number)),
            points_to_next_level: points(mee6_points_to_next(number)),
            role_id: None,
            role_name: None,
        });
        Self::new(rows.collect()).expect("the curve begins at 0 and rises")
    }
}

#[cfg(test)]
impl Levels {
    /// The curve from level 0 on, with one level for each item. An item is the id and the name of
    /// that level's role.
    pub(crate) fn with_roles<'a>(
        roles: impl IntoIterator<Item = (Option<u64>, Option<&'a str>)>,
    ) -> Self {
        let mut rows = Self::mee6().rows().to_vec();
        let mut count = 0;
        for (row, (id, name)) in rows.iter_mut().zip(roles) {
            row.role_id = id.and_then(super::RoleId::new);
            row.role_name = name.map(str::to_owned);
            count += 1;
        }
        rows.truncate(count);
        Self::new(rows).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(Levels::mee6().rows().len(), 101);
    }

    #[test]
    fn every_fifth_level_has_a_computing_name() {
        let levels = Levels::mee6_computing();
        let named = levels.rows().iter().filter(|row| row.role_name.is_some());
        assert!(named.map(|row| row.number.0).eq((0..100).step_by(5)));
        assert_eq!(levels.rows()[80].role_name.as_deref(), Some("CD level80"));
    }
}
