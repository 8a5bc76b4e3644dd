//! `.recount`: where someone's XP comes from.

use std::time::Duration;

use poise::serenity_prelude::CreateEmbed;

use super::args::UserArgument;
use super::context::{Context, Error, Manual, caller_id};
use super::resolve_user::resolve_user;
use super::respond::{answer, settle};
use super::rights::Right;
use crate::discord::messages::colors::INFO;
use crate::discord::messages::reply::Reply;
use crate::error::UserError;
use crate::leveling::{Grouped, Part, XpSources, escape};
use crate::store;

const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Show where XP comes from: messages, multipliers, changes by moderators, imports
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::anyone("recount [@user]", "recount")
)]
pub(super) async fn recount(
    ctx: Context<'_>,
    #[description = "Whose XP; yours if left out"] user: Option<UserArgument>,
) -> Result<(), Error> {
    let caller = caller_id(ctx)?;
    let user = user.unwrap_or(UserArgument::Caller);
    let own = user.id().is_none_or(|id| id == caller);
    if !own {
        check_moderator(ctx).await?;
    }
    settle(ctx).await;
    let user = resolve_user(ctx, user).await?;
    let database = &ctx.data().bot.env.database;
    let read = store::within(READ_TIMEOUT, async {
        store::recorded_xp::of_user(&mut *database.acquire().await?, user.id).await
    });
    let (recorded, hidden) = read.await?;
    if hidden && !own && matches!(ctx, Context::Prefix(_)) {
        let hidden_answer = user.hidden_xp_answer();
        let sentence = format!("{hidden_answer} Type `/recount` to see it privately.");
        return answer(ctx, Reply::text(sentence)).await;
    }
    let Some(sources) = XpSources::of(&recorded) else {
        return answer(ctx, Reply::text(user.no_xp_answer()).private()).await;
    };
    let embed = CreateEmbed::new()
        .title(format!("Where {}'s XP comes from", escape(&user.name)))
        .description(describe(&sources))
        .color(INFO);
    let reply = Reply::embed(embed);
    answer(ctx, if hidden { reply.private() } else { reply }).await
}

/// An error for the caller unless they are a moderator.
async fn check_moderator(ctx: Context<'_>) -> Result<(), Error> {
    let rights = &ctx.data().rights;
    let caller = rights.caller(ctx).await;
    if rights.allow(Right::Moderator, &caller)? {
        return Ok(());
    }
    let user = ctx.author().id;
    tracing::info!(%user, "someone without the right tried to recount another's XP");
    let holders = rights.holders(Right::Moderator, &caller);
    let sentence = format!("Only {holders} can recount someone else's XP.");
    Err(UserError(sentence).into())
}

fn describe(sources: &XpSources) -> String {
    let XpSources {
        messages,
        multipliers,
        changes,
        other,
    } = *sources;
    let mut lines = vec![line("Messages", messages, "message")];
    if multipliers != 0 {
        let part = Part {
            xp: multipliers,
            count: 0,
        };
        lines.push(line("Multipliers", part, ""));
    }
    if changes.count != 0 {
        lines.push(line("Changes by moderators", changes, "change"));
    }
    if other != Part::default() {
        lines.push(line("Imports and corrections", other, "message"));
    }
    lines.push(format!("Total XP: {}", Grouped(sources.total())));
    lines.join("\n")
}

/// A part as a line; `counted` is what its count counts.
fn line(name: &str, Part { xp, count }: Part, counted: &str) -> String {
    let xp = Grouped(xp);
    match count {
        0 => format!("{name}: {xp:+} XP"),
        1 => format!("{name}: {xp:+} XP (1 {counted})"),
        _ => format!("{name}: {xp:+} XP ({} {counted}s)", Grouped(count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leveling::{Points, RecordedXp};

    fn described(recorded: &RecordedXp) -> String {
        describe(&XpSources::of(recorded).unwrap())
    }

    #[test]
    fn each_part_has_a_line_and_a_sign_and_the_last_is_the_sum() {
        let all = RecordedXp {
            points: Points::new(14_180).unwrap(),
            message_count: 1_620,
            earned: 12_480,
            by_rules: -1_020,
            counted: 620,
            changed: -8_300,
            changes: 3,
        };
        insta::assert_snapshot!(described(&all), @r"
        Messages: +13,500 XP (620 messages)
        Multipliers: -1,020 XP
        Changes by moderators: -8,300 XP (3 changes)
        Imports and corrections: +10,000 XP (1,000 messages)
        Total XP: 14,180
        ");
        let few = RecordedXp {
            points: Points::new(70).unwrap(),
            message_count: 1,
            earned: 40,
            by_rules: 20,
            counted: 1,
            changed: 30,
            changes: 1,
        };
        insta::assert_snapshot!(described(&few), @r"
        Messages: +20 XP (1 message)
        Multipliers: +20 XP
        Changes by moderators: +30 XP (1 change)
        Total XP: 70
        ");
    }

    #[test]
    fn parts_that_never_were_have_no_line() {
        let given_and_taken = RecordedXp {
            changes: 2,
            ..RecordedXp::default()
        };
        insta::assert_snapshot!(described(&given_and_taken), @r"
        Messages: +0 XP
        Changes by moderators: +0 XP (2 changes)
        Total XP: 0
        ");
        let messages_only = RecordedXp {
            message_count: 5,
            ..RecordedXp::default()
        };
        insta::assert_snapshot!(described(&messages_only), @r"
        Messages: +0 XP
        Imports and corrections: +0 XP (5 messages)
        Total XP: 0
        ");
    }
}
