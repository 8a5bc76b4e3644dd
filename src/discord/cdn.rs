//! Discord's CDN: where avatars are fetched. Nothing else is, and from nowhere else: the
//! host is set, the path is built by us, and no redirect is followed.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;

use crate::config;

/// The largest image that is taken. One of 256 pixels has some 100 KiB.
const LARGEST: usize = 1 << 20;
/// Time limit of one image, with all of its bytes.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How every PNG begins: its signature, and the length and name of its first chunk.
/// Source: the PNG specification, 5.2 and 11.2.1.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

/// The CDN. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cdn {
    client: reqwest::Client,
    origin: String,
}

/// Why there is no image. In words for operators; none holds an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoImage {
    /// The avatar was changed since, or the account is no more.
    #[error("Discord's CDN has no such image")]
    NotThere,
    /// The CDN answered with another status.
    #[error("Discord's CDN answered {0}")]
    Status(u16),
    /// What came was not what an avatar is.
    #[error("what came is not a PNG")]
    NotAnImage,
    /// It is larger than any avatar.
    #[error("the image has more than 1 MiB")]
    TooLarge,
    /// Nothing came.
    #[error("Discord's CDN {0}")]
    Unreachable(&'static str),
}

impl Cdn {
    /// The CDN that is set, trusted as Discord is.
    pub fn new(settings: &config::Cdn, discord: &config::Discord) -> anyhow::Result<Self> {
        let client = super::client::trusting(discord)?
            .user_agent(super::USER_AGENT)
            .redirect(Policy::none())
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT);
        Ok(Self {
            client: client.build().context("the CDN's client cannot be built")?,
            origin: settings.origin.clone(),
        })
    }

    /// The PNG at a path of ours.
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
            .is_some_and(|length| length > LARGEST as u64)
        {
            return Err(NoImage::TooLarge);
        }
        let mut image = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(unreachable)? {
            if image.len() + part.len() > LARGEST {
                return Err(NoImage::TooLarge);
            }
            image.extend_from_slice(&part);
        }
        if !image.starts_with(PNG) {
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
