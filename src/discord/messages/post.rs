//! Posts messages, each once and in its turn, and edits them.

use std::time::Duration;

use serde_json::{Value, json};
use serenity::all::{
    ChannelId, CreateAllowedMentions, CreateAttachment, CreateMessage, LightMethod, MessageFlags,
    MessageId, Nonce,
};
use serenity::http::{Multipart, MultipartUpload, Request, Route};

use super::nonce;
use crate::discord::payload;
use crate::discord::rest::timeouts::MESSAGE_CALL_TIMEOUT;
use crate::discord::rest::{Author, Priority, Repeat, Rest, RestError};
use crate::leveling::UserId;

/// Message flag: only one user sees the message.
pub(in crate::discord) const EPHEMERAL: u64 = 1 << 6;
/// Message flag: links in the message are not unfurled. It hides the message's own embeds too.
pub(in crate::discord) const SUPPRESS_EMBEDS: u64 = 1 << 2;

/// A message to be posted in a channel, where it first waits for its turn.
#[derive(Clone, Debug)]
pub(in crate::discord) struct Outgoing {
    /// A name for the call in error texts.
    pub what: &'static str,
    pub channel: ChannelId,
    pub message: CreateMessage,
    pub file: Option<CreateAttachment>,
    /// Discord drops a second message with the same nonce.
    pub nonce: String,
    pub priority: Priority,
    pub author: Author,
    /// Timeout of the wait for its turn, and again of the call.
    pub timeout: Duration,
}

impl Outgoing {
    /// Posts the message once, however often it is sent while Discord remembers the nonce.
    /// Returns the message in Discord's answer; for a repeat, that is the earlier message.
    pub async fn send(self, rest: &Rest) -> Result<Value, RestError> {
        let Self {
            what,
            channel,
            message,
            file,
            nonce,
            priority,
            author,
            timeout,
        } = self;
        let _turn = rest
            .turn(what, channel, (priority, author), timeout)
            .await?;
        post_now(rest, what, channel, message, file, nonce, timeout).await
    }
}

/// Sends a direct message. Fails if the user does not accept direct messages.
pub async fn say_privately(rest: &Rest, user: UserId, sentence: &str) -> Result<(), RestError> {
    let what = "a direct message";
    let body = json!({ "recipient_id": user.to_string() }).to_string();
    let opened = rest.call(what, Repeat::Safe, MESSAGE_CALL_TIMEOUT, |http| {
        let request = Request::new(Route::UserMeDmChannels, LightMethod::Post);
        let request = request.body(Some(body.clone().into_bytes()));
        async move { http.fire::<Value>(request).await }
    });
    let channel = crate::discord::payload::id_of(&opened.await?).filter(|id| *id > 0);
    let channel = channel.ok_or_else(|| {
        RestError::NotUnderstood("Discord did not say where direct messages go".to_owned())
    })?;
    let direct = Outgoing {
        what,
        channel: ChannelId::new(channel),
        message: CreateMessage::new()
            .content(sentence)
            .allowed_mentions(CreateAllowedMentions::new()),
        file: None,
        nonce: nonce::direct_message(channel, sentence),
        priority: Priority::Usual,
        author: Author::Bot,
        timeout: MESSAGE_CALL_TIMEOUT,
    };
    direct.send(rest).await.map(|_| ())
}

/// Edits a message of the bot. Parts that `body` does not name stay as they are.
pub(in crate::discord) async fn edit(
    rest: &Rest,
    what: &'static str,
    channel: ChannelId,
    message: MessageId,
    body: &Value,
) -> Result<(), RestError> {
    let body = body.to_string().into_bytes();
    rest.call(what, Repeat::Safe, MESSAGE_CALL_TIMEOUT, |http| {
        let route = Route::ChannelMessage {
            channel_id: channel,
            message_id: message,
        };
        let request = Request::new(route, LightMethod::Patch).body(Some(body.clone()));
        async move { http.send(request).await }
    })
    .await
}

/// Turns off link unfurling: for messages that contain names and no embed.
pub(in crate::discord) fn plain(message: CreateMessage) -> CreateMessage {
    message.flags(MessageFlags::SUPPRESS_EMBEDS)
}

/// Reads the id of a message in Discord's JSON.
pub(in crate::discord) fn id_of(message: &Value) -> Option<MessageId> {
    payload::id_of(message)
        .filter(|id| *id > 0)
        .map(MessageId::new)
}

/// Posts in a channel. The caller must hold the channel's turn.
pub(super) async fn post_now(
    rest: &Rest,
    what: &'static str,
    channel: ChannelId,
    message: CreateMessage,
    file: Option<CreateAttachment>,
    nonce: String,
    timeout: Duration,
) -> Result<Value, RestError> {
    let message = message.nonce(Nonce::String(nonce)).enforce_nonce(true);
    let body = serde_json::to_string(&message)
        .map_err(|_| RestError::NotUnderstood("the message is not JSON".to_owned()))?;
    rest.call(what, Repeat::Safe, timeout, |http| {
        let route = Route::ChannelMessages {
            channel_id: channel,
        };
        let request = Request::new(route, LightMethod::Post);
        let request = match file.clone() {
            None => request.body(Some(body.clone().into_bytes())),
            Some(file) => request.multipart(Some(Multipart {
                upload: MultipartUpload::Attachments(vec![file]),
                fields: Vec::new(),
                payload_json: Some(body.clone()),
            })),
        };
        // An unreadable answer is not an error: the message was posted.
        async move { http.send_and_look(request).await }
    })
    .await
}
