//! Interactions: what people invoke, and how the bot answers within its time.

use std::time::Instant;

use serde_json::{Value, json};

use crate::attachments;
use crate::clock::Id;
use crate::objects::{self, id_in, text};
use crate::rest::validate::{self, Form, items};
use crate::rest::{
    Call, Outcome, Refusal, UNKNOWN_CHANNEL, UNKNOWN_INTERACTION, UNKNOWN_MESSAGE, UNKNOWN_WEBHOOK,
    unknown_route,
};
use crate::state::{State, Stored};

const ALREADY_ANSWERED: Refusal =
    Refusal::new(400, 40_060, "Interaction has already been acknowledged.");
const TOKEN_EXPIRED: Refusal = Refusal::new(401, 50_027, "Invalid Webhook Token");
/// The token is good for this time of the world's.
const TOKEN_MS: u64 = 15 * 60_000;
/// Kinds of interactions.
pub(crate) const COMMAND: u8 = 2;
pub(crate) const COMPONENT: u8 = 3;
pub(crate) const AUTOCOMPLETE: u8 = 4;
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
    pub kind: u8,
    /// The type of the option that suggestions are asked for.
    pub typed_in: Option<u64>,
    /// The message whose component was used.
    pub source: Option<Id>,
    pub made: Instant,
    pub made_ms: u64,
    pub answered: bool,
    /// The message that is `@original`.
    pub original: Option<Id>,
    /// The message in which the person last saw an answer: not a promise of one.
    pub shown: Option<Id>,
    /// What was suggested.
    pub choices: Option<Vec<Value>>,
}

impl Interaction {
    /// The types of callbacks that answer it.
    fn answers(&self) -> &'static [u64] {
        match self.kind {
            COMMAND => &[4, 5],
            COMPONENT => &[4, 5, 6, 7],
            _ => &[8],
        }
    }
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
        let kind = call.body["type"].as_u64().unwrap_or(0);
        if !interaction.answers().contains(&kind) {
            return Err(not_an_answer(interaction.answers()));
        }
        let (channel, source) = (interaction.channel, interaction.source);
        let typed_in = interaction.typed_in.unwrap_or(0);
        if !self.channels.contains_key(&channel) {
            return Err(UNKNOWN_CHANNEL);
        }
        let data = Call {
            method: call.method.clone(),
            path: call.path.clone(),
            query: call.query.clone(),
            body: call.body["data"].clone(),
            files: call.files.clone(),
        };
        let mut choices = None;
        let original = match kind {
            4 => Some(self.answer_with(id, &data, None)?),
            5 => Some(self.answer_with(id, &data, Some(LOADING))?),
            7 => {
                self.rewrite(channel, source.unwrap_or_default(), &data)?;
                source
            }
            8 => {
                choices = Some(check_choices(&data.body["choices"], typed_in)?);
                None
            }
            _ => source,
        };
        if let Some(interaction) = self.interactions.get_mut(&id) {
            interaction.answered = true;
            interaction.original = original;
            interaction.shown = original.filter(|_| matches!(kind, 4 | 7));
            interaction.choices = choices;
        }
        let with_response = call.query.get("with_response");
        if with_response.is_some_and(|with| matches!(with.as_str(), "true" | "1")) {
            Ok((200, self.callback_response(id, kind)))
        } else {
            Ok((204, Value::Null))
        }
    }

    /// What a callback says of itself when it is asked to.
    fn callback_response(&self, id: Id, kind: u64) -> Value {
        let interaction = self.interactions.get(&id);
        let original = interaction.and_then(|one| one.original);
        let message = original
            .and_then(|id| self.find_message(id))
            .map(|stored| &stored.json);
        let mut about = json!({
            "id": text(id),
            "type": interaction.map(|interaction| interaction.kind),
        });
        let mut resource = json!({ "type": kind });
        if let Some(message) = message {
            let more = json!({
                "response_message_id": message["id"],
                "response_message_loading": is_loading(message),
                "response_message_ephemeral": is_ephemeral(message),
            });
            objects::extend(&mut about, more);
            // Deferrals have made nothing that could be shown yet.
            if matches!(kind, 4 | 7) {
                resource["message"] = message.clone();
            }
        }
        json!({ "interaction": about, "resource": resource })
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
        if !interaction.answered || interaction.kind == AUTOCOMPLETE {
            return Err(UNKNOWN_WEBHOOK);
        }
        if !self.channels.contains_key(&channel) {
            return Err(UNKNOWN_CHANNEL);
        }
        let original = interaction.original;
        let message = match rest {
            [] if call.method == hyper::Method::POST => return self.follow_up(id, call),
            ["messages", "@original"] => original.ok_or(UNKNOWN_MESSAGE)?,
            ["messages", message] => super::id("message_id", message)?,
            _ => return unknown_route(call),
        };
        self.answer_of(id, message)?;
        match call.method.as_str() {
            "GET" => {
                let found = self.answer_of(id, message)?;
                Ok((200, found.json.clone()))
            }
            "PATCH" => {
                self.finish_loading(message);
                let rewritten = self.rewrite(channel, message, call)?;
                self.show(id, message);
                Ok(rewritten)
            }
            "DELETE" => {
                match self.ephemeral.remove(&message) {
                    Some(hidden) => self.let_miss(&hidden.json),
                    None => {
                        self.delete_message(channel, message);
                    }
                }
                Ok((204, Value::Null))
            }
            _ => unknown_route(call),
        }
    }

    /// A message that answers an interaction: its token opens no others.
    fn answer_of(&self, interaction: Id, message: Id) -> Result<&Stored, Refusal> {
        let stored = self.find_message(message).ok_or(UNKNOWN_MESSAGE)?;
        let answers = id_in(&stored.json["interaction_metadata"]["id"]) == Some(interaction);
        let asked = self.interactions.get(&interaction);
        let is_original = asked.is_some_and(|asked| asked.original == Some(message));
        if answers || is_original {
            Ok(stored)
        } else {
            Err(UNKNOWN_MESSAGE)
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
            let rewritten = self.rewrite(channel, original, call)?;
            self.show(id, original);
            return Ok(rewritten);
        }
        let message = self.answer_with(id, call, None)?;
        self.show(id, message);
        let found = self.find_message(message).ok_or(UNKNOWN_MESSAGE)?;
        Ok((200, found.json.clone()))
    }

    fn show(&mut self, interaction: Id, message: Id) {
        if let Some(interaction) = self.interactions.get_mut(&interaction) {
            interaction.shown = Some(message);
        }
    }

    /// Posts an answer: in the channel, or where only one person sees it. An
    /// answer that is `loading` has no content yet.
    fn answer_with(&mut self, id: Id, call: &Call, loading: Option<u64>) -> Result<Id, Refusal> {
        let mut draft = if loading.is_some() {
            validate::parts(&call.body)?
        } else {
            validate::message(call)?
        };
        attachments::check(call, &Value::Null)?;
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
        json["type"] = if kind == COMMAND { 20 } else { 0 }.into();
        json["webhook_id"] = text(self.bot).into();
        json["application_id"] = text(self.bot).into();
        let mut metadata = json!({
            "id": text(id),
            "type": kind,
            "user": user,
            "authorizing_integration_owners": {},
        });
        if kind == COMMAND {
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
        if let Some(stored) = self.find_message_mut(message) {
            let flags = stored.json["flags"].as_u64().unwrap_or(0);
            stored.json["flags"] = (flags & !LOADING).into();
        }
    }
}

/// Checks suggestions for an option of this type.
fn check_choices(choices: &Value, kind: u64) -> Result<Vec<Value>, Refusal> {
    let mut form = Form::default();
    form.max_items("data.choices", choices, 25);
    for (at, choice) in items(choices).iter().enumerate() {
        let place = |part: &str| format!("data.choices.{at}.{part}");
        let value = &choice["value"];
        form.text(&place("name"), &choice["name"], 1, 100);
        let (fits, wanted) = match kind {
            4 => (value.is_i64() || value.is_u64(), "int"),
            10 => (value.is_number(), "float"),
            _ => (value.is_string(), "str"),
        };
        if !fits {
            let message = format!("Could not interpret \"{value}\" as {wanted}.");
            form.refuse(&place("value"), "TYPE_COERCE", &message);
        } else if kind == 3 {
            form.text(&place("value"), value, 1, 100);
        }
    }
    form.check()?;
    Ok(items(choices).to_vec())
}

fn not_an_answer(answers: &[u64]) -> Refusal {
    let mut form = Form::default();
    let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
    let message = format!("Value must be one of ({}).", answers.join(", "));
    form.refuse("type", "BASE_TYPE_CHOICES", &message);
    form.refusal()
}

/// Whether a message still says "is thinking".
pub(crate) fn is_loading(message: &Value) -> bool {
    message["flags"].as_u64().unwrap_or(0) & LOADING != 0
}

/// Whether only the person who asked sees it.
pub(crate) fn is_ephemeral(message: &Value) -> bool {
    message["flags"].as_u64().unwrap_or(0) & EPHEMERAL != 0
}
