//! What was written, and what it must come to: the pure function of the guild's
//! messages, next to which the database is held.

use std::collections::BTreeMap;

use discord_sim::Message;
use wall_e::leveling::{MessageId, Percent, Rate, Standing, award};

use super::Stage;

/// Everything that was written, and what it must come to.
#[derive(Clone, Default)]
pub struct Ledger(Vec<Written>);

#[derive(Clone)]
struct Written {
    user: u64,
    message: u64,
    /// `None` if a rule says that it earns nothing.
    rate: Option<Rate>,
}

impl Ledger {
    /// Someone writes; the bot hears of it or does not.
    pub fn write(&mut self, stage: &Stage, who: &str, channel: &str, heard: bool) -> u64 {
        let (user, channel) = (stage.sim.user(who), stage.sim.channel(channel));
        let message = Message::new(channel, user, "hello");
        let id = stage
            .sim
            .post(if heard { message } else { message.quietly() });
        self.add(user, id);
        id
    }

    /// Something that was written in another way.
    pub fn add(&mut self, user: u64, message: u64) {
        self.earns(user, message, 100);
    }

    /// A message that earns so many percent of the usual XP; 0 if a rule says that it earns nothing.
    pub fn earns(&mut self, user: u64, message: u64, percent: u16) {
        let percent = Percent::new(percent);
        let rate = percent.map(|percent| Rate::product(percent, Percent::USUAL, Percent::USUAL));
        self.0.push(Written {
            user,
            message,
            rate,
        });
    }

    /// Someone opens a post in a forum; the bot hears of it or does not.
    pub fn open_post(&mut self, stage: &Stage, who: &str, forum: &str, heard: bool) -> u64 {
        let (user, forum) = (stage.sim.user(who), stage.sim.channel(forum));
        let starter = Message::new(forum, user, "who knows?");
        let starter = if heard { starter } else { starter.quietly() };
        let id = stage.sim.open_post("who-knows", starter);
        self.add(user, id);
        id
    }

    /// Points and messages by user: the pure function of what was written.
    pub fn expected(&self) -> BTreeMap<u64, (i64, i64)> {
        let mut written = self.0.clone();
        written.sort_by_key(|one| one.message);
        let mut standings: BTreeMap<u64, Standing> = BTreeMap::new();
        for one in written {
            let standing = standings.entry(one.user).or_default();
            let message = MessageId::new(one.message).unwrap();
            if let Some(award) = award(standing, message, one.rate) {
                *standing = standing.with(award);
            }
        }
        let row = |standing: &Standing| {
            (
                standing.points.get().try_into().unwrap(),
                standing.message_count.try_into().unwrap(),
            )
        };
        standings
            .iter()
            .map(|(user, standing)| (*user, row(standing)))
            .collect()
    }

    /// Waits until everyone has what they must have, and looks that the days add up to it:
    /// nothing is lost, and nothing counted twice.
    pub async fn comes_true(&self, stage: &Stage) {
        for (user, expected) in self.expected() {
            stage.database.wait_for_messages(user, expected.1).await;
            assert_eq!(
                stage.database.standing(user).await,
                Some(expected),
                "user {user}\n{}",
                stage.bot.log()
            );
            assert_eq!(
                stage.database.days(user).await,
                expected,
                "the days of user {user}\n{}",
                stage.bot.log()
            );
        }
    }
}
