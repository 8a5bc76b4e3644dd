//! Which role a level may carry, and what it takes to give it one.
//!
//! Pure: the levels and the guild's roles are given, what to do is returned. Nothing in
//! here renames or creates anything.

use std::cmp::Reverse;
use std::fmt;

use super::{Level, LevelNumber, Levels, RoleId};

/// A role of the guild, as far as levels care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuildRole {
    /// What it is, whatever it is called.
    pub id: RoleId,
    /// What it is called; hostile text, as all names.
    pub name: String,
    /// Discord's permission bits.
    pub permissions: u64,
    /// Where it stands; see [`GuildRole::height`].
    pub position: i64,
    /// Whether an integration holds it, so that nobody can give it.
    pub managed: bool,
}

/// How high a role stands: of two at one position the older is the higher.
pub type Height = (i64, Reverse<RoleId>);

impl GuildRole {
    /// How high it stands.
    pub fn height(&self) -> Height {
        (self.position, Reverse(self.id))
    }

    /// Whether it lets its holders do what only moderators should.
    pub fn moderates(&self) -> bool {
        self.permissions & MODERATION != 0
    }
}

/// What no one should get by talking: Discord's bits for kicking, banning, administrating,
/// managing channels, the guild, messages, nicknames, roles, webhooks, expressions, threads
/// and events, timing members out, mentioning everyone, reading the audit log, muting,
/// deafening and moving, and pinning. Source: Discord's reference, "Permissions".
const MODERATION: u64 = 1 << 1
    | 1 << 2
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 7
    | 1 << 13
    | 1 << 17
    | 1 << 22
    | 1 << 23
    | 1 << 24
    | 1 << 27
    | 1 << 28
    | 1 << 29
    | 1 << 30
    | 1 << 33
    | 1 << 34
    | 1 << 40
    | 1 << 51;

/// A name that a level role may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleName(String);

/// Why a text is not a role's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotARoleName {
    /// Nothing is left of it.
    #[error("A role's name needs 1 to 100 characters, and at least one that can be seen.")]
    Empty,
    /// Discord's limit.
    #[error("A role's name needs 1 to 100 characters; this one has {0}.")]
    TooLong(usize),
    /// Discord's own words.
    #[error("`@everyone` and `@here` cannot be names of roles.")]
    Everyone,
}

impl RoleName {
    /// Takes quotes off, and makes one space of each run of spaces and line breaks, so
    /// that what is stored is what Discord will say.
    pub fn parse(text: &str) -> Result<Self, NotARoleName> {
        const LONGEST: usize = 100;
        let text: String = text.chars().filter(|c| *c != '\0').collect();
        let name = unquoted(text.trim())
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
        let length = name.chars().count();
        if super::escape::is_blank(&name) {
            return Err(NotARoleName::Empty);
        }
        if length > LONGEST {
            return Err(NotARoleName::TooLong(length));
        }
        if ["@everyone", "@here"].contains(&name.to_lowercase().as_str()) {
            return Err(NotARoleName::Everyone);
        }
        Ok(Self(name))
    }

    /// What a role is called already, whatever people may type.
    pub fn of(role: &GuildRole) -> Self {
        Self(role.name.clone())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn unquoted(text: &str) -> &str {
    for (open, close) in [('"', '"'), ('“', '”'), ('„', '“'), ('\'', '\'')] {
        if let Some(inner) = text
            .strip_prefix(open)
            .and_then(|text| text.strip_suffix(close))
        {
            return inner;
        }
    }
    text
}

/// What gives a level its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Naming<'a> {
    /// A new role of this name.
    Create,
    /// An existing role, in the place of whatever the level carried.
    Take(&'a GuildRole),
    /// Another name for the role that the level carries.
    Rename(&'a GuildRole),
}

/// Why a level cannot carry a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// The name is a level's already, this one's or another's.
    BelongsTo(LevelNumber),
    /// The settings give rights to whoever holds a role of this name.
    GivesRights,
    /// Several roles have the name.
    Several(usize),
    /// An integration holds the role.
    Managed(&'a GuildRole),
    /// The role stands where the bot cannot reach.
    OutOfReach(&'a GuildRole),
    /// The role lets its holders moderate.
    Moderates(&'a GuildRole),
}

/// What it takes for `level` to carry a role called `name`. `reach` is how high the
/// bot's own highest role stands; `rights` are the names of the roles that the settings
/// give rights to.
pub fn name_level<'a>(
    levels: &Levels,
    roles: &'a [GuildRole],
    reach: Height,
    rights: &[String],
    level: &Level,
    name: &RoleName,
) -> Result<Naming<'a>, Refusal<'a>> {
    let carried = level.role_in(roles);
    let namesake = |other: &&Level| other.role_name.as_deref() == Some(name.as_str());
    let mut namesakes = roles.iter().filter(|role| role.name == name.as_str());
    let count = namesakes.clone().count();
    match (namesakes.next(), carried) {
        (Some(_), _) if count > 1 => Err(Refusal::Several(count)),
        // A rename by hand, or one that was cut off: what the level carries has the name.
        (Some(role), Some(own)) if role.id == own.id => {
            if level.role_name.as_deref() == Some(name.as_str()) {
                return Err(Refusal::BelongsTo(level.number));
            }
            take_role(levels, reach, rights, level, role)
        }
        (Some(role), _) => take_role(levels, reach, rights, level, role),
        (None, own) => {
            let other = levels.rows().iter().find(namesake);
            // One whose role was deleted by hand gets it again.
            if let Some(other) = other.filter(|other| own.is_some() || other.number != level.number)
            {
                return Err(Refusal::BelongsTo(other.number));
            }
            if gives_rights(rights, name.as_str()) {
                return Err(Refusal::GivesRights);
            }
            match own {
                Some(own) => may_be_changed(own, reach).map(|()| Naming::Rename(own)),
                None => Ok(Naming::Create),
            }
        }
    }
}

/// Whether `level` may carry this very role.
pub fn take_role<'a>(
    levels: &Levels,
    reach: Height,
    rights: &[String],
    level: &Level,
    role: &'a GuildRole,
) -> Result<Naming<'a>, Refusal<'a>> {
    let is_theirs = |other: &&Level| {
        other.number != level.number
            && (other.role_id == Some(role.id) || other.role_name.as_ref() == Some(&role.name))
    };
    if let Some(other) = levels.rows().iter().find(is_theirs) {
        return Err(Refusal::BelongsTo(other.number));
    }
    if gives_rights(rights, &role.name) {
        return Err(Refusal::GivesRights);
    }
    may_be_changed(role, reach)?;
    if role.moderates() && level.role_id != Some(role.id) {
        return Err(Refusal::Moderates(role));
    }
    Ok(Naming::Take(role))
}

/// Whether who holds a role of this name may do more than others by the settings; Discord's
/// own name for everybody is nobody's to give either.
pub(super) fn gives_rights(rights: &[String], name: &str) -> bool {
    let lowercase = name.to_lowercase();
    RoleName::parse(name) == Err(NotARoleName::Everyone)
        || rights.iter().any(|right| right.to_lowercase() == lowercase)
}

/// Whether the bot can give, rename and delete a role.
pub fn may_be_changed(role: &GuildRole, reach: Height) -> Result<(), Refusal<'_>> {
    if role.managed {
        return Err(Refusal::Managed(role));
    }
    if role.height() >= reach {
        return Err(Refusal::OutOfReach(role));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::leveling::{Points, mee6_points_to_next, mee6_total};

    const REACH: Height = (10, Reverse(RoleId::new(1_000).unwrap()));

    fn role(id: u64, name: &str, position: i64) -> GuildRole {
        GuildRole {
            id: RoleId::new(id).unwrap(),
            name: name.to_owned(),
            permissions: 0,
            position,
            managed: false,
        }
    }

    /// Levels 0 to 9; 1 carries role 11 "One", 2 the missing role 22 "Two".
    fn levels() -> Levels {
        let row = |number: u16| Level {
            number: LevelNumber(number),
            total_points_required: Points::new(mee6_total(number)).unwrap(),
            points_to_next_level: Points::new(mee6_points_to_next(number)).unwrap(),
            role_id: [(1, 11), (2, 22)]
                .iter()
                .find(|(level, _)| *level == number)
                .and_then(|(_, role)| RoleId::new(*role)),
            role_name: match number {
                1 => Some("One".to_owned()),
                2 => Some("Two".to_owned()),
                _ => None,
            },
        };
        Levels::new((0..10).map(row).collect()).unwrap()
    }

    #[test]
    fn what_gives_a_level_its_role() {
        let one = role(11, "One", 3);
        let free = role(33, "Free", 4);
        let high = role(44, "High", 11);
        let beside = role(2_000, "Beside", 10);
        let level_with_bot = role(999, "Older", 10);
        let bot = GuildRole {
            managed: true,
            ..role(55, "Bot", 2)
        };
        let mods = GuildRole {
            permissions: 1 << 13,
            ..role(66, "Mods", 2)
        };
        let roles = [
            one.clone(),
            free.clone(),
            high.clone(),
            beside.clone(),
            level_with_bot.clone(),
            bot.clone(),
            mods.clone(),
            role(77, "Twin", 1),
            role(78, "Twin", 1),
        ];
        let rights = ["Minions".to_owned()];
        for (number, name, expected) in [
            (5, "New", Ok(Naming::Create)),
            (5, "Free", Ok(Naming::Take(&free))),
            (5, "free", Ok(Naming::Create)),
            (5, "Beside", Ok(Naming::Take(&beside))),
            (1, "New", Ok(Naming::Rename(&one))),
            (1, "Free", Ok(Naming::Take(&free))),
            // Its role was deleted by hand.
            (2, "Two", Ok(Naming::Create)),
            (2, "New", Ok(Naming::Create)),
            (1, "One", Err(Refusal::BelongsTo(LevelNumber(1)))),
            (5, "One", Err(Refusal::BelongsTo(LevelNumber(1)))),
            (5, "Two", Err(Refusal::BelongsTo(LevelNumber(2)))),
            (5, "minions", Err(Refusal::GivesRights)),
            (5, "Twin", Err(Refusal::Several(2))),
            (5, "Bot", Err(Refusal::Managed(&bot))),
            (5, "High", Err(Refusal::OutOfReach(&high))),
            (5, "Older", Err(Refusal::OutOfReach(&level_with_bot))),
            (5, "Mods", Err(Refusal::Moderates(&mods))),
        ] {
            let wanted = RoleName::parse(name).unwrap();
            let levels = levels();
            let level = levels.find(number).unwrap();
            let decided = name_level(&levels, &roles, REACH, &rights, level, &wanted);
            assert_eq!(decided, expected, "{number} {name}");
        }
    }

    #[test]
    fn a_level_role_that_was_renamed_by_hand_is_still_its_levels() {
        let roles = [role(11, "Renamed", 3)];
        let decide = |number, name| {
            let name = RoleName::parse(name).unwrap();
            let levels = levels();
            let level = levels.find(number).unwrap();
            name_level(&levels, &roles, REACH, &[], level, &name)
        };
        let belongs = Err(Refusal::BelongsTo(LevelNumber(1)));
        assert_eq!(decide(5, "Renamed"), belongs);
        assert_eq!(decide(1, "Renamed"), Ok(Naming::Take(&roles[0])));
    }

    #[test]
    fn names_are_what_discord_makes_of_them() {
        let long = "x".repeat(101);
        for (text, expected) in [
            ("\"Missing Semicolon\"", Ok("Missing Semicolon")),
            ("  Missing   Semicolon ", Ok("Missing Semicolon")),
            ("“Missing\nSemicolon”", Ok("Missing Semicolon")),
            ("'s", Ok("'s")),
            ("👩‍👩‍👧", Ok("👩‍👩‍👧")),
            (&long[1..], Ok(&long[1..])),
            (&long, Err(NotARoleName::TooLong(101))),
            ("", Err(NotARoleName::Empty)),
            ("\"\"", Err(NotARoleName::Empty)),
            ("\"", Ok("\"")),
            ("\u{200b}\u{3164}", Err(NotARoleName::Empty)),
            ("@Everyone", Err(NotARoleName::Everyone)),
            ("\"@here\"", Err(NotARoleName::Everyone)),
        ] {
            let parsed = RoleName::parse(text);
            let parsed = parsed.as_ref().map(RoleName::as_str);
            assert_eq!(parsed, expected.as_ref().map(|name| *name), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_short_and_stays_what_it_is(text in "\\PC{0,120}|[\\s\"a@]{0,20}") {
            if let Ok(name) = RoleName::parse(&text) {
                prop_assert!((1..=100).contains(&name.as_str().chars().count()));
                prop_assert!(!name.as_str().contains(char::is_control));
                prop_assert!(!name.as_str().starts_with(' ') && !name.as_str().ends_with(' '));
            }
        }
    }
}
