//! The in-memory cache: each user's XP, their privacy, and a fingerprint of their profile.
//!
//! The map of users and the board change together, under the board's lock, and only after a
//! commit, so no reader sees XP that a crash could undo. Names and avatar links stay in Postgres.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use dashmap::DashMap;
use dashmap::mapref::multiple::RefMulti;

use super::unsaved_profiles::{Compared, Saver, UnsavedProfiles};
use crate::leveling::{
    Board, Fingerprint, LevelNumber, Levels, ObservedProfile, Place, Points, Progress, RoleId,
    Standing, Timestamp, UserId, XpRules,
};
use crate::store::user_point::{CachedUser, SavedUser};
use crate::store::{self, Database};

/// Every user's standing, and the board that ranks them.
#[derive(Debug)]
pub struct XpCache {
    /// Replaced as a whole when levels change, so a reader keeps one consistent version.
    levels: RwLock<Arc<Levels>>,
    users: DashMap<UserId, Entry>,
    board: RwLock<Board>,
    /// Everyone who is banned from the guild, also users without a row.
    banned: RwLock<BTreeSet<UserId>>,
    /// How many lists of members have been requested.
    lists: AtomicU32,
    unsaved: UnsavedProfiles,
    /// The guild's own rules. Only the engine changes them.
    xp_rules: RwLock<XpRules>,
}

/// When a member list was requested. Orders lists and events without a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListStart(u32);

/// Where a profile was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservedIn {
    /// A message that goes to the engine; the user is its author.
    EarningMessage,
    /// Any other event.
    Event,
    /// A member list that was requested at this time. Events since then are newer than the list,
    /// even if it arrives after them.
    List(ListStart),
    /// Discord's answer to a request for this user. The fingerprint is the one that the cache
    /// had at the time of the request. If it has changed since, the answer is outdated.
    Answer(Option<Fingerprint>),
}

/// What a user's rank card shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Card {
    /// What the user has earned.
    pub standing: Standing,
    /// Their level, and how far they are into it.
    pub progress: Progress,
    /// The position on the board; for hidden and banned users, the one they would have.
    pub rank: usize,
    /// Whether only the user may see the card.
    pub hidden: bool,
}

/// A line of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoardRow {
    /// The position, counted from 1.
    pub rank: usize,
    /// The user at this position.
    pub user: UserId,
    /// What they have earned.
    pub standing: Standing,
    /// The level of these points.
    pub level: LevelNumber,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    standing: Standing,
    hidden: bool,
    /// Whether the user is banned from the guild.
    banned: bool,
    named: bool,
    /// The fingerprint of the profile last seen, which is stored or about to be.
    seen: Option<Fingerprint>,
    /// The number of lists requested before an event last changed the profile. It fits into the
    /// struct's padding, so it costs no memory.
    heard_at_list: u32,
}

impl Entry {
    fn on_board(&self) -> bool {
        self.standing.is_tracked() && !self.hidden && !self.banned
    }
}

impl XpCache {
    /// Reads all users and the guild's rules from the database.
    pub async fn load(database: &Database, levels: Levels) -> store::Result<Self> {
        let mut connection = database.acquire().await?;
        let banned = store::banned_user::all(&mut connection).await?;
        let banned = BTreeSet::from_iter(banned);
        let users = DashMap::new();
        let mut places = Vec::new();
        store::user_point::load_all(&mut connection, |row| {
            let entry = Entry {
                standing: row.standing,
                hidden: row.hidden,
                banned: banned.contains(&row.user),
                named: row.named,
                seen: row.seen,
                heard_at_list: 0,
            };
            if entry.on_board() {
                places.push(Place::new(row.user, &row.standing));
            }
            users.insert(row.user, entry);
        })
        .await?;
        let xp_rules = store::xp_record::load(&mut connection).await?;
        Ok(Self {
            levels: RwLock::new(Arc::new(levels)),
            users,
            board: RwLock::new(Board::from_places(places)),
            banned: RwLock::new(banned),
            lists: AtomicU32::new(0),
            unsaved: UnsavedProfiles::default(),
            xp_rules: RwLock::new(xp_rules),
        })
    }

    /// The guild's rules on XP, and what is recorded to apply them.
    pub fn xp_rules(&self) -> RwLockReadGuard<'_, XpRules> {
        self.xp_rules.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the engine, which decides when a change takes effect.
    pub(super) fn xp_rules_mut(&self) -> RwLockWriteGuard<'_, XpRules> {
        self.xp_rules
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, who holds this role is recorded, since a rule is about to name it. Returns
    /// whether it was not recorded before.
    pub fn watch_role(&self, role: RoleId) -> bool {
        self.xp_rules_mut().watch_role(role)
    }

    /// The guild's levels, as they are now.
    pub fn levels(&self) -> Arc<Levels> {
        let levels = self.levels.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&levels)
    }

    /// Replaces the levels. They must be committed already.
    pub fn set_levels(&self, levels: Levels) {
        let mut current = self.levels.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(levels);
    }

    /// Number of users on the board.
    pub fn board_len(&self) -> usize {
        self.board().len()
    }

    /// How many users on the board have at least these points.
    pub fn reached(&self, points: Points) -> usize {
        self.board().reached(points)
    }

    /// The user's position; `None` if they are not on the board.
    pub fn rank_of(&self, user: UserId) -> Option<usize> {
        let board = self.board();
        let entry = *self.users.get(&user)?;
        entry
            .on_board()
            .then(|| board.rank_of(&Place::new(user, &entry.standing)))
    }

    /// Up to `count` rows of the board from rank `first_rank` on, all read at the same moment.
    pub fn page(&self, first_rank: usize, count: usize) -> Vec<BoardRow> {
        let levels = self.levels();
        let board = self.board();
        let first_rank = first_rank.max(1);
        let places = board.from_rank(first_rank).take(count);
        (first_rank..)
            .zip(places)
            .filter_map(|(rank, place)| {
                let user = place.user();
                let standing = self.users.get(&user)?.standing;
                Some(BoardRow {
                    rank,
                    user,
                    standing,
                    level: levels.level_at(standing.points),
                })
            })
            .collect()
    }

    /// Number of users, tracked or not.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there is no user.
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
            seen: entry.seen,
        })
    }

    /// Whether a name is stored for this user.
    pub fn is_named(&self, user: UserId) -> bool {
        self.users.get(&user).is_some_and(|entry| entry.named)
    }

    /// The fingerprint of the profile last seen.
    pub fn seen(&self, user: UserId) -> Option<Fingerprint> {
        self.users.get(&user)?.seen
    }

    /// Call this just before requesting a member list.
    pub fn list_starts(&self) -> ListStart {
        ListStart(self.lists.fetch_add(1, Ordering::Relaxed).wrapping_add(1))
    }

    /// Records an observed profile. If it differs from the last one, it becomes an unsaved
    /// profile; repeating an observation changes nothing. Takes constant time and never waits.
    ///
    /// Returns `true` if the observation leaves out a field that may have been set before. Only
    /// Discord can tell then whether it is set.
    pub fn observe(&self, user: UserId, observed: ObservedProfile, shown_in: ObservedIn) -> bool {
        // Most observations change nothing, and a shared lock is enough to see that.
        let (compared, is_unclear) = self.compare(user, &observed);
        if compared == Compared::Known {
            return is_unclear;
        }
        let saver = match shown_in {
            ObservedIn::EarningMessage => Saver::Engine,
            ObservedIn::Event | ObservedIn::List(_) | ObservedIn::Answer(_) => Saver::Register,
        };
        self.unsaved.add(user, observed, saver, |observed| {
            self.take_note(user, observed, shown_in)
        });
        is_unclear
    }

    /// Profiles that were observed and are not saved yet.
    pub fn unsaved(&self) -> &UnsavedProfiles {
        &self.unsaved
    }

    /// Marks an unsaved profile, as of this version, as committed.
    pub fn observed_is_saved(&self, user: UserId, version: u32) {
        self.unsaved.saved(user, version, |newer| {
            // The cache could not record this profile while the user had no row.
            self.take_note(user, newer, ObservedIn::Event);
        });
    }

    /// Records a profile that was fetched from Discord and saved. `known` is the fingerprint at
    /// the time of the request; if it has changed since, the answer is outdated and ignored.
    pub fn note_looked_up(
        &self,
        user: UserId,
        known: Option<Fingerprint>,
        found: &ObservedProfile,
    ) {
        if let Some(mut entry) = self.users.get_mut(&user)
            && entry.seen == known
        {
            entry.seen = found.news(known).or(known);
        }
    }

    fn compare(&self, user: UserId, observed: &ObservedProfile) -> (Compared, bool) {
        let Some(entry) = self.users.get(&user) else {
            return (Compared::Stranger, false);
        };
        let compared = match observed.news(entry.seen) {
            None => Compared::Known,
            Some(_) => Compared::News,
        };
        (compared, observed.is_unclear(entry.seen, entry.named))
    }

    fn take_note(
        &self,
        user: UserId,
        observed: &ObservedProfile,
        shown_in: ObservedIn,
    ) -> Compared {
        let Some(mut entry) = self.users.get_mut(&user) else {
            return Compared::Stranger;
        };
        if let ObservedIn::List(start) = shown_in
            && start.0 <= entry.heard_at_list
        {
            return Compared::Known;
        }
        if let ObservedIn::Answer(known) = shown_in
            && entry.seen != known
        {
            return Compared::Known;
        }
        let Some(after) = observed.news(entry.seen) else {
            return Compared::Known;
        };
        entry.seen = Some(after);
        if !matches!(shown_in, ObservedIn::List(_)) {
            entry.heard_at_list = self.lists.load(Ordering::Relaxed);
        }
        Compared::News
    }

    /// Notes that a complete profile is stored. If the last observation differs from it (the
    /// queue stored an older row last), the next observation counts as new whatever it shows.
    pub fn profile_is_stored(&self, user: UserId, stored: Fingerprint) {
        if let Some(mut entry) = self.users.get_mut(&user) {
            entry.named = true;
            let seen = entry.seen.map(|seen| seen.completed_by(stored));
            entry.seen = seen.filter(|seen| *seen == stored);
        }
    }

    /// Makes the next observation of a user count as new, whatever it shows.
    pub fn forget_profile(&self, user: UserId) {
        if let Some(mut entry) = self.users.get_mut(&user) {
            entry.seen = None;
        }
    }

    /// The user's rank card; `None` if they have earned nothing yet.
    pub fn card(&self, user: UserId) -> Option<Card> {
        // Locked first, so that rank and points are read at the same moment.
        let board = self.board();
        let Entry {
            standing, hidden, ..
        } = *self.users.get(&user)?;
        standing.is_tracked().then(|| Card {
            standing,
            progress: self.levels().progress(standing.points),
            rank: board.rank_of(&Place::new(user, &standing)),
            hidden,
        })
    }

    /// Users whose last award is later than `at` (in milliseconds), and when it was. Scans all
    /// users.
    pub(super) fn awarded_after(&self, at: i64) -> Vec<(UserId, Timestamp)> {
        let last = |user: RefMulti<'_, UserId, Entry>| {
            let last = user.standing.last_awarded_at?;
            (last.millis() > at).then_some((*user.key(), last))
        };
        self.users.iter().filter_map(last).collect()
    }

    /// Updates users to these rows, which must be committed already.
    pub(super) fn apply(&self, saved: &[SavedUser]) {
        let mut board = self.board.write().unwrap_or_else(PoisonError::into_inner);
        for row in saved {
            self.edit(&mut board, row.user, |entry| {
                entry.standing = row.standing;
                // If a profile was stored before, it also has the fields that this one lacks, so
                // this fingerprint would be incomplete.
                if let Some(profile) = &row.profile
                    && !entry.named
                {
                    entry.named = true;
                    // Whatever was observed since the batch was planned is newer than its row.
                    let since = entry.seen.unwrap_or_default();
                    entry.seen = Some(since.completed_by(profile.fingerprint()));
                }
            });
        }
    }

    /// Hides a user, who then leaves the board, or shows them. The change must be committed
    /// already.
    pub(super) fn hide(&self, user: UserId, hidden: bool) {
        let mut board = self.board.write().unwrap_or_else(PoisonError::into_inner);
        self.edit(&mut board, user, |entry| entry.hidden = hidden);
    }

    /// Takes users off the board because they are banned, or puts them back to their place. The
    /// change must be committed already. Their XP stays as it is.
    pub fn set_banned(&self, users: &[UserId], banned: bool) {
        let mut board = self.board.write().unwrap_or_else(PoisonError::into_inner);
        for user in users {
            {
                let mut all = self.banned.write().unwrap_or_else(PoisonError::into_inner);
                if banned {
                    all.insert(*user);
                } else {
                    all.remove(user);
                }
            }
            if self.users.contains_key(user) {
                self.edit(&mut board, *user, |entry| entry.banned = banned);
            }
        }
    }

    /// Whether the user is banned from the guild, as far as the bot knows.
    pub fn is_banned(&self, user: UserId) -> bool {
        let banned = self.banned.read().unwrap_or_else(PoisonError::into_inner);
        banned.contains(&user)
    }

    /// Everyone who is banned from the guild, as far as the bot knows.
    pub fn banned_users(&self) -> BTreeSet<UserId> {
        let banned = self.banned.read().unwrap_or_else(PoisonError::into_inner);
        banned.clone()
    }

    fn edit(&self, board: &mut Board, user: UserId, edit: impl FnOnce(&mut Entry)) {
        let mut entry = self.users.entry(user).or_insert_with(|| Entry {
            banned: self.is_banned(user),
            ..Entry::default()
        });
        if entry.on_board() {
            board.remove(&Place::new(user, &entry.standing));
        }
        edit(&mut entry);
        if entry.on_board() {
            board.insert(Place::new(user, &entry.standing));
        }
    }

    /// Locks the board for reading. Readers do this before they read any user, so that everything
    /// is from the same moment.
    fn board(&self) -> RwLockReadGuard<'_, Board> {
        self.board.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::leveling::{Field, Profile};

    fn levels(named: &str) -> Levels {
        Levels::with_roles([(None, None), (None, Some(named)), (None, None)])
    }

    fn empty() -> XpCache {
        XpCache {
            levels: RwLock::new(Arc::new(levels("Novice"))),
            users: DashMap::new(),
            board: RwLock::default(),
            banned: RwLock::default(),
            lists: AtomicU32::new(0),
            unsaved: UnsavedProfiles::default(),
            xp_rules: RwLock::default(),
        }
    }

    fn saved(user: u64, points: u64) -> SavedUser {
        SavedUser {
            user: UserId::new(user).unwrap(),
            standing: Standing {
                points: Points::new(points).unwrap(),
                ..Standing::default()
            },
            profile: None,
        }
    }

    fn users(rows: &[BoardRow]) -> Vec<(usize, u64, u16)> {
        rows.iter()
            .map(|row| (row.rank, row.user.get(), row.level.0))
            .collect()
    }

    #[test]
    fn hidden_users_leave_no_gap_and_return_to_their_place() {
        let cache = empty();
        cache.apply(&[saved(1, 300), saved(2, 200), saved(3, 90)]);
        assert_eq!(users(&cache.page(1, 10)), [(1, 1, 2), (2, 2, 1), (3, 3, 0)]);
        let second = UserId::new(2).unwrap();
        cache.hide(second, true);
        assert_eq!(users(&cache.page(1, 10)), [(1, 1, 2), (2, 3, 0)]);
        assert_eq!((cache.rank_of(second), cache.board_len()), (None, 2));
        assert_eq!(cache.reached(Points::new(200).unwrap()), 1);
        assert_eq!(cache.card(second).unwrap().rank, 2, "their own card");
        cache.apply(&[saved(2, 400)]);
        assert_eq!(cache.board_len(), 2, "what the hidden earn shows nowhere");
        cache.hide(second, false);
        assert_eq!(cache.rank_of(second), Some(1));
        assert_eq!(users(&cache.page(2, 1)), [(2, 1, 2)]);
        assert_eq!(users(&cache.page(4, 10)), []);
        assert_eq!(cache.page(0, 9), cache.page(1, 9));
    }

    #[test]
    fn banned_users_leave_no_gap_keep_their_xp_and_return_to_their_place() {
        let cache = empty();
        cache.apply(&[saved(1, 300), saved(2, 200), saved(3, 90)]);
        let [second, third, stranger] = [2, 3, 4].map(|user| UserId::new(user).unwrap());
        cache.set_banned(&[second, stranger], true);
        assert_eq!(users(&cache.page(1, 10)), [(1, 1, 2), (2, 3, 0)]);
        assert_eq!((cache.rank_of(second), cache.board_len()), (None, 2));
        assert_eq!(cache.reached(Points::new(200).unwrap()), 1);
        let card = cache.card(second).unwrap();
        assert_eq!(
            (card.rank, card.hidden),
            (2, false),
            "as if they were on it"
        );
        assert_eq!(card.standing.points, Points::new(200).unwrap());
        assert_eq!(cache.len(), 3, "a stranger gets no row by a ban");
        // A batch, and an import of someone who was banned before they had a row.
        cache.apply(&[saved(2, 400), saved(4, 500)]);
        assert_eq!(cache.board_len(), 2);
        assert!(cache.is_banned(stranger));
        // Hidden as well: both must end.
        cache.hide(second, true);
        cache.set_banned(&[second, stranger], false);
        assert_eq!(users(&cache.page(1, 10)), [(1, 4, 2), (2, 1, 2), (3, 3, 0)]);
        cache.hide(second, false);
        assert_eq!(cache.rank_of(second), Some(2));
        assert_eq!(cache.rank_of(third), Some(4));
        assert!(cache.banned_users().is_empty());
    }

    #[test]
    fn users_who_hide_before_earning_never_show() {
        let cache = empty();
        let user = UserId::new(5).unwrap();
        cache.hide(user, true);
        assert_eq!((cache.card(user), cache.rank_of(user)), (None, None));
        cache.apply(&[saved(5, 100)]);
        assert!(cache.card(user).unwrap().hidden);
        assert_eq!(cache.board_len(), 0);
    }

    #[test]
    fn readers_keep_the_levels_that_are_replaced_meanwhile() {
        let cache = empty();
        let before = cache.levels();
        cache.set_levels(levels("Beginner"));
        assert_eq!(before.rows()[1].role_name.as_deref(), Some("Novice"));
        let now = cache.levels();
        assert_eq!(now.rows()[1].role_name.as_deref(), Some("Beginner"));
    }

    fn called(name: &str) -> ObservedProfile {
        ObservedProfile {
            username: name.to_owned(),
            display_name: Field::Empty,
            avatar_hash: Field::Empty,
            nickname: Field::Empty,
            guild_avatar_hash: Field::Empty,
        }
    }

    /// The username that the engine is to save.
    fn for_engine(cache: &XpCache, user: UserId) -> Option<String> {
        let observed = cache.unsaved().left_to(Saver::Engine, user)?;
        Some(observed.profile.username)
    }

    #[test]
    fn a_list_that_was_asked_for_before_an_event_does_not_undo_it() {
        let cache = empty();
        cache.apply(&[saved(1, 100), saved(2, 100)]);
        let [heard, quiet] = [1, 2].map(|user| UserId::new(user).unwrap());
        let early = cache.list_starts();
        cache.observe(heard, called("new"), ObservedIn::Event);
        for user in [heard, quiet] {
            cache.observe(user, called("old"), ObservedIn::List(early));
        }
        let short = |name| Some(Profile::from(called(name)).fingerprint());
        assert_eq!(cache.seen(heard), short("new"));
        assert_eq!(cache.seen(quiet), short("old"));
        let late = cache.list_starts();
        cache.observe(heard, called("newer"), ObservedIn::List(late));
        assert_eq!(cache.seen(heard), short("newer"));
        // An event before the request of a list is older than the list.
        cache.observe(heard, called("new"), ObservedIn::Event);
        let latest = cache.list_starts();
        cache.observe(heard, called("newer"), ObservedIn::List(late));
        assert_eq!(cache.seen(heard), short("new"));
        cache.observe(heard, called("newest"), ObservedIn::List(latest));
        assert_eq!(cache.seen(heard), short("newest"));
    }

    #[test]
    fn a_fetched_profile_does_not_undo_what_was_observed_meanwhile() {
        let cache = empty();
        cache.apply(&[saved(1, 100)]);
        let user = UserId::new(1).unwrap();
        let known = cache.seen(user);
        cache.note_looked_up(user, known, &called("found"));
        let short = |name| Some(Profile::from(called(name)).fingerprint());
        assert_eq!(cache.seen(user), short("found"));
        cache.observe(user, called("heard"), ObservedIn::Event);
        cache.note_looked_up(user, short("found"), &called("older"));
        assert_eq!(cache.seen(user), short("heard"));
    }

    #[test]
    fn a_field_that_an_event_leaves_out_stays_and_is_asked_for_if_it_may_be_stored() {
        let cache = empty();
        cache.apply(&[saved(1, 100), saved(2, 100)]);
        let [user, unnamed] = [1, 2].map(|user| UserId::new(user).unwrap());
        let left_out = || ObservedProfile {
            nickname: Field::Unclear,
            ..called("name")
        };
        let nicknamed = ObservedProfile {
            nickname: Field::Value("nick".into()),
            ..called("name")
        };
        assert!(!cache.observe(unnamed, left_out(), ObservedIn::Event));
        assert!(!cache.observe(user, nicknamed.clone(), ObservedIn::Event));
        let known = cache.seen(user);
        for _ in 0..2 {
            assert!(cache.observe(user, left_out(), ObservedIn::Event));
            assert_eq!(cache.seen(user), known);
        }
        // An answer that is older than an event is ignored.
        cache.observe(user, called("name"), ObservedIn::Answer(None));
        assert_eq!(cache.seen(user), known);
        cache.observe(user, called("name"), ObservedIn::Answer(known));
        assert!(!cache.observe(user, left_out(), ObservedIn::Event));
        // Observations are compared with the stored profile, even if it was never seen.
        let stored = Profile::from(nicknamed).fingerprint();
        cache.profile_is_stored(user, stored);
        assert_eq!(cache.seen(user), None, "it was not what was seen last");
        assert!(cache.observe(user, left_out(), ObservedIn::Event));
        cache.profile_is_stored(user, stored);
        assert_eq!(cache.seen(user), Some(stored));
    }

    #[test]
    fn an_author_who_becomes_known_is_known_as_they_were_last_observed() {
        let cache = empty();
        let user = UserId::new(1).unwrap();
        cache.observe(user, called("first"), ObservedIn::EarningMessage);
        assert_eq!(for_engine(&cache, user).as_deref(), Some("first"));
        let version = cache
            .unsaved()
            .left_to(Saver::Engine, user)
            .unwrap()
            .version;
        cache.observe(user, called("second"), ObservedIn::Event);
        let row = SavedUser {
            profile: Some(Profile::from(called("first"))),
            ..saved(1, 20)
        };
        cache.apply(&[row]);
        cache.observed_is_saved(user, version);
        let short = Profile::from(called("second")).fingerprint();
        assert_eq!(cache.seen(user), Some(short));
    }

    #[test]
    fn an_observation_costs_the_same_among_many_users_as_among_few() {
        let cost = |users: u64| {
            let cache = empty();
            let rows: Vec<_> = (1..=users).map(|user| saved(user, 100)).collect();
            cache.apply(&rows);
            let started = std::time::Instant::now();
            for row in &rows {
                cache.observe(row.user, called("news"), ObservedIn::EarningMessage);
            }
            started.elapsed() / u32::try_from(users).unwrap()
        };
        let least = |users| (0..5).map(|_| cost(users)).min().unwrap();
        let (few, many) = (least(2_000), least(100_000));
        // If each observation scanned all users, it would cost fifty times as much.
        assert!(
            many < few * 15,
            "{few:?} among 2,000, {many:?} among 100,000"
        );
    }

    proptest! {
        #[test]
        fn the_board_is_always_the_visible_tracked_users(
            steps in proptest::collection::vec(
                (1_u64..20, 0_u64..50, any::<Option<bool>>(), any::<bool>()),
                0..200,
            ),
        ) {
            let cache = empty();
            let mut banned = BTreeSet::new();
            for (user, points, change, is_ban) in steps {
                let id = UserId::new(user).unwrap();
                match change {
                    Some(set) if is_ban => {
                        cache.set_banned(&[id], set);
                        if set { banned.insert(id); } else { banned.remove(&id); }
                    }
                    Some(hidden) => cache.hide(id, hidden),
                    None => cache.apply(&[saved(user, points)]),
                }
            }
            prop_assert_eq!(&cache.banned_users(), &banned);
            let visible = cache.users.iter().filter(|entry| {
                entry.standing.is_tracked() && !entry.hidden && !banned.contains(entry.key())
            });
            let expected = Board::from_places(
                visible.map(|entry| Place::new(*entry.key(), &entry.standing)).collect(),
            );
            prop_assert!(cache.board().from_rank(1).eq(expected.from_rank(1)));
            for row in cache.page(1, usize::MAX) {
                prop_assert_eq!(cache.rank_of(row.user), Some(row.rank));
                prop_assert_eq!(cache.card(row.user).unwrap().rank, row.rank);
            }
        }
    }
}
