//! Who may run what: by the ids of their roles, or as an administrator of the guild.
//!
//! Checked here whenever something is run, whatever Discord showed to whom. Where it cannot be
//! told, the caller is asked to try again, and never told no.

use std::collections::BTreeSet;

use poise::serenity_prelude as serenity;

use super::context::{Context, Data, Error, manual};
use super::respond::is_autocomplete;
use crate::config::RoleList;
use crate::discord::RestError;
use crate::discord::guild::known_guild::GuildFacts;
use crate::discord::guild::right_roles::{FoundRoles, RightRoles};
use crate::error::UserError;
use crate::leveling::{GuildRole, ProtectedRoles, RoleEntry, RoleId, UserId, escape};

/// Said where nobody can tell yet who may do what.
const NOT_NOW: &str = "I can't check right now who may do that. Please try again shortly.";

/// What someone must be to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Anyone,
    /// Runs moderator commands.
    Moderator,
    /// Hides and shows the XP of others.
    Privacy,
    /// Looks after the bot itself.
    Operator,
}

/// The guild's administrators, and whoever holds one of the roles that are set.
#[derive(Clone, Debug)]
pub struct Rights(RightRoles);

/// Whoever wants to do something.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    /// Their roles, the one that everyone holds among them.
    held: BTreeSet<RoleId>,
    administrator: bool,
    /// What the settings mean; `None` if that cannot be told now.
    found: Option<FoundRoles>,
}

/// Whether the caller has the right to run the command. Whoever lacks it is told who has it, and
/// it is noted who tried what.
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

    /// Whether the caller has the right; an error is for them, and says that it cannot be
    /// told now.
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

    /// Who has the right, in words: roles as they are called now.
    pub(super) fn holders(&self, right: Right, caller: &Caller) -> String {
        let found = caller.found.as_ref();
        let list = self.list(right).map_or(&[][..], |list| &list.0);
        let names = list.iter().filter_map(|entry| name_of(entry, found));
        in_words(&names.collect::<Vec<_>>())
    }

    /// Said to whoever lacks the right.
    pub(super) fn refusal(&self, right: Right, caller: &Caller) -> UserError {
        let holders = self.holders(right, caller);
        UserError(format!("Only {holders} can use this command."))
    }

    /// The roles that give a right: no level may carry one of these.
    pub(super) fn protected(&self) -> ProtectedRoles {
        self.0.protected()
    }

    /// Whoever ran the command.
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

    /// Whoever pressed a button.
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

    /// `permissions` are what Discord says of an interaction's caller, the owner included; of
    /// a message's author it says nothing.
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
        let everyone = RoleId::new(data.env.guild.get());
        let held = held.iter().filter_map(|role| RoleId::try_from(*role).ok());
        let held: BTreeSet<RoleId> = held.chain(everyone).collect();
        let administrates = |guild: &GuildFacts| {
            UserId::try_from(user) == Ok(guild.owner)
                || guild.roles.iter().any(|role| gives_all(role, &held))
        };
        let administrator = is_told
            || found
                .as_ref()
                .is_some_and(|found| administrates(&found.guild));
        Caller {
            held,
            administrator,
            found,
        }
    }

    /// `None` for what anyone may do.
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

/// What a role that is set is called now; as it is set where there is no such role.
fn name_of(entry: &RoleEntry, found: Option<&FoundRoles>) -> Option<String> {
    let role = found.and_then(|found| found.name(found.role(entry)?));
    match (role, entry) {
        // The operator's own words.
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

/// The guild's roles as the gateway tells of them; asked for where it has not told yet.
pub(super) async fn guild_roles(data: &Data) -> Result<Vec<GuildRole>, RestError> {
    let told = data.known_guild.facts().await?;
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
