//! Discord's JSON error codes that the bot handles. Source: Discord's reference, "JSON Error
//! Codes".

/// Unknown channel.
pub const UNKNOWN_CHANNEL: isize = 10_003;
/// Unknown guild.
pub const UNKNOWN_GUILD: isize = 10_004;
/// The user is not a member of the guild.
pub const UNKNOWN_MEMBER: isize = 10_007;
/// Unknown message.
pub const UNKNOWN_MESSAGE: isize = 10_008;
/// Unknown role.
pub const UNKNOWN_ROLE: isize = 10_011;
/// Unknown user.
pub const UNKNOWN_USER: isize = 10_013;
/// The guild has Discord's maximum number of roles.
pub const TOO_MANY_ROLES: isize = 30_005;
/// Too many edits of messages that are older than an hour; sent with status 429.
pub const TOO_MANY_EDITS_OF_OLD_MESSAGES: isize = 30_046;
/// The interaction has been answered already: an earlier attempt arrived.
pub const ALREADY_ANSWERED: isize = 40_060;
/// The bot does not see the channel.
pub const MISSING_ACCESS: isize = 50_001;
/// The bot lacks a permission for the call.
pub const MISSING_PERMISSIONS: isize = 50_013;
/// The body of the call is invalid.
pub const INVALID_BODY: isize = 50_035;
/// The guild requires two-factor authentication of moderators, and the bot's owner has none.
pub const TWO_FACTOR_REQUIRED: isize = 60_003;
/// A reply needs the permission Read Message History.
pub const NO_REPLY_WITHOUT_HISTORY: isize = 160_002;
