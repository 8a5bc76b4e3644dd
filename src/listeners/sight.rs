//! What an event shows of whom it is about: names and avatars, as serenity parsed them.
//! Bots are not looked at: nobody's leaderboard shows them.
//!
//! serenity reads a field that is empty and one that is not there as the same `None`: such a
//! field is unclear, and nobody loses a name by it.

use serenity::all::{
    GuildMemberAddEvent, GuildMemberUpdateEvent, GuildMembersChunkEvent, ImageHash, Member,
    Message, User,
};

use crate::discord::wire::storable;
use crate::leveling::{Field, Sighting, UserId};

/// Of a message, its author.
pub(super) fn of_author(message: &Message) -> Sighting {
    let member = message.member.as_ref();
    Sighting {
        nickname: member.map_or(Field::Unseen, |member| text(member.nick.as_ref())),
        guild_avatar_hash: member.map_or(Field::Unseen, |member| hash(member.avatar.as_ref())),
        ..account(&message.author)
    }
}

/// Of a member who joined.
pub(super) fn of_added(event: &GuildMemberAddEvent) -> Option<(UserId, Sighting)> {
    of_member(&event.member)
}

/// Of a member who changed.
pub(super) fn of_updated(event: &GuildMemberUpdateEvent) -> Option<(UserId, Sighting)> {
    sight(&event.user, event.nick.as_ref(), event.avatar.as_ref())
}

/// Of members who were asked for.
pub(super) fn in_chunk(
    event: &GuildMembersChunkEvent,
) -> impl Iterator<Item = (UserId, Sighting)> + '_ {
    event.members.values().filter_map(of_member)
}

fn of_member(member: &Member) -> Option<(UserId, Sighting)> {
    sight(&member.user, member.nick.as_ref(), member.avatar.as_ref())
}

fn sight(
    user: &User,
    nickname: Option<&String>,
    avatar: Option<&ImageHash>,
) -> Option<(UserId, Sighting)> {
    let id = user.id.try_into().ok().filter(|_| !user.bot)?;
    let seen = Sighting {
        nickname: text(nickname),
        guild_avatar_hash: hash(avatar),
        ..account(user)
    };
    Some((id, storable(seen)))
}

fn account(user: &User) -> Sighting {
    Sighting {
        username: user.name.clone(),
        display_name: text(user.global_name.as_ref()),
        avatar_hash: hash(user.avatar.as_ref()),
        ..Sighting::default()
    }
}

fn text(value: Option<&String>) -> Field {
    Field::from_parsed(value.cloned())
}

fn hash(value: Option<&ImageHash>) -> Field {
    Field::from_parsed(value.map(ToString::to_string))
}
