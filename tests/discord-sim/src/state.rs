//! The world as it is now: everything the simulator knows, behind one lock.
//!
//! [`State`] is changed by people (`people.rs`), by the bot's requests
//! (`rest/`) and by tests. It never waits and does no I/O: what the bot must
//! hear of is handed to the gateway's sessions with [`State::dispatch`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::mpsc::UnboundedSender;

use crate::accounts::{self, End, Revisions};
use crate::attachments::Attachment;
use crate::cdn::Cdn;
use crate::chat::{Heard, News};
use crate::clock::{Clock, Id};
use crate::faults::{Fault, Plan};
use crate::gateway::Gateway;
use crate::members;
use crate::objects::id_in;
use crate::permissions::Overwrite;
use crate::requests::Request;
use crate::rest::commands::Command;
use crate::rest::front::Front;
use crate::rest::interactions::{Interaction, is_loading};
use crate::rest::limits::Limits;
use crate::world::{ChannelKind, World};

/// Everything.
#[derive(Debug)]
pub(crate) struct State {
    pub clock: Clock,
    pub settings: Settings,
    pub bot: Id,
    pub main_guild: Id,
    pub guilds: BTreeMap<Id, Guild>,
    pub channels: BTreeMap<Id, Channel>,
    /// Accounts that were named or touched; the rest is generated.
    pub users: BTreeMap<Id, User>,
    pub names: BTreeMap<String, Id>,
    /// Accounts that have ended; what they were is still above.
    pub ended: BTreeMap<Id, End>,
    /// What all at once became of generated accounts.
    pub revisions: Revisions,
    /// The private threads that the bot was added to.
    pub joined: BTreeSet<Id>,
    /// Messages by channel.
    pub messages: BTreeMap<Id, BTreeMap<Id, Stored>>,
    /// Answers that only one person sees; they are in no channel's history.
    pub ephemeral: BTreeMap<Id, Stored>,
    /// Registered commands by guild; global ones at `None`.
    pub commands: BTreeMap<Option<Id>, Vec<Command>>,
    pub interactions: BTreeMap<Id, Interaction>,
    pub gateway: Gateway,
    pub limits: Limits,
    pub front: Front,
    pub faults: Vec<Plan<Fault>>,
    pub cdn: Cdn,
    /// By number, in the order in which they came.
    pub requests: BTreeMap<u64, Request>,
    pub request_count: u64,
    /// Who listens to the bot, and what they have heard from it so far.
    pub listener: Option<(UnboundedSender<Heard>, BTreeSet<Id>)>,
}

/// What can be switched while the simulation runs.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "switches of their own each")]
pub struct Settings {
    /// The bot's token. Changing it makes the old one invalid.
    pub token: String,
    /// Whether the application may ask for the members intent.
    pub members_intent: bool,
    /// Whether the application may ask for the presences intent.
    pub presences_intent: bool,
    /// Whether the application may ask for the message content intent.
    pub message_content_intent: bool,
    /// Whether the account that owns the bot uses two-factor authentication.
    pub owner_has_two_factor: bool,
    /// Whether the TLS front limits rates as Discord does.
    pub rate_limits: bool,
    /// Whether the TLS front refuses calls whose `User-Agent` is no bot's, with 403 and HTML.
    pub rest_needs_user_agent: bool,
    /// Whether the CDN does.
    pub cdn_needs_user_agent: bool,
    /// What Hello says. A client that misses two in a row is closed (4009).
    pub heartbeat_interval: Duration,
    /// How many sent events a session can replay.
    pub replay_buffer: usize,
    /// How often a bot may identify before its token is reset.
    pub identify_limit: u64,
    /// How long the machine's clock gives the bot to answer an interaction.
    pub answer_within: Duration,
    /// How many edits of messages that are older than an hour are let through in five minutes, in
    /// each channel; more of them are refused with 429 and code 30046.
    pub edits_of_old_messages: u32,
    /// Whether links to attachments are signed and expire. If not, they have no
    /// query at all, and are good as long as their message is there.
    pub signed_attachments: bool,
    /// For how many seconds of the world's clock a signed link is good.
    pub attachment_seconds: u64,
    /// What the `Date` header of REST's answers says.
    pub date: DateHeader,
    /// Whether events about members leave out `nick` and `avatar`, which are optional there.
    pub sparse_member_events: bool,
    /// Fields that every user has besides the usual ones, or instead of them: what Discord may
    /// add one day.
    pub user_fields: Map<String, Value>,
}

/// What the `Date` header of an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateHeader {
    /// The world's time, as Discord's does.
    World,
    /// So many seconds after it, or before it where that is below zero.
    Off(i64),
    /// This time in Unix milliseconds, whatever the world's is.
    At(u64),
    /// Nothing: a proxy drops the header.
    Missing,
}

/// An account.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub id: Id,
    pub username: String,
    pub global_name: Option<String>,
    pub avatar: Option<String>,
    pub bot: bool,
}

/// A guild.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts of their own each")]
pub(crate) struct Guild {
    pub id: Id,
    pub name: String,
    pub owner: Id,
    pub generated: u32,
    pub roles: BTreeMap<Id, Role>,
    /// Members who were named or touched.
    pub members: BTreeMap<Id, Member>,
    /// Generated members who are no longer there.
    pub gone: BTreeSet<Id>,
    pub banned: BTreeSet<Id>,
    /// Those who were members once: who comes back is told apart by a flag.
    pub former: BTreeSet<Id>,
    /// Whether whoever moderates, bots' owners among them, must use two-factor authentication.
    pub two_factor: bool,
    /// Whether new members are shown Discord's onboarding.
    pub onboarding: bool,
    pub bot_is_in: bool,
    /// Discord has trouble with it: sessions hear nothing of it.
    pub in_outage: bool,
}

/// A role.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    pub id: Id,
    pub name: String,
    pub permissions: u64,
    pub position: u64,
    pub color: u64,
    pub hoist: bool,
    pub mentionable: bool,
    /// Who gives and takes it; then nobody else can.
    pub managed_by: Option<Manager>,
}

/// Who manages a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manager {
    /// A bot whose own role it is.
    Bot(Id),
    /// A service such as those that know who pays.
    Integration(Id),
}

/// An account's place in a guild.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub nick: Option<String>,
    pub avatar: Option<String>,
    pub roles: BTreeSet<Id>,
    pub joined_at_ms: u64,
    pub pending: bool,
    pub flags: u64,
}

/// A channel or thread.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    pub id: Id,
    pub kind: ChannelKind,
    /// None for direct messages.
    pub guild: Option<Id>,
    pub name: String,
    pub parent: Option<Id>,
    pub position: usize,
    pub topic: Option<String>,
    pub overwrites: Vec<Overwrite>,
    /// The other side of a direct-message channel.
    pub recipient: Option<Id>,
    pub last_message: Option<Id>,
    /// When a thread was put away; a new message brings it back.
    pub archived_at_ms: Option<u64>,
}

/// A message and what is not visible in it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// As `GET /channels/{}/messages/{}` shows it, but for what `shown.rs` does.
    pub json: Value,
    pub files: Vec<Attachment>,
    pub pings: Pings,
    /// The nonce that must not be used again, and when it was used.
    pub nonce: Option<(String, u64)>,
}

/// Whom a message pinged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pings {
    /// `@everyone` or `@here`.
    pub everyone: bool,
    /// Roles.
    pub roles: Vec<Id>,
    /// Users, also by being replied to.
    pub users: Vec<Id>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // In the shape of a real one, since libraries look at the shape.
            token: [
                "NDE4NTU3OTg0NzcyMTk0MzA1",
                "GsIm01",
                &"simulated-".repeat(4),
            ]
            .join("."),
            members_intent: true,
            presences_intent: false,
            message_content_intent: true,
            owner_has_two_factor: true,
            rate_limits: true,
            rest_needs_user_agent: true,
            cdn_needs_user_agent: false,
            heartbeat_interval: Duration::from_millis(41_250),
            replay_buffer: 10_000,
            identify_limit: 1_000,
            answer_within: Duration::from_secs(3),
            edits_of_old_messages: 30,
            signed_attachments: true,
            attachment_seconds: 86_400,
            date: DateHeader::World,
            sparse_member_events: false,
            user_fields: Map::new(),
        }
    }
}

impl Channel {
    /// A channel of no guild, with nothing in it.
    pub fn new(id: Id, kind: ChannelKind, name: &str) -> Self {
        Self {
            id,
            kind,
            guild: None,
            name: name.to_owned(),
            parent: None,
            position: 0,
            topic: None,
            overwrites: Vec::new(),
            recipient: None,
            last_message: None,
            archived_at_ms: None,
        }
    }

    pub fn is_thread(&self) -> bool {
        matches!(self.kind, ChannelKind::Thread | ChannelKind::PrivateThread)
    }

    /// Categories and forums hold no messages of their own.
    pub fn holds_messages(&self) -> bool {
        !matches!(self.kind, ChannelKind::Category | ChannelKind::Forum)
    }
}

impl State {
    pub fn new(world: &World) -> Self {
        let mut state = Self {
            clock: Clock::default(),
            settings: Settings::default(),
            bot: world.bot.id,
            main_guild: world.guild.id,
            guilds: BTreeMap::new(),
            channels: BTreeMap::new(),
            users: BTreeMap::new(),
            names: BTreeMap::new(),
            ended: BTreeMap::new(),
            revisions: Revisions::default(),
            joined: BTreeSet::new(),
            messages: BTreeMap::new(),
            ephemeral: BTreeMap::new(),
            commands: BTreeMap::new(),
            interactions: BTreeMap::new(),
            gateway: Gateway::default(),
            limits: Limits::default(),
            front: Front::default(),
            faults: Vec::new(),
            cdn: Cdn::default(),
            requests: BTreeMap::new(),
            request_count: 0,
            listener: None,
        };
        state.settle(world);
        state
    }

    /// An account that exists, named, touched or generated, or what Discord shows
    /// of it after its end.
    pub fn user(&self, id: Id) -> Option<User> {
        match self.ended.get(&id) {
            Some(End::Erased) => None,
            Some(End::Deleted) => Some(accounts::remains(id)),
            None => self.account(id),
        }
    }

    /// An account as it was before its end, if it has ended.
    pub fn account(&self, id: Id) -> Option<User> {
        self.users.get(&id).cloned().or_else(|| {
            let person = self.revisions.person(members::index_of(id)?);
            Some(User {
                id,
                username: person.username,
                global_name: person.global_name,
                avatar: person.avatar,
                bot: person.bot,
            })
        })
    }

    pub fn channel_messages(&self, channel: Id) -> impl DoubleEndedIterator<Item = &Stored> {
        self.messages
            .get(&channel)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    /// A message by its id alone, wherever it is.
    pub fn find_message(&self, id: Id) -> Option<&Stored> {
        self.messages
            .values()
            .find_map(|channel| channel.get(&id))
            .or_else(|| self.ephemeral.get(&id))
    }

    pub fn find_message_mut(&mut self, id: Id) -> Option<&mut Stored> {
        let stored = self
            .messages
            .values_mut()
            .find_map(|channel| channel.get_mut(&id));
        stored.or(self.ephemeral.get_mut(&id))
    }

    /// Puts a request into the log; returns its number.
    pub fn log(&mut self, request: Request) -> u64 {
        self.request_count += 1;
        self.requests.insert(self.request_count, request);
        self.request_count
    }

    /// The bot's requests of late, for error messages.
    pub fn recent_requests(&self) -> Vec<String> {
        let latest = self.requests.values().rev().take(15);
        let mut lines: Vec<String> = latest.map(ToString::to_string).collect();
        lines.reverse();
        lines
    }

    /// Lets a listener hear of a message, if it is the bot's and says something.
    pub fn let_hear(&mut self, message: &Value) {
        let by_bot = id_in(&message["author"]["id"]) == Some(self.bot);
        let Some((to, heard)) = self
            .listener
            .as_mut()
            .filter(|_| by_bot && !is_loading(message))
        else {
            return;
        };
        let is_new = heard.insert(id_in(&message["id"]).unwrap_or_default());
        // Whoever listened may have gone.
        let _ = to.send(Heard {
            message: message.clone(),
            news: if is_new { News::Said } else { News::Edited },
        });
    }

    /// Lets a listener hear that a message is gone, if they had heard of it.
    pub fn let_miss(&mut self, message: &Value) {
        let Some((to, heard)) = self.listener.as_mut() else {
            return;
        };
        if heard.remove(&id_in(&message["id"]).unwrap_or_default()) {
            // Whoever listened may have gone.
            let _ = to.send(Heard {
                message: message.clone(),
                news: News::Deleted,
            });
        }
    }

    /// The direct-message channel of a person and the bot, made on first use.
    pub fn dm_channel(&mut self, user: Id) -> Id {
        let existing = self
            .channels
            .values()
            .find(|channel| channel.recipient == Some(user));
        if let Some(channel) = existing {
            return channel.id;
        }
        let id = self.clock.snowflake();
        self.channels.insert(
            id,
            Channel {
                recipient: Some(user),
                ..Channel::new(id, ChannelKind::Dm, "")
            },
        );
        id
    }
}

impl Guild {
    /// A member as they are now, named, touched or generated.
    pub fn member(&self, user: Id) -> Option<Member> {
        self.members.get(&user).cloned().or_else(|| {
            let index = members::index_of(user)?;
            if index >= self.generated || self.gone.contains(&user) {
                return None;
            }
            let person = members::generated(index);
            let mut member = Member::new(person.joined_at_ms, BTreeSet::new());
            member.nick = person.nick;
            Some(member)
        })
    }

    /// The ids of members above `after`, in ascending order.
    pub fn member_ids(&self, after: Id, limit: usize) -> Vec<Id> {
        let mut generated = members::ids_after(after, self.generated)
            .filter(|id| !self.members.contains_key(id) && !self.gone.contains(id))
            .peekable();
        let mut touched = self
            .members
            .range(after.saturating_add(1)..)
            .map(|(&id, _)| id)
            .peekable();
        std::iter::from_fn(|| match (touched.peek(), generated.peek()) {
            (Some(a), Some(b)) if a < b => touched.next(),
            (Some(_), None) => touched.next(),
            _ => generated.next(),
        })
        .take(limit)
        .collect()
    }

    /// How many members there are, without looking at each.
    pub fn member_count(&self) -> usize {
        let is_generated = |id: &&Id| members::index_of(**id).is_some_and(|at| at < self.generated);
        let named = self.members.len() - self.members.keys().filter(is_generated).count();
        self.generated as usize + named - self.gone.len()
    }

    pub fn role_named(&self, name: &str) -> Option<&Role> {
        self.roles.values().find(|role| role.name == name)
    }
}

impl Member {
    pub fn new(joined_at_ms: u64, roles: BTreeSet<Id>) -> Self {
        Self {
            nick: None,
            avatar: None,
            roles,
            joined_at_ms,
            pending: false,
            flags: 0,
        }
    }
}
