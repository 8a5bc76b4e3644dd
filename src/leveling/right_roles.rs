//! Which roles of the guild the settings give rights to.
//!
//! The settings name a role by its id or by its name. A name that exactly one role has is pinned
//! to that role's id. So a second role with the same name gives no rights, and renaming the role
//! does not remove them. Pure functions of the settings, the pins and the guild's roles, which
//! return the new pins and the problems that a person must fix.

use std::collections::{BTreeMap, BTreeSet};

use super::naming::{is_everyone, role_id};
use super::{GuildRole, RoleId};

/// A role as written in the settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleEntry {
    /// The role with this id.
    Id(RoleId),
    /// The role with this name; upper and lower case differ.
    Name(String),
}

impl RoleEntry {
    /// 17 to 20 digits, bare or in a mention, are an id; everything else is a name. `None` for an
    /// empty text.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        match role_id(text) {
            Some(id) => Some(Self::Id(id)),
            None if text.is_empty() => None,
            None => Some(Self::Name(text.to_owned())),
        }
    }
}

/// The role that each name of the settings was resolved to.
pub type RolePins = BTreeMap<String, RoleId>;

/// The settings' entries resolved to roles of the guild.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleMatches {
    /// The role of each entry. An entry without a role gives nobody rights.
    pub roles: BTreeMap<RoleEntry, RoleId>,
    /// The new pins, which replace the old ones.
    pub pins: RolePins,
    /// What a person must fix, in the order of the entries.
    pub problems: Vec<RightRoleProblem>,
}

/// Why an entry has no effect, or may not have the intended one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RightRoleProblem {
    /// The guild has no such role.
    Missing(RoleEntry),
    /// Several roles have the name and none is pinned, so none of them gives rights.
    Ambiguous {
        /// The name in the settings.
        name: String,
        /// All roles with the name.
        roles: Vec<RoleId>,
    },
    /// Roles other than the pinned one have the name. They give no rights.
    Namesakes {
        /// The name in the settings.
        name: String,
        /// The pinned role, which gives the rights. It may have been renamed.
        role: RoleId,
        /// All other roles with the name.
        others: Vec<RoleId>,
    },
}

impl RightRoleProblem {
    /// The entry of the settings that has the problem.
    pub fn entry(&self) -> RoleEntry {
        match self {
            Self::Missing(entry) => entry.clone(),
            Self::Ambiguous { name, .. } | Self::Namesakes { name, .. } => {
                RoleEntry::Name(name.clone())
            }
        }
    }
}

/// Resolves the settings' entries to roles.
///
/// A pin lasts as long as its role exists and the settings contain its name. A name without a pin
/// is pinned to the only role that has it. So after a pinned role was deleted, the pin moves to
/// another role with the name, if there is exactly one. This is acceptable because creating such a
/// role requires Manage Roles, and `wall_e` reports the change to the council.
pub fn match_roles<'a>(
    entries: impl IntoIterator<Item = &'a RoleEntry>,
    pins: &RolePins,
    roles: &[GuildRole],
) -> RoleMatches {
    let entries: BTreeSet<&RoleEntry> = entries.into_iter().collect();
    let exists = |id: &RoleId| roles.iter().any(|role| role.id == *id);
    let mut matches = RoleMatches::default();
    for entry in entries {
        let name = match entry {
            RoleEntry::Id(id) if exists(id) => {
                matches.roles.insert(entry.clone(), *id);
                continue;
            }
            RoleEntry::Id(_) => {
                matches
                    .problems
                    .push(RightRoleProblem::Missing(entry.clone()));
                continue;
            }
            RoleEntry::Name(name) => name,
        };
        let named = roles.iter().filter(|role| role.name == *name);
        let named: Vec<RoleId> = named.map(|role| role.id).collect();
        let pinned = pins.get(name).copied().filter(exists);
        let role = match (pinned, &named[..]) {
            (Some(role), _) => role,
            (None, [only]) => *only,
            (None, []) => {
                matches
                    .problems
                    .push(RightRoleProblem::Missing(entry.clone()));
                continue;
            }
            (None, _) => {
                matches.problems.push(RightRoleProblem::Ambiguous {
                    name: name.clone(),
                    roles: named,
                });
                continue;
            }
        };
        let others: Vec<RoleId> = named.into_iter().filter(|id| *id != role).collect();
        if !others.is_empty() {
            matches.problems.push(RightRoleProblem::Namesakes {
                name: name.clone(),
                role,
                others,
            });
        }
        matches.roles.insert(entry.clone(), role);
        matches.pins.insert(name.clone(), role);
    }
    matches
}

/// Roles that give rights, which nobody may earn with XP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtectedRoles {
    /// Names from the settings, in lower case.
    names: BTreeSet<String>,
    roles: BTreeSet<RoleId>,
}

impl ProtectedRoles {
    /// The roles named in the settings, and the roles that the names are pinned to.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a RoleEntry>, pins: &RolePins) -> Self {
        let mut protected = Self::default();
        protected.roles.extend(pins.values());
        for entry in entries {
            match entry {
                RoleEntry::Id(id) => drop(protected.roles.insert(*id)),
                RoleEntry::Name(name) => drop(protected.names.insert(name.to_lowercase())),
            }
        }
        protected
    }

    /// Whether this role or a role with its name gives rights. `@everyone` counts as well, since
    /// it cannot be assigned.
    pub fn covers(&self, role: &GuildRole) -> bool {
        self.roles.contains(&role.id) || self.covers_name(&role.name)
    }

    /// Whether a role with this name would give rights, ignoring upper and lower case.
    pub fn covers_name(&self, name: &str) -> bool {
        is_everyone(name) || self.names.contains(&name.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(role: u64) -> RoleId {
        RoleId::new(role).unwrap()
    }

    fn roles(roles: &[(u64, &str)]) -> Vec<GuildRole> {
        let role = |(role, name): &(u64, &str)| GuildRole::plain(id(*role), *name, 1);
        roles.iter().map(role).collect()
    }

    fn named(name: &str) -> RoleEntry {
        RoleEntry::Name(name.to_owned())
    }

    #[test]
    fn entries_are_ids_or_names() {
        let known = RoleEntry::Id(id(175_928_847_299_117_063));
        for (text, entry) in [
            ("175928847299117063", Some(known.clone())),
            (" <@&175928847299117063> ", Some(known)),
            ("Minions", Some(named("Minions"))),
            (" Bot manager ", Some(named("Bot manager"))),
            ("1234", Some(named("1234"))),
            ("99999999999999999999", Some(named("99999999999999999999"))),
            (
                "<@175928847299117063>",
                Some(named("<@175928847299117063>")),
            ),
            (" ", None),
        ] {
            assert_eq!(RoleEntry::parse(text), entry, "{text:?}");
        }
    }

    /// Each case: the old pin of `Mods`, the guild's roles, the role that gives rights and is
    /// pinned afterwards, and the problem.
    #[test]
    fn a_name_is_pinned_to_the_one_role_that_bears_it() {
        let missing = || Some(RightRoleProblem::Missing(named("Mods")));
        let ambiguous = |roles: &[u64]| {
            Some(RightRoleProblem::Ambiguous {
                name: "Mods".to_owned(),
                roles: roles.iter().copied().map(id).collect(),
            })
        };
        let namesakes = |role, others: &[u64]| {
            Some(RightRoleProblem::Namesakes {
                name: "Mods".to_owned(),
                role: id(role),
                others: others.iter().copied().map(id).collect(),
            })
        };
        for (pin, guild, role, problem) in [
            (None, &[(1, "Mods"), (2, "Other")][..], Some(1), None),
            (None, &[(2, "Other"), (3, "mods")], None, missing()),
            (None, &[], None, missing()),
            (None, &[(1, "Mods"), (2, "Mods")], None, ambiguous(&[1, 2])),
            // A second role with the name.
            (
                Some(1),
                &[(1, "Mods"), (2, "Mods")],
                Some(1),
                namesakes(1, &[2]),
            ),
            // The role was renamed; then others took its old name.
            (Some(1), &[(1, "Guards")], Some(1), None),
            (
                Some(1),
                &[(1, "Guards"), (2, "Mods")],
                Some(1),
                namesakes(1, &[2]),
            ),
            (
                Some(1),
                &[(1, "Guards"), (2, "Mods"), (3, "Mods")],
                Some(1),
                namesakes(1, &[2, 3]),
            ),
            // The pinned role was deleted.
            (Some(1), &[(2, "Other")], None, missing()),
            (Some(1), &[(2, "Mods")], Some(2), None),
            (
                Some(1),
                &[(2, "Mods"), (3, "Mods")],
                None,
                ambiguous(&[2, 3]),
            ),
        ] {
            let pins = pin.map(|pin| ("Mods".to_owned(), id(pin)));
            let pins = pins.into_iter().collect();
            let entry = named("Mods");
            let matches = match_roles([&entry, &entry], &pins, &roles(guild));
            let found = role.map(id);
            assert_eq!(
                matches.roles.get(&entry).copied(),
                found,
                "{pin:?} {guild:?}"
            );
            assert_eq!(
                matches.pins.get("Mods").copied(),
                found,
                "{pin:?} {guild:?}"
            );
            assert_eq!(
                matches.problems,
                Vec::from_iter(problem),
                "{pin:?} {guild:?}"
            );
        }
    }

    #[test]
    fn an_id_means_its_role_whatever_it_is_called() {
        let (here, gone) = (RoleEntry::Id(id(1)), RoleEntry::Id(id(2)));
        let guild = roles(&[(1, "Any"), (3, "Any")]);
        let matches = match_roles([&here, &gone], &RolePins::new(), &guild);
        assert_eq!(matches.roles, [(here, id(1))].into());
        assert_eq!(matches.problems, [RightRoleProblem::Missing(gone)]);
        assert!(matches.pins.is_empty());
    }

    #[test]
    fn a_name_that_was_removed_from_the_settings_loses_its_pin() {
        let pins = [("Mods".to_owned(), id(1)), ("Old".to_owned(), id(2))].into();
        let guild = roles(&[(1, "Mods"), (2, "Old")]);
        let matches = match_roles([&named("Mods")], &pins, &guild);
        assert_eq!(matches.pins, [("Mods".to_owned(), id(1))].into());
    }

    #[test]
    fn what_gives_rights_is_protected_by_name_and_by_id() {
        let pins = [("Mods".to_owned(), id(1))].into();
        let protected = ProtectedRoles::new([&named("Mods"), &RoleEntry::Id(id(5))], &pins);
        for (role, name, expected) in [
            (1, "Guards", true),
            (2, "mODS", true),
            (5, "Any", true),
            (6, "Any", false),
            (7, "@everyone", true),
        ] {
            let role = &roles(&[(role, name)])[0];
            assert_eq!(protected.covers(role), expected, "{role:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_happens_to_roles_gives_a_second_one_the_rights(
            guilds in proptest::collection::vec(
                proptest::collection::btree_map(1_u64..6, 0_usize..3, 0..5), 1..8
            ),
        ) {
            let names = ["Mods", "Guards", "Other"];
            let entries = [named("Mods"), named("Guards")];
            let mut pins = RolePins::new();
            for guild in guilds {
                let guild: Vec<_> = guild.iter().map(|(id, name)| (*id, names[*name])).collect();
                let matches = match_roles(&entries, &pins, &roles(&guild));
                for (name, role) in &pins {
                    // A pin never moves while its role exists.
                    if guild.iter().any(|(id, _)| *id == role.get()) {
                        prop_assert_eq!(matches.pins.get(name), Some(role));
                    }
                }
                for (name, role) in &matches.pins {
                    prop_assert_eq!(matches.roles.get(&named(name)), Some(role));
                    let bears = guild.iter().filter(|(_, called)| called == name).count();
                    prop_assert!(pins.get(name) == Some(role) || bears == 1);
                }
                pins = matches.pins;
            }
        }
    }
}
