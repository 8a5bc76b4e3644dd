//! The guild's rules on XP, by which messages earn none, less or more. Also the facts that the
//! rules depend on: each channel's parent, and who holds which role.
//!
//! Pure. Each rule and fact is recorded with the message after which it holds, and a message's id
//! selects those that decide its rate. So a message earns the same live, in a catch-up and in a
//! replay, and no clock is read.

use std::collections::{HashMap, HashSet};

use super::rate::{Percent, Rate};
use super::timeline::Timeline;
use super::{ChannelId, MessageId, RoleId, Timestamp, UserId};

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleSubject {
    /// All messages of the guild.
    Everyone,
    /// The messages in a channel and its threads, in one thread, or in all channels of a category.
    Channel(ChannelId),
    /// The messages of members who hold a role.
    Role(RoleId),
    /// The messages of one user, who can only have a rule of the kind [`RuleKind::NoXp`].
    User(UserId),
}

/// The two kinds of rules. A subject may have one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleKind {
    /// Messages earn nothing.
    NoXp,
    /// Messages earn a percentage of the usual XP.
    Multiplier,
}

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XpRule {
    /// Messages earn nothing, start no cooldown and are not counted.
    NoXp,
    /// Messages earn this much of the usual XP.
    Multiplier(Percent),
}

impl XpRule {
    /// The kind of rule.
    pub fn kind(self) -> RuleKind {
        match self {
            Self::NoXp => RuleKind::NoXp,
            Self::Multiplier(_) => RuleKind::Multiplier,
        }
    }
}

/// A rule, and when it ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleTerm {
    /// What it says.
    pub rule: XpRule,
    /// Messages sent at this time or later are not affected; `None` if it does not expire.
    pub until: Option<Timestamp>,
}

impl RuleTerm {
    /// Whether a message sent at this time is affected.
    pub fn is_running(&self, sent_at: Timestamp) -> bool {
        self.until.is_none_or(|until| sent_at < until)
    }
}

/// A rule that begins, is replaced or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleChange {
    /// What the rule is about.
    pub subject: RuleSubject,
    /// Which of the subject's rules changes.
    pub kind: RuleKind,
    /// The rule from now on; `None` if it ends.
    pub term: Option<RuleTerm>,
    /// Holds for the messages after this one.
    pub after: Option<MessageId>,
}

/// Where a channel or thread stands in the guild.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelPlace {
    /// The channel.
    pub channel: ChannelId,
    /// A thread's channel, or a channel's category, if it has one.
    pub parent: Option<ChannelId>,
    /// Whether it is a thread, whose parent never changes.
    pub is_thread: bool,
}

/// A change of a rule, or of a fact that rules depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XpRecord {
    /// A rule begins, is replaced or ends.
    Rule(RuleChange),
    /// A channel or thread has this parent.
    Parent {
        /// The channel or thread.
        channel: ChannelId,
        /// The category, or the thread's channel.
        parent: Option<ChannelId>,
        /// Holds for the messages after this one.
        after: Option<MessageId>,
    },
    /// A member holds a role, or no longer does.
    Holds {
        /// A role that a rule names.
        role: RoleId,
        /// The member.
        user: UserId,
        /// Whether the member holds it.
        holds: bool,
        /// Holds for the messages after this one.
        after: Option<MessageId>,
    },
}

/// All rules, and the recorded facts that they depend on.
#[derive(Clone, Debug, Default)]
pub struct XpRules {
    rules: HashMap<RuleSubject, SubjectRules>,
    parents: HashMap<ChannelId, Timeline<Option<ChannelId>>>,
    holders: HashMap<UserId, Vec<(RoleId, Timeline<bool>)>>,
    /// Roles whose holders are recorded because a command is about to set a rule about them.
    watched: HashSet<RoleId>,
    /// Whether there is a rule about a role, or a watched role.
    names_roles: bool,
}

#[derive(Clone, Debug, Default)]
struct SubjectRules {
    no_xp: Timeline<Option<RuleTerm>>,
    multiplier: Timeline<Option<RuleTerm>>,
}

impl SubjectRules {
    fn of_kind(&self, kind: RuleKind) -> &Timeline<Option<RuleTerm>> {
        match kind {
            RuleKind::NoXp => &self.no_xp,
            RuleKind::Multiplier => &self.multiplier,
        }
    }

    fn in_force(&self, kind: RuleKind, message: MessageId) -> Option<RuleTerm> {
        let term = (*self.of_kind(kind).at(message)?)?;
        term.is_running(message.sent_at()).then_some(term)
    }

    /// The rule of this kind that was set last and not ended since.
    fn newest(&self, kind: RuleKind) -> Option<RuleTerm> {
        *self.of_kind(kind).newest()?
    }
}

/// A rule says that a message earns no XP.
struct EarnsNothing;

impl XpRules {
    /// The rate at which a message earns XP; `None` if a rule says that it earns nothing.
    pub fn rate(&self, message: MessageId, channel: ChannelId, author: UserId) -> Option<Rate> {
        if self.rules.is_empty() {
            return Some(Rate::USUAL);
        }
        self.product(message, channel, author).ok()
    }

    fn product(
        &self,
        message: MessageId,
        channel: ChannelId,
        author: UserId,
    ) -> Result<Rate, EarnsNothing> {
        let of = |subject| self.multiplier(subject, message);
        let guild = of(RuleSubject::Everyone)?.unwrap_or(Percent::USUAL);
        of(RuleSubject::User(author))?;
        let (mut greatest_channel, mut greatest_role) = (None, None);
        for channel in self.channel_and_parents(channel, message) {
            greatest_channel = greatest_channel.max(of(RuleSubject::Channel(channel))?);
        }
        for (role, held) in self.holders.get(&author).into_iter().flatten() {
            if held.at(message) == Some(&true) {
                greatest_role = greatest_role.max(of(RuleSubject::Role(*role))?);
            }
        }
        Ok(Rate::product(
            guild,
            greatest_channel.unwrap_or(Percent::USUAL),
            greatest_role.unwrap_or(Percent::USUAL),
        ))
    }

    /// The multiplier of a subject for a message, if it has one.
    fn multiplier(
        &self,
        subject: RuleSubject,
        message: MessageId,
    ) -> Result<Option<Percent>, EarnsNothing> {
        let Some(rules) = self.rules.get(&subject) else {
            return Ok(None);
        };
        if rules.in_force(RuleKind::NoXp, message).is_some() {
            return Err(EarnsNothing);
        }
        let term = rules.in_force(RuleKind::Multiplier, message);
        Ok(term.and_then(|term| match term.rule {
            XpRule::Multiplier(percent) => Some(percent),
            XpRule::NoXp => None,
        }))
    }

    /// The channel and its parents, as recorded for this message: for a thread, these are its
    /// channel and that channel's category.
    fn channel_and_parents(
        &self,
        channel: ChannelId,
        message: MessageId,
    ) -> impl Iterator<Item = ChannelId> {
        // A thread, a channel and a category: nothing in Discord is nested deeper.
        const MAX_DEPTH: usize = 3;
        let parent = move |channel: &ChannelId| {
            *self.parents.get(channel).and_then(|one| one.at(message))?
        };
        std::iter::successors(Some(channel), parent).take(MAX_DEPTH)
    }

    /// Whether the channel's parent must be found out before the message can be judged: it is not
    /// recorded, and a rule about some channel, perhaps the parent, is in force.
    pub fn needs_place(&self, message: MessageId, channel: ChannelId) -> bool {
        if self.rules.is_empty() || self.parents.contains_key(&channel) {
            return false;
        }
        self.rules.iter().any(|(subject, rules)| {
            matches!(subject, RuleSubject::Channel(_))
                && [RuleKind::NoXp, RuleKind::Multiplier]
                    .iter()
                    .any(|kind| rules.in_force(*kind, message).is_some())
        })
    }

    /// The subject's rule of this kind that is in force for a message.
    pub fn in_force(
        &self,
        subject: RuleSubject,
        kind: RuleKind,
        message: MessageId,
    ) -> Option<RuleTerm> {
        self.rules.get(&subject)?.in_force(kind, message)
    }

    /// Adds a record. If the last change of the same rule, parent or role holds from a later
    /// message, the record takes its place, so that nothing changes for older messages.
    pub fn record(&mut self, record: &XpRecord) {
        match *record {
            XpRecord::Rule(change) => {
                self.change_rule(change);
            }
            XpRecord::Parent {
                channel,
                parent,
                after,
            } => {
                self.parents
                    .entry(channel)
                    .or_default()
                    .change(after, parent);
            }
            XpRecord::Holds {
                role,
                user,
                holds,
                after,
            } => {
                self.held(user, role).change(after, holds);
            }
        }
    }

    /// The change that [`Self::change_rule`] would make and return. Its `after` is never older than
    /// that of the last change of the same rule.
    pub fn next_change(&self, change: RuleChange) -> RuleChange {
        let last = self.last_change(change.subject, change.kind);
        RuleChange {
            after: change.after.max(last),
            ..change
        }
    }

    /// The message after which the newest change of a rule holds.
    pub fn last_change(&self, subject: RuleSubject, kind: RuleKind) -> Option<MessageId> {
        self.rules.get(&subject)?.of_kind(kind).last_change()
    }

    /// Changes a rule. Returns the change as it was made, with the message after which it holds.
    pub fn change_rule(&mut self, change: RuleChange) -> RuleChange {
        let rules = self.rules.entry(change.subject).or_default();
        let timeline = match change.kind {
            RuleKind::NoXp => &mut rules.no_xp,
            RuleKind::Multiplier => &mut rules.multiplier,
        };
        let after = timeline.change(change.after, change.term);
        self.find_whether_roles_are_named();
        RuleChange { after, ..change }
    }

    /// Ends all rules about a subject that no longer exists. Returns the changes.
    pub fn end_rules(&mut self, subject: RuleSubject, after: Option<MessageId>) -> Vec<RuleChange> {
        let Some(rules) = self.rules.get(&subject) else {
            return Vec::new();
        };
        let running = [RuleKind::NoXp, RuleKind::Multiplier]
            .into_iter()
            .filter(|kind| rules.newest(*kind).is_some());
        let ended: Vec<RuleKind> = running.collect();
        let end = |kind| {
            self.change_rule(RuleChange {
                subject,
                kind,
                term: None,
                after,
            })
        };
        ended.into_iter().map(end).collect()
    }

    /// Those threads of a channel that have rules of their own that were not ended.
    pub fn threads_with_rules(&self, channel: ChannelId) -> Vec<ChannelId> {
        let threads = self.subjects().filter_map(|subject| match subject {
            RuleSubject::Channel(thread) => Some(thread),
            _ => None,
        });
        let is_in_it = |thread: &ChannelId| {
            let place = self.parents.get(thread).and_then(Timeline::newest);
            place == Some(&Some(channel)) && self.is_thread(*thread)
        };
        threads.filter(is_in_it).collect()
    }

    /// The subjects of all rules that were not ended, even if they have expired.
    pub fn subjects(&self) -> impl Iterator<Item = RuleSubject> {
        let is_open = |rules: &SubjectRules| {
            rules.newest(RuleKind::NoXp).is_some() || rules.newest(RuleKind::Multiplier).is_some()
        };
        let rules = self.rules.iter();
        rules.filter_map(move |(subject, rules)| is_open(rules).then_some(*subject))
    }

    /// Whether a multiplier was ever set.
    pub fn has_multipliers(&self) -> bool {
        let mut rules = self.rules.values();
        rules.any(|rules| rules.multiplier.newest().is_some())
    }

    /// Whether this channel is a thread: only a thread's parent is recorded for all messages. Also
    /// `true` if nothing is recorded of the channel.
    pub fn is_thread(&self, channel: ChannelId) -> bool {
        let place = self.parents.get(&channel);
        place.is_none_or(Timeline::is_for_all_messages)
    }

    /// Records where a channel was observed to stand. Returns the record to save; `None` if it is
    /// recorded already. `after` is ignored for a thread, whose parent never changes.
    pub fn observe_place(
        &mut self,
        place: ChannelPlace,
        after: Option<MessageId>,
    ) -> Option<XpRecord> {
        let known = self.parents.get(&place.channel);
        if place.is_thread && known.is_some() {
            return None;
        }
        if known.and_then(Timeline::newest) == Some(&place.parent) {
            return None;
        }
        // `is_thread` relies on this: only a thread's parent is recorded for all messages.
        let after = if place.is_thread {
            None
        } else {
            after.or(MessageId::new(1))
        };
        let timeline = self.parents.entry(place.channel).or_default();
        Some(XpRecord::Parent {
            channel: place.channel,
            parent: place.parent,
            after: timeline.change(after, place.parent),
        })
    }

    /// Records which roles a member was observed to hold, as far as rules are about these roles.
    /// Returns the records to save: none if nothing differs from what is recorded.
    pub fn observe_roles(
        &mut self,
        user: UserId,
        roles: &[RoleId],
        after: Option<MessageId>,
    ) -> Vec<XpRecord> {
        let differences = self.role_differences(user, roles);
        self.record_roles(user, differences, after)
    }

    /// As [`Self::observe_roles`], but skips roles for which a newer record exists.
    pub fn observe_roles_unless_newer(
        &mut self,
        user: UserId,
        roles: &[RoleId],
        after: Option<MessageId>,
    ) -> Vec<XpRecord> {
        let mut differences = self.role_differences(user, roles);
        differences.retain(|(role, _)| self.held(user, *role).last_change() <= after);
        self.record_roles(user, differences, after)
    }

    fn record_roles(
        &mut self,
        user: UserId,
        differences: Vec<(RoleId, bool)>,
        after: Option<MessageId>,
    ) -> Vec<XpRecord> {
        let record = |(role, holds)| XpRecord::Holds {
            role,
            user,
            holds,
            after: self.held(user, role).change(after, holds),
        };
        differences.into_iter().map(record).collect()
    }

    /// Whether a member was observed to hold other roles than are recorded, as far as rules are
    /// about these roles.
    pub fn differs(&self, user: UserId, roles: &[RoleId]) -> bool {
        self.names_roles && !self.role_differences(user, roles).is_empty()
    }

    fn role_differences(&self, user: UserId, roles: &[RoleId]) -> Vec<(RoleId, bool)> {
        if !self.names_roles {
            return Vec::new();
        }
        let recorded = self.holders.get(&user).map_or(&[][..], Vec::as_slice);
        let holds = |role| {
            let mut held = recorded.iter().filter(|(one, _)| *one == role);
            held.any(|(_, held)| held.newest() == Some(&true))
        };
        let mut found: Vec<(RoleId, bool)> = roles
            .iter()
            .filter(|role| self.names_role(**role) && !holds(**role))
            .map(|role| (*role, true))
            .collect();
        let lost = recorded
            .iter()
            .filter(|(role, held)| {
                held.newest() == Some(&true) && self.names_role(*role) && !roles.contains(role)
            })
            .map(|(role, _)| (*role, false));
        found.extend(lost);
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether there is a rule about a role, or a command is about to set one.
    pub fn names_roles(&self) -> bool {
        self.names_roles
    }

    /// Whether there is a rule about this role, or a command is about to set one.
    pub fn names_role(&self, role: RoleId) -> bool {
        self.watched.contains(&role)
            || self
                .rules
                .get(&RuleSubject::Role(role))
                .is_some_and(|rules| {
                    rules.newest(RuleKind::NoXp).is_some()
                        || rules.newest(RuleKind::Multiplier).is_some()
                })
    }

    /// Starts to record who holds this role. Call this before setting a rule about it. Returns
    /// `false` if that is recorded already.
    pub fn watch_role(&mut self, role: RoleId) -> bool {
        let is_new = !self.names_role(role);
        self.watched.insert(role);
        self.names_roles = true;
        is_new
    }

    fn held(&mut self, user: UserId, role: RoleId) -> &mut Timeline<bool> {
        let roles = self.holders.entry(user).or_default();
        let known = roles.iter().position(|(one, _)| *one == role);
        let index = known.unwrap_or_else(|| {
            roles.push((role, Timeline::default()));
            roles.len() - 1
        });
        &mut roles[index].1
    }

    fn find_whether_roles_are_named(&mut self) {
        self.names_roles = !self.watched.is_empty()
            || self
                .subjects()
                .any(|subject| matches!(subject, RuleSubject::Role(_)));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: i64 = 1_750_000_000_000;

    fn channel(id: u64) -> ChannelId {
        ChannelId::new(id).unwrap()
    }

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn role(id: u64) -> RoleId {
        RoleId::new(id).unwrap()
    }

    /// The first possible message of this second, counted from [`FIRST`].
    fn at(second: i64) -> MessageId {
        MessageId::first_at(Timestamp::from_millis(FIRST + second * 1_000).unwrap()).unwrap()
    }

    fn percent(percent: u16) -> XpRule {
        XpRule::Multiplier(Percent::new(percent).unwrap())
    }

    fn set(subject: RuleSubject, rule: XpRule, after: i64) -> XpRecord {
        XpRecord::Rule(RuleChange {
            subject,
            kind: rule.kind(),
            term: Some(RuleTerm { rule, until: None }),
            after: Some(at(after)),
        })
    }

    fn recorded(records: &[XpRecord]) -> XpRules {
        let mut rules = XpRules::default();
        for record in records {
            rules.record(record);
        }
        rules
    }

    fn parent(of: u64, parent: Option<u64>, after: Option<i64>) -> XpRecord {
        XpRecord::Parent {
            channel: channel(of),
            parent: parent.map(channel),
            after: after.map(at),
        }
    }

    fn holds(holder: u64, held: u64, holds: bool, after: i64) -> XpRecord {
        XpRecord::Holds {
            role: role(held),
            user: user(holder),
            holds,
            after: Some(at(after)),
        }
    }

    /// What user 1's message in channel 1 earns at this second, in percent; 0 for nothing.
    fn earns(rules: &XpRules, second: i64) -> u32 {
        let rate = rules.rate(at(second), channel(1), user(1));
        rate.map_or(0, |rate| rate.millionths() / 10_000)
    }

    /// Any one of: a rule about one of five channels, three users, everyone or a role; a change of
    /// who holds that role; a move of a channel. It holds from a time in the three hours after
    /// `first`, which is in milliseconds since 1970.
    pub(crate) fn any_record(first: i64) -> impl Strategy<Value = XpRecord> {
        let subject = prop_oneof![
            Just(RuleSubject::Everyone),
            (1_u64..6).prop_map(|id| RuleSubject::Channel(channel(id))),
            (1_u64..4).prop_map(|id| RuleSubject::User(user(id))),
            Just(RuleSubject::Role(role(5))),
        ];
        let rule = prop_oneof![Just(XpRule::NoXp), (1_u16..=1_000).prop_map(percent)];
        let time =
            move || (0_i64..10_000_000).prop_map(move |ms| Timestamp::from_millis(first + ms));
        let after = move || time().prop_map(|time| time.and_then(MessageId::first_at));
        let until = prop_oneof![Just(None), time()];
        prop_oneof![
            (subject, rule, any::<bool>(), until, after()).prop_map(
                |(subject, rule, is_set, until, after)| XpRecord::Rule(RuleChange {
                    subject,
                    kind: rule.kind(),
                    term: is_set.then_some(RuleTerm { rule, until }),
                    after,
                })
            ),
            (1_u64..4, any::<bool>(), after()).prop_map(|(id, holds, after)| XpRecord::Holds {
                role: role(5),
                user: user(id),
                holds,
                after,
            }),
            (1_u64..4, proptest::option::of(4_u64..6), after()).prop_map(|(id, parent, after)| {
                XpRecord::Parent {
                    channel: channel(id),
                    parent: parent.map(channel),
                    after,
                }
            }),
        ]
    }

    #[test]
    fn without_rules_everything_earns_the_usual() {
        assert_eq!(earns(&XpRules::default(), 0), 100);
        let others = [
            set(RuleSubject::User(user(2)), XpRule::NoXp, 0),
            set(RuleSubject::Channel(channel(2)), XpRule::NoXp, 0),
            set(RuleSubject::Role(role(5)), percent(300), 0),
            holds(2, 5, true, 0),
        ];
        assert_eq!(earns(&recorded(&others), 1), 100);
    }

    #[test]
    fn a_rule_holds_after_its_request_until_it_ends_or_expires() {
        let subject = RuleSubject::Channel(channel(1));
        let mut rules = recorded(&[set(subject, XpRule::NoXp, 10)]);
        assert_eq!((earns(&rules, 10), earns(&rules, 11)), (100, 0));
        let until = Timestamp::from_millis(FIRST + 30_000);
        for (kind, term, after) in [
            (RuleKind::NoXp, None, 20),
            (
                RuleKind::Multiplier,
                Some(RuleTerm {
                    rule: percent(250),
                    until,
                }),
                25,
            ),
        ] {
            let after = Some(at(after));
            rules.change_rule(RuleChange {
                subject,
                kind,
                term,
                after,
            });
        }
        for (second, expected) in [(11, 0), (20, 0), (21, 100), (26, 250), (29, 250), (30, 100)] {
            assert_eq!(earns(&rules, second), expected, "at {second} s");
        }
    }

    #[test]
    fn the_greatest_of_nested_channels_and_of_roles_applies_and_no_xp_wins() {
        // Thread 1 is in channel 2, which is in category 3.
        let nested = [parent(1, Some(2), None), parent(2, Some(3), Some(0))];
        let roles = [holds(1, 5, true, 0), holds(1, 6, true, 0)];
        let everything: Vec<XpRecord> = nested.into_iter().chain(roles).collect();
        let on_channel = |id| RuleSubject::Channel(channel(id));
        let on_role = |id| RuleSubject::Role(role(id));
        for (rules, expected) in [
            (vec![(on_channel(3), percent(50))], 50),
            (
                vec![(on_channel(3), percent(50)), (on_channel(2), percent(20))],
                50,
            ),
            (
                vec![(on_channel(3), percent(50)), (on_channel(1), percent(150))],
                150,
            ),
            (
                vec![(on_channel(1), percent(150)), (on_channel(3), XpRule::NoXp)],
                0,
            ),
            (
                vec![(on_role(5), percent(50)), (on_role(6), percent(200))],
                200,
            ),
            (
                vec![(on_role(5), percent(500)), (on_role(6), XpRule::NoXp)],
                0,
            ),
            (
                vec![
                    (RuleSubject::Everyone, percent(200)),
                    (on_channel(2), percent(50)),
                ],
                100,
            ),
            (
                vec![
                    (RuleSubject::Everyone, percent(200)),
                    (on_channel(2), percent(300)),
                    (on_role(6), percent(50)),
                ],
                300,
            ),
            (
                vec![
                    (RuleSubject::Everyone, percent(1_000)),
                    (on_channel(2), percent(1_000)),
                ],
                1_000,
            ),
            (
                vec![
                    (RuleSubject::Everyone, percent(1_000)),
                    (RuleSubject::User(user(1)), XpRule::NoXp),
                ],
                0,
            ),
        ] {
            let mut all = everything.clone();
            all.extend(rules.iter().map(|(subject, rule)| set(*subject, *rule, 0)));
            assert_eq!(earns(&recorded(&all), 1), expected, "{rules:?}");
        }
    }

    #[test]
    fn a_message_is_judged_by_where_its_channel_stood_and_what_its_author_held() {
        let rules = recorded(&[
            set(RuleSubject::Channel(channel(3)), percent(50), 0),
            set(RuleSubject::Role(role(5)), percent(300), 0),
            parent(1, Some(3), Some(10)),
            parent(1, None, Some(20)),
            holds(1, 5, true, 15),
            holds(1, 5, false, 30),
        ]);
        for (second, expected) in [(5, 100), (11, 50), (16, 150), (21, 300), (31, 100)] {
            assert_eq!(earns(&rules, second), expected, "at {second} s");
        }
    }

    #[test]
    fn a_threads_parent_is_recorded_once_and_a_channels_whenever_it_changes() {
        let mut rules = XpRules::default();
        let place = |channel_id, parent: Option<u64>, is_thread| ChannelPlace {
            channel: channel(channel_id),
            parent: parent.map(channel),
            is_thread,
        };
        let always = XpRecord::Parent {
            channel: channel(1),
            parent: Some(channel(2)),
            after: None,
        };
        assert_eq!(
            rules.observe_place(place(1, Some(2), true), Some(at(5))),
            Some(always)
        );
        assert_eq!(
            rules.observe_place(place(1, Some(4), true), Some(at(6))),
            None
        );
        assert!(rules.observe_place(place(2, None, false), None).is_some());
        assert!(
            rules
                .observe_place(place(2, None, false), Some(at(1)))
                .is_none()
        );
        let moved = rules.observe_place(place(2, Some(3), false), Some(at(2)));
        assert_eq!(moved, Some(parent(2, Some(3), Some(2))));
        assert!(rules.is_thread(channel(1)) && !rules.is_thread(channel(2)));
        rules.record(&set(RuleSubject::Channel(channel(1)), XpRule::NoXp, 3));
        assert_eq!(rules.threads_with_rules(channel(2)), [channel(1)]);
    }

    #[test]
    fn only_roles_that_rules_name_are_recorded() {
        let mut rules = XpRules::default();
        assert_eq!(rules.observe_roles(user(1), &[role(5)], Some(at(1))), []);
        assert!(rules.watch_role(role(5)) && !rules.watch_role(role(5)));
        let held = rules.observe_roles(user(1), &[role(4), role(5)], Some(at(2)));
        assert_eq!(held, [holds(1, 5, true, 2)]);
        assert!(!rules.differs(user(1), &[role(5)]) && rules.differs(user(1), &[]));
        assert_eq!(rules.observe_roles(user(1), &[role(5)], Some(at(3))), []);
        assert_eq!(
            rules.observe_roles(user(1), &[], Some(at(4))),
            [holds(1, 5, false, 4)]
        );
    }

    #[test]
    fn a_place_is_needed_only_while_a_rule_may_apply() {
        let mut rules = XpRules::default();
        assert!(!rules.needs_place(at(5), channel(1)));
        rules.record(&set(RuleSubject::User(user(1)), XpRule::NoXp, 0));
        assert!(!rules.needs_place(at(5), channel(1)));
        rules.record(&set(RuleSubject::Channel(channel(3)), XpRule::NoXp, 4));
        assert!(!rules.needs_place(at(4), channel(1)) && rules.needs_place(at(5), channel(1)));
        assert_eq!(
            rules
                .end_rules(RuleSubject::Channel(channel(3)), Some(at(6)))
                .len(),
            1
        );
        assert!(rules.needs_place(at(6), channel(1)) && !rules.needs_place(at(7), channel(1)));
        rules.record(&parent(1, None, None));
        assert!(!rules.needs_place(at(5), channel(1)));
    }

    proptest! {
        #[test]
        fn what_is_recorded_later_never_changes_what_earlier_messages_earn(
            records in proptest::collection::vec(any_record(FIRST), 0..40),
            later in proptest::collection::vec(any_record(FIRST), 0..10),
            second in 0_i64..10_000,
        ) {
            let mut rules = recorded(&records);
            let message = at(second);
            let before = rules.rate(message, channel(1), user(1));
            // The engine records nothing for messages that are counted already.
            for record in later {
                let after = Some(message);
                rules.record(&match record {
                    XpRecord::Rule(change) => XpRecord::Rule(RuleChange {
                        after: change.after.max(after),
                        ..change
                    }),
                    XpRecord::Parent { channel, parent, after: at } => {
                        XpRecord::Parent { channel, parent, after: at.max(after) }
                    }
                    XpRecord::Holds { role, user, holds, after: at } => {
                        XpRecord::Holds { role, user, holds, after: at.max(after) }
                    }
                });
            }
            prop_assert_eq!(rules.rate(message, channel(1), user(1)), before);
        }
    }
}
