//! The guild's rules on XP: who and what earns none, or more, and what has to be known of channels
//! and members to apply them.
//!
//! Pure. Everything is recorded with the message after which it holds, and the rate of a message
//! is decided by what is recorded for its id. So a message earns the same live, in a catch-up and
//! in a replay, and no clock is read.

use std::collections::{HashMap, HashSet};

use super::rate::{Percent, Rate};
use super::timeline::Timeline;
use super::{ChannelId, MessageId, RoleId, Timestamp, UserId};

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleSubject {
    /// All messages of the guild.
    Everyone,
    /// The messages in a channel, a thread, or any channel of a category.
    Channel(ChannelId),
    /// The messages of members who hold a role.
    Role(RoleId),
    /// The messages of one user.
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

/// Something recorded beside the messages that decides what they earn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XpRecord {
    /// A rule begins, is replaced or ends.
    Rule(RuleChange),
    /// A channel has this parent.
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

/// All rules and what is recorded to apply them.
#[derive(Clone, Debug, Default)]
pub struct XpRules {
    rules: HashMap<RuleSubject, SubjectRules>,
    parents: HashMap<ChannelId, Timeline<Option<ChannelId>>>,
    holders: HashMap<UserId, Vec<(RoleId, Timeline<bool>)>>,
    /// Roles that a command is about to name.
    watched: HashSet<RoleId>,
    /// Whether a rule is about a role, or one is about to be.
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

    /// A thread, its channel and that channel's category, as far as they were recorded then.
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

    /// Whether it must first be found out where the message's channel stands: nothing is recorded
    /// of it, and some channel has a rule that may apply.
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

    /// The rule that applies to a message about this subject, if there is one.
    pub fn in_force(
        &self,
        subject: RuleSubject,
        kind: RuleKind,
        message: MessageId,
    ) -> Option<RuleTerm> {
        self.rules.get(&subject)?.in_force(kind, message)
    }

    /// Adds what was recorded. A record of the past does not change what was recorded for later
    /// messages.
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

    /// The change as [`Self::change_rule`] would make it: a rule is never changed for messages from
    /// before its last change.
    pub fn next_change(&self, change: RuleChange) -> RuleChange {
        let rules = self.rules.get(&change.subject);
        let last = rules.and_then(|rules| rules.of_kind(change.kind).last_change());
        RuleChange {
            after: change.after.max(last),
            ..change
        }
    }

    /// Changes a rule, and returns the change with the message after which it holds.
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

    /// The threads of a channel about which there are rules that were not ended.
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

    /// The subjects about which there are rules that were not ended.
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

    /// Whether this channel is a thread, as far as its place is recorded: only that of a thread is
    /// recorded for all messages.
    pub fn is_thread(&self, channel: ChannelId) -> bool {
        let place = self.parents.get(&channel);
        place.is_none_or(Timeline::is_for_all_messages)
    }

    /// Where a channel was observed. Returns what has to be saved; `None` if it is recorded
    /// already. `after` is ignored for a thread, whose parent never changes.
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
        // A thread's place is recorded for all messages, and only a thread's is.
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

    /// Which of the roles that rules name a member was observed to hold. Returns what has to be
    /// saved: nothing if that is recorded already.
    pub fn observe_roles(
        &mut self,
        user: UserId,
        roles: &[RoleId],
        after: Option<MessageId>,
    ) -> Vec<XpRecord> {
        let records = self.role_differences(user, roles);
        let mut observed = Vec::new();
        for (role, holds) in records {
            let after = self.held(user, role).change(after, holds);
            observed.push(XpRecord::Holds {
                role,
                user,
                holds,
                after,
            });
        }
        observed
    }

    /// Whether what is recorded of a member's roles differs from what they were observed to hold.
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

    /// Whether any rule is about a role.
    pub fn names_roles(&self) -> bool {
        self.names_roles
    }

    /// Whether a rule is about this role, or is about to be.
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

    /// From now on, who holds this role is recorded, since a rule is about to name it. Returns
    /// whether it was not recorded before.
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
