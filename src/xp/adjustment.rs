//! What a moderator's or a member's change comes to: decided here, saved by the engine.
//!
//! Pure: how the user stands before is given, what is to be saved is returned. A change
//! never touches what messages alone decide: how many earned, and when the latest did.

use crate::leveling::{ChannelId, LevelNumber, Levels, Points, RequestId, Standing, UserId};
use crate::store::outbox::LevelUp;
use crate::store::user_point::{CachedUser, SavedUser};
use crate::store::xp_change::XpChange;

/// What is to happen to a user's XP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjustment {
    /// So many points more, or fewer: never below none, never above what can be stored.
    Give {
        /// Negative to take them.
        amount: i64,
    },
    /// Exactly so many points.
    Set {
        /// What the user has then.
        amount: Points,
    },
    /// The user's choice of privacy.
    Hide {
        /// `false` to be seen again.
        hidden: bool,
    },
}

/// A change, and who wants it why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdjustmentRequest {
    /// What asked for it. XP is changed once for each; privacy needs no such guard, since
    /// whoever hides the hidden changes nothing.
    pub request: RequestId,
    /// Whose XP it is.
    pub user: UserId,
    /// Who wants it: a moderator, or the user for themselves.
    pub asker: UserId,
    /// What is to happen.
    pub adjustment: Adjustment,
    /// Why, in the asker's words. Kept with changed points only.
    pub reason: Option<String>,
    /// Where a level that this brings is announced; `None` for nowhere.
    pub announce_in: Option<ChannelId>,
}

/// How a user stands before or after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XpState {
    /// XP in all.
    pub points: Points,
    /// What it comes to.
    pub level: LevelNumber,
    /// Whether they chose privacy.
    pub hidden: bool,
}

/// What a change that was carried out has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjusted {
    /// How the user stood.
    pub before: XpState,
    /// How the user stands.
    pub after: XpState,
}

impl Adjusted {
    /// Whether the user stands differently now: `false` when the hidden hide.
    pub fn is_different(&self) -> bool {
        self.before != self.after
    }
}

/// Why a change was not carried out, or may not have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdjustmentError {
    /// It is not saved, and never will be.
    #[error("the change could not be saved and was dropped")]
    NotSaved,
    /// It was on its way into the database, which has not answered.
    #[error("the database did not say whether the change is saved")]
    Unknown,
    /// What was missed is still being counted, and comes before what moderators change.
    #[error("points cannot be changed before what was missed has been counted")]
    CatchingUp,
    /// Its request has changed points before.
    #[error("the change was carried out before")]
    Repeated,
}

/// What one transaction saves of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AdjustmentPlan {
    /// The user's row, if the points differ.
    pub user: Option<SavedUser>,
    /// The user and their choice, if it differs.
    pub hidden: Option<(UserId, bool)>,
    /// The record of who changed points; also when they come to the same, since it was
    /// asked for, and must not come to something else when it is asked again.
    pub record: Option<XpChange>,
    /// The line to post.
    pub level_up: Option<LevelUp>,
    /// What the asker is told.
    pub adjusted: Adjusted,
}

impl AdjustmentPlan {
    /// Whether there is nothing to save.
    pub(super) fn is_empty(&self) -> bool {
        self.user.is_none() && self.hidden.is_none() && self.record.is_none()
    }
}

/// What is to be saved for a user who is known like this, or not at all.
pub(super) fn plan_adjustment(
    known: Option<CachedUser>,
    asked: &AdjustmentRequest,
    levels: &Levels,
) -> AdjustmentPlan {
    let standing = known.map(|user| user.standing).unwrap_or_default();
    let hidden = known.is_some_and(|user| user.hidden);
    let (points, hides) = match asked.adjustment {
        Adjustment::Give { amount } => (standing.points.changed_by(amount), hidden),
        Adjustment::Set { amount } => (amount, hidden),
        Adjustment::Hide { hidden } => (standing.points, hidden),
    };
    let account = |points, hidden| XpState {
        points,
        level: levels.level_at(points),
        hidden,
    };
    let adjusted = Adjusted {
        before: account(standing.points, hidden),
        after: account(points, hides),
    };
    let about_points = !matches!(asked.adjustment, Adjustment::Hide { .. });
    let rises = adjusted.after.level > adjusted.before.level;
    AdjustmentPlan {
        user: (points != standing.points).then_some(SavedUser {
            user: asked.user,
            standing: Standing { points, ..standing },
            profile: None,
        }),
        hidden: (hides != hidden).then_some((asked.user, hides)),
        record: about_points.then(|| XpChange {
            request: asked.request,
            user: asked.user,
            moderator: asked.asker,
            reason: asked.reason.as_deref().and_then(storable),
            before: standing.points,
            after: points,
        }),
        level_up: asked.announce_in.filter(|_| rises).map(|channel| LevelUp {
            message: asked.request.as_message(),
            user: asked.user,
            channel,
            from: standing.is_tracked().then_some(adjusted.before.level),
            level: adjusted.after.level,
        }),
        adjusted,
    }
}

/// A reason as Postgres can hold it: any text but the character 0. `None` if nothing is left.
fn storable(reason: &str) -> Option<String> {
    let reason = reason.replace('\0', "");
    let reason = reason.trim();
    (!reason.is_empty()).then(|| reason.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::leveling::Timestamp;

    const MOST: u64 = i64::MAX as u64;

    fn asked(change: Adjustment) -> AdjustmentRequest {
        AdjustmentRequest {
            request: RequestId::new(900).unwrap(),
            user: UserId::new(5).unwrap(),
            asker: UserId::new(6).unwrap(),
            adjustment: change,
            reason: Some("won the raffle".to_owned()),
            announce_in: ChannelId::new(7),
        }
    }

    fn known(points: u64, hidden: bool) -> CachedUser {
        CachedUser {
            user: UserId::new(5).unwrap(),
            standing: Standing {
                points: Points::new(points).unwrap(),
                message_count: 3,
                last_awarded_at: Timestamp::from_millis(1_700_000_000_000),
            },
            hidden,
            named: true,
            seen: None,
        }
    }

    fn after(before: u64, change: Adjustment) -> u64 {
        let planned = plan_adjustment(Some(known(before, false)), &asked(change), &Levels::mee6());
        planned.adjusted.after.points.get()
    }

    #[test]
    fn points_stop_at_both_ends() {
        for (before, amount, expected) in [
            (100, 50, 150),
            (100, -50, 50),
            (100, -100, 0),
            (100, -101, 0),
            (100, i64::MIN, 0),
            (MOST, i64::MIN, 0),
            (MOST, 1, MOST),
            (1, i64::MAX, MOST),
            (0, i64::MAX, MOST),
            (0, 0, 0),
        ] {
            assert_eq!(
                after(before, Adjustment::Give { amount }),
                expected,
                "{before} and {amount}"
            );
        }
        let amount = Points::new(7).unwrap();
        assert_eq!(after(100, Adjustment::Set { amount }), 7);
    }

    #[test]
    fn a_level_is_announced_where_it_was_asked_for_and_only_on_the_way_up() {
        let give = asked(Adjustment::Give { amount: 400 });
        let line = plan_adjustment(None, &give, &Levels::mee6())
            .level_up
            .unwrap();
        assert_eq!((line.message.get(), line.level), (900, LevelNumber(2)));
        assert_eq!(line.from, None, "nothing was earned yet");
        let next = plan_adjustment(Some(known(150, false)), &give, &Levels::mee6());
        assert_eq!(next.level_up.unwrap().from, Some(LevelNumber(1)));
        let quietly = AdjustmentRequest {
            announce_in: None,
            ..give
        };
        assert_eq!(
            plan_adjustment(None, &quietly, &Levels::mee6()).level_up,
            None
        );
        for change in [
            Adjustment::Give { amount: 10 },
            Adjustment::Give { amount: -400 },
            Adjustment::Set {
                amount: Points::default(),
            },
            Adjustment::Hide { hidden: true },
        ] {
            let planned = plan_adjustment(Some(known(400, false)), &asked(change), &Levels::mee6());
            assert_eq!(planned.level_up, None, "{change:?}");
        }
    }

    #[test]
    fn what_changes_nothing_is_recorded_for_points_and_not_for_privacy() {
        let change = Adjustment::Give { amount: -5 };
        let planned = plan_adjustment(None, &asked(change), &Levels::mee6());
        assert_eq!(
            (planned.user, planned.adjusted.is_different()),
            (None, false)
        );
        assert!(planned.record.is_some(), "it was asked for");
        for hidden in [true, false] {
            let change = asked(Adjustment::Hide { hidden });
            let already = plan_adjustment(Some(known(5, hidden)), &change, &Levels::mee6());
            assert!(already.is_empty() && !already.adjusted.is_different());
            let new = plan_adjustment(Some(known(5, !hidden)), &change, &Levels::mee6());
            assert_eq!(
                (new.hidden, new.user, new.record),
                (Some((change.user, hidden)), None, None)
            );
            assert!(new.adjusted.is_different());
        }
        assert!(
            plan_adjustment(
                None,
                &asked(Adjustment::Hide { hidden: false }),
                &Levels::mee6()
            )
            .is_empty()
        );
    }

    #[test]
    fn a_reason_that_postgres_refuses_is_mended() {
        for (reason, kept) in [
            (Some("spam\0"), Some("spam")),
            (Some(" \0 "), None),
            (Some(""), None),
            (None, None),
            (Some("two\nlines"), Some("two\nlines")),
        ] {
            let asked = AdjustmentRequest {
                reason: reason.map(str::to_owned),
                ..asked(Adjustment::Give { amount: 1 })
            };
            let record = plan_adjustment(None, &asked, &Levels::mee6())
                .record
                .unwrap();
            assert_eq!(record.reason.as_deref(), kept);
        }
    }

    fn any_change() -> impl Strategy<Value = Adjustment> {
        prop_oneof![
            prop_oneof![any::<i64>(), -3_000_i64..3_000]
                .prop_map(|amount| Adjustment::Give { amount }),
            prop_oneof![0..=MOST, 0_u64..3_000].prop_map(|amount| Adjustment::Set {
                amount: Points::new(amount).unwrap()
            }),
            any::<bool>().prop_map(|hidden| Adjustment::Hide { hidden }),
        ]
    }

    proptest! {
        #[test]
        fn the_record_and_the_row_tell_the_same(
            before in proptest::option::of((prop_oneof![0..=MOST, 0_u64..3_000], any::<bool>())),
            changes in proptest::collection::vec(any_change(), 1..30),
        ) {
            let levels = Levels::mee6();
            let mut user = before.map(|(points, hidden)| known(points, hidden));
            let start = user.map_or(0, |user| user.standing.points.get());
            let mut deltas = 0_i128;
            for change in changes {
                let planned = plan_adjustment(user, &asked(change), &levels);
                let mut next = user.unwrap_or(CachedUser {
                    user: UserId::new(5).unwrap(),
                    standing: Standing::default(),
                    hidden: false,
                    named: false,
                    seen: None,
                });
                let was = next.standing;
                prop_assert_eq!(planned.adjusted.before.points, was.points);
                prop_assert_eq!(planned.adjusted.before.hidden, next.hidden);
                if let Some(row) = &planned.user {
                    next.standing = row.standing;
                }
                next.hidden = planned.hidden.map_or(next.hidden, |(_, hidden)| hidden);
                prop_assert_eq!(next.standing, Standing { points: next.standing.points, ..was });
                prop_assert_eq!(planned.adjusted.after.points, next.standing.points);
                prop_assert_eq!(planned.adjusted.after.hidden, next.hidden);
                prop_assert_eq!(planned.adjusted.after.level, levels.level_at(next.standing.points));
                if let Some(record) = &planned.record {
                    deltas += i128::from(record.after.get()) - i128::from(record.before.get());
                }
                if let Adjustment::Set { amount } = change {
                    prop_assert_eq!(next.standing.points, amount);
                }
                let rose = planned.adjusted.after.level > planned.adjusted.before.level;
                prop_assert_eq!(planned.level_up.is_some(), rose);
                if !planned.is_empty() {
                    user = Some(next);
                }
            }
            let end = user.map_or(0, |user| user.standing.points.get());
            prop_assert_eq!(i128::from(end), i128::from(start) + deltas);
        }
    }
}
