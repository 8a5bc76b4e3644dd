//! `.no_xp` and `.earn_xp`: what earns no XP.

use super::subject::{Contents, Subject, SubjectArgument, find_subject, not_the_everyone_role};
use super::typed::TypedSubject;
use super::{WantedChange, carry_out, parent_with_rule};
use crate::commands::adjustment::request_id;
use crate::commands::args::{ChannelArgument, PickedRole, PickedUser};
use crate::commands::context::{Context, Error, Manual, usage};
use crate::commands::respond::defer;
use crate::error::UserError;
use crate::leveling::{Grouped, RuleKind, RuleTerm, XpRule};
use crate::xp::RuleAnswer;

/// Let a channel, a role or a user earn no XP
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::moderators("no_xp #channel, @role or @user", "no_xp #bot-commands")
)]
pub(in crate::commands) async fn no_xp(
    ctx: Context<'_>,
    #[description = "A channel, thread, forum or category; its messages earn no XP"]
    channel: Option<ChannelArgument>,
    #[description = "A role; who holds it earns no XP"] role: Option<PickedRole>,
    #[description = "Who earns no XP"] user: Option<PickedUser>,
) -> Result<(), Error> {
    let argument = only_one(ctx, channel, role, user)?;
    let term = RuleTerm {
        rule: XpRule::NoXp,
        until: None,
    };
    let wanted = wanted(ctx, argument, Some(term)).await?;
    carry_out(ctx, wanted, |wanted, answer| {
        let earns = wanted.subject.earns();
        match answer {
            RuleAnswer::Changed => format!("{earns} no XP from now on.{}", scope(&wanted.subject)),
            RuleAnswer::Unchanged => format!("{earns} no XP already."),
        }
    })
    .await
}

/// Let a channel, a role or a user earn XP again
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::moderators("earn_xp #channel, @role or @user", "earn_xp #bot-commands")
)]
pub(in crate::commands) async fn earn_xp(
    ctx: Context<'_>,
    #[description = "A channel, thread, forum or category; its messages earn XP again"]
    channel: Option<ChannelArgument>,
    #[description = "A role; who holds it earns XP again"] role: Option<PickedRole>,
    #[description = "Who earns XP again"] user: Option<PickedUser>,
) -> Result<(), Error> {
    let argument = only_one(ctx, channel, role, user)?;
    let wanted = wanted(ctx, argument, None).await?;
    carry_out(ctx, wanted, |wanted, answer| {
        let parent = match &wanted.subject {
            Subject::Channel(channel) => {
                let at = wanted.request.as_message();
                parent_with_rule(ctx, channel, RuleKind::NoXp, at)
            }
            _ => None,
        };
        let earns = wanted.subject.earns();
        match (answer, parent) {
            (RuleAnswer::Changed, None) => format!("{earns} XP again."),
            (RuleAnswer::Changed, Some(parent)) => format!(
                "{earns} XP again. They still earn none, though, as long as there is such a rule about {parent}."
            ),
            (RuleAnswer::Unchanged, None) => "There is no such rule.".to_owned(),
            (RuleAnswer::Unchanged, Some(parent)) => {
                format!("There is no such rule. There is one about {parent}; `earn_xp` ends that one too.")
            }
        }
    })
    .await
}

async fn wanted(
    ctx: Context<'_>,
    argument: SubjectArgument,
    term: Option<RuleTerm>,
) -> Result<WantedChange, Error> {
    // Discord has to be asked for channels and members.
    defer(ctx).await?;
    let request = request_id(ctx).await?;
    let subject = find_subject(ctx, argument).await?;
    if matches!(subject, Subject::Everyone) {
        return Err(not_the_everyone_role().into());
    }
    Ok(WantedChange {
        request,
        subject,
        kind: RuleKind::NoXp,
        term,
    })
}

/// What else the rule is about.
fn scope(subject: &Subject) -> String {
    let Subject::Channel(channel) = subject else {
        return String::new();
    };
    match channel.contents {
        Contents::Category(0) => {
            " That goes for the channels that come into this category; it has none now.".to_owned()
        }
        Contents::Category(1) => {
            " That goes for the channel in this category, and for its threads.".to_owned()
        }
        Contents::Category(channels) => format!(
            " That goes for the {} channels in this category, and for their threads.",
            Grouped(channels)
        ),
        Contents::Forum => " That goes for its posts.".to_owned(),
        Contents::Channel | Contents::Thread => String::new(),
    }
}

/// The one argument that was given.
fn only_one(
    ctx: Context<'_>,
    channel: Option<ChannelArgument>,
    role: Option<PickedRole>,
    user: Option<PickedUser>,
) -> Result<SubjectArgument, UserError> {
    let wrong = || {
        let usage = usage(ctx);
        UserError(format!("Name one channel, one role or one user. {usage}"))
    };
    match (channel, role, user) {
        (Some(ChannelArgument::Typed(text)), None, None) => {
            let typed = TypedSubject::parse(&text).ok_or_else(wrong)?;
            Ok(SubjectArgument::Typed(typed))
        }
        (Some(ChannelArgument::Picked(channel)), None, None) => {
            Ok(SubjectArgument::Channel(channel))
        }
        (None, Some(PickedRole(role)), None) => Ok(SubjectArgument::Role(role)),
        (None, None, Some(PickedUser(user))) => Ok(SubjectArgument::User(user)),
        _ => Err(wrong()),
    }
}
