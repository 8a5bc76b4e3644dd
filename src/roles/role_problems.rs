//! The texts about problems with roles, for the council, for answers to commands, and for the
//! terminal.
//!
//! This module only writes texts. `leveling` decides whether something is wrong.

use crate::discord::channels::council::Notice;
use crate::discord::messages::button_labels;
use crate::discord::messages::buttons::{ButtonAction, ButtonStyle, row_for_moderators};
use crate::discord::rest::error_codes::TWO_FACTOR_REQUIRED;
use crate::leveling::level_roles::Trouble;
use crate::leveling::{
    CannotDelete, Grouped, LevelNumber, NamedChannel, NamingRefusal, Quoted, RoleInChannels,
    RoleStays, escape,
};

/// Why a level cannot carry a role, or why the bot cannot change the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoleProblem<'a> {
    Missing,
    OutOfReach,
    Managed,
    /// In these channels; in the whole guild if there are none.
    Moderates(&'a [NamedChannel]),
    /// A moderator has to agree first.
    OpensChannels(&'a RoleInChannels),
    GivesRights,
    /// Several roles have the name; with their number.
    Several(usize),
    BelongsTo(LevelNumber),
}

/// Roles that members keep until a moderator confirms their removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Withheld {
    /// How many members would lose roles.
    pub losing: u64,
    /// How many members the guild has.
    pub members: u64,
}

/// Keys of the problems for which the bot can neither give nor take a role.
const CANNOT_MANAGE: &str = "cannot-manage-roles";
const OUT_OF_REACH: &str = "out-of-reach";
const MANAGED: &str = "managed:";
/// Maximum number of roles that one notice names. It only counts the others.
const MAX_NAMED: usize = 10;

impl RoleProblem<'_> {
    /// What is wrong and what to do, for a moderator who wants a level to carry the role.
    pub fn sentences(self, role: &str) -> String {
        match self {
            // The moderator only needs to know which level the role belongs to.
            Self::BelongsTo(_) => self.fact(role),
            _ => self.fact_and_remedy(role),
        }
    }

    fn fact_and_remedy(self, role: &str) -> String {
        let fact = self.fact(role);
        let remedy = match self {
            Self::Missing => {
                "Create it again to give it back to its members, or remove the level's name."
            }
            Self::OutOfReach => DRAG_MY_ROLE,
            Self::Managed | Self::GivesRights => "Choose another role with `set_level_name`.",
            Self::BelongsTo(_) => "Choose another role with `set_level_name`, or rename it.",
            Self::OpensChannels(_) => {
                "Press the button to use it anyway, or choose another role with `set_level_name`."
            }
            Self::Moderates(_) => {
                "Remove those permissions, or choose another role with `set_level_name`."
            }
            Self::Several(_) => "Rename or delete all but one of them.",
        };
        format!("{fact} {remedy}")
    }

    fn fact(self, role: &str) -> String {
        let what = self.predicate(escape);
        let consequence = match self {
            Self::OutOfReach | Self::Managed => ", so I can't manage it",
            Self::Moderates(_) | Self::GivesRights => ", so it can't be earned by talking",
            Self::OpensChannels(_) => ", so I don't use it before a moderator agrees",
            Self::Missing | Self::Several(_) | Self::BelongsTo(_) => "",
        };
        format!("{role} {what}{consequence}.")
    }

    /// What is wrong, as a predicate that follows the role's name. `quote` makes a channel's name
    /// harmless where the text is shown.
    fn predicate(self, quote: impl Fn(&str) -> String) -> String {
        match self {
            Self::Missing => "is missing from the guild".to_owned(),
            Self::OutOfReach => "is not below my own role".to_owned(),
            Self::Managed => "belongs to an integration".to_owned(),
            Self::Moderates([]) => "has moderation permissions".to_owned(),
            Self::Moderates(channels) => {
                format!(
                    "has moderation permissions in {}",
                    channel_list(channels, quote)
                )
            }
            Self::OpensChannels(channels) => opens(channels, quote),
            Self::GivesRights => "gives its members rights over the bot".to_owned(),
            Self::Several(count) => format!("is one of {count} roles with that name"),
            Self::BelongsTo(other) => format!("already belongs to level {other}"),
        }
    }
}

const DRAG_MY_ROLE: &str = "Drag my role above it in Server Settings, Roles.";

impl<'a> From<&NamingRefusal<'a>> for RoleProblem<'a> {
    fn from(refusal: &NamingRefusal<'a>) -> Self {
        match *refusal {
            NamingRefusal::BelongsTo(other) => Self::BelongsTo(other),
            NamingRefusal::GivesRights => Self::GivesRights,
            NamingRefusal::Several(count) => Self::Several(count),
            NamingRefusal::Managed(_) => Self::Managed,
            NamingRefusal::OutOfReach(_) => Self::OutOfReach,
            NamingRefusal::Moderates(role) => Self::Moderates(role.moderated_channels()),
        }
    }
}

/// The level, the role's name and the problem.
fn parts(trouble: &Trouble) -> (LevelNumber, &str, RoleProblem<'_>) {
    let (level, name, problem) = match trouble {
        Trouble::Missing { level, name } => (level, name, RoleProblem::Missing),
        Trouble::OutOfReach { level, name, .. } => (level, name, RoleProblem::OutOfReach),
        Trouble::Managed { level, name, .. } => (level, name, RoleProblem::Managed),
        Trouble::Moderates {
            level,
            name,
            channels,
            ..
        } => (level, name, RoleProblem::Moderates(channels)),
        Trouble::OpensChannels {
            level,
            name,
            channels,
            ..
        } => (level, name, RoleProblem::OpensChannels(channels)),
        Trouble::GivesRights { level, name } => (level, name, RoleProblem::GivesRights),
        Trouble::Several { level, name, count } => (level, name, RoleProblem::Several(*count)),
        Trouble::BelongsTo {
            level, name, other, ..
        } => (level, name, RoleProblem::BelongsTo(*other)),
    };
    (*level, name, problem)
}

/// The problem as a clause for the terminal, without the remedy.
pub(super) fn clause(trouble: &Trouble) -> String {
    let (level, name, problem) = parts(trouble);
    let (name, what) = (
        Quoted(name),
        problem.predicate(|name| Quoted(name).to_string()),
    );
    format!("the role {name} of level {level} {what}")
}

/// Why a role is not deleted, as a clause about "it".
pub(crate) fn why_it_stays(stays: &RoleStays<'_>) -> String {
    match stays {
        RoleStays::CarriedBy(level) => format!("level {level} carries it again"),
        RoleStays::GivesRights => format!(
            "it {}; delete it in Discord if you want it gone",
            RoleProblem::GivesRights.predicate(escape)
        ),
        RoleStays::NotTheirs(CannotDelete::NotBelowTheirs) => {
            "it is not below your own highest role".to_owned()
        }
        RoleStays::NotTheirs(CannotDelete::LacksManageRoles) => {
            "you need the permission Manage Roles to delete it".to_owned()
        }
        RoleStays::OutOfHand(refusal) => {
            format!("it {}", RoleProblem::from(refusal).predicate(escape))
        }
    }
}

/// The notices for the council. All roles that are out of reach share one notice.
pub(super) fn notices(troubles: &[Trouble]) -> Vec<Notice> {
    let (beyond, others): (Vec<_>, Vec<_>) = troubles
        .iter()
        .partition(|trouble| matches!(trouble, Trouble::OutOfReach { .. }));
    let beyond: Vec<_> = beyond
        .into_iter()
        .map(parts)
        .map(|(level, name, _)| (level, name))
        .collect();
    let others = others.into_iter().map(|trouble| {
        let (level, name, problem) = parts(trouble);
        let role = format!("The role {} of level {level}", escape(name));
        Notice {
            key: key(level, problem),
            text: problem.fact_and_remedy(&role),
            buttons: buttons(trouble).map(|buttons| row_for_moderators(&buttons)),
        }
    });
    others.chain(out_of_reach(&beyond)).collect()
}

/// The buttons that solve a problem.
fn buttons(trouble: &Trouble) -> Option<Vec<(ButtonAction, &'static str, ButtonStyle)>> {
    match *trouble {
        Trouble::Missing { level, .. } => {
            let create = ButtonAction::RestoreRole { level };
            let remove = ButtonAction::RemoveLevelName { level };
            Some(vec![
                (create, button_labels::CREATE_AGAIN, ButtonStyle::Primary),
                (remove, button_labels::REMOVE_NAME, ButtonStyle::Danger),
            ])
        }
        Trouble::OpensChannels {
            level,
            role,
            ref channels,
            ..
        } => {
            let channels = channels.needs_consent()?;
            let link = ButtonAction::LinkRole {
                level,
                role,
                channels,
            };
            Some(vec![(link, button_labels::USE_ANYWAY, ButtonStyle::Danger)])
        }
        _ => None,
    }
}

/// That a role opens channels, as a predicate that follows the role's name.
pub(crate) fn opens(channels: &RoleInChannels, quote: impl Fn(&str) -> String) -> String {
    let RoleInChannels { opens, unread, .. } = channels;
    let open = || {
        format!(
            "opens {}, which other members can't see",
            channel_list(opens, &quote)
        )
    };
    let may_open = || {
        let list = channel_list(unread, &quote);
        format!("may open {list}, whose permissions I can't read")
    };
    match (&opens[..], &unread[..]) {
        (_, []) => open(),
        ([], _) => may_open(),
        _ => format!("{}, and {}", open(), may_open()),
    }
}

/// "#general", or "#general, #random and 2 more".
fn channel_list(channels: &[NamedChannel], quote: impl Fn(&str) -> String) -> String {
    let shown = channels.iter().take(MAX_NAMED);
    let mut names: Vec<String> = shown
        .map(|channel| format!("#{}", quote(&channel.name)))
        .collect();
    if channels.len() > MAX_NAMED {
        names.push(format!("{} more", channels.len() - MAX_NAMED));
    }
    let last = names.pop().unwrap_or_default();
    if names.is_empty() {
        last
    } else {
        format!("{} and {last}", names.join(", "))
    }
}

/// The key of a problem. The council's channel identifies problems by their keys, so a key must
/// never change.
fn key(level: LevelNumber, problem: RoleProblem<'_>) -> String {
    match problem {
        RoleProblem::Missing => format!("missing-role:{level}"),
        RoleProblem::OutOfReach => OUT_OF_REACH.to_owned(),
        RoleProblem::Managed => format!("{MANAGED}{level}"),
        RoleProblem::Moderates(_) => format!("moderates:{level}"),
        RoleProblem::OpensChannels(_) => format!("opens-channels:{level}"),
        RoleProblem::GivesRights => format!("gives-rights:{level}"),
        RoleProblem::Several(_) => format!("several:{level}"),
        RoleProblem::BelongsTo(_) => format!("belongs-to-another:{level}"),
    }
}

fn out_of_reach(roles: &[(LevelNumber, &str)]) -> Option<Notice> {
    let text = match roles {
        [] => return None,
        [_] => RoleProblem::OutOfReach.fact_and_remedy(&capitalised(&named(roles))),
        _ => format!(
            "{} are not below my own role, so I can't manage them. Drag my role above them in Server Settings, Roles.",
            capitalised(&named(roles))
        ),
    };
    Some(plain(OUT_OF_REACH.to_owned(), text))
}

/// "the role One of level 1", or "the roles One of level 1 and Five of level 5".
fn named(roles: &[(LevelNumber, &str)]) -> String {
    let name = |(level, name): &(LevelNumber, &str)| format!("{} of level {level}", escape(name));
    let mut names: Vec<String> = roles.iter().take(MAX_NAMED).map(name).collect();
    if roles.len() > MAX_NAMED {
        names.push(format!("{} more", roles.len() - MAX_NAMED));
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

/// The texts of those notices that explain why the bot can neither give nor take a role.
pub(super) fn why_out_of_reach(notices: &[Notice]) -> Vec<String> {
    let is_why = |notice: &&Notice| {
        let key = notice.key.as_str();
        [CANNOT_MANAGE, OUT_OF_REACH].contains(&key) || key.starts_with(MANAGED)
    };
    let why = notices.iter().filter(is_why);
    why.map(|notice| notice.text.clone()).collect()
}

/// The bot cannot create roles.
pub(super) fn cannot_create_roles() -> Notice {
    let text = "I cannot create the missing level roles. Give my role the Manage Roles permission, and make sure \
                that the guild has fewer than 250 roles.";
    plain("cannot-make-roles".to_owned(), text.to_owned())
}

/// The bot lacks the Manage Roles permission.
pub(super) fn cannot_manage_roles() -> Notice {
    let text = format!(
        "I don't have permission to manage roles, so nobody gets a level role. {GIVE_MANAGE_ROLES}"
    );
    plain(CANNOT_MANAGE.to_owned(), text)
}

/// Roles that Discord refuses to give or take although the guild's roles show no reason, with
/// Discord's error codes.
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

/// The notice that asks a moderator whether this many members may lose roles.
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
            ButtonAction::AllowRemovals { losing },
            button_labels::ALLOW_REMOVALS,
            ButtonStyle::Danger,
        )])),
    }
}

/// The answer to a command that changes a role, if the bot lacks the Manage Roles permission.
pub(crate) fn no_permission() -> String {
    format!("I don't have permission to manage roles. {GIVE_MANAGE_ROLES}")
}

const GIVE_MANAGE_ROLES: &str =
    "Give my role the Manage Roles permission in Server Settings, Roles.";

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
    use crate::discord::rest::error_codes::MISSING_PERMISSIONS;
    use crate::leveling::{ChannelId, RoleId};

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
            let notices = super::notices(&troubles);
            assert_eq!(notices.len(), 1);
            assert!(notices[0].text.contains(words), "{}", notices[0].text);
        }
        assert!(super::notices(&[]).is_empty());
    }

    #[test]
    fn channels_are_named_up_to_a_limit_and_their_names_are_harmless() {
        let channels = |count: u64| -> Vec<NamedChannel> {
            let named = |id| NamedChannel {
                id: ChannelId::new(id).unwrap(),
                name: format!("*{id}*"),
            };
            (1..=count).map(named).collect()
        };
        for (opens, unread, words) in [
            (
                1,
                0,
                "opens #\\*1\\*, which other members can't see, so I don't use it",
            ),
            (2, 0, "opens #\\*1\\* and #\\*2\\*, which"),
            (12, 0, "#\\*10\\* and 2 more, which"),
            (
                0,
                1,
                "may open #\\*1\\*, whose permissions I can't read, so",
            ),
            (
                1,
                1,
                "opens #\\*1\\*, which other members can't see, and may open #\\*1\\*, whose",
            ),
        ] {
            let trouble = Trouble::OpensChannels {
                level: LevelNumber(5),
                role: RoleId::new(7).unwrap(),
                name: "*Five*".to_owned(),
                channels: RoleInChannels {
                    opens: channels(opens),
                    unread: channels(unread),
                    ..RoleInChannels::default()
                },
            };
            let notice = &super::notices(std::slice::from_ref(&trouble))[0];
            assert!(notice.text.starts_with("The role \\*Five\\* of level 5 "));
            assert!(notice.text.contains(words), "{}", notice.text);
            assert!(notice.buttons.is_some());
            assert!(
                clause(&trouble).contains("#\"*1*\""),
                "{}",
                clause(&trouble)
            );
        }
        let trouble = Trouble::Moderates {
            level: LevelNumber(5),
            role: RoleId::new(7).unwrap(),
            name: "Five".to_owned(),
            channels: channels(2),
        };
        let notice = &super::notices(&[trouble])[0];
        let words = "has moderation permissions in #\\*1\\* and #\\*2\\*, so it can't be earned";
        assert!(notice.text.contains(words), "{}", notice.text);
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
