//! Interactions: what people invoke, and how the bot answers within its time.

use std::time::Instant;

use serde_json::{Value, json};

use crate::clock::Id;
use crate::objects::{self, id_in, text};
use crate::rest::validate::{self, Form};
use crate::rest::{
    Call, Outcome, Refusal, UNKNOWN_INTERACTION, UNKNOWN_MESSAGE, UNKNOWN_WEBHOOK, unknown_route,
};
use crate::state::{State, Stored};

const ALREADY_ANSWERED: Refusal =
    Refusal::new(400, 40_060, "Interaction has already been acknowledged.");
const TOKEN_EXPIRED: Refusal = Refusal::new(401, 50_027, "Invalid Webhook Token");
/// The token is good for this time of the world's.
const TOKEN_MS: u64 = 15 * 60_000;
/// Message flags.
const EPHEMERAL: u64 = 1 << 6;
const LOADING: u64 = 1 << 7;

/// Something that a person invoked.
#[derive(Debug)]
pub(crate) struct Interaction {
    pub id: Id,
    pub token: String,
    pub channel: Id,
    pub user: Id,
    /// `/rank` and the like, for the answer's message.
    pub name: String,
    /// 2 for a command, 3 for a component.
    pub kind: u8,
    /// The message whose component was used.
    pub source: Option<Id>,
    pub made: Instant,
    pub made_ms: u64,
    pub answered: bool,
    /// The message that is `@original`.
    pub original: Option<Id>,
}

impl State {
    pub(super) fn callback(&mut self, id: Id, token: &str, call: &Call) -> Outcome {
        let interaction = self.interactions.get(&id).ok_or(UNKNOWN_INTERACTION)?;
        if interaction.token != token {
            return Err(UNKNOWN_INTERACTION);
        }
        if interaction.answered {
            return Err(ALREADY_ANSWERED);
        }
        if interaction.made.elapsed() >= self.settings.answer_within {
            return Err(UNKNOWN_INTERACTION);
        }
        let (channel, source) = (interaction.channel, interaction.source);
        let data = Call {
            method: call.method.clone(),
            path: call.path.clone(),
            query: call.query.clone(),
            body: call.body["data"].clone(),
            files: call.files.clone(),
        };
        let kind = call.body["type"].as_u64().unwrap_or(0);
        let original = match kind {
            4 => Some(self.answer_with(id, &data, None)?),
            5 => Some(self.answer_with(id, &data, Some(LOADING))?),
            6 | 7 if source.is_some() => {
                let source = source.unwrap_or_default();
                if kind == 7 {
                    self.rewrite(channel, source, &data)?;
                }
                Some(source)
            }
            _ => {
                let mut form = Form::default();
                form.refuse(
                    "type",
                    "BASE_TYPE_CHOICES",
                    "Value must be one of (4, 5, 6, 7).",
                );
                return Err(form.refusal());
            }
        };
        if let Some(interaction) = self.interactions.get_mut(&id) {
            interaction.answered = true;
            interaction.original = original;
        }
        if call
            .query
            .get("with_response")
            .is_none_or(|with| with != "true")
        {
            return Ok((204, Value::Null));
        }
        let message = original.and_then(|id| self.find_message(id));
        let message = message.map(|stored| stored.json.clone());
        let interaction = json!({
            "id": text(id),
            "type": self.interactions.get(&id).map(|interaction| interaction.kind),
            "response_message_id": original.map(text),
        });
        let resource = json!({ "type": kind, "message": message });
        Ok((
            200,
            json!({ "interaction": interaction, "resource": resource }),
        ))
    }

    pub(super) fn route_webhook(
        &mut self,
        app: Id,
        token: &str,
        rest: &[&str],
        call: &Call,
    ) -> Outcome {
        if app != self.bot {
            return Err(UNKNOWN_WEBHOOK);
        }
        let now = self.clock.now_ms();
        let interaction = self.interactions.values().find(|one| one.token == token);
        let interaction = interaction.filter(|one| now < one.made_ms + TOKEN_MS);
        let interaction = interaction.ok_or(TOKEN_EXPIRED)?;
        let (id, channel) = (interaction.id, interaction.channel);
        if !interaction.answered {
            return Err(UNKNOWN_WEBHOOK);
        }
        let original = interaction.original;
        let message = match rest {
            [] if call.method == hyper::Method::POST => return self.follow_up(id, call),
            ["messages", "@original"] => original.ok_or(UNKNOWN_MESSAGE)?,
            ["messages", message] => super::id("message_id", message)?,
            _ => return unknown_route(call),
        };
        self.find_message(message).ok_or(UNKNOWN_MESSAGE)?;
        match call.method.as_str() {
            "GET" => {
                let found = self.find_message(message).ok_or(UNKNOWN_MESSAGE)?;
                Ok((200, found.json.clone()))
            }
            "PATCH" => {
                self.finish_loading(message);
                self.rewrite(channel, message, call)
            }
            "DELETE" => {
                if self.ephemeral.remove(&message).is_none() {
                    self.delete_message(channel, message);
                }
                Ok((204, Value::Null))
            }
            _ => unknown_route(call),
        }
    }

    /// A further answer. The first one after a deferral takes its place.
    fn follow_up(&mut self, id: Id, call: &Call) -> Outcome {
        let interaction = self.interactions.get(&id).ok_or(UNKNOWN_WEBHOOK)?;
        let channel = interaction.channel;
        let deferred = interaction.original.filter(|&original| {
            self.find_message(original)
                .is_some_and(|stored| is_loading(&stored.json))
        });
        if let Some(original) = deferred {
            validate::message(call)?;
            self.finish_loading(original);
            return self.rewrite(channel, original, call);
        }
        let message = self.answer_with(id, call, None)?;
        let found = self.find_message(message).ok_or(UNKNOWN_MESSAGE)?;
        Ok((200, found.json.clone()))
    }

    /// Posts an answer: in the channel, or where only one person sees it. An
    /// answer that is `loading` has no content yet.
    fn answer_with(&mut self, id: Id, call: &Call, loading: Option<u64>) -> Result<Id, Refusal> {
        let mut draft = if loading.is_some() {
            validate::parts(&call.body)?
        } else {
            validate::message(call)?
        };
        let interaction = self.interactions.get(&id).ok_or(UNKNOWN_INTERACTION)?;
        let (channel, user, name) = (
            interaction.channel,
            interaction.user,
            interaction.name.clone(),
        );
        let (kind, source) = (interaction.kind, interaction.source);
        draft.flags |= loading.unwrap_or(0);
        let ephemeral = draft.flags & EPHEMERAL != 0;
        let mut stored = self.draft_message(channel, &draft, call);
        let user = self
            .user(user)
            .as_ref()
            .map(objects::user)
            .unwrap_or_default();
        let json = &mut stored.json;
        json["type"] = if kind == 2 { 20 } else { 0 }.into();
        json["webhook_id"] = text(self.bot).into();
        json["application_id"] = text(self.bot).into();
        let mut metadata = json!({
            "id": text(id),
            "type": kind,
            "user": user,
            "authorizing_integration_owners": {},
        });
        if kind == 2 {
            metadata["name"] = name.clone().into();
            json["interaction"] =
                json!({ "id": text(id), "type": kind, "name": name, "user": metadata["user"] });
        } else {
            metadata["interacted_message_id"] = source.map(text).into();
        }
        json["interaction_metadata"] = metadata;
        let message = id_in(&json["id"]).unwrap_or_default();
        self.keep_answer(stored, message, ephemeral);
        Ok(message)
    }

    fn keep_answer(&mut self, stored: Stored, message: Id, ephemeral: bool) {
        if ephemeral {
            self.let_hear(&stored.json);
            self.ephemeral.insert(message, stored);
        } else {
            self.take_message(stored, true);
        }
    }

    fn finish_loading(&mut self, message: Id) {
        let stored = self
            .messages
            .values_mut()
            .find_map(|channel| channel.get_mut(&message));
        if let Some(stored) = stored.or(self.ephemeral.get_mut(&message)) {
            let flags = stored.json["flags"].as_u64().unwrap_or(0);
            stored.json["flags"] = (flags & !LOADING).into();
        }
    }
}

/// Whether a message still says "is thinking".
pub(crate) fn is_loading(message: &Value) -> bool {
    message["flags"].as_u64().unwrap_or(0) & LOADING != 0
}

/// Whether only the person who asked sees it.
pub(crate) fn is_ephemeral(message: &Value) -> bool {
    message["flags"].as_u64().unwrap_or(0) & EPHEMERAL != 0
}
