//! Passes messages and interactions to poise if they may run. Each runs in its own task, so the
//! event handlers never wait.

use std::sync::Arc;
use std::time::Duration;

use poise::serenity_prelude as serenity;
use poise::{FrameworkContext, FrameworkOptions, PrefixFrameworkOptions};

use super::context::{Context, Data, Error, caller_id};
use super::rate_limit::Verdict;
use super::{all, components, interactions, respond, rights};
use crate::discord::offline_shard::OfflineShard;
use crate::error::UserError;
use crate::leveling::MessageId;

/// Told once to a member who runs too many commands.
const TOO_MANY: &str =
    "You can run five commands at once, then one every four seconds. Please wait a little.";

/// Told to a member whose text command is older than [`MAX_AGE`].
const TOO_LATE: &str =
    "I was away when you typed this, and did nothing. Please type it again if you still want it.";
const MAX_AGE: Duration = Duration::from_secs(10);

/// Runs commands, and answers those that cannot be run.
pub struct Commands {
    data: Data,
    options: FrameworkOptions<Data, Error>,
    shard: OfflineShard,
}

impl Commands {
    /// Fails if serenity cannot be set up.
    pub async fn new(data: Data) -> anyhow::Result<Arc<Self>> {
        let shard = OfflineShard::new().await?;
        Ok(Arc::new(Self {
            options: options(&data),
            data,
            shard,
        }))
    }

    /// The prefix of text commands.
    pub fn prefix(&self) -> &str {
        &self.data.prefix
    }

    /// Whether a message with this text may be a command. Others need not be passed on.
    pub fn begins_one(&self, text: &str) -> bool {
        text.starts_with(self.prefix())
    }

    /// Runs the command in a message, if there is one, in its own task.
    pub fn start_message(self: &Arc<Self>, new_message: serenity::Message) {
        let commands = Arc::clone(self);
        self.start(async move {
            let event = serenity::FullEvent::Message { new_message };
            Box::pin(poise::dispatch_event(commands.framework(), event)).await;
        });
    }

    /// Handles a slash command, a button press or a form in its own task.
    pub fn start_interaction(self: &Arc<Self>, interaction: serenity::Interaction) {
        let commands = Arc::clone(self);
        self.start(async move { commands.react(&interaction).await });
    }

    async fn react(&self, interaction: &serenity::Interaction) {
        let framework = self.framework();
        match interaction {
            serenity::Interaction::Command(command) => {
                Box::pin(interactions::command(framework, command)).await;
            }
            serenity::Interaction::Autocomplete(typed) => {
                Box::pin(interactions::autocomplete(framework, typed)).await;
            }
            serenity::Interaction::Component(press) => {
                Box::pin(components::pressed(&self.data, press)).await;
            }
            serenity::Interaction::Modal(form) => interactions::form(&self.data, form).await,
            _ => {}
        }
    }

    /// Spawns a task that the shutdown waits for.
    fn start(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.data.under_way.spawn(work);
    }

    fn framework(&self) -> FrameworkContext<'_, Data, Error> {
        FrameworkContext {
            serenity_context: &self.shard.context,
            bot_id: self.data.bot.id.into(),
            options: &self.options,
            user_data: &self.data,
            shard_manager: &self.shard.manager,
        }
    }
}

impl std::fmt::Debug for Commands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commands").finish_non_exhaustive()
    }
}

fn options(data: &Data) -> FrameworkOptions<Data, Error> {
    let mut options = FrameworkOptions {
        commands: all(),
        prefix_options: PrefixFrameworkOptions {
            prefix: Some(data.prefix.clone().into()),
            mention_as_prefix: false,
            // Editing an old message must not run its command again.
            edit_tracker: None,
            execute_untracked_edits: false,
            ..PrefixFrameworkOptions::default()
        },
        command_check: Some(|ctx| Box::pin(check(ctx))),
        pre_command: |ctx| Box::pin(respond::mark_allowed(ctx)),
        on_error: |error| Box::pin(respond::on_error(error)),
        initialize_owners: false,
        ..FrameworkOptions::default()
    };
    poise::set_qualified_names(&mut options.commands);
    options
}

/// Whether the command may run now. Commands in other guilds are ignored. A member who runs too
/// many is told so once, and then ignored.
async fn check(ctx: Context<'_>) -> Result<bool, Error> {
    let data = ctx.data();
    if ctx.guild_id() != Some(data.bot.env.guild.into()) {
        return Ok(false);
    }
    if !respond::is_autocomplete(ctx) {
        let caller = caller_id(ctx)?;
        // Uses the time in the id, since Discord may deliver late commands all at once.
        let now = MessageId::new(ctx.id()).map(MessageId::sent_at);
        let verdict = now.map(|now| data.limits.commands.take(caller, now));
        match verdict {
            None | Some(Verdict::Allowed) => {}
            Some(Verdict::Refused) => return Ok(false),
            Some(Verdict::RefusedAndTold) => {
                tracing::info!(user = %caller, "someone runs more commands than are answered");
                return Err(UserError(TOO_MANY.to_owned()).into());
            }
        }
    }
    if came_late(ctx) {
        return Err(UserError(TOO_LATE.to_owned()).into());
    }
    rights::check(ctx).await
}

/// Whether a text command was typed while the bot was away: its author has given up by now, or
/// typed it again. Discord itself refuses late answers to slash commands.
fn came_late(ctx: Context<'_>) -> bool {
    let age = MessageId::new(ctx.id()).and_then(|id| ctx.data().bot.env.time.age(id));
    matches!(ctx, Context::Prefix(_)) && age.is_some_and(|age| age > MAX_AGE)
}
