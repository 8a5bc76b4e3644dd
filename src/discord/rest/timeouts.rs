//! Timeouts of REST calls.
//!
//! A call to [`Rest::call`](super::Rest::call) also has a timeout for all its attempts together.
//! Its caller chooses it by how long somebody can wait; here is the usual one.

use std::time::Duration;

/// One HTTP request, from the connection to the end of the body.
pub(in crate::discord) const HTTP_TIMEOUT: Duration = Duration::from_secs(10);
/// The connection alone.
pub(in crate::discord) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The usual call, with all its attempts.
pub(in crate::discord) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A call that sends or edits a text message.
pub(in crate::discord) const MESSAGE_CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The call that checks whether the token is really refused.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
