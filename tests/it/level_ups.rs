//! A level is reached: one line, once, for those who want to be seen.

use discord_sim::{Fault, Method, World};
use serde_json::Value;

use crate::support::{Stage, said};

/// Discord's permission bit.
const SEND_MESSAGES: u64 = 1 << 11;

/// The bot's line in `general`, once there is one.
async fn line(stage: &Stage) -> Value {
    let general = stage.sim.channel("general");
    stage
        .sim
        .wait("a level-up line", || {
            stage.sim.bot_messages(general).into_iter().next()
        })
        .await
}

/// A stage on which alice is one message away from level 1.
async fn almost() -> Stage {
    let world = World::new();
    let alice = world
        .guild
        .people
        .iter()
        .find(|person| person.name == "alice")
        .unwrap()
        .id;
    Stage::open_with(world, &[(alice, 99, 5)]).await
}

async fn outbox_is_empty(stage: &Stage) {
    crate::support::wait("the outbox to be empty", async || {
        (stage.database.number("select count(*) from outbox").await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_level_is_announced_where_it_was_reached_and_pings_only_its_owner() {
    let stage = almost().await;
    stage.say("alice", "here I come");
    let line = line(&stage).await;
    let alice = stage.sim.user("alice");
    assert_eq!(said(&line), format!("<@{alice}> reached **level 1**!"));
    let pings = stage
        .sim
        .pings(line["id"].as_str().unwrap().parse().unwrap());
    assert_eq!(pings.users.into_iter().collect::<Vec<_>>(), [alice]);
    assert!(pings.roles.is_empty() && !pings.everyone);
    outbox_is_empty(&stage).await;
}

#[tokio::test]
async fn a_command_that_brings_a_level_is_answered_and_announced() {
    let stage = almost().await;
    assert!(stage.ask("alice", ".rank").await.contains("Level #1"));
    let general = stage.sim.channel("general");
    let both = || (stage.sim.bot_messages(general).len() == 2).then_some(());
    stage.sim.wait("the card and the line", both).await;
}

#[tokio::test]
async fn trouble_at_discord_delays_the_line_and_never_doubles_it() {
    for fault in [
        Fault::Status(500),
        Fault::Html(502),
        Fault::ResetAfter,
        Fault::StatusAfter(503),
    ] {
        let stage = almost().await;
        stage
            .sim
            .faults()
            .next(2, Method::POST, "/channels/{}/messages", fault.clone());
        stage.say("alice", "here I come");
        line(&stage).await;
        outbox_is_empty(&stage).await;
        assert_eq!(
            stage.sim.bot_messages(stage.sim.channel("general")).len(),
            1,
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn a_line_that_may_not_be_posted_is_left_out_and_said_in_the_log() {
    let stage = almost().await;
    stage
        .sim
        .bot_permissions(stage.sim.channel("general"), 0, SEND_MESSAGES);
    stage.say("alice", "here I come");
    stage.bot.logged("is not allowed to post").await;
    outbox_is_empty(&stage).await;
}

#[tokio::test]
async fn a_line_that_was_not_posted_before_a_crash_is_posted_after_it() {
    let mut stage = almost().await;
    stage
        .sim
        .faults()
        .next(1_000, Method::POST, "/channels/{}/messages", Fault::Hang);
    stage.say("alice", "here I come");
    crate::support::wait("a row in the outbox", async || {
        (stage.database.number("select count(*) from outbox").await == 1).then_some(())
    })
    .await;
    stage.bot.kill().await;
    stage.sim.faults().clear();
    stage.start_again().await;
    line(&stage).await;
    outbox_is_empty(&stage).await;
    assert_eq!(
        stage.sim.bot_messages(stage.sim.channel("general")).len(),
        1
    );
}

#[tokio::test]
async fn who_hides_gets_no_line() {
    let stage = almost().await;
    stage
        .database
        .execute("update user_point set hidden = true")
        .await;
    // The cache learns of it at the next start.
    let mut stage = stage;
    stage.bot.terminate().await;
    stage.start_again().await;
    stage.say("alice", "here I come");
    stage
        .database
        .wait_for_messages(stage.sim.user("alice"), 6)
        .await;
    outbox_is_empty(&stage).await;
    assert!(
        stage
            .sim
            .bot_messages(stage.sim.channel("general"))
            .is_empty()
    );
}

#[tokio::test]
async fn a_line_that_was_put_off_before_the_clock_was_set_back_is_not_put_off_for_long() {
    let stage = almost().await;
    stage.sim.faults().next(
        1_000,
        Method::POST,
        "/channels/{}/messages",
        Fault::Status(500),
    );
    stage.say("alice", "here I come");
    stage.bot.logged("trying again").await;
    stage
        .database
        .execute("update outbox set next_attempt_at = now() + interval '1 day'")
        .await;
    stage.sim.faults().clear();
    line(&stage).await;
    outbox_is_empty(&stage).await;
}

#[tokio::test]
async fn a_line_on_its_way_is_not_cut_off_by_the_failure_of_another() {
    let world = World::new();
    let id = |name: &str| {
        let mut people = world.guild.people.iter();
        people.find(|person| person.name == name).unwrap().id
    };
    let (alice, bob) = (id("alice"), id("bob"));
    let stage = Stage::open_with(world, &[(alice, 99, 5), (bob, 99, 5)]).await;
    // Alice's row cannot be removed, while bob's line takes a second.
    stage
        .database
        .execute(
            "create function stuck() returns trigger language plpgsql as $$ begin
                if old.message_id = (select min(message_id) from outbox) then
                    raise exception 'stuck'; end if;
                return old; end $$;
             create trigger stuck before delete on outbox for each row execute function stuck()",
        )
        .await;
    let elsewhere = stage.sim.channel("random");
    let lines = format!("/channels/{elsewhere}/messages");
    let slow = Fault::Delay(std::time::Duration::from_secs(1));
    stage.sim.faults().next(1, Method::POST, &lines, slow);
    stage.say("alice", "here I come");
    stage.sim.say(bob, elsewhere, "here I come");
    crate::support::wait("bob's row to be gone", async || {
        let gone = "select count(*) from user_point where message_count = 6
                    and not exists (select from outbox where outbox.user_id = user_point.user_id)";
        (stage.database.number(gone).await == 1).then_some(())
    })
    .await;
    assert_eq!(
        stage.sim.requests_to(&Method::POST, &lines).len(),
        1,
        "it was posted once, and that was noted"
    );
    stage.database.execute("drop trigger stuck on outbox").await;
    outbox_is_empty(&stage).await;
    let general = stage.sim.channel("general");
    assert_eq!(stage.sim.bot_messages(general).len(), 1);
}
