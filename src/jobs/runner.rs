//! Runs jobs, services and registers, each in its own task. Restarts a task that panics, unless the
//! bot is shutting down.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::discord::time::DiscordTime;
use crate::job::Job;

/// Pause before a task that panicked is restarted.
const RESTART_DELAY: Duration = Duration::from_secs(5);

/// Runs jobs and services until its cancellation token is cancelled.
#[derive(Debug)]
pub struct Runner {
    tracker: TaskTracker,
    cancel: CancellationToken,
    time: DiscordTime,
}

/// Runs registers. A register is a task that receives members' changes from event listeners and
/// writes them to the database. Registers end last, so that nothing they received is lost. Cheap to
/// clone; all clones share the same tasks.
#[derive(Clone, Debug, Default)]
pub struct Registers {
    tracker: TaskTracker,
    close: CancellationToken,
    give_up: CancellationToken,
}

impl Runner {
    /// `cancel` drops each task at its next await point. This loses nothing: the next start
    /// continues from what the database and Discord hold.
    pub fn new(tracker: TaskTracker, cancel: CancellationToken, time: DiscordTime) -> Self {
        Self {
            tracker,
            cancel,
            time,
        }
    }

    /// Runs a job now, then again after each cadence or when it is woken.
    pub fn job<J: Job>(&self, job: J) {
        let time = self.time.clone();
        self.service(J::NAME, job, move |job| repeat(job, time.clone()));
    }

    /// Runs a service: a future that is not expected to end.
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
    /// Lets the registers write what they received before this call, then ends them, by force after
    /// `limit`. Returns whether they finished in time.
    pub async fn finish(&self, limit: Duration) -> bool {
        self.close.cancel();
        self.tracker.close();
        let finished = timeout(limit, self.tracker.wait()).await.is_ok();
        self.give_up.cancel();
        self.tracker.wait().await;
        finished
    }

    /// Runs a register. `run` must return soon after its token is cancelled.
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

/// Runs a task until it ends or `cancel` is cancelled, and restarts it if it panics. Other tasks
/// and the XP engine continue meanwhile.
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
                // The panic hook has logged the panic itself.
                tracing::error!(task = name, "the task has crashed; starting it again");
                tokio::time::sleep(RESTART_DELAY).await;
            }
        };
        cancel.run_until_cancelled(running).await;
    });
}

/// Runs a job now, then again after each cadence or when it is woken. Logs the first of several
/// failures in a row, and the first success after them.
async fn repeat<J: Job>(job: Arc<J>, time: DiscordTime) {
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
