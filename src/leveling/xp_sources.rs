//! Where a user's XP comes from: messages, multipliers, changes by moderators, and what no record
//! of the bot explains. Pure.

use super::Points;

/// What is recorded of one user's XP. All of it must be read at the same moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordedXp {
    /// XP in all.
    pub points: Points,
    /// Messages that earned XP, those of an import included.
    pub message_count: u64,
    /// The points of all days together.
    pub earned: i64,
    /// The part of `earned` that multipliers brought; negative below 100 %.
    pub by_rules: i64,
    /// The messages of all days together.
    pub counted: i64,
    /// The sum of all changes by moderators.
    pub changed: i64,
    /// How many times moderators changed the points.
    pub changes: u64,
}

/// The parts of a user's XP. Together they are the user's points and messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XpSources {
    /// What the counted messages bring at the usual rate.
    pub messages: Part,
    /// The difference that multipliers made.
    pub multipliers: i128,
    /// What moderators gave and took, and how many times.
    pub changes: Part,
    /// The rest: what was there before the bot counted, and what was lost or kept where points
    /// stopped at zero or at the maximum.
    pub other: Part,
}

/// XP, and how many messages or changes brought it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Negative if XP was taken away.
    pub xp: i128,
    /// Messages or changes.
    pub count: i128,
}

impl XpSources {
    /// Splits a user's XP. `None` if the user never had any.
    pub fn of(recorded: &RecordedXp) -> Option<Self> {
        if *recorded == RecordedXp::default() {
            return None;
        }
        let RecordedXp {
            points,
            message_count,
            earned,
            by_rules,
            counted,
            changed,
            changes,
        } = *recorded;
        let [earned, by_rules, counted, changed] =
            [earned, by_rules, counted, changed].map(i128::from);
        Some(Self {
            messages: Part {
                xp: earned - by_rules,
                count: counted,
            },
            multipliers: by_rules,
            changes: Part {
                xp: changed,
                count: changes.into(),
            },
            other: Part {
                xp: i128::from(points.get()) - earned - changed,
                count: i128::from(message_count) - counted,
            },
        })
    }

    /// The sum of all parts: the user's points.
    pub fn total(&self) -> i128 {
        self.messages.xp + self.multipliers + self.changes.xp + self.other.xp
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::leveling::{MessageId, Percent, Rate, Standing, Timestamp, award};

    /// Something that changes a user's XP.
    #[derive(Clone, Debug)]
    enum Event {
        Message {
            pause_ms: i64,
            percent: u16,
        },
        /// A late message takes away one of the awards that counted.
        Uncounted(prop::sample::Index),
        Given(i64),
        Set(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        let most = i64::MAX.unsigned_abs();
        prop_oneof![
            6 => (60_000..1_000_000_i64, Percent::MIN..=Percent::MAX)
                .prop_map(|(pause_ms, percent)| Event::Message { pause_ms, percent }),
            2 => any::<prop::sample::Index>().prop_map(Event::Uncounted),
            1 => prop_oneof![-1_000..1_000_i64, any::<i64>()].prop_map(Event::Given),
            1 => prop_oneof![0..1_000_u64, 0..=most, most - 50..=most].prop_map(Event::Set),
        ]
    }

    fn standing() -> impl Strategy<Value = Standing> {
        let most = i64::MAX.unsigned_abs();
        let points = prop_oneof![Just(0), 1..100_000_u64, most - 500..=most];
        (points, 0..5_000_u64).prop_map(|(points, message_count)| Standing {
            points: Points::new(points).unwrap(),
            message_count,
            last_awarded_at: None,
        })
    }

    /// What is recorded after these events, if the user was imported with `standing`; and how much
    /// of it multipliers brought.
    fn record(mut standing: Standing, events: &[Event]) -> (RecordedXp, i64) {
        let mut now = 1_700_000_000_000;
        let (mut recorded, mut awards) = (RecordedXp::default(), Vec::new());
        let signed = |number: u64| i64::try_from(number).unwrap();
        for event in events {
            let before = standing.points;
            match event {
                Event::Message { pause_ms, percent } => {
                    now += pause_ms;
                    let message = MessageId::first_at(Timestamp::from_millis(now).unwrap());
                    let percent = Percent::new(*percent).unwrap();
                    let rate = Rate::product(percent, Percent::USUAL, Percent::USUAL);
                    let award = award(&standing, message.unwrap(), Some(rate)).unwrap();
                    standing = standing.with(award);
                    recorded.earned += signed(award.amount);
                    recorded.by_rules += signed(award.amount) - signed(award.usual);
                    recorded.counted += 1;
                    awards.push(award);
                }
                Event::Uncounted(_) if awards.is_empty() => {}
                Event::Uncounted(index) => {
                    let award = awards.swap_remove(index.index(awards.len()));
                    standing.points = standing.points.changed_by(-signed(award.amount));
                    standing.message_count = standing.message_count.saturating_sub(1);
                    recorded.earned -= signed(award.amount);
                    recorded.by_rules -= signed(award.amount) - signed(award.usual);
                    recorded.counted -= 1;
                }
                Event::Given(amount) => standing.points = before.changed_by(*amount),
                Event::Set(amount) => standing.points = Points::new(*amount).unwrap(),
            }
            if matches!(event, Event::Given(_) | Event::Set(_)) {
                let change = signed(standing.points.get()) - signed(before.get());
                // Postgres would refuse the sum.
                let Some(changed) = recorded.changed.checked_add(change) else {
                    standing.points = before;
                    continue;
                };
                recorded.changed = changed;
                recorded.changes += 1;
            }
        }
        recorded.points = standing.points;
        recorded.message_count = standing.message_count;
        let by_rules = awards
            .iter()
            .map(|award| signed(award.amount) - signed(award.usual));
        (recorded, by_rules.sum())
    }

    proptest! {
        #[test]
        fn the_parts_add_up_whatever_has_happened(
            imported in standing(),
            events in prop::collection::vec(event(), 0..40),
        ) {
            let (recorded, by_rules) = record(imported, &events);
            let Some(sources) = XpSources::of(&recorded) else {
                prop_assert_eq!(recorded.points, Points::default());
                return Ok(());
            };
            prop_assert_eq!(sources.total(), i128::from(recorded.points.get()));
            let messages = sources.messages.count + sources.other.count;
            prop_assert_eq!(messages, i128::from(recorded.message_count));
            prop_assert_eq!(sources.multipliers, i128::from(by_rules));
            let count = sources.messages.count;
            prop_assert!((15 * count..=25 * count).contains(&sources.messages.xp));
            let is_far_from_the_limits = |event: &Event| match event {
                Event::Message { .. } => true,
                Event::Given(amount) => *amount >= 0 && *amount <= 1_000,
                Event::Set(_) | Event::Uncounted(_) => false,
            };
            let limit = i64::MAX.unsigned_abs() - 1_000_000;
            if imported.points.get() < limit && events.iter().all(is_far_from_the_limits) {
                prop_assert_eq!(sources.other.xp, i128::from(imported.points.get()));
                prop_assert_eq!(sources.other.count, i128::from(imported.message_count));
            }
        }

        #[test]
        fn the_parts_add_up_also_in_a_database_that_was_edited(
            points in 0..=i64::MAX.unsigned_abs(),
            message_count in 0..=i64::MAX.unsigned_abs(),
            [earned, by_rules, counted, changed] in any::<[i64; 4]>(),
            changes in any::<u64>(),
        ) {
            let points = Points::new(points).unwrap();
            let sources = XpSources::of(&RecordedXp {
                points, message_count, earned, by_rules, counted, changed, changes,
            });
            let total = sources.map_or(0, |sources| sources.total());
            prop_assert_eq!(total, i128::from(points.get()));
        }
    }

    #[test]
    fn who_never_had_any_xp_has_no_parts() {
        assert_eq!(XpSources::of(&RecordedXp::default()), None);
        let taken_again = RecordedXp {
            changes: 2,
            ..RecordedXp::default()
        };
        let sources = XpSources::of(&taken_again).unwrap();
        assert_eq!((sources.total(), sources.changes.count), (0, 2));
    }
}
