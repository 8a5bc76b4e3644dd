//! The gateway at its worst: whatever happens to the connection, the bot is back within seconds
//! and nothing that was written is lost.

use std::time::Duration;

use discord_sim::{Fault, Method, Sim, World};

use crate::connection::NO_FRAMES;
use crate::support::{Bot, Ledger, Stage, TestDatabase};

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

/// The same where the session lasts: what is written meanwhile is sent when it is resumed, and
/// nothing is read from the history.
async fn is_resumed(happens: impl FnOnce(&Stage)) {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.rest();
    happens(&stage);
    ledger.write(&stage, "alice", "random", true);
    ledger.write(&stage, "bob", "general", true);
    goes_on(&stage, ledger).await;
    resumed_once(&stage);
}

fn resumed_once(stage: &Stage) {
    let gateway = stage.sim.gateway();
    let log = stage.bot.log();
    assert_eq!((gateway.identifies(), gateway.resumes()), (1, 1), "{log}");
    assert!(!log.contains("while nobody listened"), "{log}");
}

async fn goes_on(stage: &Stage, mut ledger: Ledger) {
    ledger.comes_true(stage).await;
    stage.rest();
    ledger.write(stage, "alice", "general", true);
    ledger.comes_true(stage).await;
}

#[tokio::test]
async fn a_close_frame_without_a_code() {
    is_resumed(|stage| stage.sim.gateway().close(None)).await;
}

#[tokio::test]
async fn a_connection_that_breaks() {
    is_resumed(|stage| stage.sim.gateway().drop_connections()).await;
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
    ledger.write(&stage, "alice", "random", true);
    stage
        .bot
        .logged("connecting to Discord's gateway failed")
        .await;
    stage.sim.gateway().accept();
    goes_on(&stage, ledger).await;
    resumed_once(&stage);
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
    ledger.write(&stage, "bob", "random", true);
    let before = stage.sim.gateway().resumes();
    let resumed = || (stage.sim.gateway().resumes() > before).then_some(());
    stage.sim.wait("the session to be resumed", resumed).await;
    stage.sim.gateway().resume_acks();
    goes_on(&stage, ledger).await;
    assert_eq!(stage.sim.gateway().identifies(), 1, "no gap was opened");
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
    ledger.write(&stage, "bob", "random", true);
    goes_on(&stage, ledger).await;
}

#[tokio::test]
async fn frames_that_say_nothing() {
    let (stage, ledger) = Stage::under_way(World::new()).await;
    for frame in NO_FRAMES {
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
    let other = serde_json::json!({ "not": "a deletion", "ids": 7 });
    stage.sim.gateway().raw_dispatch("MESSAGE_DELETE", other);
    stage.bot.logged(r#"kind="TEA_IS_READY" count=4"#).await;
    stage
        .bot
        .logged(r#"kind="MESSAGE_DELETE" count=1 field=ids"#)
        .await;
    goes_on(&stage, ledger).await;
}

#[tokio::test]
async fn codes_on_which_nobody_must_come_back() {
    for (code, exit, sentence) in [
        (4_004, 14, "reset it on the Bot page"),
        (4_010, 20, "WALLE_DISCORD_API"),
        (4_011, 21, "an application of its own"),
        (4_012, 22, "a newer wall_e is needed"),
        (4_013, 19, "a newer wall_e is needed"),
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
    let mut bot = Bot::launch(&sim, &database.url(), &[("RUST_LOG", "off,sqlx=off")]);
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
    bot.logged("asking where the gateway is failed").await;
    assert_eq!(sim.gateway().identifies(), 0, "{}", bot.log());
    bot.connected(&sim).await;
    assert_eq!(sim.faults().left(), 0, "{}", bot.log());
}
