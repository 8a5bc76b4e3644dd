//! The guild's rules of the day, which begin and end in its course, and who gets and loses the roles
//! that they name.

use std::collections::BTreeSet;

use discord_sim::clock::first_id_at;
use discord_sim::{Id, Sim};
use wall_e::leveling::{
    ChannelId, MessageId, Percent, RoleId, RuleChange, RuleKind, RuleSubject, RuleTerm, Timestamp,
    UserId, XpRule,
};

use crate::day::hour;

/// A role with more XP, and one without any.
const ROLES: [&str; 2] = ["Bot_manager", "Moderator"];
/// Messages between two changes of somebody's roles.
const EVERY: usize = 40;

/// Who holds the named roles.
#[derive(Debug)]
pub struct Roles {
    named: [Id; 2],
    users: Vec<Id>,
    held: BTreeSet<(Id, Id)>,
    /// Those whose roles were changed.
    pub changed: BTreeSet<Id>,
}

impl Roles {
    /// Nobody's roles were changed yet.
    pub fn new(sim: &Sim, users: &[Id]) -> Self {
        let roles = ROLES.map(|name| sim.role(name));
        let holds = |user: &Id, role: Id| sim.member_roles(*user).contains(&role);
        let pairs = users
            .iter()
            .flat_map(|user| roles.map(|role| (*user, role)));
        Self {
            held: pairs.filter(|(user, role)| holds(user, *role)).collect(),
            named: roles,
            users: users.to_vec(),
            changed: BTreeSet::new(),
        }
    }

    /// After message number `number` somebody gets a role, or loses it.
    pub fn after(&mut self, number: usize, sim: &Sim) {
        if !number.is_multiple_of(EVERY) {
            return;
        }
        let turn = number / EVERY;
        let user = self.users[turn * 31 % self.users.len()];
        let role = self.named[turn % self.named.len()];
        self.changed.insert(user);
        if self.held.remove(&(user, role)) {
            sim.revoke(user, role);
        } else {
            self.held.insert((user, role));
            sim.grant(user, role);
        }
    }
}

/// The rules of the day, in the order in which they are made.
pub fn of_the_day(sim: &Sim, someone: Id) -> Vec<RuleChange> {
    let channel = |name| RuleSubject::Channel(ChannelId::new(sim.channel(name)).expect("an id"));
    let role = |name| RuleSubject::Role(RoleId::new(sim.role(name)).expect("an id"));
    let user = RuleSubject::User(UserId::new(someone).expect("an id"));
    let percent = |percent| XpRule::Multiplier(Percent::new(percent).expect("a percentage"));
    let [more, none] = ROLES;
    let mut rules = vec![
        begins(0, role(more), percent(200), None),
        begins(1, channel("room-1"), XpRule::NoXp, None),
        begins(2, channel("thread-1"), percent(333), None),
        begins(3, RuleSubject::Everyone, percent(150), Some(9)),
        begins(4, user, XpRule::NoXp, None),
        begins(5, role(none), XpRule::NoXp, None),
        begins(6, channel("Text channels"), percent(50), None),
        ends(12, channel("room-1"), RuleKind::NoXp),
        begins(14, channel("random"), XpRule::NoXp, Some(17)),
        ends(15, channel("Text channels"), RuleKind::Multiplier),
        ends(16, user, RuleKind::NoXp),
        begins(18, RuleSubject::Everyone, percent(7), Some(20)),
        begins(21, channel("general"), percent(1_000), None),
    ];
    rules.sort_by_key(|rule| rule.after);
    rules
}

fn begins(from: u64, subject: RuleSubject, rule: XpRule, until: Option<u64>) -> RuleChange {
    let until = until.and_then(|until| i64::try_from(hour(until)).ok());
    RuleChange {
        subject,
        kind: rule.kind(),
        term: Some(RuleTerm {
            rule,
            until: until.and_then(Timestamp::from_millis),
        }),
        after: MessageId::new(first_id_at(hour(from))),
    }
}

fn ends(from: u64, subject: RuleSubject, kind: RuleKind) -> RuleChange {
    RuleChange {
        subject,
        kind,
        term: None,
        after: MessageId::new(first_id_at(hour(from))),
    }
}
