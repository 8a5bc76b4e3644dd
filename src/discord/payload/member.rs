//! Users and members: who someone is, and how far they are on the way into the guild.

use chrono::{DateTime, FixedOffset};
use serde::Deserialize;
use serenity::model::id::{GuildId, UserId};

use super::lenient::lenient;
use crate::leveling::{self, Field, Screening, Sighting, Timestamp};

/// A user; of the fields only the id must make sense.
#[derive(Debug, Deserialize)]
pub struct PartialUser {
    /// Discord's id.
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

/// What a user is in one guild.
#[derive(Debug, Default, Deserialize)]
pub struct PartialMember {
    #[serde(default, deserialize_with = "lenient")]
    nick: Field,
    #[serde(default, deserialize_with = "lenient")]
    avatar: Field,
}

impl PartialMember {
    /// As an event shows it: Discord documents that it may leave out a nickname.
    pub(super) fn of_an_event(self) -> Self {
        Self {
            nick: self.nick.left_out(),
            avatar: self.avatar.left_out(),
        }
    }
}

impl PartialUser {
    /// The account's own name, where it was shown.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// Whether it is a bot's account.
    pub fn is_bot(&self) -> bool {
        self.bot.unwrap_or(false)
    }

    /// Whether it is Discord itself.
    pub fn is_system(&self) -> bool {
        self.system.unwrap_or(false)
    }

    /// What was seen of them, as `member` where that was shown; `None` without a name.
    pub fn seen(self, member: Option<PartialMember>) -> Option<Sighting> {
        let PartialMember { nick, avatar } = member.unwrap_or_default();
        Some(storable(Sighting {
            username: self.username?,
            display_name: self.global_name,
            avatar_hash: self.avatar,
            nickname: nick,
            guild_avatar_hash: avatar,
        }))
    }
}

/// A member who joined or changed.
#[derive(Debug, Deserialize)]
pub struct MemberEvent {
    /// Where.
    pub guild_id: GuildId,
    user: PartialUser,
    #[serde(flatten)]
    member: PartialMember,
    #[serde(flatten)]
    screening: PartialScreening,
}

/// A member who left or was banned.
#[derive(Debug, Deserialize)]
pub struct MemberRemoval {
    /// Where.
    pub guild_id: GuildId,
    /// Who.
    pub user: UserRef,
}

/// A user's id; other fields are ignored.
#[derive(Debug, Deserialize)]
pub struct UserRef {
    /// Discord's id.
    pub id: UserId,
}

/// How far a member is on the way into the guild; every field may be missing.
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
    /// In our own terms. Whose screening is not told has passed it.
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
    /// Whose event it is, also a bot's.
    pub fn user_id(&self) -> UserId {
        self.user.id
    }

    /// Who it is, unless a bot.
    pub fn user(&self) -> Option<leveling::UserId> {
        let id = self.user.id.try_into().ok();
        id.filter(|_| !self.user.is_bot())
    }

    /// How far they are on the way into the guild.
    pub fn screening(&self) -> Screening {
        self.screening.read()
    }

    /// What was seen of them; `None` without a name.
    pub fn seen(self) -> Option<Sighting> {
        self.user.seen(Some(self.member.of_an_event()))
    }
}

/// Postgres cannot store a NUL, and no name should hold one.
fn storable(seen: Sighting) -> Sighting {
    let clean = |text: String| {
        if text.contains('\0') {
            text.replace('\0', "")
        } else {
            text
        }
    };
    Sighting {
        username: clean(seen.username),
        display_name: seen.display_name.map(clean),
        avatar_hash: seen.avatar_hash.map(clean),
        nickname: seen.nickname.map(clean),
        guild_avatar_hash: seen.guild_avatar_hash.map(clean),
    }
}
