//! A button was pressed: by whom, still in time, and what then.
//!
//! What the button means stands in its id ([`super::buttons`]). A client can send any id it
//! likes, so nothing is done that its sender may not do anyway.

use std::sync::atomic::{AtomicBool, Ordering};

use poise::serenity_prelude::{self as serenity, ComponentInteraction};

use super::buttons::{self, Button, List, Turn, Wish, turned};
use super::levels::Listed;
use super::naming::{self, Number, Scene, Wanted, id_of_bot};
use super::rights::{Caller, Right, guild_roles};
use super::{Data, Error, ranks, sentence_for};
use crate::discord::RestError;
use crate::discord::interaction::Asked;
use crate::discord::reply::Reply;
use crate::error::UserError;
use crate::leveling::UserId;

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
        if caller.get() != press.user.id.get() {
            tracing::info!(user = %press.user.id, ?wish, "someone pressed another's button");
            let sentence = "Only the person who asked can use these buttons.";
            return Err(UserError(sentence.to_owned()).into());
        }
        if !self.in_time() {
            self.answer(self.asked().without_buttons(&data.rest))
                .await?;
            let sentence = "These buttons have stopped working; type the command again.";
            return Err(UserError(sentence.to_owned()).into());
        }
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
            Wish::Take { .. } | Wish::OfferDelete { .. } | Wish::Delete { .. } => {
                self.check(Right::Moderator, wish).await?;
                // What follows may take more than 3 s; and who presses twice means it once.
                let working = Reply::text("One moment …");
                self.answer(self.asked().update(&data.rest, &working))
                    .await?;
                let scene = Scene {
                    data,
                    bot: id_of_bot(bot)?,
                    caller,
                };
                let reply = carry_out(&scene, wish).await;
                // A refusal, too, is the end of these buttons: the next try begins anew.
                let reply =
                    reply.unwrap_or_else(|error| Reply::text(sentence_for(&error, "a button")));
                self.asked().edit(&data.rest, &reply).await?;
            }
        }
        Ok(())
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
            List::Ranks => Ok(ranks::draw(xp, caller, turned(from, to, ranks::pages(xp)))),
            List::Levels => {
                self.check(Right::Moderator, Wish::Turn { list, from, to })
                    .await?;
                let (roles, _) = guild_roles(self.data, &self.ctx.cache).await?;
                let list = Listed::new(xp, &roles);
                Ok(list.draw(caller, turned(from, to, list.pages())))
            }
        }
    }

    /// Whether whoever pressed has the right, now.
    async fn check(&self, right: Right, wish: Wish) -> Result<(), Error> {
        let member = self.press.member.as_ref();
        let caller = Caller::of_member(self.data, &self.ctx.cache, member).await?;
        let rights = &self.data.setting.rights;
        if rights.allow(right, &caller) {
            return Ok(());
        }
        let user = self.press.user.id;
        tracing::warn!(%user, ?wish, "someone without the right pressed a moderator's button");
        Err(rights.refusal(right).into())
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

async fn carry_out(scene: &Scene<'_>, wish: Wish) -> Result<Reply, Error> {
    match wish {
        Wish::Take { level, role } => {
            let wanted = Wanted::Confirmed(role);
            naming::carry(scene, &Number::from(level), &wanted).await
        }
        Wish::OfferDelete { role } => naming::offer_delete(scene, role).await,
        Wish::Delete { role } => naming::delete(scene, role).await,
        Wish::Close | Wish::Leave | Wish::Turn { .. } => Ok(Reply::default()),
    }
}
