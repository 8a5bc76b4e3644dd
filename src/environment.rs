//! What nearly everything in the bot works with, as one value that is handed to whoever is built.
//!
//! Holds handles only, and decides nothing.

use std::sync::Arc;

use crate::discord::Rest;
use crate::discord::council::Council;
use crate::discord::member_states::MemberStates;
use crate::discord::time::DiscordTime;
use crate::leveling::GuildId;
use crate::store::Database;
use crate::xp::XpCache;

/// The shared handles. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The guild served.
    pub guild: GuildId,
    /// Postgres.
    pub database: Database,
    /// Everyone's points, the levels, and what is known of profiles.
    pub xp: Arc<XpCache>,
    /// Calls to Discord.
    pub rest: Rest,
    /// Discord's time.
    pub time: DiscordTime,
    /// Where moderators are told of problems.
    pub council: Arc<Council>,
    /// Who must wait for roles, and who has left.
    pub members: MemberStates,
}
