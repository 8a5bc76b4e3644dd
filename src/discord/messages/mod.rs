//! Messages that the bot posts, and answers to commands and buttons.

pub mod buttons;
pub mod interaction;
pub mod level_up_message;
pub(super) mod nonce;
pub mod reply;
