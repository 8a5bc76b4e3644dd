//! The rules of leveling, as pure functions and plain data.
//!
//! Nothing in this module reads a clock, uses random numbers, opens a socket or accesses the
//! database. Times and ids are arguments, so every rule can be tested with a table of cases.

mod avatar;
mod award;
pub mod buckets;
mod channel_access;
pub mod cooldown;
mod curve;
pub mod discord_time;
mod earning;
mod escape;
mod grouped;
mod history_source;
mod ids;
pub mod level_roles;
mod levels;
pub mod look_back;
mod name_removal;
mod naming;
pub mod permission_bits;
pub mod picture_size;
mod profile;
mod ranking;
mod rate;
pub mod removal_brake;
mod right_roles;
mod role_manager;
mod role_plan;
mod role_position;
mod role_rewards;
pub mod schedule;
mod screening;
mod timeline;
mod without_nul;
pub mod xp_rules;
mod xp_sources;

pub use avatar::{AvatarHash, CopyPlan, Picture, copy_plan, expires_at};
pub use award::{Award, Standing, award, can_earn};
pub use channel_access::{
    ChannelOverwrites, NamedChannel, Overwrite, OverwriteTarget, RoleInChannels, ShownChannels,
    add_channels,
};
pub use curve::{COMPUTING_NAMES, TOP_LEVEL, mee6_points_to_next, mee6_total};
pub use earning::{MessageFacts, ObservedMessage, may_command, may_earn};
pub use escape::{Quoted, escape, escape_text, spell_out};
pub use grouped::Grouped;
pub use history_source::HistorySource;
pub use ids::{ChannelId, GuildId, MessageId, RequestId, RoleId, Timestamp, UserId};
pub use levels::{Level, LevelNumber, Levels, LevelsError, Points, Progress};
pub use name_removal::{NameRemoval, RoleStays, may_be_deleted};
pub use naming::{
    GuildRole, Naming, NamingRefusal, NotARoleName, RoleArgument, RoleName, RolePosition,
    may_be_changed, name_level, take_role, take_role_if_changed, trim_role_name,
};
pub use profile::{Account, Field, Fingerprint, Membership, ObservedProfile, Profile};
pub use ranking::{Board, Place};
pub use rate::{Percent, Rate};
pub use right_roles::{
    ProtectedRoles, RightRoleProblem, RoleEntry, RoleMatches, RolePins, match_roles,
};
pub use role_manager::{CannotDelete, RoleManager};
pub use role_plan::{LevelRoles, RolePlan};
pub use role_position::{BELOW_ALL_ROLES, bot_position, out_of_reach};
pub use role_rewards::RoleRewards;
pub use screening::{Admission, Onboarding, Screening};
pub use without_nul::without_nul;
pub use xp_rules::{
    ChannelPlace, RuleChange, RuleKind, RuleSubject, RuleTerm, XpRecord, XpRule, XpRules,
};
pub use xp_sources::{Part, RecordedXp, XpSources};
