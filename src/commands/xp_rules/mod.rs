//! The guild's rules on XP: `.no_xp`, `.earn_xp`, `.xp_multiplier` and `.xp_rules`.
//!
//! The engine saves the rules and applies them to messages. This module finds what a rule is about,
//! records who holds a role before the first rule about it is set, and words the answers.

pub(super) mod list;
pub(super) mod no_xp;
mod role_holders;
mod rules_in_force;
mod shown_progress;
mod subject;
mod typed;
pub(super) mod xp_multiplier;

use shown_progress::ShownProgress;
use subject::{NamedChannel, Subject};
pub(super) use typed::{MultiplierChange, RuleDuration};

use super::adjustment;
use super::context::{Context, Error, caller_id};
use crate::discord::messages::reply::Reply;
use crate::leveling::{MessageId, RequestId, RuleKind, RuleSubject, RuleTerm};
use crate::xp::{RuleAnswer, RuleRequest};

/// A change of a rule that a moderator asked for.
struct WantedChange {
    request: RequestId,
    subject: Subject,
    kind: RuleKind,
    /// `None` ends the rule.
    term: Option<RuleTerm>,
}

/// Changes the rule, and answers with the sentence for what became of it.
async fn carry_out(
    ctx: Context<'_>,
    wanted: WantedChange,
    sentence: impl FnOnce(&WantedChange, RuleAnswer) -> String,
) -> Result<(), Error> {
    let mut progress = ShownProgress::default();
    let changed = change(ctx, &wanted, &mut progress).await;
    let reply = changed.map(|answer| Reply::text(sentence(&wanted, answer)));
    progress.end(ctx, reply).await
}

async fn change(
    ctx: Context<'_>,
    wanted: &WantedChange,
    progress: &mut ShownProgress,
) -> Result<RuleAnswer, Error> {
    if let (Subject::Role(role), Some(_)) = (&wanted.subject, &wanted.term) {
        role_holders::record(ctx, role, wanted.request, progress).await?;
    }
    let moderator = caller_id(ctx)?;
    let request = RuleRequest {
        request: wanted.request,
        moderator,
        subject: wanted.subject.rule_subject(),
        kind: wanted.kind,
        term: wanted.term,
    };
    let answer = adjustment::change_rule(ctx, request).await?;
    if answer == RuleAnswer::Changed {
        tracing::info!(subject = ?request.subject, kind = ?request.kind, term = ?request.term, by = %moderator,
            "a moderator has changed a rule on XP");
    }
    Ok(answer)
}

/// The name of the channel or category in which this one is, if a rule of this kind is about it.
fn parent_with_rule<'a>(
    ctx: Context<'_>,
    channel: &'a NamedChannel,
    kind: RuleKind,
    at: MessageId,
) -> Option<&'a str> {
    let rules = ctx.data().bot.env.xp.xp_rules();
    let mut parents = channel.parents.iter();
    let with_rule = parents.find(|(parent, _)| {
        let parent = RuleSubject::Channel(*parent);
        rules.in_force(parent, kind, at).is_some()
    });
    with_rule.map(|(_, name)| name.as_str())
}
