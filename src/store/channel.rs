//! The table `channel`: the channels in which the bot keeps its own messages, by purpose.
//!
//! Knows an id, and not whether Discord still has a channel of it.

use super::{Connection, Result, bigint, channel_id};
use crate::leveling::ChannelId;

const TABLE: &str = "channel";

/// The channel of this purpose, if one is remembered.
pub async fn of_purpose(connection: &mut Connection, purpose: &str) -> Result<Option<ChannelId>> {
    let row = sqlx::query!("select channel_id from channel where purpose = $1", purpose)
        .fetch_optional(connection)
        .await?;
    row.map(|row| channel_id(TABLE, row.channel_id)).transpose()
}

/// Remembers the channel of this purpose, in the place of another.
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
