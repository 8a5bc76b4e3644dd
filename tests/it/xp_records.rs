//! What is recorded of rules, channels and members decides what messages earn, over a real
//! Postgres: at every moment the database is what its messages and records come to.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono_tz::Tz;
use fault_lab::Position;
use wall_e::leveling::{
    ChannelId, ChannelPlace, HistorySource, MessageId, Percent, RequestId, RoleId, RuleKind,
    RuleSubject, RuleTerm, Timestamp, UserId, XpRule,
};
use wall_e::store::watermark::Lost;
use wall_e::store::{self, history_interval, xp_day, xp_rule};
use wall_e::xp::{
    AdjustmentError, AwardRules, ChannelList, EligibleMessage, History, LateHistory,
    MissingHistory, Observation, RuleAnswer, RuleRequest, recompute,
};

use crate::support::{Lab, PATIENCE, levels, standings, wait};

const FIRST_AT: i64 = 1_750_000_000_000;
const ROOM: u64 = 7;
const THREAD: u64 = 8;
const CATEGORY: u64 = 70;
const ROLE: u64 = 5;

/// The id at this minute: every message after a minute may earn.
fn id(minute: u64) -> MessageId {
    let at = FIRST_AT + i64::try_from(minute).unwrap() * 60_000;
    MessageId::first_at(Timestamp::from_millis(at).unwrap()).unwrap()
}

fn message(minute: u64, channel: u64, user: u64) -> EligibleMessage {
    EligibleMessage {
        message: MessageId::new(id(minute).get() + user).unwrap(),
        channel: ChannelId::new(channel).unwrap(),
        user: UserId::new(user).unwrap(),
        profile: None,
        roles: None,
    }
}

fn with_roles(roles: &[u64], message: EligibleMessage) -> EligibleMessage {
    EligibleMessage {
        roles: Some(ids(roles)),
        ..message
    }
}

fn ids(roles: &[u64]) -> Box<[RoleId]> {
    roles.iter().map(|id| RoleId::new(*id).unwrap()).collect()
}

fn place(channel: u64, parent: Option<u64>, is_thread: bool) -> ChannelPlace {
    ChannelPlace {
        channel: ChannelId::new(channel).unwrap(),
        parent: parent.and_then(ChannelId::new),
        is_thread,
    }
}

fn on_channel(channel: u64) -> RuleSubject {
    RuleSubject::Channel(ChannelId::new(channel).unwrap())
}

fn on_role() -> RuleSubject {
    RuleSubject::Role(RoleId::new(ROLE).unwrap())
}

/// A request in the middle of this minute.
fn request(minute: u64, subject: RuleSubject, kind: RuleKind, rule: Option<XpRule>) -> RuleRequest {
    let half = (30_000 << 22) + u64::from(kind == RuleKind::Multiplier);
    RuleRequest {
        request: RequestId::new(id(minute).get() + half).unwrap(),
        moderator: UserId::new(9).unwrap(),
        subject,
        kind,
        term: rule.map(|rule| RuleTerm { rule, until: None }),
    }
}

fn no_xp(minute: u64, subject: RuleSubject) -> RuleRequest {
    request(minute, subject, RuleKind::NoXp, Some(XpRule::NoXp))
}

fn multiplier(minute: u64, subject: RuleSubject, percent: u16) -> RuleRequest {
    let rule = XpRule::Multiplier(Percent::new(percent).unwrap());
    request(minute, subject, RuleKind::Multiplier, Some(rule))
}

impl Lab {
    async fn rule(&self, request: RuleRequest) -> Result<RuleAnswer, AdjustmentError> {
        self.inbox.change_rule(request, PATIENCE).await
    }

    /// Sends messages one after the other.
    async fn send(&self, sent: &mut Vec<EligibleMessage>, messages: &[EligibleMessage]) {
        for message in messages {
            sent.push(message.clone());
            self.inbox.offer(message.clone());
        }
        assert!(self.inbox.settled(PATIENCE).await);
    }

    async fn messages(&self, user: u64) -> u64 {
        let standings = standings(&self.store).await;
        let standing = standings.get(&UserId::new(user).unwrap());
        standing.map_or(0, |standing| standing.message_count)
    }

    /// The database holds what these messages come to by what is recorded in it.
    async fn is_what_is_recorded(&self, sent: &[EligibleMessage]) {
        let mut session = self.store.acquire().await.unwrap();
        let xp_rules = store::xp_record::load(&mut session).await.unwrap();
        let (users, days) = recompute(
            sent.to_vec(),
            AwardRules {
                levels: &levels(&self.store).await,
                xp_rules: &xp_rules,
                zone: Tz::UTC,
            },
        );
        let expected: BTreeMap<_, _> = users
            .into_iter()
            .map(|row| (row.user, row.standing))
            .collect();
        assert_eq!(standings(&self.store).await, expected);
        assert_eq!(xp_day::all(&mut session).await.unwrap(), days);
    }

    /// Fills the gap that is open with these messages.
    async fn fill(
        &self,
        messages: Vec<EligibleMessage>,
        reached: MessageId,
        channels: ChannelList,
    ) {
        let gap = wait("a gap", async || *self.gaps.borrow()).await;
        self.inbox
            .fill(History {
                gap: gap.number,
                messages,
                reached,
                missing: MissingHistory::default(),
                channels,
            })
            .await;
        assert!(self.inbox.settled(PATIENCE).await);
    }
}

#[tokio::test]
async fn a_rule_holds_from_its_request_until_it_ends() {
    let (lab, mut sent) = (Lab::open().await, Vec::new());
    lab.send(&mut sent, &[message(0, ROOM, 1)]).await;
    assert_eq!(
        lab.rule(no_xp(0, on_channel(ROOM))).await,
        Ok(RuleAnswer::Changed)
    );
    for channel in [ROOM, 6] {
        lab.inbox
            .observe(Observation::Channel(place(channel, None, false)));
    }
    lab.send(&mut sent, &[message(1, ROOM, 1), message(2, 6, 1)])
        .await;
    let end = request(2, on_channel(ROOM), RuleKind::NoXp, None);
    assert_eq!(lab.rule(end).await, Ok(RuleAnswer::Changed));
    lab.send(&mut sent, &[message(3, ROOM, 1)]).await;
    // Discord may send the same request again.
    assert_eq!(lab.rule(end).await, Err(AdjustmentError::Repeated));
    let other = request(4, on_channel(ROOM), RuleKind::NoXp, None);
    assert_eq!(lab.rule(other).await, Ok(RuleAnswer::Unchanged));
    assert_eq!(lab.messages(1).await, 3);
    lab.is_what_is_recorded(&sent).await;
    lab.ends_well().await;
}

#[tokio::test]
async fn a_rule_that_is_saved_late_leaves_what_was_counted_before() {
    let (lab, mut sent) = (Lab::open().await, Vec::new());
    let (early, late) = (
        [message(0, ROOM, 1), message(1, ROOM, 1)],
        [message(2, ROOM, 1)],
    );
    lab.send(&mut sent, &early).await;
    // The request is older than the second message, which is counted already.
    let rule = multiplier(0, RuleSubject::Everyone, 1_000);
    assert_eq!(lab.rule(rule).await, Ok(RuleAnswer::Changed));
    lab.send(&mut sent, &late).await;
    let points = lab.points(UserId::new(1).unwrap()).await.unwrap();
    assert!((180..=300).contains(&points), "{points}");
    lab.is_what_is_recorded(&sent).await;
    let mut session = lab.store.acquire().await.unwrap();
    let rows = xp_rule::all(&mut session).await.unwrap();
    assert_eq!(rows[0].change.after, Some(early[1].message));
    assert_eq!(rows[0].request, Some((rule.request, rule.moderator)));
    drop(session);
    lab.ends_well().await;
}

#[tokio::test]
async fn a_channel_is_judged_by_the_category_in_which_it_stood() {
    let (lab, mut sent) = (Lab::open().await, Vec::new());
    lab.inbox
        .observe(Observation::Channel(place(CATEGORY, None, false)));
    lab.inbox
        .observe(Observation::Channel(place(ROOM, Some(CATEGORY), false)));
    lab.inbox
        .observe(Observation::Channel(place(THREAD, Some(ROOM), true)));
    lab.send(&mut sent, &[message(0, ROOM, 1)]).await;
    lab.rule(no_xp(0, on_channel(CATEGORY))).await.unwrap();
    lab.send(&mut sent, &[message(1, ROOM, 1), message(1, THREAD, 2)])
        .await;
    assert_eq!((lab.messages(1).await, lab.messages(2).await), (1, 0));
    lab.inbox
        .observe(Observation::Channel(place(ROOM, None, false)));
    lab.send(&mut sent, &[message(2, ROOM, 1), message(2, THREAD, 2)])
        .await;
    lab.inbox
        .observe(Observation::Channel(place(ROOM, Some(CATEGORY), false)));
    lab.send(&mut sent, &[message(3, ROOM, 1), message(3, THREAD, 2)])
        .await;
    assert_eq!((lab.messages(1).await, lab.messages(2).await), (2, 1));
    lab.is_what_is_recorded(&sent).await;
    let database = lab.ends_well().await;

    // Another process goes on with the same records.
    let lab = Lab::open_on(database).await;
    lab.send(&mut sent, &[message(4, ROOM, 1)]).await;
    assert_eq!(lab.messages(1).await, 2);
    lab.inbox
        .observe(Observation::ChannelGone(ChannelId::new(CATEGORY).unwrap()));
    lab.send(&mut sent, &[message(5, ROOM, 1)]).await;
    assert_eq!(lab.messages(1).await, 3, "a rule ends with its channel");
    lab.is_what_is_recorded(&sent).await;
    let mut session = lab.store.acquire().await.unwrap();
    let last = xp_rule::all(&mut session).await.unwrap().pop().unwrap();
    assert_eq!((last.request, last.change.term), (None, None));
    drop(session);
    lab.ends_well().await;
}

#[tokio::test]
async fn a_gap_is_judged_by_what_was_recorded_before_it() {
    let (lab, mut sent) = (Lab::open().await, Vec::new());
    lab.inbox
        .observe(Observation::Channel(place(ROOM, None, false)));
    lab.send(&mut sent, &[message(0, ROOM, 1)]).await;
    lab.rule(no_xp(0, on_channel(CATEGORY))).await.unwrap();
    lab.rule(multiplier(0, on_role(), 200)).await.unwrap();
    lab.inbox.open_gap();
    // In the gap the channel moved and a member got the role: lists show it later.
    let missed = [message(1, ROOM, 1), message(1, ROOM, 2)];
    let list = lab.inbox.list_members(None).await;
    list.add(vec![(UserId::new(2).unwrap(), ids(&[ROLE]))])
        .await;
    drop(list);
    let moved = ChannelList {
        places: vec![
            place(CATEGORY, None, false),
            place(ROOM, Some(CATEGORY), false),
        ],
        has_all_channels: true,
    };
    sent.extend(missed.clone());
    lab.fill(missed.to_vec(), id(2), moved).await;
    assert_eq!((lab.messages(1).await, lab.messages(2).await), (2, 1));
    let usual = lab.points(UserId::new(2).unwrap()).await.unwrap();
    assert!((15..=25).contains(&usual), "{usual}");
    lab.send(&mut sent, &[message(3, ROOM, 1), message(3, 6, 2)])
        .await;
    assert_eq!(lab.messages(1).await, 2);
    // Channel 6 is not known, and rules on channels are in force: it is looked up first.
    assert_eq!(lab.messages(2).await, 1);
    lab.is_what_is_recorded(&sent[..sent.len() - 1]).await;
    lab.look_up(6, vec![place(6, None, true)]).await;
    let doubled = lab.points(UserId::new(2).unwrap()).await.unwrap() - usual;
    assert!((30..=50).contains(&doubled), "{doubled}");
    lab.is_what_is_recorded(&sent).await;
    lab.ends_well().await;
}

impl Lab {
    /// Counts the messages in a thread that was looked up.
    async fn look_up(&self, thread: u64, places: Vec<ChannelPlace>) {
        let thread = ChannelId::new(thread).unwrap();
        let mut session = self.store.acquire().await.unwrap();
        let missing = history_interval::all(&mut session).await.unwrap();
        let found = missing
            .into_iter()
            .find(|one| one.source.source == HistorySource::Messages(thread));
        let interval = found.expect("messages in an unknown thread are missing history");
        let late = LateHistory {
            interval: interval.id,
            messages: self.inbox.unplaced().up_to(thread, interval.until),
            up_to: interval.until,
            unread: Vec::new(),
            channels: ChannelList {
                places,
                has_all_channels: false,
            },
        };
        assert!(!late.messages.is_empty());
        self.inbox.count_late(late).await.unwrap();
    }
}

#[tokio::test]
async fn a_message_in_an_unknown_thread_waits_alone() {
    let (lab, mut sent) = (Lab::open().await, Vec::new());
    lab.inbox
        .observe(Observation::Channel(place(ROOM, None, false)));
    lab.send(&mut sent, &[message(0, ROOM, 1)]).await;
    lab.rule(multiplier(0, on_channel(ROOM), 300))
        .await
        .unwrap();
    // The same author writes in the thread and, within the cooldown, elsewhere.
    let mut elsewhere = message(1, ROOM, 1);
    elsewhere.message = MessageId::new(elsewhere.message.get() + (20_000 << 22)).unwrap();
    let messages = [
        message(1, THREAD, 1),
        elsewhere,
        message(1, ROOM, 2),
        message(2, THREAD, 3),
    ];
    lab.send(&mut sent, &messages).await;
    assert_eq!(lab.messages(1).await, 2, "others do not wait");
    assert_eq!((lab.messages(2).await, lab.messages(3).await), (1, 0));
    lab.look_up(THREAD, vec![place(THREAD, Some(ROOM), true)])
        .await;
    assert_eq!(lab.messages(3).await, 1);
    // The message in the thread came first, so the one elsewhere was within its cooldown.
    lab.is_what_is_recorded(&sent).await;
    assert_eq!(
        lab.database
            .number("select count(*) from history_interval")
            .await,
        0
    );
    lab.send(&mut sent, &[message(3, THREAD, 3)]).await;
    assert_eq!(lab.messages(3).await, 2, "the thread is known now");
    lab.is_what_is_recorded(&sent).await;
    lab.ends_well().await;
}

#[tokio::test]
async fn roles_are_known_from_events_from_messages_and_from_lists() {
    let (lab, mut sent) = (Lab::open().await, Vec::new());
    lab.inbox
        .observe(Observation::Channel(place(ROOM, None, false)));
    lab.send(&mut sent, &[message(0, ROOM, 1)]).await;
    lab.cache.watch_role(RoleId::new(ROLE).unwrap());
    // The holders are read before the rule is set.
    let list = lab.inbox.list_members(Some(id(0))).await;
    list.add(vec![(UserId::new(1).unwrap(), ids(&[ROLE, 4]))])
        .await;
    drop(list);
    lab.rule(no_xp(0, on_role())).await.unwrap();
    lab.send(&mut sent, &[message(1, ROOM, 1), message(1, ROOM, 2)])
        .await;
    assert_eq!((lab.messages(1).await, lab.messages(2).await), (1, 1));

    // A message shows the roles of its author, from that message on.
    let shown = [
        with_roles(&[], message(2, ROOM, 1)),
        with_roles(&[ROLE], message(2, ROOM, 2)),
    ];
    lab.send(&mut sent, &shown).await;
    assert_eq!((lab.messages(1).await, lab.messages(2).await), (2, 1));

    // An event is newer than a list that was requested before it.
    let list = lab.inbox.list_members(None).await;
    lab.inbox
        .observe(Observation::Member(UserId::new(2).unwrap(), ids(&[])));
    list.add(vec![(UserId::new(2).unwrap(), ids(&[ROLE]))])
        .await;
    drop(list);
    lab.send(&mut sent, &[message(3, ROOM, 2)]).await;
    assert_eq!(lab.messages(2).await, 2);
    // The next list counts again.
    let list = lab.inbox.list_members(None).await;
    list.add(vec![(UserId::new(2).unwrap(), ids(&[ROLE]))])
        .await;
    drop(list);
    lab.send(&mut sent, &[message(4, ROOM, 2)]).await;
    assert_eq!(lab.messages(2).await, 2);
    lab.is_what_is_recorded(&sent).await;
    lab.ends_well().await;
}

#[tokio::test]
async fn a_rule_may_be_set_while_missed_messages_are_counted() {
    let (lab, mut sent) = (Lab::open().await, Vec::new());
    lab.inbox
        .observe(Observation::Channel(place(ROOM, None, false)));
    lab.send(&mut sent, &[message(0, ROOM, 1)]).await;
    lab.inbox.open_gap();
    wait("a gap", async || *lab.gaps.borrow()).await;
    assert_eq!(
        lab.rule(no_xp(2, on_channel(ROOM))).await,
        Ok(RuleAnswer::Changed)
    );
    let live = [message(3, ROOM, 1), message(3, ROOM, 2)];
    for message in &live {
        lab.inbox.offer(message.clone());
    }
    let missed = [message(1, ROOM, 1), message(2, ROOM, 1)];
    sent.extend(missed.clone());
    sent.extend(live);
    let channels = ChannelList {
        places: vec![place(ROOM, None, false)],
        has_all_channels: true,
    };
    lab.fill(missed.to_vec(), id(3), channels).await;
    assert_eq!((lab.messages(1).await, lab.messages(2).await), (3, 0));
    lab.is_what_is_recorded(&sent).await;
    lab.ends_well().await;
}

#[tokio::test]
async fn messages_come_to_what_is_recorded_while_everything_fails() {
    const PEOPLE: u64 = 5;
    const ROUNDS: u64 = 150;
    let (lab, mut sent) = (Lab::open().await, Vec::new());
    let positions = [
        Position::Open,
        Position::LosesCommits,
        Position::Shut,
        Position::Open,
        Position::Slow(Duration::from_millis(20)),
    ];
    for channel in [ROOM, 6] {
        lab.inbox
            .observe(Observation::Channel(place(channel, None, false)));
    }
    lab.send(&mut sent, &[message(0, ROOM, 1)]).await;
    let mut answers = tokio::task::JoinSet::new();
    for round in 1..ROUNDS {
        let position = usize::try_from(round / 8).unwrap() % positions.len();
        lab.gate.set(positions[position]);
        let mut seen = message(
            round,
            [ROOM, 6][usize::from(round % 3 == 0)],
            1 + round % PEOPLE,
        );
        if round % 7 == 0 {
            seen = with_roles(&[ROLE][..usize::from(round % 2 == 0)], seen);
        }
        sent.push(seen.clone());
        lab.inbox.offer(seen);
        let member = UserId::new(1 + round % PEOPLE).unwrap();
        lab.inbox.observe(match round % 4 {
            0 => Observation::Channel(place(ROOM, Some(CATEGORY), false)),
            1 => Observation::Channel(place(ROOM, None, false)),
            2 => Observation::Member(member, ids(&[ROLE])),
            _ => Observation::Member(member, ids(&[])),
        });
        let request = match round % 6 {
            0 => no_xp(round, on_channel(CATEGORY)),
            1 => multiplier(round, on_role(), 250),
            2 => request(round, on_channel(CATEGORY), RuleKind::NoXp, None),
            3 => multiplier(round, RuleSubject::Everyone, 30),
            4 => no_xp(round, RuleSubject::User(UserId::new(2).unwrap())),
            _ => request(
                round,
                RuleSubject::User(UserId::new(2).unwrap()),
                RuleKind::NoXp,
                None,
            ),
        };
        let inbox = lab.inbox.clone();
        answers.spawn(async move {
            let patience = Duration::from_millis(50 + (round * 37) % 400);
            (request, inbox.change_rule(request, patience).await)
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    lab.gate.set(Position::Open);
    let answers = answers.join_all().await;
    assert!(lab.inbox.settled(2 * PATIENCE).await);
    lab.is_what_is_recorded(&sent).await;

    let mut session = lab.store.acquire().await.unwrap();
    let rows = xp_rule::all(&mut session).await.unwrap();
    let mut changed = 0;
    for (request, answer) in answers {
        let asked =
            |row: &&xp_rule::XpRuleRow| row.request.is_some_and(|(id, _)| id == request.request);
        let row = rows.iter().find(asked);
        match answer {
            Ok(RuleAnswer::Changed) => {
                assert_eq!(row.expect("it is saved").change.term, request.term);
                changed += 1;
            }
            Ok(RuleAnswer::Unchanged) | Err(AdjustmentError::NotSaved) => assert_eq!(row, None),
            Err(AdjustmentError::Unknown) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert!(changed > 10, "{changed} changed");
    drop(session);
    lab.ends_well().await;
}

#[tokio::test]
async fn an_event_during_a_gap_does_not_reach_back_into_it() {
    for is_message_live in [true, false] {
        let (lab, mut sent) = (Lab::open().await, Vec::new());
        lab.inbox
            .observe(Observation::Channel(place(ROOM, None, false)));
        lab.send(&mut sent, &[message(0, ROOM, 1)]).await;
        lab.rule(no_xp(0, on_channel(CATEGORY))).await.unwrap();
        lab.rule(no_xp(1, on_role())).await.unwrap();
        lab.inbox.open_gap();
        // Both happen after the messages that were missed.
        lab.inbox
            .observe(Observation::Channel(place(ROOM, Some(CATEGORY), false)));
        let holder = UserId::new(2).unwrap();
        lab.inbox.observe(Observation::Member(holder, ids(&[ROLE])));
        if is_message_live {
            let live = message(3, 6, 2);
            lab.inbox.offer(live.clone());
            sent.push(live);
        }
        let missed = [message(1, ROOM, 1), message(1, 6, 2)];
        sent.extend(missed.clone());
        let channels = ChannelList {
            places: vec![place(ROOM, Some(CATEGORY), false), place(6, None, false)],
            has_all_channels: false,
        };
        lab.fill(missed.to_vec(), id(2), channels).await;
        assert_eq!((lab.messages(1).await, lab.messages(2).await), (2, 1));
        lab.send(&mut sent, &[message(4, ROOM, 1), message(4, 6, 2)])
            .await;
        assert_eq!((lab.messages(1).await, lab.messages(2).await), (2, 1));
        lab.is_what_is_recorded(&sent).await;
        lab.ends_well().await;
    }
}

#[tokio::test]
async fn a_message_in_an_unknown_thread_waits_for_its_place_also_during_a_catch_up() {
    let (lab, mut sent) = (Lab::open().await, Vec::new());
    lab.inbox
        .observe(Observation::Channel(place(ROOM, None, false)));
    lab.send(&mut sent, &[message(0, ROOM, 1)]).await;
    lab.rule(no_xp(0, on_channel(ROOM))).await.unwrap();
    lab.inbox.open_gap();
    let live = [message(3, THREAD, 2), message(3, 6, 3)];
    for message in &live {
        lab.inbox.offer(message.clone());
    }
    sent.extend(live);
    // The list of active threads has failed.
    let channels = ChannelList {
        places: vec![place(ROOM, None, false), place(6, None, false)],
        has_all_channels: true,
    };
    lab.fill(Vec::new(), id(2), channels).await;
    assert_eq!((lab.messages(2).await, lab.messages(3).await), (0, 1));
    lab.look_up(THREAD, vec![place(THREAD, Some(ROOM), true)])
        .await;
    assert_eq!(lab.messages(2).await, 0, "the rule applies to the thread");
    lab.is_what_is_recorded(&sent).await;
    lab.ends_well().await;
}

#[tokio::test]
async fn lists_and_messages_do_not_undo_what_is_newer() {
    let (lab, mut sent) = (Lab::open().await, Vec::new());
    lab.inbox
        .observe(Observation::Channel(place(ROOM, None, false)));
    lab.send(&mut sent, &[message(0, ROOM, 1)]).await;
    // A list of roles waits for the end of a gap, and a role with a rule is made meanwhile.
    lab.inbox.open_gap();
    lab.inbox.observe(Observation::Roles(ids(&[4]).into_vec()));
    wait("a gap", async || *lab.gaps.borrow()).await;
    lab.rule(no_xp(1, on_role())).await.unwrap();
    lab.fill(Vec::new(), id(1), ChannelList::default()).await;
    let shown = with_roles(&[ROLE], message(2, ROOM, 1));
    lab.send(&mut sent, &[shown]).await;
    assert_eq!(lab.messages(1).await, 1, "the rule has not ended");

    // The older of two messages comes last.
    let messages = [
        with_roles(&[ROLE], message(4, ROOM, 2)),
        with_roles(&[], message(3, ROOM, 2)),
        message(5, ROOM, 2),
    ];
    lab.send(&mut sent, &messages).await;
    assert_eq!(lab.messages(2).await, 1);
    lab.is_what_is_recorded(&sent).await;
    // A rule is ended by a request that is older than what was counted when it was set.
    lab.send(&mut sent, &[message(9, ROOM, 3)]).await;
    let early = no_xp(6, on_channel(ROOM));
    assert_eq!(lab.rule(early).await, Ok(RuleAnswer::Changed));
    let end = request(7, on_channel(ROOM), RuleKind::NoXp, None);
    assert_eq!(lab.rule(end).await, Ok(RuleAnswer::Changed));
    lab.send(&mut sent, &[message(10, ROOM, 3)]).await;
    assert_eq!(lab.messages(3).await, 2);
    lab.is_what_is_recorded(&sent).await;
    lab.ends_well().await;
}

#[tokio::test]
async fn a_rule_outlives_its_process_and_expires_while_none_runs() {
    let (lab, mut sent) = (Lab::open().await, Vec::new());
    lab.inbox
        .observe(Observation::Channel(place(ROOM, None, false)));
    lab.send(&mut sent, &[message(0, ROOM, 1)]).await;
    let mut rule = multiplier(0, RuleSubject::Everyone, 1_000);
    if let Some(term) = &mut rule.term {
        term.until = Some(id(3).sent_at());
    }
    assert_eq!(lab.rule(rule).await, Ok(RuleAnswer::Changed));
    let before = lab.points(UserId::new(1).unwrap()).await.unwrap();
    let database = lab.ends_well().await;

    let lab = Lab::open_on(database).await;
    lab.inbox.open_gap();
    let missed = [message(1, ROOM, 1), message(4, ROOM, 2)];
    sent.extend(missed.clone());
    lab.fill(missed.to_vec(), id(5), ChannelList::default())
        .await;
    let raised = lab.points(UserId::new(1).unwrap()).await.unwrap() - before;
    let usual = lab.points(UserId::new(2).unwrap()).await.unwrap();
    assert!((150..=250).contains(&raised), "{raised}");
    assert!((15..=25).contains(&usual), "{usual}");
    lab.is_what_is_recorded(&sent).await;
    // Asked for again, it begins anew.
    if let Some(term) = &mut rule.term {
        term.until = Some(id(9).sent_at());
    }
    rule.request = RequestId::new(id(6).get()).unwrap();
    assert_eq!(lab.rule(rule).await, Ok(RuleAnswer::Changed));
    lab.send(&mut sent, &[message(7, ROOM, 2), message(9, ROOM, 1)])
        .await;
    let raised = lab.points(UserId::new(2).unwrap()).await.unwrap() - usual;
    assert!((150..=250).contains(&raised), "{raised}");
    lab.is_what_is_recorded(&sent).await;
    lab.ends_well().await;
}

#[tokio::test]
async fn a_bot_that_was_replaced_sets_no_rule_and_its_successor_knows_those_that_were_set() {
    let (lab, mut sent) = (Lab::open().await, Vec::new());
    lab.inbox
        .observe(Observation::Channel(place(ROOM, Some(CATEGORY), false)));
    lab.send(&mut sent, &[message(0, ROOM, 1)]).await;
    lab.rule(no_xp(0, on_channel(CATEGORY))).await.unwrap();
    lab.database
        .execute("update watermark set owner_epoch = owner_epoch + 1")
        .await;
    let refused = lab.rule(no_xp(1, RuleSubject::Everyone)).await;
    assert_eq!(refused, Err(AdjustmentError::NotSaved));
    assert_eq!(lab.running.await.unwrap(), Err(Lost::TakenOver));

    let lab = Lab::open_on(lab.database).await;
    let mut session = lab.store.acquire().await.unwrap();
    assert_eq!(xp_rule::all(&mut session).await.unwrap().len(), 1);
    drop(session);
    lab.send(&mut sent, &[message(2, ROOM, 1)]).await;
    assert_eq!(lab.messages(1).await, 1);
    lab.is_what_is_recorded(&sent).await;
    lab.ends_well().await;
}
