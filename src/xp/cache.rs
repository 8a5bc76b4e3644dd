//! What awards, ranks and privacy need of every user, in memory.
//!
//! The map and the board change together, under the board's lock, and only after
//! a commit: nobody ever reads XP that a crash could take back. Names and links
//! stay in Postgres.

use std::sync::{PoisonError, RwLock};

use dashmap::DashMap;

use crate::leveling::{Board, Levels, Place, Progress, Standing, UserId};
use crate::store::user_point::{CachedUser, SavedUser};
use crate::store::{self, Database};

/// Every user's standing, and the board made of them.
#[derive(Debug)]
pub struct XpCache {
    levels: Levels,
    users: DashMap<UserId, Entry>,
    board: RwLock<Board>,
}

/// What a stat card shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Card {
    /// What the user has earned.
    pub standing: Standing,
    /// Their level and the way to the next.
    pub progress: Progress,
    /// Their position among the visible; for the hidden, the one they would have.
    pub rank: usize,
    /// Whether only they may see this.
    pub hidden: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    standing: Standing,
    hidden: bool,
    named: bool,
}

impl Entry {
    fn on_board(&self) -> bool {
        self.standing.is_tracked() && !self.hidden
    }
}

impl XpCache {
    /// Reads all users from the database.
    pub async fn load(database: &Database, levels: Levels) -> store::Result<Self> {
        let mut connection = database.acquire().await?;
        let users = DashMap::new();
        let mut places = Vec::new();
        store::user_point::load_all(&mut connection, |row| {
            let entry = Entry {
                standing: row.standing,
                hidden: row.hidden,
                named: row.named,
            };
            if entry.on_board() {
                places.push(Place::new(row.user, &row.standing));
            }
            users.insert(row.user, entry);
        })
        .await?;
        Ok(Self {
            levels,
            users,
            board: RwLock::new(Board::from_places(places)),
        })
    }

    /// The guild's levels.
    pub fn levels(&self) -> &Levels {
        &self.levels
    }

    /// Number of users known, tracked or not.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether no user is known.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The user's row, if there is one.
    pub fn get(&self, user: UserId) -> Option<CachedUser> {
        let entry = *self.users.get(&user)?;
        Some(CachedUser {
            user,
            standing: entry.standing,
            hidden: entry.hidden,
            named: entry.named,
        })
    }

    /// Whether a name is stored for this user.
    pub fn is_named(&self, user: UserId) -> bool {
        self.users.get(&user).is_some_and(|entry| entry.named)
    }

    /// The user's stat card; `None` if they have earned nothing yet.
    pub fn card(&self, user: UserId) -> Option<Card> {
        // The lock is taken first: rank and points are of the same moment.
        let board = self.board.read().unwrap_or_else(PoisonError::into_inner);
        let Entry {
            standing, hidden, ..
        } = *self.users.get(&user)?;
        standing.is_tracked().then(|| Card {
            standing,
            progress: self.levels.progress(standing.points),
            rank: board.rank_of(&Place::new(user, &standing)),
            hidden,
        })
    }

    /// Takes over what has been committed.
    pub(super) fn apply(&self, saved: &[SavedUser]) {
        let mut board = self.board.write().unwrap_or_else(PoisonError::into_inner);
        for row in saved {
            let mut entry = self.users.entry(row.user).or_default();
            if entry.on_board() {
                board.remove(&Place::new(row.user, &entry.standing));
            }
            entry.standing = row.standing;
            entry.named |= row.profile.is_some();
            if entry.on_board() {
                board.insert(Place::new(row.user, &entry.standing));
            }
        }
    }
}
