//! `.rank` and `/rank`: the card, for whom, and what is said instead.

use std::time::Duration;

use discord_sim::{Fault, Method, Scope, World};
use serde_json::json;

use crate::support::{Stage, person, said};

#[tokio::test]
async fn a_first_message_is_on_the_card_at_once() {
    let stage = Stage::open().await;
    stage.say("alice", "hello");
    let card = stage.ask("alice", ".rank").await;
    let points = stage
        .database
        .standing(stage.sim.user("alice"))
        .await
        .unwrap()
        .0;
    assert_eq!(
        card,
        format!(
            "alice's Stat Card\n{points} / 100 XP\nTotal XP: {points}\nTotal Messages: 1\nRank #1\nLevel #0"
        )
    );
}

#[tokio::test]
async fn where_the_bot_may_neither_refer_nor_embed_it_answers_plainly() {
    const EMBED_LINKS: u64 = 1 << 14;
    const READ_MESSAGE_HISTORY: u64 = 1 << 16;
    let stage = Stage::open().await;
    let general = stage.sim.channel("general");
    let denied = EMBED_LINKS | READ_MESSAGE_HISTORY;
    stage.sim.bot_permissions(general, 0, denied);
    stage.say("alice", ".rank");
    let answered = || stage.sim.bot_messages(general).into_iter().next();
    let answer = said(&stage.sim.wait("an answer", answered).await);
    assert!(answer.starts_with("**alice's Stat Card**\n"), "{answer}");
    assert!(answer.contains("Total Messages: 1"), "{answer}");
}

#[tokio::test]
async fn the_command_itself_is_a_message_that_earns() {
    let stage = Stage::open().await;
    let card = stage.ask("alice", ".rank").await;
    assert!(card.contains("Total Messages: 1"), "{card}");
}

#[tokio::test]
async fn text_and_slash_say_the_same_of_everyone() {
    let world = World::new();
    let (alice, bob) = (person(&world, "alice"), person(&world, "bob"));
    // 475 points are exactly level 3; the top has no next level.
    let stage = Stage::open_with(world, &[(alice, 475, 20), (bob, 2_000_000, 90_000)]).await;
    let bob_card = "bob's Stat Card\n100,750 XP\nTotal XP: 2,000,000\nTotal Messages: 90,000\nRank #1\nLevel #100";
    let alice_card =
        "alice's Stat Card\n0 / 295 XP\nTotal XP: 475\nTotal Messages: 20\nRank #2\nLevel #3";
    for text in [
        format!(".rank <@{bob}>"),
        format!(".rank <@!{bob}>"),
        format!(".rank {bob}"),
        format!(".RANK   {bob} "),
    ] {
        assert_eq!(stage.ask("mod", &text).await, bob_card, "{text}");
    }
    let options = json!([{ "name": "user", "type": 6, "value": alice.to_string() }]);
    assert_eq!(stage.slash("mod", "rank", options).await, alice_card);
    assert_eq!(stage.slash("alice", "rank", json!([])).await, alice_card);
}

#[tokio::test]
async fn who_hides_is_seen_by_nobody_else_and_takes_no_rank() {
    let world = World::new();
    let (alice, bob, carol) = (
        person(&world, "alice"),
        person(&world, "bob"),
        person(&world, "carol"),
    );
    let database = crate::support::TestDatabase::migrated().await;
    for (user, points) in [(alice, 300), (bob, 200), (carol, 100)] {
        database.insert_user(user, points, 10).await;
    }
    database
        .execute("update user_point set hidden = true where points = 200")
        .await;
    database
        .execute("update user_point set last_awarded_at = now() + interval '1 day'")
        .await;
    let sim = discord_sim::Sim::start(world).await.unwrap();
    let bot = crate::support::Bot::start(&sim, &database.url()).await;
    let stage = Stage { bot, database, sim };
    assert_eq!(
        stage.ask("alice", &format!(".rank <@{bob}>")).await,
        "bob keeps their XP hidden."
    );
    assert!(
        stage.ask("bob", ".rank").await.contains("Rank #2"),
        "the rank that they would have"
    );
    assert!(
        stage.ask("carol", ".rank").await.contains("Rank #2"),
        "no gap in the numbering"
    );
    let general = stage.sim.channel("general");
    let private = stage.sim.slash(bob, general, "rank", &json!([]));
    let answer = stage.sim.answer_to(private).await;
    assert_eq!(
        answer["flags"].as_u64().unwrap_or(0) & 64,
        64,
        "a hidden card is shown to its owner only: {answer}"
    );
}

#[tokio::test]
async fn those_who_left_and_those_who_never_spoke_have_a_name() {
    let world = World::new().members(10);
    let (alice, bob) = (person(&world, "alice"), person(&world, "bob"));
    let stage = Stage::open_with(world, &[(alice, 475, 20)]).await;
    stage.say("alice", "hello");
    stage.database.wait_for_messages(alice, 21).await;
    // What is stored is asked before Discord is, which might not know the account any more.
    stage
        .database
        .execute("update user_point set nickname = 'alice_as_stored'")
        .await;
    stage.sim.leave(alice);
    let card = stage.ask("bob", &format!(".rank {alice}")).await;
    assert!(card.starts_with(r"alice\_as\_stored's Stat Card"), "{card}");
    let carol = stage.sim.user("carol");
    assert_eq!(
        stage.ask("bob", &format!(".rank <@{carol}>")).await,
        "carol has no XP yet."
    );
    let beep = stage.sim.user("beep");
    assert_eq!(
        stage.ask("bob", &format!(".rank <@{beep}>")).await,
        "beep has no XP yet. Bots do not earn any."
    );
    let nobody = 100_000_000_000_000_001_u64;
    assert_eq!(
        stage.ask("bob", &format!(".rank {nobody}")).await,
        format!("There is no user with the id {nobody}.")
    );
    assert!(
        stage
            .ask("bob", &format!(".rank {bob}"))
            .await
            .starts_with("bob's Stat Card")
    );
}

#[tokio::test]
async fn a_name_is_only_text() {
    let stage = Stage::open().await;
    stage.sim.nick(
        stage.sim.user("alice"),
        Some("**@everyone** <@1> \u{202e}evil"),
    );
    let asked = stage.say("alice", ".rank");
    let reply = stage.sim.reply_to(asked).await;
    assert!(
        said(&reply).starts_with("\\*\\*@\u{200b}everyone\\*\\* \\<@\u{200b}1> evil's Stat Card"),
        "{}",
        said(&reply)
    );
    let id = reply["id"].as_str().unwrap().parse().unwrap();
    let pings = stage.sim.pings(id);
    assert!(
        pings.users.is_empty() && pings.roles.is_empty() && !pings.everyone,
        "{pings:?}"
    );
}

#[tokio::test]
async fn what_is_no_user_is_answered_with_the_usage() {
    let stage = Stage::open().await;
    let usage = "Usage: `.rank [@user]`, for example `.rank @alice`.";
    let role = stage.sim.role("Minions");
    let channel = stage.sim.channel("general");
    let bob = stage.sim.user("bob");
    for wrong in [
        "banana".to_owned(),
        "@everyone".to_owned(),
        format!("<@&{role}>"),
        format!("<#{channel}>"),
        format!("<@{bob}> now"),
        "0".to_owned(),
        "-1".to_owned(),
        "99999999999999999999".to_owned(),
        "18446744073709551616".to_owned(),
        "x".repeat(3_990),
    ] {
        assert_eq!(
            stage.ask("alice", &format!(".rank {wrong}")).await,
            usage,
            "{wrong:.40}"
        );
    }
    assert!(
        stage
            .ask("alice", ".rank \u{200b}\u{200d}")
            .await
            .starts_with("alice's Stat Card"),
        "nothing but unseen characters"
    );
}

#[tokio::test]
async fn a_name_that_is_no_command_is_left_to_other_bots() {
    let stage = Stage::open().await;
    for quiet in [
        ".rnak @bob",
        ".\u{200b}rank",
        ".play rnak",
        ".",
        "..",
        "rank",
        "!rank",
    ] {
        stage.say("alice", quiet);
    }
    stage.sim.edit(
        stage.sim.channel("general"),
        stage.say("alice", "hello"),
        ".rank",
    );
    assert!(
        stage
            .ask("alice", ".rank")
            .await
            .starts_with("alice's Stat Card")
    );
    let said = stage.sim.bot_messages(stage.sim.channel("general"));
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(
        !stage.bot.log().contains("rnak"),
        "what is not for us is not logged"
    );
}

#[tokio::test]
async fn a_rate_limit_is_waited_out() {
    let stage = Stage::open().await;
    for (scope, headers) in [
        (Scope::User, true),
        (Scope::Shared, true),
        (Scope::Global, true),
        (Scope::User, false),
    ] {
        let limited = Fault::RateLimited {
            retry_after: Duration::from_millis(300),
            scope,
            headers,
        };
        stage
            .sim
            .faults()
            .next(1, Method::POST, "/channels/{}/messages", limited);
        assert!(
            stage
                .ask("alice", ".rank")
                .await
                .starts_with("alice's Stat Card"),
            "{scope:?}, headers: {headers}"
        );
    }
    assert_eq!(
        stage.sim.bot_messages(stage.sim.channel("general")).len(),
        4
    );
}

#[tokio::test]
async fn an_answer_that_hangs_is_given_up_and_made_again() {
    let stage = Stage::open().await;
    stage
        .sim
        .faults()
        .next(1, Method::POST, "/channels/{}/messages", Fault::Hang);
    assert!(
        stage
            .ask("alice", ".rank")
            .await
            .starts_with("alice's Stat Card")
    );
}

#[tokio::test]
async fn discords_trouble_is_not_the_callers() {
    let stage = Stage::open().await;
    stage
        .sim
        .faults()
        .next(2, Method::POST, "/channels/{}/messages", Fault::Status(502));
    assert!(
        stage
            .ask("alice", ".rank")
            .await
            .starts_with("alice's Stat Card"),
        "a 502 is tried again"
    );
    stage
        .sim
        .faults()
        .next(1, Method::POST, "/channels/{}/messages", Fault::ResetAfter);
    assert!(
        stage
            .ask("bob", ".rank")
            .await
            .starts_with("bob's Stat Card")
    );
    stage.ask("carol", ".help").await;
    assert_eq!(
        stage.sim.bot_messages(stage.sim.channel("general")).len(),
        3,
        "a lost answer is not said twice"
    );
}
