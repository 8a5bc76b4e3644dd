//! Moderators set and end the guild's rules on XP.
//!
//! A rule holds for the messages after the request. If newer messages have been counted before the
//! rule is saved, their XP stays, and the rule holds for the messages after them.

use super::commit_permit::CommitPermit;
use super::committer::CommitError;
use super::request::{Attempt, Carrier, Request, write_permitted};
use crate::leveling::{RequestId, RuleChange, RuleKind, RuleSubject, RuleTerm, UserId};
use crate::store::watermark::HeldLines;
use crate::store::xp_rule::{self, XpRuleRow};

/// A request to set a rule, or to end one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleRequest {
    /// The interaction or message that asked for it. One id changes a rule at most once.
    pub request: RequestId,
    /// Who asks.
    pub moderator: UserId,
    /// What the rule is about.
    pub subject: RuleSubject,
    /// Which of the subject's rules changes.
    pub kind: RuleKind,
    /// The rule to set; `None` to end it.
    pub term: Option<RuleTerm>,
}

/// What has become of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAnswer {
    /// The rule is set, or has ended.
    Changed,
    /// The same rule was in force already, or there was no rule to end.
    Unchanged,
}

impl Request for RuleRequest {
    type Answer = RuleAnswer;

    async fn attempt(
        &self,
        with: &mut Carrier<'_>,
        permit: &CommitPermit,
    ) -> Result<Attempt<RuleAnswer>, CommitError> {
        let asked_in = self.request.as_message();
        let (in_force, last_change) = {
            let rules = with.cache.xp_rules();
            (
                rules.in_force(self.subject, self.kind, asked_in),
                rules.last_change(self.subject, self.kind),
            )
        };
        // A rule that expires is always saved: each new request for it restarts its duration. So is
        // one that was changed after this request was made, unless this request did that.
        let expires = self.term.is_some_and(|term| term.until.is_some());
        if in_force == self.term && !expires && last_change < Some(asked_in) {
            return Ok(Attempt::Unchanged(RuleAnswer::Unchanged));
        }
        let change = with.cache.xp_rules().next_change(RuleChange {
            subject: self.subject,
            kind: self.kind,
            term: self.term,
            after: with.frontier.max(Some(asked_in)),
        });
        let row = XpRuleRow {
            request: Some((self.request, self.moderator)),
            change,
        };
        let committed =
            with.committer
                .commit(with.frontier, HeldLines::Keep, async |transaction| {
                    write_permitted(permit, xp_rule::add(transaction, &row)).await
                });
        if let Some(refusal) = committed.await? {
            return Ok(Attempt::Refused(refusal));
        }
        with.cache.xp_rules_mut().change_rule(change);
        Ok(Attempt::Saved(RuleAnswer::Changed))
    }
}
