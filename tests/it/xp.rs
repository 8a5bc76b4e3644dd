//! A message becomes XP: who earns, when, once, and what is written down.

use discord_sim::{ChannelKind, Message, World};
use serde_json::json;
use tokio::process::Command;

use crate::support::{Stage, wait};

#[tokio::test]
async fn a_message_earns_once_a_minute_of_its_own_time() {
    let stage = Stage::open().await;
    let alice = stage.sim.user("alice");
    stage.say("alice", "hello");
    stage.say("alice", "hello again");
    stage.rest();
    stage.say("alice", "a minute later");
    let points = stage.database.wait_for_messages(alice, 2).await;
    assert!(
        (30..=50).contains(&points),
        "{points} points for two messages"
    );
    assert_eq!(
        stage
            .database
            .number("select sum(points)::bigint from xp_day")
            .await,
        points
    );
    let username = "select count(*) from user_point where username = 'alice'";
    assert_eq!(
        stage.database.number(username).await,
        1,
        "the name is stored with the first message"
    );
}

#[tokio::test]
async fn the_same_message_again_and_an_older_one_change_nothing() {
    let stage = Stage::open().await;
    let (alice, general) = (stage.sim.user("alice"), stage.sim.channel("general"));
    let old = stage.sim.snowflake();
    stage.rest();
    stage.sim.gateway().duplicate_next(1);
    stage.say("alice", "twice");
    let points = stage.database.wait_for_messages(alice, 1).await;
    stage.sim.post(Message::new(general, alice, "late").id(old));
    // Whatever is counted in order behind them proves that they have been seen.
    stage.say("bob", "hello");
    stage
        .database
        .wait_for_messages(stage.sim.user("bob"), 1)
        .await;
    assert_eq!(stage.database.standing(alice).await, Some((points, 1)));
}

#[tokio::test]
async fn only_humans_earn_and_only_in_their_own_words() {
    let stage = Stage::open_with(
        World::new()
            .other_guild("elsewhere")
            .channel("talk", ChannelKind::Thread, Some("general")),
        &[],
    )
    .await;
    let sim = &stage.sim;
    let (alice, bob, carol, general) = (
        sim.user("alice"),
        sim.user("bob"),
        sim.user("carol"),
        sim.channel("general"),
    );
    let first = sim.post(Message::new(sim.channel("talk"), alice, "threads count"));
    sim.post(Message::new(general, bob, "replies count").reply_to(first));
    sim.say(sim.user("beep"), general, "bots do not");
    sim.post(Message::new(general, 99_999_999_999_999_999, "nor webhooks").webhook("hook"));
    sim.post(Message::new(general, carol, "").kind(7));
    sim.post(Message::new(general, carol, "").forward_of(first));
    sim.say(sim.user("mod"), general, "the last one");
    stage.database.wait_for_messages(sim.user("mod"), 1).await;
    for (name, counts) in [
        ("alice", true),
        ("bob", true),
        ("beep", false),
        ("carol", false),
    ] {
        assert_eq!(
            stage.database.standing(sim.user(name)).await.is_some(),
            counts,
            "{name}"
        );
    }
    assert_eq!(
        stage
            .database
            .number("select count(*) from user_point")
            .await,
        3
    );
}

#[tokio::test]
async fn an_author_whom_no_cache_knows_earns_too() {
    let stage = Stage::open().await;
    let stranger = 123_456_789_012_345_678;
    stage
        .sim
        .say(stranger, stage.sim.channel("general"), "who am I?");
    stage.database.wait_for_messages(stranger, 1).await;
}

#[tokio::test]
async fn an_event_that_does_not_parse_is_counted_and_a_message_in_it_is_not_lost() {
    let stage = Stage::open().await;
    let (alice, general) = (stage.sim.user("alice"), stage.sim.channel("general"));
    stage.sim.gateway().raw_dispatch(
        "GUILD_SURPRISE",
        json!({ "guild_id": "1", "secret": "of people" }),
    );
    stage
        .sim
        .gateway()
        .raw_dispatch("CHANNEL_DELETE", json!([1, 2, 3]));
    // `embeds` is not a list, and nothing that XP needs: no library's model of it is asked.
    stage
        .sim
        .post(Message::new(general, alice, "hello").set("embeds", json!("what?")));
    stage.database.wait_for_messages(alice, 1).await;
    for kind in ["GUILD_SURPRISE", "CHANNEL_DELETE"] {
        stage.bot.logged(kind).await;
    }
    assert!(
        !stage.bot.log().contains("what?"),
        "a message's content stays out of the log"
    );
    assert!(
        !stage.bot.log().contains("of people"),
        "an event's content stays out of the log"
    );
}

#[tokio::test]
async fn a_burst_is_counted_whole_and_the_frontier_follows() {
    let stage = Stage::open_with(World::new().members(3_000), &[]).await;
    let general = stage.sim.channel("general");
    stage
        .sim
        .flood(3_000, 3_000, general)
        .await
        .expect("the flood is sent");
    let last = stage.say("alice", "the end");
    let everyone = "select count(*) from user_point where message_count = 1";
    crate::support::wait("everyone to be counted", async || {
        (stage.database.number(everyone).await == 3_001).then_some(())
    })
    .await;
    assert_eq!(
        stage
            .database
            .number("select count(*) from user_point where message_count = 1")
            .await,
        3_001
    );
    let frontier = stage
        .database
        .number("select message_id from watermark")
        .await;
    assert_eq!(u64::try_from(frontier).unwrap(), last);
}

#[tokio::test]
async fn other_guilds_are_ignored() {
    let world = World::new().other_guild("elsewhere");
    let elsewhere = world.others[0]
        .channels
        .iter()
        .find(|channel| channel.name == "general")
        .expect("a channel")
        .id;
    let stage = Stage::open_with(world, &[]).await;
    stage.sim.say(stage.sim.user("alice"), elsewhere, "hello");
    stage.sim.say(stage.sim.user("alice"), elsewhere, ".rank");
    stage.ask("bob", ".rank").await;
    assert_eq!(stage.database.standing(stage.sim.user("alice")).await, None);
    assert!(stage.sim.bot_messages(elsewhere).is_empty());
}

/// What the sandbox's chat is told of a message, or of its author before it.
async fn told(stage: &Stage, who: &str, message: Option<(u64, &str)>, before: &str) -> String {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/sandbox/xp.sh");
    let mut asking = Command::new(program);
    asking
        .env("DATABASE_URL", stage.database.url())
        .env("SIM_USER", stage.sim.user(who).to_string())
        .env("SIM_NAME", who)
        .env("SIM_BEFORE", before);
    if let Some((message, text)) = message {
        asking
            .env("SIM_MESSAGE", message.to_string())
            .env("SIM_TEXT", text);
    }
    let output = asking.output().await.expect("it can be run");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn the_sandbox_tells_what_a_message_earned() {
    let stage = Stage::open().await;
    let said = async |who: &str, text: &str, before: &str| {
        let message = stage.say(who, text);
        let note = async || {
            let note = told(&stage, who, Some((message, text)), before).await;
            Some(note).filter(|note| !note.is_empty())
        };
        wait("what it earned", note).await
    };
    let before = told(&stage, "alice", None, "").await;
    assert_eq!(before, "0");
    let first = said("alice", "hello", &before).await;
    let had = told(&stage, "alice", None, "").await;
    assert_eq!(first, format!("+{had} XP for alice"));

    let again = said("alice", "hello again", &had).await;
    assert!(
        again.starts_with("No XP for alice: only one message a minute earns XP. Wait ")
            && again.contains(" s, or type !advance "),
        "{again}"
    );
    let command = stage.say("alice", ".rank");
    let note = told(&stage, "alice", Some((command, ".rank")), &had).await;
    assert_eq!(note, "", "a command that earns nothing needs no note");

    stage.rest();
    let later = said("alice", "a minute later", &had).await;
    let has: u64 = told(&stage, "alice", None, "").await.parse().unwrap();
    let earned = has - had.parse::<u64>().unwrap();
    assert_eq!(later, format!("+{earned} XP for alice"));
}
