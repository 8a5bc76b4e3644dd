//! The gate before the engine's inbox. It holds a message whose id is from the future until
//! Discord has been asked for the time again, and then passes it on or rejects it. All other
//! messages pass at once.
//!
//! No message is lost. A held message has a higher id than every message that passes, so the
//! frontier stays before it. A rejected message is read from the history once its id is no longer
//! from the future. Only [`MessageGate::run`] and [`MessageGate::clear`] wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::discord::time::DiscordTime;
use crate::leveling::MessageId;
use crate::xp::{EligibleMessage, Inbox};

/// Maximum number of held messages. Further ones are rejected, and read from the history once
/// their ids are no longer from the future.
const MAX_HELD: usize = 10_000;
/// How long to wait for Discord's time before asking again.
const ASK_TIMEOUT: Duration = Duration::from_secs(30);

/// The gate. Cheap to clone; all clones share the held messages.
#[derive(Clone, Debug)]
pub struct MessageGate {
    time: DiscordTime,
    inbox: Inbox,
    held: Arc<Mutex<HeldMessages>>,
    /// The number of held messages.
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct HeldMessages {
    messages: BTreeMap<MessageId, EligibleMessage>,
    /// The lowest rejected id that is still from the future.
    refused: Option<MessageId>,
}

impl MessageGate {
    /// A gate before `inbox`.
    pub fn new(time: DiscordTime, inbox: Inbox) -> Self {
        Self {
            time,
            inbox,
            held: Arc::default(),
            count: watch::Sender::new(0),
        }
    }

    /// Passes a message on, holds it, or rejects it if too many are held. Never waits.
    pub fn offer(&self, seen: EligibleMessage) {
        let is_believed = self.time.hear(seen.message);
        let mut held = self.held();
        self.release(&mut held);
        if is_believed {
            self.inbox.offer(seen);
        } else if held.messages.len() < MAX_HELD {
            held.messages.insert(seen.message, seen);
            self.count.send_replace(held.messages.len());
        } else {
            held.refuse(seen.message);
        }
    }

    /// Waits until nothing is held, but no longer than `max_wait`.
    pub async fn clear(&self, max_wait: Duration) {
        let mut count = self.count.subscribe();
        // The caller goes on in either case.
        let _ = timeout(max_wait, count.wait_for(|count| *count == 0)).await;
    }

    /// Whether no message is held or rejected.
    pub fn is_clear(&self) -> bool {
        self.held().is_empty()
    }

    /// Asks Discord for the time whenever a message is held, and then passes the message on or
    /// rejects it. Runs until it is dropped.
    pub async fn run(&self) {
        let mut count = self.count.subscribe();
        loop {
            if count.wait_for(|count| *count > 0).await.is_err() {
                return;
            }
            let asked_about: Vec<MessageId> = self.held().messages.keys().copied().collect();
            if self.time.ask(ASK_TIMEOUT).await {
                self.decide(&asked_about);
                // If Discord's answer contained no date, wait for further messages, whose ids show
                // the time too.
                if !self.time.is_known() {
                    let _ = timeout(ASK_TIMEOUT, count.changed()).await;
                }
            }
        }
    }

    fn decide(&self, asked_about: &[MessageId]) {
        let mut held = self.held();
        self.release(&mut held);
        if !self.time.is_known() {
            return;
        }
        for id in asked_about {
            if held.messages.remove(id).is_some() {
                self.time.refuse("a message", *id);
                held.refuse(*id);
            }
        }
        self.count.send_replace(held.messages.len());
    }

    /// Passes on, in order, the held messages whose ids are no longer from the future. Opens a gap
    /// if that is also true of a rejected id.
    fn release(&self, held: &mut HeldMessages) {
        if held.is_empty() {
            return;
        }
        while let Some(first) = held.messages.first_entry()
            && self.time.believes(*first.key())
        {
            self.inbox.offer(first.remove());
        }
        self.count.send_replace(held.messages.len());
        if held.refused.take_if(|id| self.time.believes(*id)).is_some() {
            tracing::warn!("an ignored message is no longer from the future; reading the history");
            self.inbox.open_gap();
        }
    }

    fn held(&self) -> MutexGuard<'_, HeldMessages> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldMessages {
    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.refused.is_none()
    }

    fn refuse(&mut self, id: MessageId) {
        self.refused = Some(self.refused.map_or(id, |lowest| lowest.min(id)));
    }
}
