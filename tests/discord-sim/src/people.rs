//! People come, go and change: they join, leave, take other names and roles.

use std::collections::BTreeSet;

use serde_json::json;

use crate::clock::Id;
use crate::gateway::Event;
use crate::objects::{self, text};
use crate::state::{Guild, Member, State, User};

impl State {
    /// Joins the guild, as a new member without roles or nickname.
    pub(crate) fn join(&mut self, guild: Id, user: Id, pending: bool) {
        let ended = self.ended.contains_key(&user);
        assert!(!ended, "their account is no more");
        let now = self.clock.now_ms();
        let Some(found) = self.guilds.get_mut(&guild) else {
            return;
        };
        assert!(!found.banned.contains(&user), "they are banned");
        found.gone.remove(&user);
        let rejoins = found.former.contains(&user);
        let mut member = Member::new(now, BTreeSet::new());
        member.pending = pending;
        member.flags = u64::from(rejoins);
        found.members.insert(user, member);
        self.tell_of_member("GUILD_MEMBER_ADD", guild, user);
    }

    /// Says of somebody who is a member that they have joined; false if they are none.
    pub(crate) fn tell_join_again(&mut self, guild: Id, user: Id) -> bool {
        let found = self.guilds.get(&guild);
        let is_member = found.is_some_and(|found| found.member(user).is_some());
        if is_member {
            self.tell_of_member("GUILD_MEMBER_ADD", guild, user);
        }
        is_member
    }

    /// Bans somebody, member or not.
    pub(crate) fn ban(&mut self, guild: Id, user: Id) {
        let Some(found) = self.guilds.get_mut(&guild) else {
            return;
        };
        found.banned.insert(user);
        let is_member = found.member(user).is_some();
        self.tell_of_ban("GUILD_BAN_ADD", guild, user);
        if is_member {
            self.leave(guild, user);
        }
    }

    /// Lifts a ban; the person is not back by that.
    pub(crate) fn unban(&mut self, guild: Id, user: Id) {
        let found = self.guilds.get_mut(&guild);
        if found.is_some_and(|found| found.banned.remove(&user)) {
            self.tell_of_ban("GUILD_BAN_REMOVE", guild, user);
        }
    }

    fn tell_of_ban(&mut self, name: &'static str, guild: Id, user: Id) {
        let user = self.user(user).as_ref().map(objects::user);
        let json = json!({ "guild_id": text(guild), "user": user });
        self.dispatch(Event::in_guild(name, guild, json));
    }

    pub(crate) fn leave(&mut self, guild: Id, user: Id) {
        let Some(found) = self.guilds.get_mut(&guild) else {
            return;
        };
        found.members.remove(&user);
        found.former.insert(user);
        let index = crate::members::index_of(user);
        if index.is_some_and(|index| index < found.generated) {
            found.gone.insert(user);
        }
        let user = self
            .user(user)
            .as_ref()
            .map(objects::user)
            .unwrap_or_default();
        let json = json!({ "guild_id": text(guild), "user": user });
        self.dispatch(Event::in_guild("GUILD_MEMBER_REMOVE", guild, json));
    }

    /// Changes a member and tells of it.
    pub(crate) fn change_member(&mut self, guild: Id, user: Id, change: impl FnOnce(&mut Member)) {
        let found = self.guilds.get(&guild);
        let Some(mut member) = found.and_then(|found| found.member(user)) else {
            return;
        };
        change(&mut member);
        if let Some(found) = self.guilds.get_mut(&guild) {
            found.members.insert(user, member);
        }
        self.tell_of_member("GUILD_MEMBER_UPDATE", guild, user);
    }

    /// Changes an account, unless it has ended, and tells every guild that the
    /// person is in.
    pub(crate) fn change_user(&mut self, id: Id, change: impl FnOnce(&mut User)) {
        let ended = self.ended.contains_key(&id);
        let Some(mut user) = self.account(id).filter(|_| !ended) else {
            return;
        };
        change(&mut user);
        self.users.insert(id, user);
        let guilds: Vec<Id> = self
            .guilds
            .values()
            .filter(|guild| guild.member(id).is_some())
            .map(|guild| guild.id)
            .collect();
        for guild in guilds {
            self.tell_of_member("GUILD_MEMBER_UPDATE", guild, id);
        }
    }

    /// Changes the main guild and tells of it.
    pub(crate) fn change_guild(&mut self, change: impl FnOnce(&mut Guild)) {
        let id = self.main_guild;
        let Some(guild) = self.guilds.get_mut(&id) else {
            return;
        };
        change(guild);
        let json = objects::guild(guild);
        self.dispatch(Event::in_guild("GUILD_UPDATE", id, json));
    }

    fn tell_of_member(&mut self, name: &'static str, guild: Id, user: Id) {
        let found = self.guilds.get(&guild);
        let member = found.and_then(|found| self.member_object(found, user));
        if let Some(mut json) = member {
            json["guild_id"] = text(guild).into();
            self.dispatch(Event::in_guild(name, guild, json));
        }
    }
}
