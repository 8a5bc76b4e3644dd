//! `.rank`: the stat card of the caller or of someone else.

use std::time::Duration;

use poise::serenity_prelude::{CreateEmbed, User};

use super::target::Target;
use super::{Context, Error, Manual, answer, settle};
use crate::discord::reply::{INFO, Reply};
use crate::discord::{Repeat, RestError};
use crate::error::UserError;
use crate::leveling::{Profile, UserId, escape};
use crate::store::{self, Database};
use crate::xp::Card;

/// How long a name is asked for before the stored one will do.
const NAME_PATIENCE: Duration = Duration::from_millis(1_200);

/// Show a stat card: XP, messages, rank and level
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = "Manual { usage: \"rank [@user]\", example: \"rank @alice\" }"
)]
pub(super) async fn rank(
    ctx: Context<'_>,
    #[description = "Whose card; yours if left out"] user: Option<Target>,
) -> Result<(), Error> {
    settle(ctx).await;
    let person = Person::find(ctx, user.unwrap_or(Target::Caller)).await?;
    let name = escape(&person.name);
    let known = ctx.data().setting.xp.get(person.id);
    let own = person.id.get() == ctx.author().id.get();
    if known.is_some_and(|user| user.hidden) && !own {
        return answer(ctx, Reply::text(format!("{name} keeps their XP hidden."))).await;
    }
    let Some(card) = ctx.data().setting.xp.card(person.id) else {
        let why = if person.is_bot() {
            " Bots do not earn any."
        } else {
            ""
        };
        return answer(ctx, Reply::text(format!("{name} has no XP yet.{why}"))).await;
    };
    let mut embed = CreateEmbed::new()
        .title(format!("{name}'s Stat Card"))
        .description(describe(&card))
        .color(INFO);
    if let Some(user) = &person.user {
        embed = embed.thumbnail(user.face());
    }
    let reply = Reply::embed(embed);
    answer(ctx, if card.hidden { reply.private() } else { reply }).await
}

/// The card's lines.
fn describe(card: &Card) -> String {
    let xp = match card.progress.needed {
        Some(needed) => format!("{} / {needed} XP", card.progress.into_level),
        None => format!("{} XP", card.progress.into_level),
    };
    let Card {
        standing,
        progress,
        rank,
        ..
    } = card;
    format!(
        "{xp}\nTotal Messages: {}\nRank # {rank}\nLevel # {}",
        standing.message_count, progress.level
    )
}

/// Someone with a name to show.
struct Person {
    id: UserId,
    name: String,
    /// The account, where Discord has shown it.
    user: Option<Box<User>>,
}

impl Person {
    fn is_bot(&self) -> bool {
        self.user.as_ref().is_some_and(|user| user.bot)
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
    async fn find(ctx: Context<'_>, target: Target) -> Result<Self, Error> {
        let (id, user, nickname) = match target {
            Target::Caller => {
                let id = ctx
                    .author()
                    .id
                    .try_into()
                    .map_err(|()| anyhow::anyhow!("the caller's id is none"))?;
                (
                    id,
                    Some(Box::new(ctx.author().clone())),
                    caller_nickname(ctx),
                )
            }
            Target::Other(id, user, nickname) => (id, user, nickname),
        };
        match user {
            Some(user) => Ok(Self::of(id, user, nickname)),
            None => Self::look_up(ctx, id).await,
        }
    }

    async fn look_up(ctx: Context<'_>, id: UserId) -> Result<Self, Error> {
        let data = ctx.data();
        let guild = data.setting.guild.into();
        let member = data.rest.call(
            "asking for a member",
            Repeat::Safe,
            NAME_PATIENCE,
            |http| async move { http.get_member(guild, id.into()).await },
        );
        if let Ok(member) = member.await {
            return Ok(Self::of(id, Box::new(member.user), member.nick));
        }
        let stored = stored_profile(&data.setting.database, id).await;
        if let Ok(Some(profile)) = &stored {
            return Ok(Self {
                id,
                name: profile.shown_name().to_owned(),
                user: None,
            });
        }
        let user = data.rest.call(
            "asking for a user",
            Repeat::Safe,
            NAME_PATIENCE,
            |http| async move { http.get_user(id.into()).await },
        );
        match user.await {
            Ok(user) => Ok(Self::of(id, Box::new(user), None)),
            Err(RestError::Refused { status: 404, .. }) => {
                // Someone whose account is gone may still be known to a database that
                // could not be asked.
                stored?;
                Err(UserError(format!("There is no user with the id {id}.")).into())
            }
            Err(error) => {
                tracing::warn!(%error, "Discord did not tell who a user is");
                Err(
                    UserError("Discord does not answer just now; try again shortly.".to_owned())
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

/// The caller's nickname, which the message or the interaction carries.
fn caller_nickname(ctx: Context<'_>) -> Option<String> {
    match ctx {
        Context::Prefix(ctx) => ctx.msg.member.as_ref()?.nick.clone(),
        Context::Application(ctx) => ctx.interaction.member.as_ref()?.nick.clone(),
    }
}
