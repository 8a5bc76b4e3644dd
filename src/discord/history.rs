//! Reading what was missed: every channel, thread and forum post of the guild, from
//! some minutes before a message on.
//!
//! Only reads, and can be dropped and begun again at any point. Discord's own ids are
//! the only clock: how far back is counted from the guild's newest message.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serenity::all::LightMethod;
use serenity::http::{Request, Route};
use serenity::model::id as theirs;

use super::rest::{Repeat, Rest, RestError};
use super::wire::{BareChannel, BareMessage, BareThreads};
use crate::leveling::{GuildId, MessageId, Timestamp};
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
    /// There are messages in the gap that are too old to be read.
    pub cut_off: bool,
    /// Channels that may not be read, with their names.
    pub forbidden: BTreeMap<theirs::ChannelId, String>,
    /// The guild's channels, for whoever has something to say in one.
    pub channels: Vec<BareChannel>,
}

/// Reads the guild's history.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// Makes the calls.
    pub rest: &'a Rest,
    /// Knows whose names are stored.
    pub xp: &'a XpCache,
    /// Whose history.
    pub guild: GuildId,
    /// How far back from the newest message, in hours.
    pub hours: u32,
}

impl Missed {
    fn nothing(reached: MessageId, channels: Vec<BareChannel>) -> Self {
        Self {
            messages: Vec::new(),
            reached,
            cut_off: false,
            forbidden: BTreeMap::new(),
            channels,
        }
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

/// How a channel was read.
enum ChannelRead {
    Messages(Vec<Seen>),
    Forbidden,
}

impl Reader<'_> {
    /// Everything after `after`, or nothing but where the guild is now if that is `None`.
    pub async fn read(&self, after: Option<MessageId>) -> Result<Missed, RestError> {
        let route = Route::GuildChannels {
            guild_id: self.guild.into(),
        };
        let channels: Vec<BareChannel> =
            self.get("reading the channels", route, Vec::new()).await?;
        let mut threads = self.active_threads().await?;
        let Some(after) = after else {
            return Ok(Missed::nothing(
                self.reached(None, &channels, &threads),
                channels,
            ));
        };

        // How far back is counted from the newest message, which may be in a thread that
        // has been archived since: the limit is put into effect when all are known.
        let margin = before(after, MARGIN_MS);
        threads.extend(self.archived_since(margin, &channels).await?);
        // A message brings an archived thread back, and it is then in neither list if
        // that happened between the two: so the first is read once more.
        threads.extend(self.active_threads().await?);
        let reached = self.reached(Some(after), &channels, &threads);
        let mut missed = Missed::nothing(reached, channels);

        let cut = before(reached, i64::from(self.hours) * 3_600_000);
        let start = margin.max(cut);
        let places = missed.channels.iter().chain(threads.values());
        let everywhere: Vec<BareChannel> = places.filter(|c| newer(c, start)).cloned().collect();
        missed.cut_off = cut > after && self.something_between(after, cut, &everywhere).await?;

        let read_so_far = AtomicUsize::new(0);
        let mut reading = stream::iter(everywhere)
            .map(|channel| {
                let read_so_far = &read_so_far;
                async move {
                    Ok::<_, RestError>((self.channel(&channel, start, read_so_far).await?, channel))
                }
            })
            .buffer_unordered(AT_ONCE);
        while let Some((read, channel)) = reading.try_next().await? {
            match read {
                ChannelRead::Messages(messages) => missed.messages.extend(messages),
                ChannelRead::Forbidden => {
                    missed
                        .forbidden
                        .insert(channel.id, channel.name.unwrap_or_default());
                }
            }
        }
        Ok(missed)
    }

    async fn active_threads(&self) -> Result<Threads, RestError> {
        let route = Route::GuildThreadsActive {
            guild_id: self.guild.into(),
        };
        let list: BareThreads = self.get("reading the threads", route, Vec::new()).await?;
        Ok(by_id(list.threads))
    }

    /// The newest message of all.
    fn reached(
        &self,
        after: Option<MessageId>,
        channels: &[BareChannel],
        threads: &Threads,
    ) -> MessageId {
        let newest = channels
            .iter()
            .chain(threads.values())
            .filter_map(last_message)
            .max();
        // The guild's own id is a time before any message in it.
        newest
            .or(MessageId::new(self.guild.get()))
            .max(after)
            .expect("the guild has an id")
    }

    /// One channel's messages after `start`.
    async fn channel(
        &self,
        channel: &BareChannel,
        start: MessageId,
        read_so_far: &AtomicUsize,
    ) -> Result<ChannelRead, RestError> {
        let mut messages = Vec::new();
        let mut after = start;
        loop {
            let page = match self.page(channel.id, after, PAGE).await {
                Ok(page) => page,
                Err(RestError::Refused { status: 403, .. }) => return Ok(ChannelRead::Forbidden),
                // Deleted meanwhile, and its messages with it.
                Err(RestError::Refused { status: 404, .. }) => {
                    return Ok(ChannelRead::Messages(messages));
                }
                Err(error) => return Err(error),
            };
            let full = page.len() == PAGE;
            let before = read_so_far.fetch_add(page.len(), Ordering::Relaxed);
            let now = before + page.len();
            if now / SAY_EVERY > before / SAY_EVERY {
                tracing::info!(messages = now, "reading what was missed");
            }
            let last = page.iter().filter_map(id_of).max();
            messages.extend(page.into_iter().filter_map(|message| self.seen(message)));
            match last {
                Some(last) if full && last > after => after = last,
                _ => return Ok(ChannelRead::Messages(messages)),
            }
        }
    }

    fn seen(&self, message: Value) -> Option<Seen> {
        if let Ok(message) = BareMessage::deserialize(message) {
            return message.seen(|user| self.xp.is_named(user));
        }
        tracing::error!("a message of the history could not be read at all; it earns nothing");
        None
    }

    /// The messages that follow `after`, at most `limit`, newest first.
    async fn page(
        &self,
        channel: theirs::ChannelId,
        after: MessageId,
        limit: usize,
    ) -> Result<Vec<Value>, RestError> {
        let parameters = vec![("limit", limit.to_string()), ("after", after.to_string())];
        self.get(
            "reading messages",
            Route::ChannelMessages {
                channel_id: channel,
            },
            parameters,
        )
        .await
    }

    /// Threads that were archived after `start`: they may hold messages of the gap.
    async fn archived_since(
        &self,
        start: MessageId,
        channels: &[BareChannel],
    ) -> Result<Threads, RestError> {
        let mut found = Threads::new();
        for channel in channels.iter().filter(|channel| holds_threads(channel)) {
            let route = Route::ChannelArchivedPublicThreads {
                channel_id: channel.id,
            };
            let mut before: Option<String> = None;
            loop {
                let mut parameters = vec![("limit", PAGE.to_string())];
                parameters.extend(before.as_ref().map(|before| ("before", encoded(before))));
                let list: BareThreads = match self
                    .get("reading archived threads", route, parameters)
                    .await
                {
                    Ok(list) => list,
                    // Said when its messages are asked for, if there are any.
                    Err(RestError::Refused { .. }) => break,
                    Err(error) => return Err(error),
                };
                // The one archived last comes first.
                let oldest = list
                    .threads
                    .last()
                    .and_then(|thread| thread.thread_metadata.clone());
                found.extend(by_id(list.threads));
                match oldest {
                    Some(oldest)
                        if list.has_more && archived_after(&oldest.archive_timestamp, start) =>
                    {
                        before = Some(oldest.archive_timestamp);
                    }
                    _ => break,
                }
            }
        }
        Ok(found)
    }

    /// Whether any of the channels has a message after `after` and before `cut`.
    async fn something_between(
        &self,
        after: MessageId,
        cut: MessageId,
        channels: &[BareChannel],
    ) -> Result<bool, RestError> {
        for channel in channels {
            match self.page(channel.id, after, 1).await {
                Ok(first) if first.iter().filter_map(id_of).any(|first| first < cut) => {
                    return Ok(true);
                }
                Ok(_) | Err(RestError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        what: &'static str,
        route: Route<'_>,
        parameters: Vec<(&'static str, String)>,
    ) -> Result<T, RestError> {
        self.rest
            .call(what, Repeat::Safe, PATIENCE, |http| {
                let request =
                    Request::new(route, LightMethod::Get).params(Some(parameters.clone()));
                async move { http.fire(request).await }
            })
            .await
    }
}

/// The lowest id of a message written `earlier_ms` before `message`.
fn before(message: MessageId, earlier_ms: i64) -> MessageId {
    const FIRST: MessageId = MessageId::new(1).expect("one is an id");
    let at = Timestamp::from_millis(message.sent_at().millis() - earlier_ms);
    at.and_then(MessageId::first_at).unwrap_or(FIRST)
}

fn last_message(channel: &BareChannel) -> Option<MessageId> {
    // A forum's last "message" is its last post, which is a thread.
    channel
        .last_message_id
        .filter(|_| holds_messages(channel))?
        .try_into()
        .ok()
}

fn newer(channel: &BareChannel, after: MessageId) -> bool {
    last_message(channel).is_some_and(|last| last > after)
}

/// Text, voice, announcements, their threads, stages.
fn holds_messages(channel: &BareChannel) -> bool {
    matches!(channel.kind, 0 | 2 | 5 | 10 | 11 | 12 | 13)
}

/// Text, announcements, forums, media.
fn holds_threads(channel: &BareChannel) -> bool {
    matches!(channel.kind, 0 | 5 | 15 | 16)
}

fn id_of(message: &Value) -> Option<MessageId> {
    message["id"]
        .as_str()?
        .parse()
        .ok()
        .and_then(MessageId::new)
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
