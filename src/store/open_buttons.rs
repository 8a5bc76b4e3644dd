//! The table `open_buttons`: messages whose buttons are still to be taken off.
//!
//! Knows when, and nothing of what the buttons do.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};

use super::{Connection, Result, bigint, channel_id, message_id, read, timestamptz};
use crate::leveling::{ChannelId, MessageId, Timestamp};

const TABLE: &str = "open_buttons";

/// Longer than any buttons work.
const LATEST: TimeDelta = TimeDelta::hours(1);

/// A message that shows buttons.
#[derive(Clone, Debug)]
pub struct WithButtons {
    /// Which.
    pub message: MessageId,
    /// Where it is.
    pub channel: ChannelId,
    /// What it answers, unless a text.
    pub interaction: Option<AnsweredInteraction>,
}

/// With what an answer to an interaction can be changed for 15 minutes.
#[derive(Clone, Debug)]
pub struct AnsweredInteraction {
    /// The application that it came to.
    pub application: u64,
    /// The interaction's token.
    pub token: SecretString,
}

/// Remembers that a message shows buttons until `closes_at`. For one that is remembered
/// already the later call counts.
pub async fn open(
    connection: &mut Connection,
    shown: &WithButtons,
    closes_at: Timestamp,
) -> Result<()> {
    let interaction = shown.interaction.as_ref();
    sqlx::query!(
        "insert into open_buttons (message_id, channel_id, closes_at, application_id, token)
         values ($1, $2, $3, $4, $5)
         on conflict (message_id) do update set
            channel_id = excluded.channel_id, closes_at = excluded.closes_at,
            application_id = excluded.application_id, token = excluded.token",
        bigint(shown.message.get()),
        bigint(shown.channel.get()),
        timestamptz(closes_at),
        interaction.map(|one| bigint(one.application)),
        interaction.map(|one| one.token.expose_secret()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// At most `limit` messages whose buttons are to be taken off at `now`, oldest first; and
/// those that would stay for longer than any may, where an id said so.
pub async fn due(
    connection: &mut Connection,
    now: DateTime<Utc>,
    limit: u16,
) -> Result<Vec<WithButtons>> {
    let rows = sqlx::query!(
        "select message_id, channel_id, application_id, token from open_buttons
         where closes_at <= $1 or closes_at > $2 order by closes_at, message_id limit $3",
        now,
        now + LATEST,
        i64::from(limit),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let application = row
                .application_id
                .map(|id| read(TABLE, "application_id", id, Some));
            let interaction = application.transpose()?.zip(row.token);
            Ok(WithButtons {
                message: message_id(TABLE, row.message_id)?,
                channel: channel_id(TABLE, row.channel_id)?,
                interaction: interaction.map(|(application, token)| AnsweredInteraction {
                    application,
                    token: token.into(),
                }),
            })
        })
        .collect()
}

/// Leaves a message alone until `until`.
pub async fn postpone(
    connection: &mut Connection,
    message: MessageId,
    until: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "update open_buttons set closes_at = $2 where message_id = $1",
        bigint(message.get()),
        until,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets a message: its buttons are off, or it is gone.
pub async fn close(connection: &mut Connection, message: MessageId) -> Result<()> {
    sqlx::query!(
        "delete from open_buttons where message_id = $1",
        bigint(message.get())
    )
    .execute(connection)
    .await?;
    Ok(())
}
