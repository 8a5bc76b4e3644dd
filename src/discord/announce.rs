//! What the bot says of its own accord: the level-up line. Decides nothing, and says it in
//! no other channel.

use std::time::Duration;

use serenity::all::{self as theirs, CreateAllowedMentions, CreateMessage};

use super::reply::send;
use super::rest::{Rest, RestError};
use crate::leveling::{ChannelId, LevelNumber, MessageId, UserId, escape};

const PATIENCE: Duration = Duration::from_secs(30);

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
    let new_role = role.map_or(String::new(), |name| {
        format!(" New role: **{}**.", escape(name))
    });
    let line = CreateMessage::new()
        .content(format!("<@{user}> reached **level {level}**!{new_role}"))
        .allowed_mentions(CreateAllowedMentions::new().users([theirs::UserId::from(user)]));
    send(
        rest,
        "a level-up line",
        channel.into(),
        line,
        nonce(message, user),
        PATIENCE,
    )
    .await
    .map(|_| ())
}

/// Of one message there can be two lines: a moderator who gives someone XP may reach a level
/// by saying so. At most 25 characters, as ids have at most 19.
fn nonce(message: MessageId, user: UserId) -> String {
    format!("{message}.{:05}", user.get() % 100_000)
}
