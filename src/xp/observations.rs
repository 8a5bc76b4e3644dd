//! What the engine learns of channels, roles and members, and from which message on it holds.
//!
//! Events and lists pass through the inbox, in order with the messages. An event holds for the
//! messages after the newest one that came before it. A list that was read after a gap holds from
//! the end of the gap: what the catch-up reads is judged by what was recorded before. Reads no
//! clock, and calls nobody.

use std::collections::{HashMap, HashSet};

use super::batch::Batch;
use super::inbox::EligibleMessage;
use crate::leveling::{
    ChannelId, ChannelPlace, MessageId, RoleId, RuleSubject, UserId, XpRecord, XpRules,
};

/// Something observed in the guild that may decide what messages earn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A channel or thread was made, or moved to another category.
    Channel(ChannelPlace),
    /// A channel, category or thread was deleted.
    ChannelGone(ChannelId),
    /// All channels of the guild, as a list shows them.
    Channels(ChannelList),
    /// A role was deleted.
    RoleGone(RoleId),
    /// All roles of the guild, as a list shows them.
    Roles(Vec<RoleId>),
    /// An event shows the roles of a member. No roles: the member has left.
    Member(UserId, Box<[RoleId]>),
    /// A list of members is about to be requested.
    ListBegins(u64),
    /// Members of a list whose roles differ from what is recorded.
    ListedMembers(ListedMembers),
    /// No more members of this list will come.
    ListEnds,
}

/// The channels and threads of the guild.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelList {
    /// Channels, categories and the threads that were found.
    pub places: Vec<ChannelPlace>,
    /// Whether all channels are in it, so that another one was deleted. Says nothing of threads.
    pub has_all_channels: bool,
}

/// A part of a list of members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedMembers {
    /// The number of the list, from [`Observation::ListBegins`].
    pub list: u64,
    /// Holds for the messages after this one; `None` if it holds from when no gap is open.
    pub after: Option<MessageId>,
    /// The members, each with all their roles.
    pub members: Vec<(UserId, Box<[RoleId]>)>,
}

/// What was observed and is not saved yet, and what is not judged yet.
#[derive(Debug, Default)]
pub(super) struct Observations {
    /// The newest message that came live.
    delivered: Option<MessageId>,
    /// Lists that wait for the end of a gap.
    waiting: Vec<Observation>,
    /// Saved with the next transaction.
    unsaved: Vec<XpRecord>,
    /// The number of the newest list of members, and how many lists have not ended.
    newest_list: u64,
    open_lists: usize,
    /// Members of whom an event came since a list was requested, with the newest list by then:
    /// the event is newer than that list.
    heard: HashMap<UserId, u64>,
    /// Channels of which an event came since the gap was found.
    heard_channels: HashSet<ChannelId>,
}

impl Observations {
    /// A message came live.
    pub fn delivered(&mut self, message: MessageId) {
        self.delivered = self.delivered.max(Some(message));
    }

    /// A live message shows the roles of its author. They hold from this message on.
    pub fn author(
        &mut self,
        seen: &EligibleMessage,
        roles: &[RoleId],
        xp_rules: &mut XpRules,
        applied: Option<MessageId>,
    ) {
        let before = MessageId::new(seen.message.get() - 1);
        self.roles_of(seen.user, roles, xp_rules, before.max(applied));
    }

    /// Takes something observed. Everything up to `applied` is counted and is not judged again.
    pub fn observe(
        &mut self,
        observation: Observation,
        xp_rules: &mut XpRules,
        applied: Option<MessageId>,
    ) {
        let after = self.delivered.max(applied);
        match observation {
            Observation::Channel(place) => {
                self.heard_channels.insert(place.channel);
                self.unsaved.extend(xp_rules.observe_place(place, after));
            }
            Observation::ChannelGone(channel) => {
                self.heard_channels.insert(channel);
                self.channel_gone(channel, xp_rules, after);
            }
            Observation::RoleGone(role) => self.end_rules(RuleSubject::Role(role), xp_rules, after),
            Observation::Member(user, roles) => self.roles_of(user, &roles, xp_rules, after),
            Observation::ListBegins(list) => {
                self.newest_list = self.newest_list.max(list);
                self.open_lists += 1;
            }
            Observation::ListEnds => {
                self.open_lists = self.open_lists.saturating_sub(1);
                self.forget_heard();
            }
            Observation::ListedMembers(listed) if listed.after.is_some() => {
                let after = listed.after.max(applied);
                self.listed(listed, xp_rules, after);
            }
            Observation::ListedMembers(_) | Observation::Channels(_) | Observation::Roles(_) => {
                self.waiting.push(observation);
            }
        }
    }

    /// A gap was found: the next list of channels is newer than the events before it.
    pub fn gap_begins(&mut self) {
        self.heard_channels.clear();
    }

    /// Takes the lists that waited, since no gap is open. They hold after `applied`.
    pub fn no_gap_is_open(&mut self, xp_rules: &mut XpRules, applied: Option<MessageId>) {
        for list in std::mem::take(&mut self.waiting) {
            match list {
                Observation::ListedMembers(listed) => self.listed(listed, xp_rules, applied),
                Observation::Channels(list) => self.channels(&list, xp_rules, applied),
                Observation::Roles(roles) => self.only_roles(&roles, xp_rules, applied),
                _ => {}
            }
        }
        self.forget_heard();
    }

    /// Takes a list of channels that holds after `after`.
    pub fn channels(
        &mut self,
        list: &ChannelList,
        xp_rules: &mut XpRules,
        after: Option<MessageId>,
    ) {
        for place in &list.places {
            if !self.heard_channels.contains(&place.channel) {
                self.unsaved.extend(xp_rules.observe_place(*place, after));
            }
        }
        if !list.has_all_channels {
            return;
        }
        let listed: HashSet<ChannelId> = list.places.iter().map(|place| place.channel).collect();
        let is_gone = |channel: &ChannelId| {
            !listed.contains(channel)
                && !self.heard_channels.contains(channel)
                && !xp_rules.is_thread(*channel)
        };
        let channels = xp_rules.subjects().filter_map(|subject| match subject {
            RuleSubject::Channel(channel) => Some(channel),
            _ => None,
        });
        let gone: Vec<ChannelId> = channels.filter(is_gone).collect();
        for channel in gone {
            self.channel_gone(channel, xp_rules, after);
        }
    }

    /// Ends the rules about a channel, and about its threads, which Discord deletes with it.
    fn channel_gone(
        &mut self,
        channel: ChannelId,
        xp_rules: &mut XpRules,
        after: Option<MessageId>,
    ) {
        for thread in xp_rules.threads_with_rules(channel) {
            self.end_rules(RuleSubject::Channel(thread), xp_rules, after);
        }
        self.end_rules(RuleSubject::Channel(channel), xp_rules, after);
    }

    /// Ends the rules about roles that do not exist.
    fn only_roles(&mut self, roles: &[RoleId], xp_rules: &mut XpRules, after: Option<MessageId>) {
        let gone: Vec<RuleSubject> = xp_rules
            .subjects()
            .filter(|subject| matches!(subject, RuleSubject::Role(role) if !roles.contains(role)))
            .collect();
        for subject in gone {
            self.end_rules(subject, xp_rules, after);
        }
    }

    fn end_rules(
        &mut self,
        subject: RuleSubject,
        xp_rules: &mut XpRules,
        after: Option<MessageId>,
    ) {
        let ended = xp_rules.end_rules(subject, after).into_iter();
        self.unsaved.extend(ended.map(XpRecord::Rule));
    }

    fn roles_of(
        &mut self,
        user: UserId,
        roles: &[RoleId],
        xp_rules: &mut XpRules,
        after: Option<MessageId>,
    ) {
        if self.open_lists > 0 || !self.waiting.is_empty() {
            self.heard.insert(user, self.newest_list);
        }
        self.unsaved
            .extend(xp_rules.observe_roles(user, roles, after));
    }

    fn listed(&mut self, listed: ListedMembers, xp_rules: &mut XpRules, after: Option<MessageId>) {
        for (user, roles) in listed.members {
            let heard = self.heard.get(&user);
            if heard.is_none_or(|heard| *heard < listed.list) {
                self.unsaved
                    .extend(xp_rules.observe_roles(user, &roles, after));
            }
        }
    }

    fn forget_heard(&mut self) {
        if self.open_lists == 0 && self.waiting.is_empty() {
            self.heard = HashMap::new();
        }
    }

    /// Whether anything is to be saved.
    pub fn is_empty(&self) -> bool {
        self.unsaved.is_empty()
    }

    /// Adds what is not saved yet to a batch: what its messages earn was decided by it.
    pub fn add_to(&self, batch: &mut Batch) {
        batch.records.clone_from(&self.unsaved);
    }

    /// A batch is saved, and with it the first `count` records.
    pub fn saved(&mut self, count: usize) {
        self.unsaved.drain(..count);
    }
}
