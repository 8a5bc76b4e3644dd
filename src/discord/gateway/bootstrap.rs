//! Where the gateway is, and whether a session may be begun there: what REST is asked
//! before each first connection. Patient while Discord cannot be reached, since a bot
//! that is started before its network must not need a second start.

use std::time::Duration;

use anyhow::anyhow;
use serde::Deserialize;
use serenity::all::LightMethod;
use serenity::http::{Request, Route};

use super::identify_limiter::{SessionStartLimit, pause_before_session};
use super::session::address;
use crate::backoff::backoff;
use crate::discord::payload::PartialUser;
use crate::discord::{Repeat, Rest, RestError};
use crate::error::Stop;
use crate::leveling::UserId;

/// How often Discord is asked while it cannot be reached.
const RETRY_LEAST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the gateway is.
#[derive(Debug)]
pub(super) struct Address {
    /// A websocket's.
    pub url: String,
    /// How long to wait before a session is begun, by Discord's own count of a day's sessions:
    /// a bot that crashes and is started again all day must not lose its token by it.
    pub pause: Duration,
}

#[derive(Debug, Deserialize)]
struct BotGateway {
    url: String,
    shards: u32,
    session_start_limit: SessionStartLimit,
}

impl Address {
    /// Waits as long as Discord's count of sessions asks for.
    pub async fn wait(&self) {
        if !self.pause.is_zero() {
            tracing::warn!(
                wait_s = self.pause.as_secs(),
                "many sessions were started today; waiting"
            );
        }
        tokio::time::sleep(self.pause).await;
    }
}

/// Asks where the gateway is, for as long as it takes to get an answer that makes sense: a bot
/// that runs does not end for one that does not.
pub(super) async fn gateway(rest: &Rest) -> Result<Address, Stop> {
    let what = "asking where the gateway is";
    for attempt in 0.. {
        let asked = rest.call(what, Repeat::Safe, PATIENCE, |http| async move {
            let request = Request::new(Route::GatewayBot, LightMethod::Get);
            http.fire::<BotGateway>(request).await
        });
        let why = match asked.await {
            // The gateway would close with 4011.
            Ok(gateway) if gateway.shards > 1 => return Err(Stop::ShardingRequired),
            Ok(gateway) => match address(&gateway.url) {
                Some(url) => {
                    let pause = pause_before_session(gateway.session_start_limit);
                    return Ok(Address { url, pause });
                }
                None => "the address makes no sense".to_owned(),
            },
            Err(RestError::Revoked) => return Err(Stop::TokenRefused),
            Err(error) => error.to_string(),
        };
        let pause = backoff(attempt, RETRY_LEAST, RETRY_MOST);
        tracing::warn!(
            why,
            next_in_ms = pause.as_millis(),
            "Discord does not say where its gateway is; trying again"
        );
        tokio::time::sleep(pause).await;
    }
    unreachable!("attempts are not counted out")
}

/// The bot's own account.
#[derive(Debug)]
pub struct Account {
    /// Its id.
    pub id: UserId,
    /// Its name.
    pub name: String,
}

/// Whose token it is. Patient while Discord cannot be reached.
pub async fn who_are_we(rest: &Rest) -> Result<Account, Stop> {
    let what = "asking Discord who the bot is";
    let asked = rest.call_until_answered(what, PATIENCE, |http| async move {
        let request = Request::new(Route::UserMe, LightMethod::Get);
        http.fire::<PartialUser>(request).await
    });
    let user = asked.await.map_err(|error| stop_for(error, what))?;
    let unreadable = || Stop::Other(anyhow!("Discord did not say who the bot is"));
    Ok(Account {
        id: user.id.try_into().map_err(|()| unreadable())?,
        name: user.username().unwrap_or("without a name").to_owned(),
    })
}

fn stop_for(error: RestError, what: &'static str) -> Stop {
    match error {
        RestError::Revoked => Stop::TokenRefused,
        error => Stop::Other(anyhow::Error::new(error).context(what)),
    }
}
