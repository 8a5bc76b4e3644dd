//! Rate limits: per route and major parameter, and one for all routes.
//!
//! Windows are of the machine's time, not of the world's: a test that moves
//! the world's clock does not lift them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Response};

use crate::clock::Id;
use crate::faults::Scope;
use crate::members::mix;

/// All routes together, per second.
const GLOBAL: u32 = 50;
/// In which edits of old messages are counted. Discord does not publish it.
const OLD_EDITS_PERIOD: Duration = Duration::from_mins(5);

/// Calls that were made in windows that are still open.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    routes: BTreeMap<String, Window>,
    all: Option<Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    opened: Instant,
    used: u32,
}

/// A call that came too early.
#[derive(Debug)]
pub(crate) struct Over {
    pub retry_after: Duration,
    pub scope: Scope,
    pub headers: Headers,
}

/// What is said of a limit with every answer.
pub(crate) type Headers = Vec<(HeaderName, String)>;

impl Limits {
    /// Counts a call, or says when to come again. Answers to interactions are
    /// exempt from the limit for all routes.
    pub fn take(&mut self, method: &Method, path: &str, exempt: bool) -> Result<Headers, Over> {
        let now = Instant::now();
        if !exempt {
            let all = self.all.get_or_insert(Window {
                opened: now,
                used: 0,
            });
            if let Err(retry_after) = all.take(GLOBAL, Duration::from_secs(1), now) {
                return Err(Over {
                    retry_after,
                    scope: Scope::Global,
                    headers: Vec::new(),
                });
            }
        }
        let (limit, period) = limit_of(method, path);
        let (bucket, key) = bucket(method, path);
        let window = self.routes.entry(key).or_insert(Window {
            opened: now,
            used: 0,
        });
        let taken = window.take(limit, period, now);
        let left = period.saturating_sub(now - window.opened);
        let headers = headers(limit, limit - window.used, left, &bucket);
        match taken {
            Ok(()) => Ok(headers),
            Err(retry_after) => Err(Over {
                retry_after,
                scope: Scope::User,
                headers,
            }),
        }
    }
}

impl Limits {
    /// Counts an edit of a message that is older than an hour, or says when to come again.
    pub fn take_old_edit(&mut self, channel: Id, limit: u32) -> Result<(), Duration> {
        let now = Instant::now();
        let key = format!("old edits {channel}");
        let window = self.routes.entry(key).or_insert(Window {
            opened: now,
            used: 0,
        });
        window.take(limit, OLD_EDITS_PERIOD, now)
    }
}

impl Window {
    fn take(&mut self, limit: u32, period: Duration, now: Instant) -> Result<(), Duration> {
        if now - self.opened >= period {
            *self = Self {
                opened: now,
                used: 0,
            };
        }
        if self.used >= limit {
            return Err(period.saturating_sub(now - self.opened));
        }
        self.used += 1;
        Ok(())
    }
}

/// Adds the headers to an answer.
pub(crate) fn stamp<B>(response: &mut Response<B>, headers: &Headers) {
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name.clone(), value);
        }
    }
}

/// Discord does not publish these; they are what it was seen to use where a bot
/// writes or reads a channel's history, and generous elsewhere.
fn limit_of(method: &Method, path: &str) -> (u32, Duration) {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match (method.as_str(), segments.as_slice()) {
        ("POST", ["channels", _, "messages" | "typing"])
        | ("GET", ["channels", _, "messages"])
        | ("PATCH", ["channels", _, "messages", _])
        | (_, ["webhooks", ..]) => (5, Duration::from_secs(5)),
        ("DELETE", ["channels", _, "messages", _]) => (5, Duration::from_secs(1)),
        ("PUT" | "DELETE", ["guilds", _, "members", _, "roles", _]) => {
            (10, Duration::from_secs(10))
        }
        ("POST", ["guilds", _, "roles"]) => (250, Duration::from_hours(48)),
        _ => (50, Duration::from_secs(1)),
    }
}

/// The name of a route's bucket, and that name together with the major
/// parameter (channel, guild, or webhook with its token).
fn bucket(method: &Method, path: &str) -> (String, String) {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    // Giving and taking roles is one and the same to its limit.
    let mut route = match segments.as_slice() {
        ["guilds", _, "members", _, "roles", _] => String::new(),
        _ => method.to_string(),
    };
    let mut major = String::new();
    for (at, segment) in segments.iter().enumerate() {
        let in_webhook = at == 2 && segments[0] == "webhooks";
        let in_interaction = at == 2 && segments[0] == "interactions";
        let is_id = segment.bytes().all(|byte| byte.is_ascii_digit());
        if at == 1 && is_id || in_webhook || in_interaction {
            major.push_str(segment);
        }
        let variable = is_id || in_webhook || in_interaction;
        route.push('/');
        route.push_str(if variable { "{}" } else { segment });
    }
    let hash = route
        .bytes()
        .fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
    let key = format!("{route} {major}");
    (format!("{hash:016x}"), key)
}

fn headers(limit: u32, remaining: u32, left: Duration, bucket: &str) -> Headers {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let header = HeaderName::from_static;
    vec![
        (header("x-ratelimit-limit"), limit.to_string()),
        (header("x-ratelimit-remaining"), remaining.to_string()),
        (
            header("x-ratelimit-reset"),
            format!("{:.3}", (now + left).as_secs_f64()),
        ),
        (
            header("x-ratelimit-reset-after"),
            format!("{:.3}", left.as_secs_f64()),
        ),
        (header("x-ratelimit-bucket"), bucket.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_limited_per_channel() {
        let mut limits = Limits::default();
        let mut post = |channel: u64| {
            let path = format!("/channels/{channel}/messages");
            limits.take(&Method::POST, &path, false)
        };
        for used in 1..=5 {
            let headers = post(1).expect("within the limit");
            assert_eq!(headers[1].1, (5 - used).to_string());
        }
        let over = post(1).expect_err("over the limit");
        assert_eq!(over.scope, Scope::User);
        assert!(over.retry_after <= Duration::from_secs(5));
        assert!(post(2).is_ok(), "another channel has its own limit");
    }

    #[test]
    fn a_history_is_read_five_pages_in_five_seconds() {
        let mut limits = Limits::default();
        let path = "/channels/1/messages";
        for _ in 0..5 {
            let read = limits.take(&Method::GET, path, false);
            read.expect("within the limit");
        }
        let over = limits.take(&Method::GET, path, false);
        let over = over.expect_err("over the limit");
        assert_eq!(over.scope, Scope::User);
        let written = limits.take(&Method::POST, path, false);
        assert!(written.is_ok(), "writing has a limit of its own");
        let other = limits.take(&Method::GET, "/channels/2/messages", false);
        assert!(other.is_ok(), "so has another channel");
    }

    #[test]
    fn giving_and_taking_roles_share_a_limit() {
        let mut limits = Limits::default();
        let mut change = |method: &Method, guild: u64, member: u64| {
            let path = format!("/guilds/{guild}/members/{member}/roles/7");
            limits.take(method, &path, false)
        };
        let mut buckets = std::collections::BTreeSet::new();
        for member in 1..=10 {
            let method = [Method::PUT, Method::DELETE][usize::from(member > 5)].clone();
            let headers = change(&method, 1, member).expect("within the limit");
            buckets.insert(headers[4].1.clone());
        }
        assert_eq!(buckets.len(), 1, "one bucket by name, too");
        let over = change(&Method::PUT, 1, 11).expect_err("over the limit");
        assert_eq!(over.scope, Scope::User);
        assert!(over.retry_after > Duration::from_secs(5));
        assert!(change(&Method::PUT, 2, 1).is_ok(), "another guild");
    }

    #[test]
    fn roles_are_made_within_days() {
        let mut limits = Limits::default();
        let headers = limits.take(&Method::POST, "/guilds/1/roles", false);
        let headers = headers.expect("within the limit");
        assert_eq!(
            (headers[0].1.as_str(), headers[1].1.as_str()),
            ("250", "249")
        );
        let listed = limits.take(&Method::GET, "/guilds/1/roles", false);
        assert_ne!(listed.expect("within the limit")[0].1, "250");
    }

    #[test]
    fn all_routes_together_are_limited_too() {
        let mut limits = Limits::default();
        let mut get =
            |number: u64, exempt| limits.take(&Method::GET, &format!("/users/{number}"), exempt);
        // The same window unless the machine stalls for a second in this loop.
        let refused = (0..200).find_map(|number| get(number, false).err());
        assert_eq!(refused.expect("over the limit").scope, Scope::Global);
    }
}
