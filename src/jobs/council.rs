//! Tells the council what it could not be told before.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::discord::council::Council;
use crate::environment::Environment;
use crate::job::Job;

/// Tells it again.
#[derive(Debug)]
pub struct TellCouncil(Arc<Council>);

impl Job for TellCouncil {
    const NAME: &'static str = "council";
    /// Discord limits how often old messages are rewritten, and does not say by how much.
    const CADENCE: Duration = Duration::from_mins(5);

    async fn run_once(&self, _: DateTime<Utc>) -> anyhow::Result<()> {
        self.0.tell_again().await
    }
}

impl TellCouncil {
    /// The job.
    pub fn new(env: &Environment) -> Self {
        Self(Arc::clone(&env.council))
    }
}
