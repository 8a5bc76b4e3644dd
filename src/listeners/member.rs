//! Members join, pass the screening, change their names and avatars, leave, and are banned.
//!
//! Passes on which members' roles may have to change, and the profiles and bans that the events
//! show.
//! Assigns no role itself.

use serenity::all::UserId as TheirUserId;

use super::{Listeners, role};
use crate::discord::guild::member_states::ShownBy;
use crate::discord::payload::{MemberEvent, MemberRemoval};
use crate::leveling::{RoleId, UserId};
use crate::xp::Observation;

/// A member joined. Discord also sends this for a member who was in the guild already.
pub(super) fn on_join(listeners: &Listeners, event: MemberEvent) {
    if let Some(user) = event.user().filter(|_| listeners.serves(event.guild_id)) {
        listeners.bot.env.members.is_back(user);
    }
    observe(listeners, event, ShownBy::Join);
}

/// A member's profile, roles or screening changed.
pub(super) fn on_update(listeners: &Listeners, event: MemberEvent) {
    if event.user_id() == TheirUserId::from(listeners.bot.id) {
        // The bot's own roles may have changed, and with them the roles that it can assign.
        role::recheck_levels(listeners);
    }
    observe(listeners, event, ShownBy::Other);
}

/// A member left, was kicked or banned.
pub(super) fn on_leave(listeners: &Listeners, event: &MemberRemoval) {
    if listeners.serves(event.guild_id)
        && let Ok(user) = UserId::try_from(event.user.id)
    {
        holds(listeners, user, &[]);
        // A level-up message must not mention a member who left. Users without XP get no such
        // message, so for them only the waiting for roles ends.
        if listeners.bot.env.xp.get(user).is_some() {
            listeners.bot.env.members.has_left(user);
        } else {
            listeners.bot.env.members.waits_no_more(user);
        }
    }
}

/// A user was banned. If they were a member, Discord sends their removal afterwards.
pub(super) fn on_ban(listeners: &Listeners, event: &MemberRemoval) {
    on_leave(listeners, event);
    hear_of_ban(listeners, event, true);
}

/// A ban was lifted.
pub(super) fn on_ban_lifted(listeners: &Listeners, event: &MemberRemoval) {
    hear_of_ban(listeners, event, false);
}

fn hear_of_ban(listeners: &Listeners, event: &MemberRemoval, banned: bool) {
    if listeners.serves(event.guild_id)
        && let Ok(user) = UserId::try_from(event.user.id)
    {
        listeners.bans.heard(user, banned);
    }
}

fn observe(listeners: &Listeners, event: MemberEvent, how: ShownBy) {
    if listeners.serves(event.guild_id)
        && let Some(user) = event.user()
    {
        if let Some(roles) = event.roles() {
            holds(listeners, user, roles);
        }
        let screening = event.screening();
        if let Some(seen) = event.seen() {
            listeners.profiles.heard(user, seen);
        }
        listeners.bot.env.members.observe(user, screening, how);
    }
}

/// Passes on a member's roles to the engine if a rule on XP is about a role.
fn holds(listeners: &Listeners, user: UserId, roles: &[RoleId]) {
    if listeners.bot.env.xp.xp_rules().names_roles() {
        listeners.observed(Observation::Member(user, roles.into()));
    }
}
