//! Replies of commands: one type for text commands, slash commands and buttons.
//!
//! A reply never pings anybody: its `allowed_mentions` is always empty.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use serenity::all::{
    ChannelId, CreateActionRow, CreateAllowedMentions, CreateAttachment, CreateEmbed,
    CreateMessage, LightMethod, Message, MessageFlags, MessageId, Nonce,
};
use serenity::http::{Multipart, MultipartUpload, Request, Route};

use super::nonce;
use crate::discord::rest::error_codes::{MISSING_PERMISSIONS, NO_REPLY_WITHOUT_HISTORY};
use crate::discord::rest::{Author, Priority, Repeat, Rest, RestError};
use crate::leveling::UserId;

/// Message flag: only one user sees the message.
pub(in crate::discord) const EPHEMERAL: u64 = 1 << 6;
/// Message flag: links in the message are not unfurled. It hides the message's own embeds too.
pub(in crate::discord) const SUPPRESS_EMBEDS: u64 = 1 << 2;
/// The embed colour of informational replies.
pub const INFO: u32 = 0x00_bf_bd;

/// How long a reply to a text command waits for its turn in the channel.
const TURN_TIMEOUT: Duration = Duration::from_mins(1);
/// Timeout of a call that sends or edits a text message.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// A message to the caller of a command: text or an embed, perhaps with buttons.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    content: Option<String>,
    embed: Option<CreateEmbed>,
    buttons: Option<CreateActionRow>,
    private: bool,
}

impl Reply {
    /// A reply with this text.
    pub fn text(content: impl Into<String>) -> Self {
        Self {
            content: Some(content.into()),
            ..Self::default()
        }
    }

    /// A reply with this embed.
    pub fn embed(embed: CreateEmbed) -> Self {
        Self {
            embed: Some(embed),
            ..Self::default()
        }
    }

    /// Makes the reply visible to the caller only. Works only for interactions: a reply to a
    /// text command stays public.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// Adds buttons below the reply.
    #[must_use]
    pub fn with_buttons(mut self, row: CreateActionRow) -> Self {
        self.buttons = Some(row);
        self
    }

    /// Whether the reply has buttons that everyone in the channel sees.
    pub fn has_open_buttons(&self) -> bool {
        self.buttons.is_some() && !self.private
    }

    /// Whether only the caller sees the reply.
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// The whole message as Discord's JSON. It names every part, so that an edit with it also
    /// removes the parts that the reply does not have.
    pub(in crate::discord) fn body(&self) -> Value {
        json!({
            "content": self.content.as_deref().unwrap_or_default(),
            "embeds": self.embed.as_slice(),
            "components": self.buttons.as_slice(),
            "allowed_mentions": { "parse": [] },
            "flags": if self.private { EPHEMERAL } else { 0 } | self.suppression(),
        })
    }

    /// The flag against unfurling links, unless the reply has an embed: its text may contain
    /// members' names, and these may contain links.
    fn suppression(&self) -> u64 {
        if self.embed.is_some() {
            0
        } else {
            SUPPRESS_EMBEDS
        }
    }

    /// Sends the reply to a text command as a Discord reply. Falls back to a plain message or
    /// plain text where the bot lacks the permission to reply or embed. Returns the sent
    /// message's id, if Discord's answer contains it.
    pub async fn to_message(
        &self,
        rest: &Rest,
        message: &Message,
        priority: Priority,
    ) -> Result<Option<MessageId>, RestError> {
        let author = UserId::try_from(message.author.id).map_or(Author::Bot, Author::User);
        let (what, channel) = ("a reply", message.channel_id);
        let _turn = rest
            .turn(what, channel, (priority, author), TURN_TIMEOUT)
            .await?;
        let nonce = nonce::reply(message.id);
        let (mut refers, mut embeds) = (true, self.embed.is_some());
        loop {
            let mut create = self.for_channel(embeds);
            if refers {
                let to = serenity::all::MessageReference::from((message.channel_id, message.id));
                create = create.reference_message(to.fail_if_not_exists(false));
            }
            let nonce = nonce.clone();
            let sent = post_now(rest, what, channel, create, None, nonce, CALL_TIMEOUT);
            match sent.await {
                Err(RestError::Refused { code, .. })
                    if code == NO_REPLY_WITHOUT_HISTORY && refers =>
                {
                    refers = false;
                }
                Err(RestError::Refused { code, .. }) if code == MISSING_PERMISSIONS && embeds => {
                    embeds = false;
                }
                sent => return Ok(id_of(&sent?)),
            }
        }
    }

    /// Replaces the content of a message of the bot.
    pub async fn put_in_place_of(
        &self,
        rest: &Rest,
        channel: ChannelId,
        message: MessageId,
    ) -> Result<(), RestError> {
        let mut body = self.body();
        // An edit can only change this flag.
        body["flags"] = self.suppression().into();
        edit(rest, "completing an answer", channel, message, &body).await
    }

    fn for_channel(&self, embeds: bool) -> CreateMessage {
        let create = CreateMessage::new()
            .allowed_mentions(CreateAllowedMentions::new())
            .components(self.buttons.clone().into_iter().collect());
        match &self.embed {
            Some(embed) if embeds => create
                .content(self.content.clone().unwrap_or_default())
                .embed(embed.clone()),
            Some(embed) => plain(create).content(as_plain_text(embed)),
            None => plain(create).content(self.content.clone().unwrap_or_default()),
        }
    }
}

/// Joins as many whole lines as fit into an embed's description; a last line counts the ones
/// left out. A single line must be much shorter than a description.
pub fn fitting_lines(lines: impl IntoIterator<Item = String>) -> String {
    /// Discord's limit, minus room for the last line.
    const MAX_LENGTH: usize = 4_096 - 40;
    let (mut text, mut length, mut left_out) = (String::new(), 0, 0_usize);
    for line in lines {
        // In UTF-16 units: never fewer than characters, however Discord counts.
        let added = line.encode_utf16().count() + 1;
        if left_out > 0 || length + added > MAX_LENGTH {
            left_out += 1;
            continue;
        }
        if length > 0 {
            text.push('\n');
        }
        length += added;
        text.push_str(&line);
    }
    if left_out > 0 {
        let _ = write!(text, "\n… and {left_out} more");
    }
    text
}

/// Turns off link unfurling: for messages that contain names and no embed.
pub(in crate::discord) fn plain(message: CreateMessage) -> CreateMessage {
    message.flags(MessageFlags::SUPPRESS_EMBEDS)
}

/// Converts an embed's title, description and footer to text, cut at whole lines to the length
/// of a message.
fn as_plain_text(embed: &CreateEmbed) -> String {
    /// Discord's limit for a message, in characters.
    const MAX_LENGTH: usize = 2_000;
    let embed = serde_json::to_value(embed).unwrap_or_default();
    let part = |name: &str| {
        embed
            .pointer(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let footer = part("/footer/text");
    let mut text = format!("**{}**", part("/title"));
    let mut room = MAX_LENGTH.saturating_sub(text.chars().count() + footer.chars().count() + 1);
    for line in part("/description").lines() {
        let length = line.chars().count() + 1;
        if length > room {
            break;
        }
        room -= length;
        text.push('\n');
        text.push_str(line);
    }
    if !footer.is_empty() {
        text.push('\n');
        text.push_str(footer);
    }
    text
}

/// Removes the buttons from a message of the bot. Succeeds if the message is gone.
pub async fn take_buttons_off(
    rest: &Rest,
    channel: ChannelId,
    message: MessageId,
) -> Result<(), RestError> {
    let body = json!({ "components": [] });
    match edit(rest, "taking buttons off", channel, message, &body).await {
        Err(RestError::Refused { status: 404, .. }) => Ok(()),
        other => other,
    }
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
    rest.call(what, Repeat::Safe, CALL_TIMEOUT, |http| {
        let route = Route::ChannelMessage {
            channel_id: channel,
            message_id: message,
        };
        let request = Request::new(route, LightMethod::Patch).body(Some(body.clone()));
        async move { http.send(request).await }
    })
    .await
}

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
    let opened = rest.call(what, Repeat::Safe, CALL_TIMEOUT, |http| {
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
        timeout: CALL_TIMEOUT,
    };
    direct.send(rest).await.map(|_| ())
}

/// Posts in a channel. The caller must hold the channel's turn.
async fn post_now(
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

/// Reads the id of a message in Discord's JSON.
pub(in crate::discord) fn id_of(message: &Value) -> Option<MessageId> {
    crate::discord::payload::id_of(message)
        .filter(|id| *id > 0)
        .map(MessageId::new)
}

#[cfg(test)]
mod tests {
    use serenity::all::CreateEmbedFooter;

    use super::*;

    #[test]
    fn lines_that_do_not_fit_are_counted() {
        let lines = |count: usize| vec!["😀".repeat(200); count];
        assert_eq!(fitting_lines(lines(2)), lines(2).join("\n"));
        let cut = fitting_lines(lines(12));
        assert!(cut.ends_with("\n… and 2 more"), "{cut}");
        assert!(cut.encode_utf16().count() <= 4_096);
        assert_eq!(fitting_lines([]), "");
    }

    #[test]
    fn what_may_not_be_an_embed_is_cut_at_a_line() {
        let line = "x".repeat(300);
        let embed = CreateEmbed::new()
            .title("Title")
            .description([line.as_str(); 10].join("\n"))
            .footer(CreateEmbedFooter::new("1/7"));
        let text = as_plain_text(&embed);
        assert!(text.chars().count() <= 2_000);
        assert_eq!(text.lines().count(), 2 + 6);
        assert!(text.starts_with("**Title**\nxxx") && text.ends_with("x\n1/7"));
        let short = CreateEmbed::new().title("Title").description("a\nb");
        assert_eq!(as_plain_text(&short), "**Title**\na\nb");
    }
}
