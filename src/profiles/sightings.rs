//! What is seen of users: compared with what is known, and written down if it is news.
//!
//! Only marks; stores no profile and asks Discord nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::backoff::backoff;
use crate::leveling::{Fingerprint, Sighting, UserId};
use crate::store::{self, Database, updated_user};
use crate::xp::XpCache;

/// Sightings that are written at a time.
const AT_ONCE: usize = 1_000;
const RETRY_LEAST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_mins(1);
/// Longer than any list of members takes to be read.
const RECENT: Duration = Duration::from_mins(10);
/// Users remembered as heard of before the old ones are looked through.
const MANY: usize = 1_000;

/// Takes what is seen of users. Cheap to clone, and never waits.
#[derive(Clone, Debug)]
pub struct Sightings {
    xp: Arc<XpCache>,
    news: mpsc::UnboundedSender<(UserId, Sighting)>,
    /// Users of whom an event told something new, and when: a list that was asked for before
    /// that may be older, whenever it comes.
    heard: Arc<DashMap<UserId, Instant>>,
    /// What was seen of users whom the cache does not know, where that is of interest.
    strangers: Option<Arc<DashMap<UserId, Fingerprint>>>,
}

impl Sightings {
    /// A way to tell, and what is told by it.
    pub fn new(xp: Arc<XpCache>) -> (Self, mpsc::UnboundedReceiver<(UserId, Sighting)>) {
        let (news, told) = mpsc::unbounded_channel();
        let heard = Arc::default();
        let strangers = None;
        let sightings = Self {
            xp,
            news,
            heard,
            strangers,
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
    pub fn heard(&self, user: UserId, seen: &Sighting) {
        if !self.is_news(user, seen) {
            return;
        }
        let now = Instant::now();
        if self.heard.len() >= MANY {
            self.heard.retain(|_, at| now.duration_since(*at) < RECENT);
        }
        self.heard.insert(user, now);
        self.tell(user, seen.clone());
    }

    /// A list that was asked for at `since` showed a user.
    pub fn listed(&self, user: UserId, seen: &Sighting, since: Instant) {
        let is_older = self.heard.get(&user).is_some_and(|at| *at >= since);
        if !is_older && self.xp.notice(user, seen) {
            self.tell(user, seen.clone());
        }
    }

    /// Of whom we know nothing, nothing is news.
    fn is_news(&self, user: UserId, seen: &Sighting) -> bool {
        let strangers = self.strangers.as_ref();
        let Some(strangers) = strangers.filter(|_| self.xp.get(user).is_none()) else {
            return self.xp.notice(user, seen);
        };
        let known = strangers.get(&user).map(|known| *known);
        let news = seen.news(known);
        if let Some(after) = news {
            strangers.insert(user, after);
        }
        news.is_some()
    }

    fn tell(&self, user: UserId, seen: Sighting) {
        // Nobody writes any more when the bot ends; the next session compares everyone.
        let _ = self.news.send((user, seen));
    }
}

/// Writes down what is news.
#[derive(Debug)]
pub struct Register {
    /// Where it is written.
    pub database: Database,
    /// Notified when there is something to store.
    pub filled: Arc<Notify>,
}

impl Register {
    /// Works until nobody tells anything any more. A database that is away is waited for.
    pub async fn run(&self, news: &mut mpsc::UnboundedReceiver<(UserId, Sighting)>) {
        let mut told = Vec::new();
        while news.recv_many(&mut told, AT_ONCE).await > 0 {
            let seen = merged(told.drain(..));
            for attempt in 0.. {
                match self.write(&seen).await {
                    Ok(()) => break,
                    Err(error) if error.is_about_the_values() => {
                        tracing::error!(%error, users = seen.len(), "changed profiles could not be noted and are passed over");
                        break;
                    }
                    Err(error) if attempt == 0 => {
                        tracing::warn!(%error, "changed profiles could not be noted; it is tried again");
                    }
                    Err(_) => {}
                }
                tokio::time::sleep(backoff(attempt, RETRY_LEAST, RETRY_MOST)).await;
            }
            self.filled.notify_one();
        }
    }

    async fn write(&self, seen: &[(UserId, Sighting)]) -> store::Result<()> {
        updated_user::mark(&mut *self.database.acquire().await?, seen).await
    }
}

/// Each user once, with all that was seen of them.
fn merged(told: impl Iterator<Item = (UserId, Sighting)>) -> Vec<(UserId, Sighting)> {
    let mut users: BTreeMap<UserId, Sighting> = BTreeMap::new();
    for (user, seen) in told {
        match users.get_mut(&user) {
            Some(before) => {
                before.account = seen.account;
                before.member = seen.member.or(before.member.take());
            }
            None => {
                users.insert(user, seen);
            }
        }
    }
    users.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leveling::{Account, Membership};

    #[test]
    fn several_sightings_of_one_user_are_one() {
        let seen = |name: &str, nick: Option<&str>| Sighting {
            account: Account {
                username: name.into(),
                ..Account::default()
            },
            member: nick.map(|nick| Membership {
                nickname: Some(nick.into()),
                avatar_hash: None,
            }),
        };
        let (one, two) = (UserId::new(1).unwrap(), UserId::new(2).unwrap());
        let told = [
            (two, seen("b", None)),
            (one, seen("a", Some("al"))),
            (one, seen("aa", None)),
            (two, seen("bb", Some("bo"))),
        ];
        assert_eq!(
            merged(told.into_iter()),
            [(one, seen("aa", Some("al"))), (two, seen("bb", Some("bo")))]
        );
    }
}
