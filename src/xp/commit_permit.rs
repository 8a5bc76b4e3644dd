//! The permit to commit a request, shared by the engine and the caller that waits for it.
//!
//! An atomic integer that changes by compare-and-swap, so that only one of the two holds the
//! permit. The engine puts a request into a transaction only while it holds the permit; the
//! caller is told "not saved" only once the permit is withdrawn. Does not access the database.

use std::sync::atomic::{AtomicU8, Ordering};

/// Nobody has it: no transaction with the request can be committed.
const FREE: u8 = 0;
/// The engine has it: the request is in a transaction, whose COMMIT may be answered or not.
const HELD: u8 = 1;
/// The caller has left, and the request must not be saved any more.
const WITHDRAWN: u8 = 2;
/// The caller left while the engine had it. If that transaction saved nothing, there is no other
/// attempt.
const ABANDONED: u8 = 3;

#[derive(Debug, Default)]
pub(super) struct CommitPermit(AtomicU8);

impl CommitPermit {
    /// Called by the engine in a transaction, once every earlier attempt is known to have saved
    /// nothing. Returns `false` if the caller has left; then nothing may be saved.
    pub(super) fn acquire(&self) -> bool {
        self.release();
        self.swap(FREE, HELD)
    }

    /// Called by the engine when the transaction will certainly not be committed.
    pub(super) fn release(&self) {
        if !self.swap(HELD, FREE) {
            self.swap(ABANDONED, WITHDRAWN);
        }
    }

    /// Whether the request is in a transaction whose outcome is unknown.
    pub(super) fn is_held(&self) -> bool {
        [HELD, ABANDONED].contains(&self.0.load(Ordering::Acquire))
    }

    /// Called by the caller: `true` if the request is not saved and never will be.
    pub(super) fn withdraw(&self) -> bool {
        self.swap(FREE, WITHDRAWN)
    }

    /// Called by a caller that leaves, whatever the engine is doing. Returns the same as
    /// `withdraw`.
    pub(super) fn abandon(&self) -> bool {
        let left = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| match state {
                FREE => Some(WITHDRAWN),
                HELD => Some(ABANDONED),
                _ => None,
            });
        left == Ok(FREE)
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
    fn a_failed_attempt_is_repeated_only_for_a_caller_who_waits() {
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
    fn the_caller_and_the_engine_never_both_have_it() {
        for _ in 0..2_000 {
            let permit = CommitPermit::default();
            let (taken, withdrawn) = std::thread::scope(|scope| {
                let engine = scope.spawn(|| permit.acquire());
                let caller = scope.spawn(|| permit.withdraw());
                (engine.join().unwrap(), caller.join().unwrap())
            });
            assert!(taken != withdrawn);
        }
    }
}
