//! Someone a command is about, with a name to show.
//!
//! The name comes from whatever knows it: the command itself, Discord, the database.

use std::collections::BTreeMap;
use std::time::Duration;

use poise::serenity_prelude::{LightMethod, User};
use serde_json::Value;
use serenity::http::{Request, Route};

use super::target::Target;
use super::{Context, Error};
use crate::discord::payload::command;
use crate::discord::{Repeat, RestError};
use crate::error::UserError;
use crate::leveling::{Profile, UserId, escape, escape_text};
use crate::store::{self, Database};

/// How long a name is asked for before the stored one will do.
const NAME_PATIENCE: Duration = Duration::from_millis(1_200);
/// Characters of a name in a list. Discord allows people as many; imported names may be longer.
const LONGEST_NAME: usize = 32;

/// Someone with a name to show.
pub(super) struct Person {
    pub id: UserId,
    /// As Discord would show it, not yet escaped.
    pub name: String,
    /// The account, where Discord has shown it.
    pub user: Option<Box<User>>,
}

impl Person {
    pub fn is_bot(&self) -> bool {
        self.user.as_ref().is_some_and(|user| user.bot)
    }

    /// Said to everyone but themselves.
    pub fn keeps_hidden(&self) -> String {
        format!("{} keeps their XP hidden.", escape(&self.name))
    }

    /// Said while they have earned nothing.
    pub fn has_none(&self) -> String {
        let why = if self.is_bot() {
            " Bots do not earn any."
        } else {
            ""
        };
        format!("{} has no XP yet.{why}", escape(&self.name))
    }

    fn of(id: UserId, user: Box<User>, nickname: Option<String>) -> Self {
        let name = nickname
            .or_else(|| user.global_name.clone())
            .unwrap_or_else(|| user.name.clone());
        Self {
            id,
            name,
            user: Some(user),
        }
    }

    /// From what came with the command; else from Discord; else from the database,
    /// for those who left.
    pub async fn find(ctx: Context<'_>, target: Target) -> Result<Self, Error> {
        let (id, user, nickname) = match target {
            Target::Caller => (
                caller_id(ctx)?,
                Some(Box::new(ctx.author().clone())),
                caller_nickname(ctx),
            ),
            Target::Other(id, user, nickname) => (id, user, nickname),
        };
        match user {
            Some(user) => Ok(Self::of(id, user, nickname)),
            None => Self::look_up(ctx, id).await,
        }
    }

    async fn look_up(ctx: Context<'_>, id: UserId) -> Result<Self, Error> {
        let data = ctx.data();
        let member = data
            .rest
            .call("asking for a member", Repeat::Safe, NAME_PATIENCE, |http| {
                let route = Route::GuildMember {
                    guild_id: data.setting.guild.into(),
                    user_id: id.into(),
                };
                let request = Request::new(route, LightMethod::Get);
                async move { http.fire::<Value>(request).await }
            });
        if let Ok(member) = member.await
            && let Ok(user) = command::account(&member["user"])
        {
            let nickname = member["nick"].as_str().map(str::to_owned);
            return Ok(Self::of(id, Box::new(user), nickname));
        }
        let stored = stored_profile(&data.setting.database, id).await;
        if let Ok(Some(profile)) = &stored {
            return Ok(Self {
                id,
                name: profile.shown_name().to_owned(),
                user: None,
            });
        }
        let user = data
            .rest
            .call("asking for a user", Repeat::Safe, NAME_PATIENCE, |http| {
                let route = Route::User { user_id: id.into() };
                let request = Request::new(route, LightMethod::Get);
                async move { http.fire::<Value>(request).await }
            });
        let user = user.await.and_then(|user| {
            let unreadable =
                |field| RestError::NotUnderstood(format!("a user could not be read at `{field}`"));
            command::account(&user).map_err(unreadable)
        });
        match user {
            Ok(user) => Ok(Self::of(id, Box::new(user), None)),
            Err(RestError::Refused { status: 404, .. }) => {
                // Someone whose account is gone may still be known to a database that
                // could not be asked.
                stored?;
                Err(UserError(format!("There is no user with the id {id}.")).into())
            }
            Err(error) => {
                tracing::warn!(%error, "Discord did not return a user");
                Err(
                    UserError("Discord is not responding. Please try again shortly.".to_owned())
                        .into(),
                )
            }
        }
    }
}

/// The profile that is stored, if the database tells in time for the answer.
async fn stored_profile(database: &Database, id: UserId) -> store::Result<Option<Profile>> {
    store::within(NAME_PATIENCE, async {
        store::user_point::profile(&mut *database.acquire().await?, id).await
    })
    .await
}

/// Stored names of several people, for lists. Discord draws a mention in an embed only for
/// readers whose client knows the user already, so a list says the name as text too.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<UserId, String>);

impl Names {
    /// Reads the names in one query. A database that does not answer in time costs the
    /// names, not the list.
    pub async fn read(database: &Database, users: &[UserId]) -> Self {
        let read = store::within(NAME_PATIENCE, async {
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

    /// The name as text, at most as long as Discord lets names be, and the mention beside it.
    pub fn with_mention(&self, user: UserId) -> String {
        let name = self.0.get(&user).map_or("(name unknown)", String::as_str);
        format!("{name} <@{user}>")
    }
}

impl FromIterator<(UserId, Profile)> for Names {
    fn from_iter<T: IntoIterator<Item = (UserId, Profile)>>(profiles: T) -> Self {
        let name = |profile: &Profile| {
            escape_text(profile.shown_name(), LONGEST_NAME).unwrap_or_else(|| "(no name)".into())
        };
        let named = profiles.into_iter();
        Self(
            named
                .map(|(user, profile)| (user, name(&profile)))
                .collect(),
        )
    }
}

/// Whoever ran the command.
pub(super) fn caller_id(ctx: Context<'_>) -> Result<UserId, Error> {
    let id = ctx.author().id.try_into();
    id.map_err(|()| anyhow::anyhow!("the caller's id is invalid"))
}

/// The caller's nickname, which the message or the interaction carries.
fn caller_nickname(ctx: Context<'_>) -> Option<String> {
    match ctx {
        Context::Prefix(ctx) => ctx.msg.member.as_ref()?.nick.clone(),
        Context::Application(ctx) => ctx.interaction.member.as_ref()?.nick.clone(),
    }
}
