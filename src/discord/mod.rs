//! Everything that talks to Discord. Knows no XP: what a message or a member means for levels is
//! decided elsewhere.
//!
//! - [`gateway`]: the connection that receives events
//! - [`payload`]: the JSON of events and responses, parsed into our own types
//! - [`rest`]: the REST client, its timeouts and rate limits, and Discord's error codes
//! - [`guild`]: the guild's roles and members, and permissions
//! - [`messages`]: replies, buttons, level-up messages and nonces
//! - [`channels`]: the council, the avatar channel, and the history of all channels
//! - in this folder: Discord's clock, its CDN, and what poise needs of serenity

pub mod cdn;
pub mod channels;
pub mod gateway;
pub mod guild;
mod ids;
pub mod messages;
pub mod offline_shard;
pub mod old_commands;
pub mod payload;
pub mod rest;
pub mod time;

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
