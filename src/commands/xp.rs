//! `/give_xp`, `/set_xp` and `/xp_log`: what moderators change by hand, and the record of it.
//!
//! Nothing is written here: a change goes through the engine like a message, and what is
//! said of it is what the engine says.

use std::time::{Duration, Instant};

use poise::serenity_prelude::CreateEmbed;

use super::answering::AWAY;
use super::person::{Names, Person, caller_id};
use super::rights::Right;
use super::target::Someone;
use super::{Context, Error, Manual, answer, defer, settle};
use crate::discord::reply::{INFO, Reply, fitting_lines};
use crate::error::UserError;
use crate::leveling::{ChannelId, Grouped, Points, RequestId, UserId, escape, escape_text};
use crate::store::{self, xp_change::XpChange};
use crate::xp::{Adjusted, Adjustment, AdjustmentError, AdjustmentRequest};

/// How long a change may take; with what the engine adds to it, it fits into the 3 s that
/// Discord gives a slash command.
const PATIENCE: Duration = Duration::from_millis(1_200);
/// How long the log may take to be read.
const READ_PATIENCE: Duration = Duration::from_secs(5);
/// How long points wait for what was missed to be counted, as it is after every start.
const CATCHING_UP: Duration = Duration::from_secs(5);
/// How long Discord is given to say what time it is.
const ASK_TIME: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// More than anybody has: a slip of the finger stops here.
const MOST: i64 = 100_000_000;
/// Changes that `/xp_log` shows.
const SHOWN: u16 = 10;
/// Characters of a reason.
const REASON: usize = 300;
/// And as many of it in the log as let ten of them fit, however many need an escape.
const REASON_SHOWN: usize = 110;

/// Give someone XP, or take some away
#[poise::command(
    prefix_command,
    slash_command,
    default_member_permissions = "MANAGE_MESSAGES",
    custom_data = "Manual {
        usage: \"give_xp @user amount [announce] reason\",
        example: \"give_xp @alice 50 won the raffle\",
        right: Right::Moderator,
        private: false,
    }"
)]
pub(super) async fn give_xp(
    ctx: Context<'_>,
    #[description = "Who gets it"] user: Someone,
    #[description = "How much; a negative number takes it away"]
    #[min = -100_000_000]
    #[max = 100_000_000]
    amount: i64,
    #[description = "Announce a level that this brings"]
    #[flag]
    announce: bool,
    #[description = "Why; kept in the log"]
    #[min_length = 1]
    #[max_length = 300]
    #[rest]
    reason: String,
) -> Result<(), Error> {
    if amount == 0 || amount.unsigned_abs() > MOST.unsigned_abs() {
        let sentence = format!(
            "The amount must be a number from 1 to {}, or negative to take XP away.",
            Grouped(MOST)
        );
        return Err(UserError(sentence).into());
    }
    carry_out(ctx, user, Adjustment::Give { amount }, announce, reason).await
}

/// Set how much XP someone has
#[poise::command(
    prefix_command,
    slash_command,
    default_member_permissions = "MANAGE_MESSAGES",
    custom_data = "Manual {
        usage: \"set_xp @user amount [announce] reason\",
        example: \"set_xp @alice 475 moved from another account\",
        right: Right::Moderator,
        private: false,
    }"
)]
pub(super) async fn set_xp(
    ctx: Context<'_>,
    #[description = "Whose XP"] user: Someone,
    #[description = "How much they have then"]
    #[min = 0]
    #[max = 100_000_000]
    amount: i64,
    #[description = "Announce a level that this brings"]
    #[flag]
    announce: bool,
    #[description = "Why; kept in the log"]
    #[min_length = 1]
    #[max_length = 300]
    #[rest]
    reason: String,
) -> Result<(), Error> {
    let points = u64::try_from(amount).ok().filter(|_| amount <= MOST);
    let Some(amount) = points.and_then(Points::new) else {
        let sentence = format!("The amount must be a number from 0 to {}.", Grouped(MOST));
        return Err(UserError(sentence).into());
    };
    carry_out(ctx, user, Adjustment::Set { amount }, announce, reason).await
}

/// Show what moderators have changed of someone's XP
#[poise::command(
    prefix_command,
    slash_command,
    default_member_permissions = "MANAGE_MESSAGES",
    custom_data = "Manual { usage: \"xp_log @user\", example: \"xp_log @alice\", right: Right::Moderator, private: true }"
)]
pub(super) async fn xp_log(
    ctx: Context<'_>,
    #[description = "Whose XP"] user: Someone,
) -> Result<(), Error> {
    settle(ctx).await;
    let data = ctx.data();
    let person = Person::find(ctx, user.0).await?;
    let hidden = data
        .setting
        .xp
        .get(person.id)
        .is_some_and(|user| user.hidden);
    if hidden && matches!(ctx, Context::Prefix(_)) {
        let sentence = "Type `/xp_log` to see the changes privately.";
        return answer(
            ctx,
            Reply::text(format!("{} {sentence}", person.keeps_hidden())),
        )
        .await;
    }
    let read = store::within(READ_PATIENCE, async {
        let mut session = data.setting.database.acquire().await?;
        store::xp_change::of_user(&mut session, person.id, SHOWN).await
    });
    let changes = read.await?;
    let name = escape(&person.name);
    if changes.is_empty() {
        let sentence = format!("No moderator has changed {name}'s XP.");
        return answer(ctx, Reply::text(sentence).private()).await;
    }
    let moderators: Vec<UserId> = changes.iter().map(|change| change.moderator).collect();
    let names = Names::read(&data.setting.database, &moderators).await;
    let embed = CreateEmbed::new()
        .title(format!("Changes of {name}'s XP"))
        .description(fitting_lines(
            changes.iter().map(|change| line(change, &names)),
        ))
        .color(INFO);
    answer(ctx, Reply::embed(embed).private()).await
}

/// Hands a change to the engine. What is said of a failure is what is known of it.
pub(super) async fn change(
    ctx: Context<'_>,
    request: AdjustmentRequest,
) -> Result<Adjusted, Error> {
    let about_points = !matches!(request.adjustment, Adjustment::Hide { .. });
    let started = Instant::now();
    let changed = loop {
        let changed = ctx
            .data()
            .setting
            .inbox
            .adjust(request.clone(), PATIENCE)
            .await;
        match changed {
            Err(AdjustmentError::CatchingUp) if started.elapsed() < CATCHING_UP => {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            changed => break changed,
        }
    };
    changed.map_err(|error| {
        let sentence = match error {
            AdjustmentError::NotSaved => AWAY.to_owned(),
            AdjustmentError::Unknown if about_points => {
                "The database is not responding, so I don't know whether this was saved. `xp_log` shows it when the \
                 database is back.".to_owned()
            }
            AdjustmentError::Unknown => {
                "The database is not responding, so I don't know whether this was saved. Look again when the \
                 database is back.".to_owned()
            }
            AdjustmentError::CatchingUp => {
                "I am still counting messages from while I was away. Please try again shortly.".to_owned()
            }
            AdjustmentError::Repeated => "This has been done already.".to_owned(),
        };
        UserError(sentence).into()
    })
}

/// What makes a change happen once, however often Discord sends the command. It is kept as the
/// time of the change: an id from the future is refused.
pub(super) async fn request_id(ctx: Context<'_>) -> Result<RequestId, Error> {
    let id =
        RequestId::new(ctx.id()).ok_or_else(|| anyhow::anyhow!("the command's id is invalid"))?;
    let (time, as_message) = (&ctx.data().setting.time, id.as_message());
    if time.believes(as_message) {
        return Ok(id);
    }
    let fresh = time.ask(ASK_TIME).await;
    if time.rules_out(as_message, fresh) {
        time.refuse("a command", as_message);
        let sentence = "Discord gave this command a time in the future, so I did not run it. Please try again.";
        return Err(UserError(sentence.to_owned()).into());
    }
    Ok(id)
}

async fn carry_out(
    ctx: Context<'_>,
    user: Someone,
    wanted: Adjustment,
    announce: bool,
    reason: String,
) -> Result<(), Error> {
    let reason = reason.trim();
    if escape_text(reason, REASON).is_none() || reason.chars().count() > REASON {
        let sentence =
            format!("Give a reason of at most {REASON} characters; it is kept in the log.");
        return Err(UserError(sentence).into());
    }
    defer(ctx).await?;
    let person = Person::find(ctx, user.0).await?;
    if person.is_bot() {
        return Err(UserError("Bots do not earn any XP.".to_owned()).into());
    }
    let caller = caller_id(ctx)?;
    let request = AdjustmentRequest {
        request: request_id(ctx).await?,
        user: person.id,
        asker: caller,
        adjustment: wanted,
        reason: Some(reason.to_owned()),
        announce_in: ChannelId::new(ctx.channel_id().get()).filter(|_| announce),
    };
    let changed = change(ctx, request).await?;
    tracing::info!(user = %person.id, by = %caller, "a moderator has changed XP");
    let setting = &ctx.data().setting;
    if changed.after.points < changed.before.points {
        // Roles are only taken by a verification.
        setting.verifications.soon();
    } else if changed.after != changed.before {
        setting.members.look_at(person.id);
    }
    answer(ctx, say(&person, &changed)).await
}

/// Who hides is not given away by it: a text command is answered in public.
fn say(person: &Person, changed: &Adjusted) -> Reply {
    let name = escape(&person.name);
    let Adjusted { before, after } = changed;
    if after.hidden {
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

fn line(change: &XpChange, names: &Names) -> String {
    let (before, after) = (change.before.get(), change.after.get());
    let by = i128::from(after) - i128::from(before);
    let at = change.request.asked_at().millis() / 1_000;
    let reason = change.reason.as_deref();
    let reason = reason.and_then(|reason| escape_text(reason, REASON_SHOWN));
    format!(
        "<t:{at}:f> {}: {} → {} ({:+}): {}",
        names.with_mention(change.moderator),
        Grouped(before),
        Grouped(after),
        Grouped(by),
        reason.as_deref().unwrap_or("no reason")
    )
}
