//! One connection to the gateway: a twilight [`Shard`] that is used once.
//!
//! Says what came, and why the connection is over. Never connects again, and never logs what
//! was received: the library's errors quote it.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use twilight_gateway::error::{ReceiveMessageError, ReceiveMessageErrorType};
use twilight_gateway::queue::Queue;
use twilight_gateway::{
    CloseFrame, ConfigBuilder, Intents, Message, Session as TheirSession, Shard, ShardId,
};

use super::frame::{Frame, Opcode};
use super::session::Session;

/// Guilds for the guild's own data, members for who comes and goes, moderation for bans (which
/// are told before the member's leaving), messages for XP, content for text commands.
const INTENTS: Intents = Intents::GUILDS
    .union(Intents::GUILD_MEMBERS)
    .union(Intents::GUILD_MODERATION)
    .union(Intents::GUILD_MESSAGES)
    .union(Intents::MESSAGE_CONTENT);

/// How long a close frame may take to be sent and answered.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is looked whether a connection is still in use: the library may replace one that
/// has broken off by itself, without a word.
const STATE_INTERVAL: Duration = Duration::from_secs(5);

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
    shard: Shard<OneIdentify>,
    identify: OneIdentify,
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
    /// Never came about.
    NotMade,
    /// Something was not said in time.
    TooLate(&'static str),
    /// Cannot be read any further.
    Broken(&'static str),
}

impl Connection {
    /// Begins a connection to `url`, which resumes `session` if there is one.
    pub fn open(token: String, url: String, session: Option<&Session>) -> Self {
        let identify = OneIdentify::default();
        let mut config = ConfigBuilder::new(token, INTENTS)
            .proxy_url(url)
            .queue(identify.clone());
        if let Some(session) = session {
            config = config.session(TheirSession::new(session.sequence, session.id.clone()));
        }
        let now = Instant::now();
        Self {
            shard: Shard::with_config(ShardId::ONE, config.build()),
            identify,
            stage: Stage::Silent(now),
            began: now,
        }
    }

    /// Whether the session has begun, or goes on.
    pub fn is_active(&self) -> bool {
        matches!(self.stage, Stage::Active)
    }

    /// How long ago it began.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// What comes next on it.
    pub async fn next(&mut self, deadlines: Deadlines) -> Next {
        let until = Instant::now() + STATE_INTERVAL;
        let deadline = self.stage.deadline(deadlines);
        let until = deadline.map_or(until, |(at, _)| at.min(until));
        // The library panics at an address for resuming that does not parse.
        let next = AssertUnwindSafe(self.shard.next()).catch_unwind();
        let Ok(next) = timeout_at(until, next).await else {
            return match deadline {
                Some((at, what)) if at <= Instant::now() => Next::Over(Ended::TooLate(what)),
                _ => self.look(),
            };
        };
        match next {
            Ok(Some(Ok(Message::Text(text)))) => self.take(text),
            Ok(Some(Ok(Message::Close(frame)))) => {
                Next::Over(Ended::Closed(frame.map(|frame| frame.code)))
            }
            Ok(Some(Err(error))) => self.failed(error),
            Ok(None) => Next::Over(Ended::Closed(None)),
            Err(_) => Next::Over(Ended::Broken("had an address that makes no sense")),
        }
    }

    fn take(&mut self, text: String) -> Next {
        let Some(frame) = Frame::read(text) else {
            return Next::Nothing;
        };
        match frame.opcode {
            Opcode::Hello => {
                self.stage = Stage::Greeted(Instant::now());
                Next::Nothing
            }
            Opcode::Reconnect => Next::Over(Ended::Reconnect),
            Opcode::InvalidSession => {
                let resumable = frame.data() == "true";
                Next::Over(Ended::InvalidSession { resumable })
            }
            Opcode::Dispatch => {
                if matches!(frame.kind(), "READY" | "RESUMED") {
                    self.stage = Stage::Active;
                }
                Next::Event(frame)
            }
            Opcode::Other => Next::Nothing,
        }
    }

    /// The error quotes what was received: it is never logged.
    fn failed(&mut self, error: ReceiveMessageError) -> Next {
        match error.into_parts().0 {
            ReceiveMessageErrorType::Reconnect => Next::Over(Ended::NotMade),
            ReceiveMessageErrorType::Compression => {
                Next::Over(Ended::Broken("could not be decompressed"))
            }
            // A `READY` that the library does not understand is one all the same. Of the other
            // frames that it reads nothing is lost.
            ReceiveMessageErrorType::Deserializing { event } => match Frame::read(event) {
                Some(frame) if frame.opcode == Opcode::Dispatch && frame.kind() == "READY" => {
                    self.stage = Stage::Active;
                    Next::Event(frame)
                }
                _ => Next::Nothing,
            },
            _ => Next::Over(Ended::Broken("broke off")),
        }
    }

    /// Finds out whether the library has begun another connection by itself.
    fn look(&mut self) -> Next {
        if self.identify.is_asked_twice() {
            return Next::Over(Ended::Broken("broke off before the session began"));
        }
        if matches!(self.stage, Stage::Active) && !self.shard.state().is_identified() {
            self.stage = Stage::Silent(Instant::now());
        }
        Next::Nothing
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

/// Lets one session be begun on a connection: the one that [`IdentifyLimiter`] was asked about.
/// The library would begin another one by itself if the connection broke off before `READY`.
#[derive(Clone, Debug, Default)]
struct OneIdentify(Arc<Mutex<Asked>>);

#[derive(Debug, Default)]
struct Asked {
    once: bool,
    /// Held, since the library asks in circles for what is dropped.
    again: Vec<oneshot::Sender<()>>,
}

impl OneIdentify {
    fn is_asked_twice(&self) -> bool {
        !self.asked().again.is_empty()
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue for OneIdentify {
    fn enqueue(&self, _: u32) -> oneshot::Receiver<()> {
        let (permit, permitted) = oneshot::channel();
        let mut asked = self.asked();
        if asked.once {
            asked.again.push(permit);
        } else {
            asked.once = true;
            // Nobody waits any more if the connection has just ended.
            let _ = permit.send(());
        }
        permitted
    }
}
