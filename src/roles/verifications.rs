//! When roles are verified: at the hour that is set, at every new gateway session, and when
//! somebody asks. One at a time; who asks meanwhile is answered by the next one. When a human
//! changes a level's role, the levels alone are put right, which costs three calls.

use std::time::Duration;

use chrono::{DateTime, NaiveTime, Utc};
use chrono_tz::Tz;
use tokio::sync::watch;
use tokio::time::Instant;

use super::asks::{Asker, Asks, Wanted, asks};
use super::verify::{Progress, Report, VerifyRoles};
use crate::backoff::backoff;
use crate::discord::time::DiscordTime;
use crate::leveling::schedule::is_due;
use crate::store::verification;
use crate::xp::Inbox;

/// How often the clock is looked at.
const LOOK: Duration = Duration::from_secs(20);
/// How soon it is made again where that was in vain.
const AGAIN: Duration = Duration::from_mins(1);
const RETRY_LEAST: Duration = Duration::from_secs(5);
const RETRY_MOST: Duration = Duration::from_mins(10);
/// How long a verification waits for what was missed: roles follow XP, and must not be taken
/// for messages that have yet to be read. After that nobody loses any until it is made again.
const CATCH_UP: Duration = Duration::from_mins(2);
/// How often a long one is heard of in the log.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// Asks for verifications. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Verifications {
    asker: Asker,
    progress: watch::Receiver<Progress>,
}

/// The task, not yet running.
#[derive(Debug)]
pub struct VerificationsTask {
    verify: VerifyRoles,
    inbox: Inbox,
    time: DiscordTime,
    at: NaiveTime,
    zone: Tz,
    wanted: Asks,
    progress: watch::Sender<Progress>,
}

impl Verifications {
    /// A task that verifies every day at `at` in `zone`, by Discord's time, and the way to ask
    /// it. What stands in `inbox` is waited for.
    pub fn new(
        verify: VerifyRoles,
        inbox: Inbox,
        time: DiscordTime,
        at: NaiveTime,
        zone: Tz,
    ) -> (Self, VerificationsTask) {
        let (asker, wanted) = asks();
        let (tells, progress) = watch::channel(Progress::default());
        let task = VerificationsTask {
            verify,
            inbox,
            time,
            at,
            zone,
            wanted,
            progress: tells,
        };
        (Self { asker, progress }, task)
    }

    /// Has one made soon. Never waits.
    pub fn soon(&self) {
        self.asker.everyone_soon();
    }

    /// Has what levels carry compared with the guild's roles soon. Never waits.
    pub fn levels_soon(&self) {
        self.asker.levels_soon();
    }

    /// Has one made, and waits for it; what it did, or why it did nothing.
    pub async fn made(&self) -> Result<Report, String> {
        let Some(told) = self.asker.everyone() else {
            return Err("too many people wait for one already".to_owned());
        };
        told.await
            .unwrap_or_else(|_| Err("the bot is shutting down".to_owned()))
    }

    /// How far the one that is being made is.
    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }
}

impl VerificationsTask {
    /// Works until it is given up.
    pub async fn run(&mut self) {
        let mut last = None;
        let mut failures = 0;
        let mut retry_at: Option<Instant> = None;
        // Before the first session nobody knows what was missed.
        let mut connected = false;
        loop {
            let mut asked = Vec::new();
            let tick = tokio::time::sleep(LOOK);
            tokio::select! {
                wanted = self.wanted.recv() => match wanted {
                    Some(wanted) => asked.push(wanted),
                    // Nobody can ask any more; the hour still comes.
                    None => tokio::time::sleep(LOOK).await,
                },
                () = until(retry_at) => {}
                () = tick => {
                    // One that has failed is tried again at its own time.
                    let waits = !connected || retry_at.is_some();
                    if waits || !self.is_due(&mut last, self.time.now()).await {
                        continue;
                    }
                }
            }
            while let Some(wanted) = self.wanted.try_recv() {
                asked.push(wanted);
            }
            connected |= !asked.is_empty();
            if !asked.is_empty() && asked.iter().all(|asked| matches!(asked, Wanted::Levels)) {
                if let Err(error) = self.verify.put_levels_right().await {
                    let error = format!("{error:#}");
                    tracing::error!(
                        error,
                        "what levels carry could not be compared with the guild's roles; it is at the next verification"
                    );
                }
                continue;
            }
            self.progress.send_replace(Progress::default());
            let caught_up = self.inbox.settled(CATCH_UP).await;
            while let Some(wanted) = self.wanted.try_recv() {
                asked.push(wanted);
            }
            let now = self.time.now();
            let outcome = self.verify(now, caught_up).await;
            match &outcome {
                Ok(_) => {
                    (last, failures) = (Some(now), 0);
                    // Who should lose a role was left alone.
                    retry_at = (!caught_up).then(|| Instant::now() + AGAIN);
                }
                Err(error) => {
                    let pause = backoff(failures, RETRY_LEAST, RETRY_MOST);
                    failures += 1;
                    retry_at = Some(Instant::now() + pause);
                    tracing::error!(
                        error,
                        again_in_s = pause.as_secs(),
                        "roles could not be verified; it is tried again"
                    );
                }
            }
            for wanted in asked {
                if let Wanted::Everyone(Some(waits)) = wanted {
                    let _ = waits.send(outcome.clone());
                }
            }
        }
    }

    async fn is_due(&self, last: &mut Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
        if last.is_none() {
            let read =
                async { verification::last(&mut *self.verify.database.acquire().await?).await };
            match read.await {
                Ok(read) => *last = read,
                // A database that does not tell would not let roles be verified either.
                Err(_) => return false,
            }
        }
        is_due(*last, self.at, self.zone, now)
    }

    async fn verify(&self, now: DateTime<Utc>, caught_up: bool) -> Result<Report, String> {
        let started = Instant::now();
        let verifying = self.verify.run(now, caught_up, &self.progress);
        let told = async {
            loop {
                tokio::time::sleep(SAY_AGAIN).await;
                let Progress {
                    members,
                    wrong,
                    done,
                } = *self.progress.borrow();
                tracing::info!(members, wrong, done, "roles are being verified");
            }
        };
        let outcome = tokio::select! {
            outcome = verifying => outcome,
            () = told => unreachable!("it is told for ever"),
        };
        let report = outcome.map_err(|error| format!("{error:#}"))?;
        tracing::info!(
            members = report.members,
            wrong = report.wrong,
            given = report.given,
            taken = report.taken,
            left = report.left,
            withheld = report.withheld,
            in_s = started.elapsed().as_secs(),
            "roles are verified"
        );
        Ok(report)
    }
}

/// Waits until then; for ever if there is no such time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
