//! Reading users, guilds, members and channels.

use chrono::DateTime;
use serde_json::{Value, json};

use crate::clock::Id;
use crate::objects::{self, id_in, text};
use crate::permissions;
use crate::rest::{
    Call, MISSING_ACCESS, MISSING_PERMISSIONS, Outcome, Refusal, UNKNOWN_CHANNEL, UNKNOWN_GUILD,
    UNKNOWN_MEMBER, UNKNOWN_USER, validate::Form,
};
use crate::state::{Channel, Guild, State};
use crate::world::ChannelKind;

impl State {
    pub(super) fn get_user(&self, id: Id) -> Outcome {
        let user = self.user(id).ok_or(UNKNOWN_USER)?;
        Ok((200, objects::user(&user)))
    }

    pub(super) fn own_guilds(&self) -> Value {
        let guilds: Vec<Value> = self
            .guilds
            .values()
            .filter(|guild| guild.bot_is_in)
            .map(|guild| {
                json!({
                    "id": text(guild.id),
                    "name": guild.name,
                    "icon": null,
                    "banner": null,
                    "owner": false,
                    "permissions": guild.permissions(self.bot).to_string(),
                    "features": [],
                })
            })
            .collect();
        guilds.into()
    }

    pub(super) fn open_dm(&mut self, call: &Call) -> Outcome {
        let user = id_in(&call.body["recipient_id"]).and_then(|id| self.user(id));
        let channel = self.dm_channel(user.ok_or(UNKNOWN_USER)?.id);
        let channel = self.channels.get(&channel).ok_or(UNKNOWN_CHANNEL)?;
        Ok((200, objects::channel(channel, self)))
    }

    pub(super) fn get_guild(&self, id: Id, call: &Call) -> Outcome {
        let guild = self.own_guild(id)?;
        let mut object = objects::guild(guild);
        if call
            .query
            .get("with_counts")
            .is_some_and(|with| with == "true")
        {
            let count = guild.member_count();
            object["approximate_member_count"] = count.into();
            object["approximate_presence_count"] = (count / 10).into();
        }
        Ok((200, object))
    }

    /// What new members are asked and shown; nobody is asked anything here.
    pub(super) fn get_onboarding(&self, id: Id) -> Outcome {
        let guild = self.own_guild(id)?;
        let object = json!({
            "guild_id": text(guild.id),
            "prompts": [],
            "default_channel_ids": [],
            "enabled": guild.onboarding,
            "mode": 0,
        });
        Ok((200, object))
    }

    pub(super) fn list_channels(&self, id: Id) -> Outcome {
        let guild = self.own_guild(id)?;
        let channels: Vec<Value> = self
            .guild_channels(guild.id)
            .filter(|channel| !channel.is_thread())
            .map(|channel| self.channel_object(channel))
            .collect();
        Ok((200, channels.into()))
    }

    pub(super) fn list_active_threads(&self, id: Id) -> Outcome {
        let guild = self.own_guild(id)?;
        let threads: Vec<Value> = self
            .guild_channels(guild.id)
            .filter(|channel| channel.is_thread() && channel.archived_at_ms.is_none())
            .filter(|channel| self.bot_may_view(channel))
            .map(|channel| self.channel_object(channel))
            .collect();
        Ok((200, json!({ "threads": threads, "members": [] })))
    }

    /// Archived public threads of a channel, the one archived last first.
    pub(super) fn list_archived_threads(&self, id: Id, call: &Call) -> Outcome {
        let channel = self.own_channel(id, permissions::READ_MESSAGE_HISTORY)?;
        let limit = limit(call, 50, 100)?;
        let before = match call.query.get("before") {
            Some(text) => DateTime::parse_from_rfc3339(text)
                .ok()
                .and_then(|before| u64::try_from(before.timestamp_millis()).ok())
                .ok_or_else(|| not_a_time("before"))?,
            None => u64::MAX,
        };
        let mut threads: Vec<&Channel> = self
            .archived_in(channel, ChannelKind::Thread)
            .filter(|thread| thread.archived_at_ms.is_some_and(|at| at < before))
            .collect();
        threads.sort_unstable_by_key(|thread| std::cmp::Reverse(thread.archived_at_ms));
        Ok((200, self.thread_page(threads, limit)))
    }

    /// Archived private threads of a channel that the bot is in, the highest id first.
    pub(super) fn list_joined_threads(&self, id: Id, call: &Call) -> Outcome {
        let channel = self.own_channel(id, permissions::READ_MESSAGE_HISTORY)?;
        let limit = limit(call, 50, 100)?;
        let before = snowflake(call, "before")?.unwrap_or(Id::MAX);
        let mut threads: Vec<&Channel> = self
            .archived_in(channel, ChannelKind::PrivateThread)
            .filter(|thread| self.joined.contains(&thread.id) && thread.id < before)
            .collect();
        threads.sort_unstable_by_key(|thread| std::cmp::Reverse(thread.id));
        Ok((200, self.thread_page(threads, limit)))
    }

    fn archived_in(&self, channel: &Channel, kind: ChannelKind) -> impl Iterator<Item = &Channel> {
        let parent = channel.id;
        self.guild_channels(channel.guild.unwrap_or_default())
            .filter(move |thread| thread.kind == kind && thread.parent == Some(parent))
            .filter(|thread| thread.archived_at_ms.is_some())
    }

    fn thread_page(&self, mut threads: Vec<&Channel>, limit: usize) -> Value {
        let has_more = threads.len() > limit;
        threads.truncate(limit);
        let threads: Vec<Value> = threads
            .into_iter()
            .map(|thread| self.channel_object(thread))
            .collect();
        json!({ "threads": threads, "members": [], "has_more": has_more })
    }

    pub(super) fn list_members(&self, id: Id, call: &Call) -> Outcome {
        let guild = self.own_guild(id)?;
        if !self.settings.members_intent {
            return Err(MISSING_ACCESS);
        }
        let limit = limit(call, 1, 1_000)?;
        let after = snowflake(call, "after")?.unwrap_or(0);
        let members: Vec<Value> = guild
            .member_ids(after, limit)
            .into_iter()
            .filter_map(|id| self.member_object(guild, id))
            .collect();
        Ok((200, members.into()))
    }

    /// Who is banned, by ascending id; with `before`, the last of those who come before it.
    pub(super) fn list_bans(&self, id: Id, call: &Call) -> Outcome {
        let guild = self.own_guild(id)?;
        let allowed = permissions::BAN_MEMBERS | permissions::ADMINISTRATOR;
        if guild.permissions(self.bot) & allowed == 0 {
            return Err(MISSING_PERMISSIONS);
        }
        let limit = limit(call, 1_000, 1_000)?;
        let after = snowflake(call, "after")?;
        let before = snowflake(call, "before")?.filter(|_| after.is_none());
        let banned = guild.banned.iter().copied();
        let within = banned
            .filter(|user| after.is_none_or(|after| *user > after))
            .filter(|user| before.is_none_or(|before| *user < before));
        let within: Vec<Id> = within.collect();
        let page = if before.is_some() {
            &within[within.len().saturating_sub(limit)..]
        } else {
            &within[..limit.min(within.len())]
        };
        let bans: Vec<Value> = page
            .iter()
            .filter_map(|user| self.user(*user))
            .map(|user| json!({ "reason": null, "user": objects::user(&user) }))
            .collect();
        Ok((200, bans.into()))
    }

    pub(super) fn get_member(&self, guild: Id, user: Id) -> Outcome {
        let guild = self.own_guild(guild)?;
        let unknown = if self.user(user).is_some() {
            UNKNOWN_MEMBER
        } else {
            UNKNOWN_USER
        };
        let member = self.member_object(guild, user).ok_or(unknown)?;
        Ok((200, member))
    }

    pub(super) fn get_channel(&self, id: Id) -> Outcome {
        let channel = self.own_channel(id, 0)?;
        Ok((200, self.channel_object(channel)))
    }

    pub(super) fn type_in(&self, id: Id) -> Outcome {
        self.own_channel(id, permissions::SEND_MESSAGES)?;
        Ok((204, Value::Null))
    }

    pub(crate) fn channel_object(&self, channel: &Channel) -> Value {
        let mut object = objects::channel(channel, self);
        if let Some(guild) = channel.guild {
            object["guild_id"] = text(guild).into();
        }
        object
    }

    /// A guild that the bot is in.
    pub(super) fn own_guild(&self, id: Id) -> Result<&Guild, Refusal> {
        let guild = self.guilds.get(&id).ok_or(UNKNOWN_GUILD)?;
        if guild.bot_is_in {
            Ok(guild)
        } else {
            Err(UNKNOWN_GUILD)
        }
    }

    /// A channel that the bot sees and where it may do what `needed` says.
    pub(super) fn own_channel(&self, id: Id, needed: u64) -> Result<&Channel, Refusal> {
        let channel = self.channels.get(&id).ok_or(UNKNOWN_CHANNEL)?;
        if let Some(guild) = channel.guild {
            self.own_guild(guild).map_err(|_| MISSING_ACCESS)?;
        }
        let granted = self.permissions_in(channel, self.bot);
        if granted & permissions::VIEW_CHANNEL == 0 {
            return Err(MISSING_ACCESS);
        }
        let needed = if channel.is_thread() && needed & permissions::SEND_MESSAGES != 0 {
            needed & !permissions::SEND_MESSAGES | permissions::SEND_MESSAGES_IN_THREADS
        } else {
            needed
        };
        if granted & needed == needed {
            Ok(channel)
        } else {
            Err(super::MISSING_PERMISSIONS)
        }
    }
}

fn not_a_time(field: &str) -> Refusal {
    let mut form = Form::default();
    form.refuse(
        field,
        "DATE_TIME_TYPE_PARSE",
        "Could not parse. Should be ISO8601.",
    );
    form.refusal()
}

/// The query's `limit`, between 1 and `max`.
pub(super) fn limit(call: &Call, default: usize, max: usize) -> Result<usize, Refusal> {
    let Some(given) = call.query.get("limit") else {
        return Ok(default);
    };
    let mut form = Form::default();
    match given.parse() {
        Ok(limit) if (1..=max).contains(&limit) => return Ok(limit),
        Ok(0) => form.refuse(
            "limit",
            "NUMBER_TYPE_MIN",
            "int value should be greater than or equal to 1.",
        ),
        Ok(_) => form.refuse(
            "limit",
            "NUMBER_TYPE_MAX",
            &format!("int value should be less than or equal to {max}."),
        ),
        Err(_) => form.refuse(
            "limit",
            "NUMBER_TYPE_COERCE",
            &format!("Value \"{given}\" is not int."),
        ),
    }
    Err(form.refusal())
}

/// An id in the query.
pub(super) fn snowflake(call: &Call, name: &'static str) -> Result<Option<Id>, Refusal> {
    call.query
        .get(name)
        .map(|given| super::id(name, given))
        .transpose()
}
