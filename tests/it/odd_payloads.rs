//! What is new in users, members and messages makes no command vanish; and what no human
//! typed runs none.

use discord_sim::{Message, World};
use serde_json::{Value, json};

use crate::support::{Stage, TestDatabase, person, said};

/// More users than a page of the board has, with alice and bob among them; from now on users
/// look as no client knows them.
async fn stage() -> Stage {
    let world = World::new();
    let database = TestDatabase::migrated().await;
    database.make_up_users(24).await;
    for name in ["alice", "bob"] {
        database.insert_user(person(&world, name), 500, 50).await;
    }
    let stage = Stage::open_on(world, database).await;
    let Value::Object(fields) = json!({ "public_flags": 1_u64 << 40, "primary_guild": "new" })
    else {
        unreachable!("an object");
    };
    stage.sim.settings(|settings| settings.user_fields = fields);
    stage
}

#[tokio::test]
async fn commands_and_buttons_work_whatever_is_new_in_users() {
    let stage = stage().await;
    let (bob, general) = (stage.sim.user("bob"), stage.sim.channel("general"));
    let alone = stage.ask("alice", ".rank").await;
    assert!(alone.contains("alice"), "{alone}");
    let about = stage.ask("alice", &format!(".rank <@{bob}>")).await;
    assert!(about.contains("bob"), "{about}");
    let by_id = stage.ask("alice", &format!(".rank {bob}")).await;
    assert!(by_id.contains("bob"), "{by_id}");
    let first = stage.say("bob", "hello");
    let alice = stage.sim.user("alice");
    let quoting = Message::new(general, alice, ".rank").reply_to(first);
    stage.sim.reply_to(stage.sim.post(quoting)).await;
    // A moderator's rights come from the member, which is rebuilt too.
    let answer = stage
        .ask("mod", &format!(".give_xp <@{bob}> 7 for a test"))
        .await;
    assert!(answer.starts_with("bob now has"), "{answer}");
    let options = json!([{ "name": "user", "value": bob.to_string() }]);
    let answer = stage.slash("alice", "rank", options).await;
    assert!(answer.contains("bob"), "{answer}");
    let page = stage.reply("alice", ".ranks").await;
    let second = stage.press("alice", &page, "⏩").await;
    assert_ne!(said(&page), said(&second));
    stage.bot.logged("field=author.primary_guild").await;
    assert!(!stage.bot.log().contains("1099511627776"), "the value");
}

#[tokio::test]
async fn what_commands_need_and_cannot_be_read_is_named_in_the_log() {
    let stage = stage().await;
    let (alice, general) = (stage.sim.user("alice"), stage.sim.channel("general"));
    let content = json!({ "new": "secret words" });
    let message = Message::new(general, alice, "").set("content", content);
    stage.sim.post(message);
    let interaction =
        json!({ "type": 2, "token": 5, "id": "7", "application_id": "8", "channel_id": "9" });
    let gateway = stage.sim.gateway();
    gateway.raw_dispatch("INTERACTION_CREATE", interaction);
    stage.bot.logged("gets no answer field=token").await;
    gateway.raw_dispatch("MESSAGE_CREATE", json!({ "id": "secret words" }));
    stage.bot.logged("it earns nothing field=id").await;
    assert!(!stage.bot.log().contains("secret words"));
}

#[tokio::test]
async fn only_what_a_human_typed_runs_commands() {
    let stage = Stage::open().await;
    let sim = &stage.sim;
    let (alice, general) = (sim.user("alice"), sim.channel("general"));
    let first = sim.say(alice, general, "hello");
    let posted = |message| sim.post(message);
    let rank = |author| Message::new(general, author, ".rank");
    let hook = 99_999_999_999_999_999;
    let like_a_human = json!({
        "id": hook.to_string(), "username": "alice", "discriminator": "0000", "global_name": null,
        "avatar": null,
    });
    let mut silent = vec![
        posted(rank(alice).forward_of(first)),
        posted(rank(sim.user("beep"))),
        posted(rank(hook).webhook("hook")),
        posted(rank(hook).webhook("hook").set("author", like_a_human)),
    ];
    // A boost, a thread, a purchase, a stage, a poll's result, and what comes next.
    for kind in [1, 6, 7, 8, 12, 18, 20, 21, 22, 25, 27, 32, 44, 46, 99] {
        silent.push(posted(rank(alice).kind(kind)));
    }
    sim.reply_to(posted(rank(alice))).await;
    sim.reply_to(posted(rank(alice).reply_to(first))).await;
    for message in silent {
        assert!(
            sim.find_reply(message).is_none(),
            "{:?}",
            sim.message(message)
        );
    }
}

/// serenity knows components up to type 8.
#[tokio::test]
async fn components_of_types_that_no_library_knows_do_no_harm() {
    let world = World::new();
    let database = TestDatabase::migrated().await;
    database.insert_user(person(&world, "alice"), 500, 50).await;
    let mut stage = Stage::open_on(world, database).await;
    let (alice, bob) = (stage.sim.user("alice"), stage.sim.user("bob"));
    let general = stage.sim.channel("general");
    let shown = Message::new(general, stage.sim.user("beep"), "").components_v2("hello");
    let shown = stage.sim.post(shown);
    // A command that answers such a message has it within.
    let asking = Message::new(general, alice, ".rank").reply_to(shown);
    stage.sim.reply_to(stage.sim.post(asking)).await;
    // Someone's own message of such components earns, live and from the history.
    stage
        .sim
        .post(Message::new(general, bob, "").components_v2("hello"));
    stage.database.wait_for_messages(bob, 1).await;
    stage.bot.kill().await;
    stage.rest();
    stage
        .sim
        .post(Message::new(general, bob, "").components_v2("hello again"));
    stage.start_again().await;
    stage.database.wait_for_messages(bob, 2).await;
    assert!(
        !stage.bot.log().contains("could not be read"),
        "{}",
        stage.bot.log()
    );
}
