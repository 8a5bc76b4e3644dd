//! The avatar channel, in which the bot keeps copies of avatars. Each copy is a message with the
//! image and a mention of its user, which pings nobody.
//!
//! This file only posts, lists and deletes messages; it does not read the database's records of
//! them.

use std::time::Duration;

use serde_json::Value;
use serenity::all::{
    CreateAllowedMentions, CreateAttachment, CreateMessage, LightMethod, MessageId as TheirMessage,
};
use serenity::http::{Request, Route};
use tokio::sync::Mutex;

use super::managed_channel::{ManagedChannel, NoChannel, find_or_create};
use crate::discord::guild::members;
use crate::discord::messages::nonce;
use crate::discord::messages::post::Outgoing;
use crate::discord::payload;
use crate::discord::rest::error_codes::{
    MISSING_ACCESS, MISSING_PERMISSIONS, UNKNOWN_CHANNEL, UNKNOWN_GUILD, UNKNOWN_MESSAGE,
};
use crate::discord::rest::{Author, Priority, Repeat, Rest, RestError, with_reason};
use crate::leveling::{ChannelId, GuildId, MessageId, UserId, expires_at, without_nul};
use crate::store::Database;
use crate::store::user_point::profiles::Link;

const UPLOAD_TIMEOUT: Duration = Duration::from_mins(1);
/// Messages in one page: Discord's maximum.
const PAGE: usize = 100;
/// Error codes that concern the channel and not the image, whatever the status.
const CHANNEL_ERROR_CODES: [isize; 4] = [
    UNKNOWN_CHANNEL,
    UNKNOWN_GUILD,
    MISSING_ACCESS,
    MISSING_PERMISSIONS,
];
const TOPIC: &str =
    "Copies of avatars, kept by wall_e for the leaderboard. It deletes outdated copies.";

/// The avatar channel. There is one for the whole bot: two of these could create two channels.
#[derive(Debug)]
pub struct AvatarChannel {
    rest: Rest,
    database: Database,
    guild: GuildId,
    name: String,
    /// The channel's id, once it is known. The lock is held during the search.
    place: Mutex<Option<ChannelId>>,
}

/// A message in the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The message's id.
    pub message: MessageId,
    /// The user whose avatar it is; `None` if it is not a copy that the bot posted.
    pub our_copy_of: Option<UserId>,
    /// The freshly signed link to its attachment.
    pub link: Option<Link>,
}

/// Why an operation on the avatar channel failed.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The channel is unusable until a person acts; the text says what to do.
    #[error("{0}")]
    Closed(String),
    /// Discord refused this one image.
    #[error("{0}")]
    Refused(RestError),
    /// Discord is unavailable.
    #[error("{0}")]
    Unavailable(RestError),
    /// An error that has nothing to do with the channel or the image: the database failed, or the
    /// token was refused, for example.
    #[error(transparent)]
    Unrelated(anyhow::Error),
}

impl AvatarChannel {
    /// The channel `name`, which is found or created when it is first needed.
    pub fn new(rest: Rest, database: Database, guild: GuildId, name: String) -> Self {
        Self {
            rest,
            database,
            guild,
            name,
            place: Mutex::default(),
        }
    }

    /// Posts a user's image. Calls with the same `version` post it once while Discord remembers
    /// the nonce (some minutes).
    pub async fn post(
        &self,
        user: UserId,
        image: &[u8],
        version: i64,
    ) -> Result<(MessageId, Link), ChannelError> {
        let file = CreateAttachment::bytes(image, "avatar.png");
        let message = CreateMessage::new()
            .content(mention(user))
            .allowed_mentions(CreateAllowedMentions::new());
        let nonce = nonce::avatar_copy(version);
        let mut retried = false;
        loop {
            let channel = self.find().await?;
            let copy = Outgoing {
                what: "posting an avatar",
                channel: channel.into(),
                message: message.clone(),
                file: Some(file.clone()),
                nonce: nonce.clone(),
                priority: Priority::Usual,
                author: Author::Bot,
                timeout: UPLOAD_TIMEOUT,
            };
            match copy.send(&self.rest).await {
                Ok(sent) => {
                    let posted = message_of(&sent).zip(link_of(&sent));
                    return posted.ok_or_else(|| {
                        let unclear = "the posted avatar was not understood";
                        ChannelError::Unrelated(RestError::NotUnderstood(unclear.to_owned()).into())
                    });
                }
                // The channel was deleted after it was found.
                Err(RestError::Refused { status: 404, .. }) if !retried => {
                    retried = true;
                    *self.place.lock().await = None;
                }
                Err(error) => return Err(refused(error)),
            }
        }
    }

    /// Deletes a message. Succeeds if it is gone already.
    pub async fn delete(&self, message: MessageId) -> Result<(), ChannelError> {
        let channel = self.find().await?;
        let message = TheirMessage::new(message.get());
        let deleted = self.rest.call(
            "deleting an avatar",
            Repeat::Safe,
            UPLOAD_TIMEOUT,
            |http| async move {
                let route = Route::ChannelMessage {
                    channel_id: channel.into(),
                    message_id: message,
                };
                let reason = "this avatar copy is outdated";
                http.send(with_reason(route, LightMethod::Delete, reason))
                    .await
            },
        );
        match deleted.await {
            Err(RestError::Refused { status: 404, .. }) => Ok(()),
            deleted => deleted.map_err(refused),
        }
    }

    /// Asks Discord whether a message exists.
    pub async fn has(&self, message: MessageId) -> Result<bool, ChannelError> {
        let channel = self.find().await?;
        let asked = self.rest.call(
            "looking for an avatar",
            Repeat::Safe,
            UPLOAD_TIMEOUT,
            |http| {
                let route = Route::ChannelMessage {
                    channel_id: channel.into(),
                    message_id: TheirMessage::new(message.get()),
                };
                async move {
                    http.fire::<Value>(Request::new(route, LightMethod::Get))
                        .await
                }
            },
        );
        match asked.await {
            Ok(_) => Ok(true),
            Err(RestError::Refused {
                code: UNKNOWN_MESSAGE,
                ..
            }) => Ok(false),
            Err(error) => Err(refused(error)),
        }
    }

    /// Lists a page of the channel's messages before `before`, newest first; with `None`, the
    /// newest page. Empty after the last message.
    pub async fn page(
        &self,
        bot: UserId,
        before: Option<MessageId>,
    ) -> Result<Vec<Kept>, ChannelError> {
        let channel = self.find().await?;
        let listed = self.rest.call(
            "reading the avatars",
            Repeat::Safe,
            UPLOAD_TIMEOUT,
            |http| {
                let mut query = vec![("limit", PAGE.to_string())];
                query.extend(before.map(|before| ("before", before.to_string())));
                let route = Route::ChannelMessages {
                    channel_id: channel.into(),
                };
                let request = Request::new(route, LightMethod::Get).params(Some(query));
                async move { http.fire::<Vec<Value>>(request).await }
            },
        );
        let kept = |message: &Value| {
            Some(Kept {
                message: message_of(message)?,
                our_copy_of: copy_of(message, bot),
                link: link_of(message),
            })
        };
        match listed.await {
            Ok(listed) => Ok(listed.iter().filter_map(kept).collect()),
            Err(error) => {
                if matches!(error, RestError::Refused { status: 404, .. }) {
                    *self.place.lock().await = None;
                }
                Err(refused(error))
            }
        }
    }

    /// Fetches the bot's own user id.
    pub async fn bot(&self) -> Result<UserId, ChannelError> {
        members::own_id(&self.rest).await.map_err(refused)
    }

    async fn find(&self) -> Result<ChannelId, ChannelError> {
        let mut place = self.place.lock().await;
        if let Some(channel) = *place {
            return Ok(channel);
        }
        let wanted = ManagedChannel {
            purpose: "avatars",
            setting: "WALLE_AVATAR_CHANNEL",
            name: &self.name,
            seen_by: None,
            topic: TOPIC,
        };
        let found = find_or_create(&self.rest, &self.database, self.guild, wanted);
        let channel = found.await.map_err(|error| match error {
            NoChannel::NotCreated { .. } => ChannelError::Closed(error.to_string()),
            // A refusal here concerns the channel, never an image.
            NoChannel::Discord(error @ RestError::Refused { .. }) => closed(&error),
            NoChannel::Discord(error) => refused(error),
            error @ NoChannel::Unsettled => ChannelError::Unrelated(error.into()),
            NoChannel::Database(error) => ChannelError::Unrelated(error.into()),
        })?;
        Ok(*place.insert(channel))
    }
}

fn refused(error: RestError) -> ChannelError {
    match error {
        RestError::Refused { code, status, .. }
            if matches!(status, 403 | 404) || CHANNEL_ERROR_CODES.contains(&code) =>
        {
            closed(&error)
        }
        error @ RestError::Refused { .. } => ChannelError::Refused(error),
        error if error.is_away() => ChannelError::Unavailable(error),
        error => ChannelError::Unrelated(error.into()),
    }
}

fn closed(error: &RestError) -> ChannelError {
    ChannelError::Closed(format!(
        "{error}; give the bot View Channel, Send Messages, Attach Files and Read Message History in the channel that \
         WALLE_AVATAR_CHANNEL names"
    ))
}

fn mention(user: UserId) -> String {
    format!("<@{user}>")
}

fn message_of(message: &Value) -> Option<MessageId> {
    payload::id_of(message).and_then(MessageId::new)
}

fn link_of(message: &Value) -> Option<Link> {
    let url = message.pointer("/attachments/0/url")?.as_str()?;
    // The database cannot store NUL characters, and without them this would be another URL.
    (without_nul(url) == url).then(|| Link {
        url: url.to_owned(),
        expires_at: expires_at(url),
    })
}

/// The user whose avatar a message of the bot copies; `None` for any other message. The bot
/// deletes only copies, so this check protects its other messages if the setting names a channel
/// that contains some.
fn copy_of(message: &Value, bot: UserId) -> Option<UserId> {
    let content = message["content"].as_str()?;
    let whose = content.strip_prefix("<@")?.strip_suffix('>')?;
    let files = message["attachments"].as_array().map_or(0, Vec::len);
    let is_ours = payload::id_of(&message["author"]) == Some(bot.get()) && files == 1;
    whose.parse().ok().and_then(UserId::new).filter(|_| is_ours)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_copy_of_ours_is_taken_for_one() {
        let bot = UserId::new(5).unwrap();
        let message = |author: &str, content: &str, files: usize| {
            let file = json!({ "url": "https://cdn/a.png?ex=ff" });
            json!({ "id": "9", "author": { "id": author }, "content": content, "attachments": vec![file; files] })
        };
        for (author, content, files, ours) in [
            ("5", "<@7>", 1, true),
            ("6", "<@7>", 1, false),
            ("5", "<@7> reached **level 5**!", 1, false),
            ("5", "<@7>", 0, false),
            ("5", "<@&7>", 1, false),
            ("5", "", 1, false),
        ] {
            let message = message(author, content, files);
            assert_eq!(copy_of(&message, bot).is_some(), ours, "{message}");
        }
        let link = link_of(&message("5", "<@7>", 1)).unwrap();
        assert_eq!(link.expires_at.unwrap().millis(), 255_000);
        assert_eq!(link_of(&message("5", "<@7>", 0)), None);
        assert_eq!(message_of(&json!({ "id": [] })), None);
    }
}
