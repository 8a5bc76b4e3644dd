//! Conversations over slash commands and pressed buttons, within the time that Discord gives.
//!
//! An interaction must be answered once, within 3 s; the answer can be changed, and more said,
//! for 15 minutes. Work that takes longer is announced by a deferral, which is sent by itself.
//! The interaction's token stands in URLs, which are in no error and no log.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use serenity::all::{
    ApplicationId, CommandInteraction, ComponentInteraction, CreateAutocompleteResponse,
    CreateInteractionResponse, InteractionId, LightMethod, MessageId, ModalInteraction,
};
use serenity::http::{Request, Route};
use tokio::sync::Mutex;

use super::codes::ALREADY_ANSWERED;
use super::reply::{EPHEMERAL, Reply, id_of};
use super::rest::{Repeat, Rest, RestError};
use crate::store::open_buttons::AnsweredInteraction;

/// How long work may take before its answer is deferred: more than half of the 3 s is left for
/// the deferral to arrive.
const DEFER_AFTER: Duration = Duration::from_millis(1_300);
/// How long the first answer is tried.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);
/// Later words have the token's 15 minutes; a person has not.
const LATER_PATIENCE: Duration = Duration::from_secs(20);

/// How Discord numbers first answers.
const MESSAGE: u8 = 4;
const DEFERRED_MESSAGE: u8 = 5;
const DEFERRED_UPDATE: u8 = 6;
const UPDATE: u8 = 7;

/// What someone did, and what they have been told so far.
pub struct Conversation {
    id: InteractionId,
    application: ApplicationId,
    token: String,
    deferral: Deferral,
    /// Held while Discord is told something: one thing at a time.
    stage: Mutex<Stage>,
}

/// How an answer is deferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deferral {
    /// Everyone sees that an answer is coming.
    Public,
    /// Only whoever asked sees it.
    Private,
    /// Nobody sees it: the message whose button was pressed stays as it is for now.
    Silent,
}

/// How far a conversation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was said.
    Fresh,
    /// A deferral was sent, and nobody knows whether it arrived.
    Unsure,
    /// An answer was promised, in the way that the deferral says.
    Deferred(Deferral),
    /// There is an answer.
    Answered,
}

/// What came of a first answer.
enum First {
    /// Discord took it, and shows this.
    Taken(Value),
    /// Discord had taken one before.
    TakenBefore,
}

impl Conversation {
    /// Over a slash command.
    pub fn of_command(command: &CommandInteraction, deferral: Deferral) -> Self {
        let (id, application) = (command.id, command.application_id);
        Self::new(id, application, &command.token, deferral)
    }

    /// Over a pressed button.
    pub fn of_press(press: &ComponentInteraction) -> Self {
        let (id, application) = (press.id, press.application_id);
        Self::new(id, application, &press.token, Deferral::Silent)
    }

    /// Over a form that was filled in.
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
            stage: Mutex::new(Stage::Fresh),
        }
    }

    /// Does what somebody waits for, and defers the answer if it takes too long.
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

    /// Asks Discord for more time, if nothing was said yet.
    pub async fn defer(&self, rest: &Rest) -> Result<(), RestError> {
        self.defer_as(rest, self.deferral).await
    }

    /// The same, and only whoever asked sees that an answer is coming.
    pub async fn defer_privately(&self, rest: &Rest) -> Result<(), RestError> {
        self.defer_as(rest, Deferral::Private).await
    }

    async fn defer_as(&self, rest: &Rest, deferral: Deferral) -> Result<(), RestError> {
        let mut stage = self.stage.lock().await;
        if *stage != Stage::Fresh {
            return Ok(());
        }
        let body = match deferral {
            Deferral::Public => json!({ "type": DEFERRED_MESSAGE }),
            Deferral::Private => {
                json!({ "type": DEFERRED_MESSAGE, "data": { "flags": EPHEMERAL } })
            }
            Deferral::Silent => json!({ "type": DEFERRED_UPDATE }),
        };
        // Also when this is cut off.
        *stage = Stage::Unsure;
        self.first(rest, &body).await?;
        *stage = Stage::Deferred(deferral);
        Ok(())
    }

    /// Says something, with a message of its own. The message's id, if Discord told it.
    pub async fn answer(&self, rest: &Rest, reply: &Reply) -> Result<Option<MessageId>, RestError> {
        let mut stage = self.stage.lock().await;
        if matches!(*stage, Stage::Fresh | Stage::Unsure) {
            let body = json!({ "type": MESSAGE, "data": reply.body() });
            match self.first(rest, &body).await? {
                First::Taken(answer) => {
                    *stage = Stage::Answered;
                    return Ok(id_of(&answer["resource"]["message"]));
                }
                // It was this very answer, at an earlier attempt.
                First::TakenBefore if *stage == Stage::Fresh => {
                    *stage = Stage::Answered;
                    return Ok(None);
                }
                First::TakenBefore => *stage = Stage::Deferred(self.deferral),
            }
        }
        let answered = match *stage {
            Stage::Deferred(deferral @ (Deferral::Public | Deferral::Private)) => {
                if reply.is_private() == (deferral == Deferral::Private) {
                    self.edit(rest, &reply.body()).await
                } else {
                    // A deferral decides who sees what takes its place.
                    self.delete(rest).await?;
                    self.add(rest, reply).await
                }
            }
            _ => self.add(rest, reply).await,
        };
        if answered.is_ok() {
            *stage = Stage::Answered;
        }
        answered
    }

    /// Puts something else into the place of the answer, or into the message whose button was
    /// pressed.
    pub async fn replace(&self, rest: &Rest, reply: &Reply) -> Result<(), RestError> {
        self.rewrite(rest, &reply.body()).await
    }

    /// Takes the buttons off the message whose button was pressed.
    pub async fn take_buttons_off(&self, rest: &Rest) -> Result<(), RestError> {
        self.rewrite(rest, &json!({ "components": [] })).await
    }

    /// With what its answers can be changed later.
    pub fn interaction(&self) -> AnsweredInteraction {
        AnsweredInteraction {
            application: self.application.get(),
            token: self.token.clone().into(),
        }
    }

    async fn rewrite(&self, rest: &Rest, body: &Value) -> Result<(), RestError> {
        let mut stage = self.stage.lock().await;
        if matches!(*stage, Stage::Fresh | Stage::Unsure) {
            let first = json!({ "type": UPDATE, "data": body });
            let first = self.first(rest, &first).await?;
            let before = std::mem::replace(&mut *stage, Stage::Answered);
            if matches!(first, First::Taken(_)) || before == Stage::Fresh {
                return Ok(());
            }
        }
        *stage = Stage::Answered;
        self.edit(rest, body).await.map(|_| ())
    }

    /// Takes the answer away, or the message whose button was pressed. One that is gone is away.
    pub async fn delete(&self, rest: &Rest) -> Result<(), RestError> {
        let what = "taking a message away";
        let deleted = rest.call(what, Repeat::Safe, LATER_PATIENCE, |http| {
            let request = Request::new(self.original(), LightMethod::Delete);
            async move { http.send(request).await }
        });
        match deleted.await {
            Err(RestError::Refused { status: 404, .. }) => Ok(()),
            other => other,
        }
    }

    /// Gives the message that this is about its final form. Its id, if Discord told it.
    async fn edit(&self, rest: &Rest, body: &Value) -> Result<Option<MessageId>, RestError> {
        let body = bytes(body);
        let edited = rest.call("an answer", Repeat::Safe, LATER_PATIENCE, |http| {
            let request = Request::new(self.original(), LightMethod::Patch);
            let request = request.body(Some(body.clone()));
            async move { http.send_and_look(request).await }
        });
        Ok(id_of(&edited.await?))
    }

    /// Says something more. Not repeated when nobody knows whether it was said.
    async fn add(&self, rest: &Rest, reply: &Reply) -> Result<Option<MessageId>, RestError> {
        let body = bytes(&reply.body());
        let what = "a further answer";
        let added = rest.call(what, Repeat::Never, LATER_PATIENCE, |http| {
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
            Ok(answer) => Ok(First::Taken(answer)),
            Err(RestError::Refused {
                code: ALREADY_ANSWERED,
                ..
            }) => Ok(First::TakenBefore),
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
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversation")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Takes the buttons off an answer to an interaction, also where the bot may not see the channel.
pub async fn take_buttons_off(
    rest: &Rest,
    interaction: &AnsweredInteraction,
    message: MessageId,
) -> Result<(), RestError> {
    let body = bytes(&json!({ "components": [] }));
    rest.call("taking buttons off", Repeat::Safe, LATER_PATIENCE, |http| {
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

/// Suggests something to a member who is typing a command.
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
    rest.call("an answer", Repeat::Safe, FIRST_PATIENCE, |http| {
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
