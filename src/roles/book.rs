//! The guild's level roles as they are now, remembered until somebody says that they may
//! have changed: a level-up asks Discord for nothing but the role.

use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashSet;

use crate::discord::right_roles::RightRoles;
use crate::discord::{Rest, RestError, guild};
use crate::leveling::{GuildId, GuildRole, Height, LevelRoles, UserId};
use crate::xp::XpCache;

/// The level roles. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RoleBook {
    rest: Rest,
    guild: GuildId,
    xp: Arc<XpCache>,
    rights: RightRoles,
    known: Arc<Mutex<Known>>,
    /// Members who have joined and not passed the screening yet, as far as was heard or seen.
    pub(super) pending: Arc<DashSet<UserId>>,
}

#[derive(Debug, Default)]
struct Known {
    roles: Option<Arc<LevelRoles>>,
    /// Goes up with every change that is heard of: what was being read before is of no use.
    edition: u64,
}

impl RoleBook {
    /// A book with nothing in it. `rights` are the roles that give rights, which nobody gets
    /// by talking.
    pub fn new(rest: Rest, guild: GuildId, xp: Arc<XpCache>, rights: RightRoles) -> Self {
        Self {
            rest,
            guild,
            xp,
            rights,
            known: Arc::default(),
            pending: Arc::default(),
        }
    }

    /// Someone must pass the screening before they get a role.
    pub fn awaits(&self, user: UserId) {
        self.pending.insert(user);
    }

    /// Whether someone still has to, as far as is known.
    pub fn is_awaited(&self, user: UserId) -> bool {
        self.pending.contains(&user)
    }

    /// Whether someone had to, who has passed it or left now.
    pub fn awaited(&self, user: UserId) -> bool {
        self.pending.remove(&user).is_some()
    }

    /// The level roles among these.
    pub(super) fn level_roles_of(&self, roles: &[GuildRole], reach: Height) -> LevelRoles {
        LevelRoles::new(&self.xp.levels(), roles, reach, &self.rights.protected())
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
        let (roles, reach) = self.read().await?;
        let level_roles = Arc::new(self.level_roles_of(&roles, reach));
        let mut known = self.known();
        if known.edition == edition {
            known.roles = Some(Arc::clone(&level_roles));
        }
        Ok(level_roles)
    }

    /// The guild's roles and how high the bot stands among them, as Discord says now.
    pub async fn read(&self) -> Result<(Vec<GuildRole>, Height), RestError> {
        let bot = guild::own_id(&self.rest).await?;
        let roles = guild::roles(&self.rest, self.guild).await?;
        let reach = guild::reach(&self.rest, self.guild, bot, &roles).await?;
        Ok((roles, reach))
    }

    /// Roles, levels, or what the bot may do have changed.
    pub fn forget(&self) {
        let mut known = self.known();
        known.roles = None;
        known.edition += 1;
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
