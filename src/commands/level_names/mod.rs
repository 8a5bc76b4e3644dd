//! The commands that change the levels' names and roles.
//!
//! `leveling` decides what to do, [`LevelNames`](crate::xp::LevelNames) saves the names, and this
//! module changes the guild's roles. A command can be interrupted at any point and repeated: a name
//! is saved before its role is created, and a role is renamed before the new name is saved, so the
//! guild's roles show what is left to do.

pub(super) mod assign;
mod decide;
pub(super) mod delete_role;
pub(super) mod remove_all_names;
pub(super) mod remove_level_name;
mod say;
pub(super) mod set_level_name;

use super::context::{Context, Data, Error, caller_id};
use crate::discord::guild::roles;
use crate::error::UserError;
use crate::leveling::{BELOW_ALL_ROLES, GuildRole, RolePosition, UserId};
use crate::roles::no_permission;

/// The moderator who changes a level's role, and the handles for it.
#[derive(Clone, Copy)]
pub(super) struct RoleEdit<'a> {
    pub data: &'a Data,
    pub caller: UserId,
}

impl<'a> RoleEdit<'a> {
    pub fn new(ctx: Context<'a>) -> Result<Self, Error> {
        Ok(Self {
            data: ctx.data(),
            caller: caller_id(ctx)?,
        })
    }

    /// The reason for a change, which Discord shows in the guild's audit log.
    fn reason(&self, what: &str) -> String {
        format!("{what}, as {} asked", self.caller)
    }

    /// The guild's present roles, with what channels give their holders, and the position below which
    /// the bot can manage them. An error for the caller if the bot may not manage roles at all.
    async fn roles_and_bot_position(&self) -> Result<(Vec<GuildRole>, RolePosition), Error> {
        let (rest, guild) = (&self.data.bot.env.rest, self.data.bot.env.guild);
        let (roles, _) = roles::list_with_channels(rest, guild).await?;
        let bot_position = roles::bot_position(rest, guild, self.data.bot.id, &roles).await?;
        if bot_position == BELOW_ALL_ROLES {
            return Err(UserError(no_permission()).into());
        }
        Ok((roles, bot_position))
    }
}
