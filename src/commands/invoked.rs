//! A slash command was invoked, typed in, or a form sent: run what is ours, answer the rest.
//!
//! Discord shows commands that an earlier bot of the same application had registered, also in
//! direct messages, and tells people that "the application did not respond" where nobody answers
//! within 3 s. So everything that reaches this bot alone is answered. What comes from another
//! guild is left to the bot that serves it.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use poise::serenity_prelude::{
    CommandInteraction, CommandType, CreateAutocompleteResponse, GuildId, ModalInteraction,
    ResolvedValue,
};
use poise::{CommandInteractionType, FrameworkContext};

use super::answering::{self, Invocation};
use super::{Command, Data, Error, manual};
use crate::discord::interaction::{self, Conversation, Deferral};
use crate::discord::reply::Reply;

/// Runs a slash command, or says why it cannot be run.
pub(super) async fn command(
    framework: FrameworkContext<'_, Data, Error>,
    invoked: &CommandInteraction,
) {
    let data = framework.user_data;
    let found = find(&framework.options.commands, invoked);
    let sentence = match (place(data, invoked.guild_id), found) {
        (Place::OtherGuild, _) => return,
        (Place::OwnGuild, Some(command)) => {
            return run(framework, invoked, command).await;
        }
        (Place::OwnGuild, None) => "There is no such command. `/help` lists my commands.",
        (Place::DirectMessages, Some(_)) => "This command works only in the server.",
        (Place::DirectMessages, None) => {
            "There is no such command. My commands work only in the server; `/help` lists them there."
        }
    };
    tracing::info!(user = %invoked.user.id, "someone invoked a command that cannot be run");
    say(
        data,
        &Conversation::of_command(invoked, Deferral::Private),
        sentence,
    )
    .await;
}

/// Suggests what could be typed in a slash command.
pub(super) async fn typing(
    framework: FrameworkContext<'_, Data, Error>,
    typed: &CommandInteraction,
) {
    let data = framework.user_data;
    let found = find(&framework.options.commands, typed);
    match (place(data, typed.guild_id), found) {
        (Place::OtherGuild, _) => {}
        (Place::OwnGuild, Some(_)) => {
            if let Some(suggestions) = suggestions(framework, typed).await {
                suggest(data, typed, suggestions).await;
            }
        }
        _ => suggest(data, typed, CreateAutocompleteResponse::new()).await,
    }
}

/// What the parameter that is typed suggests. As `poise::dispatch_autocomplete`, which sends the
/// suggestions itself and past our `Rest`. `None` if the member may not run the command, or it
/// has no such parameter.
async fn suggestions(
    framework: FrameworkContext<'_, Data, Error>,
    typed: &CommandInteraction,
) -> Option<CreateAutocompleteResponse> {
    let (unused, nothing) = (AtomicBool::new(false), nothing_noted());
    let (options, mut tree) = (typed.data.options(), Vec::new());
    let kind = CommandInteractionType::Autocomplete;
    let checked = poise::extract_command_and_run_checks(
        framework, typed, kind, &unused, &nothing, &options, &mut tree,
    );
    let ctx = match checked.await {
        Ok(ctx) => ctx,
        Err(error) => {
            answering::on_error(error).await;
            return None;
        }
    };
    let (name, text) = ctx.args.iter().find_map(|option| match option.value {
        ResolvedValue::Autocomplete { value, .. } => Some((option.name, value)),
        _ => None,
    })?;
    let mut parameters = ctx.command().parameters.iter();
    let suggest = parameters.find(|parameter| parameter.name == name)?;
    Some(suggest.autocomplete_callback?(ctx, text).await)
}

async fn suggest(data: &Data, typed: &CommandInteraction, what: CreateAutocompleteResponse) {
    if let Err(error) = interaction::suggest(&data.rest, typed, what).await {
        tracing::debug!(%error, "what was typed in a command got no suggestions");
    }
}

/// This bot has no forms: it is one of an earlier bot.
pub(super) async fn form(data: &Data, form: &ModalInteraction) {
    if !matches!(place(data, form.guild_id), Place::OtherGuild) {
        let conversation = Conversation::of_form(form);
        say(data, &conversation, "This form no longer works.").await;
    }
}

/// Where something was invoked.
pub(super) enum Place {
    OwnGuild,
    /// Another bot may serve it.
    OtherGuild,
    DirectMessages,
}

pub(super) fn place(data: &Data, guild: Option<GuildId>) -> Place {
    match guild {
        None => Place::DirectMessages,
        Some(guild) if guild == GuildId::from(data.setting.guild) => Place::OwnGuild,
        Some(_) => Place::OtherGuild,
    }
}

async fn run(
    framework: FrameworkContext<'_, Data, Error>,
    invoked: &CommandInteraction,
    command: &Command,
) {
    let private = manual(command).is_some_and(|manual| manual.private);
    let deferral = if private {
        Deferral::Private
    } else {
        Deferral::Public
    };
    let conversation = Arc::new(Conversation::of_command(invoked, deferral));
    let invocation = Invocation {
        conversation: Some(Arc::clone(&conversation)),
        is_allowed: false,
    };
    let noted = tokio::sync::Mutex::new(Box::new(invocation) as Box<dyn Any + Send + Sync>);
    // Answers go through the conversation, which knows what poise would note here.
    let unused = AtomicBool::new(false);
    let (options, mut tree) = (invoked.data.options(), Vec::new());
    let running = async {
        let running =
            poise::dispatch_interaction(framework, invoked, &unused, &noted, &options, &mut tree);
        if let Err(error) = running.await {
            answering::on_error(error).await;
        }
    };
    let rest = &framework.user_data.rest;
    conversation.defer_if_late(rest, Box::pin(running)).await;
}

/// Ours has this name, and is typed; others may be in the menu of a user or message.
fn find<'a>(commands: &'a [Command], invoked: &CommandInteraction) -> Option<&'a Command> {
    let typed = invoked.data.kind == CommandType::ChatInput;
    let named = |command: &&Command| command.name == invoked.data.name;
    commands.iter().find(named).filter(|_| typed)
}

async fn say(data: &Data, conversation: &Conversation, sentence: &str) {
    let reply = Reply::text(sentence).private();
    if let Err(error) = conversation.answer(&data.rest, &reply).await {
        tracing::warn!(%error, "an interaction that is not ours could not be answered");
    }
}

fn nothing_noted() -> tokio::sync::Mutex<Box<dyn Any + Send + Sync>> {
    tokio::sync::Mutex::new(Box::new(()))
}
