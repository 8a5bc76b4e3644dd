//! Delivers the outbox: for each level-up the roles that it brings, then one line.
//!
//! A row leaves the outbox when its line is posted, or when it never can be. The
//! message's id is the nonce, so that a line posted twice is one line.
//!
//! Levels that were reached long ago (the bot was away, or Discord was) ping nobody and are
//! told together, one message in each channel for as many as fit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt, stream};
use tokio::sync::Notify;

use crate::backoff::backoff;
use crate::discord::level_up_message::LateLevelUp;
use crate::discord::member_roles::MemberRoles;
use crate::discord::{RestError, guild, level_up_message};
use crate::environment::Environment;
use crate::job::Job;
use crate::leveling::{ChannelId, MessageId, RolePlan, Timestamp, UserId};
use crate::roles::{RoleBook, Roles, Verifications, note_refusals};
use crate::store::outbox::{self, Age, LevelUp, Pending};
use crate::store::{self, role_work, user_point};

const REASON: &str = "a level was reached";
/// How often a line waits for its role.
const ROLE_ATTEMPTS: u32 = 3;
/// Rows taken at a time.
const PAGE: u16 = 50;
/// A level that was reached longer ago is told without a ping, together with others.
const LATE: TimeDelta = TimeDelta::hours(1);
/// Late rows taken at a time: about what one message holds, since each may need a role first,
/// and what happens meanwhile waits.
const LATE_PAGE: u16 = 64;
/// Lines posted side by side: a channel that does not answer holds up no other.
const AT_ONCE: usize = 4;
const RETRY_LEAST: Duration = Duration::from_secs(2);
const RETRY_MOST: Duration = Duration::from_mins(5);
/// About an hour; a line that comes later than that would puzzle more than please.
const MOST_ATTEMPTS: u32 = 20;
/// Whoever wrote a message that was found later than this may have left unheard since.
const HEARD_LATE: TimeDelta = TimeDelta::minutes(1);

/// Delivers the outbox.
#[derive(Debug)]
pub struct LevelUps {
    env: Environment,
    /// What level roles there are.
    book: RoleBook,
    /// Gives them.
    calls: MemberRoles,
    /// Has levels looked at when a role turns out to be out of reach.
    verifications: Verifications,
    /// Notified after each commit that brought a level.
    outbox_filled: Arc<Notify>,
    /// Lines that are posted although their rows could not be removed yet: a database
    /// that is away for longer than Discord remembers a nonce must not repeat them.
    posted: Mutex<BTreeSet<(MessageId, UserId)>>,
}

/// What became of the roles of a level-up.
enum RolesGiven {
    /// They are given, as far as they can be; the name of the one that the line speaks of.
    Given(Option<String>),
    /// The user is no member any more.
    Gone,
    /// They may be given later.
    Unanswered(RestError),
}

/// What follows for the line when the roles have been seen to.
enum BeforeLine {
    /// It is told, with the name of the role that it speaks of.
    Tell(Option<String>),
    /// It waits for the roles.
    Wait,
    /// There is none.
    Drop,
}

/// What becomes of a row.
enum Outcome {
    /// The line is posted, or must not be.
    Done,
    /// It may work later.
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
    /// The job. `outbox_filled` is notified after each commit that brought a level.
    pub fn new(env: &Environment, roles: &Roles, outbox_filled: Arc<Notify>) -> Self {
        Self {
            env: env.clone(),
            book: roles.book.clone(),
            calls: roles.calls.clone(),
            verifications: roles.verifications.clone(),
            outbox_filled,
            posted: Mutex::default(),
        }
    }

    /// What has just happened comes first.
    async fn deliver_all(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let late = Timestamp::from_millis((now - LATE).timestamp_millis());
        let late = late.and_then(MessageId::first_at);
        loop {
            let age = late.map_or(Age::Any, Age::From);
            let due = self.due(now, age, PAGE).await?;
            if !due.is_empty() {
                let delivering = stream::iter(due).map(|pending| self.deliver(pending, now));
                // All of them to their end: one that fails must not cut off another whose line
                // is on its way, and which would be posted again.
                let outcomes: Vec<_> = delivering.buffer_unordered(AT_ONCE).collect().await;
                outcomes.into_iter().collect::<anyhow::Result<()>>()?;
                continue;
            }
            let Some(late) = late else { return Ok(()) };
            let due = self.due(now, Age::Before(late), LATE_PAGE).await?;
            if due.is_empty() {
                return Ok(());
            }
            self.deliver_late(due, now).await?;
        }
    }

    async fn due(&self, now: DateTime<Utc>, age: Age, limit: u16) -> store::Result<Vec<Pending>> {
        outbox::due(&mut *self.env.database.acquire().await?, now, age, limit).await
    }

    async fn deliver(&self, pending: Pending, now: DateTime<Utc>) -> anyhow::Result<()> {
        let LevelUp { message, user, .. } = pending.level_up;
        let outcome = match self.before_the_line(&pending, now).await? {
            BeforeLine::Tell(role) => self.post(&pending, role.as_deref()).await,
            BeforeLine::Wait => Outcome::Again,
            BeforeLine::Drop => Outcome::Done,
        };
        match outcome {
            Outcome::Done => {
                self.posted().insert((message, user));
                outbox::remove(&mut *self.env.database.acquire().await?, message, user).await?;
                self.posted().remove(&(message, user));
            }
            Outcome::Again => {
                let next = now + backoff(pending.attempts, RETRY_LEAST, RETRY_MOST);
                outbox::postpone(
                    &mut *self.env.database.acquire().await?,
                    message,
                    user,
                    next,
                )
                .await?;
            }
        }
        Ok(())
    }

    /// Gives the roles, as far as that is possible now, and says what follows for the line.
    async fn before_the_line(
        &self,
        pending: &Pending,
        now: DateTime<Utc>,
    ) -> anyhow::Result<BeforeLine> {
        let user = pending.level_up.user;
        let roles = match self.is_gone(pending, now).await {
            Ok(true) => RolesGiven::Gone,
            Ok(false) => self.give_roles(pending).await?,
            Err(error) => RolesGiven::Unanswered(error),
        };
        Ok(match roles {
            RolesGiven::Given(name) => BeforeLine::Tell(name),
            RolesGiven::Gone => {
                tracing::debug!(%user, "no level-up message for someone who left");
                BeforeLine::Drop
            }
            RolesGiven::Unanswered(error) if pending.attempts < ROLE_ATTEMPTS => {
                if pending.attempts == 0 {
                    tracing::warn!(%error, %user, "a level's role could not be given; trying again");
                }
                BeforeLine::Wait
            }
            // The line need not wait for longer.
            RolesGiven::Unanswered(_) => {
                self.give_later(user).await?;
                BeforeLine::Tell(None)
            }
        })
    }

    /// Gives the roles of levels that were reached long ago, and tells of these together.
    async fn deliver_late(&self, due: Vec<Pending>, now: DateTime<Utc>) -> anyhow::Result<()> {
        let preparing = stream::iter(due).map(|pending| async move {
            let role = self.before_the_line(&pending, now).await;
            (pending, role)
        });
        let prepared: Vec<_> = preparing.buffer_unordered(AT_ONCE).collect().await;
        let (mut again, mut untold, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for (pending, role) in prepared {
            let LevelUp { message, user, .. } = pending.level_up;
            match role? {
                BeforeLine::Wait => again.push(pending),
                BeforeLine::Drop => untold.push(pending),
                BeforeLine::Tell(_) if self.is_untold(message, user) => untold.push(pending),
                BeforeLine::Tell(role) => told.push((pending, role)),
            }
        }
        self.remove_all(&untold).await?;
        // They stay together.
        self.postpone_all(&again, now).await?;
        for (channel, key, group) in self.grouped(told).await? {
            let (rows, levels): (Vec<_>, Vec<_>) = group.into_iter().unzip();
            match self.post_late(channel, key, &rows, &levels).await {
                Outcome::Done => {
                    self.posted().extend(keys(&rows));
                    self.remove_all(&rows).await?;
                }
                Outcome::Again => self.postpone_all(&rows, now).await?,
            }
        }
        Ok(())
    }

    /// Which levels are told in one message, which is written down before it is posted: the
    /// channel, the message's key, and the levels.
    async fn grouped(&self, told: Vec<(Pending, Option<String>)>) -> anyhow::Result<Vec<Group>> {
        let mut session = self.env.database.acquire().await?;
        let users: Vec<UserId> = told.iter().map(|(row, _)| row.level_up.user).collect();
        let profiles = user_point::profiles_of(&mut session, &users).await?;
        let mut together: BTreeMap<_, Vec<(Pending, LateLevelUp)>> = BTreeMap::new();
        for (pending, role) in told {
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
                let later = rows.split_off(level_up_message::fitting(&levels).clamp(1, rows.len()));
                let key = rows[0].0.level_up.message;
                let pending: Vec<Pending> = rows.iter().map(|(row, _)| *row).collect();
                outbox::tell_together(&mut session, &keys(&pending), key).await?;
                groups.push((channel, key, rows));
                rows = later;
            }
        }
        Ok(groups)
    }

    async fn post_late(
        &self,
        channel: ChannelId,
        key: MessageId,
        rows: &[Pending],
        levels: &[LateLevelUp],
    ) -> Outcome {
        let (count, attempts) = (rows.len(), attempts(rows));
        match level_up_message::late_level_ups(&self.env.rest, channel, key, levels).await {
            Ok(()) => Outcome::Done,
            Err(error @ RestError::Refused { .. }) => {
                tracing::warn!(%error, count, %channel, "the bot is not allowed to post late level-up messages; \
                                                         skipping them");
                Outcome::Done
            }
            Err(error) if attempts + 1 >= MOST_ATTEMPTS => {
                tracing::error!(%error, count, %channel, "late level-up messages could not be posted; skipping them");
                Outcome::Done
            }
            Err(error) => {
                if attempts == 0 {
                    tracing::warn!(%error, count, %channel, "late level-up messages could not be posted; trying \
                                                             again");
                }
                Outcome::Again
            }
        }
    }

    /// Whether there is no line to post: there is one, or there must be none.
    fn is_untold(&self, message: MessageId, user: UserId) -> bool {
        self.posted().contains(&(message, user))
            || self.env.xp.get(user).is_some_and(|user| user.hidden)
    }

    async fn remove_all(&self, rows: &[Pending]) -> anyhow::Result<()> {
        if !rows.is_empty() {
            let keys = keys(rows);
            outbox::remove_all(&mut *self.env.database.acquire().await?, &keys).await?;
            let mut posted = self.posted();
            for key in keys {
                posted.remove(&key);
            }
        }
        Ok(())
    }

    async fn postpone_all(&self, rows: &[Pending], now: DateTime<Utc>) -> anyhow::Result<()> {
        if !rows.is_empty() {
            let next = now + backoff(attempts(rows), RETRY_LEAST, RETRY_MOST);
            let mut session = self.env.database.acquire().await?;
            outbox::postpone_all(&mut session, &keys(rows), next).await?;
        }
        Ok(())
    }

    /// Whether the user is not a member any more. Asked of Discord only where they may be gone:
    /// they were last heard of as leaving, or nobody listened while they may have left.
    async fn is_gone(&self, pending: &Pending, now: DateTime<Utc>) -> Result<bool, RestError> {
        let LevelUp { message, user, .. } = pending.level_up;
        let heard_late = message.sent_at().millis() < (now - HEARD_LATE).timestamp_millis();
        if !heard_late && !self.env.members.may_be_gone(user) {
            return Ok(false);
        }
        match guild::member(&self.env.rest, self.env.guild, user).await {
            Ok(Some(_)) => {
                self.env.members.is_back(user);
                Ok(false)
            }
            Ok(None) => Ok(true),
            // The line is worth more than an answer that does not come by trying again.
            Err(RestError::Refused { .. } | RestError::NotUnderstood(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Has the user's roles looked at until they are right.
    async fn give_later(&self, user: UserId) -> anyhow::Result<()> {
        role_work::ask_for_all(&mut *self.env.database.acquire().await?, &[user]).await?;
        Ok(())
    }

    /// Gives the roles of a level-up, once. A role that Discord refuses is remembered, and does
    /// not hold up the line.
    async fn give_roles(&self, pending: &Pending) -> anyhow::Result<RolesGiven> {
        let LevelUp {
            message,
            user,
            level,
            from,
            ..
        } = pending.level_up;
        let level_roles = match self.book.level_roles().await {
            Ok(level_roles) => level_roles,
            // The line is worth more than a list of roles that cannot be read.
            Err(RestError::Refused { .. } | RestError::NotUnderstood(_)) => {
                self.give_later(user).await?;
                return Ok(RolesGiven::Given(None));
            }
            Err(error) => return Ok(RolesGiven::Unanswered(error)),
        };
        // They would pass the screening by it; passing it is an event of its own.
        if self.env.members.waits(user) {
            return Ok(RolesGiven::Given(None));
        }
        // By now a moderator may have taken XP away.
        let standing = self.env.xp.get(user).map(|user| user.standing);
        let deserved = level_roles.plan(&[], standing.as_ref()).add;
        let mut gained = level_roles.gained(from, level);
        gained.retain(|role| deserved.contains(role) && !self.book.is_refused(*role));
        let levels = self.env.xp.levels();
        let newest = gained.last().and_then(|role| levels.carrying(*role));
        let name = newest.and_then(|level| level.role_name.clone());
        if pending.roles_given || gained.is_empty() {
            return Ok(RolesGiven::Given(name));
        }
        let plan = RolePlan {
            add: gained,
            ..RolePlan::default()
        };
        let applied = match self.calls.apply(user, &plan, REASON).await {
            Ok(applied) => applied,
            Err(error) => return Ok(RolesGiven::Unanswered(error)),
        };
        if applied.gone {
            return Ok(RolesGiven::Gone);
        }
        note_refusals(&applied, &self.book, &self.verifications);
        if applied.refused > 0 {
            self.give_later(user).await?;
        } else {
            let mut session = self.env.database.acquire().await?;
            outbox::roles_given(&mut session, message, user).await?;
        }
        let newest = plan.add.last();
        let has_it = newest.is_some_and(|role| applied.given.contains(role));
        Ok(RolesGiven::Given(name.filter(|_| has_it)))
    }

    async fn post(&self, pending: &Pending, role: Option<&str>) -> Outcome {
        let LevelUp {
            message,
            user,
            channel,
            level,
            ..
        } = pending.level_up;
        if self.posted().contains(&(message, user)) {
            return Outcome::Done;
        }
        if self.env.xp.get(user).is_some_and(|user| user.hidden) {
            tracing::debug!(%user, %level, "no level-up message for a hidden user");
            return Outcome::Done;
        }
        match level_up_message::level_up(&self.env.rest, channel, message, user, level, role).await
        {
            Ok(()) => Outcome::Done,
            Err(error @ RestError::Refused { .. }) => {
                tracing::warn!(%error, %user, %level, %channel, "the bot is not allowed to post a level-up message; \
                                                                 skipping it");
                Outcome::Done
            }
            Err(error) if pending.attempts + 1 >= MOST_ATTEMPTS => {
                tracing::error!(%error, %user, %level, %channel, "a level-up message could not be posted for an \
                                                                  hour; skipping it");
                Outcome::Done
            }
            Err(error) => {
                if pending.attempts == 0 {
                    tracing::warn!(%error, %user, %level, %channel, "a level-up message could not be posted; trying \
                                                                     again");
                }
                Outcome::Again
            }
        }
    }

    fn posted(&self) -> std::sync::MutexGuard<'_, BTreeSet<(MessageId, UserId)>> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is told in one message: the channel, the message's key, and the levels.
type Group = (ChannelId, MessageId, Vec<(Pending, LateLevelUp)>);

fn keys(rows: &[Pending]) -> Vec<(MessageId, UserId)> {
    let rows = rows.iter();
    rows.map(|row| (row.level_up.message, row.level_up.user))
        .collect()
}

/// How often the one of these that has failed most has failed.
fn attempts(rows: &[Pending]) -> u32 {
    rows.iter().map(|row| row.attempts).max().unwrap_or(0)
}
