//! The council: problems are told to moderators once, in a channel that only they see, and
//! what happens to the channel or to Discord changes neither.

use std::time::Duration;

use discord_sim::permissions::{
    ATTACH_FILES, BOT, EMBED_LINKS, MANAGE_CHANNELS, READ_MESSAGE_HISTORY, SEND_MESSAGES,
    VIEW_CHANNEL,
};
use discord_sim::{ChannelKind, Fault, Method, Scope, Sim, World};
use serde_json::{Value, json};
use serenity::all::{CreateActionRow, CreateButton};
use wall_e::discord::channels::council::{Council, Notice};
use wall_e::leveling::{ChannelId, GuildId, MessageId};

use crate::support::{Bot, TestDatabase, id_of, overhear, rest, right_roles, said, wait};

const CHANNELS: &str = "/guilds/{}/channels";
const MESSAGES: &str = "/channels/{}/messages";
const SCOPE: &str = "tests";

/// A council without a bot around it.
struct Room {
    council: Council,
    database: TestDatabase,
    sim: Sim,
}

impl Room {
    async fn open(world: World) -> Self {
        let database = TestDatabase::migrated().await;
        let sim = Sim::start(world).await.unwrap();
        let council = council(&sim, &database, "council").await;
        Self {
            council,
            database,
            sim,
        }
    }

    /// In a guild that has a council already.
    async fn furnished() -> Self {
        Self::open(World::new().channel("council", ChannelKind::Text, None)).await
    }

    async fn tell(&self, notices: &[Notice]) {
        self.council.tell(SCOPE, notices).await.unwrap();
    }

    /// Tells until there is no more trouble, as tasks do.
    async fn tell_patiently(&self, notices: &[Notice]) {
        wait("the council to be told", async || {
            self.council.tell(SCOPE, notices).await.ok()
        })
        .await;
    }

    fn channel(&self) -> u64 {
        self.sim.channel("council")
    }

    fn shown(&self) -> Vec<Value> {
        self.sim.bot_messages(self.channel())
    }

    /// The texts of the channel.
    fn texts(&self) -> Vec<String> {
        self.shown().iter().map(said).collect()
    }

    fn councils(&self) -> usize {
        let names = self.sim.channel_names();
        names.iter().filter(|name| *name == "council").count()
    }

    /// A restart of the bot, of which only the database is left.
    async fn restart(&mut self) {
        self.council = council(&self.sim, &self.database, "council").await;
    }

    fn take_from_the_bot(&self, permissions: u64) {
        let role = self.sim.role("wall_e");
        self.sim.role_permissions(role, BOT & !permissions);
    }
}

async fn council(sim: &Sim, database: &TestDatabase, name: &str) -> Council {
    Council::new(
        rest(sim),
        database.store().await,
        GuildId::new(sim.guild_id()).unwrap(),
        name.to_owned(),
        right_roles(sim, database, "Minions,@everyone").await,
    )
}

fn notice(key: &str, text: &str) -> Notice {
    Notice {
        key: key.to_owned(),
        text: text.to_owned(),
        buttons: None,
    }
}

fn with_button(key: &str, text: &str) -> Notice {
    let button = CreateButton::new(format!("mend:{key}")).label("Mend it");
    Notice {
        buttons: Some(CreateActionRow::Buttons(vec![button])),
        ..notice(key, text)
    }
}

fn message_id(message: &Value) -> MessageId {
    MessageId::new(id_of(message)).unwrap()
}

#[tokio::test]
async fn the_topmost_channel_of_the_name_is_used() {
    let world = World::new()
        .channel("council", ChannelKind::Voice, None)
        .channel("Council", ChannelKind::Text, None)
        .channel("council", ChannelKind::Text, None);
    let topmost = world.guild.channels[world.guild.channels.len() - 2].id;
    let room = Room::open(world).await;
    room.tell(&[notice("a", "It rains in.")]).await;
    assert_eq!(said(&room.sim.bot_messages(topmost)[0]), "It rains in.");
    let created = room.sim.requests_to(&Method::POST, CHANNELS);
    assert!(created.is_empty(), "{created:?}");
}

#[tokio::test]
async fn a_new_channel_is_private_to_moderators_and_the_bot() {
    let room = Room::open(World::new()).await;
    room.tell(&[with_button("a", "It rains in.")]).await;
    let (shown, sim) = (room.shown(), &room.sim);
    let id = id_of(&shown[0]);
    let hidden = sim.try_click(sim.user("alice"), id, "mend:a").unwrap_err();
    assert!(hidden.contains("do not see"), "{hidden}");
    assert!(sim.try_click(sim.user("mod"), id, "mend:a").is_ok());
    let made = sim.requests_to(&Method::POST, CHANNELS);
    let [made] = &made[..] else {
        panic!("one channel: {made:?}");
    };
    let few = VIEW_CHANNEL | SEND_MESSAGES | READ_MESSAGE_HISTORY;
    let overwrite = |id: u64, kind: u8, allow: u64, deny: u64| json!({ "id": id.to_string(), "type": kind, "allow": allow.to_string(), "deny": deny.to_string() });
    assert_eq!(
        made.body["permission_overwrites"],
        json!([
            overwrite(sim.guild_id(), 0, 0, VIEW_CHANNEL),
            overwrite(sim.bot_id(), 1, few | EMBED_LINKS | ATTACH_FILES, 0),
            overwrite(sim.role("Minions"), 0, few, 0),
        ])
    );
    assert!(made.reason.is_some());
}

#[tokio::test]
async fn a_channel_is_remembered_whatever_it_is_called_and_whoever_restarts() {
    let mut room = Room::open(World::new()).await;
    room.tell(&[notice("a", "one")]).await;
    let channel = room.channel();
    room.sim.rename_channel(channel, "round-table");
    room.tell(&[notice("a", "one"), notice("b", "two")]).await;
    room.restart().await;
    room.tell(&[notice("a", "one"), notice("b", "two"), notice("c", "three")])
        .await;
    let texts: Vec<String> = room.sim.bot_messages(channel).iter().map(said).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    assert_eq!(room.councils(), 0);
}

#[tokio::test]
async fn a_channel_that_was_made_before_a_crash_is_found_by_its_name() {
    let room = Room::open(World::new()).await;
    room.tell(&[notice("a", "one")]).await;
    room.database.execute("delete from channel").await;
    room.tell(&[notice("a", "one"), notice("b", "two")]).await;
    assert_eq!(room.councils(), 1);
    // A name that Discord spells in its own way.
    let other = council(&room.sim, &room.database, "High Council").await;
    for key in ["c", "d"] {
        room.database.execute("delete from channel").await;
        other.say(key, "hello").await.unwrap();
    }
    let high = room.sim.channel("high-council");
    assert_eq!(room.sim.bot_messages(high).len(), 2);
    let made = room.sim.requests_to(&Method::POST, CHANNELS);
    assert_eq!(made.len(), 2);
}

#[tokio::test]
async fn what_has_not_changed_costs_discord_nothing() {
    let mut room = Room::open(World::new()).await;
    let long = "ä".repeat(3_000);
    let notices = [with_button("a", "one"), notice("b", &long)];
    room.tell(&notices).await;
    let texts = room.texts();
    assert_eq!(texts[1].chars().count(), 2_000);
    room.sim.clear_requests();
    room.tell(&notices).await;
    room.restart().await;
    room.tell(&notices).await;
    assert_eq!(room.sim.requests().len(), 0, "{:?}", room.sim.requests());
    assert_eq!(room.texts(), texts);
}

#[tokio::test]
async fn what_changes_is_rewritten_in_place_and_what_is_solved_is_marked() {
    let room = Room::furnished().await;
    room.tell(&[with_button("a", "one of 3"), notice("b", "other")])
        .await;
    let first = message_id(&room.shown()[0]);
    assert_eq!(
        room.council.notice_of(first).await.unwrap().as_deref(),
        Some("a")
    );
    room.tell(&[with_button("a", "one of 2"), notice("b", "other")])
        .await;
    assert_eq!(room.texts(), ["one of 2", "other"]);
    assert_eq!(
        room.shown()[0]["components"].as_array().map(Vec::len),
        Some(1)
    );
    room.tell(&[notice("b", "other")]).await;
    assert_eq!(room.texts(), ["one of 2\n**Solved.**", "other"]);
    assert_eq!(room.shown()[0]["components"], json!([]));
    assert_eq!(room.council.notice_of(first).await.unwrap(), None);
    // Of another scope nothing is solved by this.
    room.council.tell("another", &[]).await.unwrap();
    assert_eq!(room.texts()[1], "other");
    room.sim.clear_requests();
    room.tell(&[notice("b", "other")]).await;
    assert!(room.sim.requests().is_empty());
}

#[tokio::test]
async fn a_problem_that_comes_back_is_shown_again() {
    let room = Room::furnished().await;
    let problem = [with_button("a", "one")];
    room.tell(&problem).await;
    room.tell(&[]).await;
    // Within Discord's memory of the nonce it is the same message.
    room.tell(&problem).await;
    assert_eq!(room.texts(), ["one"]);
    assert_eq!(
        room.shown()[0]["components"].as_array().map(Vec::len),
        Some(1)
    );
    room.tell(&[]).await;
    room.sim.advance(Duration::from_mins(10));
    room.tell(&problem).await;
    assert_eq!(room.texts(), ["one\n**Solved.**", "one"]);
}

#[tokio::test]
async fn a_message_that_a_human_deleted_unheard_is_posted_anew_when_it_changes() {
    let room = Room::furnished().await;
    room.tell(&[notice("a", "one"), notice("b", "two")]).await;
    for message in room.shown() {
        room.sim.delete(room.channel(), id_of(&message));
    }
    room.tell(&[notice("a", "one, still")]).await;
    assert_eq!(room.texts(), ["one, still"]);
    room.tell(&[notice("a", "one, still")]).await;
    room.tell(&[]).await;
    assert_eq!(room.texts(), ["one, still\n**Solved.**"]);
    let left = "select count(*) from council_notice";
    assert_eq!(room.database.number(left).await, 0);
}

#[tokio::test]
async fn a_channel_that_was_deleted_is_made_anew_and_the_problems_told_there() {
    let room = Room::open(World::new()).await;
    let notices = [notice("a", "one"), notice("b", "two")];
    room.tell(&notices).await;
    room.sim.delete_channel(room.channel());
    let changed = [notice("a", "one, still"), notice("b", "two, still")];
    room.tell(&changed).await;
    assert_eq!(room.texts(), ["one, still", "two, still"]);
    assert_eq!(room.councils(), 1);
}

#[tokio::test]
async fn what_is_deleted_while_a_bot_listens_is_told_anew_though_it_has_not_changed() {
    let room = Room::open(World::new()).await;
    let notices = [notice("a", "one"), notice("b", "two")];
    room.tell(&notices).await;
    // It learns what there is when it starts.
    let mut bot = Bot::start(&room.sim, &room.database.url()).await;
    let doubted = async |count: i64| {
        let sql = "select count(*) from council_notice where text = ''";
        wait("a deletion to be noted", async || {
            (room.database.number(sql).await == count).then_some(())
        })
        .await;
    };
    room.sim.delete(room.channel(), id_of(&room.shown()[0]));
    doubted(1).await;
    room.tell(&notices).await;
    room.tell(&notices).await;
    assert_eq!(room.texts(), ["two", "one"]);

    bot.terminate().await;
    let mut bot = Bot::start(&room.sim, &room.database.url()).await;
    room.sim.delete_channel(room.channel());
    doubted(2).await;
    room.tell(&notices).await;
    assert_eq!(room.texts(), ["one", "two"]);

    bot.terminate().await;
    room.sim.delete_channel(room.channel());
    let _bot = Bot::start(&room.sim, &room.database.url()).await;
    doubted(2).await;
    room.tell(&notices).await;
    assert_eq!((room.councils(), room.texts().len()), (1, 2));
}

#[tokio::test]
async fn what_people_delete_while_the_database_is_away_is_compared_in_memory() {
    let room = Room::open(World::new()).await;
    let council = council(&room.sim, &room.database, "council").await;
    let notices = [notice("a", "one"), notice("b", "two")];
    council.tell(SCOPE, &notices).await.unwrap();
    let shown: Vec<_> = room.shown().iter().map(id_of).collect();
    let id = |id| MessageId::new(id).unwrap();
    // Nobody may take the table, or write to it.
    let mut session = room.database.session().await;
    let lock = "begin; lock table council_notice";
    sqlx::raw_sql(lock).execute(&mut session).await.unwrap();
    let deleting = async {
        for number in 1..=100_000 {
            council.messages_deleted(&[id(number)]).await.unwrap();
        }
        let other = ChannelId::new(room.channel() + 1).unwrap();
        council.channel_deleted(other).await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(20), deleting)
        .await
        .expect("nothing is asked for any of them");
    room.sim.delete(room.channel(), shown[0]);
    let deleted = [id(shown[0])];
    let noting = council.messages_deleted(&deleted);
    let noted = tokio::time::timeout(Duration::from_millis(200), noting).await;
    assert!(noted.is_err(), "this one is to be noted, and cannot be");
    sqlx::raw_sql("rollback")
        .execute(&mut session)
        .await
        .unwrap();
    council.tell(SCOPE, &notices).await.unwrap();
    assert_eq!(room.texts(), ["two", "one"], "it is remembered");
}

/// What can go wrong once with a call.
fn troubles() -> Vec<Fault> {
    vec![
        Fault::Status(500),
        Fault::Html(502),
        Fault::Reset,
        Fault::ResetAfter,
        Fault::StatusAfter(503),
        Fault::RateLimited {
            retry_after: Duration::from_millis(100),
            scope: Scope::User,
            headers: true,
        },
        Fault::RateLimited {
            retry_after: Duration::from_millis(100),
            scope: Scope::Shared,
            headers: false,
        },
    ]
}

#[tokio::test]
async fn trouble_while_the_channel_is_made_makes_one_channel() {
    for trouble in troubles() {
        let room = Room::open(World::new()).await;
        let faults = room.sim.faults();
        faults.next(1, Method::POST, CHANNELS, trouble.clone());
        room.tell_patiently(&[notice("a", "one")]).await;
        assert_eq!(room.councils(), 1, "{trouble:?}");
        assert_eq!(room.texts(), ["one"], "{trouble:?}");
    }
}

#[tokio::test]
async fn trouble_while_posting_posts_one_message() {
    for trouble in troubles() {
        let mut room = Room::furnished().await;
        let faults = room.sim.faults();
        // More than a call is tried.
        faults.next(6, Method::POST, MESSAGES, trouble.clone());
        // After a crash too, of which nothing but Discord's memory is left.
        let _ = room.council.tell(SCOPE, &[notice("a", "one")]).await;
        room.restart().await;
        room.tell_patiently(&[notice("a", "one")]).await;
        room.tell(&[notice("a", "one")]).await;
        assert_eq!(room.texts(), ["one"], "{trouble:?}");
    }
}

#[tokio::test]
async fn a_message_posted_before_a_crash_is_not_posted_again() {
    let mut room = Room::furnished().await;
    room.tell(&[notice("a", "one")]).await;
    room.council.say("word", "hello").await.unwrap();
    room.database.execute("delete from council_notice").await;
    room.restart().await;
    room.tell(&[notice("a", "one")]).await;
    room.council.say("word", "hello").await.unwrap();
    assert_eq!(room.texts(), ["one", "hello"]);
}

#[tokio::test]
async fn many_who_tell_at_once_make_one_channel_and_say_everything_once() {
    let room = Room::open(World::new()).await;
    let (one, two) = ([notice("a", "one")], [notice("b", "two")]);
    let (first, again, other, word) = tokio::join!(
        room.council.tell(SCOPE, &one),
        room.council.tell(SCOPE, &one),
        room.council.tell("another", &two),
        room.council.say("word", "hello"),
    );
    for told in [first, again, other, word] {
        told.unwrap();
    }
    let mut texts = room.texts();
    texts.sort();
    assert_eq!(texts, ["hello", "one", "two"]);
    assert_eq!(room.councils(), 1);
}

#[tokio::test]
async fn without_the_right_to_make_a_channel_the_log_says_it_once_and_nothing_is_held_up() {
    let room = Room::open(World::new()).await;
    room.take_from_the_bot(MANAGE_CHANNELS);
    let heard = overhear();
    for _ in 0..3 {
        room.tell(&[notice("a", "It rains in."), notice("b", "It is cold.")])
            .await;
    }
    for said in ["It rains in.", "It is cold."] {
        assert_eq!(heard.times(said), 1, "{}", heard.log());
    }
    assert_eq!(
        heard.times("the bot lacks Manage Channels; give its role that"),
        2
    );
    assert!(
        heard.log().contains("set WALLE_COUNCIL_CHANNEL"),
        "{}",
        heard.log()
    );
    assert_eq!(room.sim.find_channel("council"), None);
    let refused = room.sim.requests();
    let refused = refused.iter().filter(|request| request.status == Some(403));
    assert_eq!(refused.count(), 0);
    // It is told as soon as it can be, and what is solved meanwhile never.
    room.take_from_the_bot(0);
    room.tell(&[notice("a", "It rains in.")]).await;
    assert_eq!(room.texts(), ["It rains in."]);
}

#[tokio::test]
async fn a_channel_that_is_closed_to_the_bot_holds_nothing_up() {
    let room = Room::furnished().await;
    let closed = |deny| room.sim.bot_permissions(room.channel(), 0, deny);
    closed(VIEW_CHANNEL);
    let heard = overhear();
    let problem = [notice("a", "one"), notice("b", "two")];
    for _ in 0..2 {
        room.tell(&problem).await;
        room.council.say("word", "hello").await.unwrap();
    }
    for text in ["text=\"one\"", "text=\"two\"", "text=\"hello\""] {
        assert_eq!(heard.times(text), 1, "{}", heard.log());
    }
    assert!(
        heard.log().contains("give the bot View Channel"),
        "{}",
        heard.log()
    );
    closed(0);
    room.tell(&problem).await;
    assert_eq!(room.texts(), ["one", "two"]);
    // What can be neither rewritten nor marked is once it can.
    closed(VIEW_CHANNEL);
    for _ in 0..2 {
        room.tell(&[notice("a", "one, still")]).await;
    }
    for text in ["text=\"one, still\"", "Solved."] {
        assert_eq!(heard.times(text), 1, "{}", heard.log());
    }
    closed(0);
    room.tell(&[notice("a", "one, still")]).await;
    assert_eq!(room.texts(), ["one, still", "two\n**Solved.**"]);
}

#[tokio::test]
async fn a_guild_that_refuses_everything_holds_nothing_up() {
    let room = Room::furnished().await;
    room.tell(&[notice("a", "one")]).await;
    let faults = room.sim.faults();
    for method in [Method::GET, Method::POST, Method::PATCH] {
        for pattern in [
            CHANNELS,
            MESSAGES,
            "/channels/{}/messages/{}",
            "/guilds/{}/roles",
        ] {
            faults.next(1_000, method.clone(), pattern, Fault::Status(403));
        }
    }
    let heard = overhear();
    for _ in 0..3 {
        room.tell(&[notice("a", "one, still"), notice("b", "two")])
            .await;
    }
    room.tell(&[]).await;
    for text in ["text=\"one, still\"", "text=\"two\""] {
        assert_eq!(heard.times(text), 1, "{}", heard.log());
    }
}

#[tokio::test]
async fn a_text_that_discord_refuses_holds_up_no_other() {
    let room = Room::furnished().await;
    let heard = overhear();
    let nothing = notice("a", " ");
    for _ in 0..2 {
        room.tell(&[nothing.clone(), notice("b", "two")]).await;
    }
    assert_eq!(room.texts(), ["two"]);
    assert_eq!(heard.times("could not be told"), 1, "{}", heard.log());
}

#[tokio::test]
async fn hostile_words_ping_nobody() {
    let room = Room::furnished().await;
    let sim = &room.sim;
    let hostile = format!(
        "@everyone @here <@{}> <@&{}> \0",
        sim.user("alice"),
        sim.role("Minions")
    );
    room.tell(&[notice("a", &hostile)]).await;
    room.council.say("word", &hostile).await.unwrap();
    room.tell(&[notice("a", &format!("{hostile}!"))]).await;
    for message in room.shown() {
        let pings = sim.pings(id_of(&message));
        assert!(
            !pings.everyone && pings.users.is_empty() && pings.roles.is_empty(),
            "{pings:?}"
        );
    }
    let written = [Method::POST, Method::PATCH].map(|method| {
        let all = sim.requests().into_iter();
        all.filter(move |request| request.method == method && request.path.contains("/messages"))
    });
    for request in written.into_iter().flatten() {
        assert_eq!(request.body["allowed_mentions"]["parse"], json!([]));
    }
}
