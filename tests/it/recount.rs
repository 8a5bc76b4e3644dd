//! `.recount` and `/recount`: where XP comes from, for whom, and what is said instead.

use discord_sim::World;
use fault_lab::Position;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::support::{Stage, TestDatabase, command, is_private, person, said, wait};

fn user(id: u64) -> Value {
    json!([{ "name": "user", "type": 6, "value": id.to_string() }])
}

/// What the slash command answers, unless only the caller sees it.
async fn recount(stage: &Stage, who: &str, options: Value) -> String {
    stage.regain_a_command();
    let general = stage.sim.channel("general");
    let asked = stage
        .sim
        .slash(stage.sim.user(who), general, "recount", &options);
    let answer = stage.sim.answer_to(asked).await;
    assert!(!is_private(&answer), "{answer}");
    said(&answer)
}

#[tokio::test]
async fn messages_and_changes_add_up_to_the_points_in_text_and_slash() {
    let stage = Stage::open().await;
    let alice = stage.sim.user("alice");
    stage.say("alice", "hello");
    let earned = stage.database.wait_for_messages(alice, 1).await;
    let messages = format!("Where alice's XP comes from\nMessages: +{earned} XP (1 message)");
    let none_else = format!("{messages}\nTotal XP: {earned}");
    // The command as text is a message too, but in the cooldown.
    assert_eq!(stage.ask("alice", ".recount").await, none_else);
    for (who, text) in [
        ("alice", format!(".recount <@{alice}>")),
        ("mod", format!(".recount <@!{alice}>")),
        ("boss", format!(".RECOUNT   {alice} ")),
    ] {
        assert_eq!(stage.ask(who, &text).await, none_else, "{text}");
    }
    for (who, options) in [
        ("alice", json!([])),
        ("alice", user(alice)),
        ("mod", user(alice)),
    ] {
        assert_eq!(recount(&stage, who, options).await, none_else);
    }

    let give = format!(".give_xp <@{alice}> 12000 a prize");
    stage.ask("mod", &give).await;
    let given = format!("12,{earned:03}");
    assert_eq!(
        recount(&stage, "alice", json!([])).await,
        format!("{messages}\nChanges by moderators: +12,000 XP (1 change)\nTotal XP: {given}")
    );
    // More is taken than there is.
    stage
        .ask("mod", &format!(".give_xp <@{alice}> -1000000 a mistake"))
        .await;
    assert_eq!(
        recount(&stage, "alice", json!([])).await,
        format!("{messages}\nChanges by moderators: -{earned} XP (2 changes)\nTotal XP: 0")
    );
}

#[tokio::test]
async fn the_message_that_asks_is_counted_first() {
    let stage = Stage::open().await;
    let said = stage.ask("alice", ".recount").await;
    assert!(said.contains("(1 message)\nTotal XP: "), "{said}");
}

#[tokio::test]
async fn multipliers_have_a_line_of_their_own_with_its_sign() {
    for (rule, sign) in [
        (
            "insert into xp_rule (request_id, moderator_id, subject, subject_id, kind, is_set, percent, after_id)
             values (1, 1, 'everyone', 0, 'multiplier', true, 300, 0)",
            1,
        ),
        (
            "insert into xp_rule (request_id, moderator_id, subject, subject_id, kind, is_set, percent, after_id)
             values (1, 1, 'everyone', 0, 'multiplier', true, 10, 0)",
            -1,
        ),
    ] {
        let world = World::new();
        let alice = person(&world, "alice");
        let database = TestDatabase::migrated().await;
        database.execute(rule).await;
        let stage = Stage::open_on(world, database).await;
        stage.say("alice", "hello");
        stage.rest();
        stage.say("alice", "hello again");
        let points = stage.database.wait_for_messages(alice, 2).await;
        let by_rules = stage.database.number("select sum(by_rules)::bigint from xp_day").await;
        let usual = points - by_rules;
        assert!((30..=50).contains(&usual) && by_rules.signum() == sign);
        assert_eq!(
            recount(&stage, "alice", json!([])).await,
            format!(
                "Where alice's XP comes from\nMessages: +{usual} XP (2 messages)\n\
                 Multipliers: {by_rules:+} XP\nTotal XP: {points}"
            )
        );
    }
}

#[tokio::test]
async fn what_was_imported_is_told_from_what_the_bot_counted() {
    let world = World::new();
    let alice = person(&world, "alice");
    let database = TestDatabase::migrated().await;
    let dump = json!([{ "model": "wall_e_models.userpoint", "pk": alice, "fields": {
        "user_id": alice, "name": "alice", "points": 12_400, "message_count": 1_620,
        "latest_time_xp_was_earned_epoch": 1_600_000_000,
    }}]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), dump.to_string()).unwrap();
    let mut import = command();
    import.args(["import", "django"]).arg(file.path());
    let imported = import.env("DATABASE_URL", database.url()).output().await;
    assert!(imported.expect("the binary runs").status.success());

    let stage = Stage::open_on(world, database).await;
    assert_eq!(
        recount(&stage, "alice", json!([])).await,
        "Where alice's XP comes from\nMessages: +0 XP\n\
         Imports and corrections: +12,400 XP (1,620 messages)\nTotal XP: 12,400"
    );
    stage.say("alice", "hello");
    let points = stage.database.wait_for_messages(alice, 1_621).await;
    let give = format!(".give_xp <@{alice}> -400 moved");
    stage.ask("mod", &give).await;
    assert_eq!(
        recount(&stage, "alice", json!([])).await,
        format!(
            "Where alice's XP comes from\nMessages: +{} XP (1 message)\n\
             Changes by moderators: -400 XP (1 change)\n\
             Imports and corrections: +12,400 XP (1,620 messages)\nTotal XP: 12,0{:02}",
            points - 12_400,
            points - 12_400
        )
    );
}

#[tokio::test]
async fn others_are_for_moderators() {
    let world = World::new().person("mere_moderator", &["Moderator"]);
    let (alice, bob) = (person(&world, "alice"), person(&world, "bob"));
    let stage = Stage::open_with(world, &[(alice, 300, 5)]).await;
    let only = "Only Minions and Moderator can recount someone else's XP.";
    let text = format!(".recount <@{alice}>");
    assert_eq!(stage.ask("bob", &text).await, only);
    let general = stage.sim.channel("general");
    stage.regain_a_command();
    let asked = stage.sim.slash(bob, general, "recount", &user(alice));
    let refused = stage.sim.answer_to(asked).await;
    assert_eq!(said(&refused), only);
    assert!(is_private(&refused));
    stage
        .bot
        .logged("someone without the right tried to recount another's XP")
        .await;
    for who in ["mod", "mere_moderator", "boss"] {
        let told = stage.ask(who, &text).await;
        assert!(told.ends_with("\nTotal XP: 300"), "{who}: {told}");
    }
    // Rights follow the roles at once.
    stage.sim.grant(bob, stage.sim.role("Moderator"));
    let told = recount(&stage, "bob", user(alice)).await;
    assert!(told.ends_with("\nTotal XP: 300"), "{told}");
}

#[tokio::test]
async fn who_hides_is_recounted_privately() {
    let world = World::new();
    let (alice, bob) = (person(&world, "alice"), person(&world, "bob"));
    let stage = Stage::open_with(world, &[(alice, 300, 5)]).await;
    stage.ask("alice", ".hide_xp").await;
    let text = format!(".recount <@{alice}>");
    assert_eq!(
        stage.ask("mod", &text).await,
        "alice keeps their XP hidden. Type `/recount` to see it privately."
    );
    // Whoever has no right is told nothing of her.
    let only = "Only Minions and Moderator can recount someone else's XP.";
    assert_eq!(stage.ask("bob", &text).await, only);
    let general = stage.sim.channel("general");
    for (who, options) in [
        (stage.sim.user("mod"), user(alice)),
        (alice, json!([])),
        (alice, user(alice)),
    ] {
        stage.regain_a_command();
        let asked = stage.sim.slash(who, general, "recount", &options);
        let answer = stage.sim.answer_to(asked).await;
        assert!(is_private(&answer), "{answer}");
        assert!(said(&answer).starts_with("Where alice's XP comes from"));
    }
    // As with her card: she asks in the channel herself.
    let own = stage.ask("alice", ".recount").await;
    assert!(own.starts_with("Where alice's XP comes from"), "{own}");
    stage.ask("alice", ".show_xp").await;
    assert!(stage.ask("mod", &text).await.starts_with("Where alice's"));
    // Someone who hides before they have earned anything.
    stage.sim.slash(bob, general, "hide_xp", &json!([]));
    wait("bob to be hidden", async || {
        let hidden = "select count(*) from user_point where hidden";
        (stage.database.number(hidden).await == 1).then_some(())
    })
    .await;
    assert_eq!(
        stage.ask("mod", &format!(".recount <@{bob}>")).await,
        "bob keeps their XP hidden. Type `/recount` to see it privately."
    );
}

#[tokio::test]
async fn mistakes_bots_strangers_and_the_silent_are_answered() {
    let stage = Stage::open().await;
    let usage = "Usage: `.recount [@user]`, for example `.recount`.";
    for typed in ["banana", "@everyone", "<@1> <@2>", "99999999999999999999"] {
        let text = format!(".recount {typed}");
        assert_eq!(stage.ask("mod", &text).await, usage, "{typed}");
    }
    let (beep, bob) = (stage.sim.user("beep"), stage.sim.user("bob"));
    for (id, answer) in [
        (beep, "beep has no XP yet. Bots do not earn any."),
        (bob, "bob has no XP yet."),
        (
            400_000_000_000_000_042,
            "There is no user with the id 400000000000000042.",
        ),
    ] {
        let text = format!(".recount {id}");
        assert_eq!(stage.ask("mod", &text).await, answer);
    }
    let general = stage.sim.channel("general");
    stage.regain_a_command();
    let asked = stage.sim.slash(bob, general, "recount", &json!([]));
    let answer = stage.sim.answer_to(asked).await;
    assert_eq!(said(&answer), "bob has no XP yet.");
    assert!(is_private(&answer));

    stage.sim.nick(bob, Some("**b** <@1> @everyone"));
    let text = format!(".recount <@{bob}>");
    let name = "\\*\\*b\\*\\* \\<@\u{200b}1> @\u{200b}everyone";
    assert_eq!(
        stage.ask("mod", &text).await,
        format!("{name} has no XP yet.")
    );
    stage.ask("mod", &format!(".give_xp <@{bob}> 5 x")).await;
    assert_eq!(
        stage.ask("mod", &text).await,
        format!(
            "Where {name}'s XP comes from\nMessages: +0 XP\n\
             Changes by moderators: +5 XP (1 change)\nTotal XP: 5"
        )
    );
}

#[tokio::test]
async fn what_is_committed_meanwhile_does_not_break_the_sum() {
    let world = World::new();
    let alice = person(&world, "alice");
    let stage = Stage::open_with(world, &[(alice, 300, 5)]).await;
    let mut session = stage.database.session().await;
    let mut writer = session.begin().await.expect("a transaction");
    // Whatever reads the days has to wait, and what it reads before them does not.
    sqlx::raw_sql("lock table xp_day in access exclusive mode")
        .execute(&mut *writer)
        .await
        .expect("the table is locked");
    let general = stage.sim.channel("general");
    let asked = stage.sim.slash(alice, general, "recount", &json!([]));
    wait("the command to read the days", async || {
        let waiting = "select count(*) from pg_locks
                       where not granted and relation = 'xp_day'::regclass";
        (stage.database.number(waiting).await > 0).then_some(())
    })
    .await;
    sqlx::query(
        "insert into xp_day (user_id, day, points, messages) values ($1, '2026-01-01', 40, 2)",
    )
    .bind(i64::try_from(alice).unwrap())
    .execute(&mut *writer)
    .await
    .expect("the day is written");
    sqlx::raw_sql("update user_point set points = 340, message_count = 7")
        .execute(&mut *writer)
        .await
        .expect("the points are written");
    writer.commit().await.expect("and committed");
    assert_eq!(
        said(&stage.sim.answer_to(asked).await),
        "Where alice's XP comes from\nMessages: +40 XP (2 messages)\n\
         Imports and corrections: +300 XP (5 messages)\nTotal XP: 340"
    );
}

#[tokio::test]
async fn an_absent_database_is_said() {
    let (stage, gate) = Stage::open_gated().await;
    stage.say("alice", "hello");
    let alice = stage.sim.user("alice");
    stage.database.wait_for_messages(alice, 1).await;
    gate.set(Position::Shut);
    let away = "The database is unavailable. Please try again shortly.";
    assert_eq!(stage.slash("alice", "recount", json!([])).await, away);
    gate.set(Position::Open);
    let told = stage.slash("alice", "recount", json!([])).await;
    assert!(told.starts_with("Where alice's XP comes from"), "{told}");
}
