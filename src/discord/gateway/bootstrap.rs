//! The REST calls that come before a gateway session: who the bot is, where the gateway is, and
//! how many more sessions Discord allows today.
//!
//! Both calls retry until Discord answers, so that a bot that starts before its network is up
//! does not have to be started again.

use std::time::Duration;

use anyhow::anyhow;
use serde::Deserialize;
use serenity::all::LightMethod;
use serenity::http::{Request, Route};

use super::identify_limiter::{SessionStartLimit, pause_before_session};
use super::session::address;
use crate::backoff::Backoff;
use crate::discord::payload::PartialUser;
use crate::discord::{Repeat, Rest, RestError};
use crate::error::Stop;
use crate::leveling::UserId;

/// Backoff between two questions for the gateway's address.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// Time limit of one call, its own retries included.
const BOOTSTRAP_CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The gateway's address, and the wait before a session may begin there.
#[derive(Debug)]
pub(super) struct Address {
    /// A `ws://` or `wss://` URL.
    pub url: String,
    /// How long to wait before a new session begins. It follows from how many sessions Discord
    /// still allows today: a bot that crashes and restarts all day would otherwise exceed the
    /// limit, and Discord would reset its token.
    pub pause: Duration,
}

#[derive(Debug, Deserialize)]
struct BotGateway {
    url: String,
    shards: u32,
    session_start_limit: SessionStartLimit,
}

impl Address {
    /// Waits for [`Self::pause`], with a warning in the log if it is not zero.
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

/// Asks Discord for the gateway's address until it gets a usable answer. An error or an invalid
/// answer is retried, because it must not end a running bot; only a refused token and a demand
/// for sharding are returned as errors.
pub(super) async fn gateway(rest: &Rest) -> Result<Address, Stop> {
    let what = "asking where the gateway is";
    let mut attempts = BACKOFF.attempts();
    loop {
        let asked = rest.call(
            what,
            Repeat::Safe,
            BOOTSTRAP_CALL_TIMEOUT,
            |http| async move {
                let request = Request::new(Route::GatewayBot, LightMethod::Get);
                http.fire::<BotGateway>(request).await
            },
        );
        let why = match asked.await {
            // The gateway would close the connection with code 4011.
            Ok(gateway) if gateway.shards > 1 => return Err(Stop::ShardingRequired),
            Ok(gateway) => match address(&gateway.url) {
                Some(url) => {
                    let pause = pause_before_session(gateway.session_start_limit);
                    return Ok(Address { url, pause });
                }
                None => "the gateway's address is invalid".to_owned(),
            },
            Err(RestError::Revoked) => return Err(Stop::TokenRefused),
            Err(error) => error.to_string(),
        };
        let pause = attempts.next_delay();
        tracing::warn!(
            why,
            next_in_ms = pause.as_millis(),
            "could not get the address of Discord's gateway; trying again"
        );
        tokio::time::sleep(pause).await;
    }
}

/// The bot's own account.
#[derive(Debug)]
pub struct BotAccount {
    /// The bot's user id; its application has an id of its own.
    pub id: UserId,
    /// The username, or "without a name" if Discord left it out.
    pub name: String,
}

/// Asks Discord whose token this is. Retries for as long as Discord cannot be reached.
pub async fn who_are_we(rest: &Rest) -> Result<BotAccount, Stop> {
    let what = "asking Discord who the bot is";
    let asked = rest.call_until_answered(what, BOOTSTRAP_CALL_TIMEOUT, |http| async move {
        let request = Request::new(Route::UserMe, LightMethod::Get);
        http.fire::<PartialUser>(request).await
    });
    let user = asked.await.map_err(|error| stop_for(error, what))?;
    let unreadable = || Stop::Other(anyhow!("Discord did not say who the bot is"));
    Ok(BotAccount {
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
