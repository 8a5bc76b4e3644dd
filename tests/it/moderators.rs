//! `/give_xp`, `/set_xp` and `/xp_log`; who may run what; hostile words.

use discord_sim::{Fault, Method, World};
use serde_json::{Value, json};

use crate::support::{Stage, TestDatabase, is_private, person, said};

/// Discord's flag of a message in which no link is unfurled.
const SUPPRESS_EMBEDS: u64 = 1 << 2;

fn change(user: u64, amount: i64, reason: &str) -> Value {
    json!([
        { "name": "user", "type": 6, "value": user.to_string() },
        { "name": "amount", "value": amount },
        { "name": "reason", "value": reason },
    ])
}

fn user(id: u64) -> Value {
    json!([{ "name": "user", "type": 6, "value": id.to_string() }])
}

/// alice has 200 points, which are level 1.
async fn with_alice() -> (Stage, u64) {
    let world = World::new();
    let alice = person(&world, "alice");
    let database = TestDatabase::migrated().await;
    database.insert_user(alice, 200, 5).await;
    (Stage::open_on(world, database).await, alice)
}

/// The log of alice's changes, without the times.
async fn log(stage: &Stage, alice: u64) -> String {
    let text = stage.slash("mod", "xp_log", user(alice)).await;
    let names = [("alice", alice), ("mod", stage.sim.user("mod"))];
    let text = names
        .iter()
        .fold(text, |text, (name, id)| text.replace(&id.to_string(), name));
    text.lines()
        .map(|line| line.split_once(":f> ").map_or(line, |(_, rest)| rest))
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn xp_is_given_taken_and_set_and_all_of_it_is_recorded() {
    let (stage, alice) = with_alice().await;
    assert_eq!(
        log(&stage, alice).await,
        "No moderator has changed alice's XP."
    );
    for (text, answer) in [
        (
            format!(".give_xp <@{alice}> 50 won  the **raffle** @everyone"),
            "alice now has 250 XP (was 200) and is level 1.",
        ),
        (
            format!(".give_xp {alice} +5 a little"),
            "alice now has 255 XP (was 250) and is level 2 (was level 1).",
        ),
        (
            format!(".give_xp <@!{alice}> -1000 spam"),
            "alice now has 0 XP (was 255) and is level 0 (was level 2).",
        ),
        (
            format!(".set_xp <@{alice}> 475 moved here"),
            "alice now has 475 XP (was 0) and is level 3 (was level 0).",
        ),
    ] {
        assert_eq!(stage.ask("mod", &text).await, answer, "{text}");
    }
    for (command, amount, answer) in [
        (
            "give_xp",
            25,
            "alice now has 500 XP (was 475) and is level 3.",
        ),
        (
            "set_xp",
            500,
            "alice now has 500 XP (was 500) and is level 3.",
        ),
    ] {
        let options = change(alice, amount, "by slash");
        assert_eq!(stage.slash("mod", command, options).await, answer);
    }
    assert_eq!(stage.database.standing(alice).await, Some((500, 5)));
    insta::assert_snapshot!(log(&stage, alice).await.replace('\u{200b}', "[zero width]"), @r"
    Changes of alice's XP
    mod <@mod>: 500 → 500 (+0): by slash
    mod <@mod>: 475 → 500 (+25): by slash
    mod <@mod>: 0 → 475 (+475): moved here
    mod <@mod>: 255 → 0 (-255): spam
    mod <@mod>: 250 → 255 (+5): a little
    mod <@mod>: 200 → 250 (+50): won  the \*\*raffle\*\* @[zero width]everyone
    ");
    assert!(
        stage
            .sim
            .bot_messages(stage.sim.channel("general"))
            .iter()
            .all(|message| !said(message).contains("reached")),
        "nobody asked for an announcement"
    );
}

#[tokio::test]
async fn a_level_is_announced_if_that_is_asked_for() {
    let (stage, alice) = with_alice().await;
    let text = format!(".give_xp <@{alice}> 100 announce for the talk");
    assert!(
        stage
            .ask("mod", &text)
            .await
            .contains("level 2 (was level 1)")
    );
    let general = stage.sim.channel("general");
    let line = format!("<@{alice}> reached **level 2**!");
    let announced = || {
        let said_so = |message: &Value| said(message) == line;
        stage
            .sim
            .bot_messages(general)
            .iter()
            .any(said_so)
            .then_some(())
    };
    stage.sim.wait("the line", announced).await;
    assert!(log(&stage, alice).await.ends_with("for the talk"));
    let mut options = change(alice, 500, "again");
    options
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "announce", "value": true }));
    stage.slash("mod", "set_xp", options).await;
    let line = format!("<@{alice}> reached **level 3**!");
    let announced = || {
        let said_so = |message: &Value| said(message) == line;
        stage
            .sim
            .bot_messages(general)
            .iter()
            .any(said_so)
            .then_some(())
    };
    stage.sim.wait("the line", announced).await;
}

#[tokio::test]
async fn the_same_command_twice_changes_once() {
    let (stage, alice) = with_alice().await;
    stage.sim.faults().next(
        1,
        Method::POST,
        "/interactions/{}/{}/callback",
        Fault::Status(500),
    );
    let options = change(alice, 50, "once");
    let answer = stage.slash("mod", "give_xp", options).await;
    assert_eq!(answer, "alice now has 250 XP (was 200) and is level 1.");
    assert_eq!(stage.database.standing(alice).await, Some((250, 5)));
    assert_eq!(
        stage
            .database
            .number("select count(*) from xp_change")
            .await,
        1
    );
}

#[tokio::test]
async fn what_makes_no_sense_changes_nothing() {
    let (stage, alice) = with_alice().await;
    let usage = "Usage: `.give_xp @user amount [announce] reason`, for example `.give_xp @alice 50 won the raffle`.";
    let bounds = "The amount must be a number from 1 to 100,000,000, or negative to take XP away.";
    let why = "Give a reason of at most 300 characters; it is kept in the log.";
    let nobody = 100_000_000_000_000_001_u64;
    for (typed, answer) in [
        (String::new(), usage.to_owned()),
        (format!("<@{alice}>"), usage.to_owned()),
        (format!("<@{alice}> five x"), usage.to_owned()),
        (
            format!("<@{alice}> 99999999999999999999 x"),
            usage.to_owned(),
        ),
        ("@everyone 5 x".to_owned(), usage.to_owned()),
        (format!("<@{alice}> 5"), usage.to_owned()),
        (format!("<@{alice}> 0 x"), bounds.to_owned()),
        (format!("<@{alice}> 100000001 x"), bounds.to_owned()),
        (format!("<@{alice}> {} x", i64::MIN), bounds.to_owned()),
        (format!("<@{alice}> 5 \u{200b}"), why.to_owned()),
        (format!("<@{alice}> 5 {}", "x".repeat(301)), why.to_owned()),
        (
            format!("{nobody} 5 x"),
            format!("There is no user with the id {nobody}."),
        ),
        (
            format!("<@{}> 5 x", stage.sim.user("beep")),
            "Bots do not earn any XP.".to_owned(),
        ),
    ] {
        assert_eq!(
            stage.ask("mod", &format!(".give_xp {typed}")).await,
            answer,
            "{typed}"
        );
    }
    for (typed, answer) in [
        ("-1 x", "The amount must be a number from 0 to 100,000,000."),
        (
            "100000001 x",
            "The amount must be a number from 0 to 100,000,000.",
        ),
    ] {
        assert_eq!(
            stage
                .ask("mod", &format!(".set_xp <@{alice}> {typed}"))
                .await,
            answer
        );
    }
    assert_eq!(stage.database.standing(alice).await, Some((200, 5)));
    assert_eq!(
        stage
            .database
            .number("select count(*) from xp_change")
            .await,
        0
    );
}

#[tokio::test]
async fn what_is_hidden_stays_hidden_from_others() {
    let (stage, alice) = with_alice().await;
    stage.ask("mod", &format!(".hide_xp <@{alice}>")).await;
    let told = stage.ask("mod", &format!(".give_xp <@{alice}> 50 x")).await;
    assert_eq!(
        told,
        "alice's XP was changed. They keep it hidden; `/xp_log` shows it."
    );
    assert_eq!(
        stage.ask("mod", &format!(".xp_log <@{alice}>")).await,
        "alice keeps their XP hidden. Type `/xp_log` to see the changes privately."
    );
    let (moderator, general) = (stage.sim.user("mod"), stage.sim.channel("general"));
    let asked = stage.sim.slash(moderator, general, "xp_log", &user(alice));
    let shown = stage.sim.answer_to(asked).await;
    assert!(
        is_private(&shown) && said(&shown).contains("200 → 250 (+50): x"),
        "{shown}"
    );
}

#[tokio::test]
async fn moderators_commands_are_for_moderators() {
    let world = World::new()
        .role("Admins", 1 << 3)
        .person("mere_moderator", &["Moderator"])
        .person("admin", &["Admins"]);
    let database = TestDatabase::migrated().await;
    let stage = Stage::open_on(world, database).await;
    let alice = stage.sim.user("alice");
    let only = "Only Minions and Moderator can use this command.";
    let commands = [
        (".levels".to_owned(), "levels", json!([])),
        (
            ".set_level_name 3 Three".to_owned(),
            "set_level_name",
            json!([{ "name": "level", "value": 3 }, { "name": "name", "value": "Three" }]),
        ),
        (
            ".remove_level_name 5".to_owned(),
            "remove_level_name",
            json!([{ "name": "level", "value": 5 }]),
        ),
        (
            format!(".give_xp <@{alice}> 5 x"),
            "give_xp",
            change(alice, 5, "x"),
        ),
        (
            format!(".set_xp <@{alice}> 5 x"),
            "set_xp",
            change(alice, 5, "x"),
        ),
        (format!(".xp_log <@{alice}>"), "xp_log", user(alice)),
        (format!(".no_xp <@{alice}>"), "no_xp", user(alice)),
        (format!(".earn_xp <@{alice}>"), "earn_xp", user(alice)),
        (
            ".xp_multiplier everyone 200".to_owned(),
            "xp_multiplier",
            json!([{ "name": "percent", "value": "200" }]),
        ),
        (".xp_rules".to_owned(), "xp_rules", json!([])),
    ];
    let general = stage.sim.channel("general");
    for (text, command, options) in &commands {
        let offered = stage.sim.try_slash(alice, general, command, options);
        assert!(offered.is_err(), "{command} is not shown to everyone");
        // An administrator may have shown it to everyone; that gives nobody the right.
        stage.regain_a_command();
        let forced = stage.sim.force_slash(alice, general, command, options);
        let told = stage.sim.answer_to(forced).await;
        assert_eq!(said(&told), only, "{command}");
        assert!(is_private(&told));
        assert_eq!(stage.ask("alice", text).await, only, "{text}");
        // Nor do wrong arguments tell them how it is used.
        let typed = text.split(' ').next().unwrap();
        let wrong = format!("{typed} nonsense");
        assert_eq!(stage.ask("alice", &wrong).await, only);
    }
    stage
        .bot
        .logged("someone without the right tried a command")
        .await;
    assert!(
        stage.bot.log().contains("command=\"give_xp\"")
            || stage.bot.log().contains("command=give_xp"),
        "{}",
        stage.bot.log()
    );
    for who in ["mod", "mere_moderator", "admin", "boss"] {
        for (text, ..) in &commands {
            assert_ne!(stage.ask(who, text).await, only, "{who}: {text}");
        }
    }
    // Rights follow the roles at once.
    stage.sim.grant(alice, stage.sim.role("Moderator"));
    assert_ne!(stage.ask("alice", ".levels").await, only);
    stage.sim.revoke(alice, stage.sim.role("Moderator"));
    assert_eq!(stage.ask("alice", ".levels").await, only);
}

#[tokio::test]
async fn trouble_at_discord_changes_nothing_twice() {
    let (stage, alice) = with_alice().await;
    for (number, status) in (1..).zip([403, 404, 429, 500]) {
        let fault = match status {
            429 => Fault::RateLimited {
                retry_after: std::time::Duration::from_millis(200),
                scope: discord_sim::Scope::User,
                headers: true,
            },
            status => Fault::Status(status),
        };
        stage
            .sim
            .faults()
            .next(1, Method::POST, "/channels/{}/messages", fault);
        stage.regain_a_command();
        stage.say("mod", &format!(".give_xp <@{alice}> 1 x"));
        let given = 200 + number;
        crate::support::wait("the XP", async || {
            (stage.database.standing(alice).await == Some((given, 5))).then_some(())
        })
        .await;
    }
    assert_eq!(
        stage
            .database
            .number("select count(*) from xp_change")
            .await,
        4
    );
    assert!(log(&stage, alice).await.contains("200 → 201 (+1): x"));
}

#[tokio::test]
async fn names_are_only_text_in_every_answer() {
    let world = World::new();
    let alice = person(&world, "alice");
    let database = TestDatabase::migrated().await;
    database.insert_user(alice, 200, 5).await;
    let stage = Stage::open_on(world, database).await;
    let (moderator, general) = (stage.sim.user("mod"), stage.sim.channel("general"));
    let emoji = "👩‍👩‍👧".repeat(32);
    let long = "x".repeat(10_000);
    for (name, shown) in [
        (
            "**b** <@1> @everyone",
            "\\*\\*b\\*\\* \\<@\u{200b}1> @\u{200b}everyone",
        ),
        ("\u{202e}live", "live"),
        (
            "https://evil.example/x discord.gg/abc",
            "https:\u{200b}//evil.example\u{200b}/x discord.gg\u{200b}/abc",
        ),
        (emoji.as_str(), ""),
        (long.as_str(), ""),
        ("\u{200b}", "(no name)"),
    ] {
        stage.sim.nick(alice, Some(name));
        for (command, options) in [
            ("rank", user(alice)),
            ("give_xp", change(alice, 1, name)),
            ("set_xp", change(alice, 250, "x")),
            ("xp_log", user(alice)),
            ("hide_xp", user(alice)),
            ("rank", user(alice)),
            ("ranks", user(alice)),
            ("show_xp", user(alice)),
        ] {
            if command == "give_xp" && (name.len() > 300 || name == "\u{200b}") {
                continue;
            }
            stage.regain_a_command();
            let asked = stage.sim.slash(moderator, general, command, &options);
            let told = stage.sim.answer_to(asked).await;
            let text = said(&told);
            let names_them = !(command == "ranks" && text.contains("Rank - "));
            assert!(!names_them || text.contains(shown), "{command}: {text}");
            assert!(
                !text.contains("@everyone") && !text.contains('\u{202e}'),
                "{command}: {text}"
            );
            assert!(text.chars().count() < 4_096, "{command}");
            assert!(!text.contains("**b**"), "{command}: {text}");
            let links = stage.sim.unfurled(crate::support::id_of(&told));
            assert_eq!(links, Vec::<String>::new(), "{command}: {text}");
            let has_embeds = told["embeds"]
                .as_array()
                .is_some_and(|embeds| !embeds.is_empty());
            let flags = told["flags"].as_u64().unwrap_or(0);
            assert_eq!(
                flags & SUPPRESS_EMBEDS == 0,
                has_embeds,
                "{command}: {told}"
            );
        }
    }
    let pinged = stage.sim.bot_messages(general).iter().any(|message| {
        let pings = stage.sim.pings(crate::support::id_of(message));
        pings.everyone || !pings.users.is_empty() || !pings.roles.is_empty()
    });
    assert!(!pinged, "nobody is pinged");
}

#[tokio::test]
async fn answers_that_discord_refuses_end_nothing_but_themselves() {
    let (stage, alice) = with_alice().await;
    let general = stage.sim.channel("general");
    let moderator = stage.sim.user("mod");
    for (command, options) in [
        ("levels", json!([])),
        ("xp_log", user(alice)),
        ("hide_xp", user(alice)),
        ("show_xp", user(alice)),
        ("help", json!([])),
        ("rank", json!([])),
    ] {
        for status in [403, 404] {
            stage.sim.faults().next(
                1,
                Method::POST,
                "/interactions/{}/{}/callback",
                Fault::Status(status),
            );
            stage.regain_a_command();
            stage.sim.slash(moderator, general, command, &options);
            let met = || (stage.sim.faults().left() == 0).then_some(());
            stage.sim.wait("the refusal", met).await;
        }
        for fault in [Fault::Status(500), Fault::ResetAfter] {
            stage
                .sim
                .faults()
                .next(1, Method::POST, "/interactions/{}/{}/callback", fault);
            stage.regain_a_command();
            let asked = stage.sim.slash(moderator, general, command, &options);
            let told = said(&stage.sim.answer_to(asked).await);
            assert!(
                !told.is_empty(),
                "{command} is answered at the second attempt"
            );
        }
    }
    // What is deferred is finished by an edit.
    for (fault, answered) in [(Fault::Status(403), false), (Fault::Status(500), true)] {
        stage.sim.faults().next(
            1,
            Method::PATCH,
            "/webhooks/{}/{}/messages/@original",
            fault,
        );
        stage.regain_a_command();
        let asked = stage
            .sim
            .slash(moderator, general, "give_xp", &change(alice, 1, "x"));
        let met = || (stage.sim.faults().left() == 0).then_some(());
        stage.sim.wait("the refusal", met).await;
        if answered {
            stage.sim.answer_to(asked).await;
        }
    }
    assert!(stage.ask("mod", ".help").await.starts_with("Commands"));
}
