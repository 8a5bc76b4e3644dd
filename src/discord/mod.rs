//! Discord's REST side, the client's set-up, and the gateway kept alive. Decides nothing
//! about XP.

mod address;
pub mod announce;
pub mod api;
pub mod avatar_channel;
mod budget;
pub mod buttons;
pub mod cdn;
mod channel_queue;
pub mod client;
pub mod council;
pub mod gateway;
pub mod guild;
pub mod history;
mod ids;
pub mod interaction;
pub mod known_guild;
pub mod member_states;
pub mod message_gate;
mod nonce;
pub mod old_commands;
pub mod overheard;
pub mod own_channel;
pub mod permissions;
pub mod rebuild;
pub mod reply;
pub mod rest;
pub mod right_roles;
pub mod role_calls;
pub mod time;
mod turns;
pub mod unreadable;
mod watchdog;
pub mod wire;

pub use api::{Api, CallError};
pub use rest::{Repeat, Rest, RestError};
pub use turns::Priority;
