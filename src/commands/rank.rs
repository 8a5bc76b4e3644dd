//! `.rank`: the stat card of the caller or of someone else.

use poise::serenity_prelude::CreateEmbed;

use super::person::Person;
use super::rights::Right;
use super::target::Target;
use super::{Context, Error, Manual, answer, settle};
use crate::discord::reply::{INFO, Reply};
use crate::leveling::{Grouped, escape};
use crate::xp::Card;

/// Show a stat card: XP, messages, rank and level
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = "Manual { usage: \"rank [@user]\", example: \"rank @alice\", right: Right::Anyone, private: false }"
)]
pub(super) async fn rank(
    ctx: Context<'_>,
    #[description = "Whose card; yours if left out"] user: Option<Target>,
) -> Result<(), Error> {
    settle(ctx).await;
    let person = Person::find(ctx, user.unwrap_or(Target::Caller)).await?;
    let name = escape(&person.name);
    let known = ctx.data().setting.xp.get(person.id);
    let own = person.id.get() == ctx.author().id.get();
    if known.is_some_and(|user| user.hidden) && !own {
        return answer(ctx, Reply::text(person.keeps_hidden()).private()).await;
    }
    let Some(card) = ctx.data().setting.xp.card(person.id) else {
        return answer(ctx, Reply::text(person.has_none()).private()).await;
    };
    let mut embed = CreateEmbed::new()
        .title(format!("{name}'s Stat Card"))
        .description(describe(&card))
        .color(INFO);
    if let Some(user) = &person.user {
        embed = embed.thumbnail(user.face());
    }
    let reply = Reply::embed(embed);
    answer(ctx, if card.hidden { reply.private() } else { reply }).await
}

/// The card's lines.
fn describe(card: &Card) -> String {
    let into_level = Grouped(card.progress.into_level);
    let xp = match card.progress.needed {
        Some(needed) => format!("{into_level} / {} XP", Grouped(needed)),
        None => format!("{into_level} XP"),
    };
    let Card {
        standing,
        progress,
        rank,
        ..
    } = card;
    format!(
        "{xp}\nTotal XP: {}\nTotal Messages: {}\nRank #{}\nLevel #{}",
        Grouped(standing.points),
        Grouped(standing.message_count),
        Grouped(rank),
        progress.level
    )
}
