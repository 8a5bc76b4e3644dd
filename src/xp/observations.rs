//! Records what the engine learns of channels, roles and members, each with the message after
//! which it holds. The rules on XP depend on it.
//!
//! Events and lists come through the inbox, in order with the messages. What an event shows holds
//! for messages newer than all that arrived before the event. What a list shows while a gap is open
//! holds only for messages after the gap: those of the catch-up are judged by what was recorded
//! before the list. An event after the start of a gap waits for the first live message, or for the
//! end of the gap, because nothing else tells which missed messages came before it. Reads no clock,
//! and makes no calls.

use std::collections::{HashMap, HashSet};
use std::ops::DerefMut;

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
    /// Messages may have been missed until now.
    GapOpens,
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
    /// Whether a gap has opened, and no live message has arrived since.
    awaits_message: bool,
    /// Events that wait for that message.
    events: Vec<Observation>,
    /// Lists that wait for the end of a gap.
    lists: Vec<WaitingList>,
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

/// A list that waits for the end of a gap.
#[derive(Debug)]
enum WaitingList {
    Members(ListedMembers),
    Channels(ChannelList),
    /// The roles with rules that did not exist when the list arrived. A role that was created later
    /// may have got a rule since.
    GoneRoles(Vec<RoleId>),
}

impl Observations {
    /// Notes that a live message has arrived. The events that waited for it hold from it on.
    pub fn delivered<R: DerefMut<Target = XpRules>>(
        &mut self,
        message: MessageId,
        xp_rules: impl FnOnce() -> R,
        applied: Option<MessageId>,
    ) {
        if self.awaits_message {
            let before = MessageId::new(message.get() - 1);
            self.record_events(&mut xp_rules(), before.max(applied));
        }
        self.delivered = self.delivered.max(Some(message));
    }

    fn record_events(&mut self, xp_rules: &mut XpRules, after: Option<MessageId>) {
        self.awaits_message = false;
        for event in std::mem::take(&mut self.events) {
            self.record_event(event, xp_rules, after);
        }
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
        let after = MessageId::new(seen.message.get() - 1).max(applied);
        self.hear_of(seen.user);
        // Messages may overtake each other: an older one does not undo what a newer one showed.
        let records = xp_rules.observe_roles_unless_newer(seen.user, roles, after);
        self.unsaved.extend(records);
    }

    /// Records an observation, or keeps a list until no gap is open. The record holds at the
    /// earliest after `applied`, because messages up to it have been counted.
    pub fn observe(
        &mut self,
        observation: Observation,
        xp_rules: &mut XpRules,
        applied: Option<MessageId>,
    ) {
        match observation {
            Observation::Channel(ChannelPlace { channel, .. })
            | Observation::ChannelGone(channel) => {
                self.heard_channels.insert(channel);
                self.take_event(observation, xp_rules, applied);
            }
            Observation::Member(user, _) => {
                self.hear_of(user);
                self.take_event(observation, xp_rules, applied);
            }
            Observation::RoleGone(_) => self.take_event(observation, xp_rules, applied),
            Observation::GapOpens => self.awaits_message = true,
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
            Observation::ListedMembers(listed) => self.lists.push(WaitingList::Members(listed)),
            Observation::Channels(list) => self.lists.push(WaitingList::Channels(list)),
            Observation::Roles(roles) => {
                let named = xp_rules.subjects().filter_map(|subject| match subject {
                    RuleSubject::Role(role) => Some(role),
                    _ => None,
                });
                let gone = named.filter(|role| !roles.contains(role)).collect();
                self.lists.push(WaitingList::GoneRoles(gone));
            }
        }
    }

    fn take_event(
        &mut self,
        event: Observation,
        xp_rules: &mut XpRules,
        applied: Option<MessageId>,
    ) {
        if self.awaits_message {
            self.events.push(event);
        } else {
            self.record_event(event, xp_rules, self.delivered.max(applied));
        }
    }

    fn record_event(
        &mut self,
        event: Observation,
        xp_rules: &mut XpRules,
        after: Option<MessageId>,
    ) {
        match event {
            Observation::Channel(place) => {
                self.unsaved.extend(xp_rules.observe_place(place, after));
            }
            Observation::ChannelGone(channel) => self.channel_gone(channel, xp_rules, after),
            Observation::RoleGone(role) => self.end_rules(RuleSubject::Role(role), xp_rules, after),
            Observation::Member(user, roles) => {
                let records = xp_rules.observe_roles(user, &roles, after);
                self.unsaved.extend(records);
            }
            _ => {}
        }
    }

    /// Call this when a gap is found. The channels are then listed again, and that list is newer
    /// than all events until now.
    pub fn gap_begins(&mut self) {
        self.heard_channels.clear();
    }

    /// Call this when a gap is read up to `reached`, before its messages are applied. Events that
    /// still wait came after it.
    pub fn gap_is_read(
        &mut self,
        channels: &ChannelList,
        xp_rules: &mut XpRules,
        reached: Option<MessageId>,
    ) {
        self.record_events(xp_rules, reached);
        self.channels(channels, xp_rules, reached);
    }

    /// Call this while no gap is open. Records the lists that have waited for this; they hold for
    /// the messages after `applied`.
    pub fn no_gap_is_open(&mut self, xp_rules: &mut XpRules, applied: Option<MessageId>) {
        if self.awaits_message {
            self.record_events(xp_rules, self.delivered.max(applied));
        }
        for list in std::mem::take(&mut self.lists) {
            match list {
                WaitingList::Members(listed) => self.listed(listed, xp_rules, applied),
                WaitingList::Channels(list) => self.channels(&list, xp_rules, applied),
                WaitingList::GoneRoles(roles) => {
                    for role in roles {
                        self.end_rules(RuleSubject::Role(role), xp_rules, applied);
                    }
                }
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

    fn end_rules(
        &mut self,
        subject: RuleSubject,
        xp_rules: &mut XpRules,
        after: Option<MessageId>,
    ) {
        let ended = xp_rules.end_rules(subject, after).into_iter();
        self.unsaved.extend(ended.map(XpRecord::Rule));
    }

    /// Lists that were requested until now may be older than what was heard of this member.
    fn hear_of(&mut self, user: UserId) {
        if self.open_lists > 0 || !self.lists.is_empty() {
            self.heard.insert(user, self.newest_list);
        }
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
        if self.open_lists == 0 && self.lists.is_empty() {
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
