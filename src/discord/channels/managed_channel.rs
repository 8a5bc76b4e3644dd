//! Channels that the bot manages: found by name or created as private, then remembered by id.
//!
//! The bot never changes an existing channel: after the creation, people decide who sees it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use serenity::all::LightMethod;
use serenity::http::{Request, Route};

use crate::backoff::Backoff;
use crate::discord::guild::right_roles::RightRoles;
use crate::discord::guild::{members, roles};
use crate::discord::payload;
use crate::discord::payload::channel_types::TEXT;
use crate::discord::rest::{Repeat, Rest, RestError, with_reason};
use crate::leveling::permission_bits::{
    ADMINISTRATOR, ATTACH_FILES, EMBED_LINKS, MANAGE_CHANNELS, READ_MESSAGE_HISTORY, SEND_MESSAGES,
    VIEW_CHANNEL,
};
use crate::leveling::{ChannelId, GuildId, GuildRole, RoleId, UserId};
use crate::store::{self, Database, channel};

const CHANNEL_CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts to create a channel while the outcome of the last one is unknown.
const ATTEMPTS: u32 = 3;
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));

/// Permissions in a new channel: of the bot, and of each role that sees it.
const BOT_PERMISSIONS: u64 =
    VIEW_CHANNEL | SEND_MESSAGES | EMBED_LINKS | ATTACH_FILES | READ_MESSAGE_HISTORY;
const ROLE_PERMISSIONS: u64 = VIEW_CHANNEL | SEND_MESSAGES | READ_MESSAGE_HISTORY;
/// Permissions without which the bot could not create the channel, hide it, or write in it.
const REQUIRED_PERMISSIONS: [(u64, &str); 3] = [
    (MANAGE_CHANNELS, "Manage Channels"),
    (VIEW_CHANNEL, "View Channels"),
    (SEND_MESSAGES, "Send Messages"),
];

/// A description of a managed channel.
#[derive(Clone, Copy, Debug)]
pub struct ManagedChannel<'a> {
    /// The key under which the database remembers the channel's id.
    pub purpose: &'static str,
    /// The setting that contains its name, for error texts.
    pub setting: &'static str,
    /// Its name, by which it is searched for and created.
    pub name: &'a str,
    /// Finds the moderator roles that see a new channel, besides the bot and administrators.
    /// `None` if no roles do.
    pub seen_by: Option<&'a RightRoles>,
    /// The topic of a new channel.
    pub topic: &'a str,
}

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum NoChannel {
    /// The channel does not exist and the bot cannot create it: a person has to act.
    #[error(
        "there is no text channel named {name:?}, and it cannot be created: {why} create it yourself and let the \
         bot see it and write in it, or set {setting} to the name of an existing channel"
    )]
    NotCreated {
        /// The channel's name in the settings.
        name: String,
        /// The setting that contains the name.
        setting: &'static str,
        /// The reason, and the start of the advice that follows it in the sentence.
        why: String,
    },
    /// The channel cannot be created before it is known which roles may see it.
    #[error("which roles may see the channel is not known yet")]
    Unsettled,
    /// A call to Discord failed.
    #[error(transparent)]
    Discord(#[from] RestError),
    /// A query failed.
    #[error(transparent)]
    Database(#[from] store::Error),
}

/// Returns the remembered channel, even if it was renamed; else the topmost text channel of that
/// name; else a new channel. After a creation with unknown outcome, the channels are listed again
/// before another attempt. Concurrent calls for one purpose could create two channels.
pub async fn find_or_create(
    rest: &Rest,
    database: &Database,
    guild: GuildId,
    wanted: ManagedChannel<'_>,
) -> Result<ChannelId, NoChannel> {
    // The name is part of the key: another name in the settings means another channel.
    let purpose = format!("{}: {}", wanted.purpose, wanted.name);
    let remembered = channel::of_purpose(&mut *database.acquire().await?, &purpose).await?;
    let mut attempts = BACKOFF.attempts();
    loop {
        let listed = list(rest, guild).await?;
        if let Some(there) = remembered.filter(|id| listed.iter().any(|one| one.id == *id)) {
            return Ok(there);
        }
        let found = match named(&listed, wanted.name) {
            Some(found) => found,
            None => match create(rest, guild, wanted).await {
                Ok(made) => {
                    tracing::info!(channel = %made, name = wanted.name, "created a private channel");
                    made
                }
                // Outcome unknown: the next list shows whether it was created.
                Err(NoChannel::Discord(
                    RestError::Unreachable(_) | RestError::NotUnderstood(_),
                )) if attempts.failed() + 1 < ATTEMPTS => {
                    attempts.wait().await;
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        channel::remember(&mut *database.acquire().await?, &purpose, found).await?;
        return Ok(found);
    }
}

async fn list(rest: &Rest, guild: GuildId) -> Result<Vec<Listed>, RestError> {
    let listed = rest.call(
        "listing the channels",
        Repeat::Safe,
        CHANNEL_CALL_TIMEOUT,
        |http| {
            let route = Route::GuildChannels {
                guild_id: guild.into(),
            };
            async move {
                http.fire::<Vec<Value>>(Request::new(route, LightMethod::Get))
                    .await
            }
        },
    );
    // An unreadable channel is skipped: it cannot be the one that is searched for.
    let read = |one: Value| Listed::read(&one);
    Ok(listed.await?.into_iter().filter_map(read).collect())
}

fn named(listed: &[Listed], name: &str) -> Option<ChannelId> {
    let found = listed
        .iter()
        .filter(|one| one.is_text && spelled(&one.name) == spelled(name));
    found
        .min_by_key(|one| (one.position, one.id))
        .map(|one| one.id)
}

/// Spells a name as Discord does for text channels: lower case, with hyphens for spaces.
fn spelled(name: &str) -> String {
    let words: Vec<&str> = name.split_whitespace().collect();
    words.join("-").to_lowercase()
}

async fn create(
    rest: &Rest,
    guild: GuildId,
    wanted: ManagedChannel<'_>,
) -> Result<ChannelId, NoChannel> {
    let not_created = |why: String| NoChannel::NotCreated {
        name: wanted.name.to_owned(),
        setting: wanted.setting,
        why,
    };
    let bot = members::own_id(rest).await?;
    let roles = roles::list(rest, guild).await?;
    let held = held(&roles, &roles::of_bot(rest, guild, bot).await?, guild);
    let missing: Vec<&str> = REQUIRED_PERMISSIONS
        .into_iter()
        .filter(|(bit, _)| held & bit == 0)
        .map(|(_, name)| name)
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(" and ");
        return Err(not_created(format!(
            "the bot lacks {missing}; give its role that, or"
        )));
    }
    let seen_by = match wanted.seen_by {
        Some(roles) => {
            let (found, moderators) = (roles.find().await?, &roles.settings().moderators);
            if found.is_unsettled(moderators) {
                return Err(NoChannel::Unsettled);
            }
            found.roles(moderators).collect()
        }
        None => Vec::new(),
    };
    let body = json!({
        "name": wanted.name,
        "type": TEXT,
        "topic": wanted.topic,
        "permission_overwrites": overwrites(guild, bot, held, &roles, &seen_by),
    });
    let made = rest.call(
        "creating a channel",
        Repeat::Never,
        CHANNEL_CALL_TIMEOUT,
        |http| {
            let body = &body;
            async move {
                let route = Route::GuildChannels {
                    guild_id: guild.into(),
                };
                let why = "the bot needs this channel, and there was none of that name";
                let request = with_reason(route, LightMethod::Post, why);
                let body = body.to_string().into_bytes();
                http.fire::<Value>(request.body(Some(body))).await
            }
        },
    );
    match made.await {
        Ok(made) => payload::id_of(&made)
            .and_then(ChannelId::new)
            .ok_or_else(|| {
                RestError::NotUnderstood("the new channel was not understood".to_owned()).into()
            }),
        Err(error @ RestError::Refused { .. }) => Err(not_created(format!("{error};"))),
        Err(error) => Err(error.into()),
    }
}

/// The bot's permissions in the guild by its roles, including `@everyone`; all bits for an
/// administrator.
fn held(roles: &[GuildRole], own: &[RoleId], guild: GuildId) -> u64 {
    let held = roles
        .iter()
        .filter(|role| role.id.get() == guild.get() || own.contains(&role.id))
        .fold(0, |all, role| all | role.permissions);
    if held & ADMINISTRATOR == 0 {
        held
    } else {
        u64::MAX
    }
}

/// Permission overwrites that hide the channel from everyone but the bot and the `seen_by`
/// roles. Only permissions in `held` are allowed: Discord refuses to grant any that the bot
/// itself lacks.
fn overwrites(
    guild: GuildId,
    bot: UserId,
    held: u64,
    roles: &[GuildRole],
    seen_by: &[RoleId],
) -> Vec<Value> {
    const ROLE: u8 = 0;
    const MEMBER: u8 = 1;
    let overwrite = |id: u64, kind: u8, allow: u64, deny: u64| {
        json!({
            "id": id.to_string(), "type": kind,
            "allow": (allow & held).to_string(), "deny": deny.to_string(),
        })
    };
    let hidden = overwrite(guild.get(), ROLE, 0, VIEW_CHANNEL);
    let own = overwrite(bot.get(), MEMBER, BOT_PERMISSIONS, 0);
    let shown = roles
        .iter()
        // `@everyone` is never allowed in, even if the settings name it.
        .filter(|role| role.id.get() != guild.get() && seen_by.contains(&role.id))
        .map(|role| overwrite(role.id.get(), ROLE, ROLE_PERMISSIONS, 0));
    [hidden, own].into_iter().chain(shown).collect()
}

/// The part of a listed channel that the search needs.
#[derive(Debug)]
struct Listed {
    id: ChannelId,
    is_text: bool,
    name: String,
    position: i64,
}

impl Listed {
    fn read(channel: &Value) -> Option<Self> {
        Some(Self {
            id: payload::id_of(channel).and_then(ChannelId::new)?,
            is_text: channel["type"].as_u64() == Some(TEXT.into()),
            name: String::deserialize(&channel["name"]).unwrap_or_default(),
            position: channel["position"].as_i64().unwrap_or(i64::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(channels: &Value) -> Vec<Listed> {
        let channels = channels.as_array().unwrap();
        channels.iter().filter_map(Listed::read).collect()
    }

    #[test]
    fn the_topmost_text_channel_of_the_name_is_taken() {
        let channels = json!([
            { "id": "1", "type": 2, "name": "the-council", "position": 0 },
            { "id": "2", "type": 0, "name": "the-council", "position": 7 },
            { "id": "3", "type": 0, "name": "the-council", "position": 4 },
            { "id": "4", "type": 0, "name": "council", "position": 1 },
            { "id": "5", "type": "of the future" },
            { "id": [] },
        ]);
        for name in ["the-council", "The Council"] {
            assert_eq!(named(&listed(&channels), name), ChannelId::new(3));
        }
        assert_eq!(named(&listed(&channels), "council-of"), None);
    }

    #[test]
    fn nobody_is_given_what_the_bot_does_not_hold_and_everyone_is_given_nothing() {
        let role = |id, name: &str, permissions| GuildRole {
            permissions,
            ..GuildRole::plain(RoleId::new(id).unwrap(), name, 0)
        };
        let (guild, bot) = (GuildId::new(1).unwrap(), UserId::new(9).unwrap());
        let roles = [
            role(1, "@everyone", VIEW_CHANNEL | READ_MESSAGE_HISTORY),
            role(2, "wall_e", SEND_MESSAGES | MANAGE_CHANNELS),
            role(3, "Minions", ADMINISTRATOR),
        ];
        let held = held(&roles, &[RoleId::new(2).unwrap()], guild);
        assert_eq!(held & (ADMINISTRATOR | ATTACH_FILES | EMBED_LINKS), 0);
        let seen_by = [1, 3].map(|id| RoleId::new(id).unwrap());
        let few = (VIEW_CHANNEL | SEND_MESSAGES | READ_MESSAGE_HISTORY).to_string();
        assert_eq!(
            overwrites(guild, bot, held, &roles, &seen_by),
            [
                json!({ "id": "1", "type": 0, "allow": "0", "deny": "1024" }),
                json!({ "id": "9", "type": 1, "allow": few, "deny": "0" }),
                json!({ "id": "3", "type": 0, "allow": few, "deny": "0" }),
            ]
        );
    }
}
