//! The table `role_work`: members whose roles must be looked at.
//!
//! Knows who and when, and nothing of roles.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Connection, Result, bigint, read, user_id};
use crate::leveling::UserId;

const TABLE: &str = "role_work";

/// Longer than anything is ever postponed.
const LATEST: TimeDelta = TimeDelta::days(1);

/// Asks for a member to be looked at. For one who is asked for already it is as if nothing
/// had been tried yet.
pub async fn ask(connection: &mut Connection, user: UserId, at: DateTime<Utc>) -> Result<()> {
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

/// The same for many, as of now by the database's clock; those who are asked for already
/// stay as they are.
pub async fn ask_for_all(connection: &mut Connection, users: &[UserId]) -> Result<()> {
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

/// At most `limit` members who are due at `now`, those asked for first before others, with
/// the failed attempts so far and when they were asked for. One who is due later than any
/// wait would explain was postponed before the clock was set back.
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
        now + LATEST,
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

/// Tries a member again at `next` who was asked for at `asked_at`, unless they have been asked
/// for again since.
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

/// Forgets a member who was asked for at `asked_at`: their roles are right, or they are gone.
/// If they have been asked for again since, that stays.
pub async fn drop(
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
