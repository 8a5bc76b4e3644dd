//! Parses one event of the gateway. Every event is parsed once, when it is received.

use serde::Deserialize;
use serenity::model::id::{ApplicationId, GuildId};
use twilight_gateway::EventType;

use super::unreadable::{Unreadable, parse};
use super::{
    ChannelDeletion, ChannelEvent, MemberEvent, MemberRemoval, MessageDeletion, PartialGuild,
    PartialMessage, RoleDeletion, RoleEvent, ThreadsEvent,
};

/// A gateway event, with only the data that the bot needs.
#[derive(Debug)]
pub enum Event<'a> {
    /// A new session has started.
    Ready(Ready),
    /// The session was resumed, and Discord has sent all events that were missed.
    Resumed,
    /// A message was written.
    Message(PartialMessage<'a>),
    /// One or more messages were deleted.
    MessagesDeleted(MessageDeletion),
    /// Someone used a command, pressed a button or sent a form. [`command`](super::command) parses
    /// the data.
    Interaction,
    /// A member joined. Discord also sends it for a member who was in the guild already.
    MemberJoined(MemberEvent),
    /// A member's profile, roles or screening changed.
    MemberChanged(MemberEvent),
    /// A member left or was banned.
    MemberLeft(MemberRemoval),
    /// A user, member or not, was banned. Discord sends this before a member's removal.
    Banned(MemberRemoval),
    /// A ban was lifted.
    BanLifted(MemberRemoval),
    /// A guild is available: after a session started, after an outage, or because the bot was
    /// invited.
    GuildThere(PartialGuild),
    /// A guild's own data, such as its name or owner, changed.
    GuildChanged(PartialGuild),
    /// A guild is unavailable because of an outage, or the bot is no longer in it.
    GuildGone(PartialGuild),
    /// A role was created.
    RoleMade(RoleEvent),
    /// A role changed.
    RoleChanged(RoleEvent),
    /// A role was deleted.
    RoleDeleted(RoleDeletion),
    /// A channel or thread was created or changed.
    ChannelChanged(ChannelEvent),
    /// A channel or thread was deleted.
    ChannelDeleted(ChannelDeletion),
    /// The bot can see a channel now: its active threads.
    ThreadsListed(ThreadsEvent),
    /// A known type of event that the bot does not need.
    Other,
    /// A type of event that twilight does not know.
    Unknown,
}

/// The fields of a `READY` event that the listeners need.
#[derive(Debug, Deserialize)]
pub struct Ready {
    /// The guilds that the bot is in, also those that are unavailable.
    pub guilds: Vec<GuildRef>,
    /// The application to which the bot's user belongs.
    pub application: ApplicationRef,
}

/// A guild's id; other fields are ignored.
#[derive(Debug, Deserialize)]
pub struct GuildRef {
    /// Required: parsing fails without it.
    pub id: GuildId,
}

/// An application's id; other fields are ignored.
#[derive(Debug, Deserialize)]
pub struct ApplicationRef {
    /// Required: parsing fails without it.
    pub id: ApplicationId,
}

impl<'a> Event<'a> {
    /// Parses the data of an event of the type `kind`. The error names the field that could not be
    /// parsed.
    pub fn read(kind: &str, data: &'a str) -> Result<Self, Unreadable> {
        Ok(match kind {
            "MESSAGE_CREATE" => Self::Message(from_json(data)?),
            "MESSAGE_DELETE" | "MESSAGE_DELETE_BULK" => Self::MessagesDeleted(from_json(data)?),
            "INTERACTION_CREATE" => Self::Interaction,
            "READY" => Self::Ready(from_json(data)?),
            "RESUMED" => Self::Resumed,
            "GUILD_MEMBER_ADD" => Self::MemberJoined(from_json(data)?),
            "GUILD_MEMBER_UPDATE" => Self::MemberChanged(from_json(data)?),
            "GUILD_MEMBER_REMOVE" => Self::MemberLeft(from_json(data)?),
            "GUILD_BAN_ADD" => Self::Banned(from_json(data)?),
            "GUILD_BAN_REMOVE" => Self::BanLifted(from_json(data)?),
            "GUILD_CREATE" => Self::GuildThere(from_json(data)?),
            "GUILD_UPDATE" => Self::GuildChanged(from_json(data)?),
            "GUILD_DELETE" => Self::GuildGone(from_json(data)?),
            "GUILD_ROLE_CREATE" => Self::RoleMade(from_json(data)?),
            "GUILD_ROLE_UPDATE" => Self::RoleChanged(from_json(data)?),
            "GUILD_ROLE_DELETE" => Self::RoleDeleted(from_json(data)?),
            "CHANNEL_CREATE" | "CHANNEL_UPDATE" | "THREAD_CREATE" | "THREAD_UPDATE" => {
                Self::ChannelChanged(from_json(data)?)
            }
            "CHANNEL_DELETE" | "THREAD_DELETE" => Self::ChannelDeleted(from_json(data)?),
            "THREAD_LIST_SYNC" => Self::ThreadsListed(from_json(data)?),
            _ if EventType::try_from(kind).is_ok() => Self::Other,
            _ => Self::Unknown,
        })
    }
}

/// Parses JSON. Only if that fails does it parse again, more slowly, to find the name of the field.
fn from_json<'a, T: Deserialize<'a>>(data: &'a str) -> Result<T, Unreadable> {
    serde_json::from_str(data).or_else(|_| parse(data.as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::tests::anything;
    use super::*;

    const KINDS: [&str; 22] = [
        "READY",
        "MESSAGE_CREATE",
        "MESSAGE_DELETE",
        "MESSAGE_DELETE_BULK",
        "GUILD_MEMBER_ADD",
        "GUILD_MEMBER_UPDATE",
        "GUILD_MEMBER_REMOVE",
        "GUILD_BAN_ADD",
        "GUILD_BAN_REMOVE",
        "GUILD_CREATE",
        "GUILD_UPDATE",
        "GUILD_DELETE",
        "GUILD_ROLE_CREATE",
        "GUILD_ROLE_UPDATE",
        "GUILD_ROLE_DELETE",
        "CHANNEL_CREATE",
        "CHANNEL_UPDATE",
        "CHANNEL_DELETE",
        "THREAD_CREATE",
        "THREAD_UPDATE",
        "THREAD_DELETE",
        "THREAD_LIST_SYNC",
    ];

    #[test]
    fn the_field_that_makes_no_sense_is_named() {
        for (kind, data, field) in [
            ("READY", json!({ "guilds": [] }), "application"),
            ("READY", json!({ "v": "ten" }), "guilds"),
            ("MESSAGE_CREATE", json!({ "id": "x" }), "id"),
            (
                "MESSAGE_CREATE",
                json!({ "id": "1", "channel_id": "2" }),
                "author",
            ),
            ("GUILD_CREATE", json!({ "name": "secret" }), "id"),
            (
                "GUILD_ROLE_UPDATE",
                json!({ "guild_id": "1", "role": {} }),
                "role.id",
            ),
            (
                "GUILD_MEMBER_REMOVE",
                json!({ "guild_id": "1", "user": 7 }),
                "user",
            ),
        ] {
            let read = Event::read(kind, &data.to_string()).map(|_| ());
            assert_eq!(read, Err(Unreadable::at(field)), "{kind}");
        }
    }

    #[test]
    fn types_are_told_apart() {
        let read = |kind| Event::read(kind, "{}").unwrap();
        assert!(matches!(read("TYPING_START"), Event::Other));
        assert!(matches!(read("TEA_IS_READY"), Event::Unknown));
        assert!(matches!(read("INTERACTION_CREATE"), Event::Interaction));
    }

    #[test]
    fn a_guild_is_there_whatever_else_is_said_of_it() {
        let role = json!({ "id": "5", "name": "Level", "permissions": "8", "position": 1 });
        let whole = json!({
            "id": "8", "name": "Guild", "owner_id": "9", "features": ["COMMUNITY"],
            "roles": [role], "channels": [{ "id": "7", "type": 99 }],
        });
        let read = |guild: &Value| match Event::read("GUILD_CREATE", &guild.to_string()) {
            Ok(Event::GuildThere(guild)) => guild,
            other => panic!("{other:?}"),
        };
        let guild = read(&whole);
        assert_eq!((guild.id.get(), guild.owner_id.unwrap().get()), (8, 9));
        assert_eq!(guild.roles().unwrap()[0].permissions, 8);
        assert_eq!(guild.channels.unwrap()[0].id.get(), 7);
        for field in [
            "name",
            "owner_id",
            "features",
            "roles",
            "channels",
            "unavailable",
        ] {
            for odd in [
                json!(null),
                json!([{}]),
                json!({ "new": 1 }),
                json!(7),
                json!("?"),
            ] {
                let mut guild = whole.clone();
                guild[field] = odd;
                assert_eq!(read(&guild).id.get(), 8, "{field}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_event_breaks_the_reader(odd in anything(), which in 0..KINDS.len()) {
            let _ = Event::read(KINDS[which], &odd.to_string());
        }
    }
}
