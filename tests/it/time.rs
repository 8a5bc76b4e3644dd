//! The machine's clock is wrong, or set while the bot runs: what counts is the time that
//! Discord put into the ids, and waits are measured by a clock that nobody sets.

use discord_sim::{DateHeader, Sim, World};
use fault_lab::WallClock;

use crate::support::{Bot, Ledger, Stage, TestDatabase, id_of, wait};

const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;

async fn stage_with(clock: &WallClock) -> Stage {
    let sim = Sim::start(World::new())
        .await
        .expect("the simulator starts");
    stage_in(sim, clock).await
}

async fn stage_in(sim: Sim, clock: &WallClock) -> Stage {
    let database = TestDatabase::migrated().await;
    let environment = clock.environment().map(|(name, value)| {
        let value = value.into_string().expect("a path that is text");
        (name, value)
    });
    let settings: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mut bot = Bot::launch(&sim, &database.url(), &settings);
    bot.connected(&sim).await;
    Stage { bot, database, sim }
}

fn clock() -> (tempfile::TempDir, WallClock) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let clock = WallClock::right(directory.path()).expect("run the tests with ./run_walle.sh test");
    (directory, clock)
}

#[tokio::test]
async fn cooldowns_hold_whatever_the_clock_shows() {
    let (_directory, clock) = clock();
    let stage = stage_with(&clock).await;
    let mut ledger = Ledger::default();
    for offset_s in [0, HOUR_S, -HOUR_S, DAY_S, -DAY_S] {
        clock.set(offset_s).expect("the clock is set");
        ledger.write(&stage, "alice", "general", true);
        // Within the cooldown, however late the clock says it is.
        ledger.write(&stage, "alice", "random", true);
        ledger.comes_true(&stage).await;
        stage.rest();
    }
}

#[tokio::test]
async fn a_rate_limit_does_not_last_until_a_clock_that_was_set_back_has_caught_up() {
    let (_directory, clock) = clock();
    let stage = stage_with(&clock).await;
    // Discord lets five through and says when it lets through the next.
    for _ in 0..5 {
        stage.ask("alice", ".rank").await;
    }
    clock.set(-DAY_S).expect("the clock is set");
    stage.ask("alice", ".rank").await;
}

/// A page whose buttons have just been noted as open.
async fn page_with_buttons(stage: &Stage) -> u64 {
    let page = id_of(&stage.reply("alice", ".ranks").await);
    wait("the buttons to be noted", async || {
        let noted = "select count(*) from open_buttons where message_id > 7";
        (stage.database.number(noted).await == 1).then_some(())
    })
    .await;
    page
}

/// Waits until buttons have been looked for that are to be taken off.
async fn buttons_looked_for(stage: &Stage) {
    // Of a message that nobody has ever posted.
    let due = "insert into open_buttons values (7, 7, 'epoch')";
    stage.database.execute(due).await;
    wait("buttons to be taken off", async || {
        let left = "select count(*) from open_buttons where message_id = 7";
        (stage.database.number(left).await == 0).then_some(())
    })
    .await;
}

fn has_buttons(stage: &Stage, page: u64) -> bool {
    let page = stage.sim.message(page).expect("the page stays");
    page["components"]
        .as_array()
        .is_some_and(|rows| !rows.is_empty())
}

#[tokio::test]
async fn a_clock_that_is_hours_ahead_takes_no_buttons_away_and_is_told_once() {
    let (_directory, clock) = clock();
    clock.set(3 * HOUR_S).expect("the clock is set");
    let stage = stage_with(&clock).await;
    let page = page_with_buttons(&stage).await;
    buttons_looked_for(&stage).await;
    assert!(has_buttons(&stage, page), "{}", stage.bot.log());
    let told = "the machine's clock is 3 h 0 min ahead of Discord's time";
    stage.bot.logged(told).await;
    clock.set(0).expect("the clock is set");
    stage.bot.logged("the machine's clock is right again").await;
    clock.set(-DAY_S).expect("the clock is set");
    stage.bot.logged("behind Discord's time").await;
    assert_eq!(stage.bot.log().matches(told).count(), 1);
}

#[tokio::test]
async fn buttons_are_taken_off_in_time_by_a_clock_that_is_behind() {
    let (_directory, clock) = clock();
    clock.set(-3 * HOUR_S).expect("the clock is set");
    let stage = stage_with(&clock).await;
    let page = page_with_buttons(&stage).await;
    stage
        .database
        .execute("update open_buttons set closes_at = closes_at - interval '15 min'")
        .await;
    buttons_looked_for(&stage).await;
    wait("the buttons to go", async || {
        (!has_buttons(&stage, page)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_nobody_can_check_takes_no_buttons_away() {
    let (_directory, clock) = clock();
    clock.set(3 * HOUR_S).expect("the clock is set");
    let sim = Sim::start(World::new())
        .await
        .expect("the simulator starts");
    sim.settings(|settings| settings.date = DateHeader::Missing);
    let stage = stage_in(sim, &clock).await;
    stage.bot.logged("do not say what time it is").await;
    let page = page_with_buttons(&stage).await;
    // Enough of people's messages tell the time as well.
    for _ in 0..10 {
        stage.say("bob", "hello");
    }
    buttons_looked_for(&stage).await;
    assert!(has_buttons(&stage, page), "{}", stage.bot.log());
}
