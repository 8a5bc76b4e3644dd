//! What the recorded changes of rules come to at one time, for the list of rules. Pure.

use std::collections::BTreeMap;

use crate::leveling::{MessageId, RequestId, RuleKind, RuleSubject, RuleTerm, Timestamp, UserId};
use crate::store::xp_rule::XpRuleRow;

/// A rule that is in force, and who set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RuleInForce {
    pub subject: RuleSubject,
    pub term: RuleTerm,
    pub request: RequestId,
    pub moderator: UserId,
}

/// A rule that ended because its channel or role was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeletedRule {
    pub subject: RuleSubject,
    pub term: RuleTerm,
    /// The newest message before that, which tells the time.
    pub after: Option<MessageId>,
}

/// The rules for messages that are sent at `at`, by subject, and those that ended because their
/// channel or role was deleted, the newest first. `rows` are in the order in which they were made.
pub(super) fn fold(rows: &[XpRuleRow], at: Timestamp) -> (Vec<RuleInForce>, Vec<DeletedRule>) {
    let mut rules: BTreeMap<(RuleSubject, RuleKind), RuleInForce> = BTreeMap::new();
    let mut deleted = Vec::new();
    for row in rows {
        let change = row.change;
        let key = (change.subject, change.kind);
        let before = rules.remove(&key);
        if let (Some(term), Some((request, moderator))) = (change.term, row.request) {
            let rule = RuleInForce {
                subject: change.subject,
                term,
                request,
                moderator,
            };
            rules.insert(key, rule);
        } else if let (None, Some(before)) = (row.request, before) {
            let sent_at = change.after.map(MessageId::sent_at);
            if sent_at.is_none_or(|sent_at| before.term.is_running(sent_at)) {
                deleted.push(DeletedRule {
                    subject: change.subject,
                    term: before.term,
                    after: change.after,
                });
            }
        }
    }
    deleted.reverse();
    let running = rules.into_values().filter(|rule| rule.term.is_running(at));
    (running.collect(), deleted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leveling::{ChannelId, Percent, RoleId, RuleChange, XpRule};

    fn time(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_750_000_000_000 + seconds * 1_000).unwrap()
    }

    fn id(seconds: i64) -> MessageId {
        MessageId::first_at(time(seconds)).unwrap()
    }

    fn row(
        seconds: i64,
        by: Option<u64>,
        subject: RuleSubject,
        kind: RuleKind,
        term: Option<RuleTerm>,
    ) -> XpRuleRow {
        XpRuleRow {
            request: by.map(|by| (id(seconds).into(), UserId::new(by).unwrap())),
            change: RuleChange {
                subject,
                kind,
                term,
                after: Some(id(seconds)),
            },
        }
    }

    #[test]
    fn the_newest_change_of_each_rule_decides() {
        let no_xp = RuleTerm {
            rule: XpRule::NoXp,
            until: None,
        };
        let percent = |percent, until: Option<i64>| RuleTerm {
            rule: XpRule::Multiplier(Percent::new(percent).unwrap()),
            until: until.map(time),
        };
        let channel = RuleSubject::Channel(ChannelId::new(7).unwrap());
        let role = RuleSubject::Role(RoleId::new(8).unwrap());
        let everyone = RuleSubject::Everyone;
        let rows = [
            row(1, Some(1), role, RuleKind::NoXp, Some(no_xp)),
            row(2, Some(1), channel, RuleKind::NoXp, Some(no_xp)),
            row(
                3,
                Some(2),
                channel,
                RuleKind::Multiplier,
                Some(percent(200, None)),
            ),
            row(
                4,
                Some(2),
                channel,
                RuleKind::Multiplier,
                Some(percent(300, None)),
            ),
            row(
                5,
                Some(1),
                everyone,
                RuleKind::Multiplier,
                Some(percent(50, Some(60))),
            ),
            row(6, Some(3), channel, RuleKind::NoXp, None),
            row(7, None, role, RuleKind::NoXp, None),
        ];
        let (rules, deleted) = fold(&rows, time(59));
        let shown = |rule: &RuleInForce| (rule.subject, rule.term, rule.moderator.get());
        assert_eq!(
            rules.iter().map(shown).collect::<Vec<_>>(),
            [
                (everyone, percent(50, Some(60)), 1),
                (channel, percent(300, None), 2),
            ]
        );
        let gone = DeletedRule {
            subject: role,
            term: no_xp,
            after: Some(id(7)),
        };
        assert_eq!(deleted, [gone]);
        let (rules, _) = fold(&rows, time(60));
        assert_eq!(rules.len(), 1, "one has expired");
        assert_eq!(fold(&[], time(1)), (vec![], vec![]));
    }

    #[test]
    fn a_rule_that_was_over_is_not_ended_by_the_deletion() {
        let subject = RuleSubject::Channel(ChannelId::new(7).unwrap());
        let short = RuleTerm {
            rule: XpRule::Multiplier(Percent::USUAL),
            until: Some(time(5)),
        };
        let kind = RuleKind::Multiplier;
        for (deleted_at, expected) in [(4, 1), (5, 0)] {
            let rows = [
                row(1, Some(1), subject, kind, Some(short)),
                row(deleted_at, None, subject, kind, None),
            ];
            assert_eq!(fold(&rows, time(9)).1.len(), expected);
        }
    }
}
