//! `.remove_level_name all`: all names at once, and their roles if that is wanted.

use std::time::Duration;

use discord_sim::{Fault, Method, World};
use serde_json::{Value, json};

use crate::support::{Stage, TestDatabase, button, id_of, said, wait};

/// Discord's permission bit: the role that moderators hold grants it.
const MANAGE_ROLES: u64 = 1 << 28;
const DELETE: (Method, &str) = (Method::DELETE, "/guilds/{}/roles/{}");
const NAMED: &str =
    "select count(*) from level where role_name is not null or role_id is not null or role_seen";
const ALL: &str = ".remove_level_name all";
const QUESTION: &str = "3 levels have a name. 3 level roles are in the guild: ";
const KEEP: &str = "Take off 3 names, keep the roles";
const TOO: &str = "Delete the 3 roles too";
const NONE: &str = "No level has a name.";

/// A guild whose levels 1, 5 and 9 have roles, and in which Other is none of theirs.
async fn open() -> Stage {
    let database = TestDatabase::migrated().await;
    database
        .execute(
            "update level set role_name = case number when 1 then 'One' when 5 then 'Five' else 'Nine' end
             where number in (1, 5, 9)",
        )
        .await;
    let stage = Stage::open_on(World::new().role("Other", 0), database).await;
    let mods = stage.sim.role("Moderator");
    stage.sim.role_permissions(mods, MANAGE_ROLES);
    assert_eq!(there(&stage), ["Five", "Nine", "One", "Other"]);
    stage
}

/// Of the roles that the tests are about, those that are in the guild.
fn there(stage: &Stage) -> Vec<String> {
    let mut names = stage.sim.role_names();
    names.retain(|name| ["One", "Five", "Nine", "Other"].contains(&name.as_str()));
    names.sort_unstable();
    names
}

/// What the button's message says at last.
async fn pressed(stage: &Stage, message: &Value, label: &str) -> String {
    let (moderator, id) = (stage.sim.user("mod"), id_of(message));
    stage.sim.click(moderator, id, &button(message, label));
    let done = || {
        let text = said(&stage.sim.message(id)?);
        let is_done = !text.starts_with("One moment …") && text != said(message);
        is_done.then_some(text)
    };
    stage.sim.wait("what the button does", done).await
}

#[tokio::test]
async fn names_are_taken_off_and_the_roles_stay() {
    let mut stage = open().await;
    let one = stage.sim.role("One");
    stage.sim.grant(stage.sim.user("alice"), one);
    let asked = stage.reply("mod", ALL).await;
    let text = said(&asked);
    assert!(text.starts_with(QUESTION), "{text}");
    for name in ["One", "Five", "Nine"] {
        assert!(text.contains(name), "{text}");
    }
    assert!(text.contains("cannot be undone"), "{text}");
    assert_eq!(stage.database.number(NAMED).await, 3, "only asked");
    let told = stage.press("alice", &asked, KEEP).await;
    assert_eq!(
        said(&told),
        "Only the person who asked can use these buttons."
    );
    assert_eq!(
        pressed(&stage, &asked, KEEP).await,
        "3 levels no longer have a name. 3 roles stay in the guild, and their members keep them."
    );
    assert_eq!(stage.database.number(NAMED).await, 0);
    assert_eq!(stage.ask("mod", ALL).await, NONE);
    assert_eq!(
        stage.ask("mod", ".levels").await,
        "No level carries a role yet; `set_level_name` gives it one."
    );
    // Also for the next bot.
    stage.restart().await;
    stage.bot.logged("roles are verified").await;
    assert_eq!(there(&stage), ["Five", "Nine", "One", "Other"]);
    assert!(
        stage
            .sim
            .member_roles(stage.sim.user("alice"))
            .contains(&one)
    );
    assert!(stage.sim.requests_to(&DELETE.0, DELETE.1).is_empty());
    assert_eq!(stage.ask("mod", ALL).await, NONE);
}

#[tokio::test]
async fn names_are_taken_off_and_only_level_roles_deleted() {
    let stage = open().await;
    let asked = stage.reply("mod", ALL).await;
    assert_eq!(
        pressed(&stage, &asked, TOO).await,
        "3 levels no longer have a name. 3 roles are deleted."
    );
    assert_eq!(there(&stage), ["Other"]);
    assert_eq!(stage.database.number(NAMED).await, 0);
    let left_over = "select count(*) from role_deletion";
    assert_eq!(stage.database.number(left_over).await, 0);
    let reason = format!("no longer a level role, as {} asked", stage.sim.user("mod"));
    let deleted = stage.sim.requests_to(&DELETE.0, DELETE.1);
    assert_eq!(deleted.len(), 3);
    assert!(
        deleted
            .iter()
            .all(|one| one.reason.as_ref() == Some(&reason))
    );
    assert_eq!(stage.ask("mod", ALL).await, NONE);
}

#[tokio::test]
async fn it_asks_by_slash_too_and_takes_no_for_an_answer() {
    let stage = open().await;
    let (moderator, general) = (stage.sim.user("mod"), stage.sim.channel("general"));
    let options = json!([{ "name": "all", "value": true }]);
    let slash = stage
        .sim
        .slash(moderator, general, "remove_level_name", &options);
    let asked = stage.sim.answer_to(slash).await;
    assert!(said(&asked).starts_with(QUESTION), "{asked}");
    let left = stage.press("mod", &asked, "Cancel").await;
    assert_eq!(said(&left), "Everything stays as it is.");
    assert_eq!(stage.database.number(NAMED).await, 3);
    let usage = "Usage: `.remove_level_name level or all`, for example `.remove_level_name 5`.";
    for text in [
        ".remove_level_name",
        ".remove_level_name everything",
        ".remove_level_name 5 all",
    ] {
        assert_eq!(stage.ask("mod", text).await, usage, "{text}");
    }
    let both = json!([{ "name": "level", "value": 5 }, { "name": "all", "value": true }]);
    for options in [both, json!([]), json!([{ "name": "all", "value": false }])] {
        assert_eq!(
            stage.slash("mod", "remove_level_name", options).await,
            usage
        );
    }
    assert_eq!(
        stage.ask("alice", ALL).await,
        "Only Minions and Moderator can use this command."
    );
    assert_eq!(stage.database.number(NAMED).await, 3);
}

#[tokio::test]
async fn whoever_lost_the_right_meanwhile_is_refused() {
    let stage = open().await;
    let asked = stage.reply("mod", ALL).await;
    let moderator = stage.sim.user("mod");
    for role in stage.sim.member_roles(moderator) {
        stage.sim.revoke(moderator, role);
    }
    let told = stage.press("mod", &asked, TOO).await;
    assert_eq!(
        said(&told),
        "Only Minions and Moderator can use this command."
    );
    assert_eq!(stage.database.number(NAMED).await, 3);
}

#[tokio::test]
async fn more_than_was_agreed_to_is_asked_about_again() {
    let stage = open().await;
    let asked = stage.reply("mod", ALL).await;
    stage.ask("mod", ".set_level_name 7 Seven").await;
    let again = stage.press("mod", &asked, TOO).await;
    let text = said(&again);
    assert!(
        text.starts_with("4 levels have a name. 4 level roles are in the guild: "),
        "{text}"
    );
    assert_eq!(stage.database.number(NAMED).await, 4);
    // Less is what was agreed to.
    stage.sim.delete_role(stage.sim.role("Seven"));
    stage.ask("mod", ".remove_level_name 7").await;
    assert_eq!(
        pressed(&stage, &again, "Delete the 4 roles too").await,
        "3 levels no longer have a name. 3 roles are deleted."
    );
}

#[tokio::test]
async fn roles_that_must_stay_are_named_and_those_out_of_reach_can_be_deleted_later() {
    const MANAGE_MESSAGES: u64 = 1 << 13;
    let stage = open().await;
    let (one, five) = (stage.sim.role("One"), stage.sim.role("Five"));
    stage.sim.role_permissions(one, MANAGE_MESSAGES);
    stage.sim.move_role(five, 200);
    let asked = stage.reply("mod", ALL).await;
    let told = pressed(&stage, &asked, TOO).await;
    assert!(
        told.starts_with("3 levels no longer have a name. 1 of 3 roles are deleted. These stay: "),
        "{told}"
    );
    for part in [
        "One (it gives its members rights over the bot; delete it in Discord if you want it gone)",
        "Five (it is not below my own role)",
        "When that is fixed, type `remove_level_name all` again to delete the rest.",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(there(&stage), ["Five", "One", "Other"]);
    let again = stage.reply("mod", ALL).await;
    let text = said(&again);
    assert!(
        text.starts_with("No level has a name any more, but roles of former levels are left. 1 level role is in the \
                          guild: Five."),
        "{text}"
    );
    stage.sim.move_role(five, 1);
    assert_eq!(
        pressed(&stage, &again, "Delete the role").await,
        "The role is deleted."
    );
    assert_eq!(there(&stage), ["One", "Other"]);
    assert_eq!(stage.ask("mod", ALL).await, NONE);
}

#[tokio::test]
async fn a_bot_that_dies_after_the_commit_goes_on_when_it_is_asked_again() {
    let mut stage = open().await;
    let asked = stage.reply("mod", ALL).await;
    stage.sim.faults().next(1, DELETE.0, DELETE.1, Fault::Hang);
    let moderator = stage.sim.user("mod");
    stage
        .sim
        .click(moderator, id_of(&asked), &button(&asked, TOO));
    wait("the first role to be deleted", async || {
        let called = !stage.sim.requests_to(&DELETE.0, DELETE.1).is_empty();
        called.then_some(())
    })
    .await;
    assert_eq!(stage.database.number(NAMED).await, 0, "committed before");
    stage.bot.kill().await;
    stage.sim.faults().clear();
    stage.start_again().await;
    assert_eq!(there(&stage), ["Five", "Nine", "One", "Other"]);
    let asked = stage.reply("mod", ALL).await;
    assert!(
        said(&asked)
            .starts_with("No level has a name any more, but roles of former levels are left"),
        "{asked}"
    );
    assert_eq!(
        pressed(&stage, &asked, "Delete the 3 roles").await,
        "3 roles are deleted."
    );
}

#[tokio::test]
async fn only_those_who_may_delete_roles_have_them_deleted() {
    let stage = open().await;
    let (mods, five) = (stage.sim.role("Moderator"), stage.sim.role("Five"));
    let asked = stage.reply("mod", ALL).await;
    stage.sim.role_permissions(mods, 0);
    assert_eq!(
        pressed(&stage, &asked, TOO).await,
        "You need the permission Manage Roles to delete a role. Ask someone who has it, or give it to a role of yours in \
         Server Settings, Roles. Nothing is changed; you can take off the names and keep the roles."
    );
    assert_eq!(stage.database.number(NAMED).await, 3);

    let asked = stage.reply("mod", ALL).await;
    stage.sim.role_permissions(mods, MANAGE_ROLES);
    // Above the moderators' roles, and below the bot's.
    let count_of_roles = u64::try_from(stage.sim.role_names().len()).unwrap();
    // @everyone is counted too.
    stage.sim.move_role(five, count_of_roles - 2);
    let told = pressed(&stage, &asked, TOO).await;
    assert_eq!(
        told,
        "3 levels no longer have a name. 2 of 3 roles are deleted. This one stays: Five (it is not below your own highest \
         role). When that is fixed, type `remove_level_name all` again to delete the rest."
    );
    assert_eq!(there(&stage), ["Five", "Other"]);
    // Those who may keep the names from being any level's.
    stage.sim.role_permissions(mods, 0);
    let asked = stage.reply("mod", ALL).await;
    assert_eq!(
        pressed(&stage, &asked, "Keep them").await,
        "1 role stays in the guild, and its members keep it."
    );
}

#[tokio::test]
async fn roles_that_are_left_over_may_be_kept() {
    let stage = open().await;
    stage
        .sim
        .faults()
        .next(3, DELETE.0, DELETE.1, Fault::Status(403));
    let asked = stage.reply("mod", ALL).await;
    let told = pressed(&stage, &asked, TOO).await;
    assert!(
        told.starts_with("3 levels no longer have a name. 0 of 3 roles are deleted. These stay: "),
        "{told}"
    );
    assert_eq!(
        told.matches("(Discord does not let me delete it)").count(),
        3
    );
    let asked = stage.reply("mod", ALL).await;
    assert_eq!(
        pressed(&stage, &asked, "Keep them").await,
        "3 roles stay in the guild, and their members keep them."
    );
    assert_eq!(stage.ask("mod", ALL).await, NONE);
    assert_eq!(there(&stage), ["Five", "Nine", "One", "Other"]);
}

#[tokio::test]
async fn a_discord_that_does_not_answer_is_said_and_the_rest_is_left_for_later() {
    let stage = open().await;
    stage
        .sim
        .faults()
        .next(99, DELETE.0, DELETE.1, Fault::Status(500));
    let asked = stage.reply("mod", ALL).await;
    assert_eq!(
        pressed(&stage, &asked, TOO).await,
        "3 levels no longer have a name. 0 of 3 roles are deleted. Discord is not responding. Please try again shortly. \
         Type `remove_level_name all` again to delete the rest."
    );
    stage.sim.faults().clear();
    let asked = stage.reply("mod", ALL).await;
    assert_eq!(
        pressed(&stage, &asked, "Delete the 3 roles").await,
        "3 roles are deleted."
    );
}

#[tokio::test]
async fn how_far_a_long_one_is_is_said() {
    let stage = open().await;
    let late = Fault::Delay(Duration::from_secs(4));
    stage.sim.faults().next(1, DELETE.0, DELETE.1, late);
    let asked = stage.reply("mod", ALL).await;
    let moderator = stage.sim.user("mod");
    stage
        .sim
        .click(moderator, id_of(&asked), &button(&asked, TOO));
    wait("a word on how far it is", async || {
        let edits = stage.sim.requests();
        let says = |text: &str| edits.iter().any(|edit| edit.body["content"] == text);
        says("One moment … Deleted 1 of 3 roles.").then_some(())
    })
    .await;
    wait("the end", async || {
        let text = said(&stage.sim.message(id_of(&asked))?);
        text.ends_with("3 roles are deleted.").then_some(())
    })
    .await;
}
