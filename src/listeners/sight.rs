//! What an event shows of whom it is about: names and avatars, as serenity parsed them.
//! Bots are not looked at: nobody's leaderboard shows them.

use serenity::all::{
    GuildMemberAddEvent, GuildMemberUpdateEvent, GuildMembersChunkEvent, ImageHash, Member,
    Message, User,
};

use crate::discord::wire::storable;
use crate::leveling::{Account, Membership, Sighting, UserId};

/// Of a message, its author.
pub(super) fn of_author(message: &Message) -> Sighting {
    let member = message.member.as_ref();
    Sighting {
        account: account(&message.author),
        member: member.map(|member| membership(member.nick.as_ref(), member.avatar.as_ref())),
    }
}

/// Of a member who joined.
pub(super) fn of_added(event: &GuildMemberAddEvent) -> Option<(UserId, Sighting)> {
    of_member(&event.member)
}

/// Of a member who changed.
pub(super) fn of_updated(event: &GuildMemberUpdateEvent) -> Option<(UserId, Sighting)> {
    sight(
        &event.user,
        membership(event.nick.as_ref(), event.avatar.as_ref()),
    )
}

/// Of members who were asked for.
pub(super) fn in_chunk(
    event: &GuildMembersChunkEvent,
) -> impl Iterator<Item = (UserId, Sighting)> + '_ {
    event.members.values().filter_map(of_member)
}

fn of_member(member: &Member) -> Option<(UserId, Sighting)> {
    sight(
        &member.user,
        membership(member.nick.as_ref(), member.avatar.as_ref()),
    )
}

fn sight(user: &User, member: Membership) -> Option<(UserId, Sighting)> {
    let id = user.id.try_into().ok().filter(|_| !user.bot)?;
    let seen = Sighting {
        account: account(user),
        member: Some(member),
    };
    Some((id, storable(seen)))
}

fn account(user: &User) -> Account {
    Account {
        username: user.name.clone(),
        display_name: user.global_name.clone(),
        avatar_hash: user.avatar.as_ref().map(ToString::to_string),
    }
}

fn membership(nickname: Option<&String>, avatar: Option<&ImageHash>) -> Membership {
    Membership {
        nickname: nickname.cloned(),
        avatar_hash: avatar.map(ToString::to_string),
    }
}
