//! The right level roles on the right members: the rules of `leveling` carried out.
//!
//! Reads what is, computes what should be, and sends the difference. XP is only looked at
//! here, never changed.

mod asks;
mod book;
mod by_hand;
mod refusals;
mod role_problems;
mod verifications;
mod verify;
mod work;

pub use book::RoleBook;
pub use by_hand::by_hand;
pub(crate) use role_problems::{RoleProblem, no_permission, why_it_stays};
pub use verifications::{Verifications, VerificationsTask};
pub use verify::{ALLOWED_FOR, Difference, Found, Progress, Report, VerifyRoles};
pub use work::{Members, Register, RoleWork, note_refusals, waiting_members};

use crate::discord::member_roles::MemberRoles;
use crate::xp::LevelNames;

/// What whoever gives, takes or renames level roles works with. Cheap to clone; all clones are
/// one.
#[derive(Clone, Debug)]
pub struct Roles {
    /// What levels carry.
    pub names: LevelNames,
    /// What level roles there are.
    pub book: RoleBook,
    /// Gives and takes.
    pub calls: MemberRoles,
    /// Has roles verified.
    pub verifications: Verifications,
}
