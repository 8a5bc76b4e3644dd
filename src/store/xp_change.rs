//! The table `xp_change`: XP that moderators gave, took or set, and why.
//!
//! Append-only: rows are never changed. A mistake is corrected by another change.

use std::collections::BTreeMap;

use super::{Connection, Result, bigint, points, read, timestamptz, user_id};
use crate::leveling::{Points, RequestId, UserId, without_nul};

const TABLE: &str = "xp_change";

/// One change. The request's id contains the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XpChange {
    /// The interaction or message that requested it.
    pub request: RequestId,
    /// The user whose points were changed.
    pub user: UserId,
    /// The moderator who changed them.
    pub moderator: UserId,
    /// The reason in the moderator's words.
    pub reason: Option<String>,
    /// The user's points before the change.
    pub before: Points,
    /// The user's points after the change.
    pub after: Points,
}

/// Adds a change. Returns `false` and adds nothing if its request has made a change before.
pub async fn add(connection: &mut Connection, change: &XpChange) -> Result<bool> {
    let reason = change.reason.as_deref().map(without_nul);
    let added = sqlx::query!(
        "insert into xp_change
            (request_id, user_id, moderator_id, changed_at, reason, points_before, points_after)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (request_id) do nothing",
        bigint(change.request.get()),
        bigint(change.user.get()),
        bigint(change.moderator.get()),
        timestamptz(change.request.asked_at()),
        reason.as_deref(),
        bigint(change.before.get()),
        bigint(change.after.get()),
    )
    .execute(connection)
    .await?;
    Ok(added.rows_affected() == 1)
}

/// At most `limit` changes of a user, newest first.
pub async fn of_user(
    connection: &mut Connection,
    user: UserId,
    limit: u16,
) -> Result<Vec<XpChange>> {
    let rows = sqlx::query!(
        "select request_id, user_id, moderator_id, reason, points_before, points_after
         from xp_change where user_id = $1 order by id desc limit $2",
        bigint(user.get()),
        i64::from(limit),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(XpChange {
                request: read(TABLE, "request_id", row.request_id, RequestId::new)?,
                user: user_id(TABLE, row.user_id)?,
                moderator: read(TABLE, "moderator_id", row.moderator_id, UserId::new)?,
                reason: row.reason,
                before: points(TABLE, "points_before", row.points_before)?,
                after: points(TABLE, "points_after", row.points_after)?,
            })
        })
        .collect()
}

/// The sum of all changes for each user who has any.
pub async fn deltas(connection: &mut Connection) -> Result<BTreeMap<UserId, i64>> {
    // `numeric` cannot overflow, and the sum fits into `bigint`, since points are limited.
    let rows = sqlx::query!(
        r#"select user_id, sum(points_after::numeric - points_before)::bigint as "delta!"
           from xp_change group by user_id"#
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| Ok((user_id(TABLE, row.user_id)?, row.delta)))
        .collect()
}
