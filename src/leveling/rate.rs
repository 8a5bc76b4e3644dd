//! The rate at which a message earns XP: the product of the guild's percentages. Pure.

use std::fmt;

/// A multiplier in percent, 1 to 1,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u16);

impl Percent {
    /// The smallest multiplier.
    pub const MIN: u16 = 1;
    /// The largest multiplier.
    pub const MAX: u16 = 1_000;
    /// What applies where there is no multiplier.
    pub const USUAL: Self = Self(100);

    /// `None` outside 1 to 1,000.
    pub fn new(percent: u16) -> Option<Self> {
        (Self::MIN..=Self::MAX)
            .contains(&percent)
            .then_some(Self(percent))
    }

    /// The number, such as 150.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// The product of the multipliers that apply to one message, in millionths: at most 1,000 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u32);

impl Rate {
    /// 100 %: what applies without rules.
    pub const USUAL: Self = Self(MILLION);
    const MAX: u32 = 10 * MILLION;

    /// The product of the guild's, the channel's and the role's multiplier, at most 1,000 %.
    pub fn product(guild: Percent, channel: Percent, role: Percent) -> Self {
        let product = [guild, channel, role]
            .iter()
            .map(|percent| u32::from(percent.0))
            .product::<u32>();
        Self(product.min(Self::MAX))
    }

    /// `None` for zero and above 1,000 %.
    pub fn from_millionths(millionths: u64) -> Option<Self> {
        let millionths = u32::try_from(millionths).ok()?;
        (1..=Self::MAX)
            .contains(&millionths)
            .then_some(Self(millionths))
    }

    /// 1,000,000 for 100 %.
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// The amount multiplied by this rate, rounded half up, but at least 1.
    pub fn of(self, amount: u64) -> u64 {
        let millionths = u128::from(amount) * u128::from(self.0);
        let rounded = (millionths + u128::from(MILLION) / 2) / u128::from(MILLION);
        u64::try_from(rounded).unwrap_or(u64::MAX).max(1)
    }
}

const MILLION: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn percent(number: u16) -> Percent {
        Percent::new(number).unwrap()
    }

    #[test]
    fn an_amount_is_rounded_once_and_never_to_nothing() {
        for (guild, channel, role, base, expected) in [
            (100, 100, 100, 15, 15),
            (200, 100, 100, 15, 30),
            (50, 100, 100, 15, 8),
            (50, 50, 100, 15, 4),
            // 15 × 0.5 × 1.5 is 11.25. Rounding after each factor would give 12.
            (50, 150, 100, 15, 11),
            (1, 1, 1, 25, 1),
            (1, 100, 100, 15, 1),
            (1_000, 100, 100, 25, 250),
            (1_000, 1_000, 1_000, 25, 250),
            (1_000, 10, 100, 17, 17),
            (110, 100, 100, 15, 17),
            (103, 100, 100, 15, 15),
        ] {
            let rate = Rate::product(percent(guild), percent(channel), percent(role));
            assert_eq!(
                rate.of(base),
                expected,
                "{guild} {channel} {role} of {base}"
            );
        }
    }

    #[test]
    fn percentages_out_of_range_are_refused() {
        for (number, is_allowed) in [(0, false), (1, true), (1_000, true), (1_001, false)] {
            assert_eq!(Percent::new(number).is_some(), is_allowed, "{number}");
        }
        for (number, is_allowed) in [
            (0, false),
            (1, true),
            (10_000_000, true),
            (10_000_001, false),
        ] {
            assert_eq!(
                Rate::from_millionths(number).is_some(),
                is_allowed,
                "{number}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_higher_percentage_never_earns_less(
            guild in 1_u16..=1_000, channel in 1_u16..=1_000, role in 1_u16..1_000, base in 15_u64..=25,
        ) {
            let of = |role| Rate::product(percent(guild), percent(channel), percent(role));
            let (lower, higher) = (of(role), of(role + 1));
            prop_assert!(lower.of(base) <= higher.of(base));
            prop_assert!((1..=10 * base).contains(&higher.of(base)));
            prop_assert_eq!(Rate::from_millionths(lower.millionths().into()), Some(lower));
        }
    }
}
