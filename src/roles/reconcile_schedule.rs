//! When everyone's level roles are reconciled: at the set hour, at every new gateway session, on
//! request, and when the bot regains the ability to give a role. Only one reconcile runs at a
//! time; requests that arrive during it are answered by the next one. When a role changes, only
//! the levels are compared with the guild's roles at first: that costs three calls.
//!
//! Roles follow XP, and nobody may lose a role because some of their messages have not been read
//! yet. So a reconcile waits until the missed messages have been counted. If a moderator is
//! waiting for it, it runs after 30 seconds anyway, and takes no roles.

use std::pin::Pin;
use std::time::Duration;

use chrono::{DateTime, NaiveTime, Utc};
use chrono_tz::Tz;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::Roles;
use super::reconcile::{ReconcileProgress, Report, RoleReconciler};
use super::reconcile_requests::{Request, RequestReceiver, RequestSender, request_queue};
use crate::backoff::Backoff;
use crate::leveling::schedule::is_due;
use crate::store::reconcile_state;
use crate::xp::Inbox;

/// Poll interval for the daily reconcile.
const POLL_INTERVAL: Duration = Duration::from_secs(20);
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_mins(10));
/// Role changes come in bursts: moving a role sends an event for each role that it passes.
const DEBOUNCE: Duration = Duration::from_secs(1);
/// The longest that a moderator waits for missed messages to be counted. After that the
/// reconcile runs without taking roles, and runs again once they are counted.
const MODERATOR_WAIT_LIMIT: Duration = Duration::from_secs(30);
/// A wait for missed messages is logged once it has lasted this long.
const WAITING_LOG_DELAY: Duration = Duration::from_secs(5);
/// How often a running reconcile logs its progress.
const PROGRESS_LOG_INTERVAL: Duration = Duration::from_secs(30);
/// Longer than any catch-up.
const FOREVER: Duration = Duration::from_hours(24 * 365);

/// Requests reconciles. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReconcileSchedule {
    sender: RequestSender,
    progress: watch::Receiver<ReconcileProgress>,
}

/// The task that runs the reconciles. [`Self::run`] starts it.
#[derive(Debug)]
pub struct ReconcileTask {
    reconciler: RoleReconciler,
    inbox: Inbox,
    at: NaiveTime,
    zone: Tz,
    requests: RequestReceiver,
    progress: watch::Sender<ReconcileProgress>,
}

impl RoleReconciler {
    /// A task that reconciles everyone every day at `at` in `zone`, by Discord's time, and on
    /// request. It first waits until everything in `inbox` has been counted.
    pub fn at_every(self, at: NaiveTime, zone: Tz, inbox: Inbox) -> (Roles, ReconcileTask) {
        let (sender, requests) = request_queue();
        let (tells, progress) = watch::channel(ReconcileProgress::default());
        let roles = Roles {
            names: self.names.clone(),
            book: self.book.clone(),
            calls: self.calls.clone(),
            reconciler: self.clone(),
            schedule: ReconcileSchedule { sender, progress },
        };
        let task = ReconcileTask {
            reconciler: self,
            inbox,
            at,
            zone,
            requests,
            progress: tells,
        };
        (roles, task)
    }
}

impl ReconcileSchedule {
    /// Requests a reconcile of everyone. Returns at once.
    pub fn everyone_soon(&self) {
        self.sender.everyone_soon();
    }

    /// Requests a comparison of the levels with the guild's roles. Returns at once.
    pub fn levels_soon(&self) {
        self.sender.levels_soon();
    }

    /// Requests a reconcile of everyone and waits for it. Returns what it did, or why it could
    /// not run.
    pub async fn run_and_wait(&self) -> Result<Report, String> {
        let Some(told) = self.sender.everyone() else {
            return Err("too many people wait for one already".to_owned());
        };
        told.await
            .unwrap_or_else(|_| Err("the bot is shutting down".to_owned()))
    }

    /// Progress of the reconcile that is running.
    pub fn progress(&self) -> ReconcileProgress {
        *self.progress.borrow()
    }
}

/// What the task still has to do.
#[derive(Default)]
struct Agenda {
    /// When everyone was last reconciled, as far as is known.
    last: Option<DateTime<Utc>>,
    /// Whether the gateway has connected at least once, which the first request shows. Before
    /// that, nobody knows which messages were missed.
    is_connected: bool,
    /// The next comparison of the levels with the guild's roles.
    levels: Task,
    /// The next reconcile of everyone, which waits for missed messages to be counted.
    everyone: Task,
    /// Completes when the missed messages have been counted, with `false` if the engine ended
    /// first. `None` if nothing is waiting for that.
    catching_up: Option<Pin<Box<dyn Future<Output = bool> + Send>>>,
    /// When to log that the reconcile is waiting; `None` once logged.
    say_waiting: Option<Instant>,
    /// Moderators who are waiting for a reconcile.
    by_hand: Vec<oneshot::Sender<Result<Report, String>>>,
    /// When to stop waiting for missed messages on their behalf.
    by_hand_at: Option<Instant>,
}

/// Work that is due at some time.
#[derive(Debug, Default)]
struct Task {
    at: Option<Instant>,
    /// Consecutive failures.
    failures: u32,
}

impl Task {
    /// Schedules it for `at`, unless it is already due earlier.
    fn is_due_by(&mut self, at: Instant) {
        self.at = Some(self.at.map_or(at, |before| before.min(at)));
    }

    /// Records a failure and schedules a retry. Returns the delay.
    fn has_failed(&mut self) -> Duration {
        let pause = BACKOFF.delay(self.failures);
        self.failures += 1;
        self.at = Some(Instant::now() + pause);
        pause
    }
}

impl ReconcileTask {
    /// Runs until the future is dropped.
    pub async fn run(&mut self) {
        let mut agenda = Agenda::default();
        // Once the channel is closed nobody can request a reconcile, but the daily one still
        // runs.
        let mut is_closed = false;
        loop {
            let waits_for_everyone = agenda.catching_up.is_none();
            tokio::select! {
                // Requests come first, so that each waits for everything missed before it.
                biased;
                request = self.requests.recv(), if !is_closed => match request {
                    Some(request) => self.take(&mut agenda, request),
                    None => is_closed = true,
                },
                () = self.reconciler.env.members.missed() => self.take(&mut agenda, Request::Everyone(None)),
                () = until(agenda.levels.at) => self.look_at_levels(&mut agenda).await,
                () = until(agenda.everyone.at), if waits_for_everyone => {
                    self.wait_for_what_was_missed(&mut agenda);
                }
                is_counted = counted(&mut agenda.catching_up) => {
                    if is_counted {
                        self.reconcile_everyone(&mut agenda, true).await;
                    }
                }
                () = until(agenda.by_hand_at) => self.reconcile_everyone(&mut agenda, false).await,
                () = until(agenda.say_waiting) => {
                    agenda.say_waiting = None;
                    tracing::info!("roles are verified once everything that was missed is counted");
                }
                () = tokio::time::sleep(POLL_INTERVAL) => {
                    // A failed reconcile has its own retry time.
                    let may_be_due = agenda.is_connected && agenda.everyone.at.is_none();
                    if may_be_due && self.is_due(&mut agenda.last, self.reconciler.env.time.now()).await {
                        agenda.everyone.is_due_by(Instant::now());
                    }
                }
            }
        }
    }

    fn take(&self, agenda: &mut Agenda, request: Request) {
        let now = Instant::now();
        agenda.is_connected = true;
        match request {
            Request::Levels => agenda.levels.is_due_by(now + DEBOUNCE),
            Request::Everyone(waits) => {
                agenda.everyone.is_due_by(now);
                if let Some(waits) = waits {
                    agenda.by_hand.push(waits);
                    agenda.by_hand_at.get_or_insert(now + MODERATOR_WAIT_LIMIT);
                    self.progress.send_replace(ReconcileProgress::default());
                }
                self.wait_for_what_was_missed(agenda);
            }
        }
    }

    /// Delays the reconcile until everything now in the inbox, and everything missed so far,
    /// has been counted.
    fn wait_for_what_was_missed(&self, agenda: &mut Agenda) {
        let inbox = self.inbox.clone();
        if agenda.catching_up.is_none() {
            agenda.say_waiting = Some(Instant::now() + WAITING_LOG_DELAY);
        }
        agenda.catching_up = Some(Box::pin(async move { inbox.settled(FOREVER).await }));
    }

    /// Compares the levels with the guild's roles. If a role can be given again, schedules a
    /// reconcile of everyone.
    async fn look_at_levels(&self, agenda: &mut Agenda) {
        agenda.levels.at = None;
        match self
            .reconciler
            .put_levels_right(self.reconciler.env.time.now())
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
        if self.reconciler.book.needs_reconcile() {
            agenda.everyone.is_due_by(Instant::now());
        }
    }

    /// Reconciles everyone. If some missed messages are not counted yet (`caught_up` is false),
    /// nobody loses a role, and another reconcile follows once they are counted.
    async fn reconcile_everyone(&self, agenda: &mut Agenda, caught_up: bool) {
        let waiting = std::mem::take(&mut agenda.by_hand);
        agenda.by_hand_at = None;
        // A reconcile compares the levels first, so a separate comparison is not needed.
        agenda.levels = Task::default();
        if caught_up {
            agenda.everyone.at = None;
            (agenda.catching_up, agenda.say_waiting) = (None, None);
        }
        self.progress.send_replace(ReconcileProgress::default());
        let now = self.reconciler.env.time.now();
        let outcome = self.reconcile(now, caught_up).await;
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
                reconcile_state::last(&mut *self.reconciler.env.database.acquire().await?).await
            };
            match read.await {
                Ok(read) => *last = read,
                // Without the database a reconcile could not run either.
                Err(_) => return false,
            }
        }
        is_due(*last, self.at, self.zone, now)
    }

    async fn reconcile(&self, now: DateTime<Utc>, caught_up: bool) -> Result<Report, String> {
        let started = Instant::now();
        let reconciling = self.reconciler.run(now, caught_up, &self.progress);
        let told = async {
            loop {
                tokio::time::sleep(PROGRESS_LOG_INTERVAL).await;
                let ReconcileProgress {
                    members,
                    wrong,
                    done,
                } = *self.progress.borrow();
                tracing::info!(members, wrong, done, "roles are being verified");
            }
        };
        let outcome = tokio::select! {
            outcome = reconciling => outcome,
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

/// Waits until the missed messages have been counted; `false` if the engine ends first. Never
/// returns if `catching_up` is `None`.
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

/// Waits until `at`; never returns if it is `None`.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
