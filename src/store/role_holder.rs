//! The table `role_holder`: who holds the roles that rules on XP name, with the message after which
//! they do.

use super::{Connection, Result, after_id, bigint, role_id, user_id};
use crate::leveling::{MessageId, RoleId, UserId, XpRecord};

const TABLE: &str = "role_holder";

/// All rows, each user's in order.
pub async fn all(connection: &mut Connection) -> Result<Vec<XpRecord>> {
    let rows = sqlx::query!(
        "select user_id, role_id, after_id, holds from role_holder order by user_id, role_id, after_id"
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(XpRecord::Holds {
                role: role_id(TABLE, row.role_id)?,
                user: user_id(TABLE, row.user_id)?,
                holds: row.holds,
                after: after_id(TABLE, row.after_id)?,
            })
        })
        .collect()
}

/// Whether a user holds a role, and the message after which that is so.
pub(super) type Row = (UserId, RoleId, bool, Option<MessageId>);

/// Adds rows. A later row replaces an earlier one for the same messages.
pub(super) async fn add(connection: &mut Connection, rows: &[Row]) -> Result<()> {
    let users: Vec<i64> = rows.iter().map(|row| bigint(row.0.get())).collect();
    let roles: Vec<i64> = rows.iter().map(|row| bigint(row.1.get())).collect();
    let holds: Vec<bool> = rows.iter().map(|row| row.2).collect();
    let afters = rows
        .iter()
        .map(|row| row.3.map_or(0, |id| bigint(id.get())));
    let afters: Vec<i64> = afters.collect();
    sqlx::query!(
        "insert into role_holder (user_id, role_id, after_id, holds)
         select distinct on (user_id, role_id, after_id) user_id, role_id, after_id, holds
         from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::boolean[])
            with ordinality as new (user_id, role_id, after_id, holds, position)
         order by user_id, role_id, after_id, position desc
         on conflict (user_id, role_id, after_id) do update set holds = excluded.holds",
        &users,
        &roles,
        &afters,
        &holds,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves what was recorded after an id from the future to `newest`. Returns whether there was any.
pub async fn put_back(connection: &mut Connection, newest: MessageId) -> Result<bool> {
    let newest = bigint(newest.get());
    let moved = sqlx::query!(
        "with future as (delete from role_holder where after_id > $1 returning *),
            newest as (select distinct on (user_id, role_id) user_id, role_id, holds from future
                       order by user_id, role_id, after_id desc)
         insert into role_holder (user_id, role_id, after_id, holds)
         select user_id, role_id, $1, holds from newest order by user_id, role_id
         on conflict (user_id, role_id, after_id) do update set holds = excluded.holds",
        newest,
    )
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() > 0)
}
