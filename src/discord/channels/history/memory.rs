//! What the bot remembers from one reading of the history to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::leveling::{HistorySource, UserId};

/// State that is kept from one reading to the next.
#[derive(Debug, Default)]
pub struct ReadingMemory {
    pub(super) own_id: OnceLock<UserId>,
    /// Sources that Discord refused although the bot's computed permissions suffice, with a
    /// hash of these permissions. They are not requested again until the hash changes.
    refused: Mutex<BTreeMap<HistorySource, u64>>,
    /// Sources that were set aside and have not been read since: they are set aside again after
    /// their first failed call.
    failing: Mutex<BTreeSet<HistorySource>>,
}

impl ReadingMemory {
    pub(super) fn refused(&self) -> MutexGuard<'_, BTreeMap<HistorySource, u64>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn failing(&self) -> MutexGuard<'_, BTreeSet<HistorySource>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the source failed when it was last read.
    pub fn is_failing(&self, source: HistorySource) -> bool {
        self.failing().contains(&source)
    }
}
