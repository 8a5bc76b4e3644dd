//! Members come, pass the screening, change their names and avatars, and go.
//!
//! Only says whose roles are to be looked at, and what was seen of them; gives nobody any.

use serenity::all::UserId as TheirUserId;

use super::{Listeners, role};
use crate::discord::member_states::Seen;
use crate::discord::payload::{MemberEvent, MemberRemoval};
use crate::leveling::UserId;

/// Someone joined. It may also be said of a member who was there already.
pub(super) fn on_join(listeners: &Listeners, event: MemberEvent) {
    if let Some(user) = event.user().filter(|_| listeners.serves(event.guild_id)) {
        listeners.env.members.is_back(user);
    }
    observe(listeners, event, Seen::Joining);
}

/// Something of a member changed.
pub(super) fn on_update(listeners: &Listeners, event: MemberEvent) {
    if event.user_id() == TheirUserId::from(listeners.bot) {
        // What the bot itself may do has changed, perhaps.
        role::look_again(listeners);
    }
    observe(listeners, event, Seen::There);
}

/// Someone left, or was made to.
pub(super) fn on_leave(listeners: &Listeners, event: &MemberRemoval) {
    if listeners.serves(event.guild_id)
        && let Ok(user) = UserId::try_from(event.user.id)
    {
        // Of those who never earned anything nothing is said anyway.
        if listeners.env.xp.get(user).is_some() {
            listeners.env.members.has_left(user);
        } else {
            listeners.env.members.waits_no_more(user);
        }
    }
}

fn observe(listeners: &Listeners, event: MemberEvent, how: Seen) {
    if listeners.serves(event.guild_id)
        && let Some(user) = event.user()
    {
        let screening = event.screening();
        if let Some(seen) = event.seen() {
            listeners.sightings.heard(user, seen);
        }
        listeners.env.members.observe(user, screening, how);
    }
}
