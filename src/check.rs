//! `wall_e check`: checks that the stored XP is consistent, and that it matches a log of messages.
//!
//! Read-only. It prints each row that differs, and any difference makes the command fail. It
//! computes the expected rows with the bot's own rules, starting from nothing or from the dump that
//! was imported. The log of messages does not contain moderators' changes: these are read from the
//! database's own record and added.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::discord::payload::PartialMessage;
use crate::import;
use crate::leveling::discord_time::newest_believed;
use crate::leveling::{Grouped, MessageId, Points, Standing, Timestamp, UserId, can_earn};
use crate::output::print_line;
use crate::store::xp_change;
use crate::store::xp_day::{self, DayTotal};
use crate::store::{self, Connection, Database};
use crate::text_file::{self, TextFile};
use crate::xp::{AwardRules, EligibleMessage, recompute_from};

/// Maximum number of rows printed; the others are only counted.
const MAX_PRINTED: usize = 50;

/// Checks the database. If there is a log of messages (`replay`), compares the stored rows with
/// those computed from the log, starting from the dump in the files `from`, or from nothing.
/// Without a log, checks only for contradictions between the stored rows.
pub async fn run(
    database: &Database,
    replay: Option<&Path>,
    from: &[PathBuf],
    zone: Tz,
) -> anyhow::Result<()> {
    // Read the files first, so that a mistyped name fails before the database is read.
    let imported = imported(from)?;
    // All reads see the same snapshot, because a running bot may commit meanwhile.
    let mut snapshot = database.begin_snapshot().await?;
    let levels = store::level::load(&mut snapshot).await?;
    let xp_rules = store::xp_record::load(&mut snapshot).await?;
    let stored = Rows::load(&mut snapshot).await?;
    let by_moderators = xp_change::deltas(&mut snapshot).await?;
    let frontier = store::watermark::read(&mut snapshot).await?.frontier;
    drop(snapshot);
    let differences = match replay {
        Some(path) => {
            let log = messages(path, frontier)?;
            let rules = AwardRules {
                levels: &levels,
                xp_rules: &xp_rules,
                zone,
            };
            let expected = Rows::replayed(log, imported, &by_moderators, rules);
            stored.differences_from(&expected)
        }
        None => stored.contradictions(&by_moderators, xp_rules.has_multipliers()),
    };
    report(&differences, &stored)
}

/// Each user's standing, and what they earned on each day.
struct Rows {
    users: BTreeMap<UserId, Standing>,
    days: Vec<DayTotal>,
}

impl Rows {
    async fn load(connection: &mut Connection) -> store::Result<Self> {
        let mut users = BTreeMap::new();
        store::user_point::load_all(connection, |row| {
            if row.standing.is_tracked() {
                users.insert(row.user, row.standing);
            }
        })
        .await?;
        Ok(Self {
            users,
            days: xp_day::all(connection).await?,
        })
    }

    fn replayed(
        log: Vec<EligibleMessage>,
        mut users: BTreeMap<UserId, Standing>,
        by_moderators: &BTreeMap<UserId, i64>,
        rules: AwardRules<'_>,
    ) -> Self {
        let before = |user| users.get(&user).copied();
        let (earned, days) = recompute_from(before, log, rules);
        users.extend(earned.into_iter().map(|row| (row.user, row.standing)));
        for (user, delta) in by_moderators {
            let standing = users.entry(*user).or_default();
            standing.points = standing.points.changed_by(*delta);
        }
        users.retain(|_, standing| standing.is_tracked());
        Self { users, days }
    }

    /// Describes each row that is missing on one side or differs.
    fn differences_from(&self, expected: &Self) -> Vec<String> {
        let show = |standing: Option<&Standing>| standing.map_or("nothing".to_owned(), describe);
        let mut found = compare(
            &self.users,
            &expected.users,
            |user| format!("user {user}"),
            show,
        );
        let by_day = |rows: &Self| -> BTreeMap<_, _> {
            rows.days
                .iter()
                .map(|row| ((row.user, row.day), *row))
                .collect()
        };
        let show = |row: Option<&DayTotal>| row.map_or("nothing".to_owned(), describe_day);
        let named = |(user, day): &(UserId, chrono::NaiveDate)| format!("user {user} on {day}");
        found.extend(compare(&by_day(self), &by_day(expected), named, show));
        found
    }

    /// Users whose days add up to more XP than they ever earned, and days on which their messages
    /// cannot have earned what is stored. `has_multipliers`: whether the guild ever set one.
    fn contradictions(
        &self,
        by_moderators: &BTreeMap<UserId, i64>,
        has_multipliers: bool,
    ) -> Vec<String> {
        let mut by_user: BTreeMap<UserId, i64> = BTreeMap::new();
        for row in &self.days {
            *by_user.entry(row.user).or_default() += row.points;
        }
        let earned = |user: &UserId| {
            let has = self.users.get(user).map(|standing| standing.points);
            let changed = by_moderators.get(user).copied().unwrap_or_default();
            i128::from(has.map_or(0, Points::get)) - i128::from(changed)
        };
        let users = by_user
            .into_iter()
            .filter(|(user, points)| earned(user) < i128::from(*points))
            .map(|(user, points)| {
                format!("user {user}: the days hold {points} points, more than the user has earned")
            });
        let days = self
            .days
            .iter()
            .filter(|row| {
                let usual = i128::from(row.points) - i128::from(row.by_rules);
                !can_earn(row.messages, usual, row.points)
                    || (row.by_rules != 0 && !has_multipliers)
            })
            .map(|row| {
                let DayTotal { user, day, .. } = row;
                format!("user {user} on {day}: impossible: {}", describe_day(row))
            });
        users.chain(days).collect()
    }
}

/// The standings before the first message of the log: those in the imported dump.
fn imported(from: &[PathBuf]) -> anyhow::Result<BTreeMap<UserId, Standing>> {
    if from.is_empty() {
        return Ok(BTreeMap::new());
    }
    let dump = import::django::read(from)?;
    Ok(dump
        .users
        .into_iter()
        .map(|(user, _)| (user.user, user.standing))
        .collect())
}

/// Reads the messages of a log that may earn XP. Leaves out messages from the future, as the bot
/// does. Discord is not asked for the time, so the machine's clock gives the current time, or the
/// bot's frontier if that is later.
fn messages(path: &Path, frontier: Option<MessageId>) -> anyhow::Result<Vec<EligibleMessage>> {
    let TextFile { text, encoding } =
        text_file::read(path).map_err(|error| anyhow!("{} {error}", path.display()))?;
    let mut messages =
        parse(&text).with_context(|| format!("{}, read as {encoding}", path.display()))?;
    let now = Timestamp::from_millis(Utc::now().timestamp_millis());
    let now = now.max(frontier.map(MessageId::sent_at));
    if let Some(newest) = now.map(newest_believed) {
        let all = messages.len();
        messages.retain(|seen| seen.message <= newest);
        let left_out = all - messages.len();
        if left_out > 0 {
            print_line(&format!(
                "Messages left out because their ids are from the future: {left_out}."
            ))?;
        }
    }
    Ok(messages)
}

fn parse(text: &str) -> anyhow::Result<Vec<EligibleMessage>> {
    let mut messages = Vec::new();
    for (number, line) in (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let message: PartialMessage = serde_json::from_str(line).map_err(|error| {
            // Each line is parsed as a separate document, so serde's line number is always 1.
            let why = text_file::json_error(&error).replace(" at line 1 column ", " at column ");
            anyhow!("line {number} is not a Discord message: {why}")
        })?;
        messages.extend(message.read().as_ref().and_then(EligibleMessage::of));
    }
    Ok(messages)
}

/// Describes each key whose value differs between `here` and `there` or is missing in one of them.
fn compare<K: Ord, V: PartialEq>(
    here: &BTreeMap<K, V>,
    there: &BTreeMap<K, V>,
    name: impl Fn(&K) -> String,
    show: impl Fn(Option<&V>) -> String,
) -> Vec<String> {
    let only_there = there.keys().filter(|key| !here.contains_key(key));
    let differing = |key: &&K| here.get(key) != there.get(key);
    let row = |key: &K| {
        format!(
            "{}: {}, expected {}",
            name(key),
            show(here.get(key)),
            show(there.get(key))
        )
    };
    here.keys()
        .chain(only_there)
        .filter(differing)
        .map(row)
        .collect()
}

fn describe_day(row: &DayTotal) -> String {
    let DayTotal {
        points,
        messages,
        by_rules,
        ..
    } = row;
    format!("{points} points ({by_rules} by multipliers), {messages} messages")
}

fn describe(standing: &Standing) -> String {
    let last = standing.last_awarded_at.map(Timestamp::millis);
    let last = last.map(|millis| match DateTime::from_timestamp_millis(millis) {
        // With milliseconds, because two standings may differ only there.
        Some(time) => time.format("%Y-%m-%d %H:%M:%S%.3f UTC").to_string(),
        None => format!("{millis} ms"),
    });
    format!(
        "{} points, {} messages, the last {}",
        Grouped(standing.points),
        Grouped(standing.message_count),
        last.map_or("never".to_owned(), |time| format!("on {time}"))
    )
}

fn report(differences: &[String], stored: &Rows) -> anyhow::Result<()> {
    for line in differences.iter().take(MAX_PRINTED) {
        print_line(line)?;
    }
    match differences.len() {
        0 => {
            let (users, days) = (Grouped(stored.users.len()), Grouped(stored.days.len()));
            Ok(print_line(&format!(
                "Checked {users} users and {days} days: nothing is wrong."
            ))?)
        }
        count => bail!(
            "{count} rows are wrong{}",
            if count > MAX_PRINTED {
                "; the first ones are listed above"
            } else {
                ""
            }
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_is_described_in_readable_units() {
        let standing = |points, millis| Standing {
            points: Points::new(points).unwrap(),
            message_count: 1_234,
            last_awarded_at: Timestamp::from_millis(millis),
        };
        assert_eq!(
            describe(&standing(20_000, 1_462_015_105_796)),
            "20,000 points, 1,234 messages, the last on 2016-04-30 11:18:25.796 UTC"
        );
        assert_eq!(
            describe(&standing(0, 0)),
            "0 points, 1,234 messages, the last never"
        );
    }
}
