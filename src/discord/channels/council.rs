//! The council: the channel in which the bot reports problems to the moderators.
//!
//! The bot posts a problem once, edits the message when the problem changes and marks it when
//! the problem is solved. A database row records what the channel shows, so reporting the same
//! problem again makes no call to Discord. Nothing here pings anybody or blocks other work; what
//! cannot be posted in the channel is logged instead.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use serenity::all::{CreateActionRow, CreateAllowedMentions, CreateMessage};

use super::managed_channel::{ManagedChannel, NoChannel, find_or_create};
use crate::discord::guild::right_roles::RightRoles;
use crate::discord::messages::nonce;
use crate::discord::messages::post::{Outgoing, SUPPRESS_EMBEDS, edit, id_of, plain};
use crate::discord::rest::{Author, Priority, Rest, RestError};
use crate::leveling::{ChannelId, GuildId, MessageId, without_nul};
use crate::store::council_notice::CouncilNotice;
use crate::store::{self, Database, council_notice};

const POST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest message that Discord takes, in characters.
const MAX_LENGTH: usize = 2_000;
const SOLVED: &str = "\n**Solved.**";
/// The log scope of messages from [`Council::say`], which are not lasting problems.
const NO_SCOPE: &str = "";
/// Deletions that are remembered while a message is being posted: its id is not known yet, and
/// one of them may be its own.
const MAX_DELETED: usize = 1_000;
const TOPIC: &str = "Problems that wall_e cannot solve by itself, and what to do about them.";

/// A problem that lasts until somebody solves it.
#[derive(Clone, Debug)]
pub struct Notice {
    /// A stable identifier of the problem, such as `missing-role:5`; unique across all scopes.
    pub key: String,
    /// What is wrong and what to do about it. A message is only edited if its text changes, not
    /// if only its buttons do. The caller escapes the names in it.
    pub text: String,
    /// Buttons that solve the problem from the message.
    pub buttons: Option<CreateActionRow>,
}

/// The council's channel and the messages in it. There is one for the whole bot, because only
/// one call at a time may post.
#[derive(Debug)]
pub struct Council {
    rest: Rest,
    database: Database,
    guild: GuildId,
    name: String,
    seen_by: RightRoles,
    /// Held while a message is sent: two concurrent calls could post it twice, or create two
    /// channels.
    turn: tokio::sync::Mutex<()>,
    /// The latest problems of each scope that has not been reported successfully yet.
    unreported: Mutex<BTreeMap<&'static str, Vec<Notice>>>,
    /// Texts that could only be logged, by scope and key, so that each is logged once.
    logged: Mutex<BTreeMap<(&'static str, String), String>>,
    messages: Mutex<Messages>,
}

/// The council's messages, in memory. People delete thousands of messages; this finds the
/// council's among them without a query.
#[derive(Debug, Default)]
struct Messages {
    /// Messages that show a problem, and their channels: all that the table contains, and perhaps
    /// some that could not be saved.
    shown: BTreeMap<MessageId, ChannelId>,
    /// Messages among `shown` that were deleted.
    gone: BTreeSet<MessageId>,
    /// Whether some of the deletions are not saved in the database yet.
    is_unsaved: bool,
    /// Deletions since the current post began; `None` if nothing is being posted.
    deleted_meanwhile: Option<DeletedNotices>,
}

#[derive(Debug, Default)]
struct DeletedNotices {
    messages: VecDeque<MessageId>,
    channels: VecDeque<ChannelId>,
}

/// Logs an error. Returns whether there was none.
fn log_failure(told: &anyhow::Result<()>) -> bool {
    if let Err(error) = told {
        let error = format!("{error:#}");
        tracing::warn!(error, "the council could not be told; trying again");
    }
    told.is_ok()
}

impl Messages {
    /// Notes that messages were deleted. Returns whether any newly deleted one showed a problem.
    fn delete(&mut self, messages: &[MessageId]) -> bool {
        if let Some(deleted) = &mut self.deleted_meanwhile {
            remember(&mut deleted.messages, messages);
        }
        let shown = messages.iter().filter(|id| self.shown.contains_key(id));
        let before = self.gone.len();
        self.gone.extend(shown);
        self.gone.len() > before
    }

    /// Notes that every channel for which `is_gone` holds was deleted. Returns whether any newly
    /// deleted message showed a problem.
    fn delete_in(&mut self, is_gone: impl Fn(ChannelId) -> bool) -> bool {
        let shown = self.shown.iter().filter(|(_, channel)| is_gone(**channel));
        let before = self.gone.len();
        self.gone.extend(shown.map(|(message, _)| *message));
        self.gone.len() > before
    }

    /// Notes that a message was posted or edited. It may have been deleted since.
    fn show(&mut self, message: MessageId, channel: ChannelId) {
        self.shown.insert(message, channel);
        let is_deleted = self.deleted_meanwhile.take().is_some_and(|deleted| {
            deleted.messages.contains(&message) || deleted.channels.contains(&channel)
        });
        if is_deleted {
            self.gone.insert(message);
        } else {
            self.gone.remove(&message);
        }
    }

    /// Notes that the table no longer contains a message.
    fn forget(&mut self, message: MessageId) {
        self.shown.remove(&message);
        self.gone.remove(&message);
    }
}

fn remember<T: Copy>(deleted: &mut VecDeque<T>, more: &[T]) {
    deleted.extend(more);
    deleted.drain(..deleted.len().saturating_sub(MAX_DELETED));
}

/// The channel to write to: looked up at most once per call, when there is something to write.
enum Destination {
    Unknown,
    Channel(ChannelId),
    /// There is no usable channel; says why and what to do about it.
    Unavailable(String),
}

/// The result of a post or edit that did not fail temporarily.
enum PostResult {
    Shown(ChannelId, MessageId),
    /// It was not shown, and why.
    Refused(String),
}

impl Council {
    /// A council in the channel `name`, which is found or created with the first message. If the
    /// bot creates it, the moderator roles that `seen_by` finds can see it.
    pub fn new(
        rest: Rest,
        database: Database,
        guild: GuildId,
        name: String,
        seen_by: RightRoles,
    ) -> Self {
        Self {
            rest,
            database,
            guild,
            name,
            seen_by,
            turn: tokio::sync::Mutex::default(),
            unreported: Mutex::default(),
            logged: Mutex::default(),
            messages: Mutex::default(),
        }
    }

    /// Loads from the database which messages show problems. Must be called before the first
    /// deletion event is handled.
    pub async fn load(&self) -> store::Result<()> {
        let shown = council_notice::messages(&mut *self.database.acquire().await?).await?;
        self.messages().shown.extend(shown);
        Ok(())
    }

    /// Reports all current problems of `scope`. Posts new ones and edits changed ones; problems
    /// that are no longer in `notices` are marked as solved and forgotten. After an error of
    /// Discord or the database, `notices` are kept for [`Council::tell_again`].
    pub async fn tell(&self, scope: &'static str, notices: &[Notice]) -> anyhow::Result<()> {
        let _turn = self.turn.lock().await;
        // Before the first await, so that they are kept if this future is dropped.
        self.unreported().insert(scope, notices.to_vec());
        let told = self.report_holding_turn(scope, notices).await;
        if told.is_ok() {
            self.unreported().remove(scope);
        }
        told
    }

    /// Retries the scopes that could not be reported, each with its latest problems.
    pub async fn tell_again(&self) -> anyhow::Result<()> {
        let _turn = self.turn.lock().await;
        let unreported = self.unreported().clone();
        let mut outcome = Ok(());
        for (scope, notices) in unreported {
            match self.report_holding_turn(scope, &notices).await {
                Ok(()) => {
                    self.unreported().remove(scope);
                }
                // The other scopes are still reported.
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    async fn report_holding_turn(
        &self,
        scope: &'static str,
        notices: &[Notice],
    ) -> anyhow::Result<()> {
        let others = self.show_all(scope, notices).await?;
        let mut keys: BTreeSet<&str> = notices.iter().map(|notice| &*notice.key).collect();
        for solved in &others {
            if !self.solve(scope, solved).await? {
                keys.insert(&*solved.key);
            }
        }
        self.logged()
            .retain(|(of, key), _| *of != scope || keys.contains(&**key));
        Ok(())
    }

    /// Reports some problems of `scope`: posts new ones and edits changed ones, but marks none as
    /// solved. The caller must retry after an error.
    pub async fn add(&self, scope: &'static str, notices: &[Notice]) -> anyhow::Result<()> {
        let _turn = self.turn.lock().await;
        // Problems kept from a failed `tell` are out of date: retrying them could mark the new
        // ones as solved.
        self.unreported().remove(scope);
        self.show_all(scope, notices).await.map(|_| ())
    }

    /// Shows these problems. Returns the other problems of `scope` that the channel shows.
    async fn show_all(
        &self,
        scope: &'static str,
        notices: &[Notice],
    ) -> anyhow::Result<Vec<CouncilNotice>> {
        let shown = council_notice::of_scope(&mut *self.database.acquire().await?, scope).await?;
        let mut shown: BTreeMap<String, CouncilNotice> = shown
            .into_iter()
            .map(|shown| (shown.key.clone(), shown))
            .collect();
        for shown in shown.values_mut() {
            if self.messages().gone.contains(&shown.message) {
                shown.text.clear();
            }
        }
        let (mut destination, mut keys) = (Destination::Unknown, BTreeSet::new());
        for notice in notices.iter().filter(|notice| keys.insert(&*notice.key)) {
            let before = shown.remove(&notice.key);
            self.show(scope, notice, before, &mut destination).await?;
        }
        Ok(shown.into_values().collect())
    }

    /// As [`Council::tell`], but logs an error. Returns whether there was none; the next call
    /// makes up for a failed one.
    pub async fn report_or_log(&self, scope: &'static str, notices: &[Notice]) -> bool {
        log_failure(&self.tell(scope, notices).await)
    }

    /// As [`Council::add`], but logs an error. Returns whether there was none.
    pub async fn add_or_log(&self, scope: &'static str, notices: &[Notice]) -> bool {
        log_failure(&self.add(scope, notices).await)
    }

    /// Posts a message that is not a lasting problem. Calls with the same `key` post it once
    /// while Discord remembers the nonce (some minutes). The caller must retry after an error.
    pub async fn say(&self, key: &str, text: &str) -> anyhow::Result<()> {
        let _turn = self.turn.lock().await;
        let text = fit(text, MAX_LENGTH);
        let nonce = nonce::council_message(key);
        let posted = self
            .post(&text, None, nonce, &mut Destination::Unknown)
            .await?;
        if let PostResult::Refused(why) = posted {
            self.log(NO_SCOPE, key, &text, &why);
        }
        Ok(())
    }

    /// The key of the problem that a message shows, if it shows one. Used when one of its buttons
    /// is pressed.
    pub async fn notice_of(&self, message: MessageId) -> anyhow::Result<Option<String>> {
        let mut session = self.database.acquire().await?;
        Ok(council_notice::of_message(&mut session, message).await?)
    }

    /// Handles deleted messages: problems that they showed are posted again with the next report.
    /// Returns without waiting if none of them showed a problem.
    pub async fn messages_deleted(&self, messages: &[MessageId]) -> anyhow::Result<()> {
        if self.messages().delete(messages) {
            self.save_gone().await?;
        }
        Ok(())
    }

    /// Handles a deleted channel, whose messages are gone with it.
    pub async fn channel_deleted(&self, channel: ChannelId) -> anyhow::Result<()> {
        let is_concerned = {
            let mut messages = self.messages();
            if let Some(deleted) = &mut messages.deleted_meanwhile {
                remember(&mut deleted.channels, &[channel]);
            }
            messages.delete_in(|of| of == channel)
        };
        if is_concerned {
            self.save_gone().await?;
        }
        Ok(())
    }

    /// Takes the complete list of channels: messages in any other channel are gone.
    pub async fn channels_are(&self, channels: &[ChannelId]) -> anyhow::Result<()> {
        let are: BTreeSet<ChannelId> = channels.iter().copied().collect();
        if self.messages().delete_in(|of| !are.contains(&of)) {
            self.save_gone().await?;
        }
        Ok(())
    }

    /// Whether a deletion is not saved in the database yet.
    pub fn has_unsaved_deletions(&self) -> bool {
        self.messages().is_unsaved
    }

    /// Saves in the database which messages are gone, for the next start. If it fails, the
    /// deletions stay known in memory and `is_unsaved` stays set.
    async fn save_gone(&self) -> anyhow::Result<()> {
        self.messages().is_unsaved = true;
        // Wait for a report in progress, which may be about to save one of these messages.
        let _turn = self.turn.lock().await;
        let gone: Vec<MessageId> = self.messages().gone.iter().copied().collect();
        let mut session = self.database.acquire().await?;
        council_notice::mark_possibly_deleted(&mut session, &gone).await?;
        let mut messages = self.messages();
        let are_all = messages.gone.iter().all(|message| gone.contains(message));
        messages.is_unsaved &= !are_all;
        Ok(())
    }

    async fn show(
        &self,
        scope: &'static str,
        notice: &Notice,
        before: Option<CouncilNotice>,
        destination: &mut Destination,
    ) -> anyhow::Result<()> {
        let text = fit(&notice.text, MAX_LENGTH);
        if before.as_ref().is_some_and(|before| before.text == text) {
            return Ok(());
        }
        let buttons = notice.buttons.as_ref();
        let mut told = None;
        if let Some(before) = &before {
            told = self.rewrite(before, &text, buttons).await?;
        }
        let told = if let Some(told) = told {
            told
        } else {
            self.messages().deleted_meanwhile = Some(DeletedNotices::default());
            let gone = before.as_ref().map(|before| before.message);
            let nonce = nonce::council_notice(&notice.key, &text, gone);
            self.post(&text, buttons, nonce, destination).await?
        };
        match told {
            PostResult::Shown(channel, message) => {
                let shown = CouncilNotice {
                    key: notice.key.clone(),
                    text,
                    channel,
                    message,
                };
                // Before the database call, which may fail.
                self.messages().show(message, channel);
                let mut session = self.database.acquire().await?;
                council_notice::save(&mut session, scope, &shown).await?;
                if let Some(before) = before.filter(|before| before.message != message) {
                    self.messages().forget(before.message);
                }
                self.logged().remove(&(scope, shown.key));
            }
            PostResult::Refused(why) => self.log(scope, &notice.key, &text, &why),
        }
        Ok(())
    }

    /// Marks a problem's message as solved and forgets the problem. Returns `false` if Discord
    /// refused the edit: then the problem is kept for the next report.
    async fn solve(&self, scope: &'static str, solved: &CouncilNotice) -> anyhow::Result<bool> {
        let text = solved.text.trim_end_matches(SOLVED);
        let text = fit(text, MAX_LENGTH - SOLVED.len()) + SOLVED;
        // Save first: if the bot stops after the edit and the problem comes back, a row with the
        // old text would claim that the problem is still shown.
        let marked = CouncilNotice {
            text: text.clone(),
            ..solved.clone()
        };
        council_notice::save(&mut *self.database.acquire().await?, scope, &marked).await?;
        if let Some(PostResult::Refused(why)) = self.rewrite(solved, text.trim(), None).await? {
            self.log(scope, &solved.key, text.trim(), &why);
            return Ok(false);
        }
        council_notice::forget(&mut *self.database.acquire().await?, &solved.key).await?;
        self.messages().forget(solved.message);
        Ok(true)
    }

    /// Edits a message; `None` if it or its channel is gone.
    async fn rewrite(
        &self,
        shown: &CouncilNotice,
        text: &str,
        buttons: Option<&CreateActionRow>,
    ) -> anyhow::Result<Option<PostResult>> {
        let (channel, message) = (shown.channel, shown.message);
        let body = json!({
            "content": text,
            "components": buttons.as_slice(),
            "allowed_mentions": { "parse": [] },
            "flags": SUPPRESS_EMBEDS,
        });
        let what = "editing a council message";
        match edit(&self.rest, what, channel.into(), message.into(), &body).await {
            Ok(()) => Ok(Some(PostResult::Shown(channel, message))),
            Err(RestError::Refused { status: 404, .. }) => Ok(None),
            Err(error @ RestError::Refused { .. }) => {
                Ok(Some(PostResult::Refused(refusal(&error))))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Posts a message. Calls with the same nonce post once while Discord remembers it.
    async fn post(
        &self,
        text: &str,
        buttons: Option<&CreateActionRow>,
        nonce: String,
        destination: &mut Destination,
    ) -> anyhow::Result<PostResult> {
        let word = plain(CreateMessage::new())
            .content(text)
            .components(buttons.cloned().into_iter().collect())
            .allowed_mentions(CreateAllowedMentions::new());
        let mut retried = false;
        loop {
            let channel = match self.find(destination).await? {
                Destination::Channel(channel) => *channel,
                Destination::Unavailable(why) => return Ok(PostResult::Refused(why.clone())),
                Destination::Unknown => unreachable!("`find` never leaves the channel unknown"),
            };
            let word = Outgoing {
                what: "posting to the council",
                channel: channel.into(),
                message: word.clone(),
                file: None,
                nonce: nonce.clone(),
                priority: Priority::Ahead,
                author: Author::Bot,
                timeout: POST_TIMEOUT,
            };
            match word.send(&self.rest).await {
                Ok(sent) => return self.posted(channel, &sent, text, buttons).await,
                // The channel was deleted after it was found.
                Err(RestError::Refused { status: 404, .. }) if !retried => {
                    retried = true;
                    *destination = Destination::Unknown;
                }
                Err(error @ RestError::Refused { status: 403, .. }) => {
                    *destination = Destination::Unavailable(refusal(&error));
                }
                // Only this message is refused; others may still be posted.
                Err(error @ RestError::Refused { .. }) => {
                    return Ok(PostResult::Refused(error.to_string()));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads Discord's answer to a post. If a problem comes back while Discord remembers the
    /// nonce, Discord returns the old message, which is marked as solved by now: it is edited.
    async fn posted(
        &self,
        channel: ChannelId,
        sent: &Value,
        text: &str,
        buttons: Option<&CreateActionRow>,
    ) -> anyhow::Result<PostResult> {
        let message = id_of(sent).and_then(|id| MessageId::try_from(id).ok());
        let message = message.context("Discord did not say which message it posted")?;
        if sent["edited_timestamp"].is_null() {
            return Ok(PostResult::Shown(channel, message));
        }
        let old = CouncilNotice {
            key: String::new(),
            text: String::new(),
            channel,
            message,
        };
        let again = self.rewrite(&old, text, buttons).await?;
        again.context("a message that Discord just showed is gone; posting it again")
    }

    /// The channel, found or created if `destination` is still unknown.
    async fn find<'a>(&self, destination: &'a mut Destination) -> anyhow::Result<&'a Destination> {
        if matches!(destination, Destination::Unknown) {
            let wanted = ManagedChannel {
                purpose: "council",
                setting: "WALLE_COUNCIL_CHANNEL",
                name: &self.name,
                seen_by: Some(&self.seen_by),
                topic: TOPIC,
            };
            let found = find_or_create(&self.rest, &self.database, self.guild, wanted);
            *destination = match found.await {
                Ok(channel) => Destination::Channel(channel),
                Err(error @ NoChannel::NotCreated { .. }) => {
                    Destination::Unavailable(error.to_string())
                }
                Err(NoChannel::Discord(error @ RestError::Refused { .. })) => {
                    Destination::Unavailable(refusal(&error))
                }
                Err(NoChannel::Discord(error)) => return Err(error.into()),
                Err(error @ NoChannel::Unsettled) => return Err(error.into()),
                Err(NoChannel::Database(error)) => return Err(error.into()),
            };
        }
        Ok(destination)
    }

    fn log(&self, scope: &'static str, key: &str, text: &str, why: &dyn Display) {
        let said = text.to_owned();
        let before = self.logged().insert((scope, key.to_owned()), said);
        if before.is_none_or(|before| before != text) {
            tracing::error!(text, %why, "the moderators could not be told");
        }
    }

    fn messages(&self) -> MutexGuard<'_, Messages> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreported(&self) -> MutexGuard<'_, BTreeMap<&'static str, Vec<Notice>>> {
        self.unreported
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn logged(&self) -> MutexGuard<'_, BTreeMap<(&'static str, String), String>> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refusal(error: &RestError) -> String {
    format!(
        "{error}; give the bot View Channel and Send Messages in the channel that \
         WALLE_COUNCIL_CHANNEL names"
    )
}

/// Cuts a text to `max_length` characters. Makes it equal to what the database returns, so that it
/// does not seem to have changed.
fn fit(text: &str, max_length: usize) -> String {
    let text = without_nul(text).into_owned();
    if text.chars().count() <= max_length {
        return text;
    }
    let cut: String = text.chars().take(max_length - 1).collect();
    cut + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_shows_a_problem_is_noted_when_it_is_deleted() {
        let message = |id| MessageId::new(id).unwrap();
        let channel = |id| ChannelId::new(id).unwrap();
        let mut messages = Messages::default();
        messages.shown.insert(message(5), channel(1));
        messages.shown.insert(message(6), channel(2));
        assert!(!messages.delete(&[message(7), message(8)]));
        assert!(messages.delete(&[message(7), message(5)]));
        assert!(
            !messages.delete(&[message(5)]),
            "its deletion is noted already"
        );
        assert!(!messages.delete_in(|of| of == channel(1)));
        assert!(messages.delete_in(|of| of == channel(2)));
        messages.forget(message(5));
        assert_eq!(messages.gone, [message(6)].into());
    }

    #[test]
    fn a_message_that_is_deleted_before_its_id_is_known_is_gone() {
        let message = |id| MessageId::new(id).unwrap();
        let channel = ChannelId::new(1).unwrap();
        let mut messages = Messages {
            deleted_meanwhile: Some(DeletedNotices::default()),
            ..Messages::default()
        };
        for id in 1..=5_000 {
            assert!(!messages.delete(&[message(id)]));
        }
        let remembered = messages.deleted_meanwhile.as_ref().unwrap().messages.len();
        assert_eq!(remembered, MAX_DELETED);
        messages.show(message(4_999), channel);
        messages.show(message(5_000), channel);
        assert_eq!(
            messages.gone,
            [message(4_999)].into(),
            "and nobody posts now"
        );
    }

    #[test]
    fn a_text_is_cut_by_characters() {
        assert_eq!(fit("a\0b", 2), "ab");
        assert_eq!(fit("äöü", 3), "äöü");
        assert_eq!(fit("äöüß", 3), "äö…");
    }
}
