//! Slash commands, autocomplete requests and forms: runs the bot's own and answers all others.
//!
//! Discord may still show commands that an earlier bot of the same application registered, also in
//! direct messages, and tells people that "the application did not respond" if nobody answers
//! within 3 s. So all of them are answered, except in other guilds, which another bot may serve.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use poise::serenity_prelude::{
    CommandInteraction, CommandType, CreateAutocompleteResponse, GuildId, ModalInteraction,
    ResolvedValue,
};
use poise::{CommandInteractionType, FrameworkContext};

use super::context::{Command, Data, Error, manual};
use super::respond::{self, Invocation};
use crate::discord::messages::interaction::{self, Conversation, Deferral};
use crate::discord::messages::reply::Reply;

/// Runs a slash command, or tells the caller why it cannot run.
pub(super) async fn command(
    framework: FrameworkContext<'_, Data, Error>,
    invoked: &CommandInteraction,
) {
    let data = framework.user_data;
    let found = find(&framework.options.commands, invoked);
    let sentence = match (invoked_in(data, invoked.guild_id), found) {
        (InvokedIn::OtherGuild, _) => return,
        (InvokedIn::ServedGuild, Some(command)) => {
            return run(framework, invoked, command).await;
        }
        (InvokedIn::ServedGuild, None) => "There is no such command. `/help` lists my commands.",
        (InvokedIn::DirectMessages, Some(_)) => "This command works only in the server.",
        (InvokedIn::DirectMessages, None) => {
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

/// Suggests values while someone types a slash command.
pub(super) async fn autocomplete(
    framework: FrameworkContext<'_, Data, Error>,
    typed: &CommandInteraction,
) {
    let data = framework.user_data;
    let found = find(&framework.options.commands, typed);
    match (invoked_in(data, typed.guild_id), found) {
        (InvokedIn::OtherGuild, _) => {}
        (InvokedIn::ServedGuild, Some(_)) => {
            if let Some(suggestions) = suggestions(framework, typed).await {
                suggest(data, typed, suggestions).await;
            }
        }
        _ => suggest(data, typed, CreateAutocompleteResponse::new()).await,
    }
}

/// Does what `poise::dispatch_autocomplete` does, except for sending the suggestions: poise would
/// send them past our [`Rest`](crate::discord::Rest). `None` if the member may not run the
/// command, or the parameter has no suggestions.
async fn suggestions(
    framework: FrameworkContext<'_, Data, Error>,
    typed: &CommandInteraction,
) -> Option<CreateAutocompleteResponse> {
    let (unused, no_data) = (AtomicBool::new(false), no_invocation_data());
    let (options, mut tree) = (typed.data.options(), Vec::new());
    let kind = CommandInteractionType::Autocomplete;
    let checked = poise::extract_command_and_run_checks(
        framework, typed, kind, &unused, &no_data, &options, &mut tree,
    );
    let ctx = match checked.await {
        Ok(ctx) => ctx,
        Err(error) => {
            respond::on_error(error).await;
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
    if let Err(error) = interaction::suggest(&data.bot.env.rest, typed, what).await {
        tracing::debug!(%error, "suggestions for a command could not be sent");
    }
}

/// Answers a form. This bot has none, so an earlier bot has shown it.
pub(super) async fn form(data: &Data, form: &ModalInteraction) {
    if !matches!(invoked_in(data, form.guild_id), InvokedIn::OtherGuild) {
        let conversation = Conversation::of_form(form);
        say(data, &conversation, "This form no longer works.").await;
    }
}

/// Where someone invoked a command or pressed a button.
pub(super) enum InvokedIn {
    ServedGuild,
    OtherGuild,
    DirectMessages,
}

pub(super) fn invoked_in(data: &Data, guild: Option<GuildId>) -> InvokedIn {
    match guild {
        None => InvokedIn::DirectMessages,
        Some(guild) if guild == GuildId::from(data.bot.env.guild) => InvokedIn::ServedGuild,
        Some(_) => InvokedIn::OtherGuild,
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
    // Answers go through the conversation, so poise's own record of them is not used.
    let unused = AtomicBool::new(false);
    let (options, mut tree) = (invoked.data.options(), Vec::new());
    let running = async {
        let running =
            poise::dispatch_interaction(framework, invoked, &unused, &noted, &options, &mut tree);
        if let Err(error) = running.await {
            respond::on_error(error).await;
        }
    };
    let rest = &framework.user_data.bot.env.rest;
    conversation.defer_if_late(rest, Box::pin(running)).await;
}

/// Whether this is a typed command. An earlier bot may have registered one of the same name for the
/// context menu of users or messages.
fn find<'a>(commands: &'a [Command], invoked: &CommandInteraction) -> Option<&'a Command> {
    let typed = invoked.data.kind == CommandType::ChatInput;
    let named = |command: &&Command| command.name == invoked.data.name;
    commands.iter().find(named).filter(|_| typed)
}

async fn say(data: &Data, conversation: &Conversation, sentence: &str) {
    let reply = Reply::text(sentence).private();
    if let Err(error) = conversation.answer(&data.bot.env.rest, &reply).await {
        tracing::warn!(%error, "an interaction that is not ours could not be answered");
    }
}

fn no_invocation_data() -> tokio::sync::Mutex<Box<dyn Any + Send + Sync>> {
    tokio::sync::Mutex::new(Box::new(()))
}
