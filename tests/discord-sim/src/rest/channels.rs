//! What the bot does to channels: it makes and deletes them.

use serde_json::Value;

use crate::clock::Id;
use crate::objects::id_in;
use crate::permissions::{ADMINISTRATOR, MANAGE_CHANNELS, MANAGE_ROLES, MANAGE_THREADS, Overwrite};
use crate::rest::validate::{Form, items, permission_bits};
use crate::rest::{Call, MISSING_PERMISSIONS, Outcome, Refusal};
use crate::state::{Channel, State};
use crate::world::ChannelKind;

const TOO_MANY: Refusal = Refusal::new(
    400,
    30_013,
    "Maximum number of guild channels reached (500)",
);
/// Threads are not among them.
const MOST_CHANNELS: usize = 500;

impl State {
    pub(super) fn post_channel(&mut self, guild: Id, call: &Call) -> Outcome {
        let held = self.own_guild(guild)?.permissions(self.bot);
        if held & MANAGE_CHANNELS == 0 {
            return Err(MISSING_PERMISSIONS);
        }
        let mut form = Form::default();
        let body = &call.body;
        form.text("name", &body["name"], 1, 100);
        form.max_length("topic", &body["topic"], 1_024);
        let kind = kind(&mut form, &body["type"]);
        let parent = self.category(&mut form, guild, &body["parent_id"]);
        let overwrites = overwrites(&mut form, &body["permission_overwrites"]);
        form.check()?;
        if !overwrites.iter().all(|overwrite| may_set(held, overwrite)) {
            return Err(MISSING_PERMISSIONS);
        }
        let others = self.guild_channels(guild);
        if others.filter(|channel| !channel.is_thread()).count() >= MOST_CHANNELS {
            return Err(TOO_MANY);
        }
        let id = self.clock.snowflake();
        let name = body["name"].as_str().unwrap_or_default();
        let topic = body["topic"].as_str();
        let channel = Channel {
            parent,
            overwrites,
            topic: topic.map(str::to_owned),
            ..Channel::new(id, kind, &spelled(kind, name))
        };
        self.create_channel(guild, channel);
        let (_, made) = self.get_own_channel(id)?;
        Ok((201, made))
    }

    pub(super) fn remove_channel(&mut self, id: Id) -> Outcome {
        let channel = self.own_channel(id, 0)?;
        let needed = if channel.is_thread() {
            MANAGE_THREADS
        } else {
            MANAGE_CHANNELS
        };
        // Direct messages are closed, which nobody needs a permission for.
        if channel.guild.is_some() {
            self.own_channel(id, needed)?;
        }
        let gone = self.get_own_channel(id)?;
        self.delete_channel(id);
        Ok(gone)
    }

    /// A channel as whoever made or deletes it is shown it, seen or not.
    fn get_own_channel(&self, id: Id) -> Outcome {
        let channel = self.channels.get(&id).ok_or(super::UNKNOWN_CHANNEL)?;
        Ok((200, self.channel_object(channel)))
    }

    fn category(&self, form: &mut Form, guild: Id, given: &Value) -> Option<Id> {
        if given.is_null() {
            return None;
        }
        let found = id_in(given).and_then(|id| self.channels.get(&id));
        let found = found.filter(|one| one.guild == Some(guild));
        if found.is_none_or(|one| one.kind != ChannelKind::Category) {
            let message = "Category does not exist";
            form.refuse("parent_id", "CHANNEL_PARENT_INVALID", message);
        }
        found.map(|one| one.id)
    }
}

fn kind(form: &mut Form, given: &Value) -> ChannelKind {
    match given.as_u64() {
        None | Some(0) => ChannelKind::Text,
        Some(2) => ChannelKind::Voice,
        Some(4) => ChannelKind::Category,
        Some(15) => ChannelKind::Forum,
        Some(_) => {
            let message = "Value must be one of (0, 2, 4, 15).";
            form.refuse("type", "BASE_TYPE_CHOICES", message);
            ChannelKind::Text
        }
    }
}

/// Channels that hold text have names without spaces and capitals.
fn spelled(kind: ChannelKind, name: &str) -> String {
    if matches!(kind, ChannelKind::Text | ChannelKind::Forum) {
        let words: Vec<&str> = name.split_whitespace().collect();
        words.join("-").to_lowercase()
    } else {
        name.trim().to_owned()
    }
}

fn overwrites(form: &mut Form, given: &Value) -> Vec<Overwrite> {
    let mut read = Vec::new();
    for (at, overwrite) in items(given).iter().enumerate() {
        let place = |part: &str| format!("permission_overwrites.{at}.{part}");
        let target = id_in(&overwrite["id"]);
        if target.is_none() {
            form.refuse(&place("id"), "BASE_TYPE_REQUIRED", "This field is required");
        }
        let mut bits =
            |part: &str| permission_bits(form, &place(part), &overwrite[part]).unwrap_or(0);
        read.push(Overwrite {
            target: target.unwrap_or_default(),
            member: overwrite["type"] == 1,
            allow: bits("allow"),
            deny: bits("deny"),
        });
    }
    read
}

/// Whether somebody who holds these permissions may make such an exception:
/// about what they have, and about the roles of a channel not even then.
fn may_set(held: u64, overwrite: &Overwrite) -> bool {
    let about = overwrite.allow | overwrite.deny;
    held & ADMINISTRATOR != 0 || about & !held == 0 && about & MANAGE_ROLES == 0
}
