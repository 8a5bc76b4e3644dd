//! A new gateway session: checks that the bot is in its guild, and registers the slash commands.
//!
//! Discord sends the guild itself in a later event, at once or after an outage (`guild.rs`).

use std::sync::atomic::Ordering;
use std::time::Duration;

use serenity::all::{ApplicationId, CreateCommand, GuildId, LightMethod};
use serenity::http::{Request, Route};

use super::Listeners;
use crate::commands;
use crate::discord::channels::council::Notice;
use crate::discord::payload::event::Ready;
use crate::discord::{Repeat, old_commands};
use crate::error::Stop;
use crate::leveling::escape;

/// Time limit for registering the slash commands, retries included.
const REGISTER_TIMEOUT: Duration = Duration::from_mins(1);

/// Handles `READY`. If the bot is not in its guild, the process ends. Otherwise opens a gap,
/// requests a reconcile of everyone's roles, and registers the slash commands.
pub(super) fn on_ready(listeners: &Listeners, ready: &Ready) {
    let guild = GuildId::from(listeners.bot.env.guild);
    if !ready.guilds.iter().any(|there| there.id == guild) {
        // The receiver ends the process at the first message; others are not needed.
        let _ = listeners
            .stop
            .try_send(Stop::NotInGuild(listeners.bot.env.guild));
        return;
    }
    listeners.flags.takes_up.store(false, Ordering::Relaxed);
    listeners.bot.env.known_guild.is_in_doubt();
    // Messages that Discord sends after this event must wait for the history.
    listeners.bot.inbox.open_gap();
    listeners.bot.roles.schedule.everyone_soon();
    tracing::info!(guild = %listeners.bot.env.guild, "connected");
    register_commands_of(listeners, ready.application.id);
}

/// Registers the slash commands in a task of its own.
pub(super) fn register_commands_of(listeners: &Listeners, application: ApplicationId) {
    let registering = listeners.clone();
    listeners.spawn(async move { register_commands(&registering, application).await });
}

/// Handles a `READY` that was not understood. The session has begun nevertheless, and earlier
/// events were missed. So this does the same as [`on_ready`], but does not check the guild or
/// register the slash commands.
pub(super) fn on_unreadable(listeners: &Listeners) {
    listeners.flags.takes_up.store(false, Ordering::Relaxed);
    listeners.bot.env.known_guild.is_in_doubt();
    listeners.bot.inbox.open_gap();
    listeners.bot.roles.schedule.everyone_soon();
    tracing::error!("a session has started, but Discord's description of it was not understood");
}

async fn register_commands(listeners: &Listeners, application: ApplicationId) {
    let rest = &listeners.bot.env.rest;
    let guild = GuildId::from(listeners.bot.env.guild);
    let commands: Vec<CreateCommand> =
        poise::builtins::create_application_commands(&commands::all());
    let Ok(body) = serde_json::to_vec(&commands) else {
        return tracing::error!("the slash commands could not be written as JSON");
    };
    let registered = rest.call(
        "registering the slash commands",
        Repeat::Safe,
        REGISTER_TIMEOUT,
        |http| {
            let body = body.clone();
            async move {
                let route = Route::GuildCommands {
                    application_id: application,
                    guild_id: guild,
                };
                let request = Request::new(route, LightMethod::Put);
                http.send(request.body(Some(body))).await
            }
        },
    );
    match registered.await {
        Ok(()) => tracing::info!(count = commands.len(), "the slash commands are registered"),
        Err(error) => tracing::error!(
            %error,
            "the slash commands could not be registered; text commands work; \
             invite the bot with the scope applications.commands and restart it"
        ),
    }
    if !listeners
        .flags
        .looked_for_old_commands
        .load(Ordering::Acquire)
    {
        clear_old_commands(listeners, application).await;
    }
}

/// Deletes the global commands that an earlier bot of this application registered under our names,
/// and tells moderators about its other global commands. If Discord returns an error, this is tried
/// again when the next session starts.
async fn clear_old_commands(listeners: &Listeners, application: ApplicationId) {
    let ours: Vec<String> = commands::all()
        .into_iter()
        .map(|command| command.name.into_owned())
        .collect();
    let old = match old_commands::clear(&listeners.bot.env.rest, application, &ours).await {
        Ok(old) => old,
        Err(error) => {
            tracing::warn!(
                %error,
                "could not look for commands of an earlier bot or remove them; \
                 members who use one are told that it does not exist"
            );
            return;
        }
    };
    listeners
        .flags
        .looked_for_old_commands
        .store(true, Ordering::Release);
    if !old.removed.is_empty() {
        let names = old.removed.join(", ");
        tracing::info!(
            names,
            "removed the commands that an earlier bot had registered under our names"
        );
    }
    let mut notices = Vec::new();
    if !old.others.is_empty() {
        let names = old
            .others
            .iter()
            .map(|(name, _)| format!("/{}", escape(name)));
        let names = names.collect::<Vec<_>>().join(", ");
        let calls = old
            .others
            .iter()
            .map(|(_, id)| format!("DELETE /applications/{application}/commands/{id}"));
        let calls = calls.collect::<Vec<_>>().join(", ");
        tracing::warn!(
            names,
            calls,
            "this application has global commands that an earlier bot registered; members who use \
             one are told that it does not exist. To remove them, make these calls to Discord's \
             API with the bot's token"
        );
        notices.push(Notice {
            key: "old-commands".to_owned(),
            text: format!(
                "An earlier bot left these commands, which I do not know: {names}. I tell members who use one that \
                 it does not exist. My operator can remove them; the log says how."
            ),
            buttons: None,
        });
    }
    if let Err(error) = listeners
        .bot
        .env
        .council
        .tell("old-commands", &notices)
        .await
    {
        let error = format!("{error:#}");
        tracing::warn!(
            error,
            "could not tell the council about an earlier bot's commands"
        );
    }
}
