//! What the gateway remembers of one session: what it may hear, and what it
//! was sent, for a resume.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::clock::Id;
use crate::gateway::{Event, Out};
use crate::objects::id_in;

pub(crate) const GUILDS: u64 = 1;
pub(crate) const GUILD_MEMBERS: u64 = 1 << 1;
pub(crate) const GUILD_MODERATION: u64 = 1 << 2;
pub(crate) const GUILD_PRESENCES: u64 = 1 << 8;
pub(crate) const GUILD_MESSAGES: u64 = 1 << 9;
pub(crate) const DIRECT_MESSAGES: u64 = 1 << 12;
pub(crate) const MESSAGE_CONTENT: u64 = 1 << 15;
/// Every intent there is.
pub(crate) const ALL_INTENTS: u64 = 0x331_FFFF;

/// What is kept for resumes, however long the events are.
const BUFFER_BYTES: usize = 64 << 20;

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub intents: u64,
    pub shard: [u64; 2],
    pub compress: bool,
    pub connection: Option<UnboundedSender<Out>>,
    /// The number of that connection.
    pub connection_number: u64,
    /// READY and the guilds are on their way.
    pub greeted: bool,
    pub seq: u64,
    pub presence: Value,
    /// When the connection was lost, in the world's time.
    pub lost_at_ms: Option<u64>,
    sent: VecDeque<Sent>,
    sent_bytes: usize,
    /// Events up to this one can no longer be sent again.
    forgotten: u64,
}

#[derive(Debug)]
struct Sent {
    seq: u64,
    text: Utf8Bytes,
    compress: bool,
}

impl Session {
    pub fn new(intents: u64, shard: [u64; 2], compress: bool) -> Self {
        Self {
            intents,
            shard,
            compress,
            connection: None,
            connection_number: 0,
            greeted: false,
            seq: 0,
            presence: Value::Null,
            lost_at_ms: None,
            sent: VecDeque::new(),
            sent_bytes: 0,
            forgotten: 0,
        }
    }

    /// What this session hears of an event, if anything.
    pub fn view_of<'a>(&self, event: &'a Event, bot: Id) -> Option<Cow<'a, Value>> {
        let name = &*event.name;
        let about_bot = id_in(&event.json["user"]["id"]) == Some(bot);
        let needed = match name {
            "GUILD_MEMBER_UPDATE" if about_bot => 0,
            "GUILD_MEMBER_ADD" | "GUILD_MEMBER_UPDATE" | "GUILD_MEMBER_REMOVE" => GUILD_MEMBERS,
            "GUILD_BAN_ADD" | "GUILD_BAN_REMOVE" => GUILD_MODERATION,
            "PRESENCE_UPDATE" => GUILD_PRESENCES,
            "MESSAGE_CREATE" | "MESSAGE_UPDATE" | "MESSAGE_DELETE" if event.guild.is_some() => {
                GUILD_MESSAGES
            }
            "MESSAGE_CREATE" | "MESSAGE_UPDATE" | "MESSAGE_DELETE" => DIRECT_MESSAGES,
            "INTERACTION_CREATE" => 0,
            _ => GUILDS,
        };
        if !self.greeted || self.intents & needed != needed {
            return None;
        }
        let hidden = needed == GUILD_MESSAGES
            && self.intents & MESSAGE_CONTENT == 0
            && event.json.get("content").is_some()
            && !concerns(&event.json, bot);
        if !hidden {
            return Some(Cow::Borrowed(&event.json));
        }
        let mut json = event.json.clone();
        blank(&mut json);
        if let Some(of @ Value::Object(_)) = json.get_mut("referenced_message") {
            blank(of);
        }
        Some(Cow::Owned(json))
    }

    /// Numbers an event, remembers it, and sends it if there is a connection.
    pub fn push(&mut self, name: &str, json: &Value, times: usize, limit: usize) {
        self.seq += 1;
        let text = format!(
            r#"{{"t":{},"s":{},"op":0,"d":{json}}}"#,
            Value::from(name),
            self.seq
        );
        let sent = Sent {
            seq: self.seq,
            text: text.into(),
            compress: self.compress
                && matches!(name, "READY" | "GUILD_CREATE" | "GUILD_MEMBERS_CHUNK"),
        };
        for _ in 0..times {
            self.send(&sent);
        }
        self.sent_bytes += sent.text.len();
        self.sent.push_back(sent);
        while self.sent.len() > limit || self.sent_bytes > BUFFER_BYTES {
            let Some(oldest) = self.sent.pop_front() else {
                break;
            };
            self.sent_bytes -= oldest.text.len();
            self.forgotten = oldest.seq;
        }
    }

    /// Takes `count` sequence numbers for events that are not remembered;
    /// returns the first.
    pub fn skip(&mut self, count: u64) -> u64 {
        let first = self.seq + 1;
        self.seq += count;
        self.sent.clear();
        self.sent_bytes = 0;
        self.forgotten = self.seq;
        first
    }

    /// Whether everything after `seq` can be sent again.
    pub fn can_replay(&self, seq: u64) -> bool {
        (self.forgotten..=self.seq).contains(&seq)
    }

    /// Sends everything after `seq` again, then RESUMED.
    pub fn replay(&mut self, seq: u64, limit: usize) {
        for sent in &self.sent {
            if sent.seq > seq {
                self.send(sent);
            }
        }
        self.push("RESUMED", &json!({ "_trace": ["discord-sim"] }), 1, limit);
    }

    fn send(&self, sent: &Sent) {
        if let Some(connection) = &self.connection {
            // If the connection has just ended, the buffer keeps the event.
            let _ = connection.send(Out::Frame {
                text: sent.text.clone(),
                compress: sent.compress,
            });
        }
    }
}

/// The bot sees the content of its own messages and of those that mention it.
fn concerns(message: &Value, bot: Id) -> bool {
    id_in(&message["author"]["id"]) == Some(bot)
        || message["mentions"]
            .as_array()
            .is_some_and(|users| users.iter().any(|user| id_in(&user["id"]) == Some(bot)))
}

/// Takes out what only the message content intent shows.
fn blank(message: &mut Value) {
    message["content"] = "".into();
    for list in ["embeds", "attachments", "components"] {
        message[list] = json!([]);
    }
    if let Some(fields) = message.as_object_mut() {
        fields.remove("message_snapshots");
        fields.remove("poll");
    }
}
