//! Works off the queue of changed profiles. Names are stored many at a time; pictures are then
//! copied a few at a time, and a slow one holds up neither names nor other pictures. (The original
//! bot called these users actives.)
//!
//! It can stop anywhere and start again: a row of the queue is deleted only when everything that
//! it says is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::avatar_mirror::AvatarMirror;
use super::breaker::Admits;
use super::clock::Clock;
use crate::environment::Environment;
use crate::job::Job;
use crate::leveling::{CopyPlan, Picture, UserId, copy_plan};
use crate::store::updated_user::{self, Seen, Ticket, Unfinished, Wanted};
use crate::store::user_point::profiles::{self, NewProfile, Shown};
use crate::store::{self, Database};

/// Names stored at a time.
const AT_ONCE: u16 = 1_000;
/// Pictures copied at a time.
const TOGETHER: u16 = 4;
/// How soon others are looked for while pictures are copied.
const LOOK: Duration = Duration::from_secs(1);

/// Works off the queue of changed profiles.
#[derive(Debug)]
pub struct ProfileSync {
    database: Database,
    /// Makes the pictures' copies.
    copies: Arc<AvatarMirror>,
    /// Notified when the queue has been filled.
    filled: Arc<Notify>,
}

impl Job for ProfileSync {
    const NAME: &'static str = "profile-sync";
    const CADENCE: Duration = Duration::from_secs(2);

    fn wakes(&self) -> Option<Arc<Notify>> {
        Some(Arc::clone(&self.filled))
    }

    /// Stores all names that wait at `now`, and copies all pictures that are due then; and
    /// those that come while it is at it.
    async fn run_once(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let mut under_way = UnderWay::default();
        let mut worked = self.work(&mut under_way, Clock::set(now)).await;
        // Others are not to be cut off by one's trouble.
        while let Some(copied) = under_way.ended().await {
            worked = worked.and(copied);
        }
        worked
    }
}

/// Copies that are being made, each in a task of its own: it goes on while something else is
/// waited for, which may be what it holds.
#[derive(Debug, Default)]
struct UnderWay {
    tasks: JoinSet<(UserId, anyhow::Result<()>)>,
    users: BTreeSet<UserId>,
}

impl UnderWay {
    fn begin(&mut self, copies: &Arc<AvatarMirror>, wanted: Wanted, clock: Clock) {
        let (copies, user) = (Arc::clone(copies), wanted.ticket.user);
        self.users.insert(user);
        self.tasks
            .spawn(async move { (user, copies.copy(&wanted, clock).await) });
    }

    /// How the next one ends; `None` if there is none.
    async fn ended(&mut self) -> Option<anyhow::Result<()>> {
        Some(match self.tasks.join_next().await? {
            Ok((user, copied)) => {
                self.users.remove(&user);
                copied
            }
            // It has panicked.
            Err(error) => Err(error.into()),
        })
    }
}

impl ProfileSync {
    /// The job. `filled` is notified when the queue has been filled.
    pub fn new(env: &Environment, copies: AvatarMirror, filled: Arc<Notify>) -> Self {
        Self {
            database: env.database.clone(),
            copies: Arc::new(copies),
            filled,
        }
    }

    async fn work(&self, under_way: &mut UnderWay, clock: Clock) -> anyhow::Result<()> {
        let mut worked = Ok(());
        loop {
            // Names first: five hundred pictures take minutes.
            while self.store_names().await? {}
            self.begin_copies(under_way, clock).await?;
            match timeout(LOOK, under_way.ended()).await {
                Ok(None) => return worked,
                Ok(Some(copied)) => worked = worked.and(copied),
                Err(_) => {}
            }
        }
    }

    /// One page of names; whether there may be more.
    async fn store_names(&self) -> store::Result<bool> {
        let mut transaction = self.database.begin().await?;
        let seen = updated_user::unstored(&mut transaction, AT_ONCE).await?;
        if seen.is_empty() {
            return Ok(false);
        }
        let users: Vec<UserId> = seen.iter().map(|seen| seen.ticket.user).collect();
        let shown = profiles::hold(&mut transaction, &users).await?;
        let tickets: Vec<Ticket> = seen.iter().map(|seen| seen.ticket).collect();
        updated_user::hold(&mut transaction, &tickets).await?;
        let is_full = seen.len() == usize::from(AT_ONCE);
        let Plan {
            store,
            done,
            pictures,
        } = plan(seen, shown);
        profiles::store(&mut transaction, &store).await?;
        updated_user::finish(&mut transaction, &done).await?;
        updated_user::leave_pictures(&mut transaction, &pictures).await?;
        store::commit(transaction).await?;
        self.copies.stored(&store);
        tracing::debug!(
            profiles = store.len(),
            pictures = pictures.len(),
            "changed profiles are stored"
        );
        Ok(is_full)
    }

    /// Begins with as many pictures as there is room for.
    async fn begin_copies(&self, under_way: &mut UnderWay, clock: Clock) -> store::Result<()> {
        let now = clock.now();
        let most = match self.copies.admits(now) {
            Admits::All => usize::from(TOGETHER),
            Admits::One => 1,
            Admits::None => 0,
        };
        let room = most.saturating_sub(under_way.users.len());
        if room == 0 {
            return Ok(());
        }
        let others: Vec<UserId> = under_way.users.iter().copied().collect();
        let room = u16::try_from(room).unwrap_or(TOGETHER);
        for wanted in self.copies.take(now, &others, room).await? {
            under_way.begin(&self.copies, wanted, clock);
        }
        Ok(())
    }
}

/// What one page comes to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Profiles that differ from those that are stored, or whose owners had been gone.
    store: Vec<NewProfile>,
    /// Rows of which nothing is left to do.
    done: Vec<Ticket>,
    /// Rows whose picture is left to do.
    pictures: Vec<Unfinished>,
}

/// What is to be stored of what was seen, where that shows the users now.
fn plan(seen: Vec<Seen>, shown: Vec<Shown>) -> Plan {
    let mut shown: BTreeMap<UserId, Shown> =
        shown.into_iter().map(|shown| (shown.user, shown)).collect();
    let mut plan = Plan::default();
    for Seen { ticket, sighting } in seen {
        let Some(before) = shown.remove(&ticket.user) else {
            plan.done.push(ticket);
            continue;
        };
        let known = before.profile.unwrap_or_default();
        let picture = Picture::of(&known);
        let profile = known.after(sighting);
        let other_picture = Picture::of(&profile) != picture;
        match copy_plan(&profile, before.copied.as_deref(), before.copy.is_some()) {
            CopyPlan::Keep => plan.done.push(ticket),
            CopyPlan::Make(_) | CopyPlan::Drop => plan.pictures.push(Unfinished {
                ticket,
                other_picture,
            }),
        }
        plan.store.push(NewProfile {
            user: ticket.user,
            other_picture,
            profile,
        });
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leveling::{Account, Membership, MessageId, Profile, Sighting};

    fn account(name: &str, avatar: Option<&str>) -> Account {
        Account {
            username: name.into(),
            display_name: None,
            avatar_hash: avatar.map(Into::into),
        }
    }

    fn seen(user: u64, name: &str, avatar: Option<&str>) -> Seen {
        Seen {
            ticket: Ticket {
                user: UserId::new(user).unwrap(),
                version: 1,
            },
            sighting: Sighting {
                username: name.into(),
                avatar_hash: avatar.map(str::to_owned).into(),
                ..Sighting::default()
            },
        }
    }

    fn shown(user: u64, avatar: Option<&str>, copied: Option<&str>) -> Shown {
        Shown {
            user: UserId::new(user).unwrap(),
            profile: Some(Profile {
                account: account("before", avatar),
                member: Membership {
                    nickname: Some("nick".into()),
                    avatar_hash: None,
                },
            }),
            copied: copied.map(Into::into),
            copy: copied.and(MessageId::new(9)),
            gone: false,
        }
    }

    #[test]
    fn names_are_stored_and_pictures_left_to_do() {
        let page = vec![
            seen(1, "name", Some("a")),
            seen(2, "name", Some("b")),
            seen(3, "name", None),
            seen(4, "name", None),
            seen(5, "unknown", None),
            // Of the same picture, which has not been copied yet.
            seen(6, "name", Some("a")),
        ];
        let known = vec![
            shown(1, Some("a"), Some("a")),
            shown(2, Some("a"), Some("a")),
            shown(3, Some("a"), Some("a")),
            shown(4, None, None),
            shown(6, Some("a"), Some("b")),
        ];
        let plan = plan(page, known);
        let users = |tickets: &[Ticket]| -> Vec<u64> {
            tickets.iter().map(|ticket| ticket.user.get()).collect()
        };
        assert_eq!(users(&plan.done), [1, 4, 5]);
        let left: Vec<_> = plan
            .pictures
            .iter()
            .map(|left| (left.ticket.user.get(), left.other_picture))
            .collect();
        assert_eq!(left, [(2, true), (3, true), (6, false)]);
        let stored: Vec<_> = plan
            .store
            .iter()
            .map(|new| (new.user.get(), new.other_picture))
            .collect();
        assert_eq!(
            stored,
            [(1, false), (2, true), (3, true), (4, false), (6, false)]
        );
        for new in &plan.store {
            assert_eq!(new.profile.account.username, "name");
            assert_eq!(new.profile.member.nickname.as_deref(), Some("nick"));
        }
    }
}
