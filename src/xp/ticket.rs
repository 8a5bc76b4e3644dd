//! Who decides about a change that somebody waits for: the engine, or the waiter whose
//! patience is over.
//!
//! One word in memory, moved by compare-and-swap, so that it is always one of the two. The
//! engine puts a change into a transaction only while it holds the ticket, and the waiter
//! says "not saved" only having taken the ticket away. Knows no database.

use std::sync::atomic::{AtomicU8, Ordering};

/// Nobody has decided: no transaction with the change can be committed.
const WAITING: u8 = 0;
/// The change is in a transaction, whose COMMIT may be answered or not.
const TAKEN: u8 = 1;
/// The waiter has left, and the change must not be saved any more.
const WITHDRAWN: u8 = 2;
/// The waiter has left while the change was in a transaction. Nobody knows the outcome
/// yet, and if it is that nothing was saved, it stays so.
const ABANDONED: u8 = 3;

/// Shared by the engine and a waiter.
#[derive(Debug, Default)]
pub(super) struct Ticket(AtomicU8);

impl Ticket {
    /// For the engine, in a transaction, where every earlier attempt is known not to have
    /// been committed. `false`: the waiter has left, and nothing may be saved.
    pub(super) fn take(&self) -> bool {
        self.put_back();
        self.swap(WAITING, TAKEN)
    }

    /// For the engine, when the transaction is certainly not committed.
    pub(super) fn put_back(&self) {
        if !self.swap(TAKEN, WAITING) {
            self.swap(ABANDONED, WITHDRAWN);
        }
    }

    /// Whether the change is in a transaction of unknown outcome.
    pub(super) fn is_out(&self) -> bool {
        [TAKEN, ABANDONED].contains(&self.0.load(Ordering::Acquire))
    }

    /// For the waiter: `true` if the change is certainly not saved, and never will be.
    pub(super) fn withdraw(&self) -> bool {
        self.swap(WAITING, WITHDRAWN)
    }

    /// For a waiter who leaves, whatever the engine is doing. `true` as for `withdraw`.
    pub(super) fn leave(&self) -> bool {
        let left = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| match state {
                WAITING => Some(WITHDRAWN),
                TAKEN => Some(ABANDONED),
                _ => None,
            });
        left == Ok(WAITING)
    }

    fn swap(&self, from: u8, to: u8) -> bool {
        self.0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_first_decides() {
        let ticket = Ticket::default();
        assert!(ticket.take() && ticket.is_out());
        assert!(!ticket.withdraw(), "it may be saved");
        ticket.put_back();
        assert!(ticket.withdraw() && !ticket.is_out());
        assert!(!ticket.take(), "never any more");
        ticket.put_back();
        assert!(!ticket.take());
    }

    #[test]
    fn an_attempt_that_came_to_nothing_is_repeated_only_for_someone_who_waits() {
        let ticket = Ticket::default();
        assert!(ticket.take());
        assert!(ticket.take(), "the earlier attempt is known to be undone");
        assert!(!ticket.leave());
        assert!(ticket.is_out(), "its outcome is still to be found out");
        assert!(!ticket.take());
        assert!(!ticket.is_out());
    }

    #[test]
    fn a_waiter_and_the_engine_never_both_have_it() {
        for _ in 0..2_000 {
            let ticket = Ticket::default();
            let (taken, withdrawn) = std::thread::scope(|scope| {
                let engine = scope.spawn(|| ticket.take());
                let waiter = scope.spawn(|| ticket.withdraw());
                (engine.join().unwrap(), waiter.join().unwrap())
            });
            assert!(taken != withdrawn);
        }
    }
}
