//! Members whose roles are to be looked at: those who came back, and those who have passed
//! the screening.
//!
//! What the gateway tells is written down and worked off from there: a restart forgets
//! nobody, and whoever has left again, or was banned, is looked for and not found.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::Roles;
use super::level_role_cache::LevelRoleCache;
use super::reconcile_schedule::ReconcileSchedule;
use crate::backoff::backoff;
use crate::discord::member_roles::{Applied, MemberRoles};
use crate::discord::member_states::Seen;
use crate::discord::{RestError, guild};
use crate::environment::Environment;
use crate::job::Job;
use crate::leveling::UserId;
use crate::store::{self, role_work};

/// Members who may wait to be written down, while the database is away.
const MAX_WAITING: usize = 10_000;
/// Members taken at a time.
const PAGE: u16 = 50;
const RETRY_LEAST: Duration = Duration::from_secs(2);
const RETRY_MOST: Duration = Duration::from_mins(5);
/// About an hour; after that the next verification is soon enough.
const MOST_ATTEMPTS: u32 = 20;
const REASON: &str = "level roles come back with the member";

/// Both ends of the queue of members whose roles are to be looked at.
pub fn waiting_members() -> (mpsc::Sender<UserId>, mpsc::Receiver<UserId>) {
    mpsc::channel(MAX_WAITING)
}

/// Has members' roles looked at. Cheap to clone, and never waits.
#[derive(Clone, Debug)]
pub struct Members {
    news: mpsc::Sender<UserId>,
    verifications: ReconcileSchedule,
}

impl Members {
    /// A way to tell. What cannot be told is left to a verification, which looks at everyone.
    pub fn new(news: mpsc::Sender<UserId>, verifications: ReconcileSchedule) -> Self {
        Self {
            news,
            verifications,
        }
    }

    /// Has this member's roles looked at.
    pub fn look_at(&self, user: UserId) {
        // Nobody reads any more when the bot ends; the next session looks at everyone.
        if let Err(TrySendError::Full(_)) = self.news.try_send(user) {
            self.verifications.soon();
        }
    }
}

/// Writes down whose roles are to be looked at.
#[derive(Debug)]
pub struct Register {
    env: Environment,
    /// Notified when there is something to do.
    filled: Arc<Notify>,
}

impl Register {
    /// Notifies `filled` when there is something to do.
    pub fn new(env: &Environment, filled: Arc<Notify>) -> Self {
        Self {
            env: env.clone(),
            filled,
        }
    }

    /// Works until `close`, then writes down what was told before and ends. A database that is
    /// away is waited for.
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
            for attempt in 0.. {
                let Err(error) = self.write(user).await else {
                    break;
                };
                if attempt == 0 {
                    tracing::warn!(%error, "who came back could not be noted; trying again");
                }
                tokio::time::sleep(backoff(attempt, RETRY_LEAST, RETRY_MOST)).await;
            }
            self.filled.notify_one();
        }
    }

    async fn write(&self, user: UserId) -> store::Result<()> {
        let now = self.env.time.now();
        role_work::ask(&mut *self.env.database.acquire().await?, user, now).await
    }
}

/// Puts right whoever is written down.
#[derive(Debug)]
pub struct RoleSync {
    env: Environment,
    /// What level roles there are.
    book: LevelRoleCache,
    /// Gives and takes.
    calls: MemberRoles,
    /// Has levels looked at when a role turns out to be out of reach.
    verifications: ReconcileSchedule,
    /// Notified when somebody is written down.
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
    /// The job. `filled` is notified when somebody is written down.
    pub fn new(env: &Environment, roles: &Roles, filled: Arc<Notify>) -> Self {
        Self {
            env: env.clone(),
            book: roles.book.clone(),
            calls: roles.calls.clone(),
            verifications: roles.verifications.clone(),
            filled,
        }
    }

    /// Looks at everyone who is due at `now`.
    async fn put_all_right(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        loop {
            let due = role_work::due(&mut *self.env.database.acquire().await?, now, PAGE).await?;
            if due.is_empty() {
                return Ok(());
            }
            for (user, attempts, asked_at) in due {
                match self.put_right(user).await {
                    Ok(true) => {
                        role_work::drop(&mut *self.env.database.acquire().await?, user, asked_at)
                            .await?;
                    }
                    Err(RestError::Revoked) => return Err(RestError::Revoked.into()),
                    unfinished if attempts + 1 >= MOST_ATTEMPTS => {
                        let why = why(&unfinished);
                        tracing::error!(%user, why, "a member's level roles could not be given back for an hour; the next verification does it");
                        role_work::drop(&mut *self.env.database.acquire().await?, user, asked_at)
                            .await?;
                    }
                    unfinished => {
                        let away = matches!(&unfinished, Err(error) if error.is_away());
                        if attempts == 0 {
                            let why = why(&unfinished);
                            tracing::warn!(%user, why, "a member's level roles could not be given back; trying \
                                                        again");
                        }
                        let next = now + backoff(attempts, RETRY_LEAST, RETRY_MOST);
                        let mut session = self.env.database.acquire().await?;
                        role_work::postpone(&mut session, user, asked_at, next).await?;
                        if away {
                            // The others would only wait for as long.
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    /// Gives a member what they should hold; whether nothing is left to do.
    async fn put_right(&self, user: UserId) -> Result<bool, RestError> {
        let Some(member) = guild::member(&self.env.rest, self.env.guild, user).await? else {
            return Ok(true);
        };
        // Who has not passed the screening would pass it by getting a role; passing it is an
        // event of its own.
        if member.bot
            || self
                .env
                .members
                .observe(user, member.screening, Seen::There)
        {
            return Ok(true);
        }
        let standing = self.env.xp.get(user).map(|user| user.standing);
        let level_roles = self.book.level_roles().await?;
        let mut plan = level_roles.plan(&member.roles, standing.as_ref());
        // Whoever came, or earned for the first time, lacks roles; what they hold too much is
        // for the verification, which asks before it strips a guild.
        plan.remove.clear();
        plan.add.retain(|role| !self.book.is_refused(*role));
        let applied = self.calls.apply(user, &plan, REASON).await?;
        note_refusals(&applied, &self.book, &self.verifications);
        // What is out of reach is given to everyone once it can be.
        Ok(applied.refused == 0)
    }
}

fn why(unfinished: &Result<bool, RestError>) -> String {
    match unfinished {
        Ok(_) => "Discord refused some of the roles".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Remembers the roles that Discord has refused, so that they are asked for no more until
/// something changes, and has the council told of those that are news.
pub fn note_refusals(applied: &Applied, book: &LevelRoleCache, verifications: &ReconcileSchedule) {
    if applied.out_of_reach.is_empty() {
        return;
    }
    book.forget();
    let mut is_news = false;
    for (role, code) in &applied.out_of_reach {
        is_news |= book.refused(*role, *code);
    }
    if is_news {
        verifications.levels_soon();
    }
}
