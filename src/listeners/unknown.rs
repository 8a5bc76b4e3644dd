//! An event that serenity does not know or could not parse: counted by type, said
//! in the log, never a crash, and never an excuse to lose a message.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serenity::all::UnknownEvent;

use super::Listeners;
use super::{member, message};
use crate::discord::wire::{BareMemberEvent, BareMessage};

/// How many events of each type did not parse.
#[derive(Clone, Debug, Default)]
pub struct Unknown(Arc<Mutex<BTreeMap<String, u64>>>);

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
    match kind {
        "MESSAGE_CREATE" => {
            if let Ok(message) = BareMessage::deserialize(event.value) {
                message::on_bare_message(listeners, message);
            } else {
                tracing::error!("a message could not be read at all; it earns nothing");
            }
        }
        "GUILD_MEMBER_ADD" | "GUILD_MEMBER_UPDATE" => {
            let joins = kind == "GUILD_MEMBER_ADD";
            if let Ok(event) = BareMemberEvent::deserialize(event.value) {
                member::on_bare_member(listeners, event, joins);
            }
        }
        "GUILD_CREATE" | "GUILD_UPDATE" | "GUILD_DELETE" | "GUILD_ROLE_CREATE"
        | "GUILD_ROLE_UPDATE" | "GUILD_ROLE_DELETE" => listeners.known_guild.is_in_doubt(),
        "READY" => {
            listeners.known_guild.is_in_doubt();
            // Events come all the same, and what came before them was missed.
            listeners.inbox.session_began();
            listeners.verifications.soon();
            tracing::error!("a session has begun, but what Discord says of it was not understood");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_counted_apart_and_their_number_is_bounded() {
        let unknown = Unknown::default();
        for (kind, count) in [("A", 1), ("A", 2), ("B", 1), ("A", 3), ("B", 2)] {
            assert_eq!(unknown.count(kind), count, "{kind}");
        }
        for number in 0..1_000 {
            unknown.count(&number.to_string());
        }
        assert_eq!(unknown.count("another"), 0);
        assert_eq!(unknown.count("A"), 4, "known types go on");
        assert_eq!(unknown.0.lock().unwrap().len(), 500);
    }
}
