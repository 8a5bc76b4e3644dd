//! Discord's rate limits: when each call may be made, by the headers of earlier responses.
//!
//! `twilight-http-ratelimiting` keeps one queue for each bucket, with one call in flight. It uses
//! the monotonic clock, so a wrong wall clock does no harm. This module decides what to tell it:
//! which calls share a bucket before Discord has said so, and what a response without the usual
//! headers means. The limit on all buckets together is implemented here: the library counts calls
//! within fixed seconds, so around the boundary of two seconds twice as many calls could arrive at
//! Discord within one second.
//!
//! Memory: the library remembers each path that it was given, with some 600 bytes for six hours,
//! and with some 250 bytes for ever if the first part of the path is new (measured). So it gets
//! paths without the ids that do not matter to limits (`channels/1/messages/{}`), of which there
//! are at most channels times routes. It never gets the token of an interaction: this module
//! remembers only the few tokens that Discord limits at the moment.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serenity::http::LightMethod;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};
use twilight_http_ratelimiting::{Bucket, Endpoint, Method, Permit, RateLimitHeaders, RateLimiter};

/// Calls within any one second, all buckets together; Discord allows 50. Calls that answer
/// interactions do not count.
const CALLS_PER_SECOND: usize = 40;
const SECOND: Duration = Duration::from_secs(1);
/// Turns off the library's own global limit.
const NO_CEILING: u16 = u16::MAX;
/// How often a waiting call checks whether its limit now lasts beyond its deadline.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The rate limits of all calls.
#[derive(Debug)]
pub(super) struct Limits {
    calls: RateLimiter,
    /// By the application and an interaction's token: when the limit on the token ends.
    tokens: Mutex<HashMap<String, Instant>>,
    ceiling: Ceiling,
}

/// How a call is limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// The first response to an interaction: not limited.
    Callback,
    /// Later responses to an interaction: limited per token, five in five seconds. Holds the
    /// application's id and the token, `ID/TOKEN`.
    FollowUp(String),
    /// All other calls: limited by their bucket and by the global limit.
    Usual(Endpoint),
}

/// The right to make one call now. If it is dropped before [`Slot::answered`], the call counts as
/// not made.
#[derive(Debug)]
pub(super) struct Slot<'a>(HeldBucket<'a>);

#[derive(Debug)]
enum HeldBucket<'a> {
    Nothing,
    Token(&'a Limits, &'a str),
    Bucket {
        permit: Permit,
        endpoint: &'a Endpoint,
        _place: BucketPlace,
    },
}

impl Lane {
    /// The lane of a call. `path` is the part after `/api/v10`.
    pub fn of(method: LightMethod, path: &str) -> Self {
        let path = path.trim_matches('/');
        let segments: Vec<&str> = path.split('/').collect();
        if let ["interactions", ..] = segments[..] {
            return Self::Callback;
        }
        if let ["webhooks", application, token, ..] = segments[..] {
            return Self::FollowUp(format!("{application}/{token}"));
        }
        let is_id = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        // Discord limits each channel and each guild on its own, so these ids are kept.
        let kept = match segments[0] {
            "channels" | "guilds" => 2,
            _ => 1,
        };
        let path = segments.iter().enumerate();
        let path: Vec<&str> = path
            .map(|(at, segment)| {
                if at < kept || !is_id(segment) {
                    segment
                } else {
                    "{}"
                }
            })
            .collect();
        Self::Usual(Endpoint {
            method: match method {
                LightMethod::Delete => Method::Delete,
                LightMethod::Get => Method::Get,
                LightMethod::Patch => Method::Patch,
                LightMethod::Post => Method::Post,
                LightMethod::Put => Method::Put,
            },
            path: path.join("/"),
        })
    }

    /// Whether the call answers an interaction. Global limits do not apply to such calls.
    pub fn is_answer(&self) -> bool {
        !matches!(self, Self::Usual(_))
    }
}

impl Limits {
    /// Starts without any known limit. Must be called within a Tokio runtime, because the library
    /// spawns a task.
    pub fn new() -> Self {
        Self {
            calls: RateLimiter::new(NO_CEILING),
            tokens: Mutex::default(),
            ceiling: Ceiling::new(),
        }
    }

    /// Waits until a call may be made. If that is not before `deadline`, returns the remaining wait
    /// as the error.
    pub async fn slot<'a>(
        &'a self,
        lane: &'a Lane,
        deadline: Instant,
    ) -> Result<Slot<'a>, Duration> {
        Ok(Slot(match lane {
            Lane::Callback => HeldBucket::Nothing,
            Lane::FollowUp(token) => {
                let until = locked(&self.tokens).get(token).copied();
                if let Some(until) = until {
                    wait_until(until, deadline).await?;
                }
                HeldBucket::Token(self, token)
            }
            Lane::Usual(endpoint) => {
                let permit = self.permit(endpoint, deadline).await?;
                HeldBucket::Bucket {
                    permit,
                    endpoint,
                    _place: self.ceiling.place(deadline).await?,
                }
            }
        }))
    }

    async fn permit(&self, endpoint: &Endpoint, deadline: Instant) -> Result<Permit, Duration> {
        let (report, mut reported) = oneshot::channel();
        let mut permit = self.calls.acquire_if(endpoint.clone(), move |bucket| {
            let Some(wait) = too_long(bucket, deadline) else {
                return true;
            };
            let _ = report.send(wait);
            false
        });
        loop {
            let next_check = deadline.min(Instant::now() + CHECK_INTERVAL);
            tokio::select! {
                biased;
                permit = &mut permit => {
                    return permit.ok_or_else(|| reported.try_recv().unwrap_or_default());
                }
                () = tokio::time::sleep_until(next_check) => {}
            }
            let bucket = self.calls.bucket(endpoint.clone()).await;
            if let Some(wait) = too_long(bucket, deadline) {
                return Err(wait);
            }
            // The bucket is free, but other calls are still ahead in its queue.
            if Instant::now() >= deadline {
                return Err(CHECK_INTERVAL);
            }
        }
    }

    /// Makes further calls with this token wait until `until`, and forgets limits that are over.
    fn limit_token(&self, token: &str, until: Instant) {
        let mut tokens = locked(&self.tokens);
        let now = Instant::now();
        tokens.retain(|_, until| *until > now);
        tokens.insert(token.to_owned(), until);
    }
}

/// Waits until `until`. If that is after the deadline, returns the wait as the error instead.
async fn wait_until(until: Instant, deadline: Instant) -> Result<(), Duration> {
    if until > deadline {
        return Err(until.saturating_duration_since(Instant::now()));
    }
    tokio::time::sleep_until(until).await;
    Ok(())
}

/// The global limit: [`CALLS_PER_SECOND`] places for calls. A place is free again one second after
/// its call was *answered*, not after it was sent: a call can be slow to arrive, and one sent a
/// second later could then arrive together with it.
#[derive(Debug)]
struct Ceiling {
    idle: Arc<Semaphore>,
    /// When each idle place is free again, the earliest first.
    free_from: Arc<Mutex<VecDeque<Instant>>>,
}

/// A place of the ceiling. Dropping it gives the place back.
#[derive(Debug)]
struct BucketPlace {
    free_from: Arc<Mutex<VecDeque<Instant>>>,
    _idle: OwnedSemaphorePermit,
}

impl Ceiling {
    fn new() -> Self {
        Self {
            idle: Arc::new(Semaphore::new(CALLS_PER_SECOND)),
            free_from: Arc::new(Mutex::new(vec![Instant::now(); CALLS_PER_SECOND].into())),
        }
    }

    /// Waits for a place; calls get places in the order in which they came.
    async fn place(&self, deadline: Instant) -> Result<BucketPlace, Duration> {
        let idle = timeout_at(deadline, Arc::clone(&self.idle).acquire_owned()).await;
        let idle = idle.ok().and_then(Result::ok).ok_or(SECOND)?;
        let free_from = locked(&self.free_from).pop_front();
        let free_from = free_from.unwrap_or_else(Instant::now);
        if free_from > deadline {
            locked(&self.free_from).push_front(free_from);
            return Err(free_from.saturating_duration_since(Instant::now()));
        }
        // If the caller is cancelled during this wait, the place is given back one second late.
        let place = BucketPlace {
            free_from: Arc::clone(&self.free_from),
            _idle: idle,
        };
        tokio::time::sleep_until(free_from).await;
        Ok(place)
    }
}

impl Drop for BucketPlace {
    fn drop(&mut self) {
        locked(&self.free_from).push_back(Instant::now() + SECOND);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a bucket still admits no call, if that lasts beyond the deadline.
fn too_long(bucket: Option<Bucket>, deadline: Instant) -> Option<Duration> {
    let reset_at = Instant::from_std(bucket.filter(|bucket| bucket.remaining == 0)?.reset_at);
    (reset_at > deadline).then(|| reset_at.saturating_duration_since(Instant::now()))
}

impl Slot<'_> {
    /// Updates the limits from a response. `wait` is the wait that a 429 for this bucket asks for.
    pub fn answered(self, status: StatusCode, headers: &HeaderMap, wait: Option<Duration>) {
        let now = std::time::Instant::now();
        match self.0 {
            HeldBucket::Nothing => {}
            HeldBucket::Token(limits, token) => {
                let learnt = learnt(status, headers, wait, String::new, now);
                if let Some(exhausted) = learnt.filter(|learnt| learnt.remaining == 0) {
                    limits.limit_token(token, exhausted.reset_at.into());
                }
            }
            HeldBucket::Bucket {
                permit, endpoint, ..
            } => {
                // The name of the bucket until Discord gives it one.
                let own_name = || format!("{} {}", endpoint.method.name(), endpoint.path);
                permit.complete(learnt(status, headers, wait, own_name, now));
            }
        }
    }
}

/// What a response says about its bucket; `None` if it says nothing.
fn learnt(
    status: StatusCode,
    headers: &HeaderMap,
    wait: Option<Duration>,
    own_name: impl FnOnce() -> String,
    now: std::time::Instant,
) -> Option<RateLimitHeaders> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let number = |name: &str| Some(text(name)?.trim().parse::<u32>().ok()?.min(u16::MAX.into()));
    let parse = || {
        let after: f64 = text(RateLimitHeaders::RESET_AFTER)?.trim().parse().ok()?;
        let after = Duration::try_from_secs_f64(after)
            .ok()?
            .min(super::api::MAX_WAIT);
        Some(RateLimitHeaders {
            bucket: text(RateLimitHeaders::BUCKET)?.as_bytes().to_vec(),
            limit: u16::try_from(number(RateLimitHeaders::LIMIT)?).ok()?,
            remaining: u16::try_from(number(RateLimitHeaders::REMAINING)?).ok()?,
            reset_at: now + after,
        })
    };
    let parsed = parse();
    match wait {
        // For a limit that the bot shares with others, only the body says how long to wait.
        Some(wait) => Some(RateLimitHeaders {
            bucket: parsed.map_or_else(|| own_name().into_bytes(), |parsed| parsed.bucket),
            limit: 1,
            remaining: 0,
            reset_at: now + wait,
        }),
        // A route without a limit, or a proxy that handles the limits itself. The route gets a
        // bucket of its own, so that it does not wait in one queue with other unknown routes.
        None if parsed.is_none() && status.is_success() => Some(RateLimitHeaders {
            bucket: own_name().into_bytes(),
            limit: u16::MAX,
            remaining: u16::MAX,
            reset_at: now,
        }),
        None => parsed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_limited_together_is_told_by_the_path() {
        let usual = |path: &str| {
            Lane::Usual(Endpoint {
                method: Method::Get,
                path: path.to_owned(),
            })
        };
        for (path, limited_path) in [
            ("/channels/1/messages", "channels/1/messages"),
            ("/channels/1/messages/22", "channels/1/messages/{}"),
            (
                "/guilds/1/members/2/roles/3",
                "guilds/1/members/{}/roles/{}",
            ),
            ("/users/7", "users/{}"),
            ("/users/@me", "users/@me"),
            ("/gateway/bot", "gateway/bot"),
            (
                "/applications/7/guilds/8/commands/9",
                "applications/{}/guilds/{}/commands/{}",
            ),
        ] {
            assert_eq!(
                Lane::of(LightMethod::Get, path),
                usual(limited_path),
                "{path}"
            );
        }
        let callback = Lane::of(LightMethod::Post, "/interactions/7/token/callback");
        assert_eq!(callback, Lane::Callback);
        let follow_up = |path| Lane::of(LightMethod::Patch, path);
        let token = Lane::FollowUp("7/token".to_owned());
        assert_eq!(follow_up("/webhooks/7/token/messages/8"), token);
        assert_ne!(follow_up("/webhooks/7/other"), token);
    }

    #[test]
    fn answers_say_what_their_bucket_admits() {
        let now = std::time::Instant::now();
        let map = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (name.parse().unwrap(), value.parse().unwrap())
            };
            pairs.iter().map(pair).collect()
        };
        let said = [
            ("x-ratelimit-bucket", "b"),
            ("x-ratelimit-limit", "5"),
            ("x-ratelimit-remaining", "4"),
            ("x-ratelimit-reset-after", "1.5"),
        ];
        let cut = &said[..3];
        let odd = [
            said[0],
            said[1],
            said[2],
            ("x-ratelimit-reset-after", "soon"),
        ];
        let endless = [
            said[0],
            said[1],
            said[2],
            ("x-ratelimit-reset-after", "1e300"),
        ];
        let hour = Some(Duration::from_hours(1));
        let free = Some(("own", u16::MAX, 0));
        for (status, headers, wait, expected) in [
            (200, &said[..], None, Some(("b", 4, 1_500))),
            (404, &said[..], None, Some(("b", 4, 1_500))),
            (429, &said[..], hour, Some(("b", 0, 3_600_000))),
            (429, &[], hour, Some(("own", 0, 3_600_000))),
            (429, &[], None, None),
            (200, &[], None, free),
            (200, cut, None, free),
            (200, &odd[..], None, free),
            (200, &endless[..], None, free),
            (503, &[], None, None),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let learnt = learnt(status, &map(headers), wait, || "own".to_owned(), now);
            let learnt = learnt.map(|learnt| {
                let name = String::from_utf8(learnt.bucket).unwrap();
                (name, learnt.remaining, (learnt.reset_at - now).as_millis())
            });
            let expected = expected.map(|(name, left, after)| (name.to_owned(), left, after));
            assert_eq!(learnt, expected, "{status} {headers:?} {wait:?}");
        }
    }

    /// A bucket whose limit lasts for an hour, learnt by one call.
    async fn limited(limits: &Limits, lane: &Lane) {
        let slot = limits.slot(lane, soon()).await.expect("nothing is known");
        let status = StatusCode::TOO_MANY_REQUESTS;
        slot.answered(status, &HeaderMap::new(), Some(Duration::from_hours(1)));
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[tokio::test]
    async fn a_long_limit_ends_the_calls_of_its_bucket_and_no_others() {
        let limits = Limits::new();
        let read = Lane::of(LightMethod::Get, "/channels/1/messages");
        limited(&limits, &read).await;
        let wait = limits.slot(&read, soon()).await.expect_err("it is limited");
        assert!(wait > Duration::from_mins(59), "{wait:?}");
        for (method, path) in [
            (LightMethod::Post, "/channels/1/messages"),
            (LightMethod::Get, "/channels/2/messages"),
        ] {
            let lane = Lane::of(method, path);
            let slot = limits.slot(&lane, soon()).await;
            slot.expect("another bucket");
        }
    }

    #[tokio::test]
    async fn whoever_waits_learns_of_a_limit_that_is_too_long() {
        let limits = Limits::new();
        let lane = Lane::of(LightMethod::Get, "/users/@me");
        let held = limits.slot(&lane, soon()).await.expect("nothing is known");
        let deadline = Instant::now() + Duration::from_mins(10);
        let waiting = limits.slot(&lane, deadline);
        let answering = async {
            tokio::task::yield_now().await;
            let status = StatusCode::TOO_MANY_REQUESTS;
            held.answered(status, &HeaderMap::new(), Some(Duration::from_hours(1)));
        };
        let (waited, ()) = tokio::join!(waiting, answering);
        assert!(waited.expect_err("it is limited") > Duration::from_mins(59));
    }

    #[tokio::test]
    async fn a_call_that_is_given_up_makes_room_for_the_next() {
        let limits = Limits::new();
        let lane = Lane::of(LightMethod::Get, "/users/@me");
        drop(limits.slot(&lane, soon()).await.expect("nothing is known"));
        limits.slot(&lane, soon()).await.expect("the next");
    }

    #[tokio::test]
    async fn interactions_leave_nothing_behind() {
        let limits = Limits::new();
        let lane = |number: u32| Lane::of(LightMethod::Patch, &format!("/webhooks/7/{number}"));
        for number in 0..100 {
            let lane = lane(number);
            let slot = limits.slot(&lane, soon()).await.expect("nothing is known");
            slot.answered(StatusCode::OK, &HeaderMap::new(), None);
        }
        assert!(locked(&limits.tokens).is_empty());
        limited(&limits, &lane(7)).await;
        limits.slot(&lane(8), soon()).await.expect("another token");
        let wait = limits.slot(&lane(7), soon()).await.expect_err("a limit");
        assert!(wait > Duration::from_mins(59), "{wait:?}");
        // A limit that is over is forgotten when the next one is added.
        limits.limit_token("7/7", Instant::now());
        limits.limit_token("7/9", soon());
        assert_eq!(locked(&limits.tokens).len(), 1);
    }

    #[tokio::test]
    async fn a_place_is_free_again_a_second_after_the_answer() {
        let ceiling = Ceiling::new();
        let mut places = Vec::new();
        for _ in 0..CALLS_PER_SECOND {
            places.push(ceiling.place(soon()).await.expect("a place"));
        }
        let now = ceiling.place(Instant::now()).await;
        now.expect_err("all are taken");
        let dropped = Instant::now();
        drop(places.pop());
        let early = ceiling.place(dropped + SECOND / 2).await;
        early.expect_err("not yet");
        ceiling.place(soon()).await.expect("it is free");
        assert!(dropped.elapsed() >= SECOND);
    }
}
