//! `.ranks`: the board, ten to a page.

use poise::serenity_prelude::{
    self as serenity, CommandOptionType, CreateCommandOption, CreateEmbed, CreateEmbedFooter,
};
use poise::{PopArgument, SlashArgError, SlashArgument};

use super::person::{Names, Person, caller_id};
use super::rights::Right;
use super::target::Target;
use super::{Context, Data, Error, Manual, answer, settle};
use crate::discord::buttons::{self, List};
use crate::discord::reply::{INFO, Reply};
use crate::error::UserError;
use crate::leveling::{Grouped, UserId};
use crate::xp::{BoardRow, XpCache};

/// Rows on a page.
pub(super) const ROWS: usize = 10;

/// Browse the board: who has the most XP
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = "Manual { usage: \"ranks [page or @user]\", example: \"ranks 2\", right: Right::Anyone, private: false }"
)]
pub(super) async fn ranks(
    ctx: Context<'_>,
    #[description = "Which page; the first if left out"]
    #[min = 1]
    page: Option<Page>,
    #[description = "Show the page on which this user stands"] user: Option<Target>,
) -> Result<(), Error> {
    settle(ctx).await;
    let xp = &ctx.data().setting.xp;
    let page = match (user, page) {
        (Some(target @ Target::Other(..)), _) => match standing_of(ctx, target).await? {
            Ok(rank) => rank.div_ceil(ROWS),
            Err(sentence) => return answer(ctx, Reply::text(sentence).private()).await,
        },
        (_, Some(Page(page))) => existing(page, pages(xp))?,
        (_, None) => 1,
    };
    answer(ctx, draw(ctx.data(), caller_id(ctx)?, page).await).await
}

/// One page, as it is now, with the row of `caller` marked.
pub(super) async fn draw(data: &Data, caller: UserId, page: usize) -> Reply {
    let xp = &data.setting.xp;
    let rows = xp.page((page - 1) * ROWS + 1, ROWS);
    if rows.is_empty() {
        return Reply::text("Nobody has any XP yet.");
    }
    let users: Vec<UserId> = rows.iter().map(|row| row.user).collect();
    let names = Names::read(&data.setting.database, &users).await;
    let lines: Vec<String> = rows.iter().map(|row| line(row, &names, caller)).collect();
    let footer = format!("{}/{}", Grouped(page), Grouped(pages(xp)));
    let embed = CreateEmbed::new()
        .title("Rank - User - Messages - XP - Level")
        .description(lines.join("\n"))
        .footer(CreateEmbedFooter::new(footer))
        .color(INFO);
    Reply::embed(embed).with_buttons(buttons::to_turn(caller, List::Ranks, page))
}

/// How many pages there are now; an empty board has one.
pub(super) fn pages(xp: &XpCache) -> usize {
    xp.board_len().div_ceil(ROWS).max(1)
}

/// The page that was asked for, or a sentence on which there are.
pub(super) fn existing(page: i64, pages: usize) -> Result<usize, UserError> {
    let asked = usize::try_from(page).ok();
    let there = asked.filter(|page| (1..=pages).contains(page));
    there.ok_or_else(|| {
        UserError(if pages == 1 {
            format!("There is no page {}; there is only page 1.", Grouped(page))
        } else {
            format!(
                "There is no page {}; the pages are 1 to {}.",
                Grouped(page),
                Grouped(pages)
            )
        })
    })
}

/// The rank of someone else, or why they have none.
async fn standing_of(ctx: Context<'_>, target: Target) -> Result<Result<usize, String>, Error> {
    let person = Person::find(ctx, target).await?;
    let xp = &ctx.data().setting.xp;
    // To themselves too: everyone would see the answer.
    if xp.get(person.id).is_some_and(|user| user.hidden) {
        return Ok(Err(person.keeps_hidden()));
    }
    Ok(xp.rank_of(person.id).ok_or_else(|| person.has_none()))
}

fn line(row: &BoardRow, names: &Names, caller: UserId) -> String {
    let BoardRow {
        rank,
        user,
        standing,
        level,
    } = row;
    let (rank, messages, points) = (
        Grouped(rank),
        Grouped(standing.message_count),
        Grouped(standing.points),
    );
    let who = names.with_mention(*user);
    let line = format!("{rank} - {who} - {messages} - {points} - {level}");
    if *user == caller {
        format!("**{line}** ◀")
    } else {
        line
    }
}

/// The number of a page. As many digits as an id has are an id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page(pub i64);

/// What was typed is no page.
#[derive(Debug, thiserror::Error)]
#[error("that is not a page")]
struct NotAPage;

#[serenity::async_trait]
impl<'a> PopArgument<'a> for Page {
    async fn pop_from(
        args: &'a str,
        attachment_index: usize,
        _: &serenity::Context,
        _: &serenity::Message,
    ) -> Result<(&'a str, usize, Self), (Box<dyn std::error::Error + Send + Sync>, Option<String>)>
    {
        // All that is left: a number with a word too many is no page.
        let page = args.trim().parse().ok();
        let page = page.filter(|page: &i64| page.unsigned_abs() < 10_u64.pow(16));
        let page = page.ok_or_else(|| (NotAPage.into(), None))?;
        Ok(("", attachment_index, Self(page)))
    }
}

#[serenity::async_trait]
impl SlashArgument for Page {
    async fn extract(
        _: &serenity::Context,
        _: &serenity::CommandInteraction,
        value: &serenity::ResolvedValue<'_>,
    ) -> Result<Self, SlashArgError> {
        match *value {
            serenity::ResolvedValue::Integer(page) => Ok(Self(page)),
            _ => Err(SlashArgError::new_command_structure_mismatch(
                "expected a number",
            )),
        }
    }

    fn create(builder: CreateCommandOption) -> CreateCommandOption {
        builder.kind(CommandOptionType::Integer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_are_not_there_are_named() {
        assert_eq!(existing(2, 2), Ok(2));
        for (page, pages, sentence) in [
            (0, 7, "There is no page 0; the pages are 1 to 7."),
            (-1, 7, "There is no page -1; the pages are 1 to 7."),
            (8, 7, "There is no page 8; the pages are 1 to 7."),
            (2, 1, "There is no page 2; there is only page 1."),
        ] {
            assert_eq!(existing(page, pages), Err(UserError(sentence.to_owned())));
        }
    }
}
