//! Members by the million that cost nothing until they are touched.
//!
//! Everything about generated member `i` is a pure function of `i`, and `i` can
//! be computed back from the id. Nothing here is stored, and nothing here
//! depends on how many members a guild has: a guild of 7,120 holds the first
//! 7,120 of the same people as a guild of a million.
//!
//! The id of member `i`: a fixed permutation spreads the indexes over
//! [`CAPACITY`] slots of 200 seconds each, from October 2015 on; a hash of `i`
//! picks the millisecond within the slot and the low 22 bits. All ids have 18
//! digits.

use crate::clock::{Id, first_id_at, time_of};

/// How many generated members there can be.
pub const CAPACITY: u32 = 1 << 20;

/// 2015-10-15, when ids came to have 18 digits.
const FIRST_SLOT_MS: u64 = 1_444_867_200_000;
const SLOT_MS: u64 = 200_000;
/// Odd, so that multiplying by it permutes the slots; and its inverse.
const SPREAD: u32 = 0x9_E375;
const GATHER: u32 = inverse(SPREAD);
/// 2017-09-01: nobody joined before.
const GUILD_OPENED_MS: u64 = 1_504_224_000_000;
const DAY_MS: u64 = 86_400_000;

/// What is known of a generated member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// The user's id.
    pub id: Id,
    /// The account's name: lower case, unique.
    pub username: String,
    /// The account's display name.
    pub global_name: Option<String>,
    /// The name in the guild.
    pub nick: Option<String>,
    /// The hash of the account's avatar.
    pub avatar: Option<String>,
    /// When they joined, in Unix milliseconds.
    pub joined_at_ms: u64,
    /// One in a hundred is a bot.
    pub bot: bool,
}

/// Generated member `index`.
pub fn generated(index: u32) -> Generated {
    let id = id_of(index);
    let dice = mix(u64::from(index) ^ 0xD15C_07D0);
    let given = pick(GIVEN_NAMES, dice);
    let bot = dice.is_multiple_of(100);
    let created = time_of(id);
    let joined = created.max(GUILD_OPENED_MS) + (dice >> 8) % 300 * DAY_MS + (dice >> 20) % DAY_MS;
    let has = |one_in: u64, shift: u32| (dice >> shift).is_multiple_of(one_in);
    Generated {
        id,
        username: if bot {
            format!("{given}-bot-{index}")
        } else {
            format!(
                "{given}{}{index}",
                pick(&["", "_", ".", "_the_"], dice >> 4)
            )
        },
        global_name: if has(5, 24) {
            None
        } else if has(8, 28) {
            Some(pick(HOSTILE_NAMES, dice >> 32).to_owned())
        } else {
            Some(capitalised(given))
        },
        nick: if has(6, 36) {
            Some(pick(HOSTILE_NAMES, dice >> 40).to_owned())
        } else if has(4, 44) {
            Some(format!("{} ({})", capitalised(given), index % 97))
        } else {
            None
        },
        avatar: if has(3, 48) {
            None
        } else {
            let animated = if has(10, 52) { "a_" } else { "" };
            Some(format!("{animated}{:016x}{dice:016x}", mix(dice)))
        },
        joined_at_ms: joined,
        bot,
    }
}

/// Generated member `index` with their username changed `names` times and their
/// avatar `avatars` times, each time to one that they never had.
pub fn revised(index: u32, names: usize, avatars: usize) -> Generated {
    let mut person = generated(index);
    if names > 0 {
        person.username = format!("{}_v{names}", person.username);
    }
    if avatars > 0 {
        let before = person.avatar.unwrap_or_default();
        let animated = if before.starts_with("a_") { "a_" } else { "" };
        let dice = mix(person.id ^ mix(avatars as u64));
        person.avatar = Some(format!("{animated}{dice:016x}{:016x}", mix(dice)));
    }
    person
}

/// The id of generated member `index`.
pub fn id_of(index: u32) -> Id {
    id_in_slot(slot_of(index), index)
}

/// Which generated member has this id, if any.
pub fn index_of(id: Id) -> Option<u32> {
    let slot = slot_at(id)?;
    let index = index_in(slot);
    (id_in_slot(slot, index) == id).then_some(index)
}

/// The ids of the first `population` members that are greater than `after`, in
/// ascending order. Costs a few nanoseconds per empty slot that it steps over.
pub fn ids_after(after: Id, population: u32) -> impl Iterator<Item = Id> {
    let from = if after < id_in_slot(0, index_in(0)) {
        0
    } else {
        slot_at(after).unwrap_or(CAPACITY)
    };
    (from..CAPACITY)
        .map(|slot| (slot, index_in(slot)))
        .filter(move |&(_, index)| index < population)
        .map(|(slot, index)| id_in_slot(slot, index))
        .filter(move |&id| id > after)
}

/// A well-mixed hash of a number (splitmix64), the only dice used for made-up
/// things: the same on every machine and every day.
pub fn mix(seed: u64) -> u64 {
    let mut hash = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

/// One of the choices, by a number that may be anything.
pub(crate) fn pick<'a>(choices: &[&'a str], dice: u64) -> &'a str {
    let count = choices.len() as u64;
    usize::try_from(dice % count).map_or("", |chosen| choices[chosen])
}

const fn slot_of(index: u32) -> u32 {
    index.wrapping_mul(SPREAD) % CAPACITY
}

const fn index_in(slot: u32) -> u32 {
    slot.wrapping_mul(GATHER) % CAPACITY
}

fn id_in_slot(slot: u32, index: u32) -> Id {
    let dice = mix(u64::from(index));
    let made_at = FIRST_SLOT_MS + u64::from(slot) * SLOT_MS + dice % SLOT_MS;
    first_id_at(made_at) | (dice >> 42)
}

fn slot_at(id: Id) -> Option<u32> {
    let since = time_of(id).checked_sub(FIRST_SLOT_MS)?;
    u32::try_from(since / SLOT_MS)
        .ok()
        .filter(|&slot| slot < CAPACITY)
}

/// The inverse of an odd number modulo 2³² (Newton's iteration).
const fn inverse(odd: u32) -> u32 {
    let mut found = odd;
    let mut round = 0;
    while round < 5 {
        found = found.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(found)));
        round += 1;
    }
    found
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

const GIVEN_NAMES: &[&str] = &[
    "aiko", "amir", "anya", "bao", "bea", "chen", "dara", "devi", "eli", "emre", "fatima", "finn",
    "gita", "hana", "hugo", "ines", "ivan", "jun", "kai", "kofi", "lena", "liam", "mai", "marco",
    "mika", "nadia", "noor", "omar", "otto", "pia", "quinn", "ravi", "rosa", "sam", "sana",
    "tariq", "theo", "uma", "vera", "wei", "xiu", "yara", "yusuf", "zoe",
];

/// What people really call themselves, and what breaks careless bots.
pub(crate) const HOSTILE_NAMES: &[&str] = &[
    "**bold**",
    "_under_score_",
    "||spoiler||",
    "`code`",
    "```block",
    "~~gone~~",
    "# Heading",
    "> quoted",
    "[click](https://example.com)",
    "@everyone",
    "@here",
    "<@80351110224678912>",
    "<#1>",
    "\u{202e}desrever",
    "\u{200f}\u{5d0}\u{5d1}\u{5d2}",
    "\u{627}\u{644}\u{639}\u{631}\u{628}\u{64a}\u{629}",
    "  spaced   out  ",
    "\u{200b}",
    "\u{1f98a}\u{1f525}",
    "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{200d}\u{1f466}",
    "Z\u{351}\u{36b}\u{343}a\u{30a}\u{300}l\u{34a}g\u{33f}o\u{351}",
    "\u{7530}\u{4e2d} \u{592a}\u{90ce}",
    "Robert'); DROP TABLE level;--",
    "<script>alert(1)</script>",
    "null",
    "0",
    "\\",
    "{name}",
    "%s%n",
    "a-name-that-is-32-characters-lng",
    "O'Brien & \"Sons\"",
    "deleted_user_1a2b3c",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn index_and_id_map_onto_each_other() {
        for index in (0..CAPACITY).step_by(997).chain([CAPACITY - 1]) {
            let id = id_of(index);
            assert_eq!(id.to_string().len(), 18, "{id}");
            assert_eq!(index_of(id), Some(index));
            assert_eq!(index_of(id + 1), None);
        }
        assert_eq!(index_of(0), None);
        assert_eq!(index_of(Id::MAX), None);
    }

    #[test]
    fn paging_meets_everyone_once_in_order() {
        let all: Vec<Id> = ids_after(0, 7_120).collect();
        let expected: BTreeSet<Id> = (0..7_120).map(id_of).collect();
        assert!(all.iter().copied().eq(expected));
        let rest: Vec<Id> = ids_after(all[99], 7_120).take(3).collect();
        assert_eq!(rest, all[100..103]);
        assert_eq!(ids_after(all[7_119], 7_120).count(), 0);
        assert_eq!(ids_after(Id::MAX, 7_120).count(), 0);
    }

    #[test]
    fn changes_give_what_nobody_had() {
        let people = |change| (0..2_000).map(move |index| revised(index, change, change));
        let names: BTreeSet<String> = (0..3).flat_map(people).map(|one| one.username).collect();
        assert_eq!(names.len(), 3 * 2_000);
        assert!(names.iter().all(|name| name.len() <= 32));
        let avatars: Vec<Option<String>> = (0..3).flat_map(people).map(|one| one.avatar).collect();
        let shown: BTreeSet<&String> = avatars.iter().flatten().collect();
        assert_eq!(shown.len(), avatars.iter().flatten().count());
        assert!(avatars[2_000..].iter().all(Option::is_some));
        assert_eq!(revised(7, 0, 0), generated(7));
    }

    #[test]
    fn people_differ_as_people_do() {
        let crowd: Vec<Generated> = (0..10_000).map(generated).collect();
        let bots = crowd.iter().filter(|member| member.bot).count();
        assert!((50..200).contains(&bots), "{bots} bots");
        assert!(crowd.iter().any(|member| member.nick.is_none()));
        let names: BTreeSet<&str> = crowd.iter().map(|one| one.username.as_str()).collect();
        assert_eq!(names.len(), crowd.len(), "usernames are unique");
        for name in HOSTILE_NAMES {
            assert!(name.chars().count() <= 32, "{name}");
            assert!(crowd.iter().any(|one| one.nick.as_deref() == Some(name)));
        }
    }
}
