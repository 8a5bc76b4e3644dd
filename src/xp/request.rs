//! Requests of people that the engine carries out: each in a transaction of its own, after the
//! messages that came before it.
//!
//! So that the caller can be told truthfully whether it was saved, a request is put into a
//! transaction only while the caller waits (see `commit_permit`), and is tried again only once the
//! previous attempt is known to have saved nothing.

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

    /// One attempt. Nothing is in doubt before it; the cache is updated only once it is known to be
    /// saved.
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
    /// Closed once nobody waits. Dropped without an answer if the engine ends.
    pub answer: oneshot::Sender<Result<R::Answer, AdjustmentError>>,
    /// One of the inbox's places for those who wait.
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
    /// Retries while the caller waits, then until the outcome is known. Returns whether anything
    /// was saved.
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

/// Returns when the caller has left and the request is withdrawn. Never returns if it was in a
/// transaction when the caller left: its outcome must become known.
async fn withdrawn<T>(answer: &mut oneshot::Sender<T>, permit: &CommitPermit) {
    answer.closed().await;
    if permit.is_held() {
        std::future::pending::<()>().await;
    }
}

/// Runs `write` in a transaction if the caller still waits. `write` returns `false` if the same
/// request has been carried out before. Returns a reason if the transaction must be rolled back.
pub(super) async fn write_permitted(
    permit: &CommitPermit,
    write: impl Future<Output = store::Result<bool>>,
) -> store::Result<Option<AdjustmentError>> {
    // The transaction holds the watermark row, which stands where the engine left it: no
    // earlier attempt is saved or ever will be.
    if !permit.acquire() {
        return Ok(Some(AdjustmentError::NotSaved));
    }
    let written = write.await;
    if !matches!(written, Ok(true)) {
        permit.release();
    }
    Ok((!written?).then_some(AdjustmentError::Repeated))
}
