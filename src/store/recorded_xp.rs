//! What the tables `user_point`, `xp_day` and `xp_change` together record of one user's XP.
//!
//! Read-only.

use super::{Connection, Result, bigint, points, read};
use crate::leveling::{RecordedXp, UserId};

/// What is recorded, and whether the user chose to be hidden. A single statement reads all of it,
/// so it fits together whatever is committed meanwhile.
pub async fn of_user(connection: &mut Connection, user: UserId) -> Result<(RecordedXp, bool)> {
    // The casts cannot overflow: each award is small, and moderators change at most millions.
    let row = sqlx::query!(
        r#"select coalesce(user_point.points, 0) as "points!",
                  coalesce(user_point.message_count, 0) as "message_count!",
                  coalesce(user_point.hidden, false) as "hidden!",
                  days.earned as "earned!", days.by_rules as "by_rules!", days.counted as "counted!",
                  by_moderators.changed as "changed!", by_moderators.changes as "changes!"
           from (
               select coalesce(sum(points), 0)::bigint as earned,
                      coalesce(sum(by_rules), 0)::bigint as by_rules,
                      coalesce(sum(messages), 0)::bigint as counted
               from xp_day where user_id = $1
           ) as days
           cross join (
               select coalesce(sum(points_after::numeric - points_before), 0)::bigint as changed,
                      count(*) as changes
               from xp_change where user_id = $1
           ) as by_moderators
           left join user_point on user_point.user_id = $1"#,
        bigint(user.get()),
    )
    .fetch_one(connection)
    .await?;
    let recorded = RecordedXp {
        points: points("user_point", "points", row.points)?,
        message_count: read("user_point", "message_count", row.message_count, Some)?,
        earned: row.earned,
        by_rules: row.by_rules,
        counted: row.counted,
        changed: row.changed,
        changes: read("xp_change", "the number of changes", row.changes, Some)?,
    };
    Ok((recorded, row.hidden))
}
