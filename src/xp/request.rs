//! Carries out people's requests in the engine: each in a transaction of its own, after the
//! messages that came before the request. A change of a rule does not wait for a catch-up, because
//! it affects only messages after the request.
//!
//! The caller must be told truthfully whether the request was saved. So the engine puts a request
//! into a transaction only while the caller waits (see `commit_permit`), and tries again only once
//! it knows that the previous attempt saved nothing.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};

use super::adjustment::AdjustmentError;
use super::cache::XpCache;
use super::commit_permit::CommitPermit;
use super::committer::{CommitError, Committer, retry_delay};
use crate::leveling::MessageId;
use crate::store;
use crate::store::watermark::Lost;

/// A request, as the engine carries it out.
pub(super) trait Request: Send + Sync {
    /// What the caller is told.
    type Answer: Send;

    /// Tries once to carry out the request. Called only while the outcome of every earlier
    /// transaction is known. Updates the cache only after the request is known to be saved.
    fn attempt(
        &self,
        with: &mut Carrier<'_>,
        permit: &CommitPermit,
    ) -> impl Future<Output = Result<Attempt<Self::Answer>, CommitError>> + Send;
}

/// A request in the engine's inbox, with the channel for its answer.
#[derive(Debug)]
pub(super) struct Pending<R: Request> {
    pub request: R,
    pub permit: Arc<CommitPermit>,
    /// Closed once the caller stops waiting. If the engine ends, this is dropped without an answer.
    pub answer: oneshot::Sender<Result<R::Answer, AdjustmentError>>,
    /// The inbox's permit for a waiting command, released when the engine is done with the request.
    pub place: OwnedSemaphorePermit,
}

/// What became of an attempt whose outcome is known.
pub(super) enum Attempt<A> {
    Saved(A),
    /// There was nothing to save.
    Unchanged(A),
    Refused(AdjustmentError),
}

/// The parts of the engine that carry out requests.
pub(super) struct Carrier<'a> {
    pub committer: &'a mut Committer,
    pub cache: &'a XpCache,
    /// The frontier, which requests do not move; `None` if no message has ever come.
    pub frontier: Option<MessageId>,
    pub outbox_filled: &'a Notify,
}

impl Carrier<'_> {
    /// Retries while the caller waits. If the caller leaves during an attempt whose outcome is
    /// unknown, goes on until it is known. Returns whether anything was saved.
    pub(super) async fn carry_out<R: Request>(mut self, pending: Pending<R>) -> Result<bool, Lost> {
        let Pending {
            request,
            permit,
            mut answer,
            place: _place,
        } = pending;
        for attempt in 0.. {
            // An attempt that is dropped before its COMMIT is sent saves nothing.
            let attempted = async {
                self.committer.resolve_doubt().await?;
                request.attempt(&mut self, &permit).await
            };
            let attempted = tokio::select! {
                biased;
                () = withdrawn(&mut answer, &permit) => return Ok(false),
                attempted = attempted => attempted,
            };
            let error = match attempted {
                Ok(attempt) => {
                    let is_saved = matches!(attempt, Attempt::Saved(_));
                    let _ = answer.send(match attempt {
                        Attempt::Saved(done) | Attempt::Unchanged(done) => Ok(done),
                        Attempt::Refused(error) => Err(error),
                    });
                    return Ok(is_saved);
                }
                Err(CommitError::Lost(lost)) => return Err(lost),
                Err(CommitError::Store(error) | CommitError::TooSlow(error)) => error,
            };
            if attempt == 0 {
                tracing::error!(%error, "a request could not be saved; trying again while its caller waits");
            }
            if error.is_about_the_values() && !permit.is_held() {
                let _ = answer.send(Err(AdjustmentError::NotSaved));
                return Ok(false);
            }
            tokio::select! {
                biased;
                () = withdrawn(&mut answer, &permit) => return Ok(false),
                () = tokio::time::sleep(retry_delay(attempt)) => {}
            }
        }
        unreachable!("the attempts never run out")
    }
}

/// Returns when the caller has left and the request can no longer be saved. Never returns if the
/// request was in a transaction when the caller left, because the outcome must be found out.
async fn withdrawn<T>(answer: &mut oneshot::Sender<T>, permit: &CommitPermit) {
    answer.closed().await;
    if permit.is_held() {
        std::future::pending::<()>().await;
    }
}

/// Runs `write`, inside the request's transaction, if the caller still waits. `write` returns
/// `false` if the same request has been carried out before. If the transaction must be rolled back,
/// returns the reason.
pub(super) async fn write_permitted(
    permit: &CommitPermit,
    write: impl Future<Output = store::Result<bool>>,
) -> store::Result<Option<AdjustmentError>> {
    // The transaction has locked the watermark row and found it as the engine left it. So no
    // earlier attempt was saved, and none can be any more.
    if !permit.acquire() {
        return Ok(Some(AdjustmentError::NotSaved));
    }
    let written = write.await;
    if !matches!(written, Ok(true)) {
        permit.release();
    }
    Ok((!written?).then_some(AdjustmentError::Repeated))
}
