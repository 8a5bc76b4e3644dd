//! One call to Discord's REST API: made through serenity's limits or through a proxy that
//! keeps them, and its answer read by us.
//!
//! Repeats nothing and waits for nobody; that is the policy's work (`rest`). Through a proxy,
//! serenity would throw a 429's `Retry-After` away: here what is limited is remembered, and
//! not called before its time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serenity::http::{Http, LightMethod, RatelimitingBucket, Request, Route};
use tokio::time::Instant;

use super::unreadable::{Unreadable, parse};

/// Time limits of one HTTP exchange, as the client's (`client.rs`).
pub(super) const HTTP_TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Nobody asks for a longer wait in earnest.
const MAX_WAIT: Duration = Duration::from_hours(24);
/// Limits remembered at a time; those that are over go first.
const MAX_LIMITS: usize = 1_000;

/// Makes calls. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api {
    pub(super) http: Arc<Http>,
    /// Where a proxy keeps the limits, what serenity would call it with.
    by_proxy: Option<reqwest::Client>,
    limits: Arc<Mutex<Limits>>,
}

/// Until when nothing may be called, by serenity's idea of what is limited together; `None`
/// is everything.
type Limits = HashMap<Option<RatelimitingBucket>, Instant>;

/// How a call ended that brought nothing.
#[derive(Debug)]
pub enum CallError {
    /// Discord said no.
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// Discord's JSON error code; -1 without one.
        code: isize,
        /// Discord's words.
        message: String,
    },
    /// Discord asks to wait, for so long if it says.
    Limited(Option<Duration>),
    /// Discord did it, and what it says of that makes no sense.
    Unreadable(Unreadable),
    /// Nothing was answered.
    Failed(serenity::Error),
}

impl<E: Into<serenity::Error>> From<E> for CallError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What stands in the body of a refusal; all of it may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    code: Value,
    message: Value,
    retry_after: Value,
    global: Value,
}

impl Api {
    /// Calls through `http`.
    pub(super) fn new(http: Arc<Http>) -> Self {
        let client = reqwest::Client::builder()
            .timeout(HTTP_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .build();
        Self {
            // Without a client, serenity's own is as good as any but for the waits.
            by_proxy: client.ok().filter(|_| http.ratelimiter.is_none()),
            http,
            limits: Arc::default(),
        }
    }

    /// Makes a call and reads what is answered.
    pub async fn fire<T: DeserializeOwned>(&self, request: Request<'_>) -> Result<T, CallError> {
        let answer = self.request(request).await?;
        let body = answer.bytes().await?;
        parse(&body).map_err(CallError::Unreadable)
    }

    /// Makes a call of whose answer nothing is needed: that it was done is all.
    pub async fn send(&self, request: Request<'_>) -> Result<(), CallError> {
        self.request(request).await.map(drop)
    }

    /// The same where the answer is of use, but not needed: null if it makes no sense or never
    /// comes.
    pub async fn send_and_look(&self, request: Request<'_>) -> Result<Value, CallError> {
        let answer = self.request(request).await?;
        let body = answer.bytes().await.unwrap_or_default();
        Ok(parse(&body).unwrap_or_default())
    }

    /// Makes a call; its answer, if Discord did it.
    pub(super) async fn request(&self, request: Request<'_>) -> Result<Response, CallError> {
        let bucket = Some(request.route_ref().ratelimiting_bucket()).filter(|one| !one.is_none());
        if let Some(wait) = self.wait_for(bucket) {
            return Err(CallError::Limited(Some(wait)));
        }
        let answer = match (&self.http.ratelimiter, &self.by_proxy) {
            (Some(limiter), _) => limiter.perform(request).await?,
            (None, Some(client)) => {
                let (token, proxy) = (self.http.token(), self.http.proxy.as_deref());
                let request = request.build(client, token, proxy)?.build()?;
                client.execute(request).await?
            }
            (None, None) => return Ok(self.http.request(request).await?),
        };
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let headers = answer.headers().clone();
        // A refusal is one, whatever becomes of its words.
        let body = answer.bytes().await.unwrap_or_default();
        let refusal: Refusal = parse(&body).unwrap_or_default();
        if status != StatusCode::TOO_MANY_REQUESTS {
            return Err(refusal.with(status));
        }
        let wait = wait(&headers, &refusal);
        if let Some(wait) = wait {
            let global = refusal.global == true || headers.contains_key("x-ratelimit-global");
            // What has no bucket is not limited with anything else.
            if global || bucket.is_some() {
                self.remember(if global { None } else { bucket }, wait);
            }
        }
        Err(CallError::Limited(wait))
    }

    /// How long nothing of this bucket may be called.
    fn wait_for(&self, bucket: Option<RatelimitingBucket>) -> Option<Duration> {
        let limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        // Answers to interactions are limited with nothing.
        let everything = bucket.and_then(|_| limits.get(&None));
        let own = bucket.and_then(|_| limits.get(&bucket));
        let until = everything.max(own)?;
        let wait = until.saturating_duration_since(Instant::now());
        (!wait.is_zero()).then_some(wait)
    }

    fn remember(&self, what: Option<RatelimitingBucket>, wait: Duration) {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if limits.len() >= MAX_LIMITS {
            limits.retain(|_, until| *until > now);
        }
        limits.insert(what, now + wait);
    }
}

impl Refusal {
    fn with(self, status: StatusCode) -> CallError {
        let code = self
            .code
            .as_i64()
            .and_then(|code| isize::try_from(code).ok());
        CallError::Refused {
            status,
            code: code.unwrap_or(-1),
            message: self
                .message
                .as_str()
                .unwrap_or("no reason was given")
                .to_owned(),
        }
    }
}

/// A call that the guild's audit log gives a reason for: our own words, plain ASCII.
pub(super) fn with_reason<'a>(route: Route<'a>, method: LightMethod, reason: &str) -> Request<'a> {
    let mut headers = HeaderMap::new();
    if let Ok(reason) = HeaderValue::from_str(&reason.replace(' ', "%20")) {
        headers.insert("X-Audit-Log-Reason", reason);
    }
    Request::new(route, method).headers(Some(headers))
}

/// How long a 429 asks to wait: the body says it to the millisecond, the header is all that
/// others in front of Discord send.
fn wait(headers: &HeaderMap, refusal: &Refusal) -> Option<Duration> {
    let header = headers
        .get("retry-after")
        .and_then(|value| value.to_str().ok());
    let header = header.and_then(|text| text.trim().parse().ok());
    let seconds = refusal.retry_after.as_f64().or(header)?;
    let wait = Duration::try_from_secs_f64(seconds).ok()?;
    Some(wait.min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_long_to_wait_is_read_wherever_it_stands() {
        let refusal = |json: Value| -> Refusal { parse(json.to_string().as_bytes()).unwrap() };
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
            let wait = wait(&headers(header), &refusal(body.clone()));
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
            let refusal: Refusal = parse(body.as_bytes()).unwrap_or_default();
            let CallError::Refused { code: read, .. } = refusal.with(StatusCode::FORBIDDEN) else {
                panic!("a refusal");
            };
            assert_eq!(read, code, "{body}");
        }
    }
}
