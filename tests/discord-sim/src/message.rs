//! Messages: how tests write them and how the world takes them in.
//!
//! [`Message`] is the builder for whatever a person, bot, webhook or Discord
//! itself posts. What the bot under test posts comes in by `rest/messages.rs`
//! and ends up in the same [`State::take_message`].

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bytes::Bytes;
use regex::Regex;
use serde_json::{Map, Value, json};

use crate::attachments::Attachment;
use crate::clock::{Id, time_of, timestamp};
use crate::components_v2;
use crate::gateway::Event;
use crate::objects::{self, id_in, text};
use crate::state::{Channel, Pings, State, Stored};

/// A message that somebody is about to post.
///
/// ```
/// # use discord_sim::Message;
/// let reply = Message::new(1, 2, "me too").reply_to(3).id(4);
/// ```
#[derive(Debug, Clone)]
pub struct Message {
    pub(crate) channel: Id,
    pub(crate) author: Id,
    pub(crate) content: String,
    pub(crate) id: Option<Id>,
    pub(crate) kind: Option<u8>,
    pub(crate) reply_to: Option<Id>,
    pub(crate) forward_of: Option<Id>,
    pub(crate) webhook: Option<String>,
    pub(crate) files: Vec<(String, Bytes)>,
    pub(crate) fields: Map<String, Value>,
    pub(crate) quiet: bool,
}

impl Message {
    /// A text by a user (of the world, generated, or entirely unknown).
    pub fn new(channel: Id, author: Id, content: impl Into<String>) -> Self {
        Self {
            channel,
            author,
            content: content.into(),
            id: None,
            kind: None,
            reply_to: None,
            forward_of: None,
            webhook: None,
            files: Vec::new(),
            fields: Map::new(),
            quiet: false,
        }
    }

    /// This id, and with it this time. Default: a new one, of now.
    #[must_use]
    pub fn id(mut self, id: Id) -> Self {
        self.id = Some(id);
        self
    }

    /// Discord's message type: 7 is a join, 8 a boost, and so on. Default: 19
    /// for replies, else 0.
    #[must_use]
    pub fn kind(mut self, kind: u8) -> Self {
        self.kind = Some(kind);
        self
    }

    /// A reply to a message (which may be gone).
    #[must_use]
    pub fn reply_to(mut self, message: Id) -> Self {
        self.reply_to = Some(message);
        self
    }

    /// A forward of a message: a reference of type 1 with a snapshot.
    #[must_use]
    pub fn forward_of(mut self, message: Id) -> Self {
        self.forward_of = Some(message);
        self
    }

    /// Posted by a webhook of this name. The author's id is the webhook's.
    #[must_use]
    pub fn webhook(mut self, name: impl Into<String>) -> Self {
        self.webhook = Some(name.into());
        self
    }

    /// With a file, after those before it.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.into(), bytes.into().into()));
        self
    }

    /// Made of Components V2, as other bots post them: a container with a section, pictures, a file
    /// and a button, this text among them. Such a message has no content of its own.
    #[must_use]
    pub fn components_v2(mut self, text: &str) -> Self {
        self.content.clear();
        self.set("components", components_v2::container(text))
            .set("flags", components_v2::FLAG.into())
    }

    /// Any field of the message object, set as given, last of all.
    #[must_use]
    pub fn set(mut self, field: &str, value: Value) -> Self {
        self.fields.insert(field.into(), value);
        self
    }

    /// Put into the history without any event: posted while the bot was away.
    #[must_use]
    pub fn quietly(mut self) -> Self {
        self.quiet = true;
        self
    }
}

/// Which mentions in a message's text are real ones.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "as Discord has them")]
pub(crate) struct Allowed {
    pub everyone: bool,
    pub all_users: bool,
    pub all_roles: bool,
    pub users: BTreeSet<Id>,
    pub roles: BTreeSet<Id>,
    pub replied_user: bool,
}

impl Allowed {
    /// What holds when a message says nothing about it.
    pub fn everything() -> Self {
        Self {
            everyone: true,
            all_users: true,
            all_roles: true,
            users: BTreeSet::new(),
            roles: BTreeSet::new(),
            replied_user: true,
        }
    }
}

static USER_MENTION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"<@!?(\d{1,20})>").expect("a regex"));
static ROLE_MENTION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"<@&(\d{1,20})>").expect("a regex"));
static EVERYONE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"@(everyone|here)\b").expect("a regex"));

/// The users that a text mentions, each once, in order.
pub(crate) fn mentioned_users(content: &str) -> Vec<Id> {
    ids_matched(&USER_MENTION, content)
}

fn ids_matched(pattern: &Regex, content: &str) -> Vec<Id> {
    let mut seen = BTreeSet::new();
    pattern
        .captures_iter(content)
        .filter_map(|found| found[1].parse().ok())
        .filter(|&id| seen.insert(id))
        .collect()
}

impl State {
    /// Posts what a person, a webhook or Discord says.
    pub(crate) fn post(&mut self, message: Message) -> Id {
        let id = message.id.unwrap_or_else(|| self.clock.snowflake());
        let author = match &message.webhook {
            Some(name) => json!({
                "id": text(message.author),
                "username": name,
                "discriminator": "0000",
                "global_name": null,
                "avatar": null,
                "bot": true,
            }),
            None => self.user(message.author).as_ref().map_or_else(
                || {
                    json!({
                        "id": text(message.author),
                        "username": format!("user{}", message.author),
                        "discriminator": "0",
                        "global_name": null,
                        "avatar": null,
                        "public_flags": 0,
                    })
                },
                objects::user,
            ),
        };
        let mut json = message_object(id, message.channel, &author, &message.content);
        if message.webhook.is_some() {
            json["webhook_id"] = text(message.author).into();
        }
        if let Some(to) = message.reply_to {
            self.refer(&mut json, to);
        }
        if let Some(of) = message.forward_of {
            self.forward(&mut json, of);
        }
        if let Some(kind) = message.kind {
            json["type"] = kind.into();
        }
        let mut stored = Stored {
            json,
            files: Vec::new(),
            pings: Pings::default(),
            nonce: None,
        };
        for (name, bytes) in message.files {
            let file = Attachment::new(self.clock.snowflake(), &name, None, bytes);
            let object = file.object(&self.cdn.url, message.channel);
            stored.add_file(file, object);
        }
        objects::extend(&mut stored.json, Value::Object(message.fields));
        stored.pings = self.resolve_mentions(&mut stored.json, &Allowed::everything(), true);
        self.take_message(stored, !message.quiet);
        id
    }

    /// Makes a message a reply.
    pub(crate) fn refer(&self, json: &mut Value, to: Id) {
        let channel = json["channel_id"].clone();
        json["type"] = 19.into();
        json["message_reference"] = self.reference(0, &channel, to);
        json["referenced_message"] = self.find_message(to).map_or(Value::Null, |found| {
            let mut referenced = found.json.clone();
            if let Some(fields) = referenced.as_object_mut() {
                fields.remove("referenced_message");
            }
            referenced
        });
    }

    /// Makes a message a forward.
    fn forward(&self, json: &mut Value, of: Id) {
        let original = self.find_message(of).map(|found| found.json.clone());
        let original = original.unwrap_or_default();
        let channel = original
            .get("channel_id")
            .unwrap_or(&json["channel_id"])
            .clone();
        let mut snapshot = Map::new();
        for field in [
            "type",
            "content",
            "embeds",
            "attachments",
            "timestamp",
            "edited_timestamp",
            "flags",
            "mentions",
            "mention_roles",
            "components",
        ] {
            if let Some(value) = original.get(field) {
                snapshot.insert(field.into(), value.clone());
            }
        }
        json["message_reference"] = self.reference(1, &channel, of);
        json["message_snapshots"] = json!([{ "message": snapshot }]);
    }

    fn reference(&self, kind: u8, channel: &Value, message: Id) -> Value {
        let guild = id_in(channel)
            .and_then(|id| self.channels.get(&id))
            .and_then(|channel| channel.guild);
        let mut reference =
            json!({ "type": kind, "channel_id": channel, "message_id": text(message) });
        if let Some(guild) = guild {
            reference["guild_id"] = text(guild).into();
        }
        reference
    }

    /// Fills in whom a message mentions, as far as that is allowed, and says
    /// whom it pings. `may_everyone`: whether the author may ping everyone.
    pub(crate) fn resolve_mentions(
        &self,
        json: &mut Value,
        allowed: &Allowed,
        may_everyone: bool,
    ) -> Pings {
        let content = json["content"].as_str().unwrap_or_default().to_owned();
        let guild = id_in(&json["channel_id"])
            .and_then(|id| self.channels.get(&id))
            .and_then(|channel| self.guilds.get(&channel.guild?));
        let mut users: Vec<Id> = mentioned_users(&content)
            .into_iter()
            .filter(|id| allowed.all_users || allowed.users.contains(id))
            .filter(|&id| self.user(id).is_some())
            .collect();
        let replied = id_in(&json["referenced_message"]["author"]["id"]);
        if let Some(author) = replied.filter(|id| allowed.replied_user && !users.contains(id)) {
            users.push(author);
        }
        let roles: Vec<Id> = ids_matched(&ROLE_MENTION, &content)
            .into_iter()
            .filter(|id| allowed.all_roles || allowed.roles.contains(id))
            .filter(|id| {
                let role = guild.and_then(|guild| guild.roles.get(id));
                role.is_some_and(|role| role.mentionable || may_everyone)
            })
            .collect();
        let everyone = allowed.everyone && may_everyone && EVERYONE.is_match(&content);

        json["mentions"] = users
            .iter()
            .filter_map(|&id| self.user(id))
            .map(|user| objects::user(&user))
            .collect();
        json["mention_roles"] = roles.iter().copied().map(text).collect();
        json["mention_everyone"] = everyone.into();
        Pings {
            everyone,
            roles,
            users,
        }
    }

    /// Puts a message into its channel's history and tells the sessions.
    pub(crate) fn take_message(&mut self, stored: Stored, announce: bool) {
        let (Some(id), Some(channel)) =
            (id_in(&stored.json["id"]), id_in(&stored.json["channel_id"]))
        else {
            return;
        };
        self.let_hear(&stored.json);
        if announce {
            let event = self.message_event("MESSAGE_CREATE", &stored.json);
            self.dispatch(event);
        }
        self.messages.entry(channel).or_default().insert(id, stored);
        if let Some(channel) = self.channels.get_mut(&channel) {
            channel.last_message = channel.last_message.max(Some(id));
            channel.archived_at_ms = None;
        }
    }

    /// Changes a message; an edit by its author is marked as such.
    pub(crate) fn change_message(&mut self, channel: Id, id: Id, change: impl FnOnce(&mut Value)) {
        let stored = self
            .messages
            .get_mut(&channel)
            .and_then(|all| all.get_mut(&id));
        let hidden = stored.is_none();
        let Some(stored) = stored.or(self.ephemeral.get_mut(&id)) else {
            return;
        };
        change(&mut stored.json);
        let json = stored.json.clone();
        self.let_hear(&json);
        if !hidden {
            let event = self.message_event("MESSAGE_UPDATE", &json);
            self.dispatch(event);
        }
    }

    pub(crate) fn delete_message(&mut self, channel: Id, id: Id) -> bool {
        let Some(deleted) = self
            .messages
            .get_mut(&channel)
            .and_then(|all| all.remove(&id))
        else {
            return false;
        };
        self.let_miss(&deleted.json);
        let mut event = self.message_event("MESSAGE_DELETE", &deleted.json);
        let mut json = json!({ "id": text(id), "channel_id": text(channel) });
        if let Some(guild) = event.guild {
            json["guild_id"] = text(guild).into();
        }
        event.json = json;
        self.dispatch(event);
        true
    }

    fn message_event(&self, name: &'static str, json: &Value) -> Event {
        let channel = id_in(&json["channel_id"]).and_then(|id| self.channels.get(&id));
        Event {
            name: name.into(),
            guild: channel.and_then(|channel| channel.guild),
            visible: channel.is_none_or(|channel: &Channel| self.bot_may_view(channel)),
            json: self.gateway_message(json),
        }
    }
}

/// A message object with every field that is always there.
pub(crate) fn message_object(id: Id, channel: Id, author: &Value, content: &str) -> Value {
    json!({
        "id": text(id),
        "channel_id": text(channel),
        "author": author,
        "content": content,
        "timestamp": timestamp(time_of(id)),
        "edited_timestamp": null,
        "tts": false,
        "mention_everyone": false,
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
        "components": [],
        "pinned": false,
        "flags": 0,
        "type": 0,
    })
}
