//! The table `watermark`: one row with the message up to which everything has been applied.
//!
//! The row also works as a fencing token: an update succeeds only for the bot whose epoch it holds,
//! and only from the batch that this bot saved last. No clock is involved.

use super::{Connection, Result, bigint, message_id};
use crate::leveling::MessageId;

/// The row's columns that fence writes and mark progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Everything up to this message has been applied; `None` on a new database.
    pub frontier: Option<MessageId>,
    /// The epoch of the bot that may write.
    pub owner_epoch: i64,
    /// The number of the batch that was saved last.
    pub batch_no: i64,
}

/// Why a bot may not write any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Another bot has taken over; this one must end.
    #[error("another wall_e has taken over the database")]
    TakenOver,
    /// Postgres is at an earlier state than this bot left it: a failover or a restore has undone
    /// commits. The next owner starts from the row and reads the lost messages again.
    #[error("the database has lost what was saved in it")]
    Rewound,
}

impl Watermark {
    /// The outcome of a batch that should move this row to `frontier` but found `now` instead: `Ok`
    /// if the batch has been saved already, otherwise why it can never be saved. `frontier` is
    /// `None` if there was no message yet.
    pub fn outcome(self, frontier: Option<MessageId>, now: Self) -> std::result::Result<(), Lost> {
        let saved = Self {
            frontier,
            batch_no: self.batch_no + 1,
            ..self
        };
        if now == saved {
            return Ok(());
        }
        let position = |row: Self| (row.owner_epoch, row.batch_no);
        Err(if position(now) > position(self) {
            Lost::TakenOver
        } else {
            Lost::Rewound
        })
    }
}

/// Reads the row.
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

/// Locks the row until the transaction ends, and reads it.
pub async fn lock(connection: &mut Connection) -> Result<Watermark> {
    sqlx::query!("select 1 as one from watermark for update")
        .fetch_one(&mut *connection)
        .await?;
    read(connection).await
}

/// What a batch does with the level-up announcements of a catch-up that takes several batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldLines {
    /// It leaves them as they are.
    Keep,
    /// More batches follow: announcements for messages from this one on are held back. If earlier
    /// ones are held back already, because a catch-up was interrupted, they stay so.
    HoldFrom(MessageId),
    /// None is held back any more.
    Release,
}

/// Moves the row on by one batch. `false` if it was not at `from`: this batch has been saved
/// already, or the lease is lost. [`read`] and [`Watermark::outcome`] tell which.
pub async fn advance(
    connection: &mut Connection,
    from: Watermark,
    frontier: Option<MessageId>,
    lines: HeldLines,
) -> Result<bool> {
    let hold_from = match lines {
        HeldLines::HoldFrom(message) => Some(bigint(message.get())),
        HeldLines::Keep | HeldLines::Release => None,
    };
    let moved = sqlx::query!(
        "update watermark set message_id = $1, batch_no = batch_no + 1,
            lines_held_from = case when $4 then null
                else least(lines_held_from, $5::bigint) end
         where owner_epoch = $2 and batch_no = $3",
        frontier.map_or(0, |message| bigint(message.get())),
        from.owner_epoch,
        from.batch_no,
        lines == HeldLines::Release,
        hold_from,
    )
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() == 1)
}

/// Releases the level-up announcements that were held back, after the catch-up ended.
pub async fn release_lines(connection: &mut Connection) -> Result<()> {
    sqlx::query!("update watermark set lines_held_from = null where lines_held_from is not null")
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) fn frontier(value: i64) -> Result<Option<MessageId>> {
    (value != 0)
        .then(|| message_id("watermark", value))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_not_where_it_was_left_says_why() {
        let row = |frontier, owner_epoch, batch_no| Watermark {
            frontier: MessageId::new(frontier),
            owner_epoch,
            batch_no,
        };
        let (left, frontier) = (row(100, 7, 20), MessageId::new(110));
        for (now, expected) in [
            (row(110, 7, 21), Ok(())),
            (row(100, 8, 20), Err(Lost::TakenOver)),
            (row(110, 8, 21), Err(Lost::TakenOver)),
            (row(90, 8, 3), Err(Lost::TakenOver)),
            // The frontier is not the one that this bot would have written.
            (row(120, 7, 21), Err(Lost::TakenOver)),
            (row(90, 7, 19), Err(Lost::Rewound)),
            // The batch found another row, but now the old one is back.
            (row(100, 7, 20), Err(Lost::Rewound)),
            (row(90, 6, 19), Err(Lost::Rewound)),
            (row(130, 6, 25), Err(Lost::Rewound)),
        ] {
            assert_eq!(left.outcome(frontier, now), expected, "{now:?}");
        }
        // A new database, and a batch without any message.
        let new = row(0, 7, 0);
        for (now, expected) in [
            (row(0, 7, 1), Ok(())),
            (row(0, 8, 0), Err(Lost::TakenOver)),
            (row(110, 7, 1), Err(Lost::TakenOver)),
            (new, Err(Lost::Rewound)),
        ] {
            assert_eq!(new.outcome(None, now), expected, "{now:?}");
        }
    }
}
