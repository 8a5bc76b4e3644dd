//! Where the gateway is, and whether a session may be begun there: what REST is asked
//! before each first connection. Patient while Discord cannot be reached, since a bot
//! that is started before its network must not need a second start.

use std::time::Duration;

use serenity::all::{BotGateway, CurrentUser, Gateway, LightMethod};
use serenity::http::{Request, Route};

use super::budget::pause_before_session;
use super::rest::{Api, CallError, Repeat, Rest, RestError};
use crate::backoff::backoff;
use crate::error::Stop;

/// How often Discord is asked while it cannot be reached.
const RETRY_LEAST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(30);

/// The gateway's address, once a session may be begun. serenity has asked once and falls
/// back to an address of its own; this one is put in the place of serenity's.
pub async fn find_gateway(rest: &Rest) -> Result<String, Stop> {
    tokio::time::sleep(session_pause(rest).await?).await;
    let what = "asking Discord for its gateway";
    patiently(rest, what, PATIENCE, |http| async move {
        let request = Request::new(Route::Gateway, LightMethod::Get);
        Ok(http.fire::<Gateway>(request).await?.url)
    })
    .await
    .map_err(|error| stop_for(error, what))
}

/// Whose token it is.
pub async fn who_are_we(rest: &Rest) -> Result<String, Stop> {
    let what = "asking Discord who the bot is";
    patiently(rest, what, PATIENCE, |http| async move {
        let request = Request::new(Route::UserMe, LightMethod::Get);
        Ok(http.fire::<CurrentUser>(request).await?.name.clone())
    })
    .await
    .map_err(|error| stop_for(error, what))
}

/// How long Discord's daily limit of sessions asks to wait: a bot that crashes and is
/// started again all day must not lose its token by it.
pub async fn session_pause(rest: &Rest) -> Result<Duration, Stop> {
    let what = "asking for the session limit";
    let asked = patiently(rest, what, PATIENCE, |http| async move {
        let request = Request::new(Route::GatewayBot, LightMethod::Get);
        http.fire::<BotGateway>(request).await
    });
    match asked.await {
        // The gateway would close with 4011.
        Ok(gateway) if gateway.shards > 1 => Err(Stop::ShardingRequired),
        Ok(gateway) => {
            let limit = gateway.session_start_limit;
            let pause = pause_before_session(&limit);
            if !pause.is_zero() {
                tracing::warn!(
                    remaining = limit.remaining,
                    wait_s = pause.as_secs(),
                    "many sessions were begun today; waiting"
                );
            }
            Ok(pause)
        }
        Err(RestError::Revoked) => Err(Stop::TokenRefused),
        Err(error) => {
            tracing::warn!(%error, "Discord did not tell its session limit");
            Ok(Duration::ZERO)
        }
    }
}

/// Makes a call until Discord answers, with a line in the log for each failure.
pub(super) async fn patiently<T, F>(
    rest: &Rest,
    what: &'static str,
    patience: Duration,
    call: impl Fn(Api) -> F,
) -> Result<T, RestError>
where
    F: Future<Output = Result<T, CallError>>,
{
    for attempt in 0.. {
        match rest.call(what, Repeat::Safe, patience, &call).await {
            Err(error) if error.is_away() => {
                let pause = backoff(attempt, RETRY_LEAST, RETRY_MOST);
                tracing::warn!(%error, next_in_ms = pause.as_millis(), "Discord cannot be reached; trying again");
                tokio::time::sleep(pause).await;
            }
            answer => return answer,
        }
    }
    unreachable!("attempts are not counted out")
}

fn stop_for(error: RestError, what: &'static str) -> Stop {
    match error {
        RestError::Revoked => Stop::TokenRefused,
        error => Stop::Other(anyhow::Error::new(error).context(what)),
    }
}
