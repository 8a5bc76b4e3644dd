//! Decides who may run which commands: the guild's administrators, and members with certain roles,
//! which are identified by their ids.
//!
//! Rights are checked at each execution, whoever Discord shows the command to. If they are unknown
//! at the moment, the caller is not refused but asked to try again.

use std::collections::BTreeSet;
use std::sync::Arc;

use poise::serenity_prelude as serenity;

use super::context::{Context, Data, Error, manual};
use super::respond::is_autocomplete;
use crate::config::RoleList;
use crate::discord::RestError;
use crate::discord::guild::known_guild::GuildFacts;
use crate::discord::guild::right_roles::{FoundRoles, RightRoles};
use crate::error::UserError;
use crate::leveling::{GuildRole, ProtectedRoles, RoleEntry, RoleId, RoleManager, UserId, escape};

/// The answer while the caller's rights are unknown.
const NOT_NOW: &str = "I can't check right now who may do that. Please try again shortly.";

/// A right that a command or button requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Anyone,
    /// To run moderator commands.
    Moderator,
    /// To hide and show the XP of others.
    Privacy,
    /// To run the commands that maintain the bot itself.
    Operator,
}

/// Checks rights: the guild's administrators and the holders of configured roles have them.
#[derive(Clone, Debug)]
pub struct Rights(RightRoles);

/// The member whose rights are checked.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    /// Their roles, including @everyone.
    held: BTreeSet<RoleId>,
    administrator: bool,
    is_owner: bool,
    /// The guild's roles that the settings name; `None` if they are unknown now.
    found: Option<FoundRoles>,
}

impl Caller {
    /// The caller as one who wants to delete roles. An error for them if it is not known now
    /// whether they own the guild.
    pub(super) fn role_manager(&self) -> Result<RoleManager, UserError> {
        if self.found.is_none() {
            return Err(UserError(NOT_NOW.to_owned()));
        }
        Ok(RoleManager {
            held: self.held.clone(),
            is_owner: self.is_owner,
        })
    }
}

/// Whether the caller has the right to run the command. If not, the attempt is logged, and the
/// error tells the caller who has the right.
pub(super) async fn check(ctx: Context<'_>) -> Result<bool, Error> {
    let data = ctx.data();
    let right = manual(ctx.command()).map_or(Right::Anyone, |manual| manual.right);
    if right == Right::Anyone {
        return Ok(true);
    }
    let rights = &data.rights;
    let caller = rights.caller(ctx).await;
    if rights.allow(right, &caller)? {
        return Ok(true);
    }
    if !is_autocomplete(ctx) {
        tracing::info!(
            user = %ctx.author().id,
            command = ctx.command().name.as_ref(),
            "someone without the right tried a command"
        );
    }
    Err(rights.refusal(right, &caller).into())
}

impl Rights {
    /// The rights that these roles give.
    pub fn new(roles: RightRoles) -> Self {
        Self(roles)
    }

    /// Whether the caller has the right. If that is unknown now, the error tells them so.
    pub(super) fn allow(&self, right: Right, caller: &Caller) -> Result<bool, UserError> {
        let Some(list) = self.list(right) else {
            return Ok(true);
        };
        if caller.administrator {
            return Ok(true);
        }
        let not_now = || UserError(NOT_NOW.to_owned());
        let found = caller.found.as_ref().ok_or_else(not_now)?;
        if found.roles(list).any(|role| caller.held.contains(&role)) {
            return Ok(true);
        }
        if found.is_unsettled(list) {
            return Err(not_now());
        }
        Ok(false)
    }

    /// The roles that have the right, by their present names.
    pub(super) fn holders(&self, right: Right, caller: &Caller) -> String {
        let found = caller.found.as_ref();
        let list = self.list(right).map_or(&[][..], |list| &list.0);
        let names = list.iter().filter_map(|entry| name_of(entry, found));
        in_words(&names.collect::<Vec<_>>())
    }

    /// The answer to a caller without the right.
    pub(super) fn refusal(&self, right: Right, caller: &Caller) -> UserError {
        let holders = self.holders(right, caller);
        UserError(format!("Only {holders} can use this command."))
    }

    /// The roles that give a right. No level may carry one of them.
    pub(super) fn protected(&self) -> ProtectedRoles {
        self.0.protected()
    }

    /// The member who ran the command.
    pub(super) async fn caller(&self, ctx: Context<'_>) -> Caller {
        match ctx {
            Context::Prefix(ctx) => {
                let member = ctx.msg.member.as_deref();
                let roles = member.map_or(&[][..], |member| &member.roles);
                self.caller_with(ctx.data(), ctx.msg.author.id, roles, None)
                    .await
            }
            Context::Application(ctx) => {
                self.caller_of_member(ctx.data(), ctx.interaction.member.as_deref())
                    .await
            }
        }
    }

    /// The member who pressed the button.
    pub(super) async fn caller_of_member(
        &self,
        data: &Data,
        member: Option<&serenity::Member>,
    ) -> Caller {
        let Some(member) = member else {
            return Caller::default();
        };
        let (user, roles) = (member.user.id, &member.roles);
        self.caller_with(data, user, roles, member.permissions)
            .await
    }

    /// `permissions` are those that Discord sends with an interaction; for the owner, all of them.
    /// With a message Discord sends none.
    async fn caller_with(
        &self,
        data: &Data,
        user: serenity::UserId,
        held: &[serenity::RoleId],
        permissions: Option<serenity::Permissions>,
    ) -> Caller {
        let is_told = permissions.is_some_and(serenity::Permissions::administrator);
        let found = match self.0.find().await {
            Ok(found) => Some(found),
            Err(error) => {
                tracing::warn!(%error, "members' rights cannot be determined now");
                None
            }
        };
        let everyone = RoleId::new(data.bot.env.guild.get());
        let held = held.iter().filter_map(|role| RoleId::try_from(*role).ok());
        let held: BTreeSet<RoleId> = held.chain(everyone).collect();
        let guild = found.as_ref().map(|found| &found.guild);
        let is_owner = guild.is_some_and(|guild| UserId::try_from(user) == Ok(guild.owner));
        let gives_all =
            |guild: &Arc<GuildFacts>| guild.roles.iter().any(|role| gives_all(role, &held));
        let administrator = is_told || is_owner || guild.is_some_and(gives_all);
        Caller {
            held,
            administrator,
            is_owner,
            found,
        }
    }

    /// `None` if anyone may run it.
    fn list(&self, right: Right) -> Option<&RoleList> {
        let settings = self.0.settings();
        match right {
            Right::Anyone => None,
            Right::Moderator => Some(&settings.moderators),
            Right::Privacy => Some(&settings.privacy),
            Right::Operator => Some(&settings.operators),
        }
    }
}

fn gives_all(role: &GuildRole, held: &BTreeSet<RoleId>) -> bool {
    let administrator = serenity::Permissions::ADMINISTRATOR.bits();
    role.permissions & administrator != 0 && held.contains(&role.id)
}

/// The present name of a configured role, or what is configured if there is no such role.
fn name_of(entry: &RoleEntry, found: Option<&FoundRoles>) -> Option<String> {
    let role = found.and_then(|found| found.name(found.role(entry)?));
    match (role, entry) {
        // The operator typed this name into the settings, so it needs no escaping.
        (Some(name), RoleEntry::Name(set)) if name == set => Some(set.clone()),
        (Some(name), _) => Some(escape(name)),
        (None, RoleEntry::Name(set)) => Some(set.clone()),
        (None, RoleEntry::Id(_)) => None,
    }
}

fn in_words(names: &[String]) -> String {
    match names {
        [] => "administrators".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The guild's roles as the gateway last sent them; asks REST if it has not sent them yet.
pub(super) async fn guild_roles(data: &Data) -> Result<Vec<GuildRole>, RestError> {
    let told = data.bot.env.known_guild.facts().await?;
    Ok(told.facts.roles.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_right_is_said_in_words() {
        for (names, words) in [
            (&["A", "B", "C"][..], "A, B and C"),
            (&["Minions", "Moderator"], "Minions and Moderator"),
            (&["Minions"], "Minions"),
            (&[], "administrators"),
        ] {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            assert_eq!(in_words(&names), words);
        }
    }
}
