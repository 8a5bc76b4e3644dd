//! Discord's REST side and the client's set-up. Decides nothing about XP.

pub mod announce;
pub mod client;
pub mod history;
mod ids;
pub mod reply;
pub mod rest;
pub mod wire;

pub use rest::{Repeat, Rest, RestError};
