//! The board: every visible tracked user, ordered by rank.
//!
//! This is the only definition of rank. Order: more points first, then the earlier latest
//! award (no award sorts last), then the lower user id. The board does not know who is hidden;
//! the caller leaves hidden users out.
//!
//! The places are kept in sorted chunks of at most [`CHUNK_LEN`] places, with a Fenwick tree over
//! the chunks' lengths. Finding, inserting and counting take `O(log n)` plus a bounded move inside
//! one chunk. Each place takes 24 bytes of contiguous memory.

use super::{Points, Standing, Timestamp, UserId};

/// Places in a full chunk: 12 KiB, which take a few hundred nanoseconds to move.
const CHUNK_LEN: usize = 512;

/// Places in each chunk of a new board: less than full, so that the first inserts do not split
/// every chunk.
const INITIAL_CHUNK_LEN: usize = CHUNK_LEN * 7 / 8;

/// A user's sort key on the board; a smaller place is a better rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    points: std::cmp::Reverse<Points>,
    /// Time of the latest award in Unix milliseconds, `i64::MAX` if there is none.
    last_awarded_ms: i64,
    user: UserId,
}

impl Place {
    /// The place of a user with this standing.
    pub fn new(user: UserId, standing: &Standing) -> Self {
        Self {
            points: std::cmp::Reverse(standing.points),
            last_awarded_ms: standing.last_awarded_at.map_or(i64::MAX, Timestamp::millis),
            user,
        }
    }

    /// The user who holds this place.
    pub fn user(&self) -> UserId {
        self.user
    }
}

/// All places in order. Ranks count from 1.
#[derive(Debug, Default)]
pub struct Board {
    /// Sorted chunks, none empty. All places of a chunk are before those of the next one.
    chunks: Vec<Vec<Place>>,
    /// Counts the places before a chunk.
    lengths: Fenwick,
}

impl Board {
    /// Builds a board. `places` may be in any order and must name each user at most once.
    pub fn from_places(mut places: Vec<Place>) -> Self {
        places.sort_unstable();
        let chunks: Vec<_> = places
            .chunks(INITIAL_CHUNK_LEN)
            .map(|places| {
                let mut chunk = Vec::with_capacity(CHUNK_LEN);
                chunk.extend_from_slice(places);
                chunk
            })
            .collect();
        let mut board = Self {
            chunks,
            lengths: Fenwick::default(),
        };
        board.recount();
        board
    }

    /// Number of places.
    pub fn len(&self) -> usize {
        self.lengths.total()
    }

    /// Whether nobody has a place.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The rank of this place, or the one it would have if it is not on the board.
    pub fn rank_of(&self, place: &Place) -> usize {
        self.leading(|other| other < place) + 1
    }

    /// Number of users with at least this many points.
    pub fn reached(&self, points: Points) -> usize {
        self.leading(|place| place.points.0 >= points)
    }

    /// The places from rank `first` on, best first. The caller takes as many as a page needs.
    pub fn from_rank(&self, first: usize) -> impl Iterator<Item = &Place> {
        let (chunk, within) = self.lengths.find(first.saturating_sub(1));
        let rest = self.chunks.get(chunk..).unwrap_or_default();
        rest.iter().flatten().skip(within)
    }

    /// Adds a place. Does nothing if it is on the board already.
    pub fn insert(&mut self, place: Place) {
        if self.chunks.is_empty() {
            self.chunks.push(Vec::with_capacity(CHUNK_LEN));
            self.recount();
        }
        let chunk = self.chunk_of(&place).min(self.chunks.len() - 1);
        let Err(within) = self.chunks[chunk].binary_search(&place) else {
            return;
        };
        if self.chunks[chunk].len() == CHUNK_LEN {
            let mut upper = Vec::with_capacity(CHUNK_LEN);
            upper.extend_from_slice(&self.chunks[chunk][CHUNK_LEN / 2..]);
            self.chunks[chunk].truncate(CHUNK_LEN / 2);
            self.chunks.insert(chunk + 1, upper);
            self.recount();
            return self.insert(place);
        }
        self.chunks[chunk].insert(within, place);
        self.lengths.add(chunk, 1);
    }

    /// Removes a place. Does nothing if it is not on the board.
    pub fn remove(&mut self, place: &Place) {
        let chunk = self.chunk_of(place);
        let Some(places) = self.chunks.get_mut(chunk) else {
            return;
        };
        let Ok(within) = places.binary_search(place) else {
            return;
        };
        places.remove(within);
        if places.is_empty() {
            self.chunks.remove(chunk);
            self.recount();
        } else {
            self.lengths.add(chunk, -1);
        }
    }

    /// Number of leading places for which `better` holds. It must hold for a prefix of the board
    /// and for nothing after it.
    fn leading(&self, better: impl Fn(&Place) -> bool) -> usize {
        let chunk = self
            .chunks
            .partition_point(|chunk| chunk.last().is_some_and(&better));
        let within = self
            .chunks
            .get(chunk)
            .map_or(0, |chunk| chunk.partition_point(&better));
        self.lengths.before(chunk) + within
    }

    /// Index of the first chunk whose last place is not before `place`; one past the end if there
    /// is none.
    fn chunk_of(&self, place: &Place) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.last().is_some_and(|last| last < place))
    }

    fn recount(&mut self) {
        self.lengths = Fenwick::new(self.chunks.iter().map(Vec::len));
    }
}

/// A Fenwick tree: prefix sums of a list of counts, with `O(log n)` reads and updates.
#[derive(Debug, Default)]
struct Fenwick {
    /// `tree[i]` is the sum of the counts in the span that ends at `i` and whose length is the
    /// lowest set bit of `i`. Position 0 is unused.
    tree: Vec<usize>,
}

impl Fenwick {
    fn new(counts: impl Iterator<Item = usize>) -> Self {
        let mut tree: Vec<usize> = std::iter::once(0).chain(counts).collect();
        for i in 1..tree.len() {
            let parent = i + (i & i.wrapping_neg());
            if parent < tree.len() {
                tree[parent] += tree[i];
            }
        }
        Self { tree }
    }

    fn add(&mut self, index: usize, change: isize) {
        let mut i = index + 1;
        while i < self.tree.len() {
            self.tree[i] = self.tree[i]
                .checked_add_signed(change)
                .expect("counts are not negative");
            i += i & i.wrapping_neg();
        }
    }

    /// The sum of all counts before `index`.
    fn before(&self, index: usize) -> usize {
        let mut i = index;
        let mut sum = 0;
        while i > 0 {
            sum += self.tree[i];
            i &= i - 1;
        }
        sum
    }

    fn total(&self) -> usize {
        self.before(self.tree.len().saturating_sub(1))
    }

    /// Index of the count that contains item `nth` (from 0), and the item's offset in it. Past
    /// the end: one past the last index.
    fn find(&self, nth: usize) -> (usize, usize) {
        let mut index = 0;
        let mut left = nth;
        let mut step = self.tree.len().next_power_of_two();
        while step > 0 {
            let next = index + step;
            if next < self.tree.len() && self.tree[next] <= left {
                index = next;
                left -= self.tree[next];
            }
            step /= 2;
        }
        (index, left)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(user: u64, points: u64, last_ms: i64) -> Place {
        let standing = Standing {
            points: Points::new(points).unwrap(),
            message_count: 1,
            last_awarded_at: Timestamp::from_millis(last_ms),
        };
        Place::new(UserId::new(user).unwrap(), &standing)
    }

    fn users(board: &Board, first: usize, count: usize) -> Vec<u64> {
        board
            .from_rank(first)
            .take(count)
            .map(|place| place.user().get())
            .collect()
    }

    #[test]
    fn more_points_then_the_earlier_award_then_the_lower_id() {
        let never = 0;
        let board = Board::from_places(vec![
            place(5, 100, never),
            place(4, 100, 2_000),
            place(3, 100, 1_000),
            place(2, 300, 9_000),
            place(1, 100, never),
        ]);
        assert_eq!(users(&board, 1, 9), [2, 3, 4, 1, 5]);
        assert_eq!(board.rank_of(&place(3, 100, 1_000)), 2);
        assert_eq!(
            board.rank_of(&place(9, 200, 1_000)),
            2,
            "the rank that a hidden user would have"
        );
        assert_eq!(board.rank_of(&place(9, 0, never)), 6, "one past the end");
    }

    #[test]
    fn an_empty_board_answers() {
        let mut board = Board::default();
        assert_eq!((board.len(), board.is_empty()), (0, true));
        assert_eq!(board.rank_of(&place(1, 10, 1)), 1);
        assert_eq!(board.reached(Points::default()), 0);
        assert_eq!(users(&board, 1, 10), [0; 0]);
        board.remove(&place(1, 10, 1));
        board.insert(place(1, 10, 1));
        board.insert(place(1, 10, 1));
        assert_eq!(board.len(), 1, "a place is taken once");
        board.remove(&place(1, 10, 1));
        assert!(board.is_empty());
    }

    #[test]
    fn it_stays_in_order_over_many_chunks() {
        let mut board = Board::default();
        let count = 5_000_u64;
        for n in 0..count {
            board.insert(place(n + 1, (n * 7_919) % count, 1));
        }
        assert_eq!(board.len(), 5_000);
        for rank in [1, 2, 511, 512, 513, 2_500, 4_999, 5_000] {
            let here = *board.from_rank(rank).next().unwrap();
            assert_eq!(board.rank_of(&here), rank);
        }
        assert_eq!(users(&board, 5_001, 1), [0; 0]);
        for (points, reached) in [(0, 5_000), (1, 4_999), (4_488, 512), (4_999, 1), (5_000, 0)] {
            let points = Points::new(points).unwrap();
            assert_eq!(board.reached(points), reached, "{points} points");
        }
        for n in 0..count {
            board.remove(&place(n + 1, (n * 7_919) % count, 1));
        }
        assert!(board.is_empty());
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_sorted_list(
            start in proptest::collection::btree_set((1_u64..400, 0_u64..20), 0..60),
            steps in proptest::collection::vec((any::<bool>(), 1_u64..400, 0_u64..20), 0..2_000),
            asked in 1_usize..500,
        ) {
            let mut model: std::collections::BTreeSet<Place> =
                start.into_iter().map(|(user, points)| place(user, points, 1)).collect();
            let mut board = Board::from_places(model.iter().copied().collect());
            for (insert, user, points) in steps {
                let place = place(user, points, 1);
                if insert {
                    model.insert(place);
                    board.insert(place);
                } else {
                    model.remove(&place);
                    board.remove(&place);
                }
            }
            prop_assert_eq!(board.len(), model.len());
            prop_assert!(board.from_rank(1).eq(model.iter()));
            prop_assert!(board.from_rank(asked).take(10).eq(model.iter().skip(asked - 1).take(10)));
            for (rank, place) in (1..).zip(&model) {
                prop_assert_eq!(board.rank_of(place), rank);
            }
            for points in 0..21 {
                let points = Points::new(points).unwrap();
                let reached = model.iter().filter(|place| place.points.0 >= points).count();
                prop_assert_eq!(board.reached(points), reached);
            }
        }
    }
}
