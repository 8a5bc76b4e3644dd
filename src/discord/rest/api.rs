//! One call to Discord's REST API, within the rate limits and the brake. Sent with our own HTTP
//! client, so that we read the response ourselves.
//!
//! Waits only until the call may be made, and never retries: `mod.rs` does that.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue, USER_AGENT};
use reqwest::{Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serenity::http::{LightMethod, Request, Route};
use tokio::time::Instant;

use super::brake::{Admitted, Brake, CallOutcome, PAUSE_MIN};
use super::error_codes;
use super::limits::{Lane, Limits, Slot};
use super::timeouts::HTTP_TIMEOUT;
use crate::discord::payload::unreadable::{Unreadable, parse};

/// Longest wait that a response can ask for; longer ones are cut to this.
pub(super) const MAX_WAIT: Duration = Duration::from_hours(24);

/// Makes calls that must start before a deadline. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api {
    shared: Arc<ApiShared>,
    deadline: Instant,
}

struct ApiShared {
    client: reqwest::Client,
    token: SecretString,
    /// Replaces `https://discord.com`, if set.
    origin: Option<String>,
    limits: Limits,
    brake: Brake,
}

/// Why a call failed.
#[derive(Debug)]
pub enum CallError {
    /// Discord refused the call, or had an error of its own (5xx with a JSON body).
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// Discord's JSON error code; -1 without one.
        code: isize,
        /// Discord's error message.
        message: String,
    },
    /// Something in front of Discord refused the call: the body is not Discord's JSON.
    NotDiscord(StatusCode),
    /// Discord answered 401 to the bot's token.
    TokenRefused,
    /// The call is rate limited, for this long if that is known. Either Discord answered 429, or
    /// the limits known here would not admit the call before the deadline.
    Limited(Option<Duration>),
    /// Discord's limit on edits of messages older than an hour is reached, for this long if known.
    OldEdits(Option<Duration>),
    /// The call succeeded, but its response could not be parsed.
    Unreadable(Unreadable),
    /// There is no response: the request could not be built or sent, or the connection failed.
    Failed(serenity::Error),
}

impl<E: Into<serenity::Error>> From<E> for CallError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// The body of an error response; every field may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RefusedCall {
    code: Value,
    message: Value,
    retry_after: Value,
    global: Value,
}

/// What a 429 limits, with the wait that it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TooMany {
    /// All calls of this bot or of this IP address.
    Everything(Option<Duration>),
    /// Edits of messages older than an hour.
    OldEdits(Option<Duration>),
    /// The bucket of this call.
    Bucket(Option<Duration>),
}

impl Api {
    /// Uses this token and `client`, and `origin` in the place of `https://discord.com` if given.
    pub(in crate::discord) fn new(
        client: reqwest::Client,
        token: &SecretString,
        origin: Option<String>,
    ) -> Self {
        let shared = ApiShared {
            client,
            token: format!("Bot {}", token.expose_secret().trim()).into(),
            origin,
            limits: Limits::new(),
            brake: Brake::default(),
        };
        Self {
            shared: Arc::new(shared),
            deadline: Instant::now() + HTTP_TIMEOUT,
        }
    }

    /// A copy for calls that must start before `deadline`.
    pub(super) fn until(&self, deadline: Instant) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            deadline,
        }
    }

    /// Makes a call and parses the response.
    pub async fn fire<T: DeserializeOwned>(&self, request: Request<'_>) -> Result<T, CallError> {
        let answer = self.request(request).await?;
        let body = answer.bytes().await?;
        parse(&body).map_err(CallError::Unreadable)
    }

    /// Makes a call and ignores the body of the response.
    pub async fn send(&self, request: Request<'_>) -> Result<(), CallError> {
        self.request(request).await.map(drop)
    }

    /// Makes a call whose response is useful but not needed: null if it cannot be read or parsed.
    pub async fn send_and_look(&self, request: Request<'_>) -> Result<Value, CallError> {
        let answer = self.request(request).await?;
        let body = answer.bytes().await.unwrap_or_default();
        Ok(parse(&body).unwrap_or_default())
    }

    /// Makes a call and returns the response if its status says success.
    pub(in crate::discord) async fn request(
        &self,
        request: Request<'_>,
    ) -> Result<Response, CallError> {
        let ApiShared {
            client,
            token,
            origin,
            ..
        } = &*self.shared;
        let lane = lane_of(&request);
        let request = request.build(client, token.expose_secret(), origin.as_deref())?;
        let mut request = request.build()?;
        let agent = HeaderValue::from_static(crate::discord::USER_AGENT);
        request.headers_mut().insert(USER_AGENT, agent);
        let (slot, admitted) = self.admitted(&lane).await?;
        let answer = client.execute(request).await?;
        let status = answer.status();
        if status.is_success() {
            slot.answered(status, answer.headers(), None);
            admitted.end(CallOutcome::Answered);
            return Ok(answer);
        }
        let headers = answer.headers().clone();
        // The status decides; the body only adds detail, so failing to read it is no error.
        let body = answer.bytes().await.unwrap_or_default();
        Err(self.refused(&lane, slot, admitted, status, &headers, &body))
    }

    /// Waits until the brake and the limits admit the call. Calls that answer interactions do not
    /// wait for the brake.
    async fn admitted<'a>(&'a self, lane: &'a Lane) -> Result<(Slot<'a>, Admitted), CallError> {
        let ApiShared { limits, brake, .. } = &*self.shared;
        let limited = |wait| CallError::Limited(Some(wait));
        loop {
            if !lane.is_answer() {
                brake.wait(self.deadline).await.map_err(limited)?;
            }
            let slot = limits.slot(lane, self.deadline).await.map_err(limited)?;
            let admitted = if lane.is_answer() {
                Some(brake.admit_exempt())
            } else {
                brake.admit()
            };
            // Otherwise the brake closed while this call waited for its slot: wait again.
            if let Some(admitted) = admitted {
                return Ok((slot, admitted));
            }
        }
    }

    /// Turns an error response into an error, and tells the limits and the brake about it.
    fn refused(
        &self,
        lane: &Lane,
        slot: Slot<'_>,
        admitted: Admitted,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> CallError {
        let refusal = parse::<RefusedCall>(body);
        let is_shared = headers
            .get("x-ratelimit-scope")
            .is_some_and(|scope| scope == "shared");
        if matches!(status.as_u16(), 401 | 403) || status == 429 && !is_shared {
            self.shared.brake.count_invalid();
        }
        if status != StatusCode::TOO_MANY_REQUESTS {
            slot.answered(status, headers, None);
            admitted.end(if status.is_server_error() {
                CallOutcome::Nothing
            } else {
                CallOutcome::Answered
            });
            // A call that answers an interaction carries the interaction's token: a 401 there says
            // nothing about the bot's token.
            if status == StatusCode::UNAUTHORIZED && !lane.is_answer() {
                return CallError::TokenRefused;
            }
            return match refusal {
                Ok(refusal) => refusal.with(status),
                // Not Discord's JSON: a proxy or Cloudflare in front of Discord answered.
                Err(_) => CallError::NotDiscord(status),
            };
        }
        let too_many = too_many(headers, refusal.ok().as_ref());
        let (outcome, bucket_wait) = match too_many {
            TooMany::Everything(wait) => (CallOutcome::AllRefused(wait), None),
            TooMany::OldEdits(_) => (CallOutcome::Answered, None),
            TooMany::Bucket(wait) => (CallOutcome::Answered, wait),
        };
        slot.answered(status, headers, bucket_wait);
        admitted.end(outcome);
        match too_many {
            TooMany::OldEdits(wait) => CallError::OldEdits(wait),
            TooMany::Bucket(wait) => CallError::Limited(wait),
            // The next attempt does not wait for the brake, so the wait is returned.
            TooMany::Everything(wait) if lane.is_answer() => {
                CallError::Limited(Some(wait.unwrap_or(PAUSE_MIN)))
            }
            // The next attempt waits for the brake.
            TooMany::Everything(_) => CallError::Limited(None),
        }
    }
}

impl std::fmt::Debug for ApiShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

fn lane_of(request: &Request<'_>) -> Lane {
    let path = request.route_ref().path();
    let (_, path) = path.split_once("/api/v10").unwrap_or_default();
    Lane::of(*request.method_ref(), path)
}

impl RefusedCall {
    fn code(&self) -> isize {
        let code = self
            .code
            .as_i64()
            .and_then(|code| isize::try_from(code).ok());
        code.unwrap_or(-1)
    }

    fn with(self, status: StatusCode) -> CallError {
        CallError::Refused {
            status,
            code: self.code(),
            message: self
                .message
                .as_str()
                .unwrap_or("no reason was given")
                .to_owned(),
        }
    }
}

/// A request with a reason for the guild's audit log. `reason` must be plain ASCII.
pub(in crate::discord) fn with_reason<'a>(
    route: Route<'a>,
    method: LightMethod,
    reason: &str,
) -> Request<'a> {
    let mut headers = HeaderMap::new();
    if let Ok(reason) = HeaderValue::from_str(&reason.replace(' ', "%20")) {
        headers.insert("X-Audit-Log-Reason", reason);
    }
    Request::new(route, method).headers(Some(headers))
}

/// Finds out what a 429 limits. A body that is not JSON (`refusal` is `None`) is not from Discord:
/// Cloudflare refuses this machine's IP address, so all calls are limited.
fn too_many(headers: &HeaderMap, refusal: Option<&RefusedCall>) -> TooMany {
    let wait = wait(headers, refusal);
    let Some(refusal) = refusal else {
        return TooMany::Everything(wait);
    };
    let has_header = |name: &str, value: &str| headers.get(name).is_some_and(|got| got == value);
    if refusal.global == true
        || has_header("x-ratelimit-global", "true")
        || has_header("x-ratelimit-scope", "global")
    {
        TooMany::Everything(wait)
    } else if refusal.code() == error_codes::TOO_MANY_EDITS_OF_OLD_MESSAGES {
        TooMany::OldEdits(wait)
    } else {
        TooMany::Bucket(wait)
    }
}

/// How long a 429 asks to wait. The body is preferred, because it has milliseconds; a proxy in
/// front of Discord sends only the header.
fn wait(headers: &HeaderMap, refusal: Option<&RefusedCall>) -> Option<Duration> {
    let header = headers
        .get("retry-after")
        .and_then(|value| value.to_str().ok());
    let header = header.and_then(|text| text.trim().parse().ok());
    let body = refusal.and_then(|refusal| refusal.retry_after.as_f64());
    let wait = Duration::try_from_secs_f64(body.or(header)?).ok()?;
    Some(wait.min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_long_to_wait_is_read_wherever_it_stands() {
        let refusal = |json: Value| -> RefusedCall { parse(json.to_string().as_bytes()).unwrap() };
        let headers = |text: Option<&str>| {
            let value = text.map(|text| ("retry-after".parse().unwrap(), text.parse().unwrap()));
            value.into_iter().collect::<HeaderMap>()
        };
        for (body, header, expected) in [
            (json!({ "retry_after": 1.5 }), Some("2"), Some(1_500)),
            (json!({}), Some("8"), Some(8_000)),
            (json!({}), Some(" 0.5 "), Some(500)),
            (json!({ "retry_after": "soon" }), Some("8"), Some(8_000)),
            (json!({}), None, None),
            (json!({}), Some("Wed, 21 Oct 2026 07:28:00 GMT"), None),
            (json!({ "retry_after": -1.0 }), None, None),
            (json!({ "retry_after": 1e300 }), None, None),
            (json!({ "retry_after": 1e9 }), None, Some(86_400_000)),
        ] {
            let wait = wait(&headers(header), Some(&refusal(body.clone())));
            assert_eq!(
                wait,
                expected.map(Duration::from_millis),
                "{body} {header:?}"
            );
        }
    }

    #[test]
    fn a_refusal_is_understood_however_little_it_says() {
        for (body, code) in [
            (r#"{"code":50013,"message":"Missing Permissions"}"#, 50_013),
            (r#"{"message":"401: Unauthorized","code":0}"#, 0),
            (r#"{"code":"odd","message":[]}"#, -1),
            ("<html>", -1),
            ("", -1),
        ] {
            let refusal: RefusedCall = parse(body.as_bytes()).unwrap_or_default();
            let CallError::Refused { code: read, .. } = refusal.with(StatusCode::FORBIDDEN) else {
                panic!("a refusal");
            };
            assert_eq!(read, code, "{body}");
        }
    }

    #[test]
    fn a_429_says_what_it_is_about() {
        let second = Some(Duration::from_secs(1));
        let json = |body: Value| body.to_string();
        for (body, header, expected) in [
            (
                json(json!({ "retry_after": 1 })),
                None,
                TooMany::Bucket(second),
            ),
            (json(json!({})), None, TooMany::Bucket(None)),
            (
                json(json!({ "retry_after": 1 })),
                Some(("x-ratelimit-scope", "shared")),
                TooMany::Bucket(second),
            ),
            (
                json(json!({ "retry_after": 1, "global": true })),
                None,
                TooMany::Everything(second),
            ),
            (
                json(json!({ "retry_after": 1, "global": false })),
                Some(("x-ratelimit-global", "true")),
                TooMany::Everything(second),
            ),
            (
                json(json!({ "retry_after": 1 })),
                Some(("x-ratelimit-scope", "global")),
                TooMany::Everything(second),
            ),
            (
                json(json!({ "retry_after": 1, "code": 30_046 })),
                None,
                TooMany::OldEdits(second),
            ),
            // What Cloudflare answers to a banned IP address.
            ("<html>".to_owned(), None, TooMany::Everything(None)),
            (String::new(), None, TooMany::Everything(None)),
            (
                "error code: 1015".to_owned(),
                Some(("retry-after", "1")),
                TooMany::Everything(second),
            ),
        ] {
            let headers: HeaderMap = header
                .into_iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
            let refusal = parse::<RefusedCall>(body.as_bytes()).ok();
            let found = too_many(&headers, refusal.as_ref());
            assert_eq!(found, expected, "{body} {header:?}");
        }
    }
}
