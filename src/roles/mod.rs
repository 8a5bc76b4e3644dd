//! The right level roles on the right members: the rules of `leveling` carried out.
//!
//! Reads what is, computes what should be, and sends the difference. XP is only looked at
//! here, never changed.

mod asks;
mod cli;
mod level_role_cache;
mod reconcile;
mod reconcile_schedule;
mod refusals;
mod role_problems;
mod role_sync_queue;

pub use cli::run_cli;
pub use level_role_cache::LevelRoleCache;
pub use reconcile::{ALLOWED_FOR, Difference, Found, Progress, Report, RoleReconciler};
pub use reconcile_schedule::{ReconcileSchedule, ReconcileTask};
pub(crate) use role_problems::{RoleProblem, no_permission, why_it_stays};
pub use role_sync_queue::{Members, Register, RoleSync, note_refusals, waiting_members};

use crate::discord::member_roles::MemberRoles;
use crate::xp::LevelNames;

/// What whoever gives, takes or renames level roles works with. Cheap to clone; all clones are
/// one.
#[derive(Clone, Debug)]
pub struct Roles {
    /// What levels carry.
    pub names: LevelNames,
    /// What level roles there are.
    pub book: LevelRoleCache,
    /// Gives and takes.
    pub calls: MemberRoles,
    /// Has roles verified.
    pub verifications: ReconcileSchedule,
}
