//! Accounts as a whole: how they end, come back, and change by the thousand.
//!
//! Generated accounts stay computed: that all of a range took other names is one
//! entry, and an account that has ended is one too.

use std::ops::Range;

use crate::clock::Id;
use crate::members::{self, Generated, mix};
use crate::state::{State, User};

/// How an account ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// As Discord does it: the id is still known, by a name that says so.
    Deleted,
    /// Nothing is left, not even the id.
    Erased,
}

/// What all at once became of generated accounts.
#[derive(Debug, Default)]
pub(crate) struct Revisions {
    renamed: Vec<Range<u32>>,
    redrawn: Vec<Range<u32>>,
}

impl Revisions {
    /// A generated person with everything that became of all of them.
    pub fn person(&self, index: u32) -> Generated {
        let times = |changes: &[Range<u32>]| {
            let about = changes.iter().filter(|range| range.contains(&index));
            about.count()
        };
        members::revised(index, times(&self.renamed), times(&self.redrawn))
    }
}

impl State {
    /// Ends an account, which leaves every guild first; false if there is none.
    pub(crate) fn end_account(&mut self, id: Id, end: End) -> bool {
        if self.account(id).is_none() {
            return false;
        }
        let guilds: Vec<Id> = self
            .guilds
            .values()
            .filter(|guild| guild.member(id).is_some())
            .map(|guild| guild.id)
            .collect();
        for guild in guilds {
            self.leave(guild, id);
        }
        self.ended.insert(id, end);
        true
    }

    /// Gives the generated accounts of a range other usernames, without a word.
    pub(crate) fn rename_generated(&mut self, range: Range<u32>) {
        self.revisions.renamed.push(range.clone());
        for (id, person) in self.stored_of(&range) {
            // Who could be found by name can be found by the new one.
            let names = self.names.len();
            self.names.retain(|_, named| *named != id);
            if self.names.len() < names {
                self.names.insert(person.username.clone(), id);
            }
            if let Some(user) = self.users.get_mut(&id) {
                user.username = person.username;
            }
        }
    }

    /// Gives the generated accounts of a range other avatars, without a word.
    pub(crate) fn redraw_generated(&mut self, range: Range<u32>) {
        self.revisions.redrawn.push(range.clone());
        for (id, person) in self.stored_of(&range) {
            if let Some(user) = self.users.get_mut(&id) {
                user.avatar = person.avatar;
            }
        }
    }

    /// Those of a range who were touched and are therefore stored, as they would
    /// be if they were not.
    fn stored_of(&self, range: &Range<u32>) -> Vec<(Id, Generated)> {
        let indexes = self.users.keys().filter_map(|&id| members::index_of(id));
        let touched = indexes.filter(|index| range.contains(index));
        touched
            .map(|index| (members::id_of(index), self.revisions.person(index)))
            .collect()
    }

    /// The account to show next to what somebody once wrote: of those who are no
    /// more, what Discord shows instead. Empty for whoever never had one.
    pub(crate) fn face(&self, id: Id) -> Option<User> {
        if self.ended.contains_key(&id) {
            Some(remains(id))
        } else {
            self.account(id)
        }
    }
}

/// What Discord shows in place of a deleted account.
pub(crate) fn remains(id: Id) -> User {
    User {
        id,
        username: format!("deleted_user_{:012x}", mix(id) >> 16),
        global_name: None,
        avatar: None,
        bot: false,
    }
}
