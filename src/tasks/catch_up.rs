//! Fills gaps: reads what the guild wrote while nobody listened, and hands it to the
//! engine.
//!
//! A reading that fails is begun again; a newer gap replaces it. Nothing is saved in
//! here, so that it can end at any point.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::backoff::backoff;
use crate::discord::history::{Missed, Reader};
use crate::discord::{Rest, RestError, announce};
use crate::leveling::GuildId;
use crate::xp::{Gap, History, Inbox, XpCache};

const RETRY_LEAST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(30);

/// What the task works with.
#[derive(Debug)]
pub struct CatchUp {
    /// Reads the history.
    pub rest: Rest,
    /// Knows whose names are stored.
    pub xp: Arc<XpCache>,
    /// The guild served.
    pub guild: GuildId,
    /// How far back missed messages are read, in hours.
    pub hours: u32,
    /// Where moderators are told of problems, by name.
    pub council: String,
    /// The way to the engine.
    pub inbox: Inbox,
    /// Channels that may not be read and of which it was said, by id.
    pub said: Mutex<BTreeSet<u64>>,
}

impl CatchUp {
    /// Fills each gap that the engine finds, until the engine has ended.
    pub async fn run(&self, mut gaps: watch::Receiver<Option<Gap>>) {
        let mut gap = *gaps.borrow_and_update();
        loop {
            let filling = async {
                if let Some(gap) = gap {
                    self.fill(gap).await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = filling => {}
                changed = gaps.changed() => if changed.is_err() { return },
            }
            gap = *gaps.borrow_and_update();
        }
    }

    async fn fill(&self, gap: Gap) {
        let reader = Reader {
            rest: &self.rest,
            xp: &self.xp,
            guild: self.guild,
            hours: self.hours,
        };
        let started = Instant::now();
        for attempt in 0.. {
            match reader.read(gap.after).await {
                Ok(mut missed) => {
                    let messages = std::mem::take(&mut missed.messages);
                    if !messages.is_empty() {
                        let (count, in_ms) = (messages.len(), started.elapsed().as_millis());
                        tracing::info!(count, in_ms, "read what was written while nobody listened");
                    }
                    let (gap, reached) = (gap.number, missed.reached);
                    self.inbox
                        .fill(History {
                            gap,
                            messages,
                            reached,
                        })
                        .await;
                    // Only now: XP must not wait for a word to the council.
                    return self.report(&missed).await;
                }
                Err(RestError::Revoked) => return,
                Err(error) => {
                    let pause = backoff(attempt, RETRY_LEAST, RETRY_MOST);
                    tracing::warn!(%error, "what was missed could not be read; it is tried again, and XP waits");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn report(&self, missed: &Missed) {
        for (channel, name) in &missed.forbidden {
            if self
                .said
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(channel.get())
            {
                tracing::warn!(
                    %channel, %name,
                    "this channel's history may not be read: give the bot View Channel and Read Message History there"
                );
            }
        }
        if missed.cut_off {
            let hours = self.hours;
            tracing::error!(
                hours,
                "messages that are older than this were missed and are not counted"
            );
            let sentence = format!(
                "I was away for longer than {hours} hours. Messages from before that time earned no XP; \
                 WALLE_CATCH_UP_HOURS says how far back I read."
            );
            if let Err(error) =
                announce::council(&self.rest, &missed.channels, &self.council, sentence).await
            {
                tracing::warn!(%error, "the council could not be told");
            }
        }
    }
}
