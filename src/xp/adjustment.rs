//! Adjustments: changes that people ask for, to a user's points or privacy.
//!
//! `plan_adjustment` is pure: it takes the user's state and returns what is to be saved. It is
//! saved in a transaction of its own, after the messages that came before (see `request`).
//!
//! Never changes what only messages decide: how many earned XP, and when the latest did.

use std::collections::BTreeMap;

use super::commit_permit::CommitPermit;
use super::committer::CommitError;
use super::request::{Attempt, Carrier, Request, write_permitted};
use crate::leveling::{
    ChannelId, LevelNumber, Levels, Points, RequestId, Standing, UserId, without_nul,
};
use crate::store::outbox::LevelUp;
use crate::store::user_point::{CachedUser, SavedUser};
use crate::store::watermark::HeldLines;
use crate::store::xp_change::XpChange;
use crate::store::{self, Connection};

/// A change to one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjustment {
    /// Adds points or takes them away. The result stays between 0 and the maximum.
    Give {
        /// Negative to take points away.
        amount: i64,
    },
    /// Sets the points.
    Set {
        /// The user's points from then on.
        amount: Points,
    },
    /// Sets the user's choice of privacy.
    Hide {
        /// `false` to be on the board again.
        hidden: bool,
    },
}

impl Adjustment {
    pub(super) fn is_about_points(self) -> bool {
        !matches!(self, Self::Hide { .. })
    }
}

/// A request for an adjustment: for whom, by whom, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdjustmentRequest {
    /// The id of the interaction or message that asked for it. One id adjusts points at most
    /// once. Privacy needs no such guard, since hiding twice changes nothing.
    pub request: RequestId,
    /// Whose XP is adjusted.
    pub user: UserId,
    /// Who asks: a moderator, or the user for themselves.
    pub caller: UserId,
    /// The change.
    pub adjustment: Adjustment,
    /// Why, in the caller's words. Stored only if the adjustment is about points.
    pub reason: Option<String>,
    /// The channel in which a new level is announced; `None` for nowhere.
    pub announce_in: Option<ChannelId>,
}

/// A user's XP before or after an adjustment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XpState {
    /// XP in all.
    pub points: Points,
    /// The level of these points.
    pub level: LevelNumber,
    /// Whether the user chose privacy.
    pub hidden: bool,
}

/// What an adjustment has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjusted {
    /// The user's XP before it.
    pub before: XpState,
    /// The user's XP after it.
    pub after: XpState,
}

impl Adjusted {
    /// Whether anything differs: `false` if the user was hidden already, for example.
    pub fn is_different(&self) -> bool {
        self.before != self.after
    }
}

/// Why an adjustment was not carried out, or may not have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdjustmentError {
    /// It is not saved, and never will be.
    #[error("the adjustment could not be saved and was dropped")]
    NotSaved,
    /// Its COMMIT was sent, and the database has not answered.
    #[error("the database did not say whether the adjustment is saved")]
    Unknown,
    /// Missed messages are still being counted. They come first.
    #[error("points cannot be adjusted before missed messages have been counted")]
    CatchingUp,
    /// The same request has adjusted points before.
    #[error("the adjustment was carried out before")]
    Repeated,
}

/// What one transaction saves of an adjustment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AdjustmentPlan {
    /// The user's row, if the points differ.
    pub user: Option<SavedUser>,
    /// The user's choice of privacy, if it differs.
    pub hidden: Option<(UserId, bool)>,
    /// The log entry for adjusted points. Also made if the points stay the same: the request
    /// is then on record, and cannot change points when Discord sends it again.
    pub record: Option<XpChange>,
    /// The level-up line to post.
    pub level_up: Option<LevelUp>,
    /// What the caller is told.
    pub adjusted: Adjusted,
}

impl AdjustmentPlan {
    /// Whether there is nothing to save.
    pub(super) fn is_empty(&self) -> bool {
        self.user.is_none() && self.hidden.is_none() && self.record.is_none()
    }
}

impl Request for AdjustmentRequest {
    type Answer = Adjusted;

    async fn attempt(
        &self,
        with: &mut Carrier<'_>,
        permit: &CommitPermit,
    ) -> Result<Attempt<Adjusted>, CommitError> {
        let known = with.cache.get(self.user);
        let plan = plan_adjustment(known, self, &with.cache.levels());
        if plan.is_empty() {
            return Ok(Attempt::Unchanged(plan.adjusted));
        }
        let committed =
            with.committer
                .commit(with.frontier, HeldLines::Keep, async |transaction| {
                    write_permitted(permit, write(transaction, &plan)).await
                });
        if let Some(refusal) = committed.await? {
            return Ok(Attempt::Refused(refusal));
        }
        if let Some(row) = &plan.user {
            with.cache.apply(std::slice::from_ref(row));
        }
        if let Some((user, hidden)) = plan.hidden {
            with.cache.hide(user, hidden);
        }
        if plan.level_up.is_some() {
            with.outbox_filled.notify_one();
        }
        Ok(Attempt::Saved(plan.adjusted))
    }
}

/// `false` if the request has adjusted points before.
async fn write(transaction: &mut Connection, plan: &AdjustmentPlan) -> store::Result<bool> {
    if let Some(record) = &plan.record
        && !store::xp_change::add(transaction, record).await?
    {
        return Ok(false);
    }
    if let Some(row) = &plan.user {
        let no_profiles = BTreeMap::new();
        store::user_point::save(transaction, std::slice::from_ref(row), &no_profiles).await?;
    }
    if let Some((user, hidden)) = plan.hidden {
        store::user_point::hide(transaction, user, hidden).await?;
    }
    if let Some(level_up) = plan.level_up {
        store::outbox::add(transaction, &[level_up]).await?;
    }
    Ok(true)
}

/// What is to be saved for a user in this state; `None` for a user without a row.
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
    let state = |points, hidden| XpState {
        points,
        level: levels.level_at(points),
        hidden,
    };
    let adjusted = Adjusted {
        before: state(standing.points, hidden),
        after: state(points, hides),
    };
    let rises = adjusted.after.level > adjusted.before.level;
    AdjustmentPlan {
        user: (points != standing.points).then_some(SavedUser {
            user: asked.user,
            standing: Standing { points, ..standing },
            profile: None,
        }),
        hidden: (hides != hidden).then_some((asked.user, hides)),
        record: asked.adjustment.is_about_points().then(|| XpChange {
            request: asked.request,
            user: asked.user,
            moderator: asked.caller,
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

/// The reason as the database stores it; `None` if nothing is left.
fn storable(reason: &str) -> Option<String> {
    let reason = without_nul(reason);
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
            caller: UserId::new(6).unwrap(),
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
