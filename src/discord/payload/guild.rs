//! A guild and its roles.

use serde::Deserialize;
use serenity::model::id::{GuildId, RoleId, UserId};

use super::channel::ChannelRef;
use super::lenient::{lenient, lenient_text};
use crate::leveling::GuildRole;

/// A guild that is there, has changed, or is gone; only its id must make sense.
#[derive(Debug, Deserialize)]
pub struct PartialGuild {
    /// Discord's id.
    pub id: GuildId,
    #[serde(default, deserialize_with = "lenient")]
    unavailable: Option<bool>,
    /// Hostile text, as all names.
    #[serde(default, deserialize_with = "lenient")]
    pub name: Option<String>,
    /// Who owns it.
    #[serde(default, deserialize_with = "lenient_text")]
    pub owner_id: Option<UserId>,
    /// What Discord has switched on in it.
    #[serde(default, deserialize_with = "lenient_text")]
    pub features: Option<Vec<String>>,
    #[serde(default, deserialize_with = "lenient_text")]
    roles: Option<Vec<PartialRole>>,
    /// Its channels, without threads.
    #[serde(default, deserialize_with = "lenient_text")]
    pub channels: Option<Vec<ChannelRef>>,
}

impl PartialGuild {
    /// Whether Discord has trouble with it.
    pub fn is_unavailable(&self) -> bool {
        self.unavailable.unwrap_or(false)
    }

    /// All its roles; `None` if one of them is not understood.
    pub fn roles(&self) -> Option<Vec<GuildRole>> {
        self.roles.as_ref()?.iter().map(PartialRole::read).collect()
    }
}

/// Only what levels and rights need: a field that Discord adds or drops must not hide a role.
#[derive(Clone, Debug, Deserialize)]
pub struct PartialRole {
    id: RoleId,
    name: String,
    /// Decimal, and with bits that no library knows.
    permissions: String,
    position: i64,
    #[serde(default)]
    managed: bool,
}

impl PartialRole {
    /// In our own terms.
    pub fn read(&self) -> Option<GuildRole> {
        Some(GuildRole {
            id: self.id.try_into().ok()?,
            name: self.name.clone(),
            permissions: self.permissions.parse().ok()?,
            position: self.position,
            managed: self.managed,
        })
    }
}

/// A role that was made or has changed.
#[derive(Debug, Deserialize)]
pub struct RoleEvent {
    /// Where.
    pub guild_id: GuildId,
    /// The role as it is now.
    pub role: PartialRole,
}

/// A role that was deleted.
#[derive(Debug, Deserialize)]
pub struct RoleDeletion {
    /// Where.
    pub guild_id: GuildId,
    /// Which.
    pub role_id: RoleId,
}
