//! Replies of commands: one type for text commands, slash commands and buttons.
//!
//! A reply never pings anybody: its `allowed_mentions` is always empty.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use serenity::all::{
    ChannelId, CreateActionRow, CreateAllowedMentions, CreateEmbed, CreateMessage, Message,
    MessageId,
};

use super::nonce;
use super::post::{EPHEMERAL, SUPPRESS_EMBEDS, edit, id_of, plain, post_now};
use crate::discord::rest::error_codes::{MISSING_PERMISSIONS, NO_REPLY_WITHOUT_HISTORY};
use crate::discord::rest::timeouts::MESSAGE_CALL_TIMEOUT;
use crate::discord::rest::{Author, Priority, Rest, RestError};
use crate::leveling::UserId;

/// How long a reply to a text command waits for its turn in the channel.
const TURN_TIMEOUT: Duration = Duration::from_mins(1);

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
            let sent = post_now(
                rest,
                what,
                channel,
                create,
                None,
                nonce,
                MESSAGE_CALL_TIMEOUT,
            );
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
