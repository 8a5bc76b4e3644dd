//! Sends an adjustment (of XP or privacy) to the engine, and turns a failure into a sentence.

use std::time::{Duration, Instant};

use super::context::{Context, Data, Error};
use super::respond::DATABASE_UNAVAILABLE;
use crate::error::UserError;
use crate::leveling::RequestId;
use crate::xp::{Adjusted, Adjustment, AdjustmentError, AdjustmentRequest};

/// Time limit of one attempt. With the engine's grace period it fits into the 3 s in which Discord
/// wants an answer to a slash command.
const ADJUST_TIMEOUT: Duration = Duration::from_millis(1_200);
/// How long a change of points waits for a catch-up, which follows every start, to end.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
const DISCORD_TIME_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends an adjustment. An error says what is known: not saved, possibly saved, or saved before.
pub(super) async fn adjust(
    ctx: Context<'_>,
    request: AdjustmentRequest,
) -> Result<Adjusted, Error> {
    let started = Instant::now();
    let inbox = &ctx.data().bot.inbox;
    let error = loop {
        match inbox.adjust(request.clone(), ADJUST_TIMEOUT).await {
            Ok(changed) => return Ok(changed),
            Err(AdjustmentError::CatchingUp) if started.elapsed() < CATCH_UP_TIMEOUT => {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            Err(error) => break error,
        }
    };
    let sentence = match (error, request.adjustment) {
        (AdjustmentError::NotSaved, _) => DATABASE_UNAVAILABLE,
        (AdjustmentError::Unknown, Adjustment::Hide { .. }) => {
            "The database is not responding, so I don't know whether this was saved. Look again when the database is \
             back."
        }
        (AdjustmentError::Unknown, _) => {
            "The database is not responding, so I don't know whether this was saved. `xp_log` shows it when the \
             database is back."
        }
        (AdjustmentError::CatchingUp, _) => {
            "I am still counting messages from while I was away. Please try again shortly."
        }
        (AdjustmentError::Repeated, _) => "This has been done already.",
    };
    Err(UserError(sentence.to_owned()).into())
}

/// The command's id, by which a change happens only once even if Discord sends the command twice.
/// It also gives the time of the change, so an id from the future is refused.
pub(super) async fn request_id(ctx: Context<'_>) -> Result<RequestId, Error> {
    let id = RequestId::new(ctx.id());
    let id = id.ok_or_else(|| anyhow::anyhow!("the command's id is invalid"))?;
    believed_request(ctx.data(), id).await
}

/// The id of a command or of a pressed button, unless it is from the future.
pub(super) async fn believed_request(data: &Data, id: RequestId) -> Result<RequestId, Error> {
    let (time, as_message) = (&data.bot.env.time, id.as_message());
    if time.believes(as_message) {
        return Ok(id);
    }
    let fresh = time.ask(DISCORD_TIME_TIMEOUT).await;
    if time.rules_out(as_message, fresh) {
        time.refuse("a command", as_message);
        let sentence = "Discord gave this command a time in the future, so I did not run it. Please try again.";
        return Err(UserError(sentence.to_owned()).into());
    }
    Ok(id)
}
