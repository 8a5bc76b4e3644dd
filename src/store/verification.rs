//! The table `verification`: when all roles were last verified, how many may be taken, and since
//! when there is an onboarding to wait for.
//!
//! Knows no schedule and no brake: those are rules.

use chrono::{DateTime, Utc};

use super::{Connection, Result, read, timestamp, timestamptz};
use crate::leveling::Timestamp;

const TABLE: &str = "verification";

/// When all members' roles were last verified, to the end.
pub async fn last(connection: &mut Connection) -> Result<Option<DateTime<Utc>>> {
    let row = sqlx::query!("select finished_at from verification")
        .fetch_one(connection)
        .await?;
    Ok(row.finished_at)
}

/// Remembers that all members' roles were verified at `at`.
pub async fn finished(connection: &mut Connection, at: DateTime<Utc>) -> Result<()> {
    sqlx::query!("update verification set finished_at = $1", at)
        .execute(connection)
        .await?;
    Ok(())
}

/// Allows level roles to be taken from so many members, until `until`. What was allowed
/// before no longer counts.
pub async fn allow(connection: &mut Connection, removals: u32, until: DateTime<Utc>) -> Result<()> {
    sqlx::query!(
        "update verification set allowed_removals = $1, allowed_until = $2",
        i32::try_from(removals).unwrap_or(i32::MAX),
        until,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// From how many members level roles may be taken at `now`, if a moderator has said so.
pub async fn allowed(connection: &mut Connection, now: DateTime<Utc>) -> Result<Option<u32>> {
    let row = sqlx::query!(
        r#"select allowed_removals as "removals!" from verification
           where allowed_removals is not null and allowed_until > $1"#,
        now,
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        read(TABLE, "allowed_removals", row.removals.into(), |count| {
            u32::try_from(count).ok()
        })
    })
    .transpose()
}

/// Takes back what was allowed: it has been made use of.
pub async fn use_up(connection: &mut Connection) -> Result<()> {
    sqlx::query!("update verification set allowed_removals = null, allowed_until = null")
        .execute(connection)
        .await?;
    Ok(())
}

/// Since when the bot has known of an onboarding that it waits for.
pub async fn onboarding_since(connection: &mut Connection) -> Result<Option<Timestamp>> {
    let row = sqlx::query!("select onboarding_since from verification")
        .fetch_one(connection)
        .await?;
    Ok(row.onboarding_since.and_then(timestamp))
}

/// Stores it; writes nothing where it is stored already.
pub async fn set_onboarding_since(
    connection: &mut Connection,
    since: Option<Timestamp>,
) -> Result<()> {
    sqlx::query!(
        "update verification set onboarding_since = $1 where onboarding_since is distinct from $1",
        since.map(timestamptz),
    )
    .execute(connection)
    .await?;
    Ok(())
}
