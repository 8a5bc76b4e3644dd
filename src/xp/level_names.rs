//! The roles and names of levels: the one way to change them, in the database and in the cache.
//!
//! Knows nothing of Discord: the caller finds out what a role is called there and whether it
//! exists.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use super::cache::XpCache;
use crate::leveling::level_roles::Renamed;
use crate::leveling::{LevelNumber, Levels, RoleId, without_nul};
use crate::store::{self, Database};

const DATABASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Changes level names, one caller at a time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LevelNames {
    database: Database,
    xp: Arc<XpCache>,
    lock: Arc<Mutex<CachedLevels>>,
}

/// Whether the levels in the cache are those of the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum CachedLevels {
    #[default]
    Current,
    /// A change may have been saved since they were read.
    MaybeStale,
}

/// A lock: nobody else changes level names until it is dropped.
#[derive(Debug)]
pub struct LevelNamesLock<'a> {
    names: &'a LevelNames,
    cached: MutexGuard<'a, CachedLevels>,
}

impl LevelNames {
    /// Changes names in `database`, and in the levels of `xp`.
    pub fn new(database: Database, xp: Arc<XpCache>) -> Self {
        Self {
            database,
            xp,
            lock: Arc::default(),
        }
    }

    /// Waits until nobody else changes names: if two moderators change the same level, the
    /// second starts from the result of the first. Fails if the levels cannot be read.
    pub async fn lock(&self) -> anyhow::Result<LevelNamesLock<'_>> {
        let mut lock = LevelNamesLock {
            names: self,
            cached: self.lock.lock().await,
        };
        if *lock.cached == CachedLevels::MaybeStale {
            lock.reload().await?;
        }
        Ok(lock)
    }
}

impl LevelNamesLock<'_> {
    /// Saves the role and name of a level, and updates the cache.
    pub async fn save(
        &mut self,
        number: LevelNumber,
        role: Option<RoleId>,
        name: Option<&str>,
    ) -> anyhow::Result<()> {
        let saved = store::within(DATABASE_TIMEOUT, async {
            let mut session = self.names.database.acquire().await?;
            store::level::set_role(&mut session, number, role, name).await
        })
        .await;
        let is_applied = |levels: &Levels| carries(levels, number, role, name);
        self.check_saved(saved, is_applied).await
    }

    /// Clears the role and the name of every level, saves `delete` as the roles to delete in
    /// Discord, and updates the cache. Saves either everything or nothing.
    pub async fn clear_all(&mut self, delete: &BTreeSet<RoleId>) -> anyhow::Result<()> {
        let saved = store::within(DATABASE_TIMEOUT, async {
            let mut transaction = self.names.database.begin().await?;
            store::level::clear_all(&mut transaction).await?;
            store::role_deletion::replace_all(&mut transaction, delete).await?;
            store::commit(transaction).await
        })
        .await;
        let are_cleared = |levels: &Levels| {
            let mut each = levels.rows().iter();
            each.all(|level| level.role_id.is_none() && level.role_name.is_none())
        };
        let save_failed = saved.is_err();
        self.check_saved(saved, are_cleared).await?;
        if save_failed && self.saved_deletions().await? != *delete {
            // `check_saved` proves nothing if no level had a role or a name before. The saved
            // deletions show that this transaction was not committed.
            anyhow::bail!("the roles to delete were not saved");
        }
        Ok(())
    }

    /// Saves new names for levels whose roles were renamed in Discord, all in one transaction, and
    /// updates the cache.
    pub async fn rename(&mut self, renamed: &[Renamed]) -> anyhow::Result<()> {
        let names: Vec<_> = renamed
            .iter()
            .map(|one| (one.level, one.name.as_str()))
            .collect();
        let saved = store::within(DATABASE_TIMEOUT, async {
            let mut session = self.names.database.acquire().await?;
            store::level::rename(&mut session, &names).await
        })
        .await;
        let are_renamed = |levels: &Levels| {
            let mut each = renamed.iter();
            each.all(|one| carries(levels, one.level, Some(one.role), Some(&one.name)))
        };
        self.check_saved(saved, are_renamed).await
    }

    async fn saved_deletions(&self) -> anyhow::Result<BTreeSet<RoleId>> {
        let noted = store::within(DATABASE_TIMEOUT, async {
            let mut session = self.names.database.acquire().await?;
            store::role_deletion::all(&mut session).await
        });
        Ok(noted.await?)
    }

    /// Reloads the levels, and returns an error unless `is_applied` finds the change in them.
    async fn check_saved(
        &mut self,
        saved: store::Result<()>,
        is_applied: impl FnOnce(&Levels) -> bool,
    ) -> anyhow::Result<()> {
        // Reload even if saving failed: a commit can succeed although its answer is lost.
        *self.cached = CachedLevels::MaybeStale;
        let reloaded = self.reload().await;
        let is_applied = is_applied(&self.names.xp.levels());
        match (saved, reloaded) {
            (_, Ok(())) if is_applied => Ok(()),
            (Err(error), _) => Err(error.into()),
            (Ok(()), Err(error)) => Err(error),
            (Ok(()), Ok(())) => anyhow::bail!("a level's name was changed by someone else"),
        }
    }

    async fn reload(&mut self) -> anyhow::Result<()> {
        let reading = async {
            let mut session = self.names.database.acquire().await?;
            store::level::load(&mut session).await
        };
        let read = tokio::time::timeout(DATABASE_TIMEOUT, reading).await;
        let levels =
            read.unwrap_or_else(|_| Err(store::Error::TimedOut(DATABASE_TIMEOUT).into()))?;
        self.names.xp.set_levels(levels);
        *self.cached = CachedLevels::Current;
        Ok(())
    }
}

fn carries(levels: &Levels, number: LevelNumber, role: Option<RoleId>, name: Option<&str>) -> bool {
    let name = name.map(without_nul);
    levels
        .find(number.0.into())
        .is_some_and(|level| level.role_id == role && level.role_name.as_deref() == name.as_deref())
}
