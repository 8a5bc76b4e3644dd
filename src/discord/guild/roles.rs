//! REST calls on the guild's roles: list, create, rename, delete. Makes no decisions.

use serde_json::{Value, json};
use serenity::all::LightMethod;
use serenity::http::{Request, Route};

use super::members::MemberResponse;
use crate::discord::payload::PartialRole;
use crate::discord::rest::timeouts::CALL_TIMEOUT;
use crate::discord::rest::{Repeat, Rest, RestError, with_reason};
use crate::leveling::{
    self, ChannelOverwrites, GuildId, GuildRole, RoleId, RolePosition, UserId, add_channels,
};

/// Lists the guild's roles, in no particular order. Leaves out roles that cannot be read.
pub async fn list(rest: &Rest, guild: GuildId) -> Result<Vec<GuildRole>, RestError> {
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

/// Lists the guild's roles with what its channels give their holders, and the channels. Fails if
/// either cannot be read: without the channels, a role that opens or moderates one would pass for
/// a harmless one.
pub async fn list_with_channels(
    rest: &Rest,
    guild: GuildId,
) -> Result<(Vec<GuildRole>, Vec<ChannelOverwrites>), RestError> {
    let channels = super::channel_overwrites(rest, guild);
    let (mut roles, channels) = tokio::try_join!(list(rest, guild), channels)?;
    if let Some(everyone) = everyone(guild) {
        add_channels(&mut roles, everyone, &channels);
    }
    Ok((roles, channels))
}

/// Creates a role without permissions, below all others. `reason` is shown in the guild's audit
/// log. The call is not retried if its outcome is unknown: that could create the role twice.
pub async fn create(
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
pub async fn rename(
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
pub async fn delete(
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

/// Lists the roles that the bot holds, without `@everyone`.
pub async fn of_bot(rest: &Rest, guild: GuildId, bot: UserId) -> Result<Vec<RoleId>, RestError> {
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
                http.fire::<MemberResponse>(Request::new(route, LightMethod::Get))
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
    let own = of_bot(rest, guild, bot).await?;
    Ok(leveling::bot_position(&own, everyone(guild), roles))
}

/// The `@everyone` role: it has the guild's id and is the lowest role.
pub fn everyone(guild: GuildId) -> Option<RoleId> {
    RoleId::new(guild.get())
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

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;

    use super::*;

    #[test]
    fn a_role_is_read() {
        let role = json!({
            "id": "5", "name": "Level", "permissions": "8192", "position": 3, "managed": true, "new": [],
        });
        let role = PartialRole::deserialize(role).unwrap().read().unwrap();
        assert_eq!((role.id.get(), role.permissions), (5, 1 << 13));
        assert!(role.managed && role.moderates());
    }
}
