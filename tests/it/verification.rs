//! Verification while Discord refuses, fails, limits, or says what cannot be read: what is
//! not known for sure changes nothing, and the next one puts everything right.

use std::collections::BTreeSet;
use std::time::Duration;

use discord_sim::{Fault, Method, Scope, Sim, World};
use serde_json::{Value, json};
use wall_e::leveling::mee6_total;

use crate::level_names::carried;
use crate::roles::{DELETE, PUT, holds, level_roles, role_calls, three_names, verified};
use crate::support::{Bot, Stage, TestDatabase, person, said, wait};

const FAILED: &str =
    "I could not check the roles. I will try again by myself; the reason is in the bot's log.";
const LEFT: &str =
    "could not be fixed now. The council channel says why, or the next check fixes them.";
const MEMBERS: &str = "/guilds/{}/members";
const ROLES: &str = "/guilds/{}/roles";
/// More than any verification makes.
const ALL: u32 = 1_000;

/// What alice, carol, and someone on the second page hold.
type Held = [&'static [&'static str]; 3];
const RIGHT: Held = [&["Zero", "One", "Five"], &[], &[]];
const WRONG: Held = [&["Zero", "One"], &["One"], &["Zero"]];

/// Levels 0, 1 and 5 have names, and alice is at level 5.
async fn names_and_alice(world: &World) -> TestDatabase {
    let (database, points) = (three_names().await, i64::try_from(mee6_total(5)).unwrap());
    database
        .insert_user(person(world, "alice"), points, 1)
        .await;
    database
}

/// A guild whose members come in two pages, verified.
async fn two_pages() -> Stage {
    let world = World::new().members(1_100);
    let database = names_and_alice(&world).await;
    let sim = Sim::start(world).await.unwrap();
    // How often Discord allows a role call is tried elsewhere.
    sim.settings(|settings| settings.rate_limits = false);
    // The youngest account comes last.
    sim.join(sim.add_person("late"));
    let bot = Bot::start(&sim, &database.url()).await;
    bot.logged("roles are verified").await;
    let stage = Stage { bot, database, sim };
    assert_eq!(held(&stage), RIGHT);
    stage
}

fn held(stage: &Stage) -> [Vec<&'static str>; 3] {
    ["alice", "carol", "late"].map(|name| level_roles(&stage.sim, stage.sim.user(name)))
}

/// Makes it [`WRONG`].
fn spoil(stage: &Stage) {
    let sim = &stage.sim;
    sim.revoke(sim.user("alice"), sim.role("Five"));
    sim.grant(sim.user("carol"), sim.role("One"));
    sim.grant(sim.user("late"), sim.role("Zero"));
    assert_eq!(held(stage), WRONG);
    sim.clear_requests();
}

/// What another verification says when it has ended. By a slash command, which earns nothing.
async fn verify(stage: &Stage) -> String {
    let (boss, general) = (stage.sim.user("boss"), stage.sim.channel("general"));
    stage.regain_a_command();
    let asked = stage.sim.slash(boss, general, "verify_roles", &json!([]));
    let done = || {
        let text = said(&stage.sim.find_answer(asked)?);
        (text.starts_with("Verified") || text == FAILED).then_some(text)
    };
    stage.sim.wait("the verification to end", done).await
}

/// What the council has been told, if it was ever told anything.
fn told(stage: &Stage) -> Vec<String> {
    let council = stage.sim.find_channel("council").into_iter();
    let messages = council.flat_map(|council| stage.sim.bot_messages(council));
    messages.map(|message| said(&message)).collect()
}

/// After trouble: the next one does it all.
async fn heals(stage: &Stage, what: &str) {
    stage.sim.faults().clear();
    let report = verify(stage).await;
    assert!(
        report.starts_with("Verified 1,108 members:") && !report.contains(LEFT),
        "{report} {what}"
    );
    assert_eq!(held(stage), RIGHT, "{what}");
    let told = told(stage);
    assert!(
        told.iter().all(|word| word.contains("Solved")),
        "{told:?} {what}"
    );
}

/// A call of a verification.
struct Call {
    method: Method,
    path: String,
    /// So many of them come before it, in the same verification.
    after: u32,
    /// What the log calls it.
    name: &'static str,
}

impl Call {
    fn get(path: &str, after: u32, name: &'static str) -> Self {
        let (method, path) = (Method::GET, path.to_owned());
        Self {
            method,
            path,
            after,
            name,
        }
    }

    /// From this one on, so many of them meet the fault.
    fn meets(&self, stage: &Stage, count: u32, fault: Fault) {
        let faults = stage.sim.faults();
        let nothing = Fault::Delay(Duration::ZERO);
        faults.next(self.after, self.method.clone(), &self.path, nothing);
        faults.next(count, self.method.clone(), &self.path, fault);
    }

    fn say(&self, fault: &Fault) -> String {
        let Self { path, after, .. } = self;
        format!("{} {path} after {after}: {fault:?}", self.method)
    }
}

/// Everything that a verification reads before it gives or takes the first role.
fn reads(stage: &Stage) -> Vec<Call> {
    let itself = format!("/guilds/{{}}/members/{}", stage.sim.bot_id());
    let mut calls = vec![
        Call::get(MEMBERS, 0, "listing the members"),
        Call::get(MEMBERS, 1, "listing the members"),
    ];
    // For the levels, and again for the members.
    for after in [0, 1] {
        calls.extend([
            Call::get("/users/@me", after, "asking who the bot is"),
            Call::get(ROLES, after, "listing the roles"),
            Call::get(&itself, after, "asking for the bot's roles"),
        ]);
    }
    calls
}

async fn changes_nothing_while_a_read_fails(status: u16) {
    let stage = two_pages().await;
    for call in reads(&stage) {
        let what = call.say(&Fault::Status(status));
        spoil(&stage);
        let logged = stage.bot.log().len();
        // It is tried again by itself, too.
        call.meets(&stage, ALL, Fault::Status(status));
        assert_eq!(verify(&stage).await, FAILED, "{what}");
        let log = stage.bot.log().split_off(logged);
        let words = log
            .lines()
            .find(|line| line.contains("roles could not be verified"));
        let words = words.unwrap_or_else(|| panic!("{what}: {log}"));
        assert!(words.contains(call.name), "{what}: {words}");
        assert!(
            words.contains(&format!("Discord answered {status}")),
            "{what}: {words}"
        );
        assert_eq!(
            (role_calls(&stage), held(&stage)),
            (0, WRONG.map(<[_]>::to_vec)),
            "{what}"
        );
        let made = stage.sim.requests_to(&Method::POST, ROLES);
        assert!(made.is_empty(), "{made:?} {what}");
        heals(&stage, &what).await;
    }
}

#[tokio::test]
async fn what_may_not_be_read_changes_nothing() {
    changes_nothing_while_a_read_fails(403).await;
}

#[tokio::test]
async fn what_is_not_found_changes_nothing() {
    changes_nothing_while_a_read_fails(404).await;
}

#[tokio::test]
async fn what_discord_cannot_tell_changes_nothing() {
    changes_nothing_while_a_read_fails(500).await;
}

#[tokio::test]
async fn trouble_that_passes_is_not_noticed() {
    let stage = two_pages().await;
    let limited = |scope, headers| Fault::RateLimited {
        retry_after: Duration::from_millis(200),
        scope,
        headers,
    };
    let role_call = |(method, path): (Method, &str)| Call {
        method,
        path: path.to_owned(),
        after: 0,
        name: "",
    };
    let mut cases = Vec::new();
    for call in reads(&stage) {
        cases.push((call, Fault::Status(500)));
    }
    for fault in [
        Fault::Status(500),
        Fault::Html(429),
        limited(Scope::User, true),
        limited(Scope::Shared, true),
        limited(Scope::Global, true),
        limited(Scope::User, false),
        Fault::ResetAfter,
        Fault::StatusAfter(503),
    ] {
        cases.extend([
            (Call::get(MEMBERS, 0, ""), fault.clone()),
            (Call::get(MEMBERS, 1, ""), fault.clone()),
            (role_call(DELETE), fault),
        ]);
    }
    cases.push((role_call(PUT), Fault::Status(500)));
    for (call, fault) in cases {
        let what = call.say(&fault);
        spoil(&stage);
        call.meets(&stage, 1, fault);
        assert_eq!(
            verify(&stage).await,
            "Verified 1,108 members: 3 were wrong. Roles given: 1, taken: 2.",
            "{what}"
        );
        assert_eq!(stage.sim.faults().left(), 0, "{what}");
        assert_eq!(held(&stage), RIGHT, "{what}");
    }
}

#[tokio::test]
async fn a_role_call_that_fails_leaves_what_it_was_about() {
    let stage = two_pages().await;
    let ended = |given, taken, left| {
        format!(
            "Verified 1,108 members: 3 were wrong. Roles given: {given}, taken: {taken}. {left} {LEFT}"
        )
    };
    let [alice, carol, late] = WRONG;
    let [alice_right, ..] = RIGHT;
    for ((method, path), count, status, said, then) in [
        // The role is out of reach: it is not tried again with the others.
        (PUT, 1, 403, ended(0, 2, 1), [alice, &[], &[]]),
        (DELETE, 1, 403, ended(1, 1, 1), [alice_right, carol, &[]]),
        (DELETE, ALL, 403, ended(1, 0, 2), [alice_right, carol, late]),
        // Only this one did not work.
        (PUT, ALL, 404, ended(0, 2, 1), [alice, &[], &[]]),
        (DELETE, ALL, 404, ended(1, 0, 2), [alice_right, carol, late]),
        // It is tried again by itself, and nobody else has to wait for that.
        (PUT, ALL, 500, FAILED.to_owned(), [alice, &[], &[]]),
        (
            DELETE,
            ALL,
            500,
            FAILED.to_owned(),
            [alice_right, carol, late],
        ),
    ] {
        let what = format!("{method} {count} times {status}");
        spoil(&stage);
        stage
            .sim
            .faults()
            .next(count, method, path, Fault::Status(status));
        assert_eq!(verify(&stage).await, said, "{what}");
        assert_eq!(held(&stage), then, "{what}");
        let told = told(&stage);
        let refusal = |word: &String| word.contains("Discord does not let me");
        let is_told = told
            .iter()
            .any(|word| refusal(word) && !word.contains("Solved"));
        assert_eq!(is_told, status == 403, "{told:?} {what}");
        heals(&stage, &what).await;
    }
}

#[tokio::test]
async fn when_discord_is_away_it_is_not_asked_for_everyone() {
    let stage = verified().await;
    let people = ["alice", "carol", "mod", "boss"].map(|name| stage.sim.user(name));
    let one = stage.sim.role("One");
    let holds_one = |user: u64| stage.sim.member_roles(user).contains(&one);
    for user in people {
        if holds_one(user) {
            stage.sim.revoke(user, one);
        } else {
            stage.sim.grant(user, one);
        }
    }
    stage.sim.clear_requests();
    for (method, path) in [PUT, DELETE] {
        stage
            .sim
            .faults()
            .next(ALL, method, path, Fault::Status(500));
    }
    assert_eq!(verify(&stage).await, FAILED);
    // The next may be under way already.
    let asked: BTreeSet<_> = [PUT, DELETE]
        .iter()
        .flat_map(|(method, path)| stage.sim.requests_to(method, path))
        .map(|request| request.path)
        .collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    stage.sim.faults().clear();
    assert!(verify(&stage).await.starts_with("Verified"));
    assert_eq!(people.map(holds_one), [true, false, false, false]);
}

#[tokio::test]
async fn roles_that_cannot_be_made_are_made_by_the_next() {
    for (count, fault, logged, notices) in [
        (ALL, Fault::Status(403), "a level's role cannot be made", 1),
        (ALL, Fault::Status(404), "a level's role cannot be made", 1),
        (ALL, Fault::Status(500), "making a role failed", 0),
        // Made, and nobody heard of it.
        (1, Fault::StatusAfter(500), "making a role failed", 0),
    ] {
        let world = World::new();
        let database = names_and_alice(&world).await;
        let sim = Sim::start(world).await.unwrap();
        sim.faults().next(count, Method::POST, ROLES, fault.clone());
        let bot = Bot::start(&sim, &database.url()).await;
        bot.logged(logged).await;
        let stage = Stage { bot, database, sim };
        if count == ALL {
            // The first has ended before, and so has one of those that follow by themselves.
            let report = verify(&stage).await;
            assert_eq!(
                report == FAILED,
                logged == "making a role failed",
                "{report}"
            );
            assert_eq!(level_roles(&stage.sim, stage.sim.user("alice")), [""; 0]);
        }
        let words = told(&stage);
        assert_eq!(words.len(), notices, "{words:?}");
        stage.sim.faults().clear();
        let report = verify(&stage).await;
        assert!(report.starts_with("Verified"), "{report}");
        holds(&stage, stage.sim.user("alice"), &["Zero", "One", "Five"]).await;
        let names = stage.sim.role_names();
        for name in ["Zero", "One", "Five"] {
            let count = names.iter().filter(|other| *other == name).count();
            assert_eq!(count, 1, "{name} {fault:?}");
        }
        let words = told(&stage);
        assert!(
            words.iter().all(|word| word.contains("Solved")),
            "{words:?}"
        );
    }
}

/// A member, as Discord lists it.
fn listed(stage: &Stage, name: &str) -> Value {
    let user = stage.sim.user(name);
    let roles: Vec<_> = stage
        .sim
        .member_roles(user)
        .iter()
        .map(u64::to_string)
        .collect();
    json!({ "user": { "id": user.to_string() }, "roles": roles })
}

#[tokio::test]
async fn a_member_who_cannot_be_read_holds_up_nobody_else() {
    let stage = two_pages().await;
    let odd = [
        json!({}),
        json!("alice"),
        json!({ "user": null, "roles": [] }),
        json!({ "user": { "id": "0" }, "roles": [] }),
        json!({ "user": { "id": "bob" }, "roles": [] }),
        json!({ "user": { "id": "7" }, "roles": null }),
        json!({ "user": { "id": "7" }, "roles": ["One"] }),
    ];
    let page = |body| {
        stage
            .sim
            .faults()
            .next(1, Method::GET, MEMBERS, Fault::Answer(body));
    };
    for one in &odd {
        spoil(&stage);
        page(json!([
            listed(&stage, "alice"),
            one,
            listed(&stage, "carol"),
            listed(&stage, "late")
        ]));
        assert_eq!(
            verify(&stage).await,
            "Verified 3 members: 3 were wrong. Roles given: 1, taken: 2.",
            "{one}"
        );
        assert_eq!(held(&stage), RIGHT, "{one}");
    }
    let log = stage.bot.log();
    let said = log.matches("members could not be read").count();
    assert_eq!(said, odd.len(), "{log}");
    assert_eq!(stage.bot.log().matches("alice").count(), 0, "people's data");
    // Which role is missing would be anybody's guess.
    let logged = stage.bot.log().len();
    spoil(&stage);
    let role = json!([{ "id": "Five", "name": "Five" }]);
    stage
        .sim
        .faults()
        .next(1, Method::GET, ROLES, Fault::Answer(role));
    assert_eq!(verify(&stage).await, FAILED);
    let log = stage.bot.log().split_off(logged);
    assert!(
        log.contains("listing the roles failed: Discord's answer was not understood"),
        "{log}"
    );
    heals(&stage, "a role").await;
    // Where nobody can be read, it is not the members who are odd.
    for body in [
        Value::from(odd.to_vec()),
        json!({}),
        json!([[]]),
        json!("no"),
    ] {
        spoil(&stage);
        page(body.clone());
        assert_eq!(verify(&stage).await, FAILED, "{body}");
        heals(&stage, &body.to_string()).await;
    }
}

#[tokio::test]
async fn names_that_were_exchanged_by_hand_are_followed() {
    for away in [false, true] {
        let mut stage = verified().await;
        let alice = stage.sim.user("alice");
        let [zero, one, five] = ["Zero", "One", "Five"].map(|name| stage.sim.role(name));
        let before = stage.sim.member_roles(alice);
        for names in [
            // Two, and then all three.
            ["Zero", "Five", "One"],
            ["Five", "One", "Zero"],
            ["One", "Zero", "Five"],
            ["Zero", "Five", "One"],
            ["Five", "Zero", "One"],
        ] {
            if away {
                stage.bot.terminate().await;
            }
            for (role, name) in [(zero, "a"), (one, "b"), (five, "c")] {
                stage.sim.rename_role(role, name);
            }
            for (role, name) in [zero, one, five].into_iter().zip(names) {
                stage.sim.rename_role(role, name);
            }
            stage.sim.clear_requests();
            if away {
                stage.start_again().await;
                stage.bot.logged("roles are verified").await;
            }
            assert!(
                verify(&stage)
                    .await
                    .ends_with(" 0 were wrong. Roles given: 0, taken: 0.")
            );
            for ((level, role), name) in [(0, zero), (1, one), (5, five)].into_iter().zip(names) {
                assert_eq!(
                    carried(&stage, level).await,
                    (Some(role), Some(name.to_owned()))
                );
            }
            assert_eq!(stage.sim.member_roles(alice), before);
            assert_eq!(role_calls(&stage), 0);
            assert_eq!(told(&stage), [""; 0]);
        }
    }
}

#[tokio::test]
async fn a_kill_while_names_are_exchanged_loses_none() {
    let mut stage = verified().await;
    let roles = [(1, "One"), (5, "Five")].map(|(level, name)| (level, stage.sim.role(name), name));
    let before = async |stage: &Stage| {
        for (level, role, name) in roles {
            let row = carried(stage, level).await;
            assert_eq!(row, (Some(role), Some(name.to_owned())));
        }
    };
    let ([(_, one, _), (_, five, _)], sim) = (roles, &stage.sim);
    // Else they would be followed at once.
    sim.gateway().lose_next(3);
    for (role, name) in [(one, "away"), (five, "One"), (one, "Five")] {
        sim.rename_role(role, name);
    }
    // Of the two rows, one is held.
    let mut session = stage.database.session().await;
    for sql in ["begin", "select from level where number = 5 for update"] {
        sqlx::query(sql).execute(&mut session).await.unwrap();
    }
    sim.slash(
        sim.user("boss"),
        sim.channel("general"),
        "verify_roles",
        &json!([]),
    );
    let waiting = "select count(*) from pg_locks where not granted and pid in
                   (select pid from pg_stat_activity where datname = current_database())";
    wait("the bot to be in the middle of it", async || {
        (stage.database.number(waiting).await > 0).then_some(())
    })
    .await;
    before(&stage).await;
    stage.bot.kill().await;
    sqlx::query("rollback").execute(&mut session).await.unwrap();
    // What its session can still do without it, it has done then.
    let changing = "select count(*) from pg_locks
                   where relation = 'level'::regclass and mode = 'RowExclusiveLock'";
    wait("what it began to end", async || {
        (stage.database.number(changing).await == 0).then_some(())
    })
    .await;
    before(&stage).await;
    stage.start_again().await;
    stage.bot.logged("roles are verified").await;
    assert_eq!(
        carried(&stage, 1).await,
        (Some(one), Some("Five".to_owned()))
    );
    assert_eq!(
        carried(&stage, 5).await,
        (Some(five), Some("One".to_owned()))
    );
}
