//! An event that serenity does not know or could not parse: counted by type, said
//! in the log with the field, never a crash, and never an excuse to lose a message, a command,
//! or the guild's return.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use serenity::all::{Context, FullEvent, UnknownEvent};

use super::Listeners;
use super::{guild, member, message, role};
use crate::discord::rebuild;
use crate::discord::unreadable::{self, read};
use crate::discord::wire::{BareMemberEvent, BareMessage, BareRemoval};
use crate::leveling::may_command;

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

pub(super) async fn on_unknown(listeners: &Listeners, ctx: Context, event: UnknownEvent) {
    let (kind, event) = (event.kind.as_str(), &event.value);
    let count = listeners.unknown.count(kind);
    // Said at the 1st, 2nd, 4th, 8th …: often enough to notice, never a flood. What
    // the event holds is people's data and stays out of the log.
    if count.is_power_of_two() {
        let field = unreadable::in_event(kind, event);
        let field = field.map(tracing::field::display);
        tracing::warn!(
            kind,
            count,
            field,
            "an event of this type was not understood"
        );
    }
    match kind {
        "MESSAGE_CREATE" => on_message(listeners, ctx, event).await,
        "INTERACTION_CREATE" => match rebuild::interaction(event) {
            Ok(interaction) => listeners.on_interaction(ctx, interaction).await,
            Err(field) => tracing::error!(
                %field,
                "a command or a press of a button could not be read at all; it gets no answer"
            ),
        },
        "GUILD_CREATE" => guild::on_raw_create(listeners, event),
        "GUILD_DELETE" => guild::on_raw_delete(listeners, event),
        "GUILD_MEMBER_ADD" | "GUILD_MEMBER_UPDATE" => {
            let joins = kind == "GUILD_MEMBER_ADD";
            match read::<BareMemberEvent>(event) {
                Ok(event) => {
                    if event.user_id() == ctx.cache.current_user().id {
                        // What the bot itself may do has changed, perhaps.
                        role::look_again(listeners);
                    }
                    member::on_bare_member(listeners, event, joins);
                }
                Err(field) => tracing::error!(
                    %field,
                    "what was said of a member could not be read at all; the next verification \
                     looks at everyone"
                ),
            }
        }
        "GUILD_MEMBER_REMOVE" | "GUILD_BAN_ADD" => match read::<BareRemoval>(event) {
            Ok(removal) => member::on_remove(listeners, removal.guild_id, removal.user.id),
            Err(field) => tracing::error!(
                %field,
                "who left the server could not be read at all; they may be congratulated on a level"
            ),
        },
        "GUILD_UPDATE" => role::on_unreadable(listeners, &event["id"]),
        "GUILD_ROLE_CREATE" | "GUILD_ROLE_UPDATE" | "GUILD_ROLE_DELETE" => {
            role::on_unreadable(listeners, &event["guild_id"]);
        }
        "READY" => {
            listeners.known_guild.is_in_doubt();
            // Events come all the same, and what came before them was missed.
            listeners.inbox.open_gap();
            listeners.verifications.soon();
            tracing::error!("a session has begun, but what Discord says of it was not understood");
        }
        _ => {}
    }
}

/// Handed on before anything is awaited, as messages that parse are.
async fn on_message(listeners: &Listeners, ctx: Context, event: &Value) {
    let message = match read::<BareMessage>(event) {
        Ok(message) => message,
        Err(field) => {
            tracing::error!(%field, "a message could not be read at all; it earns nothing");
            return;
        }
    };
    let text = event["content"].as_str().unwrap_or_default();
    let runs_command = listeners.commands.begins_one(text) && may_command(&message.facts());
    message::on_bare_message(listeners, message);
    if !runs_command {
        return;
    }
    match rebuild::message(event) {
        Ok(new_message) => {
            let event = FullEvent::Message { new_message };
            listeners.commands.dispatch(ctx, event).await;
        }
        Err(field) => tracing::error!(%field, "a command could not be read; it gets no answer"),
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
