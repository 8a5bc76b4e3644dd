//! A session is resumed: this process continues its own session on a new connection, or takes up
//! the session of the previous bot process. In the second case it gets neither `READY` nor
//! `GUILD_CREATE`, so it asks REST for what those events would have contained.
//!
//! Opens no gap, because Discord sends the missed events again.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use serenity::all::{ApplicationId, LightMethod};
use serenity::http::{Request, Route};

use super::{Listeners, deleted, ready, role};
use crate::discord::guild;
use crate::discord::payload::PartialChannel;
use crate::discord::payload::event::ApplicationRef;
use crate::discord::{Repeat, RestError};
use crate::xp::{ChannelList, Observation};

/// Time limit for asking for the application, retries included.
const APPLICATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks for the guild, its channels and the application, before the session's events are handled.
/// Does not ask for threads: the first message in an unknown thread has that thread looked up.
pub(super) async fn take_up(listeners: &Listeners) -> Result<(), RestError> {
    let (rest, id) = (&listeners.bot.env.rest, listeners.bot.env.guild);
    let (guild, channels, application) = tokio::try_join!(
        guild::fetch(rest, id),
        guild::channels(rest, id),
        own_application(listeners)
    )?;
    role::on_guild(listeners, &guild);
    // Without a list that was understood, no channel may be treated as deleted.
    if channels.is_complete {
        let ids = channels.channels.iter().map(|channel| channel.id);
        deleted::on_guild(listeners, ids.filter_map(|id| id.try_into().ok()).collect());
    }
    let places = channels.channels.iter();
    let channels = Observation::Channels(ChannelList {
        places: places.filter_map(PartialChannel::place).collect(),
        has_all_channels: channels.is_complete,
    });
    let lists = [Some(channels), role::all_roles(&guild)];
    *taken_up(listeners) = lists.into_iter().flatten().collect();
    if !listeners.bot.env.known_guild.is_kept_by_events() {
        let what = "the guild was not understood".to_owned();
        return Err(RestError::NotUnderstood(what));
    }
    // This version of the bot may have other commands than the previous one.
    ready::register_commands_of(listeners, application);
    listeners.flags.takes_up.store(true, Ordering::Relaxed);
    Ok(())
}

/// Handles `RESUMED`: Discord has sent all missed events.
pub(super) fn on_resumed(listeners: &Listeners) {
    if listeners.flags.takes_up.swap(false, Ordering::Relaxed) {
        // The previous process may have ended before it made all role changes. Requests for
        // reconciles are not stored, so this requests one.
        listeners.bot.roles.schedule.everyone_soon();
        for list in std::mem::take(&mut *taken_up(listeners)) {
            listeners.observed(list);
        }
        // Nor did it necessarily finish reading the list of bans.
        listeners.bans.list_soon();
        listeners.flags.said_ready.store(true, Ordering::Relaxed);
        tracing::info!(
            guild = %listeners.bot.env.guild,
            "wall_e is ready: it continues where the previous bot process ended, and has missed nothing"
        );
    }
}

fn taken_up(listeners: &Listeners) -> MutexGuard<'_, Vec<Observation>> {
    let lists = listeners.flags.taken_up.lock();
    lists.unwrap_or_else(PoisonError::into_inner)
}

async fn own_application(listeners: &Listeners) -> Result<ApplicationId, RestError> {
    let what = "asking which application the bot is";
    let asked =
        listeners
            .bot
            .env
            .rest
            .call(what, Repeat::Safe, APPLICATION_TIMEOUT, |http| async move {
                let request = Request::new(Route::Oauth2ApplicationCurrent, LightMethod::Get);
                http.fire::<ApplicationRef>(request).await
            });
    Ok(asked.await?.id)
}
