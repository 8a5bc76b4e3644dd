//! Gives roles to members and takes them, one call at a time in the whole bot.
//!
//! Discord can lose one of two concurrent role changes to a member. So all of them take one fair
//! lock, for each call separately: a level-up never waits for a whole reconciliation.

use std::sync::Arc;
use std::time::Duration;

use serenity::all::LightMethod;
use serenity::http::Route;
use tokio::sync::Mutex;

use crate::discord::rest::error_codes::{
    TWO_FACTOR_REQUIRED, UNKNOWN_MEMBER, UNKNOWN_ROLE, UNKNOWN_USER,
};
use crate::discord::rest::{Repeat, Rest, RestError, with_reason};
use crate::leveling::{GuildId, RoleId, RolePlan, UserId};

/// Timeout of one call. It is long because member roles have Discord's narrowest rate limit: ten
/// calls in ten seconds.
const ROLE_CALL_TIMEOUT: Duration = Duration::from_mins(2);

/// Changes the roles of a guild's members. Cheap to clone; all clones share one lock.
#[derive(Clone, Debug)]
pub struct MemberRoles {
    rest: Rest,
    guild: GuildId,
    lock: Arc<Mutex<()>>,
}

/// A change of a member's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RoleChange {
    /// Gives the role; changes nothing if the member already holds it.
    Give,
    /// Takes the role; changes nothing if the member does not hold it.
    Take,
}

/// The outcome of a call that Discord answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallResult {
    Done,
    /// The member has left the guild.
    MemberGone,
    /// The role is gone or too high, or the bot lacks the permission; with Discord's error code.
    OutOfReach(isize),
    /// Discord refused this call for another reason.
    Refused,
}

/// The outcome of a member's plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Roles that were given.
    pub given: Vec<RoleId>,
    /// Roles that were taken.
    pub taken: Vec<RoleId>,
    /// Roles that are gone or that the bot can neither give nor take, with Discord's error codes.
    /// The same calls for other members would fail as well, until something changes.
    pub out_of_reach: Vec<(RoleId, isize)>,
    /// Whether the user has left the guild.
    pub gone: bool,
    /// The number of refused calls that may work later.
    pub refused: u32,
}

impl Applied {
    /// Whether no change of the plan is left to do: all were made, or the member has left.
    pub fn is_whole(&self) -> bool {
        self.out_of_reach.is_empty() && self.refused == 0
    }
}

impl MemberRoles {
    /// Changes roles in `guild`. There must be one for the whole bot, since it holds the lock.
    pub fn new(rest: Rest, guild: GuildId) -> Self {
        Self {
            rest,
            guild,
            lock: Arc::default(),
        }
    }

    /// Makes the changes of a plan, with one call each, additions first. `reason` is shown in the guild's audit
    /// log. An error means that Discord does not answer or has refused the token, so the caller
    /// should not go on with other members now.
    pub async fn apply(
        &self,
        user: UserId,
        plan: &RolePlan,
        reason: &'static str,
    ) -> Result<Applied, RestError> {
        let gives = plan.add.iter().map(|role| (RoleChange::Give, *role));
        let takes = plan.remove.iter().map(|role| (RoleChange::Take, *role));
        let mut applied = Applied::default();
        for (change, role) in gives.chain(takes) {
            let lacks_some = applied.given.len() < plan.add.len();
            if change == RoleChange::Take && plan.remove_after_add && lacks_some {
                break;
            }
            match (self.change(change, user, role, reason).await?, change) {
                (CallResult::Done, RoleChange::Give) => applied.given.push(role),
                (CallResult::Done, RoleChange::Take) => applied.taken.push(role),
                (CallResult::MemberGone, _) => {
                    applied.gone = true;
                    break;
                }
                (CallResult::OutOfReach(code), _) => applied.out_of_reach.push((role, code)),
                (CallResult::Refused, _) => applied.refused += 1,
            }
        }
        Ok(applied)
    }

    async fn change(
        &self,
        change: RoleChange,
        user: UserId,
        role: RoleId,
        reason: &'static str,
    ) -> Result<CallResult, RestError> {
        let _one_at_a_time = self.lock.lock().await;
        let (guild, user, role) = (self.guild.into(), user.into(), role.into());
        let called = self.rest.call(
            "changing a member's role",
            Repeat::Safe,
            ROLE_CALL_TIMEOUT,
            |http| async move {
                let method = match change {
                    RoleChange::Give => LightMethod::Put,
                    RoleChange::Take => LightMethod::Delete,
                };
                let route = Route::GuildMemberRole {
                    guild_id: guild,
                    user_id: user,
                    role_id: role,
                };
                http.send(with_reason(route, method, reason)).await
            },
        );
        match called.await {
            Ok(()) => Ok(CallResult::Done),
            Err(RestError::Refused { code, .. })
                if [UNKNOWN_MEMBER, UNKNOWN_USER].contains(&code) =>
            {
                Ok(CallResult::MemberGone)
            }
            Err(ref error @ RestError::Refused { code, status, .. })
                if status == 403 || [UNKNOWN_ROLE, TWO_FACTOR_REQUIRED].contains(&code) =>
            {
                tracing::warn!(%error, %role, "a level role can be neither given nor taken");
                Ok(CallResult::OutOfReach(code))
            }
            Err(error @ RestError::Refused { .. }) => {
                tracing::warn!(%error, "a member's role could not be changed");
                Ok(CallResult::Refused)
            }
            Err(error) => Err(error),
        }
    }
}
