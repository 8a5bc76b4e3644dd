//! A button was pressed: by whom, still in time, and what then.
//!
//! What the button means stands in its id ([`crate::discord::buttons`]). A client can send any id it
//! likes, so nothing is done that its sender may not do anyway.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use poise::serenity_prelude::{self as serenity, ComponentInteraction};

use super::answering::Place;
use super::levels::Listed;
use super::naming::{self, Carried, Number, Scene, Wanted, id_of_bot};
use super::profiles::AvatarReset;
use super::rights::{Right, guild_roles};
use super::{Data, Error, ranks, sentence_for};
use crate::discord::RestError;
use crate::discord::buttons::{self, Button, List, Turn, Wish, turned};
use crate::discord::interaction::Asked;
use crate::discord::reply::Reply;
use crate::error::UserError;
use crate::leveling::UserId;
use crate::roles::ALLOWED_FOR;
use crate::store::verification;

/// How often the answer says how far something long is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(4);

/// Does what the button asks for, or says why not. Never fails: what goes wrong is said to
/// whoever pressed, and stands in the log.
pub(super) async fn pressed(data: &Data, ctx: &serenity::Context, press: &ComponentInteraction) {
    if press.guild_id != Some(data.setting.guild.into()) {
        return;
    }
    let press = Pressed {
        data,
        ctx,
        press,
        answered: AtomicBool::new(false),
    };
    if let Err(error) = press.react().await {
        press.whisper(sentence_for(&error, "a button")).await;
    }
}

/// A button that was pressed.
struct Pressed<'a> {
    data: &'a Data,
    ctx: &'a serenity::Context,
    press: &'a ComponentInteraction,
    /// Whether Discord has had its answer, after which only more can be said.
    answered: AtomicBool,
}

impl Pressed<'_> {
    async fn react(&self) -> Result<(), Error> {
        let Self { data, press, .. } = self;
        let bot = self.ctx.cache.current_user().id;
        let button = Button::parse(&press.data.custom_id);
        let Some(Button { caller, wish }) = button.filter(|_| press.message.author.id == bot)
        else {
            tracing::warn!(user = %press.user.id, "someone pressed what is no button of ours");
            return Err(UserError("This button does not work any more.".to_owned()).into());
        };
        if caller.is_some_and(|caller| caller.get() != press.user.id.get()) {
            tracing::info!(user = %press.user.id, ?wish, "someone pressed another's button");
            let sentence = "Only the person who asked can use these buttons.";
            return Err(UserError(sentence.to_owned()).into());
        }
        // What the council is asked may be answered the next day.
        if caller.is_some() && !self.in_time() {
            self.answer(self.asked().without_buttons(&data.rest))
                .await?;
            let sentence = "These buttons have stopped working; type the command again.";
            return Err(UserError(sentence.to_owned()).into());
        }
        let caller = press.user.id.try_into();
        let caller = caller.map_err(|()| anyhow::anyhow!("the caller's id is none"))?;
        match wish {
            Wish::Close => {
                self.answer(self.asked().acknowledge(&data.rest)).await?;
                self.asked().delete(&data.rest).await?;
            }
            Wish::Leave => {
                let reply = Reply::text("Everything stays as it is.");
                self.answer(self.asked().update(&data.rest, &reply)).await?;
            }
            Wish::Turn { list, from, to } => {
                let page = self.page(caller, list, from, to).await?;
                self.answer(self.asked().update(&data.rest, &page)).await?;
            }
            Wish::RestoreRole { .. } | Wish::DropName { .. } | Wish::AllowRemovals { .. } => {
                self.check(Right::Moderator, wish).await?;
                // The council's message stays as it is until the problem is solved.
                self.answer(self.asked().defer_privately(&data.rest))
                    .await?;
                let reply = self.for_the_council(&self.scene(caller)?, wish).await;
                let reply =
                    reply.unwrap_or_else(|error| Reply::text(sentence_for(&error, "a button")));
                self.asked().edit(&data.rest, &reply).await?;
            }
            Wish::ResetProfiles => {
                self.check(Right::Operator, wish).await?;
                let working = Reply::text("One moment …");
                self.answer(self.asked().update(&data.rest, &working))
                    .await?;
                let reply = self.reset_profiles(caller).await;
                let reply =
                    reply.unwrap_or_else(|error| Reply::text(sentence_for(&error, "a button")));
                self.asked().edit(&data.rest, &reply).await?;
            }
            Wish::Take { .. } | Wish::OfferDelete { .. } | Wish::Delete { .. } => {
                self.check(Right::Moderator, wish).await?;
                // What follows may take more than 3 s; and who presses twice means it once.
                let working = Reply::text("One moment …");
                self.answer(self.asked().update(&data.rest, &working))
                    .await?;
                // A refusal, too, is the end of these buttons: the next try begins anew.
                let carried = carry_out(&self.scene(caller)?, wish).await;
                let (reply, done) = match carried {
                    Ok(Carried::Asked(reply)) => (*reply, None),
                    Ok(Carried::Done(done)) => (done.reply(), Some(done)),
                    Err(error) => (Reply::text(sentence_for(&error, "a button")), None),
                };
                self.asked().edit(&data.rest, &reply).await?;
                if let Some(done) = done {
                    let (channel, message) = (press.message.channel_id, press.message.id);
                    done.follow(data, Some(Place { channel, message }));
                }
            }
        }
        Ok(())
    }

    fn scene(&self, caller: UserId) -> Result<Scene<'_>, Error> {
        Ok(Scene {
            data: self.data,
            bot: id_of_bot(self.ctx.cache.current_user().id)?,
            caller,
        })
    }

    async fn reset_profiles(&self, caller: UserId) -> Result<Reply, Error> {
        let setting = &self.data.setting;
        let mut reset = AvatarReset::default();
        let mut said_at = Instant::now();
        while reset.step(&setting.database).await? {
            if said_at.elapsed() < PROGRESS_INTERVAL {
                continue;
            }
            said_at = Instant::now();
            let (users, of) = (reset.users, setting.xp.len());
            let working = format!("One moment … The avatars of {users} of {of} users are dropped.");
            let working = Reply::text(working);
            if let Err(error) = self.asked().edit(&self.data.rest, &working).await {
                tracing::debug!(%error, "an answer could not say how far it is");
            }
        }
        Ok(reset.done(caller))
    }

    /// What the council's buttons ask for.
    async fn for_the_council(&self, scene: &Scene<'_>, wish: Wish) -> Result<Reply, Error> {
        let verifications = &self.data.setting.verifications;
        match wish {
            Wish::RestoreRole { level } => {
                let done = naming::restore(scene, level).await?;
                let reply = done.reply();
                done.follow(self.data, None);
                Ok(reply)
            }
            Wish::DropName { level } => {
                let reply = naming::drop_name(scene, level).await?;
                verifications.soon();
                Ok(reply)
            }
            Wish::AllowRemovals { losing } => {
                let until = self.data.setting.time.now() + ALLOWED_FOR;
                let mut session = self.data.setting.database.acquire().await?;
                let losing = u32::try_from(losing).unwrap_or(u32::MAX);
                verification::allow(&mut session, losing, until).await?;
                verifications.soon();
                tracing::info!(by = %scene.caller, losing, "members may lose level roles");
                Ok(Reply::text(
                    "The roles are taken now; the log says when it is done.",
                ))
            }
            _ => Err(UserError("This button does not work any more.".to_owned()).into()),
        }
    }

    async fn page(
        &self,
        caller: UserId,
        list: List,
        from: usize,
        to: Turn,
    ) -> Result<Reply, Error> {
        let xp = &self.data.setting.xp;
        match list {
            List::Ranks => {
                let page = turned(from, to, ranks::pages(xp));
                Ok(ranks::draw(self.data, caller, page).await)
            }
            List::Levels => {
                self.check(Right::Moderator, Wish::Turn { list, from, to })
                    .await?;
                let roles = guild_roles(self.data).await?;
                let list = Listed::new(xp, &roles);
                Ok(list.draw(caller, turned(from, to, list.pages())))
            }
        }
    }

    /// Whether whoever pressed has the right, now.
    async fn check(&self, right: Right, wish: Wish) -> Result<(), Error> {
        let member = self.press.member.as_ref();
        let rights = &self.data.setting.rights;
        let caller = rights.caller_of_member(self.data, member).await;
        if rights.allow(right, &caller)? {
            return Ok(());
        }
        let user = self.press.user.id;
        tracing::warn!(%user, ?wish, "someone without the right pressed a button");
        Err(rights.refusal(right, &caller).into())
    }

    /// By the time in Discord's own ids.
    fn in_time(&self) -> bool {
        let message = self.press.message.id.try_into();
        let press = serenity::MessageId::new(self.press.id.get()).try_into();
        match (message, press) {
            (Ok(message), Ok(press)) => buttons::still_work(message, press),
            _ => false,
        }
    }

    fn asked(&self) -> Asked<'_> {
        Asked::from(self.press)
    }

    /// Discord's first answer.
    async fn answer(
        &self,
        answer: impl Future<Output = Result<(), RestError>>,
    ) -> Result<(), Error> {
        answer.await?;
        self.answered.store(true, Ordering::Release);
        Ok(())
    }

    /// Says something that only whoever pressed sees.
    async fn whisper(&self, sentence: String) {
        let (rest, reply) = (&self.data.rest, Reply::text(sentence).private());
        let said = if self.answered.load(Ordering::Acquire) {
            self.asked().add(rest, &reply).await
        } else {
            self.asked().answer(rest, &reply).await.map(|_| ())
        };
        if let Err(error) = said {
            tracing::warn!(%error, "whoever pressed a button could not be told why nothing happened");
        }
    }
}

async fn carry_out(scene: &Scene<'_>, wish: Wish) -> Result<Carried, Error> {
    match wish {
        Wish::Take { level, role } => {
            let wanted = Wanted::Confirmed(role);
            naming::carry(scene, &Number::from(level), &wanted).await
        }
        Wish::OfferDelete { role } => naming::offer_delete(scene, role)
            .await
            .map(|reply| Carried::Asked(Box::new(reply))),
        Wish::Delete { role } => naming::delete(scene, role)
            .await
            .map(|reply| Carried::Asked(Box::new(reply))),
        _ => Err(UserError("This button does not work any more.".to_owned()).into()),
    }
}
