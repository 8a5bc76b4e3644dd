//! The table `xp_day`: the XP that each user earned on each day.

use std::collections::BTreeMap;

use chrono::NaiveDate;

use super::{Connection, Result, bigint, user_id};
use crate::leveling::UserId;

const TABLE: &str = "xp_day";

/// The totals of one user's day, or what a batch adds to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayTotal {
    /// The user.
    pub user: UserId,
    /// A day in the guild's time zone.
    pub day: NaiveDate,
    /// Points earned. Negative if messages that are counted late replace others that had counted.
    pub points: i64,
    /// Messages that earned them. May be negative for the same reason.
    pub messages: i64,
    /// How many of the points were earned by multipliers: the difference to the usual rate,
    /// negative below 100 %.
    pub by_rules: i64,
}

/// All rows, sorted by user and day.
pub async fn all(connection: &mut Connection) -> Result<Vec<DayTotal>> {
    let rows = sqlx::query!(
        "select user_id, day, points, messages, by_rules from xp_day order by user_id, day"
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(DayTotal {
                user: user_id(TABLE, row.user_id)?,
                day: row.day,
                points: row.points,
                messages: row.messages,
                by_rules: row.by_rules,
            })
        })
        .collect()
}

/// The last day, up to and including `until`, on which each of these users earned XP.
pub async fn last_days(
    connection: &mut Connection,
    users: &[UserId],
    until: NaiveDate,
) -> Result<BTreeMap<UserId, NaiveDate>> {
    let users: Vec<i64> = users.iter().map(|user| bigint(user.get())).collect();
    let rows = sqlx::query!(
        r#"select user_id, max(day) as "day!" from xp_day
           where user_id = any($1) and day <= $2 and messages > 0 group by user_id"#,
        &users,
        until,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| Ok((user_id(TABLE, row.user_id)?, row.day)))
        .collect()
}

/// Adds a batch's totals; `totals` names each user's day at most once. This is not idempotent, so
/// call it in the transaction that moves the watermark.
pub async fn add(connection: &mut Connection, totals: &[DayTotal]) -> Result<()> {
    let users: Vec<i64> = totals.iter().map(|row| bigint(row.user.get())).collect();
    let days: Vec<NaiveDate> = totals.iter().map(|row| row.day).collect();
    let points: Vec<i64> = totals.iter().map(|row| row.points).collect();
    let messages: Vec<i64> = totals.iter().map(|row| row.messages).collect();
    let by_rules: Vec<i64> = totals.iter().map(|row| row.by_rules).collect();
    sqlx::query!(
        "insert into xp_day as stored (user_id, day, points, messages, by_rules)
         select * from unnest($1::bigint[], $2::date[], $3::bigint[], $4::bigint[], $5::bigint[])
         order by 1, 2
         on conflict (user_id, day) do update set
            points = stored.points + excluded.points,
            messages = stored.messages + excluded.messages,
            by_rules = stored.by_rules + excluded.by_rules",
        &users,
        &days,
        &points,
        &messages,
        &by_rules,
    )
    .execute(&mut *connection)
    .await?;
    if totals.iter().any(|row| row.messages < 0) {
        // Delete the rows of days on which nothing is earned any more.
        sqlx::query!(
            "with empty as (
                select user_id, day from xp_day
                where user_id = any($1) and points = 0 and messages = 0
                order by user_id, day for update
             )
             delete from xp_day using empty
             where xp_day.user_id = empty.user_id and xp_day.day = empty.day",
            &users,
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}
