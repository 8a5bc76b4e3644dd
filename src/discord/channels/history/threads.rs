//! Lists the threads in which messages may have been missed: the active ones, and those that were
//! archived since the gap began.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use serenity::http::Route;
use serenity::model::id as serenity_ids;

use super::access::Access;
use super::{CONCURRENCY, HistoryReader, NotRead, PAGE, Unread};
use crate::discord::payload::channel_types::TEXT;
use crate::discord::payload::{PartialChannel, ThreadList};
use crate::discord::rest::RestError;
use crate::leveling::{HistorySource, MessageId};

/// Threads by id, so that each is read once even if several lists contain it.
pub(super) type Threads = BTreeMap<serenity_ids::ChannelId, PartialChannel>;

impl<M> HistoryReader<'_, M> {
    pub(super) async fn active_threads(
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

    pub(super) async fn active_thread_list(&self) -> Result<Vec<PartialChannel>, RestError> {
        let route = Route::GuildThreadsActive {
            guild_id: self.guild.into(),
        };
        let source = Some(HistorySource::ActiveThreads);
        let list: ThreadList = self
            .get(source, "reading the threads", route, Vec::new())
            .await?;
        Ok(self.without_future_ids(list.threads))
    }

    /// Lists the threads that were archived after `start`, which may contain messages of the
    /// gap. Also returns the channels whose archive the bot may not read.
    pub(super) async fn archived_since(
        &self,
        start: MessageId,
        channels: &[PartialChannel],
        access: &Access,
        unread: &mut BTreeMap<HistorySource, Unread>,
    ) -> Result<(Threads, Vec<PartialChannel>), RestError> {
        let mut found = Threads::new();
        let is_open = |channel: &PartialChannel| {
            !self.is_closed(HistorySource::ArchivedThreads, channel, access)
        };
        let holders = channels.iter().filter(|c| c.holds_threads()).cloned();
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
                        self.note_refusal(HistorySource::ArchivedThreads, &channel, access);
                        closed.push(channel);
                    }
                    NotRead::Failing(error) => {
                        self.set_aside(HistorySource::ArchivedThreads, &channel, error, unread);
                    }
                },
            }
        }
        Ok((found, closed))
    }

    pub(super) async fn archived_in(
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
        let source = channel_id
            .try_into()
            .ok()
            .map(HistorySource::ArchivedThreads);
        let mut found = self.threads(source, public, page_before).await?;
        if channel.kind == TEXT {
            // Read only private threads that the bot has joined, since it gets no live events for
            // other private threads. The list is sorted by id, not by archive time, so all pages
            // are read.
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
            // Stop at a page without new threads: Discord might repeat it for ever.
            if !list.has_more || before.is_none() || found.len() == known {
                return Ok(found);
            }
        }
    }
}

pub(super) fn by_id(threads: Vec<PartialChannel>) -> Threads {
    threads
        .into_iter()
        .map(|thread| (thread.id, thread))
        .collect()
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
    use crate::leveling::Timestamp;

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
        fn no_time_breaks_the_reader(text: String, start in 1..=i64::MAX as u64) {
            archived_after(&text, MessageId::new(start).unwrap());
            prop_assert!(!encoded(&text).contains('+'));
        }
    }
}
