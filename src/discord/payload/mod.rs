//! Types for the JSON that Discord sends, with only the fields that the bot needs.
//!
//! As a rule only an object's ids are required, since Discord changes its objects all the time. A
//! message with unexpected fields must still count, and must not make the other 99 messages of its
//! page unreadable. These types only parse; they decide nothing.

mod channel;
pub mod channel_types;
pub mod command;
pub mod event;
mod guild;
mod lenient;
mod member;
mod message;
pub mod unreadable;

use serde_json::Value;

pub use channel::{
    ChannelDeletion, ChannelEvent, ChannelList, ChannelRef, MessageDeletion, OverwrittenChannel,
    PartialChannel, ThreadList, ThreadMetadata, ThreadsEvent,
};
pub use event::Event;
pub use guild::{PartialGuild, PartialRole, RoleDeletion, RoleEvent};
pub use member::{
    MemberEvent, MemberRemoval, PartialMember, PartialScreening, PartialUser, UserRef,
};
pub use message::{PartialMessage, author_roles};

/// The `id` of any JSON object; `None` if it is not a decimal string.
pub fn id_of(object: &Value) -> Option<u64> {
    object["id"].as_str()?.parse().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde::Deserialize as _;
    use serde_json::json;

    use super::*;
    use crate::leveling::{Field, may_earn};

    /// Any JSON value; objects may have the names of fields that the bot parses.
    pub fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<u64>().prop_map(|id| id.to_string().into()),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            let name = prop_oneof![
                Just("id".to_owned()),
                Just("type".to_owned()),
                Just("threads".to_owned()),
                any::<String>(),
            ];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(name, inner, 0..6)
                    .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    /// `whole` with one of its fields, at any depth, replaced.
    fn with_one_odd(mut whole: Value, fields: &[&str], which: usize, odd: Value) -> Value {
        let field = fields[which % fields.len()];
        *whole.pointer_mut(field).expect("a field of the whole") = odd;
        whole
    }

    fn message() -> Value {
        json!({
            "id": "1000000000000000000", "channel_id": "7", "guild_id": "8", "type": 0, "webhook_id": null,
            "author": { "id": "9", "username": "alice", "global_name": null, "avatar": "a", "bot": false, "system": false },
            "message_reference": { "type": 0 }, "member": { "nick": "al" },
        })
    }

    const OF_A_MESSAGE: [&str; 13] = [
        "/id",
        "/channel_id",
        "/guild_id",
        "/type",
        "/webhook_id",
        "/author",
        "/author/id",
        "/author/username",
        "/author/bot",
        "/message_reference",
        "/message_reference/type",
        "/member",
        "/member/nick",
    ];

    fn channel(id: u64) -> Value {
        json!({
            "id": id.to_string(), "type": 11, "name": "n", "last_message_id": "5", "parent_id": "6",
            "permission_overwrites": [{ "id": "7", "type": 0, "allow": "0", "deny": "1024" }],
            "thread_metadata": { "archive_timestamp": "2026-01-01T00:00:00+00:00" },
        })
    }

    const OF_A_CHANNEL: [&str; 10] = [
        "/id",
        "/type",
        "/name",
        "/last_message_id",
        "/parent_id",
        "/permission_overwrites",
        "/permission_overwrites/0",
        "/permission_overwrites/0/deny",
        "/thread_metadata",
        "/thread_metadata/archive_timestamp",
    ];

    #[test]
    fn what_discord_sends_is_read_whole() {
        let message = PartialMessage::deserialize(message()).unwrap();
        let seen = message.read().unwrap();
        assert_eq!((seen.channel.get(), seen.author.get()), (7, 9));
        assert!(may_earn(&seen.facts));
        assert_eq!(seen.profile.unwrap().nickname, Field::Value("al".into()));
        for field in OF_A_CHANNEL {
            assert!(channel(1).pointer(field).is_some(), "{field}");
        }
    }

    #[test]
    fn ids_that_no_database_could_keep_earn_nothing() {
        for (id, earns) in [
            ("9223372036854775807", true),
            ("9223372036854775808", false),
            ("18446744073709551615", false),
        ] {
            for field in ["/id", "/channel_id", "/author/id"] {
                let message = with_one_odd(message(), &[field], 0, id.into());
                let message = PartialMessage::deserialize(message);
                let seen = message.ok().and_then(PartialMessage::read);
                assert_eq!(seen.is_some(), earns, "{field} {id}");
            }
        }
    }

    #[test]
    fn what_is_not_there_is_not_taken_for_empty() {
        let member = |nick: Option<Value>| {
            let mut event = json!({
                "guild_id": "8", "user": { "id": "9", "username": "alice", "avatar": null },
                "roles": [], "avatar": "b", "flags": "new",
            });
            if let Some(nick) = nick {
                event["nick"] = nick;
            }
            let event = MemberEvent::deserialize(event).unwrap();
            event.seen().unwrap()
        };
        let seen = member(None);
        assert_eq!(seen.display_name, Field::Unseen);
        assert_eq!(seen.avatar_hash, Field::Empty);
        assert_eq!(seen.guild_avatar_hash, Field::Value("b".into()));
        for (nick, expected) in [
            (None, Field::Unclear),
            (Some(Value::Null), Field::Empty),
            (Some("al".into()), Field::Value("al".into())),
            (Some(json!(["al"])), Field::Unclear),
        ] {
            assert_eq!(member(nick).nickname, expected);
        }
    }

    #[test]
    fn only_ids_must_make_sense_for_a_message_to_earn() {
        for field in OF_A_MESSAGE {
            for odd in [
                json!({ "new": [] }),
                json!([]),
                json!(1_u64 << 40),
                json!("?"),
            ] {
                let message =
                    PartialMessage::deserialize(with_one_odd(message(), &[field], 0, odd));
                let seen = message.ok().and_then(PartialMessage::read);
                let earns = seen.is_some_and(|seen| may_earn(&seen.facts));
                let needed = [
                    "/id",
                    "/channel_id",
                    "/guild_id",
                    "/type",
                    "/webhook_id",
                    "/author",
                    "/author/id",
                ];
                if !needed.contains(&field) {
                    assert!(earns, "{field}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_message_breaks_the_reader(odd in anything(), which in any::<usize>()) {
            for message in [odd.clone(), with_one_odd(message(), &OF_A_MESSAGE, which, odd)] {
                id_of(&message);
                if let Ok(message) = PartialMessage::deserialize(message) {
                    message.read();
                }
            }
        }

        #[test]
        fn an_odd_channel_costs_only_itself(odd in anything(), which in any::<usize>()) {
            let list = json!([channel(1), odd, with_one_odd(channel(2), &OF_A_CHANNEL, which, odd), channel(3)]);
            let threads = json!({ "threads": list, "has_more": true });
            let channels: ChannelList = serde_json::from_value(list).unwrap();
            let threads: ThreadList = serde_json::from_value(threads).unwrap();
            for found in [channels.channels, threads.threads] {
                let known = |id: u64| found.iter().any(|channel| channel.id.get() == id);
                prop_assert!(known(1) && known(3));
            }
        }

        #[test]
        fn a_list_that_is_none_is_refused_and_breaks_nothing(odd in anything()) {
            prop_assert_eq!(ChannelList::deserialize(odd.clone()).is_ok(), odd.is_array());
            let _ = ThreadList::deserialize(odd);
        }
    }
}
