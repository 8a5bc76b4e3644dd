//! Encodes what a button does in its custom id, so that it works across a restart of the bot.
//!
//! Pure. An id says what is requested and who may press it, but grants nothing: the caller's
//! rights and the current state are checked when the button is pressed.

use serenity::all::{self, CreateActionRow, CreateButton};

use super::button_labels;
use crate::leveling::{LevelNumber, RoleId, RoleRewards, ShownChannels, UserId};

/// Replaces the caller's id in the ids of buttons that every moderator may press.
const ANY_MODERATOR: &str = "any";

/// A button, as encoded in its custom id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Button {
    /// The only user who may press it; `None` if every moderator may, without a time limit.
    pub caller: Option<UserId>,
    /// What pressing it does.
    pub action: ButtonAction,
}

/// What pressing a button does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ButtonAction {
    /// Shows the next or the previous page.
    TurnPage {
        /// The list that the page belongs to.
        list: PagedList,
        /// The page that is shown now.
        from: usize,
        /// The direction to turn to.
        direction: Direction,
    },
    /// Deletes the message.
    Close,
    /// Makes an existing role the role of a level, after the moderator was shown what that means.
    TakeOverRole {
        /// The level that gets the role.
        level: LevelNumber,
        /// The existing role.
        role: RoleId,
        /// The channels that the role opens, if the moderator was shown any.
        channels: Option<ShownChannels>,
    },
    /// Links a level to an existing role that opens channels. In the council.
    LinkRole {
        /// The level that gets the role.
        level: LevelNumber,
        /// The existing role.
        role: RoleId,
        /// The channels that the moderators were shown.
        channels: ShownChannels,
    },
    /// Asks whether to delete a role.
    OfferRoleDeletion {
        /// The role in question.
        role: RoleId,
    },
    /// Deletes a role.
    DeleteRole {
        /// The role to delete.
        role: RoleId,
    },
    /// Changes nothing.
    KeepAsIs,
    /// Creates a level's role again that somebody deleted.
    RestoreRole {
        /// The level whose role was deleted.
        level: LevelNumber,
    },
    /// Removes the name of a level whose role is missing.
    RemoveLevelName {
        /// The level whose role is missing.
        level: LevelNumber,
    },
    /// Lets members lose level roles.
    AllowRemovals {
        /// The largest number of members that may lose level roles.
        losing: u64,
    },
    /// Removes the names of all levels.
    RemoveAllNames {
        /// The largest number of levels that may lose their names.
        levels: usize,
        /// The largest number of roles that may be deleted or kept.
        roles: usize,
        /// Whether the roles are deleted.
        delete: bool,
    },
    /// Makes level roles stack, or replace each other.
    ApplyRoleRewards {
        /// Which of the two.
        rewards: RoleRewards,
        /// The largest number of members that may lose level roles.
        losing: u64,
    },
    /// Drops every stored avatar and every bucket, and builds them up again.
    ResetProfiles,
}

/// A list with pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagedList {
    /// The members' ranking.
    Ranks,
    /// The levels and their roles.
    Levels,
    /// The rules on XP.
    XpRules,
}

/// The Discord button styles that the bot uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ButtonStyle {
    /// Grey.
    Secondary,
    /// Blue.
    Primary,
    /// Red, for buttons that remove something.
    Danger,
}

/// The direction to turn pages in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards the first page.
    Back,
    /// Towards the last page.
    Forward,
}

impl Button {
    /// Encodes the button as a custom id, which Discord limits to 100 characters.
    pub fn id(self) -> String {
        let action = match self.action {
            ButtonAction::TurnPage {
                list,
                from,
                direction,
            } => {
                let list = match list {
                    PagedList::Ranks => "ranks",
                    PagedList::Levels => "levels",
                    PagedList::XpRules => "rules",
                };
                let direction = match direction {
                    Direction::Back => "back",
                    Direction::Forward => "on",
                };
                format!("turn:{list}:{from}:{direction}")
            }
            ButtonAction::Close => "close".to_owned(),
            ButtonAction::TakeOverRole {
                level,
                role,
                channels,
            } => match channels {
                None => format!("take:{level}:{role}"),
                Some(ShownChannels(channels)) => format!("take:{level}:{role}:{channels}"),
            },
            ButtonAction::LinkRole {
                level,
                role,
                channels: ShownChannels(channels),
            } => format!("link:{level}:{role}:{channels}"),
            ButtonAction::OfferRoleDeletion { role } => format!("offer-delete:{role}"),
            ButtonAction::DeleteRole { role } => format!("delete:{role}"),
            ButtonAction::KeepAsIs => "leave".to_owned(),
            ButtonAction::RestoreRole { level } => format!("restore:{level}"),
            ButtonAction::RemoveLevelName { level } => format!("drop:{level}"),
            ButtonAction::AllowRemovals { losing } => format!("removals:{losing}"),
            ButtonAction::RemoveAllNames {
                levels,
                roles,
                delete,
            } => {
                let to = if delete { "delete" } else { "keep" };
                format!("names:{levels}:{roles}:{to}")
            }
            ButtonAction::ApplyRoleRewards { rewards, losing } => {
                format!("rewards:{}:{losing}", rewards.word())
            }
            ButtonAction::ResetProfiles => "reset-profiles".to_owned(),
        };
        match self.caller {
            Some(caller) => format!("{action}:{caller}"),
            None => format!("{action}:{ANY_MODERATOR}"),
        }
    }

    /// Decodes a custom id; `None` if the bot did not make it.
    pub fn parse(id: &str) -> Option<Self> {
        let role = |text: &str| number(text).and_then(RoleId::new);
        let parts: Vec<&str> = id.split(':').collect();
        let (caller, action) = parts.split_last()?;
        let action = match *action {
            ["turn", list, from, direction] => ButtonAction::TurnPage {
                list: match list {
                    "ranks" => PagedList::Ranks,
                    "levels" => PagedList::Levels,
                    "rules" => PagedList::XpRules,
                    _ => return None,
                },
                from: number(from)?.try_into().ok()?,
                direction: match direction {
                    "back" => Direction::Back,
                    "on" => Direction::Forward,
                    _ => return None,
                },
            },
            ["close"] => ButtonAction::Close,
            ["take", level, of] => ButtonAction::TakeOverRole {
                level: LevelNumber(number(level)?.try_into().ok()?),
                role: role(of)?,
                channels: None,
            },
            ["take", level, of, channels] => ButtonAction::TakeOverRole {
                level: LevelNumber(number(level)?.try_into().ok()?),
                role: role(of)?,
                channels: Some(ShownChannels(number(channels)?)),
            },
            ["link", level, of, channels] => ButtonAction::LinkRole {
                level: LevelNumber(number(level)?.try_into().ok()?),
                role: role(of)?,
                channels: ShownChannels(number(channels)?),
            },
            ["offer-delete", of] => ButtonAction::OfferRoleDeletion { role: role(of)? },
            ["delete", of] => ButtonAction::DeleteRole { role: role(of)? },
            ["leave"] => ButtonAction::KeepAsIs,
            ["restore", level] => ButtonAction::RestoreRole {
                level: LevelNumber(number(level)?.try_into().ok()?),
            },
            ["drop", level] => ButtonAction::RemoveLevelName {
                level: LevelNumber(number(level)?.try_into().ok()?),
            },
            ["removals", losing] => ButtonAction::AllowRemovals {
                losing: number(losing)?,
            },
            ["names", levels, roles, to] => ButtonAction::RemoveAllNames {
                levels: number(levels)?.try_into().ok()?,
                roles: number(roles)?.try_into().ok()?,
                delete: match to {
                    "delete" => true,
                    "keep" => false,
                    _ => return None,
                },
            },
            ["rewards", word, losing] => ButtonAction::ApplyRoleRewards {
                // Only the word as it is written, so that an id has one meaning and one form.
                rewards: RoleRewards::parse(word).filter(|rewards| rewards.word() == word)?,
                losing: number(losing)?,
            },
            ["reset-profiles"] => ButtonAction::ResetProfiles,
            _ => return None,
        };
        let caller = match *caller {
            ANY_MODERATOR => None,
            id => Some(number(id).and_then(UserId::new)?),
        };
        Some(Self { caller, action })
    }

    /// The button as serenity sends it.
    pub fn draw(self, label: &str, style: ButtonStyle) -> CreateButton {
        let style = match style {
            ButtonStyle::Secondary => all::ButtonStyle::Secondary,
            ButtonStyle::Primary => all::ButtonStyle::Primary,
            ButtonStyle::Danger => all::ButtonStyle::Danger,
        };
        CreateButton::new(self.id()).label(label).style(style)
    }
}

/// The buttons below a page: ⏪ (back), ⏩ (forward) and ✅ (close).
pub fn page_buttons(caller: UserId, list: PagedList, from: usize) -> CreateActionRow {
    let turn = |direction| ButtonAction::TurnPage {
        list,
        from,
        direction,
    };
    row(
        caller,
        &[
            (
                turn(Direction::Back),
                button_labels::BACK,
                ButtonStyle::Secondary,
            ),
            (
                turn(Direction::Forward),
                button_labels::FORWARD,
                ButtonStyle::Secondary,
            ),
            (
                ButtonAction::Close,
                button_labels::CLOSE,
                ButtonStyle::Secondary,
            ),
        ],
    )
}

/// A row of buttons that only `caller` may press.
pub fn row(caller: UserId, buttons: &[(ButtonAction, &str, ButtonStyle)]) -> CreateActionRow {
    button_row(Some(caller), buttons)
}

/// A row of buttons that every moderator may press.
pub fn row_for_moderators(buttons: &[(ButtonAction, &str, ButtonStyle)]) -> CreateActionRow {
    button_row(None, buttons)
}

fn button_row(
    caller: Option<UserId>,
    buttons: &[(ButtonAction, &str, ButtonStyle)],
) -> CreateActionRow {
    let draw = |&(action, label, style): &(ButtonAction, &str, ButtonStyle)| {
        Button { caller, action }.draw(label, style)
    };
    CreateActionRow::Buttons(buttons.iter().map(draw).collect())
}

/// The page to show next, out of `pages`; wraps around at both ends.
pub fn page_after(from: usize, direction: Direction, pages: usize) -> usize {
    match direction {
        Direction::Back if from <= 1 => pages,
        // There may be fewer pages by now.
        Direction::Back => (from - 1).min(pages),
        Direction::Forward if from >= pages => 1,
        Direction::Forward => from + 1,
    }
}

/// Parses digits only: `parse` would accept a sign as well.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pages_go_round() {
        for (from, to, pages, expected) in [
            (1, Direction::Forward, 3, 2),
            (3, Direction::Forward, 3, 1),
            (1, Direction::Back, 3, 3),
            (2, Direction::Back, 3, 1),
            (1, Direction::Forward, 1, 1),
            (1, Direction::Back, 1, 1),
            (9, Direction::Back, 3, 3),
            (9, Direction::Forward, 3, 1),
            (0, Direction::Back, 3, 3),
            (usize::MAX, Direction::Forward, 3, 1),
        ] {
            assert_eq!(
                page_after(from, to, pages),
                expected,
                "{from} {to:?} of {pages}"
            );
        }
    }

    #[test]
    fn what_is_not_ours_is_nothing() {
        for id in [
            "",
            ":",
            "close",
            "close:0",
            "close:+5",
            "close:5:6",
            "turn:ranks:1:5",
            "turn:x:1:on:5",
            "turn:ranks:-1:on:5",
            "take:99999:1:5",
            "take:5:0:5",
            "take:5:1:x:5",
            "link:5:1:5",
            "delete:5:18446744073709551615",
            "names:5:5:5",
            "names:5:-5:keep:5",
            "names:5:5:burn:5",
            "rewards:both:5:5",
            "rewards:Stack:5:5",
            "rewards:stack:-5:5",
        ] {
            assert_eq!(Button::parse(id), None, "{id:?}");
        }
    }

    fn actions() -> impl Strategy<Value = ButtonAction> {
        let role = || (1..=i64::MAX as u64).prop_map(|id| RoleId::new(id).unwrap());
        prop_oneof![
            (0..3_usize, any::<bool>(), any::<usize>()).prop_map(|(list, back, from)| {
                ButtonAction::TurnPage {
                    list: [PagedList::Ranks, PagedList::Levels, PagedList::XpRules][list],
                    from,
                    direction: if back {
                        Direction::Back
                    } else {
                        Direction::Forward
                    },
                }
            }),
            Just(ButtonAction::Close),
            Just(ButtonAction::KeepAsIs),
            (any::<u16>(), role(), any::<Option<u64>>()).prop_map(|(level, role, channels)| {
                ButtonAction::TakeOverRole {
                    level: LevelNumber(level),
                    role,
                    channels: channels.map(ShownChannels),
                }
            }),
            (any::<u16>(), role(), any::<u64>()).prop_map(|(level, role, channels)| {
                ButtonAction::LinkRole {
                    level: LevelNumber(level),
                    role,
                    channels: ShownChannels(channels),
                }
            }),
            role().prop_map(|role| ButtonAction::OfferRoleDeletion { role }),
            role().prop_map(|role| ButtonAction::DeleteRole { role }),
            any::<u16>().prop_map(|level| ButtonAction::RestoreRole {
                level: LevelNumber(level),
            }),
            any::<u16>().prop_map(|level| ButtonAction::RemoveLevelName {
                level: LevelNumber(level),
            }),
            any::<u64>().prop_map(|losing| ButtonAction::AllowRemovals { losing }),
            (any::<bool>(), any::<u64>()).prop_map(|(stack, losing)| {
                ButtonAction::ApplyRoleRewards {
                    rewards: if stack {
                        RoleRewards::Stack
                    } else {
                        RoleRewards::Replace
                    },
                    losing,
                }
            }),
            (0..101_usize, 0..250_usize, any::<bool>()).prop_map(|(levels, roles, delete)| {
                ButtonAction::RemoveAllNames {
                    levels,
                    roles,
                    delete,
                }
            }),
        ]
    }

    proptest! {
        #[test]
        fn an_id_says_what_the_button_means(action in actions(), caller in 0..=i64::MAX as u64) {
            let button = Button { caller: UserId::new(caller), action };
            prop_assert!(button.id().len() <= 100);
            prop_assert_eq!(Button::parse(&button.id()), Some(button));
        }

        #[test]
        fn no_id_breaks_the_reader(id in "\\PC{0,100}|(turn|take|delete|close|rewards)(:[a-z0-9]{0,22}){0,5}") {
            if let Some(button) = Button::parse(&id) {
                prop_assert_eq!(Button::parse(&button.id()), Some(button));
            }
        }
    }
}
