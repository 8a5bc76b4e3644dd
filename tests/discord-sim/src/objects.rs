//! The world in Discord's JSON: users, members, roles, channels, guilds.
//!
//! Every field that the documentation lists as always present is present.
//! Nothing here changes the world.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::clock::{Id, timestamp};
use crate::state::{Channel, Guild, Manager, Member, Role, State, User};
use crate::world::ChannelKind;

/// Ids are strings in JSON.
pub(crate) fn text(id: Id) -> String {
    id.to_string()
}

/// An id as JSON carries it: a string of digits, or (leniently) a number.
pub(crate) fn id_in(value: &Value) -> Option<Id> {
    match value {
        Value::String(digits) => digits.parse().ok(),
        other => other.as_u64(),
    }
}

/// The object's fields; a value that is none has no fields.
pub(crate) fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

pub(crate) fn user(user: &User) -> Value {
    json!({
        "id": text(user.id),
        "username": user.username,
        "discriminator": if user.bot { "0001" } else { "0" },
        "global_name": user.global_name,
        "avatar": user.avatar,
        "avatar_decoration_data": null,
        "bot": user.bot,
        "system": false,
        "public_flags": 0,
        "flags": 0,
        "banner": null,
        "accent_color": null,
    })
}

/// A member without its `user`, as messages and interactions carry it.
pub(crate) fn partial_member(member: &Member) -> Value {
    json!({
        "nick": member.nick,
        "avatar": member.avatar,
        "banner": null,
        "roles": member.roles.iter().copied().map(text).collect::<Vec<_>>(),
        "joined_at": timestamp(member.joined_at_ms),
        "premium_since": null,
        "deaf": false,
        "mute": false,
        "flags": member.flags,
        "pending": member.pending,
        "communication_disabled_until": null,
        "avatar_decoration_data": null,
    })
}

pub(crate) fn role(role: &Role) -> Value {
    let mut object = json!({
        "id": text(role.id),
        "name": role.name,
        "description": null,
        "permissions": role.permissions.to_string(),
        "position": role.position,
        "color": role.color,
        "colors": {
            "primary_color": role.color,
            "secondary_color": null,
            "tertiary_color": null,
        },
        "hoist": role.hoist,
        "managed": role.managed_by.is_some(),
        "mentionable": role.mentionable,
        "icon": null,
        "unicode_emoji": null,
        "flags": 0,
    });
    match role.managed_by {
        Some(Manager::Bot(bot)) => object["tags"] = json!({ "bot_id": text(bot) }),
        Some(Manager::Integration(id)) => {
            object["tags"] = json!({ "integration_id": text(id) });
        }
        None => {}
    }
    object
}

pub(crate) fn roles(guild: &Guild) -> Vec<Value> {
    guild.roles.values().map(role).collect()
}

/// A channel or thread, without its `guild_id`.
pub(crate) fn channel(channel: &Channel, state: &State) -> Value {
    let mut object = json!({
        "id": text(channel.id),
        "type": channel.kind.number(),
        "name": channel.name,
        "parent_id": channel.parent.map(text),
        "last_message_id": channel.last_message.map(text),
        "flags": 0,
    });
    let more = match channel.kind {
        ChannelKind::Dm => {
            let recipient = channel.recipient.and_then(|id| state.user(id));
            json!({ "name": null, "recipients": recipient.iter().map(user).collect::<Vec<_>>() })
        }
        ChannelKind::Thread | ChannelKind::PrivateThread => json!({
            "owner_id": text(state.bot),
            "message_count": state.channel_messages(channel.id).count(),
            "total_message_sent": state.channel_messages(channel.id).count(),
            "member_count": 2,
            "rate_limit_per_user": 0,
            "thread_metadata": {
                "archived": channel.archived_at_ms.is_some(),
                "archive_timestamp": timestamp(channel.archived_at_ms.unwrap_or(crate::clock::time_of(channel.id))),
                "auto_archive_duration": 10_080,
                "locked": false,
                "create_timestamp": timestamp(crate::clock::time_of(channel.id)),
            },
        }),
        _ => json!({
            "position": channel.position,
            "nsfw": false,
            "topic": channel.topic,
            "rate_limit_per_user": 0,
            "permission_overwrites": channel.overwrites.iter().map(|overwrite| json!({
                "id": text(overwrite.target),
                "type": u8::from(overwrite.member),
                "allow": overwrite.allow.to_string(),
                "deny": overwrite.deny.to_string(),
            })).collect::<Vec<_>>(),
        }),
    };
    extend(&mut object, more);
    match channel.kind {
        ChannelKind::Voice => extend(
            &mut object,
            json!({ "bitrate": 64_000, "user_limit": 0, "rtc_region": null }),
        ),
        ChannelKind::Forum => extend(
            &mut object,
            json!({
                "available_tags": [],
                "default_reaction_emoji": null,
                "default_sort_order": null,
                "default_forum_layout": 0,
            }),
        ),
        _ => {}
    }
    object
}

/// The part of a guild that both REST and the gateway show.
pub(crate) fn guild(guild: &Guild) -> Value {
    let mut object = json!({
        "id": text(guild.id),
        "name": guild.name,
        "icon": null,
        "icon_hash": null,
        "splash": null,
        "discovery_splash": null,
        "owner_id": text(guild.owner),
        "region": "deprecated",
        "afk_channel_id": null,
        "afk_timeout": 300,
        "widget_enabled": false,
        "widget_channel_id": null,
        "verification_level": 1,
        "default_message_notifications": 1,
        "explicit_content_filter": 2,
        "roles": roles(guild),
        "emojis": [],
        "stickers": [],
        "features": features(guild),
    });
    let more = json!({
        "mfa_level": u8::from(guild.two_factor),
        "application_id": null,
        "system_channel_id": null,
        "system_channel_flags": 0,
        "rules_channel_id": null,
        "max_presences": null,
        "max_members": 500_000,
        "vanity_url_code": null,
        "description": null,
        "banner": null,
        "premium_tier": 0,
        "premium_subscription_count": 0,
        "preferred_locale": "en-US",
        "public_updates_channel_id": null,
        "max_video_channel_users": 25,
        "max_stage_video_channel_users": 50,
        "nsfw": false,
        "nsfw_level": 0,
        "premium_progress_bar_enabled": false,
        "safety_alerts_channel_id": null,
        "incidents_data": null,
        "hub_type": null,
        "home_header": null,
        "latest_onboarding_question_id": null,
        "inventory_settings": null,
    });
    extend(&mut object, more);
    object
}

fn features(guild: &Guild) -> Vec<&'static str> {
    let mut features = vec!["COMMUNITY"];
    if guild.onboarding {
        features.push("GUILD_ONBOARDING");
    }
    features
}

impl State {
    /// A member with its `user`. Empty if there is no such member.
    pub(crate) fn member_object(&self, guild: &Guild, id: Id) -> Option<Value> {
        let mut object = partial_member(&guild.member(id)?);
        object["user"] = user(&self.user(id)?);
        Some(object)
    }

    /// What `GUILD_CREATE` says: of a large guild's members only the bot.
    pub(crate) fn guild_create(&self, of: &Guild) -> Value {
        let mut object = guild(of);
        let channels = |threads: bool| {
            self.guild_channels(of.id)
                .filter(|channel| {
                    channel.is_thread() == threads && channel.archived_at_ms.is_none()
                })
                .filter(|channel| !threads || self.bot_may_view(channel))
                .map(|found| channel(found, self))
                .collect::<Vec<_>>()
        };
        extend(
            &mut object,
            json!({
                "joined_at": of.member(self.bot).map(|bot| timestamp(bot.joined_at_ms)),
                "large": true,
                "unavailable": false,
                "member_count": of.member_count(),
                "voice_states": [],
                "members": [self.member_object(of, self.bot)],
                "channels": channels(false),
                "threads": channels(true),
                "presences": [],
                "stage_instances": [],
                "guild_scheduled_events": [],
                "soundboard_sounds": [],
            }),
        );
        object
    }

    pub(crate) fn guild_channels(&self, guild: Id) -> impl Iterator<Item = &Channel> {
        self.channels
            .values()
            .filter(move |channel| channel.guild == Some(guild))
    }

    pub(crate) fn bot_may_view(&self, channel: &Channel) -> bool {
        self.permissions_in(channel, self.bot) & crate::permissions::VIEW_CHANNEL != 0
    }

    /// A message as the gateway shows it: with its channel's type, the guild, the author's member
    /// and the members of those it mentions. REST shows none of these.
    pub(crate) fn gateway_message(&self, message: &Value) -> Value {
        let mut shown = message.clone();
        let channel = id_in(&message["channel_id"]).and_then(|id| self.channels.get(&id));
        if let Some(channel) = channel {
            shown["channel_type"] = channel.kind.number().into();
        }
        let guild = channel.and_then(|channel| self.guilds.get(&channel.guild?));
        let Some(guild) = guild else {
            return shown;
        };
        let member = |user: &Value| {
            let member = guild.member(id_in(&user["id"])?)?;
            Some(partial_member(&member))
        };
        shown["guild_id"] = text(guild.id).into();
        if message.get("webhook_id").is_none()
            && let Some(member) = member(&message["author"])
        {
            shown["member"] = member;
        }
        if let Some(mentions) = shown["mentions"].as_array_mut() {
            for user in mentions {
                if let Some(member) = member(user) {
                    user["member"] = member;
                }
            }
        }
        shown
    }

    /// What the ids in a command's options stand for, as its `resolved` has it
    /// for the person who gave them.
    pub(crate) fn resolved(&self, guild: &Guild, giver: Id, options: &[Value]) -> Value {
        let ids = |kinds: &[u64]| -> Vec<Id> {
            let of_kind = |option: &&Value| {
                let kind = option["type"].as_u64();
                kind.is_some_and(|kind| kinds.contains(&kind))
            };
            let found = options.iter().filter(of_kind);
            found.filter_map(|option| id_in(&option["value"])).collect()
        };
        let (people, places, groups) = (ids(&[6, 9]), ids(&[7]), ids(&[8, 9]));
        let users = by_id(&people, |id| Some(user(&self.user(id)?)));
        let members = by_id(&people, |id| {
            let mut member = partial_member(&guild.member(id)?);
            remove(&mut member, "deaf");
            remove(&mut member, "mute");
            member["permissions"] = guild.permissions(id).to_string().into();
            Some(member)
        });
        let roles = by_id(&groups, |id| guild.roles.get(&id).map(role));
        let channels = by_id(&places, |id| {
            let found = self.channels.get(&id)?;
            let mut object = channel(found, self);
            object["permissions"] = self.permissions_in(found, giver).to_string().into();
            Some(object)
        });
        json!({ "users": users, "members": members, "roles": roles, "channels": channels })
    }
}

fn by_id(ids: &[Id], look: impl Fn(Id) -> Option<Value>) -> BTreeMap<String, Value> {
    let found = ids.iter().filter_map(|&id| Some((text(id), look(id)?)));
    found.collect()
}

/// Gives every user in it these fields.
pub(crate) fn add_to_users(json: &mut Value, more: &Map<String, Value>) {
    if more.is_empty() {
        return;
    }
    match json {
        Value::Array(items) => items.iter_mut().for_each(|item| add_to_users(item, more)),
        Value::Object(object) => {
            object
                .values_mut()
                .for_each(|value| add_to_users(value, more));
            if object.contains_key("username") && object.contains_key("id") {
                object.extend(more.clone());
            }
        }
        _ => {}
    }
}

/// Adds the fields of one object to another.
pub(crate) fn extend(object: &mut Value, more: Value) {
    if let Some(object) = object.as_object_mut() {
        object.extend(fields(more));
    }
}

/// Takes a field out of an object.
pub(crate) fn remove(object: &mut Value, field: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(field);
    }
}
