//! Lurkers: whoever says nothing is looked up once in two weeks, evenly; accounts that are no
//! more, and come back; and thousands who change at once.
//!
//! The round itself is driven with moments of the test's own. Where the gateway matters, the
//! bot runs.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use discord_sim::members::{self, Generated, generated};
use discord_sim::{ChannelKind, Fault, Message, Method, Sim, World};
use serde_json::{Value, json};
use sqlx::Row as _;
use wall_e::job::Job as _;
use wall_e::leveling::{Field, ObservedProfile, Profile, UserId};
use wall_e::profiles::ProfileObserver;
use wall_e::xp::{ObservedIn, Saver};

use crate::profiles::{A, CHANNEL, MOVING, OTHER, is_stored, stored};
use crate::support::{Bot, Parts, Stage, TestDatabase, person, wait, wait_for};

const MEMBER: &str = "/guilds/{}/members/{}";
const MEMBERS: &str = "/guilds/{}/members";
const USER: &str = "/users/{}";

/// A guild with many generated members, a database, and the parts of a bot.
struct Room {
    parts: Parts,
    database: TestDatabase,
    sim: Sim,
    /// Requests that were looked at already.
    seen: usize,
}

impl Room {
    /// Members of these numbers are known as they are, and each in a bucket.
    async fn open(known: &[(u32, i16)]) -> Self {
        let world = World::new()
            .members(100)
            .channel(CHANNEL, ChannelKind::Text, None);
        let database = TestDatabase::migrated().await;
        for (index, bucket) in known {
            know(&database, &generated(*index), Some(*bucket)).await;
        }
        let sim = Sim::start(world).await.unwrap();
        sim.settings(|settings| settings.rate_limits = false);
        let parts = Parts::build(&sim, &database.store().await, CHANNEL).await;
        Self {
            parts,
            database,
            sim,
            seen: 0,
        }
    }

    /// A restart of the bot, of which only the database is left.
    async fn restart(&mut self) {
        self.parts = Parts::build(&self.sim, &self.database.store().await, CHANNEL).await;
    }

    /// One step; what Discord was asked for in it.
    async fn step(&mut self, now: DateTime<Utc>) -> Vec<String> {
        self.parts.lurkers.run_once(now).await.unwrap();
        self.asked()
    }

    /// What Discord was asked for since the last time.
    fn asked(&mut self) -> Vec<String> {
        let requests = self.sim.requests();
        let new = requests[self.seen..].iter();
        let asked = new
            .map(|request| format!("{} {}", request.method, request.path))
            .collect();
        self.seen = requests.len();
        asked
    }

    /// What is asked for of a member.
    fn as_member(&self, user: u64) -> String {
        format!("GET /guilds/{}/members/{user}", self.sim.guild_id())
    }

    /// In steps of a minute: whom of these was looked up in which minute.
    async fn looks(
        &mut self,
        minutes: std::ops::RangeInclusive<i64>,
        users: &[u64],
    ) -> Vec<(i64, u64)> {
        let mut looks = Vec::new();
        for minute in minutes {
            let asked = self.step(at(minute)).await;
            for user in users {
                let wanted = self.as_member(*user);
                looks.extend(
                    asked
                        .iter()
                        .filter(|asked| **asked == wanted)
                        .map(|_| (minute, *user)),
                );
            }
        }
        looks
    }

    /// The rows of one query, each one number.
    async fn numbers(&self, sql: &'static str) -> Vec<i64> {
        let mut session = self.database.session().await;
        let rows = sqlx::query(sql).fetch_all(&mut session).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn bucket(&self) -> i64 {
        let sql = "select bucket_number::bigint from profile_bucket_in_progress";
        self.database.number(sql).await
    }

    /// Begins the round anew.
    async fn rewind(&mut self) {
        self.database
            .execute(
                "update profile_bucket_in_progress
                 set bucket_number = 1, began_at = null, last_user_id = 0, last_look_at = null",
            )
            .await;
        self.restart().await;
    }
}

/// So many minutes after some moment.
fn at(minutes: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).unwrap() + TimeDelta::minutes(minutes)
}

fn bigint(id: u64) -> i64 {
    i64::try_from(id).unwrap()
}

/// Some XP, and the names and avatars that somebody has.
async fn know(database: &TestDatabase, person: &Generated, bucket: Option<i16>) {
    sqlx::query(
        "insert into user_point
            (user_id, points, message_count, username, display_name, nickname, avatar_hash, bucket_number)
         values ($1, 100, 5, $2, $3, $4, $5, $6)",
    )
    .bind(bigint(person.id))
    .bind(&person.username)
    .bind(&person.global_name)
    .bind(&person.nick)
    .bind(&person.avatar)
    .bind(bucket)
    .execute(&mut database.session().await)
    .await
    .unwrap();
}

/// The ids of members of these numbers, in order.
fn ids(indexes: impl IntoIterator<Item = u32>) -> Vec<u64> {
    let mut ids: Vec<u64> = indexes.into_iter().map(members::id_of).collect();
    ids.sort_unstable();
    ids
}

/// The fullest and the emptiest bucket, and how many users are in one.
async fn spread(database: &TestDatabase) -> (i64, i64, i64) {
    let row = sqlx::query(
        "select max(users), min(users), sum(users)::bigint from (
            select count(user_id) as users
            from generate_series(1, 336) as number left join user_point on bucket_number = number
            group by number
         ) as bucket",
    );
    let row = row.fetch_one(&mut database.session().await).await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

#[tokio::test]
async fn everyone_has_a_bucket_and_no_two_differ_by_more_than_one() {
    let mut room = Room::open(&[]).await;
    room.database.make_up_users(7_000).await;
    room.database
        .execute(
            "update user_point set hidden = true where user_id % 7 = 0;
             update user_point set gone_at = now() where user_id % 11 = 0",
        )
        .await;
    room.step(at(0)).await;
    assert_eq!(spread(&room.database).await, (21, 20, 7_000));
    // Others come, in all sizes and with ids between those that are there.
    let mut session = room.database.session().await;
    let (mut minute, mut total) = (0, 7_000);
    for (size, from) in [
        (1, 9_000_i64),
        (55, 100_000_000),
        (1, 5),
        (335, 400_000_000_000_000_000),
        (336, 200_000_000_000_000_000),
        (337, 250_000_000_000_000_000),
        (1_234, 10_000),
        (2, 1),
    ] {
        sqlx::query(
            "insert into user_point (user_id, points, message_count, hidden, gone_at)
             select $1 + n * 3, 10, 1, n % 2 = 0, case when n % 5 = 0 then now() end
             from generate_series(1, $2) n",
        )
        .bind(from)
        .bind(size)
        .execute(&mut session)
        .await
        .unwrap();
        total += size;
        minute += 1;
        room.step(at(minute)).await;
        let (most, least, users) = spread(&room.database).await;
        assert_eq!(users, total);
        assert!(most - least <= 1, "{most} {least} after {size} from {from}");
    }
}

#[tokio::test]
async fn a_bucket_is_worked_through_evenly_and_the_next_follows_each_hour() {
    let mut room = Room::open(&[(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 4)]).await;
    let (first, second, fourth) = (ids(0..4), ids(4..6), ids(6..7));
    let left = first[1];
    room.sim.leave(left);
    let mut looks = Vec::new();
    for minute in 0..=4 * 60 {
        let asked = room.step(at(minute)).await;
        if !asked.is_empty() {
            looks.push((minute, asked));
        }
    }
    let member = |user: u64| vec![room.as_member(user)];
    let expected = vec![
        (15, member(first[0])),
        (30, vec![room.as_member(left), format!("GET /users/{left}")]),
        (45, member(first[2])),
        (60, member(first[3])),
        (90, member(second[0])),
        (120, member(second[1])),
        // Nobody is in the third.
        (240, member(fourth[0])),
    ];
    assert_eq!(looks, expected);
    let queued = room.numbers("select user_id from updated_user").await;
    assert_eq!(queued, [0_i64; 0], "nobody has changed");
}

#[tokio::test]
async fn after_the_last_bucket_comes_the_first() {
    let mut room = Room::open(&[(0, 336), (1, 1)]).await;
    room.database
        .execute("update profile_bucket_in_progress set bucket_number = 336")
        .await;
    let (last, first) = (members::id_of(0), members::id_of(1));
    let looks = room.looks(0..=120, &[first, last]).await;
    assert_eq!(looks, [(60, last), (120, first)]);
    assert_eq!(room.bucket().await, 1);
}

#[tokio::test]
async fn a_bot_that_is_restarted_all_the_time_skips_nobody_and_repeats_nobody() {
    let mut room = Room::open(&[(0, 1), (1, 1), (2, 1), (3, 1), (4, 2)]).await;
    let (first, second) = (ids(0..4), ids(4..5));
    let all = [&first[..], &second[..]].concat();
    let mut looks = Vec::new();
    for minute in 0..=120 {
        looks.extend(room.looks(minute..=minute, &all).await);
        if minute % 4 == 0 {
            room.restart().await;
        }
    }
    let minutes = [15, 30, 45, 60, 120];
    let expected: Vec<_> = minutes.into_iter().zip(all).collect();
    assert_eq!(looks, expected);
}

#[tokio::test]
async fn a_bot_that_is_killed_in_the_middle_of_a_look_repeats_that_one_only() {
    let mut room = Room::open(&[(0, 1), (1, 1), (2, 1), (3, 1)]).await;
    let users = ids(0..4);
    let before = room.looks(0..=29, &users).await;
    assert_eq!(before, [(15, users[0])]);
    room.sim.faults().next(1, Method::GET, MEMBER, Fault::Hang);
    let asked = || (room.sim.requests_to(&Method::GET, MEMBER).len() == 2).then_some(());
    tokio::select! {
        _ = room.parts.lurkers.run_once(at(30)) => panic!("Discord does not answer"),
        () = room.sim.wait("the second look", asked) => {}
    }
    let cut_off = room.asked();
    assert_eq!(cut_off, [room.as_member(users[1])]);
    room.restart().await;
    let after = room.looks(31..=60, &users).await;
    assert_eq!(after, [(31, users[1]), (46, users[2]), (60, users[3])]);
}

#[tokio::test]
async fn after_a_day_away_nobody_is_skipped_and_nothing_is_hurried() {
    let mut known = vec![(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1)];
    // One in each of the hours that were missed.
    known.extend(
        (2..=30).map(|bucket: u16| (u32::from(bucket) + 10, i16::try_from(bucket).unwrap())),
    );
    let mut room = Room::open(&known).await;
    let users = ids(0..6);
    let before = room.looks(0..=25, &users).await;
    assert_eq!(before, [(10, users[0]), (20, users[1])]);
    room.restart().await;
    let back = at(24 * 60);
    let mut looks = Vec::new();
    for second in 0..=30 * 60 {
        let asked = room.step(back + TimeDelta::seconds(second)).await;
        looks.extend(asked.into_iter().map(|asked| (second, asked)));
    }
    let expected: Vec<_> = [0, 5, 10, 15]
        .into_iter()
        .zip(&users[2..])
        .map(|(second, user)| (second, room.as_member(*user)))
        .collect();
    assert_eq!(
        looks, expected,
        "and the next bucket has an hour of its own"
    );
    assert_eq!(room.bucket().await, 2);
}

#[tokio::test]
async fn trouble_of_discords_own_does_not_advance_the_round_and_a_refusal_does() {
    let mut room = Room::open(&[(0, 1), (1, 1)]).await;
    let users = ids(0..2);
    assert_eq!(room.looks(0..=29, &users).await, []);
    let round = "select last_user_id from profile_bucket_in_progress";
    room.sim
        .faults()
        .next(5, Method::GET, MEMBER, Fault::Status(500));
    room.parts.lurkers.run_once(at(30)).await.unwrap_err();
    let asked = room.asked();
    assert_eq!(asked, vec![room.as_member(users[0]); 5]);
    assert_eq!(room.database.number(round).await, 0);
    // Not at once, but soon.
    for seconds in 1..30 {
        let asked = room.step(at(30) + TimeDelta::seconds(seconds)).await;
        assert!(asked.is_empty(), "{seconds}: {asked:?}");
    }
    let asked = room.step(at(30) + TimeDelta::seconds(30)).await;
    assert_eq!(asked, [room.as_member(users[0])]);
    assert_eq!(room.database.number(round).await, bigint(users[0]));
    room.sim
        .faults()
        .next(1, Method::GET, MEMBER, Fault::Status(403));
    let rest = room.looks(31..=119, &users).await;
    assert_eq!(rest, [(60, users[1])], "not again in this bucket");
    assert_eq!(room.bucket().await, 2);
}

#[tokio::test]
async fn what_a_look_finds_is_queued_whole_and_stored() {
    let mut room = Room::open(&[]).await;
    let (member, left) = (members::id_of(0), members::id_of(1));
    for user in [member, left] {
        let sql = "insert into user_point
                (user_id, points, message_count, username, display_name, nickname, guild_avatar_hash,
                 avatar_copy_hash, avatar_message_id, bucket_number)
             values ($1, 100, 5, 'before', 'Before', 'Bee', $2, $2, 9, 1)";
        sqlx::query(sql)
            .bind(bigint(user))
            .bind(OTHER)
            .execute(&mut room.database.session().await)
            .await
            .unwrap();
    }
    room.restart().await;
    for user in [member, left] {
        room.sim.global_name(user, Some("After"));
        room.sim.avatar(user, Some(MOVING));
        room.sim.nick(user, Some("Al"));
        room.sim.guild_avatar(user, Some(A));
    }
    room.sim.leave(left);
    room.looks(0..=60, &[]).await;
    let queued = "select to_jsonb(updated_user)::text from updated_user order by member_seen";
    let mut session = room.database.session().await;
    let rows = sqlx::query(queued).fetch_all(&mut session).await.unwrap();
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| serde_json::from_str(row.get(0)).unwrap())
        .collect();
    let [of_left, of_member] = &rows[..] else {
        panic!("two: {rows:?}");
    };
    for (row, index, seen, nickname, avatar) in [
        (of_left, 1, false, None, None),
        (of_member, 0, true, Some("Al"), Some(A)),
    ] {
        assert_eq!(row["user_id"], members::id_of(index));
        assert_eq!(row["username"], generated(index).username);
        assert_eq!(row["display_name"], "After");
        assert_eq!(row["avatar_hash"], MOVING);
        assert_eq!(row["member_seen"], seen);
        assert_eq!(row["nickname"].as_str(), nickname);
        assert_eq!(row["guild_avatar_hash"].as_str(), avatar);
        assert_eq!(row["stored"], false);
    }
    room.parts.actives.run_once(Utc::now()).await.unwrap();
    for (index, nickname, avatar) in [(0, "Al", A), (1, "Bee", OTHER)] {
        let user = room.database.user(members::id_of(index)).await;
        assert_eq!(user["username"], generated(index).username);
        assert_eq!(user["display_name"], "After");
        assert_eq!(user["avatar_hash"], MOVING);
        assert_eq!(user["nickname"], nickname);
        assert_eq!(user["guild_avatar_hash"], avatar);
        assert_eq!(user["avatar_copy_hash"], avatar);
    }
    let left = room.numbers("select user_id from updated_user").await;
    assert_eq!(left, [0_i64; 0]);
    // What is known by now is no news in the next round.
    room.rewind().await;
    room.looks(0..=60, &[]).await;
    let left = room.numbers("select user_id from updated_user").await;
    assert_eq!(left, [0_i64; 0]);
}

#[tokio::test]
async fn a_look_does_not_undo_what_was_heard_while_it_was_under_way() {
    let room = Room::open(&[(0, 1)]).await;
    let id = members::id_of(0);
    let user = UserId::new(id).unwrap();
    let old = get(&room.sim, &room.as_member(id)["GET ".len()..]).await;
    let new = ObservedProfile {
        username: generated(0).username,
        display_name: Field::Empty,
        avatar_hash: Field::Empty,
        nickname: Field::Value("New".to_owned()),
        guild_avatar_hash: Field::Empty,
    };
    room.parts.lurkers.run_once(at(0)).await.unwrap();
    // Asked twice: before the change, and answered after it with what was true before.
    let faults = room.sim.faults();
    faults.next(1, Method::GET, MEMBER, Fault::Status(500));
    faults.next(1, Method::GET, MEMBER, Fault::Answer(old));
    let changes = async {
        let asked = || (room.sim.requests_to(&Method::GET, MEMBER).len() > 1).then_some(());
        room.sim.wait("the look", asked).await;
        room.parts.xp.observe(user, new.clone(), ObservedIn::Event);
    };
    let (looked, ()) = tokio::join!(room.parts.lurkers.run_once(at(60)), changes);
    looked.unwrap();
    assert_eq!(room.sim.faults().left(), 0);
    let queued = room.numbers("select user_id from updated_user").await;
    assert_eq!(queued, [0_i64; 0]);
    let known = Some(Profile::from(new).fingerprint());
    assert_eq!(room.parts.xp.seen(user), known, "it is known still");
    let round = "select last_user_id from profile_bucket_in_progress";
    assert_eq!(room.database.number(round).await, bigint(id));
}

#[tokio::test]
async fn whose_account_is_no_more_is_told_from_who_only_says_so() {
    // Erased, deleted; a member, and someone who left, of such a name; an ordinary member.
    let mut room = Room::open(&[]).await;
    let people: Vec<u64> = (0..5).map(members::id_of).collect();
    let [erased, deleted, member, stranger, ordinary] = people[..] else {
        unreachable!("five");
    };
    for user in &people {
        sqlx::query(
            "insert into user_point
                (user_id, points, message_count, username, nickname, avatar_hash, avatar_copy_hash,
                 avatar_message_id, avatar_link, bucket_number)
             values ($1, 100, 5, 'last', 'Last', $2, $2, $1, 'https://cdn/last.png', 1)",
        )
        .bind(bigint(*user))
        .bind(A)
        .execute(&mut room.database.session().await)
        .await
        .unwrap();
    }
    room.restart().await;
    room.sim.erase_account(erased);
    room.sim.delete_account(deleted);
    room.sim.username(member, "deleted_user_abc123");
    room.sim.avatar(member, None);
    room.sim.username(stranger, "deleted_user_def456");
    room.sim.avatar(stranger, Some(MOVING));
    room.sim.leave(stranger);
    room.looks(0..=60, &[]).await;
    let mut gone = vec![bigint(erased), bigint(deleted)];
    gone.sort_unstable();
    let marked = "select user_id from user_point where gone_at is not null order by user_id";
    assert_eq!(room.numbers(marked).await, gone);
    let mut changed = vec![bigint(member), bigint(stranger), bigint(ordinary)];
    changed.sort_unstable();
    let queued = "select user_id from updated_user order by user_id";
    assert_eq!(room.numbers(queued).await, changed);
    for user in [erased, deleted] {
        let kept = room.database.user(user).await;
        let fields = ["username", "nickname", "avatar_hash", "avatar_copy_hash"];
        let fields = fields.map(|field| kept[field].as_str().unwrap());
        assert_eq!(fields, ["last", "Last", A, A]);
        assert_eq!(kept["avatar_message_id"], user);
        assert_eq!(kept["avatar_link"], "https://cdn/last.png");
    }
    // Since when they are gone is not since when that was seen last.
    room.rewind().await;
    let mut alive = vec![member, stranger, ordinary];
    alive.sort_unstable();
    let looks = room.looks(0..=60, &people).await;
    let expected: Vec<_> = [20, 40, 60].into_iter().zip(alive).collect();
    assert_eq!(looks, expected);
    assert_eq!(room.numbers(marked).await, gone);
}

/// A guild in which alice's account was no more when her picture was to be copied.
async fn gone() -> Stage {
    let stage = crate::profiles::copied().await;
    let alice = stage.sim.user("alice");
    stage.sim.delete_account(alice);
    sqlx::query(
        "with other as (update user_point set avatar_copy_hash = null where user_id = $1)
         insert into updated_user (user_id, stored) values ($1, true)",
    )
    .bind(bigint(alice))
    .execute(&mut stage.database.session().await)
    .await
    .unwrap();
    wait("alice to be gone", async || {
        let waiting = stage.database.number("select count(*) from updated_user");
        let user = stored(&stage, alice).await;
        (user["gone_at"].is_string() && waiting.await == 0).then_some(())
    })
    .await;
    stage
}

/// Alice has an account again, joins and speaks.
async fn comes_back(stage: &Stage, alice: u64) {
    stage.sim.restore_account(alice);
    stage.sim.join(alice);
    stage
        .sim
        .say(alice, stage.sim.channel("general"), "back again");
    wait("alice to be back", async || {
        stored(stage, alice).await["gone_at"]
            .is_null()
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_account_that_comes_back_is_gone_no_more_although_nothing_has_changed() {
    let stage = gone().await;
    let alice = stage.sim.find_user("alice").unwrap();
    let before = stored(&stage, alice).await;
    assert_eq!(before["username"], "alice");
    assert!(before["avatar_link"].is_string(), "{before}");
    comes_back(&stage, alice).await;
    crate::profiles::is_copied(&stage, alice, A).await;
    assert_eq!(stored(&stage, alice).await["username"], "alice");
}

#[tokio::test]
async fn an_account_that_comes_back_after_a_restart_is_gone_no_more() {
    let mut stage = gone().await;
    let alice = stage.sim.find_user("alice").unwrap();
    stage.restart().await;
    stage.bot.logged("roles are verified").await;
    assert!(stored(&stage, alice).await["gone_at"].is_string());
    comes_back(&stage, alice).await;
}

#[tokio::test]
async fn seven_thousand_who_changed_while_the_bot_was_away_cost_no_call_of_their_own() {
    const MANY: u32 = 7_000;
    let database = TestDatabase::migrated().await;
    let people: Vec<Generated> = (0..MANY).map(generated).collect();
    let ids: Vec<i64> = people.iter().map(|person| bigint(person.id)).collect();
    let column = |of: fn(&Generated) -> Option<&str>| -> Vec<Option<&str>> {
        people.iter().map(of).collect()
    };
    sqlx::query(
        "insert into user_point (user_id, points, message_count, username, display_name, nickname, avatar_hash)
         select user_id, 100, 5, names.* from unnest($1::bigint[]) with ordinality as ids (user_id, nth)
         join lateral (select ($2::text[])[nth], ($3::text[])[nth], ($4::text[])[nth], ($5::text[])[nth]) as names on true",
    )
    .bind(&ids)
    .bind(column(|person| Some(&person.username)))
    .bind(column(|person| person.global_name.as_deref()))
    .bind(column(|person| person.nick.as_deref()))
    .bind(column(|person| person.avatar.as_deref()))
    .execute(&mut database.session().await)
    .await
    .unwrap();
    let mut stage = Stage::open_on(World::new().members(MANY), database).await;
    let changed = "select count(*) from user_point where username like '%\\_v1'";
    assert_eq!(stage.database.number(changed).await, 0);
    let waiting = "select count(*) from updated_user where not stored";
    assert_eq!(stage.database.number(waiting).await, 0, "all are known");

    stage.bot.terminate().await;
    stage.sim.rename_members(0..MANY);
    stage.sim.clear_requests();
    stage.start_again().await;
    // Bots have no names to keep.
    let humans = people.iter().filter(|person| !person.bot).count();
    wait_for(Duration::from_mins(2), "everyone's name", async || {
        let stored = stage.database.number(changed).await;
        (stored == i64::try_from(humans).unwrap()).then_some(())
    })
    .await;
    stage.bot.logged("roles are verified").await;
    let own = format!("/{}", stage.sim.bot_id());
    for pattern in [MEMBER, USER] {
        let looks = stage.sim.requests_to(&Method::GET, pattern);
        let looks = looks
            .iter()
            .filter(|look| !look.path.ends_with("/@me") && !look.path.ends_with(&own));
        assert_eq!(looks.count(), 0, "{pattern}");
    }
    let pages = stage.sim.requests_to(&Method::GET, MEMBERS);
    assert_eq!(pages.len(), 8, "one verification reads everyone once");
    let stored = "select count(*) from user_point where nickname is not null";
    let nicknamed = people.iter().filter(|person| person.nick.is_some()).count();
    assert_eq!(
        stage.database.number(stored).await,
        i64::try_from(nicknamed).unwrap()
    );
}

/// Someone of a page of members, with this name in the guild.
fn nicknamed(page: &Value, user: u64, nick: &str) -> Value {
    let id = user.to_string();
    let mut members = page.as_array().unwrap().iter();
    let found = members.find(|member| member["user"]["id"] == id.as_str());
    let mut member = found.unwrap().clone();
    member["nick"] = nick.into();
    member
}

#[tokio::test]
async fn a_list_of_members_does_not_undo_what_was_heard_since_it_was_asked_for() {
    let world = World::new().members(1_000);
    let (alice, bob) = (person(&world, "alice"), person(&world, "bob"));
    let database = TestDatabase::migrated().await;
    for user in [alice, bob] {
        database.insert_user(user, 100, 5).await;
    }
    let mut stage = Stage::open_on(world, database).await;
    for user in [alice, bob] {
        stage.sim.nick(user, Some("Old"));
        is_stored(&stage, user, &[("nickname", Some("Old"))]).await;
    }
    let guild = stage.sim.guild_id();
    let page = get(&stage.sim, &format!("/guilds/{guild}/members?limit=1000")).await;
    stage.bot.terminate().await;
    stage.sim.clear_requests();
    // The first page comes late; the second shows them as they had been when it was asked for.
    let outdated = json!([nicknamed(&page, alice, "Old"), nicknamed(&page, bob, "Bo"),]);
    let faults = stage.sim.faults();
    faults.next(
        1,
        Method::GET,
        MEMBERS,
        Fault::Delay(Duration::from_secs(4)),
    );
    faults.next(1, Method::GET, MEMBERS, Fault::Answer(outdated));
    stage.start_again().await;
    let pages = || (!stage.sim.requests_to(&Method::GET, MEMBERS).is_empty()).then_some(());
    stage.sim.wait("the first page", pages).await;
    stage.sim.nick(alice, Some("New"));
    is_stored(&stage, bob, &[("nickname", Some("Bo"))]).await;
    // They stood in the same page, and are stored in the same go.
    is_stored(&stage, alice, &[("nickname", Some("New"))]).await;
    let waiting = "select count(*) from updated_user";
    assert_eq!(stage.database.number(waiting).await, 0);
    assert_eq!(stage.sim.faults().left(), 0);
}

/// What the simulator answers to this, besides the bot.
async fn get(sim: &Sim, path: &str) -> Value {
    let answer = reqwest::Client::new()
        .get(format!("{}/api/v10{path}", sim.proxy_url()))
        .header("Authorization", format!("Bot {}", sim.token()))
        .send()
        .await
        .expect("the simulator answers");
    serde_json::from_str(&answer.text().await.expect("a text")).expect("JSON")
}

#[tokio::test]
async fn a_list_counts_only_where_nothing_was_heard_since_it_was_asked_for() {
    let room = Room::open(&[(0, 1), (1, 1)]).await;
    let [heard, quiet] = [0, 1].map(|index| UserId::new(members::id_of(index)).unwrap());
    let (observer, mut news) = ProfileObserver::new(room.parts.xp.clone());
    let nicknamed = |nickname: &str| ObservedProfile {
        username: "name".to_owned(),
        nickname: Field::Value(nickname.to_owned()),
        ..ObservedProfile::default()
    };
    let (old, new, newer) = (nicknamed("Old"), nicknamed("New"), nicknamed("Newer"));
    let asked = observer.list_starts();
    observer.heard(heard, new.clone());
    observer.listed(heard, old.clone(), asked);
    observer.listed(quiet, old.clone(), asked);
    let xp = &room.parts.xp;
    let left = |user| {
        let left = xp.unsaved().left_to(Saver::Register, user);
        left.map(|observed| observed.profile)
    };
    assert_eq!((left(heard), left(quiet)), (Some(new), Some(old)));
    // What was heard before a list was asked for is as old as it says.
    observer.listed(heard, newer.clone(), observer.list_starts());
    assert_eq!(left(heard), Some(newer));
    let told: Vec<_> = std::iter::from_fn(|| news.try_recv().ok()).collect();
    assert_eq!(told, [heard, quiet], "once of each");
}

#[tokio::test]
async fn a_message_of_the_history_takes_no_nickname_away() {
    let mut stage = Stage::open_on(World::new(), {
        let database = TestDatabase::migrated().await;
        database
            .insert_user(person(&World::new(), "alice"), 100, 5)
            .await;
        database
    })
    .await;
    let (alice, bob) = (stage.sim.user("alice"), stage.sim.user("bob"));
    stage.sim.nick(alice, Some("Al"));
    stage.sim.guild_avatar(alice, Some(A));
    crate::profiles::is_copied(&stage, alice, A).await;
    is_stored(&stage, alice, &[("nickname", Some("Al"))]).await;
    let written = stage.say("bob", "a frontier");
    stage.database.wait_for_messages(bob, 1).await;
    assert!(written > 0);

    stage.bot.terminate().await;
    stage.rest();
    let general = stage.sim.channel("general");
    let carol = stage.sim.user("carol");
    stage.sim.nick(carol, Some("Caro"));
    for user in [alice, carol] {
        stage
            .sim
            .post(Message::new(general, user, "while it was away").quietly());
    }
    // Else the list of members would tell it again.
    stage.sim.leave(alice);
    stage.start_again().await;
    stage.database.wait_for_messages(alice, 6).await;
    // Of somebody new the history tells no nickname either; the list of members does.
    is_stored(&stage, carol, &[("nickname", Some("Caro"))]).await;
    let kept = [("nickname", Some("Al")), ("guild_avatar_hash", Some(A))];
    is_stored(&stage, alice, &kept).await;
    let looked_at = "select count(*) from updated_user";
    wait("nothing to wait any more", async || {
        (stage.database.number(looked_at).await == 0).then_some(())
    })
    .await;
    let alice = stored(&stage, alice).await;
    assert_eq!(
        (&alice["nickname"], &alice["guild_avatar_hash"]),
        (&json!("Al"), &json!(A))
    );
}

#[tokio::test]
async fn a_bot_that_starts_among_many_gives_each_a_bucket_and_looks_at_nobody_yet() {
    let database = TestDatabase::migrated().await;
    database.make_up_users(700).await;
    let sim = Sim::start(World::new()).await.unwrap();
    let _bot = Bot::start(&sim, &database.url()).await;
    wait("everyone to have a bucket", async || {
        (spread(&database).await == (3, 2, 700)).then_some(())
    })
    .await;
    assert!(
        sim.requests_to(&Method::GET, USER)
            .iter()
            .all(|asked| asked.path.ends_with("/@me"))
    );
}
