//! What the task that verifies roles is asked for, in a queue that stays short: whoever only
//! wants it soon is one with those before them, and so many may wait for the outcome.
//!
//! Knows nothing of roles.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::reconcile::Report;

/// People who may wait for a verification.
const MAX_WAITING: usize = 100;
/// They, and one of each kind for whom nobody waits.
const CAPACITY: usize = MAX_WAITING + 2;

/// What is wanted.
#[derive(Debug)]
pub(super) enum Wanted {
    /// What levels carry is compared with the guild's roles.
    Levels,
    /// Everyone is verified; who waits is told what came of it, or why nothing did.
    Everyone(Option<oneshot::Sender<Result<Report, String>>>),
}

/// The end of those who ask. Cheap to clone, and never waits for room.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    wanted: mpsc::Sender<Wanted>,
    pending: Arc<Pending>,
}

/// The task's end.
#[derive(Debug)]
pub(super) struct Asks {
    wanted: mpsc::Receiver<Wanted>,
    pending: Arc<Pending>,
}

/// What stands in the queue and nobody waits for.
#[derive(Debug, Default)]
struct Pending {
    levels: AtomicBool,
    everyone: AtomicBool,
}

/// Both ends.
pub(super) fn asks() -> (Asker, Asks) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let pending = Arc::<Pending>::default();
    let asker = Asker {
        wanted: sender,
        pending: Arc::clone(&pending),
    };
    let asks = Asks {
        wanted: receiver,
        pending,
    };
    (asker, asks)
}

impl Asker {
    pub fn levels_soon(&self) {
        self.soon(&self.pending.levels, Wanted::Levels);
    }

    pub fn everyone_soon(&self) {
        self.soon(&self.pending.everyone, Wanted::Everyone(None));
    }

    /// The way to be told what comes of it; `None` if too many wait already.
    pub fn everyone(&self) -> Option<oneshot::Receiver<Result<Report, String>>> {
        let (tell, told) = oneshot::channel();
        // The last places are for those for whom nobody waits.
        let has_place = self.wanted.capacity() > CAPACITY - MAX_WAITING;
        let sent = has_place && self.wanted.try_send(Wanted::Everyone(Some(tell))).is_ok();
        (sent || self.wanted.is_closed()).then_some(told)
    }

    fn soon(&self, is_pending: &AtomicBool, wanted: Wanted) {
        if !is_pending.swap(true, Ordering::AcqRel) && self.wanted.try_send(wanted).is_err() {
            // A task that has ended verifies at the next start; and a queue that is full all
            // the same holds somebody who waits for everyone.
            is_pending.store(false, Ordering::Release);
        }
    }
}

impl Asks {
    /// The next; `None` when nobody can ask any more.
    pub async fn recv(&mut self) -> Option<Wanted> {
        let wanted = self.wanted.recv().await?;
        Some(self.taken(wanted))
    }

    /// The next that is there.
    #[cfg(test)]
    fn try_recv(&mut self) -> Option<Wanted> {
        let wanted = self.wanted.try_recv().ok()?;
        Some(self.taken(wanted))
    }

    /// Who asks from now on is not one with this any more: it begins now.
    fn taken(&self, wanted: Wanted) -> Wanted {
        match wanted {
            Wanted::Levels => self.pending.levels.store(false, Ordering::Release),
            Wanted::Everyone(None) => self.pending.everyone.store(false, Ordering::Release),
            Wanted::Everyone(Some(_)) => {}
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_who_ask_are_few_in_the_queue() {
        let (asker, mut asks) = asks();
        for _ in 0..10_000 {
            asker.everyone_soon();
            asker.levels_soon();
        }
        let waiting: Vec<_> = (0..10_000).filter_map(|_| asker.everyone()).collect();
        assert!(waiting.len() <= MAX_WAITING && waiting.len() >= MAX_WAITING - 2);
        assert!(matches!(asks.try_recv(), Some(Wanted::Everyone(None))));
        asker.everyone_soon();
        assert!(matches!(asks.try_recv(), Some(Wanted::Levels)));
        let rest: Vec<_> = std::iter::from_fn(|| asks.try_recv()).collect();
        assert_eq!(rest.len(), waiting.len() + 1, "it was asked for again");
        asker.levels_soon();
        assert!(matches!(asks.try_recv(), Some(Wanted::Levels)));
    }
}
