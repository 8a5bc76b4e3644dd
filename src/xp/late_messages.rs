//! Computes what late messages change: messages that are read after newer ones were counted.
//!
//! Pure. When a channel's history cannot be read, an interval of its messages stays uncounted
//! while the bot goes on counting all other messages. When the interval is read later, two replays
//! are made for each author: one of all messages of that time, and one of only those that were
//! counted then. The author gets the difference.
//!
//! The result is exact because two things are remembered for each author:
//!
//! - The messages that were counted from the start of the interval to its end, and then until the
//!   author paused for one cooldown. The first message after such a pause earns XP no matter what
//!   came before it, so both replays agree from there on.
//! - The time of the author's last award, if it was less than one cooldown before the interval.
//!
//! A message that earns nothing by a rule starts no cooldown, so it is left out everywhere.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::NaiveDate;
use chrono_tz::Tz;

use super::batch::{AuthorProfile, AwardRules, Batch, DayChange, day_of, signed};
use super::inbox::{EligibleMessage, LateHistory};
use crate::leveling::{
    Award, MessageId, Profile, Rate, Standing, Timestamp, UserId, XpRules, award, cooldown,
};
use crate::store::history_interval::{CountedMessage, Forgotten, HistoryInterval, UnreadSource};
use crate::store::outbox::LevelUp;
use crate::store::user_point::{CachedUser, SavedUser};

/// What late messages change for one author.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Recount {
    /// The author's standing, late messages included.
    pub standing: Standing,
    /// Points and messages to add for each day; negative where the cooldown of a late message
    /// takes away the award of a counted one.
    pub days: BTreeMap<NaiveDate, DayChange>,
    /// The messages that were not counted before, in order.
    pub newly_counted: Vec<MessageId>,
    /// The newest of the late messages that earns XP.
    pub last_award: Option<MessageId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimelineEntry {
    /// Only the time of an award is known, not its message.
    Award,
    Counted(Rate),
    Late(Rate),
}

impl TimelineEntry {
    fn is_late(self) -> bool {
        matches!(self, Self::Late(_))
    }
}

/// Adds the `late` messages of one author, each with its rate, from an interval that begins after
/// `after`, to their `standing`. `counted` are the author's remembered messages. Late messages up to `after`
/// belong to the overlap that is read again before each gap. As in a catch-up, such a message
/// counts only if it earns XP with the author's standing as it is now.
fn recount(
    standing: Standing,
    counted: &[CountedMessage],
    late: &BTreeMap<MessageId, Rate>,
    after: MessageId,
    zone: Tz,
) -> Recount {
    let mut result = Recount {
        standing,
        ..Recount::default()
    };
    let known = |row: &&CountedMessage| !row.is_award;
    let known_times: HashSet<Timestamp> = counted
        .iter()
        .filter(known)
        .map(|row| row.message.sent_at())
        .collect();
    let mut timeline: BTreeMap<MessageId, TimelineEntry> = counted
        .iter()
        .filter(|row| row.is_award && !known_times.contains(&row.message.sent_at()))
        .map(|row| (row.message, TimelineEntry::Award))
        .collect();
    let messages = counted.iter().filter(known);
    timeline.extend(messages.map(|row| (row.message, TimelineEntry::Counted(row.rate))));
    for (&message, &rate) in late {
        if matches!(timeline.get(&message), Some(TimelineEntry::Counted(_))) {
            continue;
        }
        if message > after {
            timeline.insert(message, TimelineEntry::Late(rate));
        } else if let Some(award) = award(&result.standing, message, Some(rate)) {
            result.standing = result.standing.with(award);
            result.add_to_day(award, 1, zone);
            result.last_award = Some(message);
            timeline.insert(message, TimelineEntry::Counted(rate));
        } else {
            continue;
        }
        result.newly_counted.push(message);
    }
    for part in between_pauses(timeline) {
        if part.iter().any(|(_, entry)| entry.is_late()) {
            result.apply(&part, zone);
        }
    }
    result
        .days
        .retain(|_, change| *change != DayChange::default());
    result
}

impl Recount {
    fn apply(&mut self, part: &[(MessageId, TimelineEntry)], zone: Tz) {
        let counted = part.iter().filter(|(_, entry)| !entry.is_late());
        let (awards_before, last_before) = replay(counted.copied());
        let (awards_after, last_after) = replay(part.iter().copied());
        let mut points = 0;
        for (sign, awards) in [(-1, &awards_before), (1, &awards_after)] {
            for (_, award) in awards {
                points += sign * signed(award.amount);
                self.add_to_day(*award, sign, zone);
            }
        }
        let new_awards = signed(awards_after.len() as u64) - signed(awards_before.len() as u64);
        let Standing {
            points: old_points,
            message_count,
            last_awarded_at: last,
        } = self.standing;
        self.standing = Standing {
            points: old_points.changed_by(points),
            message_count: message_count.saturating_add_signed(new_awards),
            // If this part contained the author's last award, the cooldown now starts at the
            // replay's last award, even if that is earlier. Otherwise the later award decides.
            last_awarded_at: if last == last_before {
                last_after
            } else {
                last.max(last_after)
            },
        };
        let late: BTreeSet<MessageId> = part
            .iter()
            .filter(|(_, entry)| entry.is_late())
            .map(|(message, _)| *message)
            .collect();
        let awarded = awards_after.iter().map(|(message, _)| *message);
        let newest_late = awarded.filter(|message| late.contains(message)).max();
        self.last_award = self.last_award.max(newest_late);
    }

    fn add_to_day(&mut self, award: Award, sign: i64, zone: Tz) {
        let day = self.days.entry(day_of(award.at, zone)).or_default();
        day.add(award, sign);
    }
}

/// The awards that these messages earn, and the time of the last one.
fn replay(
    timeline: impl Iterator<Item = (MessageId, TimelineEntry)>,
) -> (Vec<(MessageId, Award)>, Option<Timestamp>) {
    let (mut standing, mut awards) = (Standing::default(), Vec::new());
    for (at, (message, entry)) in timeline.enumerate() {
        let (TimelineEntry::Counted(rate) | TimelineEntry::Late(rate)) = entry else {
            if at == 0 {
                standing.last_awarded_at = Some(message.sent_at());
            }
            continue;
        };
        if let Some(award) = award(&standing, message, Some(rate)) {
            standing = standing.with(award);
            awards.push((message, award));
        }
    }
    (awards, standing.last_awarded_at)
}

/// Splits at pauses: the first message after a pause earns XP, no matter what came before it.
fn between_pauses<T: Copy>(
    timeline: impl IntoIterator<Item = (MessageId, T)>,
) -> Vec<Vec<(MessageId, T)>> {
    let mut parts: Vec<Vec<(MessageId, T)>> = Vec::new();
    for (message, what) in timeline {
        match parts.last_mut() {
            Some(part)
                if part
                    .last()
                    .is_some_and(|(last, _)| !is_pause(*last, message)) =>
            {
                part.push((message, what));
            }
            _ => parts.push(vec![(message, what)]),
        }
    }
    parts
}

fn is_pause(earlier: MessageId, later: MessageId) -> bool {
    cooldown::is_over(earlier.sent_at(), later.sent_at())
}

/// Plans the changes that late messages cause; `None` if their interval is not one of `intervals`,
/// those that are still missing.
///
/// If `late` is only a part of the interval, `counted` must hold the remembered messages of its
/// authors. If `late` completes the interval, `counted` must hold all remembered messages, and the
/// result also contains a recorder for the other intervals.
pub(super) fn plan_interval(
    late: &LateHistory,
    intervals: Vec<HistoryInterval>,
    mut counted: Vec<CountedMessage>,
    rules: AwardRules<'_>,
    known: impl Fn(UserId) -> Option<CachedUser>,
) -> Option<(Batch, Option<Recorder>)> {
    let (mut this, others): (Vec<_>, Vec<_>) = intervals
        .into_iter()
        .partition(|one| one.id == late.interval);
    let HistoryInterval {
        id, after, until, ..
    } = this.pop()?;
    let mut batch = plan_late(&late.messages, &counted, after, rules, known);
    let history = &mut batch.history;
    let unread = late.unread.iter().cloned();
    history.missing = unread.map(|source| (source, after, until)).collect();
    history.filled = Some((id, late.up_to));
    if late.up_to < until {
        return Some((batch, None));
    }
    let mut open: Vec<_> = others.iter().map(|one| (one.after, one.until)).collect();
    if !late.unread.is_empty() {
        open.push((after, until));
    }
    if open.is_empty() {
        history.counted = Vec::new();
        history.forgotten = Forgotten::Everything;
        return Some((batch, Some(Recorder::default())));
    }
    counted.extend(&history.counted);
    let forgotten = forgettable(&counted, &open);
    let gone: BTreeSet<_> = forgotten.iter().copied().collect();
    history.counted.retain(|row| !gone.contains(row));
    history.forgotten = Forgotten::These(forgotten);
    counted.retain(|row| !gone.contains(row));
    counted.sort_unstable();
    let until = open.iter().map(|(_, until)| *until).max();
    Some((batch, Some(Recorder::resumed(until, &counted))))
}

/// Plans the changes that late `messages` of an interval cause. The interval begins after `after`.
/// `counted` are the remembered messages of their authors.
fn plan_late(
    messages: &[EligibleMessage],
    counted: &[CountedMessage],
    after: MessageId,
    rules: AwardRules<'_>,
    known: impl Fn(UserId) -> Option<CachedUser>,
) -> Batch {
    let AwardRules {
        levels,
        xp_rules,
        zone,
    } = rules;
    let mut by_author: BTreeMap<UserId, BTreeMap<MessageId, &EligibleMessage>> = BTreeMap::new();
    for eligible in messages {
        let of_author = by_author.entry(eligible.user).or_default();
        of_author.insert(eligible.message, eligible);
    }
    let mut remembered: BTreeMap<UserId, Vec<CountedMessage>> = BTreeMap::new();
    for row in counted {
        remembered.entry(row.user).or_default().push(*row);
    }
    let lowest_has_a_role = levels.rows()[0].role_id.is_some();
    let mut batch = Batch::default();
    for (user, late) in by_author {
        let author = known(user);
        let before = author.map(|author| author.standing).unwrap_or_default();
        let counted = remembered.get(&user).map_or(&[][..], Vec::as_slice);
        let rated: BTreeMap<MessageId, Rate> = late
            .values()
            .filter_map(|seen| {
                Some((
                    seen.message,
                    xp_rules.rate(seen.message, seen.channel, user)?,
                ))
            })
            .collect();
        let recount = recount(before, counted, &rated, after, zone);
        let newly = recount.newly_counted.iter();
        batch
            .history
            .counted
            .extend(newly.map(|message| CountedMessage {
                user,
                message: *message,
                is_award: false,
                rate: rated[message],
            }));
        let days = recount.days.iter();
        batch
            .days
            .extend(days.map(|(&day, change)| change.of(user, day)));
        let standing = recount.standing;
        if standing == before && recount.days.is_empty() {
            continue;
        }
        let (from, level) = (
            levels.level_at(before.points),
            levels.level_at(standing.points),
        );
        let is_first = !before.is_tracked();
        if (is_first && lowest_has_a_role) || level < from {
            batch.role_checks.push(user);
        }
        if level > from
            && let Some(eligible) = recount.last_award.and_then(|message| late.get(&message))
        {
            batch.level_ups.push(LevelUp {
                message: eligible.message,
                user,
                channel: eligible.channel,
                from: (!is_first).then_some(from),
                level,
            });
        }
        let is_named = author.is_some_and(|author| author.named);
        let mut profiles = late
            .values()
            .filter_map(|eligible| eligible.profile.as_deref());
        let observed = profiles.next().filter(|_| !is_named);
        batch.users.push(SavedUser {
            user,
            standing,
            profile: observed.map(|observed| Profile::from(observed.clone())),
        });
        batch
            .observed
            .extend(observed.cloned().map(|profile| AuthorProfile {
                user,
                profile,
                version: None,
            }));
    }
    batch.level_ups.sort_unstable_by_key(|line| line.message);
    batch
}

/// The remembered messages that no late message of the open intervals (`after`, `until`) can
/// affect any more.
fn forgettable(counted: &[CountedMessage], open: &[(MessageId, MessageId)]) -> Vec<CountedMessage> {
    let is_near = |message: MessageId| {
        open.iter()
            .any(|&(after, until)| !is_pause(message, after) && !is_pause(until, message))
    };
    let mut by_user: BTreeMap<UserId, BTreeSet<CountedMessage>> = BTreeMap::new();
    for row in counted {
        by_user.entry(row.user).or_default().insert(*row);
    }
    let parts = by_user
        .into_values()
        .flat_map(|rows| between_pauses(rows.into_iter().map(|row| (row.message, row))));
    parts
        .filter(|part| !part.iter().any(|(message, _)| is_near(*message)))
        .flatten()
        .map(|(_, row)| row)
        .collect()
}

/// Decides which counted messages are remembered. Costs nothing while no history is missing.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder {
    /// The end of the newest interval.
    until: Option<MessageId>,
    /// Users who have not paused since then, each with their newest message.
    running: HashMap<UserId, MessageId>,
}

impl Recorder {
    /// A recorder that continues after a restart. The newest missing interval ends at `until`;
    /// `counted` are the remembered messages, sorted.
    pub fn resumed(until: Option<MessageId>, counted: &[CountedMessage]) -> Self {
        let newer = |row: &&CountedMessage| !row.is_award && Some(row.message) > until;
        // Sorted, so a user's newest message overwrites the older ones in the map.
        let running = counted.iter().filter(newer);
        Self {
            until,
            running: running.map(|row| (row.user, row.message)).collect(),
        }
    }

    /// Adds the `missing` intervals (source, `after`, `until`) to a batch, and starts to remember
    /// counted messages. The intervals begin before the batch. Also remembers the awards less than
    /// a cooldown before the intervals: `awarded_after` takes a time in milliseconds and returns
    /// each user's last award before the batch, if it is later than that time.
    pub fn note_missing(
        &mut self,
        batch: &mut Batch,
        missing: Vec<(UnreadSource, MessageId, MessageId)>,
        awarded_after: impl FnOnce(i64) -> Vec<(UserId, Timestamp)>,
    ) {
        let Some(after) = missing.iter().map(|(_, after, _)| *after).min() else {
            return;
        };
        let until = missing.iter().map(|(.., until)| *until).max();
        batch.history.missing.extend(missing);
        // If an earlier interval ends exactly where these begin, the messages before that
        // point have been remembered, and messages are more precise than awards.
        if self.until != Some(after) {
            let award = |(user, at)| {
                Some(CountedMessage {
                    user,
                    message: MessageId::first_at(at)?,
                    is_award: true,
                    rate: Rate::USUAL,
                })
            };
            let awards = awarded_after(after.sent_at().millis() - cooldown::COOLDOWN_MS);
            let awards = awards.into_iter().filter_map(award);
            batch.history.counted.extend(awards);
        }
        self.until = self.until.max(until);
        self.running.clear();
    }

    /// Remembers the messages of the batch that late messages may affect: all up to the end of the
    /// newest interval, and after it those of users who have not paused since. Earlier batches have
    /// applied the messages up to `applied`.
    pub fn remember(
        &mut self,
        batch: &mut Batch,
        messages: &[EligibleMessage],
        xp_rules: &XpRules,
        applied: Option<MessageId>,
    ) {
        if self.until.is_none() {
            return;
        }
        for &EligibleMessage {
            user,
            message,
            channel,
            ..
        } in messages
        {
            let Some(rate) = xp_rules.rate(message, channel, user) else {
                continue;
            };
            let is_new = Some(message) > applied;
            // A message up to `applied` was counted before and is only read again. It matters if it
            // earns XP in this batch.
            let counts = is_new || batch.earned.binary_search(&message).is_ok();
            if counts && self.must_remember(user, message) {
                batch.history.counted.push(CountedMessage {
                    user,
                    message,
                    is_award: false,
                    rate,
                });
            }
        }
        if let Some(newest) = batch.last {
            self.forget_paused(newest);
        }
    }

    /// Whether a message must be remembered. Called for each counted message, in order.
    fn must_remember(&mut self, user: UserId, message: MessageId) -> bool {
        let Some(until) = self.until else {
            return false;
        };
        let last = self
            .running
            .get(&user)
            .map_or(until, |last| until.max(*last));
        if is_pause(last, message) {
            self.running.remove(&user);
            return false;
        }
        if message > until {
            self.running.insert(user, last.max(message));
        }
        true
    }

    /// Forgets users who have paused by the time of `newest`. Waits for twice the cooldown, since
    /// messages may arrive out of order.
    fn forget_paused(&mut self, newest: MessageId) {
        let paused = |last: MessageId| {
            newest.sent_at().millis() - last.sent_at().millis() >= 2 * cooldown::COOLDOWN_MS
        };
        self.running.retain(|_, last| !paused(*last));
        if self.running.is_empty() && self.until.is_some_and(paused) {
            self.until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::LazyLock;

    use chrono_tz::Tz;
    use proptest::prelude::*;

    use super::super::batch::{Announce, plan, recompute};
    use super::super::observations::ChannelList;
    use super::*;
    use crate::leveling::xp_rules::tests::any_record;
    use crate::leveling::{ChannelId, HistorySource, Levels};
    use crate::store::xp_day::DayTotal;

    const T: i64 = 1_700_000_000_000;
    const ZONE: Tz = Tz::UTC;

    fn at(millis: i64) -> MessageId {
        MessageId::first_at(Timestamp::from_millis(T + millis).unwrap()).unwrap()
    }

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn channel(id: u64) -> ChannelId {
        ChannelId::new(id).unwrap()
    }

    fn eligible(user_id: u64, channel_id: u64, millis: i64) -> EligibleMessage {
        EligibleMessage {
            // Messages of the same millisecond get different ids.
            message: MessageId::new(at(millis).get() + user_id * 16 + channel_id).unwrap(),
            channel: channel(channel_id),
            user: user(user_id),
            profile: None,
            roles: None,
        }
    }

    /// The engine and the database, as far as late messages are concerned.
    #[derive(Default)]
    struct Model {
        users: BTreeMap<UserId, Standing>,
        days: BTreeMap<(UserId, NaiveDate), (i64, i64, i64)>,
        rules: XpRules,
        intervals: Vec<HistoryInterval>,
        counted: BTreeSet<CountedMessage>,
        recorder: Recorder,
        applied: Option<MessageId>,
        last_id: i64,
    }

    impl Model {
        fn award_rules(&self) -> AwardRules<'_> {
            static LEVELS: LazyLock<Levels> = LazyLock::new(Levels::mee6);
            AwardRules {
                levels: &LEVELS,
                xp_rules: &self.rules,
                zone: ZONE,
            }
        }

        fn save(&mut self, batch: Batch) {
            for row in batch.users {
                self.users.insert(row.user, row.standing);
            }
            for row in batch.days {
                let day = self.days.entry((row.user, row.day)).or_default();
                day.0 += row.points;
                day.1 += row.messages;
                day.2 += row.by_rules;
            }
            self.days.retain(|_, total| *total != (0, 0, 0));
            for (source, after, until) in batch.history.missing {
                let ends_there =
                    |one: &&mut HistoryInterval| one.source == source && one.until == after;
                if let Some(longer) = self.intervals.iter_mut().find(ends_there) {
                    longer.until = until;
                } else {
                    self.last_id += 1;
                    self.intervals.push(HistoryInterval {
                        id: self.last_id,
                        source,
                        after,
                        until,
                        attempts: 0,
                        next_attempt_at: chrono::DateTime::UNIX_EPOCH,
                    });
                }
            }
            if let Some((id, up_to)) = batch.history.filled {
                self.intervals
                    .retain(|one| one.id != id || one.until > up_to);
                for one in self.intervals.iter_mut().filter(|one| one.id == id) {
                    one.after = one.after.max(up_to);
                }
            }
            match &batch.history.forgotten {
                Forgotten::Nothing => {}
                Forgotten::These(rows) => {
                    for row in rows {
                        self.counted.remove(row);
                    }
                }
                Forgotten::Everything => self.counted.clear(),
            }
            self.counted.extend(batch.history.counted);
        }

        /// Counts the messages after the last applied one and up to `until`, except those in the
        /// `missing` channels.
        fn count(&mut self, all: &[EligibleMessage], until: MessageId, missing: &[u64]) {
            let is_here = |eligible: &&EligibleMessage| {
                Some(eligible.message) > self.applied
                    && eligible.message <= until
                    && !missing.contains(&eligible.channel.get())
            };
            let messages: Vec<EligibleMessage> = all.iter().filter(is_here).cloned().collect();
            let known = |id: UserId| {
                self.users.get(&id).map(|standing| CachedUser {
                    user: id,
                    standing: *standing,
                    hidden: false,
                    named: true,
                    seen: None,
                })
            };
            let mut batch = plan(
                &messages,
                self.award_rules(),
                Announce::EachLevelUp,
                known,
                |_| None,
            );
            if let Some(after) = self.applied
                && !missing.is_empty()
            {
                let interval = |id: &u64| {
                    let source = source(*id);
                    let is_thread_list = source.source.is_thread_list();
                    let end =
                        until.sent_at().millis() - T + if is_thread_list { 50_000 } else { 0 };
                    (source, after, at(end))
                };
                let missing = missing.iter().map(interval).collect();
                let users = &self.users;
                let awarded = |at| {
                    let last = |(id, standing): (&UserId, &Standing)| {
                        Some((*id, standing.last_awarded_at?))
                    };
                    let awarded = users.iter().filter_map(last);
                    awarded.filter(|(_, last)| last.millis() > at).collect()
                };
                self.recorder.note_missing(&mut batch, missing, awarded);
            }
            self.recorder
                .remember(&mut batch, &messages, &self.rules, self.applied);
            self.save(batch);
            self.applied = Some(until);
        }

        /// Reads the first part of an interval, with some minutes before it, and counts it.
        fn fill(&mut self, all: &[EligibleMessage], which: usize, up_to: Option<MessageId>) {
            let interval = self.intervals[which % self.intervals.len()].clone();
            let channel = interval.source.source.channel().expect("of a channel");
            let part = up_to.map_or(interval.until, |up_to| up_to.min(interval.until));
            let margin = interval.after.sent_at().millis() - 300_000;
            let is_read = |eligible: &&EligibleMessage| {
                eligible.channel == channel
                    && eligible.message.sent_at().millis() >= margin
                    && eligible.message <= part
                    && Some(eligible.message) <= self.applied
            };
            let late = LateHistory {
                interval: interval.id,
                messages: all.iter().filter(is_read).cloned().collect(),
                up_to: part,
                unread: Vec::new(),
                channels: ChannelList::default(),
            };
            let known = |id: UserId| {
                self.users.get(&id).map(|standing| CachedUser {
                    user: id,
                    standing: *standing,
                    hidden: false,
                    named: true,
                    seen: None,
                })
            };
            let counted = self.counted.iter().copied().collect();
            let intervals = self.intervals.clone();
            let batch = plan_interval(&late, intervals, counted, self.award_rules(), known);
            let (batch, recorder) = batch.expect("it is missing");
            self.save(batch);
            self.recorder = recorder.unwrap_or(self.recorder.clone());
        }

        /// Rebuilds the recorder, as a new engine does after a restart.
        fn restart(&mut self) {
            let until = self.intervals.iter().map(|one| one.until).max();
            let counted: Vec<_> = self.counted.iter().copied().collect();
            self.recorder = Recorder::resumed(until, &counted);
        }

        fn check_against_recompute(&self, all: &[EligibleMessage]) -> Result<(), TestCaseError> {
            let (users, days) = recompute(all.to_vec(), self.award_rules());
            let users: BTreeMap<_, _> = users
                .into_iter()
                .map(|row| (row.user, row.standing))
                .collect();
            let day = |row: DayTotal| {
                (
                    (row.user, row.day),
                    (row.points, row.messages, row.by_rules),
                )
            };
            let days: BTreeMap<_, _> = days.into_iter().map(day).collect();
            prop_assert_eq!(&self.users, &users);
            prop_assert_eq!(&self.days, &days);
            Ok(())
        }
    }

    fn source(channel_id: u64) -> UnreadSource {
        let of = match channel_id {
            // A list of threads: its interval ends later than the messages that were read.
            3 => HistorySource::ArchivedThreads,
            _ => HistorySource::Messages,
        };
        UnreadSource {
            source: of(channel(channel_id)),
            name: String::new(),
        }
    }

    #[test]
    fn a_late_message_shifts_the_cooldown_of_counted_messages() {
        // The messages of channel 1 between 0 and 200 s are missing.
        for (live, late, name) in [
            (vec![], vec![100_000], "alone"),
            (
                vec![100_000],
                vec![130_000],
                "within the cooldown of a counted one",
            ),
            (
                vec![100_000],
                vec![60_000],
                "takes the award of a counted one",
            ),
            (
                vec![100_000, 150_000, 205_000, 250_000, 290_000],
                vec![90_000],
                "shifts all later awards, even after the interval",
            ),
            (
                vec![-30_000],
                vec![20_000],
                "within the cooldown of an earlier award",
            ),
            (
                vec![-30_000, 30_000],
                vec![20_000],
                "within a cooldown, and a counted one keeps its award",
            ),
            (
                vec![199_000, 400_000],
                vec![150_000, 199_500],
                "followed by a pause",
            ),
        ] {
            let mut all: Vec<_> = live.iter().map(|at| eligible(1, 2, *at)).collect();
            all.extend(late.iter().map(|at| eligible(1, 1, *at)));
            all.sort_by_key(|eligible| eligible.message);
            let mut model = Model::default();
            for (until, missing) in [
                (0, &[][..]),
                (200_000, &[1]),
                (210_000, &[]),
                (500_000, &[]),
            ] {
                model.count(&all, at(until), missing);
            }
            model.fill(&all, 0, None);
            model.check_against_recompute(&all).expect(name);
            assert!(
                model.intervals.is_empty() && model.counted.is_empty(),
                "{name}"
            );
        }
    }

    /// One step of a random run.
    #[derive(Clone, Debug)]
    enum RunStep {
        /// Advances the time by this many milliseconds and counts the messages of that time, except
        /// those in these channels.
        Count(i64, Vec<u64>),
        /// Reads one interval: all of it, or only its first this many milliseconds.
        Fill(usize, Option<i64>),
        Restart,
    }

    fn step() -> impl Strategy<Value = RunStep> {
        let time = 1_000_i64..200_000;
        prop_oneof![
            4 => (time.clone(), proptest::sample::subsequence(vec![1_u64, 2, 3], 0..3))
                .prop_map(|(time, missing)| RunStep::Count(time, missing)),
            2 => (any::<usize>(), proptest::option::of(time)).prop_map(|(which, part)| RunStep::Fill(which, part)),
            1 => Just(RunStep::Restart),
        ]
    }

    fn run(pace: Range<i64>) -> impl Strategy<Value = (Vec<EligibleMessage>, Vec<RunStep>)> {
        let written = proptest::collection::vec((1_u64..4, 1_u64..4, pace), 1..120);
        let all = written.prop_map(|written| {
            let mut now = 0;
            let message = |(user, channel, pause)| {
                now += pause;
                eligible(user, channel, now)
            };
            written.into_iter().map(message).collect::<Vec<_>>()
        });
        (all, proptest::collection::vec(step(), 1..24))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn late_messages_give_the_same_result_as_counting_everything_in_order(
            (all, steps) in prop_oneof![run(1..20_000), run(1..90_000), run(1..2_000)],
            records in prop_oneof![Just(Vec::new()), proptest::collection::vec(any_record(T), 0..20)],
        ) {
            let mut model = Model::default();
            for record in &records {
                model.rules.record(record);
            }
            let mut now = 0;
            model.count(&all, at(now), &[]);
            for step in steps {
                match step {
                    RunStep::Count(time, missing) => {
                        now += time;
                        model.count(&all, at(now), &missing);
                    }
                    RunStep::Fill(..) if model.intervals.is_empty() => {}
                    RunStep::Fill(which, None) => model.fill(&all, which, None),
                    RunStep::Fill(which, Some(part)) => {
                        let which = which % model.intervals.len();
                        let from = model.intervals[which].after.sent_at().millis();
                        model.fill(&all, which, Some(at(from - T + part)));
                    }
                    RunStep::Restart => model.restart(),
                }
            }
            model.count(&all, at(now + 20_000_000), &[]);
            while !model.intervals.is_empty() {
                model.fill(&all, 0, None);
            }
            model.check_against_recompute(&all)?;
            prop_assert!(model.counted.is_empty());
        }
    }
}
