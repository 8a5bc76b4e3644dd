//! The queue of requests for the task that reconciles roles.
//!
//! The queue stays short. Requests of the same kind whose outcome nobody waits for are merged into
//! one, and the number of requests that wait for an outcome is limited.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::reconcile::Report;

/// Maximum number of queued requests that wait for the outcome of a reconcile.
const MAX_WAITING: usize = 100;
/// The waiting requests, and one of each kind for which nobody waits.
const CAPACITY: usize = MAX_WAITING + 2;

/// A request to the task.
#[derive(Debug)]
pub(super) enum Request {
    /// Compare the levels with the guild's roles.
    Levels,
    /// Reconcile everyone. The sender, if any, gets the report or the reason for the failure.
    Everyone(Option<oneshot::Sender<Result<Report, String>>>),
}

/// The sending end of the queue. Cheap to clone. Never waits for room in the queue.
#[derive(Clone, Debug)]
pub(super) struct RequestSender {
    requests: mpsc::Sender<Request>,
    pending: Arc<PendingFlags>,
}

/// The receiving end of the queue, which the task holds.
#[derive(Debug)]
pub(super) struct RequestReceiver {
    requests: mpsc::Receiver<Request>,
    pending: Arc<PendingFlags>,
}

/// Which kinds of request are queued without anybody waiting for their outcome.
#[derive(Debug, Default)]
struct PendingFlags {
    levels: AtomicBool,
    everyone: AtomicBool,
}

/// Creates a queue and returns both ends.
pub(super) fn request_queue() -> (RequestSender, RequestReceiver) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let pending = Arc::<PendingFlags>::default();
    let sending = RequestSender {
        requests: sender,
        pending: Arc::clone(&pending),
    };
    let receiving = RequestReceiver {
        requests: receiver,
        pending,
    };
    (sending, receiving)
}

impl RequestSender {
    pub fn levels_soon(&self) {
        self.soon(&self.pending.levels, Request::Levels);
    }

    pub fn everyone_soon(&self) {
        self.soon(&self.pending.everyone, Request::Everyone(None));
    }

    /// Requests a reconcile of everyone. Returns the receiver of its outcome, or `None` if too
    /// many requests are waiting already. After the task has ended, the receiver only yields an
    /// error.
    pub fn everyone(&self) -> Option<oneshot::Receiver<Result<Report, String>>> {
        let (tell, told) = oneshot::channel();
        // The last places are reserved for requests for which nobody waits.
        let has_place = self.requests.capacity() > CAPACITY - MAX_WAITING;
        let sent = has_place
            && self
                .requests
                .try_send(Request::Everyone(Some(tell)))
                .is_ok();
        (sent || self.requests.is_closed()).then_some(told)
    }

    fn soon(&self, is_pending: &AtomicBool, request: Request) {
        if !is_pending.swap(true, Ordering::AcqRel) && self.requests.try_send(request).is_err() {
            // Losing this request is harmless. If the task has ended, the next start reconciles
            // everyone. If the queue is full, it holds a waiting request to reconcile everyone.
            is_pending.store(false, Ordering::Release);
        }
    }
}

impl RequestReceiver {
    /// Waits for the next request; `None` if every sending end is gone.
    pub async fn recv(&mut self) -> Option<Request> {
        let request = self.requests.recv().await?;
        Some(self.taken(request))
    }

    /// The next request, if one is queued.
    #[cfg(test)]
    fn try_recv(&mut self) -> Option<Request> {
        let request = self.requests.try_recv().ok()?;
        Some(self.taken(request))
    }

    /// Marks a request as no longer queued. Its work begins now, so later requests of its kind
    /// must not be merged with it.
    fn taken(&self, request: Request) -> Request {
        match request {
            Request::Levels => self.pending.levels.store(false, Ordering::Release),
            Request::Everyone(None) => self.pending.everyone.store(false, Ordering::Release),
            Request::Everyone(Some(_)) => {}
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_who_ask_are_few_in_the_queue() {
        let (sender, mut receiver) = request_queue();
        for _ in 0..10_000 {
            sender.everyone_soon();
            sender.levels_soon();
        }
        let waiting: Vec<_> = (0..10_000).filter_map(|_| sender.everyone()).collect();
        assert!(waiting.len() <= MAX_WAITING && waiting.len() >= MAX_WAITING - 2);
        assert!(matches!(receiver.try_recv(), Some(Request::Everyone(None))));
        sender.everyone_soon();
        assert!(matches!(receiver.try_recv(), Some(Request::Levels)));
        let rest: Vec<_> = std::iter::from_fn(|| receiver.try_recv()).collect();
        assert_eq!(rest.len(), waiting.len() + 1, "it was asked for again");
        sender.levels_soon();
        assert!(matches!(receiver.try_recv(), Some(Request::Levels)));
    }
}
