//! Which role a level may carry, and how to give it one.
//!
//! Pure: the functions take the levels and the guild's roles, and return what the caller must do.
//! Nothing in this file renames or creates a role.

use std::cmp::Reverse;
use std::fmt;

use super::escape::{is_blank, is_invisible};
use super::permission_bits::MODERATION;
use super::{Level, LevelNumber, Levels, NamedChannel, ProtectedRoles, RoleId, RoleInChannels};

/// The fields of a guild's role that the rules about levels need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuildRole {
    /// Stays the same when the role is renamed.
    pub id: RoleId,
    /// Untrusted text, not escaped.
    pub name: String,
    /// Discord's permission bits.
    pub permissions: u64,
    /// Discord's `position`. Two roles can share one: compare [`GuildRole::role_position`].
    pub position: i64,
    /// Whether an integration manages it, so that nobody can assign it.
    pub managed: bool,
    /// What the guild's channels give its holders besides. Empty where the channels were not read:
    /// what decides about level roles reads them, with `roles::list_with_channels`.
    pub in_channels: RoleInChannels,
}

/// A role's place in Discord's role hierarchy: greater is higher. Of two roles with the same
/// `position`, the one with the lower (older) id is higher.
pub type RolePosition = (i64, Reverse<RoleId>);

impl GuildRole {
    /// A role without permissions that no integration manages.
    pub fn plain(id: RoleId, name: impl Into<String>, position: i64) -> Self {
        Self {
            id,
            name: name.into(),
            permissions: 0,
            position,
            managed: false,
            in_channels: RoleInChannels::default(),
        }
    }

    /// Its place in the role hierarchy, comparable with other roles of the guild.
    pub fn role_position(&self) -> RolePosition {
        (self.position, Reverse(self.id))
    }

    /// Whether it grants any of the permissions in `MODERATION`, in the guild or in a channel.
    pub fn moderates(&self) -> bool {
        self.permissions & MODERATION != 0 || !self.in_channels.moderates.is_empty()
    }

    /// The channels in which it grants moderation permissions; empty if it grants any in the whole
    /// guild.
    pub fn moderated_channels(&self) -> &[NamedChannel] {
        if self.permissions & MODERATION == 0 {
            &self.in_channels.moderates
        } else {
            &[]
        }
    }
}

/// A name that a level role may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleName(String);

/// Why a text cannot be a role's name. Each message says what to type instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotARoleName {
    /// It has no visible character.
    #[error("A role's name needs 1 to 100 characters, and at least one that can be seen.")]
    Empty,
    /// It has more than 100 characters, Discord's limit. The value is its length.
    #[error("A role's name needs 1 to 100 characters; this one has {0}.")]
    TooLong(usize),
    /// It contains `@everyone` or `@here`, perhaps disguised by similar or invisible characters.
    #[error("`@everyone` and `@here` cannot be names of roles.")]
    Everyone,
    /// It mentions a user, a channel or a command; or it mentions a role and has other text as
    /// well.
    #[error(
        "A mention cannot be a role's name: type the name itself, or mention one role and nothing else."
    )]
    Mention,
    /// It holds a custom emoji or a timestamp, which Discord renders only in messages.
    #[error("A role's name cannot hold custom emoji or timestamps: type it without them.")]
    Markup,
    /// It has a double quote at one end only.
    #[error("A quote is missing: type the name between two quotes, or without any.")]
    Unbalanced,
}

/// A role as a user types it in a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleArgument {
    /// The role with this id: the user mentioned it or typed the id.
    Id(RoleId),
    /// A role with this name, which may not exist yet.
    Name(RoleName),
}

impl RoleArgument {
    /// Accepts a mention of a role or a role's id, with or without quotes; anything else is a name.
    pub fn parse(text: &str) -> Result<Self, NotARoleName> {
        if let Some(id) = unquoted(text.trim()).ok().and_then(role_id) {
            return Ok(Self::Id(id));
        }
        RoleName::parse(text).map(Self::Name)
    }
}

/// Parses `<@&id>` or a bare id, with 17 to 20 digits.
pub(super) fn role_id(text: &str) -> Option<RoleId> {
    let text = text.trim();
    let mention = text
        .strip_prefix("<@&")
        .and_then(|text| text.strip_suffix('>'));
    let digits = mention.unwrap_or(text);
    let is_id = (17..=20).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_digit());
    let id = digits.parse().ok().filter(|_| is_id)?;
    RoleId::new(id)
}

/// A role's name as Discord stores it: Discord silently trims leading and trailing white space.
/// (Observed for spaces; assumed for all of Unicode's `White_Space`.) For an empty name it would
/// store "new role".
pub fn trim_role_name(name: &str) -> &str {
    name.trim()
}

impl RoleName {
    /// Removes quotes around the name, and replaces each run of white space and control characters
    /// by one space, so that the stored name equals the one that Discord returns.
    pub fn parse(text: &str) -> Result<Self, NotARoleName> {
        let text: String = text.chars().filter(|c| *c != '\0').collect();
        let name = unquoted(text.trim())?
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
        check(&name)?;
        Ok(Self(name))
    }

    /// Checks a name from another bot's data, and trims it as Discord does; `None` if nothing is
    /// left. Quotes stay part of the name. Fails if `parse` would refuse the name.
    pub fn imported(text: &str) -> Result<Option<Self>, NotARoleName> {
        let name = trim_role_name(text);
        if name.is_empty() {
            return Ok(None);
        }
        check(name)?;
        if unquoted(name).is_err() {
            return Err(NotARoleName::Unbalanced);
        }
        Ok(Some(Self(name.to_owned())))
    }

    /// The current name of a role, without any check.
    pub fn of(role: &GuildRole) -> Self {
        Self(role.name.clone())
    }

    /// The current name of a level, trimmed as Discord does, but not checked.
    pub fn of_level(name: &str) -> Self {
        Self(trim_role_name(name).to_owned())
    }

    /// The name; not escaped.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn check(name: &str) -> Result<(), NotARoleName> {
    const MAX_LENGTH: usize = 100;
    let length = name.chars().count();
    let plain = undisguised(name);
    if is_blank(name) {
        Err(NotARoleName::Empty)
    } else if length > MAX_LENGTH {
        Err(NotARoleName::TooLong(length))
    } else if plain.contains("@everyone") || plain.contains("@here") {
        Err(NotARoleName::Everyone)
    } else {
        match markup(name) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Whether this is `@everyone` or `@here`, perhaps disguised by similar or invisible characters.
pub(super) fn is_everyone(name: &str) -> bool {
    ["@everyone", "@here"].contains(&undisguised(name).trim())
}

/// The name in lower case, without invisible characters, and with fullwidth characters and the
/// small `@` replaced by ASCII.
fn undisguised(name: &str) -> String {
    const FULLWIDTH: std::ops::RangeInclusive<u32> = 0xff01..=0xff5e;
    let plain = |c: char| match c {
        '\u{fe6b}' => '@',
        c if FULLWIDTH.contains(&u32::from(c)) => {
            char::from_u32(u32::from(c) - 0xff01 + 0x21).unwrap_or(c)
        }
        c => c,
    };
    let visible = name.chars().filter(|c| *c == ' ' || !is_invisible(*c));
    visible.map(plain).collect::<String>().to_lowercase()
}

/// Finds a mention, a custom emoji or a timestamp. Real ids have at least 17 digits, so `<@1>` is
/// plain text inside a longer name; only a name that is nothing else is refused.
fn markup(name: &str) -> Option<NotARoleName> {
    let whole = name.starts_with('<') && name.find('>') == Some(name.len() - 1);
    name.match_indices('<').find_map(|(at, _)| {
        let inner = name[at + 1..].split_once('>')?.0;
        let is_id = |id: &str| {
            let long_enough = if whole { 1 } else { 17 };
            id.len() >= long_enough && id.bytes().all(|digit| digit.is_ascii_digit())
        };
        let mention = ["@!", "@&", "@", "#"]
            .into_iter()
            .find_map(|sigil| inner.strip_prefix(sigil));
        if mention.is_some_and(is_id) {
            return Some(NotARoleName::Mention);
        }
        let (kind, rest) = inner.split_once(':')?;
        let last = rest.rsplit(':').next().unwrap_or_default();
        match kind {
            "" | "a" if rest.contains(':') && is_id(last) => Some(NotARoleName::Markup),
            "t" if rest.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
                Some(NotARoleName::Markup)
            }
            _ if kind.starts_with('/') && is_id(last) => Some(NotARoleName::Mention),
            _ => None,
        }
    })
}

/// The text without the pair of quotes around it. An unpaired single quote may be an apostrophe,
/// so it is part of the name; an unpaired double quote is an error.
fn unquoted(text: &str) -> Result<&str, NotARoleName> {
    const DOUBLE: [char; 8] = ['"', '“', '”', '„', '‟', '«', '»', '＂'];
    const SINGLE: [char; 4] = ['\'', '‘', '’', '‚'];
    let inner = |quotes: &[char]| text.strip_prefix(quotes)?.strip_suffix(quotes);
    if let Some(inner) = inner(&DOUBLE).or_else(|| inner(&SINGLE)) {
        return Ok(inner);
    }
    if text.starts_with(DOUBLE) || text.ends_with(DOUBLE) {
        return Err(NotARoleName::Unbalanced);
    }
    Ok(text)
}

/// How a level gets its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Naming<'a> {
    /// Create a new role with this name.
    Create,
    /// Carry this existing role instead of the one that the level carried, if any.
    Take(&'a GuildRole),
    /// Rename this role, which the level carries.
    Rename(&'a GuildRole),
}

/// Why a level cannot carry a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamingRefusal<'a> {
    /// This level has the name or the role already. It can be the level that is being named.
    BelongsTo(LevelNumber),
    /// The settings give rights to the holders of this role or of a role with this name.
    GivesRights,
    /// This many roles have the name.
    Several(usize),
    /// An integration manages the role.
    Managed(&'a GuildRole),
    /// The role is not below the bot's highest role.
    OutOfReach(&'a GuildRole),
    /// The role grants moderation permissions.
    Moderates(&'a GuildRole),
}

/// What has to be done so that `level` carries a role called `name`. `bot_position` is the
/// position of the bot's highest role; `rights` are the roles that the settings give rights to.
pub fn name_level<'a>(
    levels: &Levels,
    roles: &'a [GuildRole],
    bot_position: RolePosition,
    rights: &ProtectedRoles,
    level: &Level,
    name: &RoleName,
) -> Result<Naming<'a>, NamingRefusal<'a>> {
    let carried = level.role_in(roles);
    let namesake = |other: &&Level| other.stored_name() == Some(name.as_str());
    let mut namesakes = roles.iter().filter(|role| role.name == name.as_str());
    let count = namesakes.clone().count();
    match (namesakes.next(), carried) {
        (Some(_), _) if count > 1 => Err(NamingRefusal::Several(count)),
        // Somebody renamed the role by hand, or an earlier rename was interrupted: the level's
        // own role has the name already.
        (Some(role), Some(own)) if role.id == own.id => {
            take_role_if_changed(levels, bot_position, rights, level, role)
        }
        (Some(role), _) => take_role(levels, bot_position, rights, level, role),
        (None, own) => {
            let other = levels.rows().iter().find(namesake);
            // A level may get its own stored name again, if its role was deleted by hand.
            if let Some(other) = other.filter(|other| own.is_some() || other.number != level.number)
            {
                return Err(NamingRefusal::BelongsTo(other.number));
            }
            if rights.covers_name(name.as_str()) {
                return Err(NamingRefusal::GivesRights);
            }
            match own {
                Some(own) => may_be_changed(own, bot_position).map(|()| Naming::Rename(own)),
                None => Ok(Naming::Create),
            }
        }
    }
}

/// Like [`take_role`], but fails if `level` already carries this role under its current name, so
/// that nothing would change.
pub fn take_role_if_changed<'a>(
    levels: &Levels,
    bot_position: RolePosition,
    rights: &ProtectedRoles,
    level: &Level,
    role: &'a GuildRole,
) -> Result<Naming<'a>, NamingRefusal<'a>> {
    if level.role_id == Some(role.id) && level.role_name.as_ref() == Some(&role.name) {
        return Err(NamingRefusal::BelongsTo(level.number));
    }
    take_role(levels, bot_position, rights, level, role)
}

/// [`Naming::Take`] if `level` may carry this role.
pub fn take_role<'a>(
    levels: &Levels,
    bot_position: RolePosition,
    rights: &ProtectedRoles,
    level: &Level,
    role: &'a GuildRole,
) -> Result<Naming<'a>, NamingRefusal<'a>> {
    let is_theirs = |other: &&Level| {
        other.number != level.number
            && (other.role_id == Some(role.id) || other.stored_name() == Some(&role.name))
    };
    if let Some(other) = levels.rows().iter().find(is_theirs) {
        return Err(NamingRefusal::BelongsTo(other.number));
    }
    if rights.covers(role) {
        return Err(NamingRefusal::GivesRights);
    }
    may_be_changed(role, bot_position)?;
    if role.moderates() && level.role_id != Some(role.id) {
        return Err(NamingRefusal::Moderates(role));
    }
    Ok(Naming::Take(role))
}

/// Whether the bot can assign, rename and delete a role: it must not be managed, and must be below
/// `bot_position`.
pub fn may_be_changed(
    role: &GuildRole,
    bot_position: RolePosition,
) -> Result<(), NamingRefusal<'_>> {
    if role.managed {
        return Err(NamingRefusal::Managed(role));
    }
    if role.role_position() >= bot_position {
        return Err(NamingRefusal::OutOfReach(role));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::iter::repeat_n;

    use proptest::prelude::*;

    use super::*;
    use crate::leveling::RoleEntry;

    const BOT_POSITION: RolePosition = (10, Reverse(RoleId::new(1_000).unwrap()));

    fn role(id: u64, name: &str, position: i64) -> GuildRole {
        GuildRole::plain(RoleId::new(id).unwrap(), name, position)
    }

    /// Levels 0 to 9. Level 1 carries role 11 "One", level 2 the missing role 22 "Two".
    fn levels() -> Levels {
        let roles = [
            (None, None),
            (Some(11), Some("One")),
            (Some(22), Some("Two")),
        ];
        Levels::with_roles(roles.into_iter().chain(repeat_n((None, None), 7)))
    }

    #[test]
    fn what_gives_a_level_its_role() {
        let one = role(11, "One", 3);
        let free = role(33, "Free", 4);
        let high = role(44, "High", 11);
        let beside = role(2_000, "Beside", 10);
        let same_position_older = role(999, "Older", 10);
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
            same_position_older.clone(),
            bot.clone(),
            mods.clone(),
            role(77, "Twin", 1),
            role(78, "Twin", 1),
            // The pinned role of "Minions" under another name.
            role(88, "Guards", 1),
        ];
        let minions = RoleEntry::Name("Minions".to_owned());
        let pins = [("Minions".to_owned(), RoleId::new(88).unwrap())].into();
        let rights = ProtectedRoles::new([&minions], &pins);
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
            (1, "One", Err(NamingRefusal::BelongsTo(LevelNumber(1)))),
            (5, "One", Err(NamingRefusal::BelongsTo(LevelNumber(1)))),
            (5, "Two", Err(NamingRefusal::BelongsTo(LevelNumber(2)))),
            (5, "minions", Err(NamingRefusal::GivesRights)),
            (5, "Guards", Err(NamingRefusal::GivesRights)),
            (5, "Twin", Err(NamingRefusal::Several(2))),
            (5, "Bot", Err(NamingRefusal::Managed(&bot))),
            (5, "High", Err(NamingRefusal::OutOfReach(&high))),
            (
                5,
                "Older",
                Err(NamingRefusal::OutOfReach(&same_position_older)),
            ),
            (5, "Mods", Err(NamingRefusal::Moderates(&mods))),
        ] {
            let wanted = RoleName::parse(name).unwrap();
            let levels = levels();
            let level = levels.find(number).unwrap();
            let decided = name_level(&levels, &roles, BOT_POSITION, &rights, level, &wanted);
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
            name_level(
                &levels,
                &roles,
                BOT_POSITION,
                &ProtectedRoles::default(),
                level,
                &name,
            )
        };
        let belongs = Err(NamingRefusal::BelongsTo(LevelNumber(1)));
        assert_eq!(decide(5, "Renamed"), belongs);
        assert_eq!(decide(1, "Renamed"), Ok(Naming::Take(&roles[0])));
    }

    #[test]
    fn a_typed_name_is_unquoted_trimmed_and_checked() {
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
            ("\u{200b}\u{3164}", Err(NotARoleName::Empty)),
            ("@Everyone", Err(NotARoleName::Everyone)),
            ("\"@here\"", Err(NotARoleName::Everyone)),
            ("@\u{200b}everyone", Err(NotARoleName::Everyone)),
            ("＠everyone", Err(NotARoleName::Everyone)),
            ("﹫ｈｅｒｅ", Err(NotARoleName::Everyone)),
            ("Hello @ever\u{2060}yone!", Err(NotARoleName::Everyone)),
            ("everyone here", Ok("everyone here")),
            ("\"", Err(NotARoleName::Unbalanced)),
            ("\"Missing Semicolon", Err(NotARoleName::Unbalanced)),
            ("Missing Semicolon”", Err(NotARoleName::Unbalanced)),
            ("“Missing Semicolon\"", Ok("Missing Semicolon")),
            ("«Missing Semicolon »", Ok("Missing Semicolon")),
            ("The \"Missing\" Semicolon", Ok("The \"Missing\" Semicolon")),
            ("‘Dogs’", Ok("Dogs")),
            ("Dogs'", Ok("Dogs'")),
            ("\u{a0}\u{2003}Kernel\u{3000} ", Ok("Kernel")),
            ("<@1>", Err(NotARoleName::Mention)),
            ("<@!175928847299117063>", Err(NotARoleName::Mention)),
            ("<#175928847299117063>", Err(NotARoleName::Mention)),
            ("Hello <@175928847299117063>", Err(NotARoleName::Mention)),
            ("<@&175928847299117063> x", Err(NotARoleName::Mention)),
            ("</rank:175928847299117063>", Err(NotARoleName::Mention)),
            ("<:pepe:175928847299117063>", Err(NotARoleName::Markup)),
            ("hi <a:pepe:175928847299117063>", Err(NotARoleName::Markup)),
            ("<t:1700000000:R>", Err(NotARoleName::Markup)),
            ("a <@1> b", Ok("a <@1> b")),
            ("<3", Ok("<3")),
            ("<Vec<u8>>", Ok("<Vec<u8>>")),
        ] {
            let parsed = RoleName::parse(text);
            let parsed = parsed.as_ref().map(RoleName::as_str);
            assert_eq!(parsed, expected.as_ref().map(|name| *name), "{text:?}");
        }
    }

    #[test]
    fn a_mention_of_a_role_is_that_role() {
        let role = |id| RoleArgument::Id(RoleId::new(id).unwrap());
        let name = |name| RoleArgument::Name(RoleName::parse(name).unwrap());
        for (text, expected) in [
            ("<@&175928847299117063>", Ok(role(175_928_847_299_117_063))),
            (
                " \"<@&175928847299117063>\" ",
                Ok(role(175_928_847_299_117_063)),
            ),
            ("175928847299117063", Ok(role(175_928_847_299_117_063))),
            ("2024", Ok(name("2024"))),
            ("<@&99999999999999999999>", Err(NotARoleName::Mention)),
            ("<@&1>", Err(NotARoleName::Mention)),
            ("<@&>", Ok(name("<@&>"))),
            ("<@175928847299117063>", Err(NotARoleName::Mention)),
            (
                "<@&175928847299117063> <@&175928847299117063>",
                Err(NotARoleName::Mention),
            ),
            ("\"<@&175928847299117063>", Err(NotARoleName::Unbalanced)),
        ] {
            assert_eq!(RoleArgument::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_imported_name_is_what_discord_stores() {
        let long = "x".repeat(101);
        for (text, expected) in [
            (" Kernel \n", Ok(Some("Kernel"))),
            ("Missing   Semicolon", Ok(Some("Missing   Semicolon"))),
            ("\"Quoted\"", Ok(Some("\"Quoted\""))),
            (" \u{2003}", Ok(None)),
            (&long, Err(NotARoleName::TooLong(101))),
            ("\u{200b}", Err(NotARoleName::Empty)),
            ("\"Half", Err(NotARoleName::Unbalanced)),
            ("<@&175928847299117063>", Err(NotARoleName::Mention)),
            ("＠here", Err(NotARoleName::Everyone)),
        ] {
            let name = RoleName::imported(text);
            let name = name
                .as_ref()
                .map(|name| name.as_ref().map(RoleName::as_str));
            assert_eq!(name, expected.as_ref().map(|name| *name), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_name_is_valid_and_trimmed(text in "\\PC{0,120}|[\\s\"a@]{0,20}|[<@#&!:>0-9ta/]{0,30}") {
            if let Ok(name) = RoleName::parse(&text) {
                prop_assert!((1..=100).contains(&name.as_str().chars().count()));
                prop_assert!(!name.as_str().contains(char::is_control));
                prop_assert_eq!(trim_role_name(name.as_str()), name.as_str());
                prop_assert!(!undisguised(name.as_str()).contains("@everyone"));
            }
        }
    }
}
