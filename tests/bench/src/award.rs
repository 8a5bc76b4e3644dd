//! One award: the cooldown and the amount, alone and with the guild's rules on XP.

use std::hint::black_box;

use wall_e::leveling::{ChannelId, MessageId, Rate, Standing, Timestamp, UserId, XpRules, award};

use crate::Effort;
use crate::measure::{float, ns_per_call};
use crate::rules;
use crate::table::{Row, Unit, progress, thousands};

/// As many messages as fit into the first cache: the memory is not what is measured.
const MESSAGES: usize = 256;
const FIRST_AT: i64 = 1_700_000_000_000;
const FIRST_USER: u64 = 10_000;
/// How many rules the guild has.
const RULES: [usize; 3] = [0, 10, 500];

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
    let mut rows = vec![Row::new(
        "award, a call",
        Unit::Nanoseconds,
        pair,
        "one step of SplitMix64",
    )];
    rows.extend(RULES.map(|count| with_rules(count, &messages, &standings, effort)));
    rows
}

/// The rate that the rules give a message, and the award.
fn with_rules(count: usize, messages: &[MessageId], standings: &[Standing], effort: Effort) -> Row {
    let users: Vec<UserId> = (FIRST_USER..)
        .filter_map(UserId::new)
        .take(MESSAGES)
        .collect();
    let channels: Vec<ChannelId> = (0..).filter_map(rules::channel).take(MESSAGES).collect();
    let rules = rules::rules(count, &users);
    let ours = |rules: &XpRules, n: usize| {
        let (standing, message) = (black_box(&standings[n]), black_box(messages[n]));
        let rate = black_box(rules).rate(message, black_box(channels[n]), black_box(users[n]));
        black_box(award(standing, message, rate));
    };
    let pair = ns_per_call(
        effort.pick(9, 5),
        effort.pick(5_000_000, 500_000),
        |n| ours(&rules, n % MESSAGES),
        |n| {
            let n = n % MESSAGES;
            let (standing, message) = (black_box(&standings[n]), black_box(messages[n]));
            black_box(award(standing, message, black_box(Some(Rate::USUAL))));
        },
    );
    let count = thousands(float(count));
    Row::new(
        format!("award with {count} rules, a call"),
        Unit::Nanoseconds,
        pair,
        "the same at the usual rate, which no rule is asked for",
    )
}

/// The generator's step: what the amount alone cannot do without.
fn splitmix64(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
