//! The gateway's side that is not a socket: sessions, what each may hear, and
//! the faults that tests ask for.
//!
//! [`State::dispatch`] is how the world tells the bot anything. A session's
//! socket is `socket.rs`; what a session remembers is `session.rs`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::Shared;
use crate::clock::Id;
use crate::flood::FloodOrder;
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
    /// Send all these members.
    Members(MemberChunks),
    /// Send very many messages.
    Flood(FloodOrder),
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
    /// It is taken, and nobody answers.
    Ajar,
}

/// All sessions and connections, and what is wrong with the gateway now.
#[derive(Debug, Default)]
pub(crate) struct Gateway {
    pub url: String,
    pub sessions: BTreeMap<String, Session>,
    pub connections: BTreeMap<u64, UnboundedSender<Out>>,
    pub next_number: u64,
    pub identifies: u64,
    pub resumes: u64,
    pub heartbeats: u64,
    pub door: Door,
    /// How many connections were left without an answer.
    pub ignored: u64,
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
    held: Option<Vec<Event>>,
    lose: u32,
    /// Events that nobody is sent.
    lost: BTreeSet<&'static str>,
    duplicate: u32,
    swap: u32,
    /// The first of two neighbours that are being swapped.
    swapped: Option<Event>,
}

/// When a new session is shown its guilds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum GuildsShown {
    /// Behind READY.
    #[default]
    AtOnce,
    /// When [`GatewayControl::show_guilds`] says so, as in an outage.
    Later,
}

impl Gateway {
    pub fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
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
            "resume_gateway_url": self.gateway.url,
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

/// What tests can see of a session.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    /// Its id, as READY said it.
    pub id: String,
    /// The intents it asked for.
    pub intents: u64,
    /// Whether it has a connection now.
    pub connected: bool,
    /// The sequence number of the last event it was sent (or will be).
    pub seq: u64,
    /// The last presence (op 3) it set.
    pub presence: Value,
}

/// A hand on the gateway: looks at it, and breaks it in every known way.
#[derive(Debug)]
pub struct GatewayControl<'a> {
    pub(crate) shared: &'a Shared,
}

impl GatewayControl<'_> {
    /// How many sessions have been begun (op 2), refused ones not counted.
    pub fn identifies(&self) -> u64 {
        self.shared.lock().gateway.identifies
    }

    /// How many sessions have been resumed (op 6).
    pub fn resumes(&self) -> u64 {
        self.shared.lock().gateway.resumes
    }

    /// How many heartbeats have come.
    pub fn heartbeats(&self) -> u64 {
        self.shared.lock().gateway.heartbeats
    }

    /// How many websockets are open.
    pub fn connections(&self) -> usize {
        self.shared.lock().gateway.connections.len()
    }

    /// The sessions that are connected or can be resumed.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let state = self.shared.lock();
        let info = |(id, session): (&String, &Session)| SessionInfo {
            id: id.clone(),
            intents: session.intents,
            connected: session.connection.is_some(),
            seq: session.seq,
            presence: session.presence.clone(),
        };
        state.gateway.sessions.iter().map(info).collect()
    }

    /// Breaks every connection without a closing handshake. Sessions stay
    /// resumable, and remember what happens meanwhile.
    pub fn drop_connections(&self) {
        self.to_all(|| Out::Drop);
    }

    /// Closes every connection, with a code or without any. Codes that end a
    /// session (1000, 1001, 4007, 4009 and those not to reconnect on) end it.
    pub fn close(&self, code: Option<u16>) {
        self.to_all(|| Out::Close(code));
    }

    /// Op 7: asks every connection to come back and resume.
    pub fn reconnect(&self) {
        self.to_all(|| plain(&json!({ "op": 7, "d": null })));
    }

    /// Op 9. With `resumable` false the sessions are forgotten: what happens
    /// until the next identify is lost.
    pub fn invalid_session(&self, resumable: bool) {
        self.to_all(|| plain(&json!({ "op": 9, "d": resumable })));
        if !resumable {
            self.forget_sessions();
        }
    }

    /// Op 1: asks every connection for a heartbeat at once.
    pub fn request_heartbeat(&self) {
        self.to_all(|| plain(&json!({ "op": 1, "d": null })));
    }

    /// Forgets all sessions without telling: the next resume is refused.
    pub fn forget_sessions(&self) {
        self.shared.lock().gateway.sessions.clear();
    }

    /// Answers the next `count` resumes with op 9 false.
    pub fn refuse_resumes(&self, count: u32) {
        self.shared.lock().gateway.refuse_resumes = count;
    }

    /// Heartbeats are no longer acknowledged (`resume_acks` ends it).
    pub fn stop_acks(&self) {
        self.shared.lock().gateway.mute_acks = true;
    }

    /// Heartbeats are acknowledged again.
    pub fn resume_acks(&self) {
        self.shared.lock().gateway.mute_acks = false;
    }

    /// Breaks every connection and lets none in (`accept` ends it).
    pub fn refuse_connections(&self) {
        self.shared.lock().gateway.door = Door::Shut;
        self.drop_connections();
    }

    /// Breaks every connection; from now on the bot can connect, but nobody answers its
    /// handshake (`accept` ends it, for new connections).
    pub fn ignore_connections(&self) {
        self.shared.lock().gateway.door = Door::Ajar;
        self.drop_connections();
    }

    /// How many connections have been ignored.
    pub fn ignored(&self) -> u64 {
        self.shared.lock().gateway.ignored
    }

    /// Lets connections in again.
    pub fn accept(&self) {
        self.shared.lock().gateway.door = Door::Open;
    }

    /// Answers every identify with op 9 false (or not any more). They count as identifies
    /// all the same.
    pub fn refuse_identifies(&self, refuse: bool) {
        self.shared.lock().gateway.refuse_identifies = refuse;
    }

    /// Sends every READY without its application (or not any more): the session is as good
    /// as any, but a strict client cannot read what is said of it.
    pub fn spoil_ready(&self, spoil: bool) {
        self.spoil("READY", spoil);
    }

    /// Begins sessions without their guilds from now on.
    pub fn withhold_guilds(&self) {
        self.shared.lock().gateway.guilds_shown = GuildsShown::Later;
    }

    /// Shows every session its guilds, now and at its beginning.
    pub fn show_guilds(&self) {
        let mut state = self.shared.lock();
        state.gateway.guilds_shown = GuildsShown::AtOnce;
        let guilds = state.guilds.values().filter(|guild| guild.bot_is_in);
        let shown: Vec<Event> = guilds
            .map(|guild| Event::in_guild("GUILD_CREATE", guild.id, state.guild_create(guild)))
            .collect();
        for event in shown {
            state.dispatch(event);
        }
    }

    /// Sends every `GUILD_CREATE` without the guild's name (or not any more): a strict client
    /// cannot read it.
    pub fn spoil_guilds(&self, spoil: bool) {
        self.spoil("GUILD_CREATE", spoil);
    }

    /// Puts all events aside, until `release`.
    pub fn hold(&self) {
        let held = &mut self.shared.lock().gateway.held;
        held.get_or_insert_default();
    }

    /// Sends what was put aside, in order, also a neighbour that still waits to
    /// be swapped. Nothing is swapped any more.
    pub fn release(&self) {
        let mut state = self.shared.lock();
        let held = state.gateway.held.take().unwrap_or_default();
        let swapped = state.gateway.swapped.take();
        state.gateway.swap = 0;
        for event in held.into_iter().chain(swapped) {
            state.dispatch(event);
        }
    }

    /// Sends the next `count` events to nobody, ever.
    pub fn lose_next(&self, count: u32) {
        self.shared.lock().gateway.lose = count;
    }

    /// Sends no events of this name to anybody from now on.
    pub fn lose_all(&self, name: &'static str) {
        self.shared.lock().gateway.lost.insert(name);
    }

    /// Sends each of the next `count` events twice (with one and the same `s`).
    pub fn duplicate_next(&self, count: u32) {
        self.shared.lock().gateway.duplicate = count;
    }

    /// Sends the next `pairs` pairs of events in the wrong order.
    pub fn swap_next(&self, pairs: u32) {
        self.shared.lock().gateway.swap = pairs;
    }

    /// Sends an event of any name and content to every session.
    pub fn raw_dispatch(&self, name: &str, json: Value) {
        let event = Event {
            name: name.to_owned().into(),
            guild: None,
            visible: true,
            json,
        };
        let mut state = self.shared.lock();
        let limit = state.settings.replay_buffer;
        for session in state.gateway.sessions.values_mut() {
            session.push(&event.name, &event.json, 1, limit);
        }
    }

    /// Sends a payload of any text to every connection.
    pub fn raw_frame(&self, text: &str) {
        self.to_all(|| Out::Frame {
            text: text.into(),
            compress: false,
        });
    }

    /// Sends a binary frame as it is to every connection: where transport compression is on,
    /// anything but a piece of the stream breaks it.
    pub fn raw_bytes(&self, bytes: &[u8]) {
        self.to_all(|| Out::Bytes(bytes.to_vec()));
    }

    fn spoil(&self, event: &'static str, spoil: bool) {
        let spoiled = &mut self.shared.lock().gateway.spoiled;
        if spoil {
            spoiled.insert(event);
        } else {
            spoiled.remove(event);
        }
    }

    fn to_all(&self, out: impl Fn() -> Out) {
        for connection in self.shared.lock().gateway.connections.values() {
            // A connection that is just ending needs no more telling.
            let _ = connection.send(out());
        }
    }
}

/// A payload that is not an event.
pub(crate) fn plain(payload: &Value) -> Out {
    Out::Frame {
        text: payload.to_string().into(),
        compress: false,
    }
}
