//! The latest scheduled time of a daily job.
//!
//! Pure: the current time is an argument. Days are those of a time zone, including its clock
//! changes.

use std::iter::successors;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

/// The latest scheduled time that is not after `now`. Each day of the zone has one: when its
/// clocks first show `at` or, if a clock change skips `at`, the first moment after the gap.
pub fn latest(at: NaiveTime, zone: Tz, now: DateTime<Utc>) -> DateTime<Utc> {
    // Tomorrow may have begun already: clocks that were set back over midnight show the day
    // before again.
    let tomorrow = now.with_timezone(&zone).date_naive().succ_opt();
    successors(tomorrow, NaiveDate::pred_opt)
        .filter_map(|day| Some((day, first_showing(day, at, zone)?)))
        .find(|(day, moment)| *moment <= now && exists(*day, zone))
        .map(|(_, moment)| moment)
        .expect("some day before `now` has a scheduled time")
}

/// Whether a job that last ran at `last` is due.
pub fn is_due(last: Option<DateTime<Utc>>, at: NaiveTime, zone: Tz, now: DateTime<Utc>) -> bool {
    let Some(last) = last else {
        return true;
    };
    // More than any two clocks differ: this clock was set back since. Without this check the job
    // would not run until the clock has passed `last`.
    let is_from_the_future = last.signed_duration_since(now) > TimeDelta::days(1);
    is_from_the_future || last < latest(at, zone, now)
}

/// Whether the zone has this day: Samoa skipped 30 December 2011.
fn exists(day: NaiveDate, zone: Tz) -> bool {
    first_showing(day, NaiveTime::MIN, zone)
        .is_some_and(|moment| moment.with_timezone(&zone).date_naive() == day)
}

/// The first moment when the clocks show this time of this day, or a later time if it is skipped.
fn first_showing(day: NaiveDate, at: NaiveTime, zone: Tz) -> Option<DateTime<Utc>> {
    let shown = day.and_time(at);
    let moment = zone.from_local_datetime(&shown).earliest();
    let moment = moment.or_else(|| GapInfo::new(&shown, &zone)?.end)?;
    Some(moment.to_utc())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use chrono::Timelike;

    use super::*;

    fn times() -> [NaiveTime; 5] {
        [(0, 0), (0, 30), (2, 30), (5, 0), (23, 59)]
            .map(|(hour, minute)| NaiveTime::from_hms_opt(hour, minute, 0).unwrap())
    }

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn new_year(year: i32) -> DateTime<Utc> {
        utc(&format!("{year}-01-01T00:00:00Z"))
    }

    /// Moments from `from` until before `to`, at intervals of `every`.
    fn ticks(
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        every: TimeDelta,
    ) -> impl Iterator<Item = DateTime<Utc>> {
        successors(Some(from), move |tick| Some(*tick + every)).take_while(move |tick| *tick < to)
    }

    fn day_of(moment: DateTime<Utc>, zone: Tz) -> NaiveDate {
        moment.with_timezone(&zone).date_naive()
    }

    /// The hours of these years during which the zone's clocks change.
    fn changes(zone: Tz, from: i32, to: i32) -> Vec<DateTime<Utc>> {
        let shown = |moment: DateTime<Utc>| moment.with_timezone(&zone).naive_local();
        let hour = TimeDelta::hours(1);
        ticks(new_year(from), new_year(to), hour)
            .filter(|tick| shown(*tick + hour) - shown(*tick) != hour)
            .collect()
    }

    #[test]
    fn moments_that_can_be_looked_up() {
        let table = "
            UTC                  05:00  2024-02-29T05:00:00Z  2024-02-29T05:00:00Z
            UTC                  05:00  2024-02-29T04:59:59Z  2024-02-28T05:00:00Z
            UTC                  05:00  2024-03-01T04:59:59Z  2024-02-29T05:00:00Z
            UTC                  05:00  2023-03-01T04:59:59Z  2023-02-28T05:00:00Z
            UTC                  00:00  2025-01-01T00:00:00Z  2025-01-01T00:00:00Z
            # Clocks go from 2 to 3: half past two is then three o'clock.
            Canada/Pacific       05:00  2025-03-09T12:00:00Z  2025-03-09T12:00:00Z
            Canada/Pacific       05:00  2025-03-09T11:59:59Z  2025-03-08T13:00:00Z
            Canada/Pacific       02:30  2025-03-09T20:00:00Z  2025-03-09T10:00:00Z
            Canada/Pacific       02:30  2025-03-09T09:59:59Z  2025-03-08T10:30:00Z
            # And from 2 to 1: half past one comes twice.
            Canada/Pacific       01:30  2025-11-02T20:00:00Z  2025-11-02T08:30:00Z
            # By half an hour.
            Australia/Lord_Howe  02:15  2025-10-05T00:00:00Z  2025-10-04T15:30:00Z
            Australia/Lord_Howe  01:45  2025-04-06T00:00:00Z  2025-04-05T14:45:00Z
            # Midnight was skipped on 2018-11-04: that day began at one o'clock.
            America/Sao_Paulo    00:30  2018-11-04T12:00:00Z  2018-11-04T03:00:00Z
            America/Sao_Paulo    00:30  2018-11-04T02:59:59Z  2018-11-03T03:30:00Z
            # The last hour of 2018-02-17 came twice.
            America/Sao_Paulo    23:59  2018-02-18T02:58:59Z  2018-02-18T01:59:00Z
            America/Sao_Paulo    00:00  2018-02-18T03:00:00Z  2018-02-18T03:00:00Z
            # One minute of 2006-10-29, then an hour of the day before, then the rest.
            America/St_Johns     00:00  2006-10-29T03:00:00Z  2006-10-29T02:30:00Z
            # The last hour of 2024-03-30 was skipped.
            America/Nuuk         23:59  2024-03-31T12:00:00Z  2024-03-31T01:00:00Z
            # The 29th was followed by the 31st.
            Pacific/Apia         05:00  2011-12-30T14:59:59Z  2011-12-29T15:00:00Z
            Pacific/Apia         05:00  2011-12-30T15:00:00Z  2011-12-30T15:00:00Z
            Pacific/Apia         00:00  2011-12-30T09:59:59Z  2011-12-29T10:00:00Z
            Pacific/Apia         00:00  2011-12-30T10:00:00Z  2011-12-30T10:00:00Z";
        for row in table.lines().map(str::trim) {
            let row: Vec<_> = row.split_whitespace().collect();
            let &[zone, at, now, expected] = row.as_slice() else {
                assert!(row.is_empty() || row[0] == "#", "{row:?}");
                continue;
            };
            let parsed = NaiveTime::parse_from_str(at, "%H:%M").unwrap();
            let moment = latest(parsed, zone.parse().unwrap(), utc(now));
            assert_eq!(moment, utc(expected), "{at} in {zone} at {now}");
        }
    }

    #[test]
    fn around_every_change_of_clocks_it_is_what_watching_them_tells() {
        for (zone, from, to, least) in [
            (Tz::Canada__Pacific, 2020, 2026, 12),
            (Tz::Europe__Berlin, 2020, 2026, 12),
            (Tz::Australia__Lord_Howe, 2020, 2026, 12),
            (Tz::America__Sao_Paulo, 2014, 2020, 10),
            (Tz::America__St_Johns, 2004, 2010, 12),
            (Tz::America__Nuuk, 2020, 2026, 9),
            (Tz::Pacific__Apia, 2010, 2016, 8),
            (Tz::Africa__Casablanca, 2018, 2026, 14),
        ] {
            let changes = changes(zone, from, to);
            assert!(changes.len() >= least, "{zone}: {changes:?}");
            for change in changes {
                let (start, end) = (change - TimeDelta::days(3), change + TimeDelta::days(3));
                for at in times() {
                    watch(at, zone, start, end);
                }
            }
        }
    }

    /// Compares [`latest`] with a simulation that follows the zone's clocks minute by minute.
    fn watch(at: NaiveTime, zone: Tz, start: DateTime<Utc>, end: DateTime<Utc>) {
        let minute = TimeDelta::minutes(1);
        let existing: BTreeSet<_> = ticks(start, end, minute)
            .map(|tick| day_of(tick, zone))
            .collect();
        let mut open = existing.clone();
        let mut expected = None;
        for tick in ticks(start, end, minute) {
            let shown = tick.with_timezone(&zone).naive_local();
            while let Some(day) = open.first().copied()
                && day.and_time(at) <= shown
            {
                open.pop_first();
                // The scheduled time of the first day may be before `start`.
                expected = (Some(&day) != existing.first()).then_some(tick);
            }
            let is_looked_at = expected == Some(tick) || shown.minute().is_multiple_of(20);
            if let Some(expected) = expected.filter(|_| is_looked_at) {
                assert_eq!(latest(at, zone, tick), expected, "{at} in {zone} at {tick}");
                let just_before = latest(at, zone, expected - TimeDelta::nanoseconds(1));
                assert!(just_before < expected, "{at} in {zone} at {tick}");
            }
        }
        assert!(open.len() <= 1, "the last day may not have come so far");
    }

    #[test]
    fn who_asks_every_seven_minutes_acts_once_on_each_day() {
        let [midnight, half_past, in_the_gap, five, last_minute] = times();
        for (zone, from, at) in [
            (Tz::Canada__Pacific, 2024, five),
            (Tz::Europe__Berlin, 2023, in_the_gap),
            (Tz::Australia__Lord_Howe, 2024, in_the_gap),
            (Tz::America__Sao_Paulo, 2017, midnight),
            (Tz::America__Sao_Paulo, 2017, last_minute),
            (Tz::America__St_Johns, 2006, midnight),
            (Tz::Pacific__Apia, 2011, five),
            // Clocks are set back for Ramadan, within summer time.
            (Tz::Africa__Casablanca, 2024, in_the_gap),
            (Tz::UTC, 2023, half_past),
        ] {
            let (start, end) = (new_year(from), new_year(from + 2));
            let mut days: BTreeSet<_> = ticks(start, end, TimeDelta::hours(1))
                .map(|tick| day_of(tick, zone))
                .collect();
            // The first and the last day may be incomplete.
            days.pop_first();
            days.pop_last();
            let mut done: BTreeMap<NaiveDate, u32> = BTreeMap::new();
            let mut last = Some(start);
            for now in ticks(start, end, TimeDelta::minutes(7)) {
                if is_due(last, at, zone, now) {
                    last = Some(now);
                    *done.entry(day_of(latest(at, zone, now), zone)).or_default() += 1;
                }
            }
            done.retain(|day, _| days.contains(day));
            let once = days.into_iter().map(|day| (day, 1)).collect();
            assert_eq!(done, once, "{at} in {zone}");
        }
    }

    #[test]
    fn it_is_due_when_it_was_not_done_since() {
        let five = times()[3];
        let now = utc("2025-06-15T04:00:00Z");
        for (last, due) in [
            (None, true),
            (Some("2025-06-14T04:59:59Z"), true),
            (Some("2025-06-14T05:00:00Z"), false),
            (Some("2025-06-15T04:00:00Z"), false),
            (Some("2020-01-01T00:00:00Z"), true),
            // Two clocks may differ, but not by more than a day.
            (Some("2025-06-15T04:10:00Z"), false),
            (Some("2025-06-16T04:00:00Z"), false),
            (Some("2025-06-16T04:00:01Z"), true),
            (Some("2031-01-01T00:00:00Z"), true),
        ] {
            assert_eq!(is_due(last.map(utc), five, Tz::UTC, now), due, "{last:?}");
        }
    }
}
