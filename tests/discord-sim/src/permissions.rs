//! Who may do what where: Discord's permission bits and how they add up.

use crate::clock::Id;
use crate::state::{Channel, Guild, State};
use crate::world::ChannelKind;

/// See a channel at all.
pub const VIEW_CHANNEL: u64 = 1 << 10;
/// Ban people, and see who is banned.
pub const BAN_MEMBERS: u64 = 1 << 2;
/// Make, change and delete channels.
pub const MANAGE_CHANNELS: u64 = 1 << 4;
/// Write in a channel.
pub const SEND_MESSAGES: u64 = 1 << 11;
/// Delete what others wrote, pin messages.
pub const MANAGE_MESSAGES: u64 = 1 << 13;
/// Have links and embeds shown.
pub const EMBED_LINKS: u64 = 1 << 14;
/// Send files.
pub const ATTACH_FILES: u64 = 1 << 15;
/// Read what was written before, and reply to it.
pub const READ_MESSAGE_HISTORY: u64 = 1 << 16;
/// Ping everyone, and roles that are not mentionable.
pub const MENTION_EVERYONE: u64 = 1 << 17;
/// See every thread, also the private ones, and put them away.
pub const MANAGE_THREADS: u64 = 1 << 34;
/// Grant and edit roles.
pub const MANAGE_ROLES: u64 = 1 << 28;
/// Run slash commands.
pub const USE_APPLICATION_COMMANDS: u64 = 1 << 31;
/// Write in threads.
pub const SEND_MESSAGES_IN_THREADS: u64 = 1 << 38;
/// Everything, everywhere.
pub const ADMINISTRATOR: u64 = 1 << 3;
const ADD_REACTIONS: u64 = 1 << 6;
/// Join a voice channel, and read what is written in it.
pub const CONNECT: u64 = 1 << 20;
const SPEAK: u64 = 1 << 21;
const CREATE_PUBLIC_THREADS: u64 = 1 << 35;
/// Every bit that Discord has given a meaning.
pub(crate) const ALL: u64 = (1 << 53) - 1;

/// What everyone may do in a usual guild.
pub const EVERYONE: u64 = VIEW_CHANNEL
    | SEND_MESSAGES
    | EMBED_LINKS
    | ATTACH_FILES
    | READ_MESSAGE_HISTORY
    | ADD_REACTIONS
    | USE_APPLICATION_COMMANDS
    | CONNECT
    | SPEAK
    | CREATE_PUBLIC_THREADS
    | SEND_MESSAGES_IN_THREADS;

/// What the bot's own role brings.
pub const BOT: u64 = EVERYONE | MANAGE_MESSAGES | MANAGE_ROLES | MANAGE_CHANNELS;

/// An exception for one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overwrite {
    /// The role or member it is about.
    pub target: Id,
    /// Whether `target` is a member rather than a role.
    pub member: bool,
    /// What is granted.
    pub allow: u64,
    /// What is taken away.
    pub deny: u64,
}

impl State {
    /// What a member may do in a channel. A thread's rights are its parent's; of private
    /// threads it is only known whether the bot is in them.
    pub(crate) fn permissions_in(&self, channel: &Channel, user: Id) -> u64 {
        let Some(guild) = channel.guild.and_then(|id| self.guilds.get(&id)) else {
            return EVERYONE;
        };
        let of = if channel.is_thread() {
            channel
                .parent
                .and_then(|parent| self.channels.get(&parent))
                .unwrap_or(channel)
        } else {
            channel
        };
        let base = guild.permissions(user);
        if base & ADMINISTRATOR != 0 {
            return ALL;
        }
        let roles = guild
            .member(user)
            .map(|member| member.roles)
            .unwrap_or_default();
        let mut granted = base;
        let mut apply = |allow: u64, deny: u64| granted = granted & !deny | allow;
        let about = |wanted: &dyn Fn(&Overwrite) -> bool| {
            of.overwrites
                .iter()
                .filter(|overwrite| wanted(overwrite))
                .fold((0, 0), |(allow, deny), overwrite| {
                    (allow | overwrite.allow, deny | overwrite.deny)
                })
        };
        let (allow, deny) = about(&|overwrite| overwrite.target == guild.id);
        apply(allow, deny);
        let (allow, deny) =
            about(&|overwrite| !overwrite.member && roles.contains(&overwrite.target));
        apply(allow, deny);
        let (allow, deny) = about(&|overwrite| overwrite.member && overwrite.target == user);
        apply(allow, deny);
        let shut_out = channel.kind == ChannelKind::PrivateThread
            && user == self.bot
            && !self.joined.contains(&channel.id);
        if shut_out && granted & MANAGE_THREADS == 0 {
            granted &= !VIEW_CHANNEL;
        }
        granted
    }
}

impl Guild {
    /// What a member may do in the guild, before any channel's exceptions.
    pub(crate) fn permissions(&self, user: Id) -> u64 {
        if self.owner == user {
            return ALL;
        }
        let Some(member) = self.member(user) else {
            return 0;
        };
        let granted = self
            .roles
            .values()
            .filter(|role| role.id == self.id || member.roles.contains(&role.id))
            .fold(0, |all, role| all | role.permissions);
        if granted & ADMINISTRATOR == 0 {
            granted
        } else {
            ALL
        }
    }
}
