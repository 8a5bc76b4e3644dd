//! The made-up guild: who is in it, and what they have earned so far.
//!
//! The files have the form of Django's `dumpdata`, so that the sandbox enters
//! through the same door as a real guild's data. Everything is computed: no
//! clock, no dice, and pure ASCII, so that the files are the same bytes on
//! every machine and no name in them can play tricks on whoever reads them.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::{Id, first_id_at, timestamp};
use crate::members::{self, mix};
use crate::world::World;

/// 2025-06-01, the day on which the made-up data ends.
const LAST_DAY_MS: u64 = 1_748_736_000_000;
const DAY_MS: u64 = 86_400_000;
/// One in this many who have earned something has left the guild.
const ONE_LEFT_IN: u32 = 100;
/// People with a name, what they earned and with how many messages.
const NAMED: [(&str, u64, u64); 3] = [
    ("alice", 12_345, 617),
    ("bob", 1_050, 52),
    ("mod", 250_000, 12_480),
];
/// One in this many lacks the roles of their level: something to do for a verification.
const ONE_LACKS_IN: u64 = 200;
const LEVEL_NAMES: [&str; 20] = [
    "Hello World",
    "Missing Semicolon",
    "Manual Tester",
    "Javascript Programmer",
    "Syntax Error",
    "Git Gud",
    "Full Stack Developer",
    "Assembly Programmer",
    "Segmentation Fault",
    "Vim User",
    "Kernel",
    "Stallman Follower",
    "Forkbomb",
    "Human Compiler",
    "Gentoo Installer",
    "HolyC",
    "CD level80",
    "THE 85",
    "THE 90",
    "THE 95",
];

/// Writes `levels.json`, `userpoints.json` and `guild.json` into a directory.
pub fn write(directory: &Path, members: u32) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    for (name, text) in [
        ("levels.json", levels()),
        ("userpoints.json", user_points(members)),
        ("guild.json", guild(members)?),
    ] {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The guild that the files are about.
pub fn world(members: u32) -> World {
    let mut world = World::new().members(members);
    world.guild.name = "Sandbox Computing Science Society".into();
    let above = world.guild.roles.len();
    for name in LEVEL_NAMES {
        world = world.role(name, 0);
    }
    world.guild.roles.rotate_left(above);
    world.guild.level_roles = true;
    world
}

/// Who holds which roles of levels, by name.
pub(crate) fn held_level_roles(members: u32) -> Vec<(Id, &'static [&'static str])> {
    let lacks = |user: Id| mix(user ^ 0x0001_ACC5).is_multiple_of(ONE_LACKS_IN);
    let holders = all_earned(members).filter(|one| !lacks(one.user));
    holders
        .map(|one| {
            let reached = usize::try_from(level_at(one.points) / 5).unwrap_or(0) + 1;
            (one.user, &LEVEL_NAMES[..reached.min(LEVEL_NAMES.len())])
        })
        .collect()
}

fn guild(members: u32) -> anyhow::Result<String> {
    let text = serde_json::to_string_pretty(&world(members))?;
    Ok(ascii(&text) + "\n")
}

fn levels() -> String {
    let records = (0..=100u64).map(|number| {
        let index = usize::try_from(number / 5).unwrap_or_default();
        let name = LEVEL_NAMES.get(index).filter(|_| number % 5 == 0);
        let fields = json!({
            "number": number,
            "total_points_required": total_for(number),
            "xp_needed_to_level_up_to_next_level": total_for(number + 1) - total_for(number),
            "role_id": null,
            "role_name": name,
        });
        Record {
            model: "wall_e_models.level",
            pk: number,
            fields,
        }
    });
    lines(records)
}

fn user_points(members: u32) -> String {
    let world = world(members);
    let records = all_earned(members)
        .zip(1..)
        .map(|(earned, key)| user_point(&earned, key, &world));
    lines(records)
}

/// What everyone has earned.
fn all_earned(members: u32) -> impl Iterator<Item = Earned> {
    let left = members / ONE_LEFT_IN;
    // Those who left are people whom the guild does not have any more.
    let mut users: Vec<Id> = (0..members)
        .chain(members..members + 2 * left)
        .map(members::generated)
        .filter(|person| !person.bot)
        .map(|person| person.id)
        .take(members as usize - NAMED.len().min(members as usize))
        .collect();
    users.sort_by_key(|&id| mix(id));
    let people = World::new().guild.people;
    let named = NAMED.iter().filter_map(move |&(name, points, messages)| {
        let person = people.iter().find(|person| person.name == name)?;
        Some(Earned {
            user: person.id,
            points,
            messages,
        })
    });
    named.chain(earned(users))
}

/// What one user has earned.
struct Earned {
    user: Id,
    points: u64,
    messages: u64,
}

/// A long tail: the first user has 45,000 messages, half of them have a handful.
fn earned(users: Vec<Id>) -> impl Iterator<Item = Earned> {
    let mut before = None;
    users.into_iter().zip(10u64..).map(move |(user, place)| {
        // 45,000 · (10 / place)^1.5, in whole numbers: powers of fractions
        // are not the same on every machine.
        let messages = 45_000 * 31_620 / (place * (place * 1_000_000).isqrt());
        let noise = messages.isqrt() * 4;
        let points = messages * 20 + mix(user) % (2 * noise + 1) - noise;
        let ties = mix(user ^ 7).is_multiple_of(50);
        let points = before.filter(|_| ties).unwrap_or(points);
        before = Some(points);
        Earned {
            user,
            points,
            messages,
        }
    })
}

fn user_point(earned: &Earned, key: u64, world: &World) -> Record {
    let Earned {
        user,
        points,
        messages,
    } = *earned;
    let dice = mix(user ^ 0xF1C7);
    let person = members::index_of(user).map(members::generated);
    let named = world.guild.people.iter().find(|person| person.id == user);
    let username = match (&person, named) {
        (Some(person), _) => person.username.clone(),
        (None, Some(person)) => person.name.clone(),
        (None, None) => String::new(),
    };
    let nickname = person.as_ref().and_then(|person| person.nick.clone());
    let hash = person.as_ref().and_then(|person| person.avatar.as_ref());
    let avatar = match hash {
        Some(hash) => format!("https://cdn.discordapp.com/avatars/{user}/{hash}.png"),
        None => format!(
            "https://cdn.discordapp.com/embed/avatars/{}.png",
            (user >> 22) % 6
        ),
    };
    let level = level_at(points);
    let earned_ms = LAST_DAY_MS - dice % (400 * DAY_MS);
    // Only who writes a lot had their avatar copied before the data ends.
    let copied = hash.is_some() && messages > 200;
    let copy = copied.then(|| first_id_at(earned_ms) | (dice & 0x3F_FFFF));
    let expires_ms = earned_ms + DAY_MS;
    let link = copy.map(|message| {
        let (channel, expires) = (first_id_at(LAST_DAY_MS - 900 * DAY_MS), expires_ms / 1_000);
        let issued = earned_ms / 1_000;
        format!(
            "https://cdn.discordapp.com/attachments/{channel}/{message}/avatar.png\
             ?ex={expires:x}&is={issued:x}&hm={:016x}&",
            mix(message)
        )
    });
    let fields = json!({
        "user_id": user,
        "name": username,
        "nickname": nickname,
        "avatar_url": avatar,
        "leveling_message_avatar_url": link,
        "avatar_url_message_id": copy,
        "points": points,
        "level_up_specific_points": points - total_for(level),
        "message_count": messages,
        "latest_time_xp_was_earned_epoch": earned_ms / 1_000,
        "level_number": level,
        "hidden": named.is_none() && dice.is_multiple_of(33),
        "leveling_update_attempt": if dice % 500 == 1 { dice / 500 % 16 } else { 0 },
        "bucket_number": key % 336 + 1,
        "discord_avatar_link_expiry_date": copy.map(|_| timestamp(expires_ms / 1_000 * 1_000)),
    });
    Record {
        model: "wall_e_models.userpoint",
        pk: key,
        fields,
    }
}

/// The level that so many points reach.
fn level_at(points: u64) -> u64 {
    let reached = |&level: &u64| total_for(level) <= points;
    (0..=100).rev().find(reached).unwrap_or(0)
}

/// The points that a level takes (MEE6's published curve).
const fn total_for(level: u64) -> u64 {
    5 * level * (2 * level * level + 27 * level + 91) / 6
}

/// A row of a table, as Django writes it.
#[derive(Serialize)]
struct Record {
    model: &'static str,
    pk: u64,
    fields: Value,
}

/// A list with one record per line.
fn lines(records: impl Iterator<Item = Record>) -> String {
    let records: Vec<String> = records
        .map(|record| ascii(&serde_json::to_string(&record).unwrap_or_default()))
        .collect();
    format!("[\n{}\n]\n", records.join(",\n"))
}

/// JSON in which everything but ASCII is escaped, as Django writes it.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_ascii() {
            text.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            // Writing to a string does not fail.
            let _ = write!(text, "\\u{unit:04x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_the_published_one() {
        assert_eq!(total_for(1), 100);
        assert_eq!(total_for(5), 1_150);
        assert_eq!(total_for(100), 1_899_250);
    }

    #[test]
    fn the_tail_is_long() {
        let text = user_points(7_120);
        assert!(text.len() < 4_000_000 && text.is_ascii());
        let records: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        assert_eq!(records.len(), 7_120);
        let column = |name: &str| -> Vec<u64> {
            let mut column: Vec<u64> = records
                .iter()
                .filter_map(|record| record["fields"][name].as_u64())
                .collect();
            column.sort_unstable();
            column
        };
        let points = column("points");
        assert!(
            (880_000..=920_000).contains(&points[7_119]),
            "{}",
            points[7_119]
        );
        assert!(points[3_560] < 250, "{}", points[3_560]);
        assert!(
            points
                .windows(2)
                .any(|pair| pair[0] == pair[1] && pair[0] > 1_000)
        );
        assert!(column("message_count")[0] > 0);
        let mut ids = column("user_id");
        ids.dedup();
        assert_eq!(ids.len(), 7_120);
        let hidden = records
            .iter()
            .filter(|one| one["fields"]["hidden"] == true)
            .count();
        assert!((100..400).contains(&hidden), "{hidden}");
        let member = |id: &&u64| members::index_of(**id).is_some_and(|index| index >= 7_120);
        let gone = ids.iter().filter(member).count();
        assert!((20..200).contains(&gone), "{gone}");
    }
}
