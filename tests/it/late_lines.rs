//! Levels that were reached while the bot was away: told together, and without waking anybody.

use std::time::Duration;

use discord_sim::{Fault, Message, Method, World, members};
use serde_json::Value;
use wall_e::leveling::escape;

use crate::support::{Stage, id_of, person, wait};

const HEADING: &str = "While I was away:";

/// A bot that has ended, and so many members who are one message away from level 1; alice is
/// another.
async fn away(count: usize) -> (Stage, Vec<u64>) {
    let world = World::new().members(500);
    let alice = person(&world, "alice");
    let crowd: Vec<u64> = (0..500).map(members::id_of).collect();
    let rows: Vec<(u64, i64, i64)> = crowd.iter().map(|user| (*user, 99, 5)).collect();
    let rows = [rows, vec![(alice, 99, 5)]].concat();
    let mut stage = Stage::open_with(world, &rows).await;
    stage.say("mod", "hello");
    let moderator = stage.sim.user("mod");
    stage.database.wait_for_messages(moderator, 1).await;
    stage.bot.terminate().await;
    let human = |user: &u64| {
        let account = stage.sim.account(*user).expect("an account");
        account["bot"] != true
    };
    let crowd = crowd.into_iter().filter(human).take(count).collect();
    (stage, crowd)
}

fn write(stage: &Stage, who: u64, channel: &str) {
    let channel = stage.sim.channel(channel);
    stage
        .sim
        .post(Message::new(channel, who, "hello").quietly());
}

fn said_in(stage: &Stage, channel: &str) -> Vec<Value> {
    stage.sim.bot_messages(stage.sim.channel(channel))
}

fn content(message: &Value) -> &str {
    message["content"].as_str().expect("a text")
}

fn pings_nobody(stage: &Stage, message: &Value) -> bool {
    let pings = stage.sim.pings(id_of(message));
    pings.users.is_empty() && pings.roles.is_empty() && !pings.everyone
}

/// The lines that these members are due, in this order.
fn lines(stage: &Stage, crowd: &[u64]) -> Vec<String> {
    let line = |user: &u64| {
        let name = stage.sim.display_name(*user).expect("a name");
        format!("{} reached **level 1**!", escape(&name))
    };
    crowd.iter().map(line).collect()
}

async fn all_is_told(stage: &Stage) {
    wait("all to be told", async || {
        let counted = "select count(*) from user_point where points between 1 and 99";
        let left = "select count(*) from outbox";
        let counted = stage.database.number(counted).await < 500;
        (counted && stage.database.number(left).await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn levels_reached_long_ago_are_one_message_in_each_channel_that_pings_nobody() {
    let (mut stage, crowd) = away(33).await;
    let (general, random) = crowd.split_at(30);
    for who in general {
        write(&stage, *who, "general");
    }
    for who in random {
        write(&stage, *who, "random");
    }
    stage.sim.advance(Duration::from_hours(20));
    let alice = stage.sim.user("alice");
    write(&stage, alice, "general");
    stage.start_again().await;
    all_is_told(&stage).await;

    let (late, fresh): (Vec<_>, Vec<_>) = said_in(&stage, "general")
        .into_iter()
        .partition(|message| content(message).starts_with(HEADING));
    let (late, fresh) = match (late.as_slice(), fresh.as_slice()) {
        ([late], [fresh]) => (late, fresh),
        other => panic!("{other:?}"),
    };
    let told: Vec<&str> = content(late).lines().skip(1).collect();
    assert_eq!(told, lines(&stage, general));
    assert!(pings_nobody(&stage, late));
    assert_eq!(content(fresh), format!("<@{alice}> reached **level 1**!"));
    assert_eq!(stage.sim.pings(id_of(fresh)).users, [alice]);

    let late = said_in(&stage, "random");
    assert_eq!(late.len(), 1, "{late:?}");
    let told: Vec<&str> = content(&late[0]).lines().skip(1).collect();
    assert_eq!(told, lines(&stage, random));
}

#[tokio::test]
async fn more_late_levels_than_a_message_holds_are_told_in_several() {
    let (mut stage, crowd) = away(150).await;
    for who in &crowd {
        write(&stage, *who, "general");
    }
    stage.sim.advance(Duration::from_hours(2));
    stage.start_again().await;
    all_is_told(&stage).await;
    let late = said_in(&stage, "general");
    assert!((2..=6).contains(&late.len()), "{}", late.len());
    let told = late.iter().flat_map(|message| {
        let text = content(message);
        assert!(text.chars().count() <= 2_000 && text.starts_with(HEADING));
        assert!(pings_nobody(&stage, message));
        text.lines().skip(1)
    });
    let told: Vec<&str> = told.collect();
    assert_eq!(told, lines(&stage, &crowd));
}

#[tokio::test]
async fn a_crash_after_late_levels_were_told_repeats_none_and_loses_none() {
    let (mut stage, crowd) = away(10).await;
    for who in &crowd {
        write(&stage, *who, "general");
    }
    stage.sim.advance(Duration::from_hours(2));
    // What the bot posts is there, and it does not hear of it.
    stage.sim.faults().next(
        1_000,
        Method::POST,
        "/channels/{}/messages",
        Fault::StatusAfter(500),
    );
    stage.start_again().await;
    let general = stage.sim.channel("general");
    let posted = || stage.sim.bot_messages(general).into_iter().next();
    stage.sim.wait("late lines", posted).await;
    stage.bot.kill().await;
    stage.sim.faults().clear();
    // Another one that comes before them, of a member.
    let alice = stage.sim.user("alice");
    let another = "insert into outbox (message_id, user_id, channel_id, level)
                   select min(message_id) - 1, $1, min(channel_id), 1 from outbox";
    sqlx::query(another)
        .bind(i64::try_from(alice).unwrap())
        .execute(&mut stage.database.session().await)
        .await
        .unwrap();
    stage.start_again().await;
    all_is_told(&stage).await;
    let late = said_in(&stage, "general");
    let told: Vec<Vec<&str>> = late
        .iter()
        .map(|message| content(message).lines().skip(1).collect())
        .collect();
    let expected = lines(&stage, &crowd);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], expected);
    assert_eq!(told[1], lines(&stage, &[alice]));
}
