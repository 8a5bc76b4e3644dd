//! The guild's level roles as they are now, remembered until somebody says that they may
//! have changed: a level-up asks Discord for nothing but the role.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::refusals::Refusals;
use crate::discord::right_roles::RightRoles;
use crate::discord::{RestError, guild};
use crate::environment::Environment;
use crate::leveling::{GuildRole, LevelRoles, RoleId, RolePosition, bot_position};

/// The level roles. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LevelRoleCache {
    env: Environment,
    rights: RightRoles,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    roles: Option<Arc<LevelRoles>>,
    /// Goes up with every change that is heard of: what was being read before is of no use.
    edition: u64,
    /// The roles that the bot itself held when they were last read.
    own: Option<BTreeSet<RoleId>>,
    /// Those that could be given and taken when levels were last compared with the guild.
    usable: BTreeSet<RoleId>,
    refusals: Refusals,
    /// Whether a role can be given by now that could not be when members were last verified.
    unverified: bool,
}

impl LevelRoleCache {
    /// A book with nothing in it. `rights` are the roles that give rights, which nobody gets
    /// by talking.
    pub fn new(env: &Environment, rights: RightRoles) -> Self {
        Self {
            env: env.clone(),
            rights,
            known: Arc::default(),
        }
    }

    /// The level roles among these.
    pub(super) fn level_roles_of(
        &self,
        roles: &[GuildRole],
        bot_position: RolePosition,
    ) -> LevelRoles {
        LevelRoles::new(
            &self.env.xp.levels(),
            roles,
            bot_position,
            &self.rights.protected(),
        )
    }

    /// The level roles; read from Discord where they are not known.
    pub async fn level_roles(&self) -> Result<Arc<LevelRoles>, RestError> {
        let edition = {
            let known = self.known();
            if let Some(roles) = &known.roles {
                return Ok(Arc::clone(roles));
            }
            known.edition
        };
        let (roles, bot_position) = self.read().await?;
        let level_roles = Arc::new(self.level_roles_of(&roles, bot_position));
        let mut known = self.known();
        if known.edition == edition {
            known.roles = Some(Arc::clone(&level_roles));
        }
        Ok(level_roles)
    }

    /// The guild's roles and how high the bot stands among them, as Discord says now.
    pub async fn read(&self) -> Result<(Vec<GuildRole>, RolePosition), RestError> {
        let bot = guild::own_id(&self.env.rest).await?;
        let roles = guild::roles(&self.env.rest, self.env.guild).await?;
        let own = guild::roles_of(&self.env.rest, self.env.guild, bot).await?;
        let bot_position = bot_position(&own, guild::everyone(self.env.guild), &roles);
        self.known().own = Some(own.into_iter().collect());
        Ok((roles, bot_position))
    }

    /// Roles, levels, or what the bot may do have changed.
    pub fn forget(&self) {
        let mut known = self.known();
        known.roles = None;
        known.edition += 1;
    }

    /// What the bot can give and take may have changed: what Discord refused before is tried
    /// again, for everyone.
    pub fn reach_may_have_changed(&self) {
        self.forget();
        let mut known = self.known();
        known.unverified |= known.refusals.clear();
    }

    /// Whether a change of this role can change what the bot can give: it is a level's, one of
    /// the bot's own, or everyone's.
    pub fn is_about_reach(&self, role: RoleId) -> bool {
        let is_own = {
            let known = self.known();
            known.own.as_ref().is_none_or(|own| own.contains(&role))
        };
        is_own
            || Some(role) == guild::everyone(self.env.guild)
            || self.env.xp.levels().carrying(role).is_some()
    }

    /// Discord has refused a role; whether that is news.
    pub fn refused(&self, role: RoleId, code: isize) -> bool {
        self.known().refusals.note(role, code, Instant::now())
    }

    /// Whether Discord has refused a role of late.
    pub fn is_refused(&self, role: RoleId) -> bool {
        self.known().refusals.code(role, Instant::now()).is_some()
    }

    /// Whether Discord has refused any role of late.
    pub fn has_refusals(&self) -> bool {
        !self.refusals().is_empty()
    }

    /// The roles that Discord refuses, with its error codes.
    pub(super) fn refusals(&self) -> BTreeMap<RoleId, isize> {
        self.known().refusals.standing(Instant::now())
    }

    /// These are all that Discord refuses: everyone has been verified.
    pub(super) fn set_refusals(&self, refused: &BTreeMap<RoleId, isize>) {
        self.known().refusals.replace(refused, Instant::now());
    }

    /// These roles can be given and taken. If one of them could not before, members are still
    /// to be verified.
    pub(super) fn usable_are(&self, usable: BTreeSet<RoleId>) {
        let mut known = self.known();
        known.unverified |= !usable.is_subset(&known.usable);
        known.usable = usable;
    }

    /// Members are still to be verified.
    pub(super) fn set_unverified(&self) {
        self.known().unverified = true;
    }

    /// Whether members are still to be verified.
    pub(super) fn is_unverified(&self) -> bool {
        self.known().unverified
    }

    /// Members are being verified: whatever changes from now on is for the next time.
    pub(super) fn is_being_verified(&self) {
        self.known().unverified = false;
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
