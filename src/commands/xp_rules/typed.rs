//! Parses what moderators type about rules on XP: what a rule is about, percentages and durations.
//!
//! Pure. Whether there is such a channel, role or user is looked up later.

use std::fmt;

use crate::commands::args::{is_number, without_invisible};
use crate::error::UserError;
use crate::leveling::{Grouped, Percent};

const QUOTES: [char; 6] = ['"', '“', '”', '„', '«', '»'];
/// The number of digits of an id. The shortest ones are from 2015.
const ID_DIGITS: std::ops::RangeInclusive<usize> = 17..=20;
const MAX_DAYS: u64 = 90;
const MINUTE_MS: u64 = 60_000;

/// What a rule is to be about, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TypedSubject {
    /// The word `everyone`.
    Everyone,
    /// The role @everyone.
    EveryoneRole,
    /// A mention of a channel or thread.
    Channel(u64),
    /// A mention of a role.
    Role(u64),
    /// A mention of a user.
    User(u64),
    /// An id, of whatever it is.
    Id(u64),
    /// A name.
    Name(TypedName),
}

/// A typed name of a channel or a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TypedName {
    pub name: String,
    /// Whether it began with `#`, so that it is a channel.
    pub is_channel: bool,
    /// Whether it began with `@`, so that it is a role.
    pub is_role: bool,
}

/// The arguments of `.xp_multiplier`, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TypedMultiplier<'a> {
    pub subject: &'a str,
    pub percent: &'a str,
    pub duration: Option<&'a str>,
}

/// A multiplier to set, or the end of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) enum MultiplierChange {
    Set(Percent),
    Off,
}

/// How long a rule holds: 1 minute to 90 days, in the unit in which it was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) struct RuleDuration {
    count: u64,
    unit: TimeUnit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimeUnit {
    Minutes,
    Hours,
    Days,
}

impl TypedSubject {
    /// `None` if nothing was typed.
    pub fn parse(text: &str) -> Option<Self> {
        let text = without_invisible(text);
        let text = without_invisible(text.trim_matches(QUOTES));
        let mention = text.strip_prefix('<').and_then(|rest| {
            let rest = rest.strip_suffix('>')?;
            let of = |prefix: &str| rest.strip_prefix(prefix).and_then(id);
            let user = || of("@!").or_else(|| of("@")).map(Self::User);
            let role = of("@&").map(Self::Role);
            of("#").map(Self::Channel).or(role).or_else(user)
        });
        if let Some(subject) = mention.or_else(|| id(text).map(Self::Id)) {
            return Some(subject);
        }
        if text.eq_ignore_ascii_case("everyone") {
            return Some(Self::Everyone);
        }
        if text.eq_ignore_ascii_case("@everyone") {
            return Some(Self::EveryoneRole);
        }
        let (is_channel, is_role) = (text.starts_with('#'), text.starts_with('@'));
        let name = text.strip_prefix(['#', '@']).unwrap_or(text).trim();
        (!name.is_empty()).then(|| {
            Self::Name(TypedName {
                name: name.to_owned(),
                is_channel,
                is_role,
            })
        })
    }
}

impl<'a> TypedMultiplier<'a> {
    /// Splits the text after `.xp_multiplier`; `None` if it has too few or too many parts. A
    /// percentage may be followed by a space and `%`.
    pub fn split(text: &'a str) -> Option<Self> {
        let (subject, rest) = first_argument(without_invisible(text))?;
        let mut words: Vec<&str> = rest.split_whitespace().collect();
        if words.get(1) == Some(&"%") {
            words.remove(1);
        }
        let (percent, duration) = match words[..] {
            [percent] => (percent, None),
            [percent, duration] => (percent, Some(duration)),
            _ => return None,
        };
        Some(Self {
            subject,
            percent,
            duration,
        })
    }
}

impl MultiplierChange {
    /// Whether the text is a percentage that may be set.
    pub fn is_percentage(text: &str) -> bool {
        matches!(Self::parse(text), Ok(Self::Set(_)))
    }

    pub fn parse(text: &str) -> Result<Self, UserError> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self::Off);
        }
        let digits = text.strip_suffix('%').unwrap_or(text).trim_end();
        let number = digits.parse().ok().filter(|_| is_number(digits));
        let percent = number.and_then(Percent::new);
        percent.map(Self::Set).ok_or_else(|| {
            let nothing = match number {
                Some(0) => " `no_xp` lets a channel, a role or a user earn nothing.",
                _ => "",
            };
            UserError(format!(
                "The percentage must be a whole number from {} to {}, such as `200` for twice the usual XP, or `off` to \
                 end a multiplier.{nothing}",
                Percent::MIN,
                Grouped(Percent::MAX)
            ))
        })
    }
}

impl RuleDuration {
    pub fn parse(text: &str) -> Result<Self, UserError> {
        let refused = || {
            UserError(format!(
                "Type the duration as a number with `m`, `h` or `d`, such as `90m`, `2h` or `3d`: at least 1 minute, at \
                 most {MAX_DAYS} days."
            ))
        };
        let text = text.trim().to_ascii_lowercase();
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = match &text[digits.len()..] {
            "m" => TimeUnit::Minutes,
            "h" => TimeUnit::Hours,
            "d" => TimeUnit::Days,
            _ => return Err(refused()),
        };
        let count = digits.parse().ok().filter(|_| is_number(digits));
        let duration = count.map(|count| Self { count, unit });
        let most = MAX_DAYS * TimeUnit::Days.millis();
        let is_allowed = |duration: &Self| {
            let millis = duration.count.checked_mul(duration.unit.millis());
            millis.is_some_and(|millis| (MINUTE_MS..=most).contains(&millis))
        };
        duration.filter(is_allowed).ok_or_else(refused)
    }

    pub fn millis(self) -> i64 {
        i64::try_from(self.count * self.unit.millis()).expect("90 days fit")
    }
}

impl fmt::Display for RuleDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            TimeUnit::Minutes => "minute",
            TimeUnit::Hours => "hour",
            TimeUnit::Days => "day",
        };
        let s = if self.count == 1 { "" } else { "s" };
        write!(f, "{} {unit}{s}", Grouped(self.count))
    }
}

impl TimeUnit {
    fn millis(self) -> u64 {
        match self {
            Self::Minutes => MINUTE_MS,
            Self::Hours => 60 * MINUTE_MS,
            Self::Days => 24 * 60 * MINUTE_MS,
        }
    }
}

/// The first word, or the text in quotes at the beginning, and the text after it.
fn first_argument(text: &str) -> Option<(&str, &str)> {
    let Some(quoted) = text.strip_prefix(QUOTES) else {
        return text.split_once(char::is_whitespace);
    };
    quoted.split_once(QUOTES)
}

fn id(digits: &str) -> Option<u64> {
    let is_id = ID_DIGITS.contains(&digits.len()) && is_number(digits);
    digits.parse().ok().filter(|_| is_id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: u64 = 175_928_847_299_117_063;

    #[test]
    fn what_a_rule_is_about_is_told_apart() {
        let name = |name: &str, is_channel, is_role| {
            TypedSubject::Name(TypedName {
                name: name.to_owned(),
                is_channel,
                is_role,
            })
        };
        for (typed, expected) in [
            (" <#175928847299117063> ", TypedSubject::Channel(ID)),
            ("<@&175928847299117063>", TypedSubject::Role(ID)),
            ("\u{200b}<@175928847299117063>", TypedSubject::User(ID)),
            ("<@!175928847299117063>", TypedSubject::User(ID)),
            ("175928847299117063", TypedSubject::Id(ID)),
            ("everyone", TypedSubject::Everyone),
            ("@Everyone", TypedSubject::EveryoneRole),
            ("general", name("general", false, false)),
            ("#general", name("general", true, false)),
            ("@Server Booster", name("Server Booster", false, true)),
            ("\"Text channels\"", name("Text channels", false, false)),
            ("“Text channels”", name("Text channels", false, false)),
            ("2048", name("2048", false, false)),
            ("<#x>", name("<#x>", false, false)),
            ("<#1> <#2>", name("<#1> <#2>", false, false)),
            (
                "１７５９２８８４７２９９１１７０６３",
                name("１７５９２８８４７２９９１１７０６３", false, false),
            ),
        ] {
            assert_eq!(TypedSubject::parse(typed), Some(expected), "{typed:?}");
        }
        for nothing in ["", "  ", "\u{200b}", "\"\"", "#", "@"] {
            assert_eq!(TypedSubject::parse(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn a_multiplier_has_two_or_three_parts() {
        for (typed, expected) in [
            ("everyone 200", Some(("everyone", "200", None))),
            ("everyone 200 2h", Some(("everyone", "200", Some("2h")))),
            ("everyone 200 % 2h", Some(("everyone", "200", Some("2h")))),
            ("everyone  200% ", Some(("everyone", "200%", None))),
            (
                "\"Text channels\" off",
                Some(("Text channels", "off", None)),
            ),
            ("“a b” 1 1d", Some(("a b", "1", Some("1d")))),
            ("", None),
            ("everyone", None),
            ("everyone %", Some(("everyone", "%", None))),
            ("\"a b 200", None),
            ("\"a b\"", None),
            ("a b 200 2h", None),
            ("everyone 200 2h now", None),
        ] {
            let split = TypedMultiplier::split(typed);
            let split = split.map(|typed| (typed.subject, typed.percent, typed.duration));
            assert_eq!(split, expected, "{typed:?}");
        }
    }

    #[test]
    fn percentages_are_whole_numbers_or_off() {
        let percent = |number| Some(MultiplierChange::Set(Percent::new(number).unwrap()));
        for (typed, expected) in [
            ("1", percent(1)),
            ("1000", percent(1_000)),
            ("200%", percent(200)),
            ("200 %", percent(200)),
            ("Off", Some(MultiplierChange::Off)),
            ("0", None),
            ("1001", None),
            ("99999999999", None),
            ("-5", None),
            ("+5", None),
            ("1.5", None),
            ("2x", None),
            ("%", None),
            ("", None),
            ("on", None),
        ] {
            assert_eq!(MultiplierChange::parse(typed).ok(), expected, "{typed:?}");
        }
        let zero = MultiplierChange::parse("0").unwrap_err().0;
        assert!(zero.contains("`no_xp`"), "{zero}");
    }

    #[test]
    fn durations_are_minutes_hours_or_days() {
        for (typed, expected) in [
            ("1m", Some((60_000, "1 minute"))),
            ("90m", Some((5_400_000, "90 minutes"))),
            ("2h", Some((7_200_000, "2 hours"))),
            ("1H", Some((3_600_000, "1 hour"))),
            (" 3d ", Some((259_200_000, "3 days"))),
            ("90d", Some((7_776_000_000, "90 days"))),
            ("129600m", Some((7_776_000_000, "129,600 minutes"))),
            ("91d", None),
            ("2161h", None),
            ("0m", None),
            ("60s", None),
            ("2", None),
            ("h", None),
            ("-2h", None),
            ("1.5h", None),
            ("2 hours", None),
            ("1d12h", None),
            ("18446744073709551615d", None),
            ("2ｈ", None),
            ("", None),
        ] {
            let duration = RuleDuration::parse(typed).ok();
            let read = duration.map(|duration| (duration.millis(), duration.to_string()));
            let expected = expected.map(|(millis, words): (i64, &str)| (millis, words.to_owned()));
            assert_eq!(read, expected, "{typed:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_readers(text in "\\PC{0,40}|[<@&#!0-9\" %mhd]{0,30}") {
            let _ = TypedSubject::parse(&text);
            let _ = TypedMultiplier::split(&text);
            let _ = MultiplierChange::parse(&text);
            if let Ok(duration) = RuleDuration::parse(&text) {
                prop_assert!(duration.millis() >= 60_000);
            }
        }
    }
}
