//! Removes the buttons from the bot's messages when they stop working.
//!
//! The database holds which buttons expire and when, so a restart loses none. If someone presses a
//! button that should be gone, `commands/components` tells them that it has expired.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::discord::RestError;
use crate::discord::messages::{interaction, reply};
use crate::environment::Environment;
use crate::job::Job;
use crate::leveling::MessageId;
use crate::store::open_buttons::{self, AnsweredInteraction, WithButtons};

/// Messages read from the database at a time.
const BATCH_SIZE: u16 = 50;
/// Retry delay after a message's buttons could not be removed.
const RETRY_DELAY: TimeDelta = TimeDelta::minutes(5);
/// Retry delay while an interaction's token is still valid; short, because it expires soon.
const TOKEN_RETRY_DELAY: TimeDelta = TimeDelta::seconds(15);

/// The job that removes expired buttons.
#[derive(Debug)]
pub struct CloseButtons {
    env: Environment,
}

impl Job for CloseButtons {
    const NAME: &'static str = "close-buttons";
    const CADENCE: Duration = Duration::from_secs(5);

    async fn run_once(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        // While Discord's time is not known, a wrong machine clock could make all buttons look
        // expired. Waiting is harmless: expired buttons do nothing when pressed.
        if self.env.time.is_known() {
            self.close(now).await?;
        }
        Ok(())
    }
}

impl CloseButtons {
    /// Uses the environment's database and REST client.
    pub fn new(env: &Environment) -> Self {
        Self { env: env.clone() }
    }

    async fn close(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let (mut failed, mut failing_channels) = (None, BTreeSet::new());
        loop {
            let due = open_buttons::due(&mut *self.env.database.acquire().await?, now, BATCH_SIZE)
                .await?;
            if due.is_empty() {
                break;
            }
            for shown in due {
                let WithButtons {
                    message,
                    channel,
                    interaction,
                } = shown;
                let by_token = match &interaction {
                    Some(interaction) => self.by_token(interaction, message).await,
                    None => ByToken::Expired,
                };
                match by_token {
                    ByToken::Done => {
                        open_buttons::remove(&mut *self.env.database.acquire().await?, message)
                            .await?;
                        continue;
                    }
                    ByToken::NotNow(error) => {
                        failed = failed.or(Some(error));
                        let (mut session, next) =
                            (self.env.database.acquire().await?, now + TOKEN_RETRY_DELAY);
                        open_buttons::postpone(&mut session, message, next).await?;
                        continue;
                    }
                    ByToken::Expired => {}
                }
                // After one failure in a channel, skip its other messages: Discord limits how often
                // messages older than an hour may be edited there, so more requests would fail too.
                let outcome = if failing_channels.contains(&channel) {
                    None
                } else {
                    Some(
                        reply::take_buttons_off(&self.env.rest, channel.into(), message.into())
                            .await,
                    )
                };
                match outcome {
                    Some(Ok(())) => {}
                    // The channel is gone or the bot has no access; a retry would not help.
                    Some(Err(error @ RestError::Refused { .. })) => {
                        tracing::debug!(%error, "buttons stay where the bot may not take them off");
                    }
                    unanswered => {
                        failing_channels.insert(channel);
                        failed = failed.or(unanswered.and_then(Result::err));
                        let mut session = self.env.database.acquire().await?;
                        open_buttons::postpone(&mut session, message, now + RETRY_DELAY).await?;
                        continue;
                    }
                }
                open_buttons::remove(&mut *self.env.database.acquire().await?, message).await?;
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Removes the buttons with the interaction's token, which needs no access to the channel.
    async fn by_token(&self, interaction: &AnsweredInteraction, message: MessageId) -> ByToken {
        match interaction::take_buttons_off(&self.env.rest, interaction, message.into()).await {
            Ok(()) => ByToken::Done,
            Err(RestError::Refused { .. }) => ByToken::Expired,
            Err(error) => ByToken::NotNow(error),
        }
    }
}

/// The result of removing buttons with an interaction's token.
enum ByToken {
    Done,
    /// Discord did not answer.
    NotNow(RestError),
    /// There is no token or it no longer works; the message must be edited like any other.
    Expired,
}
