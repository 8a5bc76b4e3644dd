//! Sends an adjustment (of XP or privacy) or a change of a rule to the engine, and turns a failure into a sentence.

use std::time::{Duration, Instant};

use super::context::{Context, Data, Error};
use super::respond::DATABASE_UNAVAILABLE;
use crate::error::UserError;
use crate::leveling::RequestId;
use crate::xp::{
    Adjusted, Adjustment, AdjustmentError, AdjustmentRequest, RuleAnswer, RuleRequest,
};

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
    Err(refused(
        error,
        match request.adjustment {
            Adjustment::Hide { .. } => "Look again when the database is back.",
            _ => "`xp_log` shows it when the database is back.",
        },
    ))
}

/// Sends a change of a rule on XP, as [`adjust`] does. It need not wait for a catch-up.
pub(super) async fn change_rule(
    ctx: Context<'_>,
    request: RuleRequest,
) -> Result<RuleAnswer, Error> {
    let changed = ctx
        .data()
        .bot
        .inbox
        .change_rule(request, ADJUST_TIMEOUT)
        .await;
    changed.map_err(|error| refused(error, "`xp_rules` shows it when the database is back."))
}

/// The error for the caller. `where_to_look` tells them how to find out whether it was saved.
fn refused(error: AdjustmentError, where_to_look: &str) -> Error {
    let sentence = match error {
        AdjustmentError::NotSaved => DATABASE_UNAVAILABLE.to_owned(),
        AdjustmentError::Unknown => format!(
            "The database is not responding, so I don't know whether this was saved. {where_to_look}"
        ),
        AdjustmentError::CatchingUp => {
            "I am still counting messages from while I was away. Please try again shortly."
                .to_owned()
        }
        AdjustmentError::Repeated => "This has been done already.".to_owned(),
    };
    UserError(sentence).into()
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
