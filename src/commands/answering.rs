//! How a command is answered, and what is said when it fails.
//!
//! Decides nothing about XP; only who sees what, and what goes to the log instead.

use std::sync::atomic::Ordering;
use std::time::Duration;

use poise::serenity_prelude as serenity;
use poise::{ApplicationContext, CommandInteractionType, FrameworkError};

use super::{Context, Data, Error, usage};
use crate::discord::interaction::Asked;
use crate::discord::reply::Reply;
use crate::discord::{RestError, buttons};
use crate::error::UserError;
use crate::leveling::{ChannelId, MessageId};
use crate::store;

/// How long a command waits for the messages before it to be counted. Discord gives
/// a slash command three seconds in all.
const SETTLE: Duration = Duration::from_millis(800);

/// Said when the reason is not the person's business.
const FAILED: &str = "That did not work; the reason is in the bot's log.";

/// Said when the database is the reason, which is nobody's fault and passes.
pub(super) const AWAY: &str = "The database is away, try again shortly.";

/// The answer itself could not be given: there is no use in another one that says so.
#[derive(Debug, thiserror::Error)]
#[error("it could not be answered: {0}")]
struct NotAnswered(RestError);

/// Said when Discord is the reason.
pub(super) const SILENT: &str = "Discord does not answer just now; try again shortly.";

/// Where an answer stands that everyone sees, to be completed later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub channel: serenity::ChannelId,
    pub message: serenity::MessageId,
}

/// Says something to whoever ran the command, and where it stands then, if Discord tells.
pub(super) async fn answer_at(ctx: Context<'_>, reply: &Reply) -> Result<Option<Place>, Error> {
    let posted = say(ctx, reply).await.map_err(NotAnswered)?;
    Ok(posted.map(|message| Place {
        channel: ctx.channel_id(),
        message,
    }))
}

/// Says something to whoever ran the command.
pub(super) async fn answer(ctx: Context<'_>, reply: Reply) -> Result<(), Error> {
    let posted = say(ctx, &reply).await.map_err(NotAnswered)?;
    if let Some(message) = posted.filter(|_| reply.has_open_buttons()) {
        remember_buttons(ctx.data(), ctx.channel_id(), message).await;
    }
    Ok(())
}

async fn say(ctx: Context<'_>, reply: &Reply) -> Result<Option<serenity::MessageId>, RestError> {
    let rest = &ctx.data().rest;
    match ctx {
        Context::Prefix(ctx) => reply.to_message(rest, ctx.msg).await,
        Context::Application(ctx) => {
            let asked = Asked::from(ctx.interaction);
            match stage_of(&ctx) {
                Stage::Suggesting => Ok(None),
                Stage::Fresh => asked.answer(rest, reply).await,
                Stage::Deferred if reply.is_private() => {
                    // What was deferred in public cannot become private.
                    asked.delete(rest).await?;
                    asked.add(rest, reply).await?;
                    Ok(None)
                }
                Stage::Deferred => asked.edit(rest, reply).await,
            }
        }
    }
}

/// Asks Discord for more time than the 3 s that a slash command has.
pub(super) async fn defer(ctx: Context<'_>) -> Result<(), Error> {
    if let Context::Application(ctx) = ctx {
        let deferred = Asked::from(ctx.interaction).defer(&ctx.data().rest).await;
        deferred.map_err(NotAnswered)?;
        ctx.has_sent_initial_response.store(true, Ordering::Release);
    }
    Ok(())
}

/// Waits, for a short time, until what was written before the command counts.
pub(super) async fn settle(ctx: Context<'_>) {
    let setting = &ctx.data().setting;
    setting.gate.clear(SETTLE).await;
    if !setting.inbox.settled(SETTLE).await {
        tracing::warn!("XP is being saved too slowly; a command is answered from what is known");
    }
}

/// What a person is told of a failure. What is not for them goes to the log.
pub(super) fn sentence_for(error: &Error, what: &str) -> String {
    if let Some(UserError(sentence)) = error.downcast_ref() {
        return sentence.clone();
    }
    tracing::error!(
        command = what,
        error = format!("{error:#}"),
        "a command failed"
    );
    if is_away(error) {
        AWAY.to_owned()
    } else if matches!(error.downcast_ref(), Some(RestError::Unreachable(_))) {
        SILENT.to_owned()
    } else {
        FAILED.to_owned()
    }
}

/// Whether the database was away, which passes.
pub(super) fn is_away(error: &Error) -> bool {
    let store = error.downcast_ref::<store::Error>();
    store.is_some_and(store::Error::is_passing)
}

pub(super) async fn on_error(error: FrameworkError<'_, Data, Error>) {
    match error {
        FrameworkError::Command { error, ctx, .. }
        | FrameworkError::CommandCheckFailed {
            error: Some(error),
            ctx,
            ..
        } => {
            let sentence = sentence_for(&error, &ctx.command().name);
            if !error.is::<NotAnswered>() {
                apologise(ctx, sentence).await;
            }
        }
        // The panic itself is in the log already.
        FrameworkError::CommandPanic { ctx, .. } => apologise(ctx, FAILED.to_owned()).await,
        FrameworkError::ArgumentParse { ctx, .. } => apologise(ctx, usage(ctx)).await,
        // Another guild, or a command of another bot with the same prefix: not for us to
        // answer, and not for the log to keep.
        FrameworkError::CommandCheckFailed { error: None, .. }
        | FrameworkError::UnknownCommand { .. } => {}
        // What it displays may quote a message.
        _ => tracing::warn!("something that looked like a command could not be run"),
    }
}

/// Tells the person what went wrong, where nobody else sees it if Discord can do that.
async fn apologise(ctx: Context<'_>, sentence: String) {
    if let Err(error) = answer(ctx, Reply::text(sentence).private()).await {
        tracing::warn!(
            command = ctx.command().name.as_ref(),
            error = format!("{error:#}"),
            "a command could not be answered"
        );
    }
}

/// Whether only suggestions are wanted.
pub(super) fn is_still_typed(ctx: Context<'_>) -> bool {
    matches!(&ctx, Context::Application(ctx) if matches!(stage_of(ctx), Stage::Suggesting))
}

/// How far the conversation over a slash command has come.
enum Stage {
    /// It is still being typed: only suggestions are wanted.
    Suggesting,
    Fresh,
    Deferred,
}

fn stage_of(ctx: &ApplicationContext<'_, Data, Error>) -> Stage {
    if ctx.interaction_type == CommandInteractionType::Autocomplete {
        Stage::Suggesting
    } else if ctx.has_sent_initial_response.load(Ordering::Acquire) {
        Stage::Deferred
    } else {
        Stage::Fresh
    }
}

/// Has the buttons taken off when they stop working. Where that cannot be noted now, whoever
/// presses one later takes them off.
async fn remember_buttons(data: &Data, channel: serenity::ChannelId, message: serenity::MessageId) {
    let (Ok(channel), Ok(message)) = (ChannelId::try_from(channel), MessageId::try_from(message))
    else {
        return;
    };
    let setting = &data.setting;
    // Not a year from now, whatever Discord's id says.
    let closes_at = buttons::close_at(
        setting
            .time
            .newest_id()
            .map_or(message, |now| message.min(now)),
    );
    let noted = store::within(SETTLE, async {
        let mut session = setting.database.acquire().await?;
        store::open_buttons::open(&mut session, message, channel, closes_at).await
    });
    if let Err(error) = noted.await {
        tracing::debug!(%error, "when the buttons of a message are to go could not be noted");
    }
}
