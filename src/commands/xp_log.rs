//! `.xp_log`: the record of what moderators changed.

use std::time::Duration;

use poise::serenity_prelude::CreateEmbed;

use super::args::NamedUser;
use super::context::{Context, Error, Manual};
use super::resolve_user::{StoredNames, resolve_user};
use super::respond::{answer, settle};
use crate::discord::messages::colors::INFO;
use crate::discord::messages::reply::{Reply, fitting_lines};
use crate::leveling::{Grouped, UserId, escape, escape_text};
use crate::store::{self, xp_change::XpChange};

const READ_TIMEOUT: Duration = Duration::from_secs(5);
const LOG_ENTRIES: u16 = 10;
/// Maximum length of a reason, in characters. Ten of them fit into an embed even if every character
/// is escaped.
const MAX_SHOWN_REASON: usize = 110;

/// Show how moderators have changed someone's XP
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::moderators("xp_log @user", "xp_log @alice").private()
)]
pub(super) async fn xp_log(
    ctx: Context<'_>,
    #[description = "Whose XP"] user: NamedUser,
) -> Result<(), Error> {
    settle(ctx).await;
    let data = ctx.data();
    let user = resolve_user(ctx, user.0).await?;
    let hidden = data
        .bot
        .env
        .xp
        .get(user.id)
        .is_some_and(|known| known.hidden);
    if hidden && matches!(ctx, Context::Prefix(_)) {
        let hidden_answer = user.hidden_xp_answer();
        let sentence = format!("{hidden_answer} Type `/xp_log` to see the changes privately.");
        return answer(ctx, Reply::text(sentence)).await;
    }
    let read = store::within(READ_TIMEOUT, async {
        let mut session = data.bot.env.database.acquire().await?;
        store::xp_change::of_user(&mut session, user.id, LOG_ENTRIES).await
    });
    let changes = read.await?;
    let name = escape(&user.name);
    if changes.is_empty() {
        let sentence = format!("No moderator has changed {name}'s XP.");
        return answer(ctx, Reply::text(sentence).private()).await;
    }
    let moderators: Vec<UserId> = changes.iter().map(|change| change.moderator).collect();
    let names = StoredNames::read(&data.bot.env.database, &moderators).await;
    let lines = changes.iter().map(|change| line(change, &names));
    let embed = CreateEmbed::new()
        .title(format!("Changes of {name}'s XP"))
        .description(fitting_lines(lines))
        .color(INFO);
    answer(ctx, Reply::embed(embed).private()).await
}

fn line(change: &XpChange, names: &StoredNames) -> String {
    let (before, after) = (change.before.get(), change.after.get());
    let by = i128::from(after) - i128::from(before);
    let at = change.request.asked_at().millis() / 1_000;
    let reason = change.reason.as_deref();
    let reason = reason.and_then(|reason| escape_text(reason, MAX_SHOWN_REASON));
    format!(
        "<t:{at}:f> {}: {} → {} ({:+}): {}",
        names.with_mention(change.moderator),
        Grouped(before),
        Grouped(after),
        Grouped(by),
        reason.as_deref().unwrap_or("no reason")
    )
}
