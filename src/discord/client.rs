//! The one file that builds the Discord client: REST with its time limits, and
//! the gateway on a thread and a runtime of its own.
//!
//! serenity spawns a task for every event, on the runtime on which the client was
//! built. On a `current_thread` one these run in the order in which they came; on
//! any other thousands are overtaken.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use serenity::all::{
    ClientBuilder, GatewayError, GatewayIntents, OnlineStatus, RawEventHandler, ShardId,
    ShardManager,
};
use serenity::http::{Http, HttpBuilder};
use serenity::model::gateway::SessionStartLimit;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::rest::{Repeat, Rest, RestError};
use crate::backoff::backoff;
use crate::config::{Discord, Origin};
use crate::error::Stop;

/// Time limit of one HTTP exchange.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long serenity's client may take to be built; it makes one call.
const BUILD_TIMEOUT: Duration = Duration::from_secs(30);
/// How often Discord is asked while it cannot be reached at start.
const RETRY_LEAST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the gateway is looked after.
const LOOK: Duration = Duration::from_secs(1);
/// How long its thread may do nothing but one thing.
const STUCK: Duration = Duration::from_secs(5);
/// How long heartbeats may stay unanswered: Discord's interval is 41 s, and serenity
/// itself gives up after two. Longer means that nobody is left who would.
const SILENT: Duration = Duration::from_secs(150);

/// How far apart such new starts grow while they do not help, and when they have.
const RESTART_MOST: Duration = Duration::from_mins(5);
const HEALTHY: Duration = Duration::from_mins(15);

/// The name that Discord's REST API has for serenity, wherever it really is.
const DISCORD: &str = "discord.com";
/// The one shard: a guild of its own needs no second.
const SHARD: ShardId = ShardId(0);

/// Guilds for the guild's own data, messages for XP, content for text commands.
const INTENTS: GatewayIntents = GatewayIntents::GUILDS
    .union(GatewayIntents::GUILD_MESSAGES)
    .union(GatewayIntents::MESSAGE_CONTENT);

/// serenity's client, built on its own thread and waiting to be told where to connect.
#[derive(Debug)]
pub struct Client {
    rest: Rest,
    gateway: Gateway,
    connect_to: oneshot::Sender<String>,
}

/// What the gateway's thread tells of the client it has built.
struct Built {
    http: Arc<Http>,
    shards: Arc<ShardManager>,
}

impl Client {
    /// A client as the settings say. `attach` is shown it before it connects; `revoked` is cancelled when Discord refuses the token.
    pub async fn new(
        settings: Discord,
        token: SecretString,
        listener: impl RawEventHandler + 'static,
        attach: impl for<'a> FnOnce(&'a serenity::Client) -> BoxFuture<'a, ()> + Send + 'static,
        revoked: CancellationToken,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the gateway's runtime cannot be built")?;
        let (tell, told) = oneshot::channel();
        let (connect_to, address) = oneshot::channel();
        let (report, ended) = oneshot::channel();
        let (keep_thread, released) = oneshot::channel::<()>();
        let ticks = Arc::new(AtomicU64::new(0));
        let ticking = Arc::clone(&ticks);
        let thread = std::thread::Builder::new()
            .name("gateway".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    let building = build(&settings, &token, listener, attach);
                    let built = tokio::time::timeout(BUILD_TIMEOUT, building).await;
                    let mut client =
                        match built.unwrap_or_else(|_| Err(anyhow!("Discord does not answer"))) {
                            Ok(client) => client,
                            Err(error) => return drop(tell.send(Err(error))),
                        };
                    let (http, shards) =
                        (Arc::clone(&client.http), Arc::clone(&client.shard_manager));
                    let _ = tell.send(Ok(Built { http, shards }));
                    let Ok(url) = address.await else { return };
                    *client.ws_url.lock().await = url;
                    tokio::spawn(tick(ticking));
                    let _ = report.send(stop_for(client.start().await));
                    // Commands under way and the sockets they use live on this runtime.
                    let _ = released.await;
                });
            })
            .context("the gateway's thread cannot be started")?;
        let Built { http, shards } = told.await.context("the gateway's thread has died")??;
        let gateway = Gateway {
            shards,
            ended,
            ticks,
            keep_thread,
            thread,
        };
        Ok(Self {
            rest: Rest::new(http, revoked),
            gateway,
            connect_to,
        })
    }

    /// REST calls under the house's policy.
    pub fn rest(&self) -> &Rest {
        &self.rest
    }

    /// Checks the token, finds the gateway and connects; patient while Discord
    /// cannot be reached, since a bot that is started before its network must not
    /// need a second start. `None` on `cancel`.
    pub async fn connect(self, cancel: &CancellationToken) -> Result<Option<Gateway>, Stop> {
        let connecting = cancel.run_until_cancelled(self.find_gateway()).await;
        let Some(url) = connecting.transpose()? else {
            return Ok(None);
        };
        // Only a thread that has died does not listen, and the gateway reports that.
        let _ = self.connect_to.send(url);
        Ok(Some(self.gateway))
    }

    async fn find_gateway(&self) -> Result<String, Stop> {
        let rest = &self.rest;
        let name = patiently(rest, "asking Discord who the bot is", |http| async move {
            Ok(http.get_current_user().await?.name.clone())
        });
        tracing::info!(name = %name.await?, "Discord knows the bot");
        self.keep_to_the_session_limit().await?;
        // serenity has asked once and falls back to an address of its own; we ask
        // until there is an answer, and put it in the place of serenity's.
        let url = patiently(rest, "asking Discord for its gateway", |http| async move {
            Ok(http.get_gateway().await?.url)
        });
        url.await
    }

    /// Waits as long as Discord's daily limit of sessions asks for: a bot that crashes
    /// and is started again all day must not lose its token by it.
    async fn keep_to_the_session_limit(&self) -> Result<(), Stop> {
        let asked = self.rest.call(
            "asking for the session limit",
            Repeat::Safe,
            PATIENCE,
            |http| async move { http.get_bot_gateway().await },
        );
        match asked.await {
            // The gateway would close with 4011.
            Ok(gateway) if gateway.shards > 1 => Err(Stop::GatewayRefused(
                "the bot is in so many guilds that it would have to be split into shards; wall_e serves one guild, \
                 give it an application of its own (4011)",
            )),
            Ok(gateway) => {
                let pause = pause_before_session(&gateway.session_start_limit);
                if !pause.is_zero() {
                    let remaining = gateway.session_start_limit.remaining;
                    tracing::warn!(
                        remaining,
                        wait_s = pause.as_secs(),
                        "many sessions were begun today; waiting"
                    );
                    tokio::time::sleep(pause).await;
                }
                Ok(())
            }
            Err(RestError::Revoked) => Err(Stop::TokenRefused),
            Err(error) => {
                tracing::warn!(%error, "Discord did not tell its session limit");
                Ok(())
            }
        }
    }
}

/// How long to wait so that what is left of the limit lasts until it is renewed. The
/// first half of it is free.
fn pause_before_session(limit: &SessionStartLimit) -> Duration {
    if limit.remaining * 2 >= limit.total {
        return Duration::ZERO;
    }
    Duration::from_millis(limit.reset_after / limit.remaining.max(1))
}

/// The gateway, connected on a thread of its own.
#[derive(Debug)]
pub struct Gateway {
    shards: Arc<ShardManager>,
    ended: oneshot::Receiver<Stop>,
    /// Goes up as long as the thread gets round.
    ticks: Arc<AtomicU64>,
    /// Dropped to let the thread end, when nothing that runs on it is needed any more.
    keep_thread: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Gateway {
    /// Waits until the gateway has ended by itself, and says why. Meanwhile it is
    /// looked after: serenity has ways to hang from which it does not recover.
    pub async fn ended(&mut self) -> Stop {
        let watching = watch(&self.shards, &self.ticks);
        tokio::select! {
            ended = &mut self.ended => ended.unwrap_or_else(|_| Stop::Other(anyhow!("the gateway's thread has died"))),
            () = watching => Stop::Other(anyhow!("the gateway's watch has ended")),
        }
    }

    /// Closes the connection: no event comes after this.
    pub async fn close(&self) {
        self.shards.shutdown_all().await;
    }

    /// Lets the gateway's thread end, and waits for it.
    pub async fn join(self) {
        drop(self.keep_thread);
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}

/// Gives the shard a new start when its thread is stuck (after a close frame without
/// a code serenity reads the dead connection in circles) or when no heartbeat has been
/// answered for long (a shard that ended without anybody noticing). For ever.
async fn watch(shards: &ShardManager, ticks: &AtomicU64) {
    let (mut last_tick, mut ticked) = (0, Instant::now());
    let (mut last_latency, mut answered) = (None, Instant::now());
    let (mut starts, mut last_start) = (0, None::<Instant>);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = Instant::now();
        let tick = ticks.load(Ordering::Relaxed);
        if tick != last_tick {
            (last_tick, ticked) = (tick, now);
        }
        let runner = shards
            .runners
            .lock()
            .await
            .get(&SHARD)
            .map(|runner| (runner.latency, runner.runner_tx.clone()));
        // No runner: serenity is about to start one, and goes on trying by itself.
        let Some((latency, shard)) = runner else {
            answered = now;
            continue;
        };
        if latency != last_latency {
            (last_latency, answered) = (latency, now);
        }
        let stuck = now - ticked >= STUCK;
        if !stuck && now - answered < SILENT {
            continue;
        }
        // Each start is a session of the thousand that Discord allows a day.
        if last_start.is_some_and(|last| now - last > HEALTHY) {
            starts = 0;
        }
        if last_start.is_some_and(|last| now - last < backoff(starts, LOOK, RESTART_MOST)) {
            continue;
        }
        (starts, last_start) = (starts + 1, Some(now));
        tracing::error!(stuck, "the gateway connection hangs; it is made anew");
        // Told directly: serenity's own way leads through the thread that is stuck. A
        // message that cannot be sent is what makes it see that nobody is there; asked
        // to restart, it would wait for a dead connection's farewell in circles.
        shard.set_presence(None, OnlineStatus::Online);
        shards.restart(SHARD).await;
        (ticked, answered) = (Instant::now(), Instant::now());
    }
}

/// Shows that the thread gets round to its tasks.
async fn tick(ticks: Arc<AtomicU64>) {
    loop {
        ticks.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(LOOK / 2).await;
    }
}

async fn build(
    settings: &Discord,
    token: &SecretString,
    listener: impl RawEventHandler + 'static,
    attach: impl for<'a> FnOnce(&'a serenity::Client) -> BoxFuture<'a, ()> + Send + 'static,
) -> anyhow::Result<serenity::Client> {
    let client = ClientBuilder::new_with_http(http(settings, token).await?, INTENTS)
        .raw_event_handler(listener)
        .await
        .context("the Discord client cannot be built")?;
    attach(&client).await;
    Ok(client)
}

/// serenity's REST client, with the time limits it lacks, at the origin that is set.
async fn http(settings: &Discord, token: &SecretString) -> anyhow::Result<Http> {
    let mut client = reqwest::Client::builder()
        .timeout(HTTP_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT);
    if let Some(path) = settings.ca() {
        let pem = std::fs::read(path)
            .with_context(|| format!("WALLE_DISCORD_CA: {} cannot be read", path.display()))?;
        let certificate = reqwest::Certificate::from_pem(&pem).with_context(|| {
            format!(
                "WALLE_DISCORD_CA: {} is not a PEM certificate",
                path.display()
            )
        })?;
        client = client.add_root_certificate(certificate);
    }
    let mut http = HttpBuilder::new(token.expose_secret());
    match &settings.api {
        Origin::Discord { host, port } if host == DISCORD && *port == 443 => {}
        // serenity writes discord.com into every URL as long as it keeps the rate
        // limits itself: so the name is kept, and leads elsewhere.
        Origin::Discord { host, port } => {
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), *port))
                .await
                .with_context(|| format!("WALLE_DISCORD_API: {host} has no address"))?
                .collect();
            client = client.resolve_to_addrs(DISCORD, &addresses);
        }
        Origin::Proxy(url) => http = http.proxy(url).ratelimiter_disabled(true),
    }
    Ok(http
        .client(client.build().context("the HTTP client cannot be built")?)
        .build())
}

/// Makes a call until it succeeds, with a line in the log for each failure.
async fn patiently<T, F>(
    rest: &Rest,
    what: &'static str,
    call: impl Fn(Arc<Http>) -> F,
) -> Result<T, Stop>
where
    F: Future<Output = serenity::Result<T>>,
{
    for attempt in 0.. {
        match rest.call(what, Repeat::Safe, PATIENCE, &call).await {
            Ok(value) => return Ok(value),
            Err(RestError::Revoked) => return Err(Stop::TokenRefused),
            Err(error @ RestError::Unreachable(_)) => {
                let pause = backoff(attempt, RETRY_LEAST, RETRY_MOST);
                tracing::warn!(%error, next_in_s = pause.as_secs_f32(), "Discord cannot be reached; trying again");
                tokio::time::sleep(pause).await;
            }
            Err(error) => return Err(Stop::Other(anyhow::Error::new(error).context(what))),
        }
    }
    unreachable!("attempts are not counted out")
}

/// What the end of serenity's client means for the process.
fn stop_for(result: serenity::Result<()>) -> Stop {
    match result {
        Ok(()) => Stop::Other(anyhow::anyhow!(
            "the gateway connection was closed for good"
        )),
        Err(serenity::Error::Gateway(GatewayError::InvalidAuthentication)) => Stop::TokenRefused,
        Err(serenity::Error::Gateway(GatewayError::DisallowedGatewayIntents)) => Stop::IntentOff,
        Err(serenity::Error::Gateway(GatewayError::InvalidGatewayIntents)) => {
            Stop::GatewayRefused("it does not know the intents that are asked for (4013)")
        }
        Err(error) => {
            Stop::Other(anyhow::Error::new(error).context("the gateway connection ended"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_spread_once_half_of_the_day_is_used() {
        const HOUR_MS: u64 = 3_600_000;
        for (remaining, reset_after, expected_s) in [
            (1_000, 24 * HOUR_MS, 0),
            (500, HOUR_MS, 0),
            (499, HOUR_MS, 7),
            (100, 10 * HOUR_MS, 360),
            (1, HOUR_MS, 3_600),
            (0, HOUR_MS, 3_600),
        ] {
            let limit: SessionStartLimit = serde_json::from_value(serde_json::json!({
                "total": 1_000, "remaining": remaining, "reset_after": reset_after, "max_concurrency": 1
            }))
            .unwrap();
            assert_eq!(
                pause_before_session(&limit).as_secs(),
                expected_s,
                "{remaining} left"
            );
        }
    }
}
