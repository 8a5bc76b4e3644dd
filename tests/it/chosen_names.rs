//! The names of a fresh database's levels: what the operator chooses, once, and nothing unasked.

use std::path::PathBuf;

use discord_sim::{Method, Sim, World};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _};

use crate::support::{Bot, TestDatabase, command, wait};

const NAMED: &str = "select count(*) from level where role_name is not null";

/// A bot that was told what names to give, when it has verified the roles.
async fn start(sim: &Sim, database: &TestDatabase, names: &str) -> Bot {
    let settings = [("WALLE_LEVEL_NAMES", names)];
    let mut bot = Bot::launch(sim, &database.url(), &settings);
    bot.connected(sim).await;
    bot.logged("roles are verified").await;
    bot
}

async fn end(sim: &Sim, mut bot: Bot) {
    bot.terminate().await;
    let gone = || (!sim.is_connected()).then_some(());
    sim.wait("the old connection to end", gone).await;
}

fn made(sim: &Sim) -> usize {
    sim.requests_to(&Method::POST, "/guilds/{}/roles").len()
}

async fn source(database: &TestDatabase) -> Option<String> {
    let source = sqlx::query_scalar("select source from level_names_choice");
    let read = source.fetch_optional(&mut database.session().await).await;
    read.expect("level_names_choice can be read")
}

/// A file with this text.
fn file(text: &str) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().display().to_string();
    (file, path)
}

#[tokio::test]
async fn a_fresh_bot_makes_no_roles_and_says_what_to_try() {
    let database = TestDatabase::empty().await;
    let sim = Sim::start(World::new()).await.unwrap();
    let roles = sim.role_names();
    let mut bot = Bot::start(&sim, &database.url()).await;
    bot.logged("roles are verified").await;
    assert_eq!(sim.role_names(), roles, "nothing was asked for");
    assert_eq!(database.number(NAMED).await, 0);
    assert_eq!(database.number("select count(*) from level").await, 101);
    assert_eq!(source(&database).await.as_deref(), Some("none"));

    let ready = "wall_e is ready in ";
    bot.logged(ready).await;
    let log = bot.log();
    let line = log.lines().find(|line| line.contains(ready)).unwrap();
    for part in [".help", ".rank", ".set_level_name", "two private channels"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    // A session later it is not said again, nor is all of it to someone who has users.
    sim.gateway().invalid_session(false);
    wait("the guild to come again", async || {
        let came = bot.log().matches("the guild is available").count();
        (came > 1).then_some(())
    })
    .await;
    assert_eq!(bot.log().matches(ready).count(), 1, "{}", bot.log());
    bot.terminate().await;
    let gone = || (!sim.is_connected()).then_some(());
    sim.wait("the old connection to end", gone).await;
    database.insert_user(7, 20, 1).await;
    let bot = Bot::start(&sim, &database.url()).await;
    bot.logged(ready).await;
    assert!(!bot.log().contains(".set_level_name"), "{}", bot.log());
}

#[tokio::test]
async fn computing_gives_twenty_names_once() {
    let database = TestDatabase::empty().await;
    let sim = Sim::start(World::new()).await.unwrap();
    let bot = start(&sim, &database, "computing").await;
    assert_eq!(database.number(NAMED).await, 20);
    assert_eq!(made(&sim), 20);
    sim.role("Missing Semicolon");
    end(&sim, bot).await;
    // As moderators who want none of them.
    database
        .execute("update level set role_id = null, role_name = null")
        .await;
    let bot = start(&sim, &database, "computing").await;
    assert_eq!(database.number(NAMED).await, 0, "names are given once");
    assert_eq!(made(&sim), 20);
    let ignored = "ignored WALLE_LEVEL_NAMES: ";
    assert!(!bot.log().contains(ignored), "{}", bot.log());
    end(&sim, bot).await;
    // Another choice comes too late, which is said once.
    let (_file, path) = file("5 Five\n");
    let bot = start(&sim, &database, &path).await;
    assert_eq!(bot.log().matches(ignored).count(), 1, "{}", bot.log());
    assert_eq!(database.number(NAMED).await, 0);
    end(&sim, bot).await;
    assert_eq!(source(&database).await.as_deref(), Some("computing"));
}

#[tokio::test]
async fn a_file_names_levels_and_may_go_then() {
    let database = TestDatabase::empty().await;
    let sim = Sim::start(World::new()).await.unwrap();
    let (file, path) = file("# ours\n1 One\n5 Number Five\n");
    let bot = start(&sim, &database, &path).await;
    let names = "select string_agg(number || ' ' || role_name, ', ' order by number) from level";
    let names = sqlx::query_scalar(names);
    let names: String = names
        .fetch_one(&mut database.session().await)
        .await
        .unwrap();
    assert_eq!(names, "1 One, 5 Number Five");
    sim.role("Number Five");
    end(&sim, bot).await;
    drop(file);
    let bot = start(&sim, &database, &path).await;
    bot.logged("this database keeps its level names").await;
    assert_eq!(database.number(NAMED).await, 2);
}

#[tokio::test]
async fn a_file_that_is_wrong_is_named_before_anything_starts() {
    let database = TestDatabase::empty().await;
    let sim = Sim::start(World::new()).await.unwrap();
    let (_file, wrong) = file("1 One\n5 Five\n5 Fünf\n");
    let missing = "/no/such/names".to_owned();
    for (path, reason) in [
        (wrong, "line 3: level 5 has a name already, in line 2"),
        (missing, "cannot be read"),
    ] {
        let settings = [("WALLE_LEVEL_NAMES", path.as_str())];
        let mut bot = Bot::launch(&sim, &database.url(), &settings);
        assert_eq!(bot.ended().await.code(), Some(1));
        let said = bot.log();
        assert!(said.contains(&path) && said.contains(reason), "{said}");
        assert!(said.contains("WALLE_LEVEL_NAMES"), "{said}");
    }
    assert!(sim.requests().is_empty(), "{:?}", sim.requests());
    assert_eq!(source(&database).await, None, "it can be chosen still");
}

#[tokio::test]
async fn a_dump_keeps_its_names_whatever_the_setting_says() {
    let database = TestDatabase::empty().await;
    let level = |number: u16, total: u64, step: u64, name: Option<&str>| {
        json!({ "model": "wall_e_models.level", "pk": number, "fields": {
            "number": number, "total_points_required": total, "xp_needed_to_level_up_to_next_level": step,
            "role_id": null, "role_name": name,
        }})
    };
    let dump = json!([level(0, 0, 100, None), level(1, 100, 155, Some("Old Hand"))]);
    let (file, _) = file(&dump.to_string());
    let mut import = command();
    import
        .args([
            PathBuf::from("import"),
            "django".into(),
            file.path().to_path_buf(),
        ])
        .env("DATABASE_URL", database.url());
    assert!(import.output().await.unwrap().status.success());
    let sim = Sim::start(World::new()).await.unwrap();
    let _bot = start(&sim, &database, "computing").await;
    assert_eq!(database.number(NAMED).await, 1);
    assert_eq!(made(&sim), 1);
    sim.role("Old Hand");
    assert_eq!(source(&database).await.as_deref(), Some("import"));
}

/// What the migration makes of databases of before it.
#[tokio::test]
async fn a_database_that_was_used_before_keeps_its_names_or_their_absence() {
    let migration = include_str!("../../migrations/0015_level_names.sql");
    for (names, count) in [("null", 0), ("'Only One'", 1)] {
        let database = TestDatabase::migrated().await;
        let before = format!(
            "drop table level_names_choice, role_deletion;
             update level set role_name = {names} where number = 3;
             {migration}"
        );
        let mut session = database.session().await;
        let migrated = sqlx::raw_sql(AssertSqlSafe(before)).execute(&mut session);
        migrated.await.unwrap();
        session.close().await.unwrap();
        let sim = Sim::start(World::new()).await.unwrap();
        let _bot = start(&sim, &database, "computing").await;
        assert_eq!(database.number(NAMED).await, count);
        assert_eq!(made(&sim), usize::try_from(count).unwrap());
        assert_eq!(source(&database).await.as_deref(), Some("existing"));
    }
}

/// Names that somebody gave by hand before the first start.
#[tokio::test]
async fn names_that_are_there_already_stay_alone() {
    let database = TestDatabase::migrated().await;
    database
        .execute("update level set role_name = 'By Hand' where number = 3")
        .await;
    let sim = Sim::start(World::new()).await.unwrap();
    let _bot = start(&sim, &database, "computing").await;
    assert_eq!(database.number(NAMED).await, 1);
    assert_eq!(source(&database).await.as_deref(), Some("existing"));
}
