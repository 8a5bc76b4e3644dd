//! Copies of avatars under trouble: a CDN that misbehaves, a channel that is closed or gone, a
//! bot or a database that ends in the middle, and many changes at once.

use std::net::TcpListener;
use std::time::Duration;

use discord_sim::clock::first_id_at;
use discord_sim::permissions::{ATTACH_FILES, READ_MESSAGE_HISTORY, SEND_MESSAGES, VIEW_CHANNEL};
use discord_sim::{CdnFault, ChannelKind, Fault, Message, Method, Scope, Sim, World};
use fault_lab::{Gate, Position};
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;

use crate::profiles::{A, CHANNEL, MOVING, OTHER, copied, copies, is_copied, is_stored, stored};
use crate::support::{Bot, Stage, TestDatabase, id_of, is_private, person, said, wait, wait_for};

const AVATARS: &str = "/avatars/{}/{}";
const MESSAGES: &str = "/channels/{}/messages";
const MESSAGE: &str = "/channels/{}/messages/{}";
const MEMBER: &str = "/guilds/{}/members/{}";
const MIB_20: u64 = 20 << 20;

/// A guild in which these people have some XP; alice has an avatar that was copied.
async fn guild(world: World, people: &[&str]) -> Stage {
    let database = TestDatabase::migrated().await;
    for who in people {
        database.insert_user(person(&world, who), 100, 5).await;
    }
    let stage = Stage::open_on(world, database).await;
    let alice = stage.sim.user("alice");
    stage.sim.avatar(alice, Some(A));
    is_copied(&stage, alice, A).await;
    stage
}

/// With a bot that reaches Postgres only through a gate.
async fn behind_a_gate() -> (Stage, Gate) {
    let world = World::new();
    let database = TestDatabase::migrated().await;
    let alice = person(&world, "alice");
    database.insert_user(alice, 100, 5).await;
    let gate = Gate::open_before(database.server_address()).await.unwrap();
    let sim = Sim::start(world).await.unwrap();
    let bot = Bot::start(&sim, &database.url_through(&gate)).await;
    bot.logged("roles are verified").await;
    let stage = Stage { bot, database, sim };
    stage.sim.avatar(alice, Some(A));
    is_copied(&stage, alice, A).await;
    (stage, gate)
}

/// Why somebody's picture has failed, if it has.
async fn failure(stage: &Stage, user: u64) -> Option<String> {
    let why = "select last_error from updated_user where user_id = $1";
    let found: Option<Option<String>> = sqlx::query_scalar(why)
        .bind(i64::try_from(user).unwrap())
        .fetch_optional(&mut stage.database.session().await)
        .await
        .unwrap();
    found.flatten()
}

/// Waits until somebody's picture has failed; why.
async fn failed(stage: &Stage, user: u64) -> String {
    wait("a copy that fails", async || failure(stage, user).await).await
}

/// Waits until somebody's copy is of this avatar, whatever waits for others.
async fn is_copied_among_others(stage: &Stage, user: u64, hash: &str) {
    wait(&format!("the copy of {hash} of {user}"), async || {
        (stored(stage, user).await["avatar_copy_hash"] == hash).then_some(())
    })
    .await;
}

/// What failed is tried again now.
async fn hurry(stage: &Stage) {
    stage
        .database
        .execute("update updated_user set next_attempt_at = 'epoch'")
        .await;
}

/// What failed is not tried again during the test, unless [`hurry`] has it tried.
async fn put_off(stage: &Stage) {
    let later = "update updated_user set next_attempt_at = now() + interval '30 minutes'";
    stage.database.execute(later).await;
}

async fn attempts(stage: &Stage, user: u64) -> u64 {
    let stored = stored(stage, user).await;
    stored["profile_attempts"].as_u64().unwrap()
}

/// How often a copy has failed for somebody since [`watch`].
async fn failures(stage: &Stage, user: u64) -> i64 {
    let failures = "select count(*) from lost where what = 'attempt' and user_id = $1";
    sqlx::query_scalar(failures)
        .bind(i64::try_from(user).unwrap())
        .fetch_one(&mut stage.database.session().await)
        .await
        .unwrap()
}

/// Everything fails that the CDN is asked for of somebody, until its faults are cleared; and
/// something has.
async fn avatar_that_fails(stage: &Stage, user: u64, avatar: &str, fault: CdnFault) -> String {
    let of_user = format!("/avatars/{user}/{{}}");
    stage.sim.cdn_faults().next(1_000, &of_user, fault);
    stage.sim.avatar(user, Some(avatar));
    failed(stage, user).await
}

/// How often the CDN was asked for a picture of somebody.
fn asked_for(sim: &Sim, user: u64) -> usize {
    let of_user = |path: &&String| path.contains(&user.to_string());
    sim.cdn_requests().iter().filter(of_user).count()
}

/// How often Discord was asked for somebody as a member.
fn looked_up(sim: &Sim, user: u64) -> usize {
    let looks = sim.requests_to(&Method::GET, MEMBER);
    let of_user = looks
        .iter()
        .filter(|look| look.path.ends_with(&user.to_string()));
    of_user.count()
}

/// Somebody as a member, as Discord tells it now.
async fn member(sim: &Sim, user: u64) -> Value {
    let (origin, guild) = (sim.proxy_url(), sim.guild_id());
    let answer = reqwest::Client::new()
        .get(format!("{origin}/api/v10/guilds/{guild}/members/{user}"))
        .header("Authorization", format!("Bot {}", sim.token()))
        .send()
        .await
        .unwrap();
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

/// From now on it is noted who loses a link, a bucket or an attempt.
async fn watch(stage: &Stage) {
    stage
        .database
        .execute(
            "create table lost (user_id bigint, what text);
             create function note_loss() returns trigger language plpgsql as $$ begin
                insert into lost values (new.user_id, tg_argv[0]); return null; end $$;
             create trigger lost_link after update on user_point for each row
                when (old.avatar_link is not null and new.avatar_link is null)
                execute function note_loss('link');
             create trigger lost_bucket after update on user_point for each row
                when (old.bucket_number is not null and new.bucket_number is null)
                execute function note_loss('bucket');
             create trigger lost_attempt after update on user_point for each row
                when (old.profile_attempts < new.profile_attempts)
                execute function note_loss('attempt')",
        )
        .await;
}

async fn lost_links(stage: &Stage) -> i64 {
    let lost = "select count(*) from lost where what = 'link'";
    stage.database.number(lost).await
}

/// From now on whoever is about to point to a new copy is held up, until [`let_go`].
async fn hold_up(stage: &Stage) -> PgConnection {
    stage
        .database
        .execute(
            "create function hold_up() returns trigger language plpgsql as $$ begin
                perform pg_advisory_xact_lock_shared(1); return new; end $$;
             create trigger hold_up before update of avatar_message_id on user_point
                for each row execute function hold_up()",
        )
        .await;
    let mut session = stage.database.session().await;
    let lock = sqlx::query("select pg_advisory_lock(1)");
    lock.execute(&mut session).await.unwrap();
    session
}

/// Waits until somebody is held up: the copy is posted, and nobody points to it yet.
async fn is_held_up(stage: &Stage) {
    wait("a copy that is held up", async || {
        let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted";
        (stage.database.number(waiting).await > 0).then_some(())
    })
    .await;
}

async fn let_go(mut session: PgConnection) {
    let unlock = sqlx::query("select pg_advisory_unlock(1)");
    unlock.execute(&mut session).await.unwrap();
}

/// Waits until a call is under way that gets no answer.
async fn hangs(sim: &Sim, method: Method, pattern: &str) {
    let hanging = || {
        let calls = sim.requests_to(&method, pattern);
        calls.iter().any(|call| call.status.is_none()).then_some(())
    };
    sim.wait("a call without an answer", hanging).await;
}

/// Waits until these are all copies in the channel.
async fn copies_are(sim: &Sim, expected: &[u64]) {
    let there = || (copies(sim) == expected).then_some(());
    sim.wait(&format!("the copies {expected:?}"), there).await;
}

#[tokio::test]
async fn what_is_no_avatar_is_not_posted_and_is_told_in_words() {
    let stage = copied().await;
    watch(&stage).await;
    let alice = stage.sim.user("alice");
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let address = elsewhere.local_addr().unwrap();
    let redirect = CdnFault::Redirect(format!("http://{address}/avatar.png"));
    let (large, no_png) = ("the image has more than 1 MiB", "the answer is not a PNG");
    // Whether it counts as an attempt at the user: not where the CDN as a whole may be ill.
    let troubles = [
        (CdnFault::Big(MIB_20), large, true),
        (CdnFault::BigChunked(MIB_20), large, true),
        (redirect, "Discord's CDN answered 302", false),
        (CdnFault::Html, no_png, true),
        (CdnFault::Big(100), no_png, true),
        (CdnFault::Big(0), no_png, true),
        (CdnFault::Status(415), "Discord's CDN answered 415", true),
        (
            CdnFault::Status(410),
            "Discord's CDN has no such image",
            true,
        ),
        (CdnFault::Status(500), "Discord's CDN answered 500", false),
        (CdnFault::Status(429), "Discord's CDN answered 429", false),
        (CdnFault::Status(403), "Discord's CDN answered 403", false),
        (CdnFault::Reset, "Discord's CDN broke off", false),
    ];
    for (number, (trouble, words, counts)) in troubles.into_iter().enumerate() {
        let before = stored(&stage, alice).await;
        let stands = copies(&stage.sim);
        assert_eq!(stands.len(), 1, "{trouble:?}");
        let avatar = if number % 2 == 0 { OTHER } else { A };
        let why = avatar_that_fails(&stage, alice, avatar, trouble.clone()).await;
        assert_eq!(why, words, "{trouble:?}");
        let name = format!("alice the {number}th");
        stage.sim.nick(alice, Some(&name));
        is_stored(&stage, alice, &[("nickname", Some(&name))]).await;
        let after = stored(&stage, alice).await;
        for field in ["avatar_copy_hash", "avatar_message_id", "avatar_link"] {
            assert_eq!(after[field], before[field], "{trouble:?}");
        }
        assert_eq!(after["profile_attempts"] != 0, counts, "{trouble:?}");
        assert_eq!(
            failure(&stage, alice).await.as_deref(),
            Some(words),
            "another name says nothing of the picture"
        );
        assert_eq!(copies(&stage.sim), stands, "{trouble:?}");
        stage.sim.cdn_faults().clear();
        hurry(&stage).await;
        let message = is_copied(&stage, alice, avatar).await;
        copies_are(&stage.sim, &[message]).await;
        assert_eq!(attempts(&stage, alice).await, 0, "{trouble:?}");
    }
    let asked = elsewhere.accept().map(|_| ()).map_err(|error| error.kind());
    assert_eq!(asked, Err(std::io::ErrorKind::WouldBlock));
    assert_eq!(lost_links(&stage).await, 0);
}

#[tokio::test]
async fn a_cdn_that_hangs_holds_up_nobody_else() {
    let people = ["alice", "bob", "carol"];
    let stage = guild(World::new(), &people).await;
    watch(&stage).await;
    let [alice, bob, carol] = people.map(|who| stage.sim.user(who));
    let faults = stage.sim.cdn_faults();
    for (who, fault) in [(alice, CdnFault::Hang), (carol, CdnFault::HangInBody)] {
        let asked = asked_for(&stage.sim, who);
        faults.next(1, &format!("/avatars/{who}/{{}}"), fault);
        stage.sim.avatar(who, Some(OTHER));
        let asked = || (asked_for(&stage.sim, who) > asked).then_some(());
        stage.sim.wait("the CDN to be asked", asked).await;
    }
    // Both hang for ten seconds.
    stage.sim.nick(bob, Some("Bobby"));
    is_stored(&stage, bob, &[("nickname", Some("Bobby"))]).await;
    stage.sim.avatar(bob, Some(MOVING));
    is_copied_among_others(&stage, bob, MOVING).await;
    for who in [alice, carol] {
        assert_eq!(failures(&stage, who).await, 0, "it still hangs");
    }
    assert_eq!(stored(&stage, alice).await["avatar_copy_hash"], A);
    assert!(stored(&stage, carol).await["avatar_copy_hash"].is_null());
    for who in [alice, carol] {
        let why = failed(&stage, who).await;
        assert_eq!(why, "Discord's CDN did not answer in time");
    }
    // It is the host's fault, and nobody's.
    hurry(&stage).await;
    for who in [alice, carol] {
        is_copied_among_others(&stage, who, OTHER).await;
        assert_eq!(failures(&stage, who).await, 0);
    }
    let pictures = || (copies(&stage.sim).len() == 3).then_some(());
    stage.sim.wait("three copies", pictures).await;
}

#[tokio::test]
async fn a_change_that_was_not_heard_of_is_found_by_asking_once() {
    let stage = copied().await;
    let alice = stage.sim.user("alice");
    stage.sim.clear_requests();
    avatar_that_fails(&stage, alice, MOVING, CdnFault::Status(500)).await;
    assert_eq!(looked_up(&stage.sim, alice), 0);
    stage.sim.gateway().lose_next(2);
    stage.sim.avatar(alice, Some(OTHER));
    stage.sim.nick(alice, Some("Al"));
    stage.sim.cdn_faults().clear();
    hurry(&stage).await;
    is_copied(&stage, alice, OTHER).await;
    is_stored(&stage, alice, &[("nickname", Some("Al"))]).await;
    assert_eq!(looked_up(&stage.sim, alice), 1);
}

#[tokio::test]
async fn the_avatar_that_an_unheard_one_had_replaced_is_copied_when_it_comes_back() {
    let stage = copied().await;
    let alice = stage.sim.user("alice");
    avatar_that_fails(&stage, alice, MOVING, CdnFault::Status(500)).await;
    stage.sim.gateway().lose_next(1);
    stage.sim.avatar(alice, Some(OTHER));
    stage.sim.cdn_faults().clear();
    hurry(&stage).await;
    is_copied(&stage, alice, OTHER).await;
    stage.sim.avatar(alice, Some(MOVING));
    is_copied(&stage, alice, MOVING).await;
}

#[tokio::test]
async fn what_is_heard_while_discord_is_asked_counts_for_more() {
    let stage = copied().await;
    let alice = stage.sim.user("alice");
    avatar_that_fails(&stage, alice, MOVING, CdnFault::Status(500)).await;
    stage.sim.gateway().lose_next(1);
    stage.sim.avatar(alice, Some(OTHER));
    stage.sim.cdn_faults().clear();
    let old = member(&stage.sim, alice).await;
    stage.sim.clear_requests();
    // Asked before the change, and answered after it with what was true before.
    let faults = stage.sim.faults();
    faults.next(2, Method::GET, MEMBER, Fault::Status(500));
    faults.next(1, Method::GET, MEMBER, Fault::Answer(old));
    hurry(&stage).await;
    let asked = || (looked_up(&stage.sim, alice) > 0).then_some(());
    stage.sim.wait("the question", asked).await;
    stage.sim.nick(alice, Some("Al"));
    is_copied(&stage, alice, OTHER).await;
    is_stored(&stage, alice, &[("nickname", Some("Al"))]).await;
}

#[tokio::test]
async fn whoever_left_with_an_avatar_for_this_guild_is_shown_by_the_accounts() {
    let stage = copied().await;
    let alice = stage.sim.user("alice");
    // Nothing of the guild's own is left where somebody leaves; nor is its copy, by accident.
    stage.sim.guild_avatar(alice, Some(OTHER));
    is_copied(&stage, alice, OTHER).await;
    stage.sim.nick(alice, Some("Al"));
    is_stored(&stage, alice, &[("nickname", Some("Al"))]).await;
    stage.sim.leave(alice);
    stage
        .database
        .execute(
            "update user_point set avatar_copy_hash = null where username = 'alice';
             insert into updated_user (user_id, stored) select user_id, true from user_point",
        )
        .await;
    is_copied(&stage, alice, A).await;
    let kept = [("nickname", Some("Al")), ("guild_avatar_hash", None)];
    is_stored(&stage, alice, &kept).await;
}

#[tokio::test]
async fn an_avatar_that_the_cdn_should_have_is_a_failure() {
    let stage = copied().await;
    watch(&stage).await;
    let alice = stage.sim.user("alice");
    stage.sim.clear_requests();
    stage
        .sim
        .cdn_faults()
        .next(1, AVATARS, CdnFault::Status(404));
    stage.sim.avatar(alice, Some(OTHER));
    let why = failed(&stage, alice).await;
    assert_eq!(why, "Discord's CDN has no such image");
    assert_eq!(failures(&stage, alice).await, 1);
    assert_eq!(looked_up(&stage.sim, alice), 1);
    hurry(&stage).await;
    is_copied(&stage, alice, OTHER).await;
}

#[tokio::test]
async fn who_is_gone_keeps_the_last_copy_and_name() {
    for erased in [false, true] {
        let stage = copied().await;
        watch(&stage).await;
        let alice = stage.sim.user("alice");
        avatar_that_fails(&stage, alice, OTHER, CdnFault::Status(500)).await;
        let (before, stands) = (stored(&stage, alice).await, copies(&stage.sim));
        if erased {
            stage.sim.erase_account(alice);
        } else {
            stage.sim.delete_account(alice);
        }
        stage.sim.cdn_faults().clear();
        hurry(&stage).await;
        let after = wait("the account to be marked as gone", async || {
            let stored = stored(&stage, alice).await;
            (!stored["gone_at"].is_null()).then_some(stored)
        })
        .await;
        for field in [
            "username",
            "avatar_hash",
            "avatar_copy_hash",
            "avatar_message_id",
            "avatar_link",
        ] {
            assert_eq!(after[field], before[field], "{field}");
        }
        assert_eq!(after["avatar_copy_hash"], A);
        let waiting = "select count(*) from updated_user";
        assert_eq!(stage.database.number(waiting).await, 0);
        // Back again: gone no more.
        stage.sim.restore_account(alice);
        stage.sim.join(alice);
        let message = is_copied(&stage, alice, OTHER).await;
        assert!(stored(&stage, alice).await["gone_at"].is_null());
        copies_are(&stage.sim, &[message]).await;
        assert!(!stands.contains(&message));
        assert_eq!(lost_links(&stage).await, 0);
    }
}

#[tokio::test]
async fn a_picture_that_always_fails_is_parked_and_tried_again_when_somebody_says_so() {
    let world = World::new().person("manager", &["Bot_manager"]);
    let stage = guild(world, &["alice", "bob"]).await;
    let (alice, bob) = (stage.sim.user("alice"), stage.sim.user("bob"));
    avatar_that_fails(&stage, alice, OTHER, CdnFault::Status(415)).await;
    stage
        .database
        .execute(
            "update user_point set profile_attempts = 14 where profile_attempts > 0;
             update updated_user set next_attempt_at = 'epoch'",
        )
        .await;
    stage
        .bot
        .logged("an avatar could not be copied and is parked")
        .await;
    assert!(stage.bot.log().contains("attempts=15"));
    // Whoever is due, she is not.
    let asked = asked_for(&stage.sim, alice);
    hurry(&stage).await;
    stage.sim.avatar(bob, Some(A));
    is_copied_among_others(&stage, bob, A).await;
    stage.sim.nick(alice, Some("Al"));
    is_stored(&stage, alice, &[("nickname", Some("Al"))]).await;
    stage.sim.avatar(bob, Some(MOVING));
    is_copied_among_others(&stage, bob, MOVING).await;
    assert_eq!(asked_for(&stage.sim, alice), asked);
    assert_eq!(attempts(&stage, alice).await, 15);

    let queue = stage.ask("manager", ".profile_queue").await;
    for line in [
        "Avatars to copy: 0, of which 0 have failed before",
        "Parked after 15 attempts: 1",
        &format!("Al <@{alice}>: 15 attempts, Discord's CDN answered 415"),
        "`reset_attempts @user` tries a parked one again, `reset_attempts all` all of them.",
    ] {
        assert!(queue.lines().any(|said| said == line), "{queue}");
    }
    for command in [
        "profile_queue",
        "reset_profiles",
        &format!("reset_attempts <@{alice}>"),
    ] {
        assert_eq!(
            stage.ask("bob", &format!(".{command}")).await,
            "Only Bot_manager can use this command.",
        );
    }
    stage.sim.cdn_faults().clear();
    assert_eq!(asked_for(&stage.sim, alice), asked);
    assert_eq!(
        stage
            .ask("manager", &format!(".reset_attempts <@{alice}>"))
            .await,
        "Reset 15 failed attempts at Al's avatar. I am trying it again now."
    );
    is_copied(&stage, alice, OTHER).await;
    assert_eq!(attempts(&stage, alice).await, 0);
    assert_eq!(
        stage
            .ask("manager", &format!(".reset_attempts <@{alice}>"))
            .await,
        "Al's avatar has not failed to copy."
    );
}

#[tokio::test]
async fn all_that_is_parked_is_tried_again_together() {
    let world = World::new().person("manager", &["Bot_manager"]);
    let people = ["alice", "bob", "carol"];
    let stage = guild(world, &people).await;
    let users = people.map(|who| stage.sim.user(who));
    for user in users {
        // One after the other: of one in a row it is not the CDN's fault.
        avatar_that_fails(&stage, user, OTHER, CdnFault::Status(415)).await;
    }
    stage
        .database
        .execute(
            "update user_point set profile_attempts = 15 where username <> 'carol';
             update updated_user set next_attempt_at = now() + interval '1 hour'",
        )
        .await;
    stage.sim.cdn_faults().clear();
    for what in ["", " everybody", " all of them"] {
        let usage = stage
            .ask("manager", &format!(".reset_attempts{what}"))
            .await;
        assert!(
            usage.starts_with("Usage: `.reset_attempts"),
            "{what}: {usage}"
        );
    }
    assert_eq!(
        stage.ask("bob", ".reset_attempts all").await,
        "Only Bot_manager can use this command.",
    );
    assert_eq!(
        stage.ask("manager", ".reset_attempts all").await,
        "Reset the failed attempts at the avatars of 3 users, 2 of them parked. I am trying them again now."
    );
    for user in users {
        is_copied_among_others(&stage, user, OTHER).await;
        assert_eq!(attempts(&stage, user).await, 0);
    }
    let all = json!([{ "name": "all", "value": true }]);
    assert_eq!(
        stage.slash("boss", "reset_attempts", all).await,
        "No avatar has failed to copy."
    );
}

#[tokio::test]
async fn an_image_at_which_the_cdn_always_fails_is_parked_while_others_are_copied() {
    let stage = guild(World::new(), &["alice", "bob", "carol"]).await;
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|who| stage.sim.user(who));
    avatar_that_fails(&stage, alice, OTHER, CdnFault::Status(503)).await;
    put_off(&stage).await;
    avatar_that_fails(&stage, bob, OTHER, CdnFault::Status(403)).await;
    put_off(&stage).await;
    assert_eq!(
        attempts(&stage, alice).await,
        0,
        "it may be the CDN's fault"
    );
    assert_eq!(attempts(&stage, bob).await, 0);
    stage.sim.avatar(carol, Some(A));
    wait_for(Duration::from_mins(1), "carol's copy", async || {
        (stored(&stage, carol).await["avatar_copy_hash"] == A).then_some(())
    })
    .await;
    for user in [alice, bob] {
        wait_for(
            Duration::from_mins(1),
            "an attempt that counts",
            async || {
                hurry(&stage).await;
                (attempts(&stage, user).await > 0).then_some(())
            },
        )
        .await;
    }
    let parked = || stage.bot.log().matches("copied and is parked").count();
    stage
        .database
        .execute(
            "update user_point set profile_attempts = 14 where profile_attempts > 0;
             update updated_user set next_attempt_at = 'epoch'",
        )
        .await;
    wait("both to be parked", async || (parked() == 2).then_some(())).await;
    let asked = [alice, bob].map(|user| asked_for(&stage.sim, user));
    hurry(&stage).await;
    stage.sim.avatar(carol, Some(MOVING));
    is_copied_among_others(&stage, carol, MOVING).await;
    assert_eq!([alice, bob].map(|user| asked_for(&stage.sim, user)), asked);
}

#[tokio::test]
async fn an_image_that_discord_always_fails_to_post_is_counted_while_others_are_posted() {
    let stage = guild(World::new(), &["alice", "bob"]).await;
    let [alice, bob] = ["alice", "bob"].map(|who| stage.sim.user(who));
    let posts = format!("/channels/{}/messages", stage.sim.channel(CHANNEL));
    let refuse = || {
        let faults = stage.sim.faults();
        faults.next(10_000, Method::POST, &posts, Fault::Status(500));
    };
    // Nothing in a call tells whose image it posts: hers is the only one that is due.
    refuse();
    stage.sim.avatar(alice, Some(OTHER));
    wait_for(Duration::from_mins(2), "a post that fails", async || {
        failure(&stage, alice).await
    })
    .await;
    assert_eq!(attempts(&stage, alice).await, 0, "it may be the channel");
    put_off(&stage).await;
    stage.sim.faults().clear();
    stage.sim.avatar(bob, Some(A));
    wait_for(Duration::from_mins(1), "bob's copy", async || {
        (stored(&stage, bob).await["avatar_copy_hash"] == A).then_some(())
    })
    .await;
    refuse();
    hurry(&stage).await;
    wait_for(
        Duration::from_mins(2),
        "an attempt that counts",
        async || (attempts(&stage, alice).await == 1).then_some(()),
    )
    .await;
}

/// What the council was told that begins like this.
fn told(sim: &Sim, begin: &str) -> Vec<String> {
    let council = sim.find_channel("council").into_iter();
    let texts = council.flat_map(|council| sim.bot_messages(council));
    let texts = texts.map(|message| said(&message));
    texts.filter(|text| text.starts_with(begin)).collect()
}

/// Many choose avatars while `trouble` meets every image; then it ends.
async fn nobody_is_counted(trouble: CdnFault) {
    const TOLD: &str = "Discord's CDN has given me no avatar since <t:";
    let names: Vec<String> = (0..12).map(|number| format!("person{number}")).collect();
    let world = names
        .iter()
        .fold(World::new(), |world, name| world.person(name, &[]));
    let mut everyone: Vec<&str> = names.iter().map(String::as_str).collect();
    everyone.push("alice");
    let stage = guild(world, &everyone).await;
    watch(&stage).await;
    let users: Vec<u64> = names.iter().map(|name| stage.sim.user(name)).collect();
    stage
        .sim
        .cdn_faults()
        .next(10_000, AVATARS, trouble.clone());
    stage.sim.clear_cdn_requests();
    for (number, user) in (1_u128..).zip(&users) {
        stage.sim.avatar(*user, Some(&format!("{number:032x}")));
    }
    let is_told = || {
        let told = told(&stage.sim, TOLD);
        (!told.is_empty()).then_some(told)
    };
    let words = stage.sim.wait("the council to be told", is_told).await;
    assert!(!words[0].contains("Solved"), "{words:?}");
    // Four were under way, and after that one at a time.
    let asked = stage.sim.cdn_requests().len();
    assert!(asked <= 8, "{trouble:?}: {asked}");
    stage.sim.nick(users[0], Some("Al"));
    is_stored(&stage, users[0], &[("nickname", Some("Al"))]).await;
    let failed = "select count(*) from lost where what = 'attempt'";
    // Of the first it was not known yet that others fail in the same way.
    let most = i64::from(trouble == CdnFault::Html);
    assert!(stage.database.number(failed).await <= most, "{trouble:?}");

    stage.sim.cdn_faults().clear();
    hurry(&stage).await;
    wait_for(Duration::from_mins(3), "all copies", async || {
        let copied = "select count(avatar_copy_hash) from user_point";
        (stage.database.number(copied).await == 13).then_some(())
    })
    .await;
    let is_solved = || {
        let told = told(&stage.sim, TOLD);
        told.iter()
            .all(|text| text.ends_with("**Solved.**"))
            .then_some(told.len())
    };
    let notices = stage.sim.wait("the problem to be solved", is_solved).await;
    assert_eq!(notices, 1, "one notice");
    assert!(stage.database.number(failed).await <= most, "{trouble:?}");
}

#[tokio::test]
async fn a_cdn_that_is_away_parks_nobody() {
    nobody_is_counted(CdnFault::Status(503)).await;
}

#[tokio::test]
async fn a_cdn_that_refuses_the_bots_address_parks_nobody() {
    nobody_is_counted(CdnFault::Status(403)).await;
}

#[tokio::test]
async fn a_page_in_the_place_of_every_image_parks_nobody() {
    nobody_is_counted(CdnFault::Html).await;
}

#[tokio::test]
async fn a_channel_that_takes_nothing_rests_and_costs_nobody_an_attempt() {
    let people = ["alice", "bob", "carol"];
    let stage = guild(World::new(), &people).await;
    watch(&stage).await;
    let users = people.map(|who| stage.sim.user(who));
    let posts = format!("/channels/{}/messages", stage.sim.channel(CHANNEL));
    let faults = stage.sim.faults();
    faults.next(10_000, Method::POST, &posts, Fault::Status(500));
    for user in users {
        stage.sim.avatar(user, Some(OTHER));
    }
    let words = wait_for(
        Duration::from_mins(2),
        "the council to be told",
        async || {
            hurry(&stage).await;
            told(
                &stage.sim,
                "I have not been able to store copies of avatars since",
            )
            .pop()
        },
    )
    .await;
    assert!(words.contains("Discord answered 500"), "{words}");
    stage.sim.faults().clear();
    hurry(&stage).await;
    for user in users {
        wait_for(Duration::from_mins(1), "the copies", async || {
            let stored = stored(&stage, user).await;
            (stored["avatar_copy_hash"] == OTHER).then_some(())
        })
        .await;
        assert_eq!(failures(&stage, user).await, 0);
    }
    let is_solved = || {
        let told = told(
            &stage.sim,
            "I have not been able to store copies of avatars since",
        );
        told[0].ends_with("**Solved.**").then_some(told.len())
    };
    assert_eq!(
        stage.sim.wait("the problem to be solved", is_solved).await,
        1
    );
}

/// Has alice's picture fail once, and then counts that as fifteen times.
async fn is_parked(stage: &Stage, avatar: &str) {
    let alice = stage.sim.user("alice");
    avatar_that_fails(stage, alice, avatar, CdnFault::Status(415)).await;
    stage
        .database
        .execute(
            "update user_point set profile_attempts = 15 where profile_attempts > 0;
             update updated_user set next_attempt_at = now() + interval '1 hour'",
        )
        .await;
    stage.sim.cdn_faults().clear();
}

#[tokio::test]
async fn another_avatar_is_tried_though_the_one_before_was_parked() {
    let stage = copied().await;
    let alice = stage.sim.user("alice");
    is_parked(&stage, OTHER).await;
    stage.sim.avatar(alice, Some(MOVING));
    is_copied(&stage, alice, MOVING).await;
    assert_eq!(attempts(&stage, alice).await, 0);
}

#[tokio::test]
async fn all_copies_are_dropped_and_made_anew_when_the_operator_presses_that() {
    let world = World::new().person("manager", &["Bot_manager"]);
    let stage = guild(world, &["alice", "bob", "carol"]).await;
    watch(&stage).await;
    let (alice, bob) = (stage.sim.user("alice"), stage.sim.user("bob"));
    stage.sim.avatar(bob, Some(MOVING));
    is_copied(&stage, bob, MOVING).await;
    wait("everyone to be in a bucket", async || {
        let without = "select count(*) from user_point where bucket_number is null";
        (stage.database.number(without).await == 0).then_some(())
    })
    .await;
    is_parked(&stage, OTHER).await;
    let before = [stored(&stage, alice).await, stored(&stage, bob).await];
    let asked = stage.reply("manager", ".reset_profiles").await;
    let refused = stage.press("bob", &asked, "Drop all avatars").await;
    assert!(is_private(&refused));
    assert_eq!(
        said(&refused),
        "Only the person who asked can use these buttons."
    );
    let left = stage
        .press("manager", &asked, "Leave everything as it is")
        .await;
    assert_eq!(said(&left), "Everything stays as it is.");
    let lost = "select count(*) from lost where what <> 'attempt'";
    assert_eq!(stage.database.number(lost).await, 0);

    // What nobody could make again.
    stage
        .database
        .execute(
            "insert into user_point (user_id, points, username, avatar_hash, avatar_copy_hash, avatar_message_id,
                                     avatar_link, gone_at)
             values (9, 1, 'of old', 'a', 'a', 9, 'http://kept', now())",
        )
        .await;
    let asked = stage.reply("manager", ".reset_profiles").await;
    let done = stage.press("manager", &asked, "Drop all avatars").await;
    assert!(
        said(&done).contains("Avatars to copy: 2; `profile_queue` shows how many are left."),
        "{}",
        said(&done)
    );
    assert_eq!(lost_links(&stage).await, 2);
    let kept = stage.database.user(9).await;
    assert_eq!(kept["avatar_link"], "http://kept", "the account is gone");
    let buckets = "select count(distinct user_id) from lost where what = 'bucket'";
    assert!(stage.database.number(buckets).await >= 3);
    let anew = [
        is_copied(&stage, alice, OTHER).await,
        is_copied(&stage, bob, MOVING).await,
    ];
    for (anew, before) in anew.iter().zip(&before) {
        assert_ne!(Some(*anew), before["avatar_message_id"].as_u64());
        assert!(copies(&stage.sim).contains(anew));
    }
}

#[tokio::test]
async fn a_reset_that_was_cut_off_goes_on_when_it_is_asked_for_again() {
    let database = TestDatabase::migrated().await;
    database
        .execute(
            "insert into user_point (user_id, username, avatar_hash, avatar_copy_hash, avatar_message_id, avatar_link)
             select n, 'user' || n, 'hash', 'hash', 100000 + n, 'http://link' from generate_series(1, 3000) n;
             create function full_disk() returns trigger language plpgsql as $$ begin
                 raise exception 'could not extend file' using errcode = '53100'; end $$;
             create trigger full_disk before update of avatar_link on user_point for each row
                 when (new.user_id = 2500 and new.avatar_link is null) execute function full_disk()",
        )
        .await;
    let world = World::new().person("manager", &["Bot_manager"]);
    let stage = Stage::open_on(world, database).await;
    let copies = "select count(*) from user_point where avatar_link is not null";
    let asked = stage.reply("manager", ".reset_profiles").await;
    let failed = stage.press("manager", &asked, "Drop all avatars").await;
    assert_eq!(
        said(&failed),
        "The avatars of 2,000 users were dropped, then the database stopped responding. \
         Type `reset_profiles` again to drop the rest."
    );
    assert_eq!(stage.database.number(copies).await, 1_000);
    stage
        .database
        .execute("drop trigger full_disk on user_point")
        .await;
    let asked = stage.reply("manager", ".reset_profiles").await;
    let done = stage.press("manager", &asked, "Drop all avatars").await;
    assert!(
        said(&done).contains("were dropped. Avatars to copy: "),
        "{done}"
    );
    assert_eq!(stage.database.number(copies).await, 0);
}

#[tokio::test]
async fn a_channel_that_was_deleted_is_made_again() {
    let stage = copied().await;
    let alice = stage.sim.user("alice");
    let before = stage.sim.channel(CHANNEL);
    stage.sim.delete_channel(before);
    stage.sim.avatar(alice, Some(OTHER));
    let message = is_copied(&stage, alice, OTHER).await;
    assert_ne!(stage.sim.channel(CHANNEL), before);
    assert_eq!(copies(&stage.sim), [message]);
    assert_eq!(attempts(&stage, alice).await, 0);
    let names = stage.sim.channel_names();
    let channels = names.iter().filter(|name| *name == CHANNEL);
    assert_eq!(channels.count(), 1);
}

#[tokio::test]
async fn a_channel_that_was_renamed_is_used_by_its_id() {
    let mut stage = copied().await;
    let alice = stage.sim.user("alice");
    let channel = stage.sim.channel(CHANNEL);
    stage.sim.rename_channel(channel, "faces");
    stage.sim.avatar(alice, Some(OTHER));
    is_copied(&stage, alice, OTHER).await;
    stage.restart().await;
    stage.sim.avatar(alice, Some(MOVING));
    let message = is_copied(&stage, alice, MOVING).await;
    let there = || {
        let messages = stage.sim.bot_messages(channel);
        let ids: Vec<u64> = messages.iter().map(id_of).collect();
        (ids == [message]).then_some(())
    };
    stage
        .sim
        .wait("one copy in the renamed channel", there)
        .await;
    assert_eq!(stage.sim.find_channel(CHANNEL), None);
}

#[tokio::test]
async fn nothing_else_in_the_channel_is_ever_deleted() {
    let world = World::new().channel(CHANNEL, ChannelKind::Text, None);
    let mut stage = guild(world, &["alice"]).await;
    let (alice, bob) = (stage.sim.user("alice"), stage.sim.user("bob"));
    let (sim, channel) = (&stage.sim, stage.sim.channel(CHANNEL));
    let made = sim.requests_to(&Method::POST, "/guilds/{}/channels");
    assert!(made.is_empty(), "{made:?}");
    let (bot, mention) = (sim.bot_id(), format!("<@{alice}>"));
    // Old enough that the bot would delete what is its own and nobody's.
    let hour_ago = first_id_at(sim.now_ms() - 3_600_000);
    let post = |number: u64, author: u64, text: &str, with_file: bool| {
        let message = Message::new(channel, author, text).id(hour_ago + number);
        sim.post(if with_file {
            message.file("avatar.png", b"not a picture".to_vec())
        } else {
            message
        })
    };
    let mut others = vec![
        post(1, bob, &mention, true),
        post(2, bob, "what is this channel?", false),
        post(3, bot, "hello", false),
        post(4, bot, &mention, false),
        post(5, bot, &format!("{mention} reached **level 5**!"), true),
        post(6, bot, "", true),
    ];
    others.extend((10..130).map(|number| post(number, bob, &mention, true)));
    let orphan = post(7, bot, &mention, true);
    sim.avatar(alice, Some(OTHER));
    is_copied(&stage, alice, OTHER).await;
    // A bot that has just started reads the channel.
    stage.restart().await;
    let gone = || stage.sim.message(orphan).is_none().then_some(());
    stage.sim.wait("the orphan to be deleted", gone).await;
    stage.bot.logged("the avatar channel was read").await;
    stage.sim.avatar(alice, None);
    let mut expected = others.clone();
    expected.sort_unstable();
    let rest = || {
        let there: Vec<u64> = stage.sim.messages(channel).iter().map(id_of).collect();
        (there == expected).then_some(())
    };
    stage.sim.wait("only the others' messages", rest).await;
}

#[tokio::test]
async fn a_channel_in_which_the_bot_may_not_write_costs_nobody_an_attempt() {
    is_closed_without(SEND_MESSAGES).await;
}

#[tokio::test]
async fn a_channel_to_which_the_bot_may_not_attach_files_costs_nobody_an_attempt() {
    is_closed_without(ATTACH_FILES).await;
}

async fn is_closed_without(permission: u64) {
    const ALL: u64 = VIEW_CHANNEL | SEND_MESSAGES | ATTACH_FILES | READ_MESSAGE_HISTORY;
    let stage = guild(World::new(), &["alice", "bob"]).await;
    let (alice, bob) = (stage.sim.user("alice"), stage.sim.user("bob"));
    let channel = stage.sim.channel(CHANNEL);
    let before = stored(&stage, alice).await;
    stage
        .sim
        .bot_permissions(channel, ALL & !permission, permission);
    stage.sim.clear_requests();
    stage.sim.avatar(alice, Some(OTHER));
    stage.sim.avatar(bob, Some(MOVING));
    let refusals = || {
        let posts = stage.sim.requests_to(&Method::POST, MESSAGES);
        let refused = posts.iter().filter(|post| post.status == Some(403));
        refused.count()
    };
    // At first both at once; then again, after the channel was left alone for a while.
    let again = || (refusals() > 2).then_some(());
    let waited = stage.sim.wait_for(Duration::from_mins(1), again).await;
    assert!(waited.is_some(), "trying again");
    let told = || {
        let council = stage.sim.find_channel("council")?;
        let texts: Vec<String> = stage.sim.bot_messages(council).iter().map(said).collect();
        let about =
            |text: &&String| text.contains("I have not been able to store copies of avatars");
        let told: Vec<String> = texts.iter().filter(about).cloned().collect();
        (!told.is_empty()).then_some(told)
    };
    let words = stage.sim.wait("the council to be told", told).await;
    assert_eq!(words.len(), 1, "{words:?}");
    for word in ["Send Messages", "Attach Files", "WALLE_AVATAR_CHANNEL"] {
        assert!(words[0].contains(word), "{}", words[0]);
    }
    assert!(!words[0].contains("Solved"), "{}", words[0]);
    stage.sim.nick(alice, Some("Al"));
    is_stored(&stage, alice, &[("nickname", Some("Al"))]).await;
    let after = stored(&stage, alice).await;
    for field in ["avatar_copy_hash", "avatar_message_id", "avatar_link"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    for who in [alice, bob] {
        assert_eq!(attempts(&stage, who).await, 0);
        assert_eq!(failure(&stage, who).await, None);
    }
    stage.sim.bot_permissions(channel, ALL, 0);
    for (who, avatar) in [(alice, OTHER), (bob, MOVING)] {
        wait_for(Duration::from_mins(2), "the copies", async || {
            let stored = stored(&stage, who).await;
            (stored["avatar_copy_hash"] == avatar).then_some(())
        })
        .await;
    }
    let solved = || {
        let words = told()?;
        words[0].ends_with("**Solved.**").then_some(words.len())
    };
    let words = stage.sim.wait("the problem to be solved", solved).await;
    assert_eq!(words, 1);
}

#[tokio::test]
async fn killed_between_the_cdn_and_the_post_it_posts_once() {
    let mut stage = copied().await;
    watch(&stage).await;
    let alice = stage.sim.user("alice");
    stage
        .sim
        .faults()
        .next(1, Method::POST, MESSAGES, Fault::Hang);
    stage.sim.avatar(alice, Some(OTHER));
    hangs(&stage.sim, Method::POST, MESSAGES).await;
    stage.bot.kill().await;
    assert_eq!(stored(&stage, alice).await["avatar_copy_hash"], A);
    stage.start_again().await;
    let message = is_copied(&stage, alice, OTHER).await;
    copies_are(&stage.sim, &[message]).await;
    assert_eq!(lost_links(&stage).await, 0);
}

#[tokio::test]
async fn killed_between_the_post_and_the_commit_it_finds_what_it_has_posted() {
    let mut stage = copied().await;
    watch(&stage).await;
    let alice = stage.sim.user("alice");
    let before = copies(&stage.sim);
    let held = hold_up(&stage).await;
    stage.sim.avatar(alice, Some(OTHER));
    is_held_up(&stage).await;
    let posted = copies(&stage.sim);
    assert_eq!(posted.len(), 2);
    stage.bot.kill().await;
    let_go(held).await;
    assert_eq!(stored(&stage, alice).await["avatar_copy_hash"], A);
    stage.start_again().await;
    let message = is_copied(&stage, alice, OTHER).await;
    assert!(posted.contains(&message) && !before.contains(&message));
    copies_are(&stage.sim, &[message]).await;
    assert_eq!(lost_links(&stage).await, 0);
}

#[tokio::test]
async fn killed_after_the_commit_it_leaves_one_orphan_and_the_right_copy() {
    let mut stage = copied().await;
    watch(&stage).await;
    let alice = stage.sim.user("alice");
    let orphan = copies(&stage.sim)[0];
    stage
        .sim
        .faults()
        .next(1, Method::DELETE, MESSAGE, Fault::Hang);
    stage.sim.avatar(alice, Some(OTHER));
    hangs(&stage.sim, Method::DELETE, MESSAGE).await;
    let message = is_copied(&stage, alice, OTHER).await;
    stage.bot.kill().await;
    stage.start_again().await;
    assert_eq!(is_copied(&stage, alice, OTHER).await, message);
    assert_eq!(copies(&stage.sim), [orphan, message]);
    stage.sim.avatar(alice, Some(MOVING));
    let message = is_copied(&stage, alice, MOVING).await;
    copies_are(&stage.sim, &[orphan, message]).await;
    assert_eq!(lost_links(&stage).await, 0);
}

#[tokio::test]
async fn a_database_that_goes_away_between_the_post_and_the_commit_costs_no_second_message() {
    let (stage, gate) = behind_a_gate().await;
    watch(&stage).await;
    let alice = stage.sim.user("alice");
    let held = hold_up(&stage).await;
    stage.sim.avatar(alice, Some(OTHER));
    is_held_up(&stage).await;
    let posted = copies(&stage.sim);
    gate.set(Position::Shut);
    let_go(held).await;
    stage.bot.logged("the task failed").await;
    assert_eq!(stored(&stage, alice).await["avatar_copy_hash"], A);
    gate.set(Position::Open);
    let message = is_copied(&stage, alice, OTHER).await;
    assert!(posted.contains(&message), "{posted:?} {message}");
    copies_are(&stage.sim, &[message]).await;
    assert_eq!(attempts(&stage, alice).await, 0);
    assert_eq!(lost_links(&stage).await, 0);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_costs_no_second_message() {
    let (stage, gate) = behind_a_gate().await;
    watch(&stage).await;
    let alice = stage.sim.user("alice");
    stage.sim.clear_requests();
    gate.set(Position::LosesCommits);
    stage.sim.avatar(alice, Some(OTHER));
    is_copied(&stage, alice, OTHER).await;
    gate.set(Position::Open);
    stage.sim.avatar(alice, Some(MOVING));
    let message = is_copied(&stage, alice, MOVING).await;
    assert!(copies(&stage.sim).contains(&message));
    let posts = stage.sim.requests_to(&Method::POST, MESSAGES);
    assert_eq!(posts.len(), 2, "{posts:?}");
    assert_eq!(lost_links(&stage).await, 0);
}

#[tokio::test]
async fn trouble_that_passes_while_posting_posts_one_copy() {
    let stage = copied().await;
    let alice = stage.sim.user("alice");
    let limited = |scope: Scope| Fault::RateLimited {
        retry_after: Duration::from_millis(100),
        scope,
        headers: true,
    };
    let troubles = [
        Fault::ResetAfter,
        Fault::StatusAfter(503),
        Fault::Reset,
        Fault::Status(500),
        Fault::Html(502),
        limited(Scope::User),
        limited(Scope::Shared),
    ];
    for (number, trouble) in troubles.into_iter().enumerate() {
        let avatar = if number % 2 == 0 { OTHER } else { A };
        let faults = stage.sim.faults();
        faults.next(1, Method::POST, MESSAGES, trouble.clone());
        stage.sim.avatar(alice, Some(avatar));
        let message = is_copied(&stage, alice, avatar).await;
        copies_are(&stage.sim, &[message]).await;
        assert_eq!(attempts(&stage, alice).await, 0, "{trouble:?}");
        assert_eq!(stage.sim.faults().left(), 0, "{trouble:?}");
    }
}

#[tokio::test]
async fn an_image_that_discord_refuses_is_a_failure_of_that_image() {
    let people = ["alice", "bob"];
    let stage = guild(World::new(), &people).await;
    watch(&stage).await;
    let [alice, bob] = people.map(|who| stage.sim.user(who));
    let faults = stage.sim.faults();
    faults.next(1, Method::POST, MESSAGES, Fault::Status(400));
    stage.sim.avatar(alice, Some(OTHER));
    let why = failed(&stage, alice).await;
    assert!(
        why.starts_with("posting an avatar failed: Discord answered 400"),
        "{why}"
    );
    assert!(!why.contains("://"), "{why}");
    assert_eq!(failures(&stage, alice).await, 1);
    stage.sim.avatar(bob, Some(MOVING));
    is_copied_among_others(&stage, bob, MOVING).await;
    hurry(&stage).await;
    is_copied(&stage, alice, OTHER).await;
}

#[tokio::test]
async fn of_many_changes_the_last_is_what_is_kept() {
    #[derive(Debug)]
    enum Events {
        InOrder,
        Twice,
        Swapped,
    }
    for events in [Events::InOrder, Events::Twice, Events::Swapped] {
        let stage = copied().await;
        let alice = stage.sim.user("alice");
        let held = hold_up(&stage).await;
        let gateway = stage.sim.gateway();
        if let Events::Twice = events {
            gateway.duplicate_next(7);
        }
        stage.sim.avatar(alice, Some(OTHER));
        is_held_up(&stage).await;
        for name in ["al", "alice.of.late"] {
            stage.sim.username(alice, name);
            stage.sim.nick(alice, Some(&format!("the great {name}")));
        }
        if let Events::Swapped = events {
            gateway.swap_next(1);
        }
        stage.sim.avatar(alice, Some(A));
        stage.sim.avatar(alice, Some(MOVING));
        let_go(held).await;
        let message = is_copied(&stage, alice, MOVING).await;
        is_stored(
            &stage,
            alice,
            &[
                ("username", Some("alice.of.late")),
                ("nickname", Some("the great alice.of.late")),
                ("avatar_hash", Some(MOVING)),
            ],
        )
        .await;
        copies_are(&stage.sim, &[message]).await;
        assert_eq!(attempts(&stage, alice).await, 0, "{events:?}");
    }
}

#[tokio::test]
async fn a_picture_that_fails_late_says_nothing_of_the_one_that_came_meanwhile() {
    let stage = copied().await;
    watch(&stage).await;
    let alice = stage.sim.user("alice");
    let asked = asked_for(&stage.sim, alice);
    stage.sim.cdn_faults().next(1, AVATARS, CdnFault::Hang);
    stage.sim.avatar(alice, Some(OTHER));
    let waiting = || (asked_for(&stage.sim, alice) > asked).then_some(());
    stage.sim.wait("the CDN to be asked", waiting).await;
    stage.sim.avatar(alice, Some(MOVING));
    stage.sim.nick(alice, Some("Al"));
    // The CDN hangs for ten seconds, and is left alone for five.
    wait_for(Duration::from_mins(1), "the copy", async || {
        (stored(&stage, alice).await["avatar_copy_hash"] == MOVING).then_some(())
    })
    .await;
    let message = is_copied(&stage, alice, MOVING).await;
    is_stored(&stage, alice, &[("nickname", Some("Al"))]).await;
    copies_are(&stage.sim, &[message]).await;
    assert_eq!(failures(&stage, alice).await, 0);
}

#[tokio::test]
async fn names_are_stored_as_they_were_sent() {
    let stage = copied().await;
    let alice = stage.sim.user("alice");
    let astral = "\u{1f9d1}".repeat(32);
    for name in [
        "<@1> <@&2> @everyone @here <#3> </rank:4>",
        "**bold** _it_ ~~gone~~ ||what|| `code` > quote # head [a](http://b.c)",
        "two\nlines\r\nand\ta tab",
        "\u{202e}elbasrever\u{202c} \u{200b}\u{feff}\u{2066}",
        "👩\u{200d}💻 Zo\u{308}e 中文 \u{1f3f3}\u{fe0f}",
        "'; drop table user_point; --",
        "\\\"{}%s $1 \\x00",
        " ",
        &astral,
    ] {
        stage.sim.nick(alice, Some(name));
        is_stored(&stage, alice, &[("nickname", Some(name))]).await;
        stage.sim.global_name(alice, Some(name));
        is_stored(&stage, alice, &[("display_name", Some(name))]).await;
    }
}

#[tokio::test]
async fn fifty_who_change_at_once_are_each_posted_once() {
    let names: Vec<String> = (0..50).map(|number| format!("person{number}")).collect();
    let world = names
        .iter()
        .fold(World::new(), |world, name| world.person(name, &[]));
    let everyone: Vec<&str> = ["alice"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    let stage = guild(world, &everyone).await;
    stage.sim.clear_requests();
    let users: Vec<u64> = names.iter().map(|name| stage.sim.user(name)).collect();
    for (number, user) in (1_u128..).zip(&users) {
        stage.sim.avatar(*user, Some(&format!("{number:032x}")));
    }
    wait_for(Duration::from_mins(3), "fifty copies", async || {
        let waiting = "select count(*) from updated_user";
        let copied = "select count(avatar_copy_hash) from user_point";
        let done =
            stage.database.number(waiting).await == 0 && stage.database.number(copied).await == 51;
        done.then_some(())
    })
    .await;
    let posts = stage.sim.requests_to(&Method::POST, MESSAGES);
    let with = |status: u16| {
        let posts = posts.iter().filter(|post| post.status == Some(status));
        posts.count()
    };
    assert_eq!(with(200), 50);
    // The limit is known and kept: five posts in five seconds, so ten times a window may end a
    // moment later than was told.
    assert!(with(429) <= 10, "{} posts came too early", with(429));
    assert_eq!(posts.len(), 50 + with(429));
    assert_eq!(copies(&stage.sim).len(), 51);
    let wrong =
        "select count(*) from user_point where avatar_copy_hash is distinct from avatar_hash";
    assert_eq!(stage.database.number(wrong).await, 0);
}
