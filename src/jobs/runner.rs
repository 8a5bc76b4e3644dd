//! Keeps jobs, services and registers running: each in a task of its own that is begun again if
//! it panics, until all are ended together.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::discord::time::DiscordTime;
use crate::job::Job;

/// How long a task that panicked rests.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// Runs jobs and services.
#[derive(Debug)]
pub struct Runner {
    tracker: TaskTracker,
    cancel: CancellationToken,
    time: DiscordTime,
}

/// Runs what writes down what events have told of members: the last to end, so that nothing of it
/// is lost. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Registers {
    tracker: TaskTracker,
    close: CancellationToken,
    give_up: CancellationToken,
}

impl Runner {
    /// All of it ends at `cancel`, wherever it is, since all of it can be taken up again from what
    /// the database and Discord hold.
    pub fn new(tracker: TaskTracker, cancel: CancellationToken, time: DiscordTime) -> Self {
        Self {
            tracker,
            cancel,
            time,
        }
    }

    /// Has a job done now, then again after each cadence or when it is woken.
    pub fn job<J: Job>(&self, job: J) {
        let time = self.time.clone();
        self.service(J::NAME, job, move |job| come_round(job, time.clone()));
    }

    /// Has something run all the time.
    pub fn service<S, F>(
        &self,
        name: &'static str,
        service: S,
        run: impl Fn(Arc<S>) -> F + Send + Sync + 'static,
    ) where
        S: Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let service = Arc::new(service);
        keep_running(&self.tracker, &self.cancel, name, move || {
            run(Arc::clone(&service))
        });
    }
}

impl Registers {
    /// Has them write down what they were told before, for so long; whether they have.
    pub async fn finish(&self, patience: Duration) -> bool {
        self.close.cancel();
        self.tracker.close();
        let finished = timeout(patience, self.tracker.wait()).await.is_ok();
        self.give_up.cancel();
        self.tracker.wait().await;
        finished
    }

    /// Has a register run until it is closed.
    pub(super) fn spawn<R, F>(
        &self,
        name: &'static str,
        register: R,
        run: impl Fn(Arc<R>, CancellationToken) -> F + Send + Sync + 'static,
    ) where
        R: Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (register, close) = (Arc::new(register), self.close.clone());
        keep_running(&self.tracker, &self.give_up, name, move || {
            run(Arc::clone(&register), close.clone())
        });
    }
}

/// Runs a task until it ends or `cancel`. One that panics is begun again: the others, and XP, go
/// on meanwhile.
fn keep_running<F>(
    tracker: &TaskTracker,
    cancel: &CancellationToken,
    name: &'static str,
    task: impl Fn() -> F + Send + Sync + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let cancel = cancel.clone();
    tracker.spawn(async move {
        let running = async {
            while AssertUnwindSafe(task()).catch_unwind().await.is_err() {
                // The panic itself is in the log already.
                tracing::error!(task = name, "the task has crashed; starting it again");
                tokio::time::sleep(AFTER_PANIC).await;
            }
        };
        cancel.run_until_cancelled(running).await;
    });
}

/// Does a job now, then again after each cadence or when it is woken. A failure is said once, and
/// its end too.
async fn come_round<J: Job>(job: Arc<J>, time: DiscordTime) {
    let wakes = job.wakes().unwrap_or_default();
    let mut failing = false;
    loop {
        match job.run_once(time.now()).await {
            Ok(()) if failing => {
                failing = false;
                tracing::info!(task = J::NAME, "the task works again");
            }
            Err(error) if !failing => {
                failing = true;
                tracing::error!(
                    task = J::NAME,
                    error = format!("{error:#}"),
                    "the task failed; trying again"
                );
            }
            _ => {}
        }
        tokio::select! {
            () = tokio::time::sleep(J::CADENCE) => {}
            () = wakes.notified() => {}
        }
    }
}
