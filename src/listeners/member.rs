//! Members come, pass the screening, and go.
//!
//! Only says whose roles are to be looked at; gives nobody any.

use serenity::all::{
    GuildId, GuildMemberAddEvent, GuildMemberRemoveEvent, GuildMemberUpdateEvent, UserId,
};

use super::Listeners;

/// Someone joined. Whoever must pass the screening first is waited for.
pub(super) fn on_add(listeners: &Listeners, event: &GuildMemberAddEvent) {
    let member = &event.member;
    if member.user.bot || member.guild_id != GuildId::from(listeners.guild) {
        return;
    }
    if member.pending {
        listeners.pending.insert(member.user.id);
    } else {
        tell(listeners, member.user.id);
    }
}

/// Something of a member changed: perhaps that they have passed the screening.
pub(super) fn on_update(listeners: &Listeners, event: &GuildMemberUpdateEvent) {
    if event.guild_id != GuildId::from(listeners.guild) {
        return;
    }
    let user = event.user.id;
    if event.pending {
        listeners.pending.insert(user);
    } else if listeners.pending.remove(&user).is_some() {
        tell(listeners, user);
    }
}

/// Someone left, or was made to.
pub(super) fn on_remove(listeners: &Listeners, event: &GuildMemberRemoveEvent) {
    if event.guild_id == GuildId::from(listeners.guild) {
        listeners.pending.remove(&event.user.id);
    }
}

fn tell(listeners: &Listeners, user: UserId) {
    if let Ok(user) = user.try_into() {
        // Nobody reads any more when the bot ends; the next session looks at everyone.
        let _ = listeners.members.send(user);
    }
}
