//! What goes wrong on demand in the CDN.

use hyper::Method;

use crate::Shared;
use crate::faults::Plan;

/// One thing that goes wrong with a picture or file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CdnFault {
    /// This status is answered, with a line of text.
    Status(u16),
    /// A page of HTML is answered, with 200, as by a captive portal.
    Html,
    /// No answer ever comes.
    Hang,
    /// The head of an answer comes and a part of the picture, then nothing.
    HangInBody,
    /// The way to this address (302).
    Redirect(String),
    /// That many bytes which are called a PNG, with their `Content-Length`.
    Big(u64),
    /// The same without `Content-Length`.
    BigChunked(u64),
    /// The connection breaks.
    Reset,
}

/// A hand on what goes wrong in the CDN.
#[derive(Debug)]
pub struct CdnFaultControl<'a> {
    pub(crate) shared: &'a Shared,
}

impl CdnFaultControl<'_> {
    /// The next `count` requests that fit meet this fault. In the pattern `{}`
    /// stands for any one segment: `"/avatars/{}/{}"`. Queries do not matter.
    pub fn next(&self, count: u32, pattern: &str, fault: CdnFault) {
        let plan = Plan {
            left: count,
            calls: Some((Method::GET, pattern.to_owned())),
            fault,
        };
        if count > 0 {
            self.shared.lock().cdn.faults.push(plan);
        }
    }

    /// How many planned faults have not been met yet.
    pub fn left(&self) -> u32 {
        let state = self.shared.lock();
        state.cdn.faults.iter().map(|plan| plan.left).sum()
    }

    /// Nothing goes wrong any more.
    pub fn clear(&self) {
        self.shared.lock().cdn.faults.clear();
    }
}
