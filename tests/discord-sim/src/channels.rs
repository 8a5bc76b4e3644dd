//! Channels that come and go, and what goes with them.
//!
//! Whether the bot may do it is asked in `rest/channels.rs`.

use serde_json::json;

use crate::clock::Id;
use crate::gateway::Event;
use crate::message::Message;
use crate::objects::text;
use crate::permissions::Overwrite;
use crate::state::{Channel, State};
use crate::world::ChannelKind;

impl State {
    /// Adds a channel below the others and tells of it.
    pub(crate) fn create_channel(&mut self, guild: Id, mut channel: Channel) {
        let positions = self.guild_channels(guild).map(|channel| channel.position);
        channel.position = positions.max().map_or(0, |last| last + 1);
        channel.guild = Some(guild);
        let json = self.channel_object(&channel);
        self.channels.insert(channel.id, channel);
        self.dispatch(Event::in_guild("CHANNEL_CREATE", guild, json));
    }

    /// Opens a post in the forum that is the message's channel, with this message in it.
    pub(crate) fn open_post(&mut self, name: &str, starter: Message) -> Id {
        let id = starter.id.unwrap_or_else(|| self.clock.snowflake());
        let forum = starter.channel;
        let Some(found) = self.channels.get_mut(&forum) else {
            panic!("there is no forum {forum}");
        };
        assert_eq!(found.kind, ChannelKind::Forum, "{} is no forum", found.name);
        found.last_message = found.last_message.max(Some(id));
        let guild = found.guild.unwrap_or_default();
        let post = Channel {
            guild: Some(guild),
            parent: Some(forum),
            ..Channel::new(id, ChannelKind::Thread, name)
        };
        let json = self.channel_object(&post);
        self.channels.insert(id, post);
        if !starter.quiet {
            self.dispatch(Event::in_guild("THREAD_CREATE", guild, json));
        }
        let starter = Message {
            channel: id,
            ..starter.id(id)
        };
        self.post(starter);
        if let Some(post) = self.channels.get_mut(&id) {
            post.last_message = None;
        }
        id
    }

    /// Opens a thread without a message in a channel, and tells of it to those who see it.
    pub(crate) fn open_thread(&mut self, channel: Id, name: &str) -> Id {
        let id = self.clock.snowflake();
        let found = self.channels.get(&channel);
        let guild = found.filter(|found| found.kind == ChannelKind::Text);
        let guild = guild.and_then(|found| found.guild);
        let guild = guild.unwrap_or_else(|| panic!("{channel} holds no threads without posts"));
        let thread = Channel {
            guild: Some(guild),
            parent: Some(channel),
            ..Channel::new(id, ChannelKind::Thread, name)
        };
        let mut json = self.channel_object(&thread);
        json["newly_created"] = true.into();
        let visible = self.bot_may_view(&thread);
        self.channels.insert(id, thread);
        if visible {
            self.dispatch(Event::in_guild("THREAD_CREATE", guild, json));
        }
        id
    }

    /// Moves a channel into a category or out of all, and tells of it; false if it is a thread or
    /// a category, which cannot move, or if there is no such category.
    pub(crate) fn move_channel(&mut self, id: Id, category: Option<Id>) -> bool {
        let kind_of = |id: Id| self.channels.get(&id).map(|channel| channel.kind);
        let is_category = |id| kind_of(id) == Some(ChannelKind::Category);
        if !category.is_none_or(is_category) || is_category(id) {
            return false;
        }
        let found = self.channels.get_mut(&id);
        let Some(channel) = found.filter(|channel| !channel.is_thread()) else {
            return false;
        };
        channel.parent = category;
        let channel = channel.clone();
        let Some(guild) = channel.guild else {
            return false;
        };
        let json = self.channel_object(&channel);
        self.dispatch(Event::in_guild("CHANNEL_UPDATE", guild, json));
        true
    }

    /// Gives a channel or thread another name and tells of it; false if there is none.
    pub(crate) fn rename_channel(&mut self, id: Id, name: &str) -> bool {
        let Some(channel) = self.channels.get_mut(&id) else {
            return false;
        };
        name.clone_into(&mut channel.name);
        let channel = channel.clone();
        let Some(guild) = channel.guild else {
            return false;
        };
        let event = if channel.is_thread() {
            "THREAD_UPDATE"
        } else {
            "CHANNEL_UPDATE"
        };
        let json = self.channel_object(&channel);
        self.dispatch(Event::in_guild(event, guild, json));
        true
    }

    /// Sets what a channel allows and denies a role or a member, and tells of it; false if there is
    /// no such channel, or if it is a thread, which has its parent's.
    pub(crate) fn set_overwrite(&mut self, id: Id, overwrite: Overwrite) -> bool {
        let found = self.channels.get_mut(&id);
        let Some(channel) = found.filter(|channel| !channel.is_thread()) else {
            return false;
        };
        let others = |set: &Overwrite| set.target != overwrite.target;
        channel.overwrites.retain(others);
        if overwrite.allow | overwrite.deny != 0 {
            channel.overwrites.push(overwrite);
        }
        let channel = channel.clone();
        let Some(guild) = channel.guild else {
            return false;
        };
        let json = self.channel_object(&channel);
        self.dispatch(Event::in_guild("CHANNEL_UPDATE", guild, json));
        true
    }

    /// Deletes a channel or thread with its messages; false if there is none. Its
    /// threads go without a word; what stood in a category stays, without it.
    pub(crate) fn delete_channel(&mut self, id: Id) -> bool {
        let Some(deleted) = self.channels.get(&id).cloned() else {
            return false;
        };
        let Some(guild) = deleted.guild else {
            return false;
        };
        let json = self.channel_object(&deleted);
        let hanging = self.guild_channels(guild);
        let hanging: Vec<Channel> = hanging
            .filter(|channel| channel.parent == Some(id))
            .cloned()
            .collect();
        self.forget_channel(id);
        for child in hanging {
            if child.is_thread() {
                self.forget_channel(child.id);
            } else {
                self.orphan(guild, child.id);
            }
        }
        let event = if deleted.is_thread() {
            let json = json!({
                "id": text(id),
                "guild_id": text(guild),
                "parent_id": deleted.parent.map(text),
                "type": deleted.kind.number(),
            });
            Event::in_guild("THREAD_DELETE", guild, json)
        } else {
            Event::in_guild("CHANNEL_DELETE", guild, json)
        };
        self.dispatch(event);
        true
    }

    fn orphan(&mut self, guild: Id, child: Id) {
        let Some(channel) = self.channels.get_mut(&child) else {
            return;
        };
        channel.parent = None;
        let channel = channel.clone();
        let json = self.channel_object(&channel);
        self.dispatch(Event::in_guild("CHANNEL_UPDATE", guild, json));
    }

    fn forget_channel(&mut self, id: Id) {
        self.channels.remove(&id);
        self.messages.remove(&id);
        self.joined.remove(&id);
    }
}
