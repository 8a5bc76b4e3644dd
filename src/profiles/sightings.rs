//! What is observed of users: compared with what is known, and left to be saved if it is news.
//!
//! Only marks; stores no profile and asks Discord nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::unclear::Unclear;
use crate::backoff::backoff;
use crate::leveling::{Fingerprint, Sighting, UserId};
use crate::store::{self, Database, updated_user};
use crate::xp::{Compared, ListStart, Observed, Origin, Saver, XpCache};

/// Sightings that are written at a time.
const AT_ONCE: usize = 1_000;
const RETRY_LEAST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_mins(1);

/// Takes what is observed of users. Cheap to clone, never waits, and does the same work however
/// many users there are.
#[derive(Clone, Debug)]
pub struct Sightings {
    xp: Arc<XpCache>,
    /// Whoever observes keeps the register going.
    _register: mpsc::UnboundedSender<UserId>,
    /// What was seen of users whom the cache does not know, where that is of interest.
    strangers: Option<Arc<DashMap<UserId, Fingerprint>>>,
    unclear: Unclear,
}

impl Sightings {
    /// A way to tell, and who is left to the register by it.
    pub fn new(xp: Arc<XpCache>) -> (Self, mpsc::UnboundedReceiver<UserId>) {
        // Holds no more than there are users: each is told of once until their profile is saved.
        let (register, told) = mpsc::unbounded_channel();
        xp.unsaved().connect_register(&register);
        let sightings = Self {
            xp,
            _register: register,
            strangers: None,
            unclear: Unclear::default(),
        };
        (sightings, told)
    }

    /// For a process whose cache stays as it was at the start: whom it does not know may have
    /// become known to the database.
    #[must_use]
    pub fn with_strangers(mut self) -> Self {
        self.strangers = Some(Arc::default());
        self
    }

    /// An event showed a user.
    pub fn heard(&self, user: UserId, seen: Sighting) {
        let strangers = self.strangers.as_ref();
        let Some(strangers) = strangers.filter(|_| self.xp.get(user).is_none()) else {
            return self.observe(user, seen, Origin::Event);
        };
        let compare = |seen: &Sighting| {
            let known = strangers.get(&user).map(|known| *known);
            match seen.news(known) {
                None => Compared::Known,
                Some(after) => {
                    strangers.insert(user, after);
                    Compared::News
                }
            }
        };
        let unsaved = self.xp.unsaved();
        unsaved.add(user, seen, Saver::Register, compare);
    }

    /// A message that is handed to the engine showed its author.
    pub fn wrote(&self, user: UserId, seen: Sighting) {
        self.observe(user, seen, Origin::Author);
    }

    /// Whom an event showed without telling what they still have.
    pub fn unclear(&self) -> Unclear {
        self.unclear.clone()
    }

    fn observe(&self, user: UserId, seen: Sighting, origin: Origin) {
        if self.xp.observe(user, seen, origin) {
            self.unclear.ask(user, Instant::now());
        }
    }

    /// A list of members is about to be asked for.
    pub fn list_starts(&self) -> ListStart {
        self.xp.list_starts()
    }

    /// A list that was asked for then showed a user.
    pub fn listed(&self, user: UserId, seen: Sighting, started: ListStart) {
        self.xp.observe(user, seen, Origin::List(started));
    }
}

/// Writes down what is news and not saved with anybody's XP.
#[derive(Debug)]
pub struct Register {
    database: Database,
    /// Knows what is not saved yet.
    xp: Arc<XpCache>,
    /// Notified when there is something to store.
    filled: Arc<Notify>,
}

impl Register {
    /// Notifies `filled` when there is something to store.
    pub fn new(database: Database, xp: Arc<XpCache>, filled: Arc<Notify>) -> Self {
        Self {
            database,
            xp,
            filled,
        }
    }

    /// Works until `close` or until nobody observes anything any more, then writes down what was
    /// told before and ends. A database that is away is waited for.
    pub async fn run(
        &self,
        users: &mut mpsc::UnboundedReceiver<UserId>,
        close: &CancellationToken,
    ) {
        let mut told = Vec::new();
        loop {
            let count = tokio::select! {
                biased;
                () = close.cancelled(), if !users.is_closed() => {
                    users.close();
                    continue;
                }
                count = users.recv_many(&mut told, AT_ONCE) => count,
            };
            if count == 0 {
                return;
            }
            // Sorted, and each user once.
            let unsaved: BTreeMap<UserId, Observed> = told
                .drain(..)
                .filter_map(|user| {
                    let left = self.xp.unsaved().left_to(Saver::Register, user);
                    Some((user, left?))
                })
                .collect();
            if unsaved.is_empty() {
                continue;
            }
            self.save(&unsaved).await;
            for (user, Observed { version, .. }) in unsaved {
                self.xp.observed_is_saved(user, version);
            }
            self.filled.notify_one();
        }
    }

    /// Tries until it is saved, or until that is known to be of no use.
    async fn save(&self, unsaved: &BTreeMap<UserId, Observed>) {
        let sightings = unsaved.iter();
        let sightings: Vec<_> = sightings
            .map(|(user, observed)| (*user, observed.sighting.clone()))
            .collect();
        for attempt in 0.. {
            match self.write(&sightings).await {
                Ok(()) => return,
                Err(error) if error.is_about_the_values() => {
                    tracing::error!(%error, users = sightings.len(), "changed profiles could not be noted and are passed over");
                    return;
                }
                Err(error) if attempt == 0 => {
                    tracing::warn!(%error, "changed profiles could not be noted; trying again");
                }
                Err(_) => {}
            }
            tokio::time::sleep(backoff(attempt, RETRY_LEAST, RETRY_MOST)).await;
        }
    }

    async fn write(&self, seen: &[(UserId, Sighting)]) -> store::Result<()> {
        updated_user::mark(&mut *self.database.acquire().await?, seen).await
    }
}
