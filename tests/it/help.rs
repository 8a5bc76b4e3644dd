//! `.help` and `/help`.

use serde_json::json;

use crate::support::Stage;

#[tokio::test]
async fn help_lists_the_commands_and_explains_each() {
    let stage = Stage::open().await;
    let overview = stage.ask("alice", ".help").await;
    insta::assert_snapshot!(overview, @r"
    Commands
    `.rank [@user]`
    Show a stat card: XP, messages, rank and level. Example: `.rank @alice`

    `.help [command]`
    List the commands, or explain one. Example: `.help rank`

    Each works as a slash command too, such as `/help`.
    ");
    assert_eq!(stage.slash("alice", "help", json!([])).await, overview);
    for text in [".help rank", ".help .rank", ".help RANK"] {
        let details = stage.ask("alice", text).await;
        insta::allow_duplicates! { insta::assert_snapshot!(details, @r"
        .rank
        Show a stat card: XP, messages, rank and level.

        Usage: `.rank [@user]`
        Example: `.rank @alice`
        "); }
    }
    let unknown = "There is no such command. `.help` lists those there are.";
    assert_eq!(stage.ask("alice", ".help @everyone").await, unknown);
}
