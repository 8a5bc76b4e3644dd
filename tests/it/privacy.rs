//! `.hide_xp` and `.show_xp`: one's own XP, and that of others for those who may.

use fault_lab::Position;
use serde_json::{Value, json};

use crate::support::{Stage, TestDatabase, is_private, person, said};
use discord_sim::World;

const HIDDEN: &str = "Your XP is now hidden. Your level roles stay visible to everyone.";
const VISIBLE: &str = "Your XP is now visible.";

fn user(id: u64) -> Value {
    json!([{ "name": "user", "type": 6, "value": id.to_string() }])
}

async fn is_hidden(stage: &Stage, user: u64) -> Option<bool> {
    sqlx::query_scalar("select hidden from user_point where user_id = $1")
        .bind(i64::try_from(user).unwrap())
        .fetch_optional(&mut stage.database.session().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn one_hides_and_shows_oneself() {
    let mut stage = Stage::open().await;
    let alice = stage.sim.user("alice");
    for (text, answer) in [
        (".show_xp", "Your XP is already visible."),
        (".hide_xp", HIDDEN),
        (".hide_xp", "Your XP is already hidden."),
        (
            &format!(".hide_xp <@{alice}>"),
            "Your XP is already hidden.",
        ),
    ] {
        assert_eq!(stage.ask("alice", text).await, answer, "{text}");
    }
    let asking = format!(".rank <@{alice}>");
    assert_eq!(
        stage.ask("bob", &asking).await,
        "alice keeps their XP hidden."
    );
    assert!(
        !stage
            .ask("bob", ".ranks")
            .await
            .contains(&alice.to_string())
    );
    assert!(
        stage.ask("alice", ".rank").await.contains("Rank #"),
        "her own card"
    );
    // It is not forgotten.
    stage.restart().await;
    assert_eq!(is_hidden(&stage, alice).await, Some(true));
    assert_eq!(
        stage.ask("bob", &asking).await,
        "alice keeps their XP hidden."
    );
    assert_eq!(stage.ask("alice", ".show_xp").await, VISIBLE);
    assert!(
        stage
            .ask("bob", &asking)
            .await
            .starts_with("alice's Stat Card")
    );
}

#[tokio::test]
async fn the_same_by_slash_is_seen_by_nobody_else() {
    let stage = Stage::open().await;
    let (alice, general) = (stage.sim.user("alice"), stage.sim.channel("general"));
    for (command, answer) in [
        ("hide_xp", HIDDEN),
        ("hide_xp", "Your XP is already hidden."),
        ("show_xp", VISIBLE),
        ("show_xp", "Your XP is already visible."),
    ] {
        for options in [json!([]), user(alice)] {
            if options != json!([]) && !answer.contains("already") {
                continue;
            }
            stage.regain_a_command();
            let asked = stage.sim.slash(alice, general, command, &options);
            let told = stage.sim.answer_to(asked).await;
            assert_eq!(said(&told), answer);
            assert!(is_private(&told));
        }
    }
}

#[tokio::test]
async fn others_are_hidden_and_shown_by_those_who_may() {
    let world = World::new().person("mere_moderator", &["Moderator"]);
    let database = TestDatabase::migrated().await;
    database.insert_user(person(&world, "alice"), 300, 5).await;
    let stage = Stage::open_on(world, database).await;
    let (alice, bob) = (stage.sim.user("alice"), stage.sim.user("bob"));
    for who in ["bob", "mere_moderator"] {
        for (verb, command) in [("hide", "hide_xp"), ("show", "show_xp")] {
            let answer = format!("Only Minions can {verb} someone else's XP.");
            let text = format!(".{command} <@{alice}>");
            assert_eq!(stage.ask(who, &text).await, answer);
            assert_eq!(stage.slash(who, command, user(alice)).await, answer);
        }
    }
    stage.bot.logged("tried to change another's privacy").await;
    assert_eq!(is_hidden(&stage, alice).await, Some(false));
    let theirs = "alice's XP is now hidden. Their level roles stay visible to everyone.";
    // Minions, the owner of the guild, and nobody twice.
    for (who, command, answer) in [
        ("mod", "hide_xp", theirs),
        ("boss", "hide_xp", "alice's XP is already hidden."),
        ("boss", "show_xp", "alice's XP is now visible."),
        ("mod", "show_xp", "alice's XP is already visible."),
    ] {
        assert_eq!(stage.slash(who, command, user(alice)).await, answer);
    }
    assert_eq!(stage.ask("mod", &format!(".hide_xp {alice}")).await, theirs);
    stage.sim.nick(bob, Some("**b** <@1>"));
    assert_eq!(
        stage.ask("mod", &format!(".hide_xp <@{bob}>")).await,
        "\\*\\*b\\*\\* \\<@\u{200b}1>'s XP is now hidden. Their level roles stay visible to everyone."
    );
}

#[tokio::test]
async fn who_is_not_tracked_yet_is_remembered_as_hidden() {
    let mut stage = Stage::open().await;
    let (carol, general) = (stage.sim.user("carol"), stage.sim.channel("general"));
    // A slash command earns nothing.
    let asked = stage.sim.slash(carol, general, "hide_xp", &json!([]));
    assert_eq!(said(&stage.sim.answer_to(asked).await), HIDDEN);
    assert_eq!(is_hidden(&stage, carol).await, Some(true));
    assert_eq!(stage.database.standing(carol).await, Some((0, 0)));
    assert_eq!(stage.ask("carol", ".show_xp").await, VISIBLE);
    assert_eq!(stage.ask("carol", ".hide_xp").await, HIDDEN);
    stage.restart().await;
    let asking = format!(".rank <@{carol}>");
    assert_eq!(
        stage.ask("bob", &asking).await,
        "carol keeps their XP hidden."
    );
    assert!(
        !stage
            .ask("bob", ".ranks")
            .await
            .contains(&carol.to_string())
    );
}

#[tokio::test]
async fn what_is_no_user_or_a_bot_is_answered() {
    let stage = Stage::open().await;
    for command in ["hide_xp", "show_xp"] {
        let usage = format!("Usage: `.{command} [@user]`, for example `.{command}`.");
        for typed in ["banana", "@everyone", "<@1> <@2>", "99999999999999999999"] {
            let text = format!(".{command} {typed}");
            assert_eq!(stage.ask("mod", &text).await, usage, "{typed}");
        }
        let beep = stage.sim.user("beep");
        let text = format!(".{command} <@{beep}>");
        assert_eq!(stage.ask("mod", &text).await, "Bots do not earn any XP.");
    }
}

#[tokio::test]
async fn an_absent_database_hides_nobody_behind_their_back() {
    let (stage, gate) = Stage::open_gated().await;
    let (alice, general) = (stage.sim.user("alice"), stage.sim.channel("general"));
    stage.say("alice", "hello");
    stage.database.wait_for_messages(alice, 1).await;
    gate.set(Position::Shut);
    let away = "The database is unavailable. Please try again shortly.";
    assert_eq!(stage.ask("alice", ".hide_xp").await, away);
    let asked = stage.sim.slash(alice, general, "hide_xp", &json!([]));
    assert_eq!(said(&stage.sim.answer_to(asked).await), away);
    assert!(
        stage
            .ask("bob", &format!(".rank <@{alice}>"))
            .await
            .starts_with("alice's")
    );
    gate.set(Position::Open);
    stage.rest();
    stage.say("bob", "hello");
    stage
        .database
        .wait_for_messages(stage.sim.user("bob"), 2)
        .await;
    assert_eq!(
        is_hidden(&stage, alice).await,
        Some(false),
        "it was withdrawn"
    );
    assert_eq!(stage.ask("alice", ".hide_xp").await, HIDDEN);
}
