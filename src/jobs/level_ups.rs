//! Delivers the outbox: for each level-up, gives the roles that it earns and then posts the
//! level-up message.
//!
//! A row leaves the outbox when its message is posted or can never be posted. The nonce is derived
//! from the message that earned the level and its user, so posting a level-up twice shows it once.
//!
//! Level-ups that are more than an hour old (because the bot or Discord was unavailable) ping
//! nobody and are combined: one message per channel for as many as fit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt, stream};
use tokio::sync::Notify;

use crate::backoff::{Backoff, RetryPolicy};
use crate::bot::Bot;
use crate::discord::RestError;
use crate::discord::guild::members;
use crate::discord::messages::level_up_message;
use crate::discord::messages::level_up_message::LateLevelUp;
use crate::job::Job;
use crate::leveling::{
    ChannelId, LevelRoles, MessageId, RoleId, RolePlan, Standing, Timestamp, UserId,
};
use crate::store::outbox::{self, Age, LevelUp, PendingLevelUp};
use crate::store::{self, role_work, user_point};

/// The audit log's reason for a role that is given.
const REASON: &str = "a level was reached";
/// How many times a level-up message is delayed because its roles could not be given.
const ROLE_ATTEMPTS: u32 = 3;
/// Rows read from the outbox at a time.
const BATCH_SIZE: u16 = 50;
/// Level-ups older than this are combined into one message that pings nobody.
const LATE_AFTER: TimeDelta = TimeDelta::hours(1);
/// Late rows read at a time: about as many as one message holds. More would make new level-ups wait
/// while the roles of the late ones are given.
const LATE_BATCH_SIZE: u16 = 64;
/// Level-ups handled at the same time, so that a slow channel does not delay the others.
const CONCURRENCY: usize = 4;
/// About an hour of retries; a level-up message that comes later would only confuse.
const RETRIES: RetryPolicy = RetryPolicy {
    backoff: Backoff::new(Duration::from_secs(2), Duration::from_mins(5)),
    max_attempts: 20,
};
/// If a level-up is handled later than this after its message, its user may have left without the
/// bot receiving the event.
const MAX_LIVE_DELAY: TimeDelta = TimeDelta::minutes(1);

/// The job that delivers the outbox.
#[derive(Debug)]
pub struct LevelUps {
    bot: Bot,
    /// Notified after each commit that added level-ups to the outbox.
    outbox_filled: Arc<Notify>,
    /// Level-ups that are posted but whose rows could not be removed yet. Without this, they would
    /// be posted again if the database is unavailable for longer than Discord remembers a nonce.
    posted: Mutex<BTreeSet<(MessageId, UserId)>>,
}

/// Result of giving the roles of a level-up.
enum RolesGiven {
    /// The roles are given, except those that cannot be given; the name of the role that the
    /// message mentions.
    Given(Option<String>),
    /// The user has left the guild.
    Gone,
    /// Discord did not answer; a retry may work.
    Unanswered(RestError),
}

/// What to do with a level-up message after an attempt to give the roles.
enum Prepared {
    /// Post it, with the name of the role that it mentions.
    Post(Option<String>),
    /// Try to give the roles again first.
    Wait,
    /// Post nothing.
    Skip,
}

/// What happens to an outbox row after an attempt to post.
enum DeliveryOutcome {
    /// Remove it: the message is posted, or will never be.
    Done,
    /// Retry it later.
    Again,
}

impl Job for LevelUps {
    const NAME: &'static str = "level-ups";
    const CADENCE: Duration = Duration::from_secs(5);

    fn wakes(&self) -> Option<Arc<Notify>> {
        Some(Arc::clone(&self.outbox_filled))
    }

    async fn run_once(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        self.deliver_all(now).await
    }
}

impl LevelUps {
    /// `outbox_filled` wakes the job after each commit that added level-ups.
    pub fn new(bot: &Bot, outbox_filled: Arc<Notify>) -> Self {
        Self {
            bot: bot.clone(),
            outbox_filled,
            posted: Mutex::default(),
        }
    }

    /// Delivers all rows that are due. New level-ups come before late ones.
    async fn deliver_all(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let late = Timestamp::from_millis((now - LATE_AFTER).timestamp_millis());
        let late = late.and_then(MessageId::first_at);
        loop {
            let age = late.map_or(Age::Any, Age::From);
            let due = self.due(now, age, BATCH_SIZE).await?;
            if !due.is_empty() {
                let delivering = stream::iter(due).map(|pending| self.deliver(pending, now));
                // Finish all deliveries before returning an error: one that is dropped while its
                // post is in flight would be posted again.
                let outcomes: Vec<_> = delivering.buffer_unordered(CONCURRENCY).collect().await;
                outcomes.into_iter().collect::<anyhow::Result<()>>()?;
                continue;
            }
            let Some(late) = late else { return Ok(()) };
            let due = self.due(now, Age::Before(late), LATE_BATCH_SIZE).await?;
            if due.is_empty() {
                return Ok(());
            }
            self.deliver_late(due, now).await?;
        }
    }

    async fn due(
        &self,
        now: DateTime<Utc>,
        age: Age,
        limit: u16,
    ) -> store::Result<Vec<PendingLevelUp>> {
        outbox::due(
            &mut *self.bot.env.database.acquire().await?,
            now,
            age,
            limit,
        )
        .await
    }

    async fn deliver(&self, pending: PendingLevelUp, now: DateTime<Utc>) -> anyhow::Result<()> {
        let LevelUp { message, user, .. } = pending.level_up;
        let outcome = match self.prepare(&pending, now).await? {
            Prepared::Post(role) => self.post(&pending, role.as_deref()).await,
            Prepared::Wait => DeliveryOutcome::Again,
            Prepared::Skip => DeliveryOutcome::Done,
        };
        match outcome {
            DeliveryOutcome::Done => {
                self.posted().insert((message, user));
                outbox::remove(&mut *self.bot.env.database.acquire().await?, message, user).await?;
                self.posted().remove(&(message, user));
            }
            DeliveryOutcome::Again => {
                let next = RETRIES.next_attempt(pending.attempts, now);
                outbox::postpone(
                    &mut *self.bot.env.database.acquire().await?,
                    message,
                    user,
                    next,
                )
                .await?;
            }
        }
        Ok(())
    }

    /// Tries to give the roles, and decides what to do with the level-up message.
    async fn prepare(
        &self,
        pending: &PendingLevelUp,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Prepared> {
        let user = pending.level_up.user;
        let roles = match self.is_gone(pending, now).await {
            Ok(true) => RolesGiven::Gone,
            Ok(false) => self.give_roles(pending).await?,
            Err(error) => RolesGiven::Unanswered(error),
        };
        Ok(match roles {
            RolesGiven::Given(name) => Prepared::Post(name),
            RolesGiven::Gone => {
                tracing::debug!(%user, "no level-up message for someone who left");
                Prepared::Skip
            }
            RolesGiven::Unanswered(error) if pending.attempts < ROLE_ATTEMPTS => {
                if pending.attempts == 0 {
                    tracing::warn!(%error, %user, "a level's role could not be given; trying again");
                }
                Prepared::Wait
            }
            // After the last attempt: post the message now and leave the roles to `role_work`.
            RolesGiven::Unanswered(_) => {
                self.give_later(user).await?;
                Prepared::Post(None)
            }
        })
    }

    /// Gives the roles of late level-ups and posts them in combined messages.
    async fn deliver_late(
        &self,
        due: Vec<PendingLevelUp>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let preparing = stream::iter(due).map(|pending| async move {
            let role = self.prepare(&pending, now).await;
            (pending, role)
        });
        let prepared: Vec<_> = preparing.buffer_unordered(CONCURRENCY).collect().await;
        let (mut waiting, mut finished, mut to_post) = (Vec::new(), Vec::new(), Vec::new());
        for (pending, role) in prepared {
            let LevelUp { message, user, .. } = pending.level_up;
            match role? {
                Prepared::Wait => waiting.push(pending),
                Prepared::Skip => finished.push(pending),
                Prepared::Post(_) if self.needs_no_message(message, user) => finished.push(pending),
                Prepared::Post(role) => to_post.push((pending, role)),
            }
        }
        self.remove_all(&finished).await?;
        // All with the same delay, so that they can still share a message.
        self.postpone_all(&waiting, now).await?;
        for (channel, key, group) in self.grouped(to_post).await? {
            let (rows, levels): (Vec<_>, Vec<_>) = group.into_iter().unzip();
            match self.post_late(channel, key, &rows, &levels).await {
                DeliveryOutcome::Done => {
                    self.posted().extend(keys(&rows));
                    self.remove_all(&rows).await?;
                }
                DeliveryOutcome::Again => self.postpone_all(&rows, now).await?,
            }
        }
        Ok(())
    }

    /// Groups late level-ups into messages. The groups are stored before anything is posted, so
    /// that a retry posts the same groups with the same keys.
    async fn grouped(
        &self,
        late: Vec<(PendingLevelUp, Option<String>)>,
    ) -> anyhow::Result<Vec<Group>> {
        let mut session = self.bot.env.database.acquire().await?;
        let users: Vec<UserId> = late.iter().map(|(row, _)| row.level_up.user).collect();
        let profiles = user_point::profiles_of(&mut session, &users).await?;
        let mut together: BTreeMap<_, Vec<(PendingLevelUp, LateLevelUp)>> = BTreeMap::new();
        for (pending, role) in late {
            let LevelUp {
                user,
                channel,
                level,
                ..
            } = pending.level_up;
            let name = profiles
                .get(&user)
                .map(|profile| profile.shown_name().to_owned());
            let name = name.unwrap_or_else(|| format!("User {user}"));
            let group = together.entry((channel, pending.told_with)).or_default();
            group.push((pending, LateLevelUp { name, level, role }));
        }
        let mut groups = Vec::new();
        for ((channel, told_with), mut rows) in together {
            rows.sort_unstable_by_key(|(row, _)| (row.level_up.message, row.level_up.user));
            if let Some(key) = told_with {
                groups.push((channel, key, rows));
                continue;
            }
            while !rows.is_empty() {
                let levels: Vec<_> = rows.iter().map(|(_, level)| level.clone()).collect();
                let remaining =
                    rows.split_off(level_up_message::fitting(&levels).clamp(1, rows.len()));
                let key = rows[0].0.level_up.message;
                let pending: Vec<PendingLevelUp> = rows.iter().map(|(row, _)| *row).collect();
                outbox::tell_together(&mut session, &keys(&pending), key).await?;
                groups.push((channel, key, rows));
                rows = remaining;
            }
        }
        Ok(groups)
    }

    async fn post_late(
        &self,
        channel: ChannelId,
        key: MessageId,
        rows: &[PendingLevelUp],
        levels: &[LateLevelUp],
    ) -> DeliveryOutcome {
        let (count, attempts) = (rows.len(), attempts(rows));
        match level_up_message::late_level_ups(&self.bot.env.rest, channel, key, levels).await {
            Ok(()) => DeliveryOutcome::Done,
            Err(error @ RestError::Refused { .. }) => {
                tracing::warn!(%error, count, %channel, "the bot is not allowed to post late level-up messages; \
                                                         skipping them");
                DeliveryOutcome::Done
            }
            Err(error) if RETRIES.is_last(attempts) => {
                tracing::error!(%error, count, %channel, "late level-up messages could not be posted; skipping them");
                DeliveryOutcome::Done
            }
            Err(error) => {
                if attempts == 0 {
                    tracing::warn!(%error, count, %channel, "late level-up messages could not be posted; trying \
                                                             again");
                }
                DeliveryOutcome::Again
            }
        }
    }

    /// Whether no message must be posted: it is posted already, or the user is hidden or banned.
    fn needs_no_message(&self, message: MessageId, user: UserId) -> bool {
        self.posted().contains(&(message, user))
            || self.bot.env.xp.get(user).is_some_and(|user| user.hidden)
            || self.bot.env.xp.is_banned(user)
    }

    async fn remove_all(&self, rows: &[PendingLevelUp]) -> anyhow::Result<()> {
        if !rows.is_empty() {
            let keys = keys(rows);
            outbox::remove_all(&mut *self.bot.env.database.acquire().await?, &keys).await?;
            let mut posted = self.posted();
            for key in keys {
                posted.remove(&key);
            }
        }
        Ok(())
    }

    async fn postpone_all(
        &self,
        rows: &[PendingLevelUp],
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        if !rows.is_empty() {
            let next = RETRIES.next_attempt(attempts(rows), now);
            let mut session = self.bot.env.database.acquire().await?;
            outbox::postpone_all(&mut session, &keys(rows), next).await?;
        }
        Ok(())
    }

    /// Whether the user has left the guild. Asks Discord only if they may have: the last event
    /// about them was that they left, or the bot may have missed that event.
    async fn is_gone(
        &self,
        pending: &PendingLevelUp,
        now: DateTime<Utc>,
    ) -> Result<bool, RestError> {
        let LevelUp { message, user, .. } = pending.level_up;
        let is_late = message.sent_at().millis() < (now - MAX_LIVE_DELAY).timestamp_millis();
        if !is_late && !self.bot.env.members.may_be_gone(user) {
            return Ok(false);
        }
        match members::fetch(&self.bot.env.rest, self.bot.env.guild, user).await {
            Ok(Some(_)) => {
                self.bot.env.members.is_back(user);
                Ok(false)
            }
            Ok(None) => Ok(true),
            // A retry would not help, so post the message without knowing.
            Err(RestError::Refused { .. } | RestError::NotUnderstood(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Queues the user for `role_work`, which retries until their level roles are correct.
    async fn give_later(&self, user: UserId) -> anyhow::Result<()> {
        role_work::add_all(&mut *self.bot.env.database.acquire().await?, &[user]).await?;
        Ok(())
    }

    /// Makes one attempt to give the roles of a level-up. A role that Discord refuses is noted and
    /// does not delay the message.
    async fn give_roles(&self, pending: &PendingLevelUp) -> anyhow::Result<RolesGiven> {
        let LevelUp {
            message,
            user,
            level,
            from,
            ..
        } = pending.level_up;
        let level_roles = match self.bot.roles.book.accepted_level_roles().await {
            Ok(level_roles) => level_roles,
            Err(error) => return self.not_given(user, error).await,
        };
        // A role would let the member bypass the membership screening. They get their roles after
        // the event that they passed it.
        if self.bot.env.members.waits(user) {
            return Ok(RolesGiven::Given(None));
        }
        // A moderator may have taken XP away since.
        let standing = self.bot.env.xp.get(user).map(|user| user.standing);
        let deserved = level_roles.plan(&[], standing.as_ref()).add;
        let mut gained = level_roles.gained(from, level);
        gained.retain(|role| deserved.contains(role));
        let levels = self.bot.env.xp.levels();
        let newest = gained.last().copied();
        let name = newest.and_then(|role| levels.carrying(role));
        let name = name.and_then(|level| level.role_name.clone());
        if pending.roles_given || gained.is_empty() {
            return Ok(RolesGiven::Given(name));
        }
        let (plan, held) = match self.planned(&level_roles, user, standing, gained).await {
            Ok(Some(planned)) => planned,
            Ok(None) => return Ok(RolesGiven::Gone),
            Err(error) => return self.not_given(user, error).await,
        };
        let applied = match self.bot.roles.calls.apply(user, &plan, REASON).await {
            Ok(applied) => applied,
            Err(error) => return Ok(RolesGiven::Unanswered(error)),
        };
        if applied.gone {
            return Ok(RolesGiven::Gone);
        }
        self.bot.roles.note_refusals(&applied);
        // Where a role replaces the others, `role_work` gives the next lower one instead.
        let lacks_one = plan.remove_after_add && applied.given.len() < plan.add.len();
        if applied.refused > 0 || lacks_one {
            self.give_later(user).await?;
        } else {
            let mut session = self.bot.env.database.acquire().await?;
            outbox::roles_given(&mut session, message, user).await?;
        }
        let has_it =
            newest.is_some_and(|role| applied.given.contains(&role) || held.contains(&role));
        Ok(RolesGiven::Given(name.filter(|_| has_it)))
    }

    /// The changes that give the user the roles `gained`, and the roles that they hold already.
    /// Asks Discord what they hold only if the new role replaces others. `None` if the user has
    /// left the guild.
    async fn planned(
        &self,
        level_roles: &LevelRoles,
        user: UserId,
        standing: Option<Standing>,
        gained: Vec<RoleId>,
    ) -> Result<Option<(RolePlan, Vec<RoleId>)>, RestError> {
        if !level_roles.replace_each_other() {
            let plan = RolePlan {
                add: gained,
                ..RolePlan::default()
            };
            return Ok(Some((plan, Vec::new())));
        }
        let member = members::fetch(&self.bot.env.rest, self.bot.env.guild, user).await?;
        Ok(member.map(|member| {
            let plan = level_roles.promotion(&member.roles, standing.as_ref());
            (plan, member.roles)
        }))
    }

    /// What to do after a question to Discord has failed. If a retry would not help, the message
    /// is posted without waiting for the roles.
    async fn not_given(&self, user: UserId, error: RestError) -> anyhow::Result<RolesGiven> {
        Ok(match error {
            RestError::Refused { .. } | RestError::NotUnderstood(_) => {
                self.give_later(user).await?;
                RolesGiven::Given(None)
            }
            error => RolesGiven::Unanswered(error),
        })
    }

    async fn post(&self, pending: &PendingLevelUp, role: Option<&str>) -> DeliveryOutcome {
        let LevelUp {
            message,
            user,
            channel,
            level,
            ..
        } = pending.level_up;
        if self.needs_no_message(message, user) {
            tracing::debug!(%user, %level, "no level-up message is needed");
            return DeliveryOutcome::Done;
        }
        match level_up_message::level_up(&self.bot.env.rest, channel, message, user, level, role)
            .await
        {
            Ok(()) => DeliveryOutcome::Done,
            Err(error @ RestError::Refused { .. }) => {
                tracing::warn!(%error, %user, %level, %channel, "the bot is not allowed to post a level-up message; \
                                                                 skipping it");
                DeliveryOutcome::Done
            }
            Err(error) if RETRIES.is_last(pending.attempts) => {
                tracing::error!(%error, %user, %level, %channel, "a level-up message could not be posted for an \
                                                                  hour; skipping it");
                DeliveryOutcome::Done
            }
            Err(error) => {
                if pending.attempts == 0 {
                    tracing::warn!(%error, %user, %level, %channel, "a level-up message could not be posted; trying \
                                                                     again");
                }
                DeliveryOutcome::Again
            }
        }
    }

    fn posted(&self) -> std::sync::MutexGuard<'_, BTreeSet<(MessageId, UserId)>> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One combined message: its channel, its key (the id of the first row's message), and its rows.
type Group = (ChannelId, MessageId, Vec<(PendingLevelUp, LateLevelUp)>);

/// The primary keys of outbox rows.
fn keys(rows: &[PendingLevelUp]) -> Vec<(MessageId, UserId)> {
    let rows = rows.iter();
    rows.map(|row| (row.level_up.message, row.level_up.user))
        .collect()
}

/// The highest number of failed attempts among the rows.
fn attempts(rows: &[PendingLevelUp]) -> u32 {
    rows.iter().map(|row| row.attempts).max().unwrap_or(0)
}
