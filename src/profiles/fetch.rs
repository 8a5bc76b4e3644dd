//! Looks one user up: as a member, else as an account, else not at all.

use crate::discord::member_states::Seen;
use crate::discord::{RestError, guild};
use crate::environment::Environment;
use crate::leveling::{Sighting, UserId};

/// What Discord says of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Names and avatars, as they are now.
    There(Sighting),
    /// The account is no more.
    Gone,
}

/// One call for a member, of whose state is taken note; two for anybody else. Who is in the guild
/// is there, whatever they are called.
pub(super) async fn fetch(env: &Environment, user: UserId) -> Result<Found, RestError> {
    if let Some(member) = guild::member(&env.rest, env.guild, user).await? {
        env.members.observe(user, member.screening, Seen::There);
        let nameless = RestError::NotUnderstood("a member has no name".to_owned());
        return member.seen.map(Found::There).ok_or(nameless);
    }
    Ok(match guild::account(&env.rest, user).await? {
        Some(seen) if !seen.looks_deleted() => Found::There(seen),
        _ => Found::Gone,
    })
}
