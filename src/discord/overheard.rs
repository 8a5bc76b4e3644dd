//! What serenity says in its log and nowhere else: a [`Layer`] that listens for a
//! handful of its lines, and keeps nothing of them but what they mean.
//!
//! It hears events of three of serenity's modules and no span, whatever `RUST_LOG`
//! says; nothing that is logged for each message is among them. The words are those of
//! serenity 0.12.5, which `Cargo.toml` pins; `tests/it/gateway.rs` fails should they
//! change.

use std::fmt::{Debug, Write as _};

use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// All that was heard up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// How many sessions were asked for.
    pub identifies: u64,
    /// How many connections failed before there was a session.
    pub failures: u64,
    /// The close code after which Discord wants nobody back, where serenity comes back
    /// all the same.
    pub refused: Option<u16>,
}

/// Whoever wants to know what was heard. Cheap to clone.
pub type Overheard = watch::Receiver<Heard>;

/// A layer for the subscriber, and what it hears.
pub fn overhear<S>() -> (impl Layer<S> + Send + Sync, Overheard)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let (heard, overheard) = watch::channel(Heard::default());
    let wanted = filter_fn(|metadata| metadata.is_event() && speaker(metadata).is_some())
        .with_max_level_hint(LevelFilter::DEBUG);
    (Ear(heard).with_filter(wanted), overheard)
}

struct Ear(watch::Sender<Heard>);

impl<S: Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        // "[who] what"
        let said = words.0.split_once("] ").map_or("", |(_, said)| said);
        let Some(hear) = speaker(event.metadata()).and_then(|speaker| meaning(speaker, said))
        else {
            return;
        };
        self.0.send_modify(hear);
    }
}

/// serenity's modules that are listened to, each at the level of its words and above.
#[derive(Clone, Copy)]
enum Speaker {
    Socket,
    Shard,
    Queuer,
}

fn speaker(metadata: &Metadata<'_>) -> Option<Speaker> {
    match metadata.target() {
        "serenity::gateway::ws" if *metadata.level() == Level::DEBUG => Some(Speaker::Socket),
        "serenity::gateway::shard" if *metadata.level() <= Level::WARN => Some(Speaker::Shard),
        "serenity::gateway::bridge::shard_queuer" if *metadata.level() == Level::WARN => {
            Some(Speaker::Queuer)
        }
        _ => None,
    }
}

fn meaning(speaker: Speaker, said: &str) -> Option<fn(&mut Heard)> {
    match speaker {
        Speaker::Socket if said == "Identifying" => Some(|heard| heard.identifies += 1),
        Speaker::Queuer if said.starts_with("Err starting shard") => {
            Some(|heard| heard.failures += 1)
        }
        Speaker::Shard if said == "Sent invalid shard data." => {
            Some(|heard| heard.refused = Some(4_010))
        }
        Speaker::Shard if said == "Shard has too many guilds." => {
            Some(|heard| heard.refused = Some(4_011))
        }
        Speaker::Shard if said.starts_with("Unknown unclean close 4012:") => {
            Some(|heard| heard.refused = Some(4_012))
        }
        _ => None,
    }
}

/// The first words of an event's message.
#[derive(Default)]
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            // Writing to a string does not fail.
            let _ = write!(self.0, "{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;

    #[test]
    fn it_hears_the_words_and_no_one_elses() {
        let (ear, overheard) = overhear();
        let _listening = tracing_subscriber::registry().with(ear).set_default();
        tracing::debug!(target: "serenity::gateway::ws", "[{}] Identifying", 0);
        tracing::info!(target: "serenity::gateway::ws", "[0] Identifying");
        tracing::warn!(target: "elsewhere", "[0] Identifying");
        let reason = "[0] Shard has too many guilds.";
        tracing::warn!(target: "serenity::gateway::shard", "[0] Unknown unclean close 4000: {reason:?}");
        let heard = *overheard.borrow();
        let expected = Heard {
            identifies: 1,
            ..Heard::default()
        };
        assert_eq!(heard, expected);
        tracing::warn!(target: "serenity::gateway::shard", "[0] Unknown unclean close 4012: {reason:?}");
        assert_eq!(overheard.borrow().refused, Some(4_012));
    }

    #[test]
    fn it_makes_no_span_and_nothing_that_is_said_for_each_message() {
        let (ear, _overheard) = overhear();
        let _listening = tracing_subscriber::registry().with(ear).set_default();
        let span = tracing::error_span!(target: "serenity::gateway::shard", "handle_event");
        assert!(span.is_disabled());
        assert!(!tracing::event_enabled!(
            target: "serenity::gateway::bridge::shard_runner",
            Level::TRACE
        ));
        assert!(!tracing::event_enabled!(target: "serenity::gateway::shard", Level::INFO));
        assert!(tracing::event_enabled!(target: "serenity::gateway::shard", Level::WARN));
    }
}
