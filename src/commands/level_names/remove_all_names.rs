//! `.remove_level_name all`: takes the names off all levels and, if the moderator wants that,
//! deletes their roles.
//!
//! One transaction removes the names and records which roles are to be deleted. Then the bot
//! deletes the roles in Discord one by one. If it is interrupted, the same command, typed again,
//! deletes the rest.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{RoleEdit, say};
use crate::commands::context::{Data, Error};
use crate::commands::progress::ProgressPace;
use crate::commands::respond::{MessageRef, sentence_for};
use crate::commands::rights::guild_roles;
use crate::discord::RestError;
use crate::discord::guild::roles;
use crate::discord::messages::button_labels;
use crate::discord::messages::buttons::{self, ButtonAction, ButtonStyle};
use crate::discord::messages::reply::Reply;
use crate::error::UserError;
use crate::leveling::{
    BELOW_ALL_ROLES, CannotDelete, GuildRole, NameRemoval, NamingRefusal, RoleId, RoleManager,
    RolePosition, RoleStays, escape, may_be_deleted,
};
use crate::roles::why_it_stays;
use crate::store::{self, role_deletion};

const DATABASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum wait for a rate limit. If Discord asks for a longer one, no more roles are deleted.
const RATE_LIMIT_MAX: Duration = Duration::from_mins(2);
/// Maximum length of a list of roles in an answer, in characters. Further roles are only counted.
const LIST_LENGTH: usize = 1_200;

/// What a moderator has confirmed.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands) struct Confirmed {
    /// Maximum number of levels that lose their names.
    pub levels: usize,
    /// Maximum number of level roles that are deleted, or kept.
    pub roles: usize,
    /// Whether the roles are deleted or kept.
    pub delete: bool,
}

/// Asks the moderator to confirm, and to choose whether the roles stay or are deleted.
pub(super) async fn ask(edit: RoleEdit<'_>) -> Result<Reply, Error> {
    let roles = guild_roles(edit.data).await?;
    let removal = removal(edit.data, &roles).await?;
    if removal.is_empty() {
        return Err(nothing_to_do());
    }
    Ok(question(edit, &removal, &roles))
}

/// Carries out what a moderator has confirmed, or asks again if there is more to remove by now.
/// Shows progress in `answer`. Changes nothing if the roles are to be deleted and the moderator may
/// not delete roles.
pub(in crate::commands) async fn carry_out(
    edit: RoleEdit<'_>,
    manager: &RoleManager,
    confirmed: Confirmed,
    answer: &MessageRef,
) -> Result<Reply, Error> {
    let data = edit.data;
    // While this lock is held, no level gets a name.
    let mut lock = data.bot.roles.names.lock().await?;
    let (roles, bot_position) = if confirmed.delete {
        let (roles, bot_position) = edit.roles_and_bot_position().await?;
        manager.may_manage(&roles).map_err(nothing_changed)?;
        (roles, bot_position)
    } else {
        (guild_roles(data).await?, BELOW_ALL_ROLES)
    };
    let removal = removal(data, &roles).await?;
    if removal.is_empty() {
        return Err(nothing_to_do());
    }
    if removal.levels > confirmed.levels || removal.roles.len() > confirmed.roles {
        return Ok(question(edit, &removal, &roles));
    }
    let NameRemoval {
        levels,
        roles: concerned,
    } = removal;
    let delete = if confirmed.delete {
        concerned.clone()
    } else {
        BTreeSet::new()
    };
    lock.clear_all(&delete).await?;
    drop(lock);
    data.bot.roles.book.forget();
    tracing::info!(by = %edit.caller, levels, delete = delete.len(), "the names of all levels were removed");
    // Comparing the levels with the guild's roles also removes the council's notices of missing
    // roles.
    data.bot.roles.schedule.levels_soon();
    let taken_off = match levels {
        0 => String::new(),
        1 => "1 level no longer has a name. ".to_owned(),
        levels => format!("{levels} levels no longer have a name. "),
    };
    if !confirmed.delete {
        let stay = match concerned.len() {
            0 => String::new(),
            1 => "1 role stays in the guild, and its members keep it.".to_owned(),
            count => format!("{count} roles stay in the guild, and their members keep them."),
        };
        return Ok(Reply::text((taken_off + &stay).trim_end()));
    }
    let guild = GuildNow {
        roles: &roles,
        bot_position,
        manager,
    };
    let deletion = Deletion::run(edit, guild, &delete, answer).await;
    Ok(Reply::text(taken_off + &deletion.in_words(delete.len())))
}

/// The names to remove, and the roles to delete if the moderator wants that: those of the levels,
/// and those that an interrupted removal has left.
async fn removal(data: &Data, roles: &[GuildRole]) -> Result<NameRemoval, Error> {
    let left_over = store::within(DATABASE_TIMEOUT, async {
        let mut session = data.bot.env.database.acquire().await?;
        role_deletion::all(&mut session).await
    });
    let left_over = left_over.await?;
    Ok(NameRemoval::new(
        &data.bot.env.xp.levels(),
        roles,
        &left_over,
    ))
}

fn nothing_to_do() -> Error {
    UserError("No level has a name.".to_owned()).into()
}

fn nothing_changed(why: CannotDelete) -> Error {
    let UserError(why) = say::cannot_delete(why);
    UserError(format!(
        "{why} Nothing is changed; you can take off the names and keep the roles."
    ))
    .into()
}

fn question(edit: RoleEdit<'_>, removal: &NameRemoval, roles: &[GuildRole]) -> Reply {
    let NameRemoval {
        levels,
        roles: concerned,
    } = removal;
    let (levels, count) = (*levels, concerned.len());
    let action = |delete| ButtonAction::RemoveAllNames {
        levels,
        roles: count,
        delete,
    };
    let lost = levels_in_words(levels);
    let names = roles.iter().filter(|role| concerned.contains(&role.id));
    let names = list(names.map(|role| escape(&role.name)));
    let in_the_guild = match count {
        0 => String::new(),
        1 => format!(" 1 level role is in the guild: {names}."),
        count => format!(" {count} level roles are in the guild: {names}."),
    };
    let (keep, delete) = match (levels, count) {
        (0, _) => ("Keep them".to_owned(), roles_to_delete(count, "")),
        (_, 0) => (
            format!("Take off {}", names_in_words(levels)),
            String::new(),
        ),
        _ => (
            format!(
                "Take off {}, keep {}",
                names_in_words(levels),
                if count == 1 { "the role" } else { "the roles" }
            ),
            roles_to_delete(count, " too"),
        ),
    };
    let warning = if count == 0 {
        ""
    } else {
        " If you delete a role, everyone who has it loses it, and this cannot be undone."
    };
    let mut choice = vec![(action(false), keep.as_str(), ButtonStyle::Danger)];
    if count > 0 {
        choice.push((action(true), delete.as_str(), ButtonStyle::Danger));
    }
    choice.push((
        ButtonAction::KeepAsIs,
        button_labels::CANCEL,
        ButtonStyle::Secondary,
    ));
    Reply::text(format!("{lost}{in_the_guild}{warning}"))
        .with_buttons(buttons::row(edit.caller, &choice))
}

fn levels_in_words(levels: usize) -> String {
    match levels {
        0 => "No level has a name any more, but roles of former levels are left.".to_owned(),
        1 => "1 level has a name.".to_owned(),
        levels => format!("{levels} levels have a name."),
    }
}

fn names_in_words(levels: usize) -> String {
    if levels == 1 {
        "1 name".to_owned()
    } else {
        format!("{levels} names")
    }
}

fn roles_to_delete(count: usize, too: &str) -> String {
    if count == 1 {
        format!("Delete the role{too}")
    } else {
        format!("Delete the {count} roles{too}")
    }
}

/// The result for all roles.
#[derive(Default)]
struct Deletion {
    deleted: usize,
    /// The names of the roles that stay, and why.
    staying: Vec<String>,
    /// Whether the bot could delete some of those once it is allowed to.
    is_worth_repeating: bool,
    /// Why the remaining roles were not tried.
    cut_off: Option<String>,
}

/// The result for one role.
enum DeletionResult {
    Gone,
    Stays {
        why: String,
        /// Whether the role stays recorded, because the bot may be able to delete it later.
        for_now: bool,
    },
}

/// What decides which roles may be deleted, besides the levels.
#[derive(Clone, Copy)]
struct GuildNow<'a> {
    roles: &'a [GuildRole],
    bot_position: RolePosition,
    /// The moderator, with the roles that they hold.
    manager: &'a RoleManager,
}

impl Deletion {
    async fn run(
        edit: RoleEdit<'_>,
        guild: GuildNow<'_>,
        delete: &BTreeSet<RoleId>,
        answer: &MessageRef,
    ) -> Self {
        let mut deletion = Self::default();
        let mut pace = ProgressPace::start();
        let roles = guild.roles.iter().filter(|role| delete.contains(&role.id));
        for (done, role) in roles.enumerate() {
            if pace.is_due() {
                let so_far = format!("One moment … Deleted {done} of {} roles.", delete.len());
                let told = answer
                    .rewrite(&edit.data.bot.env.rest, &Reply::text(so_far))
                    .await;
                if let Err(error) = told {
                    tracing::debug!(%error, "progress could not be shown");
                }
                pace.edited();
            }
            match delete_role(edit, guild, role).await {
                Ok(DeletionResult::Gone) => {
                    deletion.deleted += 1;
                    forget(edit.data, role.id).await;
                }
                Ok(DeletionResult::Stays { why, for_now }) => {
                    deletion
                        .staying
                        .push(format!("{} ({why})", escape(&role.name)));
                    deletion.is_worth_repeating |= for_now;
                    if !for_now {
                        forget(edit.data, role.id).await;
                    }
                }
                Err(error) => {
                    deletion.cut_off = Some(sentence_for(&error, "remove_level_name"));
                    break;
                }
            }
        }
        tracing::info!(
            by = %edit.caller,
            deleted = deletion.deleted,
            staying = deletion.staying.len(),
            "level roles were deleted"
        );
        deletion
    }

    fn in_words(&self, of: usize) -> String {
        let mut sentences = vec![match self.deleted {
            deleted if deleted < of => format!("{deleted} of {of} roles are deleted."),
            1 => "The role is deleted.".to_owned(),
            deleted => format!("{deleted} roles are deleted."),
        }];
        if !self.staying.is_empty() {
            let stays = if self.staying.len() == 1 {
                "This one stays"
            } else {
                "These stay"
            };
            sentences.push(format!("{stays}: {}.", list(self.staying.iter().cloned())));
        }
        if let Some(why) = &self.cut_off {
            sentences.push(format!(
                "{why} Type `remove_level_name all` again to delete the rest."
            ));
        } else if self.is_worth_repeating {
            sentences.push(
                "When that is fixed, type `remove_level_name all` again to delete the rest."
                    .to_owned(),
            );
        }
        sentences.join(" ")
    }
}

async fn delete_role(
    edit: RoleEdit<'_>,
    guild: GuildNow<'_>,
    role: &GuildRole,
) -> Result<DeletionResult, Error> {
    let data = edit.data;
    loop {
        // Locked for each role separately, so that moderators can name levels in between.
        let lock = data.bot.roles.names.lock().await?;
        let rights = data.rights.protected();
        let may_be = may_be_deleted(&data.bot.env.xp.levels(), guild.bot_position, &rights, role);
        let is_theirs = || {
            let allowed = guild.manager.may_delete(guild.roles, role);
            allowed.map_err(RoleStays::NotTheirs)
        };
        if let Err(stays) = may_be.and_then(|()| is_theirs()) {
            return Ok(DeletionResult::staying(&stays));
        }
        let reason = edit.reason("no longer a level role");
        let deleted = roles::delete(&data.bot.env.rest, data.bot.env.guild, role.id, &reason).await;
        drop(lock);
        match deleted {
            Ok(()) => return Ok(DeletionResult::Gone),
            Err(RestError::Limited { wait, .. }) if wait <= RATE_LIMIT_MAX => {
                tokio::time::sleep(wait).await;
            }
            Err(error @ RestError::Refused { .. }) => {
                tracing::warn!(role = %role.id, %error, "a level role could not be deleted");
                return Ok(DeletionResult::Stays {
                    why: "Discord does not let me delete it".to_owned(),
                    for_now: true,
                });
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl DeletionResult {
    fn staying(stays: &RoleStays<'_>) -> Self {
        Self::Stays {
            why: why_it_stays(stays),
            for_now: matches!(
                stays,
                RoleStays::OutOfHand(NamingRefusal::OutOfReach(_)) | RoleStays::NotTheirs(_)
            ),
        }
    }
}

/// Removes a role from the record of roles to delete. If this fails, the next removal skips the
/// role if it is gone, and tries to delete it again if it is not.
async fn forget(data: &Data, role: RoleId) {
    let forgotten = store::within(DATABASE_TIMEOUT, async {
        let mut session = data.bot.env.database.acquire().await?;
        role_deletion::forget(&mut session, role).await
    });
    if let Err(error) = forgotten.await {
        tracing::warn!(%error, "the record of a role to delete could not be removed");
    }
}

/// The names that fit into [`LIST_LENGTH`], separated by commas, and the number of the others.
fn list(names: impl Iterator<Item = String>) -> String {
    let (mut shown, mut length, mut more) = (Vec::new(), 0, 0);
    for name in names {
        length += name.chars().count() + 2;
        if length > LIST_LENGTH && !shown.is_empty() {
            more += 1;
        } else {
            shown.push(name);
        }
    }
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_room_in_a_message() {
        let names = |count: usize| (0..count).map(|number| format!("{number:0>100}"));
        assert_eq!(list(names(2)).matches(", ").count(), 1);
        let long = list(names(100));
        assert!(long.chars().count() < 1_300, "{long}");
        assert!(long.ends_with(", and 89 more"), "{long}");
        assert_eq!(list(std::iter::empty()), "");
    }

    #[test]
    fn what_became_of_the_roles_is_said() {
        let staying = || vec!["A (why)".to_owned()];
        for (deletion, of, said) in [
            (
                Deletion {
                    deleted: 1,
                    ..Deletion::default()
                },
                1,
                "The role is deleted.",
            ),
            (
                Deletion {
                    deleted: 2,
                    ..Deletion::default()
                },
                2,
                "2 roles are deleted.",
            ),
            (
                Deletion {
                    deleted: 2,
                    staying: staying(),
                    ..Deletion::default()
                },
                3,
                "2 of 3 roles are deleted. This one stays: A (why).",
            ),
            (
                Deletion {
                    staying: staying(),
                    is_worth_repeating: true,
                    ..Deletion::default()
                },
                1,
                "0 of 1 roles are deleted. This one stays: A (why). When that is fixed, type `remove_level_name \
                 all` again to delete the rest.",
            ),
            (
                Deletion {
                    deleted: 1,
                    cut_off: Some("Why.".to_owned()),
                    ..Deletion::default()
                },
                3,
                "1 of 3 roles are deleted. Why. Type `remove_level_name all` again to delete the rest.",
            ),
        ] {
            assert_eq!(deletion.in_words(of), said);
        }
    }
}
