//! The tables `history_interval` and `history_counted`: the gaps in the guild's history that were
//! not counted although newer messages were, and what is needed to count them later.
//!
//! Only the engine changes the gaps and the counted messages, in the transaction that moves the
//! watermark. The time of the next attempt does not affect XP, so the caller that attempts it
//! writes it.

use chrono::{DateTime, Utc};

use super::{Connection, Error, Result, bigint, channel_id, message_id, user_id};
use crate::leveling::{ChannelId, HistorySource, MessageId, Rate, UserId, without_nul};

const TABLE: &str = "history_interval";
const COUNTED: &str = "history_counted";

/// A gap: messages of one source that have not been counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryInterval {
    /// Primary key.
    pub id: i64,
    /// The source that could not be read.
    pub source: UnreadSource,
    /// Messages above this id are missing,
    pub after: MessageId,
    /// up to and including this one.
    pub until: MessageId,
    /// Number of attempts to read them.
    pub attempts: u32,
    /// Time of the next attempt.
    pub next_attempt_at: DateTime<Utc>,
}

/// A source that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadSource {
    /// The list in Discord.
    pub source: HistorySource,
    /// The name of its channel, untrusted text. Empty for the guild's active threads.
    pub name: String,
}

/// A counted message, or the known time of an award, near a missing interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CountedMessage {
    /// Its author.
    pub user: UserId,
    /// The message; for an award, the lowest id that a message of its time can have.
    pub message: MessageId,
    /// Whether only the time of an award is known, and not its message.
    pub is_award: bool,
    /// The rate at which the message earns XP; [`Rate::USUAL`] for an award.
    pub rate: Rate,
}

/// The changes to missing history in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryChange {
    /// New gaps: for each source the interval (`after`, `until`].
    pub missing: Vec<(UnreadSource, MessageId, MessageId)>,
    /// The id of an interval, and the message up to which it has been counted.
    pub filled: Option<(i64, MessageId)>,
    /// Counted messages to store.
    pub counted: Vec<CountedMessage>,
    /// Counted messages to delete.
    pub forgotten: Forgotten,
}

/// Which counted messages are no longer needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Forgotten {
    /// All are needed.
    #[default]
    Nothing,
    /// These are not needed.
    These(Vec<CountedMessage>),
    /// None is needed, since no history is missing any more.
    Everything,
}

impl HistoryChange {
    /// Whether there is nothing to save.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn kind(source: HistorySource) -> (&'static str, i64) {
    let kind = match source {
        HistorySource::Messages(_) => "messages",
        HistorySource::ArchivedThreads(_) => "archived_threads",
        HistorySource::ActiveThreads => "active_threads",
    };
    (kind, source.channel().map_or(0, |id| bigint(id.get())))
}

fn source(kind: &str, channel: i64) -> Result<HistorySource> {
    let of_channel =
        |source: fn(ChannelId) -> HistorySource| Ok(source(channel_id(TABLE, channel)?));
    match kind {
        "messages" => of_channel(HistorySource::Messages),
        "archived_threads" => of_channel(HistorySource::ArchivedThreads),
        "active_threads" => Ok(HistorySource::ActiveThreads),
        _ => Err(Error::Corrupt {
            table: TABLE,
            what: "a source of an unknown kind, of channel",
            value: channel,
        }),
    }
}

/// All gaps, oldest first.
pub async fn all(connection: &mut Connection) -> Result<Vec<HistoryInterval>> {
    let rows = sqlx::query!(
        "select id, source, channel_id, name, after_id, until_id, attempts, next_attempt_at
         from history_interval order by after_id, id"
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(HistoryInterval {
                id: row.id,
                source: UnreadSource {
                    source: source(&row.source, row.channel_id)?,
                    name: row.name,
                },
                after: message_id(TABLE, row.after_id)?,
                until: message_id(TABLE, row.until_id)?,
                attempts: super::read(TABLE, "attempts", row.attempts.into(), |count| {
                    u32::try_from(count).ok()
                })?,
                next_attempt_at: row.next_attempt_at,
            })
        })
        .collect()
}

/// Counts a failed attempt for all gaps of a source and sets the next attempt to `next`.
pub async fn postpone(
    connection: &mut Connection,
    source: HistorySource,
    next: DateTime<Utc>,
) -> Result<()> {
    let (kind, channel) = kind(source);
    sqlx::query!(
        "update history_interval set attempts = attempts + 1, next_attempt_at = $3
         where source = $1 and channel_id = $2",
        kind,
        channel,
        next,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes what forged ids from the future left behind. Counted messages above `limit` are
/// deleted, and intervals that end above `limit` end at `newest` instead. Returns whether anything
/// changed.
///
/// An interval that begins at or after `newest` is deleted. The messages before it were never
/// stored as counted. They are read again from the frontier, which was from the future as well.
pub async fn put_back(
    connection: &mut Connection,
    limit: MessageId,
    newest: MessageId,
) -> Result<bool> {
    let (limit, newest) = (bigint(limit.get()), bigint(newest.get()));
    let dropped = sqlx::query!("delete from history_interval where after_id >= $1", newest)
        .execute(&mut *connection)
        .await?;
    let shortened = sqlx::query!(
        "update history_interval set until_id = $2 where until_id > $1",
        limit,
        newest,
    )
    .execute(&mut *connection)
    .await?;
    let forgotten = sqlx::query!("delete from history_counted where message_id > $1", limit)
        .execute(connection)
        .await?;
    let rows = [dropped, shortened, forgotten].map(|done| done.rows_affected());
    Ok(rows.iter().any(|count| *count > 0))
}

/// Saves a change. Call it in the transaction that moves the watermark.
pub async fn save(connection: &mut Connection, change: &HistoryChange) -> Result<()> {
    for (source, after, until) in &change.missing {
        add(connection, source, *after, *until).await?;
    }
    if let Some((id, up_to)) = change.filled {
        fill(connection, id, up_to).await?;
    }
    match &change.forgotten {
        Forgotten::Nothing => {}
        Forgotten::These(rows) => forget(connection, rows).await?,
        Forgotten::Everything => {
            sqlx::query!("delete from history_counted")
                .execute(&mut *connection)
                .await?;
        }
    }
    if !change.counted.is_empty() {
        remember(connection, &change.counted).await?;
    }
    Ok(())
}

async fn add(
    connection: &mut Connection,
    source: &UnreadSource,
    after: MessageId,
    until: MessageId,
) -> Result<()> {
    let (kind, channel) = kind(source.source);
    let (after, until) = (bigint(after.get()), bigint(until.get()));
    // A gap that ends where this one begins is extended: a long gap is found in many batches.
    let longer = sqlx::query!(
        "update history_interval set until_id = $4
         where source = $1 and channel_id = $2 and until_id = $3",
        kind,
        channel,
        after,
        until,
    )
    .execute(&mut *connection)
    .await?;
    if longer.rows_affected() == 0 {
        sqlx::query!(
            "insert into history_interval (source, channel_id, name, after_id, until_id)
             values ($1, $2, $3, $4, $5)",
            kind,
            channel,
            &*without_nul(&source.name),
            after,
            until,
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

async fn fill(connection: &mut Connection, id: i64, up_to: MessageId) -> Result<()> {
    let up_to = bigint(up_to.get());
    sqlx::query!(
        "delete from history_interval where id = $1 and until_id <= $2",
        id,
        up_to,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "update history_interval set after_id = $2 where id = $1 and after_id < $2",
        id,
        up_to,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn remember(connection: &mut Connection, rows: &[CountedMessage]) -> Result<()> {
    let (users, messages) = columns(rows);
    let awards: Vec<bool> = rows.iter().map(|row| row.is_award).collect();
    let rates = rows.iter().map(|row| row.rate.millionths());
    let rates: Vec<i32> = rates.map(u32::cast_signed).collect();
    sqlx::query!(
        "insert into history_counted as stored (user_id, message_id, is_award, rate)
         select distinct on (user_id, message_id) user_id, message_id, is_award, rate
         from unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::integer[])
            as new (user_id, message_id, is_award, rate)
         order by user_id, message_id, is_award
         on conflict (user_id, message_id) do update set is_award = false, rate = excluded.rate
         where stored.is_award and not excluded.is_award",
        &users,
        &messages,
        &awards,
        &rates,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn forget(connection: &mut Connection, rows: &[CountedMessage]) -> Result<()> {
    let (users, messages) = columns(rows);
    sqlx::query!(
        "delete from history_counted using unnest($1::bigint[], $2::bigint[]) as old (user_id, message_id)
         where history_counted.user_id = old.user_id and history_counted.message_id = old.message_id",
        &users,
        &messages,
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn columns(rows: &[CountedMessage]) -> (Vec<i64>, Vec<i64>) {
    let users = rows.iter().map(|row| bigint(row.user.get()));
    let messages = rows.iter().map(|row| bigint(row.message.get()));
    (users.collect(), messages.collect())
}

/// The stored counted messages of these users; of all users if `users` is `None`.
pub async fn counted(
    connection: &mut Connection,
    users: Option<&[UserId]>,
) -> Result<Vec<CountedMessage>> {
    let users: Option<Vec<i64>> =
        users.map(|users| users.iter().map(|user| bigint(user.get())).collect());
    let rows = sqlx::query!(
        "select user_id, message_id, is_award, rate from history_counted
         where $1::bigint[] is null or user_id = any($1) order by user_id, message_id",
        users.as_deref(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(CountedMessage {
                user: user_id(COUNTED, row.user_id)?,
                message: message_id(COUNTED, row.message_id)?,
                is_award: row.is_award,
                rate: super::read(COUNTED, "rate", row.rate.into(), Rate::from_millionths)?,
            })
        })
        .collect()
}
