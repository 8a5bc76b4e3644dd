//! A session goes on: on another connection of this process, or as the one that the bot before
//! has left. Then Discord says neither `READY` nor `GUILD_CREATE`, and what these would have told
//! is asked for.
//!
//! Opens no gap: Discord sends again what came meanwhile.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serenity::all::{ApplicationId, LightMethod};
use serenity::http::{Request, Route};

use super::{Listeners, ready, role};
use crate::discord::payload::event::ApplicationRef;
use crate::discord::{Repeat, RestError, guild};

const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for what the beginning of a session tells, before its events are handled. Of channels and
/// threads nothing is kept that could be missing.
pub(super) async fn take_up(listeners: &Listeners) -> Result<(), RestError> {
    let guild = guild::shown(&listeners.rest, listeners.guild);
    let (guild, application) = tokio::try_join!(guild, own_application(listeners))?;
    role::on_guild(listeners, &guild);
    if !listeners.known_guild.is_kept_by_events() {
        let what = "the guild was not understood".to_owned();
        return Err(RestError::NotUnderstood(what));
    }
    // This version may have other commands than the one before.
    ready::register_commands_of(listeners, application);
    // What was to be looked at when the bot before ended is not known.
    listeners.verifications.soon();
    Ok(())
}

/// Discord has sent all that came meanwhile.
pub(super) fn on_resumed(listeners: &Listeners) {
    // The first time it is the session of the bot before.
    if !listeners.said_ready.swap(true, Ordering::Relaxed) {
        tracing::info!(
            guild = %listeners.guild,
            "wall_e is ready: it goes on where the bot before it ended, and has missed nothing"
        );
    }
}

async fn own_application(listeners: &Listeners) -> Result<ApplicationId, RestError> {
    let what = "asking which application the bot is";
    let asked = listeners
        .rest
        .call(what, Repeat::Safe, PATIENCE, |http| async move {
            let request = Request::new(Route::Oauth2ApplicationCurrent, LightMethod::Get);
            http.fire::<ApplicationRef>(request).await
        });
    Ok(asked.await?.id)
}
