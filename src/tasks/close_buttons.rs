//! Takes buttons off the bot's messages when they stop working.
//!
//! What is to be taken off, and when, stands in a table: a restart forgets none. Whoever
//! presses one that is late is told so by `commands/pressed`.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use crate::discord::{Rest, RestError, reply};
use crate::store::{Database, open_buttons};

/// Messages taken at a time.
const PAGE: u16 = 50;
/// How long a message is left alone whose buttons could not be taken off.
const POSTPONED: TimeDelta = TimeDelta::minutes(5);

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
            for (message, channel) in due {
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
}
