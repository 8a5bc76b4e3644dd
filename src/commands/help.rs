//! `.help`: what the caller may run, and how.

use poise::serenity_prelude::CreateEmbed;

use super::context::{Command, Context, Error, Manual, manual};
use super::respond::answer;
use super::rights::{Caller, Right, Rights};
use crate::discord::messages::colors::INFO;
use crate::discord::messages::reply::Reply;
use crate::error::UserError;

/// List the commands, or explain one
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::anyone("help [command]", "help rank").private()
)]
pub(super) async fn help(
    ctx: Context<'_>,
    #[description = "The command to explain"]
    #[rest]
    command: Option<String>,
) -> Result<(), Error> {
    let data = ctx.data();
    let (prefix, rights) = (&data.prefix, &data.rights);
    let commands = &ctx.framework().options().commands;
    let caller = rights.caller(ctx).await;
    let embed = match command
        .as_deref()
        .map(|name| name.trim().trim_start_matches(prefix.as_str()))
    {
        None | Some("") => overview(prefix, commands, rights, &caller),
        Some(name) => {
            let same = |command: &&Command| command.name.eq_ignore_ascii_case(name);
            let command = commands.iter().find(same).ok_or_else(|| {
                UserError(format!(
                    "There is no such command. `{prefix}help` lists my commands."
                ))
            })?;
            details(prefix, command, rights, &caller)
        }
    };
    answer(ctx, Reply::embed(embed.color(INFO)).private()).await
}

/// What the caller may run.
fn overview(prefix: &str, commands: &[Command], rights: &Rights, caller: &Caller) -> CreateEmbed {
    let mut is_unknown = false;
    let lines: Vec<String> = commands
        .iter()
        .filter_map(|command| {
            let Manual {
                usage,
                example,
                right,
                ..
            } = manual(command)?;
            let allowed = rights.allow(right, caller);
            is_unknown |= allowed.is_err();
            if !allowed.unwrap_or(false) {
                return None;
            }
            let description = command.description.as_deref().unwrap_or_default();
            Some(format!(
                "`{prefix}{usage}`\n{description}. Example: `{prefix}{example}`"
            ))
        })
        .collect();
    CreateEmbed::new().title("Commands").description(format!(
        "{}\n\nEach works as a slash command too, such as `/help`.{}",
        lines.join("\n\n"),
        if is_unknown {
            " I can't check right now whether you may run more commands than these. Please try again shortly."
        } else {
            ""
        }
    ))
}

fn details(prefix: &str, command: &Command, rights: &Rights, caller: &Caller) -> CreateEmbed {
    let mut parts = vec![format!(
        "{}.",
        command.description.as_deref().unwrap_or_default()
    )];
    if let Some(Manual {
        usage,
        example,
        right,
        ..
    }) = manual(command)
    {
        parts.push(format!(
            "Usage: `{prefix}{usage}`\nExample: `{prefix}{example}`"
        ));
        if right != Right::Anyone {
            parts.push(rights.refusal(right, caller).0);
        }
    }
    CreateEmbed::new()
        .title(format!("{prefix}{}", command.name))
        .description(parts.join("\n\n"))
}
