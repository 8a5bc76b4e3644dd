//! `.help`: what the caller may run, and how.

use poise::serenity_prelude::CreateEmbed;

use super::{Command, Context, Error, Manual, answer, manual};
use crate::discord::reply::{INFO, Reply};
use crate::error::UserError;

/// List the commands, or explain one
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = "Manual { usage: \"help [command]\", example: \"help rank\" }"
)]
pub(super) async fn help(
    ctx: Context<'_>,
    #[description = "The command to explain"]
    #[rest]
    command: Option<String>,
) -> Result<(), Error> {
    let prefix = &ctx.data().setting.prefix;
    let commands = &ctx.framework().options().commands;
    let embed = match command
        .as_deref()
        .map(|name| name.trim().trim_start_matches(prefix.as_str()))
    {
        None | Some("") => overview(prefix, commands),
        Some(name) => {
            let same = |command: &&Command| command.name.eq_ignore_ascii_case(name);
            let command = commands.iter().find(same).ok_or_else(|| {
                UserError(format!(
                    "There is no such command. `{prefix}help` lists those there are."
                ))
            })?;
            details(prefix, command)
        }
    };
    answer(ctx, Reply::embed(embed.color(INFO)).private()).await
}

fn overview(prefix: &str, commands: &[Command]) -> CreateEmbed {
    let lines: Vec<String> = commands
        .iter()
        .filter_map(|command| {
            let Manual { usage, example } = manual(command)?;
            let description = command.description.as_deref().unwrap_or_default();
            Some(format!(
                "`{prefix}{usage}`\n{description}. Example: `{prefix}{example}`"
            ))
        })
        .collect();
    CreateEmbed::new().title("Commands").description(format!(
        "{}\n\nEach works as a slash command too, such as `/help`.",
        lines.join("\n\n")
    ))
}

fn details(prefix: &str, command: &Command) -> CreateEmbed {
    let description = command.description.as_deref().unwrap_or_default();
    let how = manual(command).map_or(String::new(), |Manual { usage, example }| {
        format!("\n\nUsage: `{prefix}{usage}`\nExample: `{prefix}{example}`")
    });
    let text = format!("{description}.{how}");
    CreateEmbed::new()
        .title(format!("{prefix}{}", command.name))
        .description(text)
}
