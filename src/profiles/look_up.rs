//! Looks one user up: as a member, else as an account, else not at all.

use crate::discord::member_states::{MemberStates, Seen};
use crate::discord::{Rest, RestError, guild};
use crate::leveling::{GuildId, Sighting, UserId};

/// What Discord says of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Names and avatars, as they are now.
    There(Sighting),
    /// The account is no more.
    Gone,
}

/// One call for a member, of whom `states` learns too; two for anybody else. Who is in the guild
/// is there, whatever they are called.
pub(super) async fn look_up(
    rest: &Rest,
    guild: GuildId,
    states: &MemberStates,
    user: UserId,
) -> Result<Found, RestError> {
    if let Some(member) = guild::member(rest, guild, user).await? {
        states.observe(user, member.screening, Seen::There);
        let nameless = RestError::NotUnderstood("a member has no name".to_owned());
        return member.seen.map(Found::There).ok_or(nameless);
    }
    Ok(match guild::account(rest, user).await? {
        Some(seen) if !seen.looks_deleted() => Found::There(seen),
        _ => Found::Gone,
    })
}
