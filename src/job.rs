//! The trait of a job: work that the bot repeats at a fixed interval.
//!
//! `jobs` lists all jobs and keeps them running.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Notify;

/// Work that the bot repeats at a fixed interval. A job keeps its deadlines as rows in the database
/// and never sleeps until one, so that a restart loses none.
pub trait Job: Send + Sync + 'static {
    /// The job's name in the log.
    const NAME: &'static str;
    /// Pause between the end of one run and the start of the next.
    const CADENCE: Duration;

    /// A notification that starts the next run early.
    fn wakes(&self) -> Option<Arc<Notify>> {
        None
    }

    /// Does everything that is due at `now`, which is Discord's time. Must be safe to repeat and to
    /// drop at any await point. An error is logged, and the next run tries again.
    fn run_once(&self, now: DateTime<Utc>) -> impl Future<Output = anyhow::Result<()>> + Send;
}
