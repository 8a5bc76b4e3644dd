//! A session goes on: on another connection of this process, or as the one that the bot before
//! has left. Then Discord says neither `READY` nor `GUILD_CREATE`, and what these would have told
//! is asked for.
//!
//! Opens no gap: Discord sends again what came meanwhile.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serenity::all::{ApplicationId, LightMethod};
use serenity::http::{Request, Route};

use super::{Listeners, deleted, ready, role};
use crate::discord::payload::event::ApplicationRef;
use crate::discord::{Repeat, RestError, guild};

const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for what the beginning of a session tells, before its events are handled. Nothing is kept
/// of threads that could be missing.
pub(super) async fn take_up(listeners: &Listeners) -> Result<(), RestError> {
    let (rest, id) = (&listeners.env.rest, listeners.env.guild);
    let (guild, channels, application) = tokio::try_join!(
        guild::shown(rest, id),
        guild::channels(rest, id),
        own_application(listeners)
    )?;
    role::on_guild(listeners, &guild);
    deleted::on_guild(listeners, channels);
    if !listeners.known_guild.is_kept_by_events() {
        let what = "the guild was not understood".to_owned();
        return Err(RestError::NotUnderstood(what));
    }
    // This version may have other commands than the one before.
    ready::register_commands_of(listeners, application);
    listeners.takes_up.store(true, Ordering::Relaxed);
    Ok(())
}

/// Discord has sent all that came meanwhile.
pub(super) fn on_resumed(listeners: &Listeners) {
    if listeners.takes_up.swap(false, Ordering::Relaxed) {
        // What was to be looked at when the bot before ended is not known.
        listeners.roles.verifications.soon();
        listeners.said_ready.store(true, Ordering::Relaxed);
        tracing::info!(
            guild = %listeners.env.guild,
            "wall_e is ready: it goes on where the bot before it ended, and has missed nothing"
        );
    }
}

async fn own_application(listeners: &Listeners) -> Result<ApplicationId, RestError> {
    let what = "asking which application the bot is";
    let asked = listeners
        .env
        .rest
        .call(what, Repeat::Safe, PATIENCE, |http| async move {
            let request = Request::new(Route::Oauth2ApplicationCurrent, LightMethod::Get);
            http.fire::<ApplicationRef>(request).await
        });
    Ok(asked.await?.id)
}
