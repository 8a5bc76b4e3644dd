//! Adjustments by moderators and members, over a real Postgres: what the caller is told is what
//! the database contains, whatever happens on the way.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fault_lab::Position;
use secrecy::ExposeSecret;
use wall_e::leveling::{
    ChannelId, LevelNumber, MessageId, Points, RequestId, Standing, Timestamp, UserId,
};
use wall_e::store::open_buttons::{AnsweredInteraction, WithButtons};
use wall_e::store::watermark::Lost;
use wall_e::store::xp_change::{self, XpChange};
use wall_e::store::{open_buttons, user_point};
use wall_e::xp::{
    Adjusted, Adjustment, AdjustmentError, AdjustmentRequest, ChannelList, EligibleMessage,
    EngineHandles, History, MissingHistory,
};

use crate::support::{
    Lab, PATIENCE, TestDatabase, engine, levels, recompute_without_rules, standings, wait,
};

const FIRST_AT: i64 = 1_750_000_000_000;
/// Too short for a retry to succeed.
const SHORT: Duration = Duration::from_millis(300);

impl Lab {
    async fn adjust(&self, request: AdjustmentRequest) -> Result<Adjusted, AdjustmentError> {
        self.inbox.adjust(request, PATIENCE).await
    }

    async fn log(&self, user: UserId) -> Vec<XpChange> {
        let mut session = self.store.acquire().await.unwrap();
        let log = xp_change::of_user(&mut session, user, 50).await;
        log.expect("xp_change can be read")
    }

    /// Makes every COMMIT of adjusted points take the seconds that this statement inserts.
    async fn commits_take(&self, seconds: &'static str) {
        self.database
            .execute(
                "create table if not exists slowness (seconds float not null);
                 create or replace function slow_down() returns trigger language plpgsql as
                     $$ begin perform pg_sleep(seconds) from slowness; return null; end $$;
                 drop trigger if exists slow on xp_change;
                 create constraint trigger slow after insert on xp_change
                     deferrable initially deferred for each row execute function slow_down()",
            )
            .await;
        self.database.execute("delete from slowness").await;
        self.database.execute(seconds).await;
    }

    /// Waits until a COMMIT is under way, which [`Self::commits_take`] has slowed down.
    async fn committing(&self) {
        wait("a COMMIT that takes long", async || {
            let sleeping = "select count(*) from pg_stat_activity
                            where datname = current_database() and wait_event = 'PgSleep'";
            (self.database.number(sleeping).await > 0).then_some(())
        })
        .await;
    }
}

fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

fn points(points: u64) -> Points {
    Points::new(points).unwrap()
}

/// Message number `number`, by `people` in turn, thirty seconds after the one before.
fn message(number: u64, people: u64) -> EligibleMessage {
    let at = Timestamp::from_millis(FIRST_AT + i64::try_from(number).unwrap() * 30_000).unwrap();
    EligibleMessage {
        message: MessageId::first_at(at).unwrap(),
        channel: ChannelId::new(7).unwrap(),
        user: user(1 + number % people),
        profile: None,
        roles: None,
    }
}

/// The request with this number.
fn asked(number: u64, user_id: u64, adjustment: Adjustment) -> AdjustmentRequest {
    let first = MessageId::first_at(Timestamp::from_millis(FIRST_AT).unwrap()).unwrap();
    AdjustmentRequest {
        request: RequestId::new(first.get() + (number << 22) + 1).unwrap(),
        user: user(user_id),
        caller: user(1_000),
        adjustment,
        reason: Some(format!("reason {number}")),
        announce_in: None,
    }
}

fn give(number: u64, user_id: u64, amount: i64) -> AdjustmentRequest {
    asked(number, user_id, Adjustment::Give { amount })
}

fn set(number: u64, user_id: u64, amount: u64) -> AdjustmentRequest {
    let amount = points(amount);
    asked(number, user_id, Adjustment::Set { amount })
}

fn hide(number: u64, user_id: u64, hidden: bool) -> AdjustmentRequest {
    asked(number, user_id, Adjustment::Hide { hidden })
}

#[tokio::test]
async fn points_are_given_taken_and_set_on_record() {
    let lab = Lab::open().await;
    let loud = AdjustmentRequest {
        announce_in: ChannelId::new(7),
        ..give(1, 5, 260)
    };
    let changed = lab.adjust(loud.clone()).await.unwrap();
    let before = (changed.before.points, changed.before.level);
    let after = (changed.after.points, changed.after.level);
    assert_eq!(before, (points(0), LevelNumber(0)));
    assert_eq!(after, (points(260), LevelNumber(2)));
    assert_eq!(lab.cache.rank_of(user(5)), Some(1), "shown at once");
    let line = "select count(*) from outbox where level = 2 and channel_id = 7 and user_id = 5
                and message_id = (select request_id from xp_change)";
    assert_eq!(lab.database.number(line).await, 1);
    assert_eq!(
        lab.database
            .number("select message_id from watermark")
            .await,
        0,
        "no message has come yet"
    );

    let taken = lab.adjust(give(2, 5, -1_000)).await.unwrap();
    assert_eq!(taken.after.points, points(0));
    assert_eq!(lab.cache.rank_of(user(5)), None, "nothing is left");
    let raised = AdjustmentRequest {
        reason: None,
        ..set(3, 5, 700)
    };
    assert!(lab.adjust(raised).await.unwrap().is_different());
    assert!(!lab.adjust(set(4, 5, 700)).await.unwrap().is_different());
    assert_eq!(lab.database.standing(5).await, Some((700, 0)));
    assert_eq!(
        lab.database.days(5).await,
        (0, 0),
        "a day is what was earned"
    );
    assert_eq!(lab.database.number("select count(*) from outbox").await, 1);

    let log = lab.log(user(5)).await;
    let rows: Vec<_> = log
        .iter()
        .map(|row| (row.before.get(), row.after.get(), row.reason.as_deref()))
        .collect();
    assert_eq!(
        rows,
        [
            (700, 700, Some("reason 4")),
            (0, 700, None),
            (260, 0, Some("reason 2")),
            (0, 260, Some("reason 1")),
        ]
    );
    assert_eq!(
        (log[3].request, log[3].moderator),
        (loud.request, user(1_000))
    );
    let asked_at =
        "select (extract(epoch from changed_at) * 1000)::bigint from xp_change order by id";
    assert_eq!(lab.database.number(asked_at).await, FIRST_AT + 1);

    // What was earned stays earned, and the cooldown runs on.
    lab.inbox.offer(message(0, 1));
    lab.adjust(set(5, 1, 3)).await.unwrap();
    let mut too_soon = message(0, 1);
    too_soon.message = MessageId::new(too_soon.message.get() + (1 << 22)).unwrap();
    lab.inbox.offer(too_soon);
    assert!(lab.inbox.settled(PATIENCE).await);
    assert_eq!(lab.database.standing(1).await, Some((3, 1)));
    lab.ends_well().await;
}

#[tokio::test]
async fn whoever_hides_leaves_the_board_and_may_do_so_before_earning() {
    let lab = Lab::open().await;
    let changed = lab.adjust(hide(1, 1, true)).await.unwrap();
    assert!(!changed.before.hidden && changed.after.hidden);
    assert_eq!(lab.database.standing(1).await, Some((0, 0)));
    lab.inbox.offer(message(0, 1));
    lab.adjust(give(2, 2, 10)).await.unwrap();
    let earned = lab.database.standing(1).await.unwrap();
    assert_eq!((earned.1, lab.cache.rank_of(user(1))), (1, None));
    assert_eq!(lab.cache.board_len(), 1);

    let again = lab.adjust(hide(3, 1, true)).await.unwrap();
    assert!(again.after.hidden && !again.is_different(), "already");
    // There is nothing to save, so no database is needed.
    lab.gate.set(Position::Shut);
    let again = lab.adjust(hide(4, 1, true)).await.unwrap();
    assert!(!again.is_different());
    assert_eq!(
        lab.inbox.adjust(hide(5, 1, false), SHORT).await,
        Err(AdjustmentError::NotSaved)
    );
    lab.gate.set(Position::Open);
    let shown = lab.adjust(hide(6, 1, false)).await.unwrap();
    assert!(shown.before.hidden && !shown.after.hidden);
    assert_eq!(lab.cache.rank_of(user(1)), Some(1));
    assert_eq!(lab.database.standing(1).await, Some(earned));
    assert_eq!(lab.log(user(1)).await, [], "privacy is nobody's business");
    lab.ends_well().await;
}

#[tokio::test]
async fn a_request_that_comes_twice_is_carried_out_once_and_after_a_restart_as_well() {
    let lab = Lab::open().await;
    assert!(lab.adjust(give(1, 5, 100)).await.is_ok());
    assert_eq!(
        lab.adjust(give(1, 5, 100)).await,
        Err(AdjustmentError::Repeated)
    );
    // A repeated request leaves nothing behind in the session.
    assert!(lab.adjust(give(2, 5, 1)).await.is_ok());
    lab.end.cancel();
    lab.running.await.unwrap().expect("the engine ends well");
    let lab = Lab::open_on(lab.database).await;
    assert_eq!(
        lab.adjust(set(1, 6, 100)).await,
        Err(AdjustmentError::Repeated)
    );
    assert_eq!(lab.points(user(5)).await, Some(101));
    assert_eq!(lab.points(user(6)).await, None);
    assert_eq!(lab.cache.get(user(6)), None);
    lab.ends_well().await;
}

#[tokio::test]
async fn what_could_not_be_saved_in_time_never_is() {
    for away in [Position::Shut, Position::Slow(PATIENCE)] {
        let lab = Lab::open().await;
        lab.adjust(give(1, 5, 100)).await.unwrap();
        lab.gate.set(away);
        let started = Instant::now();
        let refused = lab.inbox.adjust(give(2, 5, 100), SHORT).await;
        assert_eq!(refused, Err(AdjustmentError::NotSaved));
        assert!(started.elapsed() < SHORT + Duration::from_millis(500));
        // Whoever stops waiting in the middle gets nothing either.
        let gone = lab.inbox.adjust(give(3, 5, 100), PATIENCE);
        assert!(tokio::time::timeout(SHORT, gone).await.is_err());
        // One that waits behind messages which cannot be saved.
        lab.inbox.offer(message(0, 1));
        let refused = lab.inbox.adjust(set(4, 5, 7), SHORT).await;
        assert_eq!(refused, Err(AdjustmentError::NotSaved));
        lab.gate.set(Position::Open);
        assert!(lab.inbox.settled(2 * PATIENCE).await);
        assert_eq!(lab.points(user(5)).await, Some(100));
        assert_eq!(lab.log(user(5)).await.len(), 1);
        assert_eq!(lab.database.standing(1).await.unwrap().1, 1);
        assert!(lab.adjust(give(5, 5, 1)).await.is_ok());
        lab.ends_well().await;
    }
}

#[tokio::test]
async fn an_adjustment_that_nobody_waits_for_holds_up_neither_messages_nor_the_end() {
    for away in [Position::Shut, Position::Slow(PATIENCE)] {
        let lab = Lab::open().await;
        lab.gate.set(away);
        let refused = lab.inbox.adjust(give(1, 5, 100), SHORT).await;
        assert_eq!(refused, Err(AdjustmentError::NotSaved));
        assert!(lab.inbox.settled(SHORT).await, "the engine is free");
        let ended = Instant::now();
        lab.ends_well().await;
        assert!(ended.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test]
async fn an_adjustment_that_waits_until_postgres_is_back_is_saved() {
    let lab = Lab::open().await;
    lab.gate.set(Position::Shut);
    let back = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        lab.gate.set(Position::Open);
    };
    let (changed, ()) = tokio::join!(lab.adjust(give(1, 5, 100)), back);
    assert_eq!(changed.unwrap().after.points, points(100));
    assert_eq!(lab.points(user(5)).await, Some(100));
    lab.ends_well().await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_reported_truthfully_and_counts_once() {
    let lab = Lab::open().await;
    lab.gate.set(Position::LosesCommits);
    for number in 1..=3 {
        let changed = lab.adjust(give(number, 5, 100)).await.unwrap();
        assert_eq!(changed.after.points, points(100 * number));
    }
    assert!(lab.adjust(hide(4, 5, true)).await.unwrap().is_different());
    lab.inbox.offer(message(0, 1));
    assert!(lab.inbox.settled(PATIENCE).await);
    assert_eq!(
        lab.adjust(give(3, 5, 100)).await,
        Err(AdjustmentError::Repeated)
    );
    assert_eq!(lab.points(user(5)).await, Some(300));
    assert_eq!(lab.log(user(5)).await.len(), 3);
    assert_eq!(lab.database.standing(1).await.unwrap().1, 1);
    lab.gate.set(Position::Open);
    lab.ends_well().await;
}

#[tokio::test]
async fn a_commit_that_takes_too_long_is_called_unknown_and_is_followed_to_its_end() {
    let lab = Lab::open().await;
    lab.commits_take("insert into slowness values (3)").await;
    let unknown = lab.inbox.adjust(give(1, 5, 100), SHORT).await;
    assert_eq!(unknown, Err(AdjustmentError::Unknown));
    assert_eq!(lab.cache.get(user(5)), None, "not shown before it is true");
    assert!(lab.inbox.settled(PATIENCE).await);
    assert_eq!(lab.points(user(5)).await, Some(100));
    let shown = lab.cache.get(user(5)).unwrap().standing.points;
    assert_eq!(shown, points(100));
    lab.commits_take("insert into slowness values (0)").await;
    let next = lab.adjust(give(2, 5, 1)).await.unwrap();
    assert_eq!(next.after.points, points(101));

    // If the COMMIT takes only a little longer than the caller's timeout, they still get the answer.
    lab.commits_take("insert into slowness values (0.7)").await;
    let changed = lab.inbox.adjust(give(3, 5, 1), SHORT).await;
    assert_eq!(changed.unwrap().after.points, points(102));
    lab.ends_well().await;
}

#[tokio::test]
async fn a_commit_that_came_to_nothing_is_repeated_for_whoever_still_waits() {
    let lab = Lab::open().await;
    lab.commits_take("insert into slowness values (60)").await;
    let waits = lab.adjust(give(1, 5, 100));
    let fails = async {
        lab.committing().await;
        lab.database
            .execute("update slowness set seconds = 0")
            .await;
        lab.database.end_sessions().await;
    };
    let (changed, ()) = tokio::join!(waits, fails);
    assert_eq!(changed.unwrap().after.points, points(100));
    assert_eq!(lab.points(user(5)).await, Some(100));

    // When this one turns out not to be saved, nobody waits for it any more.
    lab.database
        .execute("update slowness set seconds = 60")
        .await;
    let unknown = lab.inbox.adjust(give(2, 5, 100), SHORT).await;
    assert_eq!(unknown, Err(AdjustmentError::Unknown));
    lab.committing().await;
    lab.database
        .execute("update slowness set seconds = 0")
        .await;
    lab.database.end_sessions().await;
    lab.inbox.offer(message(0, 1));
    assert!(lab.inbox.settled(PATIENCE).await);
    assert_eq!(lab.points(user(5)).await, Some(100));
    assert_eq!(lab.log(user(5)).await.len(), 1);
    assert!(lab.adjust(give(3, 5, 1)).await.is_ok());
    lab.ends_well().await;
}

#[tokio::test]
async fn an_adjustment_that_the_database_refuses_is_dropped_at_once() {
    let lab = Lab::open().await;
    lab.database
        .execute(
            "create function no_x() returns trigger language plpgsql as $$ begin
                if new.reason like '%x%' then raise exception 'no x' using errcode = '22023'; end if;
                return new; end $$;
             create trigger no_x before insert on xp_change for each row execute function no_x()",
        )
        .await;
    let because = |number, reason: &str| AdjustmentRequest {
        reason: Some(reason.to_owned()),
        ..give(number, 5, 10)
    };
    let started = Instant::now();
    let refused = lab.adjust(because(1, "x")).await;
    assert_eq!(refused, Err(AdjustmentError::NotSaved));
    assert!(started.elapsed() < PATIENCE / 2);
    assert!(lab.adjust(because(2, "a \0 is left out")).await.is_ok());
    let kept = lab.log(user(5)).await;
    assert_eq!(kept[0].reason.as_deref(), Some("a  is left out"));
    assert_eq!((kept.len(), lab.points(user(5)).await), (1, Some(10)));
    lab.ends_well().await;
}

#[tokio::test]
async fn points_wait_for_what_was_missed_and_privacy_does_not() {
    let mut lab = Lab::open().await;
    lab.inbox.offer(message(0, 1));
    lab.adjust(give(1, 1, 100)).await.unwrap();
    lab.inbox.open_gap();
    lab.gaps.changed().await.expect("the engine finds the gap");
    let gap = lab.gaps.borrow_and_update().expect("it is open");
    let live = message(20, 1);
    lab.inbox.offer(live.clone());
    for request in [give(2, 1, 5), set(3, 1, 5)] {
        assert_eq!(lab.adjust(request).await, Err(AdjustmentError::CatchingUp));
    }
    assert!(lab.adjust(hide(4, 1, true)).await.unwrap().is_different());
    assert_eq!(lab.cache.rank_of(user(1)), None);
    assert_eq!(lab.database.standing(1).await.unwrap().1, 1, "nothing else");
    let frontier = "select message_id from watermark";
    let reached = i64::try_from(message(0, 1).message.get()).unwrap();
    assert_eq!(lab.database.number(frontier).await, reached);

    let missed = message(10, 1);
    lab.inbox
        .fill(History {
            gap: gap.number,
            reached: missed.message,
            missing: MissingHistory::default(),
            messages: vec![missed],
            channels: ChannelList::default(),
        })
        .await;
    let changed = lab.adjust(set(5, 1, 5)).await.unwrap();
    assert!(changed.after.hidden);
    assert_eq!(lab.database.standing(1).await, Some((5, 3)));
    let reached = i64::try_from(live.message.get()).unwrap();
    assert_eq!(lab.database.number(frontier).await, reached);
    lab.ends_well().await;
}

#[tokio::test]
async fn an_engine_that_may_not_write_any_more_changes_nothing() {
    for (others, lost) in [
        (
            "update watermark set owner_epoch = owner_epoch + 1",
            Lost::TakenOver,
        ),
        (
            "update watermark set batch_no = batch_no - 1",
            Lost::Rewound,
        ),
    ] {
        let lab = Lab::open().await;
        lab.database.execute(others).await;
        // Sent together: the second is still in the inbox when the first fails.
        let (first, second) = tokio::join!(lab.adjust(give(1, 5, 9)), lab.adjust(hide(2, 5, true)));
        let not_saved = Err(AdjustmentError::NotSaved);
        assert_eq!((first, second), (not_saved, not_saved));
        assert_eq!(lab.running.await.unwrap(), Err(lost));
        assert_eq!(standings(&lab.store).await, BTreeMap::new());
        assert_eq!(
            lab.database.number("select count(*) from xp_change").await,
            0
        );
        assert_eq!(lab.cache.get(user(5)), None);
    }
}

#[tokio::test]
async fn at_the_end_what_is_in_the_inbox_is_carried_out_and_nothing_after_it() {
    let lab = Lab::open().await;
    let (in_time, ()) = tokio::join!(lab.adjust(give(1, 5, 9)), async { lab.end.cancel() });
    assert!(in_time.is_ok());
    lab.running.await.unwrap().expect("the engine ends well");
    let late = lab.inbox.adjust(give(2, 5, 9), PATIENCE).await;
    assert_eq!(late, Err(AdjustmentError::NotSaved));

    // An engine that never ran.
    let database = TestDatabase::migrated().await;
    let (engine, EngineHandles { inbox, .. }, _) = engine(&database.store().await).await;
    let (dropped, ()) = tokio::join!(inbox.adjust(give(3, 5, 9), PATIENCE), async {
        drop(engine);
    });
    assert_eq!(dropped, Err(AdjustmentError::NotSaved));
}

#[tokio::test]
async fn messages_and_adjustments_come_to_the_sum_of_both_while_everything_fails() {
    const PEOPLE: u64 = 6;
    const ROUNDS: u64 = 120;
    let lab = Lab::open().await;
    let positions = [
        Position::Open,
        Position::LosesCommits,
        Position::Shut,
        Position::Open,
        Position::Slow(Duration::from_millis(20)),
    ];
    let mut sent = Vec::new();
    let mut answers = tokio::task::JoinSet::new();
    for round in 0..ROUNDS {
        let position = usize::try_from(round / 8).unwrap() % positions.len();
        lab.gate.set(positions[position]);
        let seen = message(round, PEOPLE);
        sent.push(seen.clone());
        lab.inbox.offer(seen);
        let who = 1 + (round * 5) % (PEOPLE + 1);
        let request = match round % 5 {
            0 => set(round, who, round * 3),
            1 => give(round, who, -40),
            4 => hide(round, who, round % 2 == 0),
            _ => give(round, who, 25),
        };
        let inbox = lab.inbox.clone();
        answers.spawn(async move {
            let patience = Duration::from_millis(50 + (round * 37) % 400);
            let answer = inbox.adjust(request.clone(), patience).await;
            (request, answer)
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    lab.gate.set(Position::Open);
    let answers = answers.join_all().await;
    assert!(lab.inbox.settled(2 * PATIENCE).await);

    let mut saved = 0;
    let mut refused = 0;
    for (request, answer) in &answers {
        if matches!(request.adjustment, Adjustment::Hide { .. }) {
            continue;
        }
        let log = lab.log(request.user).await;
        let row = log.iter().find(|row| row.request == request.request);
        match answer {
            Ok(changed) => {
                let row = row.expect("what is said to be saved is");
                let said = (changed.before.points, changed.after.points);
                assert_eq!((row.before, row.after), said);
                saved += 1;
            }
            Err(AdjustmentError::NotSaved) => {
                assert_eq!(row, None, "what is said not to be saved is not");
                refused += 1;
            }
            Err(AdjustmentError::Unknown) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert!(
        saved > 10 && refused > 3,
        "{saved} saved, {refused} refused"
    );

    let mut expected: BTreeMap<UserId, Standing> =
        recompute_without_rules(sent, &levels(&lab.store).await)
            .into_iter()
            .map(|row| (row.user, row.standing))
            .collect();
    let mut session = lab.store.acquire().await.unwrap();
    for (user, delta) in xp_change::deltas(&mut session).await.unwrap() {
        let standing = expected.entry(user).or_default();
        standing.points = standing.points.changed_by(delta);
    }
    let mut found = standings(&lab.store).await;
    found.retain(|_, standing| standing.is_tracked());
    expected.retain(|_, standing| standing.is_tracked());
    assert_eq!(found, expected);
    user_point::load_all(&mut session, |row| {
        assert_eq!(
            lab.cache.get(row.user),
            Some(row),
            "the cache shows what is saved"
        );
    })
    .await
    .unwrap();
    drop(session);
    lab.ends_well().await;
}

#[tokio::test]
async fn buttons_are_remembered_until_they_are_taken_off() {
    let database = TestDatabase::migrated().await;
    let store = database.store().await;
    let mut session = store.acquire().await.unwrap();
    let at = |seconds: i64| chrono::DateTime::from_timestamp(1_750_000_000 + seconds, 0).unwrap();
    let closes = |seconds| Timestamp::from_millis(at(seconds).timestamp_millis()).unwrap();
    let (channel, thread) = (ChannelId::new(7).unwrap(), ChannelId::new(8).unwrap());
    let [first, second, third] = [11, 12, 13].map(|id| MessageId::new(id).unwrap());
    let interaction = AnsweredInteraction {
        application: 9,
        token: "of the answer".into(),
    };
    for (message, channel, seconds, interaction) in [
        (first, channel, 30, Some(interaction.clone())),
        (second, channel, 20, None),
        (third, channel, 90, None),
        (first, channel, 40, None),
        (second, thread, 20, Some(interaction)),
    ] {
        let shown = WithButtons {
            message,
            channel,
            interaction,
        };
        open_buttons::add(&mut session, &shown, closes(seconds))
            .await
            .unwrap();
    }
    let in_short = |due: Vec<WithButtons>| -> Vec<_> {
        let of = |shown: WithButtons| {
            let by = shown.interaction;
            let by = by.map(|by| (by.application, by.token.expose_secret().to_owned()));
            (shown.message, shown.channel, by)
        };
        due.into_iter().map(of).collect()
    };
    let by_token = || Some((9, "of the answer".to_owned()));
    let due = open_buttons::due(&mut session, at(39), 9).await.unwrap();
    assert!(!format!("{due:?}").contains("of the answer"), "{due:?}");
    assert_eq!(in_short(due), [(second, thread, by_token())]);
    let due = open_buttons::due(&mut session, at(40), 9).await.unwrap();
    assert_eq!(
        in_short(due),
        [(second, thread, by_token()), (first, channel, None)]
    );
    assert_eq!(
        open_buttons::due(&mut session, at(40), 1)
            .await
            .unwrap()
            .len(),
        1
    );
    open_buttons::remove(&mut session, second).await.unwrap();
    open_buttons::remove(&mut session, second).await.unwrap();
    let due = open_buttons::due(&mut session, at(90), 9).await.unwrap();
    assert_eq!(
        in_short(due),
        [(first, channel, None), (third, channel, None)]
    );
}
