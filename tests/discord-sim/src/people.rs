//! What people do: invoke commands, press buttons, join, leave, change names.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::clock::Id;
use crate::gateway::Event;
use crate::members::mix;
use crate::objects::{self, id_in, text};
use crate::permissions::{self, USE_APPLICATION_COMMANDS, VIEW_CHANNEL};
use crate::rest::{interactions::Interaction, validate::items};
use crate::state::{Member, State, User};

/// What a person used.
enum Invoked<'a> {
    /// A command, by its name.
    Command(&'a str),
    /// A part of a message.
    Component { message: Id, json: Value },
}

impl State {
    /// Invokes a slash command, if a client would let this person do it.
    pub(crate) fn slash(
        &mut self,
        user: Id,
        channel: Id,
        name: &str,
        options: &Value,
    ) -> Result<Id, String> {
        let guild = self.guild_of_channel(channel)?;
        let words: Vec<&str> = name.split_whitespace().collect();
        let known = [Some(guild), None]
            .into_iter()
            .filter_map(|scope| self.commands.get(&scope))
            .flatten();
        let found: Vec<&Value> = known.filter(|one| one["type"] == 1).collect();
        let Some(command) = found.iter().find(|one| one["name"] == words[0]).copied() else {
            let names: Vec<&str> = found
                .iter()
                .filter_map(|one| one["name"].as_str())
                .collect();
            return Err(format!(
                "there is no command /{}; registered are: {}",
                words[0],
                names.join(", ")
            ));
        };
        self.may_invoke(user, channel, command)?;
        let mut level = command;
        for word in &words[1..] {
            let inner = items(&level["options"]).iter();
            level = inner
                .into_iter()
                .find(|one| {
                    one["name"] == *word && one["type"].as_u64().is_some_and(|kind| kind <= 2)
                })
                .ok_or_else(|| format!("/{} has no subcommand {word}", words[0]))?;
        }
        let mut given = check_options(&level["options"], options)?;
        for word in words[1..].iter().rev() {
            given = vec![json!({ "type": 1, "name": word, "options": given })];
        }
        let mentioned: Vec<Id> = items(options)
            .iter()
            .filter_map(|option| id_in(&option["value"]))
            .filter(|&id| self.user(id).is_some())
            .collect();
        let guild_now = self.guilds.get(&guild).ok_or("the guild is gone")?;
        let data = json!({
            "id": command["id"],
            "name": command["name"],
            "type": 1,
            "guild_id": text(guild),
            "options": given,
            "resolved": self.resolved(guild_now, &mentioned),
        });
        self.interact(user, channel, Invoked::Command(name), &data)
    }

    /// Presses a button (or chooses in a menu) on one of the bot's messages.
    pub(crate) fn click(
        &mut self,
        user: Id,
        message: Id,
        custom_id: &str,
        values: &[&str],
    ) -> Result<Id, String> {
        let stored = self
            .find_message(message)
            .ok_or("there is no such message")?;
        let json = stored.json.clone();
        let channel = id_in(&json["channel_id"]).unwrap_or_default();
        let mut parts = items(&json["components"])
            .iter()
            .flat_map(|row| items(&row["components"]));
        let part = parts
            .find(|part| part["custom_id"] == custom_id)
            .ok_or_else(|| format!("the message has no component {custom_id}"))?;
        if part["disabled"] == true {
            return Err(format!("{custom_id} is disabled"));
        }
        let mut data = json!({ "custom_id": custom_id, "component_type": part["type"] });
        if part["type"] != 2 {
            data["values"] = json!(values);
        }
        let part = Invoked::Component { message, json };
        self.interact(user, channel, part, &data)
    }

    fn may_invoke(&self, user: Id, channel: Id, command: &Value) -> Result<(), String> {
        let found = self
            .channels
            .get(&channel)
            .ok_or("there is no such channel")?;
        let granted = self.permissions_in(found, user);
        if granted & VIEW_CHANNEL == 0 || granted & USE_APPLICATION_COMMANDS == 0 {
            return Err("they may not use commands in this channel".into());
        }
        let needed = command["default_member_permissions"].as_str();
        let needed: u64 = needed.and_then(|bits| bits.parse().ok()).unwrap_or(0);
        if granted & permissions::ADMINISTRATOR == 0 && granted & needed != needed {
            return Err("their client does not show them this command".into());
        }
        Ok(())
    }

    fn interact(
        &mut self,
        user: Id,
        channel: Id,
        invoked: Invoked<'_>,
        data: &Value,
    ) -> Result<Id, String> {
        let (kind, name, source) = match invoked {
            Invoked::Command(name) => (2, name, None),
            Invoked::Component { message, json } => (3, "", Some((message, json))),
        };
        let guild_id = self.guild_of_channel(channel)?;
        let id = self.clock.snowflake();
        let token = format!("simulated{:016x}{:016x}", mix(id), mix(!id));
        let guild = self.guilds.get(&guild_id).ok_or("the guild is gone")?;
        let place = self
            .channels
            .get(&channel)
            .ok_or("there is no such channel")?;
        let mut member = self
            .member_object(guild, user)
            .ok_or("they are not in the guild")?;
        member["permissions"] = self.permissions_in(place, user).to_string().into();
        let mut shown = self.channel_object(place);
        shown["permissions"] = member["permissions"].clone();
        let mut json = json!({
            "id": text(id),
            "application_id": text(self.bot),
            "type": kind,
            "token": token,
            "version": 1,
            "guild_id": text(guild_id),
            "guild": { "id": text(guild_id), "locale": "en-US", "features": ["COMMUNITY"] },
            "channel_id": text(channel),
            "channel": shown,
            "member": member,
            "data": data,
            "app_permissions": self.permissions_in(place, self.bot).to_string(),
            "locale": "en-US",
            "guild_locale": "en-US",
            "entitlements": [],
            "entitlement_sku_ids": [],
            "authorizing_integration_owners": { "0": text(guild_id) },
            "context": 0,
            "attachment_size_limit": 10_485_760,
        });
        let source_id = source.as_ref().map(|&(id, _)| id);
        if let Some((_, message)) = source {
            json["message"] = message;
        }
        let made_ms = self.clock.now_ms();
        self.interactions.insert(
            id,
            Interaction {
                id,
                token,
                channel,
                user,
                name: name.to_owned(),
                kind,
                source: source_id,
                made: Instant::now(),
                made_ms,
                answered: false,
                original: None,
            },
        );
        self.dispatch(Event::in_guild("INTERACTION_CREATE", guild_id, json));
        Ok(id)
    }

    /// Joins the guild, as a new member without roles or nickname.
    pub(crate) fn join(&mut self, guild: Id, user: Id, pending: bool) {
        let now = self.clock.now_ms();
        let Some(found) = self.guilds.get_mut(&guild) else {
            return;
        };
        let rejoins = found.gone.remove(&user);
        let mut member = Member::new(now, BTreeSet::new());
        member.pending = pending;
        member.flags = u64::from(rejoins);
        found.members.insert(user, member);
        self.tell_of_member("GUILD_MEMBER_ADD", guild, user);
    }

    pub(crate) fn leave(&mut self, guild: Id, user: Id) {
        let Some(found) = self.guilds.get_mut(&guild) else {
            return;
        };
        found.members.remove(&user);
        let index = crate::members::index_of(user);
        if index.is_some_and(|index| index < found.generated) {
            found.gone.insert(user);
        }
        let user = self
            .user(user)
            .as_ref()
            .map(objects::user)
            .unwrap_or_default();
        let json = json!({ "guild_id": text(guild), "user": user });
        self.dispatch(Event::in_guild("GUILD_MEMBER_REMOVE", guild, json));
    }

    /// Changes a member and tells of it.
    pub(crate) fn change_member(&mut self, guild: Id, user: Id, change: impl FnOnce(&mut Member)) {
        let found = self.guilds.get(&guild);
        let Some(mut member) = found.and_then(|found| found.member(user)) else {
            return;
        };
        change(&mut member);
        if let Some(found) = self.guilds.get_mut(&guild) {
            found.members.insert(user, member);
        }
        self.tell_of_member("GUILD_MEMBER_UPDATE", guild, user);
    }

    /// Changes an account and tells every guild that the person is in.
    pub(crate) fn change_user(&mut self, id: Id, change: impl FnOnce(&mut User)) {
        let Some(mut user) = self.user(id) else {
            return;
        };
        change(&mut user);
        self.users.insert(id, user);
        let guilds: Vec<Id> = self
            .guilds
            .values()
            .filter(|guild| guild.member(id).is_some())
            .map(|guild| guild.id)
            .collect();
        for guild in guilds {
            self.tell_of_member("GUILD_MEMBER_UPDATE", guild, id);
        }
    }

    fn tell_of_member(&mut self, name: &'static str, guild: Id, user: Id) {
        let found = self.guilds.get(&guild);
        let member = found.and_then(|found| self.member_object(found, user));
        if let Some(mut json) = member {
            json["guild_id"] = text(guild).into();
            self.dispatch(Event::in_guild(name, guild, json));
        }
    }

    fn guild_of_channel(&self, channel: Id) -> Result<Id, String> {
        let channel = self
            .channels
            .get(&channel)
            .ok_or("there is no such channel")?;
        channel
            .guild
            .ok_or_else(|| "commands are used in guilds only".into())
    }
}

/// The options that were given, checked against the command's definition and
/// with their types filled in.
fn check_options(defined: &Value, given: &Value) -> Result<Vec<Value>, String> {
    let mut checked = Vec::new();
    for option in items(given) {
        let name = option["name"].as_str().unwrap_or_default();
        let definition = items(defined)
            .iter()
            .find(|one| one["name"] == name)
            .ok_or_else(|| {
                let names: Vec<&str> = items(defined)
                    .iter()
                    .filter_map(|one| one["name"].as_str())
                    .collect();
                format!("there is no option {name}; there are: {}", names.join(", "))
            })?;
        let kind = definition["type"].as_u64().unwrap_or(0);
        let value = coerce(kind, &option["value"])
            .ok_or_else(|| format!("{} does not fit the option {name}", option["value"]))?;
        let choices = items(&definition["choices"]);
        if !choices.is_empty() && !choices.iter().any(|choice| choice["value"] == value) {
            return Err(format!("{value} is none of the choices of {name}"));
        }
        let below = |limit: &str| match (value.as_f64(), definition[limit].as_f64()) {
            (Some(value), Some(limit)) => value < limit,
            _ => false,
        };
        let above = |limit: &str| match (value.as_f64(), definition[limit].as_f64()) {
            (Some(value), Some(limit)) => value > limit,
            _ => false,
        };
        if below("min_value") || above("max_value") {
            return Err(format!("{value} is out of the range of {name}"));
        }
        let mut fields = Map::new();
        fields.insert("name".into(), name.into());
        fields.insert("type".into(), kind.into());
        fields.insert("value".into(), value);
        checked.push(Value::Object(fields));
    }
    let missing = items(defined).iter().find(|one| {
        one["required"] == true && !checked.iter().any(|given| given["name"] == one["name"])
    });
    match missing {
        Some(option) => Err(format!("the option {} is required", option["name"])),
        None => Ok(checked),
    }
}

/// A value as an option of this type carries it.
fn coerce(kind: u64, value: &Value) -> Option<Value> {
    match kind {
        3 => value.as_str().map(Into::into),
        4 => value
            .as_i64()
            .or_else(|| value.as_str()?.parse().ok())
            .map(Into::into),
        5 => value
            .as_bool()
            .or_else(|| value.as_str()?.parse().ok())
            .map(Into::into),
        6..=9 | 11 => id_in(value).map(|id| text(id).into()),
        10 => value
            .as_f64()
            .or_else(|| value.as_str()?.parse().ok())
            .map(Into::into),
        _ => None,
    }
}
