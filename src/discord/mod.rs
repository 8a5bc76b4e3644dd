//! The gateway kept alive, events in our own types, and Discord's REST side. Decides nothing
//! about XP.

pub mod avatar_channel;
pub mod level_up_message;

pub mod buttons;
pub mod cdn;
pub mod client;
pub mod codes;
pub mod council;
pub mod gateway;
pub mod guild;
pub mod history;
mod ids;
pub mod interaction;
pub mod known_guild;
pub mod managed_channel;
pub mod member_roles;
pub mod member_states;
pub mod message_gate;
mod nonce;
pub mod offline_shard;
pub mod old_commands;
pub mod payload;
pub mod permissions;
pub mod reply;
pub mod rest;
pub mod right_roles;
pub mod time;
pub mod unreadable;

pub use rest::{Api, CallError, Priority, Repeat, Rest, RestError};

/// How every call names the bot, as Discord asks of bots: `DiscordBot (URL, VERSION)`. The URL is
/// the repository's in `Cargo.toml`. Where there is none it is one that is nobody's: the domain
/// `invalid` is reserved (RFC 2606), so no other people's site is named.
pub(crate) const USER_AGENT: &str = if env!("CARGO_PKG_REPOSITORY").is_empty() {
    concat!(
        "DiscordBot (https://wall-e.invalid, ",
        env!("CARGO_PKG_VERSION"),
        ")"
    )
} else {
    concat!(
        "DiscordBot (",
        env!("CARGO_PKG_REPOSITORY"),
        ", ",
        env!("CARGO_PKG_VERSION"),
        ")"
    )
};
