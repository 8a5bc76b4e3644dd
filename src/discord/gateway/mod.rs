//! The connection to Discord's gateway, kept alive.
//!
//! Hands out events in the order in which Discord sends them, each once, and keeps the session:
//! a connection that ends is followed by another one that resumes it. Every connection is a
//! twilight shard of its own, so that this room alone decides when the next one begins, on
//! which session, and where. Knows nothing of what events say, but for `READY`.

mod bootstrap;
mod connection;
mod frame;
mod identify_limiter;
mod session;

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, sleep_until};
use twilight_gateway::CloseFrame;

pub use bootstrap::{Account, who_are_we};
pub use connection::{Deadlines, INTENTS};
pub use frame::Frame;
pub use session::Session;

use bootstrap::Address;
use connection::{Connection, Ended, Next};
use identify_limiter::IdentifyLimiter;

use super::rest::Rest;
use crate::backoff::backoff;
use crate::error::Stop;

/// How far apart attempts to connect grow while they fail.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How often the address for resuming is tried before the usual one is.
const RESUME_TRIES: u32 = 2;
/// How often it is tried to resume a session when Discord does not answer that.
const MAX_RESUMES: u32 = 5;
/// The same for the session of another process, and how long Discord may take to answer: nobody
/// is served before.
const MAX_RESUMES_INHERITED: u32 = 2;
const RESUMED_TIMEOUT_INHERITED: Duration = Duration::from_secs(10);
/// Discord's own wait after it has called a session invalid is one to five seconds.
const INVALID_SESSION_WAIT: Duration = Duration::from_secs(1);
/// The gateway, connected or about to be.
pub struct Gateway {
    token: SecretString,
    rest: Rest,
    deadlines: Deadlines,
    connection: Option<Connection>,
    /// What the next connection resumes.
    session: Option<Session>,
    limiter: IdentifyLimiter,
    /// The usual address, once it is known.
    url: Option<String>,
    /// Attempts that have failed, one after the other: no session began or went on.
    failures: u32,
    /// Of these, those to resume that Discord has heard of.
    resumes_in_vain: u32,
    /// Whether the session is another process's and has not gone on here yet.
    is_inherited: bool,
    /// No attempt is made before.
    not_before: Instant,
}

impl Gateway {
    /// A gateway that connects when its first event is waited for.
    pub fn new(token: SecretString, rest: Rest) -> Self {
        // The only one there is; another call than the first changes nothing.
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
            resumes_in_vain: 0,
            is_inherited: false,
            not_before: Instant::now(),
        }
    }

    /// The same with other deadlines.
    #[must_use]
    pub fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// The same, which resumes a session that another connection has left.
    #[must_use]
    pub fn resuming(mut self, session: Session) -> Self {
        self.session = Some(session);
        self.is_inherited = true;
        self
    }

    /// The next event. Connects as often as it takes; an error says why that is of no use.
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
                Next::Event(frame) => {
                    self.keep_session(&frame);
                    return Ok(frame);
                }
                Next::Over(why) => self.end(why).await?,
                // Attempts that come no further cost nothing.
                Next::Greeted if self.session.is_none() => self.limiter.spend(Instant::now()),
                Next::Greeted | Next::Nothing => {}
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

    /// Closes the connection and returns the session, which another connection may resume; `None`
    /// without a session. Its sequence is the number of the last event that was handed out.
    pub async fn hand_over(&mut self) -> Option<Session> {
        if let Some(connection) = self.connection.take() {
            connection.close(CloseFrame::RESUME).await;
        }
        self.session.take()
    }

    /// Begins a connection that resumes the session, if there is one.
    async fn connect(&mut self) -> Result<Connection, Stop> {
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
        Ok(Connection::open(token, url, self.session.as_ref()))
    }

    /// Where a session is resumed: where Discord wants it to be, and if nobody answers there,
    /// alternately where sessions begin. None where Discord must be asked: whether a session may
    /// be begun, or, for a session of another process, where sessions begin today.
    fn known_address(&self) -> Option<String> {
        let (session, usual) = (self.session.as_ref()?, self.url.as_ref()?);
        let is_usuals_turn = self.failures >= RESUME_TRIES && self.failures.is_multiple_of(2);
        let wanted = session.resume_url.as_ref().filter(|_| !is_usuals_turn);
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
            let mut begun = Session::of_ready(frame.data(), sequence);
            if let (Some(session), Some(usual)) = (&mut begun, &self.url) {
                session.stay_as_safe_as(usual);
            }
            // One that makes no sense may be anything: what is known is kept.
            self.session = begun.or(self.session.take());
        }
        if let Some(session) = &mut self.session {
            session.sequence = sequence;
        }
    }

    /// Lets go of a connection; what the next one does follows from why it has ended.
    async fn end(&mut self, why: Ended) -> Result<(), Stop> {
        let Some(connection) = self.connection.take() else {
            return Ok(());
        };
        let now = Instant::now();
        let mut wait = if connection.is_active() {
            (self.failures, self.resumes_in_vain) = (0, 0);
            // Nobody is called upon in circles.
            RETRY_MIN.saturating_sub(connection.age())
        } else {
            self.failures = self.failures.saturating_add(1);
            if self.session.is_some() && connection.was_greeted() {
                self.resumes_in_vain += 1;
            }
            backoff(self.failures - 1, RETRY_MIN, RETRY_MAX)
        };
        let mut says_goodbye = false;
        match why {
            Ended::Closed(code) => {
                if let Some(stop) = code.and_then(stop_for) {
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
                says_goodbye = true;
                tracing::debug!("Discord's gateway asked for another connection");
            }
            Ended::InvalidSession { resumable } => {
                says_goodbye = true;
                if !resumable {
                    self.session = None;
                    wait += INVALID_SESSION_WAIT.mul_f64(1.0 + 4.0 * fastrand::f64());
                }
                tracing::info!(resumable, "Discord's gateway called the session invalid");
            }
            Ended::NotMade(why) => {
                tracing::warn!(
                    why,
                    next_in_ms = wait.as_millis(),
                    "connecting to Discord's gateway failed; trying again"
                );
            }
            Ended::TooLate(what) => {
                tracing::warn!("Discord's gateway did not say {what} in time; connecting again");
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
        if self.resumes_in_vain >= max_resumes {
            tracing::warn!("the session cannot be resumed; another one is begun");
            (self.session, self.resumes_in_vain) = (None, 0);
        }
        self.not_before = now + wait;
        if says_goodbye {
            connection.close_by_itself().await;
        }
        Ok(())
    }
}

/// Waits until the next session may be begun.
async fn wait_until(next_at: Instant) {
    let wait = next_at.saturating_duration_since(Instant::now());
    if wait > RETRY_MAX {
        tracing::warn!(
            wait_s = wait.as_secs(),
            "sessions are ending one after the other; waiting before the next one"
        );
    }
    sleep_until(next_at).await;
}

/// What it means for the process that Discord closes with this code, if it must not come back.
/// Source: Discord's documentation, "Gateway Close Event Codes".
fn stop_for(code: u16) -> Option<Stop> {
    match code {
        4_004 => Some(Stop::TokenRefused),
        4_010 => Some(Stop::ShardRefused),
        4_011 => Some(Stop::ShardingRequired),
        4_012 => Some(Stop::VersionRefused),
        4_013 => Some(Stop::IntentsUnknown),
        4_014 => Some(Stop::IntentOff),
        _ => None,
    }
}

/// Whether a close code ends the session: an invalid sequence, a session that timed out; and
/// those by which a resume is refused.
fn ends_session(code: u16, is_active: bool) -> bool {
    matches!(code, 4_007 | 4_009) || !is_active && matches!(code, 1_000 | 4_003 | 4_006)
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}
