//! The roles that the settings give rights to: found in the guild, and remembered.
//!
//! `leveling` decides which role a setting means; here the pins are kept in the database. A
//! name counts only once its pin is saved, so that what gives rights is what a restart finds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::known_guild::{GuildFacts, KnownGuild};
use super::rest::RestError;
use crate::config::{Rights, RoleList};
use crate::leveling::{
    ProtectedRoles, RoleEntry, RoleId, RoleMatches, RolePins, RoleProblem, match_roles,
};
use crate::store::{self, Database, role_pin};

/// How long a command waits for a pin to be saved.
const SAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// The roles that the settings mean. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RightRoles {
    settings: Arc<Rights>,
    guild: KnownGuild,
    database: Database,
    pinned: Arc<Mutex<Pinned>>,
    /// Held while pins change: each change is based on the guild as it is then.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Pinned {
    /// As they are saved.
    pins: RolePins,
    /// Pins that moved to another role of the name since somebody asked.
    moved: Vec<(String, RoleId)>,
}

/// What the settings mean, as far as that is known now.
#[derive(Clone, Debug)]
pub struct FoundRoles {
    /// The guild that they were found in.
    pub guild: Arc<GuildFacts>,
    /// What a person must put right.
    pub problems: Vec<RoleProblem>,
    roles: BTreeMap<RoleEntry, RoleId>,
    /// Entries of which it cannot be told yet.
    unsettled: BTreeSet<RoleEntry>,
}

impl RightRoles {
    /// With the pins that are saved.
    pub async fn load(
        settings: Rights,
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

    /// The settings.
    pub fn settings(&self) -> &Rights {
        &self.settings
    }

    /// Roles that no level may carry. Asks nobody.
    pub fn protected(&self) -> ProtectedRoles {
        ProtectedRoles::new(self.settings.entries(), &self.pinned().pins)
    }

    /// What the settings mean now. New pins are saved first; where that is not possible, the
    /// entries that they are about are unsettled. An error says that Discord did not tell
    /// what roles there are.
    pub async fn find(&self) -> Result<FoundRoles, RestError> {
        let told = self.guild.facts().await?;
        let matches = self.match_in(&told.facts);
        if matches.pins == self.pinned().pins || !told.is_current {
            return Ok(self.found(told.facts, matches));
        }
        let _turn = self.turn.lock().await;
        // What was told before may be older than the pins are by now.
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

    /// Names whose role was deleted and that mean another role since then; each is returned
    /// once.
    pub fn take_moved(&self) -> Vec<(String, RoleId)> {
        std::mem::take(&mut self.pinned().moved)
    }

    /// Says it again next time.
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
    /// The role that an entry means, if it means one.
    pub fn role(&self, entry: &RoleEntry) -> Option<RoleId> {
        self.roles.get(entry).copied()
    }

    /// All roles of a list.
    pub fn roles<'a>(&'a self, list: &'a RoleList) -> impl Iterator<Item = RoleId> + 'a {
        list.0.iter().filter_map(|entry| self.role(entry))
    }

    /// Whether it cannot be told yet what everything in a list means.
    pub fn is_unsettled(&self, list: &RoleList) -> bool {
        list.0.iter().any(|entry| self.unsettled.contains(entry))
    }

    /// What a role is called now.
    pub fn name(&self, role: RoleId) -> Option<&str> {
        let role = self.guild.roles.iter().find(|known| known.id == role)?;
        Some(&role.name)
    }
}
