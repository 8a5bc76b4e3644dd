//! Saves bans: those that events tell of, one by one, and Discord's list of bans as a whole.
//!
//! Makes no calls to Discord. A list never undoes an event that came after the list was requested.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::leveling::UserId;
use crate::store::{self, Database, banned_user};
use crate::xp::XpCache;

/// Maximum number of events that wait to be saved while the database is unavailable.
const MAX_WAITING: usize = 10_000;
/// Users whose rows one statement changes.
const BATCH_SIZE: usize = 1_000;
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));

/// News for [`BanRegister::run`].
#[derive(Debug)]
pub enum BanNews {
    /// An event said that a user was banned or that their ban was lifted.
    Event {
        /// The user.
        user: UserId,
        /// Whether they are banned now.
        banned: bool,
        /// How many events there were before, plus one.
        number: u64,
    },
    /// Discord's list of bans.
    List {
        /// How many events there were when the list was requested.
        events_before: u64,
        /// Everyone who is banned.
        users: BTreeSet<UserId>,
    },
}

/// Takes what events tell of bans. Cheap to clone. No method waits, except [`Self::send_list`].
#[derive(Clone, Debug)]
pub struct BanObserver {
    register: mpsc::Sender<BanNews>,
    events: Arc<AtomicU64>,
    list: Arc<ListRequest>,
}

/// Whether Discord's list of bans has to be read.
#[derive(Debug, Default)]
struct ListRequest {
    due: Mutex<ListDue>,
    requested: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ListDue {
    #[default]
    No,
    Now,
    From(DateTime<Utc>),
}

impl BanObserver {
    /// Also returns what [`BanRegister::run`] receives.
    pub fn new() -> (Self, mpsc::Receiver<BanNews>) {
        let (register, news) = mpsc::channel(MAX_WAITING);
        let observer = Self {
            register,
            events: Arc::default(),
            list: Arc::default(),
        };
        (observer, news)
    }

    /// An event told that a user is banned, or that they no longer are.
    pub fn heard(&self, user: UserId, banned: bool) {
        let number = self.events.fetch_add(1, Ordering::Relaxed) + 1;
        let news = BanNews::Event {
            user,
            banned,
            number,
        };
        // A closed channel means that the bot is shutting down and the event is not confirmed: the
        // session is then not handed over, or its events are sent again.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.register.try_send(news) {
            tracing::warn!("too many bans wait to be saved; reading the list of bans again");
            self.list_soon();
        }
    }

    /// Requests that the list of bans is read, because bans may have been missed.
    pub fn list_soon(&self) {
        *self.list.due() = ListDue::Now;
        self.list.requested.notify_one();
    }

    /// Notified by [`Self::list_soon`].
    pub(super) fn list_requested(&self) -> Arc<Notify> {
        Arc::clone(&self.list.requested)
    }

    /// Whether the list is to be read at `now`. If so, it counts as read from now on.
    pub(super) fn take_list_due(&self, now: DateTime<Utc>) -> bool {
        let mut due = self.list.due();
        let is_due = match *due {
            ListDue::No => false,
            ListDue::Now => true,
            ListDue::From(at) => at <= now,
        };
        if is_due {
            *due = ListDue::No;
        }
        is_due
    }

    /// Requests the list for a later time, unless it is requested already.
    pub(super) fn list_from(&self, at: DateTime<Utc>) {
        let mut due = self.list.due();
        if *due == ListDue::No {
            *due = ListDue::From(at);
        }
    }

    /// Call this just before requesting the list, and pass the result to [`Self::send_list`].
    pub(super) fn list_starts(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Sends the whole list to the register.
    pub(super) async fn send_list(&self, events_before: u64, users: BTreeSet<UserId>) {
        let news = BanNews::List {
            events_before,
            users,
        };
        // A closed channel means that the bot is shutting down. The next bot reads the list.
        let _ = self.register.send(news).await;
    }
}

impl ListRequest {
    fn due(&self) -> std::sync::MutexGuard<'_, ListDue> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Saves bans in the database, and shows them to the cache once they are saved.
#[derive(Debug)]
pub struct BanRegister {
    database: Database,
    xp: Arc<XpCache>,
    /// The number of each user's latest ban event since the last list was requested.
    heard: Mutex<BTreeMap<UserId, u64>>,
}

impl BanRegister {
    /// A register that saves in `database`.
    pub fn new(database: Database, xp: Arc<XpCache>) -> Self {
        Self {
            database,
            xp,
            heard: Mutex::default(),
        }
    }

    /// Runs until `close` is cancelled or the last [`BanObserver`] is dropped, then saves what was
    /// sent before and ends. Retries while the database is unavailable.
    pub async fn run(&self, news: &mut mpsc::Receiver<BanNews>, close: &CancellationToken) {
        loop {
            let told = tokio::select! {
                biased;
                () = close.cancelled(), if !news.is_closed() => {
                    news.close();
                    continue;
                }
                told = news.recv() => told,
            };
            let Some(told) = told else { return };
            let changes = self.changes(told);
            if changes == BanChanges::default() {
                continue;
            }
            self.save(&changes).await;
            for (users, banned) in [(&changes.banned, true), (&changes.lifted, false)] {
                // In parts, because readers of the board wait meanwhile.
                for users in users.chunks(BATCH_SIZE) {
                    self.xp.set_banned(users, banned);
                }
            }
        }
    }

    /// What is not known yet.
    fn changes(&self, told: BanNews) -> BanChanges {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match told {
            BanNews::Event {
                user,
                banned,
                number,
            } => {
                heard.insert(user, number);
                let mut changes = BanChanges::default();
                if self.xp.is_banned(user) != banned {
                    let list = if banned {
                        &mut changes.banned
                    } else {
                        &mut changes.lifted
                    };
                    list.push(user);
                }
                changes
            }
            BanNews::List {
                events_before,
                users,
            } => {
                heard.retain(|_, number| *number > events_before);
                list_changes(&self.xp.banned_users(), &users, |user| {
                    heard.contains_key(&user)
                })
            }
        }
    }

    async fn save(&self, changes: &BanChanges) {
        let mut attempts = BACKOFF.attempts();
        while let Err(error) = self.write(changes).await {
            if attempts.is_first() {
                tracing::warn!(%error, "bans could not be saved; trying again");
            }
            attempts.wait().await;
        }
        if let Some(user) = changes.only() {
            let banned = !changes.banned.is_empty();
            tracing::info!(%user, banned, "a member was banned, or a ban was lifted");
        } else {
            let (banned, lifted) = (changes.banned.len(), changes.lifted.len());
            tracing::info!(banned, lifted, "bans that were missed are saved");
        }
    }

    async fn write(&self, changes: &BanChanges) -> store::Result<()> {
        let mut transaction = self.database.begin().await?;
        for users in changes.banned.chunks(BATCH_SIZE) {
            banned_user::add(&mut transaction, users).await?;
        }
        for users in changes.lifted.chunks(BATCH_SIZE) {
            banned_user::remove(&mut transaction, users).await?;
        }
        store::commit(transaction).await
    }
}

/// Users whose rows have to change.
#[derive(Debug, Default, PartialEq, Eq)]
struct BanChanges {
    banned: Vec<UserId>,
    lifted: Vec<UserId>,
}

impl BanChanges {
    /// The user, if there is exactly one.
    fn only(&self) -> Option<UserId> {
        match (&self.banned[..], &self.lifted[..]) {
            ([user], []) | ([], [user]) => Some(*user),
            _ => None,
        }
    }
}

/// The difference between the known bans and the listed ones. Skips users who had a ban event since
/// the list was requested.
fn list_changes(
    known: &BTreeSet<UserId>,
    listed: &BTreeSet<UserId>,
    is_newer: impl Fn(UserId) -> bool,
) -> BanChanges {
    let difference = |these: &BTreeSet<UserId>, those: &BTreeSet<UserId>| {
        let new = these.difference(those).copied();
        new.filter(|user| !is_newer(*user)).collect()
    };
    BanChanges {
        banned: difference(listed, known),
        lifted: difference(known, listed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn users(ids: &[u64]) -> BTreeSet<UserId> {
        ids.iter().map(|id| UserId::new(*id).unwrap()).collect()
    }

    #[test]
    fn a_list_changes_only_what_no_later_event_told() {
        for (known, listed, newer, banned, lifted) in [
            (&[][..], &[][..], &[][..], &[][..], &[][..]),
            (&[1], &[1], &[], &[], &[]),
            (&[1], &[2], &[], &[2], &[1]),
            // Banned, and unbanned, after the list was requested.
            (&[1], &[], &[1], &[], &[]),
            (&[], &[1], &[1], &[], &[]),
            (&[1, 2], &[2, 3], &[9], &[3], &[1]),
        ] {
            let newer = users(newer);
            let is_newer = |user| newer.contains(&user);
            let found = list_changes(&users(known), &users(listed), is_newer);
            let expected = BanChanges {
                banned: users(banned).into_iter().collect(),
                lifted: users(lifted).into_iter().collect(),
            };
            assert_eq!(found, expected, "{known:?} {listed:?} {newer:?}");
        }
    }

    #[test]
    fn a_list_is_read_when_it_is_requested() {
        let (observer, _news) = BanObserver::new();
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        assert!(!observer.take_list_due(at(0)), "before any session");
        observer.list_soon();
        // A later time does not postpone it.
        observer.list_from(at(9));
        assert!(observer.take_list_due(at(0)));
        assert!(!observer.take_list_due(at(99)), "once");
        observer.list_from(at(9));
        assert!(!observer.take_list_due(at(8)));
        assert!(observer.take_list_due(at(9)));
    }

    #[test]
    fn lost_events_lead_to_a_list() {
        let (observer, mut news) = BanObserver::new();
        let at = DateTime::from_timestamp(0, 0).unwrap();
        let user = UserId::new(1).unwrap();
        for _ in 0..MAX_WAITING {
            observer.heard(user, true);
        }
        assert!(!observer.take_list_due(at));
        observer.heard(user, false);
        assert!(observer.take_list_due(at));
        assert_eq!(observer.list_starts(), MAX_WAITING as u64 + 1);
        let BanNews::Event { number, .. } = news.try_recv().unwrap() else {
            panic!("an event was sent");
        };
        assert_eq!(number, 1);
    }

    proptest! {
        /// Whatever events come between the request of a list and its arrival, the bans end as
        /// they are at Discord.
        #[test]
        fn events_and_a_list_come_to_what_is_true(
            known in proptest::collection::btree_set(1_u64..12, 0..8),
            missed in proptest::collection::btree_set(1_u64..12, 0..8),
            before in proptest::collection::vec((1_u64..12, any::<bool>()), 0..8),
            after in proptest::collection::vec((1_u64..12, any::<bool>()), 0..8),
            late in 0_usize..9,
        ) {
            let user = |id| UserId::new(id).unwrap();
            let mut bot: BTreeSet<UserId> = known.into_iter().map(user).collect();
            let mut discord: BTreeSet<UserId> = missed.into_iter().map(user).collect();
            let set = |bans: &mut BTreeSet<UserId>, id, banned| {
                if banned { bans.insert(user(id)); } else { bans.remove(&user(id)); }
            };
            for &(id, banned) in &before {
                set(&mut discord, id, banned);
                set(&mut bot, id, banned);
            }
            // Discord draws the list up after some of the events that come after its request.
            let late = late.min(after.len());
            let mut listed = discord.clone();
            for (number, &(id, banned)) in after.iter().enumerate() {
                set(&mut discord, id, banned);
                set(&mut bot, id, banned);
                if number < late {
                    listed.clone_from(&discord);
                }
            }
            let newer: BTreeSet<UserId> = after.iter().map(|(id, _)| user(*id)).collect();
            let BanChanges { banned, lifted } =
                list_changes(&bot, &listed, |user| newer.contains(&user));
            bot.extend(banned);
            bot.retain(|user| !lifted.contains(user));
            prop_assert_eq!(bot, discord);
        }
    }
}
