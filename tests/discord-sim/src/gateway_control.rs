//! What tests can do to the gateway, and see of it: lost connections, lost sessions, events that
//! are late, doubled or gone.

use serde_json::{Value, json};

use crate::Shared;
use crate::gateway::{Door, Event, GuildsShown, Out, plain};
use crate::session::Session;

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

/// What became of a session.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SessionUse {
    /// How often it was resumed.
    pub resumes: u64,
    /// How often it was resumed while another connection that nobody had closed still held it.
    /// That one is then closed with 4000.
    pub takeovers: u64,
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

    /// How many identifies came to the address that is for resumes alone. They are answered as
    /// any other.
    pub fn identifies_elsewhere(&self) -> u64 {
        self.shared.lock().gateway.identifies_elsewhere
    }

    /// How many resumes came to another address than READY's `resume_gateway_url`. They are
    /// answered as any other.
    pub fn resumes_elsewhere(&self) -> u64 {
        self.shared.lock().gateway.resumes_elsewhere
    }

    /// What became of a session, also if it is over; no more than nothing of an unknown one.
    pub fn session_use(&self, id: &str) -> SessionUse {
        let state = self.shared.lock();
        state.gateway.uses.get(id).copied().unwrap_or_default()
    }

    /// How often any session was resumed while another connection still held it: two processes
    /// were on one session.
    pub fn takeovers(&self) -> u64 {
        let state = self.shared.lock();
        state.gateway.uses.values().map(|one| one.takeovers).sum()
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

    /// Breaks every connection; from now on the bot can connect, but Hello never comes (`accept`
    /// ends it, for new connections).
    pub fn withhold_hello(&self) {
        self.shared.lock().gateway.door = Door::NoHello;
        self.drop_connections();
    }

    /// Breaks every connection; from now on Hello comes and heartbeats are acknowledged, but no
    /// identify and no resume is answered (`accept` ends it, for new connections). They count all
    /// the same, and a session stays what it was.
    pub fn withhold_answers(&self) {
        self.shared.lock().gateway.door = Door::HelloOnly;
        self.drop_connections();
    }

    /// How many identifies and resumes have been left without an answer.
    pub fn unanswered(&self) -> u64 {
        self.shared.lock().gateway.unanswered
    }

    /// How many connections have been ignored: they had no answer, or no Hello.
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
