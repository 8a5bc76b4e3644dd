//! The table `council_notice`: the messages in the council's channel that report open problems.
//!
//! Stores what was posted where. It does not know the problems themselves or how they are solved.

use super::{Connection, Result, bigint, channel_id, message_id};
use crate::leveling::{ChannelId, MessageId, without_nul};

const TABLE: &str = "council_notice";

/// A posted message about a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CouncilNotice {
    /// Identifies the problem.
    pub key: String,
    /// The text of the message; empty if the message may have been deleted.
    pub text: String,
    /// The channel of the message.
    pub channel: ChannelId,
    /// The id of the message.
    pub message: MessageId,
}

/// The notices of a scope's open problems, oldest first. A scope is the part of the bot that
/// reports them, such as `history` or `avatars`.
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

/// Stores a notice that was posted or edited.
pub async fn save(connection: &mut Connection, scope: &str, notice: &CouncilNotice) -> Result<()> {
    sqlx::query!(
        "insert into council_notice (key, scope, text, channel_id, message_id) values ($1, $2, $3, $4, $5)
         on conflict (key) do update set scope = excluded.scope, text = excluded.text,
            channel_id = excluded.channel_id, message_id = excluded.message_id",
        notice.key,
        scope,
        &*without_nul(&notice.text),
        bigint(notice.channel.get()),
        bigint(notice.message.get()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes the notice of a solved problem.
pub async fn forget(connection: &mut Connection, key: &str) -> Result<()> {
    sqlx::query!("delete from council_notice where key = $1", key)
        .execute(connection)
        .await?;
    Ok(())
}

/// The key of the problem that a message reports.
pub async fn of_message(connection: &mut Connection, message: MessageId) -> Result<Option<String>> {
    let row = sqlx::query!(
        "select key from council_notice where message_id = $1",
        bigint(message.get())
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row.key))
}

/// Marks these messages as possibly deleted. Keeps the rows: when a message is posted again, its
/// nonce is computed with the old message's id. Otherwise Discord would treat it as a repeat.
pub async fn mark_possibly_deleted(
    connection: &mut Connection,
    messages: &[MessageId],
) -> Result<()> {
    let messages: Vec<i64> = messages.iter().map(|id| bigint(id.get())).collect();
    sqlx::query!(
        "update council_notice set text = '' where message_id = any($1)",
        &messages
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// All messages that report a problem, with their channels.
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
