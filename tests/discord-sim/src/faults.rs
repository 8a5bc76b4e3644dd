//! What goes wrong on demand in REST. (The gateway's faults are methods of
//! [`crate::GatewayControl`], and the CDN's are in `cdn/faults.rs`.)

use std::time::Duration;

use hyper::Method;
use serde_json::Value;

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
    /// proxies in front of Discord.
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

/// A fault that waits for its calls.
#[derive(Debug)]
pub(crate) struct Plan<F> {
    pub left: u32,
    pub method: Method,
    pub pattern: String,
    pub fault: F,
}

/// The fault that is due for this call; one fewer is left of it then.
pub(crate) fn due<F: Clone>(plans: &mut Vec<Plan<F>>, method: &Method, path: &str) -> Option<F> {
    let at = plans
        .iter()
        .position(|plan| plan.method == *method && path_fits(path, &plan.pattern))?;
    let plan = &mut plans[at];
    plan.left = plan.left.saturating_sub(1);
    let fault = plan.fault.clone();
    if plan.left == 0 {
        plans.remove(at);
    }
    Some(fault)
}
