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

    `.ranks [page or @user]`
    Browse the board: who has the most XP. Example: `.ranks 2`

    `.recount [@user]`
    Show where XP comes from: messages, multipliers, changes by moderators, imports. Example: `.recount`

    `.hide_xp [@user]`
    Hide your XP from everyone else. Example: `.hide_xp`

    `.show_xp [@user]`
    Show your XP to everyone again. Example: `.show_xp`

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
    let for_moderators = stage.ask("mod", ".help").await;
    for command in [
        "levels",
        "set_level_name",
        "remove_level_name",
        "role_rewards",
        "give_xp",
        "set_xp",
        "xp_log",
        "no_xp",
        "earn_xp",
        "xp_multiplier",
        "xp_rules",
    ] {
        assert!(
            for_moderators.contains(&format!("`.{command}")),
            "{command}"
        );
        assert!(!overview.contains(command), "{command}");
    }
    let details = stage.ask("alice", ".help set_level_name").await;
    insta::assert_snapshot!(details, @r#"
    .set_level_name
    Give a level its role: a new one, one that is there, or another name.

    Usage: `.set_level_name level "name"`
    Example: `.set_level_name 5 "Missing Semicolon"`

    Only Minions and Moderator can use this command.
    "#);
    let unknown = "There is no such command. `.help` lists my commands.";
    assert_eq!(stage.ask("alice", ".help @everyone").await, unknown);
}
