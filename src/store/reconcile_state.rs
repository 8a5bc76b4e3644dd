//! The table `verification`: when all members' roles were last reconciled, how many removals are
//! allowed, and since when the guild's onboarding is required.
//!
//! The schedule and the limit on removals are rules, and are not defined here.

use chrono::{DateTime, Utc};

use super::{Connection, Result, read, timestamp, timestamptz};
use crate::leveling::Timestamp;

const TABLE: &str = "verification";

/// When the last complete reconciliation of all members' roles finished.
pub async fn last(connection: &mut Connection) -> Result<Option<DateTime<Utc>>> {
    let row = sqlx::query!("select finished_at from verification")
        .fetch_one(connection)
        .await?;
    Ok(row.finished_at)
}

/// Records that a complete reconciliation finished at `at`.
pub async fn finished(connection: &mut Connection, at: DateTime<Utc>) -> Result<()> {
    sqlx::query!("update verification set finished_at = $1", at)
        .execute(connection)
        .await?;
    Ok(())
}

/// Allows the removal of level roles from up to `removals` members until `until`. Replaces an
/// earlier permission.
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

/// The number of members whose level roles may be removed at `now`, if a moderator has allowed it.
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

/// Deletes the permission after it was used.
pub async fn use_up(connection: &mut Connection) -> Result<()> {
    sqlx::query!("update verification set allowed_removals = null, allowed_until = null")
        .execute(connection)
        .await?;
    Ok(())
}

/// Since when the bot has known that members must complete an onboarding; `None` if they need not.
pub async fn onboarding_since(connection: &mut Connection) -> Result<Option<Timestamp>> {
    let row = sqlx::query!("select onboarding_since from verification")
        .fetch_one(connection)
        .await?;
    Ok(row.onboarding_since.and_then(timestamp))
}

/// Stores the value of [`onboarding_since`]. Writes nothing if it is unchanged.
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
