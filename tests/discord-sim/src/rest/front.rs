//! What stands before REST: the network in front of Discord that bans and turns away, and the count of
//! how many calls come in a second.
//!
//! Times are the machine's, not the world's, as those of the rate limits are.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;

use crate::faults::Scope;
use crate::rest::{html, rate_limited};

/// How Discord asks the `User-Agent` of every bot to begin.
pub(crate) const USER_AGENT: &str = "DiscordBot (";
const SECOND: Duration = Duration::from_secs(1);

/// What is known of those who call, and what is wrong with them.
#[derive(Debug, Default)]
pub(crate) struct Front {
    /// Whether every call is answered as one from a banned address.
    pub banned: bool,
    /// Until when calls are over the limit for all routes, whatever that limit is.
    pub limited_until: Option<Instant>,
    /// How many calls came all the same.
    pub turned_away: u64,
    /// The calls of the last second, and the most that there were in any.
    recent: VecDeque<Instant>,
    pub peak: usize,
}

/// A call as it is seen before Discord itself sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    /// Whether it answers an interaction.
    pub answers: bool,
    /// Its `User-Agent`, if that matters.
    pub agent: Option<&'a str>,
}

impl Front {
    /// Counts a call; if it does not get any further, this is what it is answered.
    pub fn stop(&mut self, caller: Caller<'_>, now: Instant) -> Option<Response<Full<Bytes>>> {
        if !caller.answers {
            self.count(now);
        }
        if self.banned {
            self.turned_away += 1;
            return Some(html(429));
        }
        if caller
            .agent
            .is_some_and(|agent| !agent.starts_with(USER_AGENT))
        {
            return Some(html(403));
        }
        let until = self.limited_until.filter(|&until| now < until)?;
        if caller.answers {
            return None;
        }
        self.turned_away += 1;
        Some(rate_limited(until - now, Scope::Global, true))
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&mut self) {
        self.recent.clear();
        self.peak = 0;
    }

    fn count(&mut self, now: Instant) {
        self.recent.push_back(now);
        while self.recent.front().is_some_and(|&at| now - at >= SECOND) {
            self.recent.pop_front();
        }
        self.peak = self.peak.max(self.recent.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_that_of_any_second() {
        let mut front = Front::default();
        let start = Instant::now();
        let mut call = |ms: u64, answers: bool| {
            let caller = Caller {
                answers,
                agent: None,
            };
            let stopped = front.stop(caller, start + Duration::from_millis(ms));
            assert!(stopped.is_none());
            front.peak
        };
        for ms in [0, 600, 900] {
            call(ms, false);
        }
        assert_eq!(call(950, true), 3, "answers to interactions do not count");
        assert_eq!(
            call(1_100, false),
            3,
            "the first was more than a second ago"
        );
        assert_eq!(call(1_500, false), 4, "across two seconds of the clock");
        assert_eq!(call(9_000, false), 4, "it stays");
    }
}
