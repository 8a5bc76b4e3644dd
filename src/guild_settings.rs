//! What moderators have set for the guild with commands: saved in the database first, then kept in
//! memory, where all parts of the bot read it.
//!
//! Asks Discord nothing, and does not carry out what a setting changes.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Mutex;

use crate::leveling::RoleRewards;
use crate::store::guild_setting::{self, SettingChange};
use crate::store::{self, Connection, Database, reconcile_state};

const DATABASE_TIMEOUT: Duration = Duration::from_secs(5);

/// The stored name of [`GuildSettings::role_rewards`].
const ROLE_REWARDS: &str = "role_rewards";

/// The guild's settings. Cheap to clone; all clones share them.
#[derive(Clone, Debug)]
pub struct GuildSettings {
    database: Database,
    current: Arc<RwLock<CurrentSettings>>,
    /// Held while the settings are saved or read again, so that an older value never replaces a
    /// newer one in memory.
    changing: Arc<Mutex<()>>,
}

/// `None` stands for what was never set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct CurrentSettings {
    role_rewards: Option<SettingChange<RoleRewards>>,
}

/// How many members may lose level roles because of a change, as a moderator has confirmed.
#[derive(Clone, Copy, Debug)]
pub struct ConfirmedRemovals {
    /// The number of members.
    pub members: u32,
    /// How long the confirmation holds.
    pub until: DateTime<Utc>,
}

impl GuildSettings {
    /// Reads all settings from the database.
    pub async fn load(database: &Database) -> store::Result<Self> {
        let current = read(&mut *database.acquire().await?).await?;
        Ok(Self {
            database: database.clone(),
            current: Arc::new(RwLock::new(current)),
            changing: Arc::default(),
        })
    }

    /// Whether level roles stack or replace each other.
    pub fn role_rewards(&self) -> RoleRewards {
        self.role_rewards_change()
            .map(|change| change.value)
            .unwrap_or_default()
    }

    /// The newest change of [`Self::role_rewards`]; `None` if nobody has set it.
    pub fn role_rewards_change(&self) -> Option<SettingChange<RoleRewards>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.role_rewards.clone()
    }

    /// Saves whether level roles stack or replace each other, together with the removals that a
    /// moderator has confirmed for it. A newer change wins over this one. After an error nobody
    /// knows whether it is saved, until [`Self::refresh`] succeeds.
    pub async fn set_role_rewards(
        &self,
        change: &SettingChange<RoleRewards>,
        confirmed: Option<ConfirmedRemovals>,
    ) -> store::Result<()> {
        let _one_at_a_time = self.changing.lock().await;
        let saved = store::within(DATABASE_TIMEOUT, async {
            let mut transaction = self.database.begin().await?;
            let stored = SettingChange {
                request: change.request,
                moderator: change.moderator,
                value: change.value.word(),
            };
            guild_setting::add(&mut transaction, ROLE_REWARDS, &stored).await?;
            if let Some(ConfirmedRemovals { members, until }) = confirmed {
                reconcile_state::allow(&mut transaction, members, until).await?;
            }
            store::commit(transaction).await
        });
        let saved = saved.await;
        // After an error as well: only the database says what is saved.
        match (saved, self.reread().await) {
            (Err(_), Ok(_)) if self.role_rewards_change().as_ref() == Some(change) => Ok(()),
            (Err(error), _) => Err(error),
            (Ok(()), Ok(_)) => Ok(()),
            (Ok(()), Err(_)) => {
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                let before = current.role_rewards.as_ref().map(|before| before.request);
                if before < Some(change.request) {
                    current.role_rewards = Some(change.clone());
                }
                Ok(())
            }
        }
    }

    /// Reads the settings again. Returns whether any has changed.
    pub async fn refresh(&self) -> store::Result<bool> {
        let _one_at_a_time = self.changing.lock().await;
        self.reread().await
    }

    async fn reread(&self) -> store::Result<bool> {
        let reading = store::within(DATABASE_TIMEOUT, async {
            read(&mut *self.database.acquire().await?).await
        });
        let new = reading.await?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let has_changed = *current != new;
        *current = new;
        Ok(has_changed)
    }
}

async fn read(connection: &mut Connection) -> store::Result<CurrentSettings> {
    let newest = guild_setting::newest(connection, ROLE_REWARDS).await?;
    let role_rewards = newest.map(|change| {
        let value = RoleRewards::parse(&change.value).ok_or_else(|| store::Error::Corrupt {
            table: "guild_setting",
            what: "a value of role_rewards, set by request",
            value: change.request.get().cast_signed(),
        })?;
        Ok::<_, store::Error>(SettingChange {
            request: change.request,
            moderator: change.moderator,
            value,
        })
    });
    Ok(CurrentSettings {
        role_rewards: role_rewards.transpose()?,
    })
}
