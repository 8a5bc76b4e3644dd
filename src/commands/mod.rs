//! The commands: one visible list, one file each, prefix and slash from one function.
//!
//! What a command says goes through [`answer`]; what it could not do comes back as
//! a [`UserError`] for the person, or as anything else for the log.

mod help;
mod mistyped;
mod rank;
mod target;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use poise::serenity_prelude as serenity;
use poise::{Framework, FrameworkError, FrameworkOptions, PrefixFrameworkOptions};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::discord::reply::Reply;
use crate::discord::{Rest, RestError};
use crate::error::UserError;
use crate::leveling::GuildId;
use crate::store::{self, Database};
use crate::xp::{Inbox, XpCache};

/// How a command fails: with a sentence for the person, or with a cause for the log.
type Error = anyhow::Error;
type Context<'a> = poise::Context<'a, Data, Error>;
pub(crate) type Command = poise::Command<Data, Error>;

/// How long a command waits for the messages before it to be counted. Discord gives
/// a slash command three seconds in all.
const SETTLE: Duration = Duration::from_millis(800);

/// Said when the reason is not the person's business.
const FAILED: &str = "That did not work; the reason is in the bot's log.";

/// Said when the database is the reason, which is nobody's fault and passes.
const AWAY: &str = "The database is away, try again shortly.";

/// All commands, in the order in which `.help` lists them.
pub(crate) fn all() -> Vec<Command> {
    vec![rank::rank(), help::help()]
}

/// What `.help` says of a command beyond its description.
#[derive(Clone, Copy, Debug)]
struct Manual {
    /// The command with its arguments, without prefix.
    usage: &'static str,
    /// One way to use it, without prefix.
    example: &'static str,
}

/// What commands work with.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The guild served.
    pub guild: GuildId,
    /// What text commands begin with.
    pub prefix: String,
    /// Standings, levels and ranks.
    pub xp: Arc<XpCache>,
    /// Knows when the messages before a command have been counted.
    pub inbox: Inbox,
    /// Names of those who left.
    pub database: Database,
    /// Cancelled when Discord refuses the token.
    pub revoked: CancellationToken,
    /// Commands that are being answered.
    pub under_way: TaskTracker,
}

/// The [`Setting`], and Discord.
#[derive(Debug)]
pub struct Data {
    setting: Setting,
    rest: Rest,
}

/// Finds and runs commands. Only what can be one is handed over: a framework that
/// serenity itself feeds would cost every ordinary message a task and a copy.
pub struct Commands {
    setting: Setting,
    framework: OnceLock<Framework<Data, Error>>,
}

impl Commands {
    /// Commands that are not attached to a client yet.
    pub fn new(setting: Setting) -> Self {
        Self {
            setting,
            framework: OnceLock::new(),
        }
    }

    /// Gives the framework what it wants to know of the client. Once, before it connects.
    pub async fn attach(&self, client: &serenity::Client) {
        let mut framework = framework(self.setting.clone());
        serenity::Framework::init(&mut framework, client).await;
        let _ = self.framework.set(framework);
    }

    /// Whether a message could be a command.
    pub fn may_be_one(&self, message: &serenity::Message) -> bool {
        message.content.starts_with(&self.setting.prefix)
    }

    /// Runs the command that the event may hold, and waits until it is answered.
    pub async fn dispatch(&self, ctx: serenity::Context, event: serenity::FullEvent) {
        if let Some(framework) = self.framework.get() {
            serenity::Framework::dispatch(framework, ctx, event).await;
        }
    }
}

impl std::fmt::Debug for Commands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commands").finish_non_exhaustive()
    }
}

fn framework(setting: Setting) -> Framework<Data, Error> {
    let options = FrameworkOptions {
        commands: all(),
        prefix_options: PrefixFrameworkOptions {
            prefix: Some(setting.prefix.clone().into()),
            mention_as_prefix: false,
            // An old message that is edited must not run again.
            edit_tracker: None,
            execute_untracked_edits: false,
            ..PrefixFrameworkOptions::default()
        },
        // Other guilds are ignored, whatever is typed there.
        command_check: Some(|ctx| {
            Box::pin(async move { Ok(ctx.guild_id() == Some(ctx.data().setting.guild.into())) })
        }),
        pre_command: |ctx| {
            Box::pin(async move {
                // Held until the command has been answered; shutdown waits for it.
                ctx.set_invocation_data(ctx.data().setting.under_way.token())
                    .await;
            })
        },
        on_error: |error| Box::pin(on_error(error)),
        initialize_owners: false,
        ..FrameworkOptions::default()
    };
    Framework::new(options, |ctx, _, _| {
        let rest = Rest::new(Arc::clone(&ctx.http), setting.revoked.clone());
        Box::pin(async move { Ok::<_, Error>(Data { setting, rest }) })
    })
}

/// Says something to whoever ran the command.
async fn answer(ctx: Context<'_>, reply: Reply) -> Result<(), Error> {
    let rest = &ctx.data().rest;
    match ctx {
        Context::Prefix(ctx) => reply.to_message(rest, ctx.msg).await?,
        Context::Application(ctx) => reply.to_interaction(rest, ctx.interaction).await?,
    }
    Ok(())
}

/// Waits, for a short time, until what was written before the command counts.
async fn settle(ctx: Context<'_>) {
    if !ctx.data().setting.inbox.settled(SETTLE).await {
        tracing::warn!("XP is being saved too slowly; a command is answered from what is known");
    }
}

async fn on_error(error: FrameworkError<'_, Data, Error>) {
    match error {
        FrameworkError::Command { error, ctx, .. } => match error.downcast::<UserError>() {
            Ok(UserError(sentence)) => apologise(ctx, sentence).await,
            Err(error) => {
                let command = ctx.command().name.as_ref();
                tracing::error!(command, error = format!("{error:#}"), "a command failed");
                // Where the answer itself failed a second one would fail as well.
                if !error.is::<RestError>() {
                    apologise(ctx, excuse(&error).to_owned()).await;
                }
            }
        },
        // The panic itself is in the log already.
        FrameworkError::CommandPanic { ctx, .. } => apologise(ctx, FAILED.to_owned()).await,
        FrameworkError::ArgumentParse { ctx, .. } => apologise(ctx, usage(ctx)).await,
        FrameworkError::UnknownCommand {
            msg,
            content_start,
            framework,
            ..
        } => {
            let typed = &msg.content[usize::from(content_start)..];
            suggest(framework.user_data().await, msg, typed).await;
        }
        // Another guild: not for us to answer, and not for the log to keep.
        FrameworkError::CommandCheckFailed { error: None, .. } => {}
        // What it displays may quote a message.
        _ => tracing::warn!("something that looked like a command could not be run"),
    }
}

/// Says which command was meant, if what was typed is almost one. What it was is not
/// repeated: it is anybody's words.
async fn suggest(data: &Data, message: &serenity::Message, typed: &str) {
    let commands = all();
    let names = commands.iter().map(|command| command.name.as_ref());
    let served = message.guild_id == Some(data.setting.guild.into());
    let Some(name) = mistyped::meant(typed, names).filter(|_| served) else {
        return;
    };
    let prefix = &data.setting.prefix;
    let sentence = format!("Did you mean `{prefix}{name}`? `{prefix}help` lists the commands.");
    if let Err(error) = Reply::text(sentence).to_message(&data.rest, message).await {
        tracing::warn!(%error, "whoever mistyped a command could not be told");
    }
}

/// What a person is told of a failure whose cause is for the log.
fn excuse(error: &Error) -> &'static str {
    let store = error.downcast_ref::<store::Error>();
    if store.is_some_and(store::Error::is_passing) {
        AWAY
    } else {
        FAILED
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

/// How the command is meant to be used.
fn usage(ctx: Context<'_>) -> String {
    match manual(ctx.command()) {
        Some(Manual { usage, example }) => {
            let prefix = &ctx.data().setting.prefix;
            format!("Usage: `{prefix}{usage}`, for example `{prefix}{example}`.")
        }
        None => "That is not how this command is used.".to_owned(),
    }
}

fn manual(command: &Command) -> Option<Manual> {
    command.custom_data.downcast_ref().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_described_and_has_a_manual() {
        for command in all() {
            assert!(command.description.is_some(), "{}", command.name);
            let Manual { usage, example } = manual(&command).expect("a manual");
            for line in [usage, example] {
                assert_eq!(
                    line.split(' ').next(),
                    Some(command.name.as_ref()),
                    "{line}"
                );
            }
        }
    }
}
