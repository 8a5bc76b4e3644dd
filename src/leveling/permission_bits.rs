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
const PIN_MESSAGES: u64 = 1 << 51;

/// Moderation permissions. A role that grants any of them must never be earned with XP.
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
    | PIN_MESSAGES;
