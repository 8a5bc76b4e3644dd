//! What the removal of all level names changes, and which roles may be deleted after it.
//!
//! Pure functions of the levels and the guild's roles. They count only roles that a level carries,
//! or carried when a moderator asked for its deletion.

use std::collections::BTreeSet;

use super::{
    CannotDelete, GuildRole, Level, LevelNumber, Levels, NamingRefusal, ProtectedRoles, RoleId,
    RolePosition, may_be_changed,
};

/// What the removal of all level names would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameRemoval {
    /// Number of levels with a name or a role.
    pub levels: usize,
    /// The roles in the guild that could be deleted: those of the levels, and those left over
    /// from an earlier removal that was interrupted.
    pub roles: BTreeSet<RoleId>,
}

impl NameRemoval {
    /// `left_over` are former level roles whose deletion a moderator has already requested.
    pub fn new(levels: &Levels, roles: &[GuildRole], left_over: &BTreeSet<RoleId>) -> Self {
        let has_one = |level: &&Level| level.role_name.is_some() || level.role_id.is_some();
        let is_concerned =
            |role: &&GuildRole| levels.carrying(role.id).is_some() || left_over.contains(&role.id);
        Self {
            levels: levels.rows().iter().filter(has_one).count(),
            roles: roles
                .iter()
                .filter(is_concerned)
                .map(|role| role.id)
                .collect(),
        }
    }

    /// Whether there is no name to remove and no role to delete.
    pub fn is_empty(&self) -> bool {
        self.levels == 0 && self.roles.is_empty()
    }
}

/// Why a role must not be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleStays<'a> {
    /// A level carries it.
    CarriedBy(LevelNumber),
    /// The bot cannot change it.
    OutOfHand(NamingRefusal<'a>),
    /// It grants moderation permissions, or the settings give rights to its holders.
    GivesRights,
    /// The moderator who asks may not delete it themselves.
    NotTheirs(CannotDelete),
}

/// Whether the bot may delete a former level role.
pub fn may_be_deleted<'a>(
    levels: &Levels,
    bot_position: RolePosition,
    rights: &ProtectedRoles,
    role: &'a GuildRole,
) -> Result<(), RoleStays<'a>> {
    if let Some(level) = levels.carrying(role.id) {
        return Err(RoleStays::CarriedBy(level.number));
    }
    may_be_changed(role, bot_position).map_err(RoleStays::OutOfHand)?;
    if rights.covers(role) || role.moderates() {
        return Err(RoleStays::GivesRights);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use super::*;
    use crate::leveling::RoleEntry;

    fn id(role: u64) -> RoleId {
        RoleId::new(role).unwrap()
    }

    fn role(number: u64, name: &str) -> GuildRole {
        GuildRole::plain(id(number), name, 3)
    }

    fn levels(carried: &[(Option<u64>, Option<&str>)]) -> Levels {
        Levels::with_roles(carried.iter().copied())
    }

    #[test]
    fn only_what_levels_carry_or_carried_is_counted() {
        let roles = [
            role(11, "One"),
            role(12, "Two"),
            role(13, "Namesake"),
            role(14, "Old"),
            role(15, "Other"),
        ];
        let carried = [
            (Some(11), Some("One")),
            (None, None),
            // Renamed by hand.
            (Some(12), Some("Zwei")),
            // Deleted by hand.
            (Some(99), Some("Gone")),
            // Not linked yet: a role with that name does not belong to the level.
            (None, Some("Namesake")),
        ];
        let removal = NameRemoval::new(&levels(&carried), &roles, &[id(14), id(98)].into());
        assert_eq!(removal.levels, 4);
        assert_eq!(removal.roles, [id(11), id(12), id(14)].into());
        let none = NameRemoval::new(&levels(&[(None, None)]), &roles, &BTreeSet::new());
        assert!(none.is_empty());
    }

    #[test]
    fn what_must_stay_stays() {
        let bot_position = (10, Reverse(id(1_000)));
        let minions = RoleEntry::Name("Minions".to_owned());
        let rights = ProtectedRoles::new([&minions], &[("Minions".to_owned(), id(88))].into());
        let levels = levels(&[(Some(11), Some("One"))]);
        let managed = GuildRole {
            managed: true,
            ..role(12, "Bot")
        };
        let high = GuildRole {
            position: 11,
            ..role(13, "High")
        };
        let moderates = GuildRole {
            permissions: 1 << 13,
            ..role(14, "Mods")
        };
        let (one, named, free) = (role(11, "One"), role(88, "Minions"), role(15, "Free"));
        for (role, expected) in [
            (&one, Err(RoleStays::CarriedBy(LevelNumber(0)))),
            (
                &managed,
                Err(RoleStays::OutOfHand(NamingRefusal::Managed(&managed))),
            ),
            (
                &high,
                Err(RoleStays::OutOfHand(NamingRefusal::OutOfReach(&high))),
            ),
            (&moderates, Err(RoleStays::GivesRights)),
            (&named, Err(RoleStays::GivesRights)),
            (&free, Ok(())),
        ] {
            let found = may_be_deleted(&levels, bot_position, &rights, role);
            assert_eq!(found, expected, "{}", role.name);
        }
    }
}
