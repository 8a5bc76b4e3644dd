//! The gateway at its worst, and serenity with it: whatever happens to the connection,
//! the bot is back within seconds and nothing that was written is lost.

use std::time::Duration;

use discord_sim::World;

use crate::support::{Ledger, Stage, wait};

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
    let database = crate::support::TestDatabase::migrated().await;
    let sim = discord_sim::Sim::start(world).await.unwrap();
    sim.settings(|settings| settings.heartbeat_interval = Duration::from_secs(1));
    let bot = crate::support::Bot::start(&sim, &database.url()).await;
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
    for (code, exit) in [(4_004, 14), (4_013, 19), (4_014, 16)] {
        let mut stage = Stage::open().await;
        stage.sim.gateway().close(Some(code));
        let ended = wait("the bot to end", async || Some(stage.bot.ended().await)).await;
        assert_eq!(ended.code(), Some(exit), "{code}: {}", stage.bot.log());
    }
}
