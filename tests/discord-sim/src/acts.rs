//! What tests let people do: every method is one act of a person, a human
//! moderator or Discord itself.
//!
//! An act panics where a client would not offer it; its `try_` form says why.

use std::ops::Range;

use serde_json::Value;

use crate::Sim;
use crate::accounts::End;
use crate::clock::{Id, timestamp};
use crate::invoke::Offered;
use crate::message::Message;
use crate::objects;
use crate::permissions::Overwrite;
use crate::roles::stored_name;
use crate::state::{Channel, Manager, Member, Role, User};
use crate::world::ChannelKind;

/// A member's flags, as Discord documents them; 1 is for those who were there before.
const COMPLETED_ONBOARDING: u64 = 1 << 1;
const BYPASSES_VERIFICATION: u64 = 1 << 2;
const STARTED_ONBOARDING: u64 = 1 << 3;

/// What people do.
impl Sim {
    /// Somebody says something.
    pub fn say(&self, user: Id, channel: Id, text: &str) -> Id {
        self.post(Message::new(channel, user, text))
    }

    /// Anything unusual that appears in a channel.
    pub fn post(&self, message: Message) -> Id {
        self.lock().post(message)
    }

    /// Somebody edits a message.
    pub fn edit(&self, channel: Id, message: Id, text: &str) {
        let mut state = self.lock();
        let edited_at = timestamp(state.clock.now_ms());
        state.change_message(channel, message, |json| {
            json["content"] = text.into();
            json["edited_timestamp"] = edited_at.into();
        });
    }

    /// Discord changes a message by itself (a link's preview appears): any
    /// fields, not marked as an edit.
    pub fn touch_message(&self, channel: Id, message: Id, fields: Value) {
        let change = |json: &mut Value| objects::extend(json, fields);
        self.lock().change_message(channel, message, change);
    }

    /// Somebody deletes a message.
    pub fn delete(&self, channel: Id, message: Id) {
        self.lock().delete_message(channel, message);
    }

    /// Somebody invokes a slash command (`"rank"`, or `"group sub"`) with
    /// options `[{"name": …, "value": …}]`. Panics where their client would not
    /// let them: an unknown command, options that do not fit.
    pub fn slash(&self, user: Id, channel: Id, command: &str, options: &Value) -> Id {
        self.try_slash(user, channel, command, options)
            .unwrap_or_else(|why| panic!("/{command} cannot be invoked: {why}"))
    }

    /// The same, but says why it cannot be done.
    pub fn try_slash(
        &self,
        user: Id,
        channel: Id,
        command: &str,
        options: &Value,
    ) -> Result<Id, String> {
        let offered = Offered::AsRegistered;
        self.lock().slash(user, channel, command, options, offered)
    }

    /// The same whatever the command's `default_member_permissions` say: an
    /// admin of the guild may have widened who is offered it.
    pub fn force_slash(&self, user: Id, channel: Id, command: &str, options: &Value) -> Id {
        let offered = Offered::ToEveryone;
        self.lock()
            .slash(user, channel, command, options, offered)
            .unwrap_or_else(|why| panic!("/{command} cannot be invoked: {why}"))
    }

    /// Somebody invokes the global one of two commands with the same name: clients list it beside
    /// the guild's own.
    pub fn slash_globally(&self, user: Id, channel: Id, command: &str, options: &Value) -> Id {
        let offered = Offered::Globally;
        self.lock()
            .slash(user, channel, command, options, offered)
            .unwrap_or_else(|why| panic!("/{command} cannot be invoked: {why}"))
    }

    /// An earlier bot of the same application has registered a global command, which is of
    /// type 1 and has a description unless the JSON says otherwise.
    pub fn add_global_command(&self, command: &Value) {
        let mut given = serde_json::json!({ "type": 1, "description": "of an earlier bot" });
        objects::extend(&mut given, command.clone());
        self.lock().leave_command(&given);
    }

    /// Somebody types in the option `focused` of a slash command, which makes
    /// their client ask the bot for suggestions. `options` are those typed so
    /// far, `focused` among them or still empty. Panics where a client would not
    /// ask: an option that is not registered with `autocomplete`.
    pub fn autocomplete(
        &self,
        user: Id,
        channel: Id,
        command: &str,
        options: &Value,
        focused: &str,
    ) -> Id {
        self.try_autocomplete(user, channel, command, options, focused)
            .unwrap_or_else(|why| panic!("/{command} asks for no suggestions: {why}"))
    }

    /// The same, but says why it cannot be done.
    pub fn try_autocomplete(
        &self,
        user: Id,
        channel: Id,
        command: &str,
        options: &Value,
        focused: &str,
    ) -> Result<Id, String> {
        self.lock()
            .autocomplete(user, channel, command, options, focused)
    }

    /// Somebody presses a button on one of the bot's messages.
    pub fn click(&self, user: Id, message: Id, custom_id: &str) -> Id {
        self.try_click(user, message, custom_id)
            .unwrap_or_else(|why| panic!("{custom_id} cannot be pressed: {why}"))
    }

    /// The same, but says why it cannot be done: the message is gone or hidden,
    /// or has no such button, or one that is disabled.
    pub fn try_click(&self, user: Id, message: Id, custom_id: &str) -> Result<Id, String> {
        self.try_choose(user, message, custom_id, &[])
    }

    /// Somebody presses a button, or chooses values in a menu; says why if that
    /// cannot be done.
    pub fn try_choose(
        &self,
        user: Id,
        message: Id,
        custom_id: &str,
        values: &[&str],
    ) -> Result<Id, String> {
        self.lock().click(user, message, custom_id, values)
    }

    /// Sends a click with any `custom_id` on any message, as a hostile client
    /// might.
    pub fn forge_click(&self, user: Id, message: Id, custom_id: &str) -> Id {
        self.lock()
            .forge(user, message, custom_id)
            .unwrap_or_else(|why| panic!("{custom_id} cannot be forged: {why}"))
    }

    /// A new account, in no guild yet. Its name can be used in [`Sim::user`].
    pub fn add_person(&self, name: &str) -> Id {
        let mut state = self.lock();
        let id = state.clock.snowflake();
        let user = User {
            id,
            username: name.to_owned(),
            global_name: None,
            avatar: None,
            bot: false,
        };
        state.users.insert(id, user);
        state.names.insert(name.to_owned(), id);
        id
    }

    /// Somebody opens a post of this name in the forum that is the message's channel. Post and
    /// message have one id, and as long as nobody answers, the post has no last message.
    pub fn open_post(&self, name: &str, starter: Message) -> Id {
        self.lock().open_post(name, starter)
    }

    /// A thread is put away, as after some days of silence. No event tells.
    pub fn archive(&self, thread: Id) {
        let mut state = self.lock();
        let now = state.clock.now_ms();
        if let Some(thread) = state.channels.get_mut(&thread) {
            thread.archived_at_ms = Some(now);
        }
    }

    /// Somebody adds the bot to a private thread.
    pub fn add_bot(&self, thread: Id) {
        self.lock().joined.insert(thread);
    }

    /// Somebody joins the guild (again); panics if they are banned or have no
    /// account any more.
    pub fn join(&self, user: Id) {
        let mut state = self.lock();
        let guild = state.main_guild;
        state.join(guild, user, false);
    }

    /// Somebody joins the guild and has not passed its screening yet.
    pub fn join_pending(&self, user: Id) {
        let mut state = self.lock();
        let guild = state.main_guild;
        state.join(guild, user, true);
    }

    /// Discord says of a member that they have joined, although they have been there all the time:
    /// it does so when somebody shows up in the list of members. Nothing about them changes.
    pub fn join_again(&self, user: Id) {
        let mut state = self.lock();
        let guild = state.main_guild;
        let told = state.tell_join_again(guild, user);
        assert!(told, "{user} is no member");
    }

    /// Somebody passes the guild's screening.
    pub fn pass_screening(&self, user: Id) {
        self.change_member(user, |member| member.pending = false);
    }

    /// Somebody begins with the guild's onboarding.
    pub fn start_onboarding(&self, user: Id) {
        self.change_member(user, |member| member.flags |= STARTED_ONBOARDING);
    }

    /// Somebody comes to the end of the guild's onboarding.
    pub fn complete_onboarding(&self, user: Id) {
        let done = STARTED_ONBOARDING | COMPLETED_ONBOARDING;
        self.change_member(user, |member| member.flags |= done);
    }

    /// A moderator lets somebody in without any verification.
    pub fn bypass_verification(&self, user: Id) {
        self.change_member(user, |member| member.flags |= BYPASSES_VERIFICATION);
    }

    /// The guild's administrators switch onboarding on or off.
    pub fn onboarding(&self, enabled: bool) {
        self.lock().change_guild(|guild| guild.onboarding = enabled);
    }

    /// The guild's owner hands the guild over to another member.
    pub fn hand_over(&self, user: Id) {
        self.lock().change_guild(|guild| guild.owner = user);
    }

    /// The guild's owner demands two-factor authentication of whoever moderates, or no more.
    pub fn require_two_factor(&self, required: bool) {
        self.lock()
            .change_guild(|guild| guild.two_factor = required);
    }

    /// Somebody leaves the guild.
    pub fn leave(&self, user: Id) {
        let mut state = self.lock();
        let guild = state.main_guild;
        state.leave(guild, user);
    }

    /// Somebody's name in the guild changes.
    pub fn nick(&self, user: Id, nick: Option<&str>) {
        self.change_member(user, |member| member.nick = nick.map(Into::into));
    }

    /// Somebody's avatar for this guild changes.
    pub fn guild_avatar(&self, user: Id, hash: Option<&str>) {
        self.change_member(user, |member| member.avatar = hash.map(Into::into));
    }

    /// A human gives somebody a role.
    pub fn grant(&self, user: Id, role: Id) {
        self.change_member(user, |member| {
            member.roles.insert(role);
        });
    }

    /// A human takes a role from somebody.
    pub fn revoke(&self, user: Id, role: Id) {
        self.change_member(user, |member| {
            member.roles.remove(&role);
        });
    }

    /// A human makes a role, which is the lowest.
    pub fn create_role(&self, name: &str, permissions: u64) -> Id {
        self.new_role(name, permissions, |_| None)
    }

    /// A service makes a role that it alone gives and takes.
    pub fn create_managed_role(&self, name: &str) -> Id {
        self.new_role(name, 0, |id| Some(Manager::Integration(id)))
    }

    /// A human renames a role.
    pub fn rename_role(&self, role: Id, name: &str) {
        self.change_role(role, |role| role.name = stored_name(name));
    }

    /// A human changes what a role permits.
    pub fn role_permissions(&self, role: Id, permissions: u64) {
        self.change_role(role, |role| role.permissions = permissions);
    }

    /// A human moves a role to a position (1 is the lowest) among the others,
    /// also above the bot's own.
    pub fn move_role(&self, role: Id, position: u64) {
        let mut state = self.lock();
        let guild = state.main_guild;
        let moved = state.move_role(guild, role, position);
        assert!(moved, "there is no role {role} to move");
    }

    /// A human deletes a role.
    pub fn delete_role(&self, role: Id) {
        let mut state = self.lock();
        let guild = state.main_guild;
        let deleted = role != guild && state.delete_role(guild, role);
        assert!(deleted, "there is no role {role} to delete");
    }

    /// A human renames a channel or thread.
    pub fn rename_channel(&self, channel: Id, name: &str) {
        let renamed = self.lock().rename_channel(channel, name);
        assert!(renamed, "there is no channel {channel} to rename");
    }

    /// A human sets what a channel allows and denies the holders of a role; with neither, what was
    /// set before is lifted. The guild's id is the role @everyone.
    pub fn overwrite(&self, channel: Id, role: Id, allow: u64, deny: u64) {
        let mut state = self.lock();
        let guild = state.main_guild;
        let roles = state.guilds.get(&guild).map(|guild| &guild.roles);
        let is_role = roles.is_some_and(|roles| roles.contains_key(&role));
        assert!(is_role, "there is no role {role}");
        let overwrite = Overwrite {
            target: role,
            member: false,
            allow,
            deny,
        };
        let is_set = state.set_overwrite(channel, overwrite);
        assert!(is_set, "there is no channel {channel} with overwrites");
    }

    /// A human makes a text channel, which everyone sees.
    pub fn create_channel(&self, name: &str) -> Id {
        self.create_channel_in(name, ChannelKind::Text, None)
    }

    /// A human makes a channel of this kind in a category, or outside all.
    pub fn create_channel_in(&self, name: &str, kind: ChannelKind, category: Option<Id>) -> Id {
        let mut state = self.lock();
        let (guild, id) = (state.main_guild, state.clock.snowflake());
        let mut channel = Channel::new(id, kind, name);
        assert!(!channel.is_thread(), "a thread is opened in a channel");
        channel.parent = category;
        state.create_channel(guild, channel);
        id
    }

    /// A human opens a thread in a text channel.
    pub fn open_thread(&self, channel: Id, name: &str) -> Id {
        self.lock().open_thread(channel, name)
    }

    /// A human moves a channel into a category, or out of all.
    pub fn move_channel(&self, channel: Id, category: Option<Id>) {
        let moved = self.lock().move_channel(channel, category);
        assert!(moved, "{channel} cannot be moved there");
    }

    /// A human deletes a channel or thread.
    pub fn delete_channel(&self, channel: Id) {
        let deleted = self.lock().delete_channel(channel);
        assert!(deleted, "there is no channel {channel} to delete");
    }

    /// A human bans somebody, who leaves if they are there.
    pub fn ban(&self, user: Id) {
        let mut state = self.lock();
        let guild = state.main_guild;
        assert!(state.user(user).is_some(), "there is no user {user} to ban");
        state.ban(guild, user);
    }

    /// A human lifts a ban.
    pub fn unban(&self, user: Id) {
        let mut state = self.lock();
        let guild = state.main_guild;
        state.unban(guild, user);
    }

    /// Somebody's username changes (also in [`Sim::user`]).
    pub fn username(&self, user: Id, name: &str) {
        let mut state = self.lock();
        if state.ended.contains_key(&user) {
            return;
        }
        state.names.retain(|_, id| *id != user);
        state.names.insert(name.to_owned(), user);
        state.change_user(user, |account| name.clone_into(&mut account.username));
    }

    /// Somebody's display name changes.
    pub fn global_name(&self, user: Id, name: Option<&str>) {
        let change = |account: &mut User| account.global_name = name.map(Into::into);
        self.lock().change_user(user, change);
    }

    /// Somebody's avatar changes.
    pub fn avatar(&self, user: Id, hash: Option<&str>) {
        let change = |account: &mut User| account.avatar = hash.map(Into::into);
        self.lock().change_user(user, change);
    }

    /// Somebody deletes their account: they leave every guild, and are shown as
    /// `deleted_user_…`, without a display name or an avatar, from then on.
    pub fn delete_account(&self, user: Id) {
        let deleted = self.lock().end_account(user, End::Deleted);
        assert!(deleted, "there is no account {user} to delete");
    }

    /// An account is gone without a trace: it leaves every guild, and nobody of
    /// this id is known (10013) from then on.
    pub fn erase_account(&self, user: Id) {
        let erased = self.lock().end_account(user, End::Erased);
        assert!(erased, "there is no account {user} to erase");
    }

    /// An account that was deleted or erased is back as it was, in no guild yet.
    pub fn restore_account(&self, user: Id) {
        self.lock().ended.remove(&user);
    }

    /// Every generated member of a range takes another username, as while the bot
    /// was away: no event tells.
    pub fn rename_members(&self, range: Range<u32>) {
        self.lock().rename_generated(range);
    }

    /// Every generated member of a range takes another avatar (also those who had
    /// none), as while the bot was away: no event tells.
    pub fn change_avatars(&self, range: Range<u32>) {
        self.lock().redraw_generated(range);
    }

    fn new_role(
        &self,
        name: &str,
        permissions: u64,
        manager: impl FnOnce(Id) -> Option<Manager>,
    ) -> Id {
        let mut state = self.lock();
        let (guild, id) = (state.main_guild, state.clock.snowflake());
        let managed_by = manager(state.clock.snowflake());
        let role = Role {
            managed_by,
            ..Role::new(id, name, permissions)
        };
        state.create_role(guild, role);
        id
    }

    fn change_role(&self, role: Id, change: impl FnOnce(&mut Role)) {
        let mut state = self.lock();
        let guild = state.main_guild;
        let changed = state.change_role(guild, role, change);
        assert!(changed, "there is no role {role} to change");
    }

    fn change_member(&self, user: Id, change: impl FnOnce(&mut Member)) {
        let mut state = self.lock();
        let guild = state.main_guild;
        state.change_member(guild, user, change);
    }
}
