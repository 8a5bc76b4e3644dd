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

    /// Answers a text command, referring to it.
    pub async fn to_message(self, rest: &Rest, message: &Message) -> Result<(), RestError> {
        let mut create = CreateMessage::new().allowed_mentions(CreateAllowedMentions::new());
        if let Some(content) = self.content {
            create = create.content(content);
        }
        if let Some(embed) = self.embed {
            create = create.embed(embed);
        }
        // A level-up line for the same message has the bare id as its nonce.
        let nonce = format!("r{}", message.id);
        let reference = serenity::all::MessageReference::from((message.channel_id, message.id));
        let create = create.reference_message(reference.fail_if_not_exists(false));
        send(
            rest,
            "a reply",
            message.channel_id,
            create,
            nonce,
            TEXT_PATIENCE,
        )
        .await
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
