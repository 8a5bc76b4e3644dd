//! An event that serenity does not know or could not parse: counted by type, said
//! in the log, never a crash, and never an excuse to lose a message.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serenity::all::UnknownEvent;

use super::Listeners;
use super::message;
use crate::discord::wire::BareMessage;

/// How many events of each type did not parse.
#[derive(Debug, Default)]
pub struct Unknown(Mutex<BTreeMap<String, u64>>);

impl Unknown {
    /// Counts one more; how many it makes of this type.
    fn count(&self, kind: &str) -> u64 {
        // A hostile server could invent types without end; Discord has some eighty.
        const MOST_TYPES: usize = 500;
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MOST_TYPES && !counts.contains_key(kind) {
            return 0;
        }
        let count = counts.entry(kind.to_owned()).or_insert(0);
        *count += 1;
        *count
    }
}

pub(super) fn on_unknown(listeners: &Listeners, event: UnknownEvent) {
    let kind = event.kind.as_str();
    let count = listeners.unknown.count(kind);
    // Said at the 1st, 2nd, 4th, 8th …: often enough to notice, never a flood. What
    // the event holds is people's data and stays out of the log.
    if count.is_power_of_two() {
        tracing::warn!(kind, count, "an event of this type was not understood");
    }
    if kind == "MESSAGE_CREATE" {
        if let Ok(message) = BareMessage::deserialize(event.value) {
            message::on_bare_message(listeners, message);
        } else {
            tracing::error!("a message could not be read at all; it earns nothing");
        }
    }
}
