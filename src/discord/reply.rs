//! Answers to commands: one shape for text and slash, sent under the REST policy.
//!
//! Nothing said here ever pings: `allowed_mentions` is always empty.

use std::time::Duration;

use serde::de::IgnoredAny;
use serenity::all::{
    ChannelId, CommandInteraction, CreateAllowedMentions, CreateEmbed, CreateInteractionResponse,
    CreateInteractionResponseMessage, CreateMessage, LightMethod, Message, Nonce,
};
use serenity::http::{Request, Route};

use super::rest::{Repeat, Rest, RestError};

/// The colour of answers that inform.
pub const INFO: u32 = 0x00_bf_bd;

/// Text answers may come late; slash commands are answered within Discord's 3 s or never.
const TEXT_PATIENCE: Duration = Duration::from_secs(20);
/// What a command may do before it answers is bounded so that this fits into the 3 s.
const SLASH_PATIENCE: Duration = Duration::from_secs(2);
/// "Interaction has already been acknowledged": an earlier attempt came through.
const ALREADY_ANSWERED: isize = 40_060;
const MISSING_PERMISSIONS: isize = 50_013;
/// "Cannot reply without permission to read message history".
const NO_REPLY_WITHOUT_HISTORY: isize = 160_002;

/// What to say.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    content: Option<String>,
    embed: Option<CreateEmbed>,
    private: bool,
}

impl Reply {
    /// A sentence.
    pub fn text(content: impl Into<String>) -> Self {
        Self {
            content: Some(content.into()),
            ..Self::default()
        }
    }

    /// An embed.
    pub fn embed(embed: CreateEmbed) -> Self {
        Self {
            embed: Some(embed),
            ..Self::default()
        }
    }

    /// For the caller's eyes only, where Discord can do that: in answers to slash commands.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// Answers a text command, referring to it. Where the bot may not refer or embed it
    /// does without: an answer that looks plain is better than none.
    pub async fn to_message(self, rest: &Rest, message: &Message) -> Result<(), RestError> {
        // A level-up line for the same message has the bare id as its nonce.
        let nonce = format!("r{}", message.id);
        let (mut refers, mut embeds) = (true, self.embed.is_some());
        loop {
            let mut create = self.for_channel(embeds);
            if refers {
                let to = serenity::all::MessageReference::from((message.channel_id, message.id));
                create = create.reference_message(to.fail_if_not_exists(false));
            }
            let channel = message.channel_id;
            let sent = send(
                rest,
                "a reply",
                channel,
                create,
                nonce.clone(),
                TEXT_PATIENCE,
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
                sent => return sent,
            }
        }
    }

    fn for_channel(&self, embeds: bool) -> CreateMessage {
        let create = CreateMessage::new().allowed_mentions(CreateAllowedMentions::new());
        match &self.embed {
            Some(embed) if embeds => create
                .content(self.content.clone().unwrap_or_default())
                .embed(embed.clone()),
            Some(embed) => create.content(in_plain_text(embed)),
            None => create.content(self.content.clone().unwrap_or_default()),
        }
    }

    /// Answers a slash command.
    pub async fn to_interaction(
        self,
        rest: &Rest,
        interaction: &CommandInteraction,
    ) -> Result<(), RestError> {
        let mut message = CreateInteractionResponseMessage::new()
            .allowed_mentions(CreateAllowedMentions::new())
            .ephemeral(self.private);
        if let Some(content) = self.content {
            message = message.content(content);
        }
        if let Some(embed) = self.embed {
            message = message.embed(embed);
        }
        let response = CreateInteractionResponse::Message(message);
        let answered = rest
            .call("an answer", Repeat::Safe, SLASH_PATIENCE, |http| {
                let response = &response;
                async move {
                    http.create_interaction_response(
                        interaction.id,
                        &interaction.token,
                        response,
                        Vec::new(),
                    )
                    .await
                }
            })
            .await;
        match answered {
            Err(RestError::Refused {
                code: ALREADY_ANSWERED,
                ..
            }) => Ok(()),
            other => other,
        }
    }
}

/// An embed's title and description.
fn in_plain_text(embed: &CreateEmbed) -> String {
    let embed = serde_json::to_value(embed).unwrap_or_default();
    let part = |name: &str| embed[name].as_str().unwrap_or_default();
    format!("**{}**\n{}", part("title"), part("description"))
}

/// Posts a message exactly once: Discord drops a second one with the same nonce.
pub async fn send(
    rest: &Rest,
    what: &'static str,
    channel: ChannelId,
    message: CreateMessage,
    nonce: String,
    patience: Duration,
) -> Result<(), RestError> {
    let message = message.nonce(Nonce::String(nonce)).enforce_nonce(true);
    let body = serde_json::to_vec(&message)
        .map_err(|_| RestError::NotUnderstood("the message is not JSON"))?;
    rest.call(what, Repeat::Safe, patience, |http| {
        let route = Route::ChannelMessages {
            channel_id: channel,
        };
        let request = Request::new(route, LightMethod::Post).body(Some(body.clone()));
        // What Discord makes of the message is of no interest: an answer that
        // serenity could not parse must not look like a failure.
        async move { http.fire::<IgnoredAny>(request).await.map(|_| ()) }
    })
    .await
}
