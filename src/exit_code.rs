//! The exit codes of the process. `run_walle.sh --help` and the README list them.

use crate::error::Stop;

/// After a second signal, which ends the process at once.
pub const INTERRUPTED: i32 = 130;

impl Stop {
    /// 1 for an error without a code of its own. 2 is never returned: the command line parser uses
    /// it for invalid arguments.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            Self::NoToken(_) => 12,
            Self::NoGuild(_) => 13,
            Self::TokenRefused => 14,
            Self::NotInGuild(_) => 15,
            Self::IntentOff => 16,
            Self::Database(_) | Self::Rewound => 17,
            Self::TakenOver => 18,
            Self::IntentsUnknown => 19,
            Self::ShardRefused => 20,
            Self::ShardingRequired => 21,
            Self::VersionRefused => 22,
        }
    }
}
