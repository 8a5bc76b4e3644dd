//! The close codes of Discord's gateway, and whether the bot may connect and resume after them.
//! Source: Discord's documentation, "Gateway Close Event Codes".

use crate::error::Stop;

/// Why the bot must not connect again after a fatal close code; `None` for all other codes.
pub(super) fn fatal(code: u16) -> Option<Stop> {
    match code {
        4_004 => Some(Stop::TokenRefused),
        4_010 => Some(Stop::ShardRefused),
        4_011 => Some(Stop::ShardingRequired),
        4_012 => Some(Stop::VersionRefused),
        4_013 => Some(Stop::IntentsUnknown),
        4_014 => Some(Stop::IntentOff),
        _ => None,
    }
}

/// Whether the session cannot be resumed after this close code. 4007 (invalid sequence) and 4009
/// (session timed out) always end the session. 1000, 4003 and 4006 end it only if the connection
/// was not yet active: Discord closed it before it sent `READY` or `RESUMED`.
pub(super) fn ends_session(code: u16, is_active: bool) -> bool {
    matches!(code, 4_007 | 4_009) || !is_active && matches!(code, 1_000 | 4_003 | 4_006)
}
