//! What the council reads of level roles: a sentence on what is wrong, what to do, and the
//! buttons that do it.
//!
//! Only words; whether something is wrong is decided by `leveling`.

use crate::discord::buttons::{Look, Wish, row_for_moderators};
use crate::discord::council::Notice;
use crate::leveling::level_roles::Trouble;
use crate::leveling::{LevelNumber, escape};

/// Roles that members keep until a moderator says that they may lose them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Withheld {
    /// How many members would lose roles.
    pub losing: u64,
    /// Of how many.
    pub members: u64,
}

/// What a person must see to, level by level.
pub(super) fn levels(troubles: &[Trouble]) -> Vec<Notice> {
    troubles.iter().map(level).collect()
}

/// The bot may make no roles.
pub(super) fn cannot_make() -> Notice {
    let text = "I cannot make the roles that levels lack: give my role the permission Manage Roles, and see that the \
                guild has fewer than 250 roles.";
    plain("cannot-make-roles".to_owned(), text.to_owned())
}

/// The bot may neither give nor take any.
pub(super) fn cannot_manage() -> Notice {
    let text = "I may not manage roles, so nobody gets a level role: give my role the permission Manage Roles in Server \
                Settings, Roles.";
    plain("cannot-manage-roles".to_owned(), text.to_owned())
}

/// Discord refuses a role for a reason of its own.
pub(super) fn refused(level: LevelNumber, name: &str) -> Notice {
    plain(
        format!("refused-role:{level}"),
        format!(
            "Discord does not let me give or take the role {} of level {level}, although it stands below mine: see \
             whether the server demands two-factor authentication of moderators, which my owner's account then needs \
             too. The bot's log has Discord's words.",
            escape(name)
        ),
    )
}

/// The question whether so many members may lose roles.
pub(super) fn removals(Withheld { losing, members }: Withheld) -> Notice {
    Notice {
        key: "removals".to_owned(),
        text: format!(
            "{losing} of {members} members would lose level roles, which is more than usual, and a wrong database must not \
             strip a guild: nobody has lost any. If that is right, let it happen; else look at what the bot's database \
             holds."
        ),
        buttons: Some(row_for_moderators(&[(
            Wish::AllowRemovals { losing },
            "Let them lose the roles",
            Look::Dangerous,
        )])),
    }
}

fn level(trouble: &Trouble) -> Notice {
    const REACH: &str = "drag my role above it in Server Settings, Roles";
    match trouble {
        Trouble::Missing { level, name } => Notice {
            key: format!("missing-role:{level}"),
            text: format!(
                "The role {} of level {level} is missing from the guild. Create it again, and members get it back; or \
                 remove the level's name.",
                escape(name)
            ),
            buttons: Some(row_for_moderators(&[
                (
                    Wish::RestoreRole { level: *level },
                    "Create it again",
                    Look::Good,
                ),
                (
                    Wish::DropName { level: *level },
                    "Remove the level's name",
                    Look::Dangerous,
                ),
            ])),
        },
        Trouble::OutOfReach { level, name, .. } => plain(
            format!("out-of-reach:{level}"),
            format!(
                "The role {} of level {level} does not stand below my own, so I can neither give nor take it: {REACH}.",
                escape(name)
            ),
        ),
        Trouble::Managed { level, name, .. } => plain(
            format!("managed:{level}"),
            format!(
                "The role {} of level {level} belongs to an integration, which alone can give it: choose another with \
                 set_level_name.",
                escape(name)
            ),
        ),
        Trouble::Moderates { level, name, .. } => plain(
            format!("moderates:{level}"),
            format!(
                "The role {} of level {level} has moderation permissions, so nobody gets it by talking: take them off it, \
                 or choose another role with set_level_name.",
                escape(name)
            ),
        ),
        Trouble::BelongsTo {
            level, name, other, ..
        } => plain(
            format!("belongs-to-another:{level}"),
            format!(
                "The role {} cannot be that of level {level}, as it belongs to level {other}: choose another with \
                 set_level_name, or rename it.",
                escape(name)
            ),
        ),
        Trouble::GivesRights { level, name } => plain(
            format!("gives-rights:{level}"),
            format!(
                "Level {level} cannot carry the role {}, which gives rights to whoever holds it: choose another with \
                 set_level_name.",
                escape(name)
            ),
        ),
        Trouble::Several { level, name, count } => plain(
            format!("several:{level}"),
            format!(
                "There are {count} roles called {}, the name of level {level}: rename or delete all but one of them.",
                escape(name)
            ),
        ),
    }
}

fn plain(key: String, text: String) -> Notice {
    Notice {
        key,
        text,
        buttons: None,
    }
}
