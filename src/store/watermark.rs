//! The table `watermark`: up to where messages have been applied, in one row.
//!
//! The row is also the fence: it moves only for the bot whose epoch it holds, and
//! only from the batch that this bot saved last. It never decides by a clock.

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

/// Why a bot may not write any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Another bot has taken over; this one must end.
    #[error("another wall_e has taken over the database")]
    TakenOver,
    /// Postgres is further back than this bot left it: a failover or a restore has
    /// undone commits. What they held is read again by whoever starts from the row.
    #[error("the database has lost what was saved in it")]
    Rewound,
}

impl Watermark {
    /// What has become of a batch that was to move this row on to `frontier`, and found
    /// `now` in its place: saved already, or why it never can be. A frontier is `None` where
    /// something was saved before there was any message.
    pub fn outcome(self, frontier: Option<MessageId>, now: Self) -> std::result::Result<(), Lost> {
        let saved = Self {
            frontier,
            batch_no: self.batch_no + 1,
            ..self
        };
        if now == saved {
            return Ok(());
        }
        let place = |row: Self| (row.owner_epoch, row.batch_no);
        Err(if place(now) > place(self) {
            Lost::TakenOver
        } else {
            Lost::Rewound
        })
    }
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

/// What a batch does with the level-up lines of a catch-up that is saved in several batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldLines {
    /// It does not concern them.
    Keep,
    /// More batches follow: lines of messages from this one on wait, also those of a catch-up
    /// that ended in the middle.
    HoldFrom(MessageId),
    /// None are held any more.
    Release,
}

/// Moves the row on by one batch. `false` if it did not stand at `from`: this
/// batch is saved already, or another bot has taken over; `read` tells which.
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

/// The catch-up is over: its level-up lines are due.
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
            // Not ours, whoever it was.
            (row(120, 7, 21), Err(Lost::TakenOver)),
            (row(90, 7, 19), Err(Lost::Rewound)),
            // It came back while we looked.
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
