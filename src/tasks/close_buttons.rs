//! Takes buttons off the bot's messages when they stop working.
//!
//! What is to be taken off, and when, stands in a table: a restart forgets none. Whoever
//! presses one that is late is told so by `commands/pressed`.

use chrono::{DateTime, Utc};

use crate::discord::{Rest, RestError, reply};
use crate::store::{Database, open_buttons};

/// Messages taken at a time.
const PAGE: u16 = 50;

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
        loop {
            let due = open_buttons::due(&mut *self.database.acquire().await?, now, PAGE).await?;
            if due.is_empty() {
                return Ok(());
            }
            let mut failed = None;
            for (message, channel) in due {
                match reply::take_buttons_off(&self.rest, channel.into(), message.into()).await {
                    Ok(()) => {}
                    // The channel is gone, or closed to the bot: it will not get better.
                    Err(error @ RestError::Refused { .. }) => {
                        tracing::debug!(%error, "buttons stay where the bot may not take them off");
                    }
                    // The others need not wait for this one.
                    Err(error) => {
                        failed = Some(error);
                        continue;
                    }
                }
                open_buttons::close(&mut *self.database.acquire().await?, message).await?;
            }
            if let Some(error) = failed {
                return Err(error.into());
            }
        }
    }
}
