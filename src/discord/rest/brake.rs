//! The brake: a circuit breaker for all calls. While Discord refuses everything, it stops all
//! calls but one probe at a time, with pauses between the probes that double.
//!
//! Two responses mean that everything is refused: a global rate limit, and a 429 that is not from
//! Discord itself, which Cloudflare sends to an IP address that it has banned. Such a ban lasts
//! about an hour, and further calls prolong it. Discord bans an IP address for 10,000 responses
//! of 401, 403 or 429 in ten minutes, so the brake counts these and stops all calls at half of
//! that. Calls that answer interactions are exempt: global limits do not apply to them, and a
//! person waits for the answer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// First and longest pause between probes: about fifteen probes in an hour's ban.
pub(super) const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(10);
/// Refusals within [`INVALID_PERIOD`] at which all calls stop: half of Discord's own limit.
const MAX_INVALID: usize = 5_000;
const INVALID_PERIOD: Duration = Duration::from_mins(10);

/// The brake. Cheap to clone; clones share their state.
#[derive(Clone, Debug, Default)]
pub(super) struct Brake(Arc<BrakeShared>);

#[derive(Debug, Default)]
struct BrakeShared {
    state: Mutex<BrakeState>,
    /// Notified when waiting calls should look at the state again.
    released: Notify,
}

/// What the outcome of a call says about whether Discord refuses everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallOutcome {
    /// Discord answered this call, even if with an error: calls get through.
    Answered,
    /// Everything is refused, for at least this long if the response says so.
    AllRefused(Option<Duration>),
    /// Nothing: there was no response, or a server error.
    Nothing,
}

/// Permission to make one call. Dropping it without [`Admitted::end`] counts as
/// [`CallOutcome::Nothing`].
#[derive(Debug)]
pub(super) struct Admitted {
    brake: Brake,
    start: Option<CallStart>,
}

impl Brake {
    /// Waits until calls may be made. If that is not before `deadline`, returns the remaining wait
    /// as the error.
    pub async fn wait(&self, deadline: Instant) -> Result<(), Duration> {
        loop {
            let released = self.0.released.notified();
            let mut released = std::pin::pin!(released);
            released.as_mut().enable();
            let now = Instant::now();
            let until = match self.state().status(now) {
                Status::Open => return Ok(()),
                Status::ClosedUntil(until) if until > deadline => return Err(until - now),
                Status::ClosedUntil(until) => until,
                Status::Probing if deadline <= now => return Err(PAUSE_MIN),
                Status::Probing => deadline,
            };
            tokio::select! {
                () = released => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// Admits a call now; `None` while the brake is closed. After a pause it admits one call as a
    /// probe, and all others wait for the probe's outcome.
    pub fn admit(&self) -> Option<Admitted> {
        let start = self.state().admit(Instant::now())?;
        Some(self.admitted(start))
    }

    /// Admits a call that answers an interaction, even while the brake is closed.
    pub fn admit_exempt(&self) -> Admitted {
        self.admitted(self.state().admit_exempt())
    }

    /// Counts a response that Discord counts against this IP address: 401, 403, or a 429 whose
    /// scope is not `shared`.
    pub fn count_invalid(&self) {
        if let Some(pause) = self.state().count_invalid(Instant::now()) {
            tracing::error!(
                refusals = MAX_INVALID,
                pause_s = pause.as_secs(),
                "Discord refused thousands of calls within ten minutes, and bans IP addresses for \
                 that; no calls are made until the pause is over. The log lines before this one \
                 say what Discord refused"
            );
            // Waiting calls look at the longer pause.
            self.0.released.notify_waiters();
        }
    }

    fn admitted(&self, start: CallStart) -> Admitted {
        Admitted {
            brake: self.clone(),
            start: Some(start),
        }
    }

    fn end(&self, start: CallStart, outcome: CallOutcome) {
        let change = self.state().end(start, outcome, Instant::now());
        match change {
            StatusChange::None => {}
            StatusChange::Released => self.0.released.notify_waiters(),
            StatusChange::Closed(pause) => {
                tracing::warn!(
                    pause_ms = pause.as_millis(),
                    "Discord refuses all calls: a global rate limit, or a ban of this machine's \
                     IP address at Cloudflare, which lasts about an hour. The bot tries one call \
                     at a time until it is over, with pauses that double up to ten minutes"
                );
            }
            StatusChange::Opened => {
                tracing::info!("Discord accepts calls again");
                self.0.released.notify_waiters();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, BrakeState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// Reports the outcome of the call.
    pub fn end(mut self, outcome: CallOutcome) {
        if let Some(start) = self.start.take() {
            self.brake.end(start, outcome);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(start) = self.start.take() {
            self.brake.end(start, CallOutcome::Nothing);
        }
    }
}

/// The brake's state. Pure: times are arguments.
#[derive(Debug, Default)]
struct BrakeState {
    /// Set while everything is refused.
    pause: Option<GlobalPause>,
    /// Number of pauses so far: a refusal of a call that began before the current pause must not
    /// double it.
    pauses: u64,
    /// The times of recent refusals, oldest first; at most [`MAX_INVALID`].
    invalid: VecDeque<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct GlobalPause {
    until: Instant,
    /// Consecutive refusals.
    refusals: u32,
    /// Whether a probe is on its way.
    is_probed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CallStart {
    /// The number of pauses when the call began; `None` if its outcome proves nothing, because it
    /// was exempt and began during a pause.
    pauses: Option<u64>,
    /// Whether the call is the probe after a pause.
    is_probe: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Open,
    ClosedUntil(Instant),
    /// The pause is over, and a probe is on its way.
    Probing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StatusChange {
    None,
    /// The brake closed at a first refusal, for this long.
    Closed(Duration),
    Opened,
    /// Waiting calls should look again: the pause has changed, or another probe may start.
    Released,
}

impl BrakeState {
    fn status(&self, now: Instant) -> Status {
        match self.pause {
            Some(pause) if now < pause.until => Status::ClosedUntil(pause.until),
            Some(pause) if pause.is_probed => Status::Probing,
            _ => Status::Open,
        }
    }

    fn admit(&mut self, now: Instant) -> Option<CallStart> {
        if self.status(now) != Status::Open {
            return None;
        }
        if let Some(pause) = &mut self.pause {
            pause.is_probed = true;
        }
        Some(CallStart {
            pauses: Some(self.pauses),
            is_probe: self.pause.is_some(),
        })
    }

    fn admit_exempt(&self) -> CallStart {
        CallStart {
            pauses: Some(self.pauses).filter(|_| self.pause.is_none()),
            is_probe: false,
        }
    }

    fn end(&mut self, start: CallStart, outcome: CallOutcome, now: Instant) -> StatusChange {
        match (outcome, &mut self.pause) {
            (CallOutcome::AllRefused(wait), before) => {
                let wait = wait.unwrap_or_default();
                // The call began before the pause: this is the same refusal once more.
                if let Some(pause) = before
                    && start.pauses != Some(self.pauses)
                {
                    pause.until = pause.until.max(now + wait);
                    return StatusChange::None;
                }
                let refusals = before.map_or(0, |pause| pause.refusals);
                let pause = pause_after(refusals).max(wait);
                self.pause = Some(GlobalPause {
                    until: now + pause,
                    refusals: refusals + 1,
                    is_probed: false,
                });
                self.pauses += 1;
                if refusals == 0 {
                    StatusChange::Closed(pause)
                } else {
                    // Waiting calls look at the longer pause.
                    StatusChange::Released
                }
            }
            (CallOutcome::Answered, Some(_))
                if start.is_probe && start.pauses == Some(self.pauses) =>
            {
                self.pause = None;
                StatusChange::Opened
            }
            (CallOutcome::Nothing, Some(pause))
                if start.is_probe && start.pauses == Some(self.pauses) =>
            {
                pause.is_probed = false;
                StatusChange::Released
            }
            _ => StatusChange::None,
        }
    }

    /// Counts a refusal; returns the pause if it is the [`MAX_INVALID`]th in the period.
    fn count_invalid(&mut self, now: Instant) -> Option<Duration> {
        while self
            .invalid
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= INVALID_PERIOD)
        {
            self.invalid.pop_front();
        }
        self.invalid.push_back(now);
        if self.invalid.len() < MAX_INVALID {
            return None;
        }
        // Start counting again after the pause.
        self.invalid.clear();
        let until = now + INVALID_PERIOD;
        let before = self.pause;
        self.pause = Some(GlobalPause {
            until: before.map_or(until, |pause| pause.until.max(until)),
            refusals: before.map_or(0, |pause| pause.refusals) + 1,
            is_probed: false,
        });
        self.pauses += 1;
        Some(INVALID_PERIOD)
    }
}

/// The pause for a refusal that follows this many consecutive ones.
fn pause_after(refusals: u32) -> Duration {
    PAUSE_MIN
        .saturating_mul(2_u32.saturating_pow(refusals))
        .min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: CallOutcome = CallOutcome::AllRefused(None);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn pauses_double_up_to_ten_minutes() {
        for (refusals, expected) in [
            (0, 1),
            (1, 2),
            (5, 32),
            (9, 512),
            (10, 600),
            (u32::MAX, 600),
        ] {
            assert_eq!(pause_after(refusals), seconds(expected), "{refusals}");
        }
        // The number of probes during a ban of one hour.
        let mut passed = Duration::ZERO;
        let probes = (0..).take_while(|refusals| {
            passed += pause_after(*refusals);
            passed < Duration::from_hours(1)
        });
        assert_eq!(probes.count(), 14);
    }

    #[test]
    fn one_probe_at_a_time_finds_out_whether_the_refusals_are_over() {
        let (mut state, start) = (BrakeState::default(), Instant::now());
        let first = state.admit(start).expect("nothing is refused yet");
        let under_way = state.admit(start).expect("nor for another");
        assert_eq!(
            state.end(first, REFUSED, start),
            StatusChange::Closed(seconds(1))
        );
        // The second call meets the same refusal, which does not lengthen the pause.
        assert_eq!(state.end(under_way, REFUSED, start), StatusChange::None);
        assert_eq!(state.status(start), Status::ClosedUntil(start + seconds(1)));
        assert_eq!(state.admit(start), None);

        let later = start + seconds(1);
        let probe = state.admit(later).expect("the pause is over");
        assert_eq!(state.admit(later), None, "only one probe");
        assert_eq!(
            state.end(probe, CallOutcome::Nothing, later),
            StatusChange::Released
        );
        let probe = state.admit(later).expect("the next one");
        state.end(probe, REFUSED, later);
        assert_eq!(state.status(later), Status::ClosedUntil(later + seconds(2)));

        let later = later + seconds(2);
        let probe = state.admit(later).expect("the pause is over");
        // A call that began before the pause proves nothing.
        assert_eq!(
            state.end(under_way, CallOutcome::Answered, later),
            StatusChange::None
        );
        assert_eq!(
            state.end(probe, CallOutcome::Answered, later),
            StatusChange::Opened
        );
        assert_eq!(state.status(later), Status::Open);
        let again = state.admit(later).expect("it is open");
        let change = state.end(again, REFUSED, later);
        assert_eq!(
            change,
            StatusChange::Closed(seconds(1)),
            "it begins small again"
        );
    }

    #[test]
    fn a_wait_that_is_asked_for_is_kept() {
        let (mut state, start) = (BrakeState::default(), Instant::now());
        let call = state.admit(start).expect("nothing is refused yet");
        let late = state.admit(start).expect("nor for another");
        let hour = Duration::from_hours(1);
        state.end(call, CallOutcome::AllRefused(Some(hour)), start);
        assert_eq!(state.status(start), Status::ClosedUntil(start + hour));
        state.end(late, CallOutcome::AllRefused(Some(hour * 2)), start);
        assert_eq!(state.status(start), Status::ClosedUntil(start + hour * 2));
    }

    #[test]
    fn answers_to_interactions_are_no_proof_that_it_is_over() {
        let (mut state, start) = (BrakeState::default(), Instant::now());
        let call = state.admit(start).expect("nothing is refused yet");
        state.end(call, REFUSED, start);
        let exempt = state.admit_exempt();
        state.end(exempt, CallOutcome::Answered, start + seconds(5));
        state.end(exempt, REFUSED, start);
        assert_eq!(state.status(start), Status::ClosedUntil(start + seconds(1)));
        // But they may be the first to find out that everything is refused.
        let mut state = BrakeState::default();
        let exempt = state.admit_exempt();
        assert_eq!(
            state.end(exempt, REFUSED, start),
            StatusChange::Closed(seconds(1))
        );
    }

    #[test]
    fn thousands_of_refusals_stop_everything_before_discord_does() {
        let (mut state, start) = (BrakeState::default(), Instant::now());
        let mut now = start;
        for number in 1..MAX_INVALID {
            now = start + INVALID_PERIOD / 2 + Duration::from_millis(number as u64);
            assert_eq!(state.count_invalid(now), None, "{number}");
        }
        // By then all but the newest are outside the period.
        let later = now + INVALID_PERIOD;
        assert_eq!(state.count_invalid(later), None);
        for _ in 2..MAX_INVALID {
            assert_eq!(state.count_invalid(later), None);
        }
        assert_eq!(state.status(later), Status::Open);
        assert_eq!(state.count_invalid(later), Some(INVALID_PERIOD));
        assert_eq!(
            state.status(later),
            Status::ClosedUntil(later + INVALID_PERIOD)
        );
    }
}
