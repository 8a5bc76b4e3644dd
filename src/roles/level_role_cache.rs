//! A cache of the guild's level roles, kept until an event or a command says that they may have
//! changed. With the cache, a level-up calls Discord only to give and take roles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::refusals::Refusals;
use crate::discord::RestError;
use crate::discord::guild::{members, roles};
use crate::environment::Environment;
use crate::leveling::{
    ChannelId, GuildRole, LevelNumber, LevelRoles, Overwrite, OverwriteTarget, RoleId,
    RolePosition, bot_position,
};
use crate::store;

/// Timeout of the query for imported roles, which a level-up waits for.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(5);

/// The cached level roles. Cheap to clone; all clones share the cache.
#[derive(Clone, Debug)]
pub struct LevelRoleCache {
    env: Environment,
    known: Arc<Mutex<CachedRoles>>,
}

#[derive(Debug, Default)]
struct CachedRoles {
    roles: Option<Arc<LevelRoles>>,
    /// Incremented whenever the roles may have changed. A read that began at an older edition is
    /// not cached.
    edition: u64,
    /// The roles that the bot itself held at the last read.
    own: Option<BTreeSet<RoleId>>,
    /// The level roles that the bot could give and take when the levels were last compared with
    /// the guild's roles.
    usable: BTreeSet<RoleId>,
    refusals: Refusals,
    /// The overwrites of the guild's channels, from the last list and the events since; `None` for
    /// those that were not understood.
    channels: BTreeMap<ChannelId, Option<Vec<Overwrite>>>,
    /// Incremented by every event about a channel.
    channels_edition: u64,
    /// Roles that open channels or moderate some, and that the council has been told of.
    asked_about: BTreeSet<RoleId>,
    /// Whether everyone's roles have to be reconciled, for example because the bot can now give a
    /// role that it could not give at the last reconcile.
    needs_reconcile: bool,
}

impl LevelRoleCache {
    /// An empty cache.
    pub fn new(env: &Environment) -> Self {
        Self {
            env: env.clone(),
            known: Arc::default(),
        }
    }

    /// The level roles among the guild's `roles`.
    pub(super) async fn level_roles_of(
        &self,
        roles: &[GuildRole],
        bot_position: RolePosition,
    ) -> LevelRoles {
        let levels = self.env.xp.levels();
        let unseen = self.unseen().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "level roles that open channels are not given before the database answers");
            levels.rows().iter().map(|level| level.number).collect()
        });
        let rights = self.env.right_roles.protected();
        let rewards = self.env.settings.role_rewards();
        LevelRoles::new(&levels, roles, bot_position, &rights, &unseen, rewards)
    }

    /// Levels whose role id was imported and has not been accepted as one of this guild.
    pub(super) async fn unseen(&self) -> store::Result<BTreeSet<LevelNumber>> {
        store::within(DATABASE_TIMEOUT, async {
            let mut session = self.env.database.acquire().await?;
            store::level::unseen(&mut session).await
        })
        .await
    }

    /// The level roles without those that Discord refuses, read from Discord if they are not
    /// cached. A role that replaces the others is then the highest that Discord lets the bot give.
    pub async fn accepted_level_roles(&self) -> Result<Arc<LevelRoles>, RestError> {
        let level_roles = self.level_roles().await?;
        let refusals = self.refusals();
        if refusals.is_empty() {
            return Ok(level_roles);
        }
        let mut accepted = (*level_roles).clone();
        for role in refusals.keys() {
            accepted.without(*role);
        }
        Ok(Arc::new(accepted))
    }

    /// The level roles, read from Discord if they are not cached.
    pub async fn level_roles(&self) -> Result<Arc<LevelRoles>, RestError> {
        let edition = {
            let known = self.known();
            if let Some(roles) = &known.roles {
                return Ok(Arc::clone(roles));
            }
            known.edition
        };
        let (roles, bot_position) = self.read().await?;
        let level_roles = Arc::new(self.level_roles_of(&roles, bot_position).await);
        let mut known = self.known();
        if known.edition == edition {
            known.roles = Some(Arc::clone(&level_roles));
        }
        Ok(level_roles)
    }

    /// Reads the guild's roles, what channels give their holders, and the bot's position among them
    /// from Discord.
    pub async fn read(&self) -> Result<(Vec<GuildRole>, RolePosition), RestError> {
        let bot = members::own_id(&self.env.rest).await?;
        let edition = self.known().channels_edition;
        let listed = roles::list_with_channels(&self.env.rest, self.env.guild).await?;
        let (roles, channels) = listed;
        let own = roles::of_bot(&self.env.rest, self.env.guild, bot).await?;
        let bot_position = bot_position(&own, roles::everyone(self.env.guild), &roles);
        let mut known = self.known();
        known.own = Some(own.into_iter().collect());
        // A list that is older than an event would hide the next change of that channel.
        if known.channels_edition == edition {
            let read = channels.into_iter();
            known.channels = read
                .map(|channel| (channel.channel.id, channel.overwrites))
                .collect();
        }
        Ok((roles, bot_position))
    }

    /// Drops the cached level roles, because roles, levels or the bot's permissions have changed.
    pub fn forget(&self) {
        let mut known = self.known();
        known.roles = None;
        known.edition += 1;
    }

    /// Handles an event that shows a channel's overwrites, `None` if they were not understood. A
    /// deleted channel has none. Returns whether they may change which roles the bot may give:
    /// whether they differ from the known ones for a level's role or for a role that a moderator has
    /// been asked about (then also for @everyone).
    pub fn channel_is(&self, channel: ChannelId, overwrites: Option<Vec<Overwrite>>) -> bool {
        let levels = self.env.xp.levels();
        let everyone = roles::everyone(self.env.guild);
        let mut known = self.known();
        known.channels_edition += 1;
        // A channel without overwrites need not be remembered.
        let before = if overwrites.as_ref().is_some_and(Vec::is_empty) {
            known.channels.remove(&channel)
        } else {
            known.channels.insert(channel, overwrites.clone())
        };
        let asked_about = &known.asked_about;
        let is_relevant = |overwrite: &Overwrite| match overwrite.target {
            OverwriteTarget::Role(role) => {
                levels.carrying(role).is_some()
                    || asked_about.contains(&role)
                    || !asked_about.is_empty() && Some(role) == everyone
            }
            OverwriteTarget::Member(_) => false,
        };
        let relevant = |overwrites: Vec<Overwrite>| -> Vec<Overwrite> {
            overwrites.into_iter().filter(is_relevant).collect()
        };
        let before = before.unwrap_or(Some(Vec::new()));
        before.map(relevant) != overwrites.map(relevant)
    }

    /// Stores the roles that a moderator has been asked about because of channels.
    pub(super) fn asked_about(&self, roles: BTreeSet<RoleId>) {
        self.known().asked_about = roles;
    }

    /// Drops the cache and all refusals, because the bot may be able to give and take other roles
    /// now. If any role was refused, everyone has to be reconciled.
    pub fn reach_may_have_changed(&self) {
        self.forget();
        let mut known = self.known();
        known.needs_reconcile |= known.refusals.clear();
    }

    /// Whether a change of this role can change which level roles the bot can give. True for level
    /// roles, for the bot's own roles and for @everyone. True for every role while the bot's own
    /// roles have not been read.
    pub fn is_about_reach(&self, role: RoleId) -> bool {
        let is_own = {
            let known = self.known();
            known.own.as_ref().is_none_or(|own| own.contains(&role))
        };
        is_own
            || Some(role) == roles::everyone(self.env.guild)
            || self.env.xp.levels().carrying(role).is_some()
    }

    /// Remembers that Discord has refused a role. Returns whether this refusal is new.
    pub fn refused(&self, role: RoleId, code: isize) -> bool {
        self.known().refusals.note(role, code, Instant::now())
    }

    /// Whether Discord has refused this role and the refusal has not expired.
    pub fn is_refused(&self, role: RoleId) -> bool {
        self.known().refusals.code(role, Instant::now()).is_some()
    }

    /// Whether any role has a refusal that has not expired.
    pub fn has_refusals(&self) -> bool {
        !self.refusals().is_empty()
    }

    /// The roles that Discord refuses, with Discord's error codes.
    pub(super) fn refusals(&self) -> BTreeMap<RoleId, isize> {
        self.known().refusals.standing(Instant::now())
    }

    /// Replaces the refusals with those that a reconcile of everyone has met.
    pub(super) fn set_refusals(&self, refused: &BTreeMap<RoleId, isize>) {
        self.known().refusals.replace(refused, Instant::now());
    }

    /// Stores which level roles the bot can give and take. If it could not give one of them
    /// before, everyone has to be reconciled.
    pub(super) fn usable_are(&self, usable: BTreeSet<RoleId>) {
        let mut known = self.known();
        known.needs_reconcile |= !usable.is_subset(&known.usable);
        known.usable = usable;
    }

    /// Records that everyone has to be reconciled.
    pub(super) fn set_needs_reconcile(&self) {
        self.known().needs_reconcile = true;
    }

    /// Whether everyone has to be reconciled.
    pub(super) fn needs_reconcile(&self) -> bool {
        self.known().needs_reconcile
    }

    /// Records that a reconcile of everyone begins. A change after this call requires another
    /// one.
    pub(super) fn reconcile_begins(&self) {
        self.known().needs_reconcile = false;
    }

    fn known(&self) -> std::sync::MutexGuard<'_, CachedRoles> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
