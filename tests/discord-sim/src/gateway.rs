//! The gateway's side that is not a socket: sessions, and what each may hear.
//!
//! [`State::dispatch`] is how the world tells the bot anything. A session's
//! socket is `socket.rs`; what a session remembers is `session.rs`; what tests can do to the
//! gateway is `gateway_control.rs`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::clock::Id;
use crate::flood::Flood;
use crate::gateway_control::SessionUse;
use crate::objects::{self, text};
use crate::session::{GUILD_MEMBERS, GUILDS, Session};
use crate::state::{Guild, State};

/// Something that happened and that sessions may hear of.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub name: Cow<'static, str>,
    pub guild: Option<Id>,
    /// Whether the bot may see the channel it happened in.
    pub visible: bool,
    pub json: Value,
}

impl Event {
    pub fn in_guild(name: &'static str, guild: Id, json: Value) -> Self {
        Self {
            name: name.into(),
            guild: Some(guild),
            visible: true,
            json,
        }
    }
}

/// What a connection's task is told to do.
#[derive(Debug)]
pub(crate) enum Out {
    /// Send this text, compressed if the session asked for that.
    Frame { text: Utf8Bytes, compress: bool },
    /// Send these bytes as they are.
    Bytes(Vec<u8>),
    /// Close, with or without a code.
    Close(Option<u16>),
    /// Let the connection break.
    Drop,
    /// Another connection has resumed the session: close, with a code after which one resumes.
    Replaced,
    /// Send all these members.
    Members(MemberChunks),
    /// Send very many messages.
    Flood(Flood),
}

/// Members that are being sent in chunks, each made when its turn comes.
#[derive(Debug)]
pub(crate) struct MemberChunks {
    pub guild: Id,
    pub after: Id,
    pub index: usize,
    pub count: usize,
    pub nonce: Option<Value>,
}

/// What becomes of a new connection.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    #[default]
    Open,
    /// It is broken at once.
    Shut,
    /// It is taken, and nobody answers its handshake.
    Ajar,
    /// It becomes a websocket, on which Hello never comes.
    NoHello,
    /// Hello comes and heartbeats are acknowledged, but no Identify or Resume is answered.
    HelloOnly,
}

/// One of the gateway's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Address {
    /// The one that `GET /gateway/bot` says, where sessions are begun.
    Main,
    /// The one that READY says, where they are resumed.
    Resume,
}

/// All sessions and connections, and what is wrong with the gateway now.
#[derive(Debug, Default)]
pub(crate) struct Gateway {
    pub url: String,
    pub resume_url: String,
    pub sessions: BTreeMap<String, Session>,
    pub connections: BTreeMap<u64, UnboundedSender<Out>>,
    pub next_number: u64,
    pub identifies: u64,
    pub resumes: u64,
    /// Those that came to the wrong one of the two addresses.
    pub identifies_elsewhere: u64,
    pub resumes_elsewhere: u64,
    /// What became of each session, also of those that are forgotten.
    pub uses: BTreeMap<String, SessionUse>,
    pub heartbeats: u64,
    pub door: Door,
    /// How many connections were left without an answer.
    pub ignored: u64,
    /// How many identifies and resumes were.
    pub unanswered: u64,
    /// Whether every identify is answered with op 9 false.
    pub refuse_identifies: bool,
    /// Events that come without something that a strict client needs.
    pub spoiled: BTreeSet<&'static str>,
    /// When a new session is shown its guilds.
    pub guilds_shown: GuildsShown,
    pub mute_acks: bool,
    pub refuse_resumes: u32,
    /// When all members of a guild were last asked for.
    pub members_asked_at: BTreeMap<Id, u64>,
    pub held: Option<Vec<Event>>,
    pub lose: u32,
    /// Events that nobody is sent.
    pub lost: BTreeSet<&'static str>,
    pub duplicate: u32,
    pub swap: u32,
    /// The first of two neighbours that are being swapped.
    pub swapped: Option<Event>,
}

/// When a new session is shown its guilds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum GuildsShown {
    /// Behind READY.
    #[default]
    AtOnce,
    /// When [`crate::GatewayControl::show_guilds`] says so, as in an outage.
    Later,
}

impl Gateway {
    pub fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// A session, if this connection is the one that holds it.
    pub fn held_by(&mut self, session: &str, connection: u64) -> Option<&mut Session> {
        let session = self.sessions.get_mut(session)?;
        (session.connection_number == connection).then_some(session)
    }

    /// Forgets a session, if this connection is the one that holds it.
    pub fn end(&mut self, session: &str, connection: u64) {
        if self.held_by(session, connection).is_some() {
            self.sessions.remove(session);
        }
    }
}

impl State {
    /// Tells every session that wants to hear it, or puts it aside while the
    /// gateway is held.
    pub(crate) fn dispatch(&mut self, mut event: Event) {
        let is_heard_of = |guild: &Guild| guild.bot_is_in && !guild.in_outage;
        let bot_is_there = event
            .guild
            .is_none_or(|id| self.guilds.get(&id).is_some_and(is_heard_of));
        if !event.visible || !bot_is_there {
            return;
        }
        if self.gateway.lost.contains(&*event.name) {
            return;
        }
        if self.gateway.lose > 0 {
            self.gateway.lose -= 1;
            return;
        }
        self.freshen(&mut event.json);
        objects::add_to_users(&mut event.json, &self.settings.user_fields);
        if self.settings.sparse_member_events {
            leave_out_optional(&mut event);
        }
        if let Some(held) = &mut self.gateway.held {
            held.push(event);
            return;
        }
        if self.gateway.swap > 0 {
            match self.gateway.swapped.take() {
                None => self.gateway.swapped = Some(event),
                Some(earlier) => {
                    self.gateway.swap -= 1;
                    self.deliver(&event);
                    self.deliver(&earlier);
                }
            }
            return;
        }
        self.deliver(&event);
    }

    fn deliver(&mut self, event: &Event) {
        let times = if self.gateway.duplicate > 0 {
            self.gateway.duplicate -= 1;
            2
        } else {
            1
        };
        let bot = self.bot;
        let limit = self.settings.replay_buffer;
        for session in self.gateway.sessions.values_mut() {
            let Some(json) = session.view_of(event, bot) else {
                continue;
            };
            session.push(&event.name, &json, times, limit);
        }
    }

    /// The flags that say which privileged intents are switched on.
    pub(crate) fn application_flags(&self) -> u64 {
        let settings = &self.settings;
        [
            (settings.presences_intent, 1 << 13),
            (settings.members_intent, 1 << 15),
            (settings.message_content_intent, 1 << 19),
        ]
        .into_iter()
        .filter(|(on, _)| *on)
        .fold(0, |flags, (_, flag)| flags | flag)
    }

    /// Begins a session: READY, then every guild.
    pub(crate) fn greet(&mut self, id: &str) {
        let guilds: Vec<Id> = self
            .guilds
            .values()
            .filter(|guild| guild.bot_is_in)
            .map(|guild| guild.id)
            .collect();
        let mut user = self
            .user(self.bot)
            .as_ref()
            .map(objects::user)
            .unwrap_or_default();
        objects::extend(
            &mut user,
            json!({ "verified": true, "mfa_enabled": true, "email": null }),
        );
        let unavailable: Vec<Value> = guilds
            .iter()
            .map(|&id| json!({ "id": text(id), "unavailable": true }))
            .collect();
        let creates: Vec<Value> = guilds
            .iter()
            .filter_map(|id| self.guilds.get(id))
            .filter(|guild| !guild.in_outage)
            .map(|guild| self.guild_created(guild))
            .collect();
        let limit = self.settings.replay_buffer;
        let flags = self.application_flags();
        let Some(session) = self.gateway.sessions.get_mut(id) else {
            return;
        };
        let mut ready = json!({
            "v": 10,
            "user": user,
            "user_settings": {},
            "guilds": unavailable,
            "private_channels": [],
            "relationships": [],
            "presences": [],
            "session_id": id,
            "session_type": "normal",
            "resume_gateway_url": self.gateway.resume_url,
            "shard": session.shard,
            "application": { "id": text(self.bot), "flags": flags },
            "geo_ordered_rtc_regions": [],
        });
        if self.gateway.spoiled.contains("READY") {
            ready["application"] = Value::Null;
        }
        session.push("READY", &ready, 1, limit);
        if session.intents & GUILDS != 0 && self.gateway.guilds_shown == GuildsShown::AtOnce {
            for guild in &creates {
                session.push("GUILD_CREATE", guild, 1, limit);
            }
        }
        session.greeted = true;
    }

    /// `GUILD_CREATE`, spoiled if that is asked for.
    pub(crate) fn guild_created(&self, guild: &Guild) -> Value {
        let mut json = self.guild_create(guild);
        if self.gateway.spoiled.contains("GUILD_CREATE") {
            json["name"] = Value::Null;
        }
        json
    }

    /// The next chunk of members, and whether more are to come.
    pub(crate) fn next_chunk(&mut self, session: &str, chunks: &mut MemberChunks) -> bool {
        let Some(guild) = self.guilds.get(&chunks.guild) else {
            return false;
        };
        let ids = guild.member_ids(chunks.after, 1_000);
        let members: Vec<Value> = ids
            .iter()
            .filter_map(|&id| self.member_object(guild, id))
            .collect();
        let mut json = json!({
            "guild_id": text(chunks.guild),
            "members": members,
            "chunk_index": chunks.index,
            "chunk_count": chunks.count,
        });
        if let Some(nonce) = &chunks.nonce {
            json["nonce"] = nonce.clone();
        }
        self.tell(session, "GUILD_MEMBERS_CHUNK", &json);
        chunks.after = ids.last().copied().unwrap_or(Id::MAX);
        chunks.index += 1;
        chunks.index < chunks.count
    }

    /// Answers op 8, which asks for members of a guild.
    pub(crate) fn request_members(&mut self, session: &str, asked: &Value) -> Option<Out> {
        let guild_id = objects::id_in(
            asked["guild_id"]
                .as_array()
                .map_or(&asked["guild_id"], |ids| &ids[0]),
        )?;
        let guild = self.guilds.get(&guild_id).filter(|guild| guild.bot_is_in)?;
        let nonce = asked
            .get("nonce")
            .filter(|nonce| nonce.as_str().is_some_and(|nonce| nonce.len() <= 32))
            .cloned();
        let limit = asked["limit"].as_u64().unwrap_or(0);
        let asked_ids = match &asked["user_ids"] {
            Value::Array(ids) => Some(
                ids.iter()
                    .filter_map(objects::id_in)
                    .take(100)
                    .collect::<Vec<_>>(),
            ),
            Value::Null => None,
            id => Some(objects::id_in(id).into_iter().collect()),
        };
        let query = asked["query"].as_str().unwrap_or_default().to_lowercase();
        if asked_ids.is_none() && query.is_empty() && limit == 0 {
            return self.request_all_members(session, guild_id, nonce);
        }
        let mut not_found = Vec::new();
        let found: Vec<Id> = if let Some(ids) = asked_ids {
            let (found, missing) = ids.into_iter().partition(|&id| guild.member(id).is_some());
            not_found = missing;
            found
        } else {
            let limit = usize::try_from(limit.clamp(1, 100)).unwrap_or(100);
            guild
                .member_ids(0, usize::MAX)
                .into_iter()
                .filter(|&id| self.goes_by(guild, id, &query))
                .take(limit)
                .collect()
        };
        let members: Vec<Value> = found
            .iter()
            .filter_map(|&id| self.member_object(guild, id))
            .collect();
        let mut json = json!({
            "guild_id": text(guild_id),
            "members": members,
            "chunk_index": 0,
            "chunk_count": 1,
            "not_found": not_found.into_iter().map(text).collect::<Vec<_>>(),
        });
        if let Some(nonce) = nonce {
            json["nonce"] = nonce;
        }
        self.tell(session, "GUILD_MEMBERS_CHUNK", &json);
        None
    }

    /// All members: privileged, and once in 30 seconds.
    fn request_all_members(
        &mut self,
        session: &str,
        guild: Id,
        nonce: Option<Value>,
    ) -> Option<Out> {
        if self.gateway.sessions.get(session)?.intents & GUILD_MEMBERS == 0 {
            return Some(Out::Close(Some(4014)));
        }
        let now = self.clock.now_ms();
        let last = self.gateway.members_asked_at.get(&guild).copied();
        let wait = last.map_or(0, |last| (last + 30_000).saturating_sub(now));
        if wait > 0 {
            let seconds = std::time::Duration::from_millis(wait).as_secs_f64();
            let mut meta = json!({ "guild_id": text(guild) });
            if let Some(nonce) = nonce {
                meta["nonce"] = nonce;
            }
            let json = json!({ "opcode": 8, "retry_after": seconds, "meta": meta });
            self.tell(session, "RATE_LIMITED", &json);
            return None;
        }
        self.gateway.members_asked_at.insert(guild, now);
        let count = self.guilds.get(&guild)?.member_count().div_ceil(1_000);
        Some(Out::Members(MemberChunks {
            guild,
            after: 0,
            index: 0,
            count,
            nonce,
        }))
    }

    fn goes_by(&self, guild: &Guild, id: Id, query: &str) -> bool {
        let starts = |name: &str| name.to_lowercase().starts_with(query);
        self.user(id).is_some_and(|user| {
            starts(&user.username) || user.global_name.as_deref().is_some_and(starts)
        }) || guild
            .member(id)
            .is_some_and(|member| member.nick.as_deref().is_some_and(starts))
    }

    /// Tells one session alone.
    fn tell(&mut self, session: &str, name: &str, json: &Value) {
        let limit = self.settings.replay_buffer;
        if let Some(session) = self.gateway.sessions.get_mut(session) {
            session.push(name, json, 1, limit);
        }
    }
}

/// Takes out what Discord may leave out of a member.
fn leave_out_optional(event: &mut Event) {
    let member = match &*event.name {
        "GUILD_MEMBER_ADD" | "GUILD_MEMBER_UPDATE" => Some(&mut event.json),
        "MESSAGE_CREATE" => event.json.get_mut("member"),
        _ => None,
    };
    if let Some(member) = member {
        objects::remove(member, "nick");
        objects::remove(member, "avatar");
    }
}

/// A payload that is not an event.
pub(crate) fn plain(payload: &Value) -> Out {
    Out::Frame {
        text: payload.to_string().into(),
        compress: false,
    }
}
