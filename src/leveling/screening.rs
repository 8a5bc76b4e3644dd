//! Whether a member may have level roles yet, or must pass something of Discord's first.
//!
//! Pure: what Discord says of a member and of the guild is given. Nothing here remembers
//! anybody.

const COMPLETED_ONBOARDING: u64 = 1 << 1;
const BYPASSES_VERIFICATION: u64 = 1 << 2;
const STARTED_ONBOARDING: u64 = 1 << 3;

/// How far a member is on the way into the guild, as Discord says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screening {
    /// Whether they have not passed the guild's rules screening yet: they would pass it by
    /// getting a role.
    pub pending: bool,
    /// Discord's member flags; `None` where it did not send any.
    pub flags: Option<u64>,
}

/// What follows for level roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// They may have them.
    Admitted,
    /// They must wait.
    Waits,
    /// Nothing says that they have begun with the onboarding, nor that they had to: everybody
    /// who joined before the guild had one looks like this, and so does who has just joined.
    NotBegun,
}

impl Screening {
    /// Whether a member may have level roles. `onboarding` says that the guild has Discord's
    /// onboarding and the settings want it to be waited for.
    pub fn admission(self, onboarding: bool) -> Admission {
        let has = |flag: u64| self.flags.is_some_and(|flags| flags & flag != 0);
        if self.pending {
            Admission::Waits
        } else if !onboarding || has(COMPLETED_ONBOARDING | BYPASSES_VERIFICATION) {
            Admission::Admitted
        } else if has(STARTED_ONBOARDING) {
            Admission::Waits
        } else {
            Admission::NotBegun
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_have_level_roles() {
        use Admission::{Admitted, NotBegun, Waits};
        const REJOINED: u64 = 1;
        for (pending, flags, without, with) in [
            (false, Some(0), Admitted, NotBegun),
            (false, None, Admitted, NotBegun),
            (false, Some(REJOINED), Admitted, NotBegun),
            (false, Some(STARTED_ONBOARDING), Admitted, Waits),
            (false, Some(REJOINED | STARTED_ONBOARDING), Admitted, Waits),
            (
                false,
                Some(STARTED_ONBOARDING | COMPLETED_ONBOARDING),
                Admitted,
                Admitted,
            ),
            (false, Some(COMPLETED_ONBOARDING), Admitted, Admitted),
            (false, Some(BYPASSES_VERIFICATION), Admitted, Admitted),
            (
                false,
                Some(STARTED_ONBOARDING | BYPASSES_VERIFICATION),
                Admitted,
                Admitted,
            ),
            (true, Some(0), Waits, Waits),
            (true, Some(COMPLETED_ONBOARDING), Waits, Waits),
            (true, None, Waits, Waits),
        ] {
            let screening = Screening { pending, flags };
            assert_eq!(screening.admission(false), without, "{screening:?}");
            assert_eq!(screening.admission(true), with, "{screening:?}");
        }
    }
}
