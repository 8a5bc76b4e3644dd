//! The board, small and large: a rank, a page, and a user who moves.

use std::collections::BTreeSet;
use std::hint::black_box;

use discord_sim::members::mix;
use wall_e::leveling::{Board, Place, Points, Standing, Timestamp, UserId};

use crate::Effort;
use crate::measure::{float, ns_per_call};
use crate::table::{Row, Unit, progress, thousands};

const PAGE: usize = 10;
const AWARD: u64 = 20;

/// Measures it at both sizes.
pub fn measure(effort: Effort) -> Vec<Row> {
    let sizes = [7_000, effort.pick(1_000_000, 200_000)];
    sizes
        .into_iter()
        .flat_map(|size| measure_at(size, effort))
        .collect()
}

fn measure_at(size: usize, effort: Effort) -> Vec<Row> {
    progress(&format!("board: {} users", thousands(float(size))));
    let (rounds, calls) = effort.pick((7, 300_000), (3, 100_000));
    let users: Vec<User> = (1..).filter_map(User::made_up).take(size).collect();
    let places: Vec<Place> = users.iter().map(User::place).collect();
    let order: Vec<usize> = (0..calls).map(|n| scatter(n, size - PAGE)).collect();
    let mut sorted = places.clone();
    sorted.sort_unstable();
    let mut board = Board::from_places(places.clone());

    let rank = ns_per_call(
        rounds,
        calls,
        |n| {
            black_box(board.rank_of(&places[order[n]]));
        },
        |n| {
            black_box(sorted.binary_search(&places[order[n]]).is_ok());
        },
    );
    let page = ns_per_call(
        rounds,
        calls,
        |n| {
            let page = board.from_rank(order[n] + 1).take(PAGE);
            black_box(sum(page));
        },
        |n| {
            let first = order[n];
            black_box(sum(sorted[first..first + PAGE].iter()));
        },
    );
    let mut set: BTreeSet<Place> = places.into_iter().collect();
    let (mut users, mut users_of_set) = (users.clone(), users);
    let moved = ns_per_call(
        rounds,
        calls,
        |n| {
            let user = &mut users[order[n]];
            board.remove(&user.place());
            user.earn();
            board.insert(user.place());
        },
        |n| {
            let user = &mut users_of_set[order[n]];
            set.remove(&user.place());
            user.earn();
            set.insert(user.place());
        },
    );
    let row = |what, pair, reference_is| {
        let what = format!("board, {what}, {} users", thousands(float(size)));
        Row::new(what, Unit::Nanoseconds, pair, reference_is)
    };
    vec![
        row("rank", rank, "binary search in a sorted Vec"),
        row("page of 10", page, "slice of a sorted Vec"),
        row(
            "remove and insert",
            moved,
            "the same in a BTreeSet, which knows no ranks",
        ),
    ]
}

#[derive(Clone, Copy)]
struct User {
    id: UserId,
    standing: Standing,
}

impl User {
    /// A long tail: half have a few hundred points, a few have hundreds of thousands.
    fn made_up(number: u64) -> Option<Self> {
        let dice = mix(number);
        let luck = dice % 1_000;
        let points = 15 + (dice >> 16) % (100 + luck.pow(4) / 1_250_000);
        let ago = i64::try_from(dice >> 44).ok()? * 60_000;
        Some(Self {
            id: UserId::new((dice >> 2) | 1)?,
            standing: Standing {
                points: Points::new(points)?,
                message_count: points / AWARD + 1,
                last_awarded_at: Timestamp::from_millis(1_700_000_000_000 - ago),
            },
        })
    }

    fn place(&self) -> Place {
        Place::new(self.id, &self.standing)
    }

    fn earn(&mut self) {
        self.standing.points = self.standing.points.plus(AWARD);
    }
}

fn sum<'a>(places: impl Iterator<Item = &'a Place>) -> u64 {
    places.fold(0, |sum, place| sum ^ place.user().get())
}

/// The `number`th of a series of indexes without order.
fn scatter(number: usize, below: usize) -> usize {
    let dice = mix(number as u64) % below as u64;
    usize::try_from(dice).unwrap_or_default()
}
