//! A small chat: people of the made-up guild talk to the bot from a terminal
//! or from a script.
//!
//! `line` is what can be typed, `room` does it, `draw` and `moments` show what the bot
//! says, `script` and `prompt` are the two ways to use them. On a terminal `editor` reads what is
//! typed, `complete` completes it, `screen` keeps what stands above it, `layout` fits that to the
//! window, and `xp` asks a program what was earned.

mod complete;
mod draw;
mod editor;
mod layout;
mod line;
mod moments;
mod prompt;
mod room;
mod screen;
mod script;
mod xp;

pub use draw::draw;
pub use prompt::talk;
pub use room::{Heard, News, Room};
pub use script::{Failed, play};
pub use xp::XpProgram;
