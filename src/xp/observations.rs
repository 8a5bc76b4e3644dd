//! Records what the engine learns of channels, roles and members, each with the message after
//! which it holds. The rules on XP depend on it.
//!
//! Events and lists come through the inbox, in order with the messages. What an event shows holds
//! for messages newer than all that arrived before the event. What a list shows while a gap is open
//! holds only for messages after the gap: those of the catch-up are judged by what was recorded
//! before the list. Reads no clock, and makes no calls.

use std::collections::{HashMap, HashSet};

use super::batch::Batch;
use super::inbox::EligibleMessage;
use crate::leveling::{
    ChannelId, ChannelPlace, MessageId, RoleId, RuleSubject, UserId, XpRecord, XpRules,
};

/// Something observed in the guild that may decide what messages earn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A channel or thread was created, or a channel was moved to another category.
    Channel(ChannelPlace),
    /// A channel, category or thread was deleted.
    ChannelGone(ChannelId),
    /// The channels of the guild, as a list shows them.
    Channels(ChannelList),
    /// A role was deleted.
    RoleGone(RoleId),
    /// All roles of the guild, as a list shows them.
    Roles(Vec<RoleId>),
    /// The roles of a member, as an event shows them. Also empty if the member has left.
    Member(UserId, Box<[RoleId]>),
    /// The list of members with this number is about to be requested.
    ListBegins(u64),
    /// A part of a list of members: those whose roles differ from the recorded ones.
    ListedMembers(ListedMembers),
    /// A list of members is complete, or was abandoned.
    ListEnds,
}

/// The channels and threads of the guild.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelList {
    /// Channels, categories and the threads that were found.
    pub places: Vec<ChannelPlace>,
    /// Whether every channel is in the list: a channel that is missing from it was then deleted.
    /// Threads may be missing in any case.
    pub has_all_channels: bool,
}

/// A part of a list of members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedMembers {
    /// The number of the list, from [`Observation::ListBegins`].
    pub list: u64,
    /// The list holds for the messages after this one. `None`: it waits until no gap is open, and
    /// holds from then on.
    pub after: Option<MessageId>,
    /// The members, each with all their roles.
    pub members: Vec<(UserId, Box<[RoleId]>)>,
}

/// The records that are not saved yet, the lists that wait for the end of a gap, and what decides
/// whether an event or a list is newer.
#[derive(Debug, Default)]
pub(super) struct Observations {
    /// The newest live message that has arrived.
    delivered: Option<MessageId>,
    /// Lists that wait for the end of a gap.
    waiting: Vec<Observation>,
    /// Saved with the next transaction.
    unsaved: Vec<XpRecord>,
    /// The number of the list of members that was requested last.
    newest_list: u64,
    /// How many lists of members have not ended.
    open_lists: usize,
    /// Members whose roles an event or a message showed while a list was open or waiting, each
    /// with `newest_list` at that time. That list and earlier ones may be older than the event, so
    /// they are ignored for this member.
    heard: HashMap<UserId, u64>,
    /// Channels that events showed since the latest gap was found. The list of channels may be
    /// older than the events, so it is ignored for these channels.
    heard_channels: HashSet<ChannelId>,
}

impl Observations {
    /// Notes that a live message has arrived.
    pub fn delivered(&mut self, message: MessageId) {
        self.delivered = self.delivered.max(Some(message));
    }

    /// Records the roles of a live message's author, as the message shows them. They hold from
    /// this message on.
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

    /// Records an observation, or keeps a list until no gap is open. The record holds at the
    /// earliest after `applied`, because messages up to it have been counted.
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

    /// Call this when a gap is found. The channels are then listed again, and that list is newer
    /// than all events until now.
    pub fn gap_begins(&mut self) {
        self.heard_channels.clear();
    }

    /// Call this while no gap is open. Records the lists that have waited for this; they hold for
    /// the messages after `applied`.
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

    /// Records a list of channels, which holds for the messages after `after`. Ends the rules about
    /// channels that the list shows to be deleted.
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

    /// Ends the rules about all roles except `roles`, since the others were deleted.
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

    /// Whether all records are saved.
    pub fn is_empty(&self) -> bool {
        self.unsaved.is_empty()
    }

    /// Puts the unsaved records into a batch. They helped to decide what its messages earn, so one
    /// transaction saves both.
    pub fn add_to(&self, batch: &mut Batch) {
        batch.records.clone_from(&self.unsaved);
    }

    /// Call this once a batch is saved. Drops the first `count` records, which were saved with it.
    pub fn saved(&mut self, count: usize) {
        self.unsaved.drain(..count);
    }
}
