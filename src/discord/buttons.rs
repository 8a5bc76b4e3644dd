//! What a button means, written into its id: it works across a restart of the bot.
//!
//! Pure. An id says what is wanted and by whom, never that they may: rights, and whether
//! what it speaks of is still so, are looked at when it is pressed.

use serenity::all::{ButtonStyle, CreateActionRow, CreateButton};

use crate::leveling::discord_time::TOLERANCE_MS;
use crate::leveling::{LevelNumber, MessageId, RoleId, Timestamp, UserId};

/// In the place of whoever may press.
const ANYBODY: &str = "any";
/// How long buttons work, by the time that is written in Discord's ids.
const WORK_MS: i64 = 15 * 60_000;
/// How long before the end buttons are taken off an answer to an interaction: its token, with
/// which that can be done in any channel, is good for 15 minutes as well.
const AHEAD_MS: i64 = 60_000;

/// A button, as its id says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Button {
    /// Who may press it; `None` for every moderator, as long as the message is there.
    pub caller: Option<UserId>,
    /// What pressing it asks for.
    pub wish: Wish,
}

/// What pressing a button asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The page before or after this one.
    Turn {
        /// Of what.
        list: List,
        /// The page that is shown.
        from: usize,
        /// Which way.
        to: Turn,
    },
    /// To put the message away.
    Close,
    /// That a level takes over a role which members hold already.
    Take {
        /// Which level.
        level: LevelNumber,
        /// Which role.
        role: RoleId,
    },
    /// To be asked whether a role should be deleted.
    OfferDelete {
        /// Which.
        role: RoleId,
    },
    /// That a role is deleted.
    Delete {
        /// Which.
        role: RoleId,
    },
    /// That everything stays as it is.
    Leave,
    /// That a level's role, which somebody deleted, is made again and given back.
    RestoreRole {
        /// Which.
        level: LevelNumber,
    },
    /// That a level whose role is gone carries none any more.
    DropName {
        /// Which.
        level: LevelNumber,
    },
    /// That so many members may lose level roles.
    AllowRemovals {
        /// How many.
        losing: u64,
    },
    /// That all levels lose their names, so many at most, and that their roles, so many at most,
    /// are deleted or stay.
    RemoveNames {
        /// How many levels.
        levels: usize,
        /// How many roles.
        roles: usize,
        /// Whether the roles are deleted.
        delete: bool,
    },
    /// That every stored avatar and every bucket is dropped and built up again.
    ResetProfiles,
}

/// What has pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// The board.
    Ranks,
    /// Levels and their roles.
    Levels,
}

/// How a button looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Grey.
    Plain,
    /// What one would press.
    Good,
    /// Red: it takes something away.
    Dangerous,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Towards the first page.
    Back,
    /// Towards the last.
    On,
}

impl Button {
    /// The id that Discord keeps: at most 100 characters.
    pub fn id(self) -> String {
        let wish = match self.wish {
            Wish::Turn { list, from, to } => {
                let list = match list {
                    List::Ranks => "ranks",
                    List::Levels => "levels",
                };
                let to = match to {
                    Turn::Back => "back",
                    Turn::On => "on",
                };
                format!("turn:{list}:{from}:{to}")
            }
            Wish::Close => "close".to_owned(),
            Wish::Take { level, role } => format!("take:{level}:{role}"),
            Wish::OfferDelete { role } => format!("offer-delete:{role}"),
            Wish::Delete { role } => format!("delete:{role}"),
            Wish::Leave => "leave".to_owned(),
            Wish::RestoreRole { level } => format!("restore:{level}"),
            Wish::DropName { level } => format!("drop:{level}"),
            Wish::AllowRemovals { losing } => format!("removals:{losing}"),
            Wish::RemoveNames {
                levels,
                roles,
                delete,
            } => {
                let to = if delete { "delete" } else { "keep" };
                format!("names:{levels}:{roles}:{to}")
            }
            Wish::ResetProfiles => "reset-profiles".to_owned(),
        };
        match self.caller {
            Some(caller) => format!("{wish}:{caller}"),
            None => format!("{wish}:{ANYBODY}"),
        }
    }

    /// What an id of ours says; `None` for any other.
    pub fn parse(id: &str) -> Option<Self> {
        let role = |text: &str| number(text).and_then(RoleId::new);
        let parts: Vec<&str> = id.split(':').collect();
        let (caller, wish) = parts.split_last()?;
        let wish = match *wish {
            ["turn", list, from, to] => Wish::Turn {
                list: match list {
                    "ranks" => List::Ranks,
                    "levels" => List::Levels,
                    _ => return None,
                },
                from: number(from)?.try_into().ok()?,
                to: match to {
                    "back" => Turn::Back,
                    "on" => Turn::On,
                    _ => return None,
                },
            },
            ["close"] => Wish::Close,
            ["take", level, of] => Wish::Take {
                level: LevelNumber(number(level)?.try_into().ok()?),
                role: role(of)?,
            },
            ["offer-delete", of] => Wish::OfferDelete { role: role(of)? },
            ["delete", of] => Wish::Delete { role: role(of)? },
            ["leave"] => Wish::Leave,
            ["restore", level] => Wish::RestoreRole {
                level: LevelNumber(number(level)?.try_into().ok()?),
            },
            ["drop", level] => Wish::DropName {
                level: LevelNumber(number(level)?.try_into().ok()?),
            },
            ["removals", losing] => Wish::AllowRemovals {
                losing: number(losing)?,
            },
            ["names", levels, roles, to] => Wish::RemoveNames {
                levels: number(levels)?.try_into().ok()?,
                roles: number(roles)?.try_into().ok()?,
                delete: match to {
                    "delete" => true,
                    "keep" => false,
                    _ => return None,
                },
            },
            ["reset-profiles"] => Wish::ResetProfiles,
            _ => return None,
        };
        let caller = match *caller {
            ANYBODY => None,
            id => Some(number(id).and_then(UserId::new)?),
        };
        Some(Self { caller, wish })
    }

    /// As it is drawn.
    pub fn draw(self, label: &str, look: Look) -> CreateButton {
        let style = match look {
            Look::Plain => ButtonStyle::Secondary,
            Look::Good => ButtonStyle::Primary,
            Look::Dangerous => ButtonStyle::Danger,
        };
        CreateButton::new(self.id()).label(label).style(style)
    }
}

/// ⏪ ⏩ ✅ under a page.
pub fn to_turn(caller: UserId, list: List, from: usize) -> CreateActionRow {
    let turn = |to| Wish::Turn { list, from, to };
    row(
        caller,
        &[
            (turn(Turn::Back), "⏪", Look::Plain),
            (turn(Turn::On), "⏩", Look::Plain),
            (Wish::Close, "✅", Look::Plain),
        ],
    )
}

/// One person's buttons, side by side.
pub fn row(caller: UserId, buttons: &[(Wish, &str, Look)]) -> CreateActionRow {
    side_by_side(Some(caller), buttons)
}

/// Buttons for every moderator.
pub fn row_for_moderators(buttons: &[(Wish, &str, Look)]) -> CreateActionRow {
    side_by_side(None, buttons)
}

fn side_by_side(caller: Option<UserId>, buttons: &[(Wish, &str, Look)]) -> CreateActionRow {
    let draw =
        |&(wish, label, look): &(Wish, &str, Look)| Button { caller, wish }.draw(label, look);
    CreateActionRow::Buttons(buttons.iter().map(draw).collect())
}

/// The page that a turn leads to, of `pages` there are now: around at both ends.
pub fn turned(from: usize, to: Turn, pages: usize) -> usize {
    match to {
        Turn::Back if from <= 1 => pages,
        // Pages may have gone meanwhile.
        Turn::Back => (from - 1).min(pages),
        Turn::On if from >= pages => 1,
        Turn::On => from + 1,
    }
}

/// Whether the buttons of `message` still work when they are pressed in `press`: ids of
/// Discord, which hold its own time.
pub fn still_work(message: MessageId, press: MessageId) -> bool {
    let (posted, pressed) = (message.sent_at().millis(), press.sent_at().millis());
    // Nobody presses what is yet to come: one of the ids is wrong.
    posted - pressed <= TOLERANCE_MS && press.sent_at() < close_at(message)
}

/// When the buttons of `message` stop working.
pub fn close_at(message: MessageId) -> Timestamp {
    let at = message.sent_at().millis() + WORK_MS;
    Timestamp::from_millis(at).expect("after 2015")
}

/// When the buttons of `message`, which answers an interaction, are to be taken off.
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
            (1, Turn::On, 3, 2),
            (3, Turn::On, 3, 1),
            (1, Turn::Back, 3, 3),
            (2, Turn::Back, 3, 1),
            (1, Turn::On, 1, 1),
            (1, Turn::Back, 1, 1),
            (9, Turn::Back, 3, 3),
            (9, Turn::On, 3, 1),
            (0, Turn::Back, 3, 3),
            (usize::MAX, Turn::On, 3, 1),
        ] {
            assert_eq!(
                turned(from, to, pages),
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

    fn wishes() -> impl Strategy<Value = Wish> {
        let role = || (1..=i64::MAX as u64).prop_map(|id| RoleId::new(id).unwrap());
        prop_oneof![
            (any::<bool>(), any::<bool>(), any::<usize>()).prop_map(|(ranks, back, from)| {
                Wish::Turn {
                    list: if ranks { List::Ranks } else { List::Levels },
                    from,
                    to: if back { Turn::Back } else { Turn::On },
                }
            }),
            Just(Wish::Close),
            Just(Wish::Leave),
            (any::<u16>(), role()).prop_map(|(level, role)| Wish::Take {
                level: LevelNumber(level),
                role,
            }),
            role().prop_map(|role| Wish::OfferDelete { role }),
            role().prop_map(|role| Wish::Delete { role }),
            any::<u16>().prop_map(|level| Wish::RestoreRole {
                level: LevelNumber(level),
            }),
            any::<u16>().prop_map(|level| Wish::DropName {
                level: LevelNumber(level),
            }),
            any::<u64>().prop_map(|losing| Wish::AllowRemovals { losing }),
            (0..101_usize, 0..250_usize, any::<bool>()).prop_map(|(levels, roles, delete)| {
                Wish::RemoveNames {
                    levels,
                    roles,
                    delete,
                }
            }),
        ]
    }

    proptest! {
        #[test]
        fn an_id_says_what_the_button_means(wish in wishes(), caller in 0..=i64::MAX as u64) {
            let button = Button { caller: UserId::new(caller), wish };
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
