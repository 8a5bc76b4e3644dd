//! Which role of the guild is which level's: what to remember, what to make, what to ask.
//!
//! A level role is its id. Pure: what the levels carry and what the guild has are given,
//! the steps are returned. Never drops a link and never decides for a human: where that
//! would be needed, it is a trouble.

use std::collections::BTreeSet;
use std::fmt;

use super::{
    GuildRole, LevelNumber, Levels, ProtectedRoles, Quoted, RoleId, RolePosition, may_be_changed,
    trim_role_name,
};

/// What makes the levels agree with the guild, to be done in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The guild has a role of the level's name: the level carries it from now on.
    Link {
        /// Which level.
        level: LevelNumber,
        /// The role that it carries then.
        role: RoleId,
        /// What both are called.
        name: String,
    },
    /// Levels' roles were renamed by hand: so are the levels. Several where each took the name
    /// of another: to be saved at once, since none makes room before the others do.
    Follow(Vec<Renamed>),
    /// An imported id is a role of this guild: when it is gone, it was deleted.
    Seen {
        /// Which level.
        level: LevelNumber,
    },
    /// The guild has no role of the level's name.
    Create {
        /// Which level.
        level: LevelNumber,
        /// What the role is to be called.
        name: String,
    },
}

/// For logs and terminals: names are quoted, as they are hostile text.
impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link { level, role, name } => {
                write!(
                    formatter,
                    "level {level}: link the role {} ({role})",
                    Quoted(name)
                )
            }
            Self::Follow(renamed) => {
                let renamed = renamed.iter().map(|Renamed { level, role, name }| {
                    format!(
                        "level {level}: the role {role} is called {} now",
                        Quoted(name)
                    )
                });
                formatter.write_str(&renamed.collect::<Vec<_>>().join("\n"))
            }
            Self::Seen { level } => write!(formatter, "level {level}: its role is in the guild"),
            Self::Create { level, name } => {
                write!(formatter, "level {level}: create the role {}", Quoted(name))
            }
        }
    }
}

/// A level whose role was renamed by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// Which level.
    pub level: LevelNumber,
    /// The role that it carries.
    pub role: RoleId,
    /// What the guild calls it now.
    pub name: String,
}

/// What only a human can put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The level's role was deleted by hand.
    Missing {
        /// Which level.
        level: LevelNumber,
        /// What the role was called.
        name: String,
    },
    /// The role is not below the bot's highest role.
    OutOfReach {
        /// Which level.
        level: LevelNumber,
        /// The role that it carries, or would.
        role: RoleId,
        /// What the guild calls it.
        name: String,
    },
    /// An integration holds the role.
    Managed {
        /// Which level.
        level: LevelNumber,
        /// The role that it carries, or would.
        role: RoleId,
        /// What the guild calls it.
        name: String,
    },
    /// The role lets its holders moderate.
    Moderates {
        /// Which level.
        level: LevelNumber,
        /// The role that it carries, or would.
        role: RoleId,
        /// What the guild calls it.
        name: String,
    },
    /// The settings give rights to whoever holds a role of this name.
    GivesRights {
        /// Which level.
        level: LevelNumber,
        /// The name, as the level or the guild has it.
        name: String,
    },
    /// Several roles have the level's name.
    Several {
        /// Which level.
        level: LevelNumber,
        /// What they are called.
        name: String,
        /// How many they are.
        count: usize,
    },
    /// The role, or the name that it was given by hand, is another level's.
    BelongsTo {
        /// Which level.
        level: LevelNumber,
        /// The role that it carries, or would.
        role: RoleId,
        /// What the guild calls it.
        name: String,
        /// The other level.
        other: LevelNumber,
    },
}

/// The levels as they are after these steps, as far as that is known before: the role that a
/// step would make has no id yet.
pub fn after(levels: &Levels, steps: &[Step]) -> Levels {
    let mut rows = levels.rows().to_vec();
    let mut carry = |level: LevelNumber, role: RoleId, name: &str| {
        let row = rows.iter_mut().find(|row| row.number == level);
        if let Some(row) = row {
            (row.role_id, row.role_name) = (Some(role), Some(name.to_owned()));
        }
    };
    for step in steps {
        match step {
            Step::Link { level, role, name } => carry(*level, *role, name),
            Step::Follow(renamed) => {
                for Renamed { level, role, name } in renamed {
                    carry(*level, *role, name);
                }
            }
            Step::Seen { .. } | Step::Create { .. } => {}
        }
    }
    Levels::new(rows).expect("numbers and points are what they were")
}

/// What it takes for the levels to agree with the guild's roles, and what stands in the
/// way. `unseen` are the levels whose role's id was imported and has never been seen in
/// the guild; `bot_position` is how high the bot's own highest role stands; `rights` are the roles
/// that the settings give rights to.
pub fn reconcile(
    levels: &Levels,
    unseen: &BTreeSet<LevelNumber>,
    roles: &[GuildRole],
    bot_position: RolePosition,
    rights: &ProtectedRoles,
) -> (Vec<Step>, Vec<Trouble>) {
    let mut rows: Vec<_> = levels
        .rows()
        .iter()
        .map(|level| Row {
            level: level.number,
            name: level.role_name.as_deref(),
            role: level.role_in(roles),
        })
        .collect();
    let mut steps = Vec::new();
    let mut troubles = Vec::new();

    for row in rows.iter().filter(|row| row.role.is_some()) {
        if unseen.contains(&row.level) {
            steps.push(Step::Seen { level: row.level });
        }
    }
    // One after the other, since a name may only become free when its level leaves it.
    while let Some(next) = next_to_follow(&rows, rights) {
        let follow = |(at, role): (usize, &GuildRole)| Renamed {
            level: rows[at].level,
            role: role.id,
            name: role.name.clone(),
        };
        steps.push(Step::Follow(next.iter().copied().map(follow).collect()));
        for (at, role) in next {
            rows[at].name = Some(&role.name);
        }
    }
    let mut creates = Vec::new();
    for (row, level) in rows.iter().zip(levels.rows()) {
        match (row.role, level.role_id, row.name) {
            (Some(role), _, _) => {
                troubles.extend(troubles_of(&rows, row, role, bot_position, rights));
            }
            (None, Some(role), name) if !unseen.contains(&row.level) => {
                let name = name.map_or_else(|| role.to_string(), str::to_owned);
                let level = row.level;
                troubles.push(Trouble::Missing { level, name });
            }
            // A blank name has no role: Discord would make "new role" of it.
            (None, _, Some(name)) if trim_role_name(name).is_empty() => {}
            (None, _, Some(name)) => match find_role(&rows, row, name, roles, bot_position, rights)
            {
                // Two levels whose names differ only in white space: the lower one's role is
                // made, and it is in the other's way at the next look.
                Ok(Step::Create { name, .. }) if is_made(&creates, &name) => {}
                Ok(step @ Step::Create { .. }) => creates.push(step),
                Ok(step) => steps.push(step),
                Err(trouble) => troubles.push(trouble),
            },
            (None, _, None) => {}
        }
    }
    // A new role stands below all others and pushes them up: the lowest level's comes last.
    steps.extend(creates.into_iter().rev());
    (steps, troubles)
}

/// A level, with the name that it has when the steps so far are done.
struct Row<'a> {
    level: LevelNumber,
    name: Option<&'a str>,
    /// The role that it carries, if that is in the guild.
    role: Option<&'a GuildRole>,
}

impl Row<'_> {
    /// Whether no other level may have this name: it is this one's, or its role's.
    fn claims(&self, name: &str) -> bool {
        self.name.map(trim_role_name) == Some(name)
            || self.role.is_some_and(|role| role.name == name)
    }
}

/// The first level other than this one that claims the name.
fn claimed_by(rows: &[Row<'_>], level: LevelNumber, name: &str) -> Option<LevelNumber> {
    rows.iter()
        .find(|row| row.level != level && row.claims(name))
        .map(|row| row.level)
}

/// Levels, by where they stand, that can take the names of their roles now, all at once.
type Followers<'a> = Vec<(usize, &'a GuildRole)>;

/// A level whose role was renamed by hand to what a level may be called and no other is; or
/// a ring of such levels, in which each takes the name that the one after it leaves.
fn next_to_follow<'a>(rows: &[Row<'a>], rights: &ProtectedRoles) -> Option<Followers<'a>> {
    (0..rows.len()).find_map(|start| followers_from(rows, start, rights))
}

fn followers_from<'a>(
    rows: &[Row<'a>],
    start: usize,
    rights: &ProtectedRoles,
) -> Option<Followers<'a>> {
    let mut followers: Followers<'a> = Vec::new();
    let mut at = start;
    loop {
        let role = renamed(&rows[at], rights)?;
        followers.push((at, role));
        let mut claiming =
            (0..rows.len()).filter(|other| *other != at && rows[*other].claims(&role.name));
        match (claiming.next(), claiming.next()) {
            // Nothing in the way; of a way to here, this is the part that can be done.
            (None, _) => return Some(vec![(at, role)]),
            // What is wanted is left only by one who is called so, not by one who wants it too.
            (Some(other), None) if rows[other].name == Some(&role.name) => at = other,
            _ => return None,
        }
        if at == start {
            return Some(followers);
        }
        // A ring that `start` only leads to is found from within.
        if followers.iter().any(|(before, _)| *before == at) {
            return None;
        }
    }
}

/// The role of a level, if it was renamed by hand to what a level may be called.
fn renamed<'a>(row: &Row<'a>, rights: &ProtectedRoles) -> Option<&'a GuildRole> {
    row.role
        .filter(|role| row.name != Some(&role.name) && !rights.covers(role))
}

/// What is wrong with the role that a level carries. It stays the level's all the same.
fn troubles_of(
    rows: &[Row<'_>],
    row: &Row<'_>,
    role: &GuildRole,
    bot_position: RolePosition,
    rights: &ProtectedRoles,
) -> Vec<Trouble> {
    let (level, name) = (row.level, role.name.clone());
    let name_trouble = if rights.covers(role) {
        Some(Trouble::GivesRights { level, name })
    } else if row.name == Some(&name) {
        None
    } else {
        claimed_by(rows, level, &name).map(|other| Trouble::BelongsTo {
            level,
            role: role.id,
            name,
            other,
        })
    };
    let role_trouble = role_trouble(level, role, bot_position);
    name_trouble.into_iter().chain(role_trouble).collect()
}

/// What gives a level of this name its role.
fn find_role(
    rows: &[Row<'_>],
    row: &Row<'_>,
    name: &str,
    roles: &[GuildRole],
    bot_position: RolePosition,
    rights: &ProtectedRoles,
) -> Result<Step, Trouble> {
    let (level, name) = (row.level, trim_role_name(name).to_owned());
    if rights.covers_name(&name) {
        return Err(Trouble::GivesRights { level, name });
    }
    let mut namesakes = roles.iter().filter(|role| role.name == name);
    let Some(role) = namesakes.next() else {
        return Ok(Step::Create { level, name });
    };
    let count = 1 + namesakes.count();
    if count > 1 {
        return Err(Trouble::Several { level, name, count });
    }
    if rights.covers(role) {
        return Err(Trouble::GivesRights { level, name });
    }
    if let Some(other) = claimed_by(rows, level, &name) {
        let role = role.id;
        return Err(Trouble::BelongsTo {
            level,
            role,
            name,
            other,
        });
    }
    match role_trouble(level, role, bot_position) {
        Some(trouble) => Err(trouble),
        None => Ok(Step::Link {
            level,
            role: role.id,
            name,
        }),
    }
}

fn is_made(creates: &[Step], wanted: &str) -> bool {
    let makes = |step: &Step| matches!(step, Step::Create { name, .. } if name == wanted);
    creates.iter().any(makes)
}

/// Why this role should not be, or stay, a level's. For one that the bot cannot give, that
/// is all that matters.
fn role_trouble(
    level: LevelNumber,
    role: &GuildRole,
    bot_position: RolePosition,
) -> Option<Trouble> {
    let moderates = role.moderates();
    let is_out_of_reach = may_be_changed(role, bot_position).is_err();
    let (is_managed, name, role) = (role.managed, role.name.clone(), role.id);
    if is_managed {
        Some(Trouble::Managed { level, role, name })
    } else if is_out_of_reach {
        Some(Trouble::OutOfReach { level, role, name })
    } else if moderates {
        Some(Trouble::Moderates { level, role, name })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use proptest::prelude::*;
    use proptest::sample::subsequence;

    use super::*;
    use crate::leveling::RoleEntry;

    const BOT_POSITION: RolePosition = (10, Reverse(RoleId::new(1_000).unwrap()));

    fn id(role: u64) -> RoleId {
        RoleId::new(role).unwrap()
    }

    fn role(id: u64, name: &str) -> GuildRole {
        GuildRole {
            id: RoleId::new(id).unwrap(),
            name: name.to_owned(),
            permissions: 0,
            position: 3,
            managed: false,
        }
    }

    /// The Minions, by that name and as the role 88.
    fn rights() -> ProtectedRoles {
        let minions = RoleEntry::Name("Minions".to_owned());
        ProtectedRoles::new([&minions], &[("Minions".to_owned(), id(88))].into())
    }

    fn told_of(renamed: &[Renamed]) -> String {
        let one =
            |Renamed { level, role, name }: &Renamed| format!("{level} follows {role} {name}");
        let each: Vec<_> = renamed.iter().map(one).collect();
        each.join(" with ")
    }

    /// Each step and trouble in a few words.
    fn told(levels: &Levels, unseen: &[u16], roles: &[GuildRole]) -> (Vec<String>, Vec<String>) {
        let unseen = unseen.iter().copied().map(LevelNumber).collect();
        let (steps, troubles) = reconcile(levels, &unseen, roles, BOT_POSITION, &rights());
        let steps = steps.into_iter().map(|step| match step {
            Step::Link { level, role, name } => format!("{level} links {role} {name}"),
            Step::Follow(renamed) => told_of(&renamed),
            Step::Seen { level } => format!("{level} seen"),
            Step::Create { level, name } => format!("{level} creates {name}"),
        });
        let troubles = troubles.into_iter().map(|trouble| match trouble {
            Trouble::Missing { level, name } => format!("{level} misses {name}"),
            Trouble::OutOfReach { level, role, name } => format!("{level} high {role} {name}"),
            Trouble::Managed { level, role, name } => format!("{level} managed {role} {name}"),
            Trouble::Moderates { level, role, name } => format!("{level} moderates {role} {name}"),
            Trouble::GivesRights { level, name } => format!("{level} rights {name}"),
            Trouble::Several { level, name, count } => format!("{level} has {count} {name}"),
            Trouble::BelongsTo {
                level,
                role,
                name,
                other,
            } => format!("{level} wants {role} {name} of {other}"),
        });
        (steps.collect(), troubles.collect())
    }

    /// What one level comes to in a guild that has one role of each kind.
    #[test]
    fn one_level_and_the_roles_of_a_guild() {
        let roles = [
            role(11, "Plain"),
            role(12, "Twin"),
            role(13, "Twin"),
            GuildRole {
                position: 11,
                ..role(14, "High")
            },
            GuildRole {
                managed: true,
                position: 11,
                ..role(15, "Bot")
            },
            GuildRole {
                permissions: 1 << 13,
                ..role(16, "Mods")
            },
            role(17, "minions"),
            GuildRole {
                position: 0,
                ..role(18, "@everyone")
            },
            // The Minions, by another name.
            role(88, "Guards"),
        ];
        for (carried, unseen, step, trouble) in [
            ((None, None), false, "", ""),
            // Not linked yet.
            ((None, Some("Plain")), false, "0 links 11 Plain", ""),
            ((None, Some("plain")), false, "0 creates plain", ""),
            ((None, Some("New")), false, "0 creates New", ""),
            ((None, Some("Twin")), false, "", "0 has 2 Twin"),
            ((None, Some("High")), false, "", "0 high 14 High"),
            ((None, Some("Bot")), false, "", "0 managed 15 Bot"),
            ((None, Some("Mods")), false, "", "0 moderates 16 Mods"),
            ((None, Some("minions")), false, "", "0 rights minions"),
            // It would be a way to rights if it were made.
            ((None, Some("Minions")), false, "", "0 rights Minions"),
            ((None, Some("@everyone")), false, "", "0 rights @everyone"),
            ((None, Some("Guards")), false, "", "0 rights Guards"),
            // White space that Discord does not store.
            ((None, Some("Plain ")), false, "0 links 11 Plain", ""),
            ((None, Some("\u{a0}New ")), false, "0 creates New", ""),
            ((None, Some(" ")), false, "", ""),
            ((Some(11), Some("Plain ")), false, "0 follows 11 Plain", ""),
            // Imported, and never seen here.
            ((Some(99), Some("Plain")), true, "0 links 11 Plain", ""),
            ((Some(99), Some("New")), true, "0 creates New", ""),
            ((Some(99), Some("Twin")), true, "", "0 has 2 Twin"),
            ((Some(99), Some("Mods")), true, "", "0 moderates 16 Mods"),
            ((Some(99), None), true, "", ""),
            ((Some(11), Some("Plain")), true, "0 seen", ""),
            (
                (Some(11), Some("Old")),
                true,
                "0 seen, 0 follows 11 Plain",
                "",
            ),
            ((Some(15), Some("Bot")), true, "0 seen", "0 managed 15 Bot"),
            // Linked.
            ((Some(11), Some("Plain")), false, "", ""),
            ((Some(11), Some("Old")), false, "0 follows 11 Plain", ""),
            ((Some(11), None), false, "0 follows 11 Plain", ""),
            // Others may have its name: it is its id.
            ((Some(12), Some("Twin")), false, "", ""),
            ((Some(12), Some("Old")), false, "0 follows 12 Twin", ""),
            ((Some(14), Some("High")), false, "", "0 high 14 High"),
            (
                (Some(14), Some("Old")),
                false,
                "0 follows 14 High",
                "0 high 14 High",
            ),
            ((Some(15), Some("Bot")), false, "", "0 managed 15 Bot"),
            ((Some(16), Some("Mods")), false, "", "0 moderates 16 Mods"),
            ((Some(17), Some("Old")), false, "", "0 rights minions"),
            ((Some(17), Some("minions")), false, "", "0 rights minions"),
            ((Some(18), Some("Old")), false, "", "0 rights @everyone"),
            ((Some(88), Some("Old")), false, "", "0 rights Guards"),
            // Deleted by hand, whatever else has its name by now.
            ((Some(99), Some("Old")), false, "", "0 misses Old"),
            ((Some(99), Some("Plain")), false, "", "0 misses Plain"),
            ((Some(99), None), false, "", "0 misses 99"),
        ] {
            let unseen: &[u16] = if unseen { &[0] } else { &[] };
            let (steps, troubles) = told(&Levels::with_roles([carried]), unseen, &roles);
            let found = (steps.join(", "), troubles.join(", "));
            assert_eq!(found, (step.to_owned(), trouble.to_owned()), "{carried:?}");
        }
    }

    #[test]
    fn new_roles_are_made_from_the_highest_level_down() {
        let levels = Levels::with_roles([
            (None, Some("Zero")),
            (None, None),
            (None, Some("Two")),
            (None, Some("Three")),
        ]);
        let (steps, troubles) = told(&levels, &[], &[role(12, "Two")]);
        let expected = ["2 links 12 Two", "3 creates Three", "0 creates Zero"];
        assert_eq!(
            (steps.as_slice(), troubles),
            (&expected.map(str::to_owned)[..], vec![])
        );
    }

    #[test]
    fn names_that_differ_in_white_space_are_one_name() {
        let levels = Levels::with_roles([(None, Some("Kernel")), (None, Some("Kernel "))]);
        let made = (vec!["0 creates Kernel".to_owned()], vec![]);
        assert_eq!(told(&levels, &[], &[]), made);
        let (steps, troubles) = told(&levels, &[], &[role(11, "Kernel")]);
        assert_eq!(steps, Vec::<String>::new());
        assert_eq!(
            troubles,
            ["0 wants 11 Kernel of 1", "1 wants 11 Kernel of 0"]
        );
    }

    #[test]
    fn a_name_is_one_levels_only() {
        // Levels 0 and 1 carry roles 10 and 11, 2 has only a name.
        let levels = Levels::with_roles([
            (Some(10), Some("A")),
            (Some(11), Some("B")),
            (None, Some("C")),
        ]);
        for (names, steps, troubles) in [
            (["A", "B"], vec!["2 creates C"], vec![]),
            // Moved up by one: the upper must make room first, wherever it is in the list.
            (
                ["B", "D"],
                vec!["1 follows 11 D", "0 follows 10 B", "2 creates C"],
                vec![],
            ),
            (
                ["D", "A"],
                vec!["0 follows 10 D", "1 follows 11 A", "2 creates C"],
                vec![],
            ),
            // Exchanged: neither makes room before the other does.
            (
                ["B", "A"],
                vec!["0 follows 10 B with 1 follows 11 A", "2 creates C"],
                vec![],
            ),
            // Both by the same new name.
            (
                ["D", "D"],
                vec!["2 creates C"],
                vec!["0 wants 10 D of 1", "1 wants 11 D of 0"],
            ),
            (["A", "A"], vec!["2 creates C"], vec!["1 wants 11 A of 0"]),
            // By the name of one that has no role yet.
            (
                ["A", "C"],
                vec![],
                vec!["1 wants 11 C of 2", "2 wants 11 C of 1"],
            ),
            (
                ["C", "C"],
                vec![],
                vec!["0 wants 10 C of 1", "1 wants 11 C of 0", "2 has 2 C"],
            ),
        ] {
            let roles = [role(10, names[0]), role(11, names[1])];
            let found = told(&levels, &[], &roles);
            let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
            let expected: (Vec<_>, Vec<_>) = (owned(steps), owned(troubles));
            assert_eq!(found, expected, "{names:?}");
        }
    }

    #[test]
    fn names_that_were_exchanged_by_hand_are_followed_at_once() {
        // Levels 0 to 4 carry roles 10 to 14, called A to E; these are their names now.
        let names = ["A", "B", "C", "D", "E"];
        let carried =
            Levels::with_roles((10..).zip(names).map(|(id, name)| (Some(id), Some(name))));
        for (now, steps, troubles) in [
            (
                "B A C D E",
                vec!["0 follows 10 B with 1 follows 11 A"],
                vec![],
            ),
            (
                "C B A D E",
                vec!["0 follows 10 C with 2 follows 12 A"],
                vec![],
            ),
            (
                "B C A D E",
                vec!["0 follows 10 B with 1 follows 11 C with 2 follows 12 A"],
                vec![],
            ),
            (
                "C A B D E",
                vec!["0 follows 10 C with 2 follows 12 B with 1 follows 11 A"],
                vec![],
            ),
            (
                "B C D E A",
                vec![
                    "0 follows 10 B with 1 follows 11 C with 2 follows 12 D with 3 follows 13 E \
                     with 4 follows 14 A",
                ],
                vec![],
            ),
            // Two rings, and one beside a row that has an end.
            (
                "B A D C E",
                vec![
                    "0 follows 10 B with 1 follows 11 A",
                    "2 follows 12 D with 3 follows 13 C",
                ],
                vec![],
            ),
            (
                "B A D E F",
                vec![
                    "0 follows 10 B with 1 follows 11 A",
                    "4 follows 14 F",
                    "3 follows 13 E",
                    "2 follows 12 D",
                ],
                vec![],
            ),
            // A third wants one of the two names: nobody knows whose it is.
            (
                "B A B D E",
                vec![],
                vec![
                    "0 wants 10 B of 1",
                    "1 wants 11 A of 0",
                    "2 wants 12 B of 0",
                ],
            ),
            // One of the ring would get a name that gives rights.
            (
                "B C Minions D E",
                vec![],
                vec!["0 wants 10 B of 1", "1 wants 11 C of 2", "2 rights Minions"],
            ),
        ] {
            let now = now.split(' ');
            let roles: Vec<_> = (10..).zip(now).map(|(id, name)| role(id, name)).collect();
            let found = told(&carried, &[], &roles);
            let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
            let expected: (Vec<_>, Vec<_>) = (owned(steps), owned(troubles));
            assert_eq!(found, expected, "{roles:?}");
        }
        // Without its role, or without a name, a level is in no ring.
        let roles = [role(10, "B"), role(12, "A")];
        let found = told(&carried, &[], &roles).0;
        assert_eq!(found, [""; 0]);
    }

    /// A guild and its levels, as they are while the steps are done.
    #[derive(Clone, Debug)]
    struct World {
        carried: Vec<(Option<u64>, Option<String>)>,
        unseen: BTreeSet<LevelNumber>,
        roles: Vec<GuildRole>,
        bot_position: RolePosition,
    }

    impl World {
        fn reconcile(&self) -> (Vec<Step>, Vec<Trouble>) {
            let carried = self.carried.iter().map(|(id, name)| (*id, name.as_deref()));
            reconcile(
                &Levels::with_roles(carried),
                &self.unseen,
                &self.roles,
                self.bot_position,
                &rights(),
            )
        }

        fn take(&mut self, step: Step) {
            match step {
                Step::Link { level, role, name } => self.carry(level, role, name),
                Step::Follow(renamed) => {
                    for Renamed { level, role, name } in renamed {
                        self.carry(level, role, name);
                    }
                }
                Step::Seen { level } => {
                    self.unseen.remove(&level);
                }
                Step::Create { level, name } => {
                    for role in &mut self.roles {
                        role.position += 1;
                    }
                    self.bot_position.0 += 1;
                    let new = id(100 + u64::try_from(self.roles.len()).unwrap());
                    self.roles.push(GuildRole {
                        position: 1,
                        ..role(new.get(), &name)
                    });
                    self.carry(level, new, name);
                }
            }
            // As the table demands after each statement.
            let unique = |list: Vec<String>| {
                let count = list.len();
                assert_eq!(BTreeSet::from_iter(list).len(), count, "{self:?}");
            };
            let carried = self.carried.iter();
            unique(carried.clone().filter_map(|row| row.1.clone()).collect());
            unique(carried.filter_map(|row| Some(row.0?.to_string())).collect());
        }

        fn carry(&mut self, level: LevelNumber, role: RoleId, name: String) {
            self.carried[usize::from(level.0)] = (Some(role.get()), Some(name));
            self.unseen.remove(&level);
        }
    }

    const NAMES: [&str; 8] = ["A", "B", "C", "D", "E", "F", "Minions", "@everyone"];

    fn any_role(id: u64) -> impl Strategy<Value = GuildRole> {
        let odds = (0..10, 0..10, 0..10);
        (0..NAMES.len(), odds).prop_map(move |(name, (high, managed, moderates))| GuildRole {
            permissions: if moderates == 0 { 1 << 13 } else { 1 << 11 },
            position: if high == 0 { 20 } else { 3 },
            managed: managed == 0,
            ..role(id, NAMES[name])
        })
    }

    fn any_world() -> impl Strategy<Value = World> {
        let levels = 6;
        let some = |most| proptest::collection::vec(any::<bool>(), most);
        let ids = Just((10..10 + 8).collect::<Vec<u64>>()).prop_shuffle();
        let names = Just(NAMES.to_vec()).prop_shuffle();
        let roles: Vec<_> = (10..10 + 7).map(any_role).collect();
        let roles = roles
            .prop_flat_map(|roles| subsequence(roles, 0..=7))
            .prop_shuffle();
        (ids, names, some(levels), some(levels), some(levels), roles).prop_map(
            move |(ids, names, with_id, with_name, unseen, roles)| World {
                carried: (0..levels)
                    .map(|level| {
                        let id = with_id[level].then(|| ids[level]);
                        (id, with_name[level].then(|| names[level].to_owned()))
                    })
                    .collect(),
                unseen: (0_u16..)
                    .zip(with_id.into_iter().zip(unseen))
                    .filter_map(|(level, (id, unseen))| {
                        (id && unseen).then_some(LevelNumber(level))
                    })
                    .collect(),
                roles,
                bot_position: BOT_POSITION,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn when_all_is_done_nothing_is_left_but_the_troubles(world in any_world()) {
            let (steps, troubles) = world.reconcile();
            let mut after = world;
            for step in steps {
                after.take(step);
            }
            prop_assert_eq!(after.reconcile(), (vec![], troubles));
        }

        #[test]
        fn how_the_roles_are_listed_does_not_matter(
            (world, shuffled) in any_world().prop_flat_map(|world| {
                let roles = Just(world.roles.clone()).prop_shuffle();
                (Just(world), roles)
            }),
        ) {
            let other = World { roles: shuffled, ..world.clone() };
            prop_assert_eq!(other.reconcile(), world.reconcile());
        }

        #[test]
        fn nothing_that_gives_rights_becomes_a_level_role(world in any_world()) {
            for step in world.reconcile().0 {
                let names: Vec<&String> = match &step {
                    Step::Link { name, .. } | Step::Create { name, .. } => vec![name],
                    Step::Follow(renamed) => renamed.iter().map(|one| &one.name).collect(),
                    Step::Seen { .. } => vec![],
                };
                for name in names {
                    prop_assert!(!rights().covers_name(name), "{step:?}");
                }
                if let Step::Link { role, .. } = step {
                    let role = world.roles.iter().find(|other| other.id == role).unwrap();
                    prop_assert!(!role.moderates() && may_be_changed(role, BOT_POSITION).is_ok());
                }
            }
        }
    }
}
