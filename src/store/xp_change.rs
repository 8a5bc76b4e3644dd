//! The table `xp_change`: XP that moderators gave, took or set, and why.
//!
//! Only added to: what was changed is never rewritten, and a mistake is mended by
//! another change.

use std::collections::BTreeMap;

use super::{Connection, Result, bigint, points, read, timestamptz, user_id};
use crate::leveling::{Points, RequestId, UserId};

const TABLE: &str = "xp_change";

/// One change. When it was made stands in the id of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XpChange {
    /// What asked for it.
    pub request: RequestId,
    /// Whose points they are.
    pub user: UserId,
    /// Who changed them.
    pub moderator: UserId,
    /// Why, in the moderator's words.
    pub reason: Option<String>,
    /// What the user had.
    pub before: Points,
    /// What the user has had since.
    pub after: Points,
}

/// Adds a change; `false`, and nothing is added, if its request has made one before.
pub async fn add(connection: &mut Connection, change: &XpChange) -> Result<bool> {
    let added = sqlx::query!(
        "insert into xp_change
            (request_id, user_id, moderator_id, changed_at, reason, points_before, points_after)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (request_id) do nothing",
        bigint(change.request.get()),
        bigint(change.user.get()),
        bigint(change.moderator.get()),
        timestamptz(change.request.asked_at()),
        change.reason,
        bigint(change.before.get()),
        bigint(change.after.get()),
    )
    .execute(connection)
    .await?;
    Ok(added.rows_affected() == 1)
}

/// At most `limit` changes of a user, the latest first.
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

/// What all changes of a user come to, for every user who has one.
pub async fn deltas(connection: &mut Connection) -> Result<BTreeMap<UserId, i64>> {
    // The sum lies between the two ends of what a user can have, whatever lies between.
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
