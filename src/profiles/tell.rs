//! Tells the council of the avatar channel. Holds nothing up: what it cannot be told stands in
//! the log.

use crate::discord::council::{Council, Notice};

/// Tells of all problems of `scope` that there are now.
pub(super) async fn tell(council: &Council, scope: &'static str, notices: &[Notice]) {
    if let Err(error) = council.tell(scope, notices).await {
        let error = format!("{error:#}");
        tracing::warn!(
            error,
            "the council could not be told about the avatar channel"
        );
    }
}
