//! Finds the user that a command is about, with a name to show, and reads stored names for lists.
//!
//! Names come from the command itself, from Discord, or from the database. They are hostile text
//! until they are escaped.

use std::collections::BTreeMap;
use std::time::Duration;

use poise::serenity_prelude::{LightMethod, User};
use serde_json::Value;
use serenity::http::{Request, Route};

use super::args::UserArgument;
use super::context::{Context, Error, caller_id};
use super::respond::DISCORD_UNAVAILABLE;
use crate::discord::payload::command;
use crate::discord::{Repeat, RestError};
use crate::error::UserError;
use crate::leveling::{Profile, UserId, escape, escape_text};
use crate::store::{self, Database};

/// Time limit of each step in finding a name: Discord, then the database, then Discord again.
const NAME_TIMEOUT: Duration = Duration::from_millis(1_200);
/// Maximum length of a name in a list, in characters. This is Discord's own limit, but imported
/// names may exceed it.
const MAX_NAME: usize = 32;

/// A user, with a name to show.
pub(super) struct ResolvedUser {
    pub id: UserId,
    /// Nickname, display name or username; not escaped.
    pub name: String,
    /// The account; `None` if the name comes from the database.
    pub account: Option<Box<User>>,
}

/// Finds the account and the name of a user. Usually Discord sends both with the command. If not,
/// this asks Discord for the member, then the database for the stored name of someone who left,
/// then Discord for the account.
pub(super) async fn resolve_user(
    ctx: Context<'_>,
    argument: UserArgument,
) -> Result<ResolvedUser, Error> {
    let (id, account, nickname) = match argument {
        UserArgument::Caller => {
            let account = Box::new(ctx.author().clone());
            (caller_id(ctx)?, Some(account), caller_nickname(ctx))
        }
        UserArgument::Other { id, user, nickname } => (id, user, nickname),
    };
    match account {
        Some(account) => Ok(ResolvedUser::new(id, account, nickname)),
        None => fetch(ctx, id).await,
    }
}

impl ResolvedUser {
    fn new(id: UserId, account: Box<User>, nickname: Option<String>) -> Self {
        let name = nickname
            .or_else(|| account.global_name.clone())
            .unwrap_or_else(|| account.name.clone());
        Self {
            id,
            name,
            account: Some(account),
        }
    }

    /// An error for the caller if the user is a bot.
    pub fn check_human(&self) -> Result<(), UserError> {
        if self.is_bot() {
            return Err(UserError("Bots do not earn any XP.".to_owned()));
        }
        Ok(())
    }

    /// The answer if the user has hidden their XP and someone else asks for it.
    pub fn hidden_xp_answer(&self) -> String {
        format!("{} keeps their XP hidden.", escape(&self.name))
    }

    /// The answer about the place of a user who is banned.
    pub fn banned_answer(&self) -> String {
        let name = escape(&self.name);
        format!("{name} is banned from this server, and on no board as long as the ban lasts.")
    }

    /// The answer if the user has never earned XP.
    pub fn no_xp_answer(&self) -> String {
        let why = if self.is_bot() {
            " Bots do not earn any."
        } else {
            ""
        };
        format!("{} has no XP yet.{why}", escape(&self.name))
    }

    fn is_bot(&self) -> bool {
        self.account.as_ref().is_some_and(|account| account.bot)
    }
}

async fn fetch(ctx: Context<'_>, id: UserId) -> Result<ResolvedUser, Error> {
    let data = ctx.data();
    let member = Route::GuildMember {
        guild_id: data.bot.env.guild.into(),
        user_id: id.into(),
    };
    if let Ok(member) = get(ctx, "asking for a member", member).await
        && let Ok(account) = command::account(&member["user"])
    {
        let nickname = member["nick"].as_str().map(str::to_owned);
        return Ok(ResolvedUser::new(id, Box::new(account), nickname));
    }
    let stored = stored_profile(&data.bot.env.database, id).await;
    if let Ok(Some(profile)) = &stored {
        return Ok(ResolvedUser {
            id,
            name: profile.shown_name().to_owned(),
            account: None,
        });
    }
    let user = Route::User { user_id: id.into() };
    let account = get(ctx, "asking for a user", user).await.and_then(|user| {
        let unreadable =
            |field| RestError::NotUnderstood(format!("a user could not be read at `{field}`"));
        command::account(&user).map_err(unreadable)
    });
    match account {
        Ok(account) => Ok(ResolvedUser::new(id, Box::new(account), None)),
        Err(RestError::Refused { status: 404, .. }) => {
            // If the database did not answer, it may still know this deleted account.
            stored?;
            Err(UserError(format!("There is no user with the id {id}.")).into())
        }
        Err(error) => {
            tracing::warn!(%error, "Discord did not return a user");
            Err(UserError(DISCORD_UNAVAILABLE.to_owned()).into())
        }
    }
}

async fn get(ctx: Context<'_>, what: &'static str, route: Route<'_>) -> Result<Value, RestError> {
    let rest = &ctx.data().bot.env.rest;
    rest.call(what, Repeat::Safe, NAME_TIMEOUT, |http| {
        let request = Request::new(route, LightMethod::Get);
        async move { http.fire::<Value>(request).await }
    })
    .await
}

async fn stored_profile(database: &Database, id: UserId) -> store::Result<Option<Profile>> {
    store::within(NAME_TIMEOUT, async {
        store::user_point::profile(&mut *database.acquire().await?, id).await
    })
    .await
}

/// Stored names, escaped. A mention in an embed shows a name only if the reader's client knows the
/// user already, so lists show the name and the mention.
#[derive(Debug, Default)]
pub(super) struct StoredNames(BTreeMap<UserId, String>);

impl StoredNames {
    /// Reads all names in one query. If it fails, the list is shown without names.
    pub async fn read(database: &Database, users: &[UserId]) -> Self {
        let read = store::within(NAME_TIMEOUT, async {
            store::user_point::profiles_of(&mut *database.acquire().await?, users).await
        });
        match read.await {
            Ok(profiles) => profiles.into_iter().collect(),
            Err(error) => {
                tracing::warn!(%error, "names could not be read; a list is shown without them");
                Self::default()
            }
        }
    }

    /// The name, and the mention beside it.
    pub fn with_mention(&self, user: UserId) -> String {
        let name = self.0.get(&user).map_or("(name unknown)", String::as_str);
        format!("{name} <@{user}>")
    }
}

impl FromIterator<(UserId, Profile)> for StoredNames {
    fn from_iter<T: IntoIterator<Item = (UserId, Profile)>>(profiles: T) -> Self {
        let named = profiles.into_iter().map(|(user, profile)| {
            let name = escape_text(profile.shown_name(), MAX_NAME);
            (user, name.unwrap_or_else(|| "(no name)".into()))
        });
        Self(named.collect())
    }
}

/// The nickname in the message or the interaction.
fn caller_nickname(ctx: Context<'_>) -> Option<String> {
    match ctx {
        Context::Prefix(ctx) => ctx.msg.member.as_ref()?.nick.clone(),
        Context::Application(ctx) => ctx.interaction.member.as_ref()?.nick.clone(),
    }
}
