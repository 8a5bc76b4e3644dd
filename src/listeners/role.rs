//! A role was changed or deleted: by a human, or by the bot itself.
//!
//! Only says what is to be looked at again; follows nobody by what an event says.

use serenity::all::{Role, RoleId};

use super::Listeners;
use crate::leveling::Level;

/// A role has another name, other rights, or another place. A level's new name is followed.
pub(super) fn on_update(listeners: &Listeners, role: &Role) {
    listeners.book.forget();
    let level = level_of(listeners, role.id);
    if level.is_some_and(|level| level.role_name.as_deref() != Some(&role.name)) {
        listeners.verifications.levels_soon();
    }
}

/// A role is gone. If a level carries it, moderators are asked what is to become of that.
pub(super) fn on_delete(listeners: &Listeners, role: RoleId) {
    listeners.book.forget();
    if level_of(listeners, role).is_some() {
        listeners.verifications.levels_soon();
    }
}

fn level_of(listeners: &Listeners, role: RoleId) -> Option<Level> {
    let role = role.try_into().ok()?;
    let levels = listeners.xp.levels();
    let mut rows = levels.rows().iter();
    rows.find(|level| level.role_id == Some(role)).cloned()
}
