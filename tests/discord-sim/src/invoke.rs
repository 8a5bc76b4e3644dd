//! What people invoke: commands, suggestions for what they type, buttons.
//!
//! A client offers only what is registered and what the person may use; what it
//! does not offer is refused here, with the reason. Only [`State::forge`] sends
//! what no client would.

use std::time::Instant;

use serde_json::{Value, json};

use crate::clock::Id;
use crate::gateway::Event;
use crate::members::mix;
use crate::objects::{self, id_in, text};
use crate::permissions::{ADMINISTRATOR, USE_APPLICATION_COMMANDS, VIEW_CHANNEL};
use crate::rest::interactions::{self, Interaction};
use crate::rest::validate::items;
use crate::state::{Channel, State};

/// What a person used.
enum Invoked<'a> {
    /// A command, by its name.
    Command(&'a str),
    /// An option of this type, in which they are typing.
    Option(u64),
    /// A part of a message.
    Component { message: Id, json: Value },
}

/// Whom a command is offered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// Those who have what its `default_member_permissions` say.
    AsRegistered,
    /// Everyone: an admin of the guild has widened it.
    ToEveryone,
    /// As registered, and of two commands with this name the application's global one: a client
    /// lists it beside the guild's.
    Globally,
}

/// A command, and the place in it that was named.
struct Named {
    command: Value,
    /// The subcommands on the way, each as type and name.
    path: Vec<(Value, Value)>,
    /// The options that are defined there.
    options: Value,
}

impl State {
    /// Invokes a slash command, if a client would let this person do it.
    pub(crate) fn slash(
        &mut self,
        user: Id,
        channel: Id,
        name: &str,
        options: &Value,
        offered: Offered,
    ) -> Result<Id, String> {
        let named = self.offered(user, channel, name, offered)?;
        let given = check_options(&named.options, options)?;
        let data = self.command_data(user, channel, &named, given)?;
        self.interact(user, channel, Invoked::Command(name), &data)
    }

    /// Types in an option, so that the client asks what could stand there.
    pub(crate) fn autocomplete(
        &mut self,
        user: Id,
        channel: Id,
        name: &str,
        options: &Value,
        focused: &str,
    ) -> Result<Id, String> {
        let named = self.offered(user, channel, name, Offered::AsRegistered)?;
        let definition = defined(&named.options, focused)?;
        if definition["autocomplete"] != true {
            return Err(format!(
                "the option {focused} is not registered with autocomplete"
            ));
        }
        let kind = definition["type"].as_u64().unwrap_or(0);
        let given = unfinished_options(&named.options, options, focused)?;
        let data = self.command_data(user, channel, &named, given)?;
        self.interact(user, channel, Invoked::Option(kind), &data)
    }

    /// Presses a button (or chooses in a menu) on one of the bot's messages.
    pub(crate) fn click(
        &mut self,
        user: Id,
        message: Id,
        custom_id: &str,
        values: &[&str],
    ) -> Result<Id, String> {
        let json = self.seen_by(user, message)?;
        let mut parts = items(&json["components"])
            .iter()
            .flat_map(|row| items(&row["components"]));
        let part = parts
            .find(|part| part["custom_id"] == custom_id)
            .ok_or_else(|| format!("the message has no component {custom_id}"))?;
        if part["disabled"] == true {
            return Err(format!("{custom_id} is disabled"));
        }
        let mut data = json!({
            "custom_id": custom_id,
            "component_type": part["type"],
            "id": part["id"],
        });
        if part["type"] != 2 {
            check_values(part, values)?;
            data["values"] = json!(values);
        }
        let channel = id_in(&json["channel_id"]).unwrap_or_default();
        let part = Invoked::Component { message, json };
        self.interact(user, channel, part, &data)
    }

    /// Sends a click with any `custom_id`, as a hostile client might, whether or
    /// not the message has such a component and the person sees the message.
    pub(crate) fn forge(&mut self, user: Id, message: Id, custom_id: &str) -> Result<Id, String> {
        let stored = self
            .find_message(message)
            .ok_or("there is no such message")?;
        let json = stored.json.clone();
        let channel = id_in(&json["channel_id"]).unwrap_or_default();
        let data = json!({ "custom_id": custom_id, "component_type": 2 });
        let part = Invoked::Component { message, json };
        self.interact(user, channel, part, &data)
    }

    /// A message, if this person sees it.
    fn seen_by(&self, user: Id, message: Id) -> Result<Value, String> {
        let stored = self
            .find_message(message)
            .ok_or("there is no such message")?;
        let json = &stored.json;
        let shown_to = id_in(&json["interaction_metadata"]["user"]["id"]);
        if interactions::is_ephemeral(json) && shown_to != Some(user) {
            return Err("only somebody else sees this message".into());
        }
        let channel = id_in(&json["channel_id"]).and_then(|id| self.channels.get(&id));
        let channel = channel.ok_or("the message's channel is gone")?;
        if self.permissions_in(channel, user) & VIEW_CHANNEL == 0 {
            return Err("they do not see the message's channel".into());
        }
        Ok(json.clone())
    }

    /// The command (or subcommand) of this name, if a client offers it.
    fn offered(
        &self,
        user: Id,
        channel: Id,
        name: &str,
        offered: Offered,
    ) -> Result<Named, String> {
        let guild = self.guild_of_channel(channel)?;
        let named = self.named(guild.filter(|_| offered != Offered::Globally), name)?;
        let in_messages = named.command["dm_permission"] != false;
        if guild.is_none() && !in_messages {
            return Err(format!("/{name} is not offered in direct messages"));
        }
        self.may_invoke(user, channel, &named.command, offered)?;
        Ok(named)
    }

    /// A command that is registered globally, or in this guild, which comes first.
    fn named(&self, guild: Option<Id>, name: &str) -> Result<Named, String> {
        let mut words = name.split_whitespace();
        let first = words.next().unwrap_or_default();
        let scopes = guild.map(Some).into_iter().chain([None]);
        let known = scopes
            .filter_map(|scope| self.commands.get(&scope))
            .flatten();
        let found: Vec<&Value> = known.filter(|one| one["type"] == 1).collect();
        let command = found.iter().find(|one| one["name"] == first).copied();
        let command = command.ok_or_else(|| {
            format!(
                "there is no command /{first}; the bot registered these: {}",
                names(found)
            )
        })?;
        let mut level = command;
        let mut path = Vec::new();
        for word in words {
            let inner = items(&level["options"])
                .iter()
                .find(|one| one["name"] == word && is_subcommand(one));
            level = inner.ok_or_else(|| format!("/{first} has no subcommand {word}"))?;
            path.push((level["type"].clone(), level["name"].clone()));
        }
        let options = &level["options"];
        if items(options).iter().any(is_subcommand) {
            return Err(format!(
                "one of its subcommands has to be chosen: {}",
                names(items(options))
            ));
        }
        Ok(Named {
            command: command.clone(),
            path,
            options: options.clone(),
        })
    }

    fn may_invoke(
        &self,
        user: Id,
        channel: Id,
        command: &Value,
        offered: Offered,
    ) -> Result<(), String> {
        let found = self
            .channels
            .get(&channel)
            .ok_or("there is no such channel")?;
        let granted = self.permissions_in(found, user);
        if granted & VIEW_CHANNEL == 0 || granted & USE_APPLICATION_COMMANDS == 0 {
            return Err("they may not use commands in this channel".into());
        }
        let needed = command["default_member_permissions"].as_str();
        let needed: Option<u64> = needed.and_then(|bits| bits.parse().ok());
        let asked_for = offered != Offered::ToEveryone && found.guild.is_some();
        let Some(needed) = needed.filter(|_| asked_for) else {
            return Ok(());
        };
        // Zero asks for no permission and yet means: nobody but administrators.
        let shown = needed != 0 && granted & needed == needed;
        if shown || granted & ADMINISTRATOR != 0 {
            return Ok(());
        }
        Err(format!(
            "their client does not show them this command, since they lack what its \
             default_member_permissions ask for ({needed:#x}) and are no administrator"
        ))
    }

    fn command_data(
        &self,
        user: Id,
        channel: Id,
        named: &Named,
        given: Vec<Value>,
    ) -> Result<Value, String> {
        let resolved = match self.guild_of_channel(channel)? {
            Some(guild) => {
                let guild = self.guilds.get(&guild).ok_or("the guild is gone")?;
                self.resolved(guild, user, &given)
            }
            None => json!({}),
        };
        let mut options = given;
        for (kind, name) in named.path.iter().rev() {
            options = vec![json!({ "type": kind, "name": name, "options": options })];
        }
        let mut data = json!({
            "id": named.command["id"],
            "name": named.command["name"],
            "type": 1,
            "options": options,
            "resolved": resolved,
        });
        if let Some(registered_in) = named.command.get("guild_id") {
            data["guild_id"] = registered_in.clone();
        }
        Ok(data)
    }

    fn interact(
        &mut self,
        user: Id,
        channel: Id,
        invoked: Invoked<'_>,
        data: &Value,
    ) -> Result<Id, String> {
        let (kind, name, typed_in, source) = match invoked {
            Invoked::Command(name) => (interactions::COMMAND, name, None, None),
            Invoked::Component { message, json } => {
                (interactions::COMPONENT, "", None, Some((message, json)))
            }
            Invoked::Option(kind) => (interactions::AUTOCOMPLETE, "", Some(kind), None),
        };
        let guild_id = self.guild_of_channel(channel)?;
        let id = self.clock.snowflake();
        let token = format!("simulated{:016x}{:016x}", mix(id), mix(!id));
        let place = self
            .channels
            .get(&channel)
            .ok_or("there is no such channel")?;
        let mut json = json!({
            "id": text(id),
            "application_id": text(self.bot),
            "type": kind,
            "token": token,
            "version": 1,
            "channel_id": text(channel),
            "channel": self.channel_object(place),
            "data": data,
            "app_permissions": self.permissions_in(place, self.bot).to_string(),
            "locale": "en-US",
            "entitlements": [],
            "entitlement_sku_ids": [],
            "attachment_size_limit": 10_485_760,
            // No such field exists yet; Discord adds some now and then.
            "field_of_tomorrow": { "kind": 7, "values": [null, "new"] },
        });
        self.say_who(&mut json, user, place)?;
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
                typed_in,
                source: source_id,
                made: Instant::now(),
                made_ms,
                answered: false,
                original: None,
                shown: None,
                choices: None,
            },
        );
        self.dispatch(Event {
            name: "INTERACTION_CREATE".into(),
            guild: guild_id,
            visible: true,
            json,
        });
        Ok(id)
    }

    /// Says in an interaction who invoked it, and where: as a member in a guild, as a user in
    /// direct messages.
    fn say_who(&self, json: &mut Value, user: Id, place: &Channel) -> Result<(), String> {
        let more = if let Some(guild_id) = place.guild {
            let guild = self.guilds.get(&guild_id).ok_or("the guild is gone")?;
            let member = self.member_object(guild, user);
            let mut member = member.ok_or("they are not in the guild")?;
            if member["user"]["bot"] == true {
                return Err("they are a bot, and bots invoke nothing".into());
            }
            let permissions: Value = self.permissions_in(place, user).to_string().into();
            member["permissions"] = permissions.clone();
            json["channel"]["permissions"] = permissions;
            json!({
                "guild_id": text(guild_id),
                "guild": { "id": text(guild_id), "locale": "en-US", "features": ["COMMUNITY"] },
                "guild_locale": "en-US",
                "authorizing_integration_owners": { "0": text(guild_id) },
                "context": 0,
                "member": member,
            })
        } else {
            if place.recipient != Some(user) {
                return Err("these are somebody else's direct messages".into());
            }
            let account = self.user(user).ok_or("they have no account")?;
            json!({
                "authorizing_integration_owners": { "0": "0" },
                "context": 1,
                "user": objects::user(&account),
            })
        };
        objects::extend(json, more);
        Ok(())
    }

    /// The guild that a channel is in; none for direct messages.
    fn guild_of_channel(&self, channel: Id) -> Result<Option<Id>, String> {
        let channel = self.channels.get(&channel);
        Ok(channel.ok_or("there is no such channel")?.guild)
    }
}

fn is_subcommand(option: &Value) -> bool {
    option["type"].as_u64().is_some_and(|kind| kind <= 2)
}

fn names<'a>(of: impl IntoIterator<Item = &'a Value>) -> String {
    let names: Vec<&str> = of
        .into_iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    names.join(", ")
}

/// The definition of an option.
fn defined<'a>(options: &'a Value, name: &str) -> Result<&'a Value, String> {
    let options = items(options);
    let found = options.iter().find(|one| one["name"] == name);
    found.ok_or_else(|| format!("there is no option {name}; there are: {}", names(options)))
}

/// The options that were given, checked against the command's definition and
/// with their types filled in.
fn check_options(definitions: &Value, given: &Value) -> Result<Vec<Value>, String> {
    let mut checked = Vec::new();
    for option in items(given) {
        let name = option["name"].as_str().unwrap_or_default();
        let definition = defined(definitions, name)?;
        let kind = definition["type"].as_u64().unwrap_or(0);
        let value = coerce(kind, &option["value"])
            .ok_or_else(|| format!("{} does not fit the option {name}", option["value"]))?;
        check_value(definition, name, &value)?;
        checked.push(json!({ "name": name, "type": kind, "value": value }));
    }
    let missing = items(definitions).iter().find(|one| {
        one["required"] == true && !checked.iter().any(|given| given["name"] == one["name"])
    });
    match missing {
        Some(option) => Err(format!("the option {} is required", option["name"])),
        None => Ok(checked),
    }
}

fn check_value(definition: &Value, name: &str, value: &Value) -> Result<(), String> {
    let choices = items(&definition["choices"]);
    if !choices.is_empty() && !choices.iter().any(|choice| choice["value"] == *value) {
        return Err(format!("{value} is none of the choices of {name}"));
    }
    let length = value
        .as_str()
        .and_then(|text| u32::try_from(text.chars().count()).ok());
    for (number, min, max) in [
        (value.as_f64(), "min_value", "max_value"),
        (length.map(f64::from), "min_length", "max_length"),
    ] {
        let Some(number) = number else {
            continue;
        };
        let limit = |name: &str| definition[name].as_f64();
        if limit(min).is_some_and(|min| number < min) || limit(max).is_some_and(|max| number > max)
        {
            return Err(format!("{value} is out of the range of {name}"));
        }
    }
    Ok(())
}

/// The options as far as they are typed: unchecked, some missing, and the one
/// with the cursor a text whatever its type.
fn unfinished_options(
    definitions: &Value,
    given: &Value,
    focused: &str,
) -> Result<Vec<Value>, String> {
    let mut options = Vec::new();
    for option in items(given) {
        let name = option["name"].as_str().unwrap_or_default();
        let kind = defined(definitions, name)?["type"].as_u64().unwrap_or(0);
        let value = &option["value"];
        options.push(if name == focused {
            let typed = value.as_str().map_or_else(|| value.to_string(), Into::into);
            json!({ "name": name, "type": kind, "value": typed, "focused": true })
        } else {
            let value = coerce(kind, value).unwrap_or_else(|| value.clone());
            json!({ "name": name, "type": kind, "value": value })
        });
    }
    if !options.iter().any(|option| option["name"] == focused) {
        let kind = &defined(definitions, focused)?["type"];
        options.push(json!({ "name": focused, "type": kind, "value": "", "focused": true }));
    }
    Ok(options)
}

/// Whether these values can be chosen in a menu.
fn check_values(menu: &Value, values: &[&str]) -> Result<(), String> {
    let options = items(&menu["options"]);
    let unknown = values
        .iter()
        .find(|value| !options.iter().any(|option| option["value"] == **value));
    if let Some(value) = unknown.filter(|_| menu["type"] == 3) {
        return Err(format!("{value} is none of the menu's options"));
    }
    let (min, max) = (
        menu["min_values"].as_u64().unwrap_or(1),
        menu["max_values"].as_u64().unwrap_or(1),
    );
    let count = values.len() as u64;
    if (min..=max).contains(&count) {
        Ok(())
    } else {
        Err(format!("{count} values are chosen, not {min} to {max}"))
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
