//! Asks Discord for one user's profile: first as a guild member, then as an account.

use crate::discord::RestError;
use crate::discord::guild::member_states::ShownBy;
use crate::discord::guild::members;
use crate::environment::Environment;
use crate::leveling::{ObservedProfile, UserId};

/// Discord's answer about a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FetchedProfile {
    /// The account exists; its current names and avatars.
    There(ObservedProfile),
    /// The account is deleted.
    Gone,
}

/// Makes one REST call for a member, whose screening state is then passed to `env.members`, and two
/// calls for any other user. A member's account counts as existing even if its name looks like that
/// of a deleted account.
pub(super) async fn fetch(env: &Environment, user: UserId) -> Result<FetchedProfile, RestError> {
    if let Some(member) = members::fetch(&env.rest, env.guild, user).await? {
        env.members.observe(user, member.screening, ShownBy::Other);
        let nameless = RestError::NotUnderstood("a member has no name".to_owned());
        return member.seen.map(FetchedProfile::There).ok_or(nameless);
    }
    Ok(match members::fetch_account(&env.rest, user).await? {
        Some(seen) if !seen.looks_deleted() => FetchedProfile::There(seen),
        _ => FetchedProfile::Gone,
    })
}
