//! Gives every member the level roles that their XP earns, by the rules of `leveling`.
//!
//! Reads which roles members hold, computes which they should hold, and sends only the
//! differences to Discord. This module reads XP and never changes it.

mod cli;
mod level_role_cache;
mod reconcile;
mod reconcile_requests;
mod reconcile_schedule;
mod refusals;
mod role_problems;
mod role_sync_queue;

pub use cli::run_cli;
pub use level_role_cache::LevelRoleCache;
pub use reconcile::{
    ALLOWED_FOR, ChangeCount, Difference, Findings, MemberObservers, ReconcileProgress, Report,
    RoleReconciler,
};
pub use reconcile_schedule::{ReconcileSchedule, ReconcileTask};
pub(crate) use role_problems::{RoleProblem, no_permission, opens, why_it_stays};
pub use role_sync_queue::{RoleSync, RoleSyncRegister};

use crate::discord::guild::member_roles::MemberRoles;
use crate::xp::LevelNames;

/// Everything that code needs to give, take or rename level roles. Cheap to clone; all clones
/// share their state.
#[derive(Clone, Debug)]
pub struct Roles {
    /// The levels' names and roles, and how to change them.
    pub names: LevelNames,
    /// The guild's level roles, cached.
    pub book: LevelRoleCache,
    /// The REST calls that give members roles and take them.
    pub calls: MemberRoles,
    /// Counts what a reconcile would change.
    pub reconciler: RoleReconciler,
    /// Requests reconciles of everyone's roles.
    pub schedule: ReconcileSchedule,
}
