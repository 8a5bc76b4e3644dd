//! Discord's rate limits: who may call when, by what its answers say.
//!
//! `twilight-http-ratelimiting` keeps the queues, one for each bucket with one call in flight. It
//! measures by the steady clock, so that the machine's wall clock plays no part. Here is decided
//! what it is told: which calls are limited together before Discord has said so, and what an
//! answer without the usual headers means. The ceiling for all buckets together is ours: the
//! library's counts what begins within fixed seconds, and around their ends twice as many calls
//! would arrive at Discord within one.
//!
//! Its memory. The library remembers each path that it was shown: some 600 bytes for six hours,
//! and of those whose first part is new some 250 for ever (measured). So it is shown paths
//! without the ids that do not matter to limits (`channels/1/messages/{}`), of which there are as
//! many as channels times routes, and no interaction's token: of these only the few are
//! remembered, here, that Discord limits at the moment. An interaction leaves nothing behind.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serenity::http::LightMethod;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};
use twilight_http_ratelimiting::{Bucket, Endpoint, Method, Permit, RateLimitHeaders, RateLimiter};

/// Calls within any second, all buckets together; answers to interactions come on top. Discord
/// allows 50.
const CALLS_A_SECOND: usize = 40;
const SECOND: Duration = Duration::from_secs(1);
/// For the library, which then limits buckets only.
const NO_CEILING: u16 = u16::MAX;
/// How often a call that waits looks whether its limit has become longer than it can wait.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The limits of all calls.
#[derive(Debug)]
pub(super) struct Limits {
    calls: RateLimiter,
    /// Until when nothing more is said with an interaction's token.
    tokens: Mutex<HashMap<String, Instant>>,
    ceiling: Ceiling,
}

/// How a call is limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// The first answer to an interaction: by nothing.
    Callback,
    /// Later answers, by what begins their path: the application and the token. Five in five
    /// seconds.
    FollowUp(String),
    /// By its bucket, and with all others together.
    Usual(Endpoint),
}

/// The right to make one call now. Dropped before [`Slot::answered`], the call counts as not
/// made.
#[derive(Debug)]
pub(super) struct Slot<'a>(Held<'a>);

#[derive(Debug)]
enum Held<'a> {
    Nothing,
    Token(&'a Limits, &'a str),
    Bucket {
        permit: Permit,
        endpoint: &'a Endpoint,
        _place: Place,
    },
}

impl Lane {
    /// How a call is limited, by its path below the API's version.
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
        // Those ids are limited by themselves.
        let kept = match segments[0] {
            "channels" | "guilds" => 2,
            _ => 1,
        };
        let shown = segments.iter().enumerate();
        let shown: Vec<&str> = shown
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
            path: shown.join("/"),
        })
    }

    /// Whether it answers an interaction: no limit on all calls together applies to it.
    pub fn is_answer(&self) -> bool {
        !matches!(self, Self::Usual(_))
    }
}

impl Limits {
    /// Nothing is known yet. Within a runtime, on which the limits live.
    pub fn new() -> Self {
        Self {
            calls: RateLimiter::new(NO_CEILING),
            tokens: Mutex::default(),
            ceiling: Ceiling::new(),
        }
    }

    /// Waits until a call may be made; how long its limit lasts yet, if that is beyond
    /// `deadline`.
    pub async fn slot<'a>(
        &'a self,
        lane: &'a Lane,
        deadline: Instant,
    ) -> Result<Slot<'a>, Duration> {
        Ok(Slot(match lane {
            Lane::Callback => Held::Nothing,
            Lane::FollowUp(token) => {
                let until = locked(&self.tokens).get(token).copied();
                if let Some(until) = until {
                    reach(until, deadline).await?;
                }
                Held::Token(self, token)
            }
            Lane::Usual(endpoint) => {
                let permit = self.permit(endpoint, deadline).await?;
                Held::Bucket {
                    permit,
                    endpoint,
                    _place: self.ceiling.place(deadline).await?,
                }
            }
        }))
    }

    async fn permit(&self, endpoint: &Endpoint, deadline: Instant) -> Result<Permit, Duration> {
        let (tell, mut told) = oneshot::channel();
        let mut permit = self.calls.acquire_if(endpoint.clone(), move |bucket| {
            let Some(wait) = too_long(bucket, deadline) else {
                return true;
            };
            let _ = tell.send(wait);
            false
        });
        loop {
            let look = deadline.min(Instant::now() + LOOK_INTERVAL);
            tokio::select! {
                biased;
                permit = &mut permit => {
                    return permit.ok_or_else(|| told.try_recv().unwrap_or_default());
                }
                () = tokio::time::sleep_until(look) => {}
            }
            let bucket = self.calls.bucket(endpoint.clone()).await;
            if let Some(wait) = too_long(bucket, deadline) {
                return Err(wait);
            }
            // Others are before it.
            if Instant::now() >= deadline {
                return Err(LOOK_INTERVAL);
            }
        }
    }

    /// Nothing more is said with this token until then.
    fn limit_token(&self, token: &str, until: Instant) {
        let mut tokens = locked(&self.tokens);
        let now = Instant::now();
        tokens.retain(|_, until| *until > now);
        tokens.insert(token.to_owned(), until);
    }
}

/// Waits until then; how long that is, if it is beyond the deadline.
async fn reach(until: Instant, deadline: Instant) -> Result<(), Duration> {
    if until > deadline {
        return Err(until.saturating_duration_since(Instant::now()));
    }
    tokio::time::sleep_until(until).await;
    Ok(())
}

/// So many places for calls, each free again a second after its call was answered. A place is
/// not free a second after its call was *made*: connections take their time, and two calls could
/// arrive together.
#[derive(Debug)]
struct Ceiling {
    idle: Arc<Semaphore>,
    /// From when on each idle place is free, the earliest first.
    free_from: Arc<Mutex<VecDeque<Instant>>>,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
struct Place {
    free_from: Arc<Mutex<VecDeque<Instant>>>,
    _idle: OwnedSemaphorePermit,
}

impl Ceiling {
    fn new() -> Self {
        Self {
            idle: Arc::new(Semaphore::new(CALLS_A_SECOND)),
            free_from: Arc::new(Mutex::new(vec![Instant::now(); CALLS_A_SECOND].into())),
        }
    }

    /// Waits for a place, in the order in which calls came.
    async fn place(&self, deadline: Instant) -> Result<Place, Duration> {
        let idle = timeout_at(deadline, Arc::clone(&self.idle).acquire_owned()).await;
        let idle = idle.ok().and_then(Result::ok).ok_or(SECOND)?;
        let free_from = locked(&self.free_from).pop_front();
        let free_from = free_from.unwrap_or_else(Instant::now);
        if free_from > deadline {
            locked(&self.free_from).push_front(free_from);
            return Err(free_from.saturating_duration_since(Instant::now()));
        }
        // Given up during the wait, it is free a little later than it could be.
        let place = Place {
            free_from: Arc::clone(&self.free_from),
            _idle: idle,
        };
        tokio::time::sleep_until(free_from).await;
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        locked(&self.free_from).push_back(Instant::now() + SECOND);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a bucket admits nobody, if that is beyond the deadline.
fn too_long(bucket: Option<Bucket>, deadline: Instant) -> Option<Duration> {
    let reset_at = Instant::from_std(bucket.filter(|bucket| bucket.remaining == 0)?.reset_at);
    (reset_at > deadline).then(|| reset_at.saturating_duration_since(Instant::now()))
}

impl Slot<'_> {
    /// Tells what the answer said of the limits. `wait` is what a refusal for this bucket's sake
    /// asks for.
    pub fn answered(self, status: StatusCode, headers: &HeaderMap, wait: Option<Duration>) {
        let now = std::time::Instant::now();
        match self.0 {
            Held::Nothing => {}
            Held::Token(limits, token) => {
                let learnt = learnt(status, headers, wait, String::new, now);
                if let Some(exhausted) = learnt.filter(|learnt| learnt.remaining == 0) {
                    limits.limit_token(token, exhausted.reset_at.into());
                }
            }
            Held::Bucket {
                permit, endpoint, ..
            } => {
                // What the bucket is called until Discord gives it a name.
                let own_name = || format!("{} {}", endpoint.method.name(), endpoint.path);
                permit.complete(learnt(status, headers, wait, own_name, now));
            }
        }
    }
}

/// What an answer says of its bucket.
fn learnt(
    status: StatusCode,
    headers: &HeaderMap,
    wait: Option<Duration>,
    own_name: impl FnOnce() -> String,
    now: std::time::Instant,
) -> Option<RateLimitHeaders> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let number = |name: &str| Some(text(name)?.trim().parse::<u32>().ok()?.min(u16::MAX.into()));
    let said = || {
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
    let said = said();
    match wait {
        // Also where only the body says it, as for limits that are not the bot's alone.
        Some(wait) => Some(RateLimitHeaders {
            bucket: said.map_or_else(|| own_name().into_bytes(), |said| said.bucket),
            limit: 1,
            remaining: 0,
            reset_at: now + wait,
        }),
        // A route without a limit, or one whose limits a proxy keeps: it must not wait in one
        // queue with all routes whose limits are unknown.
        None if said.is_none() && status.is_success() => Some(RateLimitHeaders {
            bucket: own_name().into_bytes(),
            limit: u16::MAX,
            remaining: u16::MAX,
            reset_at: now,
        }),
        None => said,
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
        for (path, shown) in [
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
            assert_eq!(Lane::of(LightMethod::Get, path), usual(shown), "{path}");
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
        // Those that came after it, and one that waited before the limit was known.
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
        // A limit that is over is forgotten at the next one.
        limits.limit_token("7/7", Instant::now());
        limits.limit_token("7/9", soon());
        assert_eq!(locked(&limits.tokens).len(), 1);
    }

    #[tokio::test]
    async fn a_place_is_free_again_a_second_after_the_answer() {
        let ceiling = Ceiling::new();
        let mut places = Vec::new();
        for _ in 0..CALLS_A_SECOND {
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
