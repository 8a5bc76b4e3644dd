//! The guild's roles and members over REST: read, made, renamed, deleted. Decides nothing.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use serenity::all::LightMethod;
use serenity::http::{Request, Route};

use super::codes::UNKNOWN_USER;
use super::payload::{
    ChannelRef, PartialGuild, PartialMember, PartialRole, PartialScreening, PartialUser,
};
use super::rest::{Api, CallError, Repeat, Rest, RestError, with_reason};
use crate::leveling::{
    self, ChannelId, GuildId, GuildRole, RoleId, RolePosition, Screening, Sighting, UserId,
};

/// How long a person waits for one of these calls.
const PATIENCE: Duration = Duration::from_secs(10);
/// Members in a page: as many as Discord gives.
const PAGE: usize = 1_000;
/// The feature of a guild that shows new members Discord's onboarding.
pub const ONBOARDING: &str = "GUILD_ONBOARDING";

/// A member, as far as level roles and profiles care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who it is.
    pub user: UserId,
    /// The roles that the member holds.
    pub roles: Vec<RoleId>,
    /// Whether it is a bot, which has no level.
    pub bot: bool,
    /// How far they are on the way into the guild.
    pub screening: Screening,
    /// Names and avatars; `None` if Discord sent no name.
    pub seen: Option<Sighting>,
}

/// All roles of the guild, in no order.
pub async fn roles(rest: &Rest, guild: GuildId) -> Result<Vec<GuildRole>, RestError> {
    let listed = rest.call("listing the roles", Repeat::Safe, PATIENCE, |http| {
        let route = Route::GuildRoles {
            guild_id: guild.into(),
        };
        async move {
            http.fire::<Vec<PartialRole>>(Request::new(route, LightMethod::Get))
                .await
        }
    });
    Ok(listed
        .await?
        .into_iter()
        .filter_map(|role: PartialRole| role.read())
        .collect())
}

/// The guild as `GUILD_CREATE` shows it, without its channels.
pub async fn shown(rest: &Rest, guild: GuildId) -> Result<PartialGuild, RestError> {
    let asked = rest.call("asking for the guild", Repeat::Safe, PATIENCE, |http| {
        let route = Route::Guild {
            guild_id: guild.into(),
        };
        async move { http.fire(Request::new(route, LightMethod::Get)).await }
    });
    asked.await
}

/// The guild's channels, without threads, in no order.
pub async fn channels(rest: &Rest, guild: GuildId) -> Result<Vec<ChannelId>, RestError> {
    let listed = rest.call("listing the channels", Repeat::Safe, PATIENCE, |http| {
        let route = Route::GuildChannels {
            guild_id: guild.into(),
        };
        async move {
            http.fire::<Vec<ChannelRef>>(Request::new(route, LightMethod::Get))
                .await
        }
    });
    let listed = listed.await?.into_iter();
    Ok(listed.filter_map(|one| one.id.try_into().ok()).collect())
}

/// Who owns the guild, and all its roles, in no order; Discord has `timeout` to say it. An
/// error if one of them is not understood: what a member may do is then unknown.
pub async fn owner_and_roles(
    rest: &Rest,
    guild: GuildId,
    timeout: Duration,
) -> Result<(UserId, Vec<GuildRole>), RestError> {
    let asked = rest.call("asking for the guild", Repeat::Safe, timeout, |http| {
        let route = Route::Guild {
            guild_id: guild.into(),
        };
        async move {
            http.fire::<OwnerAndRoles>(Request::new(route, LightMethod::Get))
                .await
        }
    });
    let OwnerAndRoles { owner_id, roles } = asked.await?;
    let roles: Option<Vec<_>> = roles.iter().map(PartialRole::read).collect();
    let read = owner_id.try_into().ok().zip(roles);
    read.ok_or_else(|| RestError::NotUnderstood("the guild was not understood".to_owned()))
}

/// The roles that the bot holds, without the one that everyone has.
pub async fn roles_of(rest: &Rest, guild: GuildId, bot: UserId) -> Result<Vec<RoleId>, RestError> {
    let asked = rest.call(
        "asking for the bot's roles",
        Repeat::Safe,
        PATIENCE,
        |http| {
            let route = Route::GuildMember {
                guild_id: guild.into(),
                user_id: bot.into(),
            };
            async move {
                http.fire::<MemberAnswer>(Request::new(route, LightMethod::Get))
                    .await
            }
        },
    );
    Ok(asked.await?.role_ids())
}

/// The position of the bot's highest role among `roles`; `BELOW_ALL_ROLES` if the bot may not
/// manage roles.
pub async fn bot_position(
    rest: &Rest,
    guild: GuildId,
    bot: UserId,
    roles: &[GuildRole],
) -> Result<RolePosition, RestError> {
    let own = roles_of(rest, guild, bot).await?;
    Ok(leveling::bot_position(&own, everyone(guild), roles))
}

/// The role that everyone has: it has the guild's id, and is the lowest.
pub fn everyone(guild: GuildId) -> Option<RoleId> {
    RoleId::new(guild.get())
}

/// Whether the guild shows new members Discord's onboarding.
pub async fn has_onboarding(rest: &Rest, guild: GuildId) -> Result<bool, RestError> {
    let asked = rest.call("asking for the guild", Repeat::Safe, PATIENCE, |http| {
        let route = Route::Guild {
            guild_id: guild.into(),
        };
        async move {
            http.fire::<Features>(Request::new(route, LightMethod::Get))
                .await
        }
    });
    Ok(asked.await?.features.iter().any(|one| one == ONBOARDING))
}

/// Makes a role without any rights, below all others. `reason` stands in the guild's audit
/// log. Not repeated when nobody knows whether it was made: it would be there twice.
pub async fn create_role(
    rest: &Rest,
    guild: GuildId,
    name: &str,
    reason: &str,
) -> Result<GuildRole, RestError> {
    let body = json!({ "name": name, "permissions": "0", "hoist": false });
    let made = rest.call("making a role", Repeat::Never, PATIENCE, |http| {
        let body = &body;
        async move {
            let route = Route::GuildRoles {
                guild_id: guild.into(),
            };
            let request = changing(route, LightMethod::Post, body, reason);
            http.fire::<PartialRole>(request).await
        }
    });
    let unreadable = RestError::NotUnderstood("the new role was not understood".to_owned());
    made.await?.read().ok_or(unreadable)
}

/// Gives a role another name. Discord's own idea of that name is returned.
pub async fn rename_role(
    rest: &Rest,
    guild: GuildId,
    role: RoleId,
    name: &str,
    reason: &str,
) -> Result<String, RestError> {
    let body = json!({ "name": name });
    rest.call("renaming a role", Repeat::Safe, PATIENCE, |http| {
        let body = &body;
        async move {
            let route = Route::GuildRole {
                guild_id: guild.into(),
                role_id: role.into(),
            };
            let request = changing(route, LightMethod::Patch, body, reason);
            let renamed = http.send_and_look(request).await?;
            Ok(renamed["name"].as_str().unwrap_or(name).to_owned())
        }
    })
    .await
}

/// Deletes a role. One that is gone already is deleted.
pub async fn delete_role(
    rest: &Rest,
    guild: GuildId,
    role: RoleId,
    reason: &str,
) -> Result<(), RestError> {
    let deleted = rest.call(
        "deleting a role",
        Repeat::Safe,
        PATIENCE,
        |http| async move {
            let route = Route::GuildRole {
                guild_id: guild.into(),
                role_id: role.into(),
            };
            http.send(deleting(route, reason)).await
        },
    );
    match deleted.await {
        Err(RestError::Refused { status: 404, .. }) => Ok(()),
        other => other,
    }
}

/// The bot's own id.
pub async fn own_id(rest: &Rest) -> Result<UserId, RestError> {
    let asked = rest.call(
        "asking who the bot is",
        Repeat::Safe,
        PATIENCE,
        |http| async move {
            http.fire::<PartialUser>(Request::new(Route::UserMe, LightMethod::Get))
                .await
        },
    );
    let id = asked.await?.id.try_into();
    id.map_err(|()| RestError::NotUnderstood("the bot's own id was not understood".to_owned()))
}

/// One member; `None` if they are not in the guild.
pub async fn member(
    rest: &Rest,
    guild: GuildId,
    user: UserId,
) -> Result<Option<Member>, RestError> {
    let asked = rest.call("asking for a member", Repeat::Safe, PATIENCE, |http| {
        let route = Route::GuildMember {
            guild_id: guild.into(),
            user_id: user.into(),
        };
        async move {
            http.fire::<MemberAnswer>(Request::new(route, LightMethod::Get))
                .await
        }
    });
    match asked.await {
        Ok(member) => Ok(member.read()),
        Err(RestError::Refused { status: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What an account is called, and its avatar; `None` if Discord knows it no more.
pub async fn account(rest: &Rest, user: UserId) -> Result<Option<Sighting>, RestError> {
    let asked = rest.call("asking for a user", Repeat::Safe, PATIENCE, |http| {
        let route = Route::User {
            user_id: user.into(),
        };
        async move {
            http.fire::<PartialUser>(Request::new(route, LightMethod::Get))
                .await
        }
    });
    let nameless = RestError::NotUnderstood("a user has no name".to_owned());
    match asked.await {
        Ok(user) => user.seen(None).map(Some).ok_or(nameless),
        Err(RestError::Refused {
            code: UNKNOWN_USER, ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Shows every member to `take`, a page at a time: a big guild never stands in memory. One
/// who cannot be read is left out, and does not hide the others.
pub async fn each_member(
    rest: &Rest,
    guild: GuildId,
    mut take: impl FnMut(Member),
) -> Result<(), RestError> {
    let mut after = 0;
    loop {
        let page = rest.call("listing the members", Repeat::Safe, PATIENCE, |http| {
            members_after(http, guild, after)
        });
        let (page, before) = (page.await?, after);
        let (listed, is_last) = (page.len(), page.len() < PAGE);
        let members: Vec<_> = page.into_iter().filter_map(read_member).collect();
        if members.is_empty() && listed > 0 {
            let why = "listing the members failed: not one of them was understood";
            return Err(RestError::NotUnderstood(why.to_owned()));
        }
        if members.len() < listed {
            let members = listed - members.len();
            tracing::error!(members, "members could not be read, and are left out");
        }
        for member in members {
            after = after.max(member.user.get());
            take(member);
        }
        if is_last || after == before {
            return Ok(());
        }
    }
}

async fn members_after(http: Api, guild: GuildId, after: u64) -> Result<Vec<Value>, CallError> {
    let route = Route::GuildMembers {
        guild_id: guild.into(),
    };
    let query = [("limit", PAGE.to_string()), ("after", after.to_string())];
    let request = Request::new(route, LightMethod::Get).params(Some(query.to_vec()));
    http.fire(request).await
}

fn read_member(member: Value) -> Option<Member> {
    MemberAnswer::deserialize(member).ok()?.read()
}

fn changing<'a>(route: Route<'a>, method: LightMethod, body: &Value, reason: &str) -> Request<'a> {
    let body = body.to_string().into_bytes();
    with_reason(route, method, reason).body(Some(body))
}

fn deleting<'a>(route: Route<'a>, reason: &str) -> Request<'a> {
    with_reason(route, LightMethod::Delete, reason)
}

#[derive(Debug, Deserialize)]
struct OwnerAndRoles {
    owner_id: serenity::all::UserId,
    roles: Vec<PartialRole>,
}

#[derive(Debug, Deserialize)]
struct Features {
    features: Vec<String>,
}

/// A member with their account, as REST shows them.
#[derive(Debug, Deserialize)]
struct MemberAnswer {
    user: PartialUser,
    roles: Vec<serenity::all::RoleId>,
    #[serde(flatten)]
    screening: PartialScreening,
    #[serde(flatten)]
    member: PartialMember,
}

impl MemberAnswer {
    fn role_ids(&self) -> Vec<RoleId> {
        self.roles
            .iter()
            .filter_map(|role| RoleId::try_from(*role).ok())
            .collect()
    }

    fn read(self) -> Option<Member> {
        Some(Member {
            user: self.user.id.try_into().ok()?,
            roles: self.role_ids(),
            bot: self.user.is_bot(),
            screening: self.screening.read(),
            seen: self.user.seen(Some(self.member)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leveling::Timestamp;

    #[test]
    fn what_discord_sends_is_read() {
        let role = json!({
            "id": "5", "name": "Level", "permissions": "8192", "position": 3, "managed": true, "new": [],
        });
        let role = PartialRole::deserialize(role).unwrap().read().unwrap();
        assert_eq!((role.id.get(), role.permissions), (5, 1 << 13));
        assert!(role.managed && role.moderates());
        let member = json!({
            "user": { "id": "7" }, "roles": ["5", "6"], "nick": null,
            "flags": 8, "joined_at": "1970-01-01T00:00:02.500000+00:00",
        });
        let member = MemberAnswer::deserialize(member).unwrap().read().unwrap();
        assert_eq!((member.user.get(), member.bot), (7, false));
        assert_eq!(member.seen, None, "without a name");
        let joined_at = Timestamp::from_millis(2_500);
        let shown = member.screening;
        assert_eq!((shown.flags, shown.joined_at), (Some(8), joined_at));
        let odd = json!({ "user": { "id": "7" }, "roles": [], "joined_at": "yesterday" });
        let odd = MemberAnswer::deserialize(odd).unwrap().read().unwrap();
        assert_eq!(odd.screening.joined_at, None);
        assert_eq!(
            member.roles,
            [RoleId::new(5).unwrap(), RoleId::new(6).unwrap()]
        );
    }
}
