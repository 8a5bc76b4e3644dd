//! The table `channel`: the id of the bot's own channel for each purpose.
//!
//! The channel may have been deleted in Discord.

use super::{Connection, Result, bigint, channel_id};
use crate::leveling::ChannelId;

const TABLE: &str = "channel";

/// The stored channel for this purpose.
pub async fn of_purpose(connection: &mut Connection, purpose: &str) -> Result<Option<ChannelId>> {
    let row = sqlx::query!("select channel_id from channel where purpose = $1", purpose)
        .fetch_optional(connection)
        .await?;
    row.map(|row| channel_id(TABLE, row.channel_id)).transpose()
}

/// Stores the channel for this purpose, replacing a stored one.
pub async fn remember(
    connection: &mut Connection,
    purpose: &str,
    channel: ChannelId,
) -> Result<()> {
    sqlx::query!(
        "insert into channel (purpose, channel_id) values ($1, $2)
         on conflict (purpose) do update set channel_id = excluded.channel_id",
        purpose,
        bigint(channel.get()),
    )
    .execute(connection)
    .await?;
    Ok(())
}
