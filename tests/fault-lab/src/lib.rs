//! What things can be made to happen to, for the tests and the chaos.
//!
//! - [`Gate`] stands between the bot and any Postgres: shut, slow, or losing answers
//! - [`Server`] is a real Postgres of one's own, to be stopped, killed and started again
//! - [`WallClock`] is a program's clock, which can be set while it runs
//! - [`send_signal`] ends, stops and continues processes
//!
//! Knows neither the bot nor SQL.

mod clock;
mod gate;
mod server;
mod signal;

pub use clock::WallClock;
pub use gate::{Address, Gate, Position};
pub use server::{Server, Stop};
pub use signal::{Signal, send_signal};
