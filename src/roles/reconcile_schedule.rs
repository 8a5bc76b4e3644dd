//! When roles are verified: at the hour that is set, at every new gateway session, when
//! somebody asks, and when a role can be given again that could not. One at a time; who asks
//! meanwhile is answered by the next one. When something about roles changes, the levels alone
//! are compared with the guild's roles first, which costs three calls.
//!
//! Roles follow XP, and must not be taken for messages that have yet to be read: a verification
//! waits until what was missed has been counted, unless a moderator waits for it.

use std::pin::Pin;
use std::time::Duration;

use chrono::{DateTime, NaiveTime, Utc};
use chrono_tz::Tz;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::Roles;
use super::asks::{Asker, Asks, Wanted, asks};
use super::reconcile::{Progress, Report, RoleReconciler};
use crate::backoff::backoff;
use crate::leveling::schedule::is_due;
use crate::store::reconcile_state;
use crate::xp::Inbox;

/// How often the clock is looked at.
const LOOK: Duration = Duration::from_secs(20);
const RETRY_LEAST: Duration = Duration::from_secs(5);
const RETRY_MOST: Duration = Duration::from_mins(10);
/// Changes of roles come in bursts: one that moves is an event for each that it passes.
const DEBOUNCE: Duration = Duration::from_secs(1);
/// How long a moderator waits at most for what was missed. Then nobody loses a role, and
/// everyone is verified again when it has been counted.
const BY_HAND: Duration = Duration::from_secs(30);
/// After so long a wait for what was missed it is said in the log, once.
const SAY_WAITING: Duration = Duration::from_secs(5);
/// How often a long one is heard of in the log.
const SAY_AGAIN: Duration = Duration::from_secs(30);
/// Longer than any catch-up.
const FOREVER: Duration = Duration::from_hours(24 * 365);

/// Asks for verifications. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReconcileSchedule {
    asker: Asker,
    progress: watch::Receiver<Progress>,
}

/// The task, not yet running.
#[derive(Debug)]
pub struct ReconcileTask {
    verify: RoleReconciler,
    inbox: Inbox,
    at: NaiveTime,
    zone: Tz,
    wanted: Asks,
    progress: watch::Sender<Progress>,
}

impl RoleReconciler {
    /// A task that verifies every day at `at` in `zone`, by Discord's time, and whenever it is
    /// told to. What stands in `inbox` is waited for.
    pub fn at_every(self, at: NaiveTime, zone: Tz, inbox: Inbox) -> (Roles, ReconcileTask) {
        let (asker, wanted) = asks();
        let (tells, progress) = watch::channel(Progress::default());
        let roles = Roles {
            names: self.names.clone(),
            book: self.book.clone(),
            calls: self.calls.clone(),
            verifications: ReconcileSchedule { asker, progress },
        };
        let task = ReconcileTask {
            verify: self,
            inbox,
            at,
            zone,
            wanted,
            progress: tells,
        };
        (roles, task)
    }
}

impl ReconcileSchedule {
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

/// What the task has before it.
#[derive(Default)]
struct Agenda {
    /// When everyone was last verified, as far as is known.
    last: Option<DateTime<Utc>>,
    /// Whether anything was asked for: before the first session nobody knows what was missed.
    is_connected: bool,
    /// Levels are to be compared with the guild's roles.
    levels: Task,
    /// Everyone is to be verified, as soon as what was missed has been counted.
    everyone: Task,
    /// Ends when what had been missed is counted; `None` while nothing waits for it.
    catching_up: Option<Pin<Box<dyn Future<Output = bool> + Send>>>,
    /// When the wait for that is worth a word; `None` once it was said.
    say_waiting: Option<Instant>,
    /// Who waits for a verification, and until when they wait for what was missed.
    by_hand: Vec<oneshot::Sender<Result<Report, String>>>,
    by_hand_at: Option<Instant>,
}

/// Something that is to be done at some time.
#[derive(Debug, Default)]
struct Task {
    at: Option<Instant>,
    /// How often it has failed in a row.
    failures: u32,
}

impl Task {
    /// It is to be done then, if not before.
    fn is_due_by(&mut self, at: Instant) {
        self.at = Some(self.at.map_or(at, |before| before.min(at)));
    }

    /// It has failed, and is to be done again; how soon.
    fn has_failed(&mut self) -> Duration {
        let pause = backoff(self.failures, RETRY_LEAST, RETRY_MOST);
        self.failures += 1;
        self.at = Some(Instant::now() + pause);
        pause
    }
}

impl ReconcileTask {
    /// Works until it is given up.
    pub async fn run(&mut self) {
        let mut agenda = Agenda::default();
        // Nobody can ask any more once it is closed; the hour still comes.
        let mut is_closed = false;
        loop {
            let waits_for_everyone = agenda.catching_up.is_none();
            tokio::select! {
                // Whatever is asked for comes first: what was missed before it is waited for.
                biased;
                wanted = self.wanted.recv(), if !is_closed => match wanted {
                    Some(wanted) => self.take(&mut agenda, wanted),
                    None => is_closed = true,
                },
                () = self.verify.env.members.missed() => self.take(&mut agenda, Wanted::Everyone(None)),
                () = until(agenda.levels.at) => self.look_at_levels(&mut agenda).await,
                () = until(agenda.everyone.at), if waits_for_everyone => {
                    self.wait_for_what_was_missed(&mut agenda);
                }
                is_counted = counted(&mut agenda.catching_up) => {
                    if is_counted {
                        self.verify_everyone(&mut agenda, true).await;
                    }
                }
                () = until(agenda.by_hand_at) => self.verify_everyone(&mut agenda, false).await,
                () = until(agenda.say_waiting) => {
                    agenda.say_waiting = None;
                    tracing::info!("roles are verified once everything that was missed is counted");
                }
                () = tokio::time::sleep(LOOK) => {
                    // One that has failed is tried again at its own time.
                    let may_be_due = agenda.is_connected && agenda.everyone.at.is_none();
                    if may_be_due && self.is_due(&mut agenda.last, self.verify.env.time.now()).await {
                        agenda.everyone.is_due_by(Instant::now());
                    }
                }
            }
        }
    }

    fn take(&self, agenda: &mut Agenda, wanted: Wanted) {
        let now = Instant::now();
        agenda.is_connected = true;
        match wanted {
            Wanted::Levels => agenda.levels.is_due_by(now + DEBOUNCE),
            Wanted::Everyone(waits) => {
                agenda.everyone.is_due_by(now);
                if let Some(waits) = waits {
                    agenda.by_hand.push(waits);
                    agenda.by_hand_at.get_or_insert(now + BY_HAND);
                    self.progress.send_replace(Progress::default());
                }
                self.wait_for_what_was_missed(agenda);
            }
        }
    }

    /// What stands in the inbox now, and what is missed by now, is counted before everyone is
    /// verified.
    fn wait_for_what_was_missed(&self, agenda: &mut Agenda) {
        let inbox = self.inbox.clone();
        if agenda.catching_up.is_none() {
            agenda.say_waiting = Some(Instant::now() + SAY_WAITING);
        }
        agenda.catching_up = Some(Box::pin(async move { inbox.settled(FOREVER).await }));
    }

    /// Compares levels with the guild's roles. What can be given again is given to everyone.
    async fn look_at_levels(&self, agenda: &mut Agenda) {
        agenda.levels.at = None;
        match self
            .verify
            .put_levels_right(self.verify.env.time.now())
            .await
        {
            Ok(levels) if levels.is_told => agenda.levels.failures = 0,
            Ok(_) => {
                agenda.levels.has_failed();
            }
            Err(error) => {
                let is_news = agenda.levels.failures == 0;
                let pause = agenda.levels.has_failed();
                if is_news {
                    tracing::error!(
                        error = format!("{error:#}"),
                        again_in_s = pause.as_secs(),
                        "the level roles could not be compared with the guild's roles; trying again"
                    );
                }
                return;
            }
        }
        if self.verify.book.is_unverified() {
            agenda.everyone.is_due_by(Instant::now());
        }
    }

    /// Verifies everyone. Unless all that was missed has been counted nobody loses a role, and
    /// it is done again after that.
    async fn verify_everyone(&self, agenda: &mut Agenda, caught_up: bool) {
        let waiting = std::mem::take(&mut agenda.by_hand);
        agenda.by_hand_at = None;
        // It begins with the levels.
        agenda.levels = Task::default();
        if caught_up {
            agenda.everyone.at = None;
            (agenda.catching_up, agenda.say_waiting) = (None, None);
        }
        self.progress.send_replace(Progress::default());
        let now = self.verify.env.time.now();
        let outcome = self.verify(now, caught_up).await;
        match &outcome {
            Ok(report) => {
                (agenda.last, agenda.everyone.failures) = (Some(now), 0);
                if !caught_up {
                    agenda.everyone.is_due_by(Instant::now());
                }
                if report.untold {
                    agenda.levels.has_failed();
                }
            }
            Err(error) => {
                agenda.catching_up = None;
                let pause = agenda.everyone.has_failed();
                tracing::error!(
                    error,
                    again_in_s = pause.as_secs(),
                    "roles could not be verified; trying again"
                );
            }
        }
        for waits in waiting {
            let _ = waits.send(outcome.clone());
        }
    }

    async fn is_due(&self, last: &mut Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
        if last.is_none() {
            let read = async {
                reconcile_state::last(&mut *self.verify.env.database.acquire().await?).await
            };
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

/// Waits until what was missed is counted, and whether it is: the engine may end before. For
/// ever if nobody waits for it.
async fn counted(catching_up: &mut Option<Pin<Box<dyn Future<Output = bool> + Send>>>) -> bool {
    let Some(counting) = catching_up else {
        return std::future::pending().await;
    };
    let is_counted = counting.await;
    if is_counted {
        *catching_up = None;
    } else {
        *catching_up = Some(Box::pin(std::future::pending()));
    }
    is_counted
}

/// Waits until then; for ever if there is no such time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
