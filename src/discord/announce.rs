//! What the bot says of its own accord: the level-up line, and a word to the council.

use std::time::Duration;

use serenity::all::{self as theirs, CreateAllowedMentions, CreateMessage, LightMethod};
use serenity::http::{Request, Route};

use super::reply::send;
use super::rest::{Repeat, Rest, RestError};
use super::wire::{BareChannel, BareChannels};
use crate::leveling::{ChannelId, GuildId, LevelNumber, MessageId, UserId};

/// What Discord calls a text channel.
const TEXT: u8 = 0;
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
) -> Result<(), RestError> {
    let line = CreateMessage::new()
        .content(format!("<@{user}> reached **level {level}**!"))
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

/// Tells the moderators, in the text channel of this name. `false` if there is none now.
/// Said once, however often it is called with the same nonce within Discord's memory of it.
pub async fn council(
    rest: &Rest,
    guild: GuildId,
    name: &str,
    sentence: &str,
    nonce: &str,
) -> Result<bool, RestError> {
    let list: BareChannels = rest
        .call(
            "looking for the council",
            Repeat::Safe,
            PATIENCE,
            |http| async move {
                let route = Route::GuildChannels {
                    guild_id: guild.into(),
                };
                http.fire(Request::new(route, LightMethod::Get)).await
            },
        )
        .await?;
    let named =
        |channel: &&BareChannel| channel.kind == TEXT && channel.name.as_deref() == Some(name);
    let Some(council) = list.channels.iter().find(named) else {
        return Ok(false);
    };
    let word = CreateMessage::new()
        .content(sentence)
        .allowed_mentions(CreateAllowedMentions::new());
    send(
        rest,
        "a word to the council",
        council.id,
        word,
        nonce.to_owned(),
        PATIENCE,
    )
    .await?;
    Ok(true)
}
