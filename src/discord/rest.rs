//! The policy of every REST call: a time limit, repeats where they are safe, and
//! silence for good once Discord has refused the token.
//!
//! serenity keeps the rate limits, or a proxy does; serenity repeats nothing that failed and
//! waits for ever. Both are mended here, so that no caller has to think of them.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use serenity::all::ChannelId;
use serenity::http::{Http, HttpError, RatelimitInfo};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::api::{Api, CallError};
use super::channel_queue::{ChannelQueues, LeftOut, Turn};
use super::turns::{Author, Priority};
use crate::backoff::backoff;

/// How often a call is made at most.
const ATTEMPTS: u32 = 5;
/// How long one attempt may take, waits for rate limits included.
const ATTEMPT: Duration = Duration::from_secs(30);
const RETRY_LEAST: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(5);
/// "Invalid webhook token": an interaction that has grown too old. It comes with
/// 401 too, but says nothing about the bot's own token.
const INVALID_WEBHOOK_TOKEN: isize = 50_027;

/// REST calls under the policy. Cheap to clone; clones keep one queue for each channel, so there
/// is one of these for the whole bot.
#[derive(Clone, Debug)]
pub struct Rest {
    api: Api,
    revoked: CancellationToken,
    clocks: Arc<Mutex<Clocks>>,
    queues: ChannelQueues,
}

/// Whether a call may be made again when nobody knows if it worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It reads, sets a state, or carries a nonce.
    Safe,
    /// A second one could do the thing twice.
    Never,
}

/// How a call ended that did not succeed. None of these holds a URL, in which an
/// interaction's token would stand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestError {
    /// Discord understood and said no.
    #[error("{what} failed: Discord answered {status}, code {code}: {message}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// HTTP status.
        status: u16,
        /// Discord's JSON error code; -1 without one.
        code: isize,
        /// Discord's words.
        message: String,
    },
    /// Discord did not answer, or only with trouble of its own.
    #[error("{0}")]
    Unreachable(String),
    /// Discord's rate limit lasts longer than the caller can wait.
    #[error("{what} failed: Discord's rate limit lasts for another {} s", wait.as_secs())]
    Limited {
        /// What was asked for.
        what: &'static str,
        /// How long the limit lasts.
        wait: Duration,
    },
    /// Discord's answer, or the call itself, makes no sense to us. What it says could
    /// quote people's data, and is left out.
    #[error("{0}")]
    NotUnderstood(String),
    /// Nothing was sent: too many messages waited for the same channel.
    #[error("{what} failed: too many messages wait for this channel")]
    LeftOut {
        /// What was to be sent.
        what: &'static str,
    },
    /// The bot's token is not valid any more: no call is made.
    #[error("Discord has refused the bot token, and no more calls are made")]
    Revoked,
}

impl RestError {
    /// Whether the bot is not allowed to do this.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused { status: 403, .. })
    }

    /// Whether the same call may well succeed later: Discord was away, or limits it.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Limited { .. })
    }
}

tokio::task_local! {
    /// The rate limit that serenity has begun to wait for within a call.
    static RATE_LIMIT: Cell<Option<Duration>>;
}

/// serenity sleeps through a rate limit, however long, and says so beforehand. Given to its
/// limiter, this lets a call end at once whose limit outlasts its patience.
pub(super) fn note_rate_limit(limit: &RatelimitInfo) {
    // Outside of a call nobody can do anything about it.
    let _ = RATE_LIMIT.try_with(|noted| noted.set(Some(limit.timeout)));
}

/// Ends with the limit when one begins that lasts beyond `until`.
async fn unless_limited<T>(
    until: Instant,
    mut call: Pin<Box<impl Future<Output = T>>>,
) -> Result<T, Duration> {
    let watched = poll_fn(|context| match call.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Ok(answer)),
        Poll::Pending => match RATE_LIMIT.with(Cell::take) {
            Some(wait) if Instant::now() + wait > until => Poll::Ready(Err(wait)),
            _ => Poll::Pending,
        },
    });
    RATE_LIMIT.scope(Cell::new(None), watched).await
}

impl Rest {
    /// Calls through `http`. `revoked` is cancelled when Discord refuses the token,
    /// and from then on no call is made.
    pub fn new(http: Arc<Http>, revoked: CancellationToken) -> Self {
        let clocks = Arc::new(Mutex::new(Clocks::now()));
        Self {
            api: Api::new(http),
            revoked,
            clocks,
            queues: ChannelQueues::default(),
        }
    }

    /// Waits, for at most `patience`, until it is this author's turn to have something posted
    /// in a channel. Nothing else is posted there while the turn is held.
    pub(super) async fn turn(
        &self,
        what: &'static str,
        channel: ChannelId,
        (priority, author): (Priority, Author),
        patience: Duration,
    ) -> Result<Turn, RestError> {
        let turn = self.queues.turn(channel, priority, author, patience).await;
        turn.map_err(|LeftOut| RestError::LeftOut { what })
    }

    /// Makes a call, and makes it again after a pause while that is safe and there
    /// is `patience` left. `what` names it in errors.
    pub async fn call<T, F>(
        &self,
        what: &'static str,
        repeat: Repeat,
        patience: Duration,
        call: impl Fn(Api) -> F,
    ) -> Result<T, RestError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let deadline = Instant::now() + patience;
        for attempt in 1.. {
            if self.revoked.is_cancelled() {
                return Err(RestError::Revoked);
            }
            self.keep_limits_from_a_wrong_clock().await;
            let until = deadline.min(Instant::now() + ATTEMPT);
            let call = unless_limited(deadline, Box::pin(call(self.api.clone())));
            let answer = tokio::time::timeout_at(until, call).await;
            let failure = match answer {
                Ok(Ok(Ok(value))) => return Ok(value),
                Ok(Ok(Err(error))) => Failure::of(what, error),
                Ok(Err(wait)) => Failure::Refused(RestError::Limited { what, wait }),
                Err(_) => Failure::unanswered("no answer in time"),
            };
            let again = match &failure {
                Failure::Refused(RestError::Revoked) => {
                    self.revoked.cancel();
                    false
                }
                Failure::Refused(_) => false,
                Failure::NotDone(_) | Failure::Limited(_) => true,
                Failure::Unknown(_) => repeat == Repeat::Safe,
            };
            let pause = backoff(attempt - 1, RETRY_LEAST, RETRY_MOST);
            let pause = match failure {
                Failure::Limited(wait) => wait + pause,
                _ => pause,
            };
            if !again || attempt == ATTEMPTS || Instant::now() + pause >= deadline {
                return Err(failure.into_error(what, attempt));
            }
            tokio::time::sleep(pause).await;
        }
        unreachable!("attempts are bounded")
    }
}

impl Rest {
    /// serenity notes by the wall clock when a rate limit ends. When that clock has been
    /// set back the end is an hour or a day away, and the route is dead until then: so
    /// all that is noted is forgotten, and Discord says it again.
    async fn keep_limits_from_a_wrong_clock(&self) {
        let now = Clocks::now();
        let before = std::mem::replace(
            &mut *self.clocks.lock().unwrap_or_else(PoisonError::into_inner),
            now,
        );
        if before.set_back_by(now)
            && let Some(limits) = &self.api.http.ratelimiter
        {
            tracing::warn!(
                "the machine's clock was set back; Discord's rate limits are learnt again"
            );
            limits.routes().write().await.clear();
        }
    }
}

/// What the two clocks of the machine show at one moment.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    wall: SystemTime,
    steady: Instant,
}

impl Clocks {
    fn now() -> Self {
        Self {
            wall: SystemTime::now(),
            steady: Instant::now(),
        }
    }

    /// Whether the wall clock was set back between the two moments, by more than clocks
    /// are corrected by without anybody noticing.
    fn set_back_by(self, later: Self) -> bool {
        const UNNOTICED: Duration = Duration::from_secs(2);
        let passed = later.steady.saturating_duration_since(self.steady);
        later.wall + UNNOTICED < self.wall + passed
    }
}

/// A failed attempt, by what is known of the work.
enum Failure {
    /// Discord's final word.
    Refused(RestError),
    /// Certainly not done.
    NotDone(String),
    /// Not done, and not to be asked for before this is over.
    Limited(Duration),
    /// Done or not, nobody knows.
    Unknown(String),
}

impl Failure {
    fn unanswered(why: &str) -> Self {
        Self::Unknown(why.to_owned())
    }

    fn not_understood(what: &str, why: &str) -> Self {
        Self::Refused(RestError::NotUnderstood(format!("{what} failed: {why}")))
    }

    fn of(what: &'static str, error: CallError) -> Self {
        match error {
            CallError::Refused {
                status,
                code,
                message,
            } => match status.as_u16() {
                401 if code != INVALID_WEBHOOK_TOKEN => Self::Refused(RestError::Revoked),
                500.. => Self::Unknown(format!("Discord answered {}", status.as_u16())),
                status => Self::Refused(RestError::Refused {
                    what,
                    status,
                    code,
                    message,
                }),
            },
            CallError::Limited(Some(wait)) => Self::Limited(wait),
            CallError::Limited(None) => Self::NotDone("Discord's rate limit".to_owned()),
            CallError::Unreadable(field) => {
                let why = format!("Discord's answer was not understood at `{field}`");
                Self::not_understood(what, &why)
            }
            CallError::Failed(serenity::Error::Http(error)) => Self::of_http(what, &error),
            CallError::Failed(_) => Self::not_understood(what, "the call could not be made"),
        }
    }

    fn of_http(what: &str, error: &HttpError) -> Self {
        match error {
            HttpError::Request(error) if error.is_connect() => {
                Self::NotDone("no connection to Discord".to_owned())
            }
            HttpError::Request(error) if error.is_timeout() => {
                Self::unanswered("no answer in time")
            }
            HttpError::Request(_) => Self::unanswered("the connection broke"),
            HttpError::RateLimitI64F64 | HttpError::RateLimitUtf8 => {
                Self::NotDone("Discord's rate limit, in words that were not understood".to_owned())
            }
            _ => Self::not_understood(what, "the call could not be made"),
        }
    }

    fn into_error(self, what: &'static str, attempts: u32) -> RestError {
        let why = match self {
            Self::Refused(error) => return error,
            Self::Limited(wait) => return RestError::Limited { what, wait },
            Self::NotDone(why) | Self::Unknown(why) => why,
        };
        {
            {
                let times = if attempts == 1 {
                    "once".to_owned()
                } else {
                    format!("{attempts} times")
                };
                RestError::Unreachable(format!("{what} failed, tried {times}: {why}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_that_was_set_back_is_noticed() {
        let before = Clocks::now();
        let passed = Duration::from_mins(10);
        let later = |wall: SystemTime| Clocks {
            wall,
            steady: before.steady + passed,
        };
        let right = before.wall + passed;
        let hour = Duration::from_hours(1);
        for (wall, noticed) in [
            (right, false),
            (right - Duration::from_secs(1), false),
            (right - Duration::from_secs(3), true),
            (right - hour, true),
            (right + hour, false),
        ] {
            assert_eq!(before.set_back_by(later(wall)), noticed, "{wall:?}");
        }
    }
}
