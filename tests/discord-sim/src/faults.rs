//! What goes wrong on demand in REST. (The gateway's faults are methods of
//! [`crate::GatewayControl`], and the CDN's are in `cdn/faults.rs`.)

use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::Value;

use crate::Shared;
use crate::requests::path_fits;

/// One thing that goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing is done; this status is answered, with a JSON body as Discord's
    /// for 401, 403, 404 and 5xx.
    Status(u16),
    /// Nothing is done; this status is answered, with a JSON body that holds this error code.
    Refused {
        /// The HTTP status.
        status: u16,
        /// Discord's JSON error code.
        code: u64,
    },
    /// Nothing is done; this JSON is answered, with 200.
    Answer(Value),
    /// Nothing is done; this status is answered with a page of HTML, as by the
    /// proxies in front of Discord: 429 is what they answer to a banned address, without a word of
    /// when to come again.
    Html(u16),
    /// Nothing is done; the call was over a limit.
    RateLimited {
        /// When to come again.
        retry_after: Duration,
        /// Whose limit it was.
        scope: Scope,
        /// Whether the headers that say so are there.
        headers: bool,
    },
    /// The call is done and answered as usual, but this much later.
    Delay(Duration),
    /// Nothing is done, and no answer ever comes.
    Hang,
    /// Nothing is done; the connection breaks.
    Reset,
    /// The call **is done**; the connection breaks before the answer.
    ResetAfter,
    /// The call **is done**; this status is answered all the same.
    StatusAfter(u16),
    /// The call **is done**; this status is answered with a page of HTML.
    HtmlAfter(u16),
}

/// Whose rate limit it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// This bot's, on this route.
    User,
    /// This bot's, on all routes together.
    Global,
    /// The resource's, whoever calls.
    Shared,
}

impl Scope {
    /// As `X-RateLimit-Scope` says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Global => "global",
            Self::Shared => "shared",
        }
    }
}

/// A hand on what goes wrong in REST.
#[derive(Debug)]
pub struct FaultControl<'a> {
    pub(crate) shared: &'a Shared,
}

impl FaultControl<'_> {
    /// The next `count` calls that fit meet this fault. In the pattern, below
    /// `/api/v10`, `{}` stands for any one segment.
    pub fn next(&self, count: u32, method: Method, pattern: &str, fault: Fault) {
        self.plan(count, Some((method, pattern.to_owned())), fault);
    }

    /// The next `count` calls meet this fault, whatever they are.
    pub fn next_of_any(&self, count: u32, fault: Fault) {
        self.plan(count, None, fault);
    }

    /// Every call is answered with 429 and a page of HTML, without a word of when to come again, as
    /// one from an address that is banned; also answers to interactions (`lift_ban` ends it).
    pub fn ban(&self) {
        self.shared.lock().front.banned = true;
    }

    /// The ban is over.
    pub fn lift_ban(&self) {
        self.shared.lock().front.banned = false;
    }

    /// For this time of the machine's clock every call is over the limit for all routes, but for
    /// answers to interactions.
    pub fn limit_all(&self, time: Duration) {
        self.shared.lock().front.limited_until = Some(Instant::now() + time);
    }

    /// How many calls came although a ban or a limit for all routes turned them away.
    pub fn turned_away(&self) -> u64 {
        self.shared.lock().front.turned_away
    }

    /// How many planned faults have not been met yet.
    pub fn left(&self) -> u32 {
        self.shared.lock().faults.iter().map(|plan| plan.left).sum()
    }

    /// Nothing goes wrong any more.
    pub fn clear(&self) {
        let mut state = self.shared.lock();
        state.faults.clear();
        state.front.banned = false;
        state.front.limited_until = None;
    }

    fn plan(&self, left: u32, calls: Option<(Method, String)>, fault: Fault) {
        let plan = Plan { left, calls, fault };
        if left > 0 {
            self.shared.lock().faults.push(plan);
        }
    }
}

/// A fault that waits for its calls.
#[derive(Debug)]
pub(crate) struct Plan<F> {
    pub left: u32,
    /// The method and the pattern of the path; none for any call.
    pub calls: Option<(Method, String)>,
    pub fault: F,
}

impl<F> Plan<F> {
    fn fits(&self, method: &Method, path: &str) -> bool {
        let calls = self.calls.as_ref();
        calls.is_none_or(|(wanted, pattern)| wanted == method && path_fits(path, pattern))
    }
}

/// The fault that is due for this call; one fewer is left of it then.
pub(crate) fn due<F: Clone>(plans: &mut Vec<Plan<F>>, method: &Method, path: &str) -> Option<F> {
    let at = plans.iter().position(|plan| plan.fits(method, path))?;
    let plan = &mut plans[at];
    plan.left = plan.left.saturating_sub(1);
    let fault = plan.fault.clone();
    if plan.left == 0 {
        plans.remove(at);
    }
    Some(fault)
}
