//! `.reset_attempts`: queues avatars that could not be copied for another attempt.

use std::time::Duration;

use super::args::{All, NamedUser};
use super::context::{Context, Error, Manual, caller_id, usage};
use super::resolve_user::resolve_user;
use super::respond::{answer, defer};
use crate::discord::messages::reply::Reply;
use crate::error::UserError;
use crate::leveling::{Grouped, UserId, escape};
use crate::profiles::MAX_ATTEMPTS;
use crate::store;
use crate::store::updated_user;
use crate::store::user_point::profiles;

const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Users in one transaction. Small, because a batch of XP may have to wait for it.
const CHUNK: u16 = 2_000;

/// Try an avatar again that could not be copied, or all of them
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::operators("reset_attempts @user or all", "reset_attempts @alice").private()
)]
pub(super) async fn reset_attempts(
    ctx: Context<'_>,
    #[description = "Whose attempts"] user: Option<NamedUser>,
    #[description = "Everybody's attempts"] all: Option<All>,
) -> Result<(), Error> {
    let sentence = match (user, all) {
        (Some(user), None | Some(All(false))) => reset_one(ctx, user).await?,
        (None, Some(All(true))) => reset_all(ctx).await?,
        _ => return Err(UserError(usage(ctx)).into()),
    };
    answer(ctx, Reply::text(sentence).private()).await
}

/// Resets all avatars, parked or not, in chunks. If this is interrupted, the same command does the
/// rest.
async fn reset_all(ctx: Context<'_>) -> Result<String, Error> {
    defer(ctx).await?;
    let database = &ctx.data().bot.env.database;
    let (mut users, mut parked, mut last) = (0, 0, None);
    loop {
        let reset = store::within(TRANSACTION_TIMEOUT, async {
            let mut transaction = database.begin().await?;
            let failed = profiles::reset_next_attempts(&mut transaction, last, CHUNK).await?;
            let users: Vec<UserId> = failed.iter().map(|(user, _)| *user).collect();
            updated_user::hurry(&mut transaction, &users).await?;
            store::commit(transaction).await?;
            Ok(failed)
        });
        let failed = reset.await?;
        let Some((user, _)) = failed.last() else {
            break;
        };
        last = Some(*user);
        users += failed.len();
        let of_parked = failed.iter().filter(|(_, count)| *count >= MAX_ATTEMPTS);
        parked += of_parked.count();
    }
    if users == 0 {
        return Ok("No avatar has failed to copy.".to_owned());
    }
    tracing::info!(by = %caller_id(ctx)?, users, parked, "all failed attempts were reset");
    let people = if users == 1 { "user" } else { "users" };
    Ok(format!(
        "Reset the failed attempts at the avatars of {} {people}, {} of them parked. I am trying them again now.",
        Grouped(users),
        Grouped(parked)
    ))
}

async fn reset_one(ctx: Context<'_>, NamedUser(user): NamedUser) -> Result<String, Error> {
    defer(ctx).await?;
    let user = resolve_user(ctx, user).await?;
    let database = &ctx.data().bot.env.database;
    let reset = store::within(TRANSACTION_TIMEOUT, async {
        let mut transaction = database.begin().await?;
        let before = profiles::reset_attempts(&mut transaction, user.id).await?;
        updated_user::hurry(&mut transaction, &[user.id]).await?;
        store::commit(transaction).await?;
        Ok(before)
    });
    let name = escape(&user.name);
    Ok(match reset.await? {
        Some(0) => format!("{name}'s avatar has not failed to copy."),
        Some(failed) => {
            tracing::info!(user = %user.id, by = %caller_id(ctx)?, failed, "failed attempts were reset");
            let attempts = if failed == 1 { "attempt" } else { "attempts" };
            format!(
                "Reset {failed} failed {attempts} at {name}'s avatar. I am trying it again now."
            )
        }
        None => {
            return Err(UserError(format!("{name} has no XP yet, so no avatar is kept.")).into());
        }
    })
}
