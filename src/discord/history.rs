//! Reading what was missed: every channel, thread and forum post of the guild, from
//! some minutes before a message on.
//!
//! Only reads, and can be dropped and begun again at any point; never gives up because
//! Discord is away, and never passes over a channel without a word. Discord's own ids
//! are the only clock: how far back is counted from the guild's newest message.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serenity::all::LightMethod;
use serenity::http::{Request, Route};
use serenity::model::id as theirs;

use super::guild;
use super::permissions::{
    CONNECT, Overwrite, PermissionHolder, READ_MESSAGE_HISTORY, VIEW_CHANNEL,
};
use super::rest::{Repeat, Rest, RestError};
use super::time::DiscordTime;
use super::wire::{self, BareChannel, BareChannels, BareMessage, BareThreads};
use crate::backoff::backoff;
use crate::leveling::{ChannelId, GuildId, HistorySource, MessageId, Timestamp, UserId};
use crate::xp::{Seen, XpCache};

/// Read again before the frontier: messages of different channels may have
/// overtaken each other just before the gap.
const MARGIN_MS: i64 = 5 * 60 * 1_000;
/// Discord's most for one call.
const PAGE: usize = 100;
/// Channels read side by side; serenity keeps the rate limits of each.
const AT_ONCE: usize = 4;
/// For one call, waits for rate limits included.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long Discord is asked what the bot may read.
const ACCESS_TIMEOUT: Duration = Duration::from_secs(10);
/// Between calls while Discord is away.
const RETRY_LEAST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(30);
/// What Discord calls a text channel: the one kind that has private threads.
const TEXT: u8 = 0;
/// Whose messages only those read who may join.
const VOICE: u8 = 2;
const STAGE: u8 = 13;
/// A line of progress for so many messages.
const SAY_EVERY: usize = 10_000;

/// What was read.
#[derive(Debug)]
pub struct Missed {
    /// The messages that may earn XP, in no order.
    pub messages: Vec<Seen>,
    /// The newest message when all channels and threads were known: everything up to it
    /// has been read, of what is newer only what happened to be there.
    pub reached: MessageId,
    /// There are messages in the gap that would have earned and are too old to be read.
    pub cut_off: bool,
    /// Channels that hold messages of the gap and could not be read.
    pub unread: BTreeMap<theirs::ChannelId, Unread>,
}

/// A channel that could not be read.
#[derive(Debug)]
pub struct Unread {
    /// Its name; hostile text, as all names.
    pub name: String,
    /// What kept it closed.
    pub why: Why,
}

/// What keeps a channel closed.
#[derive(Debug)]
pub enum Why {
    /// The bot lacks View Channel or Read Message History.
    Forbidden,
    /// Discord refuses for a reason of its own.
    Refused(RestError),
}

impl Why {
    /// An error that is not about this channel is no reason to pass over it.
    fn of(error: RestError) -> Result<Self, RestError> {
        match error {
            RestError::Refused { status: 403, .. } => Ok(Self::Forbidden),
            RestError::Refused { .. } => Ok(Self::Refused(error)),
            _ => Err(error),
        }
    }
}

/// What is remembered from one reading to the next.
#[derive(Debug, Default)]
pub struct ReadingMemory {
    own_id: OnceLock<UserId>,
    /// What Discord refused although the bot's permissions should do, and a hash of those
    /// permissions. It is not asked for again until they change.
    refused: Mutex<BTreeMap<HistorySource, u64>>,
}

impl ReadingMemory {
    fn refused(&self) -> MutexGuard<'_, BTreeMap<HistorySource, u64>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the bot may read, as far as that can be computed.
#[derive(Debug)]
struct Access {
    /// `None` if Discord did not say: then every channel is asked for.
    bot: Option<PermissionHolder>,
    overwrites: BTreeMap<theirs::ChannelId, Option<Vec<Overwrite>>>,
}

impl Access {
    fn list(&mut self, channels: &[BareChannel]) {
        let listed = channels.iter();
        let listed = listed.map(|channel| (channel.id, channel.permission_overwrites.clone()));
        self.overwrites = listed.collect();
    }

    /// What decides on a channel; `None` if it is not known whole.
    fn inputs(&self, channel: &BareChannel) -> Option<(&PermissionHolder, &[Overwrite])> {
        let of = if is_thread(channel) {
            channel.parent_id?
        } else {
            channel.id
        };
        Some((self.bot.as_ref()?, self.overwrites.get(&of)?.as_deref()?))
    }

    /// `None` if that is unknown.
    fn may_read(&self, channel: &BareChannel) -> Option<bool> {
        let (bot, overwrites) = self.inputs(channel)?;
        let needed = match channel.kind {
            VOICE | STAGE => VIEW_CHANNEL | READ_MESSAGE_HISTORY | CONNECT,
            _ => VIEW_CHANNEL | READ_MESSAGE_HISTORY,
        };
        Some(bot.in_channel(overwrites) & needed == needed)
    }

    /// Differs when something has changed that decides on the channel.
    fn hash(&self, channel: &BareChannel) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        self.inputs(channel)?.hash(&mut hasher);
        Some(hasher.finish())
    }
}

/// Reads the guild's history, once.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a Rest,
    xp: &'a XpCache,
    memory: &'a ReadingMemory,
    time: &'a DiscordTime,
    /// Whether Discord has just said what time it is.
    time_is_fresh: bool,
    guild: GuildId,
    hours: u32,
    read_so_far: AtomicUsize,
    /// Calls that are being repeated now.
    failing: AtomicUsize,
}

impl Missed {
    fn nothing(reached: MessageId) -> Self {
        Self {
            messages: Vec::new(),
            reached,
            cut_off: false,
            unread: BTreeMap::new(),
        }
    }

    fn pass_over(&mut self, channel: BareChannel, why: Why) {
        let name = channel.name.unwrap_or_default();
        self.unread
            .entry(channel.id)
            .or_insert(Unread { name, why });
    }
}

/// Each thread once, however often it was in a list.
type Threads = BTreeMap<theirs::ChannelId, BareChannel>;

fn by_id(threads: Vec<BareChannel>) -> Threads {
    threads
        .into_iter()
        .map(|thread| (thread.id, thread))
        .collect()
}

impl<'a> Reader<'a> {
    /// Reads by `rest` the history of `guild`, up to so many hours back from its newest
    /// message; `xp` knows whose names are stored. Ids from the future are passed over: with the
    /// time goes whether Discord has just said it.
    pub fn new(
        rest: &'a Rest,
        xp: &'a XpCache,
        memory: &'a ReadingMemory,
        (time, time_is_fresh): (&'a DiscordTime, bool),
        guild: GuildId,
        hours: u32,
    ) -> Self {
        Self {
            rest,
            xp,
            memory,
            time,
            time_is_fresh,
            guild,
            hours,
            read_so_far: AtomicUsize::new(0),
            failing: AtomicUsize::new(0),
        }
    }

    /// Everything after `after`, or nothing but where the guild is now if that is `None`.
    /// Takes as long as Discord is away.
    pub async fn read(&self, after: Option<MessageId>) -> Result<Missed, RestError> {
        let channels = self.channels().await?;
        let mut threads = self.active_threads().await?;
        let Some(after) = after else {
            return Ok(Missed::nothing(self.newest(None, &channels, &threads)));
        };

        let mut access = self.access().await?;
        access.list(&channels);

        // How far back is counted from the newest message, which may be in a thread that
        // has been archived since: the limit is put into effect when all are known.
        let margin = before(after, MARGIN_MS);
        let (archived, closed) = self.archived_since(margin, &channels, &access).await?;
        threads.extend(archived);
        // A message brings an archived thread back, and it is then in neither list if
        // that happened between the two: so the first is read once more.
        threads.extend(self.active_threads().await?);
        let reached = self.newest(Some(after), &channels, &threads);
        let mut missed = Missed::nothing(reached);
        // The newest may be in a thread, and something older in a channel that was quiet
        // when it was listed, so that nobody would read it. What is listed from here on
        // does not count as reached, but shows everything up to there.
        let channels = self.channels().await?;
        access.list(&channels);

        let cut = before(reached, i64::from(self.hours) * 3_600_000);
        let start = margin.max(cut);
        let newer_than = |after| {
            let places = channels.iter().chain(threads.values());
            places.filter(move |channel| newer(channel, after)).cloned()
        };
        let is_open = |channel: &BareChannel| !self.is_closed(messages_of, channel, &access);
        missed.cut_off = cut > after
            && self
                .something_lost(after, cut, newer_than(after).filter(is_open).collect())
                .await?;
        for (channel, why) in closed {
            if last_message(&channel).is_some_and(|last| last > start) {
                missed.pass_over(channel, why);
            }
        }

        let (open, hidden): (Vec<_>, Vec<_>) = newer_than(start).partition(is_open);
        for channel in hidden {
            missed.pass_over(channel, Why::Forbidden);
        }
        let access = &access;
        let mut reading = stream::iter(open)
            .map(|channel| async move {
                let read = self.channel(&channel, start, access).await?;
                Ok::<_, RestError>((channel, read))
            })
            .buffer_unordered(AT_ONCE);
        while let Some((channel, (messages, why))) = reading.try_next().await? {
            missed.messages.extend(messages);
            if let Some(why) = why {
                missed.pass_over(channel, why);
            }
        }
        Ok(missed)
    }

    /// What the bot may read. Without an answer nothing is known, and everything is asked
    /// for: it only saves calls.
    async fn access(&self) -> Result<Access, RestError> {
        let asked = async {
            let own_id = match self.memory.own_id.get() {
                Some(id) => *id,
                None => guild::own_id(self.rest).await?,
            };
            let _ = self.memory.own_id.set(own_id);
            let (owner, roles) =
                guild::owner_and_roles(self.rest, self.guild, ACCESS_TIMEOUT).await?;
            let held = guild::roles_of(self.rest, self.guild, own_id).await?;
            Ok(PermissionHolder::new(
                self.guild, owner, own_id, &held, &roles,
            ))
        };
        let bot = match asked.await {
            Ok(bot) => Some(bot),
            Err(RestError::Revoked) => return Err(RestError::Revoked),
            Err(error) => {
                tracing::warn!(%error, "the bot's permissions are unknown; every channel's history is asked for");
                None
            }
        };
        Ok(Access {
            bot,
            overwrites: BTreeMap::new(),
        })
    }

    /// Whether it is known that Discord does not show this to the bot: asking all the same
    /// would be refused, and who is refused too often is banned.
    fn is_closed(
        &self,
        source: impl Fn(ChannelId) -> HistorySource,
        channel: &BareChannel,
        access: &Access,
    ) -> bool {
        let was_refused = || {
            let source = source(channel.id.try_into().ok()?);
            let refused = self.memory.refused().get(&source).copied();
            Some(refused? == access.hash(channel)?)
        };
        access.may_read(channel) == Some(false) || was_refused() == Some(true)
    }

    /// Remembers a refusal that the permissions do not explain.
    fn note_refusal(
        &self,
        source: impl Fn(ChannelId) -> HistorySource,
        channel: &BareChannel,
        access: &Access,
    ) {
        if let (Ok(id), Some(hash)) = (channel.id.try_into(), access.hash(channel)) {
            self.memory.refused().insert(source(id), hash);
        }
    }

    async fn channels(&self) -> Result<Vec<BareChannel>, RestError> {
        let route = Route::GuildChannels {
            guild_id: self.guild.into(),
        };
        let list: BareChannels = self.get("reading the channels", route, Vec::new()).await?;
        Ok(self.without_future(list.channels))
    }

    async fn active_threads(&self) -> Result<Threads, RestError> {
        let route = Route::GuildThreadsActive {
            guild_id: self.guild.into(),
        };
        let list: BareThreads = self.get("reading the threads", route, Vec::new()).await?;
        Ok(by_id(self.without_future(list.threads)))
    }

    /// A newest message from the future says nothing of the newest real one, which may have
    /// been written just now.
    fn without_future(&self, mut channels: Vec<BareChannel>) -> Vec<BareChannel> {
        for channel in &mut channels {
            if let Some(last) = last_message(channel)
                && self.is_from_the_future(last)
            {
                self.time.refuse("a channel's newest message", last);
                channel.last_message_id = self.time.newest_id().map(Into::into);
            }
        }
        channels
    }

    /// The newest message of all.
    fn newest(
        &self,
        after: Option<MessageId>,
        channels: &[BareChannel],
        threads: &Threads,
    ) -> MessageId {
        let newest = channels
            .iter()
            .chain(threads.values())
            .filter_map(newest_in)
            .filter(|newest| !self.is_from_the_future(*newest))
            .max();
        // The guild's own id is a time before any message in it.
        newest
            .or(MessageId::new(self.guild.get()))
            .max(after)
            .expect("the guild has an id")
    }

    /// One channel's messages after `start`, as far as they could be read, and why not
    /// further.
    async fn channel(
        &self,
        channel: &BareChannel,
        start: MessageId,
        access: &Access,
    ) -> Result<(Vec<Seen>, Option<Why>), RestError> {
        let mut messages = Vec::new();
        let mut after = start;
        loop {
            let page = match self.page(channel.id, after).await {
                Ok(page) => page,
                // Deleted meanwhile, and its messages with it.
                Err(RestError::Refused { status: 404, .. }) => return Ok((messages, None)),
                Err(error) => {
                    let why = Why::of(error)?;
                    if matches!(why, Why::Forbidden) {
                        self.note_refusal(messages_of, channel, access);
                    }
                    return Ok((messages, Some(why)));
                }
            };
            self.say_progress(page.len());
            let next = self.next_page(&page, after);
            messages.extend(page.into_iter().filter_map(|message| self.seen(message)));
            let Some(next) = next else {
                return Ok((messages, None));
            };
            after = next;
        }
    }

    fn say_progress(&self, read: usize) {
        let before = self.read_so_far.fetch_add(read, Ordering::Relaxed);
        let now = before + read;
        if now / SAY_EVERY > before / SAY_EVERY {
            tracing::info!(messages = now, "reading what was missed");
        }
    }

    fn seen(&self, message: Value) -> Option<Seen> {
        if let Ok(message) = BareMessage::deserialize(message) {
            let seen =
                message.seen(|user, sighting| (!self.xp.is_named(user)).then_some(sighting))?;
            if self.is_from_the_future(seen.message) {
                self.time.refuse("a message of the history", seen.message);
                return None;
            }
            return Some(seen);
        }
        tracing::error!("a message of the history could not be read at all; it earns nothing");
        None
    }

    /// Where the page after this one begins, if there is one: never behind an id from the
    /// future, after which nothing is found.
    fn next_page(&self, page: &[Value], after: MessageId) -> Option<MessageId> {
        next_page(page, after, |id| !self.is_from_the_future(id))
    }

    fn is_from_the_future(&self, id: MessageId) -> bool {
        self.time.rules_out(id, self.time_is_fresh)
    }

    /// The messages that follow `after`, at most [`PAGE`], newest first.
    async fn page(
        &self,
        channel: theirs::ChannelId,
        after: MessageId,
    ) -> Result<Vec<Value>, RestError> {
        let parameters = vec![("limit", PAGE.to_string()), ("after", after.to_string())];
        let route = Route::ChannelMessages {
            channel_id: channel,
        };
        self.get("reading messages", route, parameters).await
    }

    /// Threads that were archived after `start`, which may hold messages of the gap; and
    /// the channels that do not show theirs.
    async fn archived_since(
        &self,
        start: MessageId,
        channels: &[BareChannel],
        access: &Access,
    ) -> Result<(Threads, Vec<(BareChannel, Why)>), RestError> {
        let (mut found, mut closed) = (Threads::new(), Vec::new());
        let is_open = |channel: &BareChannel| !self.is_closed(archive_of, channel, access);
        let holders = channels.iter().filter(|c| holds_threads(c)).cloned();
        let (open, hidden): (Vec<_>, Vec<_>) = holders.partition(is_open);
        closed.extend(hidden.into_iter().map(|channel| (channel, Why::Forbidden)));
        let mut reading = stream::iter(open)
            .map(|channel| async move {
                let read = self.archived_in(&channel, start).await;
                (channel, read)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((channel, read)) = reading.next().await {
            match read {
                Ok(threads) => found.extend(threads),
                Err(RestError::Refused { status: 404, .. }) => {}
                Err(error) => {
                    let why = Why::of(error)?;
                    if matches!(why, Why::Forbidden) {
                        self.note_refusal(archive_of, &channel, access);
                    }
                    closed.push((channel, why));
                }
            }
        }
        Ok((found, closed))
    }

    async fn archived_in(
        &self,
        channel: &BareChannel,
        start: MessageId,
    ) -> Result<Threads, RestError> {
        let channel_id = channel.id;
        let public = Route::ChannelArchivedPublicThreads { channel_id };
        // The one archived last comes first.
        let before_it = |oldest: &BareChannel| {
            let archived_at = oldest
                .thread_metadata
                .as_ref()?
                .archive_timestamp
                .as_ref()?;
            archived_after(archived_at, start).then(|| encoded(archived_at))
        };
        let mut found = self.threads(public, before_it).await?;
        if channel.kind == TEXT {
            // Those that the bot is in; others it does not hear either. The one made last
            // comes first, which says nothing of when it was archived: all are looked at.
            let private = Route::ChannelJoinedPrivateThreads { channel_id };
            let before_it = |oldest: &BareChannel| Some(oldest.id.to_string());
            found.extend(self.threads(private, before_it).await?);
        }
        Ok(found)
    }

    /// A list of threads, page by page. `before_it` says where the page after this thread
    /// begins; `None` where nothing older is wanted.
    async fn threads(
        &self,
        route: Route<'_>,
        before_it: impl Fn(&BareChannel) -> Option<String>,
    ) -> Result<Threads, RestError> {
        let mut found = Threads::new();
        let mut before: Option<String> = None;
        loop {
            let mut parameters = vec![("limit", PAGE.to_string())];
            parameters.extend(before.map(|before| ("before", before)));
            let list: BareThreads = self
                .get("reading archived threads", route, parameters)
                .await?;
            before = list.threads.last().and_then(&before_it);
            let known = found.len();
            found.extend(by_id(self.without_future(list.threads)));
            // A page that brings nothing new would come for ever.
            if !list.has_more || before.is_none() || found.len() == known {
                return Ok(found);
            }
        }
    }

    /// Whether any of the channels has a message after `after` and up to `cut` that would
    /// have earned.
    async fn something_lost(
        &self,
        after: MessageId,
        cut: MessageId,
        channels: Vec<BareChannel>,
    ) -> Result<bool, RestError> {
        let mut asking = stream::iter(channels)
            .map(|channel| self.lost_in(channel.id, after, cut))
            .buffer_unordered(AT_ONCE);
        while let Some(lost) = asking.try_next().await? {
            if lost {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn lost_in(
        &self,
        channel: theirs::ChannelId,
        mut after: MessageId,
        cut: MessageId,
    ) -> Result<bool, RestError> {
        loop {
            let page = match self.page(channel, after).await {
                Ok(page) => page,
                Err(RestError::Refused { .. }) => return Ok(false),
                Err(error) => return Err(error),
            };
            let next = self.next_page(&page, after).filter(|next| *next < cut);
            let mut earning = page.into_iter().filter_map(|message| self.seen(message));
            if earning.any(|seen| seen.message <= cut) {
                return Ok(true);
            }
            let Some(next) = next else {
                return Ok(false);
            };
            after = next;
        }
    }

    /// Makes a call until Discord answers it: what has been read so far must not be read
    /// again because of some seconds of trouble.
    async fn get<T: DeserializeOwned>(
        &self,
        what: &'static str,
        route: Route<'_>,
        parameters: Vec<(&'static str, String)>,
    ) -> Result<T, RestError> {
        for attempt in 0.. {
            let answer = self
                .rest
                .call(what, Repeat::Safe, PATIENCE, |http| {
                    let request =
                        Request::new(route, LightMethod::Get).params(Some(parameters.clone()));
                    async move { http.fire(request).await }
                })
                .await;
            match answer {
                Err(error @ (RestError::Unreachable(_) | RestError::NotUnderstood(_))) => {
                    if attempt == 0 && self.failing.fetch_add(1, Ordering::Relaxed) == 0 {
                        tracing::warn!(%error, "what was missed cannot be read now; it is tried again, and XP waits");
                    }
                }
                answer => {
                    if attempt > 0 && self.failing.fetch_sub(1, Ordering::Relaxed) == 1 {
                        tracing::info!("the reading goes on where it was");
                    }
                    return answer;
                }
            }
            tokio::time::sleep(backoff(attempt, RETRY_LEAST, RETRY_MOST)).await;
        }
        unreachable!("attempts are not counted out")
    }
}

/// The lowest id of a message written `earlier_ms` before `message`.
fn before(message: MessageId, earlier_ms: i64) -> MessageId {
    const FIRST: MessageId = MessageId::new(1).expect("one is an id");
    let at = Timestamp::from_millis(message.sent_at().millis() - earlier_ms);
    at.and_then(MessageId::first_at).unwrap_or(FIRST)
}

/// Where the page after this one begins, if there is one, by those ids that are `believed`.
fn next_page(
    page: &[Value],
    after: MessageId,
    believed: impl Fn(MessageId) -> bool,
) -> Option<MessageId> {
    let ids = page.iter().filter_map(id_of);
    let last = ids.filter(|id| believed(*id)).max()?;
    (page.len() == PAGE && last > after).then_some(last)
}

/// Of a forum it is the last post, which is a thread.
fn last_message(channel: &BareChannel) -> Option<MessageId> {
    channel.last_message_id?.try_into().ok()
}

/// The newest id in a channel that holds messages; `None` for others. Its own id is one:
/// the first message of a forum post has the post's id, and Discord names no last message of
/// a post in which there is no other.
fn newest_in(channel: &BareChannel) -> Option<MessageId> {
    let own = MessageId::new(channel.id.get());
    last_message(channel)
        .max(own)
        .filter(|_| holds_messages(channel))
}

fn newer(channel: &BareChannel, after: MessageId) -> bool {
    newest_in(channel).is_some_and(|newest| newest > after)
}

/// Text, voice, announcements, their threads, stages.
fn holds_messages(channel: &BareChannel) -> bool {
    matches!(channel.kind, TEXT | VOICE | 5 | STAGE) || is_thread(channel)
}

/// Threads of announcements, public and private ones.
fn is_thread(channel: &BareChannel) -> bool {
    matches!(channel.kind, 10..=12)
}

fn messages_of(channel: ChannelId) -> HistorySource {
    HistorySource::Messages(channel)
}

fn archive_of(channel: ChannelId) -> HistorySource {
    HistorySource::ArchivedThreads(channel)
}

/// Text, announcements, forums, media.
fn holds_threads(channel: &BareChannel) -> bool {
    matches!(channel.kind, 0 | 5 | 15 | 16)
}

fn id_of(message: &Value) -> Option<MessageId> {
    wire::id_of(message).and_then(MessageId::new)
}

fn archived_after(timestamp: &str, start: MessageId) -> bool {
    // A time that is not understood is taken for a recent one: reading more is harmless.
    chrono::DateTime::parse_from_rfc3339(timestamp)
        .ok()
        .is_none_or(|at| at.timestamp_millis() > start.sent_at().millis())
}

/// serenity puts parameters into the URL as they are; the `+` of a time zone is a space there.
fn encoded(timestamp: &str) -> String {
    timestamp.replace('+', "%2B")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> impl Strategy<Value = MessageId> {
        (1..=i64::MAX as u64).prop_map(|id| MessageId::new(id).unwrap())
    }

    fn milliseconds() -> impl Strategy<Value = i64> {
        0..=i64::from(u32::MAX) * 3_600_000
    }

    #[test]
    fn a_page_that_is_not_full_is_the_last() {
        let id = |id| MessageId::new(id).unwrap();
        for (first, count, after, next) in [
            (11, 100, 10, Some(id(110))),
            (11, 99, 10, None),
            (11, 0, 10, None),
            // What does not move on would be read for ever.
            (1, 100, 100, None),
        ] {
            let ids = (first..first + count).rev();
            let page: Vec<Value> = ids
                .map(|id| serde_json::json!({ "id": id.to_string() }))
                .collect();
            assert_eq!(
                next_page(&page, id(after), |_| true),
                next,
                "{first}, {count}"
            );
            let newest = next_page(&page, id(after), |one| one.get() < first + 99);
            assert_eq!(
                newest,
                next.and(MessageId::new(first + 98))
                    .filter(|one| *one > id(after))
            );
        }
    }

    #[test]
    fn a_time_that_is_not_understood_is_a_recent_one() {
        let start = MessageId::first_at(Timestamp::from_millis(1_750_000_000_000).unwrap());
        for (text, expected) in [
            ("2025-06-15T15:06:39.000000+00:00", false),
            ("2025-06-15T15:06:41.000000+00:00", true),
            ("2025-06-15T17:06:39.000000+02:00", false),
            ("yesterday", true),
            ("", true),
        ] {
            assert_eq!(archived_after(text, start.unwrap()), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn earlier_is_never_later(a in message(), b in message(), by in milliseconds(), more in milliseconds()) {
            let (first, second) = (a.min(b), a.max(b));
            prop_assert!(before(first, by) <= before(second, by));
            prop_assert!(before(first, by.max(more)) <= before(first, by.min(more)));
            prop_assert!(before(first, by) <= first);
        }

        #[test]
        fn no_text_breaks_the_reader(text: String, id: String, start in message()) {
            archived_after(&text, start);
            prop_assert!(!encoded(&text).contains('+'));
            let number = id_of(&serde_json::json!({ "id": id }));
            prop_assert_eq!(number.is_some(), id.parse().ok().and_then(MessageId::new).is_some());
        }
    }
}
