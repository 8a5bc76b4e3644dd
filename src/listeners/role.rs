//! A role was changed or deleted: by a human, or by the bot itself.
//!
//! Only says what is to be looked at again; follows nobody by what an event says.

use serenity::all::{Role, RoleId};

use super::Listeners;

/// A role has another name, other rights, or another place. A level's new name is followed, and
/// what was wrong with its role may be right now.
pub(super) fn on_update(listeners: &Listeners, role: &Role) {
    listeners.book.forget();
    if is_a_levels(listeners, role.id) {
        listeners.verifications.levels_soon();
    }
}

/// A role is gone. If a level carries it, moderators are asked what is to become of that.
pub(super) fn on_delete(listeners: &Listeners, role: RoleId) {
    listeners.book.forget();
    if is_a_levels(listeners, role) {
        listeners.verifications.levels_soon();
    }
}

fn is_a_levels(listeners: &Listeners, role: RoleId) -> bool {
    let levels = listeners.xp.levels();
    role.try_into()
        .is_ok_and(|role| levels.carrying(role).is_some())
}
