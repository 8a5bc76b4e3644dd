//! Ids from the future, which would be the newest of all for a year: refused wherever they
//! come in, and put right where they have come in before.

use std::time::Duration;

use discord_sim::clock::first_id_at;
use discord_sim::{DateHeader, Fault, Message, Method, Sim, World};
use serde_json::json;

use crate::support::{Bot, Ledger, Stage, TestDatabase, said, wait};

const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(24 * 365);
const REFUSED: &str = "ignored a message or command whose id is from the future";

fn id_after(sim: &Sim, ahead: Duration) -> u64 {
    let ahead_ms = u64::try_from(ahead.as_millis()).expect("a time");
    first_id_at(sim.now_ms() + ahead_ms) + 1
}

/// Alice's message with an id from the future.
fn poison(stage: &Stage, channel: &str, ahead: Duration) -> Message {
    let (alice, channel) = (stage.sim.user("alice"), stage.sim.channel(channel));
    Message::new(channel, alice, "hello").id(id_after(&stage.sim, ahead))
}

async fn frontier(stage: &Stage) -> u64 {
    let frontier = stage.database.number("select message_id from watermark");
    u64::try_from(frontier.await).expect("an id")
}

#[tokio::test]
async fn a_message_from_the_future_counts_nothing_and_hides_nothing() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.rest();
    stage.sim.post(poison(&stage, "general", YEAR));
    stage.bot.logged(REFUSED).await;
    stage.sim.post(poison(&stage, "random", DAY));
    stage.bot.logged("count=2").await;
    // Its author goes on, and so do others.
    ledger.write(&stage, "alice", "general", true);
    ledger.write(&stage, "bob", "random", true);
    ledger.comes_true(&stage).await;
    assert!(frontier(&stage).await < id_after(&stage.sim, DAY / 24));

    stage.bot.terminate().await;
    stage.rest();
    for channel in ["general", "random"] {
        ledger.write(&stage, "alice", channel, false);
        ledger.write(&stage, "carol", channel, false);
        stage.rest();
    }
    stage.start_again().await;
    ledger.comes_true(&stage).await;
    assert!(frontier(&stage).await < id_after(&stage.sim, DAY / 24));
}

#[tokio::test]
async fn ids_from_the_future_in_the_history_hide_nothing() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    for gap in 0..2 {
        stage.bot.terminate().await;
        stage.rest();
        // More than a page behind the one that seems to be the newest.
        if gap == 0 {
            stage.sim.post(poison(&stage, "general", YEAR).quietly());
        }
        for _ in 0..150 {
            ledger.write(&stage, "bob", "general", false);
        }
        stage.rest();
        ledger.write(&stage, "carol", "random", false);
        stage.rest();
        ledger.write(&stage, "alice", "general", false);
        stage.start_again().await;
        ledger.comes_true(&stage).await;
        assert!(stage.bot.log().contains(REFUSED), "{}", stage.bot.log());
        // Live as well.
        stage.rest();
        ledger.write(&stage, "alice", "random", true);
        ledger.comes_true(&stage).await;
    }
}

#[tokio::test]
async fn a_bot_that_has_slept_takes_nothing_for_the_future() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    for ahead in [Duration::from_mins(20), DAY] {
        stage.sim.advance(ahead);
        for who in ["alice", "bob"] {
            ledger.write(&stage, who, "general", true);
            ledger.write(&stage, who, "random", true);
        }
        ledger.comes_true(&stage).await;
    }
    // A command waits for what was written before it.
    stage.sim.advance(DAY);
    ledger.write(&stage, "carol", "general", true);
    let card = stage.ask("carol", ".rank").await;
    assert!(card.contains("carol's Stat Card"), "{card}");
    assert!(!stage.bot.log().contains(REFUSED), "{}", stage.bot.log());
}

#[tokio::test]
async fn where_discord_tells_no_time_an_id_from_the_future_counts_nothing_either() {
    let sim = Sim::start(World::new())
        .await
        .expect("the simulator starts");
    sim.settings(|settings| settings.date = DateHeader::Missing);
    let database = TestDatabase::migrated().await;
    let bot = Bot::start(&sim, &database.url()).await;
    // What was there before has been read.
    bot.logged("roles are verified").await;
    let stage = Stage { bot, database, sim };
    let mut ledger = Ledger::default();
    ledger.write(&stage, "alice", "general", true);
    stage.rest();
    stage.sim.post(poison(&stage, "general", YEAR));
    ledger.write(&stage, "alice", "random", true);
    ledger.comes_true(&stage).await;
    assert!(frontier(&stage).await < id_after(&stage.sim, DAY / 24));
    // Ids tell the time as well, when there are enough of them.
    for _ in 0..10 {
        stage.say("bob", "hello");
    }
    stage.bot.logged(REFUSED).await;
}

#[tokio::test]
async fn what_was_refused_counts_when_its_time_has_come() {
    let (stage, _) = Stage::under_way(World::new()).await;
    stage.sim.post(poison(&stage, "general", DAY));
    stage.bot.logged(REFUSED).await;
    stage.sim.advance(DAY + Duration::from_mins(2));
    stage.say("bob", "hello");
    for (who, messages) in [("bob", 1), ("alice", 2)] {
        let who = stage.sim.user(who);
        stage.database.wait_for_messages(who, messages).await;
    }
}

#[tokio::test]
async fn a_change_by_a_command_from_the_future_is_refused() {
    let stage = Stage::open().await;
    let alice = stage.sim.user("alice");
    stage.sim.give_next_id(id_after(&stage.sim, YEAR));
    let options = json!([
        { "name": "user", "value": alice.to_string() },
        { "name": "amount", "value": 500 },
        { "name": "reason", "value": "a raffle" },
    ]);
    let told = stage.slash("mod", "give_xp", options.clone()).await;
    assert!(told.contains("a time in the future"), "{told}");
    let (moderator, general) = (stage.sim.user("mod"), stage.sim.channel("general"));
    let typed = format!(".give_xp <@{alice}> 500 a raffle");
    let typed = Message::new(general, moderator, typed).id(id_after(&stage.sim, YEAR));
    let typed = stage.sim.post(typed);
    let told = said(&stage.sim.reply_to(typed).await);
    assert!(told.contains("a time in the future"), "{told}");
    let changes = "select count(*) from xp_change";
    assert_eq!(stage.database.number(changes).await, 0);
    let told = stage.slash("mod", "give_xp", options).await;
    assert!(told.contains("now has 500 XP"), "{told}");
    assert_eq!(stage.database.number(changes).await, 1);
}

/// As an earlier version has left it that believed such an id.
async fn poison_the_database(stage: &Stage) {
    stage
        .database
        .execute(
            "update watermark set message_id =
                (extract(epoch from now() + interval '1 year') * 1000 - 1420070400000)::bigint << 22",
        )
        .await;
    stage
        .database
        .execute("update user_point set last_awarded_at = now() + interval '1 year'")
        .await;
}

#[tokio::test]
async fn a_database_with_a_frontier_from_the_future_is_put_right() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.rest();
    ledger.write(&stage, "alice", "random", true);
    ledger.comes_true(&stage).await;
    stage.bot.terminate().await;
    poison_the_database(&stage).await;
    // Missed while nothing was read: by others it counts from here on, and by whoever has the
    // award from the future from the next day on.
    stage.rest();
    ledger.write(&stage, "bob", "general", false);
    stage.rest();
    ledger.write(&stage, "carol", "random", false);
    stage.start_again().await;
    ledger.comes_true(&stage).await;
    let log = stage.bot.log();
    assert!(
        log.contains("messages are counted was in the future"),
        "{log}"
    );
    assert!(log.contains("last award was in the future"), "{log}");
    assert!(frontier(&stage).await < id_after(&stage.sim, DAY / 24));
    // Nothing twice, and they earn again.
    stage.rest();
    stage.rest();
    ledger.write(&stage, "alice", "general", true);
    ledger.comes_true(&stage).await;
    stage.restart().await;
    stage.rest();
    ledger.write(&stage, "bob", "general", true);
    ledger.comes_true(&stage).await;
    assert!(!stage.bot.log().contains("from the future"));
}

#[tokio::test]
async fn missing_history_that_reaches_into_the_future_is_put_right() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    let random = stage.sim.channel("random");
    let path = format!("/channels/{random}/messages");
    let faults = stage.sim.faults();
    faults.next(u32::MAX, Method::GET, &path, Fault::Status(500));
    stage.bot.terminate().await;
    let before = ledger.clone();
    stage.rest();
    ledger.write(&stage, "bob", "random", false);
    stage.start_again().await;
    stage.bot.logged("is set aside").await;
    before.comes_true(&stage).await;
    wait("the interval", async || {
        let missing = "select count(*) from history_interval";
        (stage.database.number(missing).await == 1).then_some(())
    })
    .await;
    stage.bot.terminate().await;
    for sql in [
        "update history_interval set until_id =
            (extract(epoch from now() + interval '1 year') * 1000 - 1420070400000)::bigint << 22",
        "insert into history_interval (source, channel_id, name, after_id, until_id)
         select source, channel_id, name, until_id - 5, until_id from history_interval",
        "insert into history_counted select 7, until_id, false from history_interval limit 1",
    ] {
        stage.database.execute(sql).await;
    }
    stage.start_again().await;
    stage.bot.logged("reached into the future").await;
    let sum = "select count(*) + (select count(*) from history_counted where user_id = 7) from history_interval";
    assert_eq!(stage.database.number(sum).await, 1);
    let until = stage
        .database
        .number("select until_id from history_interval");
    let until = u64::try_from(until.await).expect("an id");
    assert!(until < id_after(&stage.sim, DAY / 24));
    stage.rest();
    ledger.write(&stage, "carol", "random", true);
    stage.rest();
    ledger.write(&stage, "bob", "general", true);
    let carol = stage.sim.user("carol");
    stage.database.wait_for_messages(carol, 1).await;
    stage.sim.faults().clear();
    stage.restart().await;
    ledger.comes_true(&stage).await;
    assert!(!stage.bot.log().contains("into the future"));
}

#[tokio::test]
async fn one_award_from_the_future_costs_its_user_no_year() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.bot.terminate().await;
    // The last day with an award was yesterday: all of today counts.
    stage
        .database
        .execute("update user_point set last_awarded_at = now() + interval '1 year'")
        .await;
    stage
        .database
        .execute("update xp_day set day = day - 2")
        .await;
    stage.rest();
    let second = ledger.write(&stage, "alice", "general", false);
    stage.start_again().await;
    let alice = stage.sim.user("alice");
    // Set back as they were, the first message is one more: its day was moved for it.
    wait("the missed message", async || {
        let (_, messages) = stage.database.standing(alice).await?;
        (messages >= 2).then_some(())
    })
    .await;
    assert!(stage.bot.log().contains("users=1"), "{second}");
}
