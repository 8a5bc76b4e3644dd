//! A gateway session has begun, or the guild has gone: is the bot where it should be?

use std::sync::Arc;
use std::time::Duration;

use serenity::all::{Context, CreateCommand, GuildDeleteEvent, GuildId, Ready};

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
    listeners.inbox.session_began();
    listeners.verifications.soon();
    tracing::info!(guild = %listeners.guild, "connected");
    let rest = Rest::new(Arc::clone(&ctx.http), listeners.revoked.clone());
    let commands: Vec<CreateCommand> =
        poise::builtins::create_application_commands(&commands::all());
    let registered = rest.call(
        "registering the slash commands",
        Repeat::Safe,
        PATIENCE,
        |http| {
            let commands = &commands;
            async move {
                http.create_guild_commands(guild, commands)
                    .await
                    .map(|there| there.len())
            }
        },
    );
    match registered.await {
        Ok(count) => tracing::info!(count, "the slash commands are registered"),
        Err(error) => tracing::error!(
            %error,
            "the slash commands could not be registered; text commands work; \
             invite the bot with the scope applications.commands and restart it"
        ),
    }
}

/// The guild is gone: for a while (an outage of Discord) or for good.
pub(super) async fn on_guild_delete(listeners: &Listeners, event: &GuildDeleteEvent) {
    if event.guild.id != GuildId::from(listeners.guild) {
        return;
    }
    listeners.known_guild.is_in_doubt();
    if event.guild.unavailable {
        tracing::warn!("Discord has trouble with the guild; it will send it again");
    } else {
        let _ = listeners.stop.send(Stop::NotInGuild(listeners.guild)).await;
    }
}
