//! Answers to slash commands and to pressed buttons, within the time that Discord gives.
//!
//! An interaction is answered once, within 3 s; the answer can be changed, and more said,
//! for 15 minutes. Its token stands in URLs, which are in no error and no log.

use std::time::Duration;

use serde_json::{Value, json};
use serenity::all::{
    ApplicationId, CommandInteraction, ComponentInteraction, InteractionId, LightMethod, MessageId,
};
use serenity::http::{Request, Route};

use super::reply::{EPHEMERAL, Reply, id_of};
use super::rest::{Repeat, Rest, RestError};

/// What a command may do before it answers is bounded so that this fits into the 3 s.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);
/// Later words have the token's 15 minutes; a person has not.
const LATER_PATIENCE: Duration = Duration::from_secs(20);
/// "Interaction has already been acknowledged": an earlier attempt came through.
const ALREADY_ANSWERED: isize = 40_060;

/// How Discord numbers first answers.
const MESSAGE: u8 = 4;
const DEFERRED_MESSAGE: u8 = 5;
const DEFERRED_UPDATE: u8 = 6;
const UPDATE: u8 = 7;

/// What someone did, and where the answer goes.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    id: InteractionId,
    application: ApplicationId,
    token: &'a str,
}

impl<'a> From<&'a CommandInteraction> for Asked<'a> {
    fn from(command: &'a CommandInteraction) -> Self {
        Self {
            id: command.id,
            application: command.application_id,
            token: &command.token,
        }
    }
}

impl<'a> From<&'a ComponentInteraction> for Asked<'a> {
    fn from(press: &'a ComponentInteraction) -> Self {
        Self {
            id: press.id,
            application: press.application_id,
            token: &press.token,
        }
    }
}

impl Asked<'_> {
    /// Answers with a message. Its id, if Discord told it.
    pub async fn answer(self, rest: &Rest, reply: &Reply) -> Result<Option<MessageId>, RestError> {
        let body = json!({ "type": MESSAGE, "data": reply.body() });
        let answer = self.first(rest, &body).await?;
        Ok(id_of(&answer["resource"]["message"]))
    }

    /// Says that the answer takes longer; it comes with [`Asked::edit`].
    pub async fn defer(self, rest: &Rest) -> Result<(), RestError> {
        let body = json!({ "type": DEFERRED_MESSAGE });
        self.first(rest, &body).await.map(|_| ())
    }

    /// The same for an answer that only whoever did something sees.
    pub async fn defer_privately(self, rest: &Rest) -> Result<(), RestError> {
        let body = json!({ "type": DEFERRED_MESSAGE, "data": { "flags": EPHEMERAL } });
        self.first(rest, &body).await.map(|_| ())
    }

    /// Puts something else into the message whose button was pressed.
    pub async fn update(self, rest: &Rest, reply: &Reply) -> Result<(), RestError> {
        let body = json!({ "type": UPDATE, "data": reply.body() });
        self.first(rest, &body).await.map(|_| ())
    }

    /// Takes the buttons off the message whose button was pressed.
    pub async fn without_buttons(self, rest: &Rest) -> Result<(), RestError> {
        let body = json!({ "type": UPDATE, "data": { "components": [] } });
        self.first(rest, &body).await.map(|_| ())
    }

    /// Says that a button was understood; its message stays as it is for now.
    pub async fn acknowledge(self, rest: &Rest) -> Result<(), RestError> {
        let body = json!({ "type": DEFERRED_UPDATE });
        self.first(rest, &body).await.map(|_| ())
    }

    /// Gives the message that this is about its final form. Its id, if Discord told it.
    pub async fn edit(self, rest: &Rest, reply: &Reply) -> Result<Option<MessageId>, RestError> {
        let body = bytes(&reply.body());
        let edited = rest.call("an answer", Repeat::Safe, LATER_PATIENCE, |http| {
            let request = Request::new(self.original(), LightMethod::Patch);
            let request = request.body(Some(body.clone()));
            async move { http.send_and_look(request).await }
        });
        Ok(id_of(&edited.await?))
    }

    /// Takes the message away that this is about. One that is gone is away.
    pub async fn delete(self, rest: &Rest) -> Result<(), RestError> {
        let deleted = rest.call(
            "taking a message away",
            Repeat::Safe,
            LATER_PATIENCE,
            |http| {
                let request = Request::new(self.original(), LightMethod::Delete);
                async move { http.send(request).await }
            },
        );
        match deleted.await {
            Err(RestError::Refused { status: 404, .. }) => Ok(()),
            other => other,
        }
    }

    /// Says something more. Not repeated when nobody knows whether it was said.
    pub async fn add(self, rest: &Rest, reply: &Reply) -> Result<(), RestError> {
        let body = bytes(&reply.body());
        rest.call("a further answer", Repeat::Never, LATER_PATIENCE, |http| {
            let route = Route::WebhookWithToken {
                webhook_id: self.application.get().into(),
                token: self.token,
            };
            let request = Request::new(route, LightMethod::Post).body(Some(body.clone()));
            async move { http.send(request).await }
        })
        .await
    }

    async fn first(self, rest: &Rest, body: &Value) -> Result<Value, RestError> {
        let body = bytes(body);
        let answered = rest.call("an answer", Repeat::Safe, FIRST_PATIENCE, |http| {
            let route = Route::InteractionResponse {
                interaction_id: self.id,
                token: self.token,
            };
            let request = Request::new(route, LightMethod::Post)
                .body(Some(body.clone()))
                .params(Some(vec![("with_response", "true".to_owned())]));
            async move { http.send_and_look(request).await }
        });
        match answered.await {
            Err(RestError::Refused {
                code: ALREADY_ANSWERED,
                ..
            }) => Ok(Value::Null),
            other => other,
        }
    }

    fn original(&self) -> Route<'_> {
        Route::WebhookOriginalInteractionResponse {
            application_id: self.application,
            token: self.token,
        }
    }
}

fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}
