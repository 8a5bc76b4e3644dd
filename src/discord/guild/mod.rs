//! The guild: its roles, its members, and what the bot and others may do in it.
//!
//! - this file: REST calls on the guild itself and on its channels
//! - `roles`, `members` and `bans`: REST calls on those
//! - `known_guild`: a cache of the guild's owner and roles
//! - `channel_permissions`: what a member may do in a channel
//! - `right_roles`: the roles to which the settings give rights
//! - `member_roles`: gives roles to members and takes them
//! - `member_states`: who must wait before they get roles, and who has left

pub mod bans;
pub mod channel_permissions;
pub mod known_guild;
pub mod member_roles;
pub mod member_states;
pub mod members;
pub mod right_roles;
pub mod roles;

use std::time::Duration;

use serde::Deserialize;
use serenity::all::LightMethod;
use serenity::http::{Request, Route};

use crate::discord::payload::{
    ChannelList, OverwrittenChannel, PartialChannel, PartialGuild, PartialRole, ThreadList,
};
use crate::discord::rest::timeouts::CALL_TIMEOUT;
use crate::discord::rest::{Repeat, Rest, RestError};
use crate::leveling::{ChannelId, ChannelOverwrites, GuildId, GuildRole, UserId};

/// The guild feature that is set while the guild shows new members Discord's onboarding.
pub const ONBOARDING: &str = "GUILD_ONBOARDING";

/// Fetches the guild as `GUILD_CREATE` shows it, but without its channels.
pub async fn fetch(rest: &Rest, guild: GuildId) -> Result<PartialGuild, RestError> {
    let asked = rest.call("asking for the guild", Repeat::Safe, CALL_TIMEOUT, |http| {
        let route = Route::Guild {
            guild_id: guild.into(),
        };
        async move { http.fire(Request::new(route, LightMethod::Get)).await }
    });
    asked.await
}

/// Lists the guild's channels without threads, in no particular order.
pub async fn channels(rest: &Rest, guild: GuildId) -> Result<ChannelList, RestError> {
    let listed = rest.call("listing the channels", Repeat::Safe, CALL_TIMEOUT, |http| {
        let route = Route::GuildChannels {
            guild_id: guild.into(),
        };
        async move {
            http.fire::<ChannelList>(Request::new(route, LightMethod::Get))
                .await
        }
    });
    listed.await
}

/// Lists the guild's channels with their overwrites, without threads, in no particular order. Fails
/// if the id of any of them cannot be read.
pub async fn channel_overwrites(
    rest: &Rest,
    guild: GuildId,
) -> Result<Vec<ChannelOverwrites>, RestError> {
    let listed = rest.call("listing the channels", Repeat::Safe, CALL_TIMEOUT, |http| {
        let route = Route::GuildChannels {
            guild_id: guild.into(),
        };
        async move {
            http.fire::<Vec<OverwrittenChannel>>(Request::new(route, LightMethod::Get))
                .await
        }
    });
    let listed = listed.await?.into_iter().map(OverwrittenChannel::read);
    let read: Option<Vec<_>> = listed.collect();
    read.ok_or_else(|| RestError::NotUnderstood("a channel was not understood".to_owned()))
}

/// Lists the guild's active threads, as far as the bot sees them.
pub async fn active_threads(rest: &Rest, guild: GuildId) -> Result<ThreadList, RestError> {
    let listed = rest.call("listing the threads", Repeat::Safe, CALL_TIMEOUT, |http| {
        let route = Route::GuildThreadsActive {
            guild_id: guild.into(),
        };
        async move {
            http.fire::<ThreadList>(Request::new(route, LightMethod::Get))
                .await
        }
    });
    listed.await
}

/// Fetches a channel or thread, of any guild; `None` if there is none that the bot sees.
pub async fn channel(rest: &Rest, channel: ChannelId) -> Result<Option<PartialChannel>, RestError> {
    let asked = rest.call("asking for a channel", Repeat::Safe, CALL_TIMEOUT, |http| {
        let route = Route::Channel {
            channel_id: channel.into(),
        };
        async move {
            http.fire::<PartialChannel>(Request::new(route, LightMethod::Get))
                .await
        }
    });
    match asked.await {
        Ok(channel) => Ok(Some(channel)),
        Err(RestError::Refused {
            status: 403 | 404, ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
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

#[derive(Debug, Deserialize)]
struct OwnerAndRoles {
    owner_id: serenity::all::UserId,
    roles: Vec<PartialRole>,
}

#[derive(Debug, Deserialize)]
struct Features {
    features: Vec<String>,
}
