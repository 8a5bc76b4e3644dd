//! `.xp_multiplier`: what earns more XP than usual, or less.

use super::subject::{Subject, SubjectArgument, find_subject};
use super::typed::{MultiplierChange, RuleDuration, TypedMultiplier, TypedSubject};
use super::{WantedChange, carry_out, parent_with_rule};
use crate::commands::adjustment::request_id;
use crate::commands::args::{ChannelArgument, PickedRole, RestOfText};
use crate::commands::autocomplete;
use crate::commands::context::{Context, Error, Manual, usage};
use crate::commands::respond::defer;
use crate::error::UserError;
use crate::leveling::{Percent, RequestId, RuleKind, RuleTerm, Timestamp, XpRule};
use crate::xp::RuleAnswer;

/// Change how much XP a channel, a role or everyone earns
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::moderators(
        "xp_multiplier #channel, @role or everyone, percent or off, [duration]",
        "xp_multiplier everyone 200 2h",
    )
)]
pub(in crate::commands) async fn xp_multiplier(
    ctx: Context<'_>,
    #[description = "How much of the usual XP, in percent, 1 to 1,000; or off"]
    #[autocomplete = "autocomplete::percentages"]
    percent: RestOfText,
    #[description = "A channel, thread, forum or category; without channel and role, everyone"]
    channel: Option<ChannelArgument>,
    #[description = "A role"] role: Option<PickedRole>,
    #[description = "How long, such as 90m, 2h or 3d; until it is ended, if left out"]
    #[autocomplete = "autocomplete::durations"]
    duration: Option<String>,
) -> Result<(), Error> {
    let RestOfText(percent) = percent;
    let (argument, percent, duration) = match ctx {
        Context::Prefix(_) => typed_arguments(ctx, &percent)?,
        Context::Application(_) => (picked_subject(channel, role)?, percent, duration),
    };
    let change = MultiplierChange::parse(&percent)?;
    let duration = duration.filter(|typed| !typed.trim().is_empty());
    let duration = duration.as_deref().map(RuleDuration::parse).transpose()?;
    if change == MultiplierChange::Off && duration.is_some() {
        let sentence = "`off` ends a multiplier at once, so it takes no duration.";
        return Err(UserError(sentence.to_owned()).into());
    }
    // Discord has to be asked for channels and members.
    defer(ctx).await?;
    let request = request_id(ctx).await?;
    let subject = find_subject(ctx, argument).await?;
    if matches!(subject, Subject::User(_)) {
        let sentence = "A multiplier is for a channel, a role or everyone, not for one user.";
        return Err(UserError(sentence.to_owned()).into());
    }
    let term = match change {
        MultiplierChange::Set(percent) => Some(term(request, percent, duration)?),
        MultiplierChange::Off => None,
    };
    let wanted = WantedChange {
        request,
        subject,
        kind: RuleKind::Multiplier,
        term,
    };
    carry_out(ctx, wanted, |wanted, answer| {
        let sentence = sentence(&wanted.subject.earns(), change, duration, answer);
        format!("{sentence}{}", other_rules(ctx, wanted))
    })
    .await
}

fn typed_arguments(
    ctx: Context<'_>,
    text: &str,
) -> Result<(SubjectArgument, String, Option<String>), UserError> {
    let wrong = || {
        let usage = usage(ctx);
        UserError(format!("{usage} Put a name of several words in quotes."))
    };
    let typed = TypedMultiplier::split(text).ok_or_else(wrong)?;
    let subject = TypedSubject::parse(typed.subject).ok_or_else(wrong)?;
    // Where the percentage comes one word later, the name was not quoted.
    let is_percentage = MultiplierChange::is_percentage;
    if typed.duration.is_some_and(is_percentage) && !is_percentage(typed.percent) {
        return Err(wrong());
    }
    Ok((
        SubjectArgument::Typed(subject),
        typed.percent.to_owned(),
        typed.duration.map(str::to_owned),
    ))
}

fn picked_subject(
    channel: Option<ChannelArgument>,
    role: Option<PickedRole>,
) -> Result<SubjectArgument, UserError> {
    match (channel, role) {
        (None, None) => Ok(SubjectArgument::Everyone),
        (Some(ChannelArgument::Picked(channel)), None) => Ok(SubjectArgument::Channel(channel)),
        (None, Some(PickedRole(role))) => Ok(SubjectArgument::Role(role)),
        _ => Err(UserError(
            "Choose a channel or a role, not both; without either, the multiplier is for everyone."
                .to_owned(),
        )),
    }
}

/// The time of the request decides when the rule ends, so a delay on the way does not lengthen it.
fn term(
    request: RequestId,
    percent: Percent,
    duration: Option<RuleDuration>,
) -> Result<RuleTerm, Error> {
    let until = duration.map(|duration| {
        let millis = request.asked_at().millis() + duration.millis();
        Timestamp::from_millis(millis).ok_or_else(|| anyhow::anyhow!("the rule ends in 1970"))
    });
    Ok(RuleTerm {
        rule: XpRule::Multiplier(percent),
        until: until.transpose()?,
    })
}

fn sentence(
    earns: &str,
    change: MultiplierChange,
    duration: Option<RuleDuration>,
    answer: RuleAnswer,
) -> String {
    match (change, answer) {
        (MultiplierChange::Set(percent), RuleAnswer::Changed) => match duration {
            Some(duration) => format!("{earns} {percent} XP for {duration}."),
            None => format!("{earns} {percent} XP from now on."),
        },
        (MultiplierChange::Set(percent), RuleAnswer::Unchanged) => {
            format!("{earns} {percent} XP already.")
        }
        (MultiplierChange::Off, RuleAnswer::Changed) => {
            format!("{earns} the usual XP from now on.")
        }
        (MultiplierChange::Off, RuleAnswer::Unchanged) => "There is no such rule.".to_owned(),
    }
}

/// Other rules that decide what the same messages earn.
fn other_rules(ctx: Context<'_>, wanted: &WantedChange) -> String {
    let at = wanted.request.as_message();
    if wanted.term.is_some() {
        let rules = ctx.data().bot.env.xp.xp_rules();
        let subject = wanted.subject.rule_subject();
        if rules.in_force(subject, RuleKind::NoXp, at).is_some() {
            return " But a rule says that they earn none; `earn_xp` ends it.".to_owned();
        }
    }
    let Subject::Channel(channel) = &wanted.subject else {
        return String::new();
    };
    if wanted.term.is_some() {
        return match parent_with_rule(ctx, channel, RuleKind::NoXp, at) {
            Some(parent) => {
                format!(" But as long as a rule about {parent} says so, they earn none.")
            }
            None => String::new(),
        };
    }
    match parent_with_rule(ctx, channel, RuleKind::Multiplier, at) {
        Some(parent) => format!(" The multiplier of {parent} applies to them."),
        None => String::new(),
    }
}
