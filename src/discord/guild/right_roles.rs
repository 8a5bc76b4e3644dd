//! Finds the roles that the settings give rights to.
//!
//! `leveling` decides which role an entry of the settings means. This file stores the result as a
//! pin in the database: a role name with the id that was found for it. A name only gives rights
//! once its pin is saved, so that a restart finds the same role.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::known_guild::{GuildFacts, KnownGuild};
use crate::config::{RightsSettings, RoleList};
use crate::discord::rest::RestError;
use crate::leveling::{
    ProtectedRoles, RightRoleProblem, RoleEntry, RoleId, RoleMatches, RolePins, match_roles,
};
use crate::store::{self, Database, role_pin};

/// Timeout of saving pins: a command may be waiting for it.
const SAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// The roles that the settings name. Cheap to clone; all clones share the pins.
#[derive(Clone, Debug)]
pub struct RightRoles {
    settings: Arc<RightsSettings>,
    guild: KnownGuild,
    database: Database,
    pinned: Arc<Mutex<Pinned>>,
    /// Held while pins are changed, so that each change is based on the guild's current roles.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Pinned {
    /// The pins as saved in the database.
    pins: RolePins,
    /// Pins that moved to another role of the same name since the last
    /// [`RightRoles::take_moved`].
    moved: Vec<(String, RoleId)>,
}

/// The roles that the settings mean, as far as they are known now.
#[derive(Clone, Debug)]
pub struct FoundRoles {
    /// The guild's owner and roles, in which they were found.
    pub guild: Arc<GuildFacts>,
    /// Problems with the settings that a person must solve.
    pub problems: Vec<RightRoleProblem>,
    roles: BTreeMap<RoleEntry, RoleId>,
    /// Entries whose role is not settled yet, because the changed pin is not saved.
    unsettled: BTreeSet<RoleEntry>,
}

impl RightRoles {
    /// Loads the saved pins.
    pub async fn load(
        settings: RightsSettings,
        guild: KnownGuild,
        database: Database,
    ) -> store::Result<Self> {
        let pins = role_pin::all(&mut *database.acquire().await?).await?;
        let moved = Vec::new();
        Ok(Self {
            settings: Arc::new(settings),
            guild,
            database,
            pinned: Arc::new(Mutex::new(Pinned { pins, moved })),
            turn: Arc::default(),
        })
    }

    /// The settings that name the roles.
    pub fn settings(&self) -> &RightsSettings {
        &self.settings
    }

    /// The roles that must not become level roles. Makes no calls.
    pub fn protected(&self) -> ProtectedRoles {
        ProtectedRoles::new(self.settings.entries(), &self.pinned().pins)
    }

    /// Finds the roles that the settings mean now. Saves changed pins first; entries whose pins are
    /// not saved are unsettled. Fails if the guild's roles are unknown.
    pub async fn find(&self) -> Result<FoundRoles, RestError> {
        let told = self.guild.facts().await?;
        let matches = self.match_in(&told.facts);
        if matches.pins == self.pinned().pins || !told.is_current {
            return Ok(self.found(told.facts, matches));
        }
        let _turn = self.turn.lock().await;
        // The facts from before the lock may be older than the pins are by now.
        let told = self.guild.facts().await?;
        let matches = self.match_in(&told.facts);
        if told.is_current && matches.pins != self.pinned().pins {
            match store::within(SAVE_TIMEOUT, self.save(&matches.pins)).await {
                Ok(()) => self.pinned().become_pins(&matches.pins),
                Err(error) => {
                    tracing::warn!(%error, "the roles named in the settings could not be saved");
                }
            }
        }
        Ok(self.found(told.facts, matches))
    }

    /// Returns and clears the names whose role was deleted and that now mean another role.
    pub fn take_moved(&self) -> Vec<(String, RoleId)> {
        std::mem::take(&mut self.pinned().moved)
    }

    /// Returns names to the list, after they could not be reported.
    pub fn put_back_moved(&self, moved: Vec<(String, RoleId)>) {
        self.pinned().moved.extend(moved);
    }

    fn match_in(&self, guild: &GuildFacts) -> RoleMatches {
        match_roles(self.settings.entries(), &self.pinned().pins, &guild.roles)
    }

    async fn save(&self, pins: &RolePins) -> store::Result<()> {
        let mut transaction = self.database.begin().await?;
        role_pin::replace_all(&mut transaction, pins).await?;
        store::commit(transaction).await
    }

    fn found(&self, guild: Arc<GuildFacts>, matches: RoleMatches) -> FoundRoles {
        let RoleMatches {
            mut roles,
            pins,
            problems,
        } = matches;
        let saved = &self.pinned().pins;
        let names: BTreeSet<&String> = pins.keys().chain(saved.keys()).collect();
        let unsettled = names
            .into_iter()
            .filter(|name| pins.get(*name) != saved.get(*name));
        let unsettled = unsettled.map(|name| RoleEntry::Name(name.clone()));
        let unsettled: BTreeSet<RoleEntry> = unsettled.collect();
        roles.retain(|entry, _| !unsettled.contains(entry));
        FoundRoles {
            guild,
            problems,
            roles,
            unsettled,
        }
    }

    fn pinned(&self) -> MutexGuard<'_, Pinned> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pinned {
    fn become_pins(&mut self, pins: &RolePins) {
        for (name, role) in pins {
            match self.pins.get(name) {
                None => tracing::info!(name, %role, "a role named in the settings was found"),
                Some(before) if before != role => {
                    tracing::warn!(
                        name,
                        %before,
                        %role,
                        "a role named in the settings was deleted; another role with that name now has its rights"
                    );
                    self.moved.push((name.clone(), *role));
                }
                Some(_) => {}
            }
        }
        for (name, role) in &self.pins {
            if !pins.contains_key(name) {
                tracing::warn!(name, %role, "a role named in the settings no longer gives rights");
            }
        }
        self.pins.clone_from(pins);
    }
}

impl FoundRoles {
    /// The role that an entry means, if it is found and settled.
    pub fn role(&self, entry: &RoleEntry) -> Option<RoleId> {
        self.roles.get(entry).copied()
    }

    /// The roles that the entries of a list mean.
    pub fn roles<'a>(&'a self, list: &'a RoleList) -> impl Iterator<Item = RoleId> + 'a {
        list.0.iter().filter_map(|entry| self.role(entry))
    }

    /// Whether any entry of a list is not settled yet.
    pub fn is_unsettled(&self, list: &RoleList) -> bool {
        list.0.iter().any(|entry| self.unsettled.contains(entry))
    }

    /// A role's current name; `None` if the guild has no such role.
    pub fn name(&self, role: RoleId) -> Option<&str> {
        let role = self.guild.roles.iter().find(|known| known.id == role)?;
        Some(&role.name)
    }
}
