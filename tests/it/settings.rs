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
    ] {
        let mut bot = Bot::launch(&sim, url, &[(variable, value)]);
        assert_eq!(bot.ended().await.code(), Some(2), "{variable}");
        let said = bot.log();
        assert!(
            said.contains(variable) && said.contains("expected") || said.contains("prefix has"),
            "{said}"
        );
        assert!(!said.contains("canary"), "{said}");
    }
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
