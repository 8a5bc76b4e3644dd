//! A button was pressed: by whom, still in time, and what then.
//!
//! What the button means stands in its id ([`crate::discord::buttons`]). A client can send any id it
//! likes, so nothing is done that its sender may not do anyway.

use std::sync::Arc;
use std::time::{Duration, Instant};

use poise::serenity_prelude::{self as serenity, ComponentInteraction};

use super::allowance::Verdict;
use super::answering::MessageRef;
use super::invoked::{Place, place};
use super::levels::Listed;
use super::naming::{self, Carried, Number, Scene, Wanted};
use super::profiles::AvatarReset;
use super::remove_all_names::{self, Agreed};
use super::rights::{Right, guild_roles};
use super::{Data, Error, locked, ranks, sentence_for};
use crate::discord::buttons::{self, Button, List, Turn, Wish, turned};
use crate::discord::interaction::Conversation;
use crate::discord::reply::Reply;
use crate::error::UserError;
use crate::leveling::{Grouped, MessageId, UserId};
use crate::roles::ALLOWED_FOR;
use crate::store::verification;

/// How often the answer says how far something long is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(4);
/// Said of buttons of an earlier bot, and of those that nobody was shown.
const NO_BUTTON: &str = "This button no longer works.";
/// Said once to a member who presses buttons faster than that.
const TOO_MANY_PRESSES: &str =
    "You can press ten buttons at once, then one every second. Please wait a little.";

/// Does what the button asks for, or says why not. Never fails: what goes wrong is said to
/// whoever pressed, and stands in the log.
pub(super) async fn pressed(data: &Data, press: &ComponentInteraction) {
    let conversation = Arc::new(Conversation::of_press(press));
    match place(data, press.guild_id) {
        Place::OtherGuild => return,
        Place::DirectMessages => return whisper(data, &conversation, NO_BUTTON).await,
        Place::OwnGuild => {}
    }
    let press = Pressed {
        data,
        press,
        conversation,
    };
    match press.take_token() {
        Verdict::Allowed => {}
        // Otherwise Discord shows the member that the press failed.
        Verdict::Refused => return press.acknowledge().await,
        Verdict::RefusedAndTold => {
            return whisper(data, &press.conversation, TOO_MANY_PRESSES).await;
        }
    }
    let reacting = async {
        if let Err(error) = press.react().await {
            let sentence = sentence_for(&error, "a button");
            whisper(data, &press.conversation, &sentence).await;
        }
    };
    let conversation = &press.conversation;
    let reacting = Box::pin(reacting);
    conversation.defer_if_late(&data.rest, reacting).await;
}

/// A button that was pressed.
struct Pressed<'a> {
    data: &'a Data,
    press: &'a ComponentInteraction,
    conversation: Arc<Conversation>,
}

impl Pressed<'_> {
    async fn react(&self) -> Result<(), Error> {
        let Self {
            data,
            press,
            conversation,
            ..
        } = self;
        let rest = &data.rest;
        let bot = serenity::UserId::from(data.setting.bot);
        let button = Button::parse(&press.data.custom_id);
        let Some(Button { caller, wish }) = button.filter(|_| press.message.author.id == bot)
        else {
            tracing::warn!(user = %press.user.id, "someone pressed a button that is not ours");
            return Err(UserError(NO_BUTTON.to_owned()).into());
        };
        if caller.is_some_and(|caller| caller.get() != press.user.id.get()) {
            let button = &press.data.custom_id;
            tracing::info!(user = %press.user.id, button, "someone pressed another's button");
            let sentence = "Only the person who asked can use these buttons.";
            return Err(UserError(sentence.to_owned()).into());
        }
        // What the council is asked may be answered the next day.
        if caller.is_some() && !self.in_time() {
            conversation.take_buttons_off(rest).await?;
            let sentence = "These buttons have stopped working; type the command again.";
            return Err(UserError(sentence.to_owned()).into());
        }
        let caller = press.user.id.try_into();
        let caller = caller.map_err(|()| anyhow::anyhow!("the caller's id is invalid"))?;
        match wish {
            Wish::Close => {
                conversation.defer(rest).await?;
                conversation.delete(rest).await?;
            }
            Wish::Leave => {
                let reply = Reply::text("Everything stays as it is.");
                conversation.replace(rest, &reply).await?;
            }
            Wish::Turn { list, from, to } => {
                let page = self.page(caller, list, from, to).await?;
                conversation.replace(rest, &page).await?;
            }
            Wish::RestoreRole { .. } | Wish::DropName { .. } | Wish::AllowRemovals { .. } => {
                self.check(Right::Moderator).await?;
                // The council's message stays as it is until the problem is solved.
                conversation.defer_privately(rest).await?;
                let reply = self.for_the_council(&self.scene(caller), wish).await;
                let reply =
                    reply.unwrap_or_else(|error| Reply::text(sentence_for(&error, "a button")));
                conversation.answer(rest, &reply.private()).await?;
            }
            Wish::ResetProfiles => {
                self.check(Right::Operator).await?;
                let working = Reply::text("One moment …");
                conversation.replace(rest, &working).await?;
                let reply = self.reset_profiles(caller).await;
                let reply =
                    reply.unwrap_or_else(|error| Reply::text(sentence_for(&error, "a button")));
                conversation.replace(rest, &reply).await?;
            }
            Wish::RemoveNames {
                levels,
                roles,
                delete,
            } => {
                self.check(Right::Moderator).await?;
                let working = Reply::text("One moment …");
                conversation.replace(rest, &working).await?;
                let answer = MessageRef::of_press(Arc::clone(conversation), &press.message);
                let agreed = Agreed {
                    levels,
                    roles,
                    delete,
                };
                let scene = self.scene(caller);
                let reply = remove_all_names::carry_out(&scene, agreed, &answer).await;
                let reply =
                    reply.unwrap_or_else(|error| Reply::text(sentence_for(&error, "a button")));
                answer.complete(rest, &reply).await;
            }
            Wish::Take { .. } | Wish::OfferDelete { .. } | Wish::Delete { .. } => {
                self.check(Right::Moderator).await?;
                // What follows may take more than 3 s; and who presses twice means it once.
                let working = Reply::text("One moment …");
                conversation.replace(rest, &working).await?;
                // A refusal, too, is the end of these buttons: the next try begins anew.
                let carried = carry_out(&self.scene(caller), wish).await;
                let (reply, done) = match carried {
                    Ok(Carried::Asked(reply)) => (*reply, None),
                    Ok(Carried::Done(done)) => (done.reply(), Some(done)),
                    Err(error) => (Reply::text(sentence_for(&error, "a button")), None),
                };
                conversation.replace(rest, &reply).await?;
                if let Some(done) = done {
                    let conversation = Arc::clone(conversation);
                    let answer = MessageRef::of_press(conversation, &press.message);
                    done.follow(data, Some(answer));
                }
            }
        }
        Ok(())
    }

    fn scene(&self, caller: UserId) -> Scene<'_> {
        Scene {
            data: self.data,
            bot: self.data.setting.bot,
            caller,
        }
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
            let (users, of) = (Grouped(users), Grouped(of));
            let working =
                format!("One moment … The avatars of {users} of {of} users have been dropped.");
            let working = Reply::text(working);
            if let Err(error) = self.conversation.replace(&self.data.rest, &working).await {
                tracing::debug!(%error, "progress could not be shown");
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
                    "I am taking the roles away now. The log says when that is done.",
                ))
            }
            _ => Err(UserError(NO_BUTTON.to_owned()).into()),
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
                self.check(Right::Moderator).await?;
                let roles = guild_roles(self.data).await?;
                let list = Listed::new(xp, &roles);
                Ok(list.draw(caller, turned(from, to, list.pages())))
            }
        }
    }

    /// Whether the person who pressed has the right, now.
    async fn check(&self, right: Right) -> Result<(), Error> {
        let member = self.press.member.as_ref();
        let rights = &self.data.setting.rights;
        let caller = rights.caller_of_member(self.data, member).await;
        if rights.allow(right, &caller)? {
            return Ok(());
        }
        let user = self.press.user.id;
        let button = &self.press.data.custom_id;
        tracing::info!(%user, button, "someone without the right pressed a button");
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

    fn take_token(&self) -> Verdict {
        let caller = UserId::try_from(self.press.user.id);
        let pressed = serenity::MessageId::new(self.press.id.get()).try_into();
        match (caller, pressed) {
            (Ok(caller), Ok(pressed)) => {
                let now = MessageId::sent_at(pressed);
                locked(&self.data.buttons_pressed).take(caller, now)
            }
            _ => Verdict::Allowed,
        }
    }

    async fn acknowledge(&self) {
        if let Err(error) = self.conversation.defer(&self.data.rest).await {
            tracing::debug!(%error, "a pressed button could not be acknowledged");
        }
    }
}

/// Says something that only the member who pressed sees.
async fn whisper(data: &Data, conversation: &Conversation, sentence: &str) {
    let reply = Reply::text(sentence).private();
    if let Err(error) = conversation.answer(&data.rest, &reply).await {
        tracing::warn!(%error, "a member who pressed a button could not be told why nothing happened");
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
        _ => Err(UserError(NO_BUTTON.to_owned()).into()),
    }
}
