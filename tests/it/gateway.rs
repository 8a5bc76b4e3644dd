//! The gateway at its worst, and serenity with it: whatever happens to the connection,
//! the bot is back within seconds and nothing that was written is lost.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use discord_sim::{Fault, Method, Sim, World};
use serenity::all::{
    Context, Event, GatewayIntents, RawEventHandler, ShardManager, ShardManagerOptions,
};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use wall_e::config::{Cli, Command};
use wall_e::discord::client::Client;
use wall_e::discord::gateway::Gateway;
use wall_e::discord::overheard::{Heard, Overheard, overhear};

use crate::support::{Bot, Ledger, Stage, TestDatabase, rest};

/// Somebody writes what the bot does not hear, then something happens to the
/// connection, after which the bot must know it all the same.
async fn survives(happens: impl FnOnce(&Stage)) {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.rest();
    ledger.write(&stage, "alice", "random", false);
    ledger.write(&stage, "bob", "general", false);
    happens(&stage);
    goes_on(&stage, ledger).await;
}

async fn goes_on(stage: &Stage, mut ledger: Ledger) {
    ledger.comes_true(stage).await;
    stage.rest();
    ledger.write(stage, "alice", "general", true);
    ledger.comes_true(stage).await;
}

#[tokio::test]
async fn a_close_frame_without_a_code() {
    survives(|stage| stage.sim.gateway().close(None)).await;
}

#[tokio::test]
async fn a_close_that_ends_the_session() {
    survives(|stage| stage.sim.gateway().close(Some(4_009))).await;
}

#[tokio::test]
async fn a_session_that_is_invalid_for_good() {
    survives(|stage| stage.sim.gateway().invalid_session(false)).await;
}

#[tokio::test]
async fn a_resume_that_is_refused() {
    survives(|stage| {
        stage.sim.gateway().refuse_resumes(1);
        stage.sim.gateway().drop_connections();
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_refused_while_resuming() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.rest();
    stage.sim.gateway().refuse_connections();
    stage.sim.gateway().drop_connections();
    ledger.write(&stage, "alice", "random", false);
    stage.bot.logged("failed").await;
    stage.sim.gateway().accept();
    goes_on(&stage, ledger).await;
}

#[tokio::test]
async fn a_connection_that_only_seems_to_be_there() {
    let world = World::new();
    let database = TestDatabase::migrated().await;
    let sim = Sim::start(world).await.unwrap();
    sim.settings(|settings| settings.heartbeat_interval = Duration::from_secs(1));
    let bot = Bot::start(&sim, &database.url()).await;
    let stage = Stage { bot, database, sim };
    let mut ledger = Ledger::default();
    ledger.write(&stage, "alice", "general", true);
    ledger.comes_true(&stage).await;
    stage.sim.gateway().stop_acks();
    stage.rest();
    ledger.write(&stage, "bob", "random", false);
    let identifies = stage.sim.gateway().identifies();
    let anew = || (stage.sim.gateway().identifies() > identifies).then_some(());
    stage.sim.wait("a new session", anew).await;
    stage.sim.gateway().resume_acks();
    goes_on(&stage, ledger).await;
}

#[tokio::test]
async fn events_that_come_twice_or_in_the_wrong_order() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.rest();
    stage.sim.gateway().duplicate_next(20);
    stage.sim.gateway().swap_next(4);
    for who in [
        "alice", "bob", "carol", "mod", "alice", "bob", "carol", "mod",
    ] {
        ledger.write(&stage, who, "general", true);
    }
    goes_on(&stage, ledger).await;
}

#[tokio::test]
async fn a_ready_that_does_not_parse() {
    survives(|stage| {
        let nonsense = serde_json::json!({ "v": "ten" });
        stage.sim.gateway().raw_dispatch("READY", nonsense);
    })
    .await;
}

/// Then serenity knows no session that it could resume, and takes itself for one who is
/// still connecting.
#[tokio::test]
async fn sessions_whose_ready_never_parses() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.rest();
    stage.sim.gateway().spoil_ready(true);
    stage.sim.gateway().invalid_session(false);
    ledger.write(&stage, "alice", "random", false);
    ledger.comes_true(&stage).await;
    stage.rest();
    stage.sim.gateway().drop_connections();
    ledger.write(&stage, "bob", "random", false);
    goes_on(&stage, ledger).await;
}

#[tokio::test]
async fn frames_that_say_nothing() {
    let (stage, ledger) = Stage::under_way(World::new()).await;
    for frame in [
        "no JSON at all",
        "",
        "null",
        "[]",
        "{}",
        r#"{"op":"zero"}"#,
        r#"{"op":99,"d":null}"#,
        r#"{"op":0,"d":{}}"#,
        r#"{"op":0,"t":null,"s":null,"d":null}"#,
        r#"{"op":10,"d":null}"#,
    ] {
        stage.sim.gateway().raw_frame(frame);
    }
    let identifies = stage.sim.gateway().identifies();
    goes_on(&stage, ledger).await;
    assert_eq!(stage.sim.gateway().identifies(), identifies);
}

#[tokio::test]
async fn events_of_an_unknown_type_are_counted() {
    let (stage, ledger) = Stage::under_way(World::new()).await;
    for number in 0..4 {
        let event = serde_json::json!({ "number": number });
        stage.sim.gateway().raw_dispatch("TEA_IS_READY", event);
    }
    let other = serde_json::json!({ "not": "a message" });
    stage.sim.gateway().raw_dispatch("MESSAGE_UPDATE", other);
    stage.bot.logged(r#"kind="TEA_IS_READY" count=4"#).await;
    stage.bot.logged(r#"kind="MESSAGE_UPDATE" count=1"#).await;
    goes_on(&stage, ledger).await;
}

#[tokio::test]
async fn codes_on_which_nobody_must_come_back() {
    for (code, exit, sentence) in [
        (4_004, 14, "reset it on the Bot page"),
        (4_010, 20, "WALLE_DISCORD_API"),
        (4_011, 21, "an application of its own"),
        (4_012, 22, "it takes a newer wall_e"),
        (4_013, 19, "it takes a newer wall_e"),
        (4_014, 16, "switch on Message Content and Server Members"),
    ] {
        let mut stage = Stage::open().await;
        stage.sim.gateway().close(Some(code));
        let ended = stage.bot.ended().await;
        let log = stage.bot.log();
        assert_eq!(ended.code(), Some(exit), "{code}: {log}");
        assert!(log.contains(sentence), "{code}: {log}");
        assert_eq!(stage.sim.gateway().identifies(), 1, "{code}: {log}");
    }
}

#[tokio::test]
async fn refusals_are_heard_whatever_is_logged() {
    let database = TestDatabase::migrated().await;
    let sim = Sim::start(World::new()).await.unwrap();
    let mut bot = Bot::launch(&sim, &database.url(), &[("RUST_LOG", "off,serenity=off")]);
    bot.connected(&sim).await;
    sim.gateway().close(Some(4_011));
    assert_eq!(bot.ended().await.code(), Some(21));
    assert_eq!(bot.log(), "");
}

#[tokio::test]
async fn sessions_that_are_refused_one_after_the_other() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.rest();
    stage.sim.gateway().refuse_identifies(true);
    stage.sim.gateway().invalid_session(false);
    ledger.write(&stage, "alice", "random", false);
    let refused = || (stage.sim.gateway().identifies() == 3).then_some(());
    stage.sim.wait("two refusals", refused).await;
    stage.sim.gateway().refuse_identifies(false);
    goes_on(&stage, ledger).await;
}

#[tokio::test]
async fn nobody_identifies_before_discord_has_told_its_limit() {
    let database = TestDatabase::migrated().await;
    let sim = Sim::start(World::new()).await.unwrap();
    sim.faults()
        .next(6, Method::GET, "/gateway/bot", Fault::Status(500));
    let mut bot = Bot::launch(&sim, &database.url(), &[]);
    bot.logged("asking for the session limit failed").await;
    assert_eq!(sim.gateway().identifies(), 0, "{}", bot.log());
    bot.connected(&sim).await;
    assert_eq!(sim.faults().left(), 0, "{}", bot.log());
}

/// Someone who hears nothing.
#[derive(Clone)]
struct Nobody;

#[serenity::async_trait]
impl RawEventHandler for Nobody {
    async fn raw_event(&self, _: Context, _: Event) {}
}

/// The gateway's side of the bot, in this process.
async fn connect(sim: &Sim, overheard: Overheard) -> Gateway {
    let arguments = [
        "wall_e".to_owned(),
        "run".to_owned(),
        format!("--token={}", sim.token()),
        format!("--discord-api={}", sim.api_url()),
        format!("--discord-ca={}", sim.ca_path().display()),
        "--database-url=postgres://none".to_owned(),
    ];
    let Command::Run(settings) = Cli::parse_from(arguments).command else {
        unreachable!("these are the arguments of `run`")
    };
    let token = settings.discord.token().unwrap();
    let calls = rest(sim);
    let client = Client::new(
        settings.discord,
        token,
        Nobody,
        |_| Box::pin(std::future::ready(())),
        calls,
        overheard,
    );
    let client = client.await.unwrap();
    let connecting = client.connect(&CancellationToken::new()).await;
    connecting.unwrap().expect("nobody cancels")
}

#[tokio::test]
async fn a_gateway_that_lets_everyone_in_and_answers_nobody() {
    let sim = Sim::start(World::new()).await.unwrap();
    sim.gateway().ignore_connections();
    let (_heard, overheard) = watch::channel(Heard::default());
    let mut gateway = connect(&sim, overheard).await;
    let comes_back = async {
        let again = || (sim.gateway().ignored() >= 2).then_some(());
        sim.wait("a second attempt", again).await;
        sim.gateway().accept();
        sim.wait_connected().await;
    };
    tokio::select! {
        stop = gateway.ended_with(3) => panic!("it has ended: {stop}"),
        () = comes_back => {}
    }
    assert_eq!(sim.gateway().identifies(), 1);
    gateway.close().await;
    gateway.join().await;
    assert_eq!(sim.gateway().connections(), 0);
}

#[tokio::test]
async fn after_very_many_sessions_discord_is_asked_how_many_are_left() {
    let sim = Sim::start(World::new()).await.unwrap();
    let (heard, overheard) = watch::channel(Heard::default());
    let mut gateway = connect(&sim, overheard).await;
    let asked = || sim.requests_to(&Method::GET, "/gateway/bot").len();
    assert_eq!(asked(), 1, "at the start");
    heard.send_modify(|heard| heard.identifies = 100);
    tokio::select! {
        stop = gateway.ended() => panic!("it has ended: {stop}"),
        () = sim.wait("the question", || (asked() == 2).then_some(())) => {}
    }
    gateway.close().await;
    gateway.join().await;
}

/// serenity's shards, as its client makes them, but on this thread.
fn shards(sim: &Sim, url: String) -> Arc<ShardManager> {
    let (manager, _) = ShardManager::new(ShardManagerOptions {
        data: Arc::default(),
        event_handlers: Vec::new(),
        raw_event_handlers: Vec::new(),
        framework: Arc::default(),
        shard_index: 0,
        shard_init: 1,
        shard_total: 1,
        ws_url: Arc::new(Mutex::new(url)),
        cache: Arc::default(),
        http: Arc::new(serenity::http::Http::new(&sim.token())),
        intents: GatewayIntents::GUILDS,
        presence: None,
    });
    manager.initialize().unwrap();
    manager
}

/// The words for the close codes are those of `codes_on_which_nobody_must_come_back`.
#[tokio::test]
async fn serenity_says_what_it_does_in_the_words_that_are_listened_for() {
    let (ear, overheard) = overhear();
    let _listening = tracing_subscriber::registry().with(ear).set_default();
    let sim = Sim::start(World::new()).await.unwrap();
    for expected in 1..=2 {
        let shards = shards(&sim, sim.gateway_url());
        let identified = || (overheard.borrow().identifies == expected).then_some(());
        sim.wait("serenity to say that it identifies", identified)
            .await;
        shards.shutdown_all().await;
    }
    assert_eq!(sim.gateway().identifies(), 2);
    let _shards = shards(&sim, "ws://127.0.0.1:1".to_owned());
    let failed = || (overheard.borrow().failures == 1).then_some(());
    sim.wait("serenity to say that it failed", failed).await;
    assert_eq!(overheard.borrow().refused, None);
}
