//! When roles are verified: at the hour that is set, at every new gateway session, and when
//! somebody asks. One at a time; who asks meanwhile is answered by the next one.

use std::time::Duration;

use chrono::{DateTime, NaiveTime, Utc};
use chrono_tz::Tz;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::verify::{Progress, Report, VerifyRoles};
use crate::backoff::backoff;
use crate::leveling::schedule::is_due;
use crate::store::verification;

/// How often the clock is looked at.
const LOOK: Duration = Duration::from_secs(20);
const RETRY_LEAST: Duration = Duration::from_secs(5);
const RETRY_MOST: Duration = Duration::from_mins(10);
/// How often a long one is heard of in the log.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// Asks for verifications. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Verifications {
    wanted: mpsc::UnboundedSender<Wanted>,
    progress: watch::Receiver<Progress>,
}

/// Who wants one; told what came of it, or why nothing did.
type Wanted = Option<oneshot::Sender<Result<Report, String>>>;

/// The task, not yet running.
#[derive(Debug)]
pub struct VerificationsTask {
    verify: VerifyRoles,
    at: NaiveTime,
    zone: Tz,
    wanted: mpsc::UnboundedReceiver<Wanted>,
    progress: watch::Sender<Progress>,
}

impl Verifications {
    /// A task that verifies every day at `at` in `zone`, and the way to ask it.
    pub fn new(verify: VerifyRoles, at: NaiveTime, zone: Tz) -> (Self, VerificationsTask) {
        let (asks, wanted) = mpsc::unbounded_channel();
        let (tells, progress) = watch::channel(Progress::default());
        let task = VerificationsTask {
            verify,
            at,
            zone,
            wanted,
            progress: tells,
        };
        (
            Self {
                wanted: asks,
                progress,
            },
            task,
        )
    }

    /// Has one made soon. Never waits.
    pub fn soon(&self) {
        // A task that has ended verifies at the next start.
        let _ = self.wanted.send(None);
    }

    /// Has one made, and waits for it; what it did, or why it did nothing.
    pub async fn made(&self) -> Result<Report, String> {
        let (tell, told) = oneshot::channel();
        let _ = self.wanted.send(Some(tell));
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
        loop {
            let mut waiting = Vec::new();
            let tick = tokio::time::sleep(LOOK);
            tokio::select! {
                wanted = self.wanted.recv() => match wanted {
                    Some(wanted) => waiting.extend(wanted),
                    // Nobody can ask any more; the hour still comes.
                    None => tokio::time::sleep(LOOK).await,
                },
                () = until(retry_at) => {}
                () = tick => {
                    if !self.is_due(&mut last, Utc::now()).await {
                        continue;
                    }
                }
            }
            while let Ok(wanted) = self.wanted.try_recv() {
                waiting.extend(wanted);
            }
            let now = Utc::now();
            let outcome = self.verify(now).await;
            match &outcome {
                Ok(_) => (last, failures, retry_at) = (Some(now), 0, None),
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
            for waits in waiting {
                let _ = waits.send(outcome.clone());
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

    async fn verify(&self, now: DateTime<Utc>) -> Result<Report, String> {
        let started = Instant::now();
        let verifying = self.verify.run(now, &self.progress);
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
