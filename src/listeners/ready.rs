//! A gateway session has begun: is the bot where it should be? The guild itself comes after
//! this, at once or when Discord's trouble with it is over (`guild.rs`).

use std::sync::Arc;
use std::time::Duration;

use serenity::all::{Context, CreateCommand, GuildId, LightMethod, Ready};
use serenity::http::{Request, Route};

use super::Listeners;
use crate::commands;
use crate::discord::{Repeat, Rest};
use crate::error::Stop;

const PATIENCE: Duration = Duration::from_mins(1);

/// Checks that the guild is there, and registers the slash commands in it.
pub(super) async fn on_ready(listeners: &Listeners, ctx: &Context, ready: &Ready) {
    let guild = GuildId::from(listeners.guild);
    if !ready.guilds.iter().any(|there| there.id == guild) {
        // Whoever receives this ends the process; a second one changes nothing.
        let _ = listeners.stop.try_send(Stop::NotInGuild(listeners.guild));
        return;
    }
    listeners.known_guild.is_in_doubt();
    // Before anything is awaited: what comes after this event waits for the history.
    listeners.inbox.open_gap();
    listeners.verifications.soon();
    tracing::info!(guild = %listeners.guild, "connected");
    let rest = Rest::new(Arc::clone(&ctx.http), listeners.revoked.clone());
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
                    application_id: ready.application.id,
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
}
