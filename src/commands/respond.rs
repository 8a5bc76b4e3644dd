//! Answers commands, and turns errors into what the caller is told and what is only logged.

use std::sync::Arc;
use std::time::Duration;

use poise::serenity_prelude as serenity;
use poise::{CommandInteractionType, FrameworkError};

use super::context::{Context, Data, Error, manual, usage};
use super::rate_limit::Verdict;
use super::rights::Right;
use crate::backoff::Backoff;
use crate::discord::messages::button_lifetime;
use crate::discord::messages::interaction::Conversation;
use crate::discord::messages::post::say_privately;
use crate::discord::messages::reply::Reply;
use crate::discord::{Priority, Rest, RestError};
use crate::error::UserError;
use crate::leveling::{ChannelId, MessageId, UserId};
use crate::store;
use crate::store::open_buttons::WithButtons;

/// How long a command waits for held messages, and then again for earlier messages to be counted.
/// Discord allows a slash command three seconds in all.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(800);

/// How long the database may take to record when buttons expire.
const RECORD_TIMEOUT: Duration = Duration::from_millis(800);

const COMPLETE_ATTEMPTS: u32 = 6;
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_mins(5));
/// Maximum wait for a rate limit. The next attempt is made then, even if Discord asked for more.
const RATE_LIMIT_MAX: Duration = Duration::from_mins(15);

const FAILED: &str = "That did not work; the reason is in the bot's log.";
pub(super) const DATABASE_UNAVAILABLE: &str =
    "The database is unavailable. Please try again shortly.";
pub(super) const DISCORD_UNAVAILABLE: &str = "Discord is not responding. Please try again shortly.";

/// An answer could not be sent. The caller then gets no other answer either.
#[derive(Debug, thiserror::Error)]
#[error("the answer could not be sent: {0}")]
struct NotAnswered(RestError);

/// The state of a command that is running.
pub(super) struct Invocation {
    /// `None` for a text command.
    pub conversation: Option<Arc<Conversation>>,
    /// Whether all checks have passed.
    pub is_allowed: bool,
}

/// Marks the command as allowed, so that its answer may be sent before others.
pub(super) async fn mark_allowed(ctx: Context<'_>) {
    if let Some(mut noted) = ctx.invocation_data::<Invocation>().await {
        noted.is_allowed = true;
        return;
    }
    let invocation = Invocation {
        conversation: None,
        is_allowed: true,
    };
    ctx.set_invocation_data(invocation).await;
}

/// Refers to a sent answer, to edit it later.
#[derive(Clone, Debug)]
pub(super) struct MessageRef {
    /// `None` if Discord did not say which message it is.
    message: Option<(serenity::ChannelId, serenity::MessageId)>,
    /// `None` for the answer to a text command.
    conversation: Option<Arc<Conversation>>,
}

impl MessageRef {
    /// The message whose button was pressed.
    pub fn of_press(conversation: Arc<Conversation>, message: &serenity::Message) -> Self {
        Self {
            message: Some((message.channel_id, message.id)),
            conversation: Some(conversation),
        }
    }

    /// Replaces the answer. An interaction's token works for 15 minutes, even in channels that the
    /// bot cannot see; after that the message is edited like any other.
    pub async fn rewrite(&self, rest: &Rest, reply: &Reply) -> Result<(), RestError> {
        if let Some(conversation) = &self.conversation {
            match conversation.replace(rest, reply).await {
                Err(RestError::Refused {
                    status: 401 | 404, ..
                }) if self.message.is_some() => {}
                other => return other,
            }
        }
        match self.message {
            Some((channel, message)) => reply.put_in_place_of(rest, channel, message).await,
            None => Ok(()),
        }
    }

    /// Replaces the answer for the last time. Retries, since Discord limits how often old messages
    /// are edited.
    pub async fn complete(&self, rest: &Rest, reply: &Reply) {
        let mut attempts = BACKOFF.attempts();
        loop {
            match self.rewrite(rest, reply).await {
                Ok(()) => return,
                Err(error) if error.is_away() && attempts.failed() < COMPLETE_ATTEMPTS => {
                    let asked_for = error.wait().unwrap_or_default().min(RATE_LIMIT_MAX);
                    tokio::time::sleep(attempts.next_delay().max(asked_for)).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "the command was carried out, but its answer could not be completed");
                    return;
                }
            }
        }
    }
}

/// Answers the caller of a command with a message that will be edited.
pub(super) async fn answer_at(ctx: Context<'_>, reply: &Reply) -> Result<MessageRef, Error> {
    let message = say(ctx, reply).await.map_err(NotAnswered)?;
    Ok(MessageRef {
        message: message.map(|message| (ctx.channel_id(), message)),
        conversation: conversation(ctx).await,
    })
}

/// Answers the caller of a command.
pub(super) async fn answer(ctx: Context<'_>, reply: Reply) -> Result<(), Error> {
    let posted = say(ctx, &reply).await.map_err(NotAnswered)?;
    if let Some(message) = posted.filter(|_| reply.has_open_buttons()) {
        let conversation = conversation(ctx).await;
        let (data, channel) = (ctx.data(), ctx.channel_id());
        remember_buttons(data, channel, message, conversation.as_deref()).await;
    }
    Ok(())
}

/// Replaces an answer that the caller of a command got before with one that has buttons.
pub(super) async fn ask_in(
    ctx: Context<'_>,
    answer: &MessageRef,
    question: &Reply,
) -> Result<(), Error> {
    answer.complete(&ctx.data().bot.env.rest, question).await;
    if let Some((channel, message)) = answer.message {
        let conversation = answer.conversation.as_deref();
        remember_buttons(ctx.data(), channel, message, conversation).await;
    }
    Ok(())
}

async fn say(ctx: Context<'_>, reply: &Reply) -> Result<Option<serenity::MessageId>, RestError> {
    let rest = &ctx.data().bot.env.rest;
    match ctx {
        Context::Prefix(prefix) => {
            let priority = priority(ctx).await;
            reply.to_message(rest, prefix.msg, priority).await
        }
        Context::Application(_) => match conversation(ctx).await {
            Some(conversation) => conversation.answer(rest, reply).await,
            // An autocomplete request, which takes only suggestions.
            None => Ok(None),
        },
    }
}

/// The answers to restricted commands are sent before others.
async fn priority(ctx: Context<'_>) -> Priority {
    let noted = ctx.invocation_data::<Invocation>().await;
    let is_allowed = noted.is_some_and(|noted| noted.is_allowed);
    let is_restricted = manual(ctx.command()).is_some_and(|manual| manual.right != Right::Anyone);
    if is_allowed && is_restricted {
        Priority::Ahead
    } else {
        Priority::Usual
    }
}

async fn conversation(ctx: Context<'_>) -> Option<Arc<Conversation>> {
    let noted = ctx.invocation_data::<Invocation>().await;
    noted.and_then(|noted| noted.conversation.clone())
}

/// Asks Discord for more time than the 3 s that a slash command has. A command that does not call
/// this is deferred automatically if it takes long.
pub(super) async fn defer(ctx: Context<'_>) -> Result<(), Error> {
    if let Some(conversation) = conversation(ctx).await {
        let deferred = conversation.defer(&ctx.data().bot.env.rest).await;
        deferred.map_err(NotAnswered)?;
    }
    Ok(())
}

/// Waits until the messages before the command are counted, for a short time at most.
pub(super) async fn settle(ctx: Context<'_>) {
    let data = ctx.data();
    data.bot.gate.clear(SETTLE_TIMEOUT).await;
    if !data.bot.inbox.settled(SETTLE_TIMEOUT).await {
        tracing::warn!(
            "XP is being saved too slowly; a command is answered without the latest messages"
        );
    }
}

/// The sentence that tells the caller about an error. Logs every error except a [`UserError`].
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
        DATABASE_UNAVAILABLE.to_owned()
    } else if matches!(error.downcast_ref::<RestError>(), Some(error) if error.is_away()) {
        DISCORD_UNAVAILABLE.to_owned()
    } else {
        FAILED.to_owned()
    }
}

/// Whether the database did not answer.
fn is_away(error: &Error) -> bool {
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
            if let Some(NotAnswered(RestError::LeftOut { .. })) = error.downcast_ref() {
                return left_out(ctx).await;
            }
            let sentence = sentence_for(&error, &ctx.command().name);
            if !error.is::<NotAnswered>() {
                apologise(ctx, sentence).await;
            }
        }
        // The panic itself is in the log already.
        FrameworkError::CommandPanic { ctx, .. } => apologise(ctx, FAILED.to_owned()).await,
        FrameworkError::ArgumentParse { ctx, .. } => apologise(ctx, usage(ctx)).await,
        // The command belongs to another guild, or to another bot with the same prefix.
        FrameworkError::CommandCheckFailed { error: None, .. }
        | FrameworkError::UnknownCommand { .. } => {}
        // The error is not logged, since it may quote a message.
        _ => tracing::warn!("something that looked like a command could not be run"),
    }
}

/// Tells the caller, privately and rarely, that answers were left out. The channel's queue has
/// logged how many.
async fn left_out(ctx: Context<'_>) {
    let data = ctx.data();
    let (Ok(user), Some(now)) = (
        UserId::try_from(ctx.author().id),
        MessageId::new(ctx.id()).map(MessageId::sent_at),
    ) else {
        return;
    };
    if data.limits.left_out.take(user, now) != Verdict::Allowed {
        return;
    }
    let sentence = "Too many commands are waiting in that channel, and I have left out some of yours. Please try again later.";
    if let Err(error) = say_privately(&data.bot.env.rest, user, sentence).await {
        tracing::debug!(%error, "a member whose answer was left out could not be told");
    }
}

async fn apologise(ctx: Context<'_>, sentence: String) {
    if let Err(error) = answer(ctx, Reply::text(sentence).private()).await {
        tracing::warn!(
            command = ctx.command().name.as_ref(),
            error = format!("{error:#}"),
            "a command could not be answered"
        );
    }
}

/// Whether the caller is still typing, and Discord asks only for suggestions.
pub(super) fn is_autocomplete(ctx: Context<'_>) -> bool {
    let Context::Application(ctx) = &ctx else {
        return false;
    };
    ctx.interaction_type == CommandInteractionType::Autocomplete
}

/// Records when the buttons expire, so that they are removed then. If that fails, they are removed
/// when someone presses one too late.
async fn remember_buttons(
    data: &Data,
    channel: serenity::ChannelId,
    message: serenity::MessageId,
    conversation: Option<&Conversation>,
) {
    let (Ok(channel), Ok(message)) = (ChannelId::try_from(channel), MessageId::try_from(message))
    else {
        return;
    };
    // If the message's id were from far in the future, the buttons would stay for years.
    let posted = data
        .bot
        .env
        .time
        .newest_id()
        .map_or(message, |now| message.min(now));
    let closes_at = if conversation.is_some() {
        button_lifetime::close_by_token_at(posted)
    } else {
        button_lifetime::close_at(posted)
    };
    let shown = WithButtons {
        message,
        channel,
        interaction: conversation.map(Conversation::interaction),
    };
    let noted = store::within(RECORD_TIMEOUT, async {
        let mut session = data.bot.env.database.acquire().await?;
        store::open_buttons::add(&mut session, &shown, closes_at).await
    });
    if let Err(error) = noted.await {
        tracing::debug!(%error, "could not record when a message's buttons expire");
    }
}
