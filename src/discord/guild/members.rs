//! REST calls on members and users: one member, all members, an account. Makes no decisions.

use serde::Deserialize;
use serde_json::Value;
use serenity::all::LightMethod;
use serenity::http::{Request, Route};

use crate::discord::payload::{PartialMember, PartialScreening, PartialUser};
use crate::discord::rest::error_codes::UNKNOWN_USER;
use crate::discord::rest::timeouts::CALL_TIMEOUT;
use crate::discord::rest::{Api, CallError, Repeat, Rest, RestError};
use crate::leveling::{GuildId, ObservedProfile, RoleId, Screening, UserId};

/// Members in one page: Discord's maximum.
const PAGE: usize = 1_000;

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
    pub seen: Option<ObservedProfile>,
}

/// Fetches one member; `None` if they are not in the guild.
pub async fn fetch(rest: &Rest, guild: GuildId, user: UserId) -> Result<Option<Member>, RestError> {
    let asked = rest.call("asking for a member", Repeat::Safe, CALL_TIMEOUT, |http| {
        let route = Route::GuildMember {
            guild_id: guild.into(),
            user_id: user.into(),
        };
        async move {
            http.fire::<MemberResponse>(Request::new(route, LightMethod::Get))
                .await
        }
    });
    match asked.await {
        Ok(member) => Ok(member.read()),
        Err(RestError::Refused { status: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Calls `take` with every member, page by page, so that a big guild is never in memory as a
/// whole. Members that cannot be read are skipped and logged; fails if a whole page cannot be.
pub async fn each(
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

/// Fetches a user's name and avatar; `None` if Discord no longer knows the account.
pub async fn fetch_account(
    rest: &Rest,
    user: UserId,
) -> Result<Option<ObservedProfile>, RestError> {
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

async fn members_after(http: Api, guild: GuildId, after: u64) -> Result<Vec<Value>, CallError> {
    let route = Route::GuildMembers {
        guild_id: guild.into(),
    };
    let query = [("limit", PAGE.to_string()), ("after", after.to_string())];
    let request = Request::new(route, LightMethod::Get).params(Some(query.to_vec()));
    http.fire(request).await
}

fn read_member(member: Value) -> Option<Member> {
    MemberResponse::deserialize(member).ok()?.read()
}

/// A member as REST returns it, including the user.
#[derive(Debug, Deserialize)]
pub(super) struct MemberResponse {
    user: PartialUser,
    roles: Vec<serenity::all::RoleId>,
    #[serde(flatten)]
    screening: PartialScreening,
    #[serde(flatten)]
    member: PartialMember,
}

impl MemberResponse {
    pub fn role_ids(&self) -> Vec<RoleId> {
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
    use serde_json::json;

    use super::*;
    use crate::leveling::Timestamp;

    #[test]
    fn what_discord_sends_is_read() {
        let member = json!({
            "user": { "id": "7" }, "roles": ["5", "6"], "nick": null,
            "flags": 8, "joined_at": "1970-01-01T00:00:02.500000+00:00",
        });
        let member = MemberResponse::deserialize(member).unwrap().read().unwrap();
        assert_eq!((member.user.get(), member.bot), (7, false));
        assert_eq!(member.seen, None, "without a name");
        let joined_at = Timestamp::from_millis(2_500);
        let shown = member.screening;
        assert_eq!((shown.flags, shown.joined_at), (Some(8), joined_at));
        let odd = json!({ "user": { "id": "7" }, "roles": [], "joined_at": "yesterday" });
        let odd = MemberResponse::deserialize(odd).unwrap().read().unwrap();
        assert_eq!(odd.screening.joined_at, None);
        assert_eq!(
            member.roles,
            [RoleId::new(5).unwrap(), RoleId::new(6).unwrap()]
        );
    }
}
