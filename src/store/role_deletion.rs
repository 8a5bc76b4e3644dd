//! The table `role_deletion`: ids of former level roles that must still be deleted.
//!
//! A role may have been deleted in Discord already.

use std::collections::BTreeSet;

use super::{Connection, Result, bigint, role_id};
use crate::leveling::RoleId;

const TABLE: &str = "role_deletion";

/// All roles that must still be deleted.
pub async fn all(connection: &mut Connection) -> Result<BTreeSet<RoleId>> {
    let rows = sqlx::query!("select role_id from role_deletion")
        .fetch_all(connection)
        .await?;
    rows.into_iter()
        .map(|row| role_id(TABLE, row.role_id))
        .collect()
}

/// Replaces all stored roles. Call it in a transaction.
pub async fn replace_all(connection: &mut Connection, roles: &BTreeSet<RoleId>) -> Result<()> {
    let roles: Vec<i64> = roles.iter().map(|role| bigint(role.get())).collect();
    sqlx::query!("delete from role_deletion")
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "insert into role_deletion (role_id) select * from unnest($1::bigint[]) order by 1",
        &roles,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes the row of a role that was deleted or is kept.
pub async fn forget(connection: &mut Connection, role: RoleId) -> Result<()> {
    sqlx::query!(
        "delete from role_deletion where role_id = $1",
        bigint(role.get()),
    )
    .execute(connection)
    .await?;
    Ok(())
}
