//! The commands: one visible list, one file each, prefix and slash from one function.
//!
//! What a command says goes through [`answering::answer`]; what it could not do comes back
//! as a [`UserError`] for the person, or as anything else for the
//! log.

mod all;
mod allowance;
mod answering;
mod autocomplete;
mod help;
mod invoked;
mod levels;
mod naming;
mod person;
mod pressed;
mod privacy;
mod profiles;
mod progress;
mod rank;
mod ranks;
mod remove_all_names;
mod remove_level_name;
pub mod rights;
mod set_level_name;
mod target;
mod verify_roles;
mod xp;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use poise::serenity_prelude as serenity;
use poise::{FrameworkContext, FrameworkOptions, PrefixFrameworkOptions};
use tokio_util::task::TaskTracker;

use crate::discord::Rest;
use crate::discord::known_guild::KnownGuild;
use crate::discord::message_gate::MessageGate;
use crate::discord::offline_shard::OfflineShard;
use crate::discord::time::DiscordTime;
use crate::error::UserError;
use crate::leveling::{GuildId, MessageId, UserId};
use crate::roles::{Members, RoleBook, Verifications};
use crate::store::Database;
use crate::xp::{Inbox, LevelNames, XpCache};
use allowance::{Allowance, Verdict};
use answering::{answer, defer, sentence_for, settle};
use rights::{Right, Rights};

/// Said once to a member who runs more commands than that.
const TOO_MANY: &str =
    "You can run five commands at once, then one every four seconds. Please wait a little.";

/// Said to a member whose text command came so long after it was typed.
const TOO_LATE: &str =
    "I was away when you typed this, and did nothing. Please type it again if you still want it.";
const MAX_AGE: Duration = Duration::from_secs(10);

/// How a command fails: with a sentence for the person, or with a cause for the log.
type Error = anyhow::Error;
type Context<'a> = poise::Context<'a, Data, Error>;
pub(crate) type Command = poise::Command<Data, Error>;

/// All commands, in the order in which `.help` lists them.
pub(crate) fn all() -> Vec<Command> {
    vec![
        rank::rank(),
        ranks::ranks(),
        privacy::hide_xp(),
        privacy::show_xp(),
        help::help(),
        levels::levels(),
        set_level_name::set_level_name(),
        remove_level_name::remove_level_name(),
        xp::give_xp(),
        xp::set_xp(),
        xp::xp_log(),
        verify_roles::verify_roles(),
        profiles::profile_queue(),
        profiles::reset_attempts(),
        profiles::reset_profiles(),
    ]
}

/// What `.help` says of a command beyond its description.
#[derive(Clone, Copy, Debug)]
struct Manual {
    /// The command with its arguments, without prefix.
    usage: &'static str,
    /// One way to use it, without prefix.
    example: &'static str,
    /// Who may run it.
    right: Right,
    /// Whether its usual answer is for the caller alone, where Discord can do that.
    private: bool,
}

/// What commands work with.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The guild served.
    pub guild: GuildId,
    /// The bot itself.
    pub bot: UserId,
    /// What text commands begin with.
    pub prefix: String,
    /// Standings, levels and ranks.
    pub xp: Arc<XpCache>,
    /// What levels carry.
    pub names: LevelNames,
    /// Forgets level roles when a level's name changes.
    pub book: RoleBook,
    /// Has roles verified.
    pub verifications: Verifications,
    /// Has a member's roles looked at.
    pub members: Members,
    /// Knows when the messages before a command have been counted.
    pub inbox: Inbox,
    /// The guild's roles.
    pub known_guild: KnownGuild,
    /// Holds messages whose time is in doubt.
    pub gate: MessageGate,
    /// Who may do what.
    pub rights: Rights,
    /// Names of those who left, the levels, and what moderators have changed.
    pub database: Database,
    /// What time it is.
    pub time: DiscordTime,
    /// Calls to Discord.
    pub rest: Rest,
    /// Commands that are being answered.
    pub under_way: TaskTracker,
}

/// The [`Setting`], and who has run what lately.
#[derive(Debug)]
pub struct Data {
    setting: Setting,
    rest: Rest,
    commands_run: Mutex<Allowance>,
    buttons_pressed: Mutex<Allowance>,
    /// Who was told lately that answers to them were left out.
    told_of_left_out: Mutex<Allowance>,
}

impl Data {
    fn new(setting: Setting) -> Self {
        Self {
            rest: setting.rest.clone(),
            setting,
            commands_run: Mutex::new(Allowance::of_commands()),
            buttons_pressed: Mutex::new(Allowance::of_buttons()),
            told_of_left_out: Mutex::new(Allowance::of_warnings()),
        }
    }
}

/// Finds and runs commands. Only what can be one is handed over.
pub struct Commands {
    data: Data,
    options: FrameworkOptions<Data, Error>,
    shard: OfflineShard,
}

impl Commands {
    /// Commands that can be run at once.
    pub async fn new(setting: Setting) -> anyhow::Result<Arc<Self>> {
        let shard = OfflineShard::new().await?;
        Ok(Arc::new(Self {
            options: options(&setting),
            data: Data::new(setting),
            shard,
        }))
    }

    /// What text commands begin with.
    pub fn prefix(&self) -> &str {
        &self.data.setting.prefix
    }

    /// Whether a message of this text could be a command.
    pub fn begins_one(&self, text: &str) -> bool {
        text.starts_with(self.prefix())
    }

    /// Runs the command that a message may hold, beside what goes on.
    pub fn start_message(self: &Arc<Self>, new_message: serenity::Message) {
        let commands = Arc::clone(self);
        self.start(async move {
            let event = serenity::FullEvent::Message { new_message };
            Box::pin(poise::dispatch_event(commands.framework(), event)).await;
        });
    }

    /// Reacts to something that was invoked or pressed, beside what goes on.
    pub fn start_interaction(self: &Arc<Self>, interaction: serenity::Interaction) {
        let commands = Arc::clone(self);
        self.start(async move { commands.react(&interaction).await });
    }

    async fn react(&self, interaction: &serenity::Interaction) {
        let framework = self.framework();
        match interaction {
            serenity::Interaction::Command(command) => {
                Box::pin(invoked::command(framework, command)).await;
            }
            serenity::Interaction::Autocomplete(typed) => {
                Box::pin(invoked::typing(framework, typed)).await;
            }
            serenity::Interaction::Component(press) => {
                Box::pin(pressed::pressed(&self.data, press)).await;
            }
            serenity::Interaction::Modal(form) => invoked::form(&self.data, form).await,
            _ => {}
        }
    }

    /// Shutdown waits until what was started has been answered.
    fn start(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.data.setting.under_way.spawn(work);
    }

    fn framework(&self) -> FrameworkContext<'_, Data, Error> {
        FrameworkContext {
            serenity_context: &self.shard.context,
            bot_id: self.data.setting.bot.into(),
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

fn options(setting: &Setting) -> FrameworkOptions<Data, Error> {
    let mut options = FrameworkOptions {
        commands: all(),
        prefix_options: PrefixFrameworkOptions {
            prefix: Some(setting.prefix.clone().into()),
            mention_as_prefix: false,
            // An old message that is edited must not run again.
            edit_tracker: None,
            execute_untracked_edits: false,
            ..PrefixFrameworkOptions::default()
        },
        command_check: Some(|ctx| Box::pin(check(ctx))),
        pre_command: |ctx| Box::pin(answering::allowed(ctx)),
        on_error: |error| Box::pin(answering::on_error(error)),
        initialize_owners: false,
        ..FrameworkOptions::default()
    };
    poise::set_qualified_names(&mut options.commands);
    options
}

/// Whether the command may run now. Other guilds are ignored, whatever is typed there; whoever
/// runs too many commands is told so once, and then ignored.
async fn check(ctx: Context<'_>) -> Result<bool, Error> {
    let data = ctx.data();
    if ctx.guild_id() != Some(data.setting.guild.into()) {
        return Ok(false);
    }
    if !answering::is_still_typed(ctx) {
        let caller = person::caller_id(ctx)?;
        // Discord's own time: commands that are delivered late were not typed at once.
        let now = MessageId::new(ctx.id()).map(MessageId::sent_at);
        let verdict = now.map(|now| locked(&data.commands_run).take(caller, now));
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

/// Whether a text command was typed while the bot was away: who typed it has given it up by now,
/// or typed it again. Discord itself refuses answers to other commands that come late.
fn came_late(ctx: Context<'_>) -> bool {
    let age = MessageId::new(ctx.id()).and_then(|id| ctx.data().setting.time.age(id));
    matches!(ctx, Context::Prefix(_)) && age.is_some_and(|age| age > MAX_AGE)
}

fn locked(allowance: &Mutex<Allowance>) -> MutexGuard<'_, Allowance> {
    allowance.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the command is meant to be used.
fn usage(ctx: Context<'_>) -> String {
    match manual(ctx.command()) {
        Some(Manual { usage, example, .. }) => {
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
            let Manual {
                usage,
                example,
                right,
                ..
            } = manual(&command).expect("a manual");
            let shown_to_all = command.default_member_permissions.is_empty();
            assert_eq!(shown_to_all, right == Right::Anyone, "{}", command.name);
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
