//! The table `banned_user`: who is banned from the guild.

use super::{Connection, Result, bigint, user_id};
use crate::leveling::UserId;

const TABLE: &str = "banned_user";

/// All banned users, in no particular order.
pub async fn all(connection: &mut Connection) -> Result<Vec<UserId>> {
    let ids = sqlx::query_scalar!("select user_id from banned_user")
        .fetch_all(connection)
        .await?;
    ids.into_iter().map(|id| user_id(TABLE, id)).collect()
}

/// Records that these users are banned.
pub async fn add(connection: &mut Connection, users: &[UserId]) -> Result<()> {
    sqlx::query!(
        "insert into banned_user (user_id) select * from unnest($1::bigint[]) order by 1
         on conflict do nothing",
        &ids(users),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records that these users are not banned.
pub async fn remove(connection: &mut Connection, users: &[UserId]) -> Result<()> {
    sqlx::query!(
        "delete from banned_user where user_id = any($1::bigint[])",
        &ids(users),
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn ids(users: &[UserId]) -> Vec<i64> {
    users.iter().map(|user| bigint(user.get())).collect()
}
