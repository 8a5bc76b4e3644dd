//! `.levels`: which level carries which role, and which roles are missing.

use poise::serenity_prelude::CreateEmbed;

use super::args::PageNumber;
use super::context::{Context, Error, Manual, caller_id};
use super::pages::{footer, page_count, rows_on};
use super::respond::{answer, defer, settle};
use super::rights::guild_roles;
use crate::discord::messages::buttons::{self, PagedList};
use crate::discord::messages::colors::INFO;
use crate::discord::messages::reply::Reply;
use crate::leveling::{Grouped, GuildRole, Level, UserId, escape};
use crate::xp::XpCache;

/// List the levels that carry a role
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::moderators("levels [page]", "levels")
)]
pub(super) async fn levels(
    ctx: Context<'_>,
    #[description = "Which page; the first if left out"]
    #[min = 1]
    page: Option<PageNumber>,
) -> Result<(), Error> {
    // Discord may have to be asked for the guild's roles.
    defer(ctx).await?;
    settle(ctx).await;
    let data = ctx.data();
    let list = LevelList::new(&data.bot.env.xp, &guild_roles(data).await?);
    let page = PageNumber::of(page, list.page_count())?;
    answer(ctx, list.draw(caller_id(ctx)?, page)).await
}

/// The lines of the list, one for each level with a name. Levels whose role is missing from the
/// guild come last.
pub(super) struct LevelList {
    lines: Vec<String>,
    /// How many lines come before the first level whose role is missing.
    present: usize,
}

impl LevelList {
    pub fn new(xp: &XpCache, roles: &[GuildRole]) -> Self {
        let (mut present, mut missing) = (Vec::new(), Vec::new());
        for level in xp.levels().rows() {
            let Some(name) = &level.role_name else {
                continue;
            };
            let number = level.number;
            let Some(role) = role_of(level, roles) else {
                missing.push(format!("{number} - {}", escape(name)));
                continue;
            };
            let reached = match xp.reached(level.total_points_required) {
                1 => "1 member".to_owned(),
                count => format!("{} members", Grouped(count)),
            };
            // Unlike a user's, a role's mention shows its name to everyone in the guild.
            present.push(format!("{number} - <@&{}> - reached by {reached}", role.id));
        }
        Self {
            present: present.len(),
            lines: [present, missing].concat(),
        }
    }

    pub fn page_count(&self) -> usize {
        page_count(self.lines.len())
    }

    pub fn draw(&self, caller: UserId, page: usize) -> Reply {
        if self.lines.is_empty() {
            return Reply::text("No level carries a role yet; `set_level_name` gives it one.");
        }
        let shown = rows_on(page);
        let mut text = Vec::new();
        let lines = self.lines.iter().enumerate();
        for (at, line) in lines.skip(shown.start).take(shown.len()) {
            if at == self.present || (at == shown.start && at > self.present) {
                text.push("**Missing from the guild**");
            }
            text.push(line);
        }
        let embed = CreateEmbed::new()
            .title("Levels")
            .description(text.join("\n"))
            .footer(footer(page, self.page_count()))
            .color(INFO);
        Reply::embed(embed).with_buttons(buttons::page_buttons(caller, PagedList::Levels, page))
    }
}

/// Finds a level's role in the guild by its id. If the level has no id yet, for example after an
/// import, finds it by the level's name.
fn role_of<'a>(level: &Level, roles: &'a [GuildRole]) -> Option<&'a GuildRole> {
    match level.role_id {
        Some(_) => level.role_in(roles),
        None => roles
            .iter()
            .find(|role| Some(&*role.name) == level.stored_name()),
    }
}
