//! Builds the REST client from the settings: its timeouts, origin and trusted certificates.
//! Makes no calls.

use anyhow::{Context as _, anyhow};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::timeouts::{CONNECT_TIMEOUT, HTTP_TIMEOUT};
use super::{Api, Rest};
use crate::config::{Discord, Origin};
use crate::discord::USER_AGENT;
use crate::text_file;

/// The host of Discord's REST API.
const DISCORD_HOST: &str = "discord.com";

/// Builds the REST client. There must be one for the whole bot, because it keeps Discord's rate
/// limits; must be called within the Tokio runtime.
pub fn rest(
    settings: &Discord,
    token: &SecretString,
    revoked: CancellationToken,
) -> anyhow::Result<Rest> {
    let api = Api::new(client(settings)?, token, origin(&settings.api));
    Ok(Rest::new(api, revoked))
}

fn client(settings: &Discord) -> anyhow::Result<reqwest::Client> {
    let client = trusting(settings)?
        .user_agent(USER_AGENT)
        .timeout(HTTP_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT);
    client.build().context("the HTTP client cannot be built")
}

/// The origin that replaces `https://discord.com` in URLs; `None` to keep it.
fn origin(api: &Origin) -> Option<String> {
    match api {
        Origin::Discord { host, port: 443 } if host == DISCORD_HOST => None,
        Origin::Discord { host, port } if host.contains(':') => {
            Some(format!("https://[{host}]:{port}"))
        }
        Origin::Discord { host, port } => Some(format!("https://{host}:{port}")),
        Origin::Proxy(url) => Some(url.clone()),
    }
}

/// An HTTP client builder that also trusts the certificate in `WALLE_DISCORD_CA`.
pub(in crate::discord) fn trusting(settings: &Discord) -> anyhow::Result<reqwest::ClientBuilder> {
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
