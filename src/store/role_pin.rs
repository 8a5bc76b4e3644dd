//! The table `role_pin`: the role id to which each role name in the settings is pinned.
//!
//! A role may have been deleted in Discord.

use super::{Connection, Result, bigint, role_id};
use crate::leveling::{RolePins, without_nul};

const TABLE: &str = "role_pin";

/// All pins.
pub async fn all(connection: &mut Connection) -> Result<RolePins> {
    let rows = sqlx::query!("select name, role_id from role_pin")
        .fetch_all(connection)
        .await?;
    rows.into_iter()
        .map(|row| Ok((row.name, role_id(TABLE, row.role_id)?)))
        .collect()
}

/// Replaces all pins. Call it in a transaction.
pub async fn replace_all(connection: &mut Connection, pins: &RolePins) -> Result<()> {
    let names: Vec<String> = pins
        .keys()
        .map(|name| without_nul(name).into_owned())
        .collect();
    let roles: Vec<i64> = pins.values().map(|role| bigint(role.get())).collect();
    sqlx::query!("delete from role_pin where name <> all($1)", &names)
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "insert into role_pin (name, role_id) select * from unnest($1::text[], $2::bigint[])
         on conflict (name) do update set role_id = excluded.role_id",
        &names,
        &roles,
    )
    .execute(connection)
    .await?;
    Ok(())
}
