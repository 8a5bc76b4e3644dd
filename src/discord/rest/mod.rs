//! The REST client: one limiter, one brake and one policy for every call that the bot makes.
//!
//! - this file: the policy, a time limit, repeats where they are safe, and silence for good
//!   once Discord has refused the token twice
//! - `api` one call and its answer; `limits` Discord's rate limits; `brake` what stops all calls
//! - `channel_queue` and `turns` who posts next in a channel

mod api;
mod brake;
mod channel_queue;
mod limits;
mod turns;

pub use api::{Api, CallError};
pub(super) use api::{CONNECT_TIMEOUT, HTTP_TIMEOUT, with_reason};
pub(super) use channel_queue::Turn;
pub(super) use turns::Author;
pub use turns::Priority;

use std::sync::Arc;
use std::time::Duration;

use serenity::all::{ChannelId, LightMethod};
use serenity::http::{HttpError, Request, Route};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::backoff::backoff;
use channel_queue::{ChannelQueues, LeftOut};

/// How often a call is made at most.
const ATTEMPTS: u32 = 5;
const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How far apart the tries of a call grow that is made until Discord answers.
const AWAY_MIN: Duration = Duration::from_secs(1);
const AWAY_MAX: Duration = Duration::from_secs(30);
/// How long Discord is asked whether it meant a refusal of the token.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// How soon an edit of an old message is admitted again where Discord does not say.
const OLD_EDIT_WAIT: Duration = Duration::from_mins(5);

/// REST calls under the policy. Cheap to clone; clones keep one queue for each channel, so there
/// is one of these for the whole bot.
#[derive(Clone, Debug)]
pub struct Rest {
    api: Api,
    revoked: CancellationToken,
    /// Held while Discord is asked whether it meant a refusal of the token: when it last said that
    /// it did not.
    confirming: Arc<Mutex<Option<Instant>>>,
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

    /// How long Discord asks to wait.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Limited { wait, .. } => Some(*wait),
            _ => None,
        }
    }

    /// Whether the same call may well succeed later: Discord was away, or limits it.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Limited { .. })
    }
}

impl Rest {
    /// Calls through `api`. `revoked` is cancelled when Discord refuses the token,
    /// and from then on no call is made.
    pub fn new(api: Api, revoked: CancellationToken) -> Self {
        Self {
            api,
            revoked,
            confirming: Arc::default(),
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
            let pause = backoff(attempt - 1, BACKOFF_MIN, BACKOFF_MAX);
            let (again, pause) = match &failure {
                Failure::Refused(_) | Failure::TokenRefused => (false, pause),
                Failure::NotDone(_) => (true, pause),
                Failure::Limited(wait) => (true, *wait + pause),
                Failure::Unknown(_) => (repeat == Repeat::Safe, pause),
            };
            if !again || attempt == ATTEMPTS || Instant::now() + pause >= deadline {
                return Err(failure.into_error(what, attempt));
            }
            tokio::time::sleep(pause).await;
        }
        unreachable!("attempts are bounded")
    }

    /// Makes a safe call for as long as it takes Discord to answer, with a line in the log for each
    /// `patience` in which it does not.
    pub async fn call_until_answered<T, F>(
        &self,
        what: &'static str,
        patience: Duration,
        call: impl Fn(Api) -> F,
    ) -> Result<T, RestError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        for attempt in 0.. {
            match self.call(what, Repeat::Safe, patience, &call).await {
                Err(error) if error.is_away() => {
                    let pause = backoff(attempt, AWAY_MIN, AWAY_MAX);
                    tracing::warn!(%error, next_in_ms = pause.as_millis(), "Discord cannot be reached; trying again");
                    tokio::time::sleep(pause).await;
                }
                answer => return answer,
            }
        }
        unreachable!("attempts are not counted out")
    }

    /// Whether Discord refuses the token also when it is asked once more: a single 401 has come
    /// from trouble of its own before, and would end the bot until somebody starts it again.
    async fn token_is_refused(&self, deadline: Instant) -> bool {
        let refused_at = Instant::now();
        let mut last_valid = self.confirming.lock().await;
        if self.revoked.is_cancelled() {
            return true;
        }
        // Asked by another call, after this one was refused.
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
            tracing::warn!("Discord answered 401 once, and does not refuse the token");
            *last_valid = Some(Instant::now());
        }
        is_refused
    }
}

/// A failed attempt, by what is known of the work.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    /// Discord's final word.
    Refused(RestError),
    /// Discord's final word on everything, if it means it.
    TokenRefused,
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
            // An interaction that has grown too old, which says nothing about the bot's token.
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
            // Ends at once, however much time there is.
            (CallError::OldEdits(Some(second)), limited(second)),
            (CallError::OldEdits(None), limited(OLD_EDIT_WAIT)),
        ] {
            let said = format!("{error:?}");
            assert_eq!(Failure::of(WHAT, error), expected, "{said}");
        }
    }
}
