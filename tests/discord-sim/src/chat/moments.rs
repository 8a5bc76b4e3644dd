//! Discord's timestamps (`<t:1700000000:R>`) as people see them.

use std::sync::LazyLock;

use chrono::{DateTime, TimeZone};
use regex::{Captures, Regex};

static TIMESTAMP: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"<t:(?<seconds>-?\d{1,13})(?::(?<style>[tTdDfFR]))?>").expect("a regex")
});

/// Draws all timestamps in a text for somebody in this time zone, at this time in Unix
/// milliseconds. What is no time that Discord would draw stays as it is.
pub(super) fn with_moments<Z: TimeZone>(text: &str, now_ms: u64, zone: &Z) -> String
where
    Z::Offset: std::fmt::Display,
{
    let now = i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX);
    let drawn = TIMESTAMP.replace_all(text, |found: &Captures<'_>| {
        let style = found.name("style").map_or("f", |style| style.as_str());
        let moment = found["seconds"]
            .parse()
            .ok()
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let Some(moment) = moment else {
            return found[0].to_owned();
        };
        if style == "R" {
            return relative(moment.timestamp() - now);
        }
        let format = match style {
            "t" => "%-I:%M %p",
            "T" => "%-I:%M:%S %p",
            "d" => "%-m/%-d/%Y",
            "D" => "%B %-d, %Y",
            "F" => "%A, %B %-d, %Y at %-I:%M %p",
            _ => "%B %-d, %Y at %-I:%M %p",
        };
        moment.with_timezone(zone).format(format).to_string()
    });
    drawn.into_owned()
}

/// A time so many seconds ahead, or back if negative, as Discord's clients round it.
fn relative(seconds: i64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let apart = seconds.unsigned_abs();
    let of = |one: &str, unit: &str, length: u64| {
        let number = (apart + length / 2) / length;
        if number <= 1 {
            one.to_owned()
        } else {
            format!("{number} {unit}")
        }
    };
    let text = match apart {
        0..45 => "a few seconds".to_owned(),
        45..2_700 => of("a minute", "minutes", MINUTE),
        2_700..79_200 => of("an hour", "hours", HOUR),
        79_200..2_246_400 => of("a day", "days", DAY),
        2_246_400..27_648_000 => of("a month", "months", 30 * DAY),
        _ => of("a year", "years", 365 * DAY),
    };
    if seconds > 0 {
        format!("in {text}")
    } else {
        format!("{text} ago")
    }
}

#[cfg(test)]
mod tests {
    use chrono::{FixedOffset, Utc};

    use super::*;

    /// Tuesday, November 14, 2023, 22:13:20 UTC.
    const T: u64 = 1_700_000_000;

    #[test]
    fn each_style_is_drawn() {
        for (style, expected) in [
            ("", "November 14, 2023 at 10:13 PM"),
            (":t", "10:13 PM"),
            (":T", "10:13:20 PM"),
            (":d", "11/14/2023"),
            (":D", "November 14, 2023"),
            (":f", "November 14, 2023 at 10:13 PM"),
            (":F", "Tuesday, November 14, 2023 at 10:13 PM"),
            (":R", "a few seconds ago"),
        ] {
            let text = format!("since <t:{T}{style}>.");
            assert_eq!(
                with_moments(&text, T * 1_000, &Utc),
                format!("since {expected}.")
            );
        }
        let east = FixedOffset::east_opt(2 * 3_600).expect("an offset");
        assert_eq!(with_moments("<t:1700000000:t>", 0, &east), "12:13 AM");
    }

    #[test]
    fn times_apart_are_rounded() {
        for (ahead, expected) in [
            (10, "in a few seconds"),
            (60, "in a minute"),
            (-300, "5 minutes ago"),
            (3_600, "in an hour"),
            (-7_200, "2 hours ago"),
            (86_400, "in a day"),
            (-9 * 86_400, "9 days ago"),
            (31 * 86_400, "in a month"),
            (-90 * 86_400, "3 months ago"),
            (400 * 86_400, "in a year"),
            (-800 * 86_400, "2 years ago"),
        ] {
            assert_eq!(relative(ahead), expected);
        }
    }

    #[test]
    fn what_is_no_time_stays() {
        for text in ["<t:abc>", "<t:1700000000:x>", "<t:9999999999999:F>", "<t:>"] {
            assert_eq!(with_moments(text, 0, &Utc), text);
        }
    }
}
