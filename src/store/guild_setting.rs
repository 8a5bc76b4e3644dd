//! The table `guild_setting`: what moderators set for the guild, with who and when.
//!
//! Append-only: rows are never changed or deleted, and the newest row of a name counts. Which names
//! and values there are is not decided here.

use super::{Connection, Result, bigint, read};
use crate::leveling::{RequestId, UserId};

const TABLE: &str = "guild_setting";

/// One change of a setting. The request's id contains the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange<T> {
    /// The interaction or message that requested it.
    pub request: RequestId,
    /// Who requested it.
    pub moderator: UserId,
    /// What it was set to.
    pub value: T,
}

/// Adds a change of the setting `name`. Adds nothing if its request has changed this setting
/// before.
pub async fn add(
    connection: &mut Connection,
    name: &str,
    change: &SettingChange<&str>,
) -> Result<()> {
    sqlx::query!(
        "insert into guild_setting (name, request_id, value, moderator_id) values ($1, $2, $3, $4)
         on conflict (name, request_id) do nothing",
        name,
        bigint(change.request.get()),
        change.value,
        bigint(change.moderator.get()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The newest change of the setting `name`; `None` if it was never set.
pub async fn newest(
    connection: &mut Connection,
    name: &str,
) -> Result<Option<SettingChange<String>>> {
    let row = sqlx::query!(
        "select request_id, value, moderator_id from guild_setting
         where name = $1 order by request_id desc limit 1",
        name,
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(SettingChange {
            request: read(TABLE, "request_id", row.request_id, RequestId::new)?,
            moderator: read(TABLE, "moderator_id", row.moderator_id, UserId::new)?,
            value: row.value,
        })
    })
    .transpose()
}
