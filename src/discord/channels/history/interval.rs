//! Reads the missing messages of one source that could not be read before. The source is a channel,
//! a thread, or a list of threads. For a list, this reads every thread that it may have contained.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use serenity::http::Route;
use serenity::model::id as serenity_ids;

use super::access::Access;
use super::newest::newer;
use super::overlap::{MARGIN_MS, before};
use super::threads::by_id;
use super::{CONCURRENCY, HistoryReader, NotRead, sources_of};
use crate::discord::payload::PartialChannel;
use crate::discord::rest::RestError;
use crate::leveling::{ChannelId, ChannelPlace, HistorySource, MessageId};
use crate::store::history_interval::UnreadSource;

/// Maximum number of message pages that one call of [`HistoryReader::read_interval`] reads from a
/// channel or a thread. There is no limit if the source is a list of threads.
const INTERVAL_PAGES: usize = 50;

/// A snapshot of the guild's channels and of the bot's permissions in them.
#[derive(Debug)]
pub struct Layout {
    channels: Vec<PartialChannel>,
    access: Access,
}

/// The result of reading one source's interval, or the first part of it.
#[derive(Debug)]
pub struct IntervalRead<M> {
    /// The messages that passed the reader's `keep` filter, in no particular order. Some are from
    /// before the interval.
    pub messages: Vec<M>,
    /// Everything up to this message has been read, unless it is in `unread`.
    pub up_to: MessageId,
    /// Threads and lists that failed during this read. The whole interval must be read again for
    /// them.
    pub unread: Vec<UnreadSource>,
    /// Where the threads stand that were read.
    pub threads: Vec<ChannelPlace>,
}

impl<M> HistoryReader<'_, M> {
    /// Takes the snapshot that [`Self::read_interval`] needs. Keeps retrying while Discord is
    /// unavailable.
    pub async fn layout(&self) -> Result<Layout, RestError> {
        let (channels, _) = self.channels().await?;
        let mut access = self.access().await?;
        access.list(&channels);
        Ok(Layout { channels, access })
    }

    /// Reads one source's messages after `after` and up to `until`, or the first part of them.
    /// Also reads the few minutes before `after` again, because messages may arrive out of order.
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
            .find(|one| one.id == serenity_ids::ChannelId::from(id));
        let channel = match found {
            Some(channel) => channel.clone(),
            None => self.thread(id).await?,
        };
        if self.is_closed(HistorySource::Messages, &channel, &layout.access) {
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
                        self.note_refusal(HistorySource::Messages, &channel, &layout.access);
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
            threads: channel.place().into_iter().collect(),
        })
    }

    /// The channel of a thread, if Discord tells.
    pub async fn parent_of(&self, thread: ChannelId) -> Option<ChannelId> {
        let thread = self.thread(thread).await.ok()?;
        thread.parent_id?.try_into().ok()
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

    /// Reads the messages in all threads that the list `source` may have contained.
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
                .find(|one| one.id == serenity_ids::ChannelId::from(id));
            let channel = found.ok_or_else(not_found_error)?;
            if self.is_closed(HistorySource::ArchivedThreads, channel, access) {
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
        let places = threads.values().filter_map(PartialChannel::place).collect();
        let mut messages = Vec::new();
        let open = |thread: &PartialChannel| {
            newer(thread, start) && !self.is_closed(HistorySource::Messages, thread, access)
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
                self.set_aside(HistorySource::Messages, &thread, error, &mut unread);
            }
        }
        Ok(IntervalRead {
            messages,
            up_to: until,
            unread: sources_of(&unread),
            threads: places,
        })
    }
}

/// Stands in for Discord's 404 if a channel is not in the guild's list.
fn not_found_error() -> RestError {
    refusal(404)
}

/// Stands in for Discord's 403 if the bot knows without a request that it lacks a permission.
fn forbidden_error() -> RestError {
    refusal(403)
}

fn refusal(status: u16) -> RestError {
    RestError::Refused {
        what: "reading messages",
        status,
        code: 0,
        message: "no request was sent".to_owned(),
    }
}
