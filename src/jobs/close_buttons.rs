//! Takes buttons off the bot's messages when they stop working.
//!
//! What is to be taken off, and when, stands in a table: a restart forgets none. Whoever
//! presses one that is late is told so by `commands/pressed`.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use crate::discord::{Rest, RestError, interaction, reply};
use crate::leveling::MessageId;
use crate::store::open_buttons::{AnsweredInteraction, WithButtons};
use crate::store::{Database, open_buttons};

/// Messages taken at a time.
const PAGE: u16 = 50;
/// How long a message is left alone whose buttons could not be taken off.
const POSTPONED: TimeDelta = TimeDelta::minutes(5);
/// The same while an interaction's token is about to expire.
const POSTPONED_WITH_TOKEN: TimeDelta = TimeDelta::seconds(15);

/// What the task works with.
#[derive(Debug)]
pub struct CloseButtons {
    /// Where they are remembered.
    pub database: Database,
    /// Edits the messages.
    pub rest: Rest,
}

impl CloseButtons {
    /// Takes off everything that is due at `now`.
    pub async fn run_once(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let (mut failed, mut failing_channels) = (None, BTreeSet::new());
        loop {
            let due = open_buttons::due(&mut *self.database.acquire().await?, now, PAGE).await?;
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
                        open_buttons::close(&mut *self.database.acquire().await?, message).await?;
                        continue;
                    }
                    ByToken::NotNow(error) => {
                        failed = failed.or(Some(error));
                        let (mut session, next) =
                            (self.database.acquire().await?, now + POSTPONED_WITH_TOKEN);
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
                    Some(reply::take_buttons_off(&self.rest, channel.into(), message.into()).await)
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
                        let mut session = self.database.acquire().await?;
                        open_buttons::postpone(&mut session, message, now + POSTPONED).await?;
                        continue;
                    }
                }
                open_buttons::close(&mut *self.database.acquire().await?, message).await?;
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    async fn by_token(&self, interaction: &AnsweredInteraction, message: MessageId) -> ByToken {
        match interaction::take_buttons_off(&self.rest, interaction, message.into()).await {
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
