//! The right level roles on the right members: the rules of `leveling` carried out.
//!
//! Reads what is, computes what should be, and sends the difference. XP is only looked at
//! here, never changed.

mod asks;
mod book;
mod by_hand;
mod refusals;
mod troubles;
mod verifications;
mod verify;
mod work;

pub use book::RoleBook;
pub use by_hand::by_hand;
pub use verifications::{Verifications, VerificationsTask};
pub use verify::{ALLOWED_FOR, Difference, Found, Progress, Report, VerifyRoles};
pub use work::{Members, Register, RoleWork, note_refusals, waiting_members};
