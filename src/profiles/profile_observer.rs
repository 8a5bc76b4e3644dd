//! Compares each profile that an event shows with the known one, and queues it if it is new.
//!
//! The profile itself is stored later, by `sync`. Makes no calls to Discord.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::unclear::Unclear;
use crate::backoff::Backoff;
use crate::leveling::{Fingerprint, ObservedProfile, UserId};
use crate::store::{self, Database, updated_user};
use crate::xp::{Compared, ListStart, Observed, ObservedIn, Saver, XpCache};

/// Maximum number of users taken from the channel for one write.
const BATCH_SIZE: usize = 1_000;
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));

/// Takes the profiles that events show. Cheap to clone. No method waits, and the cost of a call
/// does not grow with the number of users.
#[derive(Clone, Debug)]
pub struct ProfileObserver {
    xp: Arc<XpCache>,
    /// Keeps the register's channel open: the register ends when the last clone is dropped.
    _register: mpsc::UnboundedSender<UserId>,
    /// Fingerprint of the last seen profile of each user whom the cache does not know; see
    /// [`ProfileObserver::with_strangers`].
    strangers: Option<Arc<DashMap<UserId, Fingerprint>>>,
    unclear: Unclear,
}

impl ProfileObserver {
    /// Also returns the receiver of the users whose profiles [`ProfileRegister::run`] must save.
    pub fn new(xp: Arc<XpCache>) -> (Self, mpsc::UnboundedReceiver<UserId>) {
        // Unbounded, but holds each user at most once: a user is sent again only after their
        // profile was saved.
        let (register, told) = mpsc::unbounded_channel();
        xp.unsaved().connect_register(&register);
        let observer = Self {
            xp,
            _register: register,
            strangers: None,
            unclear: Unclear::default(),
        };
        (observer, told)
    }

    /// Also queues the profiles of users whom the cache does not know. For a process that never
    /// updates its cache: the database may know these users by now.
    #[must_use]
    pub fn with_strangers(mut self) -> Self {
        self.strangers = Some(Arc::default());
        self
    }

    /// An event, other than a message for the engine, showed a user's profile.
    pub fn heard(&self, user: UserId, seen: ObservedProfile) {
        let strangers = self.strangers.as_ref();
        let Some(strangers) = strangers.filter(|_| self.xp.get(user).is_none()) else {
            return self.observe(user, seen, ObservedIn::Event);
        };
        let compare = |seen: &ObservedProfile| {
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

    /// A message that goes to the engine showed its author's profile.
    pub fn wrote(&self, user: UserId, seen: ObservedProfile) {
        self.observe(user, seen, ObservedIn::EarningMessage);
    }

    /// The queue of users whose profile an event showed incompletely.
    pub fn unclear(&self) -> Unclear {
        self.unclear.clone()
    }

    fn observe(&self, user: UserId, seen: ObservedProfile, shown_in: ObservedIn) {
        if self.xp.observe(user, seen, shown_in) {
            self.unclear.ask(user, Instant::now());
        }
    }

    /// Call this before requesting the member list, and pass the result to [`Self::listed`].
    pub fn list_starts(&self) -> ListStart {
        self.xp.list_starts()
    }

    /// The member list requested at `started` showed a user's profile.
    pub fn listed(&self, user: UserId, seen: ObservedProfile, started: ListStart) {
        self.xp.observe(user, seen, ObservedIn::List(started));
    }
}

/// Queues new profiles in the database, except those that the engine saves together with XP.
#[derive(Debug)]
pub struct ProfileRegister {
    database: Database,
    /// Holds the profiles that are not saved yet.
    xp: Arc<XpCache>,
    /// Notified after each write to the queue.
    filled: Arc<Notify>,
}

impl ProfileRegister {
    /// `filled` is notified after each write to the queue.
    pub fn new(database: Database, xp: Arc<XpCache>, filled: Arc<Notify>) -> Self {
        Self {
            database,
            xp,
            filled,
        }
    }

    /// Runs until `close` is cancelled or the last [`ProfileObserver`] is dropped, then writes what
    /// was sent before and ends. Retries while the database is unavailable.
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
                count = users.recv_many(&mut told, BATCH_SIZE) => count,
            };
            if count == 0 {
                return;
            }
            // A map: each user once, sorted by id.
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

    /// Retries until the profiles are written. Skips them if Postgres rejects the values, because
    /// then a retry cannot succeed.
    async fn save(&self, unsaved: &BTreeMap<UserId, Observed>) {
        let profiles = unsaved.iter();
        let profiles: Vec<_> = profiles
            .map(|(user, observed)| (*user, observed.profile.clone()))
            .collect();
        let mut attempts = BACKOFF.attempts();
        loop {
            match self.write(&profiles).await {
                Ok(()) => return,
                Err(error) if error.is_about_the_values() => {
                    tracing::error!(%error, users = profiles.len(), "changed profiles could not be queued; skipping them");
                    return;
                }
                Err(error) if attempts.is_first() => {
                    tracing::warn!(%error, "changed profiles could not be queued; trying again");
                }
                Err(_) => {}
            }
            attempts.wait().await;
        }
    }

    async fn write(&self, seen: &[(UserId, ObservedProfile)]) -> store::Result<()> {
        updated_user::mark(&mut *self.database.acquire().await?, seen).await
    }
}
