//! Links to copies of avatars: renewed before they expire, however long they live; and what
//! the channel holds that nobody points to, or holds no more.
//!
//! The task itself, at moments that follow the simulator's clock.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use discord_sim::members::{Generated, generated};
use discord_sim::permissions::READ_MESSAGE_HISTORY;
use discord_sim::{ChannelKind, Fault, Message, Method, Sim, World};
use serde_json::{Value, json};
use sqlx::Row as _;
use wall_e::job::Job as _;
use wall_e::leveling::expires_at;

use crate::profiles::{CHANNEL, OTHER};
use crate::support::{Parts, TestDatabase, now, said};

const MESSAGES: &str = "/channels/{}/messages";
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const FORTNIGHT: Duration = Duration::from_hours(14 * 24);

const NOBODY: [u64; 0] = [];

/// A guild with an avatar channel, and the parts of a bot.
struct Room {
    parts: Parts,
    database: TestDatabase,
    sim: Sim,
    client: reqwest::Client,
}

/// What is stored of one copy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Copy {
    user: u64,
    message: u64,
    link: String,
    trusted: bool,
}

impl Room {
    /// With copies for so many members, whose links live so long.
    async fn open(copies: usize, life: Duration) -> Self {
        let people = people(copies);
        let world = World::new()
            .members(u32::try_from(3 * copies).unwrap() + 30)
            .channel(CHANNEL, ChannelKind::Text, None);
        let database = TestDatabase::migrated().await;
        let sim = Sim::start(world).await.unwrap();
        sim.settings(|settings| {
            settings.rate_limits = false;
            settings.attachment_seconds = life.as_secs();
        });
        let mut session = database.session().await;
        for person in &people {
            let message = post_copy(&sim, sim.bot_id(), person.id);
            let (link, expires) = link(&sim, message);
            sqlx::query(
                "insert into user_point
                    (user_id, points, message_count, username, display_name, nickname, avatar_hash, avatar_copy_hash,
                     avatar_message_id, avatar_link, avatar_link_expires_at)
                 values ($1, 100, 5, $2, $3, $4, $5, $5, $6, $7, $8)",
            )
            .bind(bigint(person.id))
            .bind(&person.username)
            .bind(&person.global_name)
            .bind(&person.nick)
            .bind(&person.avatar)
            .bind(bigint(message))
            .bind(link)
            .bind(expires)
            .execute(&mut session)
            .await
            .unwrap();
        }
        let parts = Parts::build(&sim, &database.store().await, CHANNEL).await;
        Self {
            parts,
            database,
            sim,
            client: reqwest::Client::new(),
        }
    }

    /// A restart of the bot, of which only the database is left.
    async fn restart(&mut self) {
        self.parts = Parts::build(&self.sim, &self.database.store().await, CHANNEL).await;
    }

    async fn run(&self) -> anyhow::Result<()> {
        self.parts.links.run_once(now(&self.sim)).await
    }

    /// Lets time pass in these steps until the channel is read; how it went.
    async fn until_read(&self, step: Duration) -> anyhow::Result<()> {
        let before = self.readings();
        for _ in 0..50 {
            self.sim.advance(step);
            let run = self.run().await;
            if self.readings() > before {
                return run;
            }
            run.unwrap();
        }
        panic!("the channel is not read any more");
    }

    fn pages(&self) -> usize {
        self.sim.requests_to(&Method::GET, MESSAGES).len()
    }

    /// How often the channel was read from its newest message on.
    fn readings(&self) -> usize {
        let pages = self.sim.requests_to(&Method::GET, MESSAGES);
        let first = pages.iter().filter(|page| !page.query.contains("before="));
        first.count()
    }

    /// What is stored, by user.
    async fn stored(&self) -> Vec<Copy> {
        let rows = sqlx::query(
            "select user_id, avatar_message_id, avatar_link, avatar_copy_hash is not null
             from user_point where avatar_message_id is not null order by user_id",
        );
        let rows = rows.fetch_all(&mut self.database.session().await).await;
        let copy = |row: &sqlx::postgres::PgRow| Copy {
            user: id(row.get(0)),
            message: id(row.get(1)),
            link: row.get(2),
            trusted: row.get(3),
        };
        rows.unwrap().iter().map(copy).collect()
    }

    async fn loads(&self, link: &str) -> bool {
        self.client.get(link).send().await.unwrap().status() == 200
    }

    /// How many of the stored links load, of how many.
    async fn loading(&self) -> (usize, usize) {
        let (stored, mut loading) = (self.stored().await, 0);
        for copy in &stored {
            loading += usize::from(self.loads(&copy.link).await);
        }
        (loading, stored.len())
    }

    /// Whose pictures wait to be copied anew.
    async fn queued(&self) -> Vec<u64> {
        let rows = sqlx::query("select user_id from updated_user where stored order by user_id");
        let rows = rows.fetch_all(&mut self.database.session().await).await;
        rows.unwrap().iter().map(|row| id(row.get(0))).collect()
    }

    fn channel(&self) -> u64 {
        self.sim.channel(CHANNEL)
    }

    fn shown(&self) -> BTreeSet<u64> {
        let messages = self.sim.messages(self.channel());
        messages.iter().map(crate::support::id_of).collect()
    }
}

/// Members who have avatars, by id.
fn people(count: usize) -> Vec<Generated> {
    let faces = (0..).map(generated);
    let faces = faces.filter(|person| person.avatar.is_some() && !person.bot);
    let mut faces: Vec<_> = faces.take(count).collect();
    faces.sort_by_key(|person| person.id);
    faces
}

/// A message as a copy is.
fn post_copy(sim: &Sim, author: u64, user: u64) -> u64 {
    let message = Message::new(sim.channel(CHANNEL), author, format!("<@{user}>"));
    sim.post(message.file("avatar.png", *b"an image").quietly())
}

/// A message's link as it is signed now, and until when it is good.
fn link(sim: &Sim, message: u64) -> (String, Option<DateTime<Utc>>) {
    let shown = sim.message(message).unwrap();
    let url = shown["attachments"][0]["url"].as_str().unwrap().to_owned();
    let expires = expires_at(&url).and_then(|at| DateTime::from_timestamp_millis(at.millis()));
    (url, expires)
}

fn bigint(id: u64) -> i64 {
    i64::try_from(id).unwrap()
}

fn id(bigint: i64) -> u64 {
    u64::try_from(bigint).unwrap()
}

#[tokio::test]
async fn no_link_expires_whatever_its_period_and_the_channel_is_read_no_oftener_than_that_takes() {
    const COPIES: usize = 3;
    for (life, step, steps, every) in [
        (MINUTE, MINUTE / 3, 9, MINUTE),
        (HOUR * 4, MINUTE * 10, 54, HOUR * 3),
        (DAY, HOUR, 54, HOUR * 18),
        (FORTNIGHT, HOUR * 3, 225, DAY),
    ] {
        let room = Room::open(COPIES, life).await;
        let (mut readings, mut last) = (0, None);
        for nth in 0..=steps {
            // A minute is as short as a step of the task itself: then it loads after it.
            if life > MINUTE {
                assert_eq!(
                    room.loading().await,
                    (COPIES, COPIES),
                    "{life:?}, step {nth}"
                );
            }
            let at = now(&room.sim);
            room.parts.links.run_once(at).await.unwrap();
            assert_eq!(
                room.loading().await,
                (COPIES, COPIES),
                "{life:?}, step {nth}"
            );
            let passed = last.map(|last: DateTime<Utc>| (at - last).to_std().unwrap());
            if room.readings() > readings {
                // Links are signed for whole seconds.
                let early = passed.is_some_and(|passed| passed + Duration::from_secs(2) < every);
                assert!(!early, "{life:?}: read after {passed:?}");
                (readings, last) = (room.readings(), Some(at));
            } else {
                assert!(
                    passed.is_some_and(|passed| passed < every),
                    "{life:?}: not read for {passed:?}"
                );
            }
            room.sim.advance(step);
        }
        assert!(readings >= 3, "{life:?}: {readings}");
        // A page of messages, and one that shows that there are no more.
        assert_eq!(room.pages(), 2 * readings, "{life:?}");
    }
}

#[tokio::test]
async fn a_link_that_does_not_say_when_it_expires_is_left_as_it_is() {
    let room = Room::open(2, DAY).await;
    room.sim
        .settings(|settings| settings.signed_attachments = false);
    room.run().await.unwrap();
    let bare = room.stored().await;
    assert!(
        bare.iter().all(|copy| !copy.link.contains('?')),
        "Discord signs no links any more: {bare:?}"
    );
    for _ in 0..4 * 24 {
        room.sim.advance(HOUR);
        room.run().await.unwrap();
        assert_eq!(room.stored().await, bare);
    }
    assert_eq!(room.loading().await, (2, 2));
    assert_eq!(
        room.readings(),
        5,
        "once a day: what else is there is looked at"
    );
    assert_eq!(room.queued().await, NOBODY);
    // Discord signs them again.
    room.sim
        .settings(|settings| settings.signed_attachments = true);
    room.until_read(HOUR).await.unwrap();
    assert!(
        room.stored()
            .await
            .iter()
            .all(|copy| copy.link.contains("ex="))
    );
}

#[tokio::test]
async fn many_copies_are_read_by_the_hundred() {
    let room = Room::open(250, DAY).await;
    room.sim.advance(HOUR);
    let before = room.stored().await;
    room.run().await.unwrap();
    // And one that shows that there are no more.
    assert_eq!((room.readings(), room.pages()), (1, 4));
    let after = room.stored().await;
    let fresh = before.iter().zip(&after);
    assert_eq!(
        fresh
            .filter(|(before, after)| before.link != after.link)
            .count(),
        250
    );
    assert_eq!(room.loading().await, (250, 250));
}

#[tokio::test]
async fn links_that_expired_while_the_bot_was_away_are_renewed_at_once() {
    let room = Room::open(3, DAY).await;
    room.sim.advance(DAY * 3);
    assert_eq!(room.loading().await, (0, 3));
    room.run().await.unwrap();
    assert_eq!(room.loading().await, (3, 3));
    assert_eq!(room.queued().await, NOBODY);
}

#[tokio::test]
async fn a_bot_without_copies_makes_no_channel_and_reads_none() {
    let room = Room::open(0, DAY).await;
    room.database.insert_user(1, 10, 1).await;
    room.sim.delete_channel(room.channel());
    for _ in 0..3 {
        room.run().await.unwrap();
        room.sim.advance(DAY);
    }
    assert!(room.sim.requests().is_empty(), "{:?}", room.sim.requests());
}

#[tokio::test]
async fn a_database_that_knows_nothing_of_them_has_no_copies_deleted() {
    let room = Room::open(2, DAY).await;
    let (sim, bot) = (&room.sim, room.sim.bot_id());
    let known = room.stored().await[0].clone();
    // Of another database's users; and of one of ours, before and after what is pointed to.
    for user in 1_000..1_030 {
        post_copy(sim, bot, user);
    }
    let newer = post_copy(sim, bot, known.user);
    sim.advance(MINUTE * 16);
    let before = room.shown();
    room.run().await.unwrap();
    assert_eq!(room.shown(), before, "{newer}");
    // What is newer by now makes all of that user's out of date.
    let newest = post_copy(sim, bot, known.user);
    sqlx::query("update user_point set avatar_message_id = $2 where user_id = $1")
        .bind(bigint(known.user))
        .bind(bigint(newest))
        .execute(&mut room.database.session().await)
        .await
        .unwrap();
    room.until_read(HOUR).await.unwrap();
    let mut expected = before;
    expected.extend([newest]);
    expected.remove(&newer);
    expected.remove(&known.message);
    assert_eq!(room.shown(), expected);
}

#[tokio::test]
async fn only_old_copies_of_the_bots_own_that_nobody_points_to_are_deleted() {
    let room = Room::open(2, DAY).await;
    let (sim, channel, bot) = (&room.sim, room.channel(), room.sim.bot_id());
    let alice = sim.user("alice");
    let mention = format!("<@{alice}>");
    let post = |author: u64, text: &str, files: usize| {
        let mut message = Message::new(channel, author, text).quietly();
        for _ in 0..files {
            message = message.file("avatar.png", *b"an image");
        }
        message
    };
    let embed = json!([{ "title": "Ranks", "type": "rich" }]);
    let others = [
        post(sim.user("beep"), &mention, 1),
        post(alice, &mention, 1),
        post(bot, &mention, 0),
        post(bot, "", 1),
        post(bot, "An avatar", 1),
        post(bot, &format!("{mention} reached **level 5**!"), 1),
        post(bot, &mention, 2),
        post(bot, &mention, 0).set("embeds", embed),
    ];
    let mut expected: BTreeSet<u64> = others.map(|other| sim.post(other)).into();
    expected.extend(room.stored().await.iter().map(|copy| copy.message));
    let orphans = [post_copy(sim, bot, alice), post_copy(sim, bot, 7)];
    assert!(orphans.iter().all(|orphan| room.shown().contains(orphan)));
    sim.advance(MINUTE * 14);
    room.run().await.unwrap();
    expected.extend(orphans);
    assert_eq!(room.shown(), expected, "they are young yet");

    room.until_read(HOUR).await.unwrap();
    for orphan in orphans {
        expected.remove(&orphan);
    }
    let young = post_copy(sim, bot, alice);
    expected.insert(young);
    assert_eq!(room.shown(), expected);
    room.until_read(HOUR).await.unwrap();
    expected.remove(&young);
    assert_eq!(room.shown(), expected);
    let deleted = sim.requests_to(&Method::DELETE, "/channels/{}/messages/{}");
    assert_eq!(deleted.len(), 3, "{deleted:?}");
    assert_eq!(room.loading().await, (2, 2));
}

#[tokio::test]
async fn another_bots_copies_are_kept_fresh_and_never_deleted() {
    let room = Room::open(2, DAY).await;
    let first = room.stored().await[0].clone();
    let imported = post_copy(&room.sim, room.sim.user("beep"), first.user);
    sqlx::query(
        "update user_point set avatar_message_id = $1, avatar_link = $2 where user_id = $3",
    )
    .bind(bigint(imported))
    .bind(link(&room.sim, imported).0)
    .bind(bigint(first.user))
    .execute(&mut room.database.session().await)
    .await
    .unwrap();
    for _ in 0..4 {
        room.until_read(HOUR).await.unwrap();
        assert_eq!(room.loading().await, (2, 2));
    }
    let shown = room.shown();
    assert!(shown.contains(&imported));
    assert!(
        !shown.contains(&first.message),
        "nobody points to ours any more"
    );
    assert_eq!(room.queued().await, NOBODY);
}

#[tokio::test]
async fn a_copy_that_somebody_deleted_is_made_anew_and_no_other() {
    for life in [HOUR * 4, DAY, FORTNIGHT] {
        let room = Room::open(3, life).await;
        room.run().await.unwrap();
        let before = room.stored().await;
        let lost = &before[1];
        room.sim.delete(room.channel(), lost.message);
        room.until_read(HOUR).await.unwrap();
        assert_eq!(room.queued().await, [lost.user], "{life:?}");
        let distrusted = room.stored().await;
        assert_eq!(
            (distrusted[1].message, &distrusted[1].link),
            (lost.message, &lost.link),
            "the old link stays until there is another"
        );
        let trusted: Vec<bool> = distrusted.iter().map(|copy| copy.trusted).collect();
        assert_eq!(trusted, [true, false, true], "{life:?}");
        room.parts.actives.run_once(now(&room.sim)).await.unwrap();
        let after = room.stored().await;
        let anew: Vec<bool> = after
            .iter()
            .zip(&before)
            .map(|(after, before)| after.message != before.message)
            .collect();
        assert_eq!(anew, [false, true, false], "{life:?}");
        assert_eq!(room.loading().await, (3, 3), "{life:?}");
        room.until_read(HOUR).await.unwrap();
        assert_eq!(room.queued().await, NOBODY, "{life:?}");
    }
}

#[tokio::test]
async fn a_copy_without_a_period_that_somebody_deleted_is_made_anew_too() {
    let room = Room::open(2, DAY).await;
    room.sim
        .settings(|settings| settings.signed_attachments = false);
    room.run().await.unwrap();
    let lost = room.stored().await[0].clone();
    room.sim.delete(room.channel(), lost.message);
    room.until_read(HOUR).await.unwrap();
    assert_eq!(room.queued().await, [lost.user]);
}

#[tokio::test]
async fn when_the_channel_is_deleted_everyone_is_copied_into_a_new_one() {
    for life in [DAY, FORTNIGHT] {
        let room = Room::open(6, life).await;
        room.run().await.unwrap();
        let (before, channel) = (room.stored().await, room.channel());
        room.sim.delete_channel(channel);
        let users: Vec<u64> = before.iter().map(|copy| copy.user).collect();
        let closed = room.until_read(HOUR).await.unwrap_err();
        assert!(closed.to_string().contains("cannot be read"), "{closed}");
        assert_eq!(room.queued().await, NOBODY);
        room.sim.advance(MINUTE * 10);
        room.run().await.unwrap();
        assert_eq!(room.queued().await, users, "{life:?}");
        assert_ne!(room.channel(), channel);
        room.parts.actives.run_once(now(&room.sim)).await.unwrap();
        assert_eq!(room.queued().await, NOBODY);
        assert_eq!(room.loading().await, (6, 6), "{life:?}");
        assert_eq!(room.shown().len(), 6);
    }
}

#[tokio::test]
async fn a_channel_whose_history_may_not_be_read_is_not_an_empty_one() {
    for life in [DAY, FORTNIGHT] {
        let room = Room::open(3, life).await;
        let before = room.stored().await;
        let channel = room.channel();
        room.sim.bot_permissions(channel, 0, READ_MESSAGE_HISTORY);
        let error = room.run().await.unwrap_err().to_string();
        assert!(error.contains("Read Message History"), "{error}");
        assert_eq!(room.stored().await, before, "{life:?}");
        assert_eq!(room.queued().await, NOBODY);
        // Said again later, and not all the time.
        assert_eq!(room.readings(), 1);
        room.sim.advance(MINUTE * 9);
        room.run().await.unwrap();
        assert_eq!(room.readings(), 1);
        room.sim.advance(MINUTE);
        room.run().await.unwrap_err();
        room.sim.bot_permissions(channel, READ_MESSAGE_HISTORY, 0);
        // The council was told once, and is told when it is over.
        let told = || room.sim.bot_messages(room.sim.channel("council"));
        assert_eq!(told().len(), 1, "{:?}", told());
        assert!(!said(&told()[0]).contains("Solved"));
        room.sim.advance(MINUTE * 10);
        room.run().await.unwrap();
        assert!(said(&told()[0]).contains("Solved"));
        assert_eq!(room.loading().await, (3, 3));
        assert_eq!(room.queued().await, NOBODY);
    }
}

#[tokio::test]
async fn trouble_in_the_middle_of_the_pages_makes_no_copy_suspect() {
    let mut room = Room::open(250, DAY).await;
    for (status, times) in [(403, 1), (404, 1), (500, 5)] {
        room.restart().await;
        room.sim.advance(HOUR * 30);
        let faults = room.sim.faults();
        // The first page is as usual.
        faults.next(1, Method::GET, MESSAGES, Fault::Delay(Duration::ZERO));
        faults.next(times, Method::GET, MESSAGES, Fault::Status(status));
        room.run().await.unwrap_err();
        assert_eq!(room.sim.faults().left(), 0, "{status}");
        assert_eq!(room.queued().await, NOBODY, "{status}");
        let stored = room.stored().await;
        assert!(stored.iter().all(|copy| copy.trusted), "{status}");
        room.sim.clear_requests();
        room.sim.advance(MINUTE * 9);
        room.run().await.unwrap();
        assert_eq!(room.pages(), 0, "{status}");
        room.sim.advance(MINUTE);
        room.run().await.unwrap();
        assert_eq!(room.pages(), 4, "{status}");
        assert_eq!(room.loading().await, (250, 250), "{status}");
        assert_eq!(room.queued().await, NOBODY, "{status}");
    }
}

#[tokio::test]
async fn a_copy_that_is_replaced_while_the_channel_is_read_is_not_missed() {
    let room = Room::open(250, DAY).await;
    room.sim.advance(HOUR * 30);
    let first = room.stored().await[0].clone();
    let message: Value = room.sim.message(first.message).unwrap();
    assert_eq!(message["content"], format!("<@{}>", first.user));
    // The first page, which would show the new one, has been read.
    room.sim
        .faults()
        .next(1, Method::GET, MESSAGES, Fault::Delay(Duration::ZERO));
    room.sim.faults().next(
        1,
        Method::GET,
        MESSAGES,
        Fault::Delay(Duration::from_secs(2)),
    );
    let replace = async {
        let second = || (room.pages() == 2).then_some(());
        room.sim.wait("the second page", second).await;
        let new = post_copy(&room.sim, room.sim.bot_id(), first.user);
        let (link, expires) = link(&room.sim, new);
        sqlx::query(
            "update user_point set avatar_message_id = $1, avatar_link = $2, avatar_link_expires_at = $3,
                avatar_hash = $4, avatar_copy_hash = $4
             where user_id = $5",
        )
        .bind(bigint(new))
        .bind(link)
        .bind(expires)
        .bind(OTHER)
        .bind(bigint(first.user))
        .execute(&mut room.database.session().await)
        .await
        .unwrap();
        room.sim.delete(room.channel(), first.message);
    };
    let (run, ()) = tokio::join!(room.run(), replace);
    run.unwrap();
    assert_eq!(room.queued().await, NOBODY);
    assert_eq!(room.loading().await, (250, 250));
    let looks = room
        .sim
        .requests_to(&Method::GET, "/channels/{}/messages/{}");
    assert!(looks.is_empty(), "{looks:?}");
}
