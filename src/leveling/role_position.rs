//! The position of the bot's highest role in the guild, and the level roles that the bot cannot
//! change because they are not below it.
//!
//! Pure functions of the bot's roles, the guild's roles and the levels. A gateway event only
//! triggers a new computation from roles read from Discord; its payload is not used.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::permission_bits::{ADMINISTRATOR, MANAGE_ROLES};
use super::{GuildRole, Levels, RoleId, RolePosition, may_be_changed};

/// The position of a bot that may not manage roles: below every role, so it can change none.
pub const BELOW_ALL_ROLES: RolePosition = (-1, Reverse(RoleId::new(1).expect("not zero")));

/// The position of the bot's highest role. `own` are the roles that the bot holds; `everyone` is
/// the role that all members have. [`BELOW_ALL_ROLES`] if none of them grants Manage Roles or
/// Administrator.
pub fn bot_position(own: &[RoleId], everyone: Option<RoleId>, roles: &[GuildRole]) -> RolePosition {
    let is_own = |role: &&GuildRole| own.contains(&role.id) || Some(role.id) == everyone;
    let own = || roles.iter().filter(is_own);
    let granted = own().fold(0, |granted, role| granted | role.permissions);
    if granted & (MANAGE_ROLES | ADMINISTRATOR) == 0 {
        return BELOW_ALL_ROLES;
    }
    own()
        .map(GuildRole::role_position)
        .max()
        .unwrap_or(BELOW_ALL_ROLES)
}

/// The level roles that a bot at this position can neither give nor take: those that are not below
/// `bot_position`, and those that an integration manages.
pub fn out_of_reach(
    levels: &Levels,
    roles: &[GuildRole],
    bot_position: RolePosition,
) -> BTreeSet<RoleId> {
    let carried = levels.rows().iter().filter_map(|row| row.role_in(roles));
    let beyond = carried.filter(|role| may_be_changed(role, bot_position).is_err());
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
            permissions,
            ..GuildRole::plain(id(role), role.to_string(), position)
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
            // The bot lost the permission, or the role that granted it.
            ([5, 1, 2], 0, 0, &[BOT], &[LOW, HIGH]),
            ([5, 1, 2], MANAGE_ROLES, 0, &[], &[LOW, HIGH]),
            // A level role was moved above the bot's, or the bot's below level roles.
            ([5, 1, 6], MANAGE_ROLES, 0, &[BOT], &[HIGH]),
            ([1, 2, 3], MANAGE_ROLES, 0, &[BOT], &[LOW, HIGH]),
            // Of two roles with the same position the older one is higher: here the bot's.
            ([2, 1, 2], MANAGE_ROLES, 0, &[BOT], &[]),
            // One role grants the permission, the other one has the higher position.
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
            let bot_position = bot_position(&own, Some(id(EVERYONE)), &roles);
            let found = out_of_reach(&levels(), &roles, bot_position);
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
        let bot_position = bot_position(&[id(BOT)], None, &roles);
        assert_eq!(
            out_of_reach(&levels(), &roles, bot_position),
            [id(LOW)].into()
        );
    }
}
