//! What a button does, written into its id: so it works across a restart of the bot.
//!
//! Pure. An id says what is wanted and by whom, never that they may: their rights, and whether
//! what the id speaks of is still so, are checked when the button is pressed.

use serenity::all::{self, CreateActionRow, CreateButton};

use crate::leveling::discord_time::TOLERANCE_MS;
use crate::leveling::{LevelNumber, MessageId, RoleId, Timestamp, UserId};

/// Stands for the caller in the ids of buttons for every moderator.
const ANYBODY: &str = "any";
/// How long buttons work, by the time in Discord's ids.
const WORK_MS: i64 = 15 * 60_000;
/// How long before that they are removed from an answer to an interaction, whose token works for 15
/// minutes as well.
const AHEAD_MS: i64 = 60_000;

/// A button, as its id says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Button {
    /// Who may press it; `None` for every moderator, as long as the message is there.
    pub caller: Option<UserId>,
    /// What pressing it does.
    pub action: ButtonAction,
}

/// What pressing a button does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ButtonAction {
    /// Shows the next or the previous page.
    TurnPage {
        /// Of which list.
        list: PagedList,
        /// The page that is shown now.
        from: usize,
        /// Which way.
        direction: Direction,
    },
    /// Deletes the message.
    Close,
    /// Makes a role that members hold already the role of a level.
    TakeOverRole {
        /// The level that gets it.
        level: LevelNumber,
        /// The role.
        role: RoleId,
    },
    /// Asks whether to delete a role.
    OfferRoleDeletion {
        /// The role.
        role: RoleId,
    },
    /// Deletes a role.
    DeleteRole {
        /// The role.
        role: RoleId,
    },
    /// Changes nothing.
    KeepAsIs,
    /// Creates a level's role again that somebody deleted.
    RestoreRole {
        /// Its level.
        level: LevelNumber,
    },
    /// Removes the name of a level whose role is missing.
    RemoveLevelName {
        /// The level.
        level: LevelNumber,
    },
    /// Lets members lose level roles.
    AllowRemovals {
        /// At most so many members.
        losing: u64,
    },
    /// Removes the names of all levels.
    RemoveAllNames {
        /// At most so many levels.
        levels: usize,
        /// At most so many roles are deleted, or stay.
        roles: usize,
        /// Whether the roles are deleted.
        delete: bool,
    },
    /// Drops every stored avatar and every bucket, and builds them up again.
    ResetProfiles,
}

/// What has pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagedList {
    /// The board.
    Ranks,
    /// Levels and their roles.
    Levels,
}

/// Discord's styles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ButtonStyle {
    /// Grey.
    Secondary,
    /// Blue.
    Primary,
    /// Red: it takes something away.
    Danger,
}

/// Which page comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards the first page.
    Back,
    /// Towards the last.
    Forward,
}

impl Button {
    /// The custom id, which Discord limits to 100 characters.
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
                };
                let direction = match direction {
                    Direction::Back => "back",
                    Direction::Forward => "on",
                };
                format!("turn:{list}:{from}:{direction}")
            }
            ButtonAction::Close => "close".to_owned(),
            ButtonAction::TakeOverRole { level, role } => format!("take:{level}:{role}"),
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
            ButtonAction::ResetProfiles => "reset-profiles".to_owned(),
        };
        match self.caller {
            Some(caller) => format!("{action}:{caller}"),
            None => format!("{action}:{ANYBODY}"),
        }
    }

    /// `None` if the id is not one of ours.
    pub fn parse(id: &str) -> Option<Self> {
        let role = |text: &str| number(text).and_then(RoleId::new);
        let parts: Vec<&str> = id.split(':').collect();
        let (caller, action) = parts.split_last()?;
        let action = match *action {
            ["turn", list, from, direction] => ButtonAction::TurnPage {
                list: match list {
                    "ranks" => PagedList::Ranks,
                    "levels" => PagedList::Levels,
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
            ["reset-profiles"] => ButtonAction::ResetProfiles,
            _ => return None,
        };
        let caller = match *caller {
            ANYBODY => None,
            id => Some(number(id).and_then(UserId::new)?),
        };
        Some(Self { caller, action })
    }

    /// As serenity sends it.
    pub fn draw(self, label: &str, style: ButtonStyle) -> CreateButton {
        let style = match style {
            ButtonStyle::Secondary => all::ButtonStyle::Secondary,
            ButtonStyle::Primary => all::ButtonStyle::Primary,
            ButtonStyle::Danger => all::ButtonStyle::Danger,
        };
        CreateButton::new(self.id()).label(label).style(style)
    }
}

/// ⏪ ⏩ ✅ below a page.
pub fn page_buttons(caller: UserId, list: PagedList, from: usize) -> CreateActionRow {
    let turn = |direction| ButtonAction::TurnPage {
        list,
        from,
        direction,
    };
    row(
        caller,
        &[
            (turn(Direction::Back), "⏪", ButtonStyle::Secondary),
            (turn(Direction::Forward), "⏩", ButtonStyle::Secondary),
            (ButtonAction::Close, "✅", ButtonStyle::Secondary),
        ],
    )
}

/// One person's buttons, side by side.
pub fn row(caller: UserId, buttons: &[(ButtonAction, &str, ButtonStyle)]) -> CreateActionRow {
    side_by_side(Some(caller), buttons)
}

/// Buttons for every moderator.
pub fn row_for_moderators(buttons: &[(ButtonAction, &str, ButtonStyle)]) -> CreateActionRow {
    side_by_side(None, buttons)
}

fn side_by_side(
    caller: Option<UserId>,
    buttons: &[(ButtonAction, &str, ButtonStyle)],
) -> CreateActionRow {
    let draw = |&(action, label, style): &(ButtonAction, &str, ButtonStyle)| {
        Button { caller, action }.draw(label, style)
    };
    CreateActionRow::Buttons(buttons.iter().map(draw).collect())
}

/// The page to show next, of `pages` there are now: the first follows the last.
pub fn page_after(from: usize, direction: Direction, pages: usize) -> usize {
    match direction {
        Direction::Back if from <= 1 => pages,
        // There may be fewer pages by now.
        Direction::Back => (from - 1).min(pages),
        Direction::Forward if from >= pages => 1,
        Direction::Forward => from + 1,
    }
}

/// Whether the buttons of `message` still work when they are pressed in the interaction `press`, by
/// the time in both ids.
pub fn still_work(message: MessageId, press: MessageId) -> bool {
    let (posted, pressed) = (message.sent_at().millis(), press.sent_at().millis());
    // A message that is newer than the press has a wrong id, or the press has.
    posted - pressed <= TOLERANCE_MS && press.sent_at() < close_at(message)
}

/// When the buttons of `message` stop working.
pub fn close_at(message: MessageId) -> Timestamp {
    let at = message.sent_at().millis() + WORK_MS;
    Timestamp::from_millis(at).expect("after 2015")
}

/// When the buttons of `message`, which answers an interaction, are to be removed.
pub fn close_by_token_at(message: MessageId) -> Timestamp {
    let at = close_at(message).millis() - AHEAD_MS;
    Timestamp::from_millis(at).expect("after 2015")
}

/// Digits alone: `parse` would take a sign too.
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
    fn buttons_work_for_a_quarter_of_an_hour() {
        let at = |ms| MessageId::first_at(Timestamp::from_millis(1_700_000_000_000 + ms).unwrap());
        let message = at(0).unwrap();
        for (ms, work) in [
            (0, true),
            (WORK_MS - 1, true),
            (WORK_MS, false),
            (86_400_000, false),
            (-TOLERANCE_MS, true),
            (-86_400_000, false),
        ] {
            assert_eq!(still_work(message, at(ms).unwrap()), work, "{ms}");
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
            "delete:5:18446744073709551615",
            "names:5:5:5",
            "names:5:-5:keep:5",
            "names:5:5:burn:5",
        ] {
            assert_eq!(Button::parse(id), None, "{id:?}");
        }
    }

    fn actions() -> impl Strategy<Value = ButtonAction> {
        let role = || (1..=i64::MAX as u64).prop_map(|id| RoleId::new(id).unwrap());
        prop_oneof![
            (any::<bool>(), any::<bool>(), any::<usize>()).prop_map(|(ranks, back, from)| {
                ButtonAction::TurnPage {
                    list: if ranks {
                        PagedList::Ranks
                    } else {
                        PagedList::Levels
                    },
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
            (any::<u16>(), role()).prop_map(|(level, role)| ButtonAction::TakeOverRole {
                level: LevelNumber(level),
                role,
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
        fn no_id_breaks_the_reader(id in "\\PC{0,100}|(turn|take|delete|close)(:[a-z0-9]{0,22}){0,5}") {
            if let Some(button) = Button::parse(&id) {
                prop_assert_eq!(Button::parse(&button.id()), Some(button));
            }
        }
    }
}
