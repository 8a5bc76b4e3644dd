//! When the gateway hangs, and what to do about it. Pure: it is shown the gateway once
//! a second and answers; it never touches it.
//!
//! It counts looks and knows no clock: while the whole process is stopped it does not
//! look either, so that nothing seems to have hung when it goes on.

use std::time::Duration;

/// How many looks its thread may do nothing but one thing.
const STUCK: u32 = 5;
/// How many looks heartbeats may stay unanswered: Discord's interval is 41 s, and serenity
/// itself gives up after two. More means that nobody is left who would.
const SILENT: u32 = 150;
/// How many looks one attempt to connect may take: serenity has no limit of its own, and
/// a server that does not answer at all is given up by the system after 127 s.
pub const CONNECTING: u32 = 300;
/// How far apart new starts grow while they do not help: each is a session of the
/// thousand that Discord allows a day.
const APART_MOST: u32 = 300;
/// After so many looks without a new start, the last one has helped.
const HEALTHY: u32 = 900;

/// What there is to see of the gateway.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sight {
    /// Goes up as long as its thread gets round.
    pub ticks: u64,
    /// Whether there is a shard, or serenity is about to start one.
    pub shard: bool,
    /// How fast its last heartbeat was answered: different each time.
    pub latency: Option<Duration>,
    /// How many attempts to connect have failed.
    pub failures: u64,
    /// Whether we ourselves keep it from connecting.
    pub held_back: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// Give the shard a new start: its thread reads a dead connection in circles, or
    /// nobody is left who would notice that nothing comes.
    Restart,
    /// Make the client anew: it waits for a connection that never comes about, and
    /// cannot be told to stop.
    Abandon,
}

/// What it has seen.
#[derive(Debug)]
pub struct Watchdog {
    patience: u32,
    last: Sight,
    /// For how many looks each of these has lasted.
    stuck: u32,
    silent: u32,
    connecting: u32,
    /// New starts that have not helped yet, and the looks since the last one.
    starts: u32,
    since_start: u32,
}

impl Watchdog {
    /// One that has seen nothing yet, and gives an attempt to connect this many looks.
    pub fn new(connecting: u32) -> Self {
        Self {
            patience: connecting,
            last: Sight::default(),
            stuck: 0,
            silent: 0,
            connecting: 0,
            starts: 0,
            since_start: 0,
        }
    }

    /// A look, one of each second.
    pub fn look(&mut self, now: Sight) -> Verdict {
        let last = std::mem::replace(&mut self.last, now);
        let lasts = |count: u32, lasts: bool| if lasts { count + 1 } else { 0 };
        self.stuck = lasts(self.stuck, now.ticks == last.ticks);
        self.silent = lasts(
            self.silent,
            now.shard && last.shard && now.latency == last.latency && !now.held_back,
        );
        self.connecting = lasts(
            self.connecting,
            !now.shard && now.failures == last.failures && !now.held_back,
        );
        self.since_start = self.since_start.saturating_add(1);
        if self.since_start > HEALTHY {
            self.starts = 0;
        }
        if self.connecting >= self.patience {
            return Verdict::Abandon;
        }
        // Without a shard there is nothing to start anew: serenity is at it.
        let hangs = now.shard && (self.stuck >= STUCK || self.silent >= SILENT);
        if !hangs || self.since_start < self.apart() {
            return Verdict::Fine;
        }
        (self.stuck, self.silent) = (0, 0);
        (self.starts, self.since_start) = (self.starts + 1, 0);
        Verdict::Restart
    }

    /// How many looks the next new start has to wait since the last one.
    fn apart(&self) -> u32 {
        match self.starts {
            0 => 0,
            starts => 2_u32.saturating_pow(starts - 1).min(APART_MOST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gateway to look at, second by second.
    struct Scene {
        watchdog: Watchdog,
        sight: Sight,
    }

    impl Scene {
        /// Connected, and seen to be so.
        fn connected() -> Self {
            let mut scene = Self {
                watchdog: Watchdog::new(CONNECTING),
                sight: Sight::default(),
            };
            scene.beat();
            scene.fine_for(10);
            scene
        }

        fn beat(&mut self) {
            self.sight.shard = true;
            self.sight.latency = Some(Duration::from_millis(self.sight.ticks));
        }

        fn look(&mut self) -> Verdict {
            self.watchdog.look(self.sight)
        }

        /// A second in which its thread gets round.
        fn second(&mut self) -> Verdict {
            self.sight.ticks += 2;
            self.look()
        }

        fn fine_for(&mut self, seconds: u32) {
            for second in 0..seconds {
                assert_eq!(self.second(), Verdict::Fine, "second {second}");
            }
        }

        /// How many looks pass until there is something to do, and what.
        fn until(&mut self, mut look: impl FnMut(&mut Self) -> Verdict) -> (u32, Verdict) {
            for looks in 1..10_000 {
                let verdict = look(self);
                if verdict != Verdict::Fine {
                    return (looks, verdict);
                }
            }
            panic!("there is never anything to do");
        }
    }

    #[test]
    fn a_gateway_whose_heartbeats_are_answered_is_left_alone() {
        let mut scene = Scene::connected();
        for _ in 0..100 {
            scene.fine_for(41);
            scene.beat();
        }
    }

    #[test]
    fn a_thread_that_does_not_get_round_is_stuck() {
        let mut scene = Scene::connected();
        assert_eq!(scene.until(Scene::look), (STUCK, Verdict::Restart));
    }

    #[test]
    fn a_shard_that_ended_unnoticed_is_silent() {
        let mut scene = Scene::connected();
        let (looks, verdict) = scene.until(Scene::second);
        assert_eq!(verdict, Verdict::Restart);
        assert!((SILENT - 10..=SILENT).contains(&looks), "{looks}");
    }

    #[test]
    fn a_process_that_was_stopped_for_long_has_not_hung() {
        let mut scene = Scene::connected();
        for _ in 0..10 {
            // However long it was, the watch may wake before the thread has got round.
            assert_eq!(scene.look(), Verdict::Fine);
            scene.fine_for(1);
        }
    }

    #[test]
    fn new_starts_that_do_not_help_grow_rarer_and_are_forgiven_when_they_did() {
        let mut scene = Scene::connected();
        let apart: Vec<u32> = (0..12).map(|_| scene.until(Scene::look).0).collect();
        assert_eq!(apart, [5, 5, 5, 5, 8, 16, 32, 64, 128, 256, 300, 300]);
        for _ in 0..25 {
            scene.beat();
            scene.fine_for(40);
        }
        assert_eq!(scene.until(Scene::look), (STUCK, Verdict::Restart));
    }

    #[test]
    fn connecting_takes_its_time_but_not_for_ever() {
        let mut scene = Scene::connected();
        scene.sight.shard = false;
        assert_eq!(scene.until(Scene::second), (CONNECTING, Verdict::Abandon));
    }

    #[test]
    fn attempts_that_fail_are_no_hang_however_long_it_takes() {
        let mut scene = Scene::connected();
        scene.sight.shard = false;
        for _ in 0..100 {
            scene.fine_for(130);
            scene.sight.failures += 1;
        }
    }

    #[test]
    fn whoever_is_held_back_does_not_hang() {
        for shard in [false, true] {
            let mut scene = Scene::connected();
            scene.sight.shard = shard;
            scene.sight.held_back = true;
            scene.fine_for(10 * CONNECTING);
        }
    }
}
