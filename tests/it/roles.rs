//! The right level roles on the right members: at a level-up, at a return, and by
//! verification.

use std::process::Stdio;
use std::time::Duration;

use discord_sim::permissions::{BOT, MANAGE_ROLES};
use discord_sim::{Fault, Method, Scope, Sim, World};
use serde_json::json;
use wall_e::leveling::mee6_total;

use crate::support::{
    Bot, Stage, TestDatabase, button, command, id_of, person, said, wait, wait_for,
};

pub const PUT: (Method, &str) = (Method::PUT, "/guilds/{}/members/{}/roles/{}");
pub const DELETE: (Method, &str) = (Method::DELETE, "/guilds/{}/members/{}/roles/{}");

/// Levels 0, 1 and 5 have names.
pub async fn three_names() -> TestDatabase {
    let database = TestDatabase::migrated().await;
    database
        .execute(
            "update level set role_name = case number when 0 then 'Zero' when 1 then 'One' else 'Five' end
             where number in (0, 1, 5)",
        )
        .await;
    database
}

/// With alice at level 5, bob at level 1, and their roles made and given.
pub async fn verified() -> Stage {
    verified_in(World::new()).await
}

/// The same in another guild.
pub async fn verified_in(world: World) -> Stage {
    let database = three_names().await;
    for (name, level) in [("alice", 5), ("bob", 1)] {
        let points = i64::try_from(mee6_total(level)).unwrap();
        database.insert_user(person(&world, name), points, 1).await;
    }
    let stage = Stage::open_on(world, database).await;
    stage.bot.logged("roles are verified").await;
    stage
}

/// The level roles that someone holds, by name, lowest first.
pub fn level_roles(sim: &Sim, user: u64) -> Vec<&'static str> {
    let held = sim.member_roles(user);
    ["Zero", "One", "Five"]
        .into_iter()
        .filter(|name| sim.find_role(name).is_some_and(|role| held.contains(&role)))
        .collect()
}

pub async fn holds(stage: &Stage, user: u64, names: &[&str]) {
    wait(&format!("{names:?} on {user}"), async || {
        (level_roles(&stage.sim, user) == names).then_some(())
    })
    .await;
}

/// Waits until nobody's roles are still to be looked at.
pub async fn settled(stage: &Stage) {
    let waiting = "select count(*) from role_work";
    wait("nobody to wait", async || {
        (stage.database.number(waiting).await == 0).then_some(())
    })
    .await;
}

pub fn role_calls(stage: &Stage) -> usize {
    [PUT, DELETE]
        .iter()
        .map(|(method, path)| stage.sim.requests_to(method, path).len())
        .sum()
}

/// Waits until another verification has ended.
pub async fn verify_again(stage: &Stage) -> String {
    stage.slash("mod", "verify_roles", json!([])).await;
    stage.regain_a_command();
    let asked = stage.say("mod", ".verify_roles");
    let done = || {
        let text = said(&stage.sim.find_reply(asked)?);
        text.starts_with("Verified").then_some(text)
    };
    stage.sim.wait("the verification", done).await
}

#[tokio::test]
async fn the_first_start_makes_the_roles_in_level_order_and_gives_them() {
    let stage = verified().await;
    let (alice, bob, carol) = (
        stage.sim.user("alice"),
        stage.sim.user("bob"),
        stage.sim.user("carol"),
    );
    assert_eq!(level_roles(&stage.sim, alice), ["Zero", "One", "Five"]);
    assert_eq!(level_roles(&stage.sim, bob), ["Zero", "One"]);
    assert_eq!(level_roles(&stage.sim, carol), [""; 0], "not tracked");
    let names: Vec<_> = stage
        .sim
        .roles()
        .iter()
        .map(|role| role["name"].clone())
        .collect();
    let place = |name: &str| names.iter().position(|one| *one == name).unwrap();
    assert!(place("wall_e") < place("Five"), "{names:?}");
    assert!(
        place("Five") < place("One") && place("One") < place("Zero"),
        "{names:?}"
    );
    assert_eq!(role_calls(&stage), 5);
    // Once: the next one finds nothing to do.
    stage.sim.clear_requests();
    verify_again(&stage).await;
    // Asking was the moderator's first message.
    holds(&stage, stage.sim.user("mod"), &["Zero"]).await;
    assert!(role_calls(&stage) <= 2, "{}", stage.bot.log());
    assert!(
        stage
            .sim
            .requests_to(&Method::POST, "/guilds/{}/roles")
            .is_empty()
    );
}

#[tokio::test]
async fn a_level_up_gives_its_role_with_one_call_and_says_so() {
    let stage = verified().await;
    let bob = stage.sim.user("bob");
    let almost = i64::try_from(mee6_total(5)).unwrap() - 1;
    stage.rest();
    stage
        .slash(
            "mod",
            "set_xp",
            json!([
                { "name": "user", "type": 6, "value": bob.to_string() },
                { "name": "amount", "value": almost },
                { "name": "reason", "value": "test" },
            ]),
        )
        .await;
    settled(&stage).await;
    stage.sim.clear_requests();
    stage.say("bob", "hello");
    holds(&stage, bob, &["Zero", "One", "Five"]).await;
    let general = stage.sim.channel("general");
    let line = format!("<@{bob}> reached **level 5**! New role: **Five**.");
    let posted = || {
        let messages = stage.sim.bot_messages(general);
        messages
            .iter()
            .any(|message| said(message) == line)
            .then_some(())
    };
    stage.sim.wait("the line", posted).await;
    assert_eq!(role_calls(&stage), 1);
}

#[tokio::test]
async fn a_role_that_is_refused_does_not_swallow_the_line() {
    let stage = verified().await;
    let carol = stage.sim.user("carol");
    // A level without a name brings no call at all; the first message brings the lowest.
    stage.say("carol", "hello");
    holds(&stage, carol, &["Zero"]).await;
    stage.sim.move_role(stage.sim.role("One"), 99);
    let give = json!([
        { "name": "user", "type": 6, "value": carol.to_string() },
        { "name": "amount", "value": 200 },
        { "name": "announce", "value": true },
        { "name": "reason", "value": "test" },
    ]);
    stage.slash("mod", "give_xp", give).await;
    let general = stage.sim.channel("general");
    let line = format!("<@{carol}> reached **level 1**!");
    let posted = || {
        let messages = stage.sim.bot_messages(general);
        messages
            .iter()
            .any(|message| said(message).starts_with(&line))
            .then_some(())
    };
    stage.sim.wait("the line", posted).await;
    let words = told(&stage, 1).await;
    assert!(
        words[0].contains("One of level 1 is not below my own"),
        "{words:?}"
    );
    verify_again(&stage).await;
    assert_eq!(told(&stage, 1).await, words, "said once");
    stage.sim.move_role(stage.sim.role("One"), 1);
    holds(&stage, carol, &["Zero", "One"]).await;
    is_solved(&stage).await;
}

/// Waits until the council has been told so much; what.
pub async fn told(stage: &Stage, count: usize) -> Vec<String> {
    let told = || {
        let council = stage.sim.find_channel("council")?;
        let words: Vec<_> = stage.sim.bot_messages(council).iter().map(said).collect();
        (words.len() == count).then_some(words)
    };
    stage.sim.wait("the council to be told", told).await
}

/// Waits until everything that the council was told is marked as solved.
pub async fn is_solved(stage: &Stage) {
    let solved = || {
        let words = stage.sim.bot_messages(stage.sim.channel("council"));
        let is_solved = |word: &serde_json::Value| said(word).contains("Solved");
        words.iter().all(is_solved).then_some(())
    };
    stage.sim.wait("the problems to be solved", solved).await;
}

#[tokio::test]
async fn who_comes_back_gets_every_level_role_again() {
    let mut stage = verified().await;
    let (alice, carol) = (stage.sim.user("alice"), stage.sim.user("carol"));
    stage.sim.leave(alice);
    stage.sim.join(alice);
    holds(&stage, alice, &["Zero", "One", "Five"]).await;
    // After the screening, not before.
    stage.sim.leave(alice);
    stage.sim.join_pending(alice);
    stage.sim.nick(alice, Some("al"));
    stage.sim.leave(carol);
    stage.sim.join(carol);
    settled(&stage).await;
    assert_eq!(level_roles(&stage.sim, alice), [""; 0], "still pending");
    stage.sim.pass_screening(alice);
    holds(&stage, alice, &["Zero", "One", "Five"]).await;
    assert_eq!(
        level_roles(&stage.sim, carol),
        [""; 0],
        "never earned anything"
    );
    // Gone again at once, and banned: no error, and nothing left to do.
    for ban in [false, true] {
        stage.sim.leave(alice);
        stage.sim.join(alice);
        if ban {
            stage.sim.ban(alice);
        } else {
            stage.sim.leave(alice);
        }
        settled(&stage).await;
        if ban {
            stage.sim.unban(alice);
        }
    }
    // Trouble, and a restart in the middle.
    stage
        .sim
        .faults()
        .next(1_000, PUT.0, PUT.1, Fault::Status(500));
    stage.sim.join(alice);
    stage.bot.logged("could not be given back").await;
    stage.bot.kill().await;
    stage.sim.faults().clear();
    stage.start_again().await;
    holds(&stage, alice, &["Zero", "One", "Five"]).await;
    settled(&stage).await;
}

#[tokio::test]
async fn who_comes_back_gets_them_in_whatever_order_it_is_told() {
    let stage = verified().await;
    let alice = stage.sim.user("alice");
    for (duplicates, swaps) in [(3, 0), (0, 1), (0, 2), (3, 2)] {
        stage.sim.leave(alice);
        stage.sim.gateway().duplicate_next(duplicates);
        stage.sim.gateway().swap_next(swaps);
        stage.sim.join_pending(alice);
        stage.sim.pass_screening(alice);
        // What is held back to be swapped goes on with whatever comes next.
        stage.say("carol", "hello");
        stage.say("carol", "hello");
        holds(&stage, alice, &["Zero", "One", "Five"]).await;
    }
}

#[tokio::test]
async fn what_humans_do_to_roles_is_put_right_or_followed() {
    let stage = verified().await;
    let (alice, bob, carol) = (
        stage.sim.user("alice"),
        stage.sim.user("bob"),
        stage.sim.user("carol"),
    );
    let other = stage.sim.create_role("Gardeners", 0);
    for user in [alice, carol] {
        stage.sim.grant(user, other);
    }
    stage.sim.grant(carol, stage.sim.role("Five"));
    stage.sim.grant(bob, stage.sim.role("Five"));
    stage.sim.revoke(alice, stage.sim.role("One"));
    stage.sim.rename_role(stage.sim.role("Zero"), "Nothing");
    let report = verify_again(&stage).await;
    assert!(report.contains("Roles given: "), "{report}");
    assert_eq!(
        level_roles(&stage.sim, alice),
        ["One", "Five"],
        "Zero is called Nothing"
    );
    assert_eq!(level_roles(&stage.sim, bob), ["One"]);
    assert_eq!(level_roles(&stage.sim, carol), [""; 0]);
    for user in [alice, carol] {
        assert!(
            stage.sim.member_roles(user).contains(&other),
            "others' roles stay"
        );
    }
    let name = "select count(*) from level where number = 0 and role_name = 'Nothing'";
    assert_eq!(stage.database.number(name).await, 1);
    assert_eq!(stage.sim.find_role("Zero"), None);
}

#[tokio::test]
async fn what_humans_do_to_level_roles_is_followed_at_once() {
    let stage = verified().await;
    stage.sim.clear_requests();
    stage.sim.rename_role(stage.sim.role("Five"), "Fünf");
    wait("the level's new name", async || {
        let name = "select count(*) from level where number = 5 and role_name = 'Fünf'";
        (stage.database.number(name).await == 1).then_some(())
    })
    .await;
    stage.sim.delete_role(stage.sim.role("One"));
    let told = || {
        // Made for the first notice.
        let council = stage.sim.find_channel("council")?;
        let messages = stage.sim.bot_messages(council);
        let told = messages.iter().any(|message| {
            said(message).contains("The role One of level 1 is missing from the guild.")
        });
        told.then_some(())
    };
    stage.sim.wait("the council to be told", told).await;
    let pages = stage.sim.requests_to(&Method::GET, "/guilds/{}/members");
    assert_eq!(pages.len(), 0, "nobody's roles are looked at for that");
}

#[tokio::test]
async fn roles_wait_for_what_was_missed() {
    let mut stage = verified().await;
    let alice = stage.sim.user("alice");
    stage.bot.terminate().await;
    // As after a restore: what brought the level is in the history only.
    stage
        .database
        .execute("update user_point set points = 1149 where points = 1150")
        .await;
    stage.rest();
    stage.say("alice", "what brings it back");
    stage.sim.clear_requests();
    stage.sim.faults().next(
        1,
        Method::GET,
        "/channels/{}/messages",
        Fault::Delay(Duration::from_millis(700)),
    );
    stage.start_again().await;
    stage.bot.logged("roles are verified").await;
    let taken = stage.sim.requests_to(&Method::DELETE, PUT.1);
    assert_eq!(taken.len(), 0, "{taken:?}");
    holds(&stage, alice, &["Zero", "One", "Five"]).await;
}

#[tokio::test]
async fn a_role_that_was_deleted_is_asked_about_and_comes_back_or_goes() {
    let stage = verified().await;
    for name in ["Five", "One"] {
        stage.sim.delete_role(stage.sim.role(name));
    }
    told(&stage, 2).await;
    assert_eq!(
        stage.sim.find_role("Five"),
        None,
        "nothing is decided for a human"
    );
    let council = stage.sim.channel("council");
    let notice = |level: &str| {
        let about = format!("of level {level} is missing from the guild.");
        let messages = stage.sim.bot_messages(council);
        messages
            .into_iter()
            .find(|message| said(message).contains(&about))
            .unwrap()
    };
    let (question, alice) = (notice("5"), stage.sim.user("alice"));
    let id = button(&question, "Create it again");
    let forged = stage.sim.forge_click(alice, id_of(&question), &id);
    let told = stage.sim.answer_to(forged).await;
    assert_eq!(
        said(&told),
        "Only Minions and Moderator can use this command."
    );
    let told = stage.press("mod", &notice("5"), "Create it again").await;
    assert!(
        said(&told).starts_with("Level 5 now carries the role Five."),
        "{told}"
    );
    holds(&stage, stage.sim.user("alice"), &["Zero", "Five"]).await;
    let told = stage
        .press("boss", &notice("1"), "Remove the level's name")
        .await;
    assert_eq!(said(&told), "Level 1 no longer carries One.");
    is_solved(&stage).await;
    assert_eq!(stage.sim.find_role("One"), None);
}

#[tokio::test]
async fn a_wrong_database_does_not_strip_a_guild() {
    let stage = Stage::open_on(World::new().members(1_000), three_names().await).await;
    stage.bot.logged("roles are verified").await;
    let five = stage.sim.role("Five");
    // Thirty of a thousand hold what nobody has earned.
    let holders: Vec<u64> = (0..30)
        .map(|number| stage.sim.add_person(&format!("holder{number}")))
        .collect();
    for holder in &holders {
        stage.sim.join(*holder);
        stage.sim.grant(*holder, five);
    }
    let report = verify_again(&stage).await;
    assert!(report.contains("30 members would lose roles"), "{report}");
    assert!(
        holders
            .iter()
            .all(|user| stage.sim.member_roles(*user).contains(&five))
    );
    let council = stage.sim.channel("council");
    let question = stage.sim.bot_messages(council).into_iter().next().unwrap();
    assert!(said(&question).contains("30 of 1,0"), "{question}");
    stage
        .press("mod", &question, "Let them lose the roles")
        .await;
    // Ten calls in ten seconds is Discord's limit.
    wait_for(
        Duration::from_mins(3),
        "the roles to be taken",
        async || {
            let holds = |user: &&u64| stage.sim.member_roles(**user).contains(&five);
            (holders.iter().filter(holds).count() == 0).then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn trouble_at_discord_puts_off_and_never_doubles() {
    let limited = |scope, headers| Fault::RateLimited {
        retry_after: Duration::from_millis(200),
        scope,
        headers,
    };
    for fault in [
        Fault::Status(403),
        Fault::Status(404),
        Fault::Status(500),
        // A 204 that changed nothing.
        Fault::Status(204),
        Fault::Html(429),
        limited(Scope::User, true),
        limited(Scope::Shared, true),
        limited(Scope::Global, true),
        limited(Scope::User, false),
        Fault::ResetAfter,
    ] {
        let stage = verified().await;
        let (alice, five) = (stage.sim.user("alice"), stage.sim.role("Five"));
        stage.sim.revoke(alice, five);
        stage.sim.faults().next(1, PUT.0, PUT.1, fault.clone());
        verify_again(&stage).await;
        // At once, or at the next one.
        verify_again(&stage).await;
        holds(&stage, alice, &["Zero", "One", "Five"]).await;
        assert_eq!(stage.sim.faults().left(), 0, "{fault:?}");
    }
}

#[tokio::test]
async fn a_role_that_goes_in_the_middle_holds_up_nothing_else() {
    for deleted in [true, false] {
        let stage = verified().await;
        let (alice, bob) = (stage.sim.user("alice"), stage.sim.user("bob"));
        let (zero, five) = (stage.sim.role("Zero"), stage.sim.role("Five"));
        stage.sim.revoke(alice, five);
        stage.sim.revoke(bob, zero);
        // Between the list of roles and the first call.
        stage.sim.faults().next(
            1,
            Method::GET,
            "/guilds/{}/members",
            Fault::Delay(Duration::from_millis(700)),
        );
        stage.sim.clear_requests();
        stage.regain_a_command();
        stage.say("mod", ".verify_roles");
        let listing = || {
            let pages = stage.sim.requests_to(&Method::GET, "/guilds/{}/members");
            (!pages.is_empty()).then_some(())
        };
        stage.sim.wait("the members to be read", listing).await;
        if deleted {
            stage.sim.delete_role(five);
        } else {
            stage.sim.move_role(five, 99);
        }
        wait("bob's role", async || {
            stage.sim.member_roles(bob).contains(&zero).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_verification_is_healed_by_the_next() {
    let world = World::new().members(60);
    let database = three_names().await;
    let sim = Sim::start(world).await.unwrap();
    let people: Vec<u64> = (0..12).map(|n| sim.add_person(&format!("p{n}"))).collect();
    for user in &people {
        sim.join(*user);
        database.insert_user(*user, 200, 1).await;
    }
    let bot = Bot::start(&sim, &database.url()).await;
    let mut stage = Stage { bot, database, sim };
    wait("the first role to be given", async || {
        people
            .iter()
            .any(|user| !level_roles(&stage.sim, *user).is_empty())
            .then_some(())
    })
    .await;
    stage.bot.kill().await;
    stage.start_again().await;
    for user in &people {
        let patience = async || (level_roles(&stage.sim, *user) == ["Zero", "One"]).then_some(());
        wait_for(Duration::from_mins(2), "the roles", patience).await;
    }
    assert_eq!(
        stage
            .sim
            .role_names()
            .iter()
            .filter(|name| *name == "Five")
            .count(),
        1,
        "each role is made once"
    );
}

#[tokio::test]
async fn a_verification_of_seven_thousand_costs_what_is_wrong() {
    let database = three_names().await;
    let stage = Stage::open_on(World::new().members(7_000), database).await;
    // Counted here; how fast they may be is tried elsewhere.
    stage.sim.settings(|settings| settings.rate_limits = false);
    stage.bot.logged("roles are verified").await;
    let zero = stage.sim.role("Zero");
    let people: Vec<u64> = (0..40)
        .map(|number| stage.sim.add_person(&format!("p{number}")))
        .collect();
    for user in &people {
        stage.sim.join(*user);
        stage.sim.grant(*user, zero);
    }
    stage.sim.clear_requests();
    let verified = async |report: &str| {
        let (boss, general) = (stage.sim.user("boss"), stage.sim.channel("general"));
        stage.regain_a_command();
        let asked = stage.sim.slash(boss, general, "verify_roles", &json!([]));
        let done = || {
            let text = said(&stage.sim.find_answer(asked)?);
            text.starts_with("Verified").then_some(text)
        };
        assert_eq!(stage.sim.wait("the verification", done).await, report);
    };
    verified("Verified 7,047 members: 40 were wrong. Roles given: 0, taken: 40.").await;
    assert_eq!(role_calls(&stage), 40);
    assert_eq!(stage.sim.requests_to(&DELETE.0, DELETE.1).len(), 40);
    let pages = |stage: &Stage| {
        stage
            .sim
            .requests_to(&Method::GET, "/guilds/{}/members")
            .len()
    };
    assert_eq!(
        pages(&stage),
        16,
        "read, and read again to see what came of it"
    );
    stage.sim.clear_requests();
    verified("Verified 7,047 members: 0 were wrong. Roles given: 0, taken: 0.").await;
    assert_eq!((role_calls(&stage), pages(&stage)), (0, 8));
}

#[tokio::test]
async fn a_dry_run_prints_what_would_change_and_changes_nothing() {
    let stage = verified().await;
    let (alice, five) = (stage.sim.user("alice"), stage.sim.role("Five"));
    stage.sim.revoke(alice, five);
    stage.sim.clear_requests();
    for (flags, expected) in [
        (
            &["--dry-run"][..],
            format!("\"alice\" ({alice}): give \"Five\" ({five})\n"),
        ),
        (
            &["--dry-run"],
            format!("\"Five\" ({five}): 1 would get it, 0 would lose it.\n"),
        ),
        (
            &["--dry-run", "--json"],
            format!(
                "\"differences\":[{{\"give\":[\"{five}\"],\"name\":\"alice\",\"take\":[],\"user\":\"{alice}\"}}]"
            ),
        ),
        (
            &["--dry-run", "--json"],
            format!("\"roles\":{{\"{five}\":\"Five\"}}"),
        ),
    ] {
        let text = dry_run(&stage, flags).await;
        assert!(text.contains(&expected), "{text}");
    }
    // Before the levels are linked, as after an import, it sees the same.
    stage
        .database
        .execute("update level set role_id = null, role_seen = false")
        .await;
    let text = dry_run(&stage, &["--dry-run"]).await;
    assert!(
        text.contains(&format!("level 5: link the role \"Five\" ({five})")),
        "{text}"
    );
    assert!(
        text.contains(&format!("({alice}): give \"Five\"")),
        "{text}"
    );
    assert!(
        text.ends_with("1 of them with wrong roles. Nothing was changed.\n"),
        "{text}"
    );
    assert_eq!(role_calls(&stage), 0);
    assert_eq!(level_roles(&stage.sim, alice), ["Zero", "One"]);
}

#[tokio::test]
async fn a_reader_that_has_read_enough_of_a_dry_run_is_no_failure() {
    let stage = verified().await;
    let mut child = verify_roles(&stage, &["--dry-run"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // As `head` does, when it has printed its lines.
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

/// `wall_e verify-roles`, with what it must know.
fn verify_roles(stage: &Stage, flags: &[&str]) -> tokio::process::Command {
    let mut command = command();
    command
        .arg("verify-roles")
        .args(flags)
        .env("WALLE_TOKEN", stage.sim.token())
        .env("WALLE_GUILD_ID", stage.sim.guild_id().to_string())
        .env("WALLE_DISCORD_API", stage.sim.api_url())
        .env("WALLE_DISCORD_CA", stage.sim.ca_path())
        .env("DATABASE_URL", stage.database.url());
    command
}

/// What `wall_e verify-roles` prints.
pub async fn dry_run(stage: &Stage, flags: &[&str]) -> String {
    let output = verify_roles(stage, flags).output();
    let output = output.await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

#[tokio::test]
async fn speaking_for_the_first_time_takes_nothing_from_anybody() {
    // The database knows nobody, and the guild's roles are as another bot left them.
    let stage = Stage::open_on(World::new(), three_names().await).await;
    stage.bot.logged("roles are verified").await;
    let carol = stage.sim.user("carol");
    for name in ["One", "Five"] {
        stage.sim.grant(carol, stage.sim.role(name));
    }
    stage.say("carol", "hello");
    holds(&stage, carol, &["Zero", "One", "Five"]).await;
    settled(&stage).await;
    assert_eq!(level_roles(&stage.sim, carol), ["Zero", "One", "Five"]);
}

#[tokio::test]
async fn a_role_that_gives_rights_is_given_to_nobody() {
    let database = three_names().await;
    let world = World::new();
    let alice = person(&world, "alice");
    let points = i64::try_from(mee6_total(5)).unwrap();
    database.insert_user(alice, points, 1).await;
    let sim = Sim::start(world).await.unwrap();
    let (kick, minions) = (sim.create_role("Kickers", 1 << 1), sim.role("Minions"));
    // As an import may say.
    for (level, role, name) in [(5, kick, "Kickers"), (1, minions, "Minions")] {
        sqlx::query("update level set role_id = $2, role_name = $3 where number = $1")
            .bind(level)
            .bind(i64::try_from(role).unwrap())
            .bind(name)
            .execute(&mut database.session().await)
            .await
            .unwrap();
    }
    let bot = Bot::start(&sim, &database.url()).await;
    let stage = Stage { bot, database, sim };
    stage.bot.logged("roles are verified").await;
    holds(&stage, alice, &["Zero"]).await;
    for role in [kick, minions] {
        assert!(!stage.sim.member_roles(alice).contains(&role));
    }
    let words: Vec<_> = stage
        .sim
        .bot_messages(stage.sim.channel("council"))
        .iter()
        .map(said)
        .collect();
    // Minions may moderate, too.
    for trouble in [
        "Kickers of level 5 has moderation",
        "Minions of level 1 gives its members rights",
    ] {
        assert!(words.iter().any(|word| word.contains(trouble)), "{words:?}");
    }
}

#[tokio::test]
async fn a_bot_that_may_not_manage_roles_says_so_once() {
    let stage = verified().await;
    let of_the_bot = stage.sim.role("wall_e");
    stage.sim.role_permissions(of_the_bot, BOT & !MANAGE_ROLES);
    let words = told(&stage, 1).await;
    assert!(
        words[0].starts_with("I don't have permission to manage roles"),
        "{words:?}"
    );
    stage
        .sim
        .revoke(stage.sim.user("alice"), stage.sim.role("Five"));
    verify_again(&stage).await;
    assert_eq!(told(&stage, 1).await, words);
    assert_eq!(
        stage.ask("mod", ".set_level_name 7 Seven").await,
        "I don't have permission to manage roles. Give my role the Manage Roles permission in Server Settings, Roles."
    );
    stage.sim.role_permissions(of_the_bot, BOT);
    holds(&stage, stage.sim.user("alice"), &["Zero", "One", "Five"]).await;
}

#[tokio::test]
async fn the_screening_is_waited_for_across_a_restart() {
    let mut stage = verified().await;
    let alice = stage.sim.user("alice");
    stage.sim.leave(alice);
    stage.bot.terminate().await;
    stage.sim.join_pending(alice);
    stage.start_again().await;
    stage.bot.logged("roles are verified").await;
    assert_eq!(level_roles(&stage.sim, alice), [""; 0]);
    stage.sim.pass_screening(alice);
    holds(&stage, alice, &["Zero", "One", "Five"]).await;
}
