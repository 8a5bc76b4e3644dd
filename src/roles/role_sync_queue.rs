//! The queue of members whose level roles have to be checked: members who came back, who have
//! passed the screening, or whose XP a moderator has raised.
//!
//! The queue is in the database, so a restart loses nobody. A member who has left again, or was
//! banned, is dropped when Discord does not find them.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::Roles;
use crate::backoff::{Backoff, RetryPolicy};
use crate::discord::RestError;
use crate::discord::guild::member_roles::Applied;
use crate::discord::guild::member_states::ShownBy;
use crate::discord::guild::members;
use crate::environment::Environment;
use crate::job::Job;
use crate::leveling::UserId;
use crate::store::{self, role_work};

/// Members read from the database at a time.
const PAGE: u16 = 50;
/// About an hour of retries for one member. After that the next reconcile corrects their roles.
const RETRIES: RetryPolicy = RetryPolicy {
    backoff: Backoff::new(Duration::from_secs(2), Duration::from_mins(5)),
    max_attempts: 20,
};
const REASON: &str = "level roles come back with the member";

/// Stores the members whose roles have to be checked in the database.
#[derive(Debug)]
pub struct RoleSyncRegister {
    env: Environment,
    /// Notified when a member has been stored.
    filled: Arc<Notify>,
}

impl RoleSyncRegister {
    /// Notifies `filled` when a member has been stored.
    pub fn new(env: &Environment, filled: Arc<Notify>) -> Self {
        Self {
            env: env.clone(),
            filled,
        }
    }

    /// Runs until `close`, then stores the members that were sent before and returns. Retries
    /// while the database is unavailable. Users who are not tracked are skipped.
    pub async fn run(&self, news: &mut mpsc::Receiver<UserId>, close: &CancellationToken) {
        loop {
            let told = tokio::select! {
                biased;
                () = close.cancelled(), if !news.is_closed() => {
                    news.close();
                    continue;
                }
                told = news.recv() => told,
            };
            let Some(user) = told else { return };
            if self
                .env
                .xp
                .get(user)
                .is_none_or(|user| !user.standing.is_tracked())
            {
                continue;
            }
            let mut attempts = RETRIES.backoff.attempts();
            while let Err(error) = self.write(user).await {
                if attempts.is_first() {
                    tracing::warn!(%error, "a returning member could not be queued; trying again");
                }
                attempts.wait().await;
            }
            self.filled.notify_one();
        }
    }

    async fn write(&self, user: UserId) -> store::Result<()> {
        let now = self.env.time.now();
        role_work::add(&mut *self.env.database.acquire().await?, user, now).await
    }
}

/// The job that gives the queued members their level roles.
#[derive(Debug)]
pub struct RoleSync {
    env: Environment,
    roles: Roles,
    /// Notified when a member has been stored.
    filled: Arc<Notify>,
}

impl Job for RoleSync {
    const NAME: &'static str = "role-sync";
    const CADENCE: Duration = Duration::from_secs(5);

    fn wakes(&self) -> Option<Arc<Notify>> {
        Some(Arc::clone(&self.filled))
    }

    async fn run_once(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        self.put_all_right(now).await
    }
}

impl RoleSync {
    /// The job. `filled` is notified when a member has been stored.
    pub fn new(env: &Environment, roles: &Roles, filled: Arc<Notify>) -> Self {
        Self {
            env: env.clone(),
            roles: roles.clone(),
            filled,
        }
    }

    /// Checks the roles of every queued member who is due at `now`.
    async fn put_all_right(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        loop {
            let due = role_work::due(&mut *self.env.database.acquire().await?, now, PAGE).await?;
            if due.is_empty() {
                return Ok(());
            }
            for (user, attempts, asked_at) in due {
                match self.put_right(user).await {
                    Ok(true) => {
                        role_work::remove(&mut *self.env.database.acquire().await?, user, asked_at)
                            .await?;
                    }
                    Err(RestError::Revoked) => return Err(RestError::Revoked.into()),
                    unfinished if RETRIES.is_last(attempts) => {
                        let why = why(&unfinished);
                        tracing::error!(%user, why, "a member's level roles could not be given back for an hour; the next reconcile does it");
                        role_work::remove(&mut *self.env.database.acquire().await?, user, asked_at)
                            .await?;
                    }
                    unfinished => {
                        let away = matches!(&unfinished, Err(error) if error.is_away());
                        if attempts == 0 {
                            let why = why(&unfinished);
                            tracing::warn!(%user, why, "a member's level roles could not be given back; trying \
                                                        again");
                        }
                        let next = RETRIES.next_attempt(attempts, now);
                        let mut session = self.env.database.acquire().await?;
                        role_work::postpone(&mut session, user, asked_at, next).await?;
                        if away {
                            // Discord does not answer, so the other members would fail too.
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    /// Gives a member the level roles that they lack, and takes those that these replace. Returns
    /// whether nothing is left to do.
    async fn put_right(&self, user: UserId) -> Result<bool, RestError> {
        let Some(member) = members::fetch(&self.env.rest, self.env.guild, user).await? else {
            return Ok(true);
        };
        // Discord treats a member who gets a role as having passed the screening, so a member who
        // has not passed it gets none. Passing it sends an event, which queues the member again.
        if member.bot
            || self
                .env
                .members
                .observe(user, member.screening, ShownBy::Other)
        {
            return Ok(true);
        }
        let standing = self.env.xp.get(user).map(|user| user.standing);
        let level_roles = self.roles.book.accepted_level_roles().await?;
        // A member who came back or earned XP for the first time only lacks roles. Surplus roles
        // are left to the reconcile, which asks a moderator before it takes many.
        let plan = level_roles.promotion(&member.roles, standing.as_ref());
        let applied = self.roles.calls.apply(user, &plan, REASON).await?;
        self.roles.note_refusals(&applied);
        // Stacked roles that are out of reach need no retry here: once the bot can give them,
        // everyone is reconciled. Where a role replaces the others, the retry gives the next lower.
        let needs_another =
            level_roles.replace_each_other() && applied.given.len() < plan.add.len();
        Ok(applied.gone || (applied.refused == 0 && !needs_another))
    }
}

fn why(unfinished: &Result<bool, RestError>) -> String {
    match unfinished {
        Ok(_) => "Discord refused some of the roles".to_owned(),
        Err(error) => error.to_string(),
    }
}

impl Roles {
    /// Remembers the roles that Discord has refused, so that the bot does not try them again until
    /// something changes or the refusal expires. If a refusal is new, requests a comparison of the
    /// levels, which tells the council.
    pub fn note_refusals(&self, applied: &Applied) {
        if applied.out_of_reach.is_empty() {
            return;
        }
        self.book.forget();
        let mut is_news = false;
        for (role, code) in &applied.out_of_reach {
            is_news |= self.book.refused(*role, *code);
        }
        if is_news {
            self.schedule.levels_soon();
        }
    }
}
