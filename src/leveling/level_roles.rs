//! Reconciles the levels with the guild's roles: what to link, rename and create, and what a
//! person must fix.
//!
//! A level role is identified by its id. Pure functions of the levels and the guild's roles that
//! return the steps. They never drop the link between a level and its role and never make a choice
//! that only a person can make: such a case is returned as a [`Trouble`].

use std::collections::BTreeSet;
use std::fmt;

use super::{
    GuildRole, LevelNumber, Levels, NamedChannel, ProtectedRoles, Quoted, RoleId, RoleInChannels,
    RolePosition, may_be_changed, trim_role_name,
};

/// One step that makes the levels agree with the guild. Steps are carried out in the order in
/// which [`reconcile`] returns them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Link the level to the guild's role that has the level's name.
    Link {
        /// The level to link.
        level: LevelNumber,
        /// The role that it will carry.
        role: RoleId,
        /// The name of both.
        name: String,
    },
    /// Rename levels whose roles were renamed by hand. There are several if they exchanged names:
    /// these must be saved together, since no name is free before the others change.
    Follow(Vec<Renamed>),
    /// Record that a level's imported role id exists in this guild. If it is missing later, the
    /// role was deleted.
    Seen {
        /// The level that carries the role.
        level: LevelNumber,
    },
    /// Create a role, since the guild has none with the level's name.
    Create {
        /// The level that will carry the role.
        level: LevelNumber,
        /// The name of the new role.
        name: String,
    },
}

/// The form used in logs and terminals. Names are untrusted, so they are quoted and escaped.
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
    /// The level to rename.
    pub level: LevelNumber,
    /// The role that it carries.
    pub role: RoleId,
    /// The role's new name in the guild.
    pub name: String,
}

/// A problem that only a person can fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The level's role was deleted by hand.
    Missing {
        /// The level whose role is missing.
        level: LevelNumber,
        /// The level's name; the role's id if it has none.
        name: String,
    },
    /// The role is not below the bot's highest role.
    OutOfReach {
        /// The level concerned.
        level: LevelNumber,
        /// The role that it carries or would be linked to.
        role: RoleId,
        /// The role's name in the guild.
        name: String,
    },
    /// An integration manages the role.
    Managed {
        /// The level concerned.
        level: LevelNumber,
        /// The role that it carries or would be linked to.
        role: RoleId,
        /// The role's name in the guild.
        name: String,
    },
    /// The role grants moderation permissions.
    Moderates {
        /// The level concerned.
        level: LevelNumber,
        /// The role that it carries or would be linked to.
        role: RoleId,
        /// The role's name in the guild.
        name: String,
        /// The channels in which it does; empty if it does in the whole guild.
        channels: Vec<NamedChannel>,
    },
    /// The role opens channels, or may open some, and no moderator has agreed that a level carries
    /// it.
    OpensChannels {
        /// The level concerned.
        level: LevelNumber,
        /// The role that it would be linked to.
        role: RoleId,
        /// The role's name in the guild.
        name: String,
        /// The channels.
        channels: RoleInChannels,
    },
    /// The settings give rights to the holders of this role or of a role with this name.
    GivesRights {
        /// The level concerned.
        level: LevelNumber,
        /// The name of the role in the guild, or of the level if it has no role.
        name: String,
    },
    /// Several roles have the level's name.
    Several {
        /// The level concerned.
        level: LevelNumber,
        /// The name of the level and of the roles.
        name: String,
        /// Number of roles with the name.
        count: usize,
    },
    /// The role belongs to another level, or it was renamed by hand to another level's name.
    BelongsTo {
        /// The level concerned.
        level: LevelNumber,
        /// The role that it carries or would be linked to.
        role: RoleId,
        /// The role's name in the guild.
        name: String,
        /// The level that owns the role or the name.
        other: LevelNumber,
    },
}

/// The levels after these steps. `Create` changes nothing here, since the id of the new role is
/// not known yet.
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
    Levels::new(rows).expect("numbers and points did not change")
}

/// The steps that make the levels agree with the guild's roles, and the problems that prevent it.
/// `unseen` are the levels whose role id was imported and has never been seen in the guild;
/// `bot_position` is the position of the bot's highest role; `rights` are the roles that the
/// settings give rights to.
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
        .map(|level| LevelRow {
            level: level.number,
            name: level.role_name.as_deref(),
            role: level.role_in(roles),
            is_unseen: unseen.contains(&level.number),
        })
        .collect();
    let mut steps = Vec::new();
    let mut troubles = Vec::new();

    for row in rows.iter().filter(|row| row.is_unseen) {
        if row.role.is_some() && !row.awaits_consent() {
            steps.push(Step::Seen { level: row.level });
        }
    }
    // One at a time: a name may only become free when an earlier step renames its level.
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
            // A blank name gets no role: Discord would call it "new role".
            (None, _, Some(name)) if trim_role_name(name).is_empty() => {}
            (None, _, Some(name)) => match find_role(&rows, row, name, roles, bot_position, rights)
            {
                // Two levels whose names differ only in white space: only the lower level's role
                // is created. The next reconciliation reports the other level.
                Ok(Step::Create { name, .. }) if is_planned(&creates, &name) => {}
                Ok(step @ Step::Create { .. }) => creates.push(step),
                Ok(step) => steps.push(step),
                Err(trouble) => troubles.push(trouble),
            },
            (None, _, None) => {}
        }
    }
    // Discord puts a new role below all others, so the lowest level's role is created last.
    steps.extend(creates.into_iter().rev());
    (steps, troubles)
}

/// A level with the name that it has after the steps so far.
struct LevelRow<'a> {
    level: LevelNumber,
    name: Option<&'a str>,
    /// The role that it carries, if it exists in the guild.
    role: Option<&'a GuildRole>,
    /// Whether the role's id was imported and has never been accepted as one of this guild.
    is_unseen: bool,
}

impl LevelRow<'_> {
    /// Whether the level's imported role opens channels. A moderator must agree before the level
    /// carries it.
    fn awaits_consent(&self) -> bool {
        let role = self.role.filter(|_| self.is_unseen);
        role.is_some_and(|role| role.in_channels.needs_consent().is_some())
    }

    /// Whether this level or its role has the name, so that no other level may take it.
    fn claims(&self, name: &str) -> bool {
        self.name.map(trim_role_name) == Some(name)
            || self.role.is_some_and(|role| role.name == name)
    }
}

/// The first level other than this one that claims the name.
fn claimed_by(rows: &[LevelRow<'_>], level: LevelNumber, name: &str) -> Option<LevelNumber> {
    rows.iter()
        .find(|row| row.level != level && row.claims(name))
        .map(|row| row.level)
}

/// Levels, as indices into the rows, that can now take the names of their roles together.
type Followers<'a> = Vec<(usize, &'a GuildRole)>;

/// A level whose role was renamed by hand to an allowed name that no other level has; or a cycle
/// of such levels, in which each takes the name that the next one gives up.
fn next_to_follow<'a>(rows: &[LevelRow<'a>], rights: &ProtectedRoles) -> Option<Followers<'a>> {
    (0..rows.len()).find_map(|start| followers_from(rows, start, rights))
}

fn followers_from<'a>(
    rows: &[LevelRow<'a>],
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
            // The name is free. Of the levels that led here, only this one can follow now.
            (None, _) => return Some(vec![(at, role)]),
            // The other level has the name now and gives it up. If it only wants the name too,
            // neither can have it.
            (Some(other), None) if rows[other].name == Some(&role.name) => at = other,
            _ => return None,
        }
        if at == start {
            return Some(followers);
        }
        // `start` only leads to a cycle. The cycle is found from one of its own levels.
        if followers.iter().any(|(before, _)| *before == at) {
            return None;
        }
    }
}

/// The role of a level, if it was renamed by hand to a name that a level may have.
fn renamed<'a>(row: &LevelRow<'a>, rights: &ProtectedRoles) -> Option<&'a GuildRole> {
    row.role
        .filter(|role| row.name != Some(&role.name) && !rights.covers(role))
        .filter(|_| !row.awaits_consent())
}

/// The problems of the role that a level carries. The level keeps the role in any case.
fn troubles_of(
    rows: &[LevelRow<'_>],
    row: &LevelRow<'_>,
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
    let role_trouble = role_trouble(level, role, bot_position)
        .or_else(|| consent_trouble(level, role).filter(|_| row.is_unseen));
    name_trouble.into_iter().chain(role_trouble).collect()
}

/// Links a level to the role with its name, or creates that role.
fn find_role(
    rows: &[LevelRow<'_>],
    row: &LevelRow<'_>,
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
    let trouble = role_trouble(level, role, bot_position);
    match trouble.or_else(|| consent_trouble(level, role)) {
        Some(trouble) => Err(trouble),
        None => Ok(Step::Link {
            level,
            role: role.id,
            name,
        }),
    }
}

fn is_planned(creates: &[Step], wanted: &str) -> bool {
    let makes = |step: &Step| matches!(step, Step::Create { name, .. } if name == wanted);
    creates.iter().any(makes)
}

/// Why this role should not be a level role. Of several reasons only the first is returned; that
/// the bot cannot assign the role comes before the role's permissions.
fn role_trouble(
    level: LevelNumber,
    role: &GuildRole,
    bot_position: RolePosition,
) -> Option<Trouble> {
    let moderates = role.moderates();
    let channels = role.moderated_channels().to_vec();
    let is_out_of_reach = may_be_changed(role, bot_position).is_err();
    let (is_managed, name, role) = (role.managed, role.name.clone(), role.id);
    if is_managed {
        Some(Trouble::Managed { level, role, name })
    } else if is_out_of_reach {
        Some(Trouble::OutOfReach { level, role, name })
    } else if moderates {
        Some(Trouble::Moderates {
            level,
            role,
            name,
            channels,
        })
    } else {
        None
    }
}

/// Asks for a moderator's consent if the role opens channels that others cannot see.
fn consent_trouble(level: LevelNumber, role: &GuildRole) -> Option<Trouble> {
    role.in_channels.needs_consent()?;
    Some(Trouble::OpensChannels {
        level,
        role: role.id,
        name: role.name.clone(),
        channels: role.in_channels.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use proptest::prelude::*;
    use proptest::sample::subsequence;

    use super::*;
    use crate::leveling::{ChannelId, RoleEntry};

    const BOT_POSITION: RolePosition = (10, Reverse(RoleId::new(1_000).unwrap()));

    fn id(role: u64) -> RoleId {
        RoleId::new(role).unwrap()
    }

    fn role(id: u64, name: &str) -> GuildRole {
        GuildRole::plain(RoleId::new(id).unwrap(), name, 3)
    }

    /// "Minions", by name and as the pinned role 88.
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

    /// What a channel gives the holders of a role that opens it.
    fn opens() -> RoleInChannels {
        RoleInChannels {
            opens: vec![NamedChannel {
                id: ChannelId::new(7).unwrap(),
                name: "lounge".to_owned(),
            }],
            ..RoleInChannels::default()
        }
    }

    /// The steps and troubles in short form.
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
            Trouble::Moderates {
                level, role, name, ..
            } => format!("{level} moderates {role} {name}"),
            Trouble::OpensChannels {
                level, role, name, ..
            } => format!("{level} opens by {role} {name}"),
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

    /// The result for one level in a guild that has one role of each kind.
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
            // The pinned role of "Minions" under another name.
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
            // Creating the role would make rights available for XP.
            ((None, Some("Minions")), false, "", "0 rights Minions"),
            ((None, Some("@everyone")), false, "", "0 rights @everyone"),
            ((None, Some("Guards")), false, "", "0 rights Guards"),
            // White space that Discord trims.
            ((None, Some("Plain ")), false, "0 links 11 Plain", ""),
            ((None, Some("\u{a0}New ")), false, "0 creates New", ""),
            ((None, Some(" ")), false, "", ""),
            ((Some(11), Some("Plain ")), false, "0 follows 11 Plain", ""),
            // Imported and never seen in this guild.
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
            // Other roles may have the same name, since the id identifies the role.
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
            // Deleted by hand, even if another role has its name now.
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
    fn a_role_that_opens_channels_is_linked_only_with_consent() {
        let roles = [
            GuildRole {
                in_channels: opens(),
                ..role(19, "Lounge")
            },
            GuildRole {
                in_channels: RoleInChannels {
                    moderates: opens().opens,
                    ..opens()
                },
                ..role(20, "Helpers")
            },
        ];
        for (carried, unseen, step, trouble) in [
            ((None, Some("Lounge")), false, "", "0 opens by 19 Lounge"),
            ((Some(19), Some("Lounge")), true, "", "0 opens by 19 Lounge"),
            ((Some(19), Some("Old")), true, "", "0 opens by 19 Lounge"),
            ((Some(99), Some("Lounge")), true, "", "0 opens by 19 Lounge"),
            // It was agreed to, or it opened none when it became the level's.
            ((Some(19), Some("Lounge")), false, "", ""),
            ((Some(19), Some("Old")), false, "0 follows 19 Lounge", ""),
            // To moderate in a channel is to moderate, agreed to or not.
            ((None, Some("Helpers")), false, "", "0 moderates 20 Helpers"),
            (
                (Some(20), Some("Helpers")),
                false,
                "",
                "0 moderates 20 Helpers",
            ),
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
        // Levels 0 and 1 carry roles 10 and 11; level 2 has only a name.
        let levels = Levels::with_roles([
            (Some(10), Some("A")),
            (Some(11), Some("B")),
            (None, Some("C")),
        ]);
        for (names, steps, troubles) in [
            (["A", "B"], vec!["2 creates C"], vec![]),
            // Names moved by one level: the level that gives up the wanted name goes first.
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
            // Names exchanged: both levels must be renamed together.
            (
                ["B", "A"],
                vec!["0 follows 10 B with 1 follows 11 A", "2 creates C"],
                vec![],
            ),
            // Both renamed to the same new name.
            (
                ["D", "D"],
                vec!["2 creates C"],
                vec!["0 wants 10 D of 1", "1 wants 11 D of 0"],
            ),
            (["A", "A"], vec!["2 creates C"], vec!["1 wants 11 A of 0"]),
            // Renamed to the name of a level that has no role yet.
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
        // Levels 0 to 4 carry roles 10 to 14, called A to E. Each case lists the new role names.
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
            // Two cycles; then a cycle and a chain that ends in a free name.
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
            // A third level wants one of the two names, so the choice is not clear.
            (
                "B A B D E",
                vec![],
                vec![
                    "0 wants 10 B of 1",
                    "1 wants 11 A of 0",
                    "2 wants 12 B of 0",
                ],
            ),
            // One level of the cycle would get a name that gives rights.
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
        // A level without its role is in no cycle.
        let roles = [role(10, "B"), role(12, "A")];
        let found = told(&carried, &[], &roles).0;
        assert_eq!(found, [""; 0]);
    }

    /// A guild and its levels while the steps are carried out.
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
            // The unique constraints of the table `level`, which hold after each statement.
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
        (0..NAMES.len(), odds, 0..8_u8).prop_map(
            move |(name, (high, managed, moderates), channels)| GuildRole {
                in_channels: match channels {
                    0 => opens(),
                    1 => RoleInChannels {
                        moderates: opens().opens,
                        ..RoleInChannels::default()
                    },
                    _ => RoleInChannels::default(),
                },
                permissions: if moderates == 0 { 1 << 13 } else { 1 << 11 },
                position: if high == 0 { 20 } else { 3 },
                managed: managed == 0,
                ..role(id, NAMES[name])
            },
        )
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
