//! Who is banned is on no board while the ban lasts, whatever the bot is doing meanwhile.

use std::time::Duration;

use discord_sim::{Fault, Method, Sim, World, members, permissions};
use fault_lab::Position;
use serde_json::{Value, json};

use crate::support::{Bot, Stage, person, wait};

const LIST: (Method, &str) = (Method::GET, "/guilds/{}/bans");
const BANNED: &str = "select count(*) from banned_user";

/// Alice, Bob and Carol, who have 300, 200 and 100 XP.
async fn open() -> Stage {
    let world = World::new();
    let users = [("alice", 300), ("bob", 200), ("carol", 100)];
    let users = users.map(|(name, points)| (person(&world, name), points, 10));
    Stage::open_with(world, &users).await
}

/// Lets the bot read the list of bans.
fn may_ban(sim: &Sim) {
    let allowed = permissions::BOT | permissions::BAN_MEMBERS;
    sim.role_permissions(sim.role("wall_e"), allowed);
}

/// Everyone on the board, in order. Nobody earns anything by asking: the cooldown stands.
async fn board(stage: &Stage) -> Vec<String> {
    let told = stage.slash("mod", "ranks", json!([])).await;
    let names = ["alice", "bob", "carol"];
    let row = |line: &str| {
        let name = names.iter().find(|name| line.contains(**name))?;
        let rank = line.trim_start_matches('*').split(' ').next()?;
        Some(format!("{rank} {name}"))
    };
    told.lines().filter_map(row).collect()
}

async fn board_is(stage: &Stage, expected: &[&str]) {
    wait(&format!("the board {expected:?}"), async || {
        (board(stage).await == expected).then_some(())
    })
    .await;
}

fn user_option(stage: &Stage, name: &str) -> Value {
    json!([{ "name": "user", "value": stage.sim.user(name).to_string() }])
}

#[tokio::test]
async fn a_ban_takes_a_member_off_the_board_and_its_end_puts_them_back() {
    let stage = open().await;
    let bob = stage.sim.user("bob");
    board_is(&stage, &["1 alice", "2 bob", "3 carol"]).await;
    stage.sim.ban(bob);
    board_is(&stage, &["1 alice", "2 carol"]).await;
    // By text and slash, and what remains: their card, with the place that they would have.
    let text = format!("<@{bob}>");
    let card = stage.ask("carol", &format!(".rank {text}")).await;
    assert!(
        card.contains("Total XP: 200") && card.contains("Rank #2"),
        "{card}"
    );
    let option = user_option(&stage, "bob");
    let card = stage.slash("carol", "rank", option.clone()).await;
    assert!(card.contains("Rank #2"), "{card}");
    let banned = "bob is banned from this server, and on no board as long as the ban lasts.";
    assert_eq!(stage.ask("carol", &format!(".ranks {text}")).await, banned);
    assert_eq!(stage.slash("carol", "ranks", option).await, banned);
    let own = stage.slash("carol", "rank", json!([])).await;
    assert!(own.contains("Rank #2"), "no gap in the numbering: {own}");
    assert_eq!(stage.database.number(BANNED).await, 1);
    let (points, _) = stage.database.standing(bob).await.unwrap();
    assert_eq!(points, 200, "their XP stays");

    stage.sim.unban(bob);
    board_is(&stage, &["1 alice", "2 bob", "3 carol"]).await;
    assert_eq!(stage.database.number(BANNED).await, 0);
}

#[tokio::test]
async fn those_who_merely_left_or_were_kicked_keep_their_place() {
    let stage = open().await;
    stage.sim.leave(stage.sim.user("bob"));
    let carol = stage.slash("carol", "rank", json!([])).await;
    assert!(carol.contains("Rank #3"), "{carol}");
    board_is(&stage, &["1 alice", "2 bob", "3 carol"]).await;
}

#[tokio::test]
async fn the_same_event_twice_and_bans_of_strangers_change_nothing() {
    let stage = open().await;
    let stranger = stage.sim.add_person("stranger");
    let bob = stage.sim.user("bob");
    for user in [stranger, bob, bob] {
        stage.sim.ban(user);
    }
    board_is(&stage, &["1 alice", "2 carol"]).await;
    assert_eq!(stage.database.number(BANNED).await, 2);
    for user in [bob, stranger, bob] {
        stage.sim.unban(user);
    }
    board_is(&stage, &["1 alice", "2 bob", "3 carol"]).await;
    assert_eq!(
        stage
            .database
            .number("select count(*) from user_point")
            .await,
        3
    );
}

#[tokio::test]
async fn a_ban_survives_a_restart_a_kill_and_a_resumed_session() {
    let mut stage = open().await;
    stage.sim.ban(stage.sim.user("bob"));
    board_is(&stage, &["1 alice", "2 carol"]).await;
    stage.restart().await;
    assert_eq!(board(&stage).await, ["1 alice", "2 carol"]);
    stage.bot.kill().await;
    stage.start_again().await;
    assert_eq!(board(&stage).await, ["1 alice", "2 carol"]);
    // The next bot resumes the session: the ban before the end is saved, or sent again, as what
    // happens between the two.
    stage.sim.ban(stage.sim.user("carol"));
    stage.bot.terminate().await;
    stage.sim.unban(stage.sim.user("bob"));
    stage.sim.ban(stage.sim.user("alice"));
    stage.bot = Bot::start(&stage.sim, &stage.database.url()).await;
    board_is(&stage, &["1 bob"]).await;
}

#[tokio::test]
async fn bans_that_were_missed_are_read_from_the_list_page_by_page() {
    let world = World::new().members(1_200);
    let users = [("alice", 300), ("bob", 200), ("carol", 100)];
    let users = users.map(|(name, points)| (person(&world, name), points, 10));
    let mut stage = Stage::open_with(world, &users).await;
    may_ban(&stage.sim);
    stage.sim.ban(stage.sim.user("bob"));
    board_is(&stage, &["1 alice", "2 carol"]).await;
    stage.bot.terminate().await;
    stage.sim.unban(stage.sim.user("bob"));
    stage.sim.ban(stage.sim.user("alice"));
    for number in 0..1_100 {
        stage.sim.ban(members::id_of(number));
    }
    stage.sim.clear_requests();
    stage.start_again().await;
    board_is(&stage, &["1 bob", "2 carol"]).await;
    assert_eq!(stage.database.number(BANNED).await, 1_101);
    let lists = stage.sim.requests_to(&LIST.0, LIST.1);
    assert_eq!(lists.len(), 2, "two pages, once: {lists:?}");
}

#[tokio::test]
async fn without_the_permission_what_is_stored_stays_and_events_count() {
    let mut stage = open().await;
    stage.sim.ban(stage.sim.user("bob"));
    board_is(&stage, &["1 alice", "2 carol"]).await;
    stage.bot.terminate().await;
    stage.sim.clear_requests();
    stage.start_again().await;
    wait("the list to be asked for", async || {
        let asked = stage.sim.requests_to(&LIST.0, LIST.1);
        let refused = asked.iter().any(|call| call.status == Some(403));
        refused.then_some(())
    })
    .await;
    stage
        .bot
        .logged("may not read the guild's list of bans")
        .await;
    assert_eq!(board(&stage).await, ["1 alice", "2 carol"]);
    stage.sim.ban(stage.sim.user("carol"));
    board_is(&stage, &["1 alice"]).await;
    stage.sim.unban(stage.sim.user("bob"));
    board_is(&stage, &["1 alice", "2 bob"]).await;
}

#[tokio::test]
async fn a_list_that_fails_is_read_again() {
    let mut stage = open().await;
    may_ban(&stage.sim);
    stage.bot.terminate().await;
    stage.sim.ban(stage.sim.user("bob"));
    let broken = Fault::Answer(json!([{ "reason": null, "user": { "id": "nobody" } }]));
    stage.sim.faults().next(1, LIST.0, LIST.1, broken);
    stage.start_again().await;
    stage.bot.logged("task=\"ban-list\"").await;
    assert_eq!(board(&stage).await.len(), 3, "nothing is known yet");
    board_is(&stage, &["1 alice", "2 carol"]).await;
}

#[tokio::test]
async fn a_list_undoes_no_event_that_came_after_it_was_requested() {
    let world = World::new().members(1_200);
    let users = [("alice", 300), ("bob", 200), ("carol", 100)];
    let users = users.map(|(name, points)| (person(&world, name), points, 10));
    let mut stage = Stage::open_with(world, &users).await;
    may_ban(&stage.sim);
    stage.bot.terminate().await;
    let [alice, bob] = ["alice", "bob"].map(|name| stage.sim.user(name));
    stage.sim.ban(bob);
    for number in 0..1_100 {
        stage.sim.ban(members::id_of(number));
    }
    // The first page says that Bob is banned and Alice is not. It is some time until the second
    // page comes.
    let faults = stage.sim.faults();
    faults.next(1, LIST.0, LIST.1, Fault::Delay(Duration::ZERO));
    faults.next(1, LIST.0, LIST.1, Fault::Delay(Duration::from_secs(3)));
    stage.sim.clear_requests();
    stage.start_again().await;
    wait("the second page to be asked for", async || {
        let asked = stage.sim.requests_to(&LIST.0, LIST.1);
        (asked.len() == 2 && asked[0].status == Some(200)).then_some(())
    })
    .await;
    stage.sim.unban(bob);
    stage.sim.ban(alice);
    board_is(&stage, &["1 bob", "2 carol"]).await;
    assert_eq!(stage.database.number(BANNED).await, 1, "before the list");
    wait("the list", async || {
        (stage.database.number(BANNED).await == 1_101).then_some(())
    })
    .await;
    assert_eq!(board(&stage).await, ["1 bob", "2 carol"]);
}

#[tokio::test]
async fn a_ban_while_the_database_is_away_counts_when_it_is_back() {
    let (stage, gate) = Stage::open_gated().await;
    for name in ["alice", "bob"] {
        stage.say(name, "hello");
        let user = stage.sim.user(name);
        stage.database.wait_for_messages(user, 1).await;
    }
    wait("both", async || {
        (board(&stage).await.len() == 2).then_some(())
    })
    .await;
    gate.set(Position::Shut);
    stage.sim.ban(stage.sim.user("bob"));
    stage
        .bot
        .logged("bans could not be saved; trying again")
        .await;
    gate.set(Position::Open);
    board_is(&stage, &["1 alice"]).await;
}
