//! Discord's JSON where serenity's types will not do: only the fields that XP needs.
//!
//! Discord adds to messages all the time. One that serenity cannot parse any more
//! still earns, and does not take the other 99 of its page with it.

use chrono::{DateTime, FixedOffset};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serenity::model::id::{ChannelId, GuildId, MessageId, UserId};

use super::permissions::{Overwrite, lenient_overwrites};
use crate::leveling::{self, Field, MessageFacts, Screening, Sighting, Timestamp, may_earn};
use crate::xp::Seen;

/// A message, from the gateway or from the history.
#[derive(Debug, Deserialize)]
pub struct BareMessage {
    id: MessageId,
    channel_id: ChannelId,
    /// Only the gateway says it.
    pub guild_id: Option<GuildId>,
    author: BareUser,
    #[serde(rename = "type", default, deserialize_with = "lenient")]
    kind: Option<u8>,
    webhook_id: Option<serde::de::IgnoredAny>,
    #[serde(default, deserialize_with = "lenient")]
    message_reference: Option<BareReference>,
    #[serde(default, deserialize_with = "lenient")]
    member: Option<BareMember>,
}

/// A user; of the fields only the id must make sense.
#[derive(Debug, Deserialize)]
pub(super) struct BareUser {
    pub id: UserId,
    #[serde(default, deserialize_with = "lenient")]
    username: Option<String>,
    #[serde(default, deserialize_with = "field")]
    global_name: Field,
    #[serde(default, deserialize_with = "field")]
    avatar: Field,
    #[serde(default, deserialize_with = "lenient")]
    bot: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    system: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct BareReference {
    #[serde(rename = "type", default)]
    kind: u64,
}

/// What a user is in one guild.
#[derive(Debug, Default, Deserialize)]
pub(super) struct BareMember {
    #[serde(default, deserialize_with = "field")]
    nick: Field,
    #[serde(default, deserialize_with = "field")]
    avatar: Field,
}

impl BareUser {
    /// Whether it is a bot's account.
    pub fn is_bot(&self) -> bool {
        self.bot.unwrap_or(false)
    }

    /// What was seen of them, as `member` where that was shown; `None` without a name.
    pub fn seen(self, member: Option<BareMember>) -> Option<Sighting> {
        let BareMember { nick, avatar } = member.unwrap_or_default();
        Some(storable(Sighting {
            username: self.username?,
            display_name: self.global_name,
            avatar_hash: self.avatar,
            nickname: nick,
            guild_avatar_hash: avatar,
        }))
    }
}

/// A member who joined or changed, as far as it takes to see who they are.
#[derive(Debug, Deserialize)]
pub struct BareMemberEvent {
    /// Where.
    pub guild_id: GuildId,
    user: BareUser,
    #[serde(flatten)]
    member: BareMember,
    #[serde(flatten)]
    screening: BareScreening,
}

/// A member who left or was banned.
#[derive(Debug, Deserialize)]
pub struct BareRemoval {
    /// Where.
    pub guild_id: GuildId,
    /// Who.
    pub user: BareId,
}

/// An object's id; its other fields are ignored.
#[derive(Debug, Deserialize)]
pub struct BareId {
    /// Discord's id.
    pub id: UserId,
}

/// How far a member is on the way into the guild; every field may be missing.
#[derive(Debug, Deserialize)]
pub(super) struct BareScreening {
    #[serde(default, deserialize_with = "lenient")]
    pending: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    flags: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    joined_at: Option<DateTime<FixedOffset>>,
}

impl BareScreening {
    pub fn read(&self) -> Screening {
        Screening {
            pending: self.pending.unwrap_or(false),
            flags: self.flags,
            joined_at: self
                .joined_at
                .and_then(|at| Timestamp::from_millis(at.timestamp_millis())),
        }
    }
}

impl BareMemberEvent {
    /// Whose event it is, also a bot's.
    pub fn user_id(&self) -> UserId {
        self.user.id
    }

    /// How far they are on the way into the guild.
    pub fn screening(&self) -> Screening {
        self.screening.read()
    }

    /// Who it is, unless a bot.
    pub fn user(&self) -> Option<leveling::UserId> {
        let id = self.user.id.try_into().ok();
        id.filter(|_| !self.user.is_bot())
    }

    /// What was seen of them; `None` without a name.
    pub fn seen(self) -> Option<Sighting> {
        self.user.seen(Some(self.member))
    }
}

/// What a field that is there shows.
fn field<'de, D: Deserializer<'de>>(field: D) -> Result<Field, D::Error> {
    Ok(match Value::deserialize(field)? {
        Value::Null => Field::Empty,
        Value::String(text) => Field::Value(text),
        _ => Field::Unseen,
    })
}

/// A value, or `None` where it makes no sense.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    field: D,
) -> Result<Option<T>, D::Error> {
    Ok(T::deserialize(Value::deserialize(field)?).ok())
}

/// A channel or a thread.
#[derive(Clone, Debug, Deserialize)]
pub struct BareChannel {
    /// Its id.
    pub id: ChannelId,
    /// Discord's channel type.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Its name; hostile text, as all names.
    pub name: Option<String>,
    /// Its newest message, which may have been deleted.
    pub last_message_id: Option<MessageId>,
    /// Of a thread: the channel that it hangs on. Of a channel: its category.
    pub parent_id: Option<ChannelId>,
    /// Exceptions to what the guild's roles grant; `None` for threads, which have their
    /// parent's, and where they are not understood.
    #[serde(default, deserialize_with = "lenient_overwrites")]
    pub permission_overwrites: Option<Vec<Overwrite>>,
    /// Of a thread.
    pub thread_metadata: Option<BareThread>,
}

/// What only threads have.
#[derive(Clone, Debug, Deserialize)]
pub struct BareThread {
    /// When it was archived or brought back, in ISO 8601.
    pub archive_timestamp: Option<String>,
}

/// A list of channels.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct BareChannels {
    /// Those that could be read.
    #[serde(deserialize_with = "readable")]
    pub channels: Vec<BareChannel>,
}

/// A list of threads.
#[derive(Debug, Deserialize)]
pub struct BareThreads {
    /// Those that could be read.
    #[serde(deserialize_with = "readable")]
    pub threads: Vec<BareChannel>,
    /// Whether there is another page; only of archived ones.
    #[serde(default)]
    pub has_more: bool,
}

/// One channel that makes no sense must not hide the others.
fn readable<'de, D: Deserializer<'de>>(list: D) -> Result<Vec<BareChannel>, D::Error> {
    let list: Vec<Value> = Vec::deserialize(list)?;
    let read = |channel: Value| {
        let id = id_of(&channel);
        let read = BareChannel::deserialize(channel);
        if read.is_err() {
            tracing::error!(
                id,
                "a channel or thread is described in a way that is not understood; what was \
                 missed in it is not counted"
            );
        }
        read.ok()
    };
    Ok(list.into_iter().filter_map(read).collect())
}

/// The id of whatever this is.
pub fn id_of(object: &Value) -> Option<u64> {
    object["id"].as_str()?.parse().ok()
}

impl BareMessage {
    /// What of it decides whether a human wrote it in their own words.
    pub fn facts(&self) -> MessageFacts {
        const FORWARD: u64 = 1;
        let reference = self.message_reference.as_ref();
        MessageFacts {
            kind: self.kind.unwrap_or(u8::MAX),
            by_bot: self.author.is_bot(),
            by_system: self.author.system.unwrap_or(false),
            by_webhook: self.webhook_id.is_some(),
            forwarded: reference.is_some_and(|reference| reference.kind == FORWARD),
        }
    }

    /// What the engine needs of it; `None` if it earns nothing. `notice` is as for [`seen`].
    pub fn seen(
        self,
        notice: impl FnOnce(leveling::UserId, Sighting) -> Option<Sighting>,
    ) -> Option<Seen> {
        let ids = (self.id, self.channel_id, self.author.id);
        let (facts, author, member) = (self.facts(), self.author, self.member);
        seen(notice, facts, ids, || author.seen(member))
    }
}

/// A message for the engine, if it may earn XP. `notice` is given its author, where the
/// message shows a name, and gives back what goes with the message.
pub fn seen(
    notice: impl FnOnce(leveling::UserId, Sighting) -> Option<Sighting>,
    facts: MessageFacts,
    (message, channel, user): (MessageId, ChannelId, UserId),
    sighting: impl FnOnce() -> Option<Sighting>,
) -> Option<Seen> {
    if !may_earn(&facts) {
        return None;
    }
    let message = leveling::MessageId::try_from(message).ok()?;
    let channel = leveling::ChannelId::try_from(channel).ok()?;
    let user = leveling::UserId::try_from(user).ok()?;
    let sighting = sighting().map(storable);
    let profile = sighting
        .and_then(|sighting| notice(user, sighting))
        .map(Box::new);
    Some(Seen {
        message,
        channel,
        user,
        profile,
    })
}

/// Postgres cannot store a NUL, and no name should hold one.
pub fn storable(seen: Sighting) -> Sighting {
    let clean = |text: String| {
        if text.contains('\0') {
            text.replace('\0', "")
        } else {
            text
        }
    };
    Sighting {
        username: clean(seen.username),
        display_name: seen.display_name.map(clean),
        avatar_hash: seen.avatar_hash.map(clean),
        nickname: seen.nickname.map(clean),
        guild_avatar_hash: seen.guild_avatar_hash.map(clean),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Anything that is JSON, names of our fields included.
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
        let message: BareMessage = serde_json::from_value(message()).unwrap();
        let seen = message.seen(|_, sighting| Some(sighting)).unwrap();
        assert_eq!((seen.channel.get(), seen.user.get()), (7, 9));
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
                let message = BareMessage::deserialize(message);
                let seen = message.ok().and_then(|message| message.seen(|_, _| None));
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
            let event = BareMemberEvent::deserialize(event).unwrap();
            event.seen().unwrap()
        };
        let seen = member(None);
        assert_eq!(seen.display_name, Field::Unseen);
        assert_eq!(seen.avatar_hash, Field::Empty);
        assert_eq!(seen.guild_avatar_hash, Field::Value("b".into()));
        for (nick, expected) in [
            (None, Field::Unseen),
            (Some(Value::Null), Field::Empty),
            (Some("al".into()), Field::Value("al".into())),
            (Some(json!(["al"])), Field::Unseen),
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
                let message = BareMessage::deserialize(with_one_odd(message(), &[field], 0, odd));
                let seen = message.ok().and_then(|message| message.seen(|_, _| None));
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
                    assert!(seen.is_some(), "{field}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_message_breaks_the_reader(odd in anything(), which in any::<usize>(), named: bool) {
            for message in [odd.clone(), with_one_odd(message(), &OF_A_MESSAGE, which, odd)] {
                id_of(&message);
                if let Ok(message) = BareMessage::deserialize(message) {
                    message.seen(|_, sighting| (!named).then_some(sighting));
                }
            }
        }

        #[test]
        fn an_odd_channel_costs_only_itself(odd in anything(), which in any::<usize>()) {
            let list = json!([channel(1), odd, with_one_odd(channel(2), &OF_A_CHANNEL, which, odd), channel(3)]);
            let threads = json!({ "threads": list, "has_more": true });
            let channels: BareChannels = serde_json::from_value(list).unwrap();
            let threads: BareThreads = serde_json::from_value(threads).unwrap();
            for found in [channels.channels, threads.threads] {
                let known = |id: u64| found.iter().any(|channel| channel.id.get() == id);
                prop_assert!(known(1) && known(3));
            }
        }

        #[test]
        fn a_list_that_is_none_is_refused_and_breaks_nothing(odd in anything()) {
            prop_assert_eq!(BareChannels::deserialize(odd.clone()).is_ok(), odd.is_array());
            let _ = BareThreads::deserialize(odd);
        }
    }
}
