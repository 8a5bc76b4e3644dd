//! Postgres goes away, comes back, or loses an answer: no XP is lost or doubled.

use std::time::{Duration, Instant};

use discord_sim::{Sim, World};
use fault_lab::{Position, Stop};
use serde_json::json;

use crate::support::{Bot, Ledger, Stage, TestDatabase, wait};

const KEPT: &str = "keeping it and trying again";

#[tokio::test]
async fn messages_written_while_postgres_is_away_count_when_it_is_back() {
    let (stage, gate) = Stage::open_gated().await;
    let alice = stage.sim.user("alice");
    stage.say("alice", "before");
    let before = stage.database.wait_for_messages(alice, 1).await;
    gate.set(Position::Shut);
    stage.rest();
    stage.say("alice", "meanwhile");
    stage.say("bob", "meanwhile");
    stage.bot.logged(KEPT).await;
    assert_eq!(stage.database.standing(alice).await, Some((before, 1)));
    gate.set(Position::Open);
    stage.database.wait_for_messages(alice, 2).await;
    stage
        .database
        .wait_for_messages(stage.sim.user("bob"), 1)
        .await;
    stage.bot.logged("nothing was lost").await;
}

#[tokio::test]
async fn sessions_that_postgres_ends_between_two_messages_are_replaced() {
    let stage = Stage::open().await;
    let alice = stage.sim.user("alice");
    for count in 1..=3 {
        stage.say("alice", "hello");
        stage.database.wait_for_messages(alice, count).await;
        stage.database.end_sessions().await;
        stage.rest();
    }
    stage.say("alice", "hello");
    stage.database.wait_for_messages(alice, 4).await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_counts_once() {
    let (stage, gate) = Stage::open_gated().await;
    let alice = stage.sim.user("alice");
    gate.set(Position::LosesCommits);
    stage.say("alice", "hello");
    let points = stage.database.wait_for_messages(alice, 1).await;
    stage.bot.logged("nothing was lost").await;
    gate.set(Position::Open);
    stage.rest();
    stage.say("alice", "again");
    let both = stage.database.wait_for_messages(alice, 2).await;
    assert!(both > points);
    let messages = "select sum(messages)::bigint from xp_day";
    assert_eq!(
        stage.database.number(messages).await,
        2,
        "the day's totals are not added twice"
    );
}

#[tokio::test]
async fn a_frontier_whose_answer_is_lost_does_not_look_like_another_bots() {
    let (mut stage, gate) = Stage::open_gated().await;
    let mut ledger = Ledger::default();
    ledger.write(&stage, "alice", "general", true);
    ledger.comes_true(&stage).await;
    gate.set(Position::LosesCommits);
    // Too soon to earn anything: the frontier follows by itself, and nobody hears of it.
    let too_soon = i64::try_from(ledger.write(&stage, "alice", "general", true)).unwrap();
    wait("the frontier to follow", async || {
        let frontier = "select message_id from watermark";
        (stage.database.number(frontier).await == too_soon).then_some(())
    })
    .await;
    stage.rest();
    ledger.write(&stage, "alice", "general", true);
    ledger.comes_true(&stage).await;
    gate.set(Position::Open);
    stage.rest();
    ledger.write(&stage, "alice", "general", true);
    ledger.comes_true(&stage).await;
    assert_eq!(stage.bot.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn a_rank_is_answered_while_postgres_is_away() {
    let (stage, gate) = Stage::open_gated().await;
    stage.say("alice", "hello");
    stage
        .database
        .wait_for_messages(stage.sim.user("alice"), 1)
        .await;
    gate.set(Position::Shut);
    // What bob says now cannot be saved; his asking and hers are answered all the same.
    let alice = stage.sim.user("alice");
    let card = stage.ask("bob", &format!(".rank <@{alice}>")).await;
    assert!(card.contains("Total Messages: 1"), "{card}");
    let options = json!([{ "name": "user", "type": 6, "value": alice.to_string() }]);
    assert!(
        stage
            .slash("carol", "rank", options)
            .await
            .contains("Total Messages: 1"),
        "within the three seconds"
    );
    gate.set(Position::Open);
    stage
        .database
        .wait_for_messages(stage.sim.user("bob"), 1)
        .await;
}

#[tokio::test]
async fn a_name_that_postgres_refuses_costs_nobody_their_xp() {
    let stage = Stage::open().await;
    // A rule of this database that no name with an x fulfils.
    stage
        .database
        .execute(
            "create function no_x() returns trigger language plpgsql as $$ begin
            if new.username like '%x%' then raise exception 'no x' using errcode = '22023'; end if;
            return new; end $$;
         create trigger no_x before insert on user_point for each row execute function no_x()",
        )
        .await;
    let max = stage.sim.add_person("max");
    stage.sim.join(max);
    stage.sim.say(max, stage.sim.channel("general"), "hello");
    stage.database.wait_for_messages(max, 1).await;
    stage.say("alice", "hello");
    stage
        .database
        .wait_for_messages(stage.sim.user("alice"), 1)
        .await;
}

#[tokio::test]
async fn a_server_that_only_lets_us_read_is_waited_for() {
    let (stage, gate) = Stage::open_gated().await;
    let mut ledger = Ledger::default();
    ledger.write(&stage, "alice", "general", true);
    ledger.comes_true(&stage).await;
    let switch = async |on: &'static str| {
        stage
            .database
            .set("default_transaction_read_only", on)
            .await;
        stage.database.end_sessions().await;
    };
    switch("on").await;
    stage.rest();
    ledger.write(&stage, "alice", "general", true);
    stage.bot.logged(KEPT).await;
    stage.bot.logged("claiming it again").await;
    // It asks again and again, and not as fast as it can.
    let (before, started) = (gate.passed(), Instant::now());
    wait("new sessions", async || {
        (gate.passed() >= before + 14).then_some(())
    })
    .await;
    assert!(started.elapsed() > Duration::from_secs(1));
    switch("off").await;
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn a_postgres_that_is_stopped_or_killed_costs_nothing() {
    let database = TestDatabase::on_its_own_server().await;
    let sim = Sim::start(World::new()).await.unwrap();
    let bot = Bot::start(&sim, &database.url()).await;
    let mut stage = Stage { bot, database, sim };
    let mut ledger = Ledger::default();
    ledger.write(&stage, "alice", "general", true);
    ledger.comes_true(&stage).await;
    for (times, how) in (1..).zip([Stop::Fast, Stop::Immediate, Stop::Killed]) {
        stage.rest();
        // Saved, or not any more: both must end well.
        ledger.write(&stage, "alice", "general", true);
        stage.database.stop(how).await;
        stage.rest();
        ledger.write(&stage, "alice", "general", true);
        ledger.write(&stage, "bob", "general", true);
        said(&stage, KEPT, times).await;
        stage.database.start().await;
        ledger.comes_true(&stage).await;
        said(&stage, "nothing was lost", times).await;
    }
}

#[tokio::test]
async fn a_full_disk_is_waited_for() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    stage
        .database
        .execute(
            "create function full_disk() returns trigger language plpgsql as $$ begin
                raise exception 'could not extend file' using errcode = '53100'; end $$;
             create trigger full_disk before insert or update on user_point execute function full_disk()",
        )
        .await;
    stage.rest();
    ledger.write(&stage, "alice", "general", true);
    ledger.write(&stage, "bob", "general", true);
    stage.bot.logged(KEPT).await;
    stage
        .database
        .execute("drop trigger full_disk on user_point")
        .await;
    ledger.comes_true(&stage).await;
    stage.bot.logged("nothing was lost").await;
}

#[tokio::test]
async fn a_slow_postgres_only_takes_longer() {
    let (stage, gate) = Stage::open_gated().await;
    let mut ledger = Ledger::default();
    gate.set(Position::Slow(Duration::from_millis(300)));
    for _ in 0..3 {
        ledger.write(&stage, "alice", "general", true);
        ledger.write(&stage, "bob", "general", true);
        stage.rest();
    }
    ledger.comes_true(&stage).await;
    gate.set(Position::Open);
    ledger.write(&stage, "alice", "general", true);
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn what_a_failover_or_a_restore_undid_is_read_again() {
    // How many epochs the row falls back, whether anybody writes before it is noticed, and
    // whether the database lets nobody write for a while.
    for (epochs, somebody_writes, read_only) in [
        (0, true, false),
        (0, false, true),
        (1, true, true),
        (1, false, false),
    ] {
        let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
        stage
            .database
            .execute(
                "create schema aside; create table aside.user_point as table user_point;
                 create table aside.xp_day as table xp_day; create table aside.outbox as table outbox;
                 create table aside.watermark as table watermark; create table aside.lease as table lease",
            )
            .await;
        if epochs > 0 {
            stage
                .database
                .execute(
                    "update aside.watermark set owner_epoch = owner_epoch - 1;
                     update aside.lease set owner_epoch = owner_epoch - 1",
                )
                .await;
        }
        for who in ["alice", "bob"] {
            stage.rest();
            ledger.write(&stage, who, "general", true);
        }
        ledger.comes_true(&stage).await;
        // The sessions that the bot has now may write, those that it makes may not.
        let only_reads = if read_only { "on" } else { "off" };
        stage
            .database
            .set("default_transaction_read_only", only_reads)
            .await;
        stage
            .database
            .execute(
                "begin read write;
                 update watermark set message_id = aside.message_id, batch_no = aside.batch_no,
                     heartbeat = aside.heartbeat, owner_epoch = aside.owner_epoch from aside.watermark aside;
                 update lease set heartbeat = aside.heartbeat, owner_epoch = aside.owner_epoch from aside.lease aside;
                 delete from user_point; insert into user_point table aside.user_point;
                 delete from xp_day; insert into xp_day table aside.xp_day;
                 delete from outbox; insert into outbox table aside.outbox;
                 commit",
            )
            .await;
        if somebody_writes {
            stage.rest();
            ledger.write(&stage, "carol", "general", true);
        }
        if read_only {
            stage.bot.logged("cannot be used yet").await;
            stage
                .database
                .set("default_transaction_read_only", "off")
                .await;
        }
        ledger.comes_true(&stage).await;
        stage.rest();
        ledger.write(&stage, "alice", "general", true);
        ledger.comes_true(&stage).await;
        said(&stage, "starting over from what it holds", 1).await;
        assert_eq!(stage.bot.terminate().await.code(), Some(0));
    }
}

#[tokio::test]
async fn who_asks_for_what_only_an_absent_database_knows_is_told_so() {
    let (stage, gate) = Stage::open_gated().await;
    let nobody = 100_000_000_000_000_001_u64;
    gate.set(Position::Shut);
    assert_eq!(
        stage.ask("bob", &format!(".rank {nobody}")).await,
        "The database is unavailable. Please try again shortly."
    );
    gate.set(Position::Open);
    stage
        .database
        .wait_for_messages(stage.sim.user("bob"), 1)
        .await;
    assert_eq!(
        stage.ask("bob", &format!(".rank {nobody}")).await,
        format!("There is no user with the id {nobody}.")
    );
}

/// Waits until the bot has said this so often.
async fn said(stage: &Stage, text: &str, times: usize) {
    wait(&format!("{text:?} {times} times in the log"), async || {
        (stage.bot.log().matches(text).count() == times).then_some(())
    })
    .await;
}
