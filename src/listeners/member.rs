//! Members come, pass the screening, change their names and avatars, and go.
//!
//! Only says whose roles are to be looked at, and what was seen of them; gives nobody any.

use serenity::all::{
    self as theirs, GuildId, GuildMemberAddEvent, GuildMemberUpdateEvent, GuildMembersChunkEvent,
    Member,
};

use super::Listeners;
use super::sight::{in_chunk, of_added, of_updated};
use crate::discord::member_states::Seen;
use crate::discord::wire::BareMemberEvent;
use crate::leveling::{Screening, Timestamp, UserId};

/// Someone joined.
pub(super) fn on_add(listeners: &Listeners, event: &GuildMemberAddEvent) {
    if event.member.guild_id == GuildId::from(listeners.guild)
        && let Some((user, seen)) = of_added(event)
    {
        listeners.sightings.heard(user, seen);
        let screening = screening_of(&event.member);
        listeners.states.is_back(user);
        listeners.states.observe(user, screening, Seen::Joining);
    }
}

/// Something of a member changed.
pub(super) fn on_update(listeners: &Listeners, event: &GuildMemberUpdateEvent) {
    if event.guild_id == GuildId::from(listeners.guild)
        && let Some((user, seen)) = of_updated(event)
    {
        listeners.sightings.heard(user, seen);
        let screening = Screening {
            pending: event.pending,
            flags: event.flags.map(|flags| flags.bits().into()),
            joined_at: time(event.joined_at),
        };
        listeners.states.observe(user, screening, Seen::There);
    }
}

/// Someone joined or changed whom serenity could not parse.
pub(super) fn on_bare_member(listeners: &Listeners, event: BareMemberEvent, joins: bool) {
    let screening = event.screening();
    if event.guild_id != GuildId::from(listeners.guild) {
        return;
    }
    if let Some(user) = event.user() {
        if let Some(seen) = event.seen() {
            listeners.sightings.heard(user, seen);
        }
        let seen = if joins { Seen::Joining } else { Seen::There };
        if joins {
            listeners.states.is_back(user);
        }
        listeners.states.observe(user, screening, seen);
    }
}

/// Someone left, or was made to.
pub(super) fn on_remove(listeners: &Listeners, guild: GuildId, user: theirs::UserId) {
    if guild == GuildId::from(listeners.guild)
        && let Ok(user) = UserId::try_from(user)
    {
        // Of those who never earned anything nothing is said anyway.
        if listeners.xp.get(user).is_some() {
            listeners.states.has_left(user);
        } else {
            listeners.states.waits_no_more(user);
        }
    }
}

/// Some members, as they were asked for.
pub(super) fn on_chunk(listeners: &Listeners, event: &GuildMembersChunkEvent) {
    if event.guild_id == GuildId::from(listeners.guild) {
        for (user, seen) in in_chunk(event) {
            listeners.sightings.heard(user, seen);
        }
        for member in event.members.values().filter(|member| !member.user.bot) {
            if let Ok(user) = member.user.id.try_into() {
                let screening = screening_of(member);
                listeners.states.observe(user, screening, Seen::There);
            }
        }
    }
}

fn screening_of(member: &Member) -> Screening {
    Screening {
        pending: member.pending,
        flags: Some(member.flags.bits().into()),
        joined_at: member.joined_at.and_then(time),
    }
}

fn time(time: theirs::Timestamp) -> Option<Timestamp> {
    Timestamp::from_millis(time.timestamp_millis())
}
