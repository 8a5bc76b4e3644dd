//! Fetches avatars from Discord's CDN. No other address can be reached: the origin comes from
//! the settings, the bot builds the path, and redirects are not followed.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;

use crate::config;
use crate::leveling::picture_size::PICTURE_MAX_BYTES;

/// Timeout of one image, including its body.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The start of every PNG: its signature, and the length and name of its first chunk.
/// Source: the PNG specification, 5.2 and 11.2.1.
const PNG_START: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

/// A client of the CDN. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cdn {
    client: reqwest::Client,
    origin: String,
}

/// Why an image could not be fetched. The texts are for operators and contain no URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoImage {
    /// The avatar was changed meanwhile, or the account was deleted.
    #[error("Discord's CDN has no such image")]
    NotThere,
    /// The CDN answered with a status other than 200, 404 and 410.
    #[error("Discord's CDN answered {0}")]
    Status(u16),
    /// The answer is not a PNG.
    #[error("the answer is not a PNG")]
    NotAnImage,
    /// The image is larger than 1 MiB.
    #[error("the image has more than 1 MiB")]
    TooLarge,
    /// The connection failed, broke off or timed out.
    #[error("Discord's CDN {0}")]
    Unreachable(&'static str),
}

impl Cdn {
    /// A client of the CDN in the settings. It trusts the same certificates as the REST client.
    pub fn new(settings: &config::CdnSettings, discord: &config::Discord) -> anyhow::Result<Self> {
        let client = super::rest::client::trusting(discord)?
            .user_agent(super::USER_AGENT)
            .redirect(Policy::none())
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT);
        Ok(Self {
            client: client.build().context("the CDN's client cannot be built")?,
            origin: settings.origin.clone(),
        })
    }

    /// Fetches the PNG at `path`, which is appended to the origin.
    pub async fn fetch(&self, path: &str) -> Result<Vec<u8>, NoImage> {
        let url = format!("{}{path}", self.origin);
        let mut answer = self.client.get(url).send().await.map_err(unreachable)?;
        match answer.status().as_u16() {
            200 => {}
            404 | 410 => return Err(NoImage::NotThere),
            status => return Err(NoImage::Status(status)),
        }
        let kind = answer.headers().get(CONTENT_TYPE);
        if kind.is_none_or(|kind| kind != "image/png") {
            return Err(NoImage::NotAnImage);
        }
        if answer
            .content_length()
            .is_some_and(|length| length > PICTURE_MAX_BYTES as u64)
        {
            return Err(NoImage::TooLarge);
        }
        let mut image = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(unreachable)? {
            if image.len() + part.len() > PICTURE_MAX_BYTES {
                return Err(NoImage::TooLarge);
            }
            image.extend_from_slice(&part);
        }
        if !image.starts_with(PNG_START) {
            return Err(NoImage::NotAnImage);
        }
        Ok(image)
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what map_err hands over"
)]
fn unreachable(error: reqwest::Error) -> NoImage {
    NoImage::Unreachable(if error.is_timeout() {
        "did not answer in time"
    } else if error.is_connect() {
        "cannot be reached"
    } else {
        "broke off"
    })
}
