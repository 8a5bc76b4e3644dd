//! What was missed counts as if it had not been: after a restart, a lost session,
//! and wherever it was written.

use std::time::Duration;

use discord_sim::{ChannelKind, Fault, Message, Method, World};

use crate::support::{Bot, Ledger, Stage, said};

const MESSAGES: &str = "/channels/{}/messages";
const ARCHIVED_THREADS: &str = "/channels/{}/threads/archived/public";
const ACTIVE_THREADS: &str = "/guilds/{}/threads/active";
const VIEW_CHANNEL: u64 = 1 << 10;

async fn restart(stage: &mut Stage) {
    stage.bot = Bot::start(&stage.sim, &stage.database.url()).await;
}

/// A session ends and what was written quietly before never comes.
async fn lose_the_session(stage: &Stage) {
    let identifies = stage.sim.gateway().identifies();
    stage.sim.gateway().invalid_session(false);
    stage
        .sim
        .wait("a new session", || {
            (stage.sim.gateway().identifies() > identifies).then_some(())
        })
        .await;
}

#[tokio::test]
async fn everything_written_during_a_restart_counts_wherever_it_was_written() {
    let world = World::new().channel("old-thread", ChannelKind::Thread, Some("random"));
    let (mut stage, mut ledger) = Stage::under_way(world).await;
    stage.bot.terminate().await;
    for (round, channel) in [
        "general",
        "random",
        "weekend-plans",
        "how-do-i-start",
        "lounge",
        "old-thread",
    ]
    .into_iter()
    .enumerate()
    {
        stage.sim.advance(Duration::from_secs(30));
        for who in ["alice", "bob", "mod"].into_iter().skip(round % 2) {
            ledger.write(&stage, who, channel, false);
        }
    }
    stage.sim.archive(stage.sim.channel("old-thread"));
    restart(&mut stage).await;
    ledger.comes_true(&stage).await;
    stage.rest();
    ledger.write(&stage, "alice", "general", true);
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn the_newest_message_of_all_may_be_in_a_thread_that_was_archived() {
    let world = World::new().channel("old-thread", ChannelKind::Thread, Some("random"));
    let (mut stage, mut ledger) = Stage::under_way(world).await;
    stage.bot.terminate().await;
    stage.rest();
    ledger.write(&stage, "bob", "general", false);
    stage.rest();
    ledger.write(&stage, "alice", "old-thread", false);
    stage.sim.archive(stage.sim.channel("old-thread"));
    restart(&mut stage).await;
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn a_thread_that_comes_back_while_the_lists_are_read_is_read_too() {
    let world = World::new().channel("old-thread", ChannelKind::Thread, Some("random"));
    let (stage, mut ledger) = Stage::under_way(world).await;
    stage.rest();
    ledger.write(&stage, "alice", "old-thread", false);
    stage.sim.archive(stage.sim.channel("old-thread"));
    // It is archived still when the active ones are listed, and active again when the
    // archived ones are.
    let slowly = Fault::Delay(Duration::from_secs(1));
    let faults = stage.sim.faults();
    faults.next(1, Method::GET, ARCHIVED_THREADS, slowly);
    stage.sim.clear_requests();
    lose_the_session(&stage).await;
    let asked = || {
        (!stage
            .sim
            .requests_to(&Method::GET, ARCHIVED_THREADS)
            .is_empty())
        .then_some(())
    };
    stage.sim.wait("the threads to be listed", asked).await;
    ledger.write(&stage, "bob", "old-thread", true);
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn a_lost_session_is_read_up_and_a_resumed_one_is_not() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.sim.clear_requests();
    stage.rest();
    stage.sim.gateway().drop_connections();
    ledger.write(&stage, "alice", "general", true);
    ledger.comes_true(&stage).await;
    assert_eq!(stage.sim.gateway().resumes(), 1);
    assert!(
        stage.sim.requests_to(&Method::GET, MESSAGES).is_empty(),
        "what is replayed need not be read"
    );

    stage.rest();
    ledger.write(&stage, "alice", "random", false);
    ledger.write(&stage, "bob", "general", false);
    lose_the_session(&stage).await;
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn what_comes_live_meanwhile_waits_its_turn() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    // Missed at 61 s, live at 100 s: were the live one counted first, the missed one
    // would be refused as older.
    stage.sim.advance(Duration::from_secs(61));
    ledger.write(&stage, "alice", "random", false);
    stage.sim.faults().next(
        1,
        Method::GET,
        MESSAGES,
        Fault::Delay(Duration::from_secs(2)),
    );
    lose_the_session(&stage).await;
    stage.sim.wait_connected().await;
    stage.sim.advance(Duration::from_secs(39));
    ledger.write(&stage, "alice", "general", true);
    ledger.write(&stage, "bob", "general", true);
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn a_first_start_reads_nothing_and_a_gap_right_after_it_is_read() {
    let database = crate::support::TestDatabase::migrated().await;
    let sim = discord_sim::Sim::start(World::new()).await.unwrap();
    let (alice, general) = (sim.user("alice"), sim.channel("general"));
    sim.post(Message::new(general, alice, "before there was a bot").quietly());
    let bot = Bot::start(&sim, &database.url()).await;
    let stage = Stage { bot, database, sim };
    let mut ledger = Ledger::default();
    stage.rest();
    ledger.write(&stage, "bob", "general", true);
    ledger.comes_true(&stage).await;
    assert_eq!(stage.database.standing(alice).await, None);
    assert!(stage.sim.requests_to(&Method::GET, MESSAGES).is_empty());
}

#[tokio::test]
async fn trouble_while_reading_only_delays() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.bot.terminate().await;
    for _ in 0..3 {
        stage.rest();
        ledger.write(&stage, "alice", "general", false);
        ledger.write(&stage, "bob", "random", false);
    }
    let faults = stage.sim.faults();
    faults.next(6, Method::GET, "/guilds/{}/channels", Fault::Status(503));
    faults.next(2, Method::GET, ACTIVE_THREADS, Fault::Reset);
    faults.next(7, Method::GET, MESSAGES, Fault::Html(502));
    restart(&mut stage).await;
    ledger.comes_true(&stage).await;
    stage
        .bot
        .logged("could not be read; it is tried again")
        .await;
}

#[tokio::test]
async fn a_reading_that_is_interrupted_is_begun_again() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.bot.kill().await;
    stage.rest();
    ledger.write(&stage, "alice", "general", false);
    ledger.write(&stage, "bob", "random", false);
    stage
        .sim
        .faults()
        .next(1_000, Method::GET, MESSAGES, Fault::Hang);
    stage.sim.clear_requests();
    restart(&mut stage).await;
    let asked = || (!stage.sim.requests_to(&Method::GET, MESSAGES).is_empty()).then_some(());
    stage.sim.wait("the reading to begin", asked).await;
    stage.bot.kill().await;
    stage.sim.faults().clear();
    restart(&mut stage).await;
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn a_thousand_messages_cost_ten_calls() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.bot.terminate().await;
    for _ in 0..1_000 {
        stage.sim.advance(Duration::from_secs(10));
        ledger.write(&stage, "bob", "general", false);
    }
    stage.sim.clear_requests();
    stage.sim.settings(|settings| settings.rate_limits = false);
    restart(&mut stage).await;
    ledger.comes_true(&stage).await;
    let calls = stage.sim.requests_to(&Method::GET, MESSAGES).len();
    assert!(
        (10..=12).contains(&calls),
        "{calls} calls for a thousand messages"
    );
}

#[tokio::test]
async fn a_gap_beyond_the_limit_is_told_to_the_council() {
    let (mut stage, ledger) =
        Stage::under_way(World::new().channel("council", ChannelKind::Text, None)).await;
    stage.bot.terminate().await;
    let mut lost = Ledger::default();
    stage.rest();
    lost.write(&stage, "bob", "general", false);
    stage.sim.advance(Duration::from_hours(30));
    let mut kept = Ledger::default();
    kept.write(&stage, "mod", "general", false);
    restart(&mut stage).await;
    kept.comes_true(&stage).await;
    assert_eq!(stage.database.standing(stage.sim.user("bob")).await, None);
    let council = stage.sim.channel("council");
    let word = stage
        .sim
        .wait("a word", || {
            stage.sim.bot_messages(council).into_iter().next()
        })
        .await;
    assert!(said(&word).contains("longer than 24 hours"), "{word}");
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn a_quiet_guild_is_not_a_long_gap() {
    let (mut stage, mut ledger) =
        Stage::under_way(World::new().channel("council", ChannelKind::Text, None)).await;
    stage.sim.advance(Duration::from_hours(48));
    stage.bot.terminate().await;
    ledger.write(&stage, "bob", "general", false);
    restart(&mut stage).await;
    ledger.comes_true(&stage).await;
    assert!(
        stage
            .sim
            .bot_messages(stage.sim.channel("council"))
            .is_empty()
    );
}

#[tokio::test]
async fn a_channel_that_may_not_be_read_is_said_once_and_the_rest_is_read() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    let staff = stage.sim.channel("staff");
    for _ in 0..2 {
        stage.rest();
        stage
            .sim
            .post(Message::new(staff, stage.sim.user("mod"), "secret").quietly());
        ledger.write(&stage, "alice", "general", false);
        lose_the_session(&stage).await;
        ledger.comes_true(&stage).await;
    }
    assert_eq!(
        stage.bot.log().matches("may not be read").count(),
        1,
        "{}",
        stage.bot.log()
    );
    stage
        .sim
        .bot_permissions(stage.sim.channel("random"), 0, VIEW_CHANNEL);
}

#[tokio::test]
async fn levels_reached_meanwhile_are_one_line_for_each_member() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.bot.terminate().await;
    // About 40 awards of 20: from level 0 to level 3 or 4.
    for _ in 0..40 {
        stage.rest();
        ledger.write(&stage, "alice", "general", false);
    }
    restart(&mut stage).await;
    ledger.comes_true(&stage).await;
    let general = stage.sim.channel("general");
    let line = stage
        .sim
        .wait("a line", || {
            stage.sim.bot_messages(general).into_iter().next()
        })
        .await;
    assert!(
        said(&line).contains("reached **level 4**") || said(&line).contains("reached **level 3**"),
        "{line}"
    );
    stage.rest();
    stage.ask("alice", ".help").await;
    assert_eq!(
        stage.sim.bot_messages(general).len(),
        2,
        "one line, and the help"
    );
}
