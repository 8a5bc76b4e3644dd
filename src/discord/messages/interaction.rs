//! Answers to slash commands, pressed buttons and forms, within Discord's time limits.
//!
//! An interaction must be answered once, within 3 s. The answer can be edited, and further
//! messages sent, for 15 minutes. If work takes too long for the 3 s, a deferral is sent
//! automatically. The interaction's token is part of URLs, so these appear in no error or log.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use serenity::all::{
    ApplicationId, CommandInteraction, ComponentInteraction, CreateAutocompleteResponse,
    CreateInteractionResponse, InteractionId, LightMethod, MessageId, ModalInteraction,
};
use serenity::http::{Request, Route};
use tokio::sync::Mutex;

use super::post::{EPHEMERAL, id_of};
use super::reply::Reply;
use crate::discord::rest::error_codes::ALREADY_ANSWERED;
use crate::discord::rest::{Repeat, Rest, RestError};
use crate::store::open_buttons::AnsweredInteraction;

/// How long work may take before its answer is deferred. It leaves more than half of the 3 s
/// for the deferral to arrive.
const DEFER_AFTER: Duration = Duration::from_millis(1_300);
/// Timeout of the first answer, including retries.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of later calls. The token would work for 15 minutes, but a person is waiting.
const LATER_TIMEOUT: Duration = Duration::from_secs(20);

/// Discord's interaction callback types.
const MESSAGE: u8 = 4;
const DEFERRED_MESSAGE: u8 = 5;
const DEFERRED_UPDATE: u8 = 6;
const UPDATE: u8 = 7;

/// One interaction and the state of its answer.
pub struct Conversation {
    id: InteractionId,
    application: ApplicationId,
    token: String,
    deferral: Deferral,
    /// Held during a call, so that there is only one at a time.
    stage: Mutex<ConversationStage>,
}

/// How an answer is deferred, which decides who sees that one is coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deferral {
    /// Everyone sees it.
    Public,
    /// Only the caller sees it.
    Private,
    /// Nobody sees it: the message whose button was pressed stays unchanged for now.
    Silent,
}

/// The state of an interaction's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConversationStage {
    /// Nothing was sent.
    Fresh,
    /// A deferral was sent, but it is unknown whether it arrived.
    Unsure,
    /// The answer was deferred in this way.
    Deferred(Deferral),
    /// An answer was sent.
    Answered,
}

/// Discord's reaction to a first answer.
enum First {
    /// Discord accepted it, and answered with this.
    Accepted(Value),
    /// Discord had accepted a first answer before.
    AcceptedBefore,
}

impl Conversation {
    /// The conversation of a slash command.
    pub fn of_command(command: &CommandInteraction, deferral: Deferral) -> Self {
        let (id, application) = (command.id, command.application_id);
        Self::new(id, application, &command.token, deferral)
    }

    /// The conversation of a pressed button.
    pub fn of_press(press: &ComponentInteraction) -> Self {
        let (id, application) = (press.id, press.application_id);
        Self::new(id, application, &press.token, Deferral::Silent)
    }

    /// The conversation of a submitted form.
    pub fn of_form(form: &ModalInteraction) -> Self {
        let (id, application) = (form.id, form.application_id);
        Self::new(id, application, &form.token, Deferral::Private)
    }

    fn new(id: InteractionId, application: ApplicationId, token: &str, deferral: Deferral) -> Self {
        Self {
            id,
            application,
            token: token.to_owned(),
            deferral,
            stage: Mutex::new(ConversationStage::Fresh),
        }
    }

    /// Runs `work`, and defers the answer if it takes too long.
    pub async fn defer_if_late<T>(&self, rest: &Rest, work: impl Future<Output = T>) -> T {
        let deferring = async {
            tokio::time::sleep(DEFER_AFTER).await;
            if let Err(error) = self.defer(rest).await {
                tracing::warn!(%error, "an answer that takes long could not be deferred");
            }
            std::future::pending().await
        };
        tokio::select! {
            done = work => done,
            never = deferring => never,
        }
    }

    /// Sends a deferral, if nothing was sent yet.
    pub async fn defer(&self, rest: &Rest) -> Result<(), RestError> {
        self.defer_as(rest, self.deferral).await
    }

    /// As [`Conversation::defer`], but only the caller sees that an answer is coming.
    pub async fn defer_privately(&self, rest: &Rest) -> Result<(), RestError> {
        self.defer_as(rest, Deferral::Private).await
    }

    async fn defer_as(&self, rest: &Rest, deferral: Deferral) -> Result<(), RestError> {
        let mut stage = self.stage.lock().await;
        if *stage != ConversationStage::Fresh {
            return Ok(());
        }
        let body = match deferral {
            Deferral::Public => json!({ "type": DEFERRED_MESSAGE }),
            Deferral::Private => {
                json!({ "type": DEFERRED_MESSAGE, "data": { "flags": EPHEMERAL } })
            }
            Deferral::Silent => json!({ "type": DEFERRED_UPDATE }),
        };
        // Set before the call, in case this future is dropped during it.
        *stage = ConversationStage::Unsure;
        self.first(rest, &body).await?;
        *stage = ConversationStage::Deferred(deferral);
        Ok(())
    }

    /// Sends a reply as a new message. Returns its id, if Discord's answer contains it.
    pub async fn answer(&self, rest: &Rest, reply: &Reply) -> Result<Option<MessageId>, RestError> {
        let mut stage = self.stage.lock().await;
        if matches!(*stage, ConversationStage::Fresh | ConversationStage::Unsure) {
            let body = json!({ "type": MESSAGE, "data": reply.body() });
            match self.first(rest, &body).await? {
                First::Accepted(answer) => {
                    *stage = ConversationStage::Answered;
                    return Ok(id_of(&answer["resource"]["message"]));
                }
                // Discord accepted this answer at an earlier attempt of the same call.
                First::AcceptedBefore if *stage == ConversationStage::Fresh => {
                    *stage = ConversationStage::Answered;
                    return Ok(None);
                }
                First::AcceptedBefore => *stage = ConversationStage::Deferred(self.deferral),
            }
        }
        let answered = match *stage {
            ConversationStage::Deferred(deferral @ (Deferral::Public | Deferral::Private)) => {
                if reply.is_private() == (deferral == Deferral::Private) {
                    self.edit(rest, &reply.body()).await
                } else {
                    // The deferral decides who sees the answer that replaces it. To change that,
                    // delete the deferral and send a new message.
                    self.delete(rest).await?;
                    self.add(rest, reply).await
                }
            }
            _ => self.add(rest, reply).await,
        };
        if answered.is_ok() {
            *stage = ConversationStage::Answered;
        }
        answered
    }

    /// Replaces the content of the answer, or of the message whose button was pressed.
    pub async fn replace(&self, rest: &Rest, reply: &Reply) -> Result<(), RestError> {
        self.rewrite(rest, &reply.body()).await
    }

    /// Removes the buttons from the message whose button was pressed.
    pub async fn take_buttons_off(&self, rest: &Rest) -> Result<(), RestError> {
        self.rewrite(rest, &json!({ "components": [] })).await
    }

    /// The application id and token, with which the answers can be edited later.
    pub fn interaction(&self) -> AnsweredInteraction {
        AnsweredInteraction {
            application: self.application.get(),
            token: self.token.clone().into(),
        }
    }

    async fn rewrite(&self, rest: &Rest, body: &Value) -> Result<(), RestError> {
        let mut stage = self.stage.lock().await;
        if matches!(*stage, ConversationStage::Fresh | ConversationStage::Unsure) {
            let first = json!({ "type": UPDATE, "data": body });
            let first = self.first(rest, &first).await?;
            let before = std::mem::replace(&mut *stage, ConversationStage::Answered);
            if matches!(first, First::Accepted(_)) || before == ConversationStage::Fresh {
                return Ok(());
            }
        }
        *stage = ConversationStage::Answered;
        self.edit(rest, body).await.map(|_| ())
    }

    /// Deletes the answer, or the message whose button was pressed. Succeeds if it is gone.
    pub async fn delete(&self, rest: &Rest) -> Result<(), RestError> {
        let what = "taking a message away";
        let deleted = rest.call(what, Repeat::Safe, LATER_TIMEOUT, |http| {
            let request = Request::new(self.original(), LightMethod::Delete);
            async move { http.send(request).await }
        });
        match deleted.await {
            Err(RestError::Refused { status: 404, .. }) => Ok(()),
            other => other,
        }
    }

    /// Edits the answer, or the message whose button was pressed. Returns the message's id, if
    /// Discord's answer contains it.
    async fn edit(&self, rest: &Rest, body: &Value) -> Result<Option<MessageId>, RestError> {
        let body = bytes(body);
        let edited = rest.call("an answer", Repeat::Safe, LATER_TIMEOUT, |http| {
            let request = Request::new(self.original(), LightMethod::Patch);
            let request = request.body(Some(body.clone()));
            async move { http.send_and_look(request).await }
        });
        Ok(id_of(&edited.await?))
    }

    /// Sends a follow-up message. The call is not retried if its outcome is unknown: that could
    /// send the message twice.
    async fn add(&self, rest: &Rest, reply: &Reply) -> Result<Option<MessageId>, RestError> {
        let body = bytes(&reply.body());
        let what = "a further answer";
        let added = rest.call(what, Repeat::Never, LATER_TIMEOUT, |http| {
            let route = Route::WebhookWithToken {
                webhook_id: self.application.get().into(),
                token: &self.token,
            };
            let request = Request::new(route, LightMethod::Post).body(Some(body.clone()));
            async move { http.send_and_look(request).await }
        });
        Ok(id_of(&added.await?))
    }

    async fn first(&self, rest: &Rest, body: &Value) -> Result<First, RestError> {
        match first(rest, self.id, &self.token, body).await {
            Ok(answer) => Ok(First::Accepted(answer)),
            Err(RestError::Refused {
                code: ALREADY_ANSWERED,
                ..
            }) => Ok(First::AcceptedBefore),
            Err(error) => Err(error),
        }
    }

    fn original(&self) -> Route<'_> {
        Route::WebhookOriginalInteractionResponse {
            application_id: self.application,
            token: &self.token,
        }
    }
}

impl std::fmt::Debug for Conversation {
    /// Leaves out the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversation")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Removes the buttons from an answer to an interaction. Works even if the bot does not see the
/// channel.
pub async fn take_buttons_off(
    rest: &Rest,
    interaction: &AnsweredInteraction,
    message: MessageId,
) -> Result<(), RestError> {
    let body = bytes(&json!({ "components": [] }));
    rest.call("taking buttons off", Repeat::Safe, LATER_TIMEOUT, |http| {
        let route = Route::WebhookFollowupMessage {
            application_id: interaction.application.into(),
            token: interaction.token.expose_secret(),
            message_id: message,
        };
        let request = Request::new(route, LightMethod::Patch).body(Some(body.clone()));
        async move { http.send(request).await }
    })
    .await
}

/// Sends autocomplete suggestions for a command that a member is typing.
pub async fn suggest(
    rest: &Rest,
    typed: &CommandInteraction,
    suggestions: CreateAutocompleteResponse,
) -> Result<(), RestError> {
    let answer = CreateInteractionResponse::Autocomplete(suggestions);
    let body = serde_json::to_value(answer)
        .map_err(|_| RestError::NotUnderstood("the suggestions are not JSON".to_owned()))?;
    first(rest, typed.id, &typed.token, &body).await.map(|_| ())
}

async fn first(
    rest: &Rest,
    id: InteractionId,
    token: &str,
    body: &Value,
) -> Result<Value, RestError> {
    let body = bytes(body);
    rest.call("an answer", Repeat::Safe, FIRST_ANSWER_TIMEOUT, |http| {
        let route = Route::InteractionResponse {
            interaction_id: id,
            token,
        };
        let request = Request::new(route, LightMethod::Post)
            .body(Some(body.clone()))
            .params(Some(vec![("with_response", "true".to_owned())]));
        async move { http.send_and_look(request).await }
    })
    .await
}

fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}
