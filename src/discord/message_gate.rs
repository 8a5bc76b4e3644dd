//! The gate before the engine's inbox: a message from the future is held until Discord has
//! said anew what time it is, and is then handed on or refused. All others pass at once.
//!
//! Nothing is lost by it. What is held has a higher id than all that passes, so that the
//! frontier stays before it; and what is refused is read from the history should its time
//! come. Never waits, except in a task of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::time::DiscordTime;
use crate::leveling::MessageId;
use crate::xp::{EligibleMessage, Inbox};

/// Messages that are held at most; others are read from the history when their time comes.
const MOST_HELD: usize = 10_000;
/// How long Discord is given to answer before it is asked again.
const PATIENCE: Duration = Duration::from_secs(30);

/// The gate. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct MessageGate {
    time: DiscordTime,
    inbox: Inbox,
    held: Arc<Mutex<Held>>,
    /// How many messages are held.
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Held {
    messages: BTreeMap<MessageId, EligibleMessage>,
    /// The lowest id that was refused.
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

    /// Hands a message on, or holds it. Never waits.
    pub fn offer(&self, seen: EligibleMessage) {
        let is_believed = self.time.hear(seen.message);
        let mut held = self.held();
        self.release(&mut held);
        if is_believed {
            self.inbox.offer(seen);
        } else if held.messages.len() < MOST_HELD {
            held.messages.insert(seen.message, seen);
            self.count.send_replace(held.messages.len());
        } else {
            held.refuse(seen.message);
        }
    }

    /// Waits until nothing is held, but no longer than `patience`.
    pub async fn clear(&self, patience: Duration) {
        let mut count = self.count.subscribe();
        // Whoever waits goes on either way.
        let _ = timeout(patience, count.wait_for(|count| *count == 0)).await;
    }

    /// Whether every message that was offered has been handed on.
    pub fn is_clear(&self) -> bool {
        self.held().is_empty()
    }

    /// Decides on what is held. Works until it is given up.
    pub async fn run(&self) {
        let mut count = self.count.subscribe();
        loop {
            if count.wait_for(|count| *count > 0).await.is_err() {
                return;
            }
            let asked_about: Vec<MessageId> = self.held().messages.keys().copied().collect();
            if self.time.ask(PATIENCE).await {
                self.decide(&asked_about);
                // Where Discord tells no time it takes more messages to know what to do.
                if !self.time.is_known() {
                    let _ = timeout(PATIENCE, count.changed()).await;
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

    /// Hands on what is believed by now, in order.
    fn release(&self, held: &mut Held) {
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
            tracing::warn!("the time of an id that was ignored has come; reading the history");
            self.inbox.open_gap();
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.refused.is_none()
    }

    fn refuse(&mut self, id: MessageId) {
        self.refused = Some(self.refused.map_or(id, |lowest| lowest.min(id)));
    }
}
