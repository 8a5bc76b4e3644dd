//! Reading what was missed: every channel, thread and forum post of the guild, from
//! some minutes before a message on.
//!
//! Only reads, and can be dropped and begun again at any point; never gives up because
//! Discord is away, and never passes over a channel without a word. A channel or list that
//! fails while Discord answers otherwise is set aside, so that it holds up nothing else.
//! Discord's own ids are the only clock: how far back is counted from the guild's newest
//! message.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use serenity::all::LightMethod;
use serenity::http::{Request, Route};
use serenity::model::id as theirs;

use super::guild;
use super::payload::{self, ChannelList, PartialChannel, PartialMessage, ThreadList};
use super::permissions::{
    CONNECT, Overwrite, PermissionHolder, READ_MESSAGE_HISTORY, VIEW_CHANNEL,
};
use super::rest::{Repeat, Rest, RestError};
use super::time::DiscordTime;
use crate::backoff::backoff;
use crate::leveling::{ChannelId, GuildId, HistorySource, MessageId, Timestamp, UserId};
use crate::store::history_interval::UnreadSource;
use crate::xp::{EligibleMessage, XpCache};

/// Read again before the frontier: messages of different channels may have
/// overtaken each other just before the gap.
const MARGIN_MS: i64 = 5 * 60 * 1_000;
/// By how much the estimate of Discord's time may be late.
const CLOCK_SLACK_MS: i64 = 15 * 60 * 1_000;
/// Discord's most for one call.
const PAGE: usize = 100;
/// Channels read side by side; each has a rate limit of its own.
const AT_ONCE: usize = 4;
/// For one call, waits for rate limits included.
const PATIENCE: Duration = Duration::from_mins(2);
/// The same for a source that can be set aside. More than the five seconds for which five
/// reads of a channel's history are enough.
const SOURCE_PATIENCE: Duration = Duration::from_secs(8);
/// Calls, each of several attempts, after which a source is set aside if Discord answers
/// otherwise.
const SOURCE_CALLS: u32 = 2;
/// For finding out whether Discord answers otherwise.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);
/// Pages of a late channel that are handed on at a time.
const LATE_PAGES: usize = 50;
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
    pub messages: Vec<EligibleMessage>,
    /// The newest message when all channels and threads were known: everything up to it
    /// has been read, of what is newer only what happened to be there.
    pub reached: MessageId,
    /// Nothing older was read; `None` if it did not come to reading.
    pub floor: Option<MessageId>,
    /// Later than any message of a thread in a list that was set aside, if it did not come live.
    pub lists_until: Option<MessageId>,
    /// There are messages in the gap that would have earned and are too old to be read.
    pub cut_off: bool,
    /// Names of channels that hold messages of the gap and may not be read.
    pub hidden: BTreeMap<theirs::ChannelId, String>,
    /// What was set aside, once each.
    pub unread: BTreeMap<HistorySource, Unread>,
}

/// A source that was set aside.
#[derive(Debug)]
pub struct Unread {
    /// The name of its channel; hostile text, as all names.
    pub name: String,
    /// What Discord said.
    pub error: RestError,
}

impl Missed {
    /// What was set aside, for the database.
    pub fn unread_sources(&self) -> Vec<UnreadSource> {
        sources_of(&self.unread)
    }
}

fn sources_of(unread: &BTreeMap<HistorySource, Unread>) -> Vec<UnreadSource> {
    let source = |(source, unread): (&HistorySource, &Unread)| UnreadSource {
        source: *source,
        name: unread.name.clone(),
    };
    unread.iter().map(source).collect()
}

/// Why a source was not read.
#[derive(Debug)]
pub enum NotRead {
    /// Its channel was deleted, and its messages with it.
    Gone,
    /// The bot lacks View Channel or Read Message History.
    Forbidden,
    /// It fails, while Discord answers otherwise.
    Failing(RestError),
}

impl NotRead {
    /// A token that was refused is not about the source.
    fn of(error: RestError) -> Result<Self, RestError> {
        match error {
            RestError::Revoked => Err(error),
            RestError::Refused { status: 404, .. } => Ok(Self::Gone),
            RestError::Refused { status: 403, .. } => Ok(Self::Forbidden),
            _ => Ok(Self::Failing(error)),
        }
    }
}

/// The guild's channels and what the bot may read of them, at one time.
#[derive(Debug)]
pub struct Layout {
    channels: Vec<PartialChannel>,
    access: Access,
}

/// What was read of an interval.
#[derive(Debug)]
pub struct IntervalRead {
    /// The messages that may earn XP, in no order. Some are from before the interval.
    pub messages: Vec<EligibleMessage>,
    /// Everything up to this message has been read, unless it is in `unread`.
    pub up_to: MessageId,
    /// What else was set aside: the interval is missing of it, too.
    pub unread: Vec<UnreadSource>,
}

/// What is remembered from one reading to the next.
#[derive(Debug, Default)]
pub struct ReadingMemory {
    own_id: OnceLock<UserId>,
    /// What Discord refused although the bot's permissions should do, and a hash of those
    /// permissions. It is not asked for again until they change.
    refused: Mutex<BTreeMap<HistorySource, u64>>,
    /// What was set aside and not read since: it is not asked for so often.
    failing: Mutex<BTreeSet<HistorySource>>,
}

impl ReadingMemory {
    fn refused(&self) -> MutexGuard<'_, BTreeMap<HistorySource, u64>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failing(&self) -> MutexGuard<'_, BTreeSet<HistorySource>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the source failed when it was last asked for.
    pub fn is_failing(&self, source: HistorySource) -> bool {
        self.failing().contains(&source)
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
    fn list(&mut self, channels: &[PartialChannel]) {
        let listed = channels.iter();
        let listed = listed.map(|channel| (channel.id, channel.permission_overwrites.clone()));
        self.overwrites = listed.collect();
    }

    /// What decides on a channel; `None` if it is not known whole.
    fn inputs(&self, channel: &PartialChannel) -> Option<(&PermissionHolder, &[Overwrite])> {
        let of = if is_thread(channel) {
            channel.parent_id?
        } else {
            channel.id
        };
        Some((self.bot.as_ref()?, self.overwrites.get(&of)?.as_deref()?))
    }

    /// `None` if that is unknown.
    fn may_read(&self, channel: &PartialChannel) -> Option<bool> {
        let (bot, overwrites) = self.inputs(channel)?;
        let needed = match channel.kind {
            VOICE | STAGE => VIEW_CHANNEL | READ_MESSAGE_HISTORY | CONNECT,
            _ => VIEW_CHANNEL | READ_MESSAGE_HISTORY,
        };
        Some(bot.in_channel(overwrites) & needed == needed)
    }

    /// Differs when something has changed that decides on the channel.
    fn hash(&self, channel: &PartialChannel) -> Option<u64> {
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
            floor: None,
            lists_until: None,
            cut_off: false,
            hidden: BTreeMap::new(),
            unread: BTreeMap::new(),
        }
    }
}

/// Each thread once, however often it was in a list.
type Threads = BTreeMap<theirs::ChannelId, PartialChannel>;

fn by_id(threads: Vec<PartialChannel>) -> Threads {
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
        let mut unread = BTreeMap::new();
        let channels = self.channels().await?;
        let mut threads = self.active_threads(&mut unread).await?;
        let Some(after) = after else {
            return Ok(Missed::nothing(self.newest(None, &channels, &threads)));
        };

        let mut access = self.access().await?;
        access.list(&channels);

        // How far back is counted from the newest message, which may be in a thread that
        // has been archived since: the limit is put into effect when all are known.
        let margin = before(after, MARGIN_MS);
        let (archived, closed) = self
            .archived_since(margin, &channels, &access, &mut unread)
            .await?;
        threads.extend(archived);
        // A message brings an archived thread back, and it is then in neither list if
        // that happened between the two: so the first is read once more.
        threads.extend(self.active_threads(&mut unread).await?);
        let reached = self.newest(Some(after), &channels, &threads);
        let mut missed = Missed {
            unread,
            ..Missed::nothing(reached)
        };
        // The newest may be in a thread, and something older in a channel that was quiet
        // when it was listed, so that nobody would read it. What is listed from here on
        // does not count as reached, but shows everything up to there.
        let channels = self.channels().await?;
        access.list(&channels);

        let cut = before(reached, i64::from(self.hours) * 3_600_000);
        let start = margin.max(cut);
        missed.floor = Some(cut);
        // What these threads hold is unknown, but not that it was written before now.
        let now = self.time.newest_id().max(Some(reached));
        missed.lists_until = now.map(|now| after_by(now, CLOCK_SLACK_MS));
        let newer_than = |after| {
            let places = channels.iter().chain(threads.values());
            places.filter(move |channel| newer(channel, after)).cloned()
        };
        let is_open = |channel: &PartialChannel| !self.is_closed(messages_of, channel, &access);
        missed.cut_off = cut > after
            && self
                .something_lost(after, cut, newer_than(after).filter(is_open).collect())
                .await?;
        let (open, mut hidden): (Vec<_>, Vec<_>) = newer_than(start).partition(is_open);
        hidden.extend(closed);
        // A post may hold its first message alone; any other channel without a last message is empty.
        hidden.retain(|channel| {
            is_thread(channel) || last_message(channel).is_some_and(|last| last > start)
        });
        let named = |channel: PartialChannel| (channel.id, channel.name.unwrap_or_default());
        missed.hidden.extend(hidden.into_iter().map(named));

        let access = &access;
        let mut reading = stream::iter(open)
            .map(|channel| async move {
                let read = self.channel(&channel, start, None, access).await?;
                Ok::<_, RestError>((channel, read))
            })
            .buffer_unordered(AT_ONCE);
        while let Some((channel, (messages, why))) = reading.try_next().await? {
            missed.messages.extend(messages);
            match why {
                None | Some(NotRead::Gone) => {}
                Some(NotRead::Forbidden) => missed.hidden.extend([named(channel)]),
                Some(NotRead::Failing(error)) => {
                    self.set_aside(messages_of, &channel, error, &mut missed.unread);
                }
            }
        }
        Ok(missed)
    }

    /// The guild's channels, for reading intervals of single sources. Takes as long as Discord
    /// is away.
    pub async fn layout(&self) -> Result<Layout, RestError> {
        let channels = self.channels().await?;
        let mut access = self.access().await?;
        access.list(&channels);
        Ok(Layout { channels, access })
    }

    /// Reads what one source holds of the messages after `after` and up to `until`, or the
    /// first part of it; and some minutes before, as before every gap.
    pub async fn read_interval(
        &self,
        layout: &Layout,
        source: HistorySource,
        after: MessageId,
        until: MessageId,
    ) -> Result<Result<IntervalRead, NotRead>, RestError> {
        let read = match source {
            HistorySource::Messages(id) => self.late_messages(layout, id, after, until).await,
            _ => self.late_threads(layout, source, after, until).await,
        };
        match read {
            Ok(read) => Ok(Ok(read)),
            Err(error) => {
                let why = NotRead::of(error)?;
                if let NotRead::Failing(error) = &why
                    && self.memory.failing().insert(source)
                {
                    tracing::warn!(%source, %error, "this part of the history cannot be read yet; trying again");
                }
                Ok(Err(why))
            }
        }
    }

    async fn late_messages(
        &self,
        layout: &Layout,
        id: ChannelId,
        after: MessageId,
        until: MessageId,
    ) -> Result<IntervalRead, RestError> {
        let found = layout
            .channels
            .iter()
            .find(|one| one.id == theirs::ChannelId::from(id));
        let channel = match found {
            Some(channel) => channel.clone(),
            None => self.thread(id).await?,
        };
        if self.is_closed(messages_of, &channel, &layout.access) {
            return Err(closed());
        }
        let (start, mut messages, mut up_to) = (before(after, MARGIN_MS), Vec::new(), after);
        let mut next = Some(start);
        for _ in 0..LATE_PAGES {
            let Some(from) = next else { break };
            let page = match self.page(channel.id, from).await {
                Ok(page) => page,
                // What was read is worth keeping: the next time it begins there.
                Err(RestError::Unreachable(_) | RestError::Limited { .. }) if up_to > after => {
                    break;
                }
                Err(error) => {
                    if error.is_forbidden() {
                        self.note_refusal(messages_of, &channel, &layout.access);
                    }
                    return Err(error);
                }
            };
            next = self.next_page(&page, from).filter(|next| *next < until);
            up_to = next.map_or(until, |next| next.max(up_to));
            messages.extend(page.into_iter().filter_map(|message| self.seen(message)));
        }
        messages.retain(|seen| seen.message <= until);
        Ok(IntervalRead {
            messages,
            up_to,
            unread: Vec::new(),
        })
    }

    /// A thread that is asked for by itself.
    async fn thread(&self, id: ChannelId) -> Result<PartialChannel, RestError> {
        let route = Route::Channel {
            channel_id: id.into(),
        };
        let source = Some(HistorySource::Messages(id));
        self.get(source, "reading a thread", route, Vec::new())
            .await
    }

    /// The messages in all threads that a list may have held.
    async fn late_threads(
        &self,
        layout: &Layout,
        source: HistorySource,
        after: MessageId,
        until: MessageId,
    ) -> Result<IntervalRead, RestError> {
        let Layout { channels, access } = layout;
        let start = before(after, MARGIN_MS);
        let mut unread = BTreeMap::new();
        // A thread that was active then may be archived by now, and the other way round.
        let threads = if let Some(id) = source.channel() {
            let found = channels
                .iter()
                .find(|one| one.id == theirs::ChannelId::from(id));
            let channel = found.ok_or_else(gone)?;
            if self.is_closed(archive_of, channel, access) {
                return Err(closed());
            }
            let mut threads = self.archived_in(channel, start).await?;
            let mut active = self.active_threads(&mut unread).await?;
            active.retain(|_, thread| thread.parent_id == Some(channel.id));
            threads.extend(active);
            threads
        } else {
            let mut threads = by_id(self.active_thread_list().await?);
            let archived = self.archived_since(start, channels, access, &mut unread);
            threads.extend(archived.await?.0);
            threads
        };
        let mut messages = Vec::new();
        let open = |thread: &PartialChannel| {
            newer(thread, start) && !self.is_closed(messages_of, thread, access)
        };
        let mut reading = stream::iter(threads.into_values().filter(open))
            .map(|thread| async move {
                let read = self.channel(&thread, start, Some(until), access).await?;
                Ok::<_, RestError>((thread, read))
            })
            .buffer_unordered(AT_ONCE);
        while let Some((thread, (read, why))) = reading.try_next().await? {
            messages.extend(read);
            if let Some(NotRead::Failing(error)) = why {
                self.set_aside(messages_of, &thread, error, &mut unread);
            }
        }
        messages.retain(|seen: &EligibleMessage| seen.message <= until);
        Ok(IntervalRead {
            messages,
            up_to: until,
            unread: sources_of(&unread),
        })
    }

    /// Leaves a source for later.
    fn set_aside(
        &self,
        source: impl Fn(ChannelId) -> HistorySource,
        channel: &PartialChannel,
        error: RestError,
        unread: &mut BTreeMap<HistorySource, Unread>,
    ) {
        // What has an id that no database could keep has no messages that could count.
        if let Ok(id) = channel.id.try_into() {
            let name = channel.name.clone().unwrap_or_default();
            self.set_source_aside(source(id), name, error, unread);
        }
    }

    fn set_source_aside(
        &self,
        source: HistorySource,
        name: String,
        error: RestError,
        unread: &mut BTreeMap<HistorySource, Unread>,
    ) {
        self.memory.failing().insert(source);
        unread.entry(source).or_insert(Unread { name, error });
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
        channel: &PartialChannel,
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
        channel: &PartialChannel,
        access: &Access,
    ) {
        if let (Ok(id), Some(hash)) = (channel.id.try_into(), access.hash(channel)) {
            self.memory.refused().insert(source(id), hash);
        }
    }

    async fn channels(&self) -> Result<Vec<PartialChannel>, RestError> {
        let route = Route::GuildChannels {
            guild_id: self.guild.into(),
        };
        let list: ChannelList = self
            .get(None, "reading the channels", route, Vec::new())
            .await?;
        Ok(self.without_future(list.channels))
    }

    async fn active_thread_list(&self) -> Result<Vec<PartialChannel>, RestError> {
        let route = Route::GuildThreadsActive {
            guild_id: self.guild.into(),
        };
        let source = Some(HistorySource::ActiveThreads);
        let list: ThreadList = self
            .get(source, "reading the threads", route, Vec::new())
            .await?;
        Ok(self.without_future(list.threads))
    }

    async fn active_threads(
        &self,
        unread: &mut BTreeMap<HistorySource, Unread>,
    ) -> Result<Threads, RestError> {
        match self.active_thread_list().await {
            Ok(threads) => {
                unread.remove(&HistorySource::ActiveThreads);
                Ok(by_id(threads))
            }
            Err(RestError::Revoked) => Err(RestError::Revoked),
            Err(error) => {
                let source = HistorySource::ActiveThreads;
                self.set_source_aside(source, String::new(), error, unread);
                Ok(Threads::new())
            }
        }
    }

    /// A newest message from the future says nothing of the newest real one, which may have
    /// been written just now.
    fn without_future(&self, mut channels: Vec<PartialChannel>) -> Vec<PartialChannel> {
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
        channels: &[PartialChannel],
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

    /// One channel's messages after `start`, at least up to `until` if that is said, as far as
    /// they could be read, and why not further.
    async fn channel(
        &self,
        channel: &PartialChannel,
        start: MessageId,
        until: Option<MessageId>,
        access: &Access,
    ) -> Result<(Vec<EligibleMessage>, Option<NotRead>), RestError> {
        let mut messages = Vec::new();
        let mut after = start;
        loop {
            let page = match self.page(channel.id, after).await {
                Ok(page) => page,
                Err(error) => {
                    if error.is_forbidden() {
                        self.note_refusal(messages_of, channel, access);
                    }
                    return Ok((messages, Some(NotRead::of(error)?)));
                }
            };
            self.say_progress(page.len());
            let next = self.next_page(&page, after);
            messages.extend(page.into_iter().filter_map(|message| self.seen(message)));
            let Some(next) = next.filter(|next| until.is_none_or(|until| *next < until)) else {
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

    fn seen(&self, message: Value) -> Option<EligibleMessage> {
        if let Ok(message) = PartialMessage::deserialize(message) {
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
        let source = channel.try_into().ok().map(HistorySource::Messages);
        self.get(source, "reading messages", route, parameters)
            .await
    }

    /// Threads that were archived after `start`, which may hold messages of the gap; and
    /// the channels that may not show theirs.
    async fn archived_since(
        &self,
        start: MessageId,
        channels: &[PartialChannel],
        access: &Access,
        unread: &mut BTreeMap<HistorySource, Unread>,
    ) -> Result<(Threads, Vec<PartialChannel>), RestError> {
        let mut found = Threads::new();
        let is_open = |channel: &PartialChannel| !self.is_closed(archive_of, channel, access);
        let holders = channels.iter().filter(|c| holds_threads(c)).cloned();
        let (open, mut closed): (Vec<_>, Vec<_>) = holders.partition(is_open);
        let mut reading = stream::iter(open)
            .map(|channel| async move {
                let read = self.archived_in(&channel, start).await;
                (channel, read)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((channel, read)) = reading.next().await {
            match read {
                Ok(threads) => found.extend(threads),
                Err(error) => match NotRead::of(error)? {
                    NotRead::Gone => {}
                    NotRead::Forbidden => {
                        self.note_refusal(archive_of, &channel, access);
                        closed.push(channel);
                    }
                    NotRead::Failing(error) => self.set_aside(archive_of, &channel, error, unread),
                },
            }
        }
        Ok((found, closed))
    }

    async fn archived_in(
        &self,
        channel: &PartialChannel,
        start: MessageId,
    ) -> Result<Threads, RestError> {
        let channel_id = channel.id;
        let public = Route::ChannelArchivedPublicThreads { channel_id };
        // The one archived last comes first.
        let before_it = |oldest: &PartialChannel| {
            let archived_at = oldest
                .thread_metadata
                .as_ref()?
                .archive_timestamp
                .as_ref()?;
            archived_after(archived_at, start).then(|| encoded(archived_at))
        };
        let source = channel_id.try_into().ok().map(archive_of);
        let mut found = self.threads(source, public, before_it).await?;
        if channel.kind == TEXT {
            // Those that the bot is in; others it does not hear either. The one made last
            // comes first, which says nothing of when it was archived: all are looked at.
            let private = Route::ChannelJoinedPrivateThreads { channel_id };
            let before_it = |oldest: &PartialChannel| Some(oldest.id.to_string());
            found.extend(self.threads(source, private, before_it).await?);
        }
        Ok(found)
    }

    /// A list of threads, page by page. `before_it` says where the page after this thread
    /// begins; `None` where nothing older is wanted.
    async fn threads(
        &self,
        source: Option<HistorySource>,
        route: Route<'_>,
        before_it: impl Fn(&PartialChannel) -> Option<String>,
    ) -> Result<Threads, RestError> {
        let mut found = Threads::new();
        let mut before: Option<String> = None;
        loop {
            let mut parameters = vec![("limit", PAGE.to_string())];
            parameters.extend(before.map(|before| ("before", before)));
            let list: ThreadList = self
                .get(source, "reading archived threads", route, parameters)
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
        channels: Vec<PartialChannel>,
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
                Err(RestError::Revoked) => return Err(RestError::Revoked),
                Err(_) => return Ok(false),
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
    /// again because of some seconds of trouble. Only a source that fails while Discord
    /// answers otherwise is given up.
    async fn get<T: DeserializeOwned>(
        &self,
        source: Option<HistorySource>,
        what: &'static str,
        route: Route<'_>,
        parameters: Vec<(&'static str, String)>,
    ) -> Result<T, RestError> {
        let patience = source.map_or(PATIENCE, |_| SOURCE_PATIENCE);
        for attempt in 0.. {
            let answer = self
                .rest
                .call(what, Repeat::Safe, patience, |http| {
                    let request =
                        Request::new(route, LightMethod::Get).params(Some(parameters.clone()));
                    async move { http.fire(request).await }
                })
                .await;
            let error = match answer {
                Err(error) if !matches!(error, RestError::Refused { .. } | RestError::Revoked) => {
                    error
                }
                answer => {
                    if attempt > 0 && self.failing.fetch_sub(1, Ordering::Relaxed) == 1 {
                        tracing::info!("the reading goes on where it was");
                    }
                    if let (Ok(_), Some(source)) = (&answer, source) {
                        self.memory.failing().remove(&source);
                    }
                    return answer;
                }
            };
            if let Some(source) = source
                && self.is_enough(source, &error, attempt)
                && self.discord_answers().await?
            {
                if attempt > 0 {
                    self.failing.fetch_sub(1, Ordering::Relaxed);
                }
                return Err(error);
            }
            if attempt == 0 && self.failing.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(%error, "what was missed cannot be read now; trying again, XP waits until then");
            }
            tokio::time::sleep(backoff(attempt, RETRY_LEAST, RETRY_MOST)).await;
        }
        unreachable!("attempts are not counted out")
    }

    /// Whether a source has failed often enough to be set aside.
    fn is_enough(&self, source: HistorySource, error: &RestError, attempt: u32) -> bool {
        let at_once = matches!(error, RestError::Limited { .. }) || self.memory.is_failing(source);
        at_once || attempt + 1 >= SOURCE_CALLS
    }

    /// Whether Discord answers now, when it is asked once for the guild's channels. After trouble
    /// of its own it would say nothing about what failed before.
    async fn discord_answers(&self) -> Result<bool, RestError> {
        let what = "asking whether Discord answers";
        let asked = self.rest.call(what, Repeat::Never, PROBE_PATIENCE, |http| {
            let route = Route::GuildChannels {
                guild_id: self.guild.into(),
            };
            async move {
                http.fire::<Vec<IgnoredAny>>(Request::new(route, LightMethod::Get))
                    .await
            }
        });
        match asked.await {
            Err(RestError::Revoked) => Err(RestError::Revoked),
            answer => Ok(answer.is_ok()),
        }
    }
}

/// In the place of Discord's refusal, which is known beforehand.
fn closed() -> RestError {
    refusal(403)
}

/// In the place of Discord's answer about a channel that is not among the guild's.
fn gone() -> RestError {
    refusal(404)
}

fn refusal(status: u16) -> RestError {
    RestError::Refused {
        what: "reading messages",
        status,
        code: 0,
        message: "not asked for".to_owned(),
    }
}

/// The lowest id of a message written `earlier_ms` before `message`.
fn before(message: MessageId, earlier_ms: i64) -> MessageId {
    after_by(message, -earlier_ms)
}

/// The lowest id of a message written `later_ms` after `message`.
fn after_by(message: MessageId, later_ms: i64) -> MessageId {
    const FIRST: MessageId = MessageId::new(1).expect("one is an id");
    let at = Timestamp::from_millis(message.sent_at().millis() + later_ms);
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
fn last_message(channel: &PartialChannel) -> Option<MessageId> {
    channel.last_message_id?.try_into().ok()
}

/// The newest id in a channel that holds messages; `None` for others. Its own id is one:
/// the first message of a forum post has the post's id, and Discord names no last message of
/// a post in which there is no other.
fn newest_in(channel: &PartialChannel) -> Option<MessageId> {
    let own = MessageId::new(channel.id.get());
    last_message(channel)
        .max(own)
        .filter(|_| holds_messages(channel))
}

fn newer(channel: &PartialChannel, after: MessageId) -> bool {
    newest_in(channel).is_some_and(|newest| newest > after)
}

/// Text, voice, announcements, their threads, stages.
fn holds_messages(channel: &PartialChannel) -> bool {
    matches!(channel.kind, TEXT | VOICE | 5 | STAGE) || is_thread(channel)
}

/// Threads of announcements, public and private ones.
fn is_thread(channel: &PartialChannel) -> bool {
    matches!(channel.kind, 10..=12)
}

fn messages_of(channel: ChannelId) -> HistorySource {
    HistorySource::Messages(channel)
}

fn archive_of(channel: ChannelId) -> HistorySource {
    HistorySource::ArchivedThreads(channel)
}

/// Text, announcements, forums, media.
fn holds_threads(channel: &PartialChannel) -> bool {
    matches!(channel.kind, 0 | 5 | 15 | 16)
}

fn id_of(message: &Value) -> Option<MessageId> {
    payload::id_of(message).and_then(MessageId::new)
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
