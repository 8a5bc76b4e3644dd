//! `.give_xp` and `.set_xp`: moderators change someone's XP.
//!
//! This file writes nothing to the database. It sends the adjustment to the engine and answers with
//! the engine's result.

use super::adjustment::{adjust, request_id};
use super::args::{MAX_REASON, NamedUser, Reason};
use super::context::{Context, Error, Manual, caller_id};
use super::resolve_user::{ResolvedUser, resolve_user};
use super::respond::{answer, defer};
use crate::discord::messages::reply::Reply;
use crate::error::UserError;
use crate::leveling::{ChannelId, Grouped, Points, escape, escape_text};
use crate::xp::{Adjusted, Adjustment, AdjustmentRequest};

/// Larger than anyone's XP, so that it only stops typing mistakes.
const MAX_AMOUNT: i64 = 100_000_000;

/// Give someone XP, or take some away
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::moderators(
        "give_xp @user amount [announce] reason",
        "give_xp @alice 50 won the raffle",
    )
)]
pub(super) async fn give_xp(
    ctx: Context<'_>,
    #[description = "Who gets it"] user: NamedUser,
    #[description = "How much; a negative number takes it away"]
    #[min = -100_000_000]
    #[max = 100_000_000]
    amount: i64,
    #[description = "Announce the level if they reach a new one"]
    #[flag]
    announce: bool,
    #[description = "Why; kept in the log"] reason: Reason,
) -> Result<(), Error> {
    if amount == 0 || amount.unsigned_abs() > MAX_AMOUNT.unsigned_abs() {
        let sentence = format!(
            "The amount must be a number from 1 to {}, or negative to take XP away.",
            Grouped(MAX_AMOUNT)
        );
        return Err(UserError(sentence).into());
    }
    carry_out(ctx, user, Adjustment::Give { amount }, announce, reason).await
}

/// Set how much XP someone has
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::moderators(
        "set_xp @user amount [announce] reason",
        "set_xp @alice 475 moved from another account",
    )
)]
pub(super) async fn set_xp(
    ctx: Context<'_>,
    #[description = "Whose XP"] user: NamedUser,
    #[description = "Their new amount of XP"]
    #[min = 0]
    #[max = 100_000_000]
    amount: i64,
    #[description = "Announce the level if they reach a new one"]
    #[flag]
    announce: bool,
    #[description = "Why; kept in the log"] reason: Reason,
) -> Result<(), Error> {
    let points = u64::try_from(amount).ok().filter(|_| amount <= MAX_AMOUNT);
    let Some(amount) = points.and_then(Points::new) else {
        let max = Grouped(MAX_AMOUNT);
        let sentence = format!("The amount must be a number from 0 to {max}.");
        return Err(UserError(sentence).into());
    };
    carry_out(ctx, user, Adjustment::Set { amount }, announce, reason).await
}

/// Does what both commands have in common: everything but checking the amount.
async fn carry_out(
    ctx: Context<'_>,
    NamedUser(user): NamedUser,
    adjustment: Adjustment,
    announce: bool,
    Reason(reason): Reason,
) -> Result<(), Error> {
    let is_blank = escape_text(&reason, MAX_REASON.into()).is_none();
    if is_blank || reason.chars().count() > MAX_REASON.into() {
        let sentence =
            format!("Give a reason of at most {MAX_REASON} characters; it is kept in the log.");
        return Err(UserError(sentence).into());
    }
    defer(ctx).await?;
    let user = resolve_user(ctx, user).await?;
    user.check_human()?;
    let caller = caller_id(ctx)?;
    let request = AdjustmentRequest {
        request: request_id(ctx).await?,
        user: user.id,
        caller,
        adjustment,
        reason: Some(reason),
        announce_in: ChannelId::new(ctx.channel_id().get()).filter(|_| announce),
    };
    let changed = adjust(ctx, request).await?;
    tracing::info!(user = %user.id, by = %caller, "a moderator has changed XP");
    let data = ctx.data();
    if changed.after.points < changed.before.points {
        // Only a reconcile of all members takes roles away.
        data.bot.roles.schedule.everyone_soon();
    } else if changed.after != changed.before {
        data.bot.env.members.roles_may_be_wrong(user.id);
    }
    answer(ctx, describe(&user, &changed)).await
}

fn describe(user: &ResolvedUser, Adjusted { before, after }: &Adjusted) -> Reply {
    let name = escape(&user.name);
    if after.hidden {
        // The answer to a text command is public, so it must not show their XP.
        let sentence = format!("{name}'s XP was changed. They keep it hidden; `/xp_log` shows it.");
        return Reply::text(sentence).private();
    }
    let level = if before.level == after.level {
        format!("level {}", after.level)
    } else {
        format!("level {} (was level {})", after.level, before.level)
    };
    Reply::text(format!(
        "{name} now has {} XP (was {}) and is {level}.",
        Grouped(after.points),
        Grouped(before.points)
    ))
}
