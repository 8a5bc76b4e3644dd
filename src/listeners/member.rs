//! Members come, pass the screening, and go.
//!
//! Only says whose roles are to be looked at; gives nobody any.

use serenity::all::{GuildId, GuildMemberAddEvent, GuildMemberRemoveEvent, GuildMemberUpdateEvent};

use super::Listeners;
use crate::leveling::UserId;

/// Someone joined. Whoever must pass the screening first is waited for, and looked at all the
/// same: that they have passed it may have been heard of before this.
pub(super) fn on_add(listeners: &Listeners, event: &GuildMemberAddEvent) {
    let member = &event.member;
    if member.user.bot || member.guild_id != GuildId::from(listeners.guild) {
        return;
    }
    if let Ok(user) = member.user.id.try_into() {
        if member.pending {
            listeners.book.awaits(user);
        }
        tell(listeners, user);
    }
}

/// Something of a member changed: perhaps that they have passed the screening.
pub(super) fn on_update(listeners: &Listeners, event: &GuildMemberUpdateEvent) {
    if event.guild_id != GuildId::from(listeners.guild) {
        return;
    }
    if let Ok(user) = event.user.id.try_into() {
        if event.pending {
            listeners.book.awaits(user);
        } else if listeners.book.awaited(user) {
            tell(listeners, user);
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

fn tell(listeners: &Listeners, user: UserId) {
    let known = listeners.xp.get(user);
    // Who has never earned anything has no level role to get.
    if known.is_some_and(|user| user.standing.is_tracked()) {
        // Nobody reads any more when the bot ends; the next session looks at everyone.
        let _ = listeners.members.send(user);
    }
}
