//! The job that reads Discord's list of bans when it is requested, and passes it to the register.
//!
//! A bot without the permission Ban Members cannot read the list. Then only events change the
//! stored bans.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;

use super::ban_register::BanObserver;
use crate::discord::RestError;
use crate::discord::guild::bans;
use crate::environment::Environment;
use crate::job::Job;

/// Retry delay while the bot may not read the list.
const FORBIDDEN_DELAY: TimeDelta = TimeDelta::hours(1);

/// The job that reads the list of bans.
#[derive(Debug)]
pub struct ReadBanList {
    env: Environment,
    bans: BanObserver,
    /// Whether the log says already that the bot may not read the list.
    said_forbidden: AtomicBool,
}

impl Job for ReadBanList {
    const NAME: &'static str = "ban-list";
    const CADENCE: Duration = Duration::from_secs(10);

    fn wakes(&self) -> Option<Arc<Notify>> {
        Some(self.bans.list_requested())
    }

    async fn run_once(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        if !self.bans.take_list_due(now) {
            return Ok(());
        }
        let events_before = self.bans.list_starts();
        match bans::list(&self.env.rest, self.env.guild).await {
            Ok(users) => {
                self.said_forbidden.store(false, Ordering::Relaxed);
                self.bans.send_list(events_before, users).await;
            }
            Err(RestError::Refused { status: 403, .. }) => {
                self.bans.list_from(now + FORBIDDEN_DELAY);
                if !self.said_forbidden.swap(true, Ordering::Relaxed) {
                    tracing::info!(
                        "the bot may not read the guild's list of bans (that takes the permission Ban Members), so it learns \
                         only of bans that happen while it is connected"
                    );
                }
            }
            Err(error) => {
                self.bans.list_from(now);
                return Err(error.into());
            }
        }
        Ok(())
    }
}

impl ReadBanList {
    /// Passes each list on to the register of `bans`.
    pub fn new(env: &Environment, bans: BanObserver) -> Self {
        Self {
            env: env.clone(),
            bans,
            said_forbidden: AtomicBool::new(false),
        }
    }
}
