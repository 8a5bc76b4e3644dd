//! Roles: which stands above which, and what comes of making, changing, moving
//! and deleting them.
//!
//! Whether somebody may do it is not asked here: `rest/roles.rs` asks it of the
//! bot, and humans may do everything.

use std::cmp::Reverse;

use serde_json::{Value, json};

use crate::clock::Id;
use crate::gateway::Event;
use crate::objects::{self, text};
use crate::state::{Guild, Role, State};

/// The greater stands above: by position, and at one position the lower id.
pub(crate) type Rank = (u64, Reverse<Id>);

impl Role {
    /// A role that grants something and is otherwise as plain as can be.
    pub fn new(id: Id, name: &str, permissions: u64) -> Self {
        Self {
            id,
            name: stored_name(name),
            permissions,
            position: 1,
            color: 0,
            hoist: false,
            mentionable: false,
            managed_by: None,
        }
    }

    pub fn rank(&self) -> Rank {
        (self.position, Reverse(self.id))
    }
}

/// A role's name as Discord stores it: without the white space around it, and never empty.
pub(crate) fn stored_name(name: &str) -> String {
    match name.trim() {
        "" => "new role".to_owned(),
        name => name.to_owned(),
    }
}

impl Guild {
    /// Whether a member may deal with a role, as far as it is a matter of rank.
    pub fn outranks(&self, user: Id, role: &Role) -> bool {
        let held = self.member(user).map(|member| member.roles);
        let held = held.unwrap_or_default();
        let highest = held.iter().filter_map(|id| self.roles.get(id));
        let highest = highest.map(Role::rank).max();
        self.owner == user || highest > Some(role.rank())
    }

    /// The roles without `@everyone`, the lowest first.
    pub fn ladder(&self) -> Vec<&Role> {
        let mut roles: Vec<&Role> = self
            .roles
            .values()
            .filter(|role| role.id != self.id)
            .collect();
        roles.sort_unstable_by_key(|role| role.rank());
        roles
    }
}

impl State {
    /// Makes a role, the lowest but `@everyone`. Those above it move up, of
    /// which Discord says nothing: whoever keeps positions has to know it.
    pub(crate) fn create_role(&mut self, guild: Id, mut role: Role) {
        let Some(found) = self.guilds.get_mut(&guild) else {
            return;
        };
        role.position = 1;
        for other in found.roles.values_mut().filter(|role| role.position > 0) {
            other.position += 1;
        }
        let json = objects::role(&role);
        found.roles.insert(role.id, role);
        self.tell_of_role("GUILD_ROLE_CREATE", guild, &json);
    }

    /// Changes a role and tells of it; false if there is none.
    pub(crate) fn change_role(
        &mut self,
        guild: Id,
        role: Id,
        change: impl FnOnce(&mut Role),
    ) -> bool {
        let found = self.guilds.get_mut(&guild);
        let Some(role) = found.and_then(|guild| guild.roles.get_mut(&role)) else {
            return false;
        };
        change(role);
        let json = objects::role(role);
        self.tell_of_role("GUILD_ROLE_UPDATE", guild, &json);
        true
    }

    /// Gives roles the positions that are named, and tells of those that move.
    pub(crate) fn place_roles(&mut self, guild: Id, places: &[(Id, u64)]) {
        for &(role, position) in places {
            let found = self.guilds.get(&guild);
            let now = found.and_then(|guild| guild.roles.get(&role));
            if now.is_some_and(|role| role.position != position) {
                self.change_role(guild, role, |role| role.position = position);
            }
        }
    }

    /// Moves one role as a client does, which gives all of them new positions.
    pub(crate) fn move_role(&mut self, guild: Id, role: Id, position: u64) -> bool {
        let Some(found) = self.guilds.get(&guild) else {
            return false;
        };
        let mut ladder: Vec<Id> = found.ladder().iter().map(|role| role.id).collect();
        let Some(from) = ladder.iter().position(|&id| id == role) else {
            return false;
        };
        ladder.remove(from);
        let to = usize::try_from(position.saturating_sub(1)).unwrap_or(usize::MAX);
        ladder.insert(to.min(ladder.len()), role);
        let places: Vec<(Id, u64)> = ladder.into_iter().zip(1..).collect();
        self.place_roles(guild, &places);
        true
    }

    /// Deletes a role; false if there is none. Members and channels lose it, and
    /// those above it move down, without a word about either.
    pub(crate) fn delete_role(&mut self, guild: Id, role: Id) -> bool {
        let Some(found) = self.guilds.get_mut(&guild) else {
            return false;
        };
        let Some(deleted) = found.roles.remove(&role) else {
            return false;
        };
        for other in found.roles.values_mut() {
            other.position -= u64::from(other.position > deleted.position);
        }
        for member in found.members.values_mut() {
            member.roles.remove(&role);
        }
        for channel in self.channels.values_mut() {
            channel
                .overwrites
                .retain(|overwrite| overwrite.target != role);
        }
        let json = json!({ "guild_id": text(guild), "role_id": text(role) });
        self.dispatch(Event::in_guild("GUILD_ROLE_DELETE", guild, json));
        true
    }

    fn tell_of_role(&mut self, name: &'static str, guild: Id, role: &Value) {
        let json = json!({ "guild_id": text(guild), "role": role });
        self.dispatch(Event::in_guild(name, guild, json));
    }
}
