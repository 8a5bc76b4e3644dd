//! Discord's permission bits, as far as the bot knows them. Source: Discord's reference,
//! "Permissions".

/// All permissions in all channels.
pub const ADMINISTRATOR: u64 = 1 << 3;
/// Create, change and delete channels.
pub const MANAGE_CHANNELS: u64 = 1 << 4;
/// See a channel at all.
pub const VIEW_CHANNEL: u64 = 1 << 10;
/// Write messages.
pub const SEND_MESSAGES: u64 = 1 << 11;
/// Post links and embeds that Discord displays.
pub const EMBED_LINKS: u64 = 1 << 14;
/// Attach files to messages.
pub const ATTACH_FILES: u64 = 1 << 15;
/// Read earlier messages of a channel.
pub const READ_MESSAGE_HISTORY: u64 = 1 << 16;
/// Join a voice channel; also needed to read its messages.
pub const CONNECT: u64 = 1 << 20;
/// Create roles, and change or assign those below the holder's highest role.
pub const MANAGE_ROLES: u64 = 1 << 28;

const KICK_MEMBERS: u64 = 1 << 1;
const BAN_MEMBERS: u64 = 1 << 2;
const MANAGE_GUILD: u64 = 1 << 5;
const VIEW_AUDIT_LOG: u64 = 1 << 7;
const MANAGE_MESSAGES: u64 = 1 << 13;
const MENTION_EVERYONE: u64 = 1 << 17;
const MUTE_MEMBERS: u64 = 1 << 22;
const DEAFEN_MEMBERS: u64 = 1 << 23;
const MOVE_MEMBERS: u64 = 1 << 24;
const MANAGE_NICKNAMES: u64 = 1 << 27;
const MANAGE_WEBHOOKS: u64 = 1 << 29;
const MANAGE_EXPRESSIONS: u64 = 1 << 30;
const MANAGE_EVENTS: u64 = 1 << 33;
const MANAGE_THREADS: u64 = 1 << 34;
const MODERATE_MEMBERS: u64 = 1 << 40;
const CREATE_EXPRESSIONS: u64 = 1 << 43;
const CREATE_EVENTS: u64 = 1 << 44;
const PIN_MESSAGES: u64 = 1 << 51;
const BYPASS_SLOWMODE: u64 = 1 << 52;

/// Moderation permissions. A role that grants any of them must never be earned with XP.
///
/// The last four were parts of Manage Messages, Manage Expressions and Manage Events until Discord
/// split those in 2026, and every role that had the whole got the parts. Each still puts the holder
/// above other members: they choose what is pinned in a channel, escape a limit that moderators
/// set, or publish something in the guild's name to everyone. The permissions that only concern
/// the holder's own messages (polls, external apps, soundboard) are not among them.
pub const MODERATION: u64 = KICK_MEMBERS
    | BAN_MEMBERS
    | ADMINISTRATOR
    | MANAGE_CHANNELS
    | MANAGE_GUILD
    | VIEW_AUDIT_LOG
    | MANAGE_MESSAGES
    | MENTION_EVERYONE
    | MUTE_MEMBERS
    | DEAFEN_MEMBERS
    | MOVE_MEMBERS
    | MANAGE_NICKNAMES
    | MANAGE_ROLES
    | MANAGE_WEBHOOKS
    | MANAGE_EXPRESSIONS
    | MANAGE_EVENTS
    | MANAGE_THREADS
    | MODERATE_MEMBERS
    | CREATE_EXPRESSIONS
    | CREATE_EVENTS
    | PIN_MESSAGES
    | BYPASS_SLOWMODE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_discord_split_off_from_moderation_permissions_is_still_one() {
        // Create Expressions, Create Events, Pin Messages, Bypass Slowmode.
        for bit in [43, 44, 51, 52] {
            assert_ne!(MODERATION & 1 << bit, 0, "{bit}");
        }
        // View Monetization Analytics, Use Soundboard, Send Polls, Use External Apps; and what
        // everyone may do in a usual guild.
        for bit in [6, 10, 11, 14, 15, 16, 20, 21, 31, 35, 38, 41, 42, 49, 50] {
            assert_eq!(MODERATION & 1 << bit, 0, "{bit}");
        }
    }
}
