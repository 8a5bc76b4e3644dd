//! The types that every command uses: its context, its error, and its entry in `.help`.

use tokio_util::task::TaskTracker;

use super::rate_limit::RateLimits;
use super::rights::{Right, Rights};
use crate::bot::Bot;
use crate::leveling::UserId;

/// A [`UserError`](crate::error::UserError) is shown to the person; anything else is logged.
pub(super) type Error = anyhow::Error;
pub(super) type Context<'a> = poise::Context<'a, Data, Error>;
pub(crate) type Command = poise::Command<Data, Error>;

/// The state that commands and buttons share.
#[derive(Clone, Debug)]
pub struct Data {
    /// The handles of the running bot.
    pub bot: Bot,
    /// The prefix of text commands.
    pub prefix: String,
    /// The rights of members.
    pub rights: Rights,
    /// Commands and buttons that are being answered: shutdown waits for them.
    pub under_way: TaskTracker,
    /// Limits how often one member gets an answer.
    pub limits: RateLimits,
}

/// How a command is used, and who may run it. poise carries it as the command's `custom_data`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manual {
    /// The command with its arguments, without prefix.
    pub usage: &'static str,
    /// An example, without prefix.
    pub example: &'static str,
    pub right: Right,
    /// Whether only the caller sees the usual answer to the slash command.
    pub private: bool,
}

impl Manual {
    pub const fn anyone(usage: &'static str, example: &'static str) -> Self {
        Self::new(Right::Anyone, usage, example)
    }

    pub const fn moderators(usage: &'static str, example: &'static str) -> Self {
        Self::new(Right::Moderator, usage, example)
    }

    pub const fn operators(usage: &'static str, example: &'static str) -> Self {
        Self::new(Right::Operator, usage, example)
    }

    pub const fn private(self) -> Self {
        Self {
            private: true,
            ..self
        }
    }

    const fn new(right: Right, usage: &'static str, example: &'static str) -> Self {
        Self {
            usage,
            example,
            right,
            private: false,
        }
    }
}

/// How the caller should have typed the command.
pub(super) fn usage(ctx: Context<'_>) -> String {
    match manual(ctx.command()) {
        Some(Manual { usage, example, .. }) => {
            let prefix = &ctx.data().prefix;
            format!("Usage: `{prefix}{usage}`, for example `{prefix}{example}`.")
        }
        None => "That is not how this command is used.".to_owned(),
    }
}

pub(super) fn manual(command: &Command) -> Option<Manual> {
    command.custom_data.downcast_ref().copied()
}

pub(super) fn caller_id(ctx: Context<'_>) -> Result<UserId, Error> {
    let id = ctx.author().id.try_into();
    id.map_err(|()| anyhow::anyhow!("the caller's id is invalid"))
}
