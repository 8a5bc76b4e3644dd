//! Members come, pass the screening, change their names and avatars, and go.
//!
//! Only says whose roles are to be looked at, and what was seen of them; gives nobody any.

use serenity::all::{
    GuildId, GuildMemberAddEvent, GuildMemberRemoveEvent, GuildMemberUpdateEvent,
    GuildMembersChunkEvent, ImageHash, User,
};

use super::Listeners;
use super::message::account;
use crate::discord::wire::{BareMemberEvent, storable};
use crate::leveling::{Membership, Sighting, UserId};

/// Someone joined.
pub(super) fn on_add(listeners: &Listeners, event: &GuildMemberAddEvent) {
    let member = &event.member;
    if member.user.bot || member.guild_id != GuildId::from(listeners.guild) {
        return;
    }
    if let Ok(user) = member.user.id.try_into() {
        let seen = seen(&member.user, member.nick.as_ref(), member.avatar.as_ref());
        listeners.sightings.heard(user, &seen);
        joined(listeners, user, member.pending);
    }
}

/// Something of a member changed.
pub(super) fn on_update(listeners: &Listeners, event: &GuildMemberUpdateEvent) {
    if event.user.bot || event.guild_id != GuildId::from(listeners.guild) {
        return;
    }
    if let Ok(user) = event.user.id.try_into() {
        let seen = seen(&event.user, event.nick.as_ref(), event.avatar.as_ref());
        listeners.sightings.heard(user, &seen);
        changed(listeners, user, event.pending);
    }
}

/// Someone joined or changed whom serenity could not parse.
pub(super) fn on_bare_member(listeners: &Listeners, event: BareMemberEvent, joins: bool) {
    let pending = event.pending;
    if event.guild_id != GuildId::from(listeners.guild) {
        return;
    }
    if let Some((user, seen)) = event.seen() {
        listeners.sightings.heard(user, &seen);
        if joins {
            joined(listeners, user, pending);
        } else {
            changed(listeners, user, pending);
        }
    }
}

/// Someone left, or was made to.
pub(super) fn on_remove(listeners: &Listeners, event: &GuildMemberRemoveEvent) {
    if event.guild_id == GuildId::from(listeners.guild)
        && let Ok(user) = event.user.id.try_into()
    {
        listeners.book.awaited(user);
    }
}

/// Some members, as they were asked for.
pub(super) fn on_chunk(listeners: &Listeners, event: &GuildMembersChunkEvent) {
    if event.guild_id != GuildId::from(listeners.guild) {
        return;
    }
    for member in event.members.values().filter(|member| !member.user.bot) {
        let seen = seen(&member.user, member.nick.as_ref(), member.avatar.as_ref());
        if let Ok(user) = member.user.id.try_into() {
            listeners.sightings.heard(user, &seen);
        }
    }
}

/// What was seen of a member.
pub(super) fn seen(user: &User, nickname: Option<&String>, avatar: Option<&ImageHash>) -> Sighting {
    storable(Sighting {
        account: account(user),
        member: Some(Membership {
            nickname: nickname.cloned(),
            avatar_hash: avatar.map(ToString::to_string),
        }),
    })
}

/// Whoever must pass the screening first is waited for, and looked at all the same: that they
/// have passed it may have been heard of before this.
fn joined(listeners: &Listeners, user: UserId, pending: bool) {
    if pending {
        listeners.book.awaits(user);
    }
    tell(listeners, user);
}

/// Perhaps they have passed the screening.
fn changed(listeners: &Listeners, user: UserId, pending: bool) {
    if pending {
        listeners.book.awaits(user);
    } else if listeners.book.awaited(user) {
        tell(listeners, user);
    }
}

fn tell(listeners: &Listeners, user: UserId) {
    let known = listeners.xp.get(user);
    // Who has never earned anything has no level role to get.
    if known.is_some_and(|user| user.standing.is_tracked()) {
        // Nobody reads any more when the bot ends; the next session looks at everyone.
        let _ = listeners.members.send(user);
    }
}
