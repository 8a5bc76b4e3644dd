//! A gateway session has begun: is the bot where it should be? The guild itself comes after
//! this, at once or when Discord's trouble with it is over (`guild.rs`).

use std::sync::atomic::Ordering;
use std::time::Duration;

use serenity::all::{ApplicationId, CreateCommand, GuildId, LightMethod};
use serenity::http::{Request, Route};

use super::Listeners;
use crate::commands;
use crate::discord::council::Notice;
use crate::discord::payload::event::Ready;
use crate::discord::{Repeat, old_commands};
use crate::error::Stop;
use crate::leveling::escape;

const PATIENCE: Duration = Duration::from_mins(1);

/// Checks that the guild is there, and has the slash commands registered in it.
pub(super) fn on_ready(listeners: &Listeners, ready: &Ready) {
    let guild = GuildId::from(listeners.env.guild);
    if !ready.guilds.iter().any(|there| there.id == guild) {
        // Whoever receives this ends the process; a second one changes nothing.
        let _ = listeners
            .stop
            .try_send(Stop::NotInGuild(listeners.env.guild));
        return;
    }
    listeners.takes_up.store(false, Ordering::Relaxed);
    listeners.known_guild.is_in_doubt();
    // What comes after this event waits for the history.
    listeners.inbox.open_gap();
    listeners.roles.verifications.soon();
    tracing::info!(guild = %listeners.env.guild, "connected");
    register_commands_of(listeners, ready.application.id);
}

/// Has the slash commands registered for this application.
pub(super) fn register_commands_of(listeners: &Listeners, application: ApplicationId) {
    let registering = listeners.clone();
    listeners.spawn(async move { register_commands(&registering, application).await });
}

/// What is known of the session that has begun: nothing. Events come all the same, and what came
/// before them was missed.
pub(super) fn on_unreadable(listeners: &Listeners) {
    listeners.takes_up.store(false, Ordering::Relaxed);
    listeners.known_guild.is_in_doubt();
    listeners.inbox.open_gap();
    listeners.roles.verifications.soon();
    tracing::error!("a session has started, but Discord's description of it was not understood");
}

async fn register_commands(listeners: &Listeners, application: ApplicationId) {
    let rest = &listeners.env.rest;
    let guild = GuildId::from(listeners.env.guild);
    let commands: Vec<CreateCommand> =
        poise::builtins::create_application_commands(&commands::all());
    let Ok(body) = serde_json::to_vec(&commands) else {
        return tracing::error!("the slash commands are no JSON");
    };
    let registered = rest.call(
        "registering the slash commands",
        Repeat::Safe,
        PATIENCE,
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
    if !listeners.looked_for_old_commands.load(Ordering::Acquire) {
        clear_old_commands(listeners, application).await;
    }
}

/// Removes global commands that an earlier bot of this application left under our names, and
/// tells of its others. Tried again when the next session begins, if Discord has trouble.
async fn clear_old_commands(listeners: &Listeners, application: ApplicationId) {
    let ours: Vec<String> = commands::all()
        .into_iter()
        .map(|command| command.name.into_owned())
        .collect();
    let old = match old_commands::clear(&listeners.env.rest, application, &ours).await {
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
            "this application has global commands that an earlier bot registered; members who use one are told that \
             it does not exist. To remove them, make these calls of Discord's API with the bot's token"
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
    if let Err(error) = listeners.env.council.tell("old-commands", &notices).await {
        let error = format!("{error:#}");
        tracing::warn!(
            error,
            "the council could not be told of an earlier bot's commands"
        );
    }
}
