//! Takes buttons off the bot's messages when they stop working.
//!
//! What is to be taken off, and when, stands in a table: a restart forgets none. Whoever
//! presses one that is late is told so by `commands/components`.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::discord::{RestError, interaction, reply};
use crate::environment::Environment;
use crate::job::Job;
use crate::leveling::MessageId;
use crate::store::open_buttons::{self, AnsweredInteraction, WithButtons};

/// Messages taken at a time.
const PAGE: u16 = 50;
/// How long a message is left alone whose buttons could not be taken off.
const POSTPONED: TimeDelta = TimeDelta::minutes(5);
/// The same while an interaction's token is about to expire.
const POSTPONED_WITH_TOKEN: TimeDelta = TimeDelta::seconds(15);

/// Takes buttons off.
#[derive(Debug)]
pub struct CloseButtons {
    env: Environment,
}

impl Job for CloseButtons {
    const NAME: &'static str = "close-buttons";
    const CADENCE: Duration = Duration::from_secs(5);

    async fn run_once(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        // By the machine's clock alone they could go at once: whoever presses one that is late is
        // told so all the same.
        if self.env.time.is_known() {
            self.close(now).await?;
        }
        Ok(())
    }
}

impl CloseButtons {
    /// The job.
    pub fn new(env: &Environment) -> Self {
        Self { env: env.clone() }
    }

    async fn close(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let (mut failed, mut failing_channels) = (None, BTreeSet::new());
        loop {
            let due =
                open_buttons::due(&mut *self.env.database.acquire().await?, now, PAGE).await?;
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
                        open_buttons::close(&mut *self.env.database.acquire().await?, message)
                            .await?;
                        continue;
                    }
                    ByToken::NotNow(error) => {
                        failed = failed.or(Some(error));
                        let (mut session, next) = (
                            self.env.database.acquire().await?,
                            now + POSTPONED_WITH_TOKEN,
                        );
                        open_buttons::postpone(&mut session, message, next).await?;
                        continue;
                    }
                    ByToken::Expired => {}
                }
                // One refusal says enough about its channel: Discord limits how often messages
                // older than an hour are edited there, and asking again would not help.
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
                    // The channel is gone, or closed to the bot: it will not get better.
                    Some(Err(error @ RestError::Refused { .. })) => {
                        tracing::debug!(%error, "buttons stay where the bot may not take them off");
                    }
                    unanswered => {
                        failing_channels.insert(channel);
                        failed = failed.or(unanswered.and_then(Result::err));
                        let mut session = self.env.database.acquire().await?;
                        open_buttons::postpone(&mut session, message, now + POSTPONED).await?;
                        continue;
                    }
                }
                open_buttons::close(&mut *self.env.database.acquire().await?, message).await?;
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

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
    /// There is none, or it is of no use any more: the message is changed as any other.
    Expired,
}
