//! One websocket of the gateway: the protocol from Hello to the last close.

use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::Shared;
use crate::flood::Flood;
use crate::gateway::{Address, Door, MemberChunks, Out, plain};
use crate::session::{self, Session};
use crate::state::State;
use crate::transport::Transport;

/// A client's payload must not be longer.
const MAX_PAYLOAD: usize = 4_096;
/// A client may send this many payloads…
const MAX_SENDS: usize = 120;
/// …in this time.
const SENDS_WINDOW: Duration = Duration::from_mins(1);
/// A lost session can be resumed for this long (in the world's time).
const RESUMABLE_MS: u64 = 30 * 60_000;

/// Speaks the protocol on a websocket until it ends.
pub(crate) async fn serve(
    socket: WebSocketStream<TcpStream>,
    transport: Transport,
    address: Address,
    door: Door,
    shared: Shared,
) {
    let (outbox, inbox) = unbounded_channel();
    let (number, interval) = {
        let mut state = shared.lock();
        let number = state.gateway.number();
        state.gateway.connections.insert(number, outbox.clone());
        (number, state.settings.heartbeat_interval)
    };
    let mut connection = Connection {
        socket,
        transport,
        address,
        door,
        shared: shared.clone(),
        outbox,
        number,
        session: None,
        sends: Vec::new(),
        last_beat: Instant::now(),
        interval,
        members: None,
        flood: None,
    };
    connection.run(inbox).await;
    let session = connection.session.take();
    drop(connection);
    let mut state = shared.lock();
    state.gateway.connections.remove(&number);
    let now = state.clock.now_ms();
    if let Some(session) = session.and_then(|id| state.gateway.held_by(&id, number)) {
        session.connection = None;
        session.lost_at_ms = Some(now);
    }
}

/// Says goodbye, and waits a little for an answer.
pub(crate) async fn close(socket: &mut WebSocketStream<TcpStream>, code: Option<u16>) {
    let frame = code.map(|code| CloseFrame {
        code: CloseCode::from(code),
        reason: close_reason(code).into(),
    });
    // Flushed all the same if the client answers or is already gone.
    let _ = socket.close(frame).await;
    let goodbye = async { while let Some(Ok(_)) = socket.next().await {} };
    let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
}

struct Connection {
    socket: WebSocketStream<TcpStream>,
    transport: Transport,
    address: Address,
    door: Door,
    shared: Shared,
    outbox: UnboundedSender<Out>,
    number: u64,
    session: Option<String>,
    /// When the last payloads came.
    sends: Vec<Instant>,
    last_beat: Instant,
    interval: Duration,
    /// Work that waits for the socket to take more.
    members: Option<MemberChunks>,
    flood: Option<Flood>,
}

/// The connection is over.
struct Over;

impl Connection {
    async fn run(&mut self, mut inbox: UnboundedReceiver<Out>) {
        let interval = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX);
        let hello = json!({
            "op": 10,
            "d": { "heartbeat_interval": interval, "_trace": ["discord-sim"] },
        });
        if self.door != Door::NoHello {
            self.queue(plain(&hello));
        }
        loop {
            let deadline = self.last_beat + self.interval * 2 + Duration::from_secs(1);
            let working = self.members.is_some() || self.flood.is_some();
            let step = tokio::select! {
                biased;
                Some(out) = inbox.recv() => self.send(out, &mut inbox).await,
                frame = self.socket.next() => self.receive(frame.and_then(Result::ok)),
                () = std::future::ready(()), if working => self.work().await,
                () = tokio::time::sleep_until(deadline) => {
                    self.queue(Out::Close(Some(4009)));
                    self.last_beat = Instant::now();
                    Ok(())
                }
            };
            if step.is_err() {
                return;
            }
        }
    }

    fn queue(&self, out: Out) {
        // The receiving end lives as long as `run`.
        let _ = self.outbox.send(out);
    }

    /// Writes what waits in the queue, then flushes once.
    async fn send(&mut self, first: Out, inbox: &mut UnboundedReceiver<Out>) -> Result<(), Over> {
        let mut next = Some(first);
        while let Some(out) = next {
            match out {
                Out::Frame { text, compress } => {
                    let frame = self.transport.frame(text, compress);
                    self.socket.feed(frame).await.map_err(|_| Over)?;
                }
                Out::Bytes(bytes) => {
                    let frame = Frame::Binary(bytes.into());
                    self.socket.feed(frame).await.map_err(|_| Over)?;
                }
                Out::Close(code) => return self.close(code).await,
                Out::Drop => return Err(Over),
                Out::Replaced => return self.replaced().await,
                Out::Members(chunks) => {
                    self.members = Some(chunks);
                    break;
                }
                Out::Flood(flood) => {
                    self.flood = Some(flood);
                    break;
                }
            }
            next = inbox.try_recv().ok();
        }
        self.socket.flush().await.map_err(|_| Over)
    }

    async fn close(&mut self, code: Option<u16>) -> Result<(), Over> {
        if let (Some(code), Some(session)) = (code, &self.session)
            && matches!(code, 1000 | 1001 | 4003..=4005 | 4007 | 4009..=4014)
        {
            self.shared.lock().gateway.end(session, self.number);
        }
        close(&mut self.socket, code).await;
        Err(Over)
    }

    /// Another connection has resumed the session. That is as it should be if this one's client
    /// has closed it, though nobody has read so yet.
    async fn replaced(&mut self) -> Result<(), Over> {
        while let Some(read) = self.socket.next().now_or_never() {
            if matches!(read, None | Some(Err(_) | Ok(Frame::Close(_)))) {
                return Err(Over);
            }
        }
        if let Some(session) = self.session.take() {
            tracing::warn!(session, "two connections are on one session");
            let mut state = self.shared.lock();
            state.gateway.uses.entry(session).or_default().takeovers += 1;
        }
        self.close(Some(4000)).await
    }

    /// The next piece of long work: it is made only when the socket has taken
    /// everything before it.
    async fn work(&mut self) -> Result<(), Over> {
        let session = self.session.clone().unwrap_or_default();
        if let Some(chunks) = &mut self.members {
            if !self.shared.lock().next_chunk(&session, chunks) {
                self.members = None;
            }
        } else if let Some(flood) = &mut self.flood {
            let first = {
                let mut state = self.shared.lock();
                let session = state.gateway.sessions.get_mut(&session).ok_or(Over)?;
                session.skip(flood.next_batch())
            };
            // Everything before was flushed, so the bytes may go around the
            // websocket's own buffer.
            let bytes = flood.render(first, &mut self.transport);
            self.socket
                .get_mut()
                .write_all(bytes)
                .await
                .map_err(|_| Over)?;
            if flood.next_batch() == 0 {
                flood.finish();
                self.flood = None;
            }
        }
        Ok(())
    }

    fn receive(&mut self, frame: Option<Frame>) -> Result<(), Over> {
        let text = match frame {
            Some(Frame::Text(text)) => text.to_string(),
            Some(Frame::Binary(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
            Some(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_)) => return Ok(()),
            Some(Frame::Close(close)) => {
                // Closing with 1000 or 1001 ends the session.
                let code = close.map(|close| u16::from(close.code));
                if let (Some(1000 | 1001), Some(session)) = (code, &self.session) {
                    self.shared.lock().gateway.end(session, self.number);
                }
                return Err(Over);
            }
            None => return Err(Over),
        };
        if let Err(code) = self.payload(&text) {
            tracing::warn!(code, text, "the gateway refuses a payload");
            self.queue(Out::Close(Some(code)));
        }
        Ok(())
    }

    /// What the client says; refused with a close code.
    fn payload(&mut self, text: &str) -> Result<(), u16> {
        let now = Instant::now();
        self.sends.retain(|&at| now - at < SENDS_WINDOW);
        self.sends.push(now);
        if self.sends.len() > MAX_SENDS {
            return Err(4008);
        }
        if text.len() > MAX_PAYLOAD {
            return Err(4002);
        }
        let payload: Value = serde_json::from_str(text).map_err(|_| 4002u16)?;
        let data = &payload["d"];
        match payload["op"].as_u64().ok_or(4002u16)? {
            1 => self.heartbeat(),
            2 => self.identify(data)?,
            3 => {
                let id = self.session.as_ref().ok_or(4003u16)?;
                if let Some(session) = self.shared.lock().gateway.sessions.get_mut(id) {
                    session.presence = data.clone();
                }
            }
            4 if self.session.is_some() => {}
            6 => self.resume(data)?,
            8 => {
                let id = self.session.as_ref().ok_or(4003u16)?;
                let answer = self.shared.lock().request_members(id, data);
                if let Some(out) = answer {
                    self.queue(out);
                }
            }
            4 => return Err(4003),
            _ => return Err(4001),
        }
        Ok(())
    }

    fn heartbeat(&mut self) {
        self.last_beat = Instant::now();
        let mut state = self.shared.lock();
        state.gateway.heartbeats += 1;
        if !state.gateway.mute_acks {
            self.queue(plain(&json!({ "op": 11 })));
        }
    }

    fn identify(&mut self, data: &Value) -> Result<(), u16> {
        let mut state = self.shared.lock();
        let alive = |id| state.gateway.sessions.contains_key(id);
        if self.session.as_ref().is_some_and(alive) {
            return Err(4005);
        }
        if !data["properties"].is_object() {
            return Err(4002);
        }
        if !token_fits(&state, data) {
            return Err(4004);
        }
        let intents = data["intents"].as_u64().ok_or(4013u16)?;
        check_intents(&state, intents)?;
        let shard = match &data["shard"] {
            Value::Null => [0, 1],
            shard => {
                let shard = [shard[0].as_u64(), shard[1].as_u64()].map(|part| part.ok_or(4010u16));
                let [number, of] = shard;
                let (number, of) = (number?, of?);
                if number >= of {
                    return Err(4010);
                }
                [number, of]
            }
        };
        if state.gateway.identifies >= state.settings.identify_limit {
            reset_token(&mut state);
            return Err(4004);
        }
        state.gateway.identifies += 1;
        state.gateway.identifies_elsewhere += u64::from(self.address != Address::Main);
        if self.door != Door::Open {
            state.gateway.unanswered += 1;
            return Ok(());
        }
        if state.gateway.refuse_identifies {
            self.queue(plain(&json!({ "op": 9, "d": false })));
            return Ok(());
        }
        let now = state.clock.now_ms();
        state.gateway.sessions.retain(|_, session| {
            session
                .lost_at_ms
                .is_none_or(|lost| now < lost + RESUMABLE_MS)
        });
        let id = format!("{:032x}", crate::members::mix(state.gateway.number()));
        let compress = data["compress"].as_bool().unwrap_or(false);
        let mut session = Session::new(intents, shard, compress);
        session.connection = Some(self.outbox.clone());
        session.connection_number = self.number;
        session.presence = data["presence"].clone();
        state.gateway.sessions.insert(id.clone(), session);
        state.greet(&id);
        self.session = Some(id);
        Ok(())
    }

    fn resume(&mut self, data: &Value) -> Result<(), u16> {
        let mut state = self.shared.lock();
        if !token_fits(&state, data) {
            return Err(4004);
        }
        let id = data["session_id"].as_str().ok_or(4002u16)?.to_owned();
        let seq = data["seq"].as_u64().ok_or(4002u16)?;
        state.gateway.resumes_elsewhere += u64::from(self.address != Address::Resume);
        if self.door != Door::Open {
            state.gateway.unanswered += 1;
            return Ok(());
        }
        let limit = state.settings.replay_buffer;
        let refused = state.gateway.refuse_resumes > 0;
        state.gateway.refuse_resumes = state.gateway.refuse_resumes.saturating_sub(1);
        let now = state.clock.now_ms();
        let session = state.gateway.sessions.get_mut(&id).filter(|session| {
            !refused
                && session.can_replay(seq)
                && session
                    .lost_at_ms
                    .is_none_or(|lost| now < lost + RESUMABLE_MS)
        });
        let Some(session) = session else {
            state.gateway.sessions.remove(&id);
            self.queue(plain(&json!({ "op": 9, "d": false })));
            return Ok(());
        };
        let older = session.connection.replace(self.outbox.clone());
        if let Some(older) = older.filter(|_| session.connection_number != self.number) {
            // A connection that is just ending needs no more telling.
            let _ = older.send(Out::Replaced);
        }
        session.connection_number = self.number;
        session.lost_at_ms = None;
        session.replay(seq, limit);
        state.gateway.resumes += 1;
        state.gateway.uses.entry(id.clone()).or_default().resumes += 1;
        self.session = Some(id);
        Ok(())
    }
}

fn token_fits(state: &State, data: &Value) -> bool {
    let token = data["token"].as_str().unwrap_or_default();
    token.strip_prefix("Bot ").unwrap_or(token) == state.settings.token
}

fn check_intents(state: &State, intents: u64) -> Result<(), u16> {
    if intents & !session::ALL_INTENTS != 0 {
        return Err(4013);
    }
    let settings = &state.settings;
    let off = [
        (settings.members_intent, session::GUILD_MEMBERS),
        (settings.presences_intent, session::GUILD_PRESENCES),
        (settings.message_content_intent, session::MESSAGE_CONTENT),
    ];
    let asks_for_off = off.iter().any(|&(on, intent)| !on && intents & intent != 0);
    if asks_for_off { Err(4014) } else { Ok(()) }
}

/// What Discord does to a bot that identifies too often.
fn reset_token(state: &mut State) {
    tracing::error!("too many identifies: all sessions are ended and the token is reset");
    state.settings.token.push_str("reset");
    state.gateway.sessions.clear();
    for connection in state.gateway.connections.values() {
        // A connection that is just ending needs no more telling.
        let _ = connection.send(Out::Close(Some(4004)));
    }
}

fn close_reason(code: u16) -> &'static str {
    match code {
        4000 => "Unknown error.",
        4001 => "Unknown opcode.",
        4002 => "Error while decoding payload.",
        4003 => "Not authenticated.",
        4004 => "Authentication failed.",
        4005 => "Already authenticated.",
        4007 => "Invalid seq.",
        4008 => "Rate limited.",
        4009 => "Session timed out.",
        4010 => "Invalid shard.",
        4011 => "Sharding required.",
        4012 => "Invalid API version.",
        4013 => "Invalid intent(s).",
        4014 => "Disallowed intent(s).",
        _ => "",
    }
}
