//! `.ranks`: the board, ten to a page.

use poise::serenity_prelude::CreateEmbed;

use super::args::{PageNumber, UserArgument};
use super::context::{Context, Data, Error, Manual, caller_id};
use super::pages::{footer, page_count, page_with_row, rows_on};
use super::resolve_user::{StoredNames, resolve_user};
use super::respond::{answer, settle};
use crate::discord::messages::buttons::{self, PagedList};
use crate::discord::messages::colors::INFO;
use crate::discord::messages::reply::Reply;
use crate::leveling::{Grouped, UserId};
use crate::xp::BoardRow;

/// Browse the board: who has the most XP
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::anyone("ranks [page or @user]", "ranks 2")
)]
pub(super) async fn ranks(
    ctx: Context<'_>,
    #[description = "Which page; the first if left out"]
    #[min = 1]
    page: Option<PageNumber>,
    #[description = "Show the page on which this user stands"] user: Option<UserArgument>,
) -> Result<(), Error> {
    settle(ctx).await;
    let data = ctx.data();
    let page = match user {
        Some(user @ UserArgument::Other { .. }) => match rank_of(ctx, user).await? {
            Ok(rank) => page_with_row(rank),
            Err(sentence) => return answer(ctx, Reply::text(sentence).private()).await,
        },
        _ => PageNumber::of(page, page_count(data.bot.env.xp.board_len()))?,
    };
    answer(ctx, draw(data, caller_id(ctx)?, page).await).await
}

/// The page as it is now, with the caller's row marked.
pub(super) async fn draw(data: &Data, caller: UserId, page: usize) -> Reply {
    let xp = &data.bot.env.xp;
    let shown = rows_on(page);
    let rows = xp.page(shown.start + 1, shown.len());
    if rows.is_empty() {
        return Reply::text("Nobody has any XP yet.");
    }
    let users: Vec<UserId> = rows.iter().map(|row| row.user).collect();
    let names = StoredNames::read(&data.bot.env.database, &users).await;
    let lines: Vec<String> = rows.iter().map(|row| line(row, &names, caller)).collect();
    let embed = CreateEmbed::new()
        .title("Rank - User - Messages - XP - Level")
        .description(lines.join("\n"))
        .footer(footer(page, page_count(xp.board_len())))
        .color(INFO);
    Reply::embed(embed).with_buttons(buttons::page_buttons(caller, PagedList::Ranks, page))
}

/// The rank of someone else, or a sentence on why they have none.
async fn rank_of(ctx: Context<'_>, user: UserArgument) -> Result<Result<usize, String>, Error> {
    let user = resolve_user(ctx, user).await?;
    let xp = &ctx.data().bot.env.xp;
    // Not even for themselves: everyone would see the answer.
    if xp.get(user.id).is_some_and(|known| known.hidden) {
        return Ok(Err(user.hidden_xp_answer()));
    }
    Ok(xp.rank_of(user.id).ok_or_else(|| {
        if xp.is_banned(user.id) {
            user.banned_answer()
        } else {
            user.no_xp_answer()
        }
    }))
}

fn line(row: &BoardRow, names: &StoredNames, caller: UserId) -> String {
    let line = format!(
        "{} - {} - {} - {} - {}",
        Grouped(row.rank),
        names.with_mention(row.user),
        Grouped(row.standing.message_count),
        Grouped(row.standing.points),
        row.level
    );
    if row.user == caller {
        format!("**{line}** ◀")
    } else {
        line
    }
}
