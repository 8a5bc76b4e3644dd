//! Users and members: their profile, and their state in rules screening and onboarding.

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serenity::model::id::{GuildId, UserId};

use super::lenient::lenient;
use crate::leveling::{self, Field, ObservedProfile, RoleId, Screening, Timestamp};

/// A user. Only the id is required: other fields may be missing or of any type.
#[derive(Debug, Deserialize)]
pub struct PartialUser {
    /// Required: parsing fails without it.
    pub id: UserId,
    #[serde(default, deserialize_with = "lenient")]
    username: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    global_name: Field,
    #[serde(default, deserialize_with = "lenient")]
    avatar: Field,
    #[serde(default, deserialize_with = "lenient")]
    bot: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    system: Option<bool>,
}

/// A member's profile in one guild.
#[derive(Debug, Default, Deserialize)]
pub struct PartialMember {
    #[serde(default, deserialize_with = "lenient")]
    nick: Field,
    #[serde(default, deserialize_with = "lenient")]
    avatar: Field,
}

impl PartialMember {
    /// The member of an event. There a missing field may be set all the same, because Discord
    /// documents that events may leave out a nickname.
    pub(super) fn of_an_event(self) -> Self {
        Self {
            nick: self.nick.left_out(),
            avatar: self.avatar.left_out(),
        }
    }
}

impl PartialUser {
    /// The unique account name, if Discord sent it.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// Whether the account is a bot.
    pub fn is_bot(&self) -> bool {
        self.bot.unwrap_or(false)
    }

    /// Whether the account belongs to Discord, which sends official messages with it.
    pub fn is_system(&self) -> bool {
        self.system.unwrap_or(false)
    }

    /// The user's profile, with that of `member` if given; `None` without a username.
    pub fn seen(self, member: Option<PartialMember>) -> Option<ObservedProfile> {
        let PartialMember { nick, avatar } = member.unwrap_or_default();
        Some(ObservedProfile {
            username: self.username?,
            display_name: self.global_name,
            avatar_hash: self.avatar,
            nickname: nick,
            guild_avatar_hash: avatar,
        })
    }
}

/// A `GUILD_MEMBER_ADD` or `GUILD_MEMBER_UPDATE` event.
#[derive(Debug, Deserialize)]
pub struct MemberEvent {
    /// The guild of the member.
    pub guild_id: GuildId,
    user: PartialUser,
    #[serde(flatten)]
    member: PartialMember,
    #[serde(flatten)]
    screening: PartialScreening,
    #[serde(default, deserialize_with = "role_ids")]
    roles: Option<Box<[RoleId]>>,
}

/// All ids; `None` if the field is not a list of ids.
fn role_ids<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Box<[RoleId]>>, D::Error> {
    let list = Value::deserialize(field)?;
    let id = |id: &Value| id.as_str()?.parse().ok().and_then(RoleId::new);
    Ok(list
        .as_array()
        .and_then(|list| list.iter().map(id).collect()))
}

/// A `GUILD_MEMBER_REMOVE`, `GUILD_BAN_ADD` or `GUILD_BAN_REMOVE` event.
#[derive(Debug, Deserialize)]
pub struct MemberRemoval {
    /// The guild that the member left, or that banned the user.
    pub guild_id: GuildId,
    /// The user who left, was banned, or is no longer banned.
    pub user: UserRef,
}

/// A user's id; other fields are ignored.
#[derive(Debug, Deserialize)]
pub struct UserRef {
    /// Required: parsing fails without it.
    pub id: UserId,
}

/// A member's state in rules screening and onboarding; every field may be missing.
#[derive(Debug, Deserialize)]
pub struct PartialScreening {
    #[serde(default, deserialize_with = "lenient")]
    pending: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    flags: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    joined_at: Option<DateTime<FixedOffset>>,
}

impl PartialScreening {
    /// Converts it to a [`Screening`]. Without `pending`, the member counts as having passed the
    /// rules screening.
    pub fn read(&self) -> Screening {
        let millis = self.joined_at.map(|at| at.timestamp_millis());
        Screening {
            pending: self.pending.unwrap_or(false),
            flags: self.flags,
            joined_at: millis.and_then(Timestamp::from_millis),
        }
    }
}

impl MemberEvent {
    /// The member's user id, also if the member is a bot.
    pub fn user_id(&self) -> UserId {
        self.user.id
    }

    /// The member's user id; `None` for a bot.
    pub fn user(&self) -> Option<leveling::UserId> {
        let id = self.user.id.try_into().ok();
        id.filter(|_| !self.user.is_bot())
    }

    /// The member's state in rules screening and onboarding.
    pub fn screening(&self) -> Screening {
        self.screening.read()
    }

    /// All roles that the member holds; `None` if the event does not show them.
    pub fn roles(&self) -> Option<&[RoleId]> {
        self.roles.as_deref()
    }

    /// The member's profile as far as the event shows it; `None` without a username.
    pub fn seen(self) -> Option<ObservedProfile> {
        self.user.seen(Some(self.member.of_an_event()))
    }
}
