//! Who decides about a change that somebody waits for: the engine, or the waiter whose
//! patience is over.
//!
//! One word in memory, moved by compare-and-swap, so that it is always one of the two. The
//! engine puts a change into a transaction only while it holds the permit, and the waiter
//! says "not saved" only having taken the permit away. Knows no database.

use std::sync::atomic::{AtomicU8, Ordering};

/// Nobody has decided: no transaction with the change can be committed.
const WAITING: u8 = 0;
/// The change is in a transaction, whose COMMIT may be answered or not.
const HELD: u8 = 1;
/// The waiter has left, and the change must not be saved any more.
const WITHDRAWN: u8 = 2;
/// The waiter has left while the change was in a transaction. Nobody knows the outcome
/// yet, and if it is that nothing was saved, it stays so.
const ABANDONED: u8 = 3;

/// Shared by the engine and a waiter.
#[derive(Debug, Default)]
pub(super) struct CommitPermit(AtomicU8);

impl CommitPermit {
    /// For the engine, in a transaction, where every earlier attempt is known not to have
    /// been committed. `false`: the waiter has left, and nothing may be saved.
    pub(super) fn acquire(&self) -> bool {
        self.release();
        self.swap(WAITING, HELD)
    }

    /// For the engine, when the transaction is certainly not committed.
    pub(super) fn release(&self) {
        if !self.swap(HELD, WAITING) {
            self.swap(ABANDONED, WITHDRAWN);
        }
    }

    /// Whether the change is in a transaction of unknown outcome.
    pub(super) fn is_held(&self) -> bool {
        [HELD, ABANDONED].contains(&self.0.load(Ordering::Acquire))
    }

    /// For the waiter: `true` if the change is certainly not saved, and never will be.
    pub(super) fn withdraw(&self) -> bool {
        self.swap(WAITING, WITHDRAWN)
    }

    /// For a waiter who leaves, whatever the engine is doing. `true` as for `withdraw`.
    pub(super) fn abandon(&self) -> bool {
        let left = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| match state {
                WAITING => Some(WITHDRAWN),
                HELD => Some(ABANDONED),
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
        let permit = CommitPermit::default();
        assert!(permit.acquire() && permit.is_held());
        assert!(!permit.withdraw(), "it may be saved");
        permit.release();
        assert!(permit.withdraw() && !permit.is_held());
        assert!(!permit.acquire(), "never any more");
        permit.release();
        assert!(!permit.acquire());
    }

    #[test]
    fn an_attempt_that_came_to_nothing_is_repeated_only_for_someone_who_waits() {
        let permit = CommitPermit::default();
        assert!(permit.acquire());
        assert!(
            permit.acquire(),
            "the earlier attempt is known to be undone"
        );
        assert!(!permit.abandon());
        assert!(permit.is_held(), "its outcome is still to be found out");
        assert!(!permit.acquire());
        assert!(!permit.is_held());
    }

    #[test]
    fn a_waiter_and_the_engine_never_both_have_it() {
        for _ in 0..2_000 {
            let permit = CommitPermit::default();
            let (taken, withdrawn) = std::thread::scope(|scope| {
                let engine = scope.spawn(|| permit.acquire());
                let waiter = scope.spawn(|| permit.withdraw());
                (engine.join().unwrap(), waiter.join().unwrap())
            });
            assert!(taken != withdrawn);
        }
    }
}
