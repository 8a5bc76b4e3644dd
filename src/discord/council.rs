//! The council: the channel in which moderators are told of problems.
//!
//! A problem is posted once, rewritten when it changes and marked when it is solved: a row
//! of the database says what the channel shows, so that telling of the same again costs
//! Discord nothing. Never pings, and never holds anything up: what the channel cannot be
//! told stands in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use serenity::all::{CreateActionRow, CreateAllowedMentions, CreateMessage};

use super::nonce::nonce;
use super::own_channel::{NoChannel, OwnChannel, find_or_create};
use super::reply::{SUPPRESS_EMBEDS, edit, id_of, plain, post};
use super::rest::{Rest, RestError};
use super::right_roles::RightRoles;
use crate::leveling::{ChannelId, GuildId, MessageId};
use crate::store::council_notice::CouncilNotice;
use crate::store::{Database, council_notice};

const PATIENCE: Duration = Duration::from_secs(30);
/// The longest message that Discord takes, in characters.
const LONGEST: usize = 2_000;
const SOLVED: &str = "\n**Solved.**";
/// Of what is said and no lasting problem.
const NO_SCOPE: &str = "";
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
    /// What only the log was told, by scope and key: it is said there once.
    logged: Mutex<BTreeMap<(&'static str, String), String>>,
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
            logged: Mutex::default(),
        }
    }

    /// Tells of all problems of `scope` that there are now. New ones are posted and changed
    /// ones rewritten; those that are not among them any more are marked as solved and
    /// forgotten. To be called again after an error: Discord or the database had trouble.
    pub async fn tell(&self, scope: &'static str, notices: &[Notice]) -> anyhow::Result<()> {
        let _turn = self.turn.lock().await;
        let shown = council_notice::of_scope(&mut *self.database.acquire().await?, scope).await?;
        let mut shown: BTreeMap<String, CouncilNotice> = shown
            .into_iter()
            .map(|shown| (shown.key.clone(), shown))
            .collect();
        let (mut place, mut keys) = (Place::Unknown, BTreeSet::new());
        for notice in notices.iter().filter(|notice| keys.insert(&*notice.key)) {
            let before = shown.remove(&notice.key);
            self.show(scope, notice, before, &mut place).await?;
        }
        for solved in shown.values() {
            if !self.solve(scope, solved).await? {
                keys.insert(&*solved.key);
            }
        }
        self.logged()
            .retain(|(of, key), _| *of != scope || keys.contains(&**key));
        Ok(())
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
    /// when they are told of the next time.
    pub async fn messages_deleted(&self, messages: &[MessageId]) -> anyhow::Result<()> {
        // After what is being told, which may be about to save one of them.
        let _turn = self.turn.lock().await;
        let mut session = self.database.acquire().await?;
        Ok(council_notice::doubt(&mut session, messages).await?)
    }

    /// A channel was deleted, and what stood in it.
    pub async fn channel_deleted(&self, channel: ChannelId) -> anyhow::Result<()> {
        let _turn = self.turn.lock().await;
        let mut session = self.database.acquire().await?;
        Ok(council_notice::doubt_in(&mut session, channel).await?)
    }

    /// These are all channels that there are: what stood in another one is gone.
    pub async fn channels_are(&self, channels: &[ChannelId]) -> anyhow::Result<()> {
        let _turn = self.turn.lock().await;
        let mut session = self.database.acquire().await?;
        Ok(council_notice::doubt_outside(&mut session, channels).await?)
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
            let gone = before.map_or(0, |before| before.message.get());
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
                let mut session = self.database.acquire().await?;
                council_notice::save(&mut session, scope, &shown).await?;
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
            let (what, word) = ("a word to the council", word.clone());
            let sent = post(
                &self.rest,
                what,
                channel.into(),
                word,
                nonce.clone(),
                PATIENCE,
            );
            match sent.await {
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
        again.context("a message that Discord has just shown is gone; it is posted again")
    }

    /// The channel, looked for if it is not known yet.
    async fn find<'a>(&self, place: &'a mut Place) -> anyhow::Result<&'a Place> {
        if matches!(place, Place::Unknown) {
            let wanted = OwnChannel {
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
    fn a_text_is_cut_by_characters() {
        assert_eq!(fitting("a\0b", 2), "ab");
        assert_eq!(fitting("äöü", 3), "äöü");
        assert_eq!(fitting("äöüß", 3), "äö…");
    }
}
