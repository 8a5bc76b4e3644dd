//! The sentences that tell moderators why a level's role cannot be changed.

use crate::commands::context::Error;
use crate::commands::respond::sentence_for;
use crate::discord::RestError;
use crate::discord::rest::error_codes::{TOO_MANY_ROLES, UNKNOWN_ROLE};
use crate::error::UserError;
use crate::leveling::{CannotDelete, Levels, NamingRefusal, RoleId, RoleName, RoleStays, escape};
use crate::roles::{RoleProblem, why_it_stays};

const GONE: &str = "That role is no longer in the guild.";

pub(super) fn role_is_gone() -> UserError {
    UserError(GONE.to_owned())
}

pub(super) fn no_role(id: RoleId) -> UserError {
    UserError(format!(
        "There is no role with the id {id} in this server. Type the role's name, or mention the role."
    ))
}

pub(super) fn no_level(levels: &Levels, typed: &str) -> UserError {
    let free: Vec<u16> = levels
        .rows()
        .iter()
        .filter(|level| level.role_name.is_none())
        .map(|level| level.number.0)
        .collect();
    let free = match &free[..] {
        [] => "All levels have a role.".to_owned(),
        free => format!("Levels without a role: {}.", ranges(free)),
    };
    UserError(format!("There is no level {typed}. {free}"))
}

/// Says why a level cannot carry the role, or a role of this name.
pub(super) fn refused(refusal: &NamingRefusal<'_>, name: &RoleName) -> UserError {
    let role = match refusal {
        NamingRefusal::Managed(role)
        | NamingRefusal::OutOfReach(role)
        | NamingRefusal::Moderates(role) => &role.name,
        NamingRefusal::BelongsTo(_) | NamingRefusal::GivesRights | NamingRefusal::Several(_) => {
            name.as_str()
        }
    };
    UserError(RoleProblem::from(refusal).sentences(&escape(role)))
}

/// Says why a moderator may delete no role at all, or not this one.
pub(super) fn cannot_delete(why: CannotDelete) -> UserError {
    UserError(match why {
        CannotDelete::LacksManageRoles => {
            "You need the permission Manage Roles to delete a role. Ask someone who has it, or give it to a role of \
             yours in Server Settings, Roles."
                .to_owned()
        }
        CannotDelete::NotBelowTheirs => {
            "You can only delete roles that are below your own highest role.".to_owned()
        }
    })
}

/// Says why a role is not deleted.
pub(super) fn stays(name: &str, stays: &RoleStays<'_>) -> UserError {
    let (name, why) = (escape(name), why_it_stays(stays));
    UserError(format!("The role {name} stays: {why}."))
}

/// Turns the error of a call into a sentence that tells the moderator what to do. An error that
/// they can do nothing about is returned as it is, and ends up in the log.
pub(super) fn call_failed(error: RestError, what: &str) -> Error {
    let RestError::Refused { status, code, .. } = error else {
        return error.into();
    };
    let sentence = match (code, status) {
        (TOO_MANY_ROLES, _) => {
            "The guild has as many roles as Discord allows. Delete one first.".to_owned()
        }
        (UNKNOWN_ROLE, _) => GONE.to_owned(),
        (_, 403) => format!(
            "Discord does not let me {what}: I need the Manage Roles permission, and my role must be above that one."
        ),
        _ => return error.into(),
    };
    UserError(sentence).into()
}

/// Appends to an error what the moderator has to do next.
pub(super) fn with_next_step(error: Error, next_step: &str) -> Error {
    let why = match error.downcast::<UserError>() {
        Ok(UserError(why)) => why,
        Err(error) => sentence_for(&error, "set_level_name"),
    };
    UserError(format!("{why} {next_step}")).into()
}

/// Writes ascending numbers as ranges: `0–4, 6, 8–9`.
fn ranges(numbers: &[u16]) -> String {
    let mut stretches: Vec<(u16, u16)> = Vec::new();
    for &number in numbers {
        match stretches.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => stretches.push((number, number)),
        }
    }
    let show = |(first, last): &(u16, u16)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}–{last}")
        }
    };
    stretches.iter().map(show).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_of_numbers_are_short() {
        for (numbers, shown) in [
            (&[][..], ""),
            (&[5], "5"),
            (&[0, 1, 2, 4, 6, 7], "0–2, 4, 6–7"),
        ] {
            assert_eq!(ranges(numbers), shown);
        }
    }
}
