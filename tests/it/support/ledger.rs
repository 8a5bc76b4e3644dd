//! What was written, and what it must come to: the pure function of the guild's
//! messages, next to which the database is held.

use std::collections::BTreeMap;

use discord_sim::Message;
use wall_e::leveling::{MessageId, Rate, Standing, award};

use super::Stage;

/// Everything that was written, and what it must come to.
#[derive(Clone, Default)]
pub struct Ledger(Vec<(u64, u64)>);

impl Ledger {
    /// Someone writes; the bot hears of it or does not.
    pub fn write(&mut self, stage: &Stage, who: &str, channel: &str, heard: bool) -> u64 {
        let (user, channel) = (stage.sim.user(who), stage.sim.channel(channel));
        let message = Message::new(channel, user, "hello");
        let id = stage
            .sim
            .post(if heard { message } else { message.quietly() });
        self.0.push((user, id));
        id
    }

    /// Something that was written in another way.
    pub fn add(&mut self, user: u64, message: u64) {
        self.0.push((user, message));
    }

    /// Someone opens a post in a forum; the bot hears of it or does not.
    pub fn open_post(&mut self, stage: &Stage, who: &str, forum: &str, heard: bool) -> u64 {
        let (user, forum) = (stage.sim.user(who), stage.sim.channel(forum));
        let starter = Message::new(forum, user, "who knows?");
        let starter = if heard { starter } else { starter.quietly() };
        let id = stage.sim.open_post("who-knows", starter);
        self.0.push((user, id));
        id
    }

    /// Points and messages by user: the pure function of what was written.
    pub fn expected(&self) -> BTreeMap<u64, (i64, i64)> {
        let mut written = self.0.clone();
        written.sort_by_key(|(_, message)| *message);
        let mut standings: BTreeMap<u64, Standing> = BTreeMap::new();
        for (user, message) in written {
            let standing = standings.entry(user).or_default();
            if let Some(award) = award(
                standing,
                MessageId::new(message).unwrap(),
                Some(Rate::USUAL),
            ) {
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
