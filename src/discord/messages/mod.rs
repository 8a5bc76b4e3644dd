//! Messages that the bot posts, and answers to commands and buttons.
//!
//! - `post`: posts and edits messages; `nonce`: so that each is posted once
//! - `reply`: what a command answers, in a channel or by `interaction`
//! - `buttons`, `button_labels` and `button_lifetime`: what buttons do, what they say, and how long
//!   they work
//! - `level_up_message`: the lines about new levels
//! - `colors`: the colours of embeds

pub mod button_labels;
pub mod button_lifetime;
pub mod buttons;
pub mod colors;
pub mod interaction;
pub mod level_up_message;
pub(super) mod nonce;
pub mod post;
pub mod reply;
