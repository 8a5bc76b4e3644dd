//! Names that messages show: saved with their authors' XP, in the order in which they were
//! observed, and through the queue of changed profiles only where that is needed.

use std::sync::Arc;

use sqlx::Row as _;
use tokio_util::sync::CancellationToken;
use wall_e::leveling::{ChannelId, Field, MessageId, ObservedProfile, Timestamp, UserId};
use wall_e::profiles::{ProfileObserver, ProfileRegister};
use wall_e::store::updated_user;
use wall_e::xp::{EligibleMessage, Gap, Inbox, Saver, XpCache};

use crate::support::{PATIENCE, TestDatabase, engine, wait};

const FIRST_AT: i64 = 1_750_000_000_000;
const COUNT_WRITES: &str = "
    create table queue_write (kind text not null);
    create function count_queue_write() returns trigger language plpgsql as
        $$ begin insert into queue_write values (tg_op); return null; end $$;
    create trigger counted after insert or update or delete on updated_user
        for each row execute function count_queue_write();";

/// An engine and a register that run, and the database below them.
struct Running {
    database: TestDatabase,
    xp: Arc<XpCache>,
    observer: ProfileObserver,
    inbox: Inbox,
    gaps: tokio::sync::watch::Receiver<Option<Gap>>,
    end: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Running {
    /// With these rows in `user_point`.
    async fn on(rows: &'static str) -> Self {
        let database = TestDatabase::migrated().await;
        database.execute(rows).await;
        database.execute(COUNT_WRITES).await;
        let store = database.store().await;
        let (engine, handles, xp) = engine(&store).await;
        let (observer, mut told) = ProfileObserver::new(Arc::clone(&xp));
        let register = ProfileRegister::new(store, Arc::clone(&xp), Arc::default());
        let end = CancellationToken::new();
        tokio::spawn(engine.run(end.clone()));
        let close = end.clone();
        tokio::spawn(async move { register.run(&mut told, &close).await });
        Self {
            database,
            xp,
            observer,
            inbox: handles.inbox,
            gaps: handles.gaps,
            end,
        }
    }

    /// A message of this user, so many seconds after the first that there could be.
    fn writes(&self, user: u64, second: i64, seen: ObservedProfile) {
        let at = Timestamp::from_millis(FIRST_AT + second * 1_000).unwrap();
        let first = MessageId::first_at(at).unwrap().get();
        self.observer.wrote(id(user), seen);
        self.inbox.offer(EligibleMessage {
            message: MessageId::new(first + user).unwrap(),
            channel: ChannelId::new(7).unwrap(),
            user: id(user),
            profile: None,
            roles: None,
        });
    }

    async fn settled(&self) {
        assert!(self.inbox.settled(PATIENCE).await);
    }

    /// Until nothing that was observed is unsaved.
    async fn saved(&self) {
        self.settled().await;
        wait("everything to be saved", async || {
            self.xp.unsaved().is_empty().then_some(())
        })
        .await;
    }

    async fn stored(&self, user: u64) -> (Option<String>, Option<String>) {
        let row = self.database.user(user).await;
        let text = |field: &str| row[field].as_str().map(str::to_owned);
        (text("username"), text("nickname"))
    }

    /// The rows of the queue: whose, the name in it, the nickname, whether it is stored.
    async fn queue(&self) -> Vec<(i64, Option<String>, Option<String>, bool)> {
        let sql = "select user_id, username, nickname, stored from updated_user order by user_id";
        let rows = sqlx::query(sql);
        let rows = rows.fetch_all(&mut self.database.session().await).await;
        let rows = rows.expect("the queue can be read").into_iter();
        rows.map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
            .collect()
    }

    async fn queue_writes(&self) -> i64 {
        self.database
            .number("select count(*) from queue_write")
            .await
    }
}

fn id(user: u64) -> UserId {
    UserId::new(user).unwrap()
}

fn seen(username: &str, nickname: Option<&str>) -> ObservedProfile {
    ObservedProfile {
        username: username.to_owned(),
        display_name: Field::Empty,
        avatar_hash: Field::Empty,
        nickname: nickname.map(str::to_owned).into(),
        guild_avatar_hash: Field::Empty,
    }
}

/// As a message that does not show its author as a member.
fn account_only(username: &str) -> ObservedProfile {
    ObservedProfile {
        nickname: Field::Unseen,
        guild_avatar_hash: Field::Unseen,
        ..seen(username, None)
    }
}

fn pictured(username: &str, avatar: &str) -> ObservedProfile {
    let mut seen = seen(username, None);
    seen.avatar_hash = Field::Value(avatar.to_owned());
    seen
}

#[tokio::test]
async fn names_are_saved_with_the_xp_and_nothing_else_is_written() {
    let room = Running::on(
        "insert into user_point (user_id, points, username, nickname) values
            (1, 500, 'old', 'nick'), (2, 500, null, null), (4, 500, 'same', null), (5, 500, 'old', 'nick')",
    )
    .await;
    room.writes(1, 0, seen("new", None));
    room.writes(2, 0, seen("named", Some("nick")));
    room.writes(3, 0, seen("stranger", Some("nick")));
    room.writes(4, 0, seen("same", None));
    room.writes(5, 0, account_only("new"));
    room.saved().await;
    assert_eq!(room.stored(1).await, (Some("new".to_owned()), None));
    assert_eq!(
        room.stored(2).await,
        (Some("named".to_owned()), Some("nick".to_owned()))
    );
    assert_eq!(
        room.stored(3).await,
        (Some("stranger".to_owned()), Some("nick".to_owned()))
    );
    assert_eq!(
        room.stored(5).await,
        (Some("new".to_owned()), Some("nick".to_owned())),
        "unseen is not empty"
    );
    // Seen once more they are no news, and their next names are saved as these were.
    room.writes(1, 61, seen("new", None));
    room.writes(3, 61, seen("newer", None));
    room.saved().await;
    assert_eq!(room.stored(1).await, (Some("new".to_owned()), None));
    assert_eq!(room.stored(3).await, (Some("newer".to_owned()), None));
    assert_eq!(room.queue_writes().await, 0);
}

#[tokio::test]
async fn what_postgres_cannot_store_is_left_out_of_a_name() {
    let room = Running::on(
        "insert into user_point (user_id, points, username, last_awarded_at) values
            (1, 500, 'old', null), (2, 500, 'old', '2100-01-01')",
    )
    .await;
    for user in 1..=3 {
        room.writes(user, 0, seen("a\0b", Some("\0nick")));
    }
    room.saved().await;
    for user in [1, 3] {
        let name = (Some("ab".to_owned()), Some("nick".to_owned()));
        assert_eq!(room.stored(user).await, name, "with the XP");
    }
    let queued = (2, Some("ab".to_owned()), Some("nick".to_owned()), false);
    assert_eq!(room.queue().await, [queued]);
}

#[tokio::test]
async fn who_earns_nothing_is_saved_through_the_queue() {
    let room = Running::on(
        "insert into user_point (user_id, points, username, last_awarded_at) values
            (1, 500, 'old', '2100-01-01')",
    )
    .await;
    room.writes(1, 0, seen("new", Some("nick")));
    room.saved().await;
    assert_eq!(room.stored(1).await, (Some("old".to_owned()), None));
    assert_eq!(
        room.queue().await,
        [(1, Some("new".to_owned()), Some("nick".to_owned()), false)]
    );
}

#[tokio::test]
async fn names_do_not_wait_for_a_history_that_is_read_and_strangers_keep_theirs() {
    let mut room =
        Running::on("insert into user_point (user_id, points, username) values (1, 500, 'old')")
            .await;
    room.inbox.open_gap();
    room.gaps.changed().await.unwrap();
    room.writes(1, 0, seen("new", None));
    room.writes(2, 0, seen("stranger", None));
    let queue = async || {
        let queue = room.queue().await;
        (!queue.is_empty()).then_some(queue)
    };
    let queue = wait("the name to be queued", queue).await;
    assert_eq!(queue, [(1, Some("new".to_owned()), None, false)]);
    let left = room.xp.unsaved().left_to(Saver::Engine, id(2));
    assert!(left.is_some(), "there is no row yet that it could go into");
}

#[tokio::test]
async fn a_row_of_the_queue_that_is_older_takes_nothing_back() {
    let room = Running::on(
        "insert into user_point (user_id, points, username) values (1, 500, 'old'), (2, 500, 'old')",
    )
    .await;
    let store = room.database.store().await;
    let queued = [
        (id(1), seen("older", Some("older"))),
        (id(2), seen("older", Some("older"))),
    ];
    let mut session = store.acquire().await.unwrap();
    updated_user::mark(&mut session, &queued).await.unwrap();
    room.writes(1, 0, seen("new", None));
    // What is not seen is not empty: the nickname stays as the queue has it.
    room.writes(2, 0, account_only("new"));
    room.saved().await;
    assert_eq!(
        room.queue().await,
        [
            (1, Some("new".to_owned()), None, false),
            (2, Some("new".to_owned()), Some("older".to_owned()), false)
        ],
        "what is seen later counts, and what is not seen stays"
    );
}

#[tokio::test]
async fn what_is_heard_while_a_batch_is_saved_is_saved_after_it() {
    let room =
        Running::on("insert into user_point (user_id, points, username) values (1, 500, 'old')")
            .await;
    let mut held = room.database.session().await;
    let locking = sqlx::raw_sql("begin; select from watermark for update");
    locking.execute(&mut held).await.unwrap();
    room.writes(1, 0, seen("first", Some("first")));
    wait("the batch to be on its way", async || {
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";
        (room.database.number(waiting).await == 1).then_some(())
    })
    .await;
    room.observer.heard(id(1), seen("second", None));
    let left = room.xp.unsaved().left_to(Saver::Register, id(1));
    assert_eq!(left, None, "the register leaves it to the engine");
    let release = sqlx::raw_sql("commit");
    release.execute(&mut held).await.unwrap();
    room.saved().await;
    assert_eq!(
        room.stored(1).await,
        (Some("first".to_owned()), Some("first".to_owned()))
    );
    assert_eq!(
        room.queue().await,
        [(1, Some("second".to_owned()), None, false)]
    );
}

#[tokio::test]
async fn the_queue_gets_only_pictures_and_those_who_had_been_gone() {
    let room = Running::on(
        "insert into user_point (user_id, points, username, avatar_hash, avatar_copy_hash, avatar_message_id, gone_at)
         values (1, 500, 'old', 'a', 'a', 11, null), (2, 500, 'old', 'a', 'a', 12, null),
                (3, 500, 'old', 'a', 'a', 13, null), (4, 500, 'old', null, null, null, 'epoch')",
    )
    .await;
    room.writes(1, 0, pictured("new", "a"));
    room.writes(2, 0, pictured("new", "b"));
    room.writes(3, 0, seen("new", None));
    room.writes(4, 0, seen("back", None));
    room.writes(5, 0, pictured("stranger", "c"));
    room.writes(6, 0, seen("stranger", None));
    room.saved().await;
    for user in 1..=3 {
        assert_eq!(room.stored(user).await.0, Some("new".to_owned()), "{user}");
    }
    assert_eq!(room.stored(4).await.0, Some("old".to_owned()));
    assert_eq!(
        room.queue().await,
        [
            (2, None, None, true),
            (3, None, None, true),
            (4, Some("back".to_owned()), None, false),
            (5, None, None, true),
        ]
    );
}
