//! Everything that talks to Discord: the gateway connection, its events as the crate's own
//! types, and REST calls. Makes no decisions about XP.

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

/// The `User-Agent` of every call, in the form that Discord requires: `DiscordBot (URL, VERSION)`.
/// The URL is the repository's in `Cargo.toml`. If that is empty, it is in the reserved domain
/// `invalid` (RFC 2606), which belongs to nobody.
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
