//! The engine by itself, over a real Postgres: a full inbox, a fence, and batches that are too
//! large for Postgres.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Utc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wall_e::leveling::{ChannelId, LevelNumber, MessageId, RequestId, Timestamp, UserId};
use wall_e::store::outbox::{self, Age, LevelUp};
use wall_e::store::watermark::Lost;
use wall_e::store::{Database, watermark};
use wall_e::xp::{
    Adjustment, AdjustmentError, AdjustmentRequest, ChannelList, CommitLimits, EligibleMessage,
    EngineHandles, Gap, History, Inbox, MissingHistory,
};

use crate::support::{
    PATIENCE, TestDatabase, engine, levels, recompute_without_rules, standings, wait,
};

/// More than fits into the inbox.
const TOO_MANY: u64 = 100_500;
const FIRST_AT: i64 = 1_750_000_000_000;

/// One message a second, by fifty people in turn.
fn message(number: u64) -> EligibleMessage {
    let at = Timestamp::from_millis(FIRST_AT + i64::try_from(number).unwrap() * 1_000).unwrap();
    EligibleMessage {
        message: MessageId::first_at(at).unwrap(),
        channel: ChannelId::new(7).unwrap(),
        user: UserId::new(1 + number % 50).unwrap(),
        profile: None,
        roles: None,
    }
}

#[tokio::test]
async fn what_does_not_fit_into_the_inbox_is_read_from_the_history() {
    let database = TestDatabase::migrated().await;
    let store = database.store().await;
    let (engine, EngineHandles { inbox, mut gaps }, _) = engine(&store).await;
    let everything: Vec<EligibleMessage> = (0..TOO_MANY).map(message).collect();
    for seen in &everything {
        inbox.offer(seen.clone());
    }
    let end = CancellationToken::new();
    let running = tokio::spawn(engine.run(end.clone()));
    gaps.changed().await.expect("the engine finds the gap");
    let gap = gaps.borrow_and_update().expect("it is open");
    assert!(
        !inbox.settled(std::time::Duration::from_millis(200)).await,
        "nothing is applied before the history"
    );
    assert_eq!(standings(&store).await, BTreeMap::new());

    let reached = everything.last().unwrap().message;
    let levels = levels(&store).await;
    // The history of an outdated gap changes nothing.
    inbox
        .fill(History {
            gap: gap.number + 7,
            messages: Vec::new(),
            reached,
            missing: MissingHistory::default(),
            channels: ChannelList::default(),
        })
        .await;
    inbox
        .fill(History {
            gap: gap.number,
            messages: everything.clone(),
            reached,
            missing: MissingHistory::default(),
            channels: ChannelList::default(),
        })
        .await;
    assert!(inbox.settled(PATIENCE).await, "the history is applied");
    let expected = recompute_without_rules(everything, &levels);
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .map(|row| (row.user, row.standing))
        .collect();
    assert_eq!(standings(&store).await, expected);
    end.cancel();
    running.await.unwrap().expect("the engine ends well");
}

#[tokio::test]
async fn an_engine_whose_row_was_moved_by_others_writes_nothing_and_says_why() {
    for (change, lost) in [
        (
            "update watermark set owner_epoch = owner_epoch + 1",
            Lost::TakenOver,
        ),
        (
            "update watermark set owner_epoch = owner_epoch - 1",
            Lost::Rewound,
        ),
        (
            "update watermark set batch_no = batch_no - 1",
            Lost::Rewound,
        ),
    ] {
        let database = TestDatabase::migrated().await;
        let store = database.store().await;
        let (engine, EngineHandles { inbox, .. }, _) = engine(&store).await;
        database.execute(change).await;
        inbox.offer(message(1));
        assert_eq!(engine.run(CancellationToken::new()).await, Err(lost));
        assert_eq!(standings(&store).await, BTreeMap::new());
        assert_eq!(database.number("select count(*) from xp_day").await, 0);
    }
}

#[tokio::test]
async fn more_than_can_wait_for_the_history_is_forgotten_and_read_again() {
    /// As in the engine. The inbox holds half as many.
    const MAX_WAITING_MESSAGES: u64 = 200_000;
    /// As in the engine.
    const BATCH_SIZE: u64 = 2_000;
    let database = TestDatabase::migrated().await;
    let store = database.store().await;
    let (engine, EngineHandles { inbox, mut gaps }, _) = engine(&store).await;
    let end = CancellationToken::new();
    let running = tokio::spawn(engine.run(end.clone()));
    inbox.open_gap();
    gaps.changed().await.expect("the engine finds the gap");
    let first = gaps.borrow_and_update().expect("it is open");

    let mut offered = 0;
    while !gaps.has_changed().expect("the engine runs") {
        assert!(offered < 2 * MAX_WAITING_MESSAGES, "nothing was forgotten");
        for number in offered..offered + BATCH_SIZE {
            inbox.offer(message(number));
        }
        offered += BATCH_SIZE;
        // The engine shares this thread and takes them now.
        tokio::task::yield_now().await;
    }
    assert!(
        (MAX_WAITING_MESSAGES..MAX_WAITING_MESSAGES + 4 * BATCH_SIZE).contains(&offered),
        "{offered} were offered"
    );
    let gap = gaps.borrow_and_update().expect("it is open still");
    assert_eq!((gap.number, gap.after), (first.number + 1, first.after));

    // Messages offered from now on wait for the new reading.
    inbox.offer(message(offered));
    let history: Vec<EligibleMessage> = (0..offered).map(message).collect();
    let reached = history.last().unwrap().message;
    for (gap, messages) in [(first.number, Vec::new()), (gap.number, history)] {
        inbox
            .fill(History {
                gap,
                messages,
                reached,
                missing: MissingHistory::default(),
                channels: ChannelList::default(),
            })
            .await;
    }
    assert!(inbox.settled(PATIENCE).await, "the history is applied");
    let levels = levels(&store).await;
    let expected = recompute_without_rules((0..=offered).map(message).collect(), &levels);
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .map(|row| (row.user, row.standing))
        .collect();
    assert_eq!(standings(&store).await, expected);
    end.cancel();
    running.await.unwrap().expect("the engine ends well");
}

/// So small that a catch-up of a thousand messages takes many batches.
const SMALL: CommitLimits = CommitLimits {
    messages: 50,
    users: 20,
    timeout: Duration::from_secs(20),
};

/// Enough for each of the fifty to rise several levels: one message a minute each.
fn long_history() -> Vec<EligibleMessage> {
    let messages = (0..50 * 40).map(|number| message(number + number / 50 * 25));
    messages.collect()
}

/// Makes Postgres refuse batches from this number on.
async fn stop_at_batch(database: &TestDatabase, number: u8) {
    let sql = format!(
        "create or replace function no_more() returns trigger language plpgsql as $$ begin
            if new.batch_no > {number} then raise exception 'no more' using errcode = '53100'; end if;
            return new; end $$;
         create or replace trigger no_more before update on watermark
            for each row when (new.batch_no > old.batch_no) execute function no_more()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&mut database.session().await)
        .await
        .unwrap();
}

async fn batches(database: &TestDatabase) -> i64 {
    database.number("select batch_no from watermark").await
}

/// The level-up lines that are due.
async fn due(store: &Database) -> Vec<LevelUp> {
    let mut session = store.acquire().await.unwrap();
    let due = outbox::due(&mut session, Utc::now(), Age::Any, 1_000)
        .await
        .unwrap();
    due.into_iter().map(|pending| pending.level_up).collect()
}

async fn frontier(store: &Database) -> Option<MessageId> {
    let mut session = store.acquire().await.unwrap();
    watermark::read(&mut session).await.unwrap().frontier
}

/// Opens a gap and fills it with these messages.
async fn fill(
    inbox: &Inbox,
    gaps: &mut tokio::sync::watch::Receiver<Option<Gap>>,
    read: &[EligibleMessage],
) {
    inbox.open_gap();
    gaps.changed().await.expect("the engine finds the gap");
    let gap = gaps.borrow_and_update().expect("it is open");
    let messages = read.iter().filter(|seen| Some(seen.message) > gap.after);
    inbox
        .fill(History {
            gap: gap.number,
            messages: messages.cloned().collect(),
            reached: read.last().unwrap().message,
            missing: MissingHistory::default(),
            channels: ChannelList::default(),
        })
        .await;
}

/// Everyone has what these messages come to.
async fn assert_counted(store: &Database, messages: Vec<EligibleMessage>) {
    let expected = recompute_without_rules(messages, &levels(store).await);
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .map(|row| (row.user, row.standing))
        .collect();
    assert_eq!(standings(store).await, expected);
}

/// There is one line for each of the fifty, from nothing to their present level.
async fn assert_one_line_each(store: &Database) {
    let lines = due(store).await;
    let mut users: Vec<_> = lines.iter().map(|line| line.user).collect();
    users.sort_unstable();
    users.dedup();
    assert_eq!((lines.len(), users.len()), (50, 50));
    let (levels, standings) = (levels(store).await, standings(store).await);
    for line in lines {
        let level = levels.level_at(standings[&line.user].points);
        assert_eq!((line.from, line.level), (Some(LevelNumber(0)), level));
        assert!(level > LevelNumber(1), "{level:?}");
    }
}

#[tokio::test]
async fn a_long_catch_up_is_saved_in_parts_and_brings_each_member_one_line() {
    let database = TestDatabase::migrated().await;
    let store = database.store().await;
    let (engine, EngineHandles { inbox, mut gaps }, _) = engine(&store).await;
    let engine = engine.with_limits(SMALL);
    let mut messages = long_history();
    let (end, before) = (CancellationToken::new(), batches(&database).await);
    let half = u8::try_from(before + 20).unwrap();
    stop_at_batch(&database, half).await;
    let running = tokio::spawn(engine.run(end.clone()));
    fill(&inbox, &mut gaps, &messages).await;
    wait("the parts that get in", async || {
        (batches(&database).await == i64::from(half)).then_some(())
    })
    .await;
    let reached = frontier(&store).await.expect("a part is saved");
    assert!(reached < messages.last().unwrap().message, "and not all");
    assert!(database.number("select count(*) from outbox").await > 0);
    assert_eq!(due(&store).await, [], "the lines wait for the last part");
    // Live messages belong to the catch-up; a lost session does not undo it.
    let live = message(50 * 60 + 7);
    inbox.offer(live.clone());
    messages.push(live.clone());
    database.execute("drop trigger no_more on watermark").await;
    assert!(inbox.settled(PATIENCE).await, "all of it is applied");
    assert!(batches(&database).await > before + 40, "in many parts");
    assert_eq!(frontier(&store).await, Some(live.message));
    assert_counted(&store, messages).await;
    assert_one_line_each(&store).await;
    end.cancel();
    running.await.unwrap().expect("the engine ends well");
}

#[tokio::test]
async fn a_catch_up_that_a_crash_cut_off_goes_on_where_it_was() {
    let database = TestDatabase::migrated().await;
    let store = database.store().await;
    let messages = long_history();
    for stop in [Some(20), None] {
        let (engine, EngineHandles { inbox, mut gaps }, _) = engine(&store).await;
        let engine = engine.with_limits(SMALL);
        let running = tokio::spawn(engine.run(CancellationToken::new()));
        if let Some(number) = stop {
            stop_at_batch(&database, number).await;
        }
        fill(&inbox, &mut gaps, &messages).await;
        if let Some(number) = stop {
            wait("the parts that get in", async || {
                (batches(&database).await == i64::from(number)).then_some(())
            })
            .await;
            running.abort();
            let _ = running.await;
            database.execute("drop trigger no_more on watermark").await;
        } else {
            let begun = gaps.borrow().expect("it was open").after;
            assert!(begun > Some(messages[100].message), "it begins anew");
            assert!(inbox.settled(PATIENCE).await, "the rest is applied");
        }
    }
    assert_counted(&store, messages).await;
    assert_one_line_each(&store).await;
}

#[tokio::test]
async fn a_session_that_is_lost_during_a_catch_up_is_a_gap_after_it() {
    let database = TestDatabase::migrated().await;
    let store = database.store().await;
    let (engine, EngineHandles { inbox, mut gaps }, _) = engine(&store).await;
    let engine = engine.with_limits(SMALL);
    let messages = long_history();
    let (read, unread) = messages.split_at(1_500);
    stop_at_batch(&database, 10).await;
    let running = tokio::spawn(engine.run(CancellationToken::new()));
    fill(&inbox, &mut gaps, read).await;
    wait("the parts that get in", async || {
        (batches(&database).await == 10).then_some(())
    })
    .await;
    inbox.open_gap();
    // This message came in the new session; some before it did not come.
    inbox.offer(messages.last().unwrap().clone());
    database.execute("drop trigger no_more on watermark").await;
    gaps.changed().await.expect("the engine finds the gap");
    let gap = gaps.borrow_and_update().expect("it is open");
    assert_eq!(gap.after, read.last().map(|seen| seen.message));
    assert_counted(&store, read.to_vec()).await;
    inbox
        .fill(History {
            gap: gap.number,
            messages: unread.to_vec(),
            reached: messages.last().unwrap().message,
            missing: MissingHistory::default(),
            channels: ChannelList::default(),
        })
        .await;
    assert!(inbox.settled(PATIENCE).await, "all of it is applied");
    assert_counted(&store, messages).await;
    running.abort();
}

#[tokio::test]
async fn a_batch_that_takes_postgres_too_long_is_split_until_it_gets_in() {
    // Once the server reports the timeout, and once the engine's own timeout ends first.
    for (trigger, timeout) in [
        (
            "create function slow() returns trigger language plpgsql as $$ begin
                if (select count(*) from added) > 3 then
                    raise exception 'canceling statement due to statement timeout'
                    using errcode = '57014';
                end if; return null; end $$;
             create trigger slow after insert on user_point
                referencing new table as added for each statement execute function slow()",
            PATIENCE,
        ),
        (
            "create function slow() returns trigger language plpgsql as $$ begin
                perform pg_sleep(0.02); return null; end $$;
             create trigger slow after insert on user_point
                for each row execute function slow()",
            Duration::from_millis(400),
        ),
    ] {
        for live in [true, false] {
            let database = TestDatabase::migrated().await;
            database.execute(trigger).await;
            let store = database.store().await;
            let (engine, EngineHandles { inbox, mut gaps }, _) = engine(&store).await;
            let engine = engine.with_limits(CommitLimits {
                timeout,
                ..CommitLimits::default()
            });
            let end = CancellationToken::new();
            let messages: Vec<EligibleMessage> = (0..50).map(message).collect();
            let running = tokio::spawn(engine.run(end.clone()));
            if live {
                for seen in &messages {
                    inbox.offer(seen.clone());
                }
            } else {
                fill(&inbox, &mut gaps, &messages).await;
            }
            assert!(inbox.settled(PATIENCE).await, "{trigger}: it gets in");
            assert_counted(&store, messages).await;
            assert_eq!(
                database.number("select count(*) from xp_day").await,
                50,
                "each once"
            );
            end.cancel();
            running.await.unwrap().expect("the engine ends well");
        }
    }
}

#[tokio::test]
async fn those_who_wait_for_a_catch_up_are_bounded_and_told_so_in_time() {
    /// As in the inbox.
    const MAX_WAITING_COMMANDS: u32 = 1_000;
    let database = TestDatabase::migrated().await;
    database.insert_user(1, 0, 0).await;
    let store = database.store().await;
    let (engine, EngineHandles { inbox, mut gaps }, _) = engine(&store).await;
    let running = tokio::spawn(engine.run(CancellationToken::new()));
    inbox.open_gap();
    gaps.changed().await.expect("the engine finds the gap");
    let gap = gaps.borrow_and_update().expect("it is open");
    let asked = async |request: u64, patience| {
        let request = AdjustmentRequest {
            request: RequestId::new(request).unwrap(),
            user: UserId::new(1).unwrap(),
            caller: UserId::new(2).unwrap(),
            adjustment: Adjustment::Give { amount: 1 },
            reason: None,
            announce_in: None,
        };
        inbox.adjust(request, patience).await
    };
    // A command that has left makes room for another.
    let mut leaving = JoinSet::new();
    for _ in 0..5 * MAX_WAITING_COMMANDS {
        let inbox = inbox.clone();
        leaving.spawn(async move { inbox.settled(Duration::from_millis(1)).await });
    }
    assert!(!leaving.join_all().await.contains(&true));
    let first = asked(1, PATIENCE).await;
    assert!(
        matches!(first, Err(AdjustmentError::CatchingUp)),
        "{first:?}"
    );

    let mut waiting = JoinSet::new();
    for _ in 0..MAX_WAITING_COMMANDS {
        let inbox = inbox.clone();
        waiting.spawn(async move { inbox.settled(PATIENCE).await });
    }
    wait("all places to be taken", async || {
        let moment = Duration::from_millis(50);
        let late = asked(2, moment).await;
        matches!(late, Err(AdjustmentError::NotSaved)).then_some(())
    })
    .await;
    inbox
        .fill(History {
            gap: gap.number,
            messages: Vec::new(),
            reached: message(3).message,
            missing: MissingHistory::default(),
            channels: ChannelList::default(),
        })
        .await;
    assert!(!waiting.join_all().await.contains(&false));
    assert!(asked(3, PATIENCE).await.is_ok());
    running.abort();
}
