//! `.levels`: which level carries which role, and which roles are missing.

use poise::serenity_prelude::{CreateEmbed, CreateEmbedFooter};

use super::person::caller_id;
use super::ranks::{Page, ROWS, existing};
use super::rights::{Right, guild_roles};
use super::{Context, Error, Manual, answer, settle};
use crate::discord::buttons::{self, List};
use crate::discord::reply::{INFO, Reply};
use crate::leveling::{Grouped, GuildRole, Level, UserId, escape};
use crate::xp::XpCache;

/// List the levels that carry a role
#[poise::command(
    prefix_command,
    slash_command,
    default_member_permissions = "MANAGE_MESSAGES",
    custom_data = "Manual { usage: \"levels [page]\", example: \"levels\", right: Right::Moderator, private: false }"
)]
pub(super) async fn levels(
    ctx: Context<'_>,
    #[description = "Which page; the first if left out"]
    #[min = 1]
    page: Option<Page>,
) -> Result<(), Error> {
    settle(ctx).await;
    let roles = guild_roles(ctx.data()).await?;
    let list = Listed::new(&ctx.data().setting.xp, &roles);
    let page = match page {
        Some(Page(page)) => existing(page, list.pages())?,
        None => 1,
    };
    answer(ctx, list.draw(caller_id(ctx)?, page)).await
}

/// The levels with a name, those whose role is missing last.
pub(super) struct Listed {
    /// A line for each, in the order in which they are shown.
    lines: Vec<String>,
    /// How many of them are there; the rest is missing.
    there: usize,
}

impl Listed {
    pub fn new(xp: &XpCache, roles: &[GuildRole]) -> Self {
        let levels = xp.levels();
        let named = levels
            .rows()
            .iter()
            .filter(|level| level.role_name.is_some());
        let (there, missing): (Vec<_>, Vec<_>) = named
            .map(|level| (level, role_of(level, roles)))
            .partition(|(_, role)| role.is_some());
        let present = |(level, role): &(&Level, Option<&GuildRole>)| {
            let reached = match xp.reached(level.total_points_required) {
                1 => "1 member".to_owned(),
                count => format!("{} members", Grouped(count)),
            };
            let role = (*role)?;
            // A mention of a role shows its name to everyone in the guild.
            Some(format!(
                "{} - <@&{}> - reached by {reached}",
                level.number, role.id
            ))
        };
        let absent = |(level, _): &(&Level, Option<&GuildRole>)| {
            let name = escape(level.role_name.as_deref()?);
            Some(format!("{} - {name}", level.number))
        };
        let lines = there.iter().filter_map(present);
        Self {
            lines: lines.chain(missing.iter().filter_map(absent)).collect(),
            there: there.len(),
        }
    }

    /// How many pages it takes; none at all takes one.
    pub fn pages(&self) -> usize {
        self.lines.len().div_ceil(ROWS).max(1)
    }

    pub fn draw(&self, caller: UserId, page: usize) -> Reply {
        if self.lines.is_empty() {
            return Reply::text("No level carries a role yet; `set_level_name` gives it one.");
        }
        let first = (page - 1) * ROWS;
        let mut text = Vec::new();
        for (at, line) in self.lines.iter().enumerate().skip(first).take(ROWS) {
            if at == self.there || (at == first && at > self.there) {
                text.push("**Missing from the guild**");
            }
            text.push(line);
        }
        let embed = CreateEmbed::new()
            .title("Levels")
            .description(text.join("\n"))
            .footer(CreateEmbedFooter::new(format!("{page}/{}", self.pages())))
            .color(INFO);
        Reply::embed(embed).with_buttons(buttons::to_turn(caller, List::Levels, page))
    }
}

/// The role that a level carries: by its id, or, where none has been seen yet, by its name.
fn role_of<'a>(level: &Level, roles: &'a [GuildRole]) -> Option<&'a GuildRole> {
    let named = |role: &&GuildRole| Some(&*role.name) == level.stored_name();
    match level.role_id {
        Some(_) => level.role_in(roles),
        None => roles.iter().find(named),
    }
}
