//! Reads the messages that the bot missed: every channel, thread and forum post of the guild,
//! starting a few minutes before the last message that was counted.
//!
//! This only reads, so a run can be dropped and restarted at any point. It never gives up
//! because Discord is unavailable, and it reports every channel that it could not read. A
//! channel or thread list that fails while Discord answers other calls is set aside for later,
//! so that it does not hold up the rest. The ids that Discord assigns are the only clock: the
//! look-back limit is measured from the guild's newest message.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
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

use crate::backoff::backoff;
use crate::discord::guild::channel_permissions::{Overwrite, PermissionHolder};
use crate::discord::guild::{self, members, roles};
use crate::discord::payload::{self, ChannelList, PartialChannel, PartialMessage, ThreadList};
use crate::discord::rest::{Repeat, Rest, RestError};
use crate::discord::time::DiscordTime;
use crate::leveling::permission_bits::{CONNECT, READ_MESSAGE_HISTORY, VIEW_CHANNEL};
use crate::leveling::{
    ChannelId, GuildId, HistorySource, MessageId, ObservedMessage, Timestamp, UserId,
};
use crate::store::history_interval::UnreadSource;

/// Overlap that is read again before the frontier: just before the gap, messages of different
/// channels may have arrived out of order.
const MARGIN_MS: i64 = 5 * 60 * 1_000;
/// The largest assumed error of the estimate of Discord's time.
const CLOCK_SLACK_MS: i64 = 15 * 60 * 1_000;
/// Messages or threads in one page: Discord's maximum.
const PAGE: usize = 100;
/// Channels that are read concurrently; each has its own rate limit.
const CONCURRENCY: usize = 4;
/// Timeout of one call, including waits for rate limits.
const CALL_TIMEOUT: Duration = Duration::from_mins(2);
/// Timeout of a call for a source that can be set aside. It is longer than the five seconds
/// of Discord's rate limit window, in which a channel's history may be read five times.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(8);
/// A source is set aside after this many failed calls (each retries internally) if Discord
/// answers other calls.
const SOURCE_CALLS: u32 = 2;
/// Timeout of the call that checks whether Discord answers at all.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages of a source that was set aside which one [`Reader::read_interval`] reads at most.
const INTERVAL_PAGES: usize = 50;
/// Timeout of the call for the owner and roles that decide what the bot may read.
const ACCESS_TIMEOUT: Duration = Duration::from_secs(10);
/// Backoff between calls while Discord is unavailable.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Channel type of a text channel: the only type that can have private threads.
const TEXT: u8 = 0;
/// Channel types whose messages can only be read with the Connect permission.
const VOICE: u8 = 2;
const STAGE: u8 = 13;
/// Messages between two progress lines in the log.
const PROGRESS_INTERVAL: usize = 10_000;

/// The result of reading the whole guild.
#[derive(Debug)]
pub struct Missed<M> {
    /// The messages that the caller keeps, in no particular order.
    pub messages: Vec<M>,
    /// The guild's newest message when all channels and threads had been listed. Everything up
    /// to it has been read; newer messages are only partly included.
    pub reached: MessageId,
    /// Messages before this one were not read, apart from pages that checked for lost ones;
    /// `None` if no messages were read at all.
    pub floor: Option<MessageId>,
    /// An upper bound for messages in threads whose list was set aside: later ones arrive as
    /// live events.
    pub lists_until: Option<MessageId>,
    /// Whether the gap contains messages that the caller would have kept but that are beyond the
    /// look-back limit.
    pub cut_off: bool,
    /// Names of channels that contain messages of the gap but that the bot may not read.
    pub hidden: BTreeMap<theirs::ChannelId, String>,
    /// Sources that were set aside, to be read later.
    pub unread: BTreeMap<HistorySource, Unread>,
}

/// A source that was set aside.
#[derive(Debug)]
pub struct Unread {
    /// The name of its channel: untrusted text, which must be escaped before it is shown.
    pub name: String,
    /// The error of the last call for it.
    pub error: RestError,
}

impl<M> Missed<M> {
    /// The sources that were set aside, in the form that the database stores.
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
    /// Its channel was deleted, together with its messages.
    Gone,
    /// The bot lacks View Channel or Read Message History.
    Forbidden,
    /// Calls for it fail while Discord answers others.
    Failing(RestError),
}

impl NotRead {
    /// Classifies an error. A refused token is returned as `Err`: it concerns every call, not
    /// this source.
    fn of(error: RestError) -> Result<Self, RestError> {
        match error {
            RestError::Revoked => Err(error),
            RestError::Refused { status: 404, .. } => Ok(Self::Gone),
            RestError::Refused { status: 403, .. } => Ok(Self::Forbidden),
            _ => Ok(Self::Failing(error)),
        }
    }
}

/// A snapshot of the guild's channels and of the bot's permissions in them.
#[derive(Debug)]
pub struct Layout {
    channels: Vec<PartialChannel>,
    access: Access,
}

/// The result of reading one source's interval, or its first part.
#[derive(Debug)]
pub struct IntervalRead<M> {
    /// The messages that the caller keeps, in no particular order. Some are from before the
    /// interval.
    pub messages: Vec<M>,
    /// Everything up to this message has been read, unless it is in `unread`.
    pub up_to: MessageId,
    /// Threads or lists that were set aside meanwhile: the same interval is missing from them.
    pub unread: Vec<UnreadSource>,
}

/// State that is kept from one reading to the next.
#[derive(Debug, Default)]
pub struct ReadingMemory {
    own_id: OnceLock<UserId>,
    /// Sources that Discord refused although the bot's computed permissions suffice, with a
    /// hash of these permissions. They are not requested again until the hash changes.
    refused: Mutex<BTreeMap<HistorySource, u64>>,
    /// Sources that were set aside and have not been read since: they are set aside again after
    /// their first failed call.
    failing: Mutex<BTreeSet<HistorySource>>,
}

impl ReadingMemory {
    fn refused(&self) -> MutexGuard<'_, BTreeMap<HistorySource, u64>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failing(&self) -> MutexGuard<'_, BTreeSet<HistorySource>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the source failed when it was last read.
    pub fn is_failing(&self, source: HistorySource) -> bool {
        self.failing().contains(&source)
    }
}

/// Decides which channels the bot may read, as far as its permissions are known.
#[derive(Debug)]
struct Access {
    /// `None` if Discord did not answer: then every channel is requested.
    bot: Option<PermissionHolder>,
    overwrites: BTreeMap<theirs::ChannelId, Option<Vec<Overwrite>>>,
}

impl Access {
    fn list(&mut self, channels: &[PartialChannel]) {
        let listed = channels.iter();
        let listed = listed.map(|channel| (channel.id, channel.permission_overwrites.clone()));
        self.overwrites = listed.collect();
    }

    /// The inputs of the permission computation for a channel or a thread's parent; `None` if
    /// they are not all known.
    fn inputs(&self, channel: &PartialChannel) -> Option<(&PermissionHolder, &[Overwrite])> {
        let of = if is_thread(channel) {
            channel.parent_id?
        } else {
            channel.id
        };
        Some((self.bot.as_ref()?, self.overwrites.get(&of)?.as_deref()?))
    }

    /// Whether the bot may read the channel; `None` if that is unknown.
    fn may_read(&self, channel: &PartialChannel) -> Option<bool> {
        let (bot, overwrites) = self.inputs(channel)?;
        let needed = match channel.kind {
            VOICE | STAGE => VIEW_CHANNEL | READ_MESSAGE_HISTORY | CONNECT,
            _ => VIEW_CHANNEL | READ_MESSAGE_HISTORY,
        };
        Some(bot.in_channel(overwrites) & needed == needed)
    }

    /// A hash that changes with the permissions that apply to the channel.
    fn hash(&self, channel: &PartialChannel) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        self.inputs(channel)?.hash(&mut hasher);
        Some(hasher.finish())
    }
}

/// What the caller keeps of a message; `None` to leave it out.
pub type Keep<'a, M> = &'a (dyn Fn(ObservedMessage) -> Option<M> + Send + Sync);

/// Reads the guild's history, once.
pub struct Reader<'a, M> {
    rest: &'a Rest,
    keep: Keep<'a, M>,
    memory: &'a ReadingMemory,
    time: &'a DiscordTime,
    /// Whether Discord has just been asked for the time.
    time_is_fresh: bool,
    guild: GuildId,
    hours: u32,
    read_so_far: AtomicUsize,
    /// The number of calls that have failed and are being retried now.
    failing: AtomicUsize,
}

impl<M> Missed<M> {
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

/// Threads by id, so that each is read once even if several lists contain it.
type Threads = BTreeMap<theirs::ChannelId, PartialChannel>;

fn by_id(threads: Vec<PartialChannel>) -> Threads {
    threads
        .into_iter()
        .map(|thread| (thread.id, thread))
        .collect()
}

impl<'a, M> Reader<'a, M> {
    /// A reader of `guild`'s history, up to `hours` back from its newest message. Ids from the future are skipped: `time` decides which
    /// are, and `time_is_fresh` says whether Discord has just been asked for the time.
    pub fn new(
        rest: &'a Rest,
        keep: Keep<'a, M>,
        memory: &'a ReadingMemory,
        (time, time_is_fresh): (&'a DiscordTime, bool),
        guild: GuildId,
        hours: u32,
    ) -> Self {
        Self {
            rest,
            keep,
            memory,
            time,
            time_is_fresh,
            guild,
            hours,
            read_so_far: AtomicUsize::new(0),
            failing: AtomicUsize::new(0),
        }
    }

    /// Reads everything after `after`; with `None`, only finds the guild's newest message.
    /// Keeps retrying while Discord is unavailable.
    pub async fn read(&self, after: Option<MessageId>) -> Result<Missed<M>, RestError> {
        let mut unread = BTreeMap::new();
        let channels = self.channels().await?;
        let mut threads = self.active_threads(&mut unread).await?;
        let Some(after) = after else {
            return Ok(Missed::nothing(self.newest(None, &channels, &threads)));
        };

        let mut access = self.access().await?;
        access.list(&channels);

        // The look-back limit is measured from the newest message, which may be in a thread
        // that has been archived since. So the limit is applied once all threads are known.
        let margin = before(after, MARGIN_MS);
        let (archived, closed) = self
            .archived_since(margin, &channels, &access, &mut unread)
            .await?;
        threads.extend(archived);
        // A new message makes an archived thread active again. If that happens between the two
        // calls, the thread is in neither list: so the active threads are listed once more.
        threads.extend(self.active_threads(&mut unread).await?);
        let reached = self.newest(Some(after), &channels, &threads);
        let mut missed = Missed {
            unread,
            ..Missed::nothing(reached)
        };
        // `reached` may be a message in a thread, and an older one may be in a channel whose
        // last message had not changed yet when it was listed: that channel would be skipped.
        // So the channels are listed again. `reached` stays, and this list shows every channel
        // with messages up to it.
        let channels = self.channels().await?;
        access.list(&channels);

        let cut = before(reached, i64::from(self.hours) * 3_600_000);
        let start = margin.max(cut);
        missed.floor = Some(cut);
        // Which messages the unlisted threads contain is unknown, but all were written before
        // now.
        let now = self.time.newest_id().max(Some(reached));
        missed.lists_until = now.map(|now| after_by(now, CLOCK_SLACK_MS));
        let newer_than = |after| {
            let places = channels.iter().chain(threads.values());
            places.filter(move |channel| newer(channel, after)).cloned()
        };
        let is_open = |channel: &PartialChannel| !self.is_closed(messages_of, channel, &access);
        missed.cut_off = cut > after
            && self
                .has_lost_messages(after, cut, newer_than(after).filter(is_open).collect())
                .await?;
        let (open, mut hidden): (Vec<_>, Vec<_>) = newer_than(start).partition(is_open);
        hidden.extend(closed);
        // A forum post without a last message may still have its first one; any other channel
        // without a last message is empty.
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
            .buffer_unordered(CONCURRENCY);
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

    /// Takes a snapshot of the guild's channels, to read intervals of single sources with. Keeps
    /// retrying while Discord is unavailable.
    pub async fn layout(&self) -> Result<Layout, RestError> {
        let channels = self.channels().await?;
        let mut access = self.access().await?;
        access.list(&channels);
        Ok(Layout { channels, access })
    }

    /// Reads one source's messages after `after` and up to `until`, or the first part of them.
    /// As before every gap, the few minutes before `after` are read again.
    pub async fn read_interval(
        &self,
        layout: &Layout,
        source: HistorySource,
        after: MessageId,
        until: MessageId,
    ) -> Result<Result<IntervalRead<M>, NotRead>, RestError> {
        let read = match source {
            HistorySource::Messages(id) => self.interval_messages(layout, id, after, until).await,
            _ => self.interval_threads(layout, source, after, until).await,
        };
        match read {
            Ok(read) => Ok(Ok(read)),
            Err(error) => {
                let why = NotRead::of(error)?;
                if let NotRead::Failing(error) = &why
                    && self.memory.failing().insert(source)
                {
                    tracing::warn!(%source, %error, "part of the history cannot be read yet; trying again later");
                }
                Ok(Err(why))
            }
        }
    }

    async fn interval_messages(
        &self,
        layout: &Layout,
        id: ChannelId,
        after: MessageId,
        until: MessageId,
    ) -> Result<IntervalRead<M>, RestError> {
        let found = layout
            .channels
            .iter()
            .find(|one| one.id == theirs::ChannelId::from(id));
        let channel = match found {
            Some(channel) => channel.clone(),
            None => self.thread(id).await?,
        };
        if self.is_closed(messages_of, &channel, &layout.access) {
            return Err(forbidden_error());
        }
        let (start, mut messages, mut up_to) = (before(after, MARGIN_MS), Vec::new(), after);
        let mut next = Some(start);
        for _ in 0..INTERVAL_PAGES {
            let Some(from) = next else { break };
            let page = match self.page(channel.id, from).await {
                Ok(page) => page,
                // Keep the pages that were read: the next attempt starts after them.
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
            messages.extend(self.kept(page, Some(until)));
        }
        Ok(IntervalRead {
            messages,
            up_to,
            unread: Vec::new(),
        })
    }

    /// Requests a single thread by its id.
    async fn thread(&self, id: ChannelId) -> Result<PartialChannel, RestError> {
        let route = Route::Channel {
            channel_id: id.into(),
        };
        let source = Some(HistorySource::Messages(id));
        self.get(source, "reading a thread", route, Vec::new())
            .await
    }

    /// Reads the messages in all threads that a failed list may have contained.
    async fn interval_threads(
        &self,
        layout: &Layout,
        source: HistorySource,
        after: MessageId,
        until: MessageId,
    ) -> Result<IntervalRead<M>, RestError> {
        let Layout { channels, access } = layout;
        let start = before(after, MARGIN_MS);
        let mut unread = BTreeMap::new();
        // A thread that was active then may be archived by now, and vice versa.
        let threads = if let Some(id) = source.channel() {
            let found = channels
                .iter()
                .find(|one| one.id == theirs::ChannelId::from(id));
            let channel = found.ok_or_else(not_found_error)?;
            if self.is_closed(archive_of, channel, access) {
                return Err(forbidden_error());
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
            .buffer_unordered(CONCURRENCY);
        while let Some((thread, (read, why))) = reading.try_next().await? {
            messages.extend(read);
            if let Some(NotRead::Failing(error)) = why {
                self.set_aside(messages_of, &thread, error, &mut unread);
            }
        }
        Ok(IntervalRead {
            messages,
            up_to: until,
            unread: sources_of(&unread),
        })
    }

    /// Records that a source could not be read, so that it is read later.
    fn set_aside(
        &self,
        source: impl Fn(ChannelId) -> HistorySource,
        channel: &PartialChannel,
        error: RestError,
        unread: &mut BTreeMap<HistorySource, Unread>,
    ) {
        // An id that the database cannot store belongs to no real channel.
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

    /// Asks for the bot's permissions. They only save calls: if Discord does not answer, every
    /// channel is requested.
    async fn access(&self) -> Result<Access, RestError> {
        let asked = async {
            let own_id = match self.memory.own_id.get() {
                Some(id) => *id,
                None => members::own_id(self.rest).await?,
            };
            let _ = self.memory.own_id.set(own_id);
            let (owner, roles) =
                guild::owner_and_roles(self.rest, self.guild, ACCESS_TIMEOUT).await?;
            let held = roles::held_by(self.rest, self.guild, own_id).await?;
            Ok(PermissionHolder::new(
                self.guild, owner, own_id, &held, &roles,
            ))
        };
        let bot = match asked.await {
            Ok(bot) => Some(bot),
            Err(RestError::Revoked) => return Err(RestError::Revoked),
            Err(error) => {
                tracing::warn!(%error, "the bot's permissions are unknown; requesting every channel's history");
                None
            }
        };
        Ok(Access {
            bot,
            overwrites: BTreeMap::new(),
        })
    }

    /// Whether Discord would refuse to show this source to the bot. Such a source is not
    /// requested, because Discord bans clients that are refused too often.
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

    /// Remembers that Discord refused a source which the computed permissions allow.
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
        Ok(self.without_future_ids(list.channels))
    }

    async fn active_thread_list(&self) -> Result<Vec<PartialChannel>, RestError> {
        let route = Route::GuildThreadsActive {
            guild_id: self.guild.into(),
        };
        let source = Some(HistorySource::ActiveThreads);
        let list: ThreadList = self
            .get(source, "reading the threads", route, Vec::new())
            .await?;
        Ok(self.without_future_ids(list.threads))
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

    /// Replaces last-message ids from the future by the newest possible id: the newest real
    /// message of such a channel is unknown, and may have been written just now.
    fn without_future_ids(&self, mut channels: Vec<PartialChannel>) -> Vec<PartialChannel> {
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

    /// The newest message of all channels and threads, and not before `after`.
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
        // The guild's own id is older than any message in it.
        newest
            .or(MessageId::new(self.guild.get()))
            .max(after)
            .expect("the guild has an id")
    }

    /// Reads a channel's messages after `start`, up to `until` or the newest. Returns what could be
    /// read, and the reason if reading stopped early.
    async fn channel(
        &self,
        channel: &PartialChannel,
        start: MessageId,
        until: Option<MessageId>,
        access: &Access,
    ) -> Result<(Vec<M>, Option<NotRead>), RestError> {
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
            self.log_progress(page.len());
            let next = self.next_page(&page, after);
            messages.extend(self.kept(page, until));
            let Some(next) = next.filter(|next| until.is_none_or(|until| *next < until)) else {
                return Ok((messages, None));
            };
            after = next;
        }
    }

    fn log_progress(&self, read: usize) {
        let before = self.read_so_far.fetch_add(read, Ordering::Relaxed);
        let now = before + read;
        if now / PROGRESS_INTERVAL > before / PROGRESS_INTERVAL {
            tracing::info!(messages = now, "reading what was missed");
        }
    }

    /// What the caller keeps of a page's messages, up to `until`.
    fn kept(&self, page: Vec<Value>, until: Option<MessageId>) -> impl Iterator<Item = M> {
        page.into_iter()
            .filter_map(|message| self.parse(message))
            .filter(move |message| until.is_none_or(|until| message.id <= until))
            .filter_map(|message| (self.keep)(message))
    }

    fn parse(&self, message: Value) -> Option<ObservedMessage> {
        let Ok(message) = PartialMessage::deserialize(message) else {
            tracing::error!("a message in the history could not be parsed; it is left out");
            return None;
        };
        let message = message.read()?;
        if self.is_from_the_future(message.id) {
            self.time.refuse("a message of the history", message.id);
            return None;
        }
        Some(message)
    }

    /// The `after` of the next page, if there is one. Ids from the future are ignored, because
    /// a page that starts after one is empty.
    fn next_page(&self, page: &[Value], after: MessageId) -> Option<MessageId> {
        next_page(page, after, |id| !self.is_from_the_future(id))
    }

    fn is_from_the_future(&self, id: MessageId) -> bool {
        self.time.rules_out(id, self.time_is_fresh)
    }

    /// One page of the messages after `after`, newest first.
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

    /// Lists the threads that were archived after `start`, which may contain messages of the
    /// gap. Also returns the channels whose archive the bot may not read.
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
            .buffer_unordered(CONCURRENCY);
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
        // The list is sorted by archive time, latest first.
        let page_before = |oldest: &PartialChannel| {
            let archived_at = oldest
                .thread_metadata
                .as_ref()?
                .archive_timestamp
                .as_ref()?;
            archived_after(archived_at, start).then(|| encoded(archived_at))
        };
        let source = channel_id.try_into().ok().map(archive_of);
        let mut found = self.threads(source, public, page_before).await?;
        if channel.kind == TEXT {
            // Only those that the bot has joined: it gets no events for the others either. The
            // list is sorted by id, not by archive time, so all pages are read.
            let private = Route::ChannelJoinedPrivateThreads { channel_id };
            let page_before = |oldest: &PartialChannel| Some(oldest.id.to_string());
            found.extend(self.threads(source, private, page_before).await?);
        }
        Ok(found)
    }

    /// Reads a thread list page by page. `page_before` gives the `before` parameter of the next
    /// page from the last thread of this one; `None` ends the reading.
    async fn threads(
        &self,
        source: Option<HistorySource>,
        route: Route<'_>,
        page_before: impl Fn(&PartialChannel) -> Option<String>,
    ) -> Result<Threads, RestError> {
        let mut found = Threads::new();
        let mut before: Option<String> = None;
        loop {
            let mut parameters = vec![("limit", PAGE.to_string())];
            parameters.extend(before.map(|before| ("before", before)));
            let list: ThreadList = self
                .get(source, "reading archived threads", route, parameters)
                .await?;
            before = list.threads.last().and_then(&page_before);
            let known = found.len();
            found.extend(by_id(self.without_future_ids(list.threads)));
            // A page without new threads would be repeated for ever.
            if !list.has_more || before.is_none() || found.len() == known {
                return Ok(found);
            }
        }
    }

    /// Whether any of the channels contains a message after `after` and up to `cut` that the caller
    /// would have kept.
    async fn has_lost_messages(
        &self,
        after: MessageId,
        cut: MessageId,
        channels: Vec<PartialChannel>,
    ) -> Result<bool, RestError> {
        let mut asking = stream::iter(channels)
            .map(|channel| self.has_lost_in(channel.id, after, cut))
            .buffer_unordered(CONCURRENCY);
        while let Some(lost) = asking.try_next().await? {
            if lost {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn has_lost_in(
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
            if self.kept(page, Some(cut)).next().is_some() {
                return Ok(true);
            }
            let Some(next) = next else {
                return Ok(false);
            };
            after = next;
        }
    }

    /// Repeats a call until Discord answers it, so that a short outage does not discard what
    /// has been read so far. An error without an answer is only returned for a `source`, and
    /// only if Discord answers other calls.
    async fn get<T: DeserializeOwned>(
        &self,
        source: Option<HistorySource>,
        what: &'static str,
        route: Route<'_>,
        parameters: Vec<(&'static str, String)>,
    ) -> Result<T, RestError> {
        let timeout = source.map_or(CALL_TIMEOUT, |_| SOURCE_TIMEOUT);
        for attempt in 0.. {
            let answer = self
                .rest
                .call(what, Repeat::Safe, timeout, |http| {
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
                        tracing::info!("the reading of the history resumes");
                    }
                    if let (Ok(_), Some(source)) = (&answer, source) {
                        self.memory.failing().remove(&source);
                    }
                    return answer;
                }
            };
            if let Some(source) = source
                && self.should_set_aside(source, &error, attempt)
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
            tokio::time::sleep(backoff(attempt, BACKOFF_MIN, BACKOFF_MAX)).await;
        }
        unreachable!("the loop has no last attempt")
    }

    /// Whether a source has failed often enough to be set aside.
    fn should_set_aside(&self, source: HistorySource, error: &RestError, attempt: u32) -> bool {
        let is_final = matches!(error, RestError::Limited { .. }) || self.memory.is_failing(source);
        is_final || attempt + 1 >= SOURCE_CALLS
    }

    /// Whether Discord answers at all now: asks once for the guild's channels. A retry would
    /// blur the result, which must tell an outage from a source's own failure.
    async fn discord_answers(&self) -> Result<bool, RestError> {
        let what = "asking whether Discord answers";
        let asked = self.rest.call(what, Repeat::Never, PROBE_TIMEOUT, |http| {
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

impl<M> fmt::Debug for Reader<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// Stands in for Discord's 403 where the bot knows that it would be refused.
fn forbidden_error() -> RestError {
    refusal(403)
}

/// Stands in for Discord's 404 where a channel is not in the guild's list.
fn not_found_error() -> RestError {
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

/// The `after` of the next page, if there is one: the newest id that is `believed`.
fn next_page(
    page: &[Value],
    after: MessageId,
    believed: impl Fn(MessageId) -> bool,
) -> Option<MessageId> {
    let ids = page.iter().filter_map(id_of);
    let last = ids.filter(|id| believed(*id)).max()?;
    (page.len() == PAGE && last > after).then_some(last)
}

/// The channel's last message; of a forum, its last post, which is a thread.
fn last_message(channel: &PartialChannel) -> Option<MessageId> {
    channel.last_message_id?.try_into().ok()
}

/// The newest message id in a channel; `None` for types that contain no messages. The channel's
/// own id counts too: a forum post's first message has the post's id, and Discord gives no last
/// message for a post that contains only that one.
fn newest_in(channel: &PartialChannel) -> Option<MessageId> {
    let own = MessageId::new(channel.id.get());
    last_message(channel)
        .max(own)
        .filter(|_| holds_messages(channel))
}

fn newer(channel: &PartialChannel, after: MessageId) -> bool {
    newest_in(channel).is_some_and(|newest| newest > after)
}

/// Whether the channel is of a type with messages: text, voice, announcement, stage, thread.
fn holds_messages(channel: &PartialChannel) -> bool {
    matches!(channel.kind, TEXT | VOICE | 5 | STAGE) || is_thread(channel)
}

/// Whether the channel is an announcement, public or private thread.
fn is_thread(channel: &PartialChannel) -> bool {
    matches!(channel.kind, 10..=12)
}

fn messages_of(channel: ChannelId) -> HistorySource {
    HistorySource::Messages(channel)
}

fn archive_of(channel: ChannelId) -> HistorySource {
    HistorySource::ArchivedThreads(channel)
}

/// Whether the channel is of a type with threads: text, announcement, forum, media.
fn holds_threads(channel: &PartialChannel) -> bool {
    matches!(channel.kind, 0 | 5 | 15 | 16)
}

fn id_of(message: &Value) -> Option<MessageId> {
    payload::id_of(message).and_then(MessageId::new)
}

fn archived_after(timestamp: &str, start: MessageId) -> bool {
    // An unreadable time counts as recent: reading more than needed is harmless.
    chrono::DateTime::parse_from_rfc3339(timestamp)
        .ok()
        .is_none_or(|at| at.timestamp_millis() > start.sent_at().millis())
}

/// Encodes `+`: serenity does not encode parameters, and in a query string `+` means a space.
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
            // A page that does not advance would be read for ever.
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
