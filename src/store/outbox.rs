//! The table `outbox`: committed level-ups that must still be announced, with the roles that they
//! bring.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::durable_queue::impossibly_late;
use super::{Connection, Result, bigint, channel_id, level_number, message_id, user_id};
use crate::leveling::{ChannelId, LevelNumber, MessageId, UserId};

const TABLE: &str = "outbox";

/// No row is postponed for as long as this.
const MAX_DELAY: TimeDelta = TimeDelta::minutes(10);

/// A level that a user reached through a message. One message can cause level-ups of several users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelUp {
    /// The message that caused it.
    pub message: MessageId,
    /// The user who reached the level.
    pub user: UserId,
    /// The channel of the message, where the level-up is announced.
    pub channel: ChannelId,
    /// The level before; `None` if the user had none yet or it is not known.
    pub from: Option<LevelNumber>,
    /// The level reached.
    pub level: LevelNumber,
}

/// A level-up that has not been announced yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingLevelUp {
    /// The level-up to announce.
    pub level_up: LevelUp,
    /// Failed attempts so far.
    pub attempts: u32,
    /// Whether the user has received the roles that it brings.
    pub roles_given: bool,
    /// The message of the first level-up that it is announced together with, if any.
    pub told_with: Option<MessageId>,
}

/// Selects rows by the ids of their messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// All rows.
    Any,
    /// Rows whose message has this id or a higher one.
    From(MessageId),
    /// Rows whose message has a lower id.
    Before(MessageId),
}

impl Age {
    /// The first selected id, and the first id after the selection.
    fn ids(self) -> (i64, i64) {
        match self {
            Self::Any => (0, i64::MAX),
            Self::From(message) => (bigint(message.get()), i64::MAX),
            Self::Before(message) => (0, bigint(message.get())),
        }
    }
}

/// Adds the level-ups of a batch. Rows that exist already stay as they are.
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
    let from_levels: Vec<Option<i32>> = level_ups
        .iter()
        .map(|row| row.from.map(|level| level.0.into()))
        .collect();
    let levels: Vec<i32> = level_ups.iter().map(|row| row.level.0.into()).collect();
    sqlx::query!(
        "insert into outbox (message_id, user_id, channel_id, from_level, level)
         select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::integer[], $5::integer[]) order by 1, 2
         on conflict (message_id, user_id) do nothing",
        &messages,
        &users,
        &channels,
        &from_levels as &[Option<i32>],
        &levels,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes the rows of these users that are held back until the catch-up is over. Returns for each
/// user the level from which they rose, which is that of their first row.
pub async fn take_held(
    connection: &mut Connection,
    users: &[UserId],
) -> Result<BTreeMap<UserId, Option<LevelNumber>>> {
    let users: Vec<i64> = users.iter().map(|user| bigint(user.get())).collect();
    let rows = sqlx::query!(
        "with held as (
            select message_id, user_id from outbox
            where message_id >= (select lines_held_from from watermark) and user_id = any($1)
            order by message_id, user_id for update
         )
         delete from outbox using held
         where outbox.message_id = held.message_id and outbox.user_id = held.user_id
         returning outbox.message_id, outbox.user_id, from_level",
        &users,
    )
    .fetch_all(connection)
    .await?;
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|row| {
            let from = row
                .from_level
                .map(|level| level_number(TABLE, "from_level", level))
                .transpose()?;
            Ok((row.message_id, user_id(TABLE, row.user_id)?, from))
        })
        .collect::<Result<_>>()?;
    // Newest first: `collect` keeps the last entry of a user, which is the oldest row.
    rows.sort_unstable_by_key(|&(message, ..)| std::cmp::Reverse(message));
    Ok(rows
        .into_iter()
        .map(|(_, user, from)| (user, from))
        .collect())
}

/// At most `limit` rows that are due at `now`, oldest first, without those of a catch-up that is
/// still running.
pub async fn due(
    connection: &mut Connection,
    now: DateTime<Utc>,
    age: Age,
    limit: u16,
) -> Result<Vec<PendingLevelUp>> {
    let (from, before) = age.ids();
    let rows = sqlx::query!(
        "select message_id, user_id, channel_id, from_level, level, attempts, roles_given, told_with
         from outbox where (next_attempt_at <= $1 or next_attempt_at > $2)
            and message_id < (select coalesce(lines_held_from, 9223372036854775807) from watermark)
            and message_id >= $3 and message_id < $4
         order by message_id, user_id limit $5",
        now,
        impossibly_late(now, MAX_DELAY),
        from,
        before,
        i64::from(limit),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(PendingLevelUp {
                level_up: LevelUp {
                    message: message_id(TABLE, row.message_id)?,
                    user: user_id(TABLE, row.user_id)?,
                    channel: channel_id(TABLE, row.channel_id)?,
                    from: row
                        .from_level
                        .map(|level| level_number(TABLE, "from_level", level))
                        .transpose()?,
                    level: level_number(TABLE, "level", row.level)?,
                },
                attempts: super::read(TABLE, "attempts", row.attempts.into(), |count| {
                    u32::try_from(count).ok()
                })?,
                roles_given: row.roles_given,
                told_with: row
                    .told_with
                    .map(|message| message_id(TABLE, message))
                    .transpose()?,
            })
        })
        .collect()
}

/// Records that the user has received the roles; only the announcement is left.
pub async fn roles_given(
    connection: &mut Connection,
    message: MessageId,
    user: UserId,
) -> Result<()> {
    sqlx::query!(
        "update outbox set roles_given = true where message_id = $1 and user_id = $2",
        bigint(message.get()),
        bigint(user.get()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes a row that was delivered or can never be delivered.
pub async fn remove(connection: &mut Connection, message: MessageId, user: UserId) -> Result<()> {
    sqlx::query!(
        "delete from outbox where message_id = $1 and user_id = $2",
        bigint(message.get()),
        bigint(user.get()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts a failed attempt of a row and sets the next one to `next`.
pub async fn postpone(
    connection: &mut Connection,
    message: MessageId,
    user: UserId,
    next: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "update outbox set attempts = attempts + 1, next_attempt_at = $3
         where message_id = $1 and user_id = $2",
        bigint(message.get()),
        bigint(user.get()),
        next,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records that these rows, by message and user, are announced together with the row of the
/// message `told_with`.
pub async fn tell_together(
    connection: &mut Connection,
    rows: &[(MessageId, UserId)],
    told_with: MessageId,
) -> Result<()> {
    let (messages, users) = columns(rows);
    sqlx::query!(
        "with told as (
            select message_id, user_id from outbox
            where (message_id, user_id) in (
                select * from unnest($1::bigint[], $2::bigint[])
            )
            order by message_id, user_id for update
         )
         update outbox set told_with = $3 from told
         where outbox.message_id = told.message_id and outbox.user_id = told.user_id",
        &messages,
        &users,
        bigint(told_with.get()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes rows in one statement.
pub async fn remove_all(connection: &mut Connection, rows: &[(MessageId, UserId)]) -> Result<()> {
    let (messages, users) = columns(rows);
    sqlx::query!(
        "with told as (
            select message_id, user_id from outbox
            where (message_id, user_id) in (
                select * from unnest($1::bigint[], $2::bigint[])
            )
            order by message_id, user_id for update
         )
         delete from outbox using told
         where outbox.message_id = told.message_id and outbox.user_id = told.user_id",
        &messages,
        &users,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts a failed attempt of each row and sets the next one to `next`, in one statement.
pub async fn postpone_all(
    connection: &mut Connection,
    rows: &[(MessageId, UserId)],
    next: DateTime<Utc>,
) -> Result<()> {
    let (messages, users) = columns(rows);
    sqlx::query!(
        "with told as (
            select message_id, user_id from outbox
            where (message_id, user_id) in (
                select * from unnest($1::bigint[], $2::bigint[])
            )
            order by message_id, user_id for update
         )
         update outbox set attempts = attempts + 1, next_attempt_at = $3 from told
         where outbox.message_id = told.message_id and outbox.user_id = told.user_id",
        &messages,
        &users,
        next,
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn columns(rows: &[(MessageId, UserId)]) -> (Vec<i64>, Vec<i64>) {
    let ids = rows.iter();
    ids.map(|(message, user)| (bigint(message.get()), bigint(user.get())))
        .unzip()
}
