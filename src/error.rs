//! The three kinds of errors, by their reader.
//!
//! A [`UserError`] is a sentence for the person who used a command. A [`Stop`] ends the process,
//! with one sentence for the operator and an exit code of its own. Everything else is an
//! `anyhow::Error`: callers add context, and it is logged once where it is handled.

use crate::leveling::GuildId;
use crate::store::watermark::Lost;

/// A sentence for the person who used a command. Contains no secret and no internal detail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UserError(pub String);

/// Why the process must end. `run_walle.sh --help` lists the exit codes.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// Neither `WALLE_TOKEN` nor `WALLE_TOKEN_FILE` gives a token.
    #[error(
        "there is no bot token: set WALLE_TOKEN (or WALLE_TOKEN_FILE) to the one on the Bot page of \
         https://discord.com/developers/applications{0}"
    )]
    NoToken(&'static str),
    /// `WALLE_GUILD_ID` is missing or not a valid id.
    #[error(
        "there is no guild: set WALLE_GUILD_ID to its id (right-click the server's icon, Copy Server ID){0}"
    )]
    NoGuild(&'static str),
    /// Discord answered 401, or closed the gateway with 4004.
    #[error(
        "Discord refuses the bot token: reset it on the Bot page of https://discord.com/developers/applications \
         and put the new one into WALLE_TOKEN"
    )]
    TokenRefused,
    /// The bot is not a member of the configured guild.
    #[error(
        "the bot is not in guild {0}: invite it with the link in the README, or correct WALLE_GUILD_ID"
    )]
    NotInGuild(GuildId),
    /// The gateway closed with 4014: a privileged intent is switched off.
    #[error(
        "Discord refuses an intent: switch on Message Content and Server Members under Privileged Gateway Intents on \
         the Bot page of https://discord.com/developers/applications"
    )]
    IntentOff,
    /// The gateway closed with 4013: unknown intents.
    #[error(
        "Discord does not know the intents that this wall_e asks for (4013): a newer wall_e is needed"
    )]
    IntentsUnknown,
    /// The gateway closed with 4010: invalid shard.
    #[error(
        "Discord's gateway refuses the bot's shard, which is always 0 of 1 (4010): check that WALLE_DISCORD_API leads \
         to Discord, or look for a newer wall_e"
    )]
    ShardRefused,
    /// The gateway closed with 4011, or Discord recommends more than one shard.
    #[error(
        "the bot is in so many guilds that Discord wants it split into shards (4011): wall_e serves one guild, give it \
         an application of its own"
    )]
    ShardingRequired,
    /// The gateway closed with 4012: unsupported API version.
    #[error(
        "Discord's gateway no longer supports the version that this wall_e speaks (4012): a newer wall_e is needed"
    )]
    VersionRefused,
    /// Postgres cannot be reached, or its database cannot be used.
    #[error(
        "the database cannot be used: {0:#}; check that Postgres runs and that DATABASE_URL is right"
    )]
    Database(anyhow::Error),
    /// Another process has taken the lease of the database.
    #[error(
        "another wall_e has taken over the database: this one ends, so that no message counts twice"
    )]
    TakenOver,
    /// A failover or a restore of the database has undone commits. `app::run` then starts over
    /// instead of ending, unless the process was asked to end.
    #[error(
        "the database has lost saved data (after a failover or a restore); the next start reads it again from Discord"
    )]
    Rewound,
    /// Any other error.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl From<Lost> for Stop {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::TakenOver => Self::TakenOver,
            Lost::Rewound => Self::Rewound,
        }
    }
}

impl From<crate::store::Error> for Stop {
    fn from(error: crate::store::Error) -> Self {
        Self::Database(error.into())
    }
}
