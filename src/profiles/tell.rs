//! Tells the council of the avatar channel. Holds nothing up: what it cannot be told stands in
//! the log.

use crate::discord::council::{Council, Notice};

/// Tells of all problems of `scope` that there are now; whether that was possible.
pub(super) async fn tell(council: &Council, scope: &'static str, notices: &[Notice]) -> bool {
    let told = council.tell(scope, notices).await;
    if let Err(error) = &told {
        let error = format!("{error:#}");
        tracing::warn!(
            error,
            "the council could not be told about the avatar channel"
        );
    }
    told.is_ok()
}
