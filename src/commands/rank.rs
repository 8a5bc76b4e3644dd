//! `.rank`: the stat card of the caller or of someone else.

use poise::serenity_prelude::CreateEmbed;

use super::args::UserArgument;
use super::context::{Context, Error, Manual};
use super::resolve_user::resolve_user;
use super::respond::{answer, settle};
use crate::discord::messages::colors::INFO;
use crate::discord::messages::reply::Reply;
use crate::leveling::{Grouped, escape};
use crate::xp::Card;

/// Show a stat card: XP, messages, rank and level
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::anyone("rank [@user]", "rank @alice")
)]
pub(super) async fn rank(
    ctx: Context<'_>,
    #[description = "Whose card; yours if left out"] user: Option<UserArgument>,
) -> Result<(), Error> {
    settle(ctx).await;
    let xp = &ctx.data().bot.env.xp;
    let user = resolve_user(ctx, user.unwrap_or(UserArgument::Caller)).await?;
    let hidden = xp.get(user.id).is_some_and(|known| known.hidden);
    let own = user.id.get() == ctx.author().id.get();
    if hidden && !own {
        return answer(ctx, Reply::text(user.hidden_xp_answer()).private()).await;
    }
    let Some(card) = xp.card(user.id) else {
        return answer(ctx, Reply::text(user.no_xp_answer()).private()).await;
    };
    let mut embed = CreateEmbed::new()
        .title(format!("{}'s Stat Card", escape(&user.name)))
        .description(describe(&card))
        .color(INFO);
    if let Some(account) = &user.account {
        embed = embed.thumbnail(account.face());
    }
    let reply = Reply::embed(embed);
    answer(ctx, if card.hidden { reply.private() } else { reply }).await
}

fn describe(card: &Card) -> String {
    let Card {
        standing,
        progress,
        rank,
        ..
    } = card;
    let into_level = Grouped(progress.into_level);
    let xp = match progress.needed {
        Some(needed) => format!("{into_level} / {} XP", Grouped(needed)),
        None => format!("{into_level} XP"),
    };
    format!(
        "{xp}\nTotal XP: {}\nTotal Messages: {}\nRank #{}\nLevel #{}",
        Grouped(standing.points),
        Grouped(standing.message_count),
        Grouped(rank),
        progress.level
    )
}
