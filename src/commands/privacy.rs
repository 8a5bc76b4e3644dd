//! `.hide_xp` and `.show_xp`: who may see someone's XP.

use super::person::{Person, caller_id};
use super::rights::Right;
use super::target::Target;
use super::xp::{change, request_id};
use super::{Context, Error, Manual, answer};
use crate::discord::reply::Reply;
use crate::error::UserError;
use crate::leveling::escape;
use crate::xp::{Adjustment, AdjustmentRequest};

/// Hide your XP from everyone else
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = "Manual { usage: \"hide_xp [@user]\", example: \"hide_xp\", right: Right::Anyone, private: true }"
)]
pub(super) async fn hide_xp(
    ctx: Context<'_>,
    #[description = "Whose XP; yours if left out"] user: Option<Target>,
) -> Result<(), Error> {
    set(ctx, user.unwrap_or(Target::Caller), true).await
}

/// Show your XP to everyone again
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = "Manual { usage: \"show_xp [@user]\", example: \"show_xp\", right: Right::Anyone, private: true }"
)]
pub(super) async fn show_xp(
    ctx: Context<'_>,
    #[description = "Whose XP; yours if left out"] user: Option<Target>,
) -> Result<(), Error> {
    set(ctx, user.unwrap_or(Target::Caller), false).await
}

async fn set(ctx: Context<'_>, target: Target, hidden: bool) -> Result<(), Error> {
    let caller = caller_id(ctx)?;
    let own = target.id().is_none_or(|id| id == caller);
    if !own {
        check_privacy(ctx, hidden).await?;
    }
    let person = Person::find(ctx, target).await?;
    if person.is_bot() {
        return Err(UserError("Bots do not earn any XP.".to_owned()).into());
    }
    let hide = AdjustmentRequest {
        request: request_id(ctx).await?,
        user: person.id,
        asker: caller,
        adjustment: Adjustment::Hide { hidden },
        reason: None,
        announce_in: None,
    };
    let changed = change(ctx, hide).await?;
    let whose = if own {
        "Your XP".to_owned()
    } else {
        format!("{}'s XP", escape(&person.name))
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
        tracing::info!(user = %person.id, by = %caller, hidden, "someone's privacy was changed for them");
    }
    answer(ctx, Reply::text(sentence).private()).await
}

/// An error for the caller unless they may change another's privacy.
async fn check_privacy(ctx: Context<'_>, hidden: bool) -> Result<(), Error> {
    let rights = &ctx.data().setting.rights;
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
