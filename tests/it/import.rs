//! `wall_e import django`: a guild moves in with its own dump.

use std::path::PathBuf;
use std::process::Output;

use serde_json::{Value, json};
use wall_e::leveling::{Level, Levels};

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

#[test]
fn the_levels_fixture_is_what_the_curve_and_the_names_give() {
    let rows = Levels::mee6_computing();
    let records: Vec<_> = rows.rows().iter().map(level_record).collect();
    let expected = format!("[\n{}\n]\n", records.join(",\n"));
    let committed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/levels.json");
    if std::fs::read_to_string(&committed).unwrap() != expected {
        let new = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("levels.json");
        std::fs::write(&new, expected).unwrap();
        panic!(
            "the fixture is out of date: type cp {} {}",
            new.display(),
            committed.display()
        );
    }
}

/// As `manage.py dumpdata` writes it, one record a line.
fn level_record(level: &Level) -> String {
    let number = level.number.0;
    format!(
        r#"{{"model": "wall_e_models.level", "pk": {}, "fields": {{"number": {number}, "total_points_required": {}, "xp_needed_to_level_up_to_next_level": {}, "role_id": null, "role_name": {}}}}}"#,
        number + 1,
        level.total_points_required,
        level.points_to_next_level,
        json!(level.role_name),
    )
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
        fresh_only.status.success() && said(&fresh_only).contains("nothing was imported"),
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
    for part in ["new users: 1", "completed: 1", "unchanged: 1"] {
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

/// With an avatar, and the copy that the old bot had made of it, if it had.
fn with_avatar(id: u64, avatar: &str, copy: Option<u64>) -> Value {
    let mut user = user(id, 100, 1);
    let fields = &mut user["fields"];
    fields["avatar_url"] = json!(avatar);
    // Where the old bot had them in its round.
    fields["bucket_number"] = json!(7);
    if let Some(copy) = copy {
        fields["avatar_url_message_id"] = json!(copy);
        fields["leveling_message_avatar_url"] = json!(link(copy));
        fields["discord_avatar_link_expiry_date"] = json!("2024-01-01T00:00:00-08:00");
    }
    user
}

fn link(copy: u64) -> String {
    format!("https://cdn.discordapp.com/attachments/1/{copy}/a.png?ex=1&is=1&hm=1")
}

#[tokio::test]
async fn copies_of_avatars_are_taken_over_and_missing_ones_queued() {
    const HASH: &str = "0123456789abcdef0123456789abcdef";
    let database = TestDatabase::migrated().await;
    let own = |id: u64| format!("https://cdn.discordapp.com/avatars/{id}/{HASH}.png?size=1024");
    let default = "https://cdn.discordapp.com/embed/avatars/3.png";
    let (_file, paths) = file(&json!([
        with_avatar(1, &own(1), Some(901)),
        with_avatar(2, &own(2), None),
        with_avatar(3, default, None),
        with_avatar(4, default, Some(904)),
        user(5, 100, 1),
    ]));
    let queued = "select coalesce(sum(user_id), 0)::bigint from updated_user where stored";
    for _ in 0..2 {
        let output = import(&database, &paths, &[]).await;
        assert!(output.status.success(), "{}", said(&output));
        for copy in [1, 4] {
            let stored = database.user(copy).await;
            assert_eq!(stored["avatar_message_id"], 900 + copy);
            assert_eq!(stored["avatar_link"], link(900 + copy));
            let expires = stored["avatar_link_expires_at"].as_str().unwrap();
            assert!(expires.starts_with("2024-01-01T"), "{expires}");
        }
        let hashes = [1, 2, 3, 4, 5].map(async |id| {
            let stored = database.user(id).await;
            let hash = |field: &str| stored[field].as_str().map(str::to_owned);
            (hash("avatar_hash"), hash("avatar_copy_hash"))
        });
        let hash = || Some(HASH.to_owned());
        let expected = [
            (hash(), hash()),
            (hash(), None),
            (None, None),
            (None, None),
            (None, None),
        ];
        for (found, expected) in hashes.into_iter().zip(expected) {
            assert_eq!(found.await, expected);
        }
        assert_eq!(database.number(queued).await, 2, "only the second");
        let rows = "select count(*) from updated_user";
        assert_eq!(database.number(rows).await, 1);
        // Ours are given out anew, evenly.
        let spread = "select count(*) from user_point where bucket_number is not null";
        assert_eq!(database.number(spread).await, 0);
    }
}

#[tokio::test]
async fn a_copy_of_our_own_is_not_given_up_for_an_old_one() {
    let database = TestDatabase::migrated().await;
    database.insert_user(1, 10, 1).await;
    database
        .execute(
            "update user_point set username = 'known', avatar_hash = 'ours', avatar_copy_hash = 'ours',
                avatar_message_id = 5, avatar_link = 'https://ours'",
        )
        .await;
    let avatar = "https://cdn.discordapp.com/avatars/1/0123456789abcdef0123456789abcdef.png";
    let (_file, paths) = file(&json!([with_avatar(1, avatar, Some(901))]));
    let output = import(&database, &paths, &[]).await;
    assert!(output.status.success(), "{}", said(&output));
    let stored = database.user(1).await;
    assert_eq!(stored["points"], 100);
    assert_eq!(stored["avatar_message_id"], 5);
    assert_eq!(stored["avatar_link"], "https://ours");
    assert_eq!(stored["avatar_copy_hash"], "ours");
    let rows = "select count(*) from updated_user";
    assert_eq!(database.number(rows).await, 0);
}

#[tokio::test]
async fn levels_that_moderators_changed_are_theirs() {
    let database = TestDatabase::migrated().await;
    database
        .execute("update level set role_name = 'Emacs User' where number = 45")
        .await;
    let output = import(&database, &sandbox(), &[]).await;
    assert!(
        said(&output).contains("kept the levels of this database"),
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
        said(&refused).contains("stop it, then import again"),
        "{}",
        said(&refused)
    );
    stage.bot.terminate().await;
    let taken = import(&stage.database, &paths, &[]).await;
    assert!(taken.status.success(), "{}", said(&taken));
    assert_eq!(stage.database.standing(1).await, Some((5, 0)));
}

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    format!("\u{feff}{text}")
        .encode_utf16()
        .flat_map(unit)
        .collect()
}

#[tokio::test]
async fn a_dump_from_windows_is_read_and_what_is_no_text_is_named() {
    let dump = json!([user(1, 4_000, 9)]).to_string();
    for (id, bytes) in [
        (1, format!("\u{feff}{dump}\r\n").into_bytes()),
        (2, utf16(&dump, u16::to_le_bytes)),
        (3, utf16(&dump, u16::to_be_bytes)),
    ] {
        let database = TestDatabase::migrated().await;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let output = import(&database, &[file.path().to_path_buf()], &[]).await;
        assert!(output.status.success(), "{id}: {}", said(&output));
        assert_eq!(database.standing(1).await, Some((4_000, 200)), "{id}");
    }
    let database = TestDatabase::migrated().await;
    let secret = dump.replace("4000", "\"a secret\"");
    for (bytes, part) in [
        (b"[\n\"Ren\xe9\"]".to_vec(), "line 2 is not UTF-8"),
        (
            utf16(&dump[..dump.len() - 5], u16::to_le_bytes),
            "read as UTF-16 (little-endian) is not a whole JSON list",
        ),
        (
            secret.into_bytes(),
            "record 1 (wall_e_models.userpoint): points: must be a whole number",
        ),
        (
            br#"["a secret"]"#.to_vec(),
            "record 1: must have a model and fields: expected",
        ),
        (
            br#"{"a secret": "a secret"}"#.to_vec(),
            "is not a whole JSON list of Django records: expected a sequence",
        ),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let name = file.path().display().to_string();
        let output = import(&database, &[file.path().to_path_buf()], &[]).await;
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains(part) && text.contains(&name),
            "{part}: {text}"
        );
        assert!(!text.contains("secret"), "{text}");
    }
}
