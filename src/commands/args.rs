//! The arguments of commands: users, channels, roles, levels, pages, the word `all`, reasons. Each has one type for
//! text and slash commands.
//!
//! Arguments are only parsed here. The command checks whether the user, level or page exists.

use poise::serenity_prelude::{
    self as serenity, CommandOptionType, CreateCommandOption, ResolvedValue, Unresolved,
};
use poise::{PopArgument, SlashArgError, SlashArgument};

use crate::error::UserError;
use crate::leveling::{Grouped, LevelNumber, RoleRewards, UserId};

/// Longest reason, in characters.
pub(super) const MAX_REASON: u16 = 300;

/// The user that a command is about.
#[derive(Clone, Debug)]
pub(super) enum UserArgument {
    /// The caller, because no one else was named.
    Caller,
    /// Someone else. Discord may have sent their account and nickname with the command.
    Other {
        id: UserId,
        user: Option<Box<serenity::User>>,
        nickname: Option<String>,
    },
}

/// A user who must be named and is followed by more arguments.
#[derive(Clone, Debug)]
pub(super) struct NamedUser(pub UserArgument);

/// The word `all` in a text command, a switch in a slash command.
#[derive(Clone, Copy, Debug)]
pub(super) struct All(pub bool);

/// The number of a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageNumber(i64);

/// The number of a level as it was typed: any whole number.
#[derive(Clone, Debug)]
pub(super) struct LevelArgument {
    /// As typed, to repeat it in the answer.
    pub typed: String,
    /// The number; `u64::MAX`, which is not a level, if it is negative or too large.
    pub value: u64,
}

/// Whether level roles stack or replace each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoleRewardsArgument(pub RoleRewards);

/// An id that was picked in a slash command.
#[derive(Clone, Copy, Debug)]
pub(super) struct PickedId(pub u64);

/// A channel, category or thread that was picked in a slash command; in a text command, all of the
/// text, which may mean something else as well.
#[derive(Clone, Debug)]
pub(super) enum ChannelArgument {
    Typed(String),
    Picked(PickedId),
}

/// A role that was picked in a slash command. Text commands have no such argument.
#[derive(Clone, Copy, Debug)]
pub(super) struct PickedRole(pub PickedId);

/// A user who was picked in a slash command. Text commands have no such argument.
#[derive(Clone, Debug)]
pub(super) struct PickedUser(pub UserArgument);

/// All of the text of a text command, or the text of an option of a slash command.
#[derive(Clone, Debug)]
pub(super) struct RestOfText(pub String);

/// A moderator's reason: the rest of the text.
#[derive(Clone, Debug)]
pub(super) struct Reason(pub String);

impl UserArgument {
    /// The user's id; `None` for the caller.
    pub fn id(&self) -> Option<UserId> {
        match self {
            Self::Caller => None,
            Self::Other { id, .. } => Some(*id),
        }
    }

    /// Adds the account and nickname if Discord sent them with the message that mentions the user.
    pub fn mentioned(id: UserId, message: &serenity::Message) -> Self {
        let mut mentions = message.mentions.iter();
        let user = mentions.find(|user| user.id.get() == id.get());
        let member = user.and_then(|user| user.member.as_ref());
        Self::Other {
            id,
            nickname: member.and_then(|member| member.nick.clone()),
            user: user.cloned().map(Box::new),
        }
    }
}

impl PageNumber {
    /// The number of the page, or 1 if none was given. An error if there is no such page among
    /// `pages`.
    pub fn of(page: Option<Self>, pages: usize) -> Result<usize, UserError> {
        let Some(Self(page)) = page else {
            return Ok(1);
        };
        let asked = usize::try_from(page).ok();
        let there = asked.filter(|page| (1..=pages).contains(page));
        there.ok_or_else(|| {
            let page = Grouped(page);
            UserError(if pages == 1 {
                format!("There is no page {page}; there is only page 1.")
            } else {
                format!(
                    "There is no page {page}; the pages are 1 to {}.",
                    Grouped(pages)
                )
            })
        })
    }
}

impl LevelArgument {
    fn parse(typed: &str) -> Option<Self> {
        const MAX_LENGTH: usize = 40;
        let (negative, digits) = match typed.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, typed),
        };
        (is_number(digits) && typed.len() <= MAX_LENGTH).then(|| Self {
            typed: typed.to_owned(),
            value: if negative {
                u64::MAX
            } else {
                digits.parse().unwrap_or(u64::MAX)
            },
        })
    }
}

impl From<LevelNumber> for LevelArgument {
    fn from(level: LevelNumber) -> Self {
        Self {
            typed: level.to_string(),
            value: level.0.into(),
        }
    }
}

/// An argument type. The macro `poise_arguments` implements poise's traits for it.
trait Argument: Sized {
    /// Parses the argument from a text command and returns the remaining text. `None` if the text
    /// is not such an argument; the caller is then shown how to use the command.
    fn from_text<'a>(text: &'a str, message: &serenity::Message) -> Option<(Self, &'a str)>;

    /// Reads the argument from an option of a slash command, which Discord has checked already.
    fn from_option(value: &ResolvedValue<'_>) -> Option<Self>;

    /// Configures the option of a slash command that takes this argument.
    fn option(builder: CreateCommandOption) -> CreateCommandOption;
}

impl Argument for UserArgument {
    /// Takes all remaining text, so that extra words after a user are an error.
    fn from_text<'a>(text: &'a str, message: &serenity::Message) -> Option<(Self, &'a str)> {
        let user = match without_invisible(text) {
            "" => Self::Caller,
            text => Self::mentioned(user_id(text)?, message),
        };
        Some((user, ""))
    }

    fn from_option(value: &ResolvedValue<'_>) -> Option<Self> {
        let ResolvedValue::User(user, member) = *value else {
            return None;
        };
        Some(Self::Other {
            id: user.id.try_into().ok()?,
            user: Some(Box::new(user.clone())),
            nickname: member.and_then(|member| member.nick.clone()),
        })
    }

    fn option(builder: CreateCommandOption) -> CreateCommandOption {
        builder.kind(CommandOptionType::User)
    }
}

impl Argument for NamedUser {
    fn from_text<'a>(text: &'a str, message: &serenity::Message) -> Option<(Self, &'a str)> {
        let (first, rest) = first_word(text);
        let id = user_id(without_invisible(first))?;
        Some((Self(UserArgument::mentioned(id, message)), rest))
    }

    fn from_option(value: &ResolvedValue<'_>) -> Option<Self> {
        UserArgument::from_option(value).map(Self)
    }

    fn option(builder: CreateCommandOption) -> CreateCommandOption {
        UserArgument::option(builder)
    }
}

impl Argument for All {
    fn from_text<'a>(text: &'a str, _: &serenity::Message) -> Option<(Self, &'a str)> {
        let is_all = text.trim().eq_ignore_ascii_case("all");
        is_all.then_some((Self(true), ""))
    }

    fn from_option(value: &ResolvedValue<'_>) -> Option<Self> {
        match *value {
            ResolvedValue::Boolean(all) => Some(Self(all)),
            _ => None,
        }
    }

    fn option(builder: CreateCommandOption) -> CreateCommandOption {
        builder.kind(CommandOptionType::Boolean)
    }
}

impl Argument for PageNumber {
    /// Takes all remaining text. A number with as many digits as an id is a user, not a page.
    fn from_text<'a>(text: &'a str, _: &serenity::Message) -> Option<(Self, &'a str)> {
        let page: i64 = text.trim().parse().ok()?;
        (page.unsigned_abs() < 10_u64.pow(16)).then_some((Self(page), ""))
    }

    fn from_option(value: &ResolvedValue<'_>) -> Option<Self> {
        match *value {
            ResolvedValue::Integer(page) => Some(Self(page)),
            _ => None,
        }
    }

    fn option(builder: CreateCommandOption) -> CreateCommandOption {
        builder.kind(CommandOptionType::Integer)
    }
}

impl Argument for LevelArgument {
    fn from_text<'a>(text: &'a str, _: &serenity::Message) -> Option<(Self, &'a str)> {
        let (first, rest) = first_word(text);
        Some((Self::parse(first)?, rest))
    }

    fn from_option(value: &ResolvedValue<'_>) -> Option<Self> {
        match *value {
            ResolvedValue::Integer(number) => Self::parse(&number.to_string()),
            _ => None,
        }
    }

    fn option(builder: CreateCommandOption) -> CreateCommandOption {
        builder.kind(CommandOptionType::Integer)
    }
}

impl Argument for RoleRewardsArgument {
    /// Takes all remaining text, so that extra words are an error.
    fn from_text<'a>(text: &'a str, _: &serenity::Message) -> Option<(Self, &'a str)> {
        let rewards = RoleRewards::parse(text.trim())?;
        Some((Self(rewards), ""))
    }

    fn from_option(value: &ResolvedValue<'_>) -> Option<Self> {
        match *value {
            ResolvedValue::String(word) => RoleRewards::parse(word).map(Self),
            _ => None,
        }
    }

    fn option(builder: CreateCommandOption) -> CreateCommandOption {
        let words = [RoleRewards::Stack, RoleRewards::Replace].map(RoleRewards::word);
        let builder = builder.kind(CommandOptionType::String);
        words.into_iter().fold(builder, |builder, word| {
            builder.add_string_choice(word, word)
        })
    }
}

impl Argument for Reason {
    fn from_text<'a>(text: &'a str, _: &serenity::Message) -> Option<(Self, &'a str)> {
        let reason = text.trim();
        (!reason.is_empty()).then(|| (Self(reason.to_owned()), ""))
    }

    fn from_option(value: &ResolvedValue<'_>) -> Option<Self> {
        match *value {
            ResolvedValue::String(reason) => Some(Self(reason.trim().to_owned())),
            _ => None,
        }
    }

    fn option(builder: CreateCommandOption) -> CreateCommandOption {
        let builder = builder.kind(CommandOptionType::String);
        builder.min_length(1).max_length(MAX_REASON)
    }
}

impl Argument for ChannelArgument {
    fn from_text<'a>(text: &'a str, _: &serenity::Message) -> Option<(Self, &'a str)> {
        let typed = without_invisible(text);
        (!typed.is_empty()).then(|| (Self::Typed(typed.to_owned()), ""))
    }

    fn from_option(value: &ResolvedValue<'_>) -> Option<Self> {
        let id = match value {
            ResolvedValue::Channel(channel) => channel.id,
            ResolvedValue::Unresolved(Unresolved::Channel(id)) => *id,
            _ => return None,
        };
        Some(Self::Picked(PickedId(id.get())))
    }

    fn option(builder: CreateCommandOption) -> CreateCommandOption {
        builder.kind(CommandOptionType::Channel)
    }
}

impl Argument for PickedRole {
    fn from_text<'a>(_: &'a str, _: &serenity::Message) -> Option<(Self, &'a str)> {
        None
    }

    fn from_option(value: &ResolvedValue<'_>) -> Option<Self> {
        let id = match value {
            ResolvedValue::Role(role) => role.id,
            ResolvedValue::Unresolved(Unresolved::RoleId(id)) => *id,
            _ => return None,
        };
        Some(Self(PickedId(id.get())))
    }

    fn option(builder: CreateCommandOption) -> CreateCommandOption {
        builder.kind(CommandOptionType::Role)
    }
}

impl Argument for PickedUser {
    fn from_text<'a>(_: &'a str, _: &serenity::Message) -> Option<(Self, &'a str)> {
        None
    }

    fn from_option(value: &ResolvedValue<'_>) -> Option<Self> {
        UserArgument::from_option(value).map(Self)
    }

    fn option(builder: CreateCommandOption) -> CreateCommandOption {
        UserArgument::option(builder)
    }
}

impl Argument for RestOfText {
    fn from_text<'a>(text: &'a str, _: &serenity::Message) -> Option<(Self, &'a str)> {
        let typed = without_invisible(text);
        (!typed.is_empty()).then(|| (Self(typed.to_owned()), ""))
    }

    fn from_option(value: &ResolvedValue<'_>) -> Option<Self> {
        match *value {
            ResolvedValue::String(text) => Some(Self(text.to_owned())),
            _ => None,
        }
    }

    fn option(builder: CreateCommandOption) -> CreateCommandOption {
        builder.kind(CommandOptionType::String)
    }
}

/// `<@id>`, `<@!id>` or an id. Roles, channels, `@everyone` and several users are refused.
fn user_id(text: &str) -> Option<UserId> {
    let digits = match text.strip_prefix("<@") {
        Some(mention) => mention
            .strip_prefix('!')
            .unwrap_or(mention)
            .strip_suffix('>')?,
        None => text,
    };
    // The shortest ids, from 2015, have 17 digits.
    let is_id = (17..=20).contains(&digits.len()) && is_number(digits);
    digits.parse().ok().filter(|_| is_id).and_then(UserId::new)
}

/// Accepts digits only; `parse` would accept a sign too.
pub(super) fn is_number(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Removes the zero-width characters that clients insert around mentions.
pub(super) fn without_invisible(text: &str) -> &str {
    text.trim_matches(|c: char| {
        c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
    })
}

/// The first word, and the text after it.
fn first_word(text: &str) -> (&str, &str) {
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (first, rest.trim_start())
}

/// The text is not such an argument.
#[derive(Debug, thiserror::Error)]
#[error("the argument is something else")]
struct NotThatArgument;

macro_rules! poise_arguments {
    ($($argument:ty),+) => {$(
        #[serenity::async_trait]
        impl<'a> PopArgument<'a> for $argument {
            async fn pop_from(
                args: &'a str,
                attachment_index: usize,
                _: &serenity::Context,
                message: &serenity::Message,
            ) -> Result<
                (&'a str, usize, Self),
                (Box<dyn std::error::Error + Send + Sync>, Option<String>),
            > {
                let read = <Self as Argument>::from_text(args, message);
                let (argument, rest) = read.ok_or_else(|| (NotThatArgument.into(), None))?;
                Ok((rest, attachment_index, argument))
            }
        }

        #[serenity::async_trait]
        impl SlashArgument for $argument {
            async fn extract(
                _: &serenity::Context,
                _: &serenity::CommandInteraction,
                value: &ResolvedValue<'_>,
            ) -> Result<Self, SlashArgError> {
                <Self as Argument>::from_option(value).ok_or_else(|| {
                    SlashArgError::new_command_structure_mismatch("another kind of option")
                })
            }

            fn create(builder: CreateCommandOption) -> CreateCommandOption {
                <Self as Argument>::option(builder)
            }
        }
    )+};
}

poise_arguments!(
    UserArgument,
    NamedUser,
    All,
    PageNumber,
    LevelArgument,
    RoleRewardsArgument,
    ChannelArgument,
    PickedRole,
    PickedUser,
    RestOfText,
    Reason
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn users_are_told_from_everything_else() {
        let alice = UserId::new(175_928_847_299_117_063);
        for text in [
            "175928847299117063",
            "<@175928847299117063>",
            "<@!175928847299117063>",
            " \u{200b}<@175928847299117063>",
        ] {
            assert_eq!(user_id(without_invisible(text)), alice, "{text:?}");
        }
        for nobody in ["", "   ", "\u{200b}\u{200d}\u{feff}"] {
            assert_eq!(without_invisible(nobody), "", "{nobody:?}");
        }
        let long = "x".repeat(4_000);
        for wrong in [
            "",
            "<@&175928847299117063>",
            "<#175928847299117063>",
            "@everyone",
            "@here",
            "banana",
            "0",
            "5",
            "-175928847299117063",
            "+175928847299117063",
            "99999999999999999999",
            "18446744073709551616",
            "<@175928847299117063",
            "<@175928847299117063> <@175928847299117063>",
            "<@175928847299117063> please",
            "１７５９２８８４７２９９１１７０６３",
            &long,
        ] {
            assert_eq!(user_id(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader_of_users(text in "\\PC{0,60}|<@[!&]?[0-9]{0,25}>?") {
            let _ = user_id(without_invisible(&text));
        }
    }

    #[test]
    fn levels_are_any_whole_numbers() {
        for (typed, value) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("100", Some(100)),
            ("-1", Some(u64::MAX)),
            ("-0", Some(u64::MAX)),
            ("99999999999999999999", Some(u64::MAX)),
            ("+5", None),
            ("five", None),
            ("", None),
            ("-", None),
            ("5.0", None),
            ("５", None),
        ] {
            let level = LevelArgument::parse(typed);
            assert_eq!(level.map(|level| level.value), value, "{typed:?}");
        }
        assert!(LevelArgument::parse(&"9".repeat(41)).is_none());
    }

    #[test]
    fn pages_that_are_not_there_are_named() {
        assert_eq!(PageNumber::of(None, 2), Ok(1));
        assert_eq!(PageNumber::of(Some(PageNumber(2)), 2), Ok(2));
        for (page, pages, sentence) in [
            (0, 7, "There is no page 0; the pages are 1 to 7."),
            (-1, 7, "There is no page -1; the pages are 1 to 7."),
            (8, 7, "There is no page 8; the pages are 1 to 7."),
            (2, 1, "There is no page 2; there is only page 1."),
        ] {
            let refused = Err(UserError(sentence.to_owned()));
            assert_eq!(PageNumber::of(Some(PageNumber(page)), pages), refused);
        }
    }
}
