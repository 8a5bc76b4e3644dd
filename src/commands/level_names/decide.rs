//! Decides which role a moderator means, and what must be done so that the level carries it.
//!
//! Pure: the levels and the guild's roles are arguments.

use super::say;
use crate::error::UserError;
use crate::leveling::{
    GuildRole, Level, Levels, Naming, ProtectedRoles, RoleId, RoleName, RolePosition,
    ShownChannels, name_level, take_role, take_role_if_changed,
};

/// The role that a level is to carry.
pub(in crate::commands) enum WantedRole {
    /// The role that the moderator mentioned.
    Mentioned(RoleId),
    /// A role with this name, which may have to be created.
    Named {
        /// The text that was typed or suggested. A role with exactly this name is used if there is
        /// one.
        typed: String,
        /// The name of the role if it has to be created.
        name: RoleName,
    },
    /// This role: nobody holds it, or the moderator has confirmed what happens to its holders.
    Confirmed {
        role: RoleId,
        /// The channels opened by the role that the moderator has agreed to.
        channels: Option<ShownChannels>,
    },
}

/// Returns what to do and the name that the level's role will have.
pub(super) fn decide<'a>(
    levels: &Levels,
    roles: &'a [GuildRole],
    bot_position: RolePosition,
    rights: &ProtectedRoles,
    level: &Level,
    wanted: &WantedRole,
) -> Result<(Naming<'a>, RoleName), UserError> {
    let find = |id: RoleId| roles.iter().find(|role| role.id == id);
    let (decided, name) = match wanted {
        WantedRole::Named { typed, name } => {
            let exact = roles.iter().find(|role| role.name == *typed);
            let name = exact.map_or_else(|| name.clone(), RoleName::of);
            let decided = name_level(levels, roles, bot_position, rights, level, &name);
            (decided, name)
        }
        WantedRole::Mentioned(id) => {
            let role = find(*id).ok_or_else(|| say::no_role(*id))?;
            let decided = take_role_if_changed(levels, bot_position, rights, level, role);
            (decided, RoleName::of(role))
        }
        WantedRole::Confirmed { role, .. } => {
            let role = find(*role).ok_or_else(say::role_is_gone)?;
            let decided = take_role(levels, bot_position, rights, level, role);
            (decided, RoleName::of(role))
        }
    };
    match decided {
        Ok(naming) => Ok((naming, name)),
        Err(refusal) => Err(say::refused(&refusal, &name)),
    }
}
