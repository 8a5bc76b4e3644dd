//! `wall_e check`: a log, replayed, is what the database holds, or the difference is shown.

use std::path::Path;
use std::process::Output;

use discord_sim::{Message, Sim, World};
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::support::{Bot, Ledger, Stage, TestDatabase, command, wait};

/// What `wall_e check` prints, with these messages replayed.
pub async fn check(stage: &Stage, log: Option<&[Value]>) -> Output {
    let mut check = command();
    check.arg("check").env("DATABASE_URL", stage.database.url());
    let file = tempfile::NamedTempFile::new().unwrap();
    if let Some(log) = log {
        std::fs::write(file.path(), lines(log)).unwrap();
        check.arg("--replay").arg(file.path());
    }
    check.output().await.expect("the binary runs")
}

/// A log as `--replay` reads it.
fn lines(log: &[Value]) -> String {
    log.iter()
        .flat_map(|message| [message.to_string(), "\n".to_owned()])
        .collect()
}

pub fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn a_replay_agrees_row_by_row_or_shows_what_does_not() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    for _ in 0..3 {
        stage.rest();
        ledger.write(&stage, "alice", "general", true);
        ledger.write(&stage, "bob", "random", true);
        stage.sim.say(
            stage.sim.user("beep"),
            stage.sim.channel("general"),
            "bots do not count",
        );
    }
    ledger.comes_true(&stage).await;
    let log: Vec<Value> = ["general", "random"]
        .into_iter()
        .flat_map(|name| stage.sim.messages(stage.sim.channel(name)))
        .collect();
    let agrees = check(&stage, Some(&log)).await;
    assert!(
        agrees.status.success(),
        "{}",
        String::from_utf8_lossy(&agrees.stderr)
    );
    assert!(
        printed(&agrees).contains("2 users and"),
        "{}",
        printed(&agrees)
    );

    stage
        .database
        .execute("update user_point set points = points + 1 where username = 'alice'")
        .await;
    let differs = check(&stage, Some(&log)).await;
    assert_eq!(differs.status.code(), Some(1));
    let alice = stage.sim.user("alice");
    assert!(
        printed(&differs).starts_with(&format!("user {alice}: ")),
        "{}",
        printed(&differs)
    );

    let lacking = check(&stage, Some(&log[1..])).await;
    assert!(
        printed(&lacking).contains(" on 20"),
        "a day differs too: {}",
        printed(&lacking)
    );
}

#[tokio::test]
async fn a_replay_leaves_out_what_is_from_the_future_as_the_bot_does() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    let year_ms = 365 * 86_400_000;
    let general = stage.sim.channel("general");
    let from_the_future = Message::new(general, stage.sim.user("alice"), "hello");
    let id = discord_sim::clock::first_id_at(stage.sim.now_ms() + year_ms);
    stage.sim.post(from_the_future.id(id));
    ledger.write(&stage, "bob", "general", true);
    ledger.comes_true(&stage).await;
    let log = stage.sim.messages(general);
    assert_eq!(log.len(), 3);
    let agrees = check(&stage, Some(&log)).await;
    assert!(agrees.status.success(), "{}", printed(&agrees));
    let said = printed(&agrees);
    assert!(said.contains("from the future: 1"), "{said}");
}

#[tokio::test]
async fn a_database_that_contradicts_itself_is_found_without_a_log() {
    let (stage, _) = Stage::under_way(World::new()).await;
    assert!(check(&stage, None).await.status.success());
    stage
        .database
        .execute("update user_point set points = 1")
        .await;
    let wrong = check(&stage, None).await;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        printed(&wrong).contains("more than the user has"),
        "{}",
        printed(&wrong)
    );
}

#[tokio::test]
async fn days_that_no_messages_can_have_earned_are_found_without_a_log() {
    let database = TestDatabase::migrated().await;
    database.insert_user(5, 1_000_000, 1_000).await;
    database
        .execute(
            "insert into xp_day (user_id, day, points, messages) values
                 (5, '2026-01-01', 15, 1), (5, '2026-01-02', 75, 3), (5, '2026-01-03', 2000, 100)",
        )
        .await;
    let check = async || {
        let mut check = command();
        check.arg("check").env("DATABASE_URL", database.url());
        check.output().await.expect("the binary runs")
    };
    // Rows of versions that knew no multipliers.
    let agrees = check().await;
    assert!(agrees.status.success(), "{}", printed(&agrees));
    assert!(printed(&agrees).starts_with("Checked 1 users and 3 days"));
    let found = async || {
        let wrong = check().await;
        assert_eq!(wrong.status.code(), Some(1));
        let lines = printed(&wrong);
        let lines = lines.lines().map(str::to_owned);
        lines.collect::<Vec<_>>()
    };
    database
        .execute(
            "insert into xp_day (user_id, day, points, messages, by_rules) values
                 (5, '2026-02-01', 40, 2, 5), (5, '2026-02-02', 1, 1, -19), (5, '2026-02-03', 300, 2, 262)",
        )
        .await;
    assert_eq!(
        found().await,
        [
            "user 5 on 2026-02-01: impossible: 40 points (5 by multipliers), 2 messages",
            "user 5 on 2026-02-02: impossible: 1 points (-19 by multipliers), 1 messages",
            "user 5 on 2026-02-03: impossible: 300 points (262 by multipliers), 2 messages",
        ],
        "no multiplier was ever set"
    );
    // A multiplier that has ended since.
    database
        .execute(
            "insert into xp_rule (request_id, moderator_id, subject, subject_id, kind, is_set, percent, after_id)
                 values (1, 1, 'channel', 7, 'multiplier', true, 1000, 0);
             insert into xp_rule (request_id, moderator_id, subject, subject_id, kind, is_set, after_id)
                 values (2, 1, 'channel', 7, 'multiplier', false, 9)",
        )
        .await;
    let agrees = check().await;
    assert!(agrees.status.success(), "{}", printed(&agrees));
    database
        .execute(
            "insert into xp_day (user_id, day, points, messages, by_rules) values
                 (5, '2026-03-01', 40, 2, 11), (5, '2026-03-02', 40, 2, -11), (5, '2026-03-03', 2, 3, -43),
                 (5, '2026-03-04', 500, 2, 451), (5, '2026-03-05', 0, 0, 1), (5, '2026-03-06', 10, 0, 0)",
        )
        .await;
    let wrong = found().await;
    let days: Vec<&str> = wrong.iter().map(|line| &line[10..20]).collect();
    assert_eq!(
        days,
        [
            "2026-03-01",
            "2026-03-02",
            "2026-03-03",
            "2026-03-04",
            "2026-03-05",
            "2026-03-06",
        ]
    );
}

#[tokio::test]
async fn what_moderators_changed_is_added_to_what_the_log_comes_to() {
    let (stage, mut ledger) = Stage::under_way(World::new()).await;
    ledger.write(&stage, "bob", "general", true);
    ledger.comes_true(&stage).await;
    let log = stage.sim.messages(stage.sim.channel("general"));
    // One is set to nothing, one is given something and loses most of it, one has never
    // written a word.
    stage
        .database
        .execute(
            "insert into user_point (user_id, points) values (5, 40);
             insert into xp_change (request_id, user_id, moderator_id, changed_at, points_before, points_after)
                 values (1, 5, 6, 'epoch', 0, 40);
             insert into xp_change (request_id, user_id, moderator_id, changed_at, points_before, points_after)
                 select 2, user_id, 6, 'epoch', points, 0 from user_point where username = 'alice';
             insert into xp_change (request_id, user_id, moderator_id, changed_at, points_before, points_after)
                 select 3, user_id, 6, 'epoch', points, points + 1000 from user_point where username = 'bob';
             insert into xp_change (request_id, user_id, moderator_id, changed_at, points_before, points_after)
                 select 4, user_id, 6, 'epoch', points + 1000, points + 10 from user_point where username = 'bob';
             update user_point set points = 0 where username = 'alice';
             update user_point set points = points + 10 where username = 'bob'",
        )
        .await;
    for log in [None, Some(log.as_slice())] {
        let agrees = check(&stage, log).await;
        assert!(agrees.status.success(), "{}", printed(&agrees));
        assert!(printed(&agrees).starts_with("Checked 3 users and 2 days"));
    }
    // What was given is not what was earned.
    stage
        .database
        .execute("update xp_change set points_after = points_after + 11 where request_id = 4")
        .await;
    let bob = stage.sim.user("bob");
    for log in [None, Some(log.as_slice())] {
        let differs = check(&stage, log).await;
        assert_eq!(differs.status.code(), Some(1));
        let said = printed(&differs);
        assert!(said.starts_with(&format!("user {bob}: ")), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[tokio::test]
async fn a_bot_that_commits_meanwhile_is_no_contradiction() {
    let database = TestDatabase::migrated().await;
    database.insert_user(5, 20, 1).await;
    let mut session = database.session().await;
    let mut bot = session.begin().await.expect("a transaction");
    // The check reads the users, and then has to wait before it reads the days.
    sqlx::raw_sql("lock table xp_day in access exclusive mode")
        .execute(&mut *bot)
        .await
        .expect("the table is locked");
    let mut check = command();
    check.arg("check").env("DATABASE_URL", database.url());
    let check = tokio::spawn(async move { check.output().await });
    wait("the check to read the days", async || {
        let waiting = "select count(*) from pg_locks
                       where not granted and relation = 'xp_day'::regclass";
        (database.number(waiting).await > 0).then_some(())
    })
    .await;
    sqlx::raw_sql(
        "update user_point set points = 60, message_count = 3;
         insert into xp_day (user_id, day, points, messages) values (5, '2026-01-01', 60, 3)",
    )
    .execute(&mut *bot)
    .await
    .expect("the rows are written");
    bot.commit().await.expect("and committed");
    let checked = check.await.unwrap().expect("the binary runs");
    assert!(checked.status.success(), "{}", printed(&checked));
    assert!(printed(&checked).contains("1 users and 0 days"));
}

#[tokio::test]
async fn a_replay_can_begin_with_the_dump_that_was_imported() {
    let database = TestDatabase::migrated().await;
    let sim = Sim::start(World::new()).await.unwrap();
    let record = |user: u64, points: u64, messages: u64, earned_at: u64| {
        json!({ "model": "wall_e_models.userpoint", "pk": user, "fields": {
            "user_id": user, "name": "someone", "points": points, "message_count": messages,
            "latest_time_xp_was_earned_epoch": earned_at,
        }})
    };
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let now = sim.now_ms() / 1_000;
    // Of the first, who is still cooling down, the next message earns nothing.
    let first = write(
        "first.json",
        json!([record(sim.user("alice"), 400, 20, now)]).to_string(),
    );
    let second = write(
        "second.json",
        json!([
            record(sim.user("bob"), 90, 5, 1_600_000_000),
            record(sim.user("carol"), 0, 0, 0)
        ])
        .to_string(),
    );
    let mut import = command();
    import.args(["import", "django"]).args([&first, &second]);
    let imported = import.env("DATABASE_URL", database.url()).output().await;
    assert!(imported.expect("the binary runs").status.success());

    let bot = Bot::start(&sim, &database.url()).await;
    let stage = Stage { bot, database, sim };
    let mut ledger = Ledger::default();
    stage.say("alice", "too early");
    stage.rest();
    stage.say("alice", "in time");
    stage.say("bob", "in time");
    ledger.write(&stage, "mod", "general", true);
    ledger.comes_true(&stage).await;
    let (bob, alice) = (stage.sim.user("bob"), stage.sim.user("alice"));
    stage.database.wait_for_messages(bob, 6).await;
    stage.database.wait_for_messages(alice, 21).await;

    let log = stage.sim.messages(stage.sim.channel("general"));
    let log = write("log", lines(&log));
    let check = async |from: &[&Path]| {
        let mut check = command();
        check.env("DATABASE_URL", stage.database.url());
        check.arg("check").arg("--replay").arg(&log);
        if !from.is_empty() {
            check.arg("--from").args(from);
        }
        check.output().await.expect("the binary runs")
    };
    let agrees = check(&[&first, &second]).await;
    assert!(agrees.status.success(), "{}", printed(&agrees));
    assert!(
        printed(&agrees).starts_with("Checked 3 users and 3 days"),
        "{}",
        printed(&agrees)
    );
    for (from, differing) in [(vec![first.as_path()], bob), (Vec::new(), alice)] {
        let differs = check(&from).await;
        assert_eq!(differs.status.code(), Some(1));
        let line = format!("user {differing}: ");
        assert!(printed(&differs).contains(&line), "{}", printed(&differs));
    }
    let missing = check(&[&directory.path().join("nowhere")]).await;
    assert_eq!(missing.status.code(), Some(1));
}

#[tokio::test]
async fn a_log_from_windows_is_read_and_what_is_wrong_in_it_is_named() {
    let database = TestDatabase::migrated().await;
    let sim = Sim::start(World::new()).await.unwrap();
    let general = sim.channel("general");
    sim.say(sim.user("beep"), general, "a bot earns nothing");
    let good = lines(&sim.messages(general)).replace('\n', "\r\n");
    let bad = format!("{good}{{\"id\":\"a secret\"}}\r\n");
    for (text, said) in [
        (&good, "nothing is wrong"),
        (
            &bad,
            "read as UTF-16 (little-endian): line 2 is not a Discord message: ",
        ),
    ] {
        let bytes = format!("\u{feff}{text}");
        let bytes: Vec<u8> = bytes.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut check = command();
        check.args(["check", "--replay"]).arg(file.path());
        let output = check.env("DATABASE_URL", database.url()).output().await;
        let output = output.unwrap();
        let all = printed(&output) + &String::from_utf8_lossy(&output.stderr);
        assert!(all.contains(said), "{all}");
        assert!(!all.contains("secret"), "{all}");
    }
}
