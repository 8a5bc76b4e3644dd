//! `wall_e import django`: a guild moves in with its own dump.

use std::path::PathBuf;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::{Stage, TestDatabase, command};

async fn import(database: &TestDatabase, files: &[PathBuf], flags: &[&str]) -> Output {
    let mut import = command();
    import
        .args(["import", "django"])
        .args(flags)
        .args(files)
        .env("DATABASE_URL", database.url());
    import.output().await.expect("the binary runs")
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn sandbox() -> Vec<PathBuf> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/sandbox");
    ["levels.json", "userpoints.json"]
        .map(|file| directory.join(file))
        .to_vec()
}

fn user(id: u64, points: u64, level: u64) -> Value {
    json!({ "model": "wall_e_models.userpoint", "pk": id, "fields": {
        "user_id": id, "name": format!("user{id}"), "nickname": null, "points": points, "message_count": points / 20,
        "level_up_specific_points": 0, "latest_time_xp_was_earned_epoch": 1_700_000_000, "level_number": level,
        "hidden": false, "a_field_of_the_future": [1, 2],
    }})
}

fn file(records: &Value) -> (tempfile::NamedTempFile, Vec<PathBuf>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), records.to_string()).unwrap();
    let path = file.path().to_path_buf();
    (file, vec![path])
}

#[tokio::test]
async fn the_sandboxs_dump_is_taken_over_and_taken_over_again_without_harm() {
    let database = TestDatabase::empty().await;
    let first = import(&database, &sandbox(), &[]).await;
    assert!(first.status.success(), "{}", said(&first));
    assert!(
        said(&first).contains("100 %"),
        "progress is shown: {}",
        said(&first)
    );
    assert_eq!(
        database.number("select count(*) from user_point").await,
        7_120
    );
    assert_eq!(
        database
            .number("select count(*) from level where role_name is not null")
            .await,
        20
    );
    let fingerprint =
        "select hashtext(string_agg(u::text, ',' order by user_id))::bigint from user_point u";
    let before = database.number(fingerprint).await;
    let again = import(&database, &sandbox(), &[]).await;
    assert!(
        again.status.success() && said(&again).contains("7120"),
        "{}",
        said(&again)
    );
    assert_eq!(database.number(fingerprint).await, before);
    let fresh_only = import(&database, &sandbox(), &["--fresh-only"]).await;
    assert!(
        fresh_only.status.success() && said(&fresh_only).contains("nothing is imported"),
        "{}",
        said(&fresh_only)
    );
}

#[tokio::test]
async fn an_old_dump_takes_nothing_from_those_who_earned_since() {
    let database = TestDatabase::migrated().await;
    database.insert_user(1, 5_000, 250).await;
    database.insert_user(2, 10, 1).await;
    database
        .execute("update user_point set username = 'known'")
        .await;
    let (_file, paths) = file(&json!([user(1, 4_000, 9), user(2, 100, 1), user(3, 50, 0)]));
    let output = import(&database, &paths, &[]).await;
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(database.standing(1).await, Some((5_000, 250)));
    assert_eq!(database.standing(2).await, Some((100, 5)));
    assert_eq!(database.standing(3).await, Some((50, 2)));
    let log = said(&output);
    for part in ["added=1", "completed=1", "kept=1"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[tokio::test]
async fn who_hid_in_the_old_bot_stays_hidden_and_gets_a_name() {
    let database = TestDatabase::migrated().await;
    database.insert_user(1, 5_000, 250).await;
    let mut hidden = user(1, 4_000, 9);
    hidden["fields"]["hidden"] = json!(true);
    let (_file, paths) = file(&json!([hidden]));
    let output = import(&database, &paths, &[]).await;
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(
        database.standing(1).await,
        Some((5_000, 250)),
        "and loses nothing"
    );
    let kept = "select count(*) from user_point where hidden and username = 'user1'";
    assert_eq!(database.number(kept).await, 1);
}

#[tokio::test]
async fn stored_levels_that_disagree_are_counted_and_the_points_decide() {
    let database = TestDatabase::empty().await;
    let (_file, paths) = file(&json!([user(1, 475, 3), user(2, 475, 4), user(3, 0, 2)]));
    let output = import(&database, &paths, &[]).await;
    assert!(said(&output).contains("users=2"), "{}", said(&output));
}

#[tokio::test]
async fn bad_data_is_refused_by_name_and_changes_nothing() {
    let database = TestDatabase::migrated().await;
    let mut broken = user(2, 5, 0);
    broken["fields"]["points"] = json!(-5);
    let (_file, paths) = file(&json!([user(1, 5, 0), broken]));
    let output = import(&database, &paths, &[]).await;
    assert_eq!(output.status.code(), Some(1));
    let log = said(&output);
    assert!(
        log.contains("record 2 (wall_e_models.userpoint): points: must be"),
        "{log}"
    );
    assert_eq!(database.number("select count(*) from user_point").await, 0);
    let missing = import(&database, &[PathBuf::from("/no/such/file.json")], &[]).await;
    assert!(
        said(&missing).contains("/no/such/file.json cannot be read"),
        "{}",
        said(&missing)
    );
}

#[tokio::test]
async fn levels_that_moderators_changed_are_theirs() {
    let database = TestDatabase::migrated().await;
    database
        .execute("update level set role_name = 'Emacs User' where number = 45")
        .await;
    let output = import(&database, &sandbox(), &[]).await;
    assert!(
        said(&output).contains("kept as they are"),
        "{}",
        said(&output)
    );
    assert_eq!(
        database
            .number("select count(*) from level where role_name = 'Emacs User'")
            .await,
        1
    );
}

#[tokio::test]
async fn nothing_is_imported_while_a_bot_holds_the_database() {
    let mut stage = Stage::open().await;
    let (_file, paths) = file(&json!([user(1, 5, 0)]));
    let refused = import(&stage.database, &paths, &[]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("stop it first"),
        "{}",
        said(&refused)
    );
    stage.bot.terminate().await;
    let taken = import(&stage.database, &paths, &[]).await;
    assert!(taken.status.success(), "{}", said(&taken));
    assert_eq!(stage.database.standing(1).await, Some((5, 0)));
}
