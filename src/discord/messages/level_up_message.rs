//! Posts level-up messages: a line for each level-up, or one message for several old ones. The
//! caller chooses the channel.

use std::time::Duration;

use serenity::all::{self as theirs, CreateAllowedMentions, CreateMessage};

use super::nonce;
use super::post::{Outgoing, plain};
use crate::discord::rest::{Author, Priority, Rest, RestError};
use crate::leveling::{ChannelId, LevelNumber, MessageId, UserId, escape};

const POST_TIMEOUT: Duration = Duration::from_secs(30);
/// Discord's limit for a message, in characters.
const MAX_LENGTH: usize = 2_000;
/// The first line of a message about levels that were reached long ago.
const HEADING: &str = "While I was away:";

/// Posts a level-up line in the channel of the message that brought the level. It is the only
/// message of the bot that pings, and pings only `user`. Calls for the same message and user
/// post it once while Discord remembers the nonce (some minutes).
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
    let nonce = nonce::level_up_line(message, user);
    let author = Author::User(user);
    post(rest, "a level-up line", channel, line, nonce, author).await
}

/// A level that was reached long ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateLevelUp {
    /// The display name of the member: untrusted text, escaped when the line is written.
    pub name: String,
    /// The level that was reached.
    pub level: LevelNumber,
    /// The name of the level's role, if it has one: untrusted text as well.
    pub role: Option<String>,
}

/// How many levels from the start of `levels` fit into one message.
pub fn fitting(levels: &[LateLevelUp]) -> usize {
    let mut length = length(HEADING);
    let fits = |level: &&LateLevelUp| {
        length += self::length(&late_line(level));
        length <= MAX_LENGTH
    };
    levels.iter().take_while(fits).count()
}

/// Posts levels that were reached long ago in one message that pings nobody. Like [`level_up`],
/// calls with the same `key` post it once. If the levels do not fit into one message, because
/// names became longer after they were grouped, it posts several.
pub async fn late_level_ups(
    rest: &Rest,
    channel: ChannelId,
    key: MessageId,
    levels: &[LateLevelUp],
) -> Result<(), RestError> {
    let mut left = levels;
    for part in 0_u32.. {
        // A single line always fits.
        let (now, later) = left.split_at(fitting(left).max(1).min(left.len()));
        if now.is_empty() {
            break;
        }
        left = later;
        let lines: String = now.iter().map(late_line).collect();
        let message = plain(CreateMessage::new())
            .content(format!("{HEADING}{lines}"))
            .allowed_mentions(CreateAllowedMentions::new());
        let nonce = nonce::late_level_ups(key, part);
        let what = "posting late level-ups";
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
        timeout: POST_TIMEOUT,
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

/// The length in UTF-16 units: never fewer than characters, however Discord counts.
fn length(text: &str) -> usize {
    text.encode_utf16().count()
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
                prop_assert!(length(HEADING) + length(&lines) <= MAX_LENGTH);
                left = &left[count..];
            }
        }
    }
}
