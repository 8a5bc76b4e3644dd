//! The table `watermark`: up to where messages have been applied, in one row.
//!
//! The row is also the fence: it moves only for the bot whose epoch it holds, and
//! only from the batch that this bot saved last.

use super::{Connection, Result, bigint, message_id};
use crate::leveling::MessageId;

/// The row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Everything up to this message has been applied; `None` on a new database.
    pub frontier: Option<MessageId>,
    /// Which bot may write.
    pub owner_epoch: i64,
    /// The last batch that was saved.
    pub batch_no: i64,
}

/// What the row says now.
pub async fn read(connection: &mut Connection) -> Result<Watermark> {
    let row = sqlx::query!("select message_id, owner_epoch, batch_no from watermark")
        .fetch_one(connection)
        .await?;
    Ok(Watermark {
        frontier: frontier(row.message_id)?,
        owner_epoch: row.owner_epoch,
        batch_no: row.batch_no,
    })
}

/// What the row says now, and will say until the transaction ends.
pub async fn lock(connection: &mut Connection) -> Result<Watermark> {
    sqlx::query!("select 1 as one from watermark for update")
        .fetch_one(&mut *connection)
        .await?;
    read(connection).await
}

/// Moves the row on by one batch. `false` if it did not stand at `from`: this
/// batch is saved already, or another bot has taken over; `read` tells which.
pub async fn advance(
    connection: &mut Connection,
    from: Watermark,
    frontier: MessageId,
) -> Result<bool> {
    let moved = sqlx::query!(
        "update watermark set message_id = $1, batch_no = batch_no + 1
         where owner_epoch = $2 and batch_no = $3",
        bigint(frontier.get()),
        from.owner_epoch,
        from.batch_no,
    )
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() == 1)
}

pub(super) fn frontier(value: i64) -> Result<Option<MessageId>> {
    (value != 0)
        .then(|| message_id("watermark", value))
        .transpose()
}
