//! The table `outbox`: what Discord must still be told after a commit.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Connection, Result, bigint, channel_id, message_id, user_id};
use crate::leveling::{ChannelId, LevelNumber, MessageId, UserId};

const TABLE: &str = "outbox";

/// Longer than anything is ever postponed.
const LATEST: TimeDelta = TimeDelta::minutes(10);

/// A level that a message brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelUp {
    /// The message that brought it.
    pub message: MessageId,
    /// Who reached it.
    pub user: UserId,
    /// Where they spoke, and are congratulated.
    pub channel: ChannelId,
    /// The level reached.
    pub level: LevelNumber,
}

/// A level-up that has not been announced yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// What to announce.
    pub level_up: LevelUp,
    /// Failed attempts so far.
    pub attempts: u32,
}

/// Adds the level-ups of a batch.
pub async fn add(connection: &mut Connection, level_ups: &[LevelUp]) -> Result<()> {
    let messages: Vec<i64> = level_ups
        .iter()
        .map(|row| bigint(row.message.get()))
        .collect();
    let users: Vec<i64> = level_ups.iter().map(|row| bigint(row.user.get())).collect();
    let channels: Vec<i64> = level_ups
        .iter()
        .map(|row| bigint(row.channel.get()))
        .collect();
    let levels: Vec<i32> = level_ups.iter().map(|row| row.level.0.into()).collect();
    sqlx::query!(
        "insert into outbox (message_id, user_id, channel_id, level)
         select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::integer[])
         on conflict (message_id) do nothing",
        &messages,
        &users,
        &channels,
        &levels,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// At most `limit` rows that are due at `now`, oldest first. One that is due later
/// than any wait would explain was written before the clock was set back.
pub async fn due(
    connection: &mut Connection,
    now: DateTime<Utc>,
    limit: u16,
) -> Result<Vec<Pending>> {
    let rows = sqlx::query!(
        "select message_id, user_id, channel_id, level, attempts from outbox
         where next_attempt_at <= $1 or next_attempt_at > $2 order by message_id limit $3",
        now,
        now + LATEST,
        i64::from(limit),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Pending {
                level_up: LevelUp {
                    message: message_id(TABLE, row.message_id)?,
                    user: user_id(TABLE, row.user_id)?,
                    channel: channel_id(TABLE, row.channel_id)?,
                    level: super::read(TABLE, "level", row.level.into(), |number| {
                        u16::try_from(number).ok().map(LevelNumber)
                    })?,
                },
                attempts: super::read(TABLE, "attempts", row.attempts.into(), |count| {
                    u32::try_from(count).ok()
                })?,
            })
        })
        .collect()
}

/// Forgets a row: it was delivered, or never can be.
pub async fn remove(connection: &mut Connection, message: MessageId) -> Result<()> {
    sqlx::query!(
        "delete from outbox where message_id = $1",
        bigint(message.get())
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Tries a row again at `next`.
pub async fn postpone(
    connection: &mut Connection,
    message: MessageId,
    next: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "update outbox set attempts = attempts + 1, next_attempt_at = $2 where message_id = $1",
        bigint(message.get()),
        next,
    )
    .execute(connection)
    .await?;
    Ok(())
}
