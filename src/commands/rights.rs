//! Who may run what: by the names of their roles, or as an administrator of the guild.
//!
//! Checked here whenever something is run, whatever Discord showed to whom.

use std::sync::Arc;

use poise::serenity_prelude as serenity;

use super::answering::is_still_typed;
use super::{Context, Data, Error, manual};
use crate::config;
use crate::discord::guild;
use crate::error::UserError;
use crate::leveling::GuildRole;

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

/// The guild's administrators, and whoever holds a role of one of these names.
#[derive(Clone, Debug)]
pub struct Rights(Arc<config::Rights>);

/// Whoever wants to do something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Caller {
    /// The names of their roles.
    pub roles: Vec<String>,
    pub administrator: bool,
}

/// Whether the command may run. Other guilds are ignored, whatever is typed there; whoever
/// lacks the right is told who has it, and it is noted who tried what.
pub(super) async fn check(ctx: Context<'_>) -> Result<bool, Error> {
    let data = ctx.data();
    if ctx.guild_id() != Some(data.setting.guild.into()) {
        return Ok(false);
    }
    let right = manual(ctx.command()).map_or(Right::Anyone, |manual| manual.right);
    if right == Right::Anyone || data.setting.rights.allow(right, &Caller::of(ctx).await?) {
        return Ok(true);
    }
    if !is_still_typed(ctx) {
        tracing::warn!(
            user = %ctx.author().id,
            command = ctx.command().name.as_ref(),
            "someone without the right tried a command"
        );
    }
    Err(data.setting.rights.refusal(right).into())
}

impl Rights {
    /// The rights that are set.
    pub fn new(settings: config::Rights) -> Self {
        Self(Arc::new(settings))
    }

    pub(super) fn allow(&self, right: Right, caller: &Caller) -> bool {
        right == Right::Anyone
            || caller.administrator
            || caller
                .roles
                .iter()
                .any(|role| self.names(right).contains(role))
    }

    /// Who has the right, in words.
    pub(super) fn holders(&self, right: Right) -> String {
        match self.names(right) {
            [] => "administrators".to_owned(),
            [only] => only.clone(),
            [first @ .., last] => format!("{} and {last}", first.join(", ")),
        }
    }

    /// Said to whoever lacks the right.
    pub(super) fn refusal(&self, right: Right) -> UserError {
        UserError(format!(
            "Only {} can use this command.",
            self.holders(right)
        ))
    }

    /// All names that give a right: no level role may have one of these.
    pub fn all_names(&self) -> Vec<String> {
        let config::Rights {
            moderators,
            privacy,
            operators,
        } = &*self.0;
        [&moderators.0[..], &privacy.0, &operators.0].concat()
    }

    fn names(&self, right: Right) -> &[String] {
        match right {
            Right::Anyone => &[],
            Right::Moderator => &self.0.moderators.0,
            Right::Privacy => &self.0.privacy.0,
            Right::Operator => &self.0.operators.0,
        }
    }
}

impl Caller {
    /// Whoever ran the command.
    pub async fn of(ctx: Context<'_>) -> Result<Self, Error> {
        let (data, cache, user) = (ctx.data(), ctx.cache(), ctx.author().id);
        match ctx {
            Context::Prefix(ctx) => {
                let member = ctx.msg.member.as_deref();
                let roles = member.map_or(&[][..], |member| &member.roles);
                Self::with(data, cache, user, roles, None).await
            }
            Context::Application(ctx) => {
                Self::of_member(data, cache, ctx.interaction.member.as_deref()).await
            }
        }
    }

    /// Whoever pressed a button.
    pub async fn of_member(
        data: &Data,
        cache: &serenity::Cache,
        member: Option<&serenity::Member>,
    ) -> Result<Self, Error> {
        let Some(member) = member else {
            return Ok(Self::default());
        };
        let (user, roles) = (member.user.id, &member.roles);
        Self::with(data, cache, user, roles, member.permissions).await
    }

    /// `permissions` are what Discord says of an interaction's caller; of a message's
    /// author it says nothing.
    async fn with(
        data: &Data,
        cache: &serenity::Cache,
        user: serenity::UserId,
        held: &[serenity::RoleId],
        permissions: Option<serenity::Permissions>,
    ) -> Result<Self, Error> {
        let (roles, owner) = guild_roles(data, cache).await?;
        let everyone = data.setting.guild.get();
        let holds = |role: &&GuildRole| {
            role.id.get() == everyone || held.iter().any(|id| id.get() == role.id.get())
        };
        let administrates = |bits: u64| bits & serenity::Permissions::ADMINISTRATOR.bits() != 0;
        let own = || roles.iter().filter(holds);
        Ok(Self {
            administrator: owner == Some(user)
                || permissions.is_some_and(|granted| administrates(granted.bits()))
                || own().any(|role| administrates(role.permissions)),
            roles: own().map(|role| role.name.clone()).collect(),
        })
    }
}

/// The roles as the gateway tells of them, and the guild's owner; asked for where it has
/// not told yet.
pub(super) async fn guild_roles(
    data: &Data,
    cache: &serenity::Cache,
) -> Result<(Vec<GuildRole>, Option<serenity::UserId>), Error> {
    let told = cache.guild(serenity::GuildId::from(data.setting.guild));
    let told = told.map(|guild| {
        let roles = guild.roles.values().filter_map(guild::from_theirs);
        (roles.collect(), Some(guild.owner_id))
    });
    match told {
        Some(told) => Ok(told),
        None => Ok((guild::roles(&data.rest, data.setting.guild).await?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RoleNames;

    fn rights(moderators: &[&str], privacy: &[&str]) -> Rights {
        let names = |names: &[&str]| RoleNames(names.iter().map(|name| (*name).into()).collect());
        Rights::new(config::Rights {
            moderators: names(moderators),
            privacy: names(privacy),
            operators: names(&["Bot_manager"]),
        })
    }

    #[test]
    fn a_right_comes_with_a_role_or_with_everything() {
        let rights = rights(&["Minions", "Moderator"], &["Minions"]);
        let caller = |roles: &[&str], administrator| Caller {
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            administrator,
        };
        for (caller, moderates, hides) in [
            (caller(&[], false), false, false),
            (caller(&["@everyone", "minions"], false), false, false),
            (caller(&["Moderator"], false), true, false),
            (caller(&["x", "Minions"], false), true, true),
            (caller(&[], true), true, true),
        ] {
            assert!(rights.allow(Right::Anyone, &caller));
            assert_eq!(
                rights.allow(Right::Moderator, &caller),
                moderates,
                "{caller:?}"
            );
            assert_eq!(rights.allow(Right::Privacy, &caller), hides, "{caller:?}");
        }
    }

    #[test]
    fn who_has_a_right_is_said_in_words() {
        for (names, words) in [
            (&["A", "B", "C"][..], "A, B and C"),
            (&["Minions", "Moderator"], "Minions and Moderator"),
            (&["Minions"], "Minions"),
            (&[], "administrators"),
        ] {
            assert_eq!(rights(names, &[]).holders(Right::Moderator), words);
        }
    }
}
