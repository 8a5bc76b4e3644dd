//! The avatar channel: where copies of avatars are kept, each a message of the bot with the
//! image and the mention of whose it is, which pings nobody.
//!
//! Knows what stands in the channel, and not what the database says of it.

use std::time::Duration;

use serde_json::Value;
use serenity::all::{
    CreateAllowedMentions, CreateAttachment, CreateMessage, LightMethod, MessageId as TheirMessage,
};
use serenity::http::{Request, Route};
use tokio::sync::Mutex;

use super::codes::{
    MISSING_ACCESS, MISSING_PERMISSIONS, UNKNOWN_CHANNEL, UNKNOWN_GUILD, UNKNOWN_MESSAGE,
};
use super::managed_channel::{ManagedChannel, NoChannel, find_or_create};
use super::nonce::nonce;
use super::reply::Outgoing;
use super::rest::{Author, Priority, Repeat, Rest, RestError, with_reason};
use super::{guild, payload};
use crate::leveling::{ChannelId, GuildId, MessageId, UserId, expires_at};
use crate::store::Database;
use crate::store::user_point::profiles::Link;

const PATIENCE: Duration = Duration::from_mins(1);
/// Messages in a page: as many as Discord gives.
const PAGE: usize = 100;
/// About the channel, whatever the status is: no image would fare better.
const ABOUT_THE_CHANNEL: [isize; 4] = [
    UNKNOWN_CHANNEL,
    UNKNOWN_GUILD,
    MISSING_ACCESS,
    MISSING_PERMISSIONS,
];
const TOPIC: &str =
    "Copies of avatars, kept by wall_e for the leaderboard. It deletes what is out of date.";

/// The channel. One for the whole bot: two would make two channels.
#[derive(Debug)]
pub struct AvatarChannel {
    rest: Rest,
    database: Database,
    guild: GuildId,
    name: String,
    /// Once it is known; held while it is looked for.
    place: Mutex<Option<ChannelId>>,
}

/// A message of the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its id.
    pub message: MessageId,
    /// Whose copy it is, if the bot posted it as one.
    pub our_copy_of: Option<UserId>,
    /// The link to what is attached to it, freshly signed.
    pub link: Option<Link>,
}

/// Why nothing came of something in the channel.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// Somebody must do something about the channel; what.
    #[error("{0}")]
    Closed(String),
    /// Discord does not want this one image.
    #[error("{0}")]
    Refused(RestError),
    /// Discord does not take anything now.
    #[error("{0}")]
    Away(RestError),
    /// Trouble that passes and has nothing to do with the channel.
    #[error(transparent)]
    Passing(anyhow::Error),
}

impl AvatarChannel {
    /// The channel of this name, found or made when it is needed.
    pub fn new(rest: Rest, database: Database, guild: GuildId, name: String) -> Self {
        Self {
            rest,
            database,
            guild,
            name,
            place: Mutex::default(),
        }
    }

    /// Posts a user's image. Twice with the same `version` within Discord's memory of a nonce
    /// posts once.
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
        let nonce = nonce(&["avatar", &version.to_string()]);
        let mut looked_again = false;
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
                patience: PATIENCE,
            };
            match copy.send(&self.rest).await {
                Ok(sent) => {
                    let posted = message_of(&sent).zip(link_of(&sent));
                    return posted.ok_or_else(|| {
                        let unclear = "the posted avatar was not understood";
                        ChannelError::Passing(RestError::NotUnderstood(unclear.to_owned()).into())
                    });
                }
                // Gone since it was found.
                Err(RestError::Refused { status: 404, .. }) if !looked_again => {
                    looked_again = true;
                    *self.place.lock().await = None;
                }
                Err(error) => return Err(refused(error)),
            }
        }
    }

    /// Deletes a message; one that is gone already is deleted.
    pub async fn delete(&self, message: MessageId) -> Result<(), ChannelError> {
        let channel = self.find().await?;
        let message = TheirMessage::new(message.get());
        let deleted = self.rest.call(
            "deleting an avatar",
            Repeat::Safe,
            PATIENCE,
            |http| async move {
                let route = Route::ChannelMessage {
                    channel_id: channel.into(),
                    message_id: message,
                };
                let reason = "this avatar is out of date";
                http.send(with_reason(route, LightMethod::Delete, reason))
                    .await
            },
        );
        match deleted.await {
            Err(RestError::Refused { status: 404, .. }) => Ok(()),
            deleted => deleted.map_err(refused),
        }
    }

    /// Whether a message is there, asked for by itself.
    pub async fn has(&self, message: MessageId) -> Result<bool, ChannelError> {
        let channel = self.find().await?;
        let asked = self
            .rest
            .call("looking for an avatar", Repeat::Safe, PATIENCE, |http| {
                let route = Route::ChannelMessage {
                    channel_id: channel.into(),
                    message_id: TheirMessage::new(message.get()),
                };
                async move {
                    http.fire::<Value>(Request::new(route, LightMethod::Get))
                        .await
                }
            });
        match asked.await {
            Ok(_) => Ok(true),
            Err(RestError::Refused {
                code: UNKNOWN_MESSAGE,
                ..
            }) => Ok(false),
            Err(error) => Err(refused(error)),
        }
    }

    /// A page of what stands in the channel before that message, the newest first; with
    /// `None`, the newest of all. Empty at the end.
    pub async fn page(
        &self,
        bot: UserId,
        before: Option<MessageId>,
    ) -> Result<Vec<Kept>, ChannelError> {
        let channel = self.find().await?;
        let listed = self
            .rest
            .call("reading the avatars", Repeat::Safe, PATIENCE, |http| {
                let mut query = vec![("limit", PAGE.to_string())];
                query.extend(before.map(|before| ("before", before.to_string())));
                let route = Route::ChannelMessages {
                    channel_id: channel.into(),
                };
                let request = Request::new(route, LightMethod::Get).params(Some(query));
                async move { http.fire::<Vec<Value>>(request).await }
            });
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

    /// Who the bot is.
    pub async fn bot(&self) -> Result<UserId, ChannelError> {
        guild::own_id(&self.rest).await.map_err(refused)
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
            // No image has anything to do with it.
            NoChannel::Discord(error @ RestError::Refused { .. }) => closed(&error),
            NoChannel::Discord(error) => refused(error),
            error @ NoChannel::Unsettled => ChannelError::Passing(error.into()),
            NoChannel::Database(error) => ChannelError::Passing(error.into()),
        })?;
        Ok(*place.insert(channel))
    }
}

fn refused(error: RestError) -> ChannelError {
    match error {
        RestError::Refused { code, status, .. }
            if matches!(status, 403 | 404) || ABOUT_THE_CHANNEL.contains(&code) =>
        {
            closed(&error)
        }
        error @ RestError::Refused { .. } => ChannelError::Refused(error),
        error if error.is_away() => ChannelError::Away(error),
        error => ChannelError::Passing(error.into()),
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
    // Else Postgres could not keep it.
    (!url.contains('\0')).then(|| Link {
        url: url.to_owned(),
        expires_at: expires_at(url),
    })
}

/// Whom the bot's own message is a copy of. Nothing else that it has ever said is deleted,
/// whatever channel is set.
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
