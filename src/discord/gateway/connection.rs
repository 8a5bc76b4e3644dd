//! One connection to the gateway: a twilight [`Shard`] that is used once.
//!
//! Says what came, and why the connection is over. Never connects again, and never logs what
//! was received: the library's errors quote it.

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
    CloseFrame, ConfigBuilder, Intents, Message, Session as TheirSession, Shard, ShardId,
    ShardState,
};

use super::frame::{Frame, Opcode};
use super::session::Session;

/// Guilds for the guild's own data, members for who comes and goes, moderation for bans (which
/// are told before the member's leaving), messages for XP, content for text commands.
pub const INTENTS: Intents = Intents::GUILDS
    .union(Intents::GUILD_MEMBERS)
    .union(Intents::GUILD_MODERATION)
    .union(Intents::GUILD_MESSAGES)
    .union(Intents::MESSAGE_CONTENT);

/// How long a close frame may take to be sent and answered.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long Discord may take to say what comes first.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// From the beginning of an attempt to `HELLO`.
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

/// One connection.
pub(super) struct Connection {
    shard: Shard<AtOnce>,
    was_connected: bool,
    stage: Stage,
    began: Instant,
}

/// How far a connection has come, and since when.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Nothing was said.
    Silent(Instant),
    /// `HELLO` was.
    Greeted(Instant),
    /// The session has begun or goes on.
    Active,
}

/// What has become of a connection.
pub(super) enum Next {
    /// An event came.
    Event(Frame),
    /// It is over.
    Over(Ended),
    /// Discord has said `HELLO`: the library identifies or resumes now.
    Greeted,
    /// Nothing that matters.
    Nothing,
}

/// Why a connection is over.
pub(super) enum Ended {
    /// Closed by Discord, perhaps with a code.
    Closed(Option<u16>),
    /// Discord wants another one (opcode 7).
    Reconnect,
    /// The session is invalid (opcode 9), perhaps for good.
    InvalidSession { resumable: bool },
    /// Never came about, and why.
    NotMade(String),
    /// Something was not said in time.
    TooLate(&'static str),
    /// Cannot be read any further.
    Broken(&'static str),
}

impl Connection {
    /// Begins a connection to `url`, which resumes `session` if there is one.
    pub fn open(token: String, url: String, session: Option<&Session>) -> Self {
        let mut config = ConfigBuilder::new(token, INTENTS)
            .proxy_url(url)
            // Nothing is sent but what keeps the session.
            .ratelimit_messages(false)
            .queue(AtOnce);
        if let Some(session) = session {
            config = config.session(TheirSession::new(session.sequence, session.id.clone()));
        }
        let now = Instant::now();
        Self {
            shard: Shard::with_config(ShardId::ONE, config.build()),
            was_connected: false,
            stage: Stage::Silent(now),
            began: now,
        }
    }

    /// Whether the session has begun, or goes on.
    pub fn is_active(&self) -> bool {
        matches!(self.stage, Stage::Active)
    }

    /// Whether Discord has said `HELLO`.
    pub fn was_greeted(&self) -> bool {
        !matches!(self.stage, Stage::Silent(_))
    }

    /// How long ago it began.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// What comes next on it.
    pub async fn next(&mut self, deadlines: Deadlines) -> Next {
        let deadline = self.stage.deadline(deadlines);
        // The library panics at an address for resuming that does not parse.
        let coming = AssertUnwindSafe(self.coming()).catch_unwind();
        let came = match deadline {
            None => coming.await,
            Some((at, what)) => match timeout_at(at, coming).await {
                Ok(came) => came,
                Err(_) => return Next::Over(Ended::TooLate(what)),
            },
        };
        match came {
            Ok(Some(Ok(Message::Text(text)))) => self.take(text),
            Ok(Some(Ok(Message::Close(frame)))) => {
                Next::Over(Ended::Closed(frame.map(|frame| frame.code)))
            }
            Ok(Some(Err(error))) => self.failed(error),
            Ok(None) => Next::Over(Ended::Broken("broke off")),
            Err(_) => Next::Over(Ended::Broken("had an address that makes no sense")),
        }
    }

    /// What the library hands out; `None` if the connection has broken off. Then the library
    /// would begin another one by itself, at once and without a word.
    async fn coming(&mut self) -> Option<Result<Message, ReceiveMessageError>> {
        poll_fn(|context| {
            let came = self.shard.poll_next_unpin(context);
            let is_connected = !matches!(self.shard.state(), ShardState::Disconnected { .. });
            if came.is_pending() && self.was_connected && !is_connected {
                return Poll::Ready(None);
            }
            self.was_connected |= is_connected;
            came
        })
        .await
    }

    fn take(&mut self, text: String) -> Next {
        let Some(frame) = Frame::read(text) else {
            return Next::Nothing;
        };
        match frame.opcode {
            // On a line of its own.
            Opcode::Hello if self.was_greeted() => Next::Over(Ended::Broken("began twice")),
            Opcode::Hello => {
                self.stage = Stage::Greeted(Instant::now());
                Next::Greeted
            }
            Opcode::Reconnect => Next::Over(Ended::Reconnect),
            Opcode::InvalidSession => {
                let resumable = frame.data() == "true";
                Next::Over(Ended::InvalidSession { resumable })
            }
            Opcode::Dispatch => self.event(frame),
            Opcode::Other => Next::Nothing,
        }
    }

    fn event(&mut self, frame: Frame) -> Next {
        if matches!(frame.kind(), "READY" | "RESUMED") {
            self.stage = Stage::Active;
        }
        Next::Event(frame)
    }

    /// The error quotes what was received: it is never logged.
    fn failed(&mut self, error: ReceiveMessageError) -> Next {
        if matches!(error.kind(), ReceiveMessageErrorType::Reconnect) {
            // Of a connection that was not made nothing was received.
            let why = error.into_source().map(|why| why.to_string());
            return Next::Over(Ended::NotMade(why.unwrap_or_default()));
        }
        match error.into_parts().0 {
            ReceiveMessageErrorType::Compression => {
                Next::Over(Ended::Broken("could not be decompressed"))
            }
            // An event that the library does not understand is one all the same.
            ReceiveMessageErrorType::Deserializing { event } => match Frame::read(event) {
                Some(frame) if frame.opcode == Opcode::Dispatch && !frame.kind().is_empty() => {
                    self.event(frame)
                }
                _ => Next::Nothing,
            },
            _ => Next::Over(Ended::Broken("broke off")),
        }
    }

    /// Says goodbye with this frame, and waits a little for the answer.
    pub async fn close(self, frame: CloseFrame<'static>) {
        self.shard.close(frame);
        self.close_by_itself().await;
    }

    /// The same where the library says goodbye by itself.
    pub async fn close_by_itself(mut self) {
        let closing = AssertUnwindSafe(async {
            while let Some(next) = self.shard.next().await {
                match next {
                    Ok(Message::Close(_)) | Err(_) => return,
                    // The next connection, if the goodbye was not answered.
                    Ok(Message::Text(text)) if is_hello(&text) => return,
                    Ok(Message::Text(_)) => {}
                }
            }
        });
        // Either way nothing more is read.
        let _ = timeout(CLOSE_TIMEOUT, closing.catch_unwind()).await;
    }
}

fn is_hello(text: &str) -> bool {
    let frame = Frame::read(text.to_owned());
    frame.is_some_and(|frame| frame.opcode == Opcode::Hello)
}

impl Stage {
    /// Until when something must be said, and what.
    fn deadline(self, deadlines: Deadlines) -> Option<(Instant, &'static str)> {
        match self {
            Self::Silent(since) => Some((since + deadlines.hello, "HELLO")),
            Self::Greeted(since) => Some((since + deadlines.ready, "READY or RESUMED")),
            Self::Active => None,
        }
    }
}

/// Lets the library identify at once: whether a session may be begun is decided before a
/// connection is, and none begins two.
#[derive(Debug)]
struct AtOnce;

impl Queue for AtOnce {
    fn enqueue(&self, _: u32) -> oneshot::Receiver<()> {
        let (permit, permitted) = oneshot::channel();
        // It is waited for.
        let _ = permit.send(());
        permitted
    }
}
