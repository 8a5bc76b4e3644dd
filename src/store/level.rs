//! The table `level`: the guild's levels, with their points, names and roles.

use std::collections::BTreeSet;

use anyhow::Context;

use super::{Connection, Result, begin, bigint, level_number, points, role_id};
use crate::leveling::{Level, LevelNumber, Levels, RoleId, without_nul};

const TABLE: &str = "level";

/// All levels. Fails with the reason if somebody edited the table so that it is not usable.
pub async fn load(connection: &mut Connection) -> anyhow::Result<Levels> {
    let rows = all(connection).await?;
    Levels::new(rows).context("the table level is not usable")
}

/// All rows, unchecked, lowest level first.
pub async fn all(connection: &mut Connection) -> Result<Vec<Level>> {
    let rows = sqlx::query!(
        "select number, total_points_required, points_to_next_level, role_id, role_name
         from level order by number"
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Level {
                number: level_number(TABLE, "number", row.number)?,
                total_points_required: points(
                    TABLE,
                    "total_points_required",
                    row.total_points_required,
                )?,
                points_to_next_level: points(
                    TABLE,
                    "points_to_next_level",
                    row.points_to_next_level,
                )?,
                role_id: row.role_id.map(|id| role_id(TABLE, id)).transpose()?,
                role_name: row.role_name,
            })
        })
        .collect()
}

/// Levels whose role id was imported, or inserted by hand, and has never been seen in the guild.
pub async fn unseen(connection: &mut Connection) -> Result<BTreeSet<LevelNumber>> {
    let rows = sqlx::query!("select number from level where role_id is not null and not role_seen")
        .fetch_all(connection)
        .await?;
    rows.into_iter()
        .map(|row| level_number(TABLE, "number", row.number))
        .collect()
}

/// Replaces all levels; their roles count as unseen. Call it in a transaction, since the table is
/// empty between its two statements.
pub async fn replace_all(connection: &mut Connection, levels: &Levels) -> Result<()> {
    sqlx::query!("delete from level")
        .execute(&mut *connection)
        .await?;
    let rows = levels.rows();
    let numbers: Vec<i32> = rows.iter().map(|level| level.number.0.into()).collect();
    let totals: Vec<i64> = rows
        .iter()
        .map(|level| bigint(level.total_points_required.get()))
        .collect();
    let steps: Vec<i64> = rows
        .iter()
        .map(|level| bigint(level.points_to_next_level.get()))
        .collect();
    let role_ids: Vec<Option<i64>> = rows
        .iter()
        .map(|level| level.role_id.map(|id| bigint(id.get())))
        .collect();
    let role_names: Vec<Option<String>> =
        rows.iter().map(|level| level.role_name.clone()).collect();
    sqlx::query!(
        "insert into level (number, total_points_required, points_to_next_level, role_id, role_name)
         select * from unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[])",
        &numbers,
        &totals,
        &steps,
        &role_ids as &[Option<i64>],
        &role_names as &[Option<String>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records that the role of a level has been seen in the guild.
pub async fn mark_seen(connection: &mut Connection, level: LevelNumber) -> Result<()> {
    sqlx::query!(
        "update level set role_seen = true where number = $1 and role_id is not null",
        i32::from(level.0),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Sets what a level carries: a role of the guild and its name, a name whose role does not exist
/// yet, or nothing.
pub async fn set_role(
    connection: &mut Connection,
    level: LevelNumber,
    role: Option<RoleId>,
    name: Option<&str>,
) -> Result<()> {
    let name = name.map(without_nul);
    sqlx::query!(
        "update level set role_id = $2, role_name = $3, role_seen = $2::bigint is not null
         where number = $1",
        i32::from(level.0),
        role.map(|id| bigint(id.get())),
        name.as_deref(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Clears the role and the name of every level.
pub async fn clear_all(connection: &mut Connection) -> Result<()> {
    sqlx::query!(
        "update level set role_id = null, role_name = null, role_seen = false
         where role_id is not null or role_name is not null"
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Renames levels in one transaction. It clears their names first, so that they can exchange names
/// without violating the unique constraint.
pub async fn rename(connection: &mut Connection, names: &[(LevelNumber, &str)]) -> Result<()> {
    let (levels, names): (Vec<i32>, Vec<String>) = names
        .iter()
        .map(|(level, name)| (i32::from(level.0), without_nul(name).into_owned()))
        .unzip();
    let mut transaction = begin(connection).await?;
    sqlx::query!(
        "update level set role_name = null where number = any($1::integer[])",
        &levels,
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query!(
        "update level set role_name = renamed.name
         from unnest($1::integer[], $2::text[]) as renamed(number, name)
         where level.number = renamed.number",
        &levels,
        &names,
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}
