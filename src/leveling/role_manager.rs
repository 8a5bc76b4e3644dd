//! Whether a member may delete a role, by the rules that Discord's clients follow: they need the
//! permission Manage Roles, and the role must be below their highest one.
//!
//! Pure. Uses permissions in the guild only: in a channel the same bit means Manage Permissions.

use std::collections::BTreeSet;

use super::permission_bits::{ADMINISTRATOR, MANAGE_ROLES};
use super::{GuildRole, RoleId};

/// The member who wants to delete roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleManager {
    /// The roles that they hold, including @everyone.
    pub held: BTreeSet<RoleId>,
    /// Whether they own the guild. The owner may delete every role.
    pub is_owner: bool,
}

/// Why a member may not delete a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CannotDelete {
    /// None of their roles grants Manage Roles or Administrator.
    LacksManageRoles,
    /// The role is not below their highest one.
    NotBelowTheirs,
}

impl RoleManager {
    /// Whether the member may delete roles at all. `roles` are the guild's roles.
    pub fn may_manage(&self, roles: &[GuildRole]) -> Result<(), CannotDelete> {
        let granted = self
            .own(roles)
            .fold(0, |granted, role| granted | role.permissions);
        if self.is_owner || granted & (MANAGE_ROLES | ADMINISTRATOR) != 0 {
            Ok(())
        } else {
            Err(CannotDelete::LacksManageRoles)
        }
    }

    /// Whether the member may delete this role. `roles` are the guild's roles.
    pub fn may_delete(&self, roles: &[GuildRole], role: &GuildRole) -> Result<(), CannotDelete> {
        self.may_manage(roles)?;
        let highest = self.own(roles).map(GuildRole::role_position).max();
        if self.is_owner || highest > Some(role.role_position()) {
            Ok(())
        } else {
            Err(CannotDelete::NotBelowTheirs)
        }
    }

    fn own<'a>(&'a self, roles: &'a [GuildRole]) -> impl Iterator<Item = &'a GuildRole> {
        roles.iter().filter(|role| self.held.contains(&role.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(role: u64) -> RoleId {
        RoleId::new(role).unwrap()
    }

    #[test]
    fn who_may_delete_a_role() {
        use CannotDelete::{LacksManageRoles, NotBelowTheirs};
        const EVERYONE: u64 = 1;
        // Permissions of @everyone, and of the role at position 5; the roles held; the position of
        // the role to delete; whether the member is the owner.
        for (everyone, mods, held, position, is_owner, expected) in [
            (0, MANAGE_ROLES, &[EVERYONE, 5][..], 4, false, Ok(())),
            (0, ADMINISTRATOR, &[EVERYONE, 5], 4, false, Ok(())),
            (MANAGE_ROLES, 0, &[EVERYONE, 5], 4, false, Ok(())),
            (0, 0, &[EVERYONE, 5], 4, false, Err(LacksManageRoles)),
            (
                0,
                MANAGE_ROLES,
                &[EVERYONE],
                4,
                false,
                Err(LacksManageRoles),
            ),
            (
                0,
                MANAGE_ROLES,
                &[EVERYONE, 5],
                6,
                false,
                Err(NotBelowTheirs),
            ),
            // The administrator's roles are ranked too.
            (
                0,
                ADMINISTRATOR,
                &[EVERYONE, 5],
                6,
                false,
                Err(NotBelowTheirs),
            ),
            // At one position the older role is above: here the member's.
            (0, MANAGE_ROLES, &[EVERYONE, 5], 5, false, Ok(())),
            (MANAGE_ROLES, 0, &[EVERYONE], 4, false, Err(NotBelowTheirs)),
            (0, 0, &[EVERYONE], 9, true, Ok(())),
            (0, 0, &[], 9, false, Err(LacksManageRoles)),
        ] {
            let role = |number, position, permissions| GuildRole {
                permissions,
                ..GuildRole::plain(id(number), "Role", position)
            };
            let roles = [
                role(EVERYONE, 0, everyone),
                role(5, 5, mods),
                role(9, position, 0),
            ];
            let manager = RoleManager {
                held: held.iter().copied().map(id).collect(),
                is_owner,
            };
            let found = manager.may_delete(&roles, &roles[2]);
            assert_eq!(found, expected, "{everyone} {mods} {held:?} {position}");
        }
    }

    #[test]
    fn a_member_cannot_delete_their_own_highest_role() {
        let roles = [GuildRole {
            permissions: MANAGE_ROLES,
            ..GuildRole::plain(id(5), "Mods", 5)
        }];
        let manager = RoleManager {
            held: [id(5)].into(),
            is_owner: false,
        };
        assert_eq!(
            manager.may_delete(&roles, &roles[0]),
            Err(CannotDelete::NotBelowTheirs)
        );
    }
}
