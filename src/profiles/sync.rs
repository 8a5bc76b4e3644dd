//! Processes the queue of changed profiles: stores names in large batches, then copies a few
//! avatars at a time. A slow copy delays neither names nor other avatars. (The original bot called
//! these users actives.)
//!
//! The job can be cut off at any point: a queue row is deleted only when its name is stored and its
//! avatar copied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::avatar_mirror::AvatarMirror;
use super::breaker::Admits;
use super::clock::Clock;
use crate::environment::Environment;
use crate::job::Job;
use crate::leveling::{CopyPlan, Picture, UserId, copy_plan};
use crate::store::updated_user::{self, DueAvatar, RowVersion, Unfinished, UnstoredProfile};
use crate::store::user_point::profiles::{self, NewProfile, Shown};
use crate::store::{self, Database};

/// Profiles stored in one transaction.
const BATCH_SIZE: u16 = 1_000;
/// Avatars copied at the same time.
const CONCURRENCY: u16 = 4;
/// How often the queue is read while copies are running.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The job that processes the queue of changed profiles.
#[derive(Debug)]
pub struct ProfileSync {
    database: Database,
    /// Copies the avatars.
    copies: Arc<AvatarMirror>,
    /// Notified after each write to the queue.
    filled: Arc<Notify>,
}

impl Job for ProfileSync {
    const NAME: &'static str = "profile-sync";
    const CADENCE: Duration = Duration::from_secs(2);

    fn wakes(&self) -> Option<Arc<Notify>> {
        Some(Arc::clone(&self.filled))
    }

    /// Stores all queued names and copies all avatars that are due at `now`, including those that
    /// are queued or become due during the run.
    async fn run_once(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let mut under_way = UnderWay::default();
        let mut result = self.work(&mut under_way, Clock::set(now)).await;
        // An error must not cut off the copies that are still running.
        while let Some(copied) = under_way.ended().await {
            result = result.and(copied);
        }
        result
    }
}

/// The copies that are running. Each has its own task, so that it makes progress while the job
/// waits for something else, such as a database connection that the copy itself holds.
#[derive(Debug, Default)]
struct UnderWay {
    tasks: JoinSet<(UserId, anyhow::Result<()>)>,
    users: BTreeSet<UserId>,
}

impl UnderWay {
    fn begin(&mut self, copies: &Arc<AvatarMirror>, due: DueAvatar, clock: Clock) {
        let (copies, user) = (Arc::clone(copies), due.key.user);
        self.users.insert(user);
        self.tasks
            .spawn(async move { (user, copies.copy(&due, clock).await) });
    }

    /// Waits until a copy ends and returns its result; `None` if no copy is running.
    async fn ended(&mut self) -> Option<anyhow::Result<()>> {
        Some(match self.tasks.join_next().await? {
            Ok((user, copied)) => {
                self.users.remove(&user);
                copied
            }
            // The task has panicked.
            Err(error) => Err(error.into()),
        })
    }
}

impl ProfileSync {
    /// `filled` wakes the job after a write to the queue.
    pub fn new(env: &Environment, copies: AvatarMirror, filled: Arc<Notify>) -> Self {
        Self {
            database: env.database.clone(),
            copies: Arc::new(copies),
            filled,
        }
    }

    async fn work(&self, under_way: &mut UnderWay, clock: Clock) -> anyhow::Result<()> {
        let mut result = Ok(());
        loop {
            // Names first: they take milliseconds, five hundred avatars take minutes.
            while self.store_names().await? {}
            self.begin_copies(under_way, clock).await?;
            match timeout(POLL_INTERVAL, under_way.ended()).await {
                Ok(None) => return result,
                Ok(Some(copied)) => result = result.and(copied),
                Err(_) => {}
            }
        }
    }

    /// Stores one batch of names. Returns whether there may be more.
    async fn store_names(&self) -> store::Result<bool> {
        let mut transaction = self.database.begin().await?;
        let seen = updated_user::unstored(&mut transaction, BATCH_SIZE).await?;
        if seen.is_empty() {
            return Ok(false);
        }
        let users: Vec<UserId> = seen.iter().map(|seen| seen.key.user).collect();
        let shown = profiles::hold(&mut transaction, &users).await?;
        let rows: Vec<RowVersion> = seen.iter().map(|seen| seen.key).collect();
        updated_user::hold(&mut transaction, &rows).await?;
        let is_full = seen.len() == usize::from(BATCH_SIZE);
        let Plan {
            store,
            done,
            pictures,
        } = plan(seen, shown);
        profiles::store(&mut transaction, &store).await?;
        updated_user::remove(&mut transaction, &done).await?;
        updated_user::leave_pictures(&mut transaction, &pictures).await?;
        store::commit(transaction).await?;
        self.copies.stored(&store);
        tracing::debug!(
            profiles = store.len(),
            pictures = pictures.len(),
            "changed profiles are stored"
        );
        Ok(is_full)
    }

    /// Starts copies until the limit of simultaneous copies is reached.
    async fn begin_copies(&self, under_way: &mut UnderWay, clock: Clock) -> store::Result<()> {
        let now = clock.now();
        let limit = match self.copies.admits(now) {
            Admits::All => usize::from(CONCURRENCY),
            Admits::One => 1,
            Admits::None => 0,
        };
        let room = limit.saturating_sub(under_way.users.len());
        if room == 0 {
            return Ok(());
        }
        let others: Vec<UserId> = under_way.users.iter().copied().collect();
        let room = u16::try_from(room).unwrap_or(CONCURRENCY);
        for due in self.copies.take(now, &others, room).await? {
            under_way.begin(&self.copies, due, clock);
        }
        Ok(())
    }
}

/// The database changes for one batch of queue rows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// The profiles to store.
    store: Vec<NewProfile>,
    /// Rows that are finished with this batch: their avatar needs no change, or their user has no
    /// row in `user_point`.
    done: Vec<RowVersion>,
    /// Rows whose avatar must still be copied or its copy removed.
    pictures: Vec<Unfinished>,
}

/// Applies the queued changes (`seen`) to the stored profiles (`shown`).
fn plan(seen: Vec<UnstoredProfile>, shown: Vec<Shown>) -> Plan {
    let mut shown: BTreeMap<UserId, Shown> =
        shown.into_iter().map(|shown| (shown.user, shown)).collect();
    let mut plan = Plan::default();
    for UnstoredProfile { key, profile } in seen {
        let Some(before) = shown.remove(&key.user) else {
            plan.done.push(key);
            continue;
        };
        let known = before.profile.unwrap_or_default();
        let picture = Picture::of(&known);
        let profile = known.after(profile);
        let other_picture = Picture::of(&profile) != picture;
        match copy_plan(&profile, before.copied.as_deref(), before.copy.is_some()) {
            CopyPlan::Keep => plan.done.push(key),
            CopyPlan::Make(_) | CopyPlan::Drop => {
                plan.pictures.push(Unfinished { key, other_picture });
            }
        }
        plan.store.push(NewProfile {
            user: key.user,
            other_picture,
            profile,
        });
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leveling::{Account, Membership, MessageId, ObservedProfile, Profile};

    fn account(name: &str, avatar: Option<&str>) -> Account {
        Account {
            username: name.into(),
            display_name: None,
            avatar_hash: avatar.map(Into::into),
        }
    }

    fn seen(user: u64, name: &str, avatar: Option<&str>) -> UnstoredProfile {
        UnstoredProfile {
            key: RowVersion {
                user: UserId::new(user).unwrap(),
                version: 1,
            },
            profile: ObservedProfile {
                username: name.into(),
                avatar_hash: avatar.map(str::to_owned).into(),
                ..ObservedProfile::default()
            },
        }
    }

    fn shown(user: u64, avatar: Option<&str>, copied: Option<&str>) -> Shown {
        Shown {
            user: UserId::new(user).unwrap(),
            profile: Some(Profile {
                account: account("before", avatar),
                member: Membership {
                    nickname: Some("nick".into()),
                    avatar_hash: None,
                },
            }),
            copied: copied.map(Into::into),
            copy: copied.and(MessageId::new(9)),
            gone: false,
        }
    }

    #[test]
    fn a_batch_stores_names_and_leaves_the_avatars_for_later() {
        let page = vec![
            seen(1, "name", Some("a")),
            seen(2, "name", Some("b")),
            seen(3, "name", None),
            seen(4, "name", None),
            seen(5, "unknown", None),
            // The avatar is unchanged, but has not been copied yet.
            seen(6, "name", Some("a")),
        ];
        let known = vec![
            shown(1, Some("a"), Some("a")),
            shown(2, Some("a"), Some("a")),
            shown(3, Some("a"), Some("a")),
            shown(4, None, None),
            shown(6, Some("a"), Some("b")),
        ];
        let plan = plan(page, known);
        let users =
            |rows: &[RowVersion]| -> Vec<u64> { rows.iter().map(|row| row.user.get()).collect() };
        assert_eq!(users(&plan.done), [1, 4, 5]);
        let left: Vec<_> = plan
            .pictures
            .iter()
            .map(|left| (left.key.user.get(), left.other_picture))
            .collect();
        assert_eq!(left, [(2, true), (3, true), (6, false)]);
        let stored: Vec<_> = plan
            .store
            .iter()
            .map(|new| (new.user.get(), new.other_picture))
            .collect();
        assert_eq!(
            stored,
            [(1, false), (2, true), (3, true), (4, false), (6, false)]
        );
        for new in &plan.store {
            assert_eq!(new.profile.account.username, "name");
            assert_eq!(new.profile.member.nickname.as_deref(), Some("nick"));
        }
    }
}
