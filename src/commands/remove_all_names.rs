//! `.remove_level_name all`: takes the names off all levels and, if the moderator wants that,
//! deletes their roles.
//!
//! One transaction takes the names off and notes which roles are to be deleted; then Discord is
//! asked for one role after the other. Cut off anywhere, the same command goes on where it was.

use std::collections::BTreeSet;
use std::time::Duration;

use super::answering::MessageRef;
use super::naming::{Scene, roles_and_bot_position};
use super::progress::ProgressPace;
use super::rights::guild_roles;
use super::{Data, Error, sentence_for};
use crate::discord::buttons::{self, Look, Wish};
use crate::discord::reply::Reply;
use crate::discord::{RestError, guild};
use crate::error::UserError;
use crate::leveling::{
    BELOW_ALL_ROLES, GuildRole, NameRemoval, Refusal, RoleId, RolePosition, RoleStays, escape,
    may_be_deleted,
};
use crate::store::{self, role_deletion};

/// How long the database may take to read or forget a role.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest of Discord's rate limits that is waited for.
const LONGEST_LIMIT: Duration = Duration::from_mins(2);
/// Characters of a list of roles in an answer; of more roles only the number is said.
const LIST_LENGTH: usize = 1_200;

/// What a moderator has agreed to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    /// So many levels lose their names at most.
    pub levels: usize,
    /// So many roles are deleted, or stay, at most.
    pub roles: usize,
    /// Whether the roles are deleted.
    pub delete: bool,
}

/// Asks the moderator to confirm, and to choose whether the roles stay or are deleted.
pub(super) async fn ask(scene: &Scene<'_>) -> Result<Reply, Error> {
    let roles = guild_roles(scene.data).await?;
    let removal = removal(scene.data, &roles).await?;
    if removal.is_empty() {
        return Err(nothing_to_do());
    }
    Ok(question(scene, &removal, &roles))
}

/// Does what a moderator has agreed to, and asks again if it would be more than that by now. Says
/// in `answer` how far it is.
pub(super) async fn carry_out(
    scene: &Scene<'_>,
    agreed: Agreed,
    answer: &MessageRef,
) -> Result<Reply, Error> {
    let data = scene.data;
    // Nobody names a level meanwhile.
    let mut alone = data.setting.names.lock().await?;
    let (roles, bot_position) = if agreed.delete {
        roles_and_bot_position(scene).await?
    } else {
        (guild_roles(data).await?, BELOW_ALL_ROLES)
    };
    let removal = removal(data, &roles).await?;
    if removal.is_empty() {
        return Err(nothing_to_do());
    }
    if removal.levels > agreed.levels || removal.roles.len() > agreed.roles {
        return Ok(question(scene, &removal, &roles));
    }
    let NameRemoval {
        levels,
        roles: concerned,
    } = removal;
    let delete = if agreed.delete {
        concerned.clone()
    } else {
        BTreeSet::new()
    };
    alone.take_all_off(&delete).await?;
    drop(alone);
    data.setting.book.forget();
    tracing::info!(by = %scene.caller, levels, delete = delete.len(), "all levels' names were taken off");
    // The council may have been told that some of the roles are missing.
    data.setting.verifications.levels_soon();
    let taken_off = match levels {
        0 => String::new(),
        1 => "1 level no longer has a name. ".to_owned(),
        levels => format!("{levels} levels no longer have a name. "),
    };
    if !agreed.delete {
        let stay = match concerned.len() {
            0 => String::new(),
            1 => "1 role stays in the guild, and its members keep it.".to_owned(),
            count => format!("{count} roles stay in the guild, and their members keep them."),
        };
        return Ok(Reply::text((taken_off + &stay).trim_end()));
    }
    let roles: Vec<_> = roles
        .into_iter()
        .filter(|role| delete.contains(&role.id))
        .collect();
    let deletion = Deletion::run(scene, &roles, bot_position, answer).await;
    Ok(Reply::text(taken_off + &deletion.in_words(roles.len())))
}

/// What there is to take off and to delete now.
async fn removal(data: &Data, roles: &[GuildRole]) -> Result<NameRemoval, Error> {
    let left_over = store::within(DATABASE_TIMEOUT, async {
        let mut session = data.setting.database.acquire().await?;
        role_deletion::all(&mut session).await
    });
    let left_over = left_over.await?;
    Ok(NameRemoval::new(
        &data.setting.xp.levels(),
        roles,
        &left_over,
    ))
}

fn nothing_to_do() -> Error {
    UserError("No level has a name.".to_owned()).into()
}

fn question(scene: &Scene<'_>, removal: &NameRemoval, roles: &[GuildRole]) -> Reply {
    let NameRemoval {
        levels,
        roles: concerned,
    } = removal;
    let (levels, count) = (*levels, concerned.len());
    let wish = |delete| Wish::RemoveNames {
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
    let mut choice = vec![(wish(false), keep.as_str(), Look::Dangerous)];
    if count > 0 {
        choice.push((wish(true), delete.as_str(), Look::Dangerous));
    }
    choice.push((Wish::Leave, "Cancel", Look::Plain));
    Reply::text(format!("{lost}{in_the_guild}{warning}"))
        .with_buttons(buttons::row(scene.caller, &choice))
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

/// What has come of deleting roles.
#[derive(Default)]
struct Deletion {
    /// How many are gone.
    deleted: usize,
    /// Those that stay: what they are called, and why.
    staying: Vec<String>,
    /// Whether some of those could be deleted once the bot is allowed to.
    is_worth_repeating: bool,
    /// Why the rest was not tried.
    cut_off: Option<String>,
}

/// What has come of deleting one.
enum Deleted {
    Gone,
    /// The reason; and whether it stays noted, since the bot may be able to delete it later.
    Stays {
        why: String,
        for_now: bool,
    },
}

impl Deletion {
    /// Deletes roles, one after the other.
    async fn run(
        scene: &Scene<'_>,
        roles: &[GuildRole],
        bot_position: RolePosition,
        answer: &MessageRef,
    ) -> Self {
        let mut deletion = Self::default();
        let mut pace = ProgressPace::start();
        for (done, role) in roles.iter().enumerate() {
            if pace.is_due() {
                let so_far = format!("One moment … Deleted {done} of {} roles.", roles.len());
                let told = answer.rewrite(&scene.data.rest, &Reply::text(so_far)).await;
                if let Err(error) = told {
                    tracing::debug!(%error, "progress could not be shown");
                }
                pace.edited();
            }
            match delete(scene, role, bot_position).await {
                Ok(Deleted::Gone) => {
                    deletion.deleted += 1;
                    forget(scene.data, role.id).await;
                }
                Ok(Deleted::Stays { why, for_now }) => {
                    deletion
                        .staying
                        .push(format!("{} ({why})", escape(&role.name)));
                    deletion.is_worth_repeating |= for_now;
                    if !for_now {
                        forget(scene.data, role.id).await;
                    }
                }
                Err(error) => {
                    deletion.cut_off = Some(sentence_for(&error, "remove_level_name"));
                    break;
                }
            }
        }
        tracing::info!(
            by = %scene.caller,
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

/// Deletes a role, unless it must stay.
async fn delete(
    scene: &Scene<'_>,
    role: &GuildRole,
    bot_position: RolePosition,
) -> Result<Deleted, Error> {
    let data = scene.data;
    loop {
        // For one role at a time: moderators may give levels names between two.
        let alone = data.setting.names.lock().await?;
        let rights = data.setting.rights.protected();
        if let Err(stays) = may_be_deleted(&data.setting.xp.levels(), bot_position, &rights, role) {
            return Ok(Deleted::staying(&stays));
        }
        let reason = scene.reason("no longer a level role");
        let deleted = guild::delete_role(&data.rest, data.setting.guild, role.id, &reason).await;
        drop(alone);
        match deleted {
            Ok(()) => return Ok(Deleted::Gone),
            Err(RestError::Limited { wait, .. }) if wait <= LONGEST_LIMIT => {
                tokio::time::sleep(wait).await;
            }
            Err(error @ RestError::Refused { .. }) => {
                tracing::warn!(role = %role.id, %error, "a level role could not be deleted");
                return Ok(Deleted::Stays {
                    why: "Discord does not let me delete it".to_owned(),
                    for_now: true,
                });
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl Deleted {
    fn staying(stays: &RoleStays<'_>) -> Self {
        let (why, for_now) = match stays {
            RoleStays::CarriedBy(level) => (format!("level {level} carries it again"), false),
            RoleStays::GivesRights => (
                "it gives its members rights over the bot; delete it in Discord if you want it gone".to_owned(),
                false,
            ),
            RoleStays::OutOfHand(Refusal::Managed(_)) => {
                ("it belongs to an integration".to_owned(), false)
            }
            RoleStays::OutOfHand(_) => ("it is not below my own role".to_owned(), true),
        };
        Self::Stays { why, for_now }
    }
}

/// A role that is still noted although it is gone is passed over the next time.
async fn forget(data: &Data, role: RoleId) {
    let forgotten = store::within(DATABASE_TIMEOUT, async {
        let mut session = data.setting.database.acquire().await?;
        role_deletion::forget(&mut session, role).await
    });
    if let Err(error) = forgotten.await {
        tracing::warn!(%error, "the record of a role to delete could not be removed");
    }
}

/// Names with commas between them, as many as fit.
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
