//! Settings that are wrong: what is said of them, and what never is.

use discord_sim::{Sim, World};

use crate::support::{Bot, TestDatabase};

const CANARY: &str = "MTIz.canary.of-a-secret";

#[tokio::test]
async fn what_is_refused_is_named_and_never_quoted() {
    let sim = Sim::start(World::new()).await.unwrap();
    let url = "postgres://nobody@127.0.0.1:1/none";
    let with_password = format!("http://user:{CANARY}@proxy:3000");
    for (variable, value) in [
        ("WALLE_DISCORD_API", with_password.as_str()),
        ("WALLE_TIMEZONE", CANARY),
        ("WALLE_PREFIX", CANARY),
        ("WALLE_CATCH_UP_HOURS", CANARY),
        ("WALLE_LOG_FORMAT", CANARY),
        ("WALLE_AWAIT_ONBOARDING", CANARY),
    ] {
        let mut bot = Bot::launch(&sim, url, &[(variable, value)]);
        assert_eq!(bot.ended().await.code(), Some(2), "{variable}");
        let said = bot.log();
        assert!(
            said.contains(variable) && said.contains("expected"),
            "{said}"
        );
        assert!(!said.contains("canary"), "{said}");
    }
}

#[tokio::test]
async fn a_variable_that_nothing_reads_is_named_without_its_value() {
    let sim = Sim::start(World::new()).await.unwrap();
    let url = "postgres://nobody@127.0.0.1:1/none";
    let mut bot = Bot::launch(&sim, url, &[("WALLE_PREFX", CANARY)]);
    bot.ended().await;
    let said = bot.log();
    assert!(
        said.contains(
            "WALLE_PREFX is set, but wall_e has no such setting; did you mean WALLE_PREFIX?"
        ),
        "{said}"
    );
    assert!(!said.contains("canary"), "{said}");
}

#[tokio::test]
async fn why_the_bot_ends_is_said_whatever_the_filter() {
    let database = TestDatabase::migrated().await;
    let sim = Sim::start(World::new()).await.unwrap();
    for filter in ["", "serenity=debug", "inof", "wall_e=error"] {
        let settings = [("RUST_LOG", filter), ("WALLE_TOKEN", CANARY)];
        let mut bot = Bot::launch(&sim, &database.url(), &settings);
        assert_eq!(bot.ended().await.code(), Some(14), "{filter:?}");
        let said = bot.log();
        assert!(
            said.contains("reset it on the Bot page"),
            "{filter:?}: {said}"
        );
        assert!(!said.contains("canary"), "{filter:?}: {said}");
    }
}

#[tokio::test]
async fn a_token_file_may_be_written_on_windows() {
    let database = TestDatabase::migrated().await;
    let sim = Sim::start(World::new()).await.unwrap();
    let text = format!("\u{feff}{}\r\n", sim.token());
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, code) in [
        (text.clone().into_bytes(), None),
        (utf16, None),
        (b"\xfc".to_vec(), Some(12)),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let path = file.path().display().to_string();
        let settings = [("WALLE_TOKEN", ""), ("WALLE_TOKEN_FILE", path.as_str())];
        let mut bot = Bot::launch(&sim, &database.url(), &settings);
        if let Some(code) = code {
            assert_eq!(bot.ended().await.code(), Some(code));
            assert!(
                bot.log().contains("neither UTF-8 nor UTF-16"),
                "{}",
                bot.log()
            );
        } else {
            bot.logged("connected").await;
            bot.terminate().await;
        }
    }
}

#[tokio::test]
async fn what_others_say_breaks_no_log_line() {
    let sim = Sim::start(World::new()).await.unwrap();
    let database = TestDatabase::migrated().await;
    // Postgres quotes the name of a database that is not there.
    let mut url = reqwest::Url::parse(&database.url()).unwrap();
    url.set_path("/no%0AERROR%20forged%1B[31m");
    let mut bot = Bot::launch(&sim, url.as_str(), &[]);
    assert_eq!(bot.ended().await.code(), Some(17));
    let said = bot.log();
    assert!(said.contains("no\\nERROR forged"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
    let levels = ["ERROR", "WARN", "INFO"];
    for line in said.lines() {
        assert!(
            !levels.iter().any(|level| line.starts_with(level)),
            "{said}"
        );
    }
}
