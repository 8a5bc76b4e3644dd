//! Whether a member may have level roles yet, or must pass something of Discord's first.
//!
//! Pure: what Discord says of a member and of the guild is given. Nothing here remembers
//! anybody.

use super::Timestamp;

const COMPLETED_ONBOARDING: u64 = 1 << 1;
const BYPASSES_VERIFICATION: u64 = 1 << 2;
const STARTED_ONBOARDING: u64 = 1 << 3;
/// By how much the bot's idea of Discord's time may be ahead of it.
const CLOCK_SLACK_MS: i64 = 5_000;

/// How far a member is on the way into the guild, as Discord says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screening {
    /// Whether they have not passed the guild's rules screening yet: they would pass it by
    /// getting a role.
    pub pending: bool,
    /// Discord's member flags; `None` where it did not send any.
    pub flags: Option<u64>,
    /// When they joined, the last time; `None` where Discord did not say.
    pub joined_at: Option<Timestamp>,
}

/// Whether members must complete the guild's onboarding before they get level roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onboarding {
    /// They need not: the guild has none, or the settings do not want it.
    NotAwaited,
    /// They must, perhaps: the guild has not been seen yet.
    Unknown,
    /// They must, and the bot has known it since this time.
    AwaitedSince(Timestamp),
}

/// What follows for level roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// They may have them.
    Admitted,
    /// They must wait.
    Waits,
    /// They have not begun with the onboarding, and nothing says that they must: members who
    /// joined before the guild had one look like this. So does a member who has just joined
    /// where it is not known when they joined or since when there is an onboarding.
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

    /// Whether they joined when there already was an onboarding. Discord tells both times again
    /// after a restart of the bot, or the bot has stored them.
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

    /// Times that are further apart than clocks may differ.
    fn at(step: i64) -> Timestamp {
        Timestamp::from_millis(step * 2 * CLOCK_SLACK_MS).unwrap()
    }
}
