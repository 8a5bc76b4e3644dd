//! Parses messages and interactions into serenity's types, which poise needs to run commands.
//!
//! Discord adds fields to users, members and messages all the time, and a new one must not make a
//! command fail. If serenity cannot parse an object, this module rebuilds it from the few fields
//! that commands need and parses that. It does not decide whether a message may run a command.

use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use serenity::all as theirs;

use super::unreadable::{self, Unreadable, read};

/// Types of interactions. Source: Discord's documentation, "Interaction Type".
const COMMAND: u64 = 2;
const COMPONENT: u64 = 3;
const AUTOCOMPLETE: u64 = 4;
/// Types of command options whose value is an id. Source: Discord's documentation, "Application
/// Command Option Type".
const USER: u64 = 6;
const CHANNEL: u64 = 7;
const ROLE: u64 = 8;
const MENTIONABLE: u64 = 9;

/// A parsed message or interaction.
#[derive(Debug)]
pub struct Readable<T> {
    /// The message or interaction, possibly rebuilt.
    pub value: T,
    /// The field that serenity could not parse, if the value had to be rebuilt.
    pub odd: Option<Unreadable>,
}

/// Parses the JSON text of a message that may be a text command. The error names a required field
/// that could not be parsed.
pub fn message(text: &str) -> Result<Readable<theirs::Message>, Unreadable> {
    read_or_rebuild(text, rebuilt_message)
}

/// Parses the JSON text of an interaction. The error names a required field that could not be
/// parsed.
pub fn interaction(text: &str) -> Result<Readable<theirs::Interaction>, Unreadable> {
    read_or_rebuild(text, rebuilt_interaction)
}

fn read_or_rebuild<T: DeserializeOwned>(
    text: &str,
    rebuild: impl FnOnce(&Value) -> Result<T, Unreadable>,
) -> Result<Readable<T>, Unreadable> {
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(Readable { value, odd: None });
    }
    let odd = unreadable::parse::<T>(text.as_bytes()).err();
    let raw = unreadable::parse(text.as_bytes())?;
    let value = rebuild(&raw)?;
    Ok(Readable { value, odd })
}

/// Rebuilds a message. Unlike the message of a button press, it must have a content.
fn rebuilt_message(raw: &Value) -> Result<theirs::Message, Unreadable> {
    if !raw["content"].is_string() {
        return Err(Unreadable::at("content"));
    }
    read(&message_json(raw)?)
}

/// Rebuilds a command, an autocomplete or a button press; other types are refused.
fn rebuilt_interaction(raw: &Value) -> Result<theirs::Interaction, Unreadable> {
    let kind = raw["type"].as_u64();
    let mut json = json!({
        "id": needed_id(raw, "id")?,
        "application_id": needed_id(raw, "application_id")?,
        "type": kind,
        "token": text(&raw["token"]).ok_or_else(|| Unreadable::at("token"))?,
        "version": 1,
        "channel_id": needed_id(raw, "channel_id")?,
        "locale": text(&raw["locale"]).unwrap_or("en-US"),
        "entitlements": [],
        "attachment_size_limit": 0,
    });
    if let Some(guild) = guild(raw)? {
        json["guild_id"] = guild.into();
    }
    if let Some(permissions) = permissions(&raw["app_permissions"]) {
        json["app_permissions"] = permissions;
    }
    if raw["member"].is_object() {
        let user = user(&raw["member"]["user"]).ok_or_else(|| Unreadable::at("member.user.id"))?;
        json["member"] = member(&raw["member"]);
        json["member"]["user"] = user;
    } else {
        json["user"] = user(&raw["user"]).ok_or_else(|| Unreadable::at("user.id"))?;
    }
    match kind {
        Some(COMMAND | AUTOCOMPLETE) => {
            json["data"] = command(&raw["data"])?;
            let read = read(&json)?;
            Ok(if kind == Some(COMMAND) {
                theirs::Interaction::Command(read)
            } else {
                theirs::Interaction::Autocomplete(read)
            })
        }
        Some(COMPONENT) => {
            let custom_id = text(&raw["data"]["custom_id"]);
            let custom_id = custom_id.ok_or_else(|| Unreadable::at("data.custom_id"))?;
            let button = u8::from(theirs::ComponentType::Button);
            json["data"] = json!({ "custom_id": custom_id, "component_type": button });
            json["message"] =
                message_json(&raw["message"]).map_err(|_| Unreadable::at("message"))?;
            Ok(theirs::Interaction::Component(read(&json)?))
        }
        _ => Err(Unreadable::at("type")),
    }
}

/// Parses a user from a REST response, also one inside a member. Only the id is required.
pub fn account(raw: &Value) -> Result<theirs::User, Unreadable> {
    read(&user(raw).ok_or_else(|| Unreadable::at("id"))?)
}

fn message_json(raw: &Value) -> Result<Value, Unreadable> {
    let message = needed_id(raw, "id")?;
    let author = user(&raw["author"]).ok_or_else(|| Unreadable::at("author.id"))?;
    let sent_at = theirs::MessageId::from_str(&message).map(|id| id.created_at().to_string());
    let mut json = json!({
        "id": message,
        "channel_id": needed_id(raw, "channel_id")?,
        "author": author,
        "content": text(&raw["content"]).unwrap_or_default(),
        "timestamp": sent_at.map_err(|_| Unreadable::at("id"))?,
        "edited_timestamp": null,
        "tts": false,
        "mention_everyone": false,
        "mentions": list(&raw["mentions"], user_with_member),
        "mention_roles": list(&raw["mention_roles"], id),
        "attachments": [],
        "embeds": [],
        "pinned": false,
        "type": raw["type"].as_u64().and_then(|kind| u8::try_from(kind).ok()).unwrap_or(0),
    });
    if let Some(guild) = guild(raw)? {
        json["guild_id"] = guild.into();
    }
    if raw["member"].is_object() {
        json["member"] = member(&raw["member"]);
    }
    Ok(json)
}

/// Rebuilds a user; `None` without an id. Without a username, the id takes its place.
fn user(raw: &Value) -> Option<Value> {
    let id = id(&raw["id"])?;
    Some(json!({
        "id": id,
        "username": text(&raw["username"]).unwrap_or(&id),
        "global_name": text(&raw["global_name"]),
        "avatar": hash(&raw["avatar"]),
        "bot": raw["bot"] == true,
        "system": raw["system"] == true,
    }))
}

/// Rebuilds a user, with the id under which the user is listed.
fn user_of(id: &str, raw: &Value) -> Option<Value> {
    let mut user = user(raw)?;
    user["id"] = id.into();
    Some(user)
}

fn user_with_member(raw: &Value) -> Option<Value> {
    let mut user = user(raw)?;
    if raw["member"].is_object() {
        user["member"] = member(&raw["member"]);
    }
    Some(user)
}

/// Rebuilds a member, without the user inside.
fn member(raw: &Value) -> Value {
    json!({
        "nick": text(&raw["nick"]),
        "avatar": hash(&raw["avatar"]),
        "roles": list(&raw["roles"], id),
        "permissions": permissions(&raw["permissions"]),
        "pending": raw["pending"] == true,
        "joined_at": null,
        "deaf": false,
        "mute": false,
        "flags": 0,
    })
}

/// Rebuilds a command's data: its name, its options, and the objects that the options refer to.
fn command(raw: &Value) -> Result<Value, Unreadable> {
    let name = text(&raw["name"]).ok_or_else(|| Unreadable::at("data.name"))?;
    let mut options = raw["options"].clone();
    if !options.is_array() {
        options = json!([]);
    }
    let mut resolved = json!({
        "users": by_id(&raw["resolved"]["users"], user_of),
        "members": by_id(&raw["resolved"]["members"], |_, raw| Some(member(raw))),
        "roles": by_id(&raw["resolved"]["roles"], |id, raw| Some(role(id, raw))),
        "channels": by_id(&raw["resolved"]["channels"], |id, raw| Some(channel(id, raw))),
    });
    resolve(&options, &mut resolved);
    let mut json = json!({
        "id": needed_id(raw, "id").map_err(|_| Unreadable::at("data.id"))?,
        "name": name,
        "type": raw["type"].as_u64().filter(|kind| (1..=3).contains(kind)).unwrap_or(1),
        "options": options,
        "resolved": resolved,
    });
    for field in ["guild_id", "target_id"] {
        if let Some(id) = id(&raw[field]) {
            json[field] = id.into();
        }
    }
    Ok(json)
}

/// Adds a stand-in to `resolved` for each option whose object is missing there, so that at least
/// its id is known.
fn resolve(options: &Value, resolved: &mut Value) {
    for option in options.as_array().into_iter().flatten() {
        resolve(&option["options"], resolved);
        let Some(id) = id(&option["value"]) else {
            continue;
        };
        let (kind, known) = match option["type"].as_u64() {
            Some(USER | MENTIONABLE) => ("users", user(&json!({ "id": id }))),
            Some(ROLE) => ("roles", Some(role(&id, &Value::Null))),
            Some(CHANNEL) => ("channels", Some(channel(&id, &Value::Null))),
            _ => continue,
        };
        let is_role = !resolved["roles"][&id].is_null();
        if let Some(known) = known
            && resolved[kind][&id].is_null()
            && !is_role
        {
            resolved[kind][&id] = known;
        }
    }
}

fn role(id: &str, raw: &Value) -> Value {
    let colour = raw["color"].as_u64().filter(|colour| *colour < 1 << 24);
    let colour = colour.unwrap_or(0);
    json!({
        "id": id,
        "name": text(&raw["name"]).unwrap_or(id),
        "color": colour,
        "colors": { "primary_color": colour, "secondary_color": null, "tertiary_color": null },
        "hoist": raw["hoist"] == true,
        "managed": raw["managed"] == true,
        "mentionable": raw["mentionable"] == true,
        "permissions": permissions(&raw["permissions"]).unwrap_or_else(|| "0".into()),
        "position": raw["position"].as_u64().and_then(|at| u16::try_from(at).ok()).unwrap_or(0),
    })
}

fn channel(id: &str, raw: &Value) -> Value {
    json!({
        "id": id,
        "name": text(&raw["name"]),
        "type": raw["type"].as_u64().and_then(|kind| u8::try_from(kind).ok()).unwrap_or(0),
        "permissions": permissions(&raw["permissions"]),
    })
}

/// Rebuilds each value of a map whose keys are ids; drops entries that are not valid.
fn by_id(raw: &Value, read: impl Fn(&str, &Value) -> Option<Value>) -> Value {
    let entries = raw.as_object().into_iter().flatten();
    let known = entries.filter_map(|(key, raw)| {
        let id = id(&Value::from(key.as_str()))?;
        let value = read(&id, raw)?;
        Some((id, value))
    });
    Value::Object(known.collect::<Map<String, Value>>())
}

fn list<T>(raw: &Value, read: impl Fn(&Value) -> Option<T>) -> Vec<T> {
    let items = raw.as_array().into_iter().flatten();
    items.filter_map(read).collect()
}

/// The guild's id; `None` for direct messages, which have neither a guild id nor a member.
fn guild(raw: &Value) -> Result<Option<String>, Unreadable> {
    if raw["member"].is_object() || !raw["guild_id"].is_null() {
        return needed_id(raw, "guild_id").map(Some);
    }
    Ok(None)
}

fn needed_id(raw: &Value, field: &str) -> Result<String, Unreadable> {
    id(&raw[field]).ok_or_else(|| Unreadable::at(field))
}

fn id(raw: &Value) -> Option<String> {
    let number: u64 = match raw {
        Value::String(digits) => digits.parse().ok()?,
        other => other.as_u64()?,
    };
    (number > 0).then(|| number.to_string())
}

fn text(raw: &Value) -> Option<&str> {
    raw.as_str()
}

fn hash(raw: &Value) -> Option<&str> {
    text(raw).filter(|hash| theirs::ImageHash::from_str(hash).is_ok())
}

fn permissions(raw: &Value) -> Option<Value> {
    let bits: u64 = text(raw)?.parse().ok()?;
    Some(bits.to_string().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::anything;
    use super::{rebuilt_interaction as interaction, rebuilt_message as message, *};

    fn raw_user() -> Value {
        json!({
            "id": "9", "username": "alice", "global_name": "Alice", "avatar": null, "bot": false,
            "discriminator": "0", "public_flags": 1_u64 << 40, "primary_guild": null, "system": false,
        })
    }

    fn raw_member() -> Value {
        json!({ "nick": "al", "avatar": null, "roles": ["5", "6"], "permissions": "8", "flags": 0, "deaf": false })
    }

    fn raw_message() -> Value {
        json!({
            "id": "1000000000000000000", "channel_id": "7", "guild_id": "8", "type": 0, "content": ".rank <@10>",
            "author": raw_user(), "member": raw_member(), "timestamp": "2026-01-01T00:00:00+00:00",
            "mentions": [{ "id": "10", "username": "bob", "public_flags": 1_u64 << 40, "member": raw_member() }],
            "mention_roles": [], "attachments": [], "embeds": [], "components": [], "flags": 0, "tts": false,
            "referenced_message": { "author": raw_user() }, "pinned": false, "edited_timestamp": null,
            "mention_everyone": false, "nonce": "1", "message_snapshots": [],
        })
    }

    fn raw_interaction(kind: u64, data: &Value) -> Value {
        let mut member = raw_member();
        member["user"] = raw_user();
        json!({
            "id": "1000000000000000001", "application_id": "3", "type": kind, "token": "t", "version": 1,
            "guild_id": "8", "channel_id": "7", "member": member, "data": data, "locale": "en-US",
            "app_permissions": "8", "entitlements": [], "context": 0, "attachment_size_limit": 1,
            "message": raw_message(), "guild_locale": "en-US", "authorizing_integration_owners": {},
            "channel": { "id": "7", "type": 0 },
        })
    }

    fn raw_command() -> Value {
        let data = json!({
            "id": "4", "name": "rank", "type": 1,
            "options": [
                { "name": "user", "type": 6, "value": "10" },
                { "name": "role", "type": 8, "value": "5" },
                { "name": "channel", "type": 7, "value": "7" },
                { "name": "thread", "type": 7, "value": "11" },
            ],
            "resolved": {
                "users": { "10": raw_user() }, "members": { "10": raw_member() },
                "roles": { "5": { "id": "5", "name": "Role", "permissions": "0", "position": 1, "color": 7 } },
                "channels": {
                    "7": { "id": "7", "name": "general", "type": 4, "permissions": "8", "parent_id": null },
                    "11": {
                        "id": "11", "name": "weekend-plans", "type": 11, "parent_id": "7", "permissions": "8",
                        "thread_metadata": {
                            "archived": false, "auto_archive_duration": 10_080, "locked": false,
                            "archive_timestamp": "2026-01-01T00:00:00+00:00",
                        },
                    },
                },
            },
        });
        raw_interaction(COMMAND, &data)
    }

    fn raw_press() -> Value {
        let data = json!({ "custom_id": "x", "component_type": 2, "id": 1 });
        raw_interaction(COMPONENT, &data)
    }

    /// The JSON pointers of all fields of objects, at any depth.
    fn paths(of: &Value, prefix: &str, into: &mut Vec<String>) {
        if let Value::Object(fields) = of {
            for (name, value) in fields {
                let path = format!("{prefix}/{name}");
                paths(value, &path, into);
                into.push(path);
            }
        }
    }

    /// `whole` with one field replaced that is not in `needed`, and that field's path.
    fn with_one_odd(
        mut whole: Value,
        needed: &[&str],
        which: usize,
        odd: Value,
    ) -> (String, Value) {
        let mut all = Vec::new();
        paths(&whole, "", &mut all);
        all.retain(|path| !needed.contains(&path.as_str()));
        let path = all.swap_remove(which % all.len());
        *whole.pointer_mut(&path).expect("a field of the whole") = odd;
        (path, whole)
    }

    const OF_A_MESSAGE: [&str; 6] = [
        "/id",
        "/channel_id",
        "/guild_id",
        "/author",
        "/author/id",
        "/content",
    ];
    const OF_A_COMMAND: [&str; 13] = [
        "/id",
        "/application_id",
        "/guild_id",
        "/type",
        "/token",
        "/channel_id",
        "/member",
        "/member/user",
        "/member/user/id",
        "/data",
        "/data/id",
        "/data/name",
        "/data/options",
    ];
    const OF_A_PRESS: [&str; 17] = [
        "/id",
        "/application_id",
        "/guild_id",
        "/message/guild_id",
        "/type",
        "/token",
        "/channel_id",
        "/member",
        "/member/user",
        "/member/user/id",
        "/data",
        "/data/custom_id",
        "/message",
        "/message/id",
        "/message/channel_id",
        "/message/author",
        "/message/author/id",
    ];

    #[test]
    fn what_commands_need_comes_through() {
        let message = message(&raw_message()).unwrap();
        assert_eq!(message.content, ".rank <@10>");
        assert_eq!(
            (message.author.id.get(), message.author.name.as_str()),
            (9, "alice")
        );
        let member = message.member.unwrap();
        assert_eq!(
            (member.nick.as_deref(), member.roles.len()),
            (Some("al"), 2)
        );
        assert_eq!(message.mentions[0].id.get(), 10);
        assert_eq!(
            message.mentions[0].member.as_ref().unwrap().nick.as_deref(),
            Some("al")
        );
        let theirs::Interaction::Command(command) = interaction(&raw_command()).unwrap() else {
            panic!("a command");
        };
        assert_eq!(command.user.id.get(), 9);
        assert!(command.member.unwrap().permissions.unwrap().administrator());
        let given = command.data.options();
        assert!(
            matches!(given[0].value, theirs::ResolvedValue::User(user, Some(_)) if user.id.get() == 10 && user.name == "alice")
        );
        assert!(matches!(given[1].value, theirs::ResolvedValue::Role(role) if role.name == "Role"));
        for (given, (id, name)) in given[2..]
            .iter()
            .zip([(7, "general"), (11, "weekend-plans")])
        {
            assert!(
                matches!(given.value, theirs::ResolvedValue::Channel(channel) if channel.id.get() == id
                    && channel.name.as_deref() == Some(name))
            );
        }
        let theirs::Interaction::Component(press) = interaction(&raw_press()).unwrap() else {
            panic!("a press");
        };
        assert_eq!(
            (press.data.custom_id.as_str(), press.user.id.get()),
            ("x", 9)
        );
    }

    #[test]
    fn what_is_needed_and_unreadable_is_named() {
        let refused = |mut whole: Value, path: &str, field: &str| {
            *whole.pointer_mut(path).unwrap() = json!({ "secret": "secret" });
            let why = if whole.get("token").is_some() {
                interaction(&whole).unwrap_err()
            } else {
                message(&whole).unwrap_err()
            };
            assert_eq!(why.to_string(), field);
        };
        refused(raw_message(), "/content", "content");
        refused(raw_message(), "/author", "author.id");
        refused(raw_message(), "/channel_id", "channel_id");
        refused(raw_command(), "/data/name", "data.name");
        refused(raw_command(), "/member/user", "member.user.id");
        refused(raw_command(), "/type", "type");
        refused(raw_press(), "/data/custom_id", "data.custom_id");
        refused(raw_press(), "/message/id", "message");
    }

    proptest! {
        #[test]
        fn anything_odd_that_a_command_does_not_need_leaves_it_working(
            odd in anything(), which in any::<usize>(),
        ) {
            let (path, whole) = with_one_odd(raw_message(), &OF_A_MESSAGE, which, odd.clone());
            let message = message(&whole);
            prop_assert!(message.is_ok(), "{path}: {:?}", message.err());
            prop_assert_eq!(message.unwrap().author.id.get(), 9);
            let (path, whole) = with_one_odd(raw_command(), &OF_A_COMMAND, which, odd.clone());
            let command = interaction(&whole);
            prop_assert!(command.is_ok(), "{path}: {:?}", command.err());
            let command = command.unwrap().command().unwrap();
            let given = command.data.options();
            prop_assert!(matches!(given[0].value, theirs::ResolvedValue::User(user, _) if user.id.get() == 10));
            prop_assert!(matches!(given[1].value, theirs::ResolvedValue::Role(role) if role.id.get() == 5));
            prop_assert!(matches!(given[2].value, theirs::ResolvedValue::Channel(one) if one.id.get() == 7));
            prop_assert!(matches!(given[3].value, theirs::ResolvedValue::Channel(one) if one.id.get() == 11));
            prop_assert_eq!(command.user.id.get(), 9);
            let (path, whole) = with_one_odd(raw_press(), &OF_A_PRESS, which, odd);
            let press = interaction(&whole);
            prop_assert!(press.is_ok(), "{path}: {:?}", press.err());
        }

        #[test]
        fn nothing_breaks_it(odd in anything(), which in any::<usize>()) {
            let _ = (message(&odd), interaction(&odd));
            for whole in [raw_command(), raw_press(), raw_message()] {
                let (_, whole) = with_one_odd(whole, &[], which, odd.clone());
                let _ = (message(&whole), interaction(&whole));
            }
        }
    }
}
