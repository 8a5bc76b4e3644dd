//! The files of messages, and the links to them, which are good for a while.
//!
//! A stored link is bare. It is signed whenever it is shown: `ex` says until when
//! it is good, `is` when it was made (both hexadecimal Unix seconds of the world's
//! clock), and `hm` proves both.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::cdn::png;
use crate::clock::Id;
use crate::members::mix;
use crate::objects::{id_in, text};
use crate::rest::multipart::File;
use crate::rest::validate::{Form, items};
use crate::rest::{Call, Refusal};
use crate::state::{State, Stored};

/// A file must not be longer.
pub(crate) const MOST_BYTES: usize = 10 << 20;
/// What only this CDN knows.
const SECRET: u64 = 0x5EC2_E7C0_FFEE;

/// A file of a message.
#[derive(Debug, Clone)]
pub(crate) struct Attachment {
    pub id: Id,
    pub name: String,
    pub content_type: Option<String>,
    pub bytes: Bytes,
}

impl Attachment {
    /// A file under the name that Discord makes of its name.
    pub fn new(id: Id, name: &str, content_type: Option<String>, bytes: Bytes) -> Self {
        Self {
            id,
            name: spelled(name),
            content_type: sniffed(&bytes).map(str::to_owned).or(content_type),
            bytes,
        }
    }

    /// As a message shows it, with links that are not signed yet.
    pub fn object(&self, origin: &str, channel: Id) -> Value {
        let url = format!("{origin}/attachments/{channel}/{}/{}", self.id, self.name);
        let mut object = json!({
            "id": text(self.id),
            "filename": self.name,
            "size": self.bytes.len(),
            "url": url,
            "proxy_url": url,
        });
        if let Some(content_type) = &self.content_type {
            object["content_type"] = content_type.clone().into();
        }
        if let Some((width, height)) = png::dimensions(&self.bytes) {
            object["width"] = width.into();
            object["height"] = height.into();
        }
        object
    }
}

/// Checks what a body says of its files and of those that a message has.
pub(crate) fn check(call: &Call, present: &Value) -> Result<(), Refusal> {
    let mut form = Form::default();
    for (at, listed) in items(&call.body["attachments"]).iter().enumerate() {
        let place = |part: &str| format!("attachments.{at}{part}");
        form.max_length(&place(".description"), &listed["description"], 1_024);
        let brought = call.files.iter().any(|file| is_about(listed, file));
        if !brought && !is_listed(items(present), &listed["id"]) {
            let message = "Attachment data not found";
            form.refuse(&place(""), "ATTACHMENT_NOT_FOUND", message);
        }
    }
    form.check()
}

impl State {
    /// Puts the files that a call brings to a new message.
    pub(crate) fn attach(&mut self, stored: &mut Stored, channel: Id, call: &Call) {
        for file in &call.files {
            let mut listed = items(&call.body["attachments"]).iter();
            let said = listed.find(|listed| is_about(listed, file));
            self.attach_one(stored, channel, file, said);
        }
    }

    /// Puts the files that a call brings to an edited message, and takes away what
    /// its body does not list, if it lists any.
    pub(crate) fn reattach(&mut self, stored: &mut Stored, channel: Id, call: &Call) {
        let Some(listed) = call.body.get("attachments").filter(|list| !list.is_null()) else {
            return self.attach(stored, channel, call);
        };
        let listed = items(listed);
        if let Some(present) = stored.json["attachments"].as_array_mut() {
            present.retain(|present| is_listed(listed, &present["id"]));
        }
        let keep = |file: &Attachment| is_listed(listed, &text(file.id).into());
        stored.files.retain(keep);
        for file in &call.files {
            if let Some(said) = listed.iter().find(|listed| is_about(listed, file)) {
                self.attach_one(stored, channel, file, Some(said));
            }
        }
    }

    fn attach_one(&mut self, stored: &mut Stored, channel: Id, file: &File, said: Option<&Value>) {
        let said = said.unwrap_or(&Value::Null);
        let name = said["filename"].as_str().unwrap_or(&file.name);
        let bytes = Bytes::from(file.bytes.clone());
        let id = self.clock.snowflake();
        let attachment = Attachment::new(id, name, file.content_type.clone(), bytes);
        let mut object = attachment.object(&self.cdn.url, channel);
        if let Some(description) = said["description"].as_str() {
            object["description"] = description.into();
        }
        stored.add_file(attachment, object);
    }

    /// A link that is good from now on for a while, if it is one to a file here and
    /// not signed yet.
    pub(crate) fn signed(&self, url: &str) -> Option<String> {
        let path = url.strip_prefix(&self.cdn.url)?;
        if !self.settings.signed_attachments || !path.starts_with("/attachments/") {
            return None;
        }
        if path.contains('?') {
            return None;
        }
        let issued = self.clock.now_ms() / 1_000;
        let expires = issued + self.settings.attachment_seconds;
        let signature = signature(path, expires, issued);
        let query = format!("ex={expires:x}&is={issued:x}&hm={signature}&");
        Some(format!("{url}?{query}"))
    }

    /// The file that a link leads to, if the link is good and the file still there.
    pub(crate) fn linked(&self, path: &str, query: Option<&str>) -> Option<&Attachment> {
        let mut segments = path.strip_prefix("/attachments/")?.split('/');
        let channel: Id = segments.next()?.parse().ok()?;
        let id: Id = segments.next()?.parse().ok()?;
        let name = segments.next()?;
        if segments.next().is_some() || !self.is_good(path, query) {
            return None;
        }
        let hidden = self.ephemeral.values();
        let hidden = hidden.filter(|stored| id_in(&stored.json["channel_id"]) == Some(channel));
        self.channel_messages(channel)
            .chain(hidden)
            .flat_map(|stored| &stored.files)
            .find(|file| file.id == id && file.name == name)
    }

    fn is_good(&self, path: &str, query: Option<&str>) -> bool {
        let Some(query) = query.filter(|query| !query.is_empty()) else {
            return !self.settings.signed_attachments;
        };
        let given = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(found, _)| *found == name).map(|(_, it)| it)
        };
        let time = |name: &str| u64::from_str_radix(given(name)?, 16).ok();
        let (Some(expires), Some(issued)) = (time("ex"), time("is")) else {
            return false;
        };
        let signed = given("hm") == Some(signature(path, expires, issued).as_str());
        signed && self.clock.now_ms() / 1_000 < expires
    }
}

impl Stored {
    /// Adds a file and what is shown of it.
    pub fn add_file(&mut self, file: Attachment, object: Value) {
        self.files.push(file);
        if let Some(attachments) = self.json["attachments"].as_array_mut() {
            attachments.push(object);
        }
    }
}

/// Whether an entry of a body's list is about a file that comes with it: entry 3
/// is about the field `files[3]`.
fn is_about(listed: &Value, file: &File) -> bool {
    id_in(&listed["id"]).is_some_and(|number| file.field == format!("files[{number}]"))
}

fn is_listed(list: &[Value], id: &Value) -> bool {
    let wanted = id_in(id);
    wanted.is_some() && list.iter().any(|one| id_in(&one["id"]) == wanted)
}

fn signature(path: &str, expires: u64, issued: u64) -> String {
    let start = mix(SECRET ^ mix(expires) ^ mix(issued).rotate_left(1));
    let hash = path
        .bytes()
        .fold(start, |hash, byte| mix(hash ^ u64::from(byte)));
    let parts = [1, 2, 3, 4].map(|part| format!("{:016x}", mix(hash ^ part)));
    parts.concat()
}

/// A name as it can stand in a link.
fn spelled(name: &str) -> String {
    let kept = |letter: &char| letter.is_ascii_alphanumeric() || "._-".contains(*letter);
    let underscored = name.replace(' ', "_");
    let name: String = underscored.chars().filter(kept).collect();
    if name.is_empty() {
        "unknown".into()
    } else {
        name
    }
}

/// What a picture is, whatever it was said to be.
fn sniffed(bytes: &[u8]) -> Option<&'static str> {
    if png::dimensions(bytes).is_some() {
        Some("image/png")
    } else if bytes.starts_with(b"GIF8") {
        Some("image/gif")
    } else if bytes.starts_with(&[0xFF, 0xD8, 0xFF]) {
        Some("image/jpeg")
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some("image/webp")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_about_everything_in_a_link() {
        let signed = signature("/attachments/1/2/a.png", 7, 5);
        assert_eq!(signed.len(), 64);
        for other in [
            signature("/attachments/1/2/b.png", 7, 5),
            signature("/attachments/1/2/a.png", 8, 5),
            signature("/attachments/1/2/a.png", 7, 6),
        ] {
            assert_ne!(signed, other);
        }
    }

    #[test]
    fn names_are_spelled_so_that_they_fit_into_links() {
        assert_eq!(spelled("my cat (2).png"), "my_cat_2.png");
        assert_eq!(spelled("\u{732b}"), "unknown");
    }
}
