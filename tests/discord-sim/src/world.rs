//! What exists when a simulation starts: guilds, roles, channels, people.
//!
//! A [`World`] is plain data, written by a test in a few calls or read from a
//! file (`fixtures/sandbox/guild.json`). What becomes of it is `state.rs`.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::clock::{Id, first_id_at};
use crate::permissions;

/// 2018-03-01, when the made-up guild and its people were made.
const FOUNDED_MS: u64 = 1_519_862_400_000;

/// Everything that exists at the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// The bot's own account.
    pub bot: BotSpec,
    /// The guild that a bot under test serves: names are looked up here.
    #[serde(flatten)]
    pub guild: GuildSpec,
    /// Other guilds that the bot is in too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<GuildSpec>,
}

/// The bot's own account, which is also its application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BotSpec {
    /// User and application id.
    #[serde(with = "id_text")]
    pub id: Id,
    /// Its username, and the name of its role.
    pub name: String,
}

/// A guild.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuildSpec {
    /// Its id, which is also the id of its `@everyone` role.
    #[serde(with = "id_text")]
    pub id: Id,
    /// Its name.
    pub name: String,
    /// How many generated members it has, besides the people.
    pub members: u32,
    /// The name of the person who owns it.
    pub owner: String,
    /// Its roles, lowest first, without `@everyone` and the bot's own.
    pub roles: Vec<RoleSpec>,
    /// Its channels. A parent comes before its children.
    pub channels: Vec<ChannelSpec>,
    /// The people in it who have a name in tests.
    pub people: Vec<PersonSpec>,
    /// Whether those who have XP in the made-up data hold the roles of their levels already, all
    /// but a few.
    #[serde(default, skip_serializing_if = "is_false")]
    pub level_roles: bool,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleSpec {
    /// Its id.
    #[serde(with = "id_text")]
    pub id: Id,
    /// Its name.
    pub name: String,
    /// Its permission bits.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub permissions: u64,
    /// Whether anyone may ping it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mentionable: bool,
}

/// A channel or thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelSpec {
    /// Its id.
    #[serde(with = "id_text")]
    pub id: Id,
    /// Its name.
    pub name: String,
    /// What kind of channel it is.
    pub kind: ChannelKind,
    /// The name of the category, or of the channel a thread hangs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// If not empty, only these roles (by name) see it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
}

/// The kinds of channels there are in this world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    /// An ordinary text channel.
    Text,
    /// A direct-message channel, which belongs to no guild.
    Dm,
    /// A voice channel.
    Voice,
    /// A heading over other channels.
    Category,
    /// A public thread, also a forum's post.
    Thread,
    /// A private thread: it is seen by those who were added to it.
    PrivateThread,
    /// A forum, which holds threads and no messages.
    Forum,
}

impl ChannelKind {
    /// Discord's number for it.
    pub const fn number(self) -> u8 {
        match self {
            Self::Text => 0,
            Self::Dm => 1,
            Self::Voice => 2,
            Self::Category => 4,
            Self::Thread => 11,
            Self::PrivateThread => 12,
            Self::Forum => 15,
        }
    }
}

/// A person (or another bot) with a name that tests and the chat use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonSpec {
    /// Their id.
    #[serde(with = "id_text")]
    pub id: Id,
    /// Their username.
    pub name: String,
    /// Their display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Their name in the guild.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nick: Option<String>,
    /// The hash of their avatar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    /// Their roles, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Whether they are a bot.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bot: bool,
}

impl World {
    /// The usual small guild: channels `general`, `random`, `bot-commands`, a
    /// voice channel `lounge`, a forum `questions` with the post
    /// `how-do-i-start`, a thread `weekend-plans`, and `staff`, which the bot
    /// cannot see; roles `Minions`, `Moderator`, `Bot_manager`; people `alice`,
    /// `bob`, `carol`, `mod` (a moderator and a Minion), `boss` (who owns the
    /// guild), and `beep`, a bot.
    pub fn new() -> Self {
        Self {
            bot: BotSpec {
                id: made_id(0, 1),
                name: "wall_e".into(),
            },
            guild: GuildSpec::new("Sandbox", 0),
            others: Vec::new(),
        }
    }

    /// Reads a world from a file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the world from {}", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} does not describe a world", path.display()))
    }

    /// How many generated members the guild has, besides the people.
    #[must_use]
    pub fn members(mut self, count: u32) -> Self {
        self.guild.members = count;
        self
    }

    /// One more person in the guild.
    #[must_use]
    pub fn person(mut self, name: &str, roles: &[&str]) -> Self {
        let id = made_id(3, self.guild.people.len() as u64);
        self.guild.people.push(PersonSpec::new(id, name, roles));
        self
    }

    /// One more role in the guild, above the ones before it.
    #[must_use]
    pub fn role(mut self, name: &str, permissions: u64) -> Self {
        let id = made_id(1, self.guild.roles.len() as u64);
        self.guild.roles.push(RoleSpec {
            id,
            name: name.into(),
            permissions,
            mentionable: false,
        });
        self
    }

    /// One more channel in the guild.
    #[must_use]
    pub fn channel(mut self, name: &str, kind: ChannelKind, parent: Option<&str>) -> Self {
        let id = made_id(2, self.guild.channels.len() as u64);
        self.guild.channels.push(ChannelSpec {
            id,
            name: name.into(),
            kind,
            parent: parent.map(Into::into),
            only: Vec::new(),
        });
        self
    }

    /// Another guild that the bot is in too, with the same people.
    #[must_use]
    pub fn other_guild(mut self, name: &str) -> Self {
        let number = self.others.len() as u64 + 1;
        let mut other = GuildSpec::new(name, number);
        other.people.clone_from(&self.guild.people);
        self.others.push(other);
        self
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl GuildSpec {
    /// A guild like the usual one; `number` keeps the ids of guilds apart.
    fn new(name: &str, number: u64) -> Self {
        use ChannelKind::{Category, Forum, Text, Thread, Voice};
        let id = |kind: u64, of: usize| made_id(kind, number << 12 | of as u64);
        let channels = [
            ("Text channels", Category, None),
            ("general", Text, Some("Text channels")),
            ("random", Text, Some("Text channels")),
            ("bot-commands", Text, Some("Text channels")),
            ("lounge", Voice, None),
            ("questions", Forum, None),
            ("how-do-i-start", Thread, Some("questions")),
            ("weekend-plans", Thread, Some("general")),
            ("staff", Text, None),
        ];
        let people: [(&str, &[&str]); 6] = [
            ("boss", &[]),
            ("alice", &[]),
            ("bob", &[]),
            ("carol", &[]),
            ("mod", &["Minions", "Moderator"]),
            ("beep", &[]),
        ];
        Self {
            id: made_id(0, number << 12),
            name: name.into(),
            members: 0,
            owner: "boss".into(),
            level_roles: false,
            roles: ["Bot_manager", "Moderator", "Minions"]
                .into_iter()
                .enumerate()
                .map(|(of, name)| RoleSpec {
                    id: id(1, of),
                    name: name.into(),
                    permissions: if name == "Bot_manager" {
                        0
                    } else {
                        permissions::MANAGE_MESSAGES
                    },
                    mentionable: false,
                })
                .collect(),
            channels: channels
                .into_iter()
                .enumerate()
                .map(|(of, (name, kind, parent))| ChannelSpec {
                    id: id(2, of),
                    name: name.into(),
                    kind,
                    parent: parent.map(Into::into),
                    only: if name == "staff" {
                        vec!["Minions".into()]
                    } else {
                        Vec::new()
                    },
                })
                .collect(),
            people: people
                .into_iter()
                .enumerate()
                .map(|(of, (name, roles))| PersonSpec {
                    bot: name == "beep",
                    ..PersonSpec::new(made_id(3, of as u64), name, roles)
                })
                .collect(),
        }
    }
}

impl PersonSpec {
    fn new(id: Id, name: &str, roles: &[&str]) -> Self {
        Self {
            id,
            name: name.into(),
            display_name: None,
            nick: None,
            avatar: None,
            roles: roles.iter().copied().map(Into::into).collect(),
            bot: false,
        }
    }
}

/// Ids of made-up things: each kind of thing was made in a minute of its own.
fn made_id(kind: u64, number: u64) -> Id {
    first_id_at(FOUNDED_MS + kind * 60_000 + number) | 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Ids are strings in JSON: they do not fit what JavaScript calls a number.
mod id_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::clock::Id;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
    pub fn serialize<S: Serializer>(id: &Id, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Id, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_survives_its_file() {
        let world = World::new()
            .members(7_120)
            .role("Pingable", 0)
            .channel("extra", ChannelKind::Text, None)
            .person("dave", &["Minions"])
            .other_guild("Elsewhere");
        let text = serde_json::to_string(&world).expect("a world is JSON");
        let back: World = serde_json::from_str(&text).expect("and can be read");
        assert_eq!(back, world);
    }

    #[test]
    fn no_two_things_share_an_id() {
        let world = World::new().other_guild("Elsewhere");
        let mut ids = vec![world.bot.id];
        for guild in [&world.guild, &world.others[0]] {
            ids.push(guild.id);
            ids.extend(guild.roles.iter().map(|role| role.id));
            ids.extend(guild.channels.iter().map(|channel| channel.id));
        }
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
