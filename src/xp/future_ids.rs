//! Repairs, before the engine starts, what message ids from the future left in the database: a
//! frontier so late that no message ever counts as missed, and last awards so late that their
//! users earn nothing more.
//!
//! Counts nothing twice: the history may be read from anywhere, since users earn nothing for
//! messages up to their last award; and a last award is never moved to before one that may have
//! been made.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;

use crate::leveling::discord_time::{Clocks, TOLERANCE_MS, newest_believed};
use crate::leveling::{MessageId, Timestamp, UserId, look_back};
use crate::store::watermark::{self, HeldLines, Lost, Watermark};
use crate::store::{self, Database, history_interval, user_point, xp_day, xp_record};

/// If a list of threads could not be read, the end of its missing interval is set some minutes
/// after the attempt. An end further ahead than this came from an impossible id.
const LISTS_AHEAD_MS: i64 = 60 * 60_000;

/// Repairs the watermark, the users' last awards and the missing intervals, and logs what it
/// changed. After a repaired frontier the next catch-up reads `hours` back. Returns the
/// watermark from which the engine goes on.
pub async fn repair_future_ids(
    database: &Database,
    watermark: Watermark,
    clocks: Clocks,
    hours: u32,
    zone: Tz,
) -> store::Result<Result<Watermark, Lost>> {
    let mut transaction = database.begin().await?;
    let newest = newest_believed(clocks.discord);
    let poisoned = watermark.frontier.filter(|frontier| *frontier > newest);
    // A last award is moved back only if it is later than both clocks say: moving the frontier
    // back does no harm, moving an award does.
    let later = clocks.discord.max(clocks.machine).millis() + TOLERANCE_MS;
    let later = Timestamp::from_millis(later).unwrap_or(clocks.discord);
    let users = user_point::awarded_after(&mut transaction, later).await?;
    let limit = newest_believed(ahead(later, LISTS_AHEAD_MS));
    let were_intervals_poisoned =
        history_interval::put_back(&mut transaction, limit, newest_believed(later)).await?;
    let were_rules_poisoned = xp_record::put_back(&mut transaction, newest_believed(later)).await?;
    if poisoned.is_none() && users.is_empty() && !were_intervals_poisoned && !were_rules_poisoned {
        return Ok(Ok(watermark));
    }

    let last_days =
        xp_day::last_days(&mut transaction, &users, today(clocks.discord, zone)).await?;
    let awards: Vec<(UserId, Timestamp)> = users
        .iter()
        .map(|user| {
            (
                *user,
                latest_award(last_days.get(user).copied(), zone, clocks.discord),
            )
        })
        .collect();
    user_point::put_awards_back(&mut transaction, &awards).await?;
    let newest_award = user_point::newest_award(&mut transaction, clocks.discord).await?;
    let frontier = match poisoned {
        None => watermark.frontier,
        Some(_) => read_from(newest_award, clocks.discord, hours),
    };
    if !watermark::advance(&mut transaction, watermark, frontier, HeldLines::Keep).await? {
        return Ok(Err(Lost::TakenOver));
    }
    store::commit(transaction).await?;
    if let Some(poisoned) = poisoned {
        tracing::error!(
            frontier = %poisoned,
            hours,
            "the position up to which messages are counted was in the future (an impossible id had been \
             counted), so missed messages were not read; reading back `hours` hours again, nothing counts \
             twice; to read further back, set WALLE_CATCH_UP_HOURS higher before the next start after a gap"
        );
    }
    if were_intervals_poisoned {
        tracing::error!(
            "a recorded gap in the history reached into the future; it now ends at the present, and new messages \
             are counted as they come"
        );
    }
    if !users.is_empty() {
        let first = users.first().map(|user| user.get());
        tracing::error!(
            users = users.len(),
            first,
            "these users' last award was in the future, so their messages earned nothing; they earn again, \
             counted from the end of the last day on which they had earned"
        );
    }
    Ok(Ok(Watermark {
        frontier,
        batch_no: watermark.batch_no + 1,
        ..watermark
    }))
}

/// The repaired frontier: `hours` back, or the newest award if that is earlier. In the latter case
/// the next catch-up still reads only `hours` back, and reports what it cut off.
fn read_from(newest_award: Option<Timestamp>, now: Timestamp, hours: u32) -> Option<MessageId> {
    let earliest = Timestamp::from_millis(now.millis() - look_back::millis(hours))?;
    let from = newest_award.map_or(earliest, |award| award.min(earliest));
    MessageId::first_at(from)
}

/// The latest time at which a user can have earned whose last award fell on this day: the end of
/// the day, so that no message of that day counts again.
fn latest_award(last_day: Option<NaiveDate>, zone: Tz, now: Timestamp) -> Timestamp {
    let end = last_day.and_then(|day| day.succ_opt()).map(|next| {
        let midnight = next.and_time(NaiveTime::MIN);
        let end = zone.from_local_datetime(&midnight).latest();
        // Where that day has no midnight (the clocks change then), 26 hours after it in UTC is
        // later than its start in every time zone.
        end.map_or_else(
            || midnight.and_utc() + chrono::TimeDelta::hours(26),
            |end| end.to_utc(),
        )
    });
    let end = end.and_then(|end| Timestamp::from_millis(end.timestamp_millis()));
    end.map_or(now, |end| end.min(now))
}

fn ahead(time: Timestamp, by_ms: i64) -> Timestamp {
    Timestamp::from_millis(time.millis().saturating_add(by_ms)).unwrap_or(time)
}

fn today(now: Timestamp, zone: Tz) -> NaiveDate {
    let now = DateTime::<Utc>::from_timestamp_millis(now.millis()).unwrap_or_default();
    now.with_timezone(&zone).date_naive()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_750_000_000_000;
    const HOUR: i64 = 3_600_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    #[test]
    fn the_history_is_read_as_far_back_as_allowed() {
        for (newest_award, from) in [
            (None, NOW - 24 * HOUR),
            (Some(NOW - HOUR), NOW - 24 * HOUR),
            (Some(NOW - 30 * HOUR), NOW - 30 * HOUR),
        ] {
            let read = read_from(newest_award.map(at), at(NOW), 24).unwrap();
            assert_eq!(read.sent_at(), at(from), "{newest_award:?}");
        }
    }

    #[test]
    fn an_award_is_never_put_before_one_that_may_have_been() {
        let day = |text: &str| Some(text.parse::<NaiveDate>().unwrap());
        let time = |text: &str| at(text.parse::<DateTime<Utc>>().unwrap().timestamp_millis());
        // 2025-06-15T15:06:40Z
        for (last_day, zone, expected) in [
            (None, Tz::UTC, at(NOW)),
            (day("2025-06-15"), Tz::UTC, at(NOW)),
            (day("2025-06-13"), Tz::UTC, time("2025-06-14T00:00:00Z")),
            (
                day("2025-06-13"),
                Tz::Canada__Pacific,
                time("2025-06-14T07:00:00Z"),
            ),
            // 2018-11-04 had no midnight there.
            (
                day("2018-11-03"),
                Tz::America__Sao_Paulo,
                time("2018-11-05T02:00:00Z"),
            ),
        ] {
            assert_eq!(
                latest_award(last_day, zone, at(NOW)),
                expected,
                "{last_day:?}"
            );
        }
    }
}
