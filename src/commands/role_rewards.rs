//! `.role_rewards`: whether members hold the roles of all levels up to theirs, or only the highest.
//!
//! If anyone would lose a role, the change is counted and confirmed first. It is saved before any
//! role changes; a reconcile of everyone carries it out, and finishes what a restart interrupts.

use poise::serenity_prelude as serenity;
use tokio::sync::watch;

use super::adjustment::{believed_request, request_id};
use super::args::RoleRewardsArgument;
use super::context::{Context, Data, Error, Manual, caller_id};
use super::progress::ProgressPace;
use super::respond::{
    DATABASE_UNAVAILABLE, MessageRef, answer, answer_at, ask_in, sentence_for, settle,
};
use super::verify_roles::{follow, say_report};
use crate::discord::RestError;
use crate::discord::messages::button_labels;
use crate::discord::messages::buttons::{self, ButtonAction, ButtonStyle};
use crate::discord::messages::reply::Reply;
use crate::error::UserError;
use crate::guild_settings::ConfirmedRemovals;
use crate::leveling::{Grouped, RequestId, RoleRewards, UserId};
use crate::roles::{ALLOWED_FOR, ChangeCount, no_permission};
use crate::store::guild_setting::SettingChange;

/// Choose whether level roles stack, or each replaces the one before
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::moderators("role_rewards [stack or replace]", "role_rewards replace")
)]
pub(super) async fn role_rewards(
    ctx: Context<'_>,
    #[description = "stack: all roles up to the member's level; replace: only the highest"]
    mode: Option<RoleRewardsArgument>,
) -> Result<(), Error> {
    let data = ctx.data();
    let Some(RoleRewardsArgument(wanted)) = mode else {
        return answer(ctx, Reply::text(say_current(data))).await;
    };
    if data.bot.env.settings.role_rewards() == wanted {
        return answer(ctx, Reply::text(already(wanted))).await;
    }
    let change = SettingChange {
        request: request_id(ctx).await?,
        moderator: caller_id(ctx)?,
        value: wanted,
    };
    // The count depends on everyone's XP.
    settle(ctx).await;
    let (counted, progress) = count(ctx, wanted).await;
    let decided = match counted {
        Ok(count) if !count.can_manage_roles => Err(UserError(no_permission()).into()),
        Ok(count) if count.losing > 0 => Ok(Some(question(change.moderator, wanted, &count))),
        Ok(_) => match save(data, &change, None).await {
            Ok(()) => Ok(None),
            Err(error) => Err(error),
        },
        Err(error) => Err(not_counted(error)),
    };
    match (decided, progress) {
        (Ok(Some(question)), None) => answer(ctx, question).await,
        (Ok(Some(question)), Some(progress)) => ask_in(ctx, &progress, &question).await,
        (Ok(None), progress) => {
            let under_way = Reply::text(under_way(data));
            let shown = match progress {
                Some(progress) => {
                    progress.complete(&data.bot.env.rest, &under_way).await;
                    progress
                }
                None => answer_at(ctx, &under_way).await?,
            };
            finish(data, &shown).await;
            Ok(())
        }
        (Err(error), None) => Err(error),
        (Err(error), Some(progress)) => {
            let sentence = sentence_for(&error, "role_rewards");
            progress
                .complete(&data.bot.env.rest, &Reply::text(sentence))
                .await;
            Ok(())
        }
    }
}

/// What a moderator has confirmed with a button.
#[derive(Clone, Copy, Debug)]
pub(super) struct Confirmed {
    pub rewards: RoleRewards,
    /// Maximum number of members who lose roles.
    pub losing: u64,
}

/// Saves and carries out what a moderator has confirmed. `pressed` is the id of the press. Shows
/// progress and the result in `answer`.
pub(super) async fn carry_out(
    data: &Data,
    caller: UserId,
    pressed: serenity::InteractionId,
    Confirmed { rewards, losing }: Confirmed,
    answer: &MessageRef,
) {
    let rest = &data.bot.env.rest;
    if data.bot.env.settings.role_rewards() == rewards {
        return answer.complete(rest, &Reply::text(already(rewards))).await;
    }
    let saving = async {
        let request = RequestId::new(pressed.get());
        let request = request.ok_or_else(|| anyhow::anyhow!("the press's id is invalid"))?;
        let change = SettingChange {
            request: believed_request(data, request).await?,
            moderator: caller,
            value: rewards,
        };
        let confirmed = ConfirmedRemovals {
            members: u32::try_from(losing).unwrap_or(u32::MAX),
            until: data.bot.env.time.now() + ALLOWED_FOR,
        };
        save(data, &change, Some(confirmed)).await
    };
    if let Err(error) = saving.await {
        let sentence = sentence_for(&error, "role_rewards");
        return answer.complete(rest, &Reply::text(sentence)).await;
    }
    answer.complete(rest, &Reply::text(under_way(data))).await;
    finish(data, answer).await;
}

async fn save(
    data: &Data,
    change: &SettingChange<RoleRewards>,
    confirmed: Option<ConfirmedRemovals>,
) -> Result<(), Error> {
    let saved = data
        .bot
        .env
        .settings
        .set_role_rewards(change, confirmed)
        .await;
    data.bot.roles.book.forget();
    if let Err(error) = saved {
        // If it is saved after all, the next reconcile reads it and carries it out.
        data.bot.roles.schedule.everyone_soon();
        tracing::error!(%error, "whether level roles stack could not be saved");
        let sentence = format!(
            "{DATABASE_UNAVAILABLE} `role_rewards` shows whether this was saved, when the database is back."
        );
        return Err(UserError(sentence).into());
    }
    tracing::info!(
        by = %change.moderator,
        rewards = change.value.word(),
        confirmed = confirmed.map(|confirmed| confirmed.members),
        "whether level roles stack was set"
    );
    Ok(())
}

/// Reconciles everyone, and adds the result to the answer.
async fn finish(data: &Data, answer: &MessageRef) {
    let outcome = follow(data, answer, &format!("{} ", state(current(data)))).await;
    let result = outcome.map_or_else(
        |_| "Members' roles will be updated as soon as Discord responds.".to_owned(),
        |report| say_report(&report),
    );
    let reply = Reply::text(format!("{} {result}", state(current(data))));
    answer.complete(&data.bot.env.rest, &reply).await;
}

/// Counts what would change. If that takes long, shows the progress in an answer, which it returns.
async fn count(
    ctx: Context<'_>,
    wanted: RoleRewards,
) -> (anyhow::Result<ChangeCount>, Option<MessageRef>) {
    let data = ctx.data();
    let (tell, members) = watch::channel(0);
    let counting = data.bot.roles.reconciler.count(wanted, |members| {
        tell.send_replace(members);
    });
    tokio::pin!(counting);
    let (mut shown, mut pace) = (None, ProgressPace::start());
    loop {
        tokio::select! {
            counted = &mut counting => return (counted, shown),
            () = pace.wait() => {}
        }
        let members = *members.borrow();
        let reply = Reply::text(format!(
            "Counting what would change: {} members read.",
            Grouped(members)
        ));
        let told = match &shown {
            None => answer_at(ctx, &reply)
                .await
                .map(|answer| shown = Some(answer)),
            Some(answer) => answer
                .rewrite(&data.bot.env.rest, &reply)
                .await
                .map_err(Error::from),
        };
        if let Err(error) = told {
            tracing::debug!(%error, "progress could not be shown");
        }
        pace.edited();
    }
}

fn not_counted(error: Error) -> Error {
    match error.downcast_ref() {
        Some(RestError::Refused { status: 403, .. }) => UserError(
            "I can't count who would lose roles, so nothing was changed: Discord shows me the members only when the \
             Server Members Intent is on, on the Bot page of the developer portal."
                .to_owned(),
        )
        .into(),
        _ => error,
    }
}

fn question(caller: UserId, wanted: RoleRewards, count: &ChangeCount) -> Reply {
    let apply = ButtonAction::ApplyRoleRewards {
        rewards: wanted,
        losing: count.losing,
    };
    let choice = [
        (apply, button_labels::APPLY, ButtonStyle::Danger),
        (
            ButtonAction::KeepAsIs,
            button_labels::CANCEL,
            ButtonStyle::Secondary,
        ),
    ];
    Reply::text(say_count(wanted, count)).with_buttons(buttons::row(caller, &choice))
}

fn say_count(wanted: RoleRewards, count: &ChangeCount) -> String {
    let plan = match wanted {
        RoleRewards::Stack => "Members would hold the roles of all levels up to theirs.",
        RoleRewards::Replace => "Members would hold only the role of their highest named level.",
    };
    let roles = |count| match count {
        1 => "1 role".to_owned(),
        count => format!("{} roles", Grouped(count)),
    };
    let gains = match count.gaining {
        0 => String::new(),
        gaining => format!(
            ", and {} would get {}",
            Grouped(gaining),
            roles(count.given)
        ),
    };
    format!(
        "{plan} {} of {} members would lose {} in all{gains}. Nothing is changed yet.",
        Grouped(count.losing),
        Grouped(count.members),
        roles(count.taken)
    )
}

fn current(data: &Data) -> RoleRewards {
    data.bot.env.settings.role_rewards()
}

fn state(rewards: RoleRewards) -> &'static str {
    match rewards {
        RoleRewards::Stack => "Members hold the roles of all levels up to theirs.",
        RoleRewards::Replace => "Members hold only the role of their highest named level.",
    }
}

fn already(rewards: RoleRewards) -> String {
    format!("{} That was set already.", state(rewards))
}

fn under_way(data: &Data) -> String {
    format!("{} Members' roles are being updated.", state(current(data)))
}

/// What is set, by whom and since when, and how to change it.
fn say_current(data: &Data) -> String {
    let change = data.bot.env.settings.role_rewards_change();
    let set = change.map_or_else(String::new, |change| {
        let seconds = change.request.asked_at().millis() / 1_000;
        format!(" <@{}> set this <t:{seconds}:R>.", change.moderator)
    });
    let rewards = current(data);
    let other = match rewards {
        RoleRewards::Stack => RoleRewards::Replace,
        RoleRewards::Replace => RoleRewards::Stack,
    };
    format!(
        "{}{set} Type `role_rewards {}` to change that.",
        state(rewards),
        other.word()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_is_said_in_numbers() {
        let count = |(members, gaining, given, losing, taken)| ChangeCount {
            members,
            gaining,
            given,
            losing,
            taken,
            can_manage_roles: true,
        };
        for (wanted, numbers, said) in [
            (
                RoleRewards::Replace,
                (5_008, 0, 0, 1_120, 3_451),
                "Members would hold only the role of their highest named level. 1,120 of 5,008 members would lose \
                 3,451 roles in all. Nothing is changed yet.",
            ),
            (
                RoleRewards::Stack,
                (8, 2, 3, 1, 1),
                "Members would hold the roles of all levels up to theirs. 1 of 8 members would lose 1 role in all, \
                 and 2 would get 3 roles. Nothing is changed yet.",
            ),
        ] {
            assert_eq!(say_count(wanted, &count(numbers)), said);
        }
    }
}
