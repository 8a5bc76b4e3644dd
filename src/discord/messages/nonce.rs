//! The nonces of all messages that the bot posts. Discord posts a message once, even if it is sent
//! again with the same nonce within some minutes.
//!
//! A nonce depends on nothing but the arguments here, and no scheme may change with an update of
//! the bot: a retry after the update would post twice. A nonce has at most 25 characters.

use serenity::all as theirs;

use crate::leveling::{MessageId, UserId};

/// For the level-up line of `user`. It contains part of the user id because one message can bring
/// two level-ups: the message with which a moderator gives XP also earns XP itself.
pub(in crate::discord) fn level_up_line(message: MessageId, user: UserId) -> String {
    format!("{message}.{:05}", user.get() % 100_000)
}

/// For one of the messages about levels that were reached long ago.
pub(in crate::discord) fn late_level_ups(key: MessageId, part: u32) -> String {
    hashed(&["late", &key.to_string(), &part.to_string()])
}

/// For the reply to a text command. The prefix keeps it apart from a level-up line.
pub(in crate::discord) fn reply(command: theirs::MessageId) -> String {
    format!("r{command}")
}

/// For a direct message.
pub(in crate::discord) fn direct_message(channel: u64, text: &str) -> String {
    hashed(&["direct", &channel.to_string(), text])
}

/// For the copy of an avatar.
pub(in crate::discord) fn avatar_copy(version: i64) -> String {
    hashed(&["avatar", &version.to_string()])
}

/// For a message to the council about a lasting problem. It contains the deleted message that it
/// replaces: without that, Discord would take it for a repeat of the deleted one.
pub(in crate::discord) fn council_notice(
    key: &str,
    text: &str,
    replaces: Option<MessageId>,
) -> String {
    let replaces = replaces.map_or(0, MessageId::get);
    hashed(&[key, text, &replaces.to_string()])
}

/// For a message to the council that is not about a lasting problem.
pub(in crate::discord) fn council_message(key: &str) -> String {
    hashed(&["", key])
}

/// A nonce of 25 characters.
fn hashed(parts: &[&str]) -> String {
    // The upper 96 bits of the 128-bit FNV-1a hash.
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mixed = |hash: u128, byte: u8| (hash ^ u128::from(byte)).wrapping_mul(PRIME);
    let whole = parts.join("\0");
    let hash = whole.bytes().fold(BASIS, mixed);
    format!("n{:024x}", hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_fits_and_tells_texts_apart() {
        // The published vector of FNV-1a for "a", cut to 96 bits.
        assert_eq!(hashed(&["a"]), "nd228cb696f1a8caf78912b70");
        assert_eq!(hashed(&["a", "b"]).len(), 25);
        assert_ne!(hashed(&["a", "b"]), hashed(&["ab"]));
        let (message, user) = (MessageId::new(i64::MAX as u64), UserId::new(1_234_567));
        let line = level_up_line(message.unwrap(), user.unwrap());
        assert_eq!(line, "9223372036854775807.34567");
    }
}
