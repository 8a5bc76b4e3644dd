//! The one file that builds the Discord client: REST with its time limits, at the origin
//! that is set. Connects nothing by itself.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use serenity::all::{ClientBuilder, GatewayIntents, RawEventHandler};
use serenity::http::{Http, HttpBuilder};
use tokio_util::sync::CancellationToken;

use super::address;
use super::api::{CONNECT_TIMEOUT, HTTP_TIMEOUT};
use super::gateway::{Build, Connection, Gateway};
use super::overheard::Overheard;
use super::rest::{Rest, note_rate_limit};
use crate::config::{Discord, Origin};
use crate::error::Stop;
use crate::text_file;

/// The name that Discord's REST API has for serenity, wherever it really is.
const DISCORD: &str = "discord.com";

/// Guilds for the guild's own data, members for who comes and goes, moderation for bans (which
/// are told before the member's leaving), messages for XP, content for text commands.
const INTENTS: GatewayIntents = GatewayIntents::GUILDS
    .union(GatewayIntents::GUILD_MEMBERS)
    .union(GatewayIntents::GUILD_MODERATION)
    .union(GatewayIntents::GUILD_MESSAGES)
    .union(GatewayIntents::MESSAGE_CONTENT);

/// serenity's client, built on its own thread and waiting to be told where to connect.
pub struct Client {
    rest: Rest,
    gateway: Gateway,
}

impl Client {
    /// A client as the settings say. `attach` is shown it before it connects, and each
    /// that takes its place; `revoked` is cancelled when Discord refuses the token.
    pub async fn new(
        settings: Discord,
        token: SecretString,
        listener: impl RawEventHandler + Clone + 'static,
        attach: impl for<'a> Fn(&'a serenity::Client) -> BoxFuture<'a, ()>
        + Clone
        + Send
        + Sync
        + 'static,
        revoked: CancellationToken,
        overheard: Overheard,
    ) -> anyhow::Result<Self> {
        let build: Build = Arc::new(move || {
            let (settings, token) = (settings.clone(), token.clone());
            let (listener, attach) = (listener.clone(), attach.clone());
            Box::pin(async move {
                let client = ClientBuilder::new_with_http(http(&settings, &token).await?, INTENTS)
                    .raw_event_handler(listener)
                    .await
                    .context("the Discord client cannot be built")?;
                attach(&client).await;
                Ok(client)
            })
        });
        let connection = Connection::open_patiently(&build).await?;
        let rest = Rest::new(Arc::clone(&connection.http), revoked);
        Ok(Self {
            rest: rest.clone(),
            gateway: Gateway::new(build, rest, overheard, connection),
        })
    }

    /// REST calls under the house's policy.
    pub fn rest(&self) -> &Rest {
        &self.rest
    }

    /// Checks the token, finds the gateway and connects; patient while Discord cannot be
    /// reached. `None` on `cancel`.
    pub async fn connect(mut self, cancel: &CancellationToken) -> Result<Option<Gateway>, Stop> {
        let connecting = async {
            let name = address::who_are_we(&self.rest).await?;
            tracing::info!(name = %name, "Discord knows the bot");
            self.gateway.connect().await
        };
        let connected = cancel.run_until_cancelled(connecting).await;
        Ok(connected.transpose()?.map(|()| self.gateway))
    }
}

/// REST calls as the settings say, without a connection: for what has to be there before
/// the client is.
pub async fn rest(
    settings: &Discord,
    token: &SecretString,
    revoked: CancellationToken,
) -> anyhow::Result<Rest> {
    Ok(Rest::new(Arc::new(http(settings, token).await?), revoked))
}

/// The same for reading the history, with rate limits of its own: serenity keeps one limit for
/// reading and writing in a channel, and a channel whose history must not be read for long
/// would not be written in either. Calls that a limit would hold up for longer than they can
/// wait fail at once.
pub async fn history_rest(
    settings: &Discord,
    token: &SecretString,
    revoked: CancellationToken,
) -> anyhow::Result<Rest> {
    let mut http = http(settings, token).await?;
    if let Some(limits) = &mut http.ratelimiter {
        limits.set_ratelimit_callback(Box::new(|limit| note_rate_limit(&limit)));
    }
    Ok(Rest::new(Arc::new(http), revoked))
}

/// serenity's REST client, with the time limits it lacks, at the origin that is set.
async fn http(settings: &Discord, token: &SecretString) -> anyhow::Result<Http> {
    let mut client = trusting(settings)?
        .timeout(HTTP_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT);
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

/// An HTTP client that trusts whom the settings trust.
pub(super) fn trusting(settings: &Discord) -> anyhow::Result<reqwest::ClientBuilder> {
    let mut client = reqwest::Client::builder();
    if let Some(path) = settings.ca() {
        let pem = text_file::read(path)
            .map_err(|error| anyhow!("WALLE_DISCORD_CA: {} {error}", path.display()))?;
        let certificate =
            reqwest::Certificate::from_pem(pem.text.as_bytes()).with_context(|| {
                format!(
                    "WALLE_DISCORD_CA: {} is not a PEM certificate",
                    path.display()
                )
            })?;
        client = client.add_root_certificate(certificate);
    }
    Ok(client)
}
