//! One award: the cooldown and the amount.

use std::hint::black_box;

use wall_e::leveling::{MessageId, Rate, Standing, Timestamp, award};

use crate::Effort;
use crate::measure::ns_per_call;
use crate::table::{Row, Unit, progress};

/// As many messages as fit into the first cache: the memory is not what is measured.
const MESSAGES: usize = 256;
const FIRST_AT: i64 = 1_700_000_000_000;

/// Measures it.
pub fn measure(effort: Effort) -> Vec<Row> {
    progress("award: calling it some million times");
    let messages: Vec<MessageId> = (0..)
        .filter_map(|n| MessageId::first_at(Timestamp::from_millis(FIRST_AT + n * 7_919)?))
        .take(MESSAGES)
        .collect();
    // Two of three have rested, so that the branch is not always the same.
    let standings: Vec<Standing> = messages
        .iter()
        .zip([10_000, 61_000, 3_600_000].into_iter().cycle())
        .map(|(message, ago)| Standing {
            last_awarded_at: Timestamp::from_millis(message.sent_at().millis() - ago),
            ..Standing::default()
        })
        .collect();
    let pair = ns_per_call(
        effort.pick(9, 5),
        effort.pick(20_000_000, 2_000_000),
        |n| {
            let n = n % MESSAGES;
            let (standing, message) = (black_box(&standings[n]), black_box(messages[n]));
            black_box(award(standing, message, black_box(Some(Rate::USUAL))));
        },
        |n| {
            let n = n % MESSAGES;
            black_box(&standings[n]);
            black_box(splitmix64(black_box(messages[n].get())));
        },
    );
    vec![Row::new(
        "award, a call",
        Unit::Nanoseconds,
        pair,
        "one step of SplitMix64",
    )]
}

/// The generator's step: what the amount alone cannot do without.
fn splitmix64(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
