//! Channels of the bot's own: found by name once or created private, then remembered by id.
//!
//! Never opens a channel to anybody, and never changes one that is there: who sees it
//! after it was made is for people to decide.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use serenity::all::LightMethod;
use serenity::http::{Request, Route};

use super::guild;
use super::payload;
use super::permissions::{
    ADMINISTRATOR, ATTACH_FILES, EMBED_LINKS, MANAGE_CHANNELS, READ_MESSAGE_HISTORY, SEND_MESSAGES,
    VIEW_CHANNEL,
};
use super::rest::{Repeat, Rest, RestError, with_reason};
use super::right_roles::RightRoles;
use crate::backoff::backoff;
use crate::leveling::{ChannelId, GuildId, GuildRole, RoleId, UserId};
use crate::store::{self, Database, channel};

const PATIENCE: Duration = Duration::from_secs(30);
/// How often a channel is created whose creation nobody knows the outcome of.
const ATTEMPTS: u32 = 3;
const RETRY_LEAST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(5);

/// What Discord calls a text channel.
const TEXT: u64 = 0;
/// What the bot allows itself in the channel, and those who see it.
const FOR_THE_BOT: u64 =
    VIEW_CHANNEL | SEND_MESSAGES | EMBED_LINKS | ATTACH_FILES | READ_MESSAGE_HISTORY;
const FOR_THE_ROLES: u64 = VIEW_CHANNEL | SEND_MESSAGES | READ_MESSAGE_HISTORY;
/// Without these the bot could not make the channel, hide it, or write in it.
const NEEDED: [(u64, &str); 3] = [
    (MANAGE_CHANNELS, "Manage Channels"),
    (VIEW_CHANNEL, "View Channels"),
    (SEND_MESSAGES, "Send Messages"),
];

/// A channel as it is wanted.
#[derive(Clone, Copy, Debug)]
pub struct ManagedChannel<'a> {
    /// By which it is remembered.
    pub purpose: &'static str,
    /// The setting that names it, for whoever must mend something.
    pub setting: &'static str,
    /// Its name while it is not remembered, and when it is created.
    pub name: &'a str,
    /// Whose moderator roles are to see it, besides the bot and the administrators.
    pub seen_by: Option<&'a RightRoles>,
    /// What it is for, in the words of its topic.
    pub topic: &'a str,
}

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum NoChannel {
    /// Somebody must do something about it.
    #[error(
        "there is no text channel named {name:?}, and it cannot be created: {why} create it yourself and let the \
         bot see it and write in it, or set {setting} to the name of an existing channel"
    )]
    NotCreated {
        /// The name that is set.
        name: String,
        /// Where it is set.
        setting: &'static str,
        /// What is in the way; goes on with what else helps.
        why: String,
    },
    /// It must not be made before it is known who is to see it.
    #[error("which roles may see the channel is not known yet")]
    Unsettled,
    /// Trouble with Discord that may pass.
    #[error(transparent)]
    Discord(#[from] RestError),
    /// Trouble with the database.
    #[error(transparent)]
    Database(#[from] store::Error),
}

/// The remembered channel, whatever it is called by now; else the topmost text channel of
/// that name; else a new one. One whose creation nobody knows the outcome of is looked for
/// before another is made. Not to be called twice at a time for one purpose.
pub async fn find_or_create(
    rest: &Rest,
    database: &Database,
    guild: GuildId,
    wanted: ManagedChannel<'_>,
) -> Result<ChannelId, NoChannel> {
    // With another name in the settings another channel is meant.
    let purpose = format!("{}: {}", wanted.purpose, wanted.name);
    let remembered = channel::of_purpose(&mut *database.acquire().await?, &purpose).await?;
    let mut unknown = None;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(backoff(attempt - 1, RETRY_LEAST, RETRY_MOST)).await;
        }
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
                // Made or not: the list will show it.
                Err(NoChannel::Discord(
                    error @ (RestError::Unreachable(_) | RestError::NotUnderstood(_)),
                )) => {
                    unknown = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        channel::remember(&mut *database.acquire().await?, &purpose, found).await?;
        return Ok(found);
    }
    Err(unknown.expect("an attempt without one returns").into())
}

async fn list(rest: &Rest, guild: GuildId) -> Result<Vec<Listed>, RestError> {
    let listed = rest.call("listing the channels", Repeat::Safe, PATIENCE, |http| {
        let route = Route::GuildChannels {
            guild_id: guild.into(),
        };
        async move {
            http.fire::<Vec<Value>>(Request::new(route, LightMethod::Get))
                .await
        }
    });
    // One that makes no sense to us is none of ours.
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

/// A name as Discord spells those of text channels, whatever it was asked for.
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
    let bot = guild::own_id(rest).await?;
    let roles = guild::roles(rest, guild).await?;
    let held = held(&roles, &guild::roles_of(rest, guild, bot).await?, guild);
    let missing: Vec<&str> = NEEDED
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
    let made = rest.call("creating a channel", Repeat::Never, PATIENCE, |http| {
        let body = &body;
        async move {
            let route = Route::GuildChannels {
                guild_id: guild.into(),
            };
            let why = "the bot's own channel, which was not there";
            let request = with_reason(route, LightMethod::Post, why);
            let body = body.to_string().into_bytes();
            http.fire::<Value>(request.body(Some(body))).await
        }
    });
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

/// What the bot may do in the guild by its roles, the one that everyone has among them.
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

/// Hidden from everyone but the bot and these roles. What the bot does not hold itself it
/// may not give, not even to itself.
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
    let own = overwrite(bot.get(), MEMBER, FOR_THE_BOT, 0);
    let shown = roles
        .iter()
        // Whatever is set, the channel is not everyone's.
        .filter(|role| role.id.get() != guild.get() && seen_by.contains(&role.id))
        .map(|role| overwrite(role.id.get(), ROLE, FOR_THE_ROLES, 0));
    [hidden, own].into_iter().chain(shown).collect()
}

/// A channel, as far as it is looked for.
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
            is_text: channel["type"].as_u64() == Some(TEXT),
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
            id: RoleId::new(id).unwrap(),
            name: name.to_owned(),
            permissions,
            position: 0,
            managed: false,
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
