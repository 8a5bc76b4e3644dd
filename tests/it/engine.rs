//! The engine by itself, over a real Postgres: a full inbox, and a fence.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;
use wall_e::leveling::{ChannelId, MessageId, Timestamp, UserId};
use wall_e::store::watermark::Lost;
use wall_e::xp::{EngineHandles, History, Seen, recompute};

use crate::support::{PATIENCE, TestDatabase, ZONE, engine, levels, standings};

/// More than fits into the inbox.
const TOO_MANY: u64 = 100_500;
const FIRST_AT: i64 = 1_750_000_000_000;

/// One message a second, by fifty people in turn.
fn message(number: u64) -> Seen {
    let at = Timestamp::from_millis(FIRST_AT + i64::try_from(number).unwrap() * 1_000).unwrap();
    Seen {
        message: MessageId::first_at(at).unwrap(),
        channel: ChannelId::new(7).unwrap(),
        user: UserId::new(1 + number % 50).unwrap(),
        profile: None,
    }
}

#[tokio::test]
async fn what_does_not_fit_into_the_inbox_is_read_from_the_history() {
    let database = TestDatabase::migrated().await;
    let store = database.store().await;
    let (engine, EngineHandles { inbox, mut gaps }, _) = engine(&store).await;
    let everything: Vec<Seen> = (0..TOO_MANY).map(message).collect();
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
    // An answer to a question that nobody asks any more changes nothing.
    inbox
        .fill(History {
            gap: gap.number + 7,
            messages: Vec::new(),
            reached,
        })
        .await;
    inbox
        .fill(History {
            gap: gap.number,
            messages: everything.clone(),
            reached,
        })
        .await;
    assert!(inbox.settled(PATIENCE).await, "the history is applied");
    let expected = recompute(everything, &levels, ZONE).0;
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .map(|row| (row.user, row.standing))
        .collect();
    assert_eq!(standings(&store).await, expected);
    end.cancel();
    assert_eq!(running.await.unwrap(), Ok(()));
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
    /// What the engine lets wait; the inbox holds half of it.
    const MAY_WAIT: u64 = 200_000;
    /// The engine takes as many at once.
    const AT_ONCE: u64 = 2_000;
    let database = TestDatabase::migrated().await;
    let store = database.store().await;
    let (engine, EngineHandles { inbox, mut gaps }, _) = engine(&store).await;
    let end = CancellationToken::new();
    let running = tokio::spawn(engine.run(end.clone()));
    inbox.session_began();
    gaps.changed().await.expect("the engine finds the gap");
    let first = gaps.borrow_and_update().expect("it is open");

    let mut offered = 0;
    while !gaps.has_changed().expect("the engine runs") {
        assert!(offered < 2 * MAY_WAIT, "nothing was forgotten");
        for number in offered..offered + AT_ONCE {
            inbox.offer(message(number));
        }
        offered += AT_ONCE;
        // The engine shares this thread and takes them now.
        tokio::task::yield_now().await;
    }
    assert!(
        (MAY_WAIT..MAY_WAIT + 4 * AT_ONCE).contains(&offered),
        "{offered} were offered"
    );
    let gap = gaps.borrow_and_update().expect("it is open still");
    assert_eq!((gap.number, gap.after), (first.number + 1, first.after));

    // What is offered from now on waits beside the new reading.
    inbox.offer(message(offered));
    let history: Vec<Seen> = (0..offered).map(message).collect();
    let reached = history.last().unwrap().message;
    for (gap, messages) in [(first.number, Vec::new()), (gap.number, history)] {
        inbox
            .fill(History {
                gap,
                messages,
                reached,
            })
            .await;
    }
    assert!(inbox.settled(PATIENCE).await, "the history is applied");
    let levels = levels(&store).await;
    let expected = recompute((0..=offered).map(message).collect(), &levels, ZONE).0;
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .map(|row| (row.user, row.standing))
        .collect();
    assert_eq!(standings(&store).await, expected);
    end.cancel();
    assert_eq!(running.await.unwrap(), Ok(()));
}
