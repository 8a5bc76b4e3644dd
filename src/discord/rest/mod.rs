//! The REST client: one limiter, one brake and one policy for every call that the bot makes.
//!
//! - this file: the policy. Every call has a time limit, is retried if that is safe, and is no
//!   longer made once Discord has refused the bot's token twice in a row
//! - `api`: one call and its response
//! - `client`: the HTTP client, built from the settings
//! - `error_codes`: the error codes of Discord that the bot handles
//! - `timeouts`: how long a request and a call may take
//! - `limits`: Discord's rate limits
//! - `brake`: stops all calls while Discord refuses everything
//! - `channel_queue` and `turns`: which message is posted next in a channel

mod api;
mod brake;
mod channel_queue;
pub mod client;
pub mod error_codes;
mod limits;
pub mod timeouts;
mod turns;

pub(in crate::discord) use api::with_reason;
pub use api::{Api, CallError};
pub(in crate::discord) use channel_queue::Turn;
pub(in crate::discord) use turns::Author;
pub use turns::Priority;

use std::sync::Arc;
use std::time::Duration;

use serenity::all::{ChannelId, LightMethod};
use serenity::http::{HttpError, Request, Route};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use channel_queue::{ChannelQueues, LeftOut};
use timeouts::CONFIRM_TIMEOUT;

/// Most attempts at one call.
const MAX_ATTEMPTS: u32 = 5;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
/// Backoff of [`Rest::call_until_answered`] while Discord cannot be reached.
const UNREACHABLE_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// Wait before the next edit of an old message, if Discord's refusal does not say how long.
const OLD_EDIT_WAIT: Duration = Duration::from_mins(5);

/// The REST client. Cheap to clone; clones share the limits, the brake and the channels' queues, so
/// the bot creates one and clones it.
#[derive(Clone, Debug)]
pub struct Rest {
    api: Api,
    revoked: CancellationToken,
    /// When a check last showed that the token is valid. Locked while a check runs, so that only
    /// one runs at a time.
    last_valid: Arc<Mutex<Option<Instant>>>,
    queues: ChannelQueues,
}

/// Whether a call may be retried when it is unknown whether Discord carried it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Retrying is safe: the call only reads, is idempotent, or carries a nonce.
    Safe,
    /// Retrying could do the same thing twice.
    Never,
}

/// Why a call failed. Contains no URL, because a URL can contain an interaction's token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestError {
    /// Discord refused the call with a 4xx status.
    #[error("{what} failed: Discord answered {status}, code {code}: {message}")]
    Refused {
        /// The call, as a phrase for error messages, such as "listing the roles".
        what: &'static str,
        /// HTTP status.
        status: u16,
        /// Discord's JSON error code; -1 without one.
        code: isize,
        /// Discord's error message.
        message: String,
    },
    /// Discord could not be reached, did not answer in time, or answered with a server error.
    #[error("{0}")]
    Unreachable(String),
    /// Discord's rate limit lasts longer than the caller can wait.
    #[error("{what} failed: Discord's rate limit lasts for another {} s", wait.as_secs())]
    Limited {
        /// The call, as a phrase for error messages.
        what: &'static str,
        /// How long the limit still lasts.
        wait: Duration,
    },
    /// Discord's response could not be parsed, or the request could not be built. The text does not
    /// quote the response, which can contain people's data.
    #[error("{0}")]
    NotUnderstood(String),
    /// Nothing was sent: too many messages waited for the same channel, or the wait took too long.
    #[error("{what} failed: too many messages wait for this channel")]
    LeftOut {
        /// The call, as a phrase for error messages.
        what: &'static str,
    },
    /// Discord has refused the bot's token, so no call is made any more.
    #[error("Discord has refused the bot token, and no more calls are made")]
    Revoked,
}

impl RestError {
    /// Whether Discord answered 403: the bot lacks a permission.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused { status: 403, .. })
    }

    /// How long the rate limit still lasts, if there is one.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Limited { wait, .. } => Some(*wait),
            _ => None,
        }
    }

    /// Whether the same call may succeed later: Discord was unreachable, or the call rate limited.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Limited { .. })
    }
}

impl Rest {
    /// Makes calls through `api`. Once Discord has refused the token, `revoked` is cancelled and no
    /// call is made any more.
    pub fn new(api: Api, revoked: CancellationToken) -> Self {
        Self {
            api,
            revoked,
            last_valid: Arc::default(),
            queues: ChannelQueues::default(),
        }
    }

    /// Waits, for at most `timeout`, until it is this author's turn to have a message posted in a
    /// channel. While the caller holds the turn, nothing else is posted there.
    pub(in crate::discord) async fn turn(
        &self,
        what: &'static str,
        channel: ChannelId,
        (priority, author): (Priority, Author),
        timeout: Duration,
    ) -> Result<Turn, RestError> {
        let turn = self.queues.turn(channel, priority, author, timeout).await;
        turn.map_err(|LeftOut| RestError::LeftOut { what })
    }

    /// Makes a call, and retries it with backoff while that is safe and `timeout` is not over, with
    /// at most five attempts in all. `what` names the call in errors.
    pub async fn call<T, F>(
        &self,
        what: &'static str,
        repeat: Repeat,
        timeout: Duration,
        call: impl Fn(Api) -> F,
    ) -> Result<T, RestError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let deadline = Instant::now() + timeout;
        for attempt in 1.. {
            if self.revoked.is_cancelled() {
                return Err(RestError::Revoked);
            }
            let call = call(self.api.until(deadline));
            let mut failure = match timeout_at(deadline, call).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => Failure::of(what, error),
                Err(_) => Failure::unanswered("no answer in time"),
            };
            if let Failure::TokenRefused = failure {
                if self.token_is_refused(deadline).await {
                    return Err(RestError::Revoked);
                }
                failure = Failure::unanswered("Discord answered 401, and the token is valid");
            }
            let pause = BACKOFF.delay(attempt - 1);
            let (again, pause) = match &failure {
                Failure::Refused(_) | Failure::TokenRefused => (false, pause),
                Failure::NotDone(_) => (true, pause),
                Failure::Limited(wait) => (true, *wait + pause),
                Failure::Unknown(_) => (repeat == Repeat::Safe, pause),
            };
            if !again || attempt == MAX_ATTEMPTS || Instant::now() + pause >= deadline {
                return Err(failure.into_error(what, attempt));
            }
            tokio::time::sleep(pause).await;
        }
        unreachable!("attempts are bounded")
    }

    /// Makes a call that is safe to retry until Discord answers. Logs a warning after each round of
    /// attempts that failed; `timeout` is the time limit of one round.
    pub async fn call_until_answered<T, F>(
        &self,
        what: &'static str,
        timeout: Duration,
        call: impl Fn(Api) -> F,
    ) -> Result<T, RestError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut attempts = UNREACHABLE_BACKOFF.attempts();
        loop {
            match self.call(what, Repeat::Safe, timeout, &call).await {
                Err(error) if error.is_away() => {
                    let pause = attempts.next_delay();
                    tracing::warn!(%error, next_in_ms = pause.as_millis(), "Discord cannot be reached; trying again");
                    tokio::time::sleep(pause).await;
                }
                answer => return answer,
            }
        }
    }

    /// Checks with one more call whether Discord really refuses the token, and cancels `revoked` if
    /// so. Discord has answered single calls with 401 because of trouble of its own, and a refused
    /// token ends the bot until somebody starts it again.
    async fn token_is_refused(&self, deadline: Instant) -> bool {
        let refused_at = Instant::now();
        let mut last_valid = self.last_valid.lock().await;
        if self.revoked.is_cancelled() {
            return true;
        }
        // Another call has checked since this one was refused.
        if last_valid.is_some_and(|at| at >= refused_at) {
            return false;
        }
        let deadline = deadline.min(Instant::now() + CONFIRM_TIMEOUT);
        let api = self.api.until(deadline);
        let asked = api.send(Request::new(Route::UserMe, LightMethod::Get));
        let answer = timeout_at(deadline, asked).await;
        let is_refused = matches!(answer, Ok(Err(CallError::TokenRefused)));
        if is_refused {
            self.revoked.cancel();
        } else {
            tracing::warn!("Discord answered 401 once, but the token is still valid");
            *last_valid = Some(Instant::now());
        }
        is_refused
    }
}

/// A failed attempt, by whether Discord may have carried out the call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    /// The error is final: retrying does not help.
    Refused(RestError),
    /// Discord answered 401 to the token; final if a second call confirms it.
    TokenRefused,
    /// Discord has certainly not carried it out.
    NotDone(String),
    /// Not carried out; it may be retried after this wait.
    Limited(Duration),
    /// It is unknown whether Discord carried it out.
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
                500.. => Self::Unknown(format!("Discord answered {}", status.as_u16())),
                status => Self::Refused(RestError::Refused {
                    what,
                    status,
                    code,
                    message,
                }),
            },
            CallError::NotDiscord(status) => Self::Unknown(format!(
                "{} was answered, and not by Discord",
                status.as_u16()
            )),
            CallError::TokenRefused => Self::TokenRefused,
            CallError::Limited(Some(wait)) => Self::Limited(wait),
            CallError::OldEdits(wait) => Self::Refused(RestError::Limited {
                what,
                wait: wait.unwrap_or(OLD_EDIT_WAIT),
            }),
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
            _ => Self::not_understood(what, "the call could not be made"),
        }
    }

    fn into_error(self, what: &'static str, attempts: u32) -> RestError {
        let why = match self {
            Self::Refused(error) => return error,
            Self::TokenRefused => return RestError::Revoked,
            Self::Limited(wait) => return RestError::Limited { what, wait },
            Self::NotDone(why) | Self::Unknown(why) => why,
        };
        let times = if attempts == 1 {
            "once".to_owned()
        } else {
            format!("{attempts} times")
        };
        RestError::Unreachable(format!("{what} failed, tried {times}: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    #[test]
    fn what_a_failure_means_for_the_call() {
        const WHAT: &str = "a call";
        let refused = |status, code| CallError::Refused {
            status: StatusCode::from_u16(status).unwrap(),
            code,
            message: "why".to_owned(),
        };
        let no = |status, code| {
            Failure::Refused(RestError::Refused {
                what: WHAT,
                status,
                code,
                message: "why".to_owned(),
            })
        };
        let second = Duration::from_secs(1);
        let limited = |wait| Failure::Refused(RestError::Limited { what: WHAT, wait });
        for (error, expected) in [
            (refused(403, 50_013), no(403, 50_013)),
            (refused(404, -1), no(404, -1)),
            // The interaction's token has expired, which says nothing about the bot's token.
            (refused(401, 50_027), no(401, 50_027)),
            (CallError::TokenRefused, Failure::TokenRefused),
            (
                refused(502, -1),
                Failure::Unknown("Discord answered 502".to_owned()),
            ),
            (CallError::Limited(Some(second)), Failure::Limited(second)),
            (
                CallError::Limited(None),
                Failure::NotDone("Discord's rate limit".to_owned()),
            ),
            // Fails at once, even if there is time left.
            (CallError::OldEdits(Some(second)), limited(second)),
            (CallError::OldEdits(None), limited(OLD_EDIT_WAIT)),
        ] {
            let said = format!("{error:?}");
            assert_eq!(Failure::of(WHAT, error), expected, "{said}");
        }
    }
}
