//! The values that Discord suggests while a moderator types a slash command.
//!
//! Discord shows suggestions as plain text, so nothing in them is escaped. The command checks the
//! chosen value again, since people can send any.

use poise::serenity_prelude::{AutocompleteChoice, CreateAutocompleteResponse};

use super::context::Context;
use super::rights::guild_roles;
use super::xp_rules::{MultiplierChange, RuleDuration};
use crate::leveling::{GuildRole, Level};

/// Discord's limit for the number of suggestions.
const MAX_SUGGESTIONS: usize = 25;
/// Discord's limit for the length of a suggestion's label, in characters.
const MAX_LABEL: usize = 100;

/// All levels, such as `5 · Missing Semicolon`.
#[expect(clippy::unused_async, reason = "the shape that poise asks for")]
pub(super) async fn levels(ctx: Context<'_>, typed: &str) -> CreateAutocompleteResponse {
    suggest_levels(ctx, typed, |_| true)
}

/// The levels that carry a role.
#[expect(clippy::unused_async, reason = "the shape that poise asks for")]
pub(super) async fn named_levels(ctx: Context<'_>, typed: &str) -> CreateAutocompleteResponse {
    suggest_levels(ctx, typed, |level| level.role_name.is_some())
}

/// Roles of the guild that a level may carry, judged by what is known without asking Discord.
pub(super) async fn roles(ctx: Context<'_>, typed: &str) -> CreateAutocompleteResponse {
    let data = ctx.data();
    let rights = data.rights.protected();
    let levels = data.bot.env.xp.levels();
    let roles = guild_roles(data).await;
    let may_be_one = |role: &GuildRole| {
        !role.managed
            && !role.moderates()
            && role.id.get() != data.bot.env.guild.get()
            && !rights.covers(role)
            && levels.carrying(role.id).is_none()
    };
    let mut names: Vec<String> = roles
        .unwrap_or_default()
        .into_iter()
        .filter(may_be_one)
        .map(|role| role.name)
        .filter(|name| contains(name, typed))
        .collect();
    names.sort_unstable();
    names.dedup();
    let choices = names.into_iter().map(|name| (name.clone(), name.into()));
    response(choices)
}

/// Usual percentages, and `off`.
#[expect(clippy::unused_async, reason = "the shape that poise asks for")]
pub(super) async fn percentages(_: Context<'_>, typed: &str) -> CreateAutocompleteResponse {
    const USUAL: [&str; 7] = ["50", "75", "125", "150", "200", "300", "500"];
    let typed = typed.trim();
    let is_other = !USUAL.contains(&typed) && MultiplierChange::is_percentage(typed);
    let typed_one = is_other.then_some(typed).into_iter();
    let percentages = typed_one.chain(USUAL.into_iter().filter(|one| one.starts_with(typed)));
    let choices = percentages.map(|percent| {
        let percent = percent.trim_end_matches(['%', ' ']);
        (format!("{percent} %"), percent.into())
    });
    let off = ("off: the usual XP".to_owned(), "off".into());
    response(choices.chain("off".starts_with(&typed.to_lowercase()).then_some(off)))
}

/// Usual durations.
#[expect(clippy::unused_async, reason = "the shape that poise asks for")]
pub(super) async fn durations(_: Context<'_>, typed: &str) -> CreateAutocompleteResponse {
    const USUAL: [&str; 9] = ["30m", "1h", "2h", "6h", "12h", "1d", "2d", "7d", "30d"];
    let typed = typed.trim().to_ascii_lowercase();
    let typed_one = (!USUAL.contains(&typed.as_str())).then_some(typed.as_str());
    let all = typed_one
        .into_iter()
        .chain(USUAL.into_iter().filter(|one| one.starts_with(&typed)));
    let choices = all.filter_map(|text| {
        let duration = RuleDuration::parse(text).ok()?;
        Some((duration.to_string(), text.into()))
    });
    response(choices)
}

fn suggest_levels(
    ctx: Context<'_>,
    typed: &str,
    wanted: impl Fn(&Level) -> bool,
) -> CreateAutocompleteResponse {
    let levels = ctx.data().bot.env.xp.levels();
    let label = |level: &Level| match &level.role_name {
        Some(name) => format!("{} · {name}", level.number),
        None => level.number.to_string(),
    };
    let choices = levels
        .rows()
        .iter()
        .filter(|level| wanted(level))
        .map(|level| (label(level), level.number.0.into()))
        .filter(|(label, _)| contains(label, typed));
    response(choices)
}

fn contains(text: &str, typed: &str) -> bool {
    text.to_lowercase().contains(&typed.trim().to_lowercase())
}

fn response(
    choices: impl Iterator<Item = (String, serde_json::Value)>,
) -> CreateAutocompleteResponse {
    let choices = choices.take(MAX_SUGGESTIONS).map(|(label, value)| {
        let label: String = label.chars().take(MAX_LABEL).collect();
        AutocompleteChoice::new(label, value)
    });
    CreateAutocompleteResponse::new().set_choices(choices.collect())
}
