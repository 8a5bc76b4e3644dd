//! Rules on XP as a guild of this many may have them: for channels in categories, for roles, for
//! people.
//!
//! Measures nothing.

use std::iter;

use wall_e::leveling::{
    ChannelId, MessageId, Percent, RoleId, RuleChange, RuleSubject, RuleTerm, UserId, XpRecord,
    XpRule, XpRules,
};

/// Channels of the guild. Ten stand in each category.
const CHANNELS: u64 = 200;
const IN_A_CATEGORY: u64 = 10;
/// Roles of the guild. Everyone holds some that follow each other.
const ROLES: u64 = 250;
const HELD: u64 = 5;
const FIRST_CHANNEL: u64 = 1_000;
const FIRST_CATEGORY: u64 = 2_000;
const FIRST_ROLE: u64 = 3_000;
/// Nobody whom the bench lets write has such an id.
const FIRST_SILENCED: u64 = 4_000;

/// One of the channels.
pub fn channel(index: u64) -> Option<ChannelId> {
    ChannelId::new(FIRST_CHANNEL + index % CHANNELS)
}

/// The roles of one member.
pub fn roles(index: u64) -> Box<[RoleId]> {
    let held = (index..index + HELD).filter_map(|role| RoleId::new(FIRST_ROLE + role % ROLES));
    held.collect()
}

/// This many changes that set a rule each, of all kinds in turn. The first is for everyone.
pub fn changes(count: usize) -> impl Iterator<Item = RuleChange> {
    let everyone = iter::once((RuleSubject::Everyone, multiplier(110)));
    let others = (0..).flat_map(|n| {
        let of_a_role = RoleId::new(FIRST_ROLE + n).map(RuleSubject::Role);
        let of_a_category = ChannelId::new(FIRST_CATEGORY + n).map(RuleSubject::Channel);
        let of_a_user = UserId::new(FIRST_SILENCED + n).map(RuleSubject::User);
        let of_a_channel = ChannelId::new(FIRST_CHANNEL + 3 * n).map(RuleSubject::Channel);
        let rules = [
            of_a_role.zip(Some(multiplier(120))),
            of_a_category.zip(Some(multiplier(150))),
            of_a_user.zip(Some(Some(XpRule::NoXp))),
            of_a_channel.zip(Some(multiplier(90))),
        ];
        rules.into_iter().flatten()
    });
    let set = everyone.chain(others).take(count);
    set.filter_map(|(subject, rule)| {
        let rule = rule?;
        Some(RuleChange {
            subject,
            kind: rule.kind(),
            term: Some(RuleTerm { rule, until: None }),
            after: None,
        })
    })
}

/// Where the channels stand, and who of these users holds which of the roles that rules name.
pub fn observed(count: usize, users: &[UserId]) -> Vec<XpRecord> {
    let mut rules = XpRules::default();
    for change in changes(count) {
        rules.change_rule(change);
    }
    let parents = (0..CHANNELS).filter_map(|index| {
        Some(XpRecord::Parent {
            channel: channel(index)?,
            parent: ChannelId::new(FIRST_CATEGORY + index / IN_A_CATEGORY),
            after: MessageId::new(1),
        })
    });
    let mut observed: Vec<_> = parents.collect();
    for (index, user) in (0..).zip(users) {
        observed.extend(rules.observe_roles(*user, &roles(index), None));
    }
    observed
}

/// All of it, as the bot has it.
pub fn rules(count: usize, users: &[UserId]) -> XpRules {
    let mut rules = XpRules::default();
    if count == 0 {
        return rules;
    }
    for change in changes(count) {
        rules.change_rule(change);
    }
    for record in observed(count, users) {
        rules.record(&record);
    }
    rules
}

fn multiplier(percent: u16) -> Option<XpRule> {
    Percent::new(percent).map(XpRule::Multiplier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_rules_as_asked_for_and_they_apply() {
        let users: Vec<UserId> = (10_000..10_256).filter_map(UserId::new).collect();
        let message = MessageId::new(1 << 60).unwrap();
        for count in [0, 10, 500] {
            let rules = rules(count, &users);
            assert_eq!(rules.subjects().count(), count);
            let usual = (0..).zip(&users).filter(|(index, user)| {
                let rate = rules.rate(message, channel(*index).unwrap(), **user);
                let rate = rate.expect("nobody here is silenced");
                rate.millionths() == 1_000_000
            });
            assert_eq!(usual.count(), if count == 0 { users.len() } else { 0 });
        }
    }
}
