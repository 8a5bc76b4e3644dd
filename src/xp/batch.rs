//! What a batch of messages changes: users' standings, days, level-ups, profiles.
//!
//! Pure: takes the standings before, returns the standings after. The committer saves them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, NaiveDate};
use chrono_tz::Tz;

use super::inbox::EligibleMessage;
use super::unsaved_profiles::Observed;
use crate::leveling::{
    Award, CopyPlan, Levels, MessageId, ObservedProfile, Profile, Standing, Timestamp, UserId,
    XpRecord, XpRules, award, copy_plan,
};
use crate::store::history_interval::HistoryChange;
use crate::store::outbox::LevelUp;
use crate::store::user_point::profiles::Shown;
use crate::store::user_point::{CachedUser, SavedUser};
use crate::store::xp_day::DayTotal;

/// Everything that one transaction saves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// The latest message of the batch, whether it earned or not.
    pub last: Option<MessageId>,
    /// Users who earned, sorted by id.
    pub users: Vec<SavedUser>,
    /// Their days, sorted by user and day.
    pub days: Vec<DayTotal>,
    /// Levels reached, in the order of the messages.
    pub level_ups: Vec<LevelUp>,
    /// Observed profiles of users who earned, sorted by user.
    pub observed: Vec<AuthorProfile>,
    /// Authors with an observed profile who did not earn.
    pub observed_only: Vec<UserId>,
    /// Users whose roles must be checked: they earned for the first time, and the lowest level
    /// carries a role; or a message that was counted late cost them a level.
    pub role_checks: Vec<UserId>,
    /// Messages that earned, sorted.
    pub earned: Vec<MessageId>,
    /// Changes to the record of missing history.
    pub history: HistoryChange,
    /// What was observed of channels and members and decides what messages earn.
    pub records: Vec<XpRecord>,
}

/// What decides what messages earn, and how it is saved.
#[derive(Clone, Copy, Debug)]
pub struct AwardRules<'a> {
    /// The points that each level needs.
    pub levels: &'a Levels,
    /// The guild's own rules.
    pub xp_rules: &'a XpRules,
    /// The time zone of the guild's days.
    pub zone: Tz,
}

/// The observed profile of a user who earned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AuthorProfile {
    pub user: UserId,
    pub profile: ObservedProfile,
    /// The version of the unsaved profile; `None` if it comes from the history.
    pub version: Option<u32>,
}

/// How a transaction saves the observed profiles of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProfilePlan {
    /// Saved with the XP.
    pub saved: BTreeMap<UserId, Profile>,
    /// Added to the queue of changed profiles, sorted by user.
    pub queued: Vec<(UserId, ObservedProfile)>,
    /// Users whose avatar is to be copied, or whose copy is to be dropped.
    pub pictures: Vec<UserId>,
}

impl Batch {
    /// Whether there is nothing to save but the frontier.
    pub(super) fn saves_nothing(&self) -> bool {
        self.users.is_empty() && self.history.is_empty() && self.records.is_empty()
    }

    /// Removes the profiles, and returns their users and versions.
    pub(super) fn drop_profiles(&mut self) -> Vec<(UserId, Option<u32>)> {
        for row in &mut self.users {
            row.profile = None;
        }
        let dropped = self.observed.drain(..);
        dropped.map(|one| (one.user, one.version)).collect()
    }

    /// How the profiles are saved, given the users' stored rows; users without a row are not in
    /// `shown`. Users who are in the queue of changed profiles already, or whose account
    /// seemed to be deleted, go to the queue.
    pub(super) fn plan_profiles(
        &self,
        shown: Vec<Shown>,
        queued: &BTreeSet<UserId>,
    ) -> ProfilePlan {
        let mut shown: BTreeMap<UserId, Shown> =
            shown.into_iter().map(|row| (row.user, row)).collect();
        let mut plan = ProfilePlan::default();
        for AuthorProfile { user, profile, .. } in &self.observed {
            let observed = profile.clone();
            let row = shown.remove(user);
            if queued.contains(user) || row.as_ref().is_some_and(|row| row.gone) {
                plan.queued.push((*user, observed));
                continue;
            }
            let (before, copied, has_copy) = row.map_or_else(Default::default, |row| {
                (row.profile, row.copied, row.copy.is_some())
            });
            let profile = before.unwrap_or_default().after(observed);
            if copy_plan(&profile, copied.as_deref(), has_copy) != CopyPlan::Keep {
                plan.pictures.push(*user);
            }
            plan.saved.insert(*user, profile);
        }
        plan
    }
}

/// Every user's row and days after these messages, if all users start with nothing.
pub fn recompute(
    messages: Vec<EligibleMessage>,
    rules: AwardRules<'_>,
) -> (Vec<SavedUser>, Vec<DayTotal>) {
    recompute_from(|_| None, messages, rules)
}

/// The rows of users who earned, and the days, after these messages. `before` is each user's
/// standing before them.
pub fn recompute_from(
    before: impl Fn(UserId) -> Option<Standing>,
    mut messages: Vec<EligibleMessage>,
    rules: AwardRules<'_>,
) -> (Vec<SavedUser>, Vec<DayTotal>) {
    let known = |user| {
        before(user).map(|standing| CachedUser {
            user,
            standing,
            hidden: false,
            named: true,
            seen: None,
        })
    };
    messages.sort_unstable_by_key(|seen| seen.message);
    let nothing = |_| None;
    let Batch { users, days, .. } = plan(&messages, rules, Announce::OnePerUser, known, nothing);
    (users, days)
}

/// Which of a user's level-ups are announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announce {
    /// They happen now.
    EachLevelUp,
    /// One line for all: they happened during a gap, and must not come as a flood.
    OnePerUser,
}

/// How many of these messages one batch takes, within both limits; at least one if there is any.
pub(super) fn batch_end(
    messages: &[EligibleMessage],
    max_messages: usize,
    max_users: usize,
) -> usize {
    let most = messages.len().min(max_messages.max(1));
    if most <= max_users {
        return most;
    }
    let mut users = HashSet::with_capacity(max_users);
    let beyond = messages[..most].iter().position(|seen| {
        users.insert(seen.user);
        users.len() > max_users.max(1)
    });
    beyond.unwrap_or(most)
}

/// Applies messages that are sorted by id. A message that occurs twice counts once. `known`
/// returns a user's row before, `observed` the profile that the engine is to save.
pub(super) fn plan(
    messages: &[EligibleMessage],
    rules: AwardRules<'_>,
    announce: Announce,
    known: impl Fn(UserId) -> Option<CachedUser>,
    observed: impl Fn(UserId) -> Option<Observed>,
) -> Batch {
    debug_assert!(messages.is_sorted_by_key(|seen| seen.message));
    let mut users: BTreeMap<UserId, BatchAuthor> = BTreeMap::new();
    let AwardRules {
        levels,
        xp_rules,
        zone,
    } = rules;
    let mut days: BTreeMap<(UserId, NaiveDate), DayChange> = BTreeMap::new();
    let mut batch = Batch {
        last: messages.last().map(|seen| seen.message),
        ..Batch::default()
    };
    let lowest_has_a_role = levels.rows()[0].role_id.is_some();
    for seen in messages {
        let &EligibleMessage {
            message,
            channel,
            user,
            ref profile,
            ..
        } = seen;
        let author = users
            .entry(user)
            .or_insert_with(|| BatchAuthor::new(known(user), observed(user)));
        let rate = xp_rules.rate(message, channel, user);
        let Some(award) = award(&author.standing, message, rate) else {
            continue;
        };
        let before = levels.level_at(author.standing.points);
        let from = author.standing.is_tracked().then_some(before);
        if from.is_none() && lowest_has_a_role {
            batch.role_checks.push(user);
        }
        author.standing = author.standing.with(award);
        author.earned = true;
        batch.earned.push(message);
        if !author.named && author.profile.is_none() {
            author.profile = profile
                .as_ref()
                .map(|observed_profile| (ObservedProfile::clone(observed_profile), None));
        }
        let level = levels.level_at(author.standing.points);
        if level > before {
            batch.level_ups.push(LevelUp {
                message,
                user,
                channel,
                from,
                level,
            });
        }
        let day = days.entry((user, day_of(award.at, zone))).or_default();
        day.add(award, 1);
    }
    if announce == Announce::OnePerUser {
        batch.level_ups = merged(&batch.level_ups);
    }
    for (user, author) in users {
        let BatchAuthor {
            standing, profile, ..
        } = author;
        if !author.earned {
            batch.observed_only.extend(profile.map(|_| user));
            continue;
        }
        batch.users.push(SavedUser {
            user,
            standing,
            profile: profile
                .as_ref()
                .map(|(observed, _)| Profile::from(observed.clone())),
        });
        batch
            .observed
            .extend(profile.map(|(profile, version)| AuthorProfile {
                user,
                profile,
                version,
            }));
    }
    let days = days.into_iter();
    batch.days = days
        .map(|((user, day), change)| change.of(user, day))
        .collect();
    batch
}

/// What awards add to one day of one user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DayChange {
    points: i64,
    messages: i64,
    by_rules: i64,
}

impl DayChange {
    /// Adds an award (`sign` 1), or takes it back (-1).
    pub(super) fn add(&mut self, award: Award, sign: i64) {
        self.points += sign * signed(award.amount);
        self.messages += sign;
        self.by_rules += sign * (signed(award.amount) - signed(award.usual));
    }

    pub(super) fn of(self, user: UserId, day: NaiveDate) -> DayTotal {
        let Self {
            points,
            messages,
            by_rules,
        } = self;
        DayTotal {
            user,
            day,
            points,
            messages,
            by_rules,
        }
    }
}

/// One level-up for each user: the last one, rising from where the first one did.
fn merged(level_ups: &[LevelUp]) -> Vec<LevelUp> {
    let mut by_user: BTreeMap<UserId, LevelUp> = BTreeMap::new();
    for &level_up in level_ups {
        let from = by_user
            .get(&level_up.user)
            .map_or(level_up.from, |first| first.from);
        by_user.insert(level_up.user, LevelUp { from, ..level_up });
    }
    let mut merged: Vec<_> = by_user.into_values().collect();
    merged.sort_unstable_by_key(|level_up| level_up.message);
    merged
}

/// An author, as the batch goes through their messages.
struct BatchAuthor {
    standing: Standing,
    named: bool,
    /// Their observed profile and its version.
    profile: Option<(ObservedProfile, Option<u32>)>,
    earned: bool,
}

impl BatchAuthor {
    fn new(known: Option<CachedUser>, observed: Option<Observed>) -> Self {
        Self {
            standing: known.map(|user| user.standing).unwrap_or_default(),
            named: known.is_some_and(|user| user.named),
            profile: observed.map(|observed| (observed.profile, Some(observed.version))),
            earned: false,
        }
    }
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("points and messages are at most i64::MAX")
}

/// The day in the guild's time zone.
pub(super) fn day_of(at: Timestamp, zone: Tz) -> NaiveDate {
    let utc = DateTime::from_timestamp_millis(at.millis())
        .expect("message times are within chrono's range");
    utc.with_timezone(&zone).date_naive()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::leveling::xp_rules::tests::any_record;
    use crate::leveling::{Account, ChannelId, Field, LevelNumber, Membership, Points};

    const T: i64 = 1_700_000_000_000;

    fn rules_without_any(zone: Tz) -> AwardRules<'static> {
        static LEVELS: LazyLock<Levels> = LazyLock::new(Levels::mee6);
        static NONE: LazyLock<XpRules> = LazyLock::new(XpRules::default);
        AwardRules {
            levels: &LEVELS,
            xp_rules: &NONE,
            zone,
        }
    }

    fn seen(user: u64, after_ms: i64) -> EligibleMessage {
        let first = MessageId::first_at(Timestamp::from_millis(T + after_ms).unwrap()).unwrap();
        EligibleMessage {
            message: MessageId::new(first.get() + user).unwrap(),
            channel: ChannelId::new(1 + user % 3).unwrap(),
            user: UserId::new(user).unwrap(),
            profile: Some(Box::new(ObservedProfile {
                username: format!("user{user}"),
                ..ObservedProfile::default()
            })),
            roles: None,
        }
    }

    fn plan_new(mut messages: Vec<EligibleMessage>) -> Batch {
        messages.sort_by_key(|seen| seen.message);
        let zone = Tz::Canada__Pacific;
        plan(
            &messages,
            rules_without_any(zone),
            Announce::EachLevelUp,
            |_| None,
            |_| None,
        )
    }

    #[test]
    fn messages_count_in_the_order_of_their_ids_however_they_come() {
        let mut messages = vec![seen(1, 0), seen(1, 59_000), seen(1, 60_000), seen(2, 5)];
        let batch = plan_new(messages.clone());
        messages.reverse();
        assert_eq!(plan_new(messages), batch);
        assert_eq!(batch.last, Some(seen(1, 60_000).message));
        let counts: Vec<_> = batch
            .users
            .iter()
            .map(|row| (row.user.get(), row.standing.message_count))
            .collect();
        assert_eq!(counts, [(1, 2), (2, 1)]);
        assert_eq!(
            batch.users[0].profile.as_ref().unwrap().account.username,
            "user1"
        );
    }

    #[test]
    fn a_batch_that_earns_nothing_changes_nobody() {
        let cooling = CachedUser {
            user: UserId::new(1).unwrap(),
            standing: Standing {
                last_awarded_at: Timestamp::from_millis(T),
                ..Standing::default()
            },
            hidden: false,
            named: true,
            seen: None,
        };
        let known = |_| Some(cooling);
        let message = [seen(1, 10)];
        let batch = plan(
            &message,
            rules_without_any(Tz::UTC),
            Announce::EachLevelUp,
            known,
            |_| None,
        );
        assert_eq!(
            batch,
            Batch {
                last: Some(seen(1, 10).message),
                ..Batch::default()
            }
        );
        let observed = |_| Some(observed("al", Some(3)));
        let batch = plan(
            &message,
            rules_without_any(Tz::UTC),
            Announce::EachLevelUp,
            known,
            observed,
        );
        assert_eq!(batch.observed_only, [cooling.user]);
        assert_eq!((batch.users, batch.observed), (Vec::new(), Vec::new()));
    }

    fn observed(nickname: &str, version: Option<u32>) -> Observed {
        Observed {
            profile: ObservedProfile {
                username: "observed".to_owned(),
                nickname: Field::Value(nickname.to_owned()),
                ..ObservedProfile::default()
            },
            version: version.unwrap_or_default(),
        }
    }

    #[test]
    fn a_live_profile_takes_precedence_over_one_from_the_history() {
        let heard = |user: UserId| (user.get() == 1).then(|| observed("al", Some(3)));
        let messages = vec![seen(1, 0), seen(2, 0)];
        let batch = plan(
            &messages,
            rules_without_any(Tz::UTC),
            Announce::EachLevelUp,
            |_| None,
            heard,
        );
        let profiles: Vec<_> = batch
            .observed
            .iter()
            .map(|one| (one.profile.username.as_str(), one.version))
            .collect();
        assert_eq!(profiles, [("observed", Some(3)), ("user2", None)]);
        for (row, one) in batch.users.iter().zip(&batch.observed) {
            assert_eq!(row.user, one.user);
            assert_eq!(row.profile, Some(Profile::from(one.profile.clone())));
        }
    }

    #[test]
    fn names_are_saved_with_the_xp_and_only_work_for_pictures_is_queued() {
        let author = |user: u64, avatar: Option<&str>| AuthorProfile {
            user: UserId::new(user).unwrap(),
            profile: ObservedProfile {
                username: "now".to_owned(),
                avatar_hash: avatar.map(str::to_owned).into(),
                ..ObservedProfile::default()
            },
            version: None,
        };
        let row = |user: u64, copied: Option<&str>, gone: bool| Shown {
            user: UserId::new(user).unwrap(),
            profile: Some(Profile {
                account: Account::default(),
                member: Membership {
                    nickname: Some("nick".to_owned()),
                    avatar_hash: None,
                },
            }),
            copied: copied.map(Into::into),
            copy: copied.and(MessageId::new(9)),
            gone,
        };
        let batch = Batch {
            observed: vec![
                author(1, Some("a")),
                author(2, Some("b")),
                author(3, None),
                author(4, None),
                author(5, Some("a")),
                author(6, Some("a")),
                // Not stored yet.
                author(7, Some("a")),
                author(8, None),
            ],
            ..Batch::default()
        };
        let shown = vec![
            row(1, Some("a"), false),
            row(2, Some("a"), false),
            row(3, Some("a"), false),
            row(4, None, false),
            row(5, Some("a"), false),
            row(6, Some("a"), true),
        ];
        let plan = batch.plan_profiles(shown, &BTreeSet::from([UserId::new(5).unwrap()]));
        let queued: Vec<u64> = plan.queued.iter().map(|(user, _)| user.get()).collect();
        assert_eq!(queued, [5, 6]);
        let pictures: Vec<u64> = plan.pictures.iter().map(|user| user.get()).collect();
        assert_eq!(pictures, [2, 3, 7]);
        let saved: Vec<_> = plan
            .saved
            .iter()
            .map(|(user, profile)| (user.get(), profile.member.nickname.as_deref()))
            .collect();
        let (stays, none) = (Some("nick"), None);
        assert_eq!(
            saved,
            [
                (1, stays),
                (2, stays),
                (3, stays),
                (4, stays),
                (7, none),
                (8, none)
            ]
        );
    }

    #[test]
    fn a_level_is_announced_for_the_message_that_brought_it() {
        let almost = CachedUser {
            user: UserId::new(1).unwrap(),
            standing: Standing {
                points: Points::new(99).unwrap(),
                ..Standing::default()
            },
            hidden: false,
            named: true,
            seen: None,
        };
        let batch = plan(
            &[seen(1, 0), seen(1, 60_000)],
            rules_without_any(Tz::UTC),
            Announce::EachLevelUp,
            |_| Some(almost),
            |_| None,
        );
        let LevelUp {
            message,
            from,
            level,
            ..
        } = batch.level_ups[0];
        assert_eq!((message, level), (seen(1, 0).message, LevelNumber(1)));
        assert_eq!(from, Some(LevelNumber(0)));
        assert_eq!(batch.level_ups.len(), 1);
        assert_eq!(batch.users[0].profile, None, "a name is stored already");
    }

    #[test]
    fn levels_that_nobody_saw_come_as_one_rise_from_the_first() {
        // Seven awards are a level, and fifty are several.
        let messages: Vec<_> = (0..50)
            .flat_map(|minute| [seen(1, minute * 60_000), seen(2, minute * 60_000)])
            .collect();
        let known = |user: UserId| {
            (user.get() == 2).then(|| CachedUser {
                user,
                standing: Standing {
                    points: Points::new(255).unwrap(),
                    ..Standing::default()
                },
                hidden: false,
                named: true,
                seen: None,
            })
        };
        let play = |lines| {
            plan(&messages, rules_without_any(Tz::UTC), lines, known, |_| {
                None
            })
            .level_ups
        };
        let (all, one) = (play(Announce::EachLevelUp), play(Announce::OnePerUser));
        assert!(all.len() > 4 && all.is_sorted_by_key(|level_up| level_up.message));
        assert_eq!(one.len(), 2);
        assert!(one.is_sorted_by_key(|level_up| level_up.message));
        for merged in one {
            let mut own = all.iter().filter(|level_up| level_up.user == merged.user);
            let (first, last) = (own.clone().next().unwrap(), own.next_back().unwrap());
            let from = first.from;
            assert_eq!(merged, LevelUp { from, ..*last });
            let expected = if merged.user.get() == 1 { 0 } else { 2 };
            assert_eq!(from, Some(LevelNumber(expected)));
            assert!(first.level < last.level);
        }
    }

    #[test]
    fn a_batch_ends_before_one_message_or_one_user_too_many() {
        let of = |users: &[u64]| -> Vec<EligibleMessage> {
            let messages = (0..).zip(users);
            messages.map(|(at, &user)| seen(user, at)).collect()
        };
        let messages = of(&[1, 1, 2, 1, 3, 2, 4]);
        for (max_messages, max_users, end) in [
            (9, 9, 7),
            (7, 4, 7),
            (7, 3, 6),
            (7, 2, 4),
            (3, 2, 3),
            (7, 1, 2),
            (1, 1, 1),
            // One message is always taken.
            (0, 0, 1),
        ] {
            assert_eq!(
                batch_end(&messages, max_messages, max_users),
                end,
                "{max_messages} messages, {max_users} users"
            );
        }
        assert_eq!(batch_end(&[], 5, 5), 0);
    }

    #[test]
    fn a_day_ends_when_it_ends_in_the_guild() {
        // 2023-11-14 22:13:20 UTC is 14:13:20 in Vancouver: ten hours to midnight.
        let batch = plan_new(vec![
            seen(1, 0),
            seen(1, 9 * 3_600_000),
            seen(1, 10 * 3_600_000),
        ]);
        let days: Vec<_> = batch
            .days
            .iter()
            .map(|row| (row.day.to_string(), row.messages))
            .collect();
        assert_eq!(
            days,
            [("2023-11-14".to_owned(), 2), ("2023-11-15".to_owned(), 1)]
        );
    }

    #[test]
    fn a_day_begins_at_the_guilds_midnight_on_either_side_of_a_change_of_clocks() {
        // Vancouver's clocks went forward on 2025-03-09 and back on 2025-11-02: days of
        // 23 and of 25 hours. What is past is the same in every edition of the zones.
        for (utc, day) in [
            ("2025-03-09T07:59:59.999Z", "2025-03-08"),
            ("2025-03-09T08:00:00Z", "2025-03-09"),
            ("2025-03-09T09:59:59Z", "2025-03-09"),
            ("2025-03-10T06:59:59.999Z", "2025-03-09"),
            ("2025-03-10T07:00:00Z", "2025-03-10"),
            ("2025-11-02T06:59:59.999Z", "2025-11-01"),
            ("2025-11-02T07:00:00Z", "2025-11-02"),
            // Half past one comes twice.
            ("2025-11-02T08:30:00Z", "2025-11-02"),
            ("2025-11-02T09:30:00Z", "2025-11-02"),
            ("2025-11-03T07:59:59.999Z", "2025-11-02"),
            ("2025-11-03T08:00:00Z", "2025-11-03"),
            ("2024-02-29T07:59:59.999Z", "2024-02-28"),
            ("2024-02-29T08:00:00Z", "2024-02-29"),
            ("2024-03-01T07:59:59.999Z", "2024-02-29"),
            ("2024-03-01T08:00:00Z", "2024-03-01"),
            ("2028-02-29T20:00:00Z", "2028-02-29"),
            ("2028-03-01T20:00:00Z", "2028-03-01"),
        ] {
            let at: DateTime<chrono::Utc> = utc.parse().unwrap();
            let at = Timestamp::from_millis(at.timestamp_millis()).unwrap();
            assert_eq!(day_of(at, Tz::Canada__Pacific).to_string(), day, "{utc}");
        }
    }

    proptest! {
        #[test]
        fn how_the_stream_is_cut_into_batches_does_not_matter(
            sent in proptest::collection::vec((1_u64..5, 0_i64..600_000), 1..80),
            records in proptest::collection::vec(any_record(T), 0..20),
            cut in 1_usize..20,
        ) {
            let mut xp_rules = XpRules::default();
            for record in &records {
                xp_rules.record(record);
            }
            let rules = AwardRules { xp_rules: &xp_rules, ..rules_without_any(Tz::UTC) };
            let mut messages: Vec<_> = sent.iter().map(|&(user, at)| seen(user, at)).collect();
            messages.sort_by_key(|seen| seen.message);
            let play = |size: usize| {
                let mut users: BTreeMap<UserId, CachedUser> = BTreeMap::new();
                let mut points_by_day = BTreeMap::new();
                for part in messages.chunks(size) {
                    let batch = plan(part, rules, Announce::EachLevelUp, |user| users.get(&user).copied(), |_| None);
                    for SavedUser { user, standing, .. } in batch.users {
                        users.insert(user, CachedUser { user, standing, hidden: false, named: true, seen: None });
                    }
                    for total in batch.days {
                        *points_by_day.entry((total.user, total.day)).or_insert(0) += total.points + total.by_rules;
                    }
                }
                (users, points_by_day)
            };
            prop_assert_eq!(play(messages.len()), play(cut));
        }
    }
}
