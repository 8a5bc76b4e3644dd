//! What the bot says of its own accord: the level-up line. Decides nothing, and says it in
//! no other channel.

use std::time::Duration;

use serenity::all::{self as theirs, CreateAllowedMentions, CreateMessage};

use super::nonce;
use super::reply::{Outgoing, plain};
use super::rest::{Author, Priority, Rest, RestError};
use crate::leveling::{ChannelId, LevelNumber, MessageId, UserId, escape};

const PATIENCE: Duration = Duration::from_secs(30);
/// Discord's limit for a message.
const LONGEST: usize = 2_000;
/// Above levels that were reached long ago.
const HEADING: &str = "While I was away:";

/// Congratulates in the channel of the message that brought the level. The one
/// message of the bot that pings, and only whom it is about. Said once, however
/// often it is called for the same message within Discord's memory of a nonce.
pub async fn level_up(
    rest: &Rest,
    channel: ChannelId,
    message: MessageId,
    user: UserId,
    level: LevelNumber,
    role: Option<&str>,
) -> Result<(), RestError> {
    let new_role = new_role(role);
    let line = plain(CreateMessage::new())
        .content(format!("<@{user}> reached **level {level}**!{new_role}"))
        .allowed_mentions(CreateAllowedMentions::new().users([theirs::UserId::from(user)]));
    let nonce = line_nonce(message, user);
    let author = Author::User(user);
    post(rest, "a level-up line", channel, line, nonce, author).await
}

/// A level that was reached long ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateLevelUp {
    /// Who reached it: as people see them, hostile text as all names.
    pub name: String,
    /// The level.
    pub level: LevelNumber,
    /// The role that it brought.
    pub role: Option<String>,
}

/// How many of these levels, from the first one on, fit into one message.
pub fn fitting(levels: &[LateLevelUp]) -> usize {
    let mut length = length(HEADING);
    let fits = |level: &&LateLevelUp| {
        length += self::length(&late_line(level));
        length <= LONGEST
    };
    levels.iter().take_while(fits).count()
}

/// Tells of levels that were reached long ago, together and without pinging anybody. Said once
/// for the same `key`, as [`level_up`] is. Where the levels do not fit into one message (names
/// have become longer since they were put together), it takes several.
pub async fn late_level_ups(
    rest: &Rest,
    channel: ChannelId,
    key: MessageId,
    levels: &[LateLevelUp],
) -> Result<(), RestError> {
    let mut left = levels;
    for part in 0_u32.. {
        // A line by itself always fits.
        let (now, later) = left.split_at(fitting(left).max(1).min(left.len()));
        if now.is_empty() {
            break;
        }
        left = later;
        let lines: String = now.iter().map(late_line).collect();
        let message = plain(CreateMessage::new())
            .content(format!("{HEADING}{lines}"))
            .allowed_mentions(CreateAllowedMentions::new());
        let (key, part) = (key.to_string(), part.to_string());
        let nonce = nonce::nonce(&["late", &key, &part]);
        let what = "late level-up lines";
        post(rest, what, channel, message, nonce, Author::Bot).await?;
    }
    Ok(())
}

async fn post(
    rest: &Rest,
    what: &'static str,
    channel: ChannelId,
    message: CreateMessage,
    nonce: String,
    author: Author,
) -> Result<(), RestError> {
    let line = Outgoing {
        what,
        channel: channel.into(),
        message,
        file: None,
        nonce,
        priority: Priority::Ahead,
        author,
        timeout: PATIENCE,
    };
    line.send(rest).await.map(|_| ())
}

fn late_line(level_up: &LateLevelUp) -> String {
    let LateLevelUp { name, level, role } = level_up;
    let name = escape(name);
    let new_role = new_role(role.as_deref());
    format!("\n{name} reached **level {level}**!{new_role}")
}

fn new_role(role: Option<&str>) -> String {
    role.map_or(String::new(), |name| {
        format!(" New role: **{}**.", escape(name))
    })
}

/// As strictly as it may be counted.
fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Of one message there can be two lines: a moderator who gives someone XP may reach a level
/// by saying so. At most 25 characters, as ids have at most 19.
fn line_nonce(message: MessageId, user: UserId) -> String {
    format!("{message}.{:05}", user.get() % 100_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn level_up(name: &str, role: Option<&str>) -> LateLevelUp {
        LateLevelUp {
            name: name.to_owned(),
            level: LevelNumber(12),
            role: role.map(str::to_owned),
        }
    }

    #[test]
    fn late_lines_name_people_and_ping_nobody() {
        for (name, role, line) in [
            ("alice", None, "\nalice reached **level 12**!"),
            (
                "al*ice",
                Some("Reg_ular"),
                "\nal\\*ice reached **level 12**! New role: **Reg\\_ular**.",
            ),
            (
                "@everyone",
                None,
                "\n@\u{200b}everyone reached **level 12**!",
            ),
            ("<@5>", None, "\n\\<@\u{200b}5> reached **level 12**!"),
        ] {
            assert_eq!(late_line(&level_up(name, role)), line);
        }
    }

    proptest! {
        #[test]
        fn whatever_the_names_a_message_is_never_too_long(
            names in proptest::collection::vec("\\PC{0,120}", 1..80),
            roles: bool,
        ) {
            let levels: Vec<_> = names
                .iter()
                .map(|name| level_up(name, roles.then_some(name)))
                .collect();
            let mut left = levels.as_slice();
            while !left.is_empty() {
                let count = fitting(left);
                prop_assert!(count > 0, "one line always fits");
                let lines: String = left[..count].iter().map(late_line).collect();
                prop_assert!(length(HEADING) + length(&lines) <= LONGEST);
                left = &left[count..];
            }
        }
    }
}
