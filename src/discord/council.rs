//! The council: the channel in which moderators are told of problems.
//!
//! A problem is posted once, rewritten when it changes and marked when it is solved: a row
//! of the database says what the channel shows, so that telling of the same again costs
//! Discord nothing. Never pings, and never holds anything up: what the channel cannot be
//! told stands in the log.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use serenity::all::{CreateActionRow, CreateAllowedMentions, CreateMessage};

use super::managed_channel::{ManagedChannel, NoChannel, find_or_create};
use super::nonce::nonce;
use super::reply::{Outgoing, SUPPRESS_EMBEDS, edit, id_of, plain};
use super::rest::{Author, Priority, Rest, RestError};
use super::right_roles::RightRoles;
use crate::leveling::{ChannelId, GuildId, MessageId};
use crate::store::council_notice::CouncilNotice;
use crate::store::{self, Database, council_notice};

const PATIENCE: Duration = Duration::from_secs(30);
/// The longest message that Discord takes, in characters.
const LONGEST: usize = 2_000;
const SOLVED: &str = "\n**Solved.**";
/// Of what is said and no lasting problem.
const NO_SCOPE: &str = "";
/// Deletions that are remembered while a message is being posted whose id is not known yet.
const MAX_DELETED: usize = 1_000;
const TOPIC: &str = "Problems that wall_e cannot solve by itself, and what to do about them.";

/// A problem that lasts until somebody does something about it.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Which problem it is, the same at every look: `missing-role:5`. No two scopes share one.
    pub key: String,
    /// What is wrong and what to do. Two that say the same are the same, whatever their
    /// buttons; names in it are escaped by whoever wrote it.
    pub text: String,
    /// What can be done right there.
    pub buttons: Option<CreateActionRow>,
}

/// The channel, and what it has been told. One for the whole bot: it speaks in turn.
#[derive(Debug)]
pub struct Council {
    rest: Rest,
    database: Database,
    guild: GuildId,
    name: String,
    seen_by: Option<RightRoles>,
    /// Held while something is told: two at a time would post twice, or make two channels.
    turn: tokio::sync::Mutex<()>,
    /// The newest problems of each scope that could not be told yet.
    untold: Mutex<BTreeMap<&'static str, Vec<Notice>>>,
    /// What only the log was told, by scope and key: it is said there once.
    logged: Mutex<BTreeMap<(&'static str, String), String>>,
    messages: Mutex<Messages>,
}

/// The council's messages, in memory: of the thousands that people delete, those few are told
/// from the rest without asking the database.
#[derive(Debug, Default)]
struct Messages {
    /// Those that show a problem, and their channels: all that the table holds, and perhaps some
    /// that it could not be told of.
    shown: BTreeMap<MessageId, ChannelId>,
    /// Those of them that are gone.
    gone: BTreeSet<MessageId>,
    /// Whether the database has not been told yet which are gone.
    is_unsaved: bool,
    /// What was deleted while one is being posted.
    meanwhile: Option<Deleted>,
}

#[derive(Debug, Default)]
struct Deleted {
    messages: VecDeque<MessageId>,
    channels: VecDeque<ChannelId>,
}

/// Whether the council was told.
fn log_failure(told: &anyhow::Result<()>) -> bool {
    if let Err(error) = told {
        let error = format!("{error:#}");
        tracing::warn!(error, "the council could not be told; trying again");
    }
    told.is_ok()
}

impl Messages {
    /// These were deleted; whether any of them showed a problem.
    fn delete(&mut self, messages: &[MessageId]) -> bool {
        if let Some(meanwhile) = &mut self.meanwhile {
            remember(&mut meanwhile.messages, messages);
        }
        let shown = messages.iter().filter(|id| self.shown.contains_key(id));
        let before = self.gone.len();
        self.gone.extend(shown);
        self.gone.len() > before
    }

    /// The channels for which this is true are gone; whether any of them showed a problem.
    fn delete_in(&mut self, is_gone: impl Fn(ChannelId) -> bool) -> bool {
        let shown = self.shown.iter().filter(|(_, channel)| is_gone(**channel));
        let before = self.gone.len();
        self.gone.extend(shown.map(|(message, _)| *message));
        self.gone.len() > before
    }

    /// One is posted, or rewritten; it may be deleted by now.
    fn show(&mut self, message: MessageId, channel: ChannelId) {
        self.shown.insert(message, channel);
        let is_deleted = self.meanwhile.take().is_some_and(|meanwhile| {
            meanwhile.messages.contains(&message) || meanwhile.channels.contains(&channel)
        });
        if is_deleted {
            self.gone.insert(message);
        } else {
            self.gone.remove(&message);
        }
    }

    /// The table knows this one no more.
    fn forget(&mut self, message: MessageId) {
        self.shown.remove(&message);
        self.gone.remove(&message);
    }
}

fn remember<T: Copy>(deleted: &mut VecDeque<T>, more: &[T]) {
    deleted.extend(more);
    deleted.drain(..deleted.len().saturating_sub(MAX_DELETED));
}

/// Where to write: found out when there is something to write, and once in a call.
enum Place {
    Unknown,
    At(ChannelId),
    /// Nowhere, and what to do about it.
    Nowhere(String),
}

/// How telling ended that met no trouble which may pass.
enum Told {
    At(ChannelId, MessageId),
    /// Not at all, and why.
    Not(String),
}

impl Council {
    /// In the channel of this name, found or made when there is something to say. A new one
    /// is seen by the roles of moderators that `seen_by` finds.
    pub fn new(
        rest: Rest,
        database: Database,
        guild: GuildId,
        name: String,
        seen_by: Option<RightRoles>,
    ) -> Self {
        Self {
            rest,
            database,
            guild,
            name,
            seen_by,
            turn: tokio::sync::Mutex::default(),
            untold: Mutex::default(),
            logged: Mutex::default(),
            messages: Mutex::default(),
        }
    }

    /// Learns which messages show problems. To be called before anything is heard of what people
    /// delete.
    pub async fn load(&self) -> store::Result<()> {
        let shown = council_notice::messages(&mut *self.database.acquire().await?).await?;
        self.messages().shown.extend(shown);
        Ok(())
    }

    /// Tells of all problems of `scope` that there are now. New ones are posted and changed
    /// ones rewritten; those that are not among them any more are marked as solved and
    /// forgotten. After an error (Discord or the database had trouble) the newest are kept for
    /// [`Council::tell_again`].
    pub async fn tell(&self, scope: &'static str, notices: &[Notice]) -> anyhow::Result<()> {
        let _turn = self.turn.lock().await;
        // Also when this is cut off.
        self.untold().insert(scope, notices.to_vec());
        let told = self.tell_in_turn(scope, notices).await;
        if told.is_ok() {
            self.untold().remove(scope);
        }
        told
    }

    /// Tells what could not be told before, as it was meant last.
    pub async fn tell_again(&self) -> anyhow::Result<()> {
        let _turn = self.turn.lock().await;
        let untold = self.untold().clone();
        let mut outcome = Ok(());
        for (scope, notices) in untold {
            match self.tell_in_turn(scope, &notices).await {
                Ok(()) => {
                    self.untold().remove(scope);
                }
                // The others are told all the same.
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    async fn tell_in_turn(&self, scope: &'static str, notices: &[Notice]) -> anyhow::Result<()> {
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

    /// Tells of problems of `scope`, of which there may be more: new ones are posted and changed
    /// ones rewritten, and none is marked as solved. To be called again after an error.
    pub async fn add(&self, scope: &'static str, notices: &[Notice]) -> anyhow::Result<()> {
        let _turn = self.turn.lock().await;
        // What could not be told before is out of date: not all of it may be solved.
        self.untold().remove(scope);
        self.show_all(scope, notices).await.map(|_| ())
    }

    /// Shows these problems; what is shown of `scope` beside them.
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
        let (mut place, mut keys) = (Place::Unknown, BTreeSet::new());
        for notice in notices.iter().filter(|notice| keys.insert(&*notice.key)) {
            let before = shown.remove(&notice.key);
            self.show(scope, notice, before, &mut place).await?;
        }
        Ok(shown.into_values().collect())
    }

    /// Tells of all problems of `scope` that there are now, or says in the log why it could not.
    /// Returns whether the council was told; the next call makes up for it.
    pub async fn report_or_log(&self, scope: &'static str, notices: &[Notice]) -> bool {
        log_failure(&self.tell(scope, notices).await)
    }

    /// The same for some problems of `scope`: those that are not among them are not marked as
    /// solved.
    pub async fn add_or_log(&self, scope: &'static str, notices: &[Notice]) -> bool {
        log_failure(&self.add(scope, notices).await)
    }

    /// Says something that is no lasting problem, once for each key within Discord's memory
    /// of a nonce. To be called again after an error.
    pub async fn say(&self, key: &str, text: &str) -> anyhow::Result<()> {
        let _turn = self.turn.lock().await;
        let text = fitting(text, LONGEST);
        let nonce = nonce(&[NO_SCOPE, key]);
        let posted = self.post(&text, None, nonce, &mut Place::Unknown).await?;
        if let Told::Not(why) = posted {
            self.log(NO_SCOPE, key, &text, &why);
        }
        Ok(())
    }

    /// The key of the problem that this message is about, if it is about one: for whoever
    /// presses its buttons.
    pub async fn notice_of(&self, message: MessageId) -> anyhow::Result<Option<String>> {
        let mut session = self.database.acquire().await?;
        Ok(council_notice::of_message(&mut session, message).await?)
    }

    /// Messages were deleted. If they were about problems that last, these are posted anew
    /// when they are told of the next time. Waits for nothing where they were not.
    pub async fn messages_deleted(&self, messages: &[MessageId]) -> anyhow::Result<()> {
        if self.messages().delete(messages) {
            self.save_gone().await?;
        }
        Ok(())
    }

    /// A channel was deleted, and what stood in it.
    pub async fn channel_deleted(&self, channel: ChannelId) -> anyhow::Result<()> {
        let is_concerned = {
            let mut messages = self.messages();
            if let Some(meanwhile) = &mut messages.meanwhile {
                remember(&mut meanwhile.channels, &[channel]);
            }
            messages.delete_in(|of| of == channel)
        };
        if is_concerned {
            self.save_gone().await?;
        }
        Ok(())
    }

    /// These are all channels that there are: what stood in another one is gone.
    pub async fn channels_are(&self, channels: &[ChannelId]) -> anyhow::Result<()> {
        let are: BTreeSet<ChannelId> = channels.iter().copied().collect();
        if self.messages().delete_in(|of| !are.contains(&of)) {
            self.save_gone().await?;
        }
        Ok(())
    }

    /// Whether this process alone knows of a deletion.
    pub fn has_unsaved_deletions(&self) -> bool {
        self.messages().is_unsaved
    }

    /// Notes in the database what is gone, so that a restart knows it too. Called once for each
    /// message at most; until it succeeds this process knows it alone.
    async fn save_gone(&self) -> anyhow::Result<()> {
        self.messages().is_unsaved = true;
        // After what is being told, which may be about to save one of them.
        let _turn = self.turn.lock().await;
        let gone: Vec<MessageId> = self.messages().gone.iter().copied().collect();
        let mut session = self.database.acquire().await?;
        council_notice::doubt(&mut session, &gone).await?;
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
        place: &mut Place,
    ) -> anyhow::Result<()> {
        let text = fitting(&notice.text, LONGEST);
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
            // To Discord, a message in the place of one that is gone is another message.
            let gone = before.as_ref().map_or(0, |before| before.message.get());
            self.messages().meanwhile = Some(Deleted::default());
            let nonce = nonce(&[&notice.key, &text, &gone.to_string()]);
            self.post(&text, buttons, nonce, place).await?
        };
        match told {
            Told::At(channel, message) => {
                let shown = CouncilNotice {
                    key: notice.key.clone(),
                    text,
                    channel,
                    message,
                };
                // First of all: it is known here whatever the database says.
                self.messages().show(message, channel);
                let mut session = self.database.acquire().await?;
                council_notice::save(&mut session, scope, &shown).await?;
                if let Some(before) = before.filter(|before| before.message != message) {
                    self.messages().forget(before.message);
                }
                self.logged().remove(&(scope, shown.key));
            }
            Told::Not(why) => self.log(scope, &notice.key, &text, &why),
        }
        Ok(())
    }

    /// Marks a problem as solved, and forgets it; `false` if it could not be marked, and is
    /// remembered until it can.
    async fn solve(&self, scope: &'static str, solved: &CouncilNotice) -> anyhow::Result<bool> {
        let text = solved.text.trim_end_matches(SOLVED);
        let text = fitting(text, LONGEST - SOLVED.len()) + SOLVED;
        // First of all: if the bot ends in between and the problem comes back, the row does not
        // say that it is shown.
        let marked = CouncilNotice {
            text: text.clone(),
            ..solved.clone()
        };
        council_notice::save(&mut *self.database.acquire().await?, scope, &marked).await?;
        if let Some(Told::Not(why)) = self.rewrite(solved, text.trim(), None).await? {
            self.log(scope, &solved.key, text.trim(), &why);
            return Ok(false);
        }
        council_notice::forget(&mut *self.database.acquire().await?, &solved.key).await?;
        self.messages().forget(solved.message);
        Ok(true)
    }

    /// Rewrites a message in its place; `None` if it is gone, or its channel.
    async fn rewrite(
        &self,
        shown: &CouncilNotice,
        text: &str,
        buttons: Option<&CreateActionRow>,
    ) -> anyhow::Result<Option<Told>> {
        let (channel, message) = (shown.channel, shown.message);
        let body = json!({
            "content": text,
            "components": buttons.as_slice(),
            "allowed_mentions": { "parse": [] },
            "flags": SUPPRESS_EMBEDS,
        });
        let what = "rewriting a word to the council";
        match edit(&self.rest, what, channel.into(), message.into(), &body).await {
            Ok(()) => Ok(Some(Told::At(channel, message))),
            Err(RestError::Refused { status: 404, .. }) => Ok(None),
            Err(error @ RestError::Refused { .. }) => Ok(Some(Told::Not(refusal(&error)))),
            Err(error) => Err(error.into()),
        }
    }

    /// Posts exactly once, however often it is called with one nonce within Discord's memory
    /// of it.
    async fn post(
        &self,
        text: &str,
        buttons: Option<&CreateActionRow>,
        nonce: String,
        place: &mut Place,
    ) -> anyhow::Result<Told> {
        let word = plain(CreateMessage::new())
            .content(text)
            .components(buttons.cloned().into_iter().collect())
            .allowed_mentions(CreateAllowedMentions::new());
        let mut looked_again = false;
        loop {
            let channel = match self.find(place).await? {
                Place::At(channel) => *channel,
                Place::Nowhere(why) => return Ok(Told::Not(why.clone())),
                Place::Unknown => unreachable!("it has been looked for"),
            };
            let word = Outgoing {
                what: "a word to the council",
                channel: channel.into(),
                message: word.clone(),
                file: None,
                nonce: nonce.clone(),
                priority: Priority::Ahead,
                author: Author::Bot,
                patience: PATIENCE,
            };
            match word.send(&self.rest).await {
                Ok(sent) => return self.posted(channel, &sent, text, buttons).await,
                // Gone since it was found.
                Err(RestError::Refused { status: 404, .. }) if !looked_again => {
                    looked_again = true;
                    *place = Place::Unknown;
                }
                Err(error @ RestError::Refused { status: 403, .. }) => {
                    *place = Place::Nowhere(refusal(&error));
                }
                // This text's own fault, and no other's.
                Err(error @ RestError::Refused { .. }) => return Ok(Told::Not(error.to_string())),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What Discord shows after a post. A problem that comes back within its memory of the
    /// nonce is shown the old message, which says by now that it is solved.
    async fn posted(
        &self,
        channel: ChannelId,
        sent: &Value,
        text: &str,
        buttons: Option<&CreateActionRow>,
    ) -> anyhow::Result<Told> {
        let message = id_of(sent).and_then(|id| MessageId::try_from(id).ok());
        let message = message.context("Discord did not say which message it posted")?;
        if sent["edited_timestamp"].is_null() {
            return Ok(Told::At(channel, message));
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

    /// The channel, looked for if it is not known yet.
    async fn find<'a>(&self, place: &'a mut Place) -> anyhow::Result<&'a Place> {
        if matches!(place, Place::Unknown) {
            let wanted = ManagedChannel {
                purpose: "council",
                setting: "WALLE_COUNCIL_CHANNEL",
                name: &self.name,
                seen_by: self.seen_by.as_ref(),
                topic: TOPIC,
            };
            let found = find_or_create(&self.rest, &self.database, self.guild, wanted);
            *place = match found.await {
                Ok(channel) => Place::At(channel),
                Err(error @ NoChannel::NotCreated { .. }) => Place::Nowhere(error.to_string()),
                Err(NoChannel::Discord(error @ RestError::Refused { .. })) => {
                    Place::Nowhere(refusal(&error))
                }
                Err(NoChannel::Discord(error)) => return Err(error.into()),
                Err(error @ NoChannel::Unsettled) => return Err(error.into()),
                Err(NoChannel::Database(error)) => return Err(error.into()),
            };
        }
        Ok(place)
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

    fn untold(&self) -> MutexGuard<'_, BTreeMap<&'static str, Vec<Notice>>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A text that Discord takes and the database keeps.
fn fitting(text: &str, longest: usize) -> String {
    let text = text.replace('\0', "");
    if text.chars().count() <= longest {
        return text;
    }
    let cut: String = text.chars().take(longest - 1).collect();
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
        assert!(!messages.delete(&[message(5)]), "it is noted already");
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
            meanwhile: Some(Deleted::default()),
            ..Messages::default()
        };
        for id in 1..=5_000 {
            assert!(!messages.delete(&[message(id)]));
        }
        let remembered = messages.meanwhile.as_ref().unwrap().messages.len();
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
        assert_eq!(fitting("a\0b", 2), "ab");
        assert_eq!(fitting("äöü", 3), "äöü");
        assert_eq!(fitting("äöüß", 3), "äö…");
    }
}
