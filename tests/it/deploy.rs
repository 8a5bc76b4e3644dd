//! One bot ends and the next one goes on with its gateway session: nothing is missed, and no
//! history is read. Where that cannot be, another session is begun, and the history is read.

use std::time::Duration;

use discord_sim::clock::first_id_at;
use discord_sim::{Fault, Message, Method, World};
use fault_lab::{Position, Signal};
use serde_json::json;
use sqlx::Executor as _;

use crate::roles::{holds, level_roles, verified};
use crate::support::{Bot, Ledger, Stage, said, wait};

const LEFT: &str = "select count(*) from gateway_session";

impl Stage {
    /// Starts another bot on the session that the one before may have left.
    async fn deploy(&mut self) {
        self.bot = Bot::start(&self.sim, &self.database.url()).await;
    }

    async fn leaves_a_session(&self) -> bool {
        self.database.number(LEFT).await == 1
    }

    async fn is_disconnected(&self) {
        let gone = || (!self.sim.is_connected()).then_some(());
        self.sim.wait("the old connection to end", gone).await;
    }

    /// How many calls read history.
    fn history_calls(&self) -> usize {
        ["/channels/{}/messages", "/guilds/{}/threads/active"]
            .map(|path| self.sim.requests_to(&Method::GET, path).len())
            .iter()
            .sum()
    }
}

#[tokio::test]
async fn a_deploy_goes_on_with_the_session_and_reads_no_history() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.sim.clear_requests();
    let mut next = Bot::launch_with(&stage.sim, &stage.database.url(), &[], &["--take-over"]);
    ledger.write(&stage, "alice", "general", true);
    stage.is_disconnected().await;
    ledger.write(&stage, "bob", "random", true);
    next.connected(&stage.sim).await;
    assert_eq!(stage.bot.ended().await.code(), Some(0));
    stage.bot = next;
    stage
        .bot
        .logged("it continues where the previous bot process ended")
        .await;
    ledger.write(&stage, "carol", "general", true);
    ledger.comes_true(&stage).await;

    let control = stage.sim.gateway();
    assert_eq!((control.identifies(), control.resumes()), (1, 1));
    assert_eq!((control.takeovers(), control.resumes_elsewhere()), (0, 0));
    assert_eq!(stage.history_calls(), 0, "{}", stage.bot.log());
    assert!(!stage.leaves_a_session().await, "it is used once");
    // What a new session would have brought.
    let registered = stage
        .sim
        .requests_to(&Method::PUT, "/applications/{}/guilds/{}/commands");
    assert_eq!(registered.len(), 1, "this version's commands");
    stage.bot.logged("roles are verified").await;
    assert!(stage.ask("alice", ".rank").await.contains("Level"));
}

#[tokio::test]
async fn a_session_is_handed_on_as_often_as_there_are_deploys() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.sim.clear_requests();
    for deploys in 1..=3 {
        assert_eq!(stage.bot.terminate().await.code(), Some(0));
        stage.is_disconnected().await;
        stage.rest();
        ledger.write(&stage, "alice", "general", true);
        stage.deploy().await;
        ledger.write(&stage, "bob", "random", true);
        ledger.comes_true(&stage).await;
        assert_eq!(stage.sim.gateway().resumes(), deploys);
    }
    assert_eq!(stage.sim.gateway().identifies(), 1);
    assert_eq!(stage.history_calls(), 0);
}

#[tokio::test]
async fn what_cannot_be_resumed_is_begun_and_read() {
    let too_old = "update gateway_session set left_at = now() - interval '121 seconds'";
    let of_tomorrow = "update gateway_session set left_at = now() + interval '1 minute'";
    for (what, change) in [
        ("too old", too_old),
        ("of a clock that went back", of_tomorrow),
        (
            "other intents",
            "update gateway_session set intents = intents - 1",
        ),
        (
            "another guild",
            "update gateway_session set guild_id = guild_id + 1",
        ),
        (
            "another account",
            "update gateway_session set bot_id = bot_id + 1",
        ),
        (
            "of an owner before the last",
            "update gateway_session set owner_epoch = owner_epoch - 1",
        ),
    ] {
        let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
        stage.bot.terminate().await;
        assert!(stage.leaves_a_session().await, "{what}");
        stage.database.execute(change).await;
        stage.rest();
        ledger.write(&stage, "alice", "general", true);
        stage.is_disconnected().await;
        stage.deploy().await;
        ledger.comes_true(&stage).await;
        let control = stage.sim.gateway();
        assert_eq!((control.identifies(), control.resumes()), (2, 0), "{what}");
        assert!(!stage.leaves_a_session().await, "{what}");
    }
}

#[tokio::test]
async fn a_session_that_discord_has_forgotten_is_a_gap() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.bot.terminate().await;
    stage.is_disconnected().await;
    stage.sim.gateway().forget_sessions();
    stage.rest();
    ledger.write(&stage, "alice", "general", true);
    stage.deploy().await;
    ledger.comes_true(&stage).await;
    assert_eq!(stage.sim.gateway().identifies(), 2);
    assert!(stage.history_calls() > 0);
}

#[tokio::test]
async fn a_guild_that_cannot_be_asked_for_is_told_by_another_session() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.bot.terminate().await;
    stage.is_disconnected().await;
    stage.rest();
    ledger.write(&stage, "alice", "general", true);
    let refusal = Fault::Status(403);
    stage
        .sim
        .faults()
        .next(1, Method::GET, "/guilds/{}", refusal);
    stage.deploy().await;
    ledger.comes_true(&stage).await;
    assert_eq!(stage.sim.gateway().identifies(), 2);
}

#[tokio::test]
async fn a_bot_that_dies_leaves_no_session() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.bot.kill().await;
    assert!(!stage.leaves_a_session().await);
    stage.is_disconnected().await;
    stage.rest();
    ledger.write(&stage, "alice", "general", true);
    stage.deploy().await;
    ledger.comes_true(&stage).await;
    assert_eq!(stage.sim.gateway().identifies(), 2);
}

#[tokio::test]
async fn a_bot_that_dies_between_its_last_read_and_its_commit_leaves_no_session() {
    let (mut stage, gate) = Stage::open_gated().await;
    let mut ledger = Ledger::default();
    ledger.write(&stage, "alice", "general", true);
    ledger.comes_true(&stage).await;
    gate.set(Position::Shut);
    stage.rest();
    for who in ["alice", "bob", "carol"] {
        ledger.write(&stage, who, "general", true);
    }
    stage.bot.logged("keeping it and trying again").await;
    stage.bot.signal(Signal::TERM);
    // Nothing more is read, and the session could be resumed.
    stage.is_disconnected().await;
    stage.bot.kill().await;
    assert!(!stage.leaves_a_session().await);
    stage.deploy().await;
    ledger.comes_true(&stage).await;
    let control = stage.sim.gateway();
    assert_eq!((control.identifies(), control.resumes()), (2, 0));
}

#[tokio::test]
async fn what_could_not_be_saved_is_read_by_the_next_bot() {
    let (mut stage, gate) = Stage::open_gated().await;
    let mut ledger = Ledger::default();
    ledger.write(&stage, "alice", "general", true);
    ledger.comes_true(&stage).await;
    gate.set(Position::Shut);
    stage.rest();
    ledger.write(&stage, "alice", "general", true);
    stage.bot.logged("keeping it and trying again").await;
    assert_eq!(stage.bot.terminate().await.code(), Some(17));
    assert!(!stage.leaves_a_session().await);
    stage.deploy().await;
    ledger.comes_true(&stage).await;
    assert_eq!(stage.sim.gateway().identifies(), 2);
}

#[tokio::test]
async fn a_session_is_left_only_when_what_members_did_is_written_down() {
    /// A slow machine may not write it down in time, and then leaves no session.
    const ROUNDS: usize = 10;
    let mut stage = verified().await;
    let (alice, bob) = (stage.sim.user("alice"), stage.sim.user("bob"));
    let mut ledger = Ledger::default();
    ledger.write(&stage, "carol", "general", true);
    ledger.comes_true(&stage).await;
    for round in 0..ROUNDS {
        stage.bot.logged("roles are verified").await;
        let mut blocking = stage.database.session().await;
        blocking
            .execute("begin; lock table updated_user, role_work in exclusive mode")
            .await
            .unwrap();
        let nick = format!("al {round}");
        stage.sim.nick(alice, Some(&nick));
        stage.sim.leave(bob);
        stage.sim.join(bob);
        // When this is counted, the events before it are handled.
        stage.rest();
        ledger.write(&stage, "carol", "general", true);
        ledger.comes_true(&stage).await;
        stage.bot.signal(Signal::TERM);
        stage.bot.logged("shutting down").await;
        blocking.execute("commit").await.unwrap();
        stage.bot.ended().await;
        let is_left = stage.leaves_a_session().await;
        if is_left {
            let waiting: Vec<i64> = sqlx::query_scalar("select user_id from role_work")
                .fetch_all(&mut blocking)
                .await
                .unwrap();
            // Until the gateway is closed, the jobs may still do what was written down.
            assert!(
                waiting.contains(&i64::try_from(bob).unwrap())
                    || level_roles(&stage.sim, bob) == ["Zero", "One"],
                "{}",
                stage.bot.log()
            );
            let changed: Vec<i64> = sqlx::query_scalar("select user_id from updated_user")
                .fetch_all(&mut blocking)
                .await
                .unwrap();
            assert!(
                changed.contains(&i64::try_from(alice).unwrap())
                    || stage.database.user(alice).await["nickname"] == json!(nick),
                "{}",
                stage.bot.log()
            );
        }
        stage.is_disconnected().await;
        stage.deploy().await;
        holds(&stage, bob, &["Zero", "One"]).await;
        wait("alice's nickname", async || {
            let alice = stage.database.user(alice).await;
            (alice["nickname"] == json!(nick)).then_some(())
        })
        .await;
        if is_left {
            return;
        }
    }
    panic!("no session was left in {ROUNDS} rounds");
}

#[tokio::test]
async fn what_changes_between_two_bots_is_known_to_the_next() {
    let mut stage = verified().await;
    let (alice, bob) = (stage.sim.user("alice"), stage.sim.user("bob"));
    stage.bot.terminate().await;
    stage.is_disconnected().await;
    assert!(stage.leaves_a_session().await);
    stage.sim.hand_over(bob);
    stage.sim.leave(alice);
    stage.sim.join(alice);
    assert_eq!(level_roles(&stage.sim, alice), [""; 0]);
    stage.deploy().await;
    holds(&stage, alice, &["Zero", "One", "Five"]).await;
    let levels = stage.ask("bob", ".levels").await;
    assert!(levels.starts_with("Levels"), "the owner may ask: {levels}");
    assert_eq!(stage.sim.gateway().identifies(), 1);
}

#[tokio::test]
async fn an_outage_of_the_guild_is_not_handed_on() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.sim.begin_outage();
    stage
        .bot
        .logged("Discord reports an outage of the guild")
        .await;
    stage.bot.terminate().await;
    assert!(!stage.leaves_a_session().await);
    stage.is_disconnected().await;
    stage.rest();
    ledger.write(&stage, "alice", "general", true);
    stage.sim.end_outage();
    stage.deploy().await;
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn history_that_is_still_being_read_is_not_handed_on() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    let reads = "/channels/{}/messages";
    stage
        .sim
        .faults()
        .next(1_000, Method::GET, reads, Fault::Hang);
    stage.sim.clear_requests();
    stage.sim.gateway().invalid_session(false);
    let begun = || (!stage.sim.requests_to(&Method::GET, reads).is_empty()).then_some(());
    stage.sim.wait("the reading to begin", begun).await;
    assert_eq!(stage.bot.terminate().await.code(), Some(0));
    assert!(!stage.leaves_a_session().await);
    stage.sim.faults().clear();
    stage.is_disconnected().await;
    stage.rest();
    ledger.write(&stage, "alice", "general", true);
    stage.deploy().await;
    ledger.comes_true(&stage).await;
}

#[tokio::test]
async fn a_message_whose_time_has_not_come_is_not_handed_on() {
    let (mut stage, _) = Stage::under_way(World::new()).await;
    let tomorrow = first_id_at(stage.sim.now_ms() + 24 * 3_600 * 1_000);
    let (bob, general) = (stage.sim.user("bob"), stage.sim.channel("general"));
    let message = Message::new(general, bob, "hello").id(tomorrow);
    stage.sim.post(message);
    stage.bot.logged("whose id is from the future").await;
    stage.bot.terminate().await;
    assert!(!stage.leaves_a_session().await);
}

#[tokio::test]
async fn history_that_must_be_read_again_is_read_all_the_same() {
    let (mut stage, mut ledger) = Stage::under_way(World::new()).await;
    stage.bot.terminate().await;
    stage.is_disconnected().await;
    assert!(stage.leaves_a_session().await);
    // As an impossible id leaves it, which was counted while nobody told the time.
    let a_day_ahead = "update watermark set message_id = message_id + (86400000::bigint << 22)";
    stage.database.execute(a_day_ahead).await;
    stage.rest();
    ledger.write(&stage, "alice", "general", false);
    stage.deploy().await;
    ledger.comes_true(&stage).await;
    assert_eq!(stage.sim.gateway().identifies(), 2);
}

#[tokio::test]
async fn a_text_command_is_run_a_little_late_but_not_much_later() {
    let mut stage = verified().await;
    stage.bot.terminate().await;
    stage.is_disconnected().await;
    let hidden = stage.say("alice", ".hide_xp");
    // Longer than anybody waits.
    stage.sim.advance(Duration::from_secs(30));
    let asked = stage.say("bob", ".rank");
    stage.deploy().await;
    let answer = said(&stage.sim.reply_to(asked).await);
    assert!(answer.contains("Level"), "{answer}");
    let answer = said(&stage.sim.reply_to(hidden).await);
    assert!(
        answer.starts_with("I was away when you typed this"),
        "{answer}"
    );
    let shown = stage.database.user(stage.sim.user("alice")).await;
    assert_eq!(shown["hidden"], json!(false));
    assert_eq!(stage.sim.gateway().identifies(), 1);
}
