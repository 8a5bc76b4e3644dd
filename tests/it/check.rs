//! `wall_e check`: a log, replayed, is what the database holds, or the difference is shown.

use std::process::Output;

use discord_sim::World;
use serde_json::Value;

use crate::support::{Stage, command};

async fn check(stage: &Stage, log: Option<&[Value]>) -> Output {
    let mut check = command();
    check.arg("check").env("DATABASE_URL", stage.database.url());
    let file = tempfile::NamedTempFile::new().unwrap();
    if let Some(log) = log {
        let lines: String = log
            .iter()
            .flat_map(|message| [message.to_string(), "\n".to_owned()])
            .collect();
        std::fs::write(file.path(), lines).unwrap();
        check.arg("--replay").arg(file.path());
    }
    check.output().await.expect("the binary runs")
}

fn printed(output: &Output) -> String {
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
