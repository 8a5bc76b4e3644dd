//! The table `role_work`: the queue of members whose level roles must be checked.
//!
//! Stores members and times and nothing about roles.

use chrono::{DateTime, TimeDelta, Utc};

use super::durable_queue::impossibly_late;
use super::{Connection, Result, bigint, read, user_id};
use crate::leveling::UserId;

const TABLE: &str = "role_work";

/// No member is postponed for as long as this.
const MAX_DELAY: TimeDelta = TimeDelta::days(1);

/// Queues a member. For a member who is queued already the failed attempts and the delay are reset.
pub async fn add(connection: &mut Connection, user: UserId, at: DateTime<Utc>) -> Result<()> {
    sqlx::query!(
        "insert into role_work (user_id, asked_at) values ($1, $2)
         on conflict (user_id) do update set
            asked_at = excluded.asked_at, attempts = 0, next_attempt_at = 'epoch'",
        bigint(user.get()),
        at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Queues many members, with the current time of the database's clock. Members who are queued
/// already stay as they are.
pub async fn add_all(connection: &mut Connection, users: &[UserId]) -> Result<()> {
    let users: Vec<i64> = users.iter().map(|user| bigint(user.get())).collect();
    sqlx::query!(
        "insert into role_work (user_id, asked_at) select *, now() from unnest($1::bigint[]) order by 1
         on conflict (user_id) do nothing",
        &users,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// At most `limit` members who are due at `now`, in the order in which they were queued, each with
/// the number of failed attempts and the time of queueing.
pub async fn due(
    connection: &mut Connection,
    now: DateTime<Utc>,
    limit: u16,
) -> Result<Vec<(UserId, u32, DateTime<Utc>)>> {
    let rows = sqlx::query!(
        "select user_id, attempts, asked_at from role_work
         where next_attempt_at <= $1 or next_attempt_at > $2
         order by asked_at, user_id limit $3",
        now,
        impossibly_late(now, MAX_DELAY),
        i64::from(limit),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let attempts = read(TABLE, "attempts", row.attempts.into(), |count| {
                u32::try_from(count).ok()
            })?;
            Ok((user_id(TABLE, row.user_id)?, attempts, row.asked_at))
        })
        .collect()
}

/// Counts a failed attempt and sets the next one to `next`. Does nothing if the member has been
/// queued again since `asked_at`.
pub async fn postpone(
    connection: &mut Connection,
    user: UserId,
    asked_at: DateTime<Utc>,
    next: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "update role_work set attempts = attempts + 1, next_attempt_at = $3
         where user_id = $1 and asked_at = $2",
        bigint(user.get()),
        asked_at,
        next,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes a member whose roles are correct or who has left. Does nothing if the member has been
/// queued again since `asked_at`.
pub async fn remove(
    connection: &mut Connection,
    user: UserId,
    asked_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "delete from role_work where user_id = $1 and asked_at = $2",
        bigint(user.get()),
        asked_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}
