//! The handles that nearly every part of the bot needs, as one value that constructors take. Can be
//! built without running the bot.
//!
//! Contains no logic.

use std::sync::Arc;

use crate::discord::Rest;
use crate::discord::channels::council::Council;
use crate::discord::guild::known_guild::KnownGuild;
use crate::discord::guild::member_states::MemberStates;
use crate::discord::guild::right_roles::RightRoles;
use crate::discord::time::DiscordTime;
use crate::guild_settings::GuildSettings;
use crate::leveling::GuildId;
use crate::store::Database;
use crate::xp::XpCache;

/// The shared handles. Cheap to clone; all clones share the same state.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The one guild that the bot serves.
    pub guild: GuildId,
    /// The Postgres connection pool.
    pub database: Database,
    /// All users' XP, the levels, and a fingerprint of each known profile.
    pub xp: Arc<XpCache>,
    /// What moderators have set for the guild.
    pub settings: GuildSettings,
    /// Client for Discord's REST API.
    pub rest: Rest,
    /// Discord's clock, as far as it is known.
    pub time: DiscordTime,
    /// The channel in which moderators are told of problems.
    pub council: Arc<Council>,
    /// Which members must pass a screening before they get roles, and who has left.
    pub members: MemberStates,
    /// The guild's owner and roles, which events keep current.
    pub known_guild: KnownGuild,
    /// The roles to which the settings give rights.
    pub right_roles: RightRoles,
}
