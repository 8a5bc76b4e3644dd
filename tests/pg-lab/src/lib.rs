//! A Postgres that things happen to, for the tests and the chaos.
//!
//! - [`Gate`] stands between the bot and any Postgres: shut, slow, or losing answers
//! - [`Server`] is a real Postgres of one's own, to be stopped, killed and started again
//!
//! Knows neither the bot nor SQL.

mod gate;
mod server;

pub use gate::{Address, Gate, Position};
pub use server::{Server, Stop};
