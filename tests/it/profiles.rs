//! Profiles and avatars: what changes in Discord is stored and copied, without asking Discord
//! what an event has said already.

use std::time::Instant;

use discord_sim::{Message, Method, Sim, World};
use fault_lab::Signal;
use serde_json::{Value, json};
use wall_e::leveling::{Field, ObservedProfile, UserId};
use wall_e::store::updated_user::{self, Unfinished};

use crate::support::{Bot, Stage, TestDatabase, person, wait};

/// The channel in which copies are kept, where nothing else is set.
pub const CHANNEL: &str = "leveling_website_avatar_images";

/// Hashes of avatars, as Discord's are.
pub const A: &str = "0123456789abcdef0123456789abcdef";
pub const MOVING: &str = "a_00112233445566778899aabbccddeeff";
pub const OTHER: &str = "ffeeddccbbaa99887766554433221100";

/// A guild in which alice has an avatar and some XP, and in which her avatar has been copied.
pub async fn copied() -> Stage {
    let stage = stage().await;
    let alice = stage.sim.user("alice");
    stage.sim.avatar(alice, Some(A));
    is_copied(&stage, alice, A).await;
    stage
}

/// A guild in which alice has some XP and is known by name.
pub async fn stage() -> Stage {
    let world = World::new();
    let alice = person(&world, "alice");
    let database = TestDatabase::migrated().await;
    database.insert_user(alice, 100, 5).await;
    Stage::open_on(world, database).await
}

/// What is stored of a user, as JSON.
pub async fn stored(stage: &Stage, user: u64) -> Value {
    stage.database.user(user).await
}

/// Waits until the stored profile has these fields.
pub async fn is_stored(stage: &Stage, user: u64, fields: &[(&str, Option<&str>)]) {
    wait(&format!("{fields:?} of {user}"), async || {
        let stored = stored(stage, user).await;
        fields
            .iter()
            .all(|(field, value)| stored[field].as_str() == *value)
            .then_some(())
    })
    .await;
}

/// Waits until somebody's copy is of this avatar, and nothing waits any more; the message.
pub async fn is_copied(stage: &Stage, user: u64, hash: &str) -> u64 {
    wait(&format!("the copy of {hash}"), async || {
        let waiting = "select count(*) from updated_user";
        let stored = stored(stage, user).await;
        let copied =
            stored["avatar_copy_hash"] == hash && stage.database.number(waiting).await == 0;
        copied
            .then(|| stored["avatar_message_id"].as_u64())
            .flatten()
    })
    .await
}

/// The copies in the channel: messages of the bot with a file.
pub fn copies(sim: &Sim) -> Vec<u64> {
    let Some(channel) = sim.find_channel(CHANNEL) else {
        return Vec::new();
    };
    let messages = sim.bot_messages(channel);
    let ids = messages
        .iter()
        .map(|message| message["id"].as_str().unwrap().parse().unwrap());
    ids.collect()
}

#[tokio::test]
async fn every_kind_of_change_is_stored_and_nobody_is_looked_up() {
    let stage = stage().await;
    let alice = stage.sim.user("alice");
    stage.sim.clear_requests();
    stage.sim.username(alice, "alice.of.old");
    is_stored(&stage, alice, &[("username", Some("alice.of.old"))]).await;
    stage.sim.global_name(alice, Some("**Alice** @everyone"));
    is_stored(
        &stage,
        alice,
        &[("display_name", Some("**Alice** @everyone"))],
    )
    .await;
    stage.sim.nick(alice, Some("Al"));
    is_stored(&stage, alice, &[("nickname", Some("Al"))]).await;
    stage.sim.nick(alice, None);
    is_stored(&stage, alice, &[("nickname", None)]).await;
    stage.sim.global_name(alice, None);
    is_stored(&stage, alice, &[("display_name", None)]).await;
    stage.sim.avatar(alice, Some(A));
    let first = is_copied(&stage, alice, A).await;
    stage.sim.avatar(alice, Some(MOVING));
    let second = is_copied(&stage, alice, MOVING).await;
    stage.sim.guild_avatar(alice, Some(OTHER));
    let third = is_copied(&stage, alice, OTHER).await;
    stage.sim.guild_avatar(alice, None);
    let fourth = is_copied(&stage, alice, MOVING).await;
    assert_eq!(copies(&stage.sim), [fourth], "{first} {second} {third}");
    stage.sim.avatar(alice, None);
    is_stored(
        &stage,
        alice,
        &[("avatar_link", None), ("avatar_copy_hash", None)],
    )
    .await;
    wait("the last copy to be deleted", async || {
        copies(&stage.sim).is_empty().then_some(())
    })
    .await;
    assert_eq!(looks(&stage, alice), 0);
}

/// How often somebody was looked up.
fn looks(stage: &Stage, user: u64) -> usize {
    let paths = ["/guilds/{}/members/{}", "/users/{}"];
    let asked = paths.map(|path| stage.sim.requests_to(&Method::GET, path));
    let of_user = asked
        .iter()
        .flatten()
        .filter(|request| request.path.ends_with(&format!("/{user}")));
    of_user.count()
}

#[tokio::test]
async fn an_event_that_leaves_names_and_avatars_out_takes_none_away() {
    let stage = stage().await;
    let alice = stage.sim.user("alice");
    let known = [("nickname", Some("Al")), ("guild_avatar_hash", Some(OTHER))];
    stage.sim.nick(alice, Some("Al"));
    stage.sim.guild_avatar(alice, Some(OTHER));
    is_copied(&stage, alice, OTHER).await;
    is_stored(&stage, alice, &known).await;
    stage.sim.clear_requests();
    stage
        .sim
        .settings(|settings| settings.sparse_member_events = true);
    let began = Instant::now();
    let role = stage.sim.create_role("guest", 0);
    for _ in 0..3 {
        stage.sim.grant(alice, role);
        stage.sim.revoke(alice, role);
        stage.say("alice", "hello");
    }
    stage.sim.username(alice, "alice.of.old");
    is_stored(&stage, alice, &[("username", Some("alice.of.old"))]).await;
    wait("one look", async || {
        (looks(&stage, alice) > 0).then_some(())
    })
    .await;
    stage.sim.global_name(alice, Some("Alice"));
    is_stored(&stage, alice, &[("display_name", Some("Alice"))]).await;
    is_stored(&stage, alice, &known).await;
    let link = stored(&stage, alice).await["avatar_copy_hash"].clone();
    assert_eq!(link, OTHER);
    // However many events there were.
    let (looked, minutes) = (looks(&stage, alice), began.elapsed().as_secs() / 60);
    assert!(
        looked as u64 <= 1 + minutes,
        "{looked} in {minutes} minutes"
    );
}

#[tokio::test]
async fn what_is_gone_indeed_is_noticed_where_events_never_say_so() {
    let stage = stage().await;
    let (alice, bob) = (stage.sim.user("alice"), stage.sim.user("bob"));
    let known = [("nickname", Some("Al")), ("guild_avatar_hash", Some(OTHER))];
    stage.sim.nick(alice, Some("Al"));
    stage.sim.guild_avatar(alice, Some(OTHER));
    stage.say("bob", "hello");
    stage.sim.nick(bob, Some("Bo"));
    is_stored(&stage, alice, &known).await;
    is_copied(&stage, alice, OTHER).await;
    is_stored(&stage, bob, &[("nickname", Some("Bo"))]).await;
    stage
        .sim
        .settings(|settings| settings.sparse_member_events = true);
    // Discord is asked.
    stage.sim.nick(alice, None);
    is_stored(&stage, alice, &[("nickname", None), known[1]]).await;
    stage.sim.guild_avatar(alice, None);
    is_stored(
        &stage,
        alice,
        &[("nickname", None), ("guild_avatar_hash", None)],
    )
    .await;
    // Who was asked for just now is not asked for again so soon; a list shows them all the same.
    let role = stage.sim.create_role("guest", 0);
    stage.sim.grant(bob, role);
    wait("bob to be asked for", async || {
        (looks(&stage, bob) > 0).then_some(())
    })
    .await;
    stage.sim.nick(bob, None);
    stage.slash("mod", "verify_roles", json!([])).await;
    is_stored(&stage, bob, &[("nickname", None)]).await;
}

#[tokio::test]
async fn a_name_that_makes_no_sense_takes_nothing_away_and_the_message_earns() {
    let stage = stage().await;
    let (alice, general) = (stage.sim.user("alice"), stage.sim.channel("general"));
    stage.sim.nick(alice, Some("Al"));
    is_stored(&stage, alice, &[("nickname", Some("Al"))]).await;
    let named = stored(&stage, alice).await;
    let odd = json!({ "id": alice.to_string(), "username": 7, "global_name": [], "avatar": {} });
    let member = json!({ "nick": 7, "avatar": [], "roles": [] });
    let message = Message::new(general, alice, "hello");
    let message = message.set("author", odd).set("member", member);
    stage.sim.post(message);
    wait("the message to earn", async || {
        let count = stored(&stage, alice).await["message_count"].as_i64();
        (count == named["message_count"].as_i64().map(|count| count + 1)).then_some(())
    })
    .await;
    let after = stored(&stage, alice).await;
    for field in ["username", "display_name", "nickname", "avatar_hash"] {
        assert_eq!(after[field], named[field], "{field}");
    }
}

#[tokio::test]
async fn what_was_seen_bit_by_bit_is_stored_whole() {
    let database = TestDatabase::migrated().await;
    let (user, id) = (UserId::new(7).unwrap(), 7);
    database.insert_user(id, 100, 5).await;
    let store = database.store().await;
    let mut session = store.acquire().await.unwrap();
    let value = |text: &str| Field::Value(text.to_owned());
    let named = |username: &str| ObservedProfile {
        username: username.to_owned(),
        ..ObservedProfile::default()
    };
    let bits = [
        ObservedProfile {
            nickname: value("Al"),
            display_name: value("Alice"),
            ..named("a")
        },
        ObservedProfile {
            guild_avatar_hash: value(A),
            nickname: Field::Unclear,
            ..named("b")
        },
        ObservedProfile {
            display_name: Field::Empty,
            ..named("c")
        },
    ];
    for seen in &bits {
        updated_user::mark(&mut session, &[(user, seen.clone())])
            .await
            .unwrap();
    }
    let expected = ObservedProfile {
        display_name: Field::Empty,
        nickname: value("Al"),
        guild_avatar_hash: value(A),
        ..named("c")
    };
    let seen = updated_user::unstored(&mut session, 9).await.unwrap();
    assert_eq!((seen.len(), &seen[0].profile), (1, &expected));
    // Once it is stored, only what is seen from then on is not.
    let stored = Unfinished {
        key: seen[0].key,
        other_picture: false,
    };
    updated_user::leave_pictures(&mut session, &[stored])
        .await
        .unwrap();
    updated_user::mark(&mut session, &[(user, named("d"))])
        .await
        .unwrap();
    let seen = updated_user::unstored(&mut session, 9).await.unwrap();
    assert_eq!((seen.len(), &seen[0].profile), (1, &named("d")));
}

#[tokio::test]
async fn an_avatar_of_a_form_that_is_new_is_copied_too() {
    let stage = stage().await;
    let alice = stage.sim.user("alice");
    stage.sim.avatar(alice, Some("v2_short"));
    is_copied(&stage, alice, "v2_short").await;
}

#[tokio::test]
async fn a_copy_is_a_message_with_the_image_and_a_mention_that_pings_nobody() {
    let stage = copied().await;
    let alice = stage.sim.user("alice");
    assert_eq!(
        stage.sim.cdn_requests(),
        [format!("/avatars/{alice}/{A}.png?size=256")]
    );
    let channel = stage.sim.channel(CHANNEL);
    let messages = stage.sim.bot_messages(channel);
    assert_eq!(messages.len(), 1);
    let id = messages[0]["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(messages[0]["content"], format!("<@{alice}>"));
    let pings = stage.sim.pings(id);
    assert!(pings.users.is_empty() && !pings.everyone, "{pings:?}");
    let link = stored(&stage, alice).await["avatar_link"]
        .as_str()
        .unwrap()
        .to_owned();
    let image = reqwest::get(&link).await.unwrap();
    assert_eq!(image.status(), 200, "{link}");
    let attached = stage.sim.attachments(id);
    assert_eq!(image.bytes().await.unwrap(), attached[0].1);
}

#[tokio::test]
async fn a_listener_marks_what_changes_while_the_bot_is_away() {
    let mut stage = copied().await;
    let (alice, bob) = (stage.sim.user("alice"), stage.sim.user("bob"));
    stage.bot.terminate().await;
    let mut listener = Bot::listener(&stage.sim, &stage.database.url());
    listener.logged("listening").await;
    stage.sim.nick(alice, Some("Ally"));
    // Someone who becomes known to the database after the listener has started.
    stage.database.insert_user(bob, 100, 5).await;
    stage.say("bob", "hello");
    wait("both to be marked", async || {
        let marked = "select count(*) from updated_user where not stored";
        (stage.database.number(marked).await == 2).then_some(())
    })
    .await;
    let before = stored(&stage, alice).await;
    assert_eq!(before["nickname"], Value::Null, "it only marks");
    assert_eq!(stage.database.standing(bob).await, Some((100, 5)));
    let calls = stage.sim.commands().len();
    // The bot comes back beside it; what both see is done once.
    stage.bot = Bot::start(&stage.sim, &stage.database.url()).await;
    is_stored(&stage, alice, &[("nickname", Some("Ally"))]).await;
    is_stored(&stage, bob, &[("username", Some("bob"))]).await;
    stage.sim.avatar(alice, Some(OTHER));
    is_copied(&stage, alice, OTHER).await;
    wait("one copy", async || {
        (copies(&stage.sim).len() == 1).then_some(())
    })
    .await;
    assert_eq!(stage.sim.commands().len(), calls);
    assert!(listener.terminate().await.success());
}

#[tokio::test]
async fn a_listener_writes_what_it_has_heard_before_it_ends() {
    let mut stage = stage().await;
    let alice = stage.sim.user("alice");
    stage.bot.terminate().await;
    let mut listener = Bot::listener(&stage.sim, &stage.database.url());
    listener.logged("listening").await;
    let mut held = stage.database.session().await;
    let locking = sqlx::raw_sql("begin; lock table updated_user");
    locking.execute(&mut held).await.unwrap();
    stage.sim.nick(alice, Some("Ally"));
    wait("the listener to write", async || {
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";
        (stage.database.number(waiting).await == 1).then_some(())
    })
    .await;
    listener.signal(Signal::TERM);
    listener.logged("asked to end").await;
    let release = sqlx::raw_sql("commit");
    release.execute(&mut held).await.unwrap();
    assert!(listener.ended().await.success());
    let marked = "select count(*) from updated_user where nickname = 'Ally'";
    assert_eq!(stage.database.number(marked).await, 1);
}
