//! The table `council_notice`: the problems that the council's channel shows.
//!
//! Knows what was posted where, and neither whose problems they are nor how they end.

use super::{Connection, Result, bigint, channel_id, message_id};
use crate::leveling::{ChannelId, MessageId};

const TABLE: &str = "council_notice";

/// A message about a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CouncilNotice {
    /// Which problem.
    pub key: String,
    /// What the message says; empty when it is believed to be gone.
    pub text: String,
    /// Where it stands.
    pub channel: ChannelId,
    /// Which message.
    pub message: MessageId,
}

/// All problems of a scope that were posted and not solved since.
pub async fn of_scope(connection: &mut Connection, scope: &str) -> Result<Vec<CouncilNotice>> {
    let rows = sqlx::query!(
        "select key, text, channel_id, message_id from council_notice where scope = $1 order by message_id",
        scope
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(CouncilNotice {
                key: row.key,
                text: row.text,
                channel: channel_id(TABLE, row.channel_id)?,
                message: message_id(TABLE, row.message_id)?,
            })
        })
        .collect()
}

/// Remembers what was posted or rewritten.
pub async fn save(connection: &mut Connection, scope: &str, notice: &CouncilNotice) -> Result<()> {
    sqlx::query!(
        "insert into council_notice (key, scope, text, channel_id, message_id) values ($1, $2, $3, $4, $5)
         on conflict (key) do update set scope = excluded.scope, text = excluded.text,
            channel_id = excluded.channel_id, message_id = excluded.message_id",
        notice.key,
        scope,
        notice.text,
        bigint(notice.channel.get()),
        bigint(notice.message.get()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets a problem that is solved.
pub async fn forget(connection: &mut Connection, key: &str) -> Result<()> {
    sqlx::query!("delete from council_notice where key = $1", key)
        .execute(connection)
        .await?;
    Ok(())
}

/// The problem that a message is about.
pub async fn of_message(connection: &mut Connection, message: MessageId) -> Result<Option<String>> {
    let row = sqlx::query!(
        "select key from council_notice where message_id = $1",
        bigint(message.get())
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row.key))
}

/// Notes that these messages are believed to be gone. The rows stay: their ids tell a
/// message that is posted anew from the one before it.
pub async fn doubt(connection: &mut Connection, messages: &[MessageId]) -> Result<()> {
    let messages: Vec<i64> = messages.iter().map(|id| bigint(id.get())).collect();
    sqlx::query!(
        "update council_notice set text = '' where message_id = any($1)",
        &messages
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// All messages that show a problem, and their channels.
pub async fn messages(connection: &mut Connection) -> Result<Vec<(MessageId, ChannelId)>> {
    let rows = sqlx::query!("select message_id, channel_id from council_notice")
        .fetch_all(connection)
        .await?;
    rows.into_iter()
        .map(|row| {
            Ok((
                message_id(TABLE, row.message_id)?,
                channel_id(TABLE, row.channel_id)?,
            ))
        })
        .collect()
}
