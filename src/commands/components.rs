//! Button presses: checks who pressed a button and when, and carries out its action.
//!
//! A button's id contains its action ([`crate::discord::messages::buttons`]). A client can send any
//! id, so each action checks the right that its command requires.

use std::sync::Arc;

use poise::serenity_prelude::{self as serenity, ComponentInteraction};

use super::context::{Data, Error};
use super::interactions::{InvokedIn, invoked_in};
use super::level_names::assign::{self, Assigned, Outcome};
use super::level_names::remove_all_names::{self, Confirmed};
use super::level_names::{RoleEdit, delete_role, remove_level_name};
use super::levels::LevelList;
use super::pages::page_count;
use super::rate_limit::Verdict;
use super::respond::{MessageRef, sentence_for};
use super::rights::{Right, guild_roles};
use super::xp_rules::list::RuleList;
use super::{ranks, reset_profiles, role_rewards};
use crate::discord::messages::button_lifetime;
use crate::discord::messages::buttons::{Button, ButtonAction, Direction, PagedList, page_after};
use crate::discord::messages::interaction::Conversation;
use crate::discord::messages::reply::Reply;
use crate::error::UserError;
use crate::leveling::{MessageId, RoleManager, UserId};
use crate::roles::ALLOWED_FOR;
use crate::store::reconcile_state;

/// The answer to buttons of an earlier bot and to forged ones.
const NO_BUTTON: &str = "This button no longer works.";
/// Told once to a member who presses buttons too fast.
const TOO_MANY_PRESSES: &str =
    "You can press ten buttons at once, then one every second. Please wait a little.";

/// Carries out a button's action, or tells the presser why not. Failures are also logged.
pub(super) async fn pressed(data: &Data, press: &ComponentInteraction) {
    let conversation = Arc::new(Conversation::of_press(press));
    match invoked_in(data, press.guild_id) {
        InvokedIn::OtherGuild => return,
        InvokedIn::DirectMessages => return whisper(data, &conversation, NO_BUTTON).await,
        InvokedIn::ServedGuild => {}
    }
    let press = Press {
        data,
        interaction: press,
        conversation,
    };
    let conversation = &press.conversation;
    match press.take_token() {
        Verdict::Allowed => {}
        // Without this, Discord would tell the member that the interaction failed.
        Verdict::Refused => return press.acknowledge().await,
        Verdict::RefusedAndTold => return whisper(data, conversation, TOO_MANY_PRESSES).await,
    }
    let reacting = async {
        if let Err(error) = press.react().await {
            let sentence = sentence_for(&error, "a button");
            whisper(data, conversation, &sentence).await;
        }
    };
    let reacting = Box::pin(reacting);
    conversation
        .defer_if_late(&data.bot.env.rest, reacting)
        .await;
}

struct Press<'a> {
    data: &'a Data,
    interaction: &'a ComponentInteraction,
    conversation: Arc<Conversation>,
}

impl Press<'_> {
    async fn react(&self) -> Result<(), Error> {
        let action = self.checked_action().await?;
        let (rest, conversation) = (&self.data.bot.env.rest, &self.conversation);
        let caller = self.interaction.user.id.try_into();
        let caller = caller.map_err(|()| anyhow::anyhow!("the caller's id is invalid"))?;
        let edit = RoleEdit {
            data: self.data,
            caller,
        };
        match action {
            ButtonAction::Close => {
                conversation.defer(rest).await?;
                conversation.delete(rest).await?;
            }
            ButtonAction::KeepAsIs => {
                let reply = Reply::text("Everything stays as it is.");
                conversation.replace(rest, &reply).await?;
            }
            ButtonAction::TurnPage {
                list,
                from,
                direction,
            } => {
                let page = self.page(caller, list, from, direction).await?;
                conversation.replace(rest, &page).await?;
            }
            ButtonAction::ResetProfiles => {
                self.begin(Right::Operator).await?;
                let dropped = reset_profiles::carry_out(self.data, caller, conversation).await;
                conversation.replace(rest, &or_sentence(dropped)).await?;
            }
            ButtonAction::ApplyRoleRewards { rewards, losing } => {
                self.begin(Right::Moderator).await?;
                let confirmed = role_rewards::Confirmed { rewards, losing };
                let (pressed, answer) = (self.interaction.id, self.answer());
                role_rewards::carry_out(self.data, caller, pressed, confirmed, &answer).await;
            }
            ButtonAction::RestoreRole { .. }
            | ButtonAction::RemoveLevelName { .. }
            | ButtonAction::AllowRemovals { .. }
            | ButtonAction::LinkRole { .. } => {
                self.begin_council_action().await?;
                let done = self.act_in_council(edit, action).await;
                self.answer_council(done).await?;
            }
            ButtonAction::RemoveAllNames { .. }
            | ButtonAction::TakeOverRole { .. }
            | ButtonAction::OfferRoleDeletion { .. }
            | ButtonAction::DeleteRole { .. } => {
                self.begin(Right::Moderator).await?;
                self.act_on_roles(edit, action).await?;
            }
        }
        Ok(())
    }

    /// Carries out an action of a button in the council.
    async fn act_in_council(
        &self,
        edit: RoleEdit<'_>,
        action: ButtonAction,
    ) -> Result<Reply, Error> {
        match action {
            ButtonAction::RestoreRole { level } => {
                let restored = assign::restore(edit, level).await?;
                Ok(self.apply(restored))
            }
            ButtonAction::LinkRole {
                level,
                role,
                channels,
            } => {
                let linked = assign::link_anyway(edit, level, role, channels).await?;
                Ok(self.apply(linked))
            }
            ButtonAction::RemoveLevelName { level } => {
                let removed = remove_level_name::remove_missing(edit, level).await?;
                self.data.bot.roles.schedule.everyone_soon();
                Ok(removed)
            }
            ButtonAction::AllowRemovals { losing } => {
                self.allow_removals(edit.caller, losing).await
            }
            _ => Err(UserError(NO_BUTTON.to_owned()).into()),
        }
    }

    /// Carries out an action that changes levels' roles and was confirmed by the moderator, or asks
    /// again. Replaces the message.
    async fn act_on_roles(&self, edit: RoleEdit<'_>, action: ButtonAction) -> Result<(), Error> {
        let (rest, conversation) = (&self.data.bot.env.rest, &self.conversation);
        let done = match action {
            ButtonAction::TakeOverRole {
                level,
                role,
                channels,
            } => {
                let taken = assign::take_over_confirmed(edit, level, role, channels).await;
                return self.answer_assignment(taken).await;
            }
            ButtonAction::RemoveAllNames {
                levels,
                roles,
                delete,
            } => {
                let confirmed = Confirmed {
                    levels,
                    roles,
                    delete,
                };
                let answer = self.answer();
                let removed = async {
                    let manager = self.role_manager().await?;
                    remove_all_names::carry_out(edit, &manager, confirmed, &answer).await
                };
                let removed = or_sentence(removed.await);
                answer.complete(rest, &removed).await;
                return Ok(());
            }
            ButtonAction::OfferRoleDeletion { role } => {
                let asking = async {
                    let manager = self.role_manager().await?;
                    delete_role::ask(edit, &manager, role).await
                };
                asking.await
            }
            ButtonAction::DeleteRole { role } => {
                let deleting = async {
                    let manager = self.role_manager().await?;
                    delete_role::carry_out(edit, &manager, role).await
                };
                deleting.await
            }
            _ => Err(UserError(NO_BUTTON.to_owned()).into()),
        };
        conversation.replace(rest, &or_sentence(done)).await?;
        Ok(())
    }

    /// The button's action, if the button is the bot's, meant for the presser, and not too old.
    async fn checked_action(&self) -> Result<ButtonAction, Error> {
        let (press, bot) = (self.interaction, serenity::UserId::from(self.data.bot.id));
        let button = Button::parse(&press.data.custom_id);
        let Some(Button { caller, action }) = button.filter(|_| press.message.author.id == bot)
        else {
            tracing::warn!(user = %press.user.id, "someone pressed an unknown button");
            return Err(UserError(NO_BUTTON.to_owned()).into());
        };
        let Some(caller) = caller else {
            // A button without a caller is the council's. Any moderator may press it, and it does
            // not expire.
            return Ok(action);
        };
        if caller.get() != press.user.id.get() {
            let button = &press.data.custom_id;
            tracing::info!(user = %press.user.id, button, "someone pressed another user's button");
            let sentence = "Only the person who asked can use these buttons.";
            return Err(UserError(sentence.to_owned()).into());
        }
        if !self.in_time() {
            self.conversation
                .take_buttons_off(&self.data.bot.env.rest)
                .await?;
            let sentence = "These buttons have stopped working; type the command again.";
            return Err(UserError(sentence.to_owned()).into());
        }
        Ok(action)
    }

    /// Checks the right and removes the buttons at once, because the action may take long and must
    /// not run twice if someone presses twice. After a failure the command must be typed again.
    async fn begin(&self, right: Right) -> Result<(), Error> {
        self.check(right).await?;
        let working = Reply::text("One moment …");
        self.conversation
            .replace(&self.data.bot.env.rest, &working)
            .await?;
        Ok(())
    }

    /// Checks that the presser is a moderator, and announces a private answer. The council's
    /// message is not replaced, since it stays until the problem is solved.
    async fn begin_council_action(&self) -> Result<(), Error> {
        self.check(Right::Moderator).await?;
        self.conversation
            .defer_privately(&self.data.bot.env.rest)
            .await?;
        Ok(())
    }

    async fn answer_council(&self, done: Result<Reply, Error>) -> Result<(), Error> {
        let reply = or_sentence(done).private();
        self.conversation
            .answer(&self.data.bot.env.rest, &reply)
            .await?;
        Ok(())
    }

    /// Gives the members the level's role in the background. Returns the answer.
    fn apply(&self, assigned: Assigned) -> Reply {
        let reply = assigned.reply();
        assigned.apply_to_members(self.data, None);
        reply
    }

    async fn allow_removals(&self, caller: UserId, losing: u64) -> Result<Reply, Error> {
        let until = self.data.bot.env.time.now() + ALLOWED_FOR;
        let mut session = self.data.bot.env.database.acquire().await?;
        let members = u32::try_from(losing).unwrap_or(u32::MAX);
        reconcile_state::allow(&mut session, members, until).await?;
        self.data.bot.roles.schedule.everyone_soon();
        tracing::info!(by = %caller, losing, "members may lose level roles");
        Ok(Reply::text(
            "I am taking the roles away now. The log says when that is done.",
        ))
    }

    async fn answer_assignment(&self, done: Result<Outcome, Error>) -> Result<(), Error> {
        let (reply, assigned) = match done {
            Ok(Outcome::Question(question)) => (*question, None),
            Ok(Outcome::Assigned(assigned)) => (assigned.reply(), Some(assigned)),
            Err(error) => (or_sentence(Err(error)), None),
        };
        self.conversation
            .replace(&self.data.bot.env.rest, &reply)
            .await?;
        if let Some(assigned) = assigned {
            assigned.apply_to_members(self.data, Some(self.answer()));
        }
        Ok(())
    }

    async fn page(
        &self,
        caller: UserId,
        list: PagedList,
        from: usize,
        direction: Direction,
    ) -> Result<Reply, Error> {
        let data = self.data;
        match list {
            PagedList::Ranks => {
                let page = page_after(from, direction, page_count(data.bot.env.xp.board_len()));
                Ok(ranks::draw(data, caller, page).await)
            }
            PagedList::Levels => {
                self.check(Right::Moderator).await?;
                let list = LevelList::new(&data.bot.env.xp, &guild_roles(data).await?);
                let page = page_after(from, direction, list.page_count());
                Ok(list.draw(caller, page))
            }
            PagedList::XpRules => {
                self.check(Right::Moderator).await?;
                let pressed = MessageId::new(self.interaction.id.get());
                let pressed =
                    pressed.ok_or_else(|| anyhow::anyhow!("the press has no valid id"))?;
                let list = RuleList::read(data, pressed.sent_at()).await?;
                let page = page_after(from, direction, list.page_count());
                Ok(Box::pin(list.draw(data, caller, page)).await)
            }
        }
    }

    /// Returns an error if the presser does not have the right now. The attempt is then logged.
    async fn check(&self, right: Right) -> Result<(), Error> {
        let member = self.interaction.member.as_ref();
        let rights = &self.data.rights;
        let caller = rights.caller_of_member(self.data, member).await;
        if rights.allow(right, &caller)? {
            return Ok(());
        }
        let user = self.interaction.user.id;
        let button = &self.interaction.data.custom_id;
        tracing::info!(%user, button, "someone without the right pressed a button");
        Err(rights.refusal(right, &caller).into())
    }

    /// The presser, with the roles that they hold now.
    async fn role_manager(&self) -> Result<RoleManager, Error> {
        let member = self.interaction.member.as_ref();
        let caller = self.data.rights.caller_of_member(self.data, member).await;
        Ok(caller.role_manager()?)
    }

    /// Whether the buttons still work. Compares the times that the ids of the message and of the
    /// press contain.
    fn in_time(&self) -> bool {
        let message = self.interaction.message.id.try_into();
        let press = serenity::MessageId::new(self.interaction.id.get()).try_into();
        match (message, press) {
            (Ok(message), Ok(press)) => button_lifetime::still_work(message, press),
            _ => false,
        }
    }

    fn take_token(&self) -> Verdict {
        let caller = UserId::try_from(self.interaction.user.id);
        let pressed = serenity::MessageId::new(self.interaction.id.get()).try_into();
        match (caller, pressed) {
            (Ok(caller), Ok(pressed)) => {
                let now = MessageId::sent_at(pressed);
                self.data.limits.buttons.take(caller, now)
            }
            _ => Verdict::Allowed,
        }
    }

    /// The message whose button was pressed.
    fn answer(&self) -> MessageRef {
        MessageRef::of_press(Arc::clone(&self.conversation), &self.interaction.message)
    }

    async fn acknowledge(&self) {
        if let Err(error) = self.conversation.defer(&self.data.bot.env.rest).await {
            tracing::debug!(%error, "a pressed button could not be acknowledged");
        }
    }
}

fn or_sentence(done: Result<Reply, Error>) -> Reply {
    done.unwrap_or_else(|error| Reply::text(sentence_for(&error, "a button")))
}

/// Sends a message that only the presser sees.
async fn whisper(data: &Data, conversation: &Conversation, sentence: &str) {
    let reply = Reply::text(sentence).private();
    if let Err(error) = conversation.answer(&data.bot.env.rest, &reply).await {
        tracing::warn!(%error, "a member who pressed a button could not be told why nothing happened");
    }
}
