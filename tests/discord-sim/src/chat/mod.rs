//! A small chat: people of the made-up guild talk to the bot from a terminal
//! or from a script.
//!
//! `line` is what can be typed, `room` does it, `draw` shows what the bot
//! says, `script` and `prompt` are the two ways to use them.

mod draw;
mod line;
mod prompt;
mod room;
mod script;

pub use draw::draw;
pub use prompt::talk;
pub use room::{Heard, News, Room};
pub use script::{Failed, play};
