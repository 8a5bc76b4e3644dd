//! Who may have roles yet, who is there at all, and what is waited for before that is looked
//! at: screening, onboarding, people who left, and messages that were missed.

use std::time::Duration;

use discord_sim::clock::first_id_at;
use discord_sim::{Fault, Message, Method, Sim, World};
use serde_json::{Map, Value, json};
use wall_e::leveling::mee6_total;

use crate::roles::{PUT, holds, level_roles, settled, three_names, verified, verify_again};
use crate::support::{Bot, Stage, person, said, wait, wait_for};

const MEMBERS: &str = "/guilds/{}/members";

/// Waits until every level-up has been dealt with.
async fn outbox_is_empty(stage: &Stage) {
    wait("the outbox to be empty", async || {
        (stage.database.number("select count(*) from outbox").await == 0).then_some(())
    })
    .await;
}

/// The lines in `general` about somebody.
fn lines(stage: &Stage, user: u64) -> Vec<String> {
    let messages = stage.sim.bot_messages(stage.sim.channel("general"));
    let lines = messages.iter().map(said);
    lines
        .filter(|line| line.starts_with(&format!("<@{user}> reached")))
        .collect()
}

/// Bob is one message away from level 5.
async fn bob_is_almost_at_five(stage: &Stage) -> u64 {
    let bob = stage.sim.user("bob");
    let almost = mee6_total(5) - 1;
    let set = json!([
        { "name": "user", "type": 6, "value": bob.to_string() },
        { "name": "amount", "value": almost },
        { "name": "reason", "value": "test" },
    ]);
    stage.rest();
    stage.slash("mod", "set_xp", set).await;
    settled(stage).await;
    bob
}

#[tokio::test]
async fn a_list_that_shows_that_someone_passed_is_as_good_as_the_event() {
    let stage = verified().await;
    let bob = bob_is_almost_at_five(&stage).await;
    stage.sim.leave(bob);
    stage.sim.join_pending(bob);
    settled(&stage).await;
    stage.sim.gateway().lose_next(1);
    stage.sim.pass_screening(bob);
    verify_again(&stage).await;
    holds(&stage, bob, &["Zero", "One"]).await;
    // The next level-up gives its role as ever.
    stage.say("bob", "hello");
    let line = || lines(&stage, bob).pop();
    let line = stage.sim.wait("the line", line).await;
    assert!(line.ends_with("New role: **Five**."), "{line}");
}

#[tokio::test]
async fn who_is_gone_is_not_congratulated() {
    let stage = verified().await;
    let bob = bob_is_almost_at_five(&stage).await;
    // Gone before the bot has heard of it.
    let gone = Fault::Refused {
        status: 404,
        code: 10_007,
    };
    stage.sim.faults().next(1, PUT.0, PUT.1, gone);
    stage.say("bob", "hello");
    wait("the level", async || {
        let reached = "select count(*) from user_point where points >= 1150";
        (stage.database.number(reached).await == 2).then_some(())
    })
    .await;
    outbox_is_empty(&stage).await;
    assert_eq!(lines(&stage, bob), [""; 0]);
    // Those who are there are.
    let carol = stage.sim.user("carol");
    let give = json!([
        { "name": "user", "type": 6, "value": carol.to_string() },
        { "name": "amount", "value": 200 },
        { "name": "announce", "value": true },
        { "name": "reason", "value": "test" },
    ]);
    stage.slash("mod", "give_xp", give).await;
    let line = || lines(&stage, carol).pop();
    stage.sim.wait("the line", line).await;
}

#[tokio::test]
async fn who_is_banned_while_a_line_waits_is_not_congratulated() {
    let stage = verified().await;
    let bob = bob_is_almost_at_five(&stage).await;
    stage
        .sim
        .faults()
        .next(1_000, PUT.0, PUT.1, Fault::Status(500));
    stage.say("bob", "hello");
    stage
        .bot
        .logged("a level's role could not be given; trying again")
        .await;
    stage.sim.ban(bob);
    stage.sim.faults().clear();
    outbox_is_empty(&stage).await;
    assert_eq!(lines(&stage, bob), [""; 0]);
    assert_eq!(
        stage.database.number("select count(*) from outbox").await,
        0
    );
}

#[tokio::test]
async fn who_is_banned_is_not_congratulated_before_the_removal_is_told() {
    is_banned_and_not_congratulated(Map::new()).await;
}

#[tokio::test]
async fn a_ban_counts_also_where_the_user_is_shown_in_a_new_form() {
    let odd = json!({ "public_flags": 1_u64 << 40 });
    is_banned_and_not_congratulated(odd.as_object().expect("an object").clone()).await;
}

async fn is_banned_and_not_congratulated(user_fields: Map<String, Value>) {
    // Level 6 brings no role: nothing but the event says that he is not there.
    let world = World::new();
    let database = three_names().await;
    let bob = person(&world, "bob");
    let almost = i64::try_from(mee6_total(6)).unwrap() - 1;
    database.insert_user(bob, almost, 1).await;
    let stage = Stage::open_on(world, database).await;
    stage
        .sim
        .settings(|settings| settings.user_fields = user_fields);
    stage.sim.gateway().lose_all("GUILD_MEMBER_REMOVE");
    // The ban is told before what he wrote just before it.
    stage.sim.gateway().swap_next(1);
    stage.say("bob", "hello");
    stage.sim.ban(bob);
    wait("the level", async || {
        let reached = "select count(*) from user_point where points > 1624";
        (stage.database.number(reached).await == 1).then_some(())
    })
    .await;
    outbox_is_empty(&stage).await;
    assert_eq!(lines(&stage, bob), [""; 0]);
}

#[tokio::test]
async fn who_left_while_the_bot_was_away_is_not_congratulated_for_what_is_read() {
    let mut stage = verified().await;
    let alice = stage.sim.user("alice");
    stage.say("carol", "so that there is a frontier");
    outbox_is_empty(&stage).await;
    stage.bot.terminate().await;
    // Level 6 brings no role, so nothing is asked of Discord for it but whether she is there.
    let ago = |seconds: u64| first_id_at(stage.sim.now_ms() - seconds * 1_000);
    assert_eq!(mee6_total(6), 1_625);
    stage
        .database
        .execute(
            "update watermark set
                message_id = (extract(epoch from now()) * 1000 - 1420070400000 - 600000)::bigint << 22;
             update user_point set points = 1624, last_awarded_at = null where points > 1000",
        )
        .await;
    let general = stage.sim.channel("general");
    let words = Message::new(general, alice, "the last words").id(ago(120));
    stage.sim.post(words);
    stage.sim.leave(alice);
    stage.start_again().await;
    wait("the level", async || {
        let reached = "select count(*) from user_point where points > 1624";
        (stage.database.number(reached).await == 1).then_some(())
    })
    .await;
    outbox_is_empty(&stage).await;
    assert_eq!(lines(&stage, alice), [""; 0]);
}

#[tokio::test]
async fn a_verification_waits_for_a_long_catch_up_and_asks_nothing_meanwhile() {
    let mut stage = verified().await;
    stage.bot.terminate().await;
    stage.rest();
    stage.say("alice", "what was missed");
    stage.sim.clear_requests();
    let slow = Fault::Delay(Duration::from_secs(8));
    let channels = "/guilds/{}/channels";
    stage.sim.faults().next(1, Method::GET, channels, slow);
    stage.start_again().await;
    stage
        .bot
        .logged("roles are verified once everything that was missed is counted")
        .await;
    let pages = stage.sim.requests_to(&Method::GET, MEMBERS);
    assert_eq!(pages.len(), 0, "nobody is listed before");
    wait_for(Duration::from_mins(1), "the verification", async || {
        let log = stage.bot.log();
        log.contains("roles are verified members").then_some(())
    })
    .await;
    assert_eq!(stage.sim.requests_to(&Method::GET, MEMBERS).len(), 1);
    let log = stage.bot.log();
    assert_eq!(log.matches("roles are verified once").count(), 1, "{log}");
}

/// With alice at level 5, bob at level 1, and a bot that has this setting.
async fn with_setting(awaits: &str) -> Stage {
    let world = World::new();
    let database = three_names().await;
    for (name, level) in [("alice", 5), ("bob", 1)] {
        let points = i64::try_from(mee6_total(level)).unwrap();
        database.insert_user(person(&world, name), points, 1).await;
    }
    let sim = Sim::start(world).await.unwrap();
    sim.onboarding(true);
    let settings = [("WALLE_AWAIT_ONBOARDING", awaits)];
    let mut bot = Bot::launch(&sim, &database.url(), &settings);
    bot.connected(&sim).await;
    bot.logged("roles are verified").await;
    Stage { bot, database, sim }
}

#[tokio::test]
async fn onboarding_is_waited_for_where_that_is_set() {
    let mut stage = with_setting("yes").await;
    let (alice, bob) = (stage.sim.user("alice"), stage.sim.user("bob"));
    // They were there before.
    holds(&stage, alice, &["Zero", "One", "Five"]).await;
    holds(&stage, bob, &["Zero", "One"]).await;
    for user in [alice, bob] {
        stage.sim.leave(user);
        stage.sim.join(user);
    }
    settled(&stage).await;
    stage.sim.start_onboarding(alice);
    stage.sim.nick(bob, Some("Bobby"));
    settled(&stage).await;
    verify_again(&stage).await;
    for user in [alice, bob] {
        assert_eq!(level_roles(&stage.sim, user), [""; 0]);
    }
    stage.sim.bypass_verification(bob);
    holds(&stage, bob, &["Zero", "One"]).await;
    // Across a restart, too: she has begun, and has not come to the end.
    stage.bot.terminate().await;
    start_again(&mut stage, "yes").await;
    assert_eq!(level_roles(&stage.sim, alice), [""; 0]);
    stage.sim.complete_onboarding(alice);
    holds(&stage, alice, &["Zero", "One", "Five"]).await;
    // Whoever was there before is held back by nothing.
    let carol = stage.sim.user("carol");
    stage.say("carol", "hello");
    holds(&stage, carol, &["Zero"]).await;
    // Switched off in the guild, it holds nobody back.
    stage.sim.leave(alice);
    stage.sim.join(alice);
    stage.sim.start_onboarding(alice);
    settled(&stage).await;
    assert_eq!(level_roles(&stage.sim, alice), [""; 0]);
    stage.sim.onboarding(false);
    holds(&stage, alice, &["Zero", "One", "Five"]).await;
}

/// In place of the bot that has ended, another with this setting has verified everyone.
async fn start_again(stage: &mut Stage, awaits: &str) {
    let settings = [("WALLE_AWAIT_ONBOARDING", awaits)];
    let gone = || (!stage.sim.is_connected()).then_some(());
    stage.sim.wait("the old connection to end", gone).await;
    stage.bot = Bot::launch(&stage.sim, &stage.database.url(), &settings);
    stage.bot.connected(&stage.sim).await;
    stage.bot.logged("roles are verified").await;
}

#[tokio::test]
async fn who_joined_and_has_not_begun_with_the_onboarding_is_held_back_after_a_restart() {
    let mut stage = with_setting("yes").await;
    let (alice, bob) = (stage.sim.user("alice"), stage.sim.user("bob"));
    let seen = "select count(onboarding_since) from verification";
    assert_eq!(stage.database.number(seen).await, 1);
    // One joins while the bot runs, the other while it does not: no event tells of her.
    stage.sim.leave(bob);
    stage.sim.join(bob);
    settled(&stage).await;
    stage.bot.terminate().await;
    stage.sim.leave(alice);
    stage.sim.join(alice);
    start_again(&mut stage, "yes").await;
    verify_again(&stage).await;
    for user in [alice, bob] {
        assert_eq!(level_roles(&stage.sim, user), [""; 0]);
    }
    stage.sim.complete_onboarding(alice);
    holds(&stage, alice, &["Zero", "One", "Five"]).await;
    // Without the setting nobody is held back, and when it is set again only those are who join
    // after that.
    stage.bot.terminate().await;
    start_again(&mut stage, "no").await;
    holds(&stage, bob, &["Zero", "One"]).await;
    assert_eq!(stage.database.number(seen).await, 0);
    stage.bot.terminate().await;
    start_again(&mut stage, "yes").await;
    let one = stage.sim.role("One");
    stage.sim.revoke(bob, one);
    verify_again(&stage).await;
    holds(&stage, bob, &["Zero", "One"]).await;
}

#[tokio::test]
async fn onboarding_is_not_waited_for_where_nothing_is_set() {
    let stage = with_setting("").await;
    let alice = stage.sim.user("alice");
    stage.sim.leave(alice);
    stage.sim.join(alice);
    stage.sim.start_onboarding(alice);
    holds(&stage, alice, &["Zero", "One", "Five"]).await;
}

/// Discord may say so since 2026-05-06.
#[tokio::test]
async fn joining_again_without_having_left_changes_nothing() {
    let stage = verified().await;
    let bob = bob_is_almost_at_five(&stage).await;
    holds(&stage, bob, &["Zero", "One"]).await;
    let before = stage.sim.requests_to(&PUT.0, PUT.1).len();
    stage.sim.join_again(bob);
    settled(&stage).await;
    assert_eq!(stage.sim.requests_to(&PUT.0, PUT.1).len(), before);
    stage.say("bob", "hello");
    holds(&stage, bob, &["Zero", "One", "Five"]).await;
}
