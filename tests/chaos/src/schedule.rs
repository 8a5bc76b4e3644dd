//! What goes wrong in a seed, and when: decided here, done in `play`.

use std::fmt;
use std::time::Duration;

use discord_sim::{Fault as RestFault, Method, Scope};
use fastrand::Rng;
use fault_lab::Stop;

use crate::day::MESSAGES;

/// Where messages are read and posted.
pub const MESSAGES_OF: &str = "/channels/{}/messages";
/// What reading the history takes.
const READS: [&str; 3] = [
    MESSAGES_OF,
    "/guilds/{}/channels",
    "/guilds/{}/threads/active",
];

const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;

/// Everything that goes wrong, in the order of the day.
#[derive(Debug)]
pub struct Schedule {
    /// What happens before which message.
    pub troubles: Vec<Trouble>,
    /// Whether Discord limits rates.
    pub rate_limits: bool,
    /// Between 25 messages and the next.
    pub pause: Duration,
}

/// One thing that goes wrong.
#[derive(Debug)]
pub struct Trouble {
    /// After so many messages.
    pub after: usize,
    /// So many are written while it lasts.
    pub meanwhile: usize,
    /// Whether the bot is waited for, or the day goes on at once.
    pub patient: bool,
    /// What it is.
    pub what: What,
}

/// What can go wrong.
#[derive(Clone, Debug)]
pub enum What {
    /// A power cut, then a new start.
    Kill,
    /// A new start.
    Restart,
    /// A second bot stands by when the first ends in this way.
    Handover(End),
    /// The connection breaks.
    Drop,
    /// Op 7.
    Reconnect,
    /// Op 9.
    Invalid { resumable: bool },
    /// The connection breaks, and the session cannot be resumed.
    RefusedResume,
    /// A close frame with this code, or without any.
    Close(Option<u16>),
    /// Postgres cannot be reached.
    ShutGate(Duration),
    /// Commits arrive and their answers do not.
    LoseCommits(Duration),
    /// Postgres is stopped in this way, and started again.
    StopServer(Stop, Duration),
    /// Whatever Postgres says comes late, for some time.
    SlowServer(Duration, Duration),
    /// Postgres ends all sessions.
    EndSessions,
    /// The session is lost, and these reads fail.
    FailingReads(Vec<(u32, &'static str, RestFault)>),
    /// The session is lost, and the next one too while the history is read, slowly.
    LostTwice(Duration),
    /// Level-up lines meet this.
    FailingPosts(u32, RestFault),
    /// So many events come twice.
    Duplicates(u32),
    /// So many pairs of events come in the wrong order.
    Swaps(u32),
    /// Events come late.
    Hold(Duration),
    /// The bot's wall clock is so many seconds wrong from now on.
    SetClock(i64),
}

/// How the first of two bots ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// As by a power cut.
    Killed,
    /// As it should.
    Asked,
    /// It hangs, and comes to when the other has taken over.
    Stopped,
}

impl Schedule {
    /// The schedule of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut after: Vec<usize> = (0..rng.usize(3..7))
            .map(|_| rng.usize(100..MESSAGES - 100))
            .collect();
        after.sort_unstable();
        let troubles = after.into_iter().map(|after| trouble(&mut rng, after));
        Self {
            troubles: troubles.collect(),
            rate_limits: seed.is_multiple_of(5),
            pause: Duration::from_millis(rng.u64(1..6)),
        }
    }

    /// Whether the bot needs a clock that can be set.
    pub fn sets_the_clock(&self) -> bool {
        let sets = |trouble: &Trouble| matches!(trouble.what, What::SetClock(_));
        self.troubles.iter().any(sets)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = if self.rate_limits { "on" } else { "off" };
        write!(to, "rate limits {limits}, pause {:?}", self.pause)?;
        for trouble in &self.troubles {
            let then = if trouble.patient { "wait" } else { "go on" };
            write!(
                to,
                "\nafter {:>5} messages: {:?}, {} messages meanwhile, then {then}",
                trouble.after, trouble.what, trouble.meanwhile
            )?;
        }
        Ok(())
    }
}

fn trouble(rng: &mut Rng, after: usize) -> Trouble {
    Trouble {
        after,
        meanwhile: rng.usize(..400),
        patient: rng.u8(..4) > 0,
        what: what(rng),
    }
}

fn what(rng: &mut Rng) -> What {
    match rng.u8(..100) {
        0..=11 => What::Kill,
        12..=19 => What::Restart,
        20..=28 => What::Handover(match rng.u8(..3) {
            0 => End::Killed,
            1 => End::Asked,
            _ => End::Stopped,
        }),
        29..=35 => What::Drop,
        36..=40 => What::Reconnect,
        41..=49 => What::Invalid {
            resumable: rng.u8(..3) == 0,
        },
        50..=52 => What::RefusedResume,
        // Without a code it takes serenity ten seconds: rare.
        53 => What::Close(None),
        54..=57 => What::Close(Some(rng.choice([4_000, 4_007, 4_009]).unwrap_or(4_000))),
        58..=60 => What::ShutGate(moment(rng)),
        61..=65 => What::LoseCommits(moment(rng)),
        66..=70 => What::StopServer(
            rng.choice([Stop::Fast, Stop::Immediate, Stop::Killed])
                .unwrap_or(Stop::Fast),
            moment(rng),
        ),
        71..=72 => What::SlowServer(Duration::from_millis(rng.u64(5..300)), moment(rng)),
        73..=75 => What::EndSessions,
        76..=80 => What::FailingReads(reads(rng)),
        81..=84 => What::LostTwice(Duration::from_millis(rng.u64(50..600))),
        85..=87 => {
            let fault = rest_fault(rng);
            What::FailingPosts(some(rng, &fault, 5), fault)
        }
        88..=90 => What::Duplicates(rng.u32(1..200)),
        91..=93 => What::Swaps(rng.u32(1..20)),
        94..=96 => What::SetClock(
            rng.choice([-DAY_S, -HOUR_S, HOUR_S, DAY_S])
                .unwrap_or(DAY_S),
        ),
        _ => What::Hold(Duration::from_millis(rng.u64(20..500))),
    }
}

fn moment(rng: &mut Rng) -> Duration {
    Duration::from_millis(rng.u64(50..2_500))
}

fn reads(rng: &mut Rng) -> Vec<(u32, &'static str, RestFault)> {
    let kinds = rng.usize(1..4);
    let one = |rng: &mut Rng| {
        let path = rng.choice(READS).unwrap_or(MESSAGES_OF);
        let fault = rest_fault(rng);
        (some(rng, &fault, 3), path, fault)
    };
    (0..kinds).map(|_| one(rng)).collect()
}

/// How many calls meet a fault; the bot waits ten seconds for one that is not answered.
fn some(rng: &mut Rng, fault: &RestFault, most: u32) -> u32 {
    match fault {
        RestFault::Hang => 1,
        _ => rng.u32(1..=most),
    }
}

fn rest_fault(rng: &mut Rng) -> RestFault {
    match rng.u8(..7) {
        0 => RestFault::Status(rng.choice([500, 502, 503]).unwrap_or(500)),
        1 => RestFault::Html(502),
        2 => RestFault::RateLimited {
            retry_after: Duration::from_millis(rng.u64(100..800)),
            scope: rng
                .choice([Scope::User, Scope::Global, Scope::Shared])
                .unwrap_or(Scope::User),
            headers: true,
        },
        3 => RestFault::Delay(Duration::from_millis(rng.u64(100..1_500))),
        4 => RestFault::Reset,
        5 => RestFault::Hang,
        _ => RestFault::ResetAfter,
    }
}

impl What {
    /// The REST calls that are to fail, as the simulator is told.
    pub fn rest_faults(&self) -> Vec<(u32, Method, &'static str, RestFault)> {
        match self {
            Self::FailingReads(reads) => reads
                .iter()
                .map(|(count, path, fault)| (*count, Method::GET, *path, fault.clone()))
                .collect(),
            Self::LostTwice(time) => {
                vec![(12, Method::GET, MESSAGES_OF, RestFault::Delay(*time))]
            }
            Self::FailingPosts(count, fault) => {
                vec![(*count, Method::POST, MESSAGES_OF, fault.clone())]
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_always_the_same_schedule() {
        for seed in 0..100 {
            let schedule = Schedule::of(seed);
            assert_eq!(schedule.to_string(), Schedule::of(seed).to_string());
            assert!(schedule.troubles.is_sorted_by_key(|trouble| trouble.after));
        }
    }
}
