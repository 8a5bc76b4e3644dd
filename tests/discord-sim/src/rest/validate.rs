//! What Discord refuses in a message, with the tree of errors it says it with.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::clock::Id;
use crate::message::Allowed;
use crate::objects::id_in;
use crate::rest::{Call, Refusal};

const EMPTY_MESSAGE: Refusal = Refusal::new(400, 50_006, "Cannot send an empty message");
const TOO_LONG: &str = "BASE_TYPE_MAX_LENGTH";
const BAD_LENGTH: &str = "BASE_TYPE_BAD_LENGTH";
const REQUIRED: &str = "BASE_TYPE_REQUIRED";

/// Collects what is wrong with a form.
#[derive(Debug, Default)]
pub(crate) struct Form {
    errors: Value,
}

/// A message that passed.
#[derive(Debug)]
pub(crate) struct Draft {
    pub content: String,
    pub embeds: Vec<Value>,
    pub components: Value,
    pub allowed: Allowed,
    pub nonce: Option<Value>,
    pub enforce_nonce: bool,
    /// The message replied to, and whether it must exist.
    pub reference: Option<(Id, bool)>,
    pub flags: u64,
}

impl Form {
    /// Adds an error at a place such as `embeds.0.title`.
    pub fn refuse(&mut self, place: &str, code: &str, message: &str) {
        let mut at = &mut self.errors;
        for step in place.split('.').filter(|step| !step.is_empty()) {
            at = &mut at[step];
        }
        if at["_errors"].is_null() {
            at["_errors"] = json!([]);
        }
        if let Some(errors) = at["_errors"].as_array_mut() {
            errors.push(json!({ "code": code, "message": message }));
        }
    }

    /// A text that must not be longer than `max` characters.
    pub fn max_length(&mut self, place: &str, value: &Value, max: usize) {
        if length(value) > max {
            let message = format!("Must be {max} or fewer in length.");
            self.refuse(place, TOO_LONG, &message);
        }
    }

    /// A text that must be there, and between `min` and `max` characters long.
    pub fn text(&mut self, place: &str, value: &Value, min: usize, max: usize) {
        if value.is_null() {
            self.refuse(place, REQUIRED, "This field is required");
        } else if !(min..=max).contains(&length(value)) {
            let message = format!("Must be between {min} and {max} in length.");
            self.refuse(place, BAD_LENGTH, &message);
        }
    }

    /// A list that must not have more than `max` items.
    pub fn max_items(&mut self, place: &str, value: &Value, max: usize) {
        if items(value).len() > max {
            let message = format!("Must be {max} or fewer in length.");
            self.refuse(place, TOO_LONG, &message);
        }
    }

    pub fn is_fine(&self) -> bool {
        self.errors.is_null()
    }

    pub fn check(self) -> Result<(), Refusal> {
        if self.is_fine() {
            Ok(())
        } else {
            Err(self.refusal())
        }
    }

    pub fn refusal(self) -> Refusal {
        Refusal {
            retry_after: None,
            status: 400,
            code: 50_035,
            message: "Invalid Form Body",
            errors: self.errors,
        }
    }
}

/// Checks the body of a new message.
pub(crate) fn message(call: &Call) -> Result<Draft, Refusal> {
    let draft = parts(&call.body)?;
    let empty = draft.content.is_empty()
        && draft.embeds.is_empty()
        && items(&draft.components).is_empty()
        && items(&call.body["sticker_ids"]).is_empty()
        && call.files.is_empty();
    if empty { Err(EMPTY_MESSAGE) } else { Ok(draft) }
}

/// Checks the parts of a message that are given, which in an edit may be few.
pub(crate) fn parts(body: &Value) -> Result<Draft, Refusal> {
    let mut form = Form::default();
    form.max_length("content", &body["content"], 2_000);
    embeds(&mut form, &body["embeds"]);
    components(&mut form, &body["components"]);
    let nonce = body.get("nonce").filter(|nonce| !nonce.is_null());
    if let Some(nonce) = nonce {
        form.max_length("nonce", &nonce_text(nonce).into(), 25);
    }
    let allowed = allowed_mentions(&mut form, &body["allowed_mentions"]);
    let reference = &body["message_reference"];
    let referred = id_in(&reference["message_id"]);
    if reference.is_object() && referred.is_none() {
        form.refuse(
            "message_reference.message_id",
            REQUIRED,
            "This field is required",
        );
    }
    form.check()?;
    Ok(Draft {
        content: body["content"]
            .as_str()
            .unwrap_or_default()
            .trim()
            .to_owned(),
        embeds: items(&body["embeds"]).to_vec(),
        components: body["components"].clone(),
        allowed,
        nonce: nonce.cloned(),
        enforce_nonce: body["enforce_nonce"].as_bool().unwrap_or(false),
        reference: referred.map(|id| {
            let must_exist = reference["fail_if_not_exists"].as_bool();
            (id, must_exist.unwrap_or(true))
        }),
        flags: body["flags"].as_u64().unwrap_or(0),
    })
}

/// A nonce is a text or a number; what counts is what it looks like.
pub(crate) fn nonce_text(nonce: &Value) -> String {
    nonce
        .as_str()
        .map_or_else(|| nonce.to_string(), str::to_owned)
}

fn embeds(form: &mut Form, embeds: &Value) {
    form.max_items("embeds", embeds, 10);
    let mut total = 0;
    for (at, embed) in items(embeds).iter().enumerate() {
        let place = |part: &str| format!("embeds.{at}.{part}");
        for (part, value, max) in [
            ("title", &embed["title"], 256),
            ("description", &embed["description"], 4_096),
            ("footer.text", &embed["footer"]["text"], 2_048),
            ("author.name", &embed["author"]["name"], 256),
        ] {
            form.max_length(&place(part), value, max);
            total += length(value);
        }
        form.max_items(&place("fields"), &embed["fields"], 25);
        for (number, field) in items(&embed["fields"]).iter().enumerate() {
            form.text(
                &place(&format!("fields.{number}.name")),
                &field["name"],
                1,
                256,
            );
            form.text(
                &place(&format!("fields.{number}.value")),
                &field["value"],
                1,
                1_024,
            );
            total += length(&field["name"]) + length(&field["value"]);
        }
        if embed["color"]
            .as_u64()
            .is_some_and(|color| color > 0xFF_FFFF)
        {
            let message = "int value should be less than or equal to 16777215.";
            form.refuse(&place("color"), "NUMBER_TYPE_MAX", message);
        }
        for (part, url) in [
            ("url", &embed["url"]),
            ("image.url", &embed["image"]["url"]),
            ("thumbnail.url", &embed["thumbnail"]["url"]),
            ("author.icon_url", &embed["author"]["icon_url"]),
            ("footer.icon_url", &embed["footer"]["icon_url"]),
        ] {
            let known = ["http://", "https://", "attachment://"];
            if url
                .as_str()
                .is_some_and(|url| !known.iter().any(|scheme| url.starts_with(scheme)))
            {
                let message = "Scheme must be one of ('http', 'https').";
                form.refuse(&place(part), "URL_TYPE_INVALID_SCHEME", message);
            }
        }
    }
    if total > 6_000 {
        let message = "Embed size exceeds maximum size of 6000";
        form.refuse("embeds", "MAX_EMBED_SIZE_EXCEEDED", message);
    }
}

fn components(form: &mut Form, rows: &Value) {
    form.max_items("components", rows, 5);
    let mut ids = BTreeSet::new();
    for (at, row) in items(rows).iter().enumerate() {
        let place = format!("components.{at}");
        if row["type"] != 1 {
            let message = "Value of field \"type\" must be one of (1,).";
            form.refuse(&format!("{place}.type"), "UNION_TYPE_CHOICES", message);
            continue;
        }
        form.max_items(&format!("{place}.components"), &row["components"], 5);
        for (number, part) in items(&row["components"]).iter().enumerate() {
            let place = format!("{place}.components.{number}");
            form.max_length(&format!("{place}.label"), &part["label"], 80);
            let link = part["type"] == 2 && part["style"] == 5;
            if link {
                continue;
            }
            form.text(&format!("{place}.custom_id"), &part["custom_id"], 1, 100);
            if !ids.insert(part["custom_id"].as_str()) {
                let message = "Component custom id cannot be duplicated";
                form.refuse(
                    &format!("{place}.custom_id"),
                    "COMPONENT_CUSTOM_ID_DUPLICATED",
                    message,
                );
            }
        }
    }
}

fn allowed_mentions(form: &mut Form, given: &Value) -> Allowed {
    if !given.is_object() {
        return Allowed::everything();
    }
    let parse = |kind: &str| items(&given["parse"]).iter().any(|item| item == kind);
    let ids =
        |kind: &str| -> BTreeSet<Id> { items(&given[kind]).iter().filter_map(id_in).collect() };
    for kind in ["users", "roles"] {
        form.max_items(&format!("allowed_mentions.{kind}"), &given[kind], 100);
        if parse(kind) && !ids(kind).is_empty() {
            let message =
                format!("parse:[\"{kind}\"] and {kind}: [ids...] are mutually exclusive.");
            form.refuse(
                "allowed_mentions",
                "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE",
                &message,
            );
        }
    }
    Allowed {
        everyone: parse("everyone"),
        all_users: parse("users"),
        all_roles: parse("roles"),
        users: ids("users"),
        roles: ids("roles"),
        replied_user: given["replied_user"].as_bool().unwrap_or(false),
    }
}

/// Permission bits, as digits or (leniently) as a number.
pub(crate) fn permission_bits(form: &mut Form, place: &str, given: &Value) -> Option<u64> {
    let bits = id_in(given);
    if bits.is_none() && !given.is_null() {
        let message = format!("Could not interpret \"{given}\" as permissions.");
        form.refuse(place, "NUMBER_TYPE_COERCE", &message);
    }
    bits
}

/// A list's items; anything else has none.
pub(crate) fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn length(text: &Value) -> usize {
    text.as_str().unwrap_or_default().trim().chars().count()
}
