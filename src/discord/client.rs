//! The one file that builds the Discord client: REST with its time limits, at the origin
//! that is set. Connects nothing by itself.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use serenity::all::{ClientBuilder, GatewayIntents, RawEventHandler};
use serenity::http::{Http, HttpBuilder};
use tokio_util::sync::CancellationToken;

use super::USER_AGENT;
use super::address;
use super::gateway::{Build, Connection, Gateway};
use super::overheard::Overheard;
use super::rest::{Api, CONNECT_TIMEOUT, HTTP_TIMEOUT, Rest};
use crate::config::{Discord, Origin};
use crate::error::Stop;
use crate::text_file;

/// Where Discord's REST API is.
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
    /// that takes its place.
    pub async fn new(
        settings: Discord,
        token: SecretString,
        listener: impl RawEventHandler + Clone + 'static,
        attach: impl for<'a> Fn(&'a serenity::Client) -> BoxFuture<'a, ()>
        + Clone
        + Send
        + Sync
        + 'static,
        rest: Rest,
        overheard: Overheard,
    ) -> anyhow::Result<Self> {
        let build: Build = Arc::new(move || {
            let (settings, token) = (settings.clone(), token.clone());
            let (listener, attach) = (listener.clone(), attach.clone());
            Box::pin(async move {
                let client = ClientBuilder::new_with_http(http(&settings, &token)?, INTENTS)
                    .raw_event_handler(listener)
                    .await
                    .context("the Discord client cannot be built")?;
                attach(&client).await;
                Ok(client)
            })
        });
        let connection = Connection::open_patiently(&build).await?;
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

/// REST calls as the settings say. One for the whole bot, whose limits are one; within the
/// runtime on which the limits live.
pub fn rest(
    settings: &Discord,
    token: &SecretString,
    revoked: CancellationToken,
) -> anyhow::Result<Rest> {
    let api = Api::new(client(settings)?, token, origin(&settings.api));
    Ok(Rest::new(api, revoked))
}

/// What serenity and poise ask for: no call is made through it (a test guards that), since it
/// keeps no limits.
fn http(settings: &Discord, token: &SecretString) -> anyhow::Result<Http> {
    let http = HttpBuilder::new(token.expose_secret())
        .client(client(settings)?)
        .ratelimiter_disabled(true);
    Ok(match origin(&settings.api) {
        Some(origin) => http.proxy(origin),
        None => http,
    }
    .build())
}

fn client(settings: &Discord) -> anyhow::Result<reqwest::Client> {
    let client = trusting(settings)?
        .user_agent(USER_AGENT)
        .timeout(HTTP_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT);
    client.build().context("the HTTP client cannot be built")
}

/// What takes the place of `https://discord.com` in URLs.
fn origin(api: &Origin) -> Option<String> {
    match api {
        Origin::Discord { host, port: 443 } if host == DISCORD => None,
        Origin::Discord { host, port } if host.contains(':') => {
            Some(format!("https://[{host}]:{port}"))
        }
        Origin::Discord { host, port } => Some(format!("https://{host}:{port}")),
        Origin::Proxy(url) => Some(url.clone()),
    }
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
