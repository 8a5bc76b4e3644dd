//! The one brake on all calls: while Discord refuses everything, nobody knocks but one call
//! at a time, after pauses that double.
//!
//! Two answers mean that everything is refused: a global rate limit, and a 429 that is not
//! Discord's own, as Cloudflare sends it to an address that it has banned. Such a ban lasts
//! about an hour, and calls prolong it. Discord bans an address for 10,000 answers of 401, 403
//! or 429 in ten minutes, so these are counted and calls stop long before. Answers to
//! interactions are exempt: global limits do not apply to them, and a person waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The first pause, and the longest: in an hour's ban Discord is asked some fifteen times.
pub(super) const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(10);
/// Refusals within [`INVALID_PERIOD`] that stop all calls: half of what Discord bans for.
const INVALID_MAX: usize = 5_000;
const INVALID_PERIOD: Duration = Duration::from_mins(10);

/// The brake. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Brake(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified when a call may be made that could not be made before.
    released: Notify,
}

/// What a call has shown of the brake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Discord answered, whatever it said: calls go through.
    Answered,
    /// Everything is refused, for at least so long where that is said.
    AllRefused(Option<Duration>),
    /// Nothing: no answer came, or only trouble at Discord.
    Nothing,
}

/// Permission to make one call. Dropped without [`Admitted::end`], the call has shown nothing.
#[derive(Debug)]
pub(super) struct Admitted {
    brake: Brake,
    ticket: Option<Ticket>,
}

impl Brake {
    /// Waits until calls may be made; how long that will last yet, if it is beyond `deadline`.
    pub async fn wait(&self, deadline: Instant) -> Result<(), Duration> {
        loop {
            let released = self.0.released.notified();
            let mut released = std::pin::pin!(released);
            released.as_mut().enable();
            let now = Instant::now();
            let until = match self.state().look(now) {
                Look::Open => return Ok(()),
                Look::ClosedUntil(until) if until > deadline => return Err(until - now),
                Look::ClosedUntil(until) => until,
                Look::Tried if deadline <= now => return Err(PAUSE_MIN),
                Look::Tried => deadline,
            };
            tokio::select! {
                () = released => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// Admits a call now; `None` while the brake is on. After the pause one call is admitted to
    /// try, and all others wait for its outcome.
    pub fn admit(&self) -> Option<Admitted> {
        let ticket = self.state().admit(Instant::now())?;
        Some(self.admitted(ticket))
    }

    /// Lets an answer to an interaction be made, whatever the brake says.
    pub fn admit_exempt(&self) -> Admitted {
        self.admitted(self.state().admit_exempt())
    }

    /// Counts a refusal that Discord counts against the address.
    pub fn count_invalid(&self) {
        if let Some(pause) = self.state().count_invalid(Instant::now()) {
            tracing::error!(
                refusals = INVALID_MAX,
                pause_s = pause.as_secs(),
                "Discord has refused thousands of calls within ten minutes, and bans addresses for \
                 that; nothing is called for a while. The lines before this one say what it refused"
            );
            // Those who wait see for themselves how long it takes now.
            self.0.released.notify_waiters();
        }
    }

    fn admitted(&self, ticket: Ticket) -> Admitted {
        Admitted {
            brake: self.clone(),
            ticket: Some(ticket),
        }
    }

    fn end(&self, ticket: Ticket, seen: Seen) {
        let change = self.state().end(ticket, seen, Instant::now());
        match change {
            Change::None => {}
            Change::Released => self.0.released.notify_waiters(),
            Change::Closed(pause) => {
                tracing::warn!(
                    pause_ms = pause.as_millis(),
                    "Discord refuses all calls: a global rate limit, or a ban of this machine's \
                     address at Cloudflare, which lasts about an hour. One call at a time finds out \
                     when it is over; pauses double up to ten minutes"
                );
            }
            Change::Opened => {
                tracing::info!("Discord takes calls again");
                self.0.released.notify_waiters();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted {
    /// Says what the call has shown.
    pub fn end(mut self, seen: Seen) {
        if let Some(ticket) = self.ticket.take() {
            self.brake.end(ticket, seen);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.brake.end(ticket, Seen::Nothing);
        }
    }
}

/// The brake's state. Pure: times are arguments.
#[derive(Debug, Default)]
struct State {
    /// While everything is refused.
    pause: Option<Pause>,
    /// How many pauses there were, so that calls which began before one do not double it.
    pauses: u64,
    /// When Discord refused a call, the oldest first, at most [`INVALID_MAX`] of them.
    invalid: VecDeque<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    /// Refusals in a row.
    refusals: u32,
    /// Whether a call is on its way that finds out whether it is over.
    is_tried: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticket {
    /// After how many pauses the call began; `None` if it proves nothing about them.
    pauses: Option<u64>,
    /// Whether it finds out whether the pause is over.
    tries: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Open,
    ClosedUntil(Instant),
    /// The pause is over, and somebody finds out whether the refusals are.
    Tried,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    /// The first refusal; the pause.
    Closed(Duration),
    Opened,
    /// Another call may find out.
    Released,
}

impl State {
    fn look(&self, now: Instant) -> Look {
        match self.pause {
            Some(pause) if now < pause.until => Look::ClosedUntil(pause.until),
            Some(pause) if pause.is_tried => Look::Tried,
            _ => Look::Open,
        }
    }

    fn admit(&mut self, now: Instant) -> Option<Ticket> {
        if self.look(now) != Look::Open {
            return None;
        }
        if let Some(pause) = &mut self.pause {
            pause.is_tried = true;
        }
        Some(Ticket {
            pauses: Some(self.pauses),
            tries: self.pause.is_some(),
        })
    }

    fn admit_exempt(&self) -> Ticket {
        Ticket {
            pauses: Some(self.pauses).filter(|_| self.pause.is_none()),
            tries: false,
        }
    }

    fn end(&mut self, ticket: Ticket, seen: Seen, now: Instant) -> Change {
        match (seen, &mut self.pause) {
            (Seen::AllRefused(wait), before) => {
                let wait = wait.unwrap_or_default();
                // It was under way when another call met the same refusal.
                if let Some(pause) = before
                    && ticket.pauses != Some(self.pauses)
                {
                    pause.until = pause.until.max(now + wait);
                    return Change::None;
                }
                let refusals = before.map_or(0, |pause| pause.refusals);
                let pause = pause_after(refusals).max(wait);
                self.pause = Some(Pause {
                    until: now + pause,
                    refusals: refusals + 1,
                    is_tried: false,
                });
                self.pauses += 1;
                if refusals == 0 {
                    Change::Closed(pause)
                } else {
                    // Those who wait see for themselves how long it takes now.
                    Change::Released
                }
            }
            (Seen::Answered, Some(_)) if ticket.tries && ticket.pauses == Some(self.pauses) => {
                self.pause = None;
                Change::Opened
            }
            (Seen::Nothing, Some(pause)) if ticket.tries && ticket.pauses == Some(self.pauses) => {
                pause.is_tried = false;
                Change::Released
            }
            _ => Change::None,
        }
    }

    /// The pause, if this refusal is one too many.
    fn count_invalid(&mut self, now: Instant) -> Option<Duration> {
        while self
            .invalid
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= INVALID_PERIOD)
        {
            self.invalid.pop_front();
        }
        self.invalid.push_back(now);
        if self.invalid.len() < INVALID_MAX {
            return None;
        }
        // What was refused before is over with; it is counted from here.
        self.invalid.clear();
        let until = now + INVALID_PERIOD;
        let before = self.pause;
        self.pause = Some(Pause {
            until: before.map_or(until, |pause| pause.until.max(until)),
            refusals: before.map_or(0, |pause| pause.refusals) + 1,
            is_tried: false,
        });
        self.pauses += 1;
        Some(INVALID_PERIOD)
    }
}

/// The pause after so many refusals in a row before this one.
fn pause_after(refusals: u32) -> Duration {
    PAUSE_MIN
        .saturating_mul(2_u32.saturating_pow(refusals))
        .min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Seen = Seen::AllRefused(None);

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
        // A ban lasts an hour: how often somebody knocks in that time.
        let mut passed = Duration::ZERO;
        let knocks = (0..).take_while(|refusals| {
            passed += pause_after(*refusals);
            passed < Duration::from_hours(1)
        });
        assert_eq!(knocks.count(), 14);
    }

    #[test]
    fn one_call_at_a_time_finds_out_whether_the_refusals_are_over() {
        let (mut state, start) = (State::default(), Instant::now());
        let first = state.admit(start).expect("nothing is refused yet");
        let under_way = state.admit(start).expect("nor for another");
        assert_eq!(state.end(first, REFUSED, start), Change::Closed(seconds(1)));
        // The second call meets the same refusal: no reason to wait for longer.
        assert_eq!(state.end(under_way, REFUSED, start), Change::None);
        assert_eq!(state.look(start), Look::ClosedUntil(start + seconds(1)));
        assert_eq!(state.admit(start), None);

        let later = start + seconds(1);
        let tries = state.admit(later).expect("the pause is over");
        assert_eq!(state.admit(later), None, "one finds out");
        assert_eq!(state.end(tries, Seen::Nothing, later), Change::Released);
        let tries = state.admit(later).expect("the next one");
        state.end(tries, REFUSED, later);
        assert_eq!(state.look(later), Look::ClosedUntil(later + seconds(2)));

        let later = later + seconds(2);
        let tries = state.admit(later).expect("the pause is over");
        // One that began before all this is no proof.
        assert_eq!(state.end(under_way, Seen::Answered, later), Change::None);
        assert_eq!(state.end(tries, Seen::Answered, later), Change::Opened);
        assert_eq!(state.look(later), Look::Open);
        let again = state.admit(later).expect("it is open");
        let change = state.end(again, REFUSED, later);
        assert_eq!(change, Change::Closed(seconds(1)), "it begins small again");
    }

    #[test]
    fn a_wait_that_is_asked_for_is_kept() {
        let (mut state, start) = (State::default(), Instant::now());
        let call = state.admit(start).expect("nothing is refused yet");
        let late = state.admit(start).expect("nor for another");
        let hour = Duration::from_hours(1);
        state.end(call, Seen::AllRefused(Some(hour)), start);
        assert_eq!(state.look(start), Look::ClosedUntil(start + hour));
        state.end(late, Seen::AllRefused(Some(hour * 2)), start);
        assert_eq!(state.look(start), Look::ClosedUntil(start + hour * 2));
    }

    #[test]
    fn answers_to_interactions_are_no_proof_that_it_is_over() {
        let (mut state, start) = (State::default(), Instant::now());
        let call = state.admit(start).expect("nothing is refused yet");
        state.end(call, REFUSED, start);
        let exempt = state.admit_exempt();
        state.end(exempt, Seen::Answered, start + seconds(5));
        state.end(exempt, REFUSED, start);
        assert_eq!(state.look(start), Look::ClosedUntil(start + seconds(1)));
        // But they may be the first to see that everything is refused.
        let mut state = State::default();
        let exempt = state.admit_exempt();
        assert_eq!(
            state.end(exempt, REFUSED, start),
            Change::Closed(seconds(1))
        );
    }

    #[test]
    fn thousands_of_refusals_stop_everything_before_discord_does() {
        let (mut state, start) = (State::default(), Instant::now());
        let mut now = start;
        for number in 1..INVALID_MAX {
            now = start + INVALID_PERIOD / 2 + Duration::from_millis(number as u64);
            assert_eq!(state.count_invalid(now), None, "{number}");
        }
        // All but the newest are too old by then.
        let later = now + INVALID_PERIOD;
        assert_eq!(state.count_invalid(later), None);
        for _ in 2..INVALID_MAX {
            assert_eq!(state.count_invalid(later), None);
        }
        assert_eq!(state.look(later), Look::Open);
        assert_eq!(state.count_invalid(later), Some(INVALID_PERIOD));
        assert_eq!(state.look(later), Look::ClosedUntil(later + INVALID_PERIOD));
    }
}
