//! Repeats a call until Discord answers, or sets its source aside if only that source fails.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::de::{DeserializeOwned, IgnoredAny};
use serenity::all::LightMethod;
use serenity::http::{Request, Route};

use super::{HistoryReader, Unread};
use crate::backoff::Backoff;
use crate::discord::payload::PartialChannel;
use crate::discord::rest::{Repeat, RestError};
use crate::leveling::{ChannelId, HistorySource};

/// Timeout of one call, including waits for rate limits.
const PATIENT_CALL_TIMEOUT: Duration = Duration::from_mins(2);
/// Timeout of a call for a source that can be set aside. It is longer than the five seconds
/// of Discord's rate limit window, in which a channel's history may be read five times.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(8);
/// A source is set aside after this many failed calls (each retries internally) if Discord
/// answers other calls.
const SOURCE_CALLS: u32 = 2;
/// Timeout of the call that checks whether Discord answers at all.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Backoff between calls while Discord is unavailable.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

impl<M> HistoryReader<'_, M> {
    /// Repeats a call until Discord answers it, so that a short outage does not discard what
    /// has been read so far. Discord's refusals are answers. Any other error is only returned if
    /// the call is for a `source` and Discord answers other calls.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        source: Option<HistorySource>,
        what: &'static str,
        route: Route<'_>,
        parameters: Vec<(&'static str, String)>,
    ) -> Result<T, RestError> {
        let timeout = source.map_or(PATIENT_CALL_TIMEOUT, |_| SOURCE_TIMEOUT);
        let mut attempts = BACKOFF.attempts();
        loop {
            let answer = self
                .rest
                .call(what, Repeat::Safe, timeout, |http| {
                    let request =
                        Request::new(route, LightMethod::Get).params(Some(parameters.clone()));
                    async move { http.fire(request).await }
                })
                .await;
            let error = match answer {
                Err(error) if !matches!(error, RestError::Refused { .. } | RestError::Revoked) => {
                    error
                }
                answer => {
                    if !attempts.is_first() && self.failing.fetch_sub(1, Ordering::Relaxed) == 1 {
                        tracing::info!("the reading of the history resumes");
                    }
                    if let (Ok(_), Some(source)) = (&answer, source) {
                        self.memory.failing().remove(&source);
                    }
                    return answer;
                }
            };
            if let Some(source) = source
                && self.should_set_aside(source, &error, attempts.failed())
                && self.discord_answers().await?
            {
                if !attempts.is_first() {
                    self.failing.fetch_sub(1, Ordering::Relaxed);
                }
                return Err(error);
            }
            if attempts.is_first() && self.failing.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(%error, "missed messages cannot be read now; trying again, XP waits until then");
            }
            attempts.wait().await;
        }
    }

    /// Records that a source could not be read, so that it is read later.
    pub(super) fn set_aside(
        &self,
        source: impl Fn(ChannelId) -> HistorySource,
        channel: &PartialChannel,
        error: RestError,
        unread: &mut BTreeMap<HistorySource, Unread>,
    ) {
        // An id that the database cannot store belongs to no real channel.
        if let Ok(id) = channel.id.try_into() {
            let name = channel.name.clone().unwrap_or_default();
            self.set_source_aside(source(id), name, error, unread);
        }
    }

    pub(super) fn set_source_aside(
        &self,
        source: HistorySource,
        name: String,
        error: RestError,
        unread: &mut BTreeMap<HistorySource, Unread>,
    ) {
        self.memory.failing().insert(source);
        unread.entry(source).or_insert(Unread { name, error });
    }

    /// Whether a source has failed often enough to be set aside.
    fn should_set_aside(&self, source: HistorySource, error: &RestError, attempt: u32) -> bool {
        let is_final = matches!(error, RestError::Limited { .. }) || self.memory.is_failing(source);
        is_final || attempt + 1 >= SOURCE_CALLS
    }

    /// Whether Discord answers other calls now: asks for the guild's channels. Asks only once,
    /// because if Discord came back during retries, an outage would look like a failure of the
    /// source alone.
    async fn discord_answers(&self) -> Result<bool, RestError> {
        let what = "asking whether Discord answers";
        let asked = self.rest.call(what, Repeat::Never, PROBE_TIMEOUT, |http| {
            let route = Route::GuildChannels {
                guild_id: self.guild.into(),
            };
            async move {
                http.fire::<Vec<IgnoredAny>>(Request::new(route, LightMethod::Get))
                    .await
            }
        });
        match asked.await {
            Err(RestError::Revoked) => Err(RestError::Revoked),
            answer => Ok(answer.is_ok()),
        }
    }
}
