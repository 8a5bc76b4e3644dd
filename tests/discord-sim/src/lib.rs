//! A Discord that runs on this machine, for tests and the sandbox.
//!
//! It speaks Discord's documented v10 JSON, over a real websocket and real
//! HTTP, to whatever bot is told to connect to it, and refuses what Discord
//! refuses. It shares no code with the bot or with the bot's libraries, so it
//! cannot share their mistakes.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use discord_sim::{Sim, World};
//!
//! let sim = Sim::start(World::new().members(7_120)).await?;
//! // … start a bot with sim.api_url(), sim.ca_path(), sim.token() …
//! sim.wait_connected().await;
//! let asked = sim.say(sim.user("alice"), sim.channel("general"), ".rank");
//! let answer = sim.reply_to(asked).await;
//! # Ok(())
//! # }
//! ```
//!
//! The files, in reading order:
//!
//! - `world` what exists at the start; `founding` how it comes to be; `state`
//!   what exists now; `members` the
//!   million who are computed, not stored; `clock` time and ids
//! - `objects`, `message` the world in JSON; `shown` how it is brought up to date;
//!   `permissions` who may do what
//! - `attachments` the files of messages and the links to them; `components_v2` the layouts of
//!   other bots
//! - `accounts` how accounts end, and change by the thousand
//! - `people`, `invoke` what people do; `acts` how tests let them; `roles`,
//!   `channels` what comes of it
//! - `gateway`, `session`, `entrance`, `socket`, `transport`, `flood` how the bot is told;
//!   `gateway_control` what tests do to that
//! - `rest` what the bot asks for; `requests` the log of it; `tls` its front
//! - `cdn` the pictures and files, what goes wrong with them, and the log
//! - `faults` what goes wrong on demand
//! - `fixtures`, `chat` the made-up guild and the program to talk in it
//!
//! Everything the simulator knows is one `State` (in `state`) behind one lock that
//! is never held across an `.await`. All listeners are on 127.0.0.1.

mod accounts;
mod acts;
mod attachments;
mod cdn;
mod channels;
pub mod chat;
pub mod clock;
mod components_v2;
mod entrance;
mod faults;
pub mod fixtures;
mod flood;
mod founding;
mod gateway;
mod gateway_control;
mod invoke;
pub mod members;
mod message;
mod objects;
mod people;
pub mod permissions;
mod requests;
mod rest;
mod roles;
mod session;
mod shown;
mod socket;
mod state;
mod tls;
mod transport;
mod world;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use crate::cdn::{CdnFault, CdnFaultControl};
pub use crate::clock::Id;
pub use crate::faults::{Fault, FaultControl, Scope};
pub use crate::flood::FloodReport;
pub use crate::gateway_control::{GatewayControl, SessionInfo, SessionUse};
pub use crate::message::Message;
pub use crate::requests::Request;
pub use crate::state::{DateHeader, Pings, Settings};
pub use crate::world::{BotSpec, ChannelKind, ChannelSpec, GuildSpec, PersonSpec, RoleSpec, World};
pub use hyper::Method;

use crate::gateway::{Address, Out};
use crate::objects::id_in;
use crate::permissions::Overwrite;
use crate::state::State;

/// How long [`Sim::wait`] waits: long enough for the slowest machine.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(5);

/// The world and the way to stop everything that serves it.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has failed already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a task until the simulation ends.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }
}

/// A running simulation. Dropping it stops everything.
#[derive(Debug)]
pub struct Sim {
    shared: Shared,
    tls_address: SocketAddr,
    plain_address: SocketAddr,
    directory: PathBuf,
    /// Whether the directory was made for this simulation alone.
    temporary: bool,
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        if self.temporary {
            // What is left behind lies in the system's temporary directory.
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// Starting, and where to connect to.
impl Sim {
    /// Starts a simulation; its certificate goes to a temporary directory.
    pub async fn start(world: World) -> anyhow::Result<Self> {
        static STARTED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = STARTED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("discord-sim-{}-{number}", std::process::id());
        let mut sim = Self::start_in(world, &std::env::temp_dir().join(name)).await?;
        sim.temporary = true;
        Ok(sim)
    }

    /// Starts a simulation whose certificate goes to this directory.
    pub async fn start_in(world: World, directory: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let (tls, pem) = tls::front()?;
        let ca_path = directory.join("ca.pem");
        std::fs::write(&ca_path, pem)
            .with_context(|| format!("cannot write {}", ca_path.display()))?;

        let gateway = TcpListener::bind("127.0.0.1:0").await?;
        let resume = TcpListener::bind("127.0.0.1:0").await?;
        let front = TcpListener::bind("127.0.0.1:0").await?;
        let plain = TcpListener::bind("127.0.0.1:0").await?;
        let cdn = TcpListener::bind("127.0.0.1:0").await?;
        let (tls_address, plain_address) = (front.local_addr()?, plain.local_addr()?);
        let mut state = State::new(&world);
        state.gateway.url = format!("ws://{}", gateway.local_addr()?);
        state.gateway.resume_url = format!("ws://{}", resume.local_addr()?);
        state.cdn.url = format!("http://{}", cdn.local_addr()?);
        let shared = Shared {
            state: Arc::new(Mutex::new(state)),
            stop: CancellationToken::new(),
        };
        shared.spawn(entrance::serve(gateway, Address::Main, shared.clone()));
        shared.spawn(entrance::serve(resume, Address::Resume, shared.clone()));
        shared.spawn(rest::serve_tls(front, tls, shared.clone()));
        shared.spawn(rest::serve_plain(plain, shared.clone()));
        shared.spawn(cdn::serve(cdn, shared.clone()));
        Ok(Self {
            shared,
            tls_address,
            plain_address,
            directory: directory.to_owned(),
            temporary: false,
        })
    }

    /// The REST origin that is Discord itself: TLS, rate limits.
    pub fn api_url(&self) -> String {
        format!("https://{}", self.tls_address)
    }

    /// The same as an address, for a client that resolves discord.com to it.
    pub fn api_address(&self) -> SocketAddr {
        self.tls_address
    }

    /// The REST origin that is a rate-limiting proxy: no TLS, no limits.
    pub fn proxy_url(&self) -> String {
        format!("http://{}", self.plain_address)
    }

    /// The CDN's origin: no TLS, no limits.
    pub fn cdn_url(&self) -> String {
        self.lock().cdn.url.clone()
    }

    /// The gateway, as `GET /gateway` says it.
    pub fn gateway_url(&self) -> String {
        self.lock().gateway.url.clone()
    }

    /// The gateway's other address, as READY says it: sessions are resumed there.
    pub fn resume_gateway_url(&self) -> String {
        self.lock().gateway.resume_url.clone()
    }

    /// The certificate to trust, as a PEM file.
    pub fn ca_path(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The bot's token.
    pub fn token(&self) -> String {
        self.lock().settings.token.clone()
    }
}

/// Names and ids.
impl Sim {
    /// The guild that the bot under test serves.
    pub fn guild_id(&self) -> Id {
        self.lock().main_guild
    }

    /// A guild by its name.
    pub fn guild(&self, name: &str) -> Id {
        let found = self
            .lock()
            .guilds
            .values()
            .find(|guild| guild.name == name)
            .map(|guild| guild.id);
        found.unwrap_or_else(|| panic!("there is no guild {name:?} in this world"))
    }

    /// The bot's user id, which is its application's too.
    pub fn bot_id(&self) -> Id {
        self.lock().bot
    }

    /// A channel or thread of the guild, by its name.
    pub fn channel(&self, name: &str) -> Id {
        self.find_channel(name)
            .unwrap_or_else(|| panic!("there is no channel {name:?} in this world"))
    }

    /// The same, if there is one.
    pub fn find_channel(&self, name: &str) -> Option<Id> {
        let state = self.lock();
        let found = state
            .guild_channels(state.main_guild)
            .find(|channel| channel.name == name);
        found.map(|channel| channel.id)
    }

    /// A person, by their name.
    pub fn user(&self, name: &str) -> Id {
        self.find_user(name)
            .unwrap_or_else(|| panic!("there is nobody called {name:?} in this world"))
    }

    /// The same, if there is one.
    pub fn find_user(&self, name: &str) -> Option<Id> {
        self.lock().names.get(name).copied()
    }

    /// A role of the guild, by its name.
    pub fn role(&self, name: &str) -> Id {
        self.find_role(name)
            .unwrap_or_else(|| panic!("there is no role {name:?} in this world"))
    }

    /// The same, if there is one.
    pub fn find_role(&self, name: &str) -> Option<Id> {
        let state = self.lock();
        let guild = state.guilds.get(&state.main_guild)?;
        let role = guild.roles.values().find(|role| role.name == name)?;
        Some(role.id)
    }

    /// What people see as a user's name in the guild.
    pub fn display_name(&self, user: Id) -> Option<String> {
        let state = self.lock();
        let guild = state.guilds.get(&state.main_guild)?;
        let nick = guild.member(user).and_then(|member| member.nick);
        let account = state.user(user)?;
        Some(nick.or(account.global_name).unwrap_or(account.username))
    }

    /// Whether a user is in the guild now.
    pub fn is_member(&self, user: Id) -> bool {
        let state = self.lock();
        let guild = state.guilds.get(&state.main_guild);
        guild.is_some_and(|guild| guild.member(user).is_some())
    }

    /// Everyone who has a name, in the order of their names.
    pub fn people(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    /// The names of the guild's channels that hold messages.
    pub fn channel_names(&self) -> Vec<String> {
        let state = self.lock();
        let channels = state.guild_channels(state.main_guild);
        let speakable = channels.filter(|channel| channel.holds_messages());
        speakable.map(|channel| channel.name.clone()).collect()
    }

    /// The names of the guild's roles.
    pub fn role_names(&self) -> Vec<String> {
        let state = self.lock();
        let guild = state.guilds.get(&state.main_guild);
        let roles = guild.into_iter().flat_map(|guild| guild.roles.values());
        roles.map(|role| role.name.clone()).collect()
    }

    /// A role's name.
    pub fn role_name(&self, role: Id) -> Option<String> {
        let state = self.lock();
        let role = state.guilds.get(&state.main_guild)?.roles.get(&role)?;
        Some(role.name.clone())
    }

    /// The guild's roles as REST shows them, the highest first.
    pub fn roles(&self) -> Vec<Value> {
        let state = self.lock();
        let guild = state.guilds.get(&state.main_guild);
        let mut roles: Vec<&state::Role> = guild
            .into_iter()
            .flat_map(|guild| guild.roles.values())
            .collect();
        roles.sort_unstable_by_key(|role| std::cmp::Reverse(role.rank()));
        roles.into_iter().map(objects::role).collect()
    }

    /// The roles that somebody has, without `@everyone`; none for strangers.
    pub fn member_roles(&self, user: Id) -> Vec<Id> {
        let state = self.lock();
        let guild = state.guilds.get(&state.main_guild);
        let member = guild.and_then(|guild| guild.member(user));
        member.map_or_else(Vec::new, |member| member.roles.into_iter().collect())
    }

    /// A channel's name; direct messages have none.
    pub fn channel_name(&self, channel: Id) -> Option<String> {
        let state = self.lock();
        let name = state.channels.get(&channel)?.name.clone();
        Some(name).filter(|name| !name.is_empty())
    }

    /// The channel of a person's direct messages with the bot.
    pub fn dm(&self, user: Id) -> Id {
        self.lock().dm_channel(user)
    }
}

/// Time.
impl Sim {
    /// Moves the world's clock forward.
    pub fn advance(&self, by: Duration) {
        self.lock().clock.advance(by);
    }

    /// The world's time in Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.lock().clock.now_ms()
    }

    /// Gives this id to whatever gets the next one: an interaction, say, from the future.
    pub fn give_next_id(&self, id: Id) {
        self.lock().clock.give_next(id);
    }

    /// A new id of this moment.
    pub fn snowflake(&self) -> Id {
        self.lock().clock.snowflake()
    }
}

/// What can be seen of the world.
impl Sim {
    /// A channel's messages, oldest first, as REST shows them.
    pub fn messages(&self, channel: Id) -> Vec<Value> {
        let state = self.lock();
        let shown = state
            .channel_messages(channel)
            .map(|stored| state.shown(stored));
        shown.collect()
    }

    /// One message, wherever it is, also one that only one person sees.
    pub fn message(&self, id: Id) -> Option<Value> {
        let state = self.lock();
        state.find_message(id).map(|stored| state.shown(stored))
    }

    /// The names of a message's files and what is in them.
    pub fn attachments(&self, message: Id) -> Vec<(String, Vec<u8>)> {
        let state = self.lock();
        let files = state.find_message(message).map(|stored| &stored.files);
        let files = files.into_iter().flatten();
        files
            .map(|file| (file.name.clone(), file.bytes.to_vec()))
            .collect()
    }

    /// An account as `GET /users/{}` shows it, if it shows any.
    pub fn account(&self, user: Id) -> Option<Value> {
        self.lock().user(user).as_ref().map(objects::user)
    }

    /// The bot's messages in a channel, oldest first.
    pub fn bot_messages(&self, channel: Id) -> Vec<Value> {
        let bot = self.bot_id();
        let by_bot = |message: &Value| id_in(&message["author"]["id"]) == Some(bot);
        self.messages(channel).into_iter().filter(by_bot).collect()
    }

    /// Sends everything that the bot says from now on to a listener.
    pub(crate) fn listen(&self, to: UnboundedSender<chat::Heard>) {
        self.lock().listener = Some((to, std::collections::BTreeSet::new()));
    }

    /// The links and invites of which clients show a preview below a message.
    pub fn unfurled(&self, message: Id) -> Vec<String> {
        let message = self.message(message);
        message.as_ref().map(shown::unfurled).unwrap_or_default()
    }

    /// Whom a message pinged.
    pub fn pings(&self, message: Id) -> Pings {
        let state = self.lock();
        let stored = state.find_message(message);
        stored
            .map(|stored| stored.pings.clone())
            .unwrap_or_default()
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.lock().requests.values().cloned().collect()
    }

    /// The requests that fit a method and a path pattern, in which `{}` stands
    /// for any one segment.
    pub fn requests_to(&self, method: &Method, pattern: &str) -> Vec<Request> {
        let fits = |request: &Request| request.is(method, pattern);
        self.requests().into_iter().filter(fits).collect()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        let mut state = self.lock();
        state.requests.clear();
        state.front.forget_calls();
    }

    /// How many calls came in the busiest second since [`Sim::clear_requests`], on all routes but
    /// answers to interactions, which Discord's limit for all routes does not count.
    pub fn peak_calls_per_second(&self) -> usize {
        self.lock().front.peak
    }

    /// What the CDN was asked for so far: paths with their queries, in order.
    pub fn cdn_requests(&self) -> Vec<String> {
        self.lock().cdn.requests.clone()
    }

    /// Forgets what the CDN was asked for so far.
    pub fn clear_cdn_requests(&self) {
        self.lock().cdn.requests.clear();
    }

    /// The registered commands of the guild.
    pub fn commands(&self) -> Vec<Value> {
        let state = self.lock();
        let commands = state.commands.get(&Some(state.main_guild));
        commands.cloned().unwrap_or_default()
    }

    /// The global commands of the application.
    pub fn global_commands(&self) -> Vec<Value> {
        let state = self.lock();
        state.commands.get(&None).cloned().unwrap_or_default()
    }

    /// How many members the guild has now.
    pub fn member_count(&self) -> usize {
        let state = self.lock();
        state
            .guilds
            .get(&state.main_guild)
            .map_or(0, state::Guild::member_count)
    }
}

/// Waiting. Nothing here sleeps for a time that was guessed.
impl Sim {
    /// Waits until there is something to see, and returns it. After 20 seconds
    /// it panics and says what it waited for, and what the bot did of late.
    pub async fn wait<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        match self.wait_for(PATIENCE, look).await {
            Some(seen) => seen,
            None => panic!("waited in vain for {what}{}", self.recent()),
        }
    }

    /// Waits this long at most.
    pub async fn wait_for<T>(
        &self,
        patience: Duration,
        mut look: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(seen) = look() {
                return Some(seen);
            }
            if Instant::now() > deadline {
                return None;
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// Waits until a session is there and has been sent the guilds.
    pub async fn wait_connected(&self) {
        let connected = || self.is_connected().then_some(());
        self.wait("the bot to connect", connected).await;
    }

    /// Whether a session is there and has been sent the guilds.
    pub fn is_connected(&self) -> bool {
        let state = self.lock();
        let mut sessions = state.gateway.sessions.values();
        sessions.any(|session| session.connection.is_some() && session.greeted)
    }

    /// The bot's message that replies to a message.
    pub async fn reply_to(&self, message: Id) -> Value {
        let what = format!("a reply to message {message}");
        self.wait(&what, || self.find_reply(message)).await
    }

    /// The same, if it is there by now.
    pub fn find_reply(&self, message: Id) -> Option<Value> {
        let state = self.lock();
        let mut all = state
            .messages
            .values()
            .flat_map(std::collections::BTreeMap::values);
        all.find(|stored| {
            let json = &stored.json;
            id_in(&json["author"]["id"]) == Some(state.bot)
                && id_in(&json["message_reference"]["message_id"]) == Some(message)
        })
        .map(|stored| state.shown(stored))
    }

    /// The latest answer to an interaction, once it is more than a promise of one: a
    /// message of its own, or the one whose button was pressed, as it is then.
    pub async fn answer_to(&self, interaction: Id) -> Value {
        let what = format!("an answer to interaction {interaction}");
        self.wait(&what, || self.find_answer(interaction)).await
    }

    /// The same, if it is there by now.
    pub fn find_answer(&self, interaction: Id) -> Option<Value> {
        let state = self.lock();
        let shown = state.interactions.get(&interaction)?.shown?;
        state.find_message(shown).map(|stored| state.shown(stored))
    }

    /// The suggestions that answer an autocomplete interaction, each with its
    /// `name` and `value`.
    pub async fn choices_for(&self, interaction: Id) -> Vec<Value> {
        let what = format!("suggestions for interaction {interaction}");
        self.wait(&what, || self.find_choices(interaction)).await
    }

    /// The same, if they are there by now.
    pub fn find_choices(&self, interaction: Id) -> Option<Vec<Value>> {
        self.lock().interactions.get(&interaction)?.choices.clone()
    }

    /// What happened of late, for error messages.
    fn recent(&self) -> String {
        let state = self.lock();
        let mut text = String::from("\nrecent requests:");
        for request in state.recent_requests() {
            // Writing to a string does not fail.
            let _ = write!(text, "\n  {request}");
        }
        let gateway = &state.gateway;
        let _ = write!(
            text,
            "\ngateway: {} identified, {} resumed, {} connections, {} sessions",
            gateway.identifies,
            gateway.resumes,
            gateway.connections.len(),
            gateway.sessions.len()
        );
        text
    }
}

/// Making trouble, and switching things.
impl Sim {
    /// Faults in REST.
    pub fn faults(&self) -> FaultControl<'_> {
        FaultControl {
            shared: &self.shared,
        }
    }

    /// Faults in the CDN.
    pub fn cdn_faults(&self) -> CdnFaultControl<'_> {
        CdnFaultControl {
            shared: &self.shared,
        }
    }

    /// Faults in the gateway, and a look at its sessions.
    pub fn gateway(&self) -> GatewayControl<'_> {
        GatewayControl {
            shared: &self.shared,
        }
    }

    /// Changes settings: `sim.settings(|settings| settings.rate_limits = false)`.
    pub fn settings<T>(&self, change: impl FnOnce(&mut Settings) -> T) -> T {
        change(&mut self.lock().settings)
    }

    /// Takes permissions from the bot in one channel and gives others.
    pub fn bot_permissions(&self, channel: Id, allow: u64, deny: u64) {
        let mut state = self.lock();
        let overwrite = Overwrite {
            target: state.bot,
            member: true,
            allow,
            deny,
        };
        state.set_overwrite(channel, overwrite);
    }

    /// Takes the bot out of the guild, or puts it back.
    pub fn bot_in_guild(&self, is_in: bool) {
        let mut state = self.lock();
        let id = state.main_guild;
        if is_in {
            state.set_bot_in(id, true);
            if let Some(guild) = state.guilds.get(&id) {
                let json = state.guild_created(guild);
                state.dispatch(gateway::Event::in_guild("GUILD_CREATE", id, json));
            }
        } else {
            let json = serde_json::json!({ "id": objects::text(id) });
            state.dispatch(gateway::Event::in_guild("GUILD_DELETE", id, json));
            state.set_bot_in(id, false);
        }
    }

    /// Discord has trouble with the guild: a connected bot is told so, and from then on no
    /// session hears of the guild, nor is it shown to a new one. REST answers as always.
    pub fn begin_outage(&self) {
        let mut state = self.lock();
        let id = state.main_guild;
        let json = serde_json::json!({ "id": objects::text(id), "unavailable": true });
        state.dispatch(gateway::Event::in_guild("GUILD_DELETE", id, json));
        state.set_outage(id, true);
    }

    /// The outage is over: every session is shown the guild.
    pub fn end_outage(&self) {
        let mut state = self.lock();
        let id = state.main_guild;
        state.set_outage(id, false);
        if let Some(guild) = state.guilds.get(&id) {
            let json = state.guild_created(guild);
            state.dispatch(gateway::Event::in_guild("GUILD_CREATE", id, json));
        }
    }

    /// Sends `messages` messages of the first `users` generated members, as fast
    /// as the bot takes them; returns when all were written. They are in no
    /// channel's history.
    pub async fn flood(
        &self,
        messages: u64,
        users: u32,
        channel: Id,
    ) -> anyhow::Result<FloodReport> {
        let (done, report) = oneshot::channel();
        {
            let mut state = self.lock();
            let flood = state.prepare_flood(channel, messages, users, done);
            let connection = state
                .gateway
                .sessions
                .values()
                .find_map(|session| session.connection.clone())
                .context("no bot is connected")?;
            connection.send(Out::Flood(flood)).ok();
        }
        report.await.context("the connection ended in the flood")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl State {
    fn set_outage(&mut self, guild: Id, in_outage: bool) {
        if let Some(guild) = self.guilds.get_mut(&guild) {
            guild.in_outage = in_outage;
        }
    }

    fn set_bot_in(&mut self, guild: Id, is_in: bool) {
        if let Some(guild) = self.guilds.get_mut(&guild) {
            guild.bot_is_in = is_in;
        }
    }
}
