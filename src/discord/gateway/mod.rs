//! The connection to Discord's gateway, kept alive.
//!
//! Returns each event once, in the order in which Discord sends them. When a connection ends, it
//! opens another one and resumes the session. Every connection is a new twilight shard, so that
//! this module alone decides when to reconnect, to which URL, and whether to resume. It reads the
//! data of no event but `READY`.

mod bootstrap;
mod close_codes;
mod connection;
mod frame;
mod identify_limiter;
mod session;

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, sleep_until};
use twilight_gateway::CloseFrame;

pub use bootstrap::{BotAccount, who_are_we};
pub use connection::{Deadlines, INTENTS};
pub use frame::Frame;
pub use session::Session;

use bootstrap::Address;
use close_codes::{ends_session, fatal};
use connection::{Ended, GatewayConnection, Received};
use identify_limiter::IdentifyLimiter;

use super::rest::Rest;
use crate::backoff::Backoff;
use crate::error::Stop;

/// Backoff between failed attempts to connect.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// Failed attempts after which the resume URL and the usual URL are tried in turn.
const RESUME_URL_TRIES: u32 = 2;
/// Attempts to resume a session that may fail after `HELLO`, before a new session starts.
const MAX_RESUMES: u32 = 5;
/// The same for a session that another process left. It is lower, and so is the timeout for
/// `RESUMED`, because the bot serves nobody until then.
const MAX_RESUMES_INHERITED: u32 = 2;
/// Time limit from `HELLO` to `RESUMED` for such a session.
const RESUMED_TIMEOUT_INHERITED: Duration = Duration::from_secs(10);
/// Shortest wait after Discord called a session invalid; the longest is five times as long.
/// Source: Discord's documentation, which asks for a random wait of one to five seconds.
const INVALID_SESSION_WAIT: Duration = Duration::from_secs(1);

/// The gateway, connected or about to be.
pub struct Gateway {
    token: SecretString,
    rest: Rest,
    deadlines: Deadlines,
    connection: Option<GatewayConnection>,
    /// The session that the next connection resumes; `None` to start a new one.
    session: Option<Session>,
    limiter: IdentifyLimiter,
    /// The usual URL, from `GET /gateway/bot`; `None` before it was asked for.
    url: Option<String>,
    /// Consecutive attempts that reached neither `READY` nor `RESUMED`.
    failures: u32,
    /// Those of them that tried to resume and got as far as `HELLO`.
    failed_resumes: u32,
    /// Whether another process started the session and it has not been resumed here yet.
    is_inherited: bool,
    /// The earliest time of the next attempt.
    not_before: Instant,
}

impl Gateway {
    /// Does not connect before the first [`Self::next`].
    pub fn new(token: SecretString, rest: Rest) -> Self {
        // Fails if a provider is installed already, which is fine: every call installs this one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            token,
            rest,
            deadlines: Deadlines::default(),
            connection: None,
            session: None,
            limiter: IdentifyLimiter::default(),
            url: None,
            failures: 0,
            failed_resumes: 0,
            is_inherited: false,
            not_before: Instant::now(),
        }
    }

    /// Replaces the default deadlines.
    #[must_use]
    pub fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Makes the first connection resume a session that another process left.
    #[must_use]
    pub fn resuming(mut self, session: Session) -> Self {
        self.session = Some(session);
        self.is_inherited = true;
        self
    }

    /// Waits for the next event, and reconnects as often as needed. Returns an error only if
    /// reconnecting cannot help, such as after a refused token.
    pub async fn next(&mut self) -> Result<Frame, Stop> {
        loop {
            if self.connection.is_none() {
                self.connection = Some(self.connect().await?);
            }
            let Some(connection) = &mut self.connection else {
                continue;
            };
            let mut deadlines = self.deadlines;
            if self.is_inherited {
                deadlines.ready = deadlines.ready.min(RESUMED_TIMEOUT_INHERITED);
            }
            match connection.next(deadlines).await {
                Received::Event(frame) => {
                    self.keep_session(&frame);
                    return Ok(frame);
                }
                Received::Over(why) => self.end(why).await?,
                // Twilight identifies at HELLO; an attempt that fails earlier costs no session.
                Received::Greeted if self.session.is_none() => self.limiter.spend(Instant::now()),
                Received::Greeted | Received::Nothing => {}
            }
        }
    }

    /// Closes the connection and ends the session.
    pub async fn close(&mut self) {
        self.session = None;
        if let Some(connection) = self.connection.take() {
            connection.close(CloseFrame::NORMAL).await;
        }
    }

    /// Closes the connection so that another process can resume the session, and returns the
    /// session, if there is one. Its sequence number is that of the last event that
    /// [`Self::next`] returned.
    pub async fn hand_over(&mut self) -> Option<Session> {
        if let Some(connection) = self.connection.take() {
            connection.close(CloseFrame::RESUME).await;
        }
        self.session.take()
    }

    /// Opens a connection that resumes the session, or starts one once the limits allow it.
    async fn connect(&mut self) -> Result<GatewayConnection, Stop> {
        sleep_until(self.not_before).await;
        let url = match self.known_address() {
            Some(url) => url,
            None if self.session.is_some() => {
                let usual = self.ask_for_address().await?.url;
                if let Some(session) = &mut self.session {
                    session.stay_near(&usual);
                }
                self.known_address().unwrap_or(usual)
            }
            None => {
                wait_until(self.limiter.next_at(Instant::now())).await;
                let address = self.ask_for_address().await?;
                address.wait().await;
                address.url
            }
        };
        tracing::debug!(
            resumes = self.session.is_some(),
            "connecting to Discord's gateway"
        );
        let token = self.token.expose_secret().to_owned();
        Ok(GatewayConnection::open(token, url, self.session.as_ref()))
    }

    /// The URL for resuming the session: the one that Discord gave for it and, after
    /// [`RESUME_URL_TRIES`] failures, in turn with the usual one. `None` if Discord must be asked
    /// first: without a session, or if the usual URL is not known yet.
    fn known_address(&self) -> Option<String> {
        let (session, usual) = (self.session.as_ref()?, self.url.as_ref()?);
        let use_usual_url = self.failures >= RESUME_URL_TRIES && self.failures.is_multiple_of(2);
        let wanted = session.resume_url.as_ref().filter(|_| !use_usual_url);
        Some(wanted.unwrap_or(usual).clone())
    }

    async fn ask_for_address(&mut self) -> Result<Address, Stop> {
        let address = bootstrap::gateway(&self.rest).await?;
        self.url = Some(address.url.clone());
        Ok(address)
    }

    fn keep_session(&mut self, frame: &Frame) {
        let Some(sequence) = frame.sequence() else {
            return;
        };
        if matches!(frame.kind(), "READY" | "RESUMED") {
            self.is_inherited = false;
        }
        if frame.kind() == "READY" {
            let mut started = Session::of_ready(frame.data(), sequence);
            if let (Some(session), Some(usual)) = (&mut started, &self.url) {
                session.stay_as_safe_as(usual);
            }
            // If READY was not understood, the known session is kept.
            self.session = started.or(self.session.take());
        }
        if let Some(session) = &mut self.session {
            session.sequence = sequence;
        }
    }

    /// Drops the connection, and decides by the reason for its end whether the next one resumes
    /// and how long to wait before it. An error means that reconnecting is of no use.
    async fn end(&mut self, why: Ended) -> Result<(), Stop> {
        let Some(connection) = self.connection.take() else {
            return Ok(());
        };
        let now = Instant::now();
        let mut wait = if connection.is_active() {
            (self.failures, self.failed_resumes) = (0, 0);
            // Reconnect at most once per `BACKOFF.min()`, also if Discord keeps closing at once.
            BACKOFF.min().saturating_sub(connection.age())
        } else {
            self.failures = self.failures.saturating_add(1);
            if self.session.is_some() && connection.was_greeted() {
                self.failed_resumes += 1;
            }
            BACKOFF.delay(self.failures - 1)
        };
        let mut is_closing = false;
        match why {
            Ended::Closed(code) => {
                if let Some(stop) = code.and_then(fatal) {
                    return Err(stop);
                }
                let is_active = connection.is_active();
                if code.is_some_and(|code| ends_session(code, is_active)) {
                    self.session = None;
                }
                tracing::info!(
                    code,
                    "Discord's gateway closed the connection; connecting again"
                );
            }
            Ended::Reconnect => {
                is_closing = true;
                tracing::debug!("Discord's gateway asked the bot to reconnect");
            }
            Ended::InvalidSession { resumable } => {
                is_closing = true;
                if !resumable {
                    self.session = None;
                    wait += INVALID_SESSION_WAIT.mul_f64(1.0 + 4.0 * fastrand::f64());
                }
                tracing::info!(resumable, "Discord's gateway called the session invalid");
            }
            Ended::ConnectFailed(why) => {
                tracing::warn!(
                    why,
                    next_in_ms = wait.as_millis(),
                    "connecting to Discord's gateway failed; trying again"
                );
            }
            Ended::TimedOut(what) => {
                tracing::warn!("Discord's gateway did not send {what} in time; connecting again");
            }
            Ended::Broken(why) => {
                tracing::warn!("the connection to Discord's gateway {why}; connecting again");
            }
        }
        let max_resumes = if self.is_inherited {
            MAX_RESUMES_INHERITED
        } else {
            MAX_RESUMES
        };
        if self.failed_resumes >= max_resumes {
            tracing::warn!("the session cannot be resumed; starting a new one");
            (self.session, self.failed_resumes) = (None, 0);
        }
        self.not_before = now + wait;
        if is_closing {
            connection.wait_until_closed().await;
        }
        Ok(())
    }
}

/// Waits until the next session may start, with a warning in the log if that takes long.
async fn wait_until(next_at: Instant) {
    let wait = next_at.saturating_duration_since(Instant::now());
    if wait > BACKOFF.max() {
        tracing::warn!(
            wait_s = wait.as_secs(),
            "many sessions ended within a short time; waiting before the next one starts"
        );
    }
    sleep_until(next_at).await;
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}
