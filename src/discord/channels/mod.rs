//! Channels of the guild: those that the bot keeps for itself, and the history of all of them.

pub mod avatar_channel;
pub mod council;
pub mod history;
pub mod managed_channel;
