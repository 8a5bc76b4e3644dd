//! REST calls on the guild's roles and members: list, create, rename, delete. Makes no decisions.

pub mod channel_permissions;
pub mod known_guild;
pub mod member_roles;
pub mod member_states;
pub mod right_roles;

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use serenity::all::LightMethod;
use serenity::http::{Request, Route};

use crate::discord::payload::{
    ChannelRef, PartialGuild, PartialMember, PartialRole, PartialScreening, PartialUser,
};
use crate::discord::rest::error_codes::UNKNOWN_USER;
use crate::discord::rest::{Api, CallError, Repeat, Rest, RestError, with_reason};
use crate::leveling::{
    self, ChannelId, GuildId, GuildRole, RoleId, RolePosition, Screening, Sighting, UserId,
};

/// Timeout of a call: people wait for most of them.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Members in one page: Discord's maximum.
const PAGE: usize = 1_000;
/// The guild feature that is set while the guild shows new members Discord's onboarding.
pub const ONBOARDING: &str = "GUILD_ONBOARDING";

/// The part of a guild member that level roles and profiles need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The member's user id.
    pub user: UserId,
    /// The roles that the member holds, without `@everyone`.
    pub roles: Vec<RoleId>,
    /// Whether the member is a bot; bots have no level.
    pub bot: bool,
    /// How far the member has come in membership screening and onboarding.
    pub screening: Screening,
    /// Names and avatars; `None` if Discord sent no name.
    pub seen: Option<Sighting>,
}

/// Lists the guild's roles, in no particular order. Leaves out roles that cannot be read.
pub async fn roles(rest: &Rest, guild: GuildId) -> Result<Vec<GuildRole>, RestError> {
    let listed = rest.call("listing the roles", Repeat::Safe, CALL_TIMEOUT, |http| {
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

/// Fetches the guild as `GUILD_CREATE` shows it, but without its channels.
pub async fn shown(rest: &Rest, guild: GuildId) -> Result<PartialGuild, RestError> {
    let asked = rest.call("asking for the guild", Repeat::Safe, CALL_TIMEOUT, |http| {
        let route = Route::Guild {
            guild_id: guild.into(),
        };
        async move { http.fire(Request::new(route, LightMethod::Get)).await }
    });
    asked.await
}

/// Lists the guild's channels without threads, in no particular order.
pub async fn channels(rest: &Rest, guild: GuildId) -> Result<Vec<ChannelId>, RestError> {
    let listed = rest.call("listing the channels", Repeat::Safe, CALL_TIMEOUT, |http| {
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

/// Fetches the guild's owner and all its roles, in no particular order. Fails if any role cannot
/// be read, because members' permissions would then be unknown.
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

/// Lists the roles that the bot holds, without `@everyone`.
pub async fn roles_of(rest: &Rest, guild: GuildId, bot: UserId) -> Result<Vec<RoleId>, RestError> {
    let asked = rest.call(
        "asking for the bot's roles",
        Repeat::Safe,
        CALL_TIMEOUT,
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

/// The `@everyone` role: it has the guild's id and is the lowest role.
pub fn everyone(guild: GuildId) -> Option<RoleId> {
    RoleId::new(guild.get())
}

/// Whether the guild shows new members Discord's onboarding.
pub async fn has_onboarding(rest: &Rest, guild: GuildId) -> Result<bool, RestError> {
    let asked = rest.call("asking for the guild", Repeat::Safe, CALL_TIMEOUT, |http| {
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

/// Creates a role without permissions, below all others. `reason` is shown in the guild's audit
/// log. The call is not retried if its outcome is unknown: that could create the role twice.
pub async fn create_role(
    rest: &Rest,
    guild: GuildId,
    name: &str,
    reason: &str,
) -> Result<GuildRole, RestError> {
    let body = json!({ "name": name, "permissions": "0", "hoist": false });
    let made = rest.call("making a role", Repeat::Never, CALL_TIMEOUT, |http| {
        let body = &body;
        async move {
            let route = Route::GuildRoles {
                guild_id: guild.into(),
            };
            let request = request_with_body(route, LightMethod::Post, body, reason);
            http.fire::<PartialRole>(request).await
        }
    });
    let unreadable = RestError::NotUnderstood("the new role was not understood".to_owned());
    made.await?.read().ok_or(unreadable)
}

/// Renames a role. Returns the name as Discord stored it, which may differ from `name`.
pub async fn rename_role(
    rest: &Rest,
    guild: GuildId,
    role: RoleId,
    name: &str,
    reason: &str,
) -> Result<String, RestError> {
    let body = json!({ "name": name });
    rest.call("renaming a role", Repeat::Safe, CALL_TIMEOUT, |http| {
        let body = &body;
        async move {
            let route = Route::GuildRole {
                guild_id: guild.into(),
                role_id: role.into(),
            };
            let request = request_with_body(route, LightMethod::Patch, body, reason);
            let renamed = http.send_and_look(request).await?;
            Ok(renamed["name"].as_str().unwrap_or(name).to_owned())
        }
    })
    .await
}

/// Deletes a role. Succeeds if it is gone already.
pub async fn delete_role(
    rest: &Rest,
    guild: GuildId,
    role: RoleId,
    reason: &str,
) -> Result<(), RestError> {
    let deleted = rest.call(
        "deleting a role",
        Repeat::Safe,
        CALL_TIMEOUT,
        |http| async move {
            let route = Route::GuildRole {
                guild_id: guild.into(),
                role_id: role.into(),
            };
            http.send(delete_request(route, reason)).await
        },
    );
    match deleted.await {
        Err(RestError::Refused { status: 404, .. }) => Ok(()),
        other => other,
    }
}

/// Fetches the bot's own user id.
pub async fn own_id(rest: &Rest) -> Result<UserId, RestError> {
    let asked = rest.call(
        "asking who the bot is",
        Repeat::Safe,
        CALL_TIMEOUT,
        |http| async move {
            http.fire::<PartialUser>(Request::new(Route::UserMe, LightMethod::Get))
                .await
        },
    );
    let id = asked.await?.id.try_into();
    id.map_err(|()| RestError::NotUnderstood("the bot's own id was not understood".to_owned()))
}

/// Fetches one member; `None` if they are not in the guild.
pub async fn member(
    rest: &Rest,
    guild: GuildId,
    user: UserId,
) -> Result<Option<Member>, RestError> {
    let asked = rest.call("asking for a member", Repeat::Safe, CALL_TIMEOUT, |http| {
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

/// Fetches a user's name and avatar; `None` if Discord no longer knows the account.
pub async fn account(rest: &Rest, user: UserId) -> Result<Option<Sighting>, RestError> {
    let asked = rest.call("asking for a user", Repeat::Safe, CALL_TIMEOUT, |http| {
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

/// Calls `take` with every member, page by page, so that a big guild is never in memory as a
/// whole. Members that cannot be read are skipped and logged; fails if a whole page cannot be.
pub async fn each_member(
    rest: &Rest,
    guild: GuildId,
    mut take: impl FnMut(Member),
) -> Result<(), RestError> {
    let mut after = 0;
    loop {
        let page = rest.call("listing the members", Repeat::Safe, CALL_TIMEOUT, |http| {
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

fn request_with_body<'a>(
    route: Route<'a>,
    method: LightMethod,
    body: &Value,
    reason: &str,
) -> Request<'a> {
    let body = body.to_string().into_bytes();
    with_reason(route, method, reason).body(Some(body))
}

fn delete_request<'a>(route: Route<'a>, reason: &str) -> Request<'a> {
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

/// A member as REST returns it, including the user.
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
