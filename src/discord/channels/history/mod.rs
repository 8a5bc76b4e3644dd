//! Reads the messages that the bot missed: every channel, thread and forum post of the guild,
//! starting a few minutes before the last message that was counted.
//!
//! This only reads, so a run can be dropped and restarted at any point. It never gives up
//! because Discord is unavailable, and it reports every channel that it could not read. A
//! channel or thread list that fails while Discord answers other calls is set aside for later,
//! so that it does not hold up the rest. The look-back limit is not measured from the current
//! time, but from the guild's newest message, whose id contains its time.
//!
//! - this file: reads everything, page by page
//! - `interval`: reads one source (a channel, a thread or a list of threads) that was set aside
//! - `overlap`: how far before the frontier messages are read again, because they may have
//!   arrived out of order
//! - `threads` and `newest`: which threads and channels may contain messages to read
//! - `access`: which channels the bot may read
//! - `calls`: repeats a call until Discord answers, or sets a source aside
//! - `memory`: what is remembered from one reading to the next

mod access;
mod calls;
mod interval;
mod memory;
mod newest;
mod overlap;
mod threads;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::Value;
use serenity::http::Route;
use serenity::model::id as serenity_ids;

pub use interval::{IntervalRead, Layout};
pub use memory::ReadingMemory;

use access::Access;
use newest::{last_message, newer, newest_in};
use overlap::{CLOCK_SLACK_MS, MARGIN_MS, after_by, before};
use threads::Threads;

use crate::discord::payload::{self, ChannelList, PartialChannel, PartialMessage};
use crate::discord::rest::{Rest, RestError};
use crate::discord::time::DiscordTime;
use crate::leveling::{
    ChannelPlace, GuildId, HistorySource, MessageId, ObservedMessage, look_back,
};
use crate::store::history_interval::UnreadSource;

/// Messages or threads in one page: Discord's maximum.
const PAGE: usize = 100;
/// Channels that are read concurrently; each has its own rate limit.
const CONCURRENCY: usize = 4;
/// Messages between two progress lines in the log.
const PROGRESS_INTERVAL: usize = 10_000;

/// The result of reading the whole guild.
#[derive(Debug)]
pub struct Missed<M> {
    /// The messages that the caller keeps, in no particular order.
    pub messages: Vec<M>,
    /// The guild's newest message at the time when all channels and threads had been listed.
    /// Everything up to it has been read; newer messages may be included only in part.
    pub reached: MessageId,
    /// The look-back limit, as an id. Older messages were only read to check whether some are
    /// lost. `None` if no messages were read at all.
    pub floor: Option<MessageId>,
    /// Up to this id, messages may be missing from the threads of a list that was set aside. Newer
    /// messages arrive as live events.
    pub lists_until: Option<MessageId>,
    /// Whether the gap contains messages that the caller would have kept but that are older than
    /// the look-back limit.
    pub cut_off: bool,
    /// Names of channels that contain messages of the gap but that the bot may not read.
    pub hidden: BTreeMap<serenity_ids::ChannelId, String>,
    /// Sources that were set aside, to be read later.
    pub unread: BTreeMap<HistorySource, Unread>,
    /// The guild's channels and the threads that were found, each with its parent.
    pub places: Vec<ChannelPlace>,
    /// Whether all channels are in `places`: `false` if one was not understood.
    pub has_all_channels: bool,
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

/// What the caller keeps of a message; `None` to leave it out.
pub type Keep<'a, M> = &'a (dyn Fn(ObservedMessage) -> Option<M> + Send + Sync);

/// Reads the guild's history, once.
pub struct HistoryReader<'a, M> {
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
            places: Vec::new(),
            has_all_channels: false,
        }
    }
}

impl<'a, M> HistoryReader<'a, M> {
    /// A reader of `guild`'s history, up to `hours` back from its newest message. It skips ids
    /// that are from the future by `time`; `time_is_fresh` says whether Discord has just been
    /// asked for the time.
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
        let (channels, has_all_channels) = self.channels().await?;
        let mut threads = self.active_threads(&mut unread).await?;
        let Some(after) = after else {
            let places = channels.iter().chain(threads.values());
            return Ok(Missed {
                places: places.filter_map(PartialChannel::place).collect(),
                has_all_channels,
                ..Missed::nothing(self.newest(None, &channels, &threads))
            });
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
        // calls, the thread is in neither list. So the active threads are listed once more.
        threads.extend(self.active_threads(&mut unread).await?);
        let reached = self.newest(Some(after), &channels, &threads);
        let mut missed = Missed {
            unread,
            ..Missed::nothing(reached)
        };
        // `reached` may come from a thread list that is newer than the list of channels. A
        // channel that got an older message between the two calls would then be skipped. So the
        // channels are listed again, while `reached` stays: the new list shows every channel
        // with messages up to it.
        let (channels, has_all_channels) = self.channels().await?;
        access.list(&channels);
        let places = channels.iter().chain(threads.values());
        missed.places = places.filter_map(PartialChannel::place).collect();
        missed.has_all_channels = has_all_channels;

        let cut = before(reached, look_back::millis(self.hours));
        let start = margin.max(cut);
        missed.floor = Some(cut);
        // In the threads of a failed list, messages up to now may be missing. Later ones arrive
        // live.
        let now = self.time.newest_id().max(Some(reached));
        missed.lists_until = now.map(|now| after_by(now, CLOCK_SLACK_MS));
        let newer_than = |after| {
            let places = channels.iter().chain(threads.values());
            places.filter(move |channel| newer(channel, after)).cloned()
        };
        let is_open =
            |channel: &PartialChannel| !self.is_closed(HistorySource::Messages, channel, &access);
        missed.cut_off = cut > after
            && self
                .has_lost_messages(after, cut, newer_than(after).filter(is_open).collect())
                .await?;
        let (open, mut hidden): (Vec<_>, Vec<_>) = newer_than(start).partition(is_open);
        hidden.extend(closed);
        // A forum post, which is a thread, may contain its first message without showing a last
        // message. Any other channel without a last message is empty.
        hidden.retain(|channel| {
            channel.is_thread() || last_message(channel).is_some_and(|last| last > start)
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
                    self.set_aside(HistorySource::Messages, &channel, error, &mut missed.unread);
                }
            }
        }
        Ok(missed)
    }

    /// The guild's channels, without threads, and whether all of them were understood.
    async fn channels(&self) -> Result<(Vec<PartialChannel>, bool), RestError> {
        let route = Route::GuildChannels {
            guild_id: self.guild.into(),
        };
        let list: ChannelList = self
            .get(None, "reading the channels", route, Vec::new())
            .await?;
        let is_complete = list.is_complete;
        Ok((self.without_future_ids(list.channels), is_complete))
    }

    /// Replaces last-message ids from the future with the newest possible id: it is unknown
    /// which message of such a channel is really the newest, and it may have just been written.
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

    /// The newest message of all channels and threads, but at least `after`.
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
                        self.note_refusal(HistorySource::Messages, channel, access);
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
            .filter_map(parse)
            .filter(move |message| until.is_none_or(|until| message.id <= until))
            .filter_map(|message| {
                let id = message.id;
                (self.keep)(message).filter(|_| self.is_possible(id))
            })
    }

    /// Whether a message's id is not from the future. Counts and logs one that is.
    fn is_possible(&self, id: MessageId) -> bool {
        let is_from_the_future = self.is_from_the_future(id);
        if is_from_the_future {
            self.time.refuse("a message of the history", id);
        }
        !is_from_the_future
    }

    /// The `after` of the next page, if there is one. Ignores ids from the future, because a
    /// page that starts after one is empty.
    fn next_page(&self, page: &[Value], after: MessageId) -> Option<MessageId> {
        next_page(page, after, |id| !self.is_from_the_future(id))
    }

    fn is_from_the_future(&self, id: MessageId) -> bool {
        self.time.rules_out(id, self.time_is_fresh)
    }

    /// One page of the messages after `after`, newest first.
    async fn page(
        &self,
        channel: serenity_ids::ChannelId,
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
        channel: serenity_ids::ChannelId,
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
}

impl<M> fmt::Debug for HistoryReader<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// A message as Discord's REST API sends it; `None` if it cannot be read.
fn parse(message: Value) -> Option<ObservedMessage> {
    let Ok(message) = PartialMessage::deserialize(message) else {
        tracing::error!("a message in the history could not be parsed; it is not counted");
        return None;
    };
    message.read()
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

fn id_of(message: &Value) -> Option<MessageId> {
    payload::id_of(message).and_then(MessageId::new)
}

fn sources_of(unread: &BTreeMap<HistorySource, Unread>) -> Vec<UnreadSource> {
    let source = |(source, unread): (&HistorySource, &Unread)| UnreadSource {
        source: *source,
        name: unread.name.clone(),
    };
    unread.iter().map(source).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(id: String) {
            let number = id_of(&serde_json::json!({ "id": id }));
            prop_assert_eq!(number.is_some(), id.parse().ok().and_then(MessageId::new).is_some());
        }
    }
}
