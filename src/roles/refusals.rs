//! Remembers the roles that Discord refuses to give or take, so that not every level-up tries
//! them again.
//!
//! The guild's roles may show no reason for a refusal. One such reason is a guild that requires
//! two-factor authentication of moderators. Pure: the time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::leveling::RoleId;

/// How long a refusal is remembered. After that the bot tries the role again, since Discord sends
/// no event for some fixes.
const TRIED_AGAIN_AFTER: Duration = Duration::from_hours(6);

/// The refused roles.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<RoleId, RoleRefusal>);

#[derive(Clone, Copy, Debug)]
struct RoleRefusal {
    /// Discord's error code.
    code: isize,
    since: Instant,
}

impl Refusals {
    /// Remembers a refusal. Returns whether the role was not refused with this code before, as of
    /// `now`.
    pub fn note(&mut self, role: RoleId, code: isize, now: Instant) -> bool {
        let before = self.code(role, now);
        let since = now;
        self.0.insert(role, RoleRefusal { code, since });
        before != Some(code)
    }

    /// The error code with which a role was refused, if the refusal has not expired at `now`.
    pub fn code(&self, role: RoleId, now: Instant) -> Option<isize> {
        let refusal = self.0.get(&role)?;
        (now < refusal.since + TRIED_AGAIN_AFTER).then_some(refusal.code)
    }

    /// All refused roles whose refusal has not expired at `now`, with their error codes.
    pub fn standing(&self, now: Instant) -> BTreeMap<RoleId, isize> {
        let roles = self.0.keys();
        roles
            .filter_map(|role| Some((*role, self.code(*role, now)?)))
            .collect()
    }

    /// Replaces all refusals with those that a reconcile of everyone has met.
    pub fn replace(&mut self, refused: &BTreeMap<RoleId, isize>, now: Instant) {
        let since = now;
        let refusal = |(role, code): (&RoleId, &isize)| (*role, RoleRefusal { code: *code, since });
        self.0 = refused.iter().map(refusal).collect();
    }

    /// Forgets all refusals. Returns whether there were any.
    pub fn clear(&mut self) -> bool {
        !std::mem::take(&mut self.0).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discord::rest::error_codes::{MISSING_PERMISSIONS, TWO_FACTOR_REQUIRED};

    #[test]
    fn a_refusal_holds_for_a_while_or_until_something_changes() {
        let (start, role) = (Instant::now(), RoleId::new(5).unwrap());
        let mut refusals = Refusals::default();
        assert_eq!(refusals.code(role, start), None);
        assert!(refusals.note(role, TWO_FACTOR_REQUIRED, start));
        let last = start + TRIED_AGAIN_AFTER - Duration::from_secs(1);
        assert_eq!(refusals.code(role, last), Some(TWO_FACTOR_REQUIRED));
        assert_eq!(
            refusals.standing(last),
            [(role, TWO_FACTOR_REQUIRED)].into()
        );
        assert!(
            !refusals.note(role, TWO_FACTOR_REQUIRED, last),
            "known already"
        );
        assert!(
            refusals.note(role, MISSING_PERMISSIONS, last),
            "another reason"
        );
        let after = last + TRIED_AGAIN_AFTER;
        assert_eq!(refusals.code(role, after), None);
        assert!(refusals.standing(after).is_empty());
        assert!(
            refusals.note(role, MISSING_PERMISSIONS, after),
            "refused anew"
        );
        assert!(refusals.clear() && !refusals.clear());
        refusals.replace(&[(role, 1)].into(), after);
        assert_eq!(refusals.code(role, after), Some(1));
        refusals.replace(&BTreeMap::new(), after);
        assert_eq!(refusals.code(role, after), None);
    }
}
