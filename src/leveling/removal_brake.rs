//! The brake on removals: a reconcile that would take roles from many members needs a
//! moderator's confirmation. Otherwise a wrong database could take everyone's roles.

/// So many members may lose roles without a confirmation.
const MAX_UNCONFIRMED: u64 = 25;
/// So many percent of all members may lose roles without a confirmation, even if they are more.
const MAX_UNCONFIRMED_PERCENT: u64 = 1;

/// Whether a moderator must confirm that this many of all `members` lose roles.
pub fn needs_confirmation(losing: u64, members: u64) -> bool {
    let percent_of_members = members.saturating_mul(MAX_UNCONFIRMED_PERCENT);
    losing > MAX_UNCONFIRMED && losing.saturating_mul(100) > percent_of_members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_members_and_a_small_share_lose_roles_without_a_confirmation() {
        for (losing, members, expected) in [
            (0, 0, false),
            (25, 25, false),
            (26, 26, true),
            (26, 2_600, false),
            (27, 2_600, true),
            (70, 7_000, false),
            (71, 7_000, true),
        ] {
            let needs_it = needs_confirmation(losing, members);
            assert_eq!(needs_it, expected, "{losing} of {members}");
        }
    }
}
