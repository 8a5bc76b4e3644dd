//! What the council reads of level roles: a sentence on what is wrong, what to do, and the
//! buttons that do it.
//!
//! Only words; whether something is wrong is decided by `leveling`.

use crate::discord::buttons::{Look, Wish, row_for_moderators};
use crate::discord::codes::TWO_FACTOR_REQUIRED;
use crate::discord::council::Notice;
use crate::leveling::level_roles::Trouble;
use crate::leveling::{Grouped, LevelNumber, escape};

/// Roles that members keep until a moderator says that they may lose them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Withheld {
    /// How many members would lose roles.
    pub losing: u64,
    /// Of how many.
    pub members: u64,
}

/// Keys of the problems for which the bot can neither give nor take a role.
const CANNOT_MANAGE: &str = "cannot-manage-roles";
const OUT_OF_REACH: &str = "out-of-reach";
const MANAGED: &str = "managed:";
/// Named in one notice at most; of more only the number is said.
const MOST_NAMED: usize = 10;

/// What a person must see to. Roles that are out of reach for one reason are one problem.
pub(super) fn levels(troubles: &[Trouble]) -> Vec<Notice> {
    let beyond: Vec<_> = troubles
        .iter()
        .filter_map(|trouble| match trouble {
            Trouble::OutOfReach { level, name, .. } => Some((*level, name.as_str())),
            _ => None,
        })
        .collect();
    let mut notices: Vec<Notice> = troubles.iter().filter_map(level).collect();
    notices.extend(out_of_reach(&beyond));
    notices
}

/// Roles that do not stand below the bot's own, with their levels.
fn out_of_reach(roles: &[(LevelNumber, &str)]) -> Option<Notice> {
    let (are, them) = match roles {
        [] => return None,
        [_] => ("is", "it"),
        _ => ("are", "them"),
    };
    let text = format!(
        "{} {are} not below my own role, so I cannot give or take {them}. Drag my role above {them} in Server \
         Settings, Roles.",
        capitalised(&named(roles))
    );
    Some(plain(OUT_OF_REACH.to_owned(), text))
}

/// "the role One of level 1", or "the roles One of level 1 and Five of level 5".
fn named(roles: &[(LevelNumber, &str)]) -> String {
    let name = |(level, name): &(LevelNumber, &str)| format!("{} of level {level}", escape(name));
    let mut names: Vec<String> = roles.iter().take(MOST_NAMED).map(name).collect();
    if roles.len() > MOST_NAMED {
        names.push(format!("{} more", roles.len() - MOST_NAMED));
    }
    let last = names.pop().unwrap_or_default();
    if names.is_empty() {
        format!("the role {last}")
    } else {
        format!("the roles {} and {last}", names.join(", "))
    }
}

fn capitalised(sentence: &str) -> String {
    sentence.replacen("the", "The", 1)
}

/// Of these problems, those for which the bot can neither give nor take a role.
pub(super) fn why_out_of_reach(notices: &[Notice]) -> Vec<String> {
    let is_why = |notice: &&Notice| {
        let key = notice.key.as_str();
        [CANNOT_MANAGE, OUT_OF_REACH].contains(&key) || key.starts_with(MANAGED)
    };
    let why = notices.iter().filter(is_why);
    why.map(|notice| notice.text.clone()).collect()
}

/// The bot may make no roles.
pub(super) fn cannot_make() -> Notice {
    let text = "I cannot create the missing level roles. Give my role the Manage Roles permission, and make sure \
                that the guild has fewer than 250 roles.";
    plain("cannot-make-roles".to_owned(), text.to_owned())
}

/// The bot may neither give nor take any.
pub(super) fn cannot_manage() -> Notice {
    let text = "I don't have permission to manage roles, so nobody gets a level role. Give my role the Manage Roles \
                permission in Server Settings, Roles.";
    plain(CANNOT_MANAGE.to_owned(), text.to_owned())
}

/// Roles that Discord refuses for a reason that does not show in the guild's roles, with their
/// levels and Discord's error codes.
pub(super) fn refused(roles: &[(LevelNumber, &str, isize)]) -> Vec<Notice> {
    let with = |two_factor: bool| -> Vec<(LevelNumber, &str)> {
        let roles = roles
            .iter()
            .filter(|(.., code)| (*code == TWO_FACTOR_REQUIRED) == two_factor);
        roles.map(|(level, name, _)| (*level, *name)).collect()
    };
    let mut notices = Vec::new();
    let (two_factor, unexplained) = (with(true), with(false));
    if !two_factor.is_empty() {
        let text = format!(
            "Discord does not let me give or take {}: the server requires two-factor authentication for moderators, \
             and the account that owns me does not use it. Turn it on in that account's settings, then run \
             `verify_roles`.",
            named(&two_factor)
        );
        notices.push(plain("refused-roles:two-factor".to_owned(), text));
    }
    if !unexplained.is_empty() {
        let stand = if unexplained.len() == 1 {
            "it stands"
        } else {
            "they stand"
        };
        let text = format!(
            "Discord does not let me give or take {}, although {stand} below mine. The bot's log has Discord's \
             answer. When that is fixed, run `verify_roles`.",
            named(&unexplained)
        );
        notices.push(plain("refused-roles".to_owned(), text));
    }
    notices
}

/// The question whether so many members may lose roles.
pub(super) fn removals(Withheld { losing, members }: Withheld) -> Notice {
    Notice {
        key: "removals".to_owned(),
        text: format!(
            "{} of {} members would lose level roles. That is more than usual and could mean a wrong database, so I \
             have not taken any. If it is right, press the button; if not, check the bot's database.",
            Grouped(losing),
            Grouped(members)
        ),
        buttons: Some(row_for_moderators(&[(
            Wish::AllowRemovals { losing },
            "Let them lose the roles",
            Look::Dangerous,
        )])),
    }
}

fn level(trouble: &Trouble) -> Option<Notice> {
    Some(match trouble {
        Trouble::Missing { level, name } => Notice {
            key: format!("missing-role:{level}"),
            text: format!(
                "The role {} of level {level} is missing from the guild. Create it again to give it back to its \
                 members, or remove the level's name.",
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
        Trouble::OutOfReach { .. } => return None,
        Trouble::Managed { level, name, .. } => plain(
            format!("{MANAGED}{level}"),
            format!(
                "The role {} of level {level} belongs to an integration, and only that can give it. Choose another \
                 with `set_level_name`.",
                escape(name)
            ),
        ),
        Trouble::Moderates { level, name, .. } => plain(
            format!("moderates:{level}"),
            format!(
                "The role {} of level {level} has moderation permissions, so nobody gets it by talking. Remove \
                 those permissions, or choose another role with `set_level_name`.",
                escape(name)
            ),
        ),
        Trouble::BelongsTo {
            level, name, other, ..
        } => plain(
            format!("belongs-to-another:{level}"),
            format!(
                "The role {} cannot be the role of level {level}, because it belongs to level {other}. Choose \
                 another with `set_level_name`, or rename it.",
                escape(name)
            ),
        ),
        Trouble::GivesRights { level, name } => plain(
            format!("gives-rights:{level}"),
            format!(
                "Level {level} cannot carry the role {}, which gives its members rights over the bot. Choose \
                 another with `set_level_name`.",
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
    })
}

fn plain(key: String, text: String) -> Notice {
    Notice {
        key,
        text,
        buttons: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discord::codes::MISSING_PERMISSIONS;
    use crate::leveling::RoleId;

    fn beyond(level: u16) -> Trouble {
        Trouble::OutOfReach {
            level: LevelNumber(level),
            role: RoleId::new(u64::from(level) + 1).unwrap(),
            name: format!("*{level}*"),
        }
    }

    #[test]
    fn roles_out_of_reach_for_one_reason_are_one_notice() {
        for (count, words) in [
            (1, "The role \\*0\\* of level 0 is not below"),
            (
                2,
                "The roles \\*0\\* of level 0 and \\*1\\* of level 1 are not below",
            ),
            (12, "\\*9\\* of level 9 and 2 more are not below"),
        ] {
            let troubles: Vec<_> = (0..count).map(beyond).collect();
            let notices = levels(&troubles);
            assert_eq!(notices.len(), 1);
            assert!(notices[0].text.contains(words), "{}", notices[0].text);
        }
        assert!(levels(&[]).is_empty());
    }

    #[test]
    fn refused_roles_are_one_notice_for_each_reason() {
        let level = LevelNumber;
        let refused = refused(&[
            (level(1), "One", TWO_FACTOR_REQUIRED),
            (level(2), "Two", MISSING_PERMISSIONS),
            (level(5), "Five", TWO_FACTOR_REQUIRED),
        ]);
        let texts: Vec<_> = refused.iter().map(|notice| notice.text.as_str()).collect();
        assert!(texts[0].contains("the roles One of level 1 and Five of level 5: the server"));
        assert!(texts[1].contains("the role Two of level 2, although it stands below"));
        assert_eq!(texts.len(), 2);
    }
}
