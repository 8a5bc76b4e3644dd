//! The job that repeats reports to the council that failed, because Discord or the database had
//! trouble.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::discord::channels::council::Council;
use crate::environment::Environment;
use crate::job::Job;

/// Repeats failed reports to the council.
#[derive(Debug)]
pub struct TellCouncil(Arc<Council>);

impl Job for TellCouncil {
    const NAME: &'static str = "council";
    /// Long, because Discord limits how often old messages may be edited and does not publish the
    /// limit.
    const CADENCE: Duration = Duration::from_mins(5);

    async fn run_once(&self, _: DateTime<Utc>) -> anyhow::Result<()> {
        self.0.tell_again().await
    }
}

impl TellCouncil {
    /// Uses the environment's council.
    pub fn new(env: &Environment) -> Self {
        Self(Arc::clone(&env.council))
    }
}
