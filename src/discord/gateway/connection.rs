//! One connection to the gateway: a twilight [`Shard`] that is used for one connection only.
//!
//! Returns each event, and finally the reason why the connection ended. Never reconnects. Never
//! logs twilight's receive errors, because they quote what was received.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::task::Poll;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use twilight_gateway::error::{ReceiveMessageError, ReceiveMessageErrorType};
use twilight_gateway::queue::Queue;
use twilight_gateway::{
    CloseFrame, ConfigBuilder, Intents, Message, Session as TwilightSession, Shard, ShardId,
    ShardState,
};

use super::frame::{Frame, Opcode};
use super::session::Session;

/// The intents of every session, with what each is needed for: `GUILDS` for the guild, its roles
/// and channels; `GUILD_MEMBERS` for joins, updates and leaves; `GUILD_MODERATION` for bans, which
/// Discord sends before the leave; `GUILD_MESSAGES` for XP; `MESSAGE_CONTENT` for text commands.
pub const INTENTS: Intents = Intents::GUILDS
    .union(Intents::GUILD_MEMBERS)
    .union(Intents::GUILD_MODERATION)
    .union(Intents::GUILD_MESSAGES)
    .union(Intents::MESSAGE_CONTENT);

/// Time limit for sending a close frame and receiving the answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Time limits for the first messages of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// From the start of the attempt to `HELLO`.
    pub hello: Duration,
    /// From `HELLO` to `READY` or `RESUMED`.
    pub ready: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(20),
            ready: Duration::from_mins(1),
        }
    }
}

/// One connection, from the attempt to connect until it ends.
pub(super) struct GatewayConnection {
    shard: Shard<ImmediateQueue>,
    was_connected: bool,
    stage: ConnectionStage,
    began: Instant,
}

/// How far a connection has come, with the time at which it came there.
#[derive(Clone, Copy, Debug)]
enum ConnectionStage {
    /// Discord has not sent `HELLO` yet; since when the attempt runs.
    Silent(Instant),
    /// Discord has sent `HELLO`, but neither `READY` nor `RESUMED`.
    Greeted(Instant),
    /// Discord has sent `READY` or `RESUMED`.
    Active,
}

/// What [`GatewayConnection::next`] returns.
pub(super) enum Received {
    /// Discord sent an event.
    Event(Frame),
    /// The connection has ended.
    Over(Ended),
    /// Discord has sent `HELLO`; twilight identifies or resumes now.
    Greeted,
    /// Discord sent something that needs no reaction.
    Nothing,
}

/// Why a connection ended.
pub(super) enum Ended {
    /// Discord closed it; with the close code, if it sent one.
    Closed(Option<u16>),
    /// Discord asked for a new connection (opcode 7).
    Reconnect,
    /// Discord called the session invalid (opcode 9), and said whether it can be resumed later.
    InvalidSession { resumable: bool },
    /// The connection could not be made, for this reason.
    ConnectFailed(String),
    /// Discord did not send this message in time.
    TimedOut(&'static str),
    /// Nothing more can be read from it. The text completes "the connection …".
    Broken(&'static str),
}

impl GatewayConnection {
    /// Prepares a connection to `url` that resumes `session`, or identifies if that is `None`. It
    /// connects at the first [`Self::next`].
    pub fn open(token: String, url: String, session: Option<&Session>) -> Self {
        let mut config = ConfigBuilder::new(token, INTENTS)
            .proxy_url(url)
            // Only identify, resume and heartbeats are sent: far below Discord's limit.
            .ratelimit_messages(false)
            .queue(ImmediateQueue);
        if let Some(session) = session {
            config = config.session(TwilightSession::new(session.sequence, session.id.clone()));
        }
        let now = Instant::now();
        Self {
            shard: Shard::with_config(ShardId::ONE, config.build()),
            was_connected: false,
            stage: ConnectionStage::Silent(now),
            began: now,
        }
    }

    /// Whether Discord has sent `READY` or `RESUMED`.
    pub fn is_active(&self) -> bool {
        matches!(self.stage, ConnectionStage::Active)
    }

    /// Whether Discord has sent `HELLO`.
    pub fn was_greeted(&self) -> bool {
        !matches!(self.stage, ConnectionStage::Silent(_))
    }

    /// The time since the attempt to connect began.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits for the next message, or for the end of the connection. Before `READY` or `RESUMED`
    /// it waits no longer than `deadlines` allow.
    pub async fn next(&mut self, deadlines: Deadlines) -> Received {
        let deadline = self.stage.deadline(deadlines);
        // Twilight panics at a URL that does not parse.
        let receiving = AssertUnwindSafe(self.receive()).catch_unwind();
        let received = match deadline {
            None => receiving.await,
            Some((at, what)) => match timeout_at(at, receiving).await {
                Ok(received) => received,
                Err(_) => return Received::Over(Ended::TimedOut(what)),
            },
        };
        match received {
            Ok(Some(Ok(Message::Text(text)))) => self.take(text),
            Ok(Some(Ok(Message::Close(frame)))) => {
                Received::Over(Ended::Closed(frame.map(|frame| frame.code)))
            }
            Ok(Some(Err(error))) => self.failed(error),
            Ok(None) => Received::Over(Ended::Broken("broke off")),
            Err(_) => Received::Over(Ended::Broken("had an invalid address")),
        }
    }

    /// The next message from twilight; `None` if the connection was lost. Twilight would reconnect
    /// by itself then, at once and without telling, so the loss is noticed by the shard's state.
    async fn receive(&mut self) -> Option<Result<Message, ReceiveMessageError>> {
        poll_fn(|context| {
            let polled = self.shard.poll_next_unpin(context);
            let is_connected = !matches!(self.shard.state(), ShardState::Disconnected { .. });
            if polled.is_pending() && self.was_connected && !is_connected {
                return Poll::Ready(None);
            }
            self.was_connected |= is_connected;
            polled
        })
        .await
    }

    fn take(&mut self, text: String) -> Received {
        let Some(frame) = Frame::read(text) else {
            return Received::Nothing;
        };
        match frame.opcode {
            // A second HELLO comes from a connection that twilight opened by itself.
            Opcode::Hello if self.was_greeted() => {
                Received::Over(Ended::Broken("sent HELLO twice"))
            }
            Opcode::Hello => {
                self.stage = ConnectionStage::Greeted(Instant::now());
                Received::Greeted
            }
            Opcode::Reconnect => Received::Over(Ended::Reconnect),
            Opcode::InvalidSession => {
                let resumable = frame.data() == "true";
                Received::Over(Ended::InvalidSession { resumable })
            }
            Opcode::Dispatch => self.event(frame),
            Opcode::Other => Received::Nothing,
        }
    }

    fn event(&mut self, frame: Frame) -> Received {
        if matches!(frame.kind(), "READY" | "RESUMED") {
            self.stage = ConnectionStage::Active;
        }
        Received::Event(frame)
    }

    /// Decides what a receive error means. It quotes what was received, so it must not be logged.
    fn failed(&mut self, error: ReceiveMessageError) -> Received {
        if matches!(error.kind(), ReceiveMessageErrorType::Reconnect) {
            // Safe to log: nothing was received, since the connection was never made.
            let why = error.into_source().map(|why| why.to_string());
            return Received::Over(Ended::ConnectFailed(why.unwrap_or_default()));
        }
        match error.into_parts().0 {
            ReceiveMessageErrorType::Compression => {
                Received::Over(Ended::Broken("could not be decompressed"))
            }
            // Twilight could not parse the event, but the frame may still be readable.
            ReceiveMessageErrorType::Deserializing { event } => match Frame::read(event) {
                Some(frame) if frame.opcode == Opcode::Dispatch && !frame.kind().is_empty() => {
                    self.event(frame)
                }
                _ => Received::Nothing,
            },
            _ => Received::Over(Ended::Broken("broke off")),
        }
    }

    /// Sends this close frame and waits for the answer, for at most [`CLOSE_TIMEOUT`].
    pub async fn close(self, frame: CloseFrame<'static>) {
        self.shard.close(frame);
        self.wait_until_closed().await;
    }

    /// Waits until twilight has closed the connection, which it does by itself after opcodes 7
    /// and 9. Waits for at most [`CLOSE_TIMEOUT`].
    pub async fn wait_until_closed(mut self) {
        let closing = AssertUnwindSafe(async {
            while let Some(next) = self.shard.next().await {
                match next {
                    Ok(Message::Close(_)) | Err(_) => return,
                    // Twilight got no answer to its close frame and has reconnected.
                    Ok(Message::Text(text)) if is_hello(&text) => return,
                    Ok(Message::Text(_)) => {}
                }
            }
        });
        // After a timeout or a panic there is nothing left to do: the shard is dropped.
        let _ = timeout(CLOSE_TIMEOUT, closing.catch_unwind()).await;
    }
}

fn is_hello(text: &str) -> bool {
    let frame = Frame::read(text.to_owned());
    frame.is_some_and(|frame| frame.opcode == Opcode::Hello)
}

impl ConnectionStage {
    /// When this stage times out, and which message Discord must send before; `None` if active.
    fn deadline(self, deadlines: Deadlines) -> Option<(Instant, &'static str)> {
        match self {
            Self::Silent(since) => Some((since + deadlines.hello, "HELLO")),
            Self::Greeted(since) => Some((since + deadlines.ready, "READY or RESUMED")),
            Self::Active => None,
        }
    }
}

/// An identify queue that permits at once. The gateway waits for its `IdentifyLimiter` before it
/// opens a connection, and each connection identifies at most once.
#[derive(Debug)]
struct ImmediateQueue;

impl Queue for ImmediateQueue {
    fn enqueue(&self, _: u32) -> oneshot::Receiver<()> {
        let (permit, permitted) = oneshot::channel();
        // Cannot fail: the receiver is still in this function.
        let _ = permit.send(());
        permitted
    }
}
