//! What the tests stand on: a database, a bot, a guild to talk in.

mod bot;
mod database;
mod engine;
mod lab;
mod ledger;
mod overhear;
mod parts;
mod rest;

use std::time::{Duration, Instant};

use discord_sim::{Sim, World};
use fault_lab::Gate;
use serde_json::Value;

pub use bot::{Bot, command};
pub use database::TestDatabase;
pub use engine::{engine, levels, recompute_without_rules, standings};
pub use lab::Lab;
pub use ledger::Ledger;
pub use overhear::overhear;
pub use parts::{Parts, now};
pub use rest::{cdn, rest, rest_by_proxy, rest_until_revoked, right_roles};

/// How long anything may take that is waited for: long, for slow machines.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The usual guild, a fresh database, and a bot that has connected.
pub struct Stage {
    pub bot: Bot,
    pub database: TestDatabase,
    pub sim: Sim,
}

impl Stage {
    pub async fn open() -> Self {
        Self::open_with(World::new(), &[]).await
    }

    /// With these rows in `user_point` before the bot starts: id, points, messages.
    pub async fn open_with(world: World, users: &[(u64, i64, i64)]) -> Self {
        let database = TestDatabase::migrated().await;
        for (user, points, messages) in users {
            database.insert_user(*user, *points, *messages).await;
        }
        Self::open_on(world, database).await
    }

    /// On a database that holds something already.
    pub async fn open_on(world: World, database: TestDatabase) -> Self {
        let sim = Sim::start(world).await.expect("the simulator starts");
        let bot = Bot::start(&sim, &database.url()).await;
        // What it does by itself at the start is over: the rest is the test's.
        bot.logged("roles are verified").await;
        Self { bot, database, sim }
    }

    /// Ends the bot well, and starts another later than its session could be resumed.
    pub async fn restart(&mut self) {
        self.bot.terminate().await;
        self.start_again().await;
    }

    /// Starts another bot, in the place of one that has ended too long ago for its session to be
    /// resumed.
    pub async fn start_again(&mut self) {
        self.database.execute("delete from gateway_session").await;
        // Else the old connection would pass for the new bot's.
        let gone = || (!self.sim.is_connected()).then_some(());
        self.sim.wait("the old connection to end", gone).await;
        self.bot = Bot::start(&self.sim, &self.database.url()).await;
    }

    /// On which something has been counted, so that there is a frontier.
    pub async fn under_way(world: World) -> (Self, Ledger) {
        let stage = Self::open_with(world, &[]).await;
        let mut ledger = Ledger::default();
        ledger.write(&stage, "alice", "general", true);
        ledger.comes_true(&stage).await;
        (stage, ledger)
    }

    /// With a bot that reaches Postgres only through a gate.
    pub async fn open_gated() -> (Self, Gate) {
        let database = TestDatabase::migrated().await;
        let gate = Gate::open_before(database.server_address()).await;
        let gate = gate.expect("a gate");
        let sim = Sim::start(World::new())
            .await
            .expect("the simulator starts");
        let bot = Bot::start(&sim, &database.url_through(&gate)).await;
        bot.logged("roles are verified").await;
        (Self { bot, database, sim }, gate)
    }

    /// Someone says something in `general`.
    pub fn say(&self, who: &str, text: &str) -> u64 {
        self.sim
            .say(self.sim.user(who), self.sim.channel("general"), text)
    }

    /// What the bot replies to a text in `general`, drawn as one text.
    pub async fn ask(&self, who: &str, text: &str) -> String {
        said(&self.reply(who, text).await)
    }

    /// What the bot answers to a slash command, drawn as one text.
    pub async fn slash(&self, who: &str, command: &str, options: Value) -> String {
        self.regain_a_command();
        let asked = self.sim.slash(
            self.sim.user(who),
            self.sim.channel("general"),
            command,
            &options,
        );
        said(&self.sim.answer_to(asked).await)
    }

    /// The message with which the bot replies to a text in `general`.
    pub async fn reply(&self, who: &str, text: &str) -> Value {
        self.regain_a_command();
        let asked = self.say(who, text);
        self.sim.reply_to(asked).await
    }

    /// What the bot does when someone presses the button with this label: the message as it
    /// is then, or what only they see.
    pub async fn press(&self, who: &str, message: &Value, label: &str) -> Value {
        let pressed = self
            .sim
            .click(self.sim.user(who), id_of(message), &button(message, label));
        let done = || {
            let answer = self.sim.find_answer(pressed)?;
            (said(&answer) != "One moment …").then_some(answer)
        };
        self.sim.wait("what the button does", done).await
    }

    /// Lets the time pass in which somebody regains one of the commands that they may run.
    pub fn regain_a_command(&self) {
        self.sim.advance(Duration::from_secs(4));
    }

    /// Lets the cooldown pass.
    pub fn rest(&self) {
        self.sim.advance(Duration::from_secs(61));
    }
}

/// A message as text: the content, the embeds' titles, descriptions and fields.
pub fn said(message: &Value) -> String {
    let mut parts = vec![message["content"].as_str().unwrap_or_default()];
    for embed in message["embeds"].as_array().into_iter().flatten() {
        parts.extend(["title", "description"].map(|part| embed[part].as_str().unwrap_or_default()));
        for field in embed["fields"].as_array().into_iter().flatten() {
            parts.extend(["name", "value"].map(|part| field[part].as_str().unwrap_or_default()));
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

/// A message's id.
pub fn id_of(message: &Value) -> u64 {
    let id = message["id"].as_str().and_then(|id| id.parse().ok());
    id.unwrap_or_else(|| panic!("no message: {message}"))
}

/// The id of the button with this label.
pub fn button(message: &Value, label: &str) -> String {
    let mut buttons = message["components"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|row| row["components"].as_array().into_iter().flatten());
    let found = buttons.find(|button| button["label"] == label);
    let id = found.and_then(|button| button["custom_id"].as_str());
    id.unwrap_or_else(|| panic!("there is no button {label}: {message}"))
        .to_owned()
}

/// Whether only the person who asked sees it.
pub fn is_private(message: &Value) -> bool {
    message["flags"].as_u64().unwrap_or(0) & 64 != 0
}

/// Someone of a world's people.
pub fn person(world: &World, name: &str) -> u64 {
    let person = world.guild.people.iter().find(|one| one.name == name);
    person.expect("in the usual guild").id
}

/// Looks until there is something, for at most [`PATIENCE`].
pub async fn wait<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    wait_for(PATIENCE, what, look).await
}

/// The same for what takes longer, as with Discord's limits in the way.
pub async fn wait_for<T>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            started.elapsed() < patience,
            "waited {patience:?} for {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
