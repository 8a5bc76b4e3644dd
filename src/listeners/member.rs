//! Members come, pass the screening, change their names and avatars, and go.
//!
//! Only says whose roles are to be looked at, and what was seen of them; gives nobody any.

use serenity::all::{
    GuildId, GuildMemberAddEvent, GuildMemberRemoveEvent, GuildMemberUpdateEvent,
    GuildMembersChunkEvent,
};

use super::Listeners;
use super::sight::{in_chunk, of_added, of_updated};
use crate::discord::wire::BareMemberEvent;
use crate::leveling::UserId;

/// Someone joined.
pub(super) fn on_add(listeners: &Listeners, event: &GuildMemberAddEvent) {
    if event.member.guild_id == GuildId::from(listeners.guild)
        && let Some((user, seen)) = of_added(event)
    {
        listeners.sightings.heard(user, seen);
        joined(listeners, user, event.member.pending);
    }
}

/// Something of a member changed.
pub(super) fn on_update(listeners: &Listeners, event: &GuildMemberUpdateEvent) {
    if event.guild_id == GuildId::from(listeners.guild)
        && let Some((user, seen)) = of_updated(event)
    {
        listeners.sightings.heard(user, seen);
        changed(listeners, user, event.pending);
    }
}

/// Someone joined or changed whom serenity could not parse.
pub(super) fn on_bare_member(listeners: &Listeners, event: BareMemberEvent, joins: bool) {
    let pending = event.is_pending();
    if event.guild_id != GuildId::from(listeners.guild) {
        return;
    }
    if let Some(user) = event.user() {
        if let Some(seen) = event.seen() {
            listeners.sightings.heard(user, seen);
        }
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
    if event.guild_id == GuildId::from(listeners.guild) {
        for (user, seen) in in_chunk(event) {
            listeners.sightings.heard(user, seen);
        }
    }
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
        listeners.members.look_at(user);
    }
}
