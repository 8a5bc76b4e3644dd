//! Giving and taking roles: one call at a time, for everyone who does it.
//!
//! Discord can lose one of two role calls on a member that come at once. So all of them pass one
//! gate, in the order in which they came to it: a level-up is never behind a whole verification.

use std::sync::Arc;
use std::time::Duration;

use serenity::all::LightMethod;
use serenity::http::Route;
use tokio::sync::Mutex;

use super::codes::{TWO_FACTOR_REQUIRED, UNKNOWN_MEMBER, UNKNOWN_ROLE, UNKNOWN_USER};
use super::rest::{Repeat, Rest, RestError, with_reason};
use crate::leveling::{GuildId, RoleId, RolePlan, UserId};

/// Member roles have Discord's narrowest limit: ten calls in ten seconds.
const PATIENCE: Duration = Duration::from_mins(2);

/// The gate. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MemberRoles {
    rest: Rest,
    guild: GuildId,
    gate: Arc<Mutex<()>>,
}

/// What is done to a member's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Giving what is held changes nothing.
    Give,
    /// Taking what is not held changes nothing.
    Take,
}

/// How a call ended that Discord understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// The member is not in the guild any more.
    MemberGone,
    /// The role is gone, or stands too high, or the bot may not: with Discord's error code.
    OutOfReach(isize),
    /// Discord did not want this call, for a reason of its own.
    Refused,
}

/// What has come of a member's plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Roles that were given.
    pub given: Vec<RoleId>,
    /// Roles that were taken.
    pub taken: Vec<RoleId>,
    /// Roles that the bot can neither give nor take, or that are gone, with Discord's error
    /// codes: for nobody else either, until something changes.
    pub out_of_reach: Vec<(RoleId, isize)>,
    /// Whether the user is not a member any more.
    pub gone: bool,
    /// Calls that may work another time.
    pub refused: u32,
}

impl Applied {
    /// Whether nothing of the plan is left that could be done.
    pub fn is_whole(&self) -> bool {
        self.out_of_reach.is_empty() && self.refused == 0
    }
}

impl MemberRoles {
    /// The gate to one guild's roles.
    pub fn new(rest: Rest, guild: GuildId) -> Self {
        Self {
            rest,
            guild,
            gate: Arc::default(),
        }
    }

    /// Makes a member's changes, one call for each. `reason` stands in the guild's audit log.
    /// An error means that Discord does not answer, or has refused the token: there is little
    /// use in going on with others now.
    pub async fn apply(
        &self,
        user: UserId,
        plan: &RolePlan,
        reason: &'static str,
    ) -> Result<Applied, RestError> {
        let gives = plan.add.iter().map(|role| (Act::Give, *role));
        let takes = plan.remove.iter().map(|role| (Act::Take, *role));
        let mut applied = Applied::default();
        for (act, role) in gives.chain(takes) {
            match (self.act(act, user, role, reason).await?, act) {
                (Outcome::Done, Act::Give) => applied.given.push(role),
                (Outcome::Done, Act::Take) => applied.taken.push(role),
                (Outcome::MemberGone, _) => {
                    applied.gone = true;
                    break;
                }
                (Outcome::OutOfReach(code), _) => applied.out_of_reach.push((role, code)),
                (Outcome::Refused, _) => applied.refused += 1,
            }
        }
        Ok(applied)
    }

    async fn act(
        &self,
        act: Act,
        user: UserId,
        role: RoleId,
        reason: &'static str,
    ) -> Result<Outcome, RestError> {
        let _one_at_a_time = self.gate.lock().await;
        let (guild, user, role) = (self.guild.into(), user.into(), role.into());
        let called = self.rest.call(
            "changing a member's role",
            Repeat::Safe,
            PATIENCE,
            |http| async move {
                let method = match act {
                    Act::Give => LightMethod::Put,
                    Act::Take => LightMethod::Delete,
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
            Ok(()) => Ok(Outcome::Done),
            Err(RestError::Refused { code, .. })
                if [UNKNOWN_MEMBER, UNKNOWN_USER].contains(&code) =>
            {
                Ok(Outcome::MemberGone)
            }
            Err(ref error @ RestError::Refused { code, status, .. })
                if status == 403 || [UNKNOWN_ROLE, TWO_FACTOR_REQUIRED].contains(&code) =>
            {
                tracing::warn!(%error, %role, "a level role can be neither given nor taken");
                Ok(Outcome::OutOfReach(code))
            }
            Err(error @ RestError::Refused { .. }) => {
                tracing::warn!(%error, "a member's role could not be changed");
                Ok(Outcome::Refused)
            }
            Err(error) => Err(error),
        }
    }
}
