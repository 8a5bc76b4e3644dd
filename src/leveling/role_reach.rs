//! How high the bot reaches among a guild's roles, and which level roles are out of its reach.
//!
//! Pure: the bot's roles, the guild's roles and the levels are given. An event only causes it
//! to be computed again; nothing is concluded from the event itself.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::permission::{ADMINISTRATOR, MANAGE_ROLES};
use super::{GuildRole, Height, Levels, RoleId, may_be_changed};

/// How high a bot reaches that may not manage roles: below all of them.
pub const NOWHERE: Height = (-1, Reverse(RoleId::new(1).expect("not zero")));

/// How high the highest role of a member stands who holds the roles `own`; [`NOWHERE`] if
/// none of them lets the member manage roles. `everyone` is the role that all members have.
pub fn reach(own: &[RoleId], everyone: Option<RoleId>, roles: &[GuildRole]) -> Height {
    let is_own = |role: &&GuildRole| own.contains(&role.id) || Some(role.id) == everyone;
    let own = || roles.iter().filter(is_own);
    let granted = own().fold(0, |granted, role| granted | role.permissions);
    if granted & (MANAGE_ROLES | ADMINISTRATOR) == 0 {
        return NOWHERE;
    }
    own().map(GuildRole::height).max().unwrap_or(NOWHERE)
}

/// The roles that levels carry and that a bot with this reach can neither give nor take: those
/// that do not stand below its own, and those that an integration holds.
pub fn out_of_reach(levels: &Levels, roles: &[GuildRole], reach: Height) -> BTreeSet<RoleId> {
    let carried = levels.rows().iter().filter_map(|row| row.role_in(roles));
    let beyond = carried.filter(|role| may_be_changed(role, reach).is_err());
    beyond.map(|role| role.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYONE: u64 = 1;
    const BOT: u64 = 2;
    const HELPER: u64 = 3;
    /// The roles of levels 0 and 1.
    const LOW: u64 = 10;
    const HIGH: u64 = 11;

    fn id(role: u64) -> RoleId {
        RoleId::new(role).unwrap()
    }

    fn role(role: u64, position: i64, permissions: u64) -> GuildRole {
        GuildRole {
            id: id(role),
            name: role.to_string(),
            permissions,
            position,
            managed: false,
        }
    }

    fn levels() -> Levels {
        Levels::with_roles([(Some(LOW), Some("Low")), (Some(HIGH), Some("High"))])
    }

    #[test]
    fn what_the_bot_can_neither_give_nor_take() {
        // Positions of the bot's role, of the lower and the higher level role; the permissions
        // of the bot's role and of everyone; the roles that the bot holds.
        for (places, of_bot, of_everyone, own, beyond) in [
            ([5, 1, 2], MANAGE_ROLES, 0, &[BOT][..], &[][..]),
            ([5, 1, 2], ADMINISTRATOR, 0, &[BOT], &[]),
            ([5, 1, 2], 0, MANAGE_ROLES, &[BOT], &[]),
            // The right is lost, or the role that gave it.
            ([5, 1, 2], 0, 0, &[BOT], &[LOW, HIGH]),
            ([5, 1, 2], MANAGE_ROLES, 0, &[], &[LOW, HIGH]),
            // A level role was moved above the bot's, or the bot's below level roles.
            ([5, 1, 6], MANAGE_ROLES, 0, &[BOT], &[HIGH]),
            ([1, 2, 3], MANAGE_ROLES, 0, &[BOT], &[LOW, HIGH]),
            // At one position the older role stands higher, and the bot's is older.
            ([2, 1, 2], MANAGE_ROLES, 0, &[BOT], &[]),
            // The right comes from the one role, the height from the other.
            ([1, 2, 3], MANAGE_ROLES, 0, &[BOT, HELPER], &[]),
        ] {
            let [bot, low, high] = places;
            let roles = [
                role(EVERYONE, 0, of_everyone),
                role(BOT, bot, of_bot),
                role(HELPER, 9, 0),
                role(LOW, low, 0),
                role(HIGH, high, 0),
            ];
            let own: Vec<RoleId> = own.iter().copied().map(id).collect();
            let reach = reach(&own, Some(id(EVERYONE)), &roles);
            let found = out_of_reach(&levels(), &roles, reach);
            let expected = beyond.iter().copied().map(id).collect();
            assert_eq!(found, expected, "{places:?} {of_bot} {of_everyone} {own:?}");
        }
    }

    #[test]
    fn what_an_integration_holds_is_out_of_reach_wherever_it_stands() {
        let managed = GuildRole {
            managed: true,
            ..role(LOW, 1, 0)
        };
        let roles = [role(BOT, 5, MANAGE_ROLES), managed, role(HIGH, 2, 0)];
        let reach = reach(&[id(BOT)], None, &roles);
        assert_eq!(out_of_reach(&levels(), &roles, reach), [id(LOW)].into());
    }
}
