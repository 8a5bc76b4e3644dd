//! What is stored, as it is shown at this moment.
//!
//! A message is stored as it was written. Whenever it is shown, its author and
//! those it mentions are who they are by then, and the links to its files are
//! signed anew. In a message with the flag `SUPPRESS_EMBEDS` nobody sees an embed.

use serde_json::Value;

use crate::objects::{self, id_in};
use crate::state::{State, Stored};

/// The flag of a message in which no embed is shown.
const SUPPRESS_EMBEDS: u64 = 1 << 2;

/// The links and invites that clients would show a preview of below this message: those with
/// a scheme, and invites without one.
pub(crate) fn unfurled(message: &Value) -> Vec<String> {
    if message["flags"].as_u64().unwrap_or(0) & SUPPRESS_EMBEDS != 0 {
        return Vec::new();
    }
    let content = message["content"].as_str().unwrap_or_default();
    let starts = [
        "https://",
        "http://",
        "discord.gg/",
        "discord.com/invite/",
        "discordapp.com/invite/",
    ];
    let is_link = |word: &&str| {
        let word = word.to_lowercase();
        starts.iter().any(|start| {
            let path = word.split_once(start).map(|(_, path)| path);
            path.is_some_and(|path| path.starts_with(|c: char| c.is_ascii_alphanumeric()))
        })
    };
    let links = content.split_whitespace().filter(is_link);
    links.map(str::to_owned).collect()
}

impl State {
    /// A message as it is shown now.
    pub(crate) fn shown(&self, stored: &Stored) -> Value {
        let mut json = stored.json.clone();
        self.freshen(&mut json);
        json
    }

    /// Brings every message in something that is about to be shown up to date.
    pub(crate) fn freshen(&self, json: &mut Value) {
        match json {
            Value::Array(list) => {
                for item in list {
                    self.freshen(item);
                }
            }
            Value::Object(fields) => {
                let by_user = !fields.contains_key("webhook_id");
                let is_message = fields.contains_key("author") && fields.contains_key("content");
                let flags = fields.get("flags").and_then(Value::as_u64).unwrap_or(0);
                if is_message && flags & SUPPRESS_EMBEDS != 0 {
                    fields.insert("embeds".to_owned(), Value::Array(Vec::new()));
                }
                for (name, value) in fields {
                    match name.as_str() {
                        "author" if is_message && by_user => self.freshen_person(value),
                        "mentions" if is_message => self.freshen_people(value),
                        "attachments" => self.freshen_links(value),
                        _ => self.freshen(value),
                    }
                }
            }
            _ => {}
        }
    }

    fn freshen_people(&self, people: &mut Value) {
        for person in people.as_array_mut().into_iter().flatten() {
            self.freshen_person(person);
        }
    }

    fn freshen_person(&self, person: &mut Value) {
        if let Some(now) = id_in(&person["id"]).and_then(|id| self.face(id)) {
            objects::extend(person, objects::user(&now));
        }
    }

    fn freshen_links(&self, attachments: &mut Value) {
        for attachment in attachments.as_array_mut().into_iter().flatten() {
            for field in ["url", "proxy_url"] {
                let signed = attachment[field].as_str().and_then(|url| self.signed(url));
                if let Some(signed) = signed {
                    attachment[field] = signed.into();
                }
            }
        }
    }
}
