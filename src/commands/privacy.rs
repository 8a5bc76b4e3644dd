//! `.hide_xp` and `.show_xp`: who may see someone's XP.

use super::adjustment::{adjust, request_id};
use super::args::UserArgument;
use super::context::{Context, Error, Manual, caller_id};
use super::resolve_user::resolve_user;
use super::respond::answer;
use super::rights::Right;
use crate::discord::messages::reply::Reply;
use crate::error::UserError;
use crate::leveling::escape;
use crate::xp::{Adjustment, AdjustmentRequest};

/// Hide your XP from everyone else
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::anyone("hide_xp [@user]", "hide_xp").private()
)]
pub(super) async fn hide_xp(
    ctx: Context<'_>,
    #[description = "Whose XP; yours if left out"] user: Option<UserArgument>,
) -> Result<(), Error> {
    set_hidden(ctx, user, true).await
}

/// Show your XP to everyone again
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::anyone("show_xp [@user]", "show_xp").private()
)]
pub(super) async fn show_xp(
    ctx: Context<'_>,
    #[description = "Whose XP; yours if left out"] user: Option<UserArgument>,
) -> Result<(), Error> {
    set_hidden(ctx, user, false).await
}

async fn set_hidden(
    ctx: Context<'_>,
    user: Option<UserArgument>,
    hidden: bool,
) -> Result<(), Error> {
    let caller = caller_id(ctx)?;
    let user = user.unwrap_or(UserArgument::Caller);
    let own = user.id().is_none_or(|id| id == caller);
    if !own {
        check_privacy_right(ctx, hidden).await?;
    }
    let user = resolve_user(ctx, user).await?;
    user.check_human()?;
    let request = AdjustmentRequest {
        request: request_id(ctx).await?,
        user: user.id,
        caller,
        adjustment: Adjustment::Hide { hidden },
        reason: None,
        announce_in: None,
    };
    let changed = adjust(ctx, request).await?;
    let whose = if own {
        "Your XP".to_owned()
    } else {
        format!("{}'s XP", escape(&user.name))
    };
    let state = if hidden { "hidden" } else { "visible" };
    let sentence = if changed.is_different() {
        let roles = match (hidden, own) {
            (false, _) => "",
            (true, true) => " Your level roles stay visible to everyone.",
            (true, false) => " Their level roles stay visible to everyone.",
        };
        format!("{whose} is now {state}.{roles}")
    } else {
        format!("{whose} is already {state}.")
    };
    if !own {
        tracing::info!(user = %user.id, by = %caller, hidden, "someone's privacy was changed for them");
    }
    answer(ctx, Reply::text(sentence).private()).await
}

/// An error for the caller unless they may change someone else's privacy.
async fn check_privacy_right(ctx: Context<'_>, hidden: bool) -> Result<(), Error> {
    let rights = &ctx.data().rights;
    let caller = rights.caller(ctx).await;
    if rights.allow(Right::Privacy, &caller)? {
        return Ok(());
    }
    let user = ctx.author().id;
    tracing::warn!(%user, hidden, "someone without the right tried to change another's privacy");
    let holders = rights.holders(Right::Privacy, &caller);
    let verb = if hidden { "hide" } else { "show" };
    let sentence = format!("Only {holders} can {verb} someone else's XP.");
    Err(UserError(sentence).into())
}
