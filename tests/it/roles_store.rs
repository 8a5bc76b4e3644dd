//! What is remembered of level roles, over a real Postgres: levels, level-ups, members to
//! look at, and the daily verification.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use wall_e::leveling::{ChannelId, LevelNumber, MessageId, RoleId, UserId};
use wall_e::store::outbox::{Age, LevelUp, PendingLevelUp};
use wall_e::store::{level, outbox, reconcile_state, role_work};

use crate::support::TestDatabase;

fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

fn message(id: u64) -> MessageId {
    MessageId::new(id).unwrap()
}

/// So many seconds after some moment.
fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000 + seconds, 123_456_000).unwrap()
}

#[tokio::test]
async fn an_id_of_a_role_counts_when_it_has_been_seen() {
    let database = TestDatabase::migrated().await;
    let store = database.store().await;
    let mut session = store.acquire().await.unwrap();
    let levels =
        |numbers: &[u16]| -> BTreeSet<_> { numbers.iter().copied().map(LevelNumber).collect() };
    assert_eq!(level::unseen(&mut session).await.unwrap(), levels(&[]));
    // By hand, or from another bot's dump.
    database
        .execute("update level set role_id = 700 + number where number in (3, 5)")
        .await;
    assert_eq!(level::unseen(&mut session).await.unwrap(), levels(&[3, 5]));
    level::mark_seen(&mut session, LevelNumber(3))
        .await
        .unwrap();
    // One without a role has nothing that could have been seen.
    level::mark_seen(&mut session, LevelNumber(4))
        .await
        .unwrap();
    assert_eq!(level::unseen(&mut session).await.unwrap(), levels(&[5]));
    database
        .execute("update level set role_id = 704 where number = 4")
        .await;
    assert_eq!(level::unseen(&mut session).await.unwrap(), levels(&[4, 5]));

    // What the bot links, it has seen.
    let role = RoleId::new(800);
    level::set_role(&mut session, LevelNumber(5), role, Some("Kernel Hacker"))
        .await
        .unwrap();
    let seen = "select count(*) from level where role_seen and number in (3, 5)";
    assert_eq!(database.number(seen).await, 2);
    for name in [Some("Kernel Hacker"), None] {
        level::set_role(&mut session, LevelNumber(5), None, name)
            .await
            .unwrap();
        assert_eq!(database.number(seen).await, 1);
    }
    assert_eq!(level::unseen(&mut session).await.unwrap(), levels(&[4]));

    // An import begins anew.
    let all = level::load(&mut session).await.unwrap();
    level::replace_all(&mut session, &all).await.unwrap();
    assert_eq!(level::unseen(&mut session).await.unwrap(), levels(&[3, 4]));
}

#[tokio::test]
async fn levels_take_each_others_names_all_or_none() {
    let database = TestDatabase::migrated().await;
    let store = database.store().await;
    let mut session = store.acquire().await.unwrap();
    database
        .execute("update level set role_id = 700 + number, role_name = 'name ' || number where number < 6")
        .await;
    let names = async || -> Vec<String> {
        sqlx::query_scalar("select role_name from level where number < 6 order by number")
            .fetch_all(&mut database.session().await)
            .await
            .unwrap()
    };
    let change = |change: &[(u16, &'static str)]| -> Vec<_> {
        let each = change.iter();
        each.map(|(level, name)| (LevelNumber(*level), *name))
            .collect()
    };
    let exchange = change(&[(0, "name 1"), (1, "name 0"), (4, "other")]);
    level::rename(&mut session, &exchange).await.unwrap();
    let ring = change(&[(2, "name 3"), (3, "name 5"), (5, "name 2")]);
    level::rename(&mut session, &ring).await.unwrap();
    let expected = ["name 1", "name 0", "name 3", "name 5", "other", "name 2"];
    assert_eq!(names().await, expected);
    // One is another level's, or no name at all.
    for last in ["other", ""] {
        let refused = change(&[(0, "name 0"), (1, "name 1"), (2, last)]);
        assert!(level::rename(&mut session, &refused).await.is_err());
        assert_eq!(names().await, expected);
    }
    let links = "select count(*) from level where role_id = 700 + number and number < 6";
    assert_eq!(database.number(links).await, 6);
}

#[tokio::test]
async fn one_message_may_bring_levels_to_two() {
    let database = TestDatabase::migrated().await;
    let store = database.store().await;
    let mut session = store.acquire().await.unwrap();
    let level_up = |message_id, user_id, from: Option<u16>, level| LevelUp {
        message: message(message_id),
        user: user(user_id),
        channel: ChannelId::new(7).unwrap(),
        from: from.map(LevelNumber),
        level: LevelNumber(level),
    };
    let pending = |level_up, attempts, roles_given| PendingLevelUp {
        level_up,
        attempts,
        roles_given,
        told_with: None,
    };
    let author = level_up(50, 1, Some(0), 1);
    let other = level_up(50, 2, None, 9);
    let later = level_up(60, 1, Some(1), 3);
    outbox::add(&mut session, &[later, author]).await.unwrap();
    outbox::add(&mut session, &[other]).await.unwrap();
    // A batch that is saved again.
    outbox::add(&mut session, &[author, other]).await.unwrap();
    let due = outbox::due(&mut session, at(0), Age::Any, 9).await.unwrap();
    let expected = [author, other, later].map(|level_up| pending(level_up, 0, false));
    assert_eq!(due, expected);

    outbox::roles_given(&mut session, message(50), user(2))
        .await
        .unwrap();
    outbox::postpone(&mut session, message(50), user(1), at(30))
        .await
        .unwrap();
    let due = outbox::due(&mut session, at(29), Age::Any, 9)
        .await
        .unwrap();
    assert_eq!(due, [pending(other, 0, true), pending(later, 0, false)]);
    let due = outbox::due(&mut session, at(30), Age::Any, 2)
        .await
        .unwrap();
    assert_eq!(due, [pending(author, 1, false), pending(other, 0, true)]);

    outbox::remove(&mut session, message(50), user(2))
        .await
        .unwrap();
    let due = outbox::due(&mut session, at(30), Age::Any, 9)
        .await
        .unwrap();
    assert_eq!(due, [pending(author, 1, false), pending(later, 0, false)]);

    // As the version before wrote it.
    database
        .execute("insert into outbox (message_id, user_id, channel_id, level) values (70, 4, 7, 2)")
        .await;
    let due = outbox::due(&mut session, at(30), Age::Any, 9)
        .await
        .unwrap();
    assert_eq!(due[2], pending(level_up(70, 4, None, 2), 0, false));
}

#[tokio::test]
async fn members_are_looked_at_until_their_roles_are_right() {
    let database = TestDatabase::migrated().await;
    let store = database.store().await;
    let mut session = store.acquire().await.unwrap();
    for (member, seconds) in [(3, 0), (1, 5), (2, 5)] {
        role_work::add(&mut session, user(member), at(seconds))
            .await
            .unwrap();
    }
    let due = role_work::due(&mut session, at(5), 2).await.unwrap();
    assert_eq!(due, [(user(3), 0, at(0)), (user(1), 0, at(5))]);

    role_work::postpone(&mut session, user(3), at(0), at(60))
        .await
        .unwrap();
    let due = role_work::due(&mut session, at(59), 9).await.unwrap();
    assert_eq!(due, [(user(1), 0, at(5)), (user(2), 0, at(5))]);
    let due = role_work::due(&mut session, at(60), 1).await.unwrap();
    assert_eq!(due, [(user(3), 1, at(0))]);
    // Postponed before the clock was set back by a week.
    let long_ago = at(60) - TimeDelta::weeks(1);
    let due = role_work::due(&mut session, long_ago, 9).await.unwrap();
    assert_eq!(due.first(), Some(&(user(3), 1, at(0))));

    // Whoever comes back meanwhile is looked at once more, and at once.
    role_work::add(&mut session, user(3), at(20)).await.unwrap();
    role_work::remove(&mut session, user(3), at(0))
        .await
        .unwrap();
    role_work::remove(&mut session, user(1), at(5))
        .await
        .unwrap();
    role_work::postpone(&mut session, user(3), at(0), at(60))
        .await
        .unwrap();
    let due = role_work::due(&mut session, at(20), 9).await.unwrap();
    assert_eq!(due, [(user(2), 0, at(5)), (user(3), 0, at(20))]);
    role_work::remove(&mut session, user(3), at(20))
        .await
        .unwrap();
    role_work::remove(&mut session, user(2), at(5))
        .await
        .unwrap();
    // One who is not there any more.
    role_work::remove(&mut session, user(2), at(5))
        .await
        .unwrap();
    role_work::postpone(&mut session, user(2), at(5), at(9))
        .await
        .unwrap();
    assert_eq!(role_work::due(&mut session, at(99), 9).await.unwrap(), []);
}

#[tokio::test]
async fn what_a_moderator_allows_holds_once_and_for_a_while() {
    let database = TestDatabase::migrated().await;
    let store = database.store().await;
    let mut session = store.acquire().await.unwrap();
    assert_eq!(reconcile_state::last(&mut session).await.unwrap(), None);
    assert_eq!(
        reconcile_state::allowed(&mut session, at(0)).await.unwrap(),
        None
    );
    reconcile_state::finished(&mut session, at(0))
        .await
        .unwrap();
    reconcile_state::allow(&mut session, 40, at(60))
        .await
        .unwrap();
    for (seconds, allowed) in [(0, Some(40)), (59, Some(40)), (60, None), (99, None)] {
        let found = reconcile_state::allowed(&mut session, at(seconds)).await;
        assert_eq!(found.unwrap(), allowed, "after {seconds} s");
    }
    reconcile_state::allow(&mut session, u32::MAX, at(200))
        .await
        .unwrap();
    let most = reconcile_state::allowed(&mut session, at(99))
        .await
        .unwrap();
    assert_eq!(most, Some(i32::MAX.unsigned_abs()));
    reconcile_state::use_up(&mut session).await.unwrap();
    assert_eq!(
        reconcile_state::allowed(&mut session, at(99))
            .await
            .unwrap(),
        None
    );
    reconcile_state::finished(&mut session, at(500))
        .await
        .unwrap();
    assert_eq!(
        reconcile_state::last(&mut session).await.unwrap(),
        Some(at(500))
    );
    let rows = "select count(*) from verification";
    assert_eq!(database.number(rows).await, 1);
}
