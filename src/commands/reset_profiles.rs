//! `.reset_profiles`: drops every stored avatar and bucket, once the caller has confirmed it.

use std::time::{Duration, Instant};

use super::context::{Context, Data, Error, Manual, caller_id};
use super::respond::answer;
use crate::discord::messages::button_labels;
use crate::discord::messages::buttons::{ButtonAction, ButtonStyle, row};
use crate::discord::messages::interaction::Conversation;
use crate::discord::messages::reply::Reply;
use crate::error::UserError;
use crate::leveling::{Grouped, UserId};
use crate::store;
use crate::store::updated_user;
use crate::store::user_point::profiles;

const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Users in one transaction. Small, because a batch of XP may have to wait for it.
const CHUNK: u16 = 2_000;
/// How often the answer shows progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(4);

/// Drop every stored avatar and copy all of them again
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::operators("reset_profiles", "reset_profiles")
)]
pub(super) async fn reset_profiles(ctx: Context<'_>) -> Result<(), Error> {
    let question = format!(
        "This drops the stored avatars of up to {} users and spreads their regular checks evenly again. Deleted \
         accounts keep their avatars, and all names and XP stay. The avatars are then copied again, about one a \
         second; until then the leaderboard shows Discord's default ones.",
        Grouped(ctx.data().bot.env.xp.len())
    );
    let buttons = [
        (
            ButtonAction::ResetProfiles,
            button_labels::DROP_AVATARS,
            ButtonStyle::Danger,
        ),
        (
            ButtonAction::KeepAsIs,
            button_labels::LEAVE_EVERYTHING,
            ButtonStyle::Secondary,
        ),
    ];
    let reply = Reply::text(question).with_buttons(row(caller_id(ctx)?, &buttons));
    answer(ctx, reply).await
}

/// Drops all avatars and buckets, and queues the avatars to be copied again: in chunks, by user
/// id. If this is interrupted, confirming the command again does the rest.
pub(super) async fn carry_out(
    data: &Data,
    caller: UserId,
    conversation: &Conversation,
) -> Result<Reply, Error> {
    let (mut users, mut avatars) = (0, 0);
    let (mut last, mut shown_at) = (None, Instant::now());
    loop {
        let reset = store::within(TRANSACTION_TIMEOUT, async {
            let mut transaction = data.bot.env.database.begin().await?;
            let users = profiles::reset_next(&mut transaction, last, CHUNK).await?;
            let avatars = updated_user::want_pictures_anew(&mut transaction, &users).await?;
            store::commit(transaction).await?;
            Ok((users, avatars))
        });
        let (reset, queued) = match reset.await {
            Ok(reset) => reset,
            Err(error) if users == 0 => return Err(error.into()),
            Err(error) => {
                tracing::error!(%error, users, "only some of the avatars were dropped");
                let sentence = format!(
                    "The avatars of {} users were dropped, then the database stopped responding. Type \
                     `reset_profiles` again to drop the rest.",
                    Grouped(users)
                );
                return Err(UserError(sentence).into());
            }
        };
        users += reset.len();
        avatars += queued;
        last = reset.last().copied();
        if last.is_none() {
            break;
        }
        if shown_at.elapsed() >= PROGRESS_INTERVAL {
            shown_at = Instant::now();
            show_progress(data, users, conversation).await;
        }
    }
    tracing::warn!(by = %caller, users, avatars, "all avatars and buckets were dropped");
    Ok(Reply::text(format!(
        "The avatars of {} users were dropped. Avatars to copy: {}; `profile_queue` shows how many are left.",
        Grouped(users),
        Grouped(avatars)
    )))
}

async fn show_progress(data: &Data, users: usize, conversation: &Conversation) {
    let working = Reply::text(format!(
        "One moment … The avatars of {} of {} users have been dropped.",
        Grouped(users),
        Grouped(data.bot.env.xp.len())
    ));
    if let Err(error) = conversation.replace(&data.bot.env.rest, &working).await {
        tracing::debug!(%error, "progress could not be shown");
    }
}
