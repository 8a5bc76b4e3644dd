//! A guild and its roles, from events and REST responses.

use serde::Deserialize;
use serenity::model::id::{GuildId, RoleId, UserId};

use super::channel::ChannelRef;
use super::lenient::{lenient, lenient_text};
use crate::leveling::{GuildRole, RoleInChannels};

/// A guild, from an event or a REST response. Only its id is required: any other field is `None` if
/// it is missing or was not understood.
#[derive(Debug, Deserialize)]
pub struct PartialGuild {
    /// Required: parsing fails without it.
    pub id: GuildId,
    #[serde(default, deserialize_with = "lenient")]
    unavailable: Option<bool>,
    /// Untrusted text: escape it before showing it.
    #[serde(default, deserialize_with = "lenient")]
    pub name: Option<String>,
    /// The owner, who has all permissions.
    #[serde(default, deserialize_with = "lenient_text")]
    pub owner_id: Option<UserId>,
    /// Names of the features that are enabled in the guild, such as `COMMUNITY`.
    #[serde(default, deserialize_with = "lenient_text")]
    pub features: Option<Vec<String>>,
    #[serde(default, deserialize_with = "lenient_text")]
    roles: Option<Vec<PartialRole>>,
    /// The guild's channels, without threads.
    #[serde(default, deserialize_with = "lenient_text")]
    pub channels: Option<Vec<ChannelRef>>,
}

impl PartialGuild {
    /// Whether Discord reports an outage of this guild.
    pub fn is_unavailable(&self) -> bool {
        self.unavailable.unwrap_or(false)
    }

    /// All roles of the guild; `None` if they are missing or one of them was not understood.
    pub fn roles(&self) -> Option<Vec<GuildRole>> {
        self.roles.as_ref()?.iter().map(PartialRole::read).collect()
    }
}

/// A role, with only the fields that levels and rights need, so that a change of any other field
/// in Discord's API does no harm.
#[derive(Clone, Debug, Deserialize)]
pub struct PartialRole {
    id: RoleId,
    name: String,
    /// A decimal number. It can have bits that no library knows yet.
    permissions: String,
    position: i64,
    #[serde(default)]
    managed: bool,
}

impl PartialRole {
    /// Converts it to a [`GuildRole`]; `None` if its id or its permissions are not valid.
    pub fn read(&self) -> Option<GuildRole> {
        Some(GuildRole {
            id: self.id.try_into().ok()?,
            name: self.name.clone(),
            permissions: self.permissions.parse().ok()?,
            position: self.position,
            managed: self.managed,
            in_channels: RoleInChannels::default(),
        })
    }
}

/// A `GUILD_ROLE_CREATE` or `GUILD_ROLE_UPDATE` event.
#[derive(Debug, Deserialize)]
pub struct RoleEvent {
    /// The guild of the role.
    pub guild_id: GuildId,
    /// The role after the change.
    pub role: PartialRole,
}

/// A `GUILD_ROLE_DELETE` event.
#[derive(Debug, Deserialize)]
pub struct RoleDeletion {
    /// The guild of the role.
    pub guild_id: GuildId,
    /// The deleted role.
    pub role_id: RoleId,
}
