//! The table `open_buttons`: messages whose buttons must be removed later.
//!
//! Stores when to remove them and nothing about what the buttons do.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};

use super::durable_queue::impossibly_late;
use super::{Connection, Result, bigint, channel_id, message_id, read, timestamptz};
use crate::leveling::{ChannelId, MessageId, Timestamp, without_nul};

const TABLE: &str = "open_buttons";

/// No buttons stay usable for as long as this.
const MAX_DELAY: TimeDelta = TimeDelta::hours(1);

/// A message that shows buttons.
#[derive(Clone, Debug)]
pub struct WithButtons {
    /// The message's id.
    pub message: MessageId,
    /// The message's channel.
    pub channel: ChannelId,
    /// The interaction that the message responds to; `None` for a reply to a text command.
    pub interaction: Option<AnsweredInteraction>,
}

/// What Discord requires for editing the response to an interaction, which is possible for 15
/// minutes.
#[derive(Clone, Debug)]
pub struct AnsweredInteraction {
    /// The id of the application that received it.
    pub application: u64,
    /// The interaction's token.
    pub token: SecretString,
}

/// Stores that a message shows buttons until `closes_at`, replacing what is stored for it.
pub async fn add(
    connection: &mut Connection,
    shown: &WithButtons,
    closes_at: Timestamp,
) -> Result<()> {
    let interaction = shown.interaction.as_ref();
    let token = interaction.map(|one| without_nul(one.token.expose_secret()));
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
        token.as_deref(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// At most `limit` messages whose buttons are due for removal at `now`, oldest first. A message
/// that is due more than an hour later got its time from a wrong id, so it is due too.
pub async fn due(
    connection: &mut Connection,
    now: DateTime<Utc>,
    limit: u16,
) -> Result<Vec<WithButtons>> {
    let rows = sqlx::query!(
        "select message_id, channel_id, application_id, token from open_buttons
         where closes_at <= $1 or closes_at > $2 order by closes_at, message_id limit $3",
        now,
        impossibly_late(now, MAX_DELAY),
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

/// Postpones the removal of a message's buttons to `until`.
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

/// Deletes the row of a message that has no buttons any more or was deleted.
pub async fn remove(connection: &mut Connection, message: MessageId) -> Result<()> {
    sqlx::query!(
        "delete from open_buttons where message_id = $1",
        bigint(message.get())
    )
    .execute(connection)
    .await?;
    Ok(())
}
