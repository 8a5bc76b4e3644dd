//! Whether a member may have level roles yet, or must first pass Discord's rules screening or
//! complete the guild's onboarding.
//!
//! Pure functions of what Discord says about the member and the guild. Nothing is remembered.

use super::Timestamp;

const COMPLETED_ONBOARDING: u64 = 1 << 1;
const BYPASSES_VERIFICATION: u64 = 1 << 2;
const STARTED_ONBOARDING: u64 = 1 << 3;
/// How far the bot's estimate of Discord's time may be ahead of it, in milliseconds.
const CLOCK_SLACK_MS: i64 = 5_000;

/// A member's state in rules screening and onboarding, as Discord sends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screening {
    /// Whether they have not passed the guild's rules screening yet. Assigning a role would make
    /// them pass it.
    pub pending: bool,
    /// Discord's member flags; `None` if it did not send them.
    pub flags: Option<u64>,
    /// When they last joined; `None` if Discord did not send it.
    pub joined_at: Option<Timestamp>,
}

/// Whether members must complete the guild's onboarding before they get level roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onboarding {
    /// No: the guild has no onboarding, or the settings do not require it.
    NotAwaited,
    /// Unknown: Discord has not sent the guild yet.
    Unknown,
    /// Yes, and the bot has known so since this time.
    AwaitedSince(Timestamp),
}

/// Whether a member may have level roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// They may.
    Admitted,
    /// Not yet.
    Waits,
    /// Undecided: they have not begun the onboarding, and nothing shows that they must complete
    /// it. Members who joined before the guild had one look like this. A member who has just
    /// joined does too, if the time of joining or the start of the onboarding is unknown.
    NotBegun,
}

impl Screening {
    /// Whether a member may have level roles.
    pub fn admission(self, onboarding: Onboarding) -> Admission {
        let has = |flag: u64| self.flags.is_some_and(|flags| flags & flag != 0);
        if self.pending {
            Admission::Waits
        } else if onboarding == Onboarding::NotAwaited
            || has(COMPLETED_ONBOARDING | BYPASSES_VERIFICATION)
        {
            Admission::Admitted
        } else if has(STARTED_ONBOARDING) || self.joined_under(onboarding) {
            Admission::Waits
        } else {
            Admission::NotBegun
        }
    }

    /// Whether they joined when the onboarding already existed. Both times are known after a
    /// restart too: Discord sends them again, or the bot has stored them.
    fn joined_under(self, onboarding: Onboarding) -> bool {
        match (self.joined_at, onboarding) {
            (Some(joined), Onboarding::AwaitedSince(since)) => {
                joined.millis() + CLOCK_SLACK_MS >= since.millis()
            }
            _ => false,
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
            let screening = Screening {
                pending,
                flags,
                joined_at: None,
            };
            let since = Onboarding::AwaitedSince(at(5));
            let awaited = [Onboarding::Unknown, since].map(|one| screening.admission(one));
            assert_eq!(awaited, [with; 2], "{screening:?}");
            let not_awaited = screening.admission(Onboarding::NotAwaited);
            assert_eq!(not_awaited, without, "{screening:?}");
        }
    }

    #[test]
    fn a_member_without_flags_waits_if_they_joined_when_there_was_an_onboarding() {
        use Admission::{Admitted, NotBegun, Waits};
        for (joined, flags, onboarding, expected) in [
            (4, 0, Onboarding::AwaitedSince(at(5)), NotBegun),
            (5, 0, Onboarding::AwaitedSince(at(5)), Waits),
            (6, 1, Onboarding::AwaitedSince(at(5)), Waits),
            (
                6,
                COMPLETED_ONBOARDING,
                Onboarding::AwaitedSince(at(5)),
                Admitted,
            ),
            (6, 0, Onboarding::Unknown, NotBegun),
            (6, 0, Onboarding::NotAwaited, Admitted),
        ] {
            let screening = Screening {
                pending: false,
                flags: Some(flags),
                joined_at: Some(at(joined)),
            };
            let got = screening.admission(onboarding);
            assert_eq!(got, expected, "{screening:?} {onboarding:?}");
        }
    }

    /// Times at a distance of twice the allowed clock difference.
    fn at(step: i64) -> Timestamp {
        Timestamp::from_millis(step * 2 * CLOCK_SLACK_MS).unwrap()
    }
}
