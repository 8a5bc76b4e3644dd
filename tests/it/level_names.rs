//! `.levels`, `.set_level_name` and `.remove_level_name`: levels and the roles they carry.

use discord_sim::{Fault, Method, Sim, World};
use fault_lab::Position;
use serde_json::{Value, json};

use crate::support::{Stage, TestDatabase, id_of, is_private, person, said, wait};

/// Discord's permission bits.
const MANAGE_MESSAGES: u64 = 1 << 13;
const MANAGE_ROLES: u64 = 1 << 28;

/// What the bot answers at last: a role that was set is applied to the members first.
async fn answer_of(stage: &Stage, who: &str, text: &str) -> String {
    stage.regain_a_command();
    let asked = stage.say(who, text);
    complete(stage, || stage.sim.find_reply(asked)).await
}

/// The words before those that tell to how many members a role was applied.
async fn complete(stage: &Stage, look: impl Fn() -> Option<Value>) -> String {
    let text = || look().map(|message| said(&message));
    let first = stage.sim.wait("an answer", text).await;
    if !(first.starts_with("Renamed ") || first.contains(" now carries the role ")) {
        return first;
    }
    let applied = || {
        let text = text()?;
        let is_applied =
            text.contains(" Applied to ") || text.contains(" No members were affected.");
        is_applied.then(|| cut(&text).to_owned())
    };
    stage.sim.wait("the members' roles", applied).await
}

/// Without the words that tell to how many members a role was applied, and where a new role stands.
fn cut(text: &str) -> &str {
    let ends = [
        " Applied to ",
        " No members were affected.",
        " The new role stands ",
    ];
    let end = ends.iter().filter_map(|words| text.find(words)).min();
    &text[..end.unwrap_or(text.len())]
}

/// What a level carries: the role's id, whether or not it is there, and the name.
pub async fn carried(stage: &Stage, level: i32) -> (Option<u64>, Option<String>) {
    let row: (Option<i64>, Option<String>) =
        sqlx::query_as("select role_id, role_name from level where number = $1")
            .bind(level)
            .fetch_one(&mut stage.database.session().await)
            .await
            .unwrap();
    (row.0.map(|id| u64::try_from(id).unwrap()), row.1)
}

fn options(level: i64, name: &str) -> Value {
    json!([{ "name": "level", "value": level }, { "name": "name", "value": name }])
}

fn count(sim: &Sim, name: &str) -> usize {
    sim.role_names().iter().filter(|role| *role == name).count()
}

#[tokio::test]
async fn a_level_gets_a_role_another_name_and_none() {
    let stage = Stage::open().await;
    for (text, answer) in [
        (
            ".set_level_name 5 \"Missing Semicolon\"",
            "Level 5 now carries the role Missing Semicolon. It was just created.",
        ),
        (
            ".set_level_name 5 Missing Semicolon",
            "Missing Semicolon already belongs to level 5.",
        ),
        (
            ".set_level_name 6 “Missing Semicolon”",
            "Missing Semicolon already belongs to level 5.",
        ),
        (
            ".SET_LEVEL_NAME 5   Git   Gud",
            "Renamed Missing Semicolon to Git Gud for level 5.",
        ),
        (".remove_level_name 6", "Level 6 has no role."),
        (
            ".remove_level_name 5",
            "Level 5 no longer carries Git Gud. The role itself stays in the guild, and its members keep it.",
        ),
        (".remove_level_name 5", "Level 5 has no role."),
        (
            ".set_level_name 5 Git Gud",
            "Level 5 now carries the role Git Gud. It was already in the guild.",
        ),
        (
            ".set_level_name 7 Moderator of jokes",
            "Level 7 now carries the role Moderator of jokes. It was just created.",
        ),
        (
            ".remove_level_name 7",
            "Level 7 no longer carries Moderator of jokes. The role itself stays in the guild, and its members keep \
             it.",
        ),
        (
            ".set_level_name 5 Moderator of jokes",
            "Level 5 now carries the role Moderator of jokes. It was already in the guild. Git Gud stays in the \
             guild but is no longer a level role.",
        ),
    ] {
        assert_eq!(answer_of(&stage, "mod", text).await, answer, "{text}");
    }
    let role = stage.sim.role("Moderator of jokes");
    let expected = (Some(role), Some("Moderator of jokes".to_owned()));
    assert_eq!(carried(&stage, 5).await, expected);
    let made = stage.sim.requests_to(&Method::POST, "/guilds/{}/roles");
    let reasons: Vec<_> = made.iter().filter_map(|made| made.reason.clone()).collect();
    let moderator = stage.sim.user("mod");
    assert_eq!(
        reasons,
        [
            format!("the role of level 5, as {moderator} asked"),
            format!("the role of level 7, as {moderator} asked")
        ]
    );
    assert_eq!(made[0].body["permissions"], "0", "it gives no rights");
}

#[tokio::test]
async fn the_same_by_slash() {
    let stage = Stage::open().await;
    for (command, options, answer) in [
        (
            "set_level_name",
            options(5, "Missing Semicolon"),
            "Level 5 now carries the role Missing Semicolon. It was just created.",
        ),
        (
            "set_level_name",
            options(5, "Git Gud"),
            "Renamed Missing Semicolon to Git Gud for level 5.",
        ),
        (
            "set_level_name",
            options(6, "Git Gud"),
            "Git Gud already belongs to level 5.",
        ),
        (
            "remove_level_name",
            json!([{ "name": "level", "value": 5 }]),
            "Level 5 no longer carries Git Gud. The role itself stays in the guild, and its members keep it.",
        ),
        (
            "remove_level_name",
            json!([{ "name": "level", "value": 5 }]),
            "Level 5 has no role.",
        ),
    ] {
        let general = stage.sim.channel("general");
        let asked = stage
            .sim
            .slash(stage.sim.user("mod"), general, command, &options);
        let told = stage.sim.answer_to(asked).await;
        assert_eq!(cut(&said(&told)), answer);
        let refusal = answer.contains("already belongs") || answer.contains("has no role");
        assert_eq!(is_private(&told), refusal, "{answer}");
    }
}

#[tokio::test]
async fn numbers_and_names_that_are_none_are_answered() {
    let stage = Stage::open().await;
    answer_of(&stage, "mod", ".set_level_name 3 Three").await;
    let free = "Levels without a role: 0–2, 4–100.";
    let usage = "Usage: `.set_level_name level \"name\"`, for example `.set_level_name 5 \"Missing Semicolon\"`.";
    let (long, longest) = ("x".repeat(101), "y".repeat(100));
    for (typed, answer) in [
        ("-1 x", format!("There is no level -1. {free}")),
        ("101 x", format!("There is no level 101. {free}")),
        (
            "99999999999999999999 x",
            format!("There is no level 99999999999999999999. {free}"),
        ),
        ("five x", usage.to_owned()),
        ("", usage.to_owned()),
        ("5", usage.to_owned()),
        (
            "5 \"\"",
            "A role's name needs 1 to 100 characters, and at least one that can be seen.".to_owned(),
        ),
        (
            "5 \u{200b}\u{3164}",
            "A role's name needs 1 to 100 characters, and at least one that can be seen.".to_owned(),
        ),
        (
            &format!("5 {long}"),
            "A role's name needs 1 to 100 characters; this one has 101.".to_owned(),
        ),
        (
            "5 @everyone",
            "`@everyone` and `@here` cannot be names of roles.".to_owned(),
        ),
        (
            "5 \"@HERE\"",
            "`@everyone` and `@here` cannot be names of roles.".to_owned(),
        ),
        (
            "5 \"@\u{200b}everyone",
            "A quote is missing: type the name between two quotes, or without any.".to_owned(),
        ),
        (
            "5 ＠everyone",
            "`@everyone` and `@here` cannot be names of roles.".to_owned(),
        ),
        (
            &format!("5 <@{}>", stage.sim.user("alice")),
            "A mention cannot be a role's name: type the name itself, or mention one role and nothing else.".to_owned(),
        ),
        (
            &format!("5 fans of <#{}>", 175_928_847_299_117_063_u64),
            "A mention cannot be a role's name: type the name itself, or mention one role and nothing else.".to_owned(),
        ),
        (
            &format!("5 <:pepe:{}>", 175_928_847_299_117_063_u64),
            "A role's name cannot hold custom emoji or timestamps: type it without them.".to_owned(),
        ),
        (
            "5 <@&175928847299117063>",
            "There is no role with the id 175928847299117063 in this server. Type the role's name, or mention the role."
                .to_owned(),
        ),
        (
            &format!("0 {longest}"),
            format!("Level 0 now carries the role {longest}. It was just created."),
        ),
        (
            "100 **bold** <@1> `x`",
            "Level 100 now carries the role \\*\\*bold\\*\\* \\<@\u{200b}1> \\`x\\`. It was just created.".to_owned(),
        ),
        (
            "1 👩‍👩‍👧 \u{202e}drawkcab",
            "Level 1 now carries the role 👩‍👩‍👧 drawkcab. It was just created.".to_owned(),
        ),
    ] {
        let text = format!(".set_level_name {typed}");
        assert_eq!(answer_of(&stage, "mod", &text).await, answer, "{typed}");
    }
    for typed in ["", "five", "5 6", "-", "5."] {
        let text = format!(".remove_level_name {typed}");
        assert_eq!(
            answer_of(&stage, "mod", &text).await,
            "Usage: `.remove_level_name level or all`, for example `.remove_level_name 5`.",
            "{typed}"
        );
    }
    for number in ["101", "-1", "99999999999999999999"] {
        assert_eq!(
            answer_of(&stage, "mod", &format!(".remove_level_name {number}")).await,
            format!("There is no level {number}. Levels without a role: 2, 4–99.")
        );
    }
    for number in ["0", "-1", "101", "99999999999999999999", "five"] {
        let answer = answer_of(&stage, "mod", &format!(".levels {number}")).await;
        let expected = if ["0", "-1", "101"].contains(&number) {
            format!("There is no page {number}; there is only page 1.")
        } else {
            "Usage: `.levels [page]`, for example `.levels`.".to_owned()
        };
        assert_eq!(answer, expected);
    }
}

#[tokio::test]
async fn roles_that_nobody_may_earn_are_refused() {
    let stage = Stage::open().await;
    let sim = &stage.sim;
    sim.create_role("Helpers", MANAGE_MESSAGES);
    sim.create_managed_role("Booster");
    let high = sim.create_role("High", 0);
    sim.move_role(high, 99);
    sim.create_role("Twin", 0);
    sim.create_role("Twin", 0);
    for (name, answer) in [
        (
            "Helpers",
            "Helpers has moderation permissions, so it can't be earned by talking. Remove those permissions, or \
             choose another role with `set_level_name`.",
        ),
        (
            "Booster",
            "Booster belongs to an integration, so I can't manage it. Choose another role with `set_level_name`.",
        ),
        (
            "High",
            "High is not below my own role, so I can't manage it. Drag my role above it in Server Settings, Roles.",
        ),
        (
            "Twin",
            "Twin is one of 2 roles with that name. Rename or delete all but one of them.",
        ),
        (
            "Minions",
            "Minions gives its members rights over the bot, so it can't be earned by talking. Choose another role with \
             `set_level_name`.",
        ),
        (
            "bot_MANAGER",
            "bot\\_MANAGER gives its members rights over the bot, so it can't be earned by talking. Choose another \
             role with `set_level_name`.",
        ),
    ] {
        let text = format!(".set_level_name 5 {name}");
        assert_eq!(answer_of(&stage, "mod", &text).await, answer);
        assert_eq!(carried(&stage, 5).await, (None, None), "{name}");
    }
    // Nor can the level's own role be renamed once it is out of reach.
    answer_of(&stage, "mod", ".set_level_name 5 Five").await;
    sim.move_role(sim.role("Five"), 99);
    assert_eq!(
        answer_of(&stage, "mod", ".set_level_name 5 Fünf").await,
        "Five is not below my own role, so I can't manage it. Drag my role above it in Server Settings, Roles."
    );
}

#[tokio::test]
async fn taking_over_a_role_that_members_hold_is_asked_about() {
    let world = World::new();
    let (alice, bob, carol) = (
        person(&world, "alice"),
        person(&world, "bob"),
        person(&world, "carol"),
    );
    let database = TestDatabase::migrated().await;
    // 1,150 points are level 5.
    for (user, points) in [(alice, 5_000), (bob, 2_000), (carol, 10)] {
        database.insert_user(user, points, 1).await;
    }
    let stage = Stage::open_on(world, database).await;
    let veterans = stage.sim.create_role("Veterans", 0);
    for user in [alice, carol, stage.sim.user("beep")] {
        stage.sim.grant(user, veterans);
    }
    let question = "The role Veterans is already in the guild. 3 members hold it. As the role of level 5, \
                    1 would gain it and 2 would lose it.";
    let asked = stage.reply("mod", ".set_level_name 5 Veterans").await;
    assert_eq!(said(&asked), question);
    assert_eq!(
        carried(&stage, 5).await,
        (None, None),
        "nothing is done yet"
    );
    let told = stage.press("alice", &asked, "Take it over").await;
    assert_eq!(
        said(&told),
        "Only the person who asked can use these buttons."
    );
    let left = stage.press("mod", &asked, "Leave it").await;
    assert_eq!(said(&left), "Everything stays as it is.");
    assert_eq!(left["components"], json!([]));

    let general = stage.sim.channel("general");
    let moderator = stage.sim.user("mod");
    let slash = stage.sim.slash(
        moderator,
        general,
        "set_level_name",
        &options(5, "Veterans"),
    );
    let asked = stage.sim.answer_to(slash).await;
    assert_eq!(said(&asked), question);
    let taken = stage.press("mod", &asked, "Take it over").await;
    assert_eq!(
        cut(&said(&taken)),
        "Level 5 now carries the role Veterans. It was already in the guild."
    );
    assert_eq!(taken["components"], json!([]));
    let expected = (Some(veterans), Some("Veterans".to_owned()));
    assert_eq!(carried(&stage, 5).await, expected);
}

#[tokio::test]
async fn a_confirmation_that_is_late_is_looked_at_again() {
    let stage = Stage::open().await;
    let veterans = stage.sim.create_role("Veterans", 0);
    stage.sim.grant(stage.sim.user("alice"), veterans);
    let alice = stage.sim.user("alice");
    let ask = async || {
        // As the role of a level that she has not reached she has lost it meanwhile.
        stage.sim.grant(alice, stage.sim.role("Veterans"));
        stage.reply("mod", ".set_level_name 5 Veterans").await
    };
    // Another moderator was faster.
    let asked = ask().await;
    let other = stage.reply("mod", ".set_level_name 6 Veterans").await;
    stage.press("mod", &other, "Take it over").await;
    let told = stage.press("mod", &asked, "Take it over").await;
    assert_eq!(said(&told), "Veterans already belongs to level 6.");
    // The role has gone, or has got rights.
    wait("the role to be taken", async || {
        (!stage.sim.member_roles(alice).contains(&veterans)).then_some(())
    })
    .await;
    answer_of(&stage, "mod", ".remove_level_name 6").await;
    let asked = ask().await;
    stage.sim.role_permissions(veterans, MANAGE_ROLES);
    let told = stage.press("mod", &asked, "Take it over").await;
    assert!(said(&told).contains("moderation permissions"), "{told}");
    stage.sim.role_permissions(veterans, 0);
    let asked = ask().await;
    stage.sim.delete_role(veterans);
    let told = stage.press("mod", &asked, "Take it over").await;
    assert_eq!(said(&told), "That role is no longer in the guild.");
    // The moderator is none any more.
    let veterans = stage.sim.create_role("Veterans", 0);
    stage.sim.grant(stage.sim.user("alice"), veterans);
    let asked = ask().await;
    for role in ["Minions", "Moderator"] {
        stage
            .sim
            .revoke(stage.sim.user("mod"), stage.sim.role(role));
    }
    let told = stage.press("mod", &asked, "Take it over").await;
    assert_eq!(
        said(&told),
        "Only Minions and Moderator can use this command."
    );
    assert_eq!(carried(&stage, 5).await, (None, None));
}

#[tokio::test]
async fn a_role_that_was_taken_off_can_be_deleted_too() {
    let stage = Stage::open().await;
    let mods = stage.sim.role("Moderator");
    stage.sim.role_permissions(mods, MANAGE_ROLES);
    answer_of(&stage, "mod", ".set_level_name 5 Gone soon").await;
    let removed = stage.reply("mod", ".remove_level_name 5").await;
    let told = stage.press("bob", &removed, "Delete the role too").await;
    assert_eq!(
        said(&told),
        "Only the person who asked can use these buttons."
    );
    let sure = stage.press("mod", &removed, "Delete the role too").await;
    assert_eq!(
        said(&sure),
        "Delete the role Gone soon from the guild? Everyone who has it loses it, and this cannot be undone."
    );
    let kept = stage.press("mod", &sure, "Keep it").await;
    assert_eq!(said(&kept), "Everything stays as it is.");
    assert_eq!(count(&stage.sim, "Gone soon"), 1);

    answer_of(&stage, "mod", ".set_level_name 5 Gone soon").await;
    let removed = stage.reply("mod", ".remove_level_name 5").await;
    let sure = stage.press("mod", &removed, "Delete the role too").await;
    // It is some level's again meanwhile.
    answer_of(&stage, "mod", ".set_level_name 6 Gone soon").await;
    let told = stage.press("mod", &sure, "Delete it").await;
    assert_eq!(
        said(&told),
        "The role Gone soon stays: level 6 carries it again."
    );

    let removed = stage.reply("mod", ".remove_level_name 6").await;
    let sure = stage.press("mod", &removed, "Delete the role too").await;
    let deleted = stage.press("mod", &sure, "Delete it").await;
    assert_eq!(said(&deleted), "The role Gone soon is deleted.");
    assert_eq!(count(&stage.sim, "Gone soon"), 0);
}

#[tokio::test]
async fn deleting_a_role_takes_the_permission_to_manage_roles() {
    const LACKS: &str = "You need the permission Manage Roles to delete a role. Ask someone who has it, or give it to a \
                         role of yours in Server Settings, Roles.";
    let stage = Stage::open().await;
    let sim = &stage.sim;
    let (mods, general) = (sim.role("Moderator"), sim.channel("general"));
    // What a channel allows is not enough: there the permission is another one.
    sim.overwrite(general, mods, MANAGE_ROLES, 0);
    answer_of(&stage, "mod", ".set_level_name 5 Five").await;
    let removed = stage.reply("mod", ".remove_level_name 5").await;
    let told = stage.press("mod", &removed, "Delete the role too").await;
    assert_eq!(said(&told), LACKS);

    answer_of(&stage, "mod", ".set_level_name 5 Five").await;
    let removed = stage.reply("mod", ".remove_level_name 5").await;
    sim.role_permissions(mods, MANAGE_ROLES);
    let sure = stage.press("mod", &removed, "Delete the role too").await;
    assert!(said(&sure).starts_with("Delete the role Five from the guild?"));
    // It is lost between the two presses.
    sim.role_permissions(mods, MANAGE_MESSAGES);
    let told = stage.press("mod", &sure, "Delete it").await;
    assert_eq!(said(&told), LACKS);

    // A role that is not below the caller's own, although it is below the bot's.
    answer_of(&stage, "mod", ".set_level_name 5 Five").await;
    let removed = stage.reply("mod", ".remove_level_name 5").await;
    sim.role_permissions(mods, MANAGE_ROLES);
    let count_of_roles = u64::try_from(sim.role_names().len()).unwrap();
    // @everyone is counted too.
    sim.move_role(sim.role("Five"), count_of_roles - 2);
    let told = stage.press("mod", &removed, "Delete the role too").await;
    assert_eq!(
        said(&told),
        "The role Five stays: it is not below your own highest role."
    );
    assert_eq!(count(sim, "Five"), 1);

    // The owner has no role at all.
    answer_of(&stage, "boss", ".set_level_name 5 Five").await;
    let removed = stage.reply("boss", ".remove_level_name 5").await;
    let sure = stage.press("boss", &removed, "Delete the role too").await;
    let deleted = stage.press("boss", &sure, "Delete it").await;
    assert_eq!(said(&deleted), "The role Five is deleted.");
}

#[tokio::test]
async fn a_new_role_comes_with_a_word_on_where_it_stands() {
    const STANDS: &str = " The new role stands below all others: to show its members apart or in its colour, move it up in \
                          Server Settings, Roles, but keep it below my own role.";
    let stage = Stage::open().await;
    for (text, is_new) in [
        (".set_level_name 5 Five", true),
        (".set_level_name 5 Fünf", false),
    ] {
        let asked = stage.say("mod", text);
        complete(&stage, || stage.sim.find_reply(asked)).await;
        let told = said(&stage.sim.reply_to(asked).await);
        assert_eq!(told.ends_with(STANDS), is_new, "{told}");
        let applied = told.find(" No members were affected.").unwrap();
        assert!(told.find(STANDS).is_none_or(|at| at > applied), "{told}");
    }
}

#[tokio::test]
async fn forged_buttons_do_nothing_for_those_without_the_right() {
    let stage = Stage::open().await;
    let mods = stage.sim.role("Moderator");
    stage.sim.role_permissions(mods, MANAGE_ROLES);
    answer_of(&stage, "mod", ".set_level_name 5 Five").await;
    let veterans = stage.sim.create_role("Veterans", 0);
    let alice = stage.sim.user("alice");
    let page = stage.reply("mod", ".levels").await;
    for wish in [
        format!("take:6:{veterans}"),
        format!("delete:{veterans}"),
        format!("offer-delete:{veterans}"),
        "turn:levels:1:on".to_owned(),
    ] {
        let id = format!("{wish}:{alice}");
        let pressed = stage.sim.forge_click(alice, id_of(&page), &id);
        let told = stage.sim.answer_to(pressed).await;
        assert_eq!(
            said(&told),
            "Only Minions and Moderator can use this command."
        );
        assert!(is_private(&told));
    }
    // Whoever has it can do no more than with the command itself.
    let moderator = stage.sim.user("mod");
    for (role, answer) in [
        (
            "Minions",
            "The role Minions stays: it gives its members rights over the bot; delete it in Discord if you want it gone.",
        ),
        ("Five", "The role Five stays: level 5 carries it again."),
        (
            "wall_e",
            "The role wall\\_e stays: it belongs to an integration.",
        ),
    ] {
        let page = stage.reply("mod", ".levels").await;
        let id = format!("delete:{}:{moderator}", stage.sim.role(role));
        let pressed = stage.sim.forge_click(moderator, id_of(&page), &id);
        let done = || {
            let told = said(&stage.sim.find_answer(pressed)?);
            (told != "One moment …").then_some(told)
        };
        assert_eq!(stage.sim.wait("an answer", done).await, answer);
        assert_eq!(count(&stage.sim, role), 1);
    }
}

#[tokio::test]
async fn two_moderators_at_one_level_come_one_after_the_other() {
    let stage = Stage::open().await;
    let (first, second) = (
        stage.say("mod", ".set_level_name 5 One"),
        stage.say("boss", ".set_level_name 5 Two"),
    );
    let told = [
        complete(&stage, || stage.sim.find_reply(first)).await,
        complete(&stage, || stage.sim.find_reply(second)).await,
    ];
    assert!(
        told.contains(&"Renamed One to Two for level 5.".to_owned())
            || told.contains(&"Renamed Two to One for level 5.".to_owned()),
        "{told:?}"
    );
    let (role, name) = carried(&stage, 5).await;
    assert_eq!(stage.sim.role_name(role.unwrap()), name);
    assert_eq!(count(&stage.sim, "One") + count(&stage.sim, "Two"), 1);
}

#[tokio::test]
async fn the_list_shows_what_is_there_and_then_what_is_missing() {
    let world = World::new();
    let database = TestDatabase::named().await;
    database.make_up_users(3).await;
    database
        .insert_user(person(&world, "alice"), 1_100, 1)
        .await;
    database
        .execute("update user_point set hidden = true where message_count = 1001")
        .await;
    let mut stage = Stage::open_on(world, database).await;
    stage.bot.logged("roles are verified").await;
    for gone in ["Kernel", "THE 95"] {
        stage.sim.delete_role(stage.sim.role(gone));
    }
    stage
        .sim
        .rename_role(stage.sim.role("Hello World"), "**Hello**");
    let page = stage.reply("mod", ".levels").await;
    let ids = |text: String| {
        stage.sim.role_names().iter().fold(text, |text, name| {
            text.replace(&stage.sim.role(name).to_string(), name)
        })
    };
    insta::assert_snapshot!(ids(said(&page)), @r"
    Levels
    0 - <@&**Hello**> - reached by 4 members
    5 - <@&Missing Semicolon> - reached by 2 members
    10 - <@&Manual Tester> - reached by 2 members
    15 - <@&Javascript Programmer> - reached by 2 members
    20 - <@&Syntax Error> - reached by 2 members
    25 - <@&Git Gud> - reached by 2 members
    30 - <@&Full Stack Developer> - reached by 2 members
    35 - <@&Assembly Programmer> - reached by 2 members
    40 - <@&Segmentation Fault> - reached by 2 members
    45 - <@&Vim User> - reached by 2 members
    ");
    assert_eq!(page["embeds"][0]["footer"]["text"], "1/2");
    let second = stage.press("mod", &page, "⏩").await;
    insta::assert_snapshot!(ids(said(&second)), @r"
    Levels
    55 - <@&Stallman Follower> - reached by 2 members
    60 - <@&Forkbomb> - reached by 2 members
    65 - <@&Human Compiler> - reached by 2 members
    70 - <@&Gentoo Installer> - reached by 2 members
    75 - <@&HolyC> - reached by 2 members
    80 - <@&CD level80> - reached by 0 members
    85 - <@&THE 85> - reached by 0 members
    90 - <@&THE 90> - reached by 0 members
    **Missing from the guild**
    50 - Kernel
    95 - THE 95
    ");
    assert_eq!(
        ids(stage.slash("mod", "levels", json!([])).await),
        ids(said(&page))
    );
    assert_eq!(
        stage.ask("mod", ".levels 3").await,
        "There is no page 3; the pages are 1 to 2."
    );
    stage
        .database
        .execute("update level set role_id = null, role_name = null")
        .await;
    stage.restart().await;
    assert_eq!(
        stage.ask("mod", ".levels").await,
        "No level carries a role yet; `set_level_name` gives it one."
    );
}

#[tokio::test]
async fn trouble_at_discord_is_said_and_the_same_command_heals_it() {
    let stage = Stage::open().await;
    let (create, roles) = (
        (Method::POST, "/guilds/{}/roles"),
        (Method::GET, "/guilds/{}/roles"),
    );
    let half = "The name of level 5 is saved. Type the command again to create its role.";
    let not_allowed = "Discord does not let me make a role: I need the Manage Roles permission, and my role must be \
                       above that one.";
    let limited = Fault::RateLimited {
        retry_after: std::time::Duration::from_millis(200),
        scope: discord_sim::Scope::User,
        headers: true,
    };
    let made = "Level 5 now carries the role Five. It was just created.";
    for (number, (fault, answer)) in [
        (Fault::Status(403), format!("{not_allowed} {half}")),
        (
            Fault::Status(500),
            format!("Discord is not responding. Please try again shortly. {half}"),
        ),
        (
            Fault::Status(400),
            format!("That did not work; the reason is in the bot's log. {half}"),
        ),
        (limited, made.to_owned()),
        // It was made, and nobody heard of it.
        (Fault::ResetAfter, made.to_owned()),
        (Fault::StatusAfter(503), made.to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        stage
            .sim
            .faults()
            .next(1, create.0.clone(), create.1, fault.clone());
        assert_eq!(
            answer_of(&stage, "mod", ".set_level_name 5 Five").await,
            answer,
            "{fault:?}"
        );
        if !answer.ends_with("created.") {
            assert_eq!(carried(&stage, 5).await, (None, Some("Five".to_owned())));
            assert_eq!(
                answer_of(&stage, "mod", ".set_level_name 5 Five").await,
                made
            );
        }
        assert_eq!(count(&stage.sim, "Five"), 1, "{number}");
        let (role, _) = carried(&stage, 5).await;
        assert_eq!(role, Some(stage.sim.role("Five")));
        answer_of(&stage, "mod", ".remove_level_name 5").await;
        stage.sim.delete_role(stage.sim.role("Five"));
    }
    for status in [400, 403, 404] {
        let answer = "That did not work; the reason is in the bot's log.";
        stage
            .sim
            .faults()
            .next(1, roles.0.clone(), roles.1, Fault::Status(status));
        assert_eq!(
            answer_of(&stage, "mod", ".set_level_name 5 Five").await,
            answer
        );
    }
    stage
        .sim
        .faults()
        .next(3, roles.0.clone(), roles.1, Fault::Status(500));
    assert_eq!(
        answer_of(&stage, "mod", ".set_level_name 5 Five").await,
        made,
        "asked again"
    );
    // Renaming.
    for (fault, answer) in [
        (
            Fault::Status(403),
            "Discord does not let me rename that role: I need the Manage Roles permission, and my role must be \
             above that one.",
        ),
        (
            Fault::Status(404),
            "That did not work; the reason is in the bot's log.",
        ),
        (Fault::Status(500), "Renamed Five to Six for level 5."),
        (Fault::ResetAfter, "Renamed Six to Seven for level 5."),
    ] {
        let name = answer
            .split(" to ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let text = format!(".set_level_name 5 {}", name.unwrap_or("Other"));
        stage
            .sim
            .faults()
            .next(1, Method::PATCH, "/guilds/{}/roles/{}", fault);
        assert_eq!(answer_of(&stage, "mod", &text).await, answer);
    }
    assert_eq!(count(&stage.sim, "Seven"), 1);
}

#[tokio::test]
async fn a_bot_that_dies_between_name_and_role_is_healed_by_the_next() {
    let mut stage = Stage::open().await;
    stage
        .sim
        .faults()
        .next(1, Method::POST, "/guilds/{}/roles", Fault::Hang);
    stage.say("mod", ".set_level_name 5 Five");
    wait("the name to be saved", async || {
        carried(&stage, 5).await.1.map(|_| ())
    })
    .await;
    stage.bot.kill().await;
    stage.sim.faults().clear();
    stage.start_again().await;
    let linked = async |stage: &Stage| {
        wait("the role to be linked", async || {
            let role = stage.sim.find_role("Five")?;
            (carried(stage, 5).await.0 == Some(role)).then_some(())
        })
        .await;
    };
    linked(&stage).await;
    // And between role and link.
    stage
        .database
        .execute("update level set role_id = null")
        .await;
    stage.restart().await;
    linked(&stage).await;
    assert_eq!(count(&stage.sim, "Five"), 1);
}

#[tokio::test]
async fn a_rename_by_hand_or_one_that_was_cut_off_is_taken_over() {
    let stage = Stage::open().await;
    answer_of(&stage, "mod", ".set_level_name 5 Five").await;
    let role = stage.sim.role("Five");
    stage.sim.grant(stage.sim.user("alice"), role);
    // The bot does not hear of it, as if it had been away.
    stage.sim.gateway().lose_next(1);
    stage.sim.rename_role(role, "Fünf");
    assert_eq!(
        answer_of(&stage, "mod", ".set_level_name 5 Fünf").await,
        "Renamed Five to Fünf for level 5."
    );
    assert_eq!(
        carried(&stage, 5).await,
        (Some(role), Some("Fünf".to_owned()))
    );
    stage.sim.rename_role(role, "Cinq");
    assert_eq!(
        answer_of(&stage, "mod", ".remove_level_name 5").await,
        "Level 5 no longer carries Cinq. The role itself stays in the guild, and its members keep it."
    );
    answer_of(&stage, "mod", ".set_level_name 6 Six").await;
    stage.sim.delete_role(stage.sim.role("Six"));
    assert_eq!(
        answer_of(&stage, "mod", ".remove_level_name 6").await,
        "Level 6 no longer carries Six."
    );
}

#[tokio::test]
async fn the_very_role_that_was_confirmed_is_taken_over() {
    let stage = Stage::open().await;
    // A name of which quotes and spaces would be taken off.
    let odd = stage.sim.create_role("\"Git  Gud\"", 0);
    stage.sim.grant(stage.sim.user("alice"), odd);
    let (moderator, general) = (stage.sim.user("mod"), stage.sim.channel("general"));
    let options = options(5, "\"Git  Gud\"");
    let slash = stage
        .sim
        .slash(moderator, general, "set_level_name", &options);
    let asked = stage.sim.answer_to(slash).await;
    assert!(said(&asked).contains("1 member holds it"), "{asked}");
    stage.sim.rename_role(odd, "**here**");
    let taken = stage.press("mod", &asked, "Take it over").await;
    assert_eq!(
        cut(&said(&taken)),
        "Level 5 now carries the role \\*\\*here\\*\\*. It was already in the guild."
    );
    assert_eq!(carried(&stage, 5).await.0, Some(odd));
}

#[tokio::test]
async fn holders_are_counted_in_pages_and_said_to_be_unknown_where_discord_hides_them() {
    let database = TestDatabase::migrated().await;
    let stage = Stage::open_on(World::new().members(1_500), database).await;
    stage.bot.logged("roles are verified").await;
    let veterans = stage.sim.create_role("Veterans", 0);
    stage.sim.grant(stage.sim.user("alice"), veterans);
    let pages = (Method::GET, "/guilds/{}/members");
    stage.sim.clear_requests();
    let ask = || answer_of(&stage, "mod", ".set_level_name 5 Veterans");
    assert!(ask().await.contains("1 member holds it"));
    assert_eq!(stage.sim.requests_to(&pages.0, pages.1).len(), 2);
    stage
        .sim
        .faults()
        .next(1, pages.0.clone(), pages.1, Fault::Status(500));
    assert!(
        ask().await.contains("1 member holds it"),
        "it is asked again"
    );
    stage
        .sim
        .faults()
        .next(1, pages.0.clone(), pages.1, Fault::Status(403));
    assert!(ask().await.contains("I can't count"));
    stage
        .sim
        .faults()
        .next(9, pages.0.clone(), pages.1, Fault::Status(500));
    assert_eq!(
        ask().await,
        "Discord is not responding. Please try again shortly."
    );
    stage.sim.faults().clear();
    assert_eq!(carried(&stage, 5).await, (None, None));
}

#[tokio::test]
async fn trouble_while_a_role_is_deleted_is_said() {
    let stage = Stage::open().await;
    let mods = stage.sim.role("Moderator");
    stage.sim.role_permissions(mods, MANAGE_ROLES);
    let delete = (Method::DELETE, "/guilds/{}/roles/{}");
    for (fault, answer) in [
        (
            Fault::Status(403),
            "Discord does not let me delete that role: I need the Manage Roles permission, and my role must be \
             above that one.",
        ),
        (Fault::Status(404), "The role Five is deleted."),
        (Fault::Status(500), "The role Five is deleted."),
        (Fault::ResetAfter, "The role Five is deleted."),
    ] {
        answer_of(&stage, "mod", ".set_level_name 5 Five").await;
        let removed = stage.reply("mod", ".remove_level_name 5").await;
        let sure = stage.press("mod", &removed, "Delete the role too").await;
        stage
            .sim
            .faults()
            .next(1, delete.0.clone(), delete.1, fault);
        let told = stage.press("mod", &sure, "Delete it").await;
        assert_eq!(said(&told), answer);
    }
}

#[tokio::test]
async fn a_database_that_goes_away_after_discord_was_asked_is_said() {
    let (stage, gate) = Stage::open_gated().await;
    // What the message itself earns is saved first.
    stage.say("mod", "hello");
    stage
        .database
        .wait_for_messages(stage.sim.user("mod"), 1)
        .await;
    gate.set(Position::Slow(std::time::Duration::from_millis(100)));
    assert_eq!(
        answer_of(&stage, "mod", ".set_level_name 3 Three").await,
        "Level 3 now carries the role Three. It was just created."
    );
    gate.set(Position::Shut);
    assert_eq!(
        answer_of(&stage, "mod", ".set_level_name 3 Drei").await,
        "The database is unavailable. Please try again shortly. The role itself was renamed. Type the command again \
         to save that."
    );
    gate.set(Position::Open);
    assert_eq!(
        answer_of(&stage, "mod", ".set_level_name 3 Drei").await,
        "Renamed Three to Drei for level 3."
    );
    assert_eq!(carried(&stage, 3).await.1.as_deref(), Some("Drei"));
}

#[tokio::test]
async fn an_absent_database_is_said_and_nothing_is_half_done() {
    let (stage, gate) = Stage::open_gated().await;
    let away = "The database is unavailable. Please try again shortly.";
    gate.set(Position::Shut);
    for text in [".set_level_name 3 Three", ".remove_level_name 5"] {
        assert_eq!(answer_of(&stage, "mod", text).await, away, "{text}");
    }
    let options = options(3, "Three");
    assert_eq!(stage.slash("mod", "set_level_name", options).await, away);
    assert_eq!(count(&stage.sim, "Three"), 0);
    gate.set(Position::Open);
    stage
        .database
        .wait_for_messages(stage.sim.user("mod"), 1)
        .await;
    assert_eq!(
        answer_of(&stage, "mod", ".set_level_name 3 Three").await,
        "Level 3 now carries the role Three. It was just created."
    );
}

#[tokio::test]
async fn levels_and_roles_are_suggested_while_a_moderator_types() {
    let stage = Stage::open_on(World::new(), TestDatabase::named().await).await;
    stage.bot.logged("roles are verified").await;
    let (general, moderator) = (stage.sim.channel("general"), stage.sim.user("mod"));
    for name in ["Wizards", "Witches"] {
        stage.sim.create_role(name, 0);
    }
    stage.sim.create_role("Wardens", MANAGE_MESSAGES);
    let suggested = async |command: &str, options: Value, focused: &str| {
        let asked = stage
            .sim
            .autocomplete(moderator, general, command, &options, focused);
        let choices = stage.sim.choices_for(asked).await;
        let show = |choice: &Value| format!("{} = {}", choice["name"], choice["value"]);
        choices.iter().map(show).collect::<Vec<_>>()
    };
    let level = |typed: &str| json!([{ "name": "level", "value": typed }]);
    assert_eq!(
        suggested("set_level_name", level("semi"), "level").await,
        ["\"5 · Missing Semicolon\" = 5"]
    );
    assert_eq!(
        suggested("set_level_name", level(""), "level").await.len(),
        25
    );
    assert_eq!(
        suggested("remove_level_name", level("5"), "level").await[..2],
        [
            "\"5 · Missing Semicolon\" = 5",
            "\"15 · Javascript Programmer\" = 15"
        ]
    );
    let name = json!([{ "name": "level", "value": 3 }, { "name": "name", "value": "w" }]);
    assert_eq!(
        suggested("set_level_name", name, "name").await,
        ["\"Witches\" = \"Witches\"", "\"Wizards\" = \"Wizards\""]
    );
}

#[tokio::test]
async fn a_mentioned_role_is_the_one_that_is_meant() {
    let stage = Stage::open().await;
    let veterans = stage.sim.create_role("Veterans", 0);
    let mention = format!("<@&{veterans}>");
    let taken = "Level 39 now carries the role Veterans. It was already in the guild.";
    let answer = answer_of(&stage, "mod", &format!(".set_level_name 39 {mention}")).await;
    assert_eq!(answer, taken);
    assert_eq!(carried(&stage, 39).await.0, Some(veterans));
    let answer = answer_of(&stage, "mod", &format!(".set_level_name 39 {veterans}")).await;
    assert_eq!(answer, "Veterans already belongs to level 39.");
    let answer = answer_of(&stage, "mod", &format!(".set_level_name 40 \"{mention}\"")).await;
    assert_eq!(answer, "Veterans already belongs to level 39.");
    // By slash a mention arrives as the same text, and all that stops a name stops it too.
    let helpers = stage.sim.create_role("Helpers", MANAGE_MESSAGES);
    let minions = stage.sim.role("Minions");
    for (role, part) in [
        (helpers, "has moderation permissions"),
        (minions, "gives its members rights"),
        (stage.sim.guild_id(), "gives its members rights"),
    ] {
        let told = stage
            .slash("mod", "set_level_name", options(40, &format!("<@&{role}>")))
            .await;
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(carried(&stage, 40).await, (None, None));
    assert!(
        stage
            .sim
            .role_names()
            .iter()
            .all(|name| !name.contains("<@"))
    );
}

#[tokio::test]
async fn names_with_white_space_around_them_are_healed_and_make_no_twin() {
    let world = World::new().role("Kernel", 0);
    let database = TestDatabase::migrated().await;
    for (level, name) in [(5, "Kernel "), (6, "\u{a0}Shell"), (7, "  ")] {
        sqlx::query("update level set role_name = $1 where number = $2")
            .bind(name)
            .bind(level)
            .execute(&mut database.session().await)
            .await
            .unwrap();
    }
    let stage = Stage::open_on(world, database).await;
    let (kernel, shell) = (stage.sim.role("Kernel"), stage.sim.role("Shell"));
    assert_eq!(
        carried(&stage, 5).await,
        (Some(kernel), Some("Kernel".to_owned()))
    );
    assert_eq!(
        carried(&stage, 6).await,
        (Some(shell), Some("Shell".to_owned()))
    );
    assert_eq!(carried(&stage, 7).await.0, None);
    for name in ["Kernel", "Shell"] {
        assert_eq!(count(&stage.sim, name), 1, "{name}");
    }
    assert_eq!(count(&stage.sim, "new role"), 0);
}
