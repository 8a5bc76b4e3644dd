//! The machine's clock is wrong, or set while the bot runs: what counts is the time that
//! Discord put into the ids, and waits are measured by a clock that nobody sets.

use discord_sim::{Sim, World};
use fault_lab::WallClock;

use crate::support::{Bot, Ledger, Stage, TestDatabase};

const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;

async fn stage_with(clock: &WallClock) -> Stage {
    let database = TestDatabase::migrated().await;
    let sim = Sim::start(World::new())
        .await
        .expect("the simulator starts");
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
    stage.bot.logged("clock was set back").await;
}
