//! The recorded day: who writes what and when, and what it must come to.
//!
//! It is the same day in every seed; only what goes wrong differs. It lies years ahead,
//! so that the bot's own lines, whose ids are of today, are never the guild's newest
//! messages: in a day that passes within seconds they would stand before messages that
//! are still to come, which Discord's own time never does.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate};
use chrono_tz::Tz;
use discord_sim::clock::first_id_at;
use discord_sim::members::{generated, id_of};
use discord_sim::{ChannelKind, Id, Message, Sim, World};
use fastrand::Rng;
use wall_e::leveling::{
    ChannelId, MessageId, Points, Standing, Timestamp, UserId, XpRules, award, mee6_points_to_next,
    mee6_total,
};

/// How many messages are written.
pub const MESSAGES: usize = 20_000;
/// How many people write them.
const USERS: usize = 500;
/// Of whom so many are known already, so that not everyone levels up all day.
const KNOWN: usize = 400;
/// Enough that there are so many people and some bots among them.
const MEMBERS: u32 = 600;
/// Any number: the day hangs on it.
const SEED: u64 = 2_040;
/// 2040-03-11 09:00 UTC: an hour later the clocks change in Vancouver, so that its next
/// midnight is at 07:00 UTC and not at 08:00.
const BEGINS_MS: u64 = 2_215_069_200_000;
const MINUTE_MS: u64 = 60_000;
/// The time that Discord tells all day long. A day is played in a minute, which no clock that
/// goes on by itself could follow; at its end no message is from the future.
pub const TOLD_MS: u64 = BEGINS_MS + 24 * HOUR_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// How busy each hour is.
const RHYTHM: [u32; 24] = [
    9, 8, 6, 5, 3, 2, 1, 1, 1, 2, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 12, 13, 12, 11,
];
/// Twelve channels, then six threads.
const PLACES: [&str; 18] = [
    "general",
    "random",
    "bot-commands",
    "lounge",
    "room-1",
    "room-2",
    "room-3",
    "room-4",
    "room-5",
    "room-6",
    "room-7",
    "room-8",
    "how-do-i-start",
    "weekend-plans",
    "thread-1",
    "thread-2",
    "thread-3",
    "thread-4",
];

/// A message of the day.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    id: Id,
    author: Id,
    place: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Reply(Id),
    Forward(Id),
    Joined,
    ByBot,
    ByWebhook,
}

/// The whole day.
#[derive(Debug)]
pub struct Day {
    /// Its messages, in the order of their ids.
    pub lines: Vec<Line>,
    /// Who was known before it.
    pub known: BTreeMap<Id, Standing>,
    /// Who writes.
    pub users: Vec<Id>,
}

/// What some messages come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Result {
    /// Everyone's standing.
    pub standings: BTreeMap<Id, Standing>,
    /// Points, messages, and points by multipliers, by user and day.
    pub days: BTreeMap<(Id, NaiveDate), (u64, u64, i64)>,
    /// Everyone's new levels.
    pub level_ups: BTreeSet<(Id, u32)>,
}

impl Day {
    /// The recorded day.
    pub fn recorded() -> Self {
        let mut rng = Rng::with_seed(SEED);
        let users: Vec<Id> = (0..MEMBERS)
            .filter(|index| !generated(*index).bot)
            .map(id_of)
            .take(USERS)
            .collect();
        let mut written = Vec::with_capacity(MESSAGES + 100);
        while written.len() < MESSAGES {
            write_something(&mut rng, &users, &mut written);
        }
        written.truncate(MESSAGES);
        written.sort_unstable();
        let bot = (0..MEMBERS).find(|index| generated(*index).bot).map(id_of);
        let mut lines: Vec<Line> = Vec::with_capacity(MESSAGES);
        for (number, (ms, author, place)) in (0..).zip(written) {
            let earlier = lines.last().map(|line| line.id);
            let kind = kind(&mut rng, earlier);
            lines.push(Line {
                id: first_id_at(ms) + number,
                author: match kind {
                    Kind::ByBot | Kind::ByWebhook => bot.unwrap_or(author),
                    _ => author,
                },
                place,
                kind,
            });
        }
        Self {
            lines,
            known: (0..).zip(users.clone()).take(KNOWN).map(known).collect(),
            users,
        }
    }

    /// The guild in which it happens.
    pub fn world() -> World {
        let mut world = World::new().members(MEMBERS);
        for name in PLACES.iter().filter(|name| name.starts_with("room")) {
            world = world.channel(name, ChannelKind::Text, Some("Text channels"));
        }
        for name in PLACES.iter().filter(|name| name.starts_with("thread")) {
            world = world.channel(name, ChannelKind::Thread, Some("random"));
        }
        world
    }

    /// What its first messages come to, under these rules.
    pub fn result(&self, messages: usize, sim: &Sim, rules: &XpRules) -> Result {
        let channels = PLACES.map(|name| ChannelId::new(sim.channel(name)).expect("an id"));
        let mut result = Result {
            standings: self.known.clone(),
            ..Result::default()
        };
        for line in &self.lines[..messages] {
            result.count(*line, channels[line.place], rules);
        }
        result
    }
}

impl Line {
    /// Somebody writes it.
    pub fn post(&self, sim: &Sim) {
        let message =
            Message::new(sim.channel(PLACES[self.place]), self.author, "hello").id(self.id);
        sim.post(match self.kind {
            Kind::Plain | Kind::ByBot => message,
            Kind::Reply(to) => message.reply_to(to),
            Kind::Forward(of) => message.forward_of(of),
            Kind::Joined => message.kind(7),
            Kind::ByWebhook => message.webhook("news"),
        });
    }

    fn may_earn(self) -> bool {
        matches!(self.kind, Kind::Plain | Kind::Reply(_))
    }
}

impl Result {
    /// Counts one more message; they come in the order of their ids.
    fn count(&mut self, line: Line, channel: ChannelId, rules: &XpRules) {
        let message = MessageId::new(line.id).expect("an id");
        if !line.may_earn() {
            return;
        }
        let author = UserId::new(line.author).expect("an id");
        let rate = rules.rate(message, channel, author);
        let standing = self.standings.entry(line.author).or_default();
        let Some(award) = award(standing, message, rate) else {
            return;
        };
        let before = level_of(standing.points);
        *standing = standing.with(award);
        let after = level_of(standing.points);
        self.level_ups
            .extend((before + 1..=after).map(|level| (line.author, level)));
        let day = self
            .days
            .entry((line.author, day_of(award.at)))
            .or_default();
        day.0 += award.amount;
        day.1 += 1;
        day.2 += award.amount.cast_signed() - award.usual.cast_signed();
    }

    /// How many messages have earned, those before the day included.
    pub fn messages(&self) -> u64 {
        let counts = self
            .standings
            .values()
            .map(|standing| standing.message_count);
        counts.sum()
    }

    /// All points together.
    pub fn points(&self) -> u64 {
        let points = self
            .standings
            .values()
            .map(|standing| standing.points.get());
        points.sum()
    }
}

/// A message, a burst of them, or one person in two places within a minute.
fn write_something(rng: &mut Rng, users: &[Id], written: &mut Vec<(u64, Id, usize)>) {
    let at = moment(rng);
    let place = rng.usize(..PLACES.len());
    match rng.u8(..100) {
        0..=2 => {
            let crowd: Vec<Id> = (0..rng.usize(2..7)).map(|_| someone(rng, users)).collect();
            for _ in 0..rng.usize(10..60) {
                let author = crowd[rng.usize(..crowd.len())];
                written.push((at + rng.u64(..30_000), author, place));
            }
        }
        3..=17 => {
            let author = someone(rng, users);
            let elsewhere = (place + 1) % PLACES.len();
            written.push((at, author, place));
            written.push((at + rng.u64(1_000..MINUTE_MS), author, elsewhere));
        }
        _ => written.push((at, someone(rng, users), place)),
    }
}

/// A moment of the day, by its rhythm; the last minute is left to bursts.
fn moment(rng: &mut Rng) -> u64 {
    let mut left = rng.u32(..RHYTHM.iter().sum::<u32>());
    let hour = RHYTHM.iter().position(|weight| {
        let here = left < *weight;
        left = left.saturating_sub(*weight);
        here
    });
    let hour = u64::try_from(hour.unwrap_or_default()).unwrap_or_default();
    BEGINS_MS + hour * HOUR_MS + rng.u64(..HOUR_MS - MINUTE_MS)
}

/// Some write much more than others.
fn someone(rng: &mut Rng, users: &[Id]) -> Id {
    let among = rng.usize(1..=users.len());
    users[rng.usize(..among)]
}

fn kind(rng: &mut Rng, earlier: Option<Id>) -> Kind {
    match (rng.u8(..100), earlier) {
        (0, _) => Kind::ByBot,
        (1, _) => Kind::ByWebhook,
        (2, _) => Kind::Joined,
        (3, Some(of)) => Kind::Forward(of),
        (4..=14, Some(to)) => Kind::Reply(to),
        _ => Kind::Plain,
    }
}

/// Somebody between two levels; some of them wrote a moment before the day began.
fn known((number, user): (u32, Id)) -> (Id, Standing) {
    let level = u16::try_from(5 + number % 36).expect("a level");
    let points = mee6_total(level) + u64::from(number) * 7_919 % mee6_points_to_next(level);
    let ago = u64::from(number % 7) * 20_000;
    let standing = Standing {
        points: Points::new(points).expect("points"),
        message_count: points / 20,
        last_awarded_at: i64::try_from(BEGINS_MS - ago)
            .ok()
            .and_then(Timestamp::from_millis),
    };
    (user, standing)
}

/// The beginning of an hour of the day, in milliseconds since 1970.
pub fn hour(number: u64) -> u64 {
    BEGINS_MS + number * HOUR_MS
}

fn level_of(points: Points) -> u32 {
    let reached = (1..=100_u16).take_while(|level| mee6_total(*level) <= points.get());
    reached.last().unwrap_or_default().into()
}

fn day_of(at: Timestamp) -> NaiveDate {
    let utc = DateTime::from_timestamp_millis(at.millis()).expect("a time");
    utc.with_timezone(&Tz::Canada__Pacific).date_naive()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_always_the_same_and_as_large_as_promised() {
        let (day, again) = (Day::recorded(), Day::recorded());
        assert_eq!(day.lines.len(), MESSAGES);
        assert!(day.lines.is_sorted_by(|a, b| a.id < b.id));
        assert!(
            day.lines
                .iter()
                .zip(&again.lines)
                .all(|(a, b)| a.id == b.id)
        );
        let places: BTreeSet<_> = day.lines.iter().map(|line| line.place).collect();
        assert_eq!(places.len(), PLACES.len());
        let mut result = Result::default();
        let (channel, rules) = (ChannelId::new(1).unwrap(), XpRules::default());
        for line in &day.lines {
            result.count(*line, channel, &rules);
        }
        let authors: BTreeSet<_> = day.lines.iter().map(|line| line.author).collect();
        assert!(authors.len() > USERS * 9 / 10, "{} write", authors.len());
        let days: BTreeSet<_> = result.days.keys().map(|(_, day)| day).collect();
        assert_eq!(days.len(), 2, "midnight in Vancouver is within it");
    }
}
