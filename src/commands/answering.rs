//! How a command is answered, and what is said when it fails.
//!
//! Decides nothing about XP; only who sees what, and what goes to the log instead.

use std::sync::Arc;
use std::time::Duration;

use poise::serenity_prelude as serenity;
use poise::{CommandInteractionType, FrameworkError};

use super::allowance::Verdict;
use super::rights::Right;
use super::{Context, Data, Error, locked, manual, usage};
use crate::backoff::backoff;
use crate::discord::interaction::Conversation;
use crate::discord::reply::{Reply, say_privately};
use crate::discord::{Priority, Rest, RestError, buttons};
use crate::error::UserError;
use crate::leveling::{ChannelId, MessageId, UserId};
use crate::store;
use crate::store::open_buttons::WithButtons;

/// How long a command waits for the messages before it to be counted. Discord gives
/// a slash command three seconds in all.
const SETTLE: Duration = Duration::from_millis(800);

/// How often, and how far apart, it is tried to complete an answer.
const COMPLETE_ATTEMPTS: u32 = 6;
const COMPLETE_LEAST: Duration = Duration::from_secs(5);
const COMPLETE_MOST: Duration = Duration::from_mins(5);
/// The longest of Discord's limits that is waited for.
const LONGEST_WAIT: Duration = Duration::from_mins(15);

/// Said when the reason is not the person's business.
const FAILED: &str = "That did not work; the reason is in the bot's log.";

/// Said when the database is the reason, which is nobody's fault and passes.
pub(super) const AWAY: &str = "The database is unavailable. Please try again shortly.";

/// The answer itself could not be given: there is no use in another one that says so.
#[derive(Debug, thiserror::Error)]
#[error("it could not be answered: {0}")]
struct NotAnswered(RestError);

/// Said when Discord is the reason.
pub(super) const SILENT: &str = "Discord is not responding. Please try again shortly.";

/// What is known of a command while it runs.
pub(super) struct Invocation {
    /// Over a slash command.
    pub conversation: Option<Arc<Conversation>>,
    /// Whether all checks have been passed.
    pub is_allowed: bool,
}

/// Notes that the caller may run the command.
pub(super) async fn allowed(ctx: Context<'_>) {
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

/// An answer that is given and may still be rewritten.
#[derive(Clone, Debug)]
pub(super) struct MessageRef {
    /// The message, where it is known.
    message: Option<(serenity::ChannelId, serenity::MessageId)>,
    /// What it answers, if not a text.
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

    /// Puts something else in its place. An interaction's token is good for 15 minutes, also
    /// where the bot may not see the channel; after that the message is edited as any other.
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

    /// Gives it its final form. Where Discord does not take that now (it limits how often old
    /// messages are edited), it is tried a few more times.
    pub async fn complete(&self, rest: &Rest, reply: &Reply) {
        for attempt in 0.. {
            match self.rewrite(rest, reply).await {
                Ok(()) => return,
                Err(error) if error.is_away() && attempt < COMPLETE_ATTEMPTS => {
                    let pause = backoff(attempt, COMPLETE_LEAST, COMPLETE_MOST);
                    let asked_for = error.wait().unwrap_or_default().min(LONGEST_WAIT);
                    tokio::time::sleep(pause.max(asked_for)).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "an answer could not be completed; the command itself was carried out");
                    return;
                }
            }
        }
    }
}

/// Answers the caller of a command, and tells where the answer stands then.
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
        remember_buttons(
            ctx.data(),
            ctx.channel_id(),
            message,
            conversation.as_deref(),
        )
        .await;
    }
    Ok(())
}

async fn say(ctx: Context<'_>, reply: &Reply) -> Result<Option<serenity::MessageId>, RestError> {
    let rest = &ctx.data().rest;
    match ctx {
        Context::Prefix(prefix) => {
            let priority = priority(ctx).await;
            reply.to_message(rest, prefix.msg, priority).await
        }
        Context::Application(_) => match conversation(ctx).await {
            Some(conversation) => conversation.answer(rest, reply).await,
            // Only suggestions are wanted.
            None => Ok(None),
        },
    }
}

/// Answers to moderators go ahead of others.
async fn priority(ctx: Context<'_>) -> Priority {
    let noted = ctx.invocation_data::<Invocation>().await;
    let is_allowed = noted.is_some_and(|noted| noted.is_allowed);
    let for_some = manual(ctx.command()).is_some_and(|manual| manual.right != Right::Anyone);
    if is_allowed && for_some {
        Priority::Ahead
    } else {
        Priority::Usual
    }
}

async fn conversation(ctx: Context<'_>) -> Option<Arc<Conversation>> {
    let noted = ctx.invocation_data::<Invocation>().await;
    noted.and_then(|noted| noted.conversation.clone())
}

/// Asks Discord at once for more time than the 3 s that a slash command has: for commands that
/// always take long. The others are deferred by themselves when they do.
pub(super) async fn defer(ctx: Context<'_>) -> Result<(), Error> {
    if let Some(conversation) = conversation(ctx).await {
        let deferred = conversation.defer(&ctx.data().rest).await;
        deferred.map_err(NotAnswered)?;
    }
    Ok(())
}

/// Waits, for a short time, until what was written before the command counts.
pub(super) async fn settle(ctx: Context<'_>) {
    let setting = &ctx.data().setting;
    setting.gate.clear(SETTLE).await;
    if !setting.inbox.settled(SETTLE).await {
        tracing::warn!(
            "XP is being saved too slowly; a command is answered without the latest messages"
        );
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
    } else if matches!(error.downcast_ref::<RestError>(), Some(error) if error.is_away()) {
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
        // Another guild, or a command of another bot with the same prefix: not for us to
        // answer, and not for the log to keep.
        FrameworkError::CommandCheckFailed { error: None, .. }
        | FrameworkError::UnknownCommand { .. } => {}
        // What it displays may quote a message.
        _ => tracing::warn!("something that looked like a command could not be run"),
    }
}

/// Tells whoever asked, once in a while and privately, that an answer was left out. How many
/// are left out stands in the log already.
async fn left_out(ctx: Context<'_>) {
    let data = ctx.data();
    let (Ok(user), Some(now)) = (
        UserId::try_from(ctx.author().id),
        MessageId::new(ctx.id()).map(MessageId::sent_at),
    ) else {
        return;
    };
    if locked(&data.told_of_left_out).take(user, now) != Verdict::Allowed {
        return;
    }
    let sentence = "Too many commands are waiting in that channel, and I have left out some of yours. Please try again later.";
    if let Err(error) = say_privately(&data.rest, user, sentence).await {
        tracing::debug!(%error, "a member whose answer was dropped could not be told");
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
    let Context::Application(ctx) = &ctx else {
        return false;
    };
    ctx.interaction_type == CommandInteractionType::Autocomplete
}

/// Has the buttons taken off when they stop working. Where that cannot be noted now, whoever
/// presses one later takes them off.
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
    let setting = &data.setting;
    // Not a year from now, whatever Discord's id says.
    let posted = setting
        .time
        .newest_id()
        .map_or(message, |now| message.min(now));
    let closes_at = if conversation.is_some() {
        buttons::close_by_token_at(posted)
    } else {
        buttons::close_at(posted)
    };
    let shown = WithButtons {
        message,
        channel,
        interaction: conversation.map(Conversation::interaction),
    };
    let noted = store::within(SETTLE, async {
        let mut session = setting.database.acquire().await?;
        store::open_buttons::open(&mut session, &shown, closes_at).await
    });
    if let Err(error) = noted.await {
        tracing::debug!(%error, "could not record when a message's buttons expire");
    }
}
