//! What a job is: work that comes round by itself.
//!
//! `jobs` lists every job there is and keeps them running.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Notify;

/// Work that comes round by itself. A deadline of its own is a row in the database, never a long
/// sleep, so that a restart loses none.
pub trait Job: Send + Sync + 'static {
    /// What the log calls it.
    const NAME: &'static str;
    /// How long it rests after each round.
    const CADENCE: Duration;

    /// What ends the rest early.
    fn wakes(&self) -> Option<Arc<Notify>> {
        None
    }

    /// Does everything that is due at `now`, which is Discord's time. Repeating it does no harm, and
    /// it may be dropped at any point.
    fn run_once(&self, now: DateTime<Utc>) -> impl Future<Output = anyhow::Result<()>> + Send;
}
