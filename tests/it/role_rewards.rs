//! `.role_rewards`: level roles that stack, or replace each other; the question before a change, and
//! everything that follows the setting.

use std::time::Duration;

use discord_sim::{Fault, Method, Sim, World};
use fault_lab::Position;
use serde_json::{Value, json};
use wall_e::guild_settings::GuildSettings;
use wall_e::leveling::{RequestId, RoleRewards, UserId, mee6_total};
use wall_e::store::guild_setting::{self, SettingChange};

use crate::roles::{
    DELETE, PUT, dry_run, holds, level_roles, role_calls, settled, three_names, told, verified,
    verified_in, verify_again,
};
use crate::support::{Bot, Stage, TestDatabase, button, id_of, is_private, said, wait, wait_for};

const STACK: &str = "Members hold the roles of all levels up to theirs.";
const REPLACE: &str = "Members hold only the role of their highest named level.";
const ONLY: &str = "Only Minions and Moderator can use this command.";
const CHANGES: &str = "select count(*) from guild_setting";

/// Asks for a mode by a slash command, which earns nothing.
async fn ask_for(stage: &Stage, mode: &str) -> Value {
    stage.regain_a_command();
    let options = json!([{ "name": "mode", "value": mode }]);
    let (boss, general) = (stage.sim.user("boss"), stage.sim.channel("general"));
    let asked = stage.sim.slash(boss, general, "role_rewards", &options);
    stage.sim.answer_to(asked).await
}

/// What a message says in the end, when the members' roles are as the setting says.
async fn result(stage: &Stage, message: &Value) -> String {
    let id = id_of(message);
    wait_for(Duration::from_mins(2), "the result", async || {
        let text = said(&stage.sim.message(id)?);
        (text.contains(" Verified ") || text.contains("as soon as Discord")).then_some(text)
    })
    .await
}

/// Sets `replace`, with the question confirmed.
async fn replace(stage: &Stage) -> String {
    let question = ask_for(stage, "replace").await;
    stage.press("boss", &question, "Apply").await;
    result(stage, &question).await
}

/// A guild in which roles replace each other: alice holds Five, and bob One.
async fn replaced() -> Stage {
    let stage = verified().await;
    replace(&stage).await;
    assert_eq!(held(&stage), ["Five", "One"]);
    stage.sim.clear_requests();
    stage
}

/// The level roles of alice and bob, such as `Zero One`.
fn held(stage: &Stage) -> [String; 2] {
    ["alice", "bob"].map(|name| level_roles(&stage.sim, stage.sim.user(name)).join(" "))
}

fn points(level: u16) -> i64 {
    i64::try_from(mee6_total(level)).unwrap()
}

/// A moderator sets someone's XP.
async fn set_xp(stage: &Stage, who: &str, amount: i64) {
    let options = json!([
        { "name": "user", "type": 6, "value": stage.sim.user(who).to_string() },
        { "name": "amount", "value": amount },
        { "name": "reason", "value": "test" },
    ]);
    let answer = stage.slash("boss", "set_xp", options).await;
    assert!(answer.starts_with(who), "{answer}");
}

/// Waits until the bot has posted this line.
async fn posted(stage: &Stage, line: &str) {
    let general = stage.sim.channel("general");
    let posted = || {
        let messages = stage.sim.bot_messages(general);
        messages.iter().any(|one| said(one) == line).then_some(())
    };
    stage.sim.wait(line, posted).await;
}

/// The role calls since the requests were cleared, as `PUT Five` or `DELETE One`.
fn calls(sim: &Sim) -> Vec<String> {
    let mut calls = Vec::new();
    for request in sim.requests() {
        let role = request.path.rsplit_once("/roles/");
        let role = role.and_then(|(_, id)| sim.role_name(id.parse().ok()?));
        if request.path.contains("/members/")
            && let Some(role) = role
        {
            calls.push(format!("{} {role}", request.method));
        }
    }
    calls
}

#[tokio::test]
async fn a_change_is_counted_confirmed_and_carried_out() {
    let stage = verified().await;
    // Whoever types is at level 0 from then on.
    stage.say("mod", "hello");
    holds(&stage, stage.sim.user("mod"), &["Zero"]).await;
    stage.rest();
    let now = stage.ask("mod", ".role_rewards").await;
    assert_eq!(
        now,
        format!("{STACK} Type `role_rewards replace` to change that.")
    );
    stage.sim.clear_requests();
    let question = stage.reply("mod", ".role_rewards REPLACE").await;
    let asks = "Members would hold only the role of their highest named level. 2 of 7 members would lose 3 roles in \
                all. Nothing is changed yet.";
    assert_eq!(said(&question), asks);
    assert_eq!(
        (role_calls(&stage), stage.database.number(CHANGES).await),
        (0, 0)
    );
    let cancelled = stage.press("mod", &question, "Cancel").await;
    assert_eq!(said(&cancelled), "Everything stays as it is.");
    assert_eq!(
        (role_calls(&stage), stage.database.number(CHANGES).await),
        (0, 0)
    );

    let question = stage.reply("mod", ".role_rewards replace").await;
    let pressed = stage.press("mod", &question, "Apply").await;
    assert!(said(&pressed).starts_with(REPLACE), "{pressed}");
    assert_eq!(
        result(&stage, &question).await,
        format!("{REPLACE} Verified 7 members: 2 were wrong. Roles given: 0, taken: 3.")
    );
    assert_eq!(held(&stage), ["Five", "One"]);
    assert_eq!(level_roles(&stage.sim, stage.sim.user("mod")), ["Zero"]);
    let row: (String, String, i64) =
        sqlx::query_as("select name, value, moderator_id from guild_setting")
            .fetch_one(&mut stage.database.session().await)
            .await
            .unwrap();
    let by = i64::try_from(stage.sim.user("mod")).unwrap();
    assert_eq!(row, ("role_rewards".to_owned(), "replace".to_owned(), by));
    // The confirmation was for this alone.
    let allowed = "select count(*) from verification where allowed_removals is not null";
    assert_eq!(stage.database.number(allowed).await, 0);
    let again = stage.ask("mod", ".role_rewards replace").await;
    assert_eq!(again, format!("{REPLACE} That was set already."));
    let now = stage.ask("mod", ".role_rewards").await;
    let by = format!("{REPLACE} <@{}> set this <t:", stage.sim.user("mod"));
    assert!(now.starts_with(&by), "{now}");
    assert!(
        now.ends_with(":R>. Type `role_rewards stack` to change that."),
        "{now}"
    );

    // Nobody loses a role by this, so there is no question.
    let answer = stage.reply("mod", ".role_rewards stack").await;
    assert!(said(&answer).starts_with(STACK), "{answer}");
    assert_eq!(
        result(&stage, &answer).await,
        format!("{STACK} Verified 7 members: 2 were wrong. Roles given: 3, taken: 0.")
    );
    assert_eq!(held(&stage), ["Zero One Five", "Zero One"]);
    assert_eq!(stage.database.number(CHANGES).await, 2);
    assert_eq!(
        stage.sim.find_channel("council"),
        None,
        "there was nothing to tell"
    );
}

#[tokio::test]
async fn the_same_by_slash_and_what_is_mistyped() {
    let stage = verified().await;
    let mode = |word: &str| json!([{ "name": "mode", "value": word }]);
    assert!(
        stage
            .slash("boss", "role_rewards", json!([]))
            .await
            .starts_with(STACK)
    );
    let already = format!("{STACK} That was set already.");
    assert_eq!(
        stage.slash("boss", "role_rewards", mode("stack")).await,
        already
    );
    let done = replace(&stage).await;
    assert!(done.starts_with(&format!("{REPLACE} Verified")), "{done}");
    assert_eq!(held(&stage), ["Five", "One"]);
    assert!(
        stage
            .slash("boss", "role_rewards", json!([]))
            .await
            .starts_with(REPLACE)
    );
    let commands = stage.sim.commands();
    let command = commands
        .iter()
        .find(|one| one["name"] == "role_rewards")
        .unwrap();
    let choices = &command["options"][0]["choices"];
    assert_eq!(
        (&choices[0]["value"], &choices[1]["value"]),
        (&json!("stack"), &json!("replace"))
    );
    let is_required = command["options"][0]["required"].as_bool();
    assert!(!is_required.unwrap_or(false), "{command}");
    let usage = "Usage: `.role_rewards [stack or replace]`, for example `.role_rewards replace`.";
    for text in [
        ".role_rewards banana",
        ".role_rewards stack replace",
        ".role_rewards 5",
        ".role_rewards [stack]",
    ] {
        assert_eq!(stage.ask("boss", text).await, usage, "{text}");
    }
}

#[tokio::test]
async fn a_count_that_takes_long_shows_its_progress() {
    for slash in [false, true] {
        let stage = verified().await;
        // Longer than it takes until the progress is shown.
        let slow = Fault::Delay(Duration::from_secs(4));
        let faults = stage.sim.faults();
        faults.next(1, Method::GET, "/guilds/{}/members", slow);
        let (boss, general) = (stage.sim.user("boss"), stage.sim.channel("general"));
        stage.regain_a_command();
        let options = json!([{ "name": "mode", "value": "replace" }]);
        let asked = if slash {
            stage.sim.slash(boss, general, "role_rewards", &options)
        } else {
            stage.say("boss", ".role_rewards replace")
        };
        let answer = || {
            if slash {
                stage.sim.find_answer(asked)
            } else {
                stage.sim.find_reply(asked)
            }
        };
        let progress = || {
            let text = said(&answer()?);
            (text == "Counting what would change: 0 members read.").then_some(())
        };
        stage.sim.wait("the progress", progress).await;
        let question = || answer().filter(|one| said(one).ends_with("Nothing is changed yet."));
        let question = stage.sim.wait("the question", question).await;
        // Its buttons are taken off when they stop working.
        let message = i64::try_from(id_of(&question)).unwrap();
        wait("the buttons to be noted", async || {
            let noted: Option<i64> =
                sqlx::query_scalar("select message_id from open_buttons where message_id = $1")
                    .bind(message)
                    .fetch_optional(&mut stage.database.session().await)
                    .await
                    .unwrap();
            noted
        })
        .await;
        stage.press("boss", &question, "Apply").await;
        result(&stage, &question).await;
        assert_eq!(held(&stage), ["Five", "One"]);
    }
}

#[tokio::test]
async fn only_who_asked_and_may_can_press() {
    let stage = verified_in(World::new().person("mod2", &["Moderator"])).await;
    for text in [".role_rewards", ".role_rewards replace"] {
        assert_eq!(stage.ask("carol", text).await, ONLY);
    }
    let question = stage.reply("mod2", ".role_rewards replace").await;
    for who in ["carol", "mod"] {
        let told = stage.press(who, &question, "Apply").await;
        assert_eq!(
            said(&told),
            "Only the person who asked can use these buttons."
        );
    }
    // The right counts at the press.
    stage
        .sim
        .revoke(stage.sim.user("mod2"), stage.sim.role("Moderator"));
    let told = stage.press("mod2", &question, "Apply").await;
    assert_eq!(said(&told), ONLY);
    stage
        .sim
        .grant(stage.sim.user("mod2"), stage.sim.role("Moderator"));
    // What Discord's clients would not send.
    let forged = format!("rewards:both:3:{}", stage.sim.user("mod2"));
    stage
        .sim
        .forge_click(stage.sim.user("mod2"), id_of(&question), &forged);
    stage.sim.advance(Duration::from_mins(16));
    let apply = button(&question, "Apply");
    let pressed = stage
        .sim
        .click(stage.sim.user("mod2"), id_of(&question), &apply);
    // The question without its buttons comes first.
    let whisper = || stage.sim.find_answer(pressed).filter(is_private);
    let told = stage.sim.wait("a word to mod2", whisper).await;
    assert_eq!(
        said(&told),
        "These buttons have stopped working; type the command again."
    );
    assert_eq!(stage.database.number(CHANGES).await, 0);
    assert_eq!(held(&stage), ["Zero One Five", "Zero One"]);
}

#[tokio::test]
async fn a_question_outlives_a_restart_and_a_press_counts_once() {
    let mut stage = verified().await;
    let question = ask_for(&stage, "replace").await;
    stage.restart().await;
    stage.bot.logged("roles are verified").await;
    stage.sim.gateway().duplicate_next(1);
    stage.press("boss", &question, "Apply").await;
    wait("the roles to be taken", async || {
        (held(&stage) == ["Five", "One"]).then_some(())
    })
    .await;
    assert_eq!(stage.database.number(CHANGES).await, 1);
}

#[tokio::test]
async fn what_dies_in_the_middle_is_finished_by_the_next() {
    let mut stage = verified().await;
    let question = ask_for(&stage, "replace").await;
    // Saved, and then no role can be taken.
    stage
        .sim
        .faults()
        .next(1_000, DELETE.0, DELETE.1, Fault::Status(500));
    stage.press("boss", &question, "Apply").await;
    wait("the change to be saved", async || {
        (stage.database.number(CHANGES).await == 1).then_some(())
    })
    .await;
    stage.bot.kill().await;
    stage.sim.faults().clear();
    stage.start_again().await;
    wait("the roles to be taken", async || {
        (held(&stage) == ["Five", "One"]).then_some(())
    })
    .await;
    assert!(
        stage
            .slash("boss", "role_rewards", json!([]))
            .await
            .starts_with(REPLACE)
    );
}

#[tokio::test]
async fn a_standby_that_takes_over_knows_what_was_set_meanwhile() {
    let mut stage = verified().await;
    let mut standby = Bot::launch(&stage.sim, &stage.database.url(), &[]);
    standby.logged("waiting to take over").await;
    replace(&stage).await;
    stage.bot.terminate().await;
    standby.connected(&stage.sim).await;
    stage.bot = standby;
    assert!(
        stage
            .slash("boss", "role_rewards", json!([]))
            .await
            .starts_with(REPLACE)
    );
    set_xp(&stage, "bob", points(5)).await;
    holds(&stage, stage.sim.user("bob"), &["Five"]).await;
}

#[tokio::test]
async fn a_level_up_gives_the_new_role_and_then_takes_the_old_one() {
    let stage = replaced().await;
    let (bob, carol) = (stage.sim.user("bob"), stage.sim.user("carol"));
    set_xp(&stage, "bob", points(5) - 1).await;
    settled(&stage).await;
    stage.rest();
    stage.sim.clear_requests();
    stage.say("bob", "hello");
    posted(
        &stage,
        &format!("<@{bob}> reached **level 5**! New role: **Five**."),
    )
    .await;
    holds(&stage, bob, &["Five"]).await;
    assert_eq!(calls(&stage.sim), ["PUT Five", "DELETE One"]);
    // A level without a name brings nothing, and asks Discord nothing.
    set_xp(&stage, "bob", points(6) - 1).await;
    settled(&stage).await;
    stage.rest();
    stage.sim.clear_requests();
    stage.say("bob", "hello");
    posted(&stage, &format!("<@{bob}> reached **level 6**!")).await;
    assert_eq!(calls(&stage.sim), [""; 0]);
    assert_eq!(level_roles(&stage.sim, bob), ["Five"]);
    // The first of all.
    stage.say("carol", "hello");
    holds(&stage, carol, &["Zero"]).await;
    // Over two named levels at once: one role, which the line names.
    let give = json!([
        { "name": "user", "type": 6, "value": carol.to_string() },
        { "name": "amount", "value": points(7) },
        { "name": "announce", "value": true },
        { "name": "reason", "value": "test" },
    ]);
    stage.slash("boss", "give_xp", give).await;
    posted(
        &stage,
        &format!("<@{carol}> reached **level 7**! New role: **Five**."),
    )
    .await;
    holds(&stage, carol, &["Five"]).await;
}

#[tokio::test]
async fn a_role_that_is_not_given_takes_none_away() {
    let stage = replaced().await;
    let bob = stage.sim.user("bob");
    // Discord fails at first, and the bot may be killed by that time: nothing is lost.
    stage
        .sim
        .faults()
        .next(1_000, PUT.0, PUT.1, Fault::Status(500));
    set_xp(&stage, "bob", points(5)).await;
    stage.bot.logged("could not be given back").await;
    assert_eq!(level_roles(&stage.sim, bob), ["One"]);
    assert!(stage.sim.requests_to(&DELETE.0, DELETE.1).is_empty());
    stage.sim.faults().clear();
    verify_again(&stage).await;
    holds(&stage, bob, &["Five"]).await;
    // It is given, and the old one cannot be taken for a while.
    set_xp(&stage, "bob", points(1)).await;
    holds(&stage, bob, &["One"]).await;
    stage
        .sim
        .faults()
        .next(3, DELETE.0, DELETE.1, Fault::Status(500));
    set_xp(&stage, "bob", points(5)).await;
    holds(&stage, bob, &["Five"]).await;
}

#[tokio::test]
async fn a_role_that_discord_refuses_is_replaced_by_the_next_lower_one() {
    let stage = replaced().await;
    let (alice, carol) = (stage.sim.user("alice"), stage.sim.user("carol"));
    let five = format!("/guilds/{{}}/members/{{}}/roles/{}", stage.sim.role("Five"));
    stage
        .sim
        .faults()
        .next(1_000, PUT.0, &five, Fault::Status(403));
    set_xp(&stage, "carol", points(5)).await;
    holds(&stage, carol, &["One"]).await;
    assert_eq!(
        level_roles(&stage.sim, alice),
        ["Five"],
        "who holds it keeps it"
    );
    // A verification does the same.
    stage.sim.revoke(carol, stage.sim.role("One"));
    stage
        .sim
        .faults()
        .next(1_000, PUT.0, &five, Fault::Status(403));
    verify_again(&stage).await;
    holds(&stage, carol, &["One"]).await;
    stage.sim.faults().clear();
    verify_again(&stage).await;
    holds(&stage, carol, &["Five"]).await;
}

#[tokio::test]
async fn a_role_above_the_bots_is_replaced_by_the_next_lower_one() {
    let stage = verified().await;
    let (alice, carol) = (stage.sim.user("alice"), stage.sim.user("carol"));
    stage.sim.move_role(stage.sim.role("Five"), 99);
    let words = told(&stage, 1).await;
    assert!(
        words[0].contains("Five of level 5 is not below my own"),
        "{words:?}"
    );
    let done = replace(&stage).await;
    assert!(done.starts_with(REPLACE), "{done}");
    // The bot cannot take it, so alice keeps it beside the highest that it can give.
    assert_eq!(held(&stage), ["One Five", "One"]);
    set_xp(&stage, "carol", points(5)).await;
    holds(&stage, carol, &["One"]).await;
    assert_eq!(told(&stage, 1).await, words, "said once");
    stage.sim.move_role(stage.sim.role("Five"), 1);
    holds(&stage, alice, &["Five"]).await;
    holds(&stage, carol, &["Five"]).await;
}

#[tokio::test]
async fn who_comes_back_gets_only_the_highest_role() {
    let stage = replaced().await;
    let alice = stage.sim.user("alice");
    stage.sim.leave(alice);
    stage.sim.join(alice);
    holds(&stage, alice, &["Five"]).await;
    stage.sim.leave(alice);
    stage.sim.join_pending(alice);
    stage.sim.pass_screening(alice);
    holds(&stage, alice, &["Five"]).await;
    settled(&stage).await;
    assert_eq!(calls(&stage.sim), ["PUT Five", "PUT Five"]);
}

#[tokio::test]
async fn the_role_follows_points_that_moderators_change() {
    let stage = replaced().await;
    let alice = stage.sim.user("alice");
    for (amount, role) in [
        (points(1), "One"),
        (0, "Zero"),
        (points(4), "One"),
        (points(9), "Five"),
        (points(1) - 1, "Zero"),
    ] {
        set_xp(&stage, "alice", amount).await;
        holds(&stage, alice, &[role]).await;
    }
}

#[tokio::test]
async fn the_role_follows_the_names_of_levels() {
    let stage = replaced().await;
    let (alice, bob) = (stage.sim.user("alice"), stage.sim.user("bob"));
    set_xp(&stage, "bob", points(4)).await;
    // Between the two.
    let named = stage.ask("boss", ".set_level_name 3 Three").await;
    assert!(
        named.starts_with("Level 3 now carries the role Three."),
        "{named}"
    );
    let holds_three = |user| {
        let three = stage.sim.find_role("Three");
        three.is_some_and(|role| stage.sim.member_roles(user).contains(&role))
    };
    wait("bob's new role", async || {
        (holds_three(bob) && level_roles(&stage.sim, bob).is_empty()).then_some(())
    })
    .await;
    assert_eq!(level_roles(&stage.sim, alice), ["Five"]);
    assert!(!holds_three(alice));
    // Without the highest name, the next lower role comes back; the old one is no level role.
    let removed = stage.ask("boss", ".remove_level_name 5").await;
    assert_eq!(
        removed,
        "Level 5 no longer carries Five. The role itself stays in the guild, and its members keep it. Those who have \
         no higher level role get the next lower one."
    );
    wait("alice's lower role", async || {
        holds_three(alice).then_some(())
    })
    .await;
    assert_eq!(level_roles(&stage.sim, alice), ["Five"]);
    // A role that members hold already: the question counts by the same rule.
    stage.sim.grant(bob, stage.sim.role("Five"));
    let question = stage.ask("boss", ".set_level_name 2 Five").await;
    assert!(
        question.contains(
            "2 members hold it. As the role of level 2, 0 would gain it and 2 would lose it."
        ),
        "{question}"
    );
    // A role that a person deletes.
    stage.sim.delete_role(stage.sim.role("Three"));
    verify_again(&stage).await;
    holds(&stage, bob, &["One", "Five"]).await;
}

#[tokio::test]
async fn what_people_do_to_roles_is_put_right() {
    let mut stage = replaced().await;
    let (alice, bob, carol) = (
        stage.sim.user("alice"),
        stage.sim.user("bob"),
        stage.sim.user("carol"),
    );
    let spoil = |stage: &Stage| {
        stage.sim.grant(alice, stage.sim.role("Zero"));
        stage.sim.revoke(bob, stage.sim.role("One"));
        stage.sim.grant(bob, stage.sim.role("Five"));
        stage.sim.grant(carol, stage.sim.role("One"));
    };
    spoil(&stage);
    let would = dry_run(&stage, &["--dry-run"]).await;
    assert!(would.contains(&format!("({bob}): give \"One\"")), "{would}");
    verify_again(&stage).await;
    assert_eq!(held(&stage), ["Five", "One"]);
    assert_eq!(level_roles(&stage.sim, carol), [""; 0]);
    // While nobody was there, too.
    stage.bot.terminate().await;
    spoil(&stage);
    stage.start_again().await;
    wait("the roles to be right", async || {
        (held(&stage) == ["Five", "One"]).then_some(())
    })
    .await;
}

/// Thirty members at level 1, who hold its roles, beside the usual guild.
async fn thirty() -> (Stage, Vec<u64>) {
    let database = three_names().await;
    let sim = Sim::start(World::new()).await.unwrap();
    // How often Discord allows a role call is tried elsewhere.
    sim.settings(|settings| settings.rate_limits = false);
    let people: Vec<u64> = (0..30).map(|n| sim.add_person(&format!("p{n}"))).collect();
    for user in &people {
        sim.join(*user);
        database.insert_user(*user, points(1), 1).await;
    }
    let bot = Bot::start(&sim, &database.url()).await;
    bot.logged("roles are verified").await;
    (Stage { bot, database, sim }, people)
}

#[tokio::test]
async fn what_was_confirmed_needs_no_second_confirmation() {
    let (stage, people) = thirty().await;
    let question = ask_for(&stage, "replace").await;
    assert!(
        said(&question).contains("30 of 37 members would lose 30 roles"),
        "{question}"
    );
    stage.press("boss", &question, "Apply").await;
    let done = result(&stage, &question).await;
    assert!(
        done.ends_with("30 were wrong. Roles given: 0, taken: 30."),
        "{done}"
    );
    assert!(
        people
            .iter()
            .all(|user| level_roles(&stage.sim, *user) == ["One"])
    );
    assert_eq!(stage.sim.find_channel("council"), None);
    // It does not hold for what comes after.
    for user in &people {
        stage.sim.grant(*user, stage.sim.role("Five"));
    }
    let report = verify_again(&stage).await;
    assert!(report.contains("30 members would lose roles"), "{report}");
}

#[tokio::test]
async fn more_than_was_confirmed_waits_for_the_council() {
    let (stage, people) = thirty().await;
    let zero = stage.sim.role("Zero");
    for user in &people[1..] {
        stage.sim.revoke(*user, zero);
    }
    let question = ask_for(&stage, "replace").await;
    assert!(
        said(&question).contains("1 of 37 members would lose 1 role in all"),
        "{question}"
    );
    for user in &people[1..] {
        stage.sim.grant(*user, zero);
    }
    stage.press("boss", &question, "Apply").await;
    let done = result(&stage, &question).await;
    assert!(done.starts_with(REPLACE), "{done}");
    assert!(
        done.contains("30 members would lose roles, so I have asked in the council"),
        "{done}"
    );
    assert!(
        people
            .iter()
            .all(|user| level_roles(&stage.sim, *user) == ["Zero", "One"])
    );
    let asked = stage
        .sim
        .bot_messages(stage.sim.channel("council"))
        .remove(0);
    stage.press("boss", &asked, "Let them lose the roles").await;
    wait("the roles to be taken", async || {
        let mut people = people.iter();
        people
            .all(|user| level_roles(&stage.sim, *user) == ["One"])
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_lower_role_is_not_given_while_the_higher_one_waits_for_the_council() {
    let (mut stage, people) = thirty().await;
    replace(&stage).await;
    // As after the restore of a wrong database.
    stage.bot.terminate().await;
    stage
        .database
        .execute("update user_point set points = 0")
        .await;
    stage.start_again().await;
    let words = told(&stage, 1).await;
    assert!(
        words[0].starts_with("30 of 37 members would lose level roles"),
        "{words:?}"
    );
    assert!(
        people
            .iter()
            .all(|user| level_roles(&stage.sim, *user) == ["One"])
    );
    let asked = stage
        .sim
        .bot_messages(stage.sim.channel("council"))
        .remove(0);
    stage.press("boss", &asked, "Let them lose the roles").await;
    wait("the lower roles", async || {
        let mut people = people.iter();
        people
            .all(|user| level_roles(&stage.sim, *user) == ["Zero"])
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_the_members_or_the_permission_nothing_is_changed() {
    let stage = verified().await;
    stage
        .sim
        .faults()
        .next(1, Method::GET, "/guilds/{}/members", Fault::Status(403));
    let answer = ask_for(&stage, "replace").await;
    assert!(
        said(&answer).starts_with("I can't count who would lose roles, so nothing was changed")
    );
    let of_the_bot = stage.sim.role("wall_e");
    let permissions = discord_sim::permissions::BOT & !discord_sim::permissions::MANAGE_ROLES;
    stage.sim.role_permissions(of_the_bot, permissions);
    told(&stage, 1).await;
    let answer = ask_for(&stage, "replace").await;
    assert!(
        said(&answer).starts_with("I don't have permission to manage roles."),
        "{answer}"
    );
    assert_eq!(stage.database.number(CHANGES).await, 0);
}

#[tokio::test]
async fn without_the_database_nothing_is_changed() {
    let (stage, gate) = Stage::open_gated().await;
    gate.set(Position::Shut);
    let answer = said(&ask_for(&stage, "replace").await);
    assert!(
        answer.starts_with("The database is unavailable."),
        "{answer}"
    );
    gate.set(Position::Open);
    wait("the database", async || {
        let done = said(&ask_for(&stage, "replace").await);
        done.starts_with(REPLACE).then_some(())
    })
    .await;
}

fn change<T>(request: u64, value: T) -> SettingChange<T> {
    SettingChange {
        request: RequestId::new(request).unwrap(),
        moderator: UserId::new(request + 1).unwrap(),
        value,
    }
}

#[tokio::test]
async fn the_newest_request_wins_and_the_same_one_is_one() {
    let database = TestDatabase::migrated().await;
    let store = database.store().await;
    let settings = GuildSettings::load(&store).await.unwrap();
    assert_eq!(
        (settings.role_rewards(), settings.role_rewards_change()),
        (RoleRewards::Stack, None)
    );
    let newest = change(1 << 40, RoleRewards::Replace);
    for set in [
        newest.clone(),
        // Twice, and one that was asked for earlier.
        newest.clone(),
        change(1 << 39, RoleRewards::Stack),
    ] {
        settings.set_role_rewards(&set, None).await.unwrap();
        assert_eq!(settings.role_rewards_change().as_ref(), Some(&newest));
    }
    assert_eq!(database.number(CHANGES).await, 2);
    // What another process sets is seen by the next look.
    let mut session = store.acquire().await.unwrap();
    let other = change(1 << 41, "stack");
    guild_setting::add(&mut session, "role_rewards", &other)
        .await
        .unwrap();
    guild_setting::add(&mut session, "other", &change(1 << 42, "stack"))
        .await
        .unwrap();
    assert_eq!(settings.role_rewards(), RoleRewards::Replace);
    assert!(settings.refresh().await.unwrap() && !settings.refresh().await.unwrap());
    assert_eq!(settings.role_rewards(), RoleRewards::Stack);
    // A value of a newer version is not guessed.
    let unknown = change(1 << 43, "both");
    guild_setting::add(&mut session, "role_rewards", &unknown)
        .await
        .unwrap();
    assert!(settings.refresh().await.is_err());
    assert!(GuildSettings::load(&store).await.is_err());
}
