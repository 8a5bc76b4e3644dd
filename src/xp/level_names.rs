//! What levels carry: the one way to change it, in the database and in what everyone sees.
//!
//! Knows nothing of Discord; what a role is called there, and whether it exists, is for
//! whoever changes names to find out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use super::cache::XpCache;
use crate::leveling::level_roles::Renamed;
use crate::leveling::{LevelNumber, Levels, RoleId};
use crate::store::{self, Database};

/// How long the database may take for a level's name.
const PATIENCE: Duration = Duration::from_secs(5);

/// Level names, which one at a time may change. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LevelNames {
    database: Database,
    xp: Arc<XpCache>,
    turn: Arc<Mutex<Shown>>,
}

/// Whether the levels that everyone sees are those of the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shown {
    #[default]
    Whole,
    /// Something was, perhaps, saved since they were read.
    PerhapsNot,
}

/// The right to change level names, until it is dropped.
#[derive(Debug)]
pub struct LevelNamesLock<'a> {
    names: &'a LevelNames,
    shown: MutexGuard<'a, Shown>,
}

impl LevelNames {
    /// The names of the levels that `xp` shows.
    pub fn new(database: Database, xp: Arc<XpCache>) -> Self {
        Self {
            database,
            xp,
            turn: Arc::default(),
        }
    }

    /// Waits for everyone else who changes names: two moderators at one level come one after
    /// the other, and the second works on what the first has made of it.
    pub async fn lock(&self) -> anyhow::Result<LevelNamesLock<'_>> {
        let mut alone = LevelNamesLock {
            names: self,
            shown: self.turn.lock().await,
        };
        if *alone.shown == Shown::PerhapsNot {
            alone.show().await?;
        }
        Ok(alone)
    }
}

impl LevelNamesLock<'_> {
    /// Saves what a level carries, and lets everyone see it.
    pub async fn save(
        &mut self,
        number: LevelNumber,
        role: Option<RoleId>,
        name: Option<&str>,
    ) -> anyhow::Result<()> {
        let saved = store::within(PATIENCE, async {
            let mut session = self.names.database.acquire().await?;
            store::level::set_role(&mut session, number, role, name).await
        })
        .await;
        let is_there = |levels: &Levels| carries(levels, number, role, name);
        self.saved(saved, is_there).await
    }

    /// Takes role and name off every level, lets everyone see it, and notes which of the roles are
    /// to be deleted; all of it or nothing.
    pub async fn take_all_off(&mut self, delete: &BTreeSet<RoleId>) -> anyhow::Result<()> {
        let saved = store::within(PATIENCE, async {
            let mut transaction = self.names.database.begin().await?;
            store::level::take_all_off(&mut transaction).await?;
            store::role_deletion::replace_all(&mut transaction, delete).await?;
            store::commit(transaction).await
        })
        .await;
        let are_bare = |levels: &Levels| {
            let mut each = levels.rows().iter();
            each.all(|level| level.role_id.is_none() && level.role_name.is_none())
        };
        let is_unsure = saved.is_err();
        self.saved(saved, are_bare).await?;
        if is_unsure && self.noted().await? != *delete {
            // The levels had no names before either.
            anyhow::bail!("the roles to delete were not noted");
        }
        Ok(())
    }

    /// Saves what the guild calls the roles of these levels now, all at once, and lets
    /// everyone see it.
    pub async fn rename(&mut self, renamed: &[Renamed]) -> anyhow::Result<()> {
        let names: Vec<_> = renamed
            .iter()
            .map(|one| (one.level, one.name.as_str()))
            .collect();
        let saved = store::within(PATIENCE, async {
            let mut session = self.names.database.acquire().await?;
            store::level::rename(&mut session, &names).await
        })
        .await;
        let are_there = |levels: &Levels| {
            let mut each = renamed.iter();
            each.all(|one| carries(levels, one.level, Some(one.role), Some(&one.name)))
        };
        self.saved(saved, are_there).await
    }

    /// The roles that are noted to be deleted.
    async fn noted(&self) -> anyhow::Result<BTreeSet<RoleId>> {
        let noted = store::within(PATIENCE, async {
            let mut session = self.names.database.acquire().await?;
            store::role_deletion::all(&mut session).await
        });
        Ok(noted.await?)
    }

    /// What has come of saving.
    async fn saved(
        &mut self,
        saved: store::Result<()>,
        is_there: impl FnOnce(&Levels) -> bool,
    ) -> anyhow::Result<()> {
        // Also where that failed: whether it did is looked up, never assumed.
        *self.shown = Shown::PerhapsNot;
        let shown = self.show().await;
        let is_there = is_there(&self.names.xp.levels());
        match (saved, shown) {
            (_, Ok(())) if is_there => Ok(()),
            (Err(error), _) => Err(error.into()),
            (Ok(()), Err(error)) => Err(error),
            (Ok(()), Ok(())) => anyhow::bail!("a level's name was changed by someone else"),
        }
    }

    async fn show(&mut self) -> anyhow::Result<()> {
        let reading = async {
            let mut session = self.names.database.acquire().await?;
            store::level::load(&mut session).await
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        let levels = read.unwrap_or_else(|_| Err(store::Error::TimedOut(PATIENCE).into()))?;
        self.names.xp.set_levels(levels);
        *self.shown = Shown::Whole;
        Ok(())
    }
}

fn carries(levels: &Levels, number: LevelNumber, role: Option<RoleId>, name: Option<&str>) -> bool {
    levels
        .find(number.0.into())
        .is_some_and(|level| level.role_id == role && level.role_name.as_deref() == name)
}
