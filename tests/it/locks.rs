//! Everyone who writes rows of the same users locks them in one order, so that nobody waits in a
//! circle.

use std::time::Duration;

use chrono::Utc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wall_e::leveling::buckets::BucketNumber;
use wall_e::leveling::{
    ChannelId, Field, LevelNumber, MessageId, ObservedProfile, Profile, Standing, Timestamp, UserId,
};
use wall_e::store::outbox::{self, LevelUp};
use wall_e::store::updated_user::{self, Unfinished};
use wall_e::store::user_point::profiles::{self, Link, NewProfile};
use wall_e::store::user_point::{self, AvatarCopy, ImportedUser};
use wall_e::store::{self, Connection, Database, role_work};
use wall_e::xp::{EligibleMessage, EngineHandles};

use crate::support::{PATIENCE, TestDatabase, engine, wait};

const USERS: u64 = 50;
const ROUNDS: u64 = 6;

/// Every row takes a while, so that others come in between.
const SLOW: &str = "create function slow() returns trigger language plpgsql as $$ begin
        perform pg_sleep(0.001); return new; end $$;
    create trigger slow before insert or update on user_point for each row execute function slow();
    create trigger slow before insert or update on updated_user for each row execute function slow();
    create trigger slow before insert or update on role_work for each row execute function slow();
    create trigger slow before insert or update on outbox for each row execute function slow()";

fn user(number: u64) -> UserId {
    UserId::new(number).unwrap()
}

fn message(number: u64) -> MessageId {
    MessageId::new(number).unwrap()
}

/// Everyone, in an order that is another for each seed.
fn shuffled(seed: u64) -> Vec<u64> {
    let mut users: Vec<u64> = (1..=USERS).collect();
    users.sort_by_key(|user| (user + 7 * seed).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    users
}

fn observed_profile(number: u64, round: u64) -> ObservedProfile {
    ObservedProfile {
        username: format!("user{number} of {round}"),
        display_name: Field::Empty,
        avatar_hash: Field::Value(format!("hash{round}")),
        nickname: Field::Empty,
        guild_avatar_hash: Field::Empty,
    }
}

/// Stores the names that wait, as the task does.
async fn store_names(session: &mut Connection) -> store::Result<()> {
    let mut transaction = store::begin(session).await?;
    let seen = updated_user::unstored(&mut transaction, 1_000).await?;
    let users: Vec<UserId> = seen.iter().map(|seen| seen.key.user).collect();
    profiles::hold(&mut transaction, &users).await?;
    let rows: Vec<_> = seen.iter().map(|seen| seen.key).collect();
    updated_user::hold(&mut transaction, &rows).await?;
    let stored: Vec<_> = seen
        .iter()
        .map(|seen| NewProfile {
            user: seen.key.user,
            profile: Profile::default().after(seen.profile.clone()),
            other_picture: true,
        })
        .collect();
    profiles::store(&mut transaction, &stored).await?;
    let (done, left): (Vec<_>, Vec<_>) = rows.into_iter().partition(|key| key.user.get() % 2 == 0);
    updated_user::remove(&mut transaction, &done).await?;
    let left: Vec<_> = left
        .into_iter()
        .map(|key| Unfinished {
            key,
            other_picture: true,
        })
        .collect();
    updated_user::leave_pictures(&mut transaction, &left).await?;
    store::commit(transaction).await
}

async fn reset_copies(session: &mut Connection) -> store::Result<()> {
    let mut after = None;
    loop {
        let mut transaction = store::begin(session).await?;
        let users = profiles::reset_next(&mut transaction, after, 20).await?;
        updated_user::want_pictures_anew(&mut transaction, &users).await?;
        store::commit(transaction).await?;
        match users.last() {
            Some(last) => after = Some(*last),
            None => return Ok(()),
        }
    }
}

/// Copies that are lost are made anew; those before have fresh links.
async fn renew_links(session: &mut Connection, round: u64) -> store::Result<()> {
    let everyone = shuffled(round + 50);
    let links: Vec<_> = everyone
        .iter()
        .map(|&number| {
            let link = Link {
                url: format!("https://link/{round}"),
                expires_at: None,
            };
            (message(1_000 + number), link)
        })
        .collect();
    profiles::renew(session, &links).await?;
    let mut transaction = store::begin(session).await?;
    let lost = everyone.iter().map(|&number| message(1_000 + number));
    let users = profiles::distrust(&mut transaction, &lost.collect()).await?;
    updated_user::want_pictures_of(&mut transaction, &users).await?;
    store::commit(transaction).await
}

async fn import_users(session: &mut Connection, round: u64) -> store::Result<()> {
    let users: Vec<_> = shuffled(round + 60)
        .into_iter()
        .map(|number| ImportedUser {
            user: user(number),
            standing: Standing::default(),
            hidden: false,
            profile: None,
            avatar: AvatarCopy {
                message_id: Some(message(1_000 + number)),
                link: Some("https://link".to_owned()),
                expires_at: None,
            },
        })
        .collect();
    user_point::import(session, &users).await.map(|_| ())
}

async fn claim_pictures(session: &mut Connection) -> store::Result<()> {
    let now = Utc::now();
    let due = updated_user::due(session, now, 15, &[], 1_000).await?;
    let mut rows: Vec<_> = due.into_iter().map(|due| due.key).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.user));
    updated_user::claim(session, &rows, now).await?;
    updated_user::remove(session, &rows).await
}

/// What a batch may add, by two at once.
async fn ask_for_roles(session: &mut Connection, seed: u64, round: u64) -> store::Result<()> {
    let everyone = shuffled(seed);
    let users: Vec<_> = everyone.iter().map(|n| user(round * 1_000 + n)).collect();
    role_work::add_all(session, &users).await?;
    let level_ups: Vec<_> = everyone
        .iter()
        .map(|&number| LevelUp {
            message: message(round * 1_000 + number),
            user: user(number),
            channel: ChannelId::new(7).unwrap(),
            from: None,
            level: LevelNumber(1),
        })
        .collect();
    outbox::add(session, &level_ups).await
}

/// One of those who work at the same time, by number: a round of it.
async fn work(session: &mut Connection, task: u64, round: u64) -> store::Result<()> {
    match task {
        0 => store_names(session).await,
        1 | 2 => {
            let seen: Vec<_> = shuffled(task + round)
                .into_iter()
                .map(|number| (user(number), observed_profile(number, round)))
                .collect();
            updated_user::mark(session, &seen).await
        }
        3 => {
            let buckets: Vec<_> = shuffled(round + 30)
                .into_iter()
                .map(|number| (user(number), BucketNumber::FIRST))
                .collect();
            profiles::put(session, &buckets).await
        }
        4 => renew_links(session, round).await,
        5 => reset_copies(session).await,
        6 => import_users(session, round).await,
        7 => claim_pictures(session).await,
        _ => ask_for_roles(session, task, round).await,
    }
}

async fn work_on(store: Database, task: u64) {
    let mut session = store.connect_apart().await.unwrap();
    for round in 1..=ROUNDS {
        let worked = work(&mut session, task, round).await;
        worked.unwrap_or_else(|error| panic!("task {task}, round {round}: {error}"));
    }
}

#[tokio::test]
async fn whoever_writes_rows_of_the_same_users_never_waits_in_a_circle() {
    let database = TestDatabase::migrated().await;
    database
        .execute(
            "insert into user_point (user_id, username, avatar_hash, avatar_copy_hash, avatar_message_id, avatar_link)
             select n, 'user' || n, 'hash', 'hash', 1000 + n, 'https://link' from generate_series(50, 1, -1) n",
        )
        .await;
    database.execute(SLOW).await;
    let store = database.store().await;
    let (engine, EngineHandles { inbox, .. }, _) = engine(&store).await;
    let end = CancellationToken::new();
    let running = tokio::spawn(engine.run(end.clone()));
    let mut tasks = JoinSet::new();
    for task in 0..10 {
        tasks.spawn(work_on(store.clone(), task));
    }
    // And everyone speaks, again and again.
    let mut minute = 0;
    while !tasks.is_empty() {
        minute += 1;
        for number in shuffled(minute) {
            let at = 1_750_000_000_000 + i64::try_from(minute * 60_000 + number).unwrap();
            inbox.offer(EligibleMessage {
                message: MessageId::first_at(Timestamp::from_millis(at).unwrap()).unwrap(),
                channel: ChannelId::new(7).unwrap(),
                user: user(number),
                profile: None,
                roles: None,
            });
        }
        assert!(inbox.settled(PATIENCE).await, "it is saved");
        while let Some(worked) = tasks.try_join_next() {
            worked.unwrap();
        }
    }
    end.cancel();
    running.await.unwrap().expect("the engine ends well");
    store.close().await;
    // A session counts what it went through by its end at the latest.
    wait("the sessions to end", async || {
        let others = "select count(*) from pg_stat_activity
                      where datname = current_database() and pid <> pg_backend_pid()";
        (database.number(others).await == 0).then_some(())
    })
    .await;
    let deadlocks = "select deadlocks from pg_stat_database where datname = current_database()";
    assert_eq!(database.number(deadlocks).await, 0);
    let counted = "select min(message_count) from user_point where user_id <= 50";
    assert_eq!(
        database.number(counted).await,
        i64::try_from(minute).unwrap()
    );
}

#[tokio::test]
async fn a_row_that_refers_to_a_user_does_not_wait_for_that_users_profile() {
    let database = TestDatabase::migrated().await;
    database.insert_user(1, 0, 0).await;
    let store = database.store().await;
    let mut first = store.connect_apart().await.unwrap();
    let mut held = store::begin(&mut first).await.unwrap();
    profiles::hold(&mut held, &[user(1)]).await.unwrap();
    let mut second = store.connect_apart().await.unwrap();
    let seen = [(user(1), observed_profile(1, 1))];
    let marked = updated_user::mark(&mut second, &seen);
    tokio::time::timeout(Duration::from_secs(5), marked)
        .await
        .expect("nobody holds it up")
        .unwrap();
    store::roll_back(held).await.unwrap();
}
