//! Events that could not be parsed. They never crash the bot. Each is counted by its type, and some
//! are logged with the field that was not understood. After an event about a new session, the guild,
//! a channel, a role or a ban, the bot asks Discord for the current state.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use super::{Listeners, ready, role};
use crate::discord::payload::unreadable::Unreadable;

/// Counts the events of each type that were not understood. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Unparsed(Arc<Mutex<BTreeMap<String, u64>>>);

impl Unparsed {
    /// Counts one more event, and logs the 1st, 2nd, 4th, 8th … of its type, so that the log is not
    /// flooded. The content is not logged, because it is people's data.
    pub fn note(&self, kind: &str, field: Option<&Unreadable>) {
        let count = self.count(kind);
        if count.is_power_of_two() {
            let field = field.map(tracing::field::display);
            tracing::warn!(
                kind,
                count,
                field,
                "an event of this type was not understood"
            );
        }
    }

    /// Counts one more event; returns the count of its type, or 0 if there are too many types.
    fn count(&self, kind: &str) -> u64 {
        // Bounds the memory if a hostile server invents types; Discord has some eighty.
        const MAX_TYPES: usize = 500;
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MAX_TYPES && !counts.contains_key(kind) {
            return 0;
        }
        let count = counts.entry(kind.to_owned()).or_insert(0);
        *count += 1;
        *count
    }
}

/// Handles an event that was not understood, by its type alone.
pub(super) fn on_unreadable(listeners: &Listeners, kind: &str, text: &str, field: &Unreadable) {
    listeners.unparsed.note(kind, Some(field));
    match kind {
        "READY" => ready::on_unreadable(listeners),
        "MESSAGE_CREATE" => {
            tracing::error!(%field, "a message could not be read at all; it earns nothing");
        }
        "GUILD_MEMBER_ADD" | "GUILD_MEMBER_UPDATE" => tracing::error!(
            %field,
            "an update of a member was not understood; the next role check covers everyone"
        ),
        "GUILD_MEMBER_REMOVE" => tracing::error!(
            %field,
            "the id of a member who left was not understood; a level-up message may still mention them"
        ),
        "GUILD_BAN_ADD" | "GUILD_BAN_REMOVE" => listeners.bans.list_soon(),
        "GUILD_UPDATE" | "GUILD_ROLE_CREATE" | "GUILD_ROLE_UPDATE" | "GUILD_ROLE_DELETE" => {
            role::on_unreadable(listeners, guild_of(kind, text));
        }
        "CHANNEL_CREATE" | "CHANNEL_UPDATE" | "CHANNEL_DELETE" | "THREAD_CREATE"
        | "THREAD_UPDATE" | "THREAD_DELETE" | "THREAD_LIST_SYNC" => {
            // The catch-up lists the channels again, and the reconcile reads their overwrites.
            listeners.bot.inbox.open_gap();
            listeners.bot.roles.book.forget();
            listeners.bot.roles.schedule.levels_soon();
        }
        _ => {}
    }
}

/// The id of the guild that an event is about, if it can be read.
fn guild_of(kind: &str, text: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct EventSubject<'a> {
        #[serde(borrow)]
        id: Option<&'a serde_json::value::RawValue>,
        #[serde(borrow)]
        guild_id: Option<&'a serde_json::value::RawValue>,
    }
    let about: EventSubject<'_> = serde_json::from_str(text).ok()?;
    let id = match kind {
        "GUILD_UPDATE" => about.id,
        _ => about.guild_id,
    };
    id?.get().trim_matches('"').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_counted_apart_and_their_number_is_bounded() {
        let unparsed = Unparsed::default();
        for (kind, count) in [("A", 1), ("A", 2), ("B", 1), ("A", 3), ("B", 2)] {
            assert_eq!(unparsed.count(kind), count, "{kind}");
        }
        for number in 0..1_000 {
            unparsed.count(&number.to_string());
        }
        assert_eq!(unparsed.count("another"), 0);
        assert_eq!(unparsed.count("A"), 4, "known types go on");
        assert_eq!(unparsed.0.lock().unwrap().len(), 500);
    }

    #[test]
    fn an_event_is_about_the_guild_that_it_names() {
        for (kind, text, guild) in [
            ("GUILD_UPDATE", r#"{"id":"8","owner_id":7}"#, Some(8)),
            (
                "GUILD_ROLE_UPDATE",
                r#"{"guild_id":"8","role":{}}"#,
                Some(8),
            ),
            ("GUILD_ROLE_DELETE", r#"{"guild_id":8}"#, Some(8)),
            ("GUILD_ROLE_DELETE", r#"{"guild_id":[]}"#, None),
            ("GUILD_ROLE_DELETE", r#"{"role_id":"8"}"#, None),
            ("GUILD_ROLE_DELETE", "[]", None),
        ] {
            assert_eq!(guild_of(kind, text), guild, "{text}");
        }
    }
}
