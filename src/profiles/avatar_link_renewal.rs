//! Renews avatar links before they expire, by reading the avatar channel: Discord signs the links
//! again when it lists messages, a hundred per call. The same reading finds copies that no user
//! points to, and copies that are missing.
//!
//! The lifetime of links is read from the links. It used to be two weeks, is a day now, and may
//! change again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::discord::channels::avatar_channel::{AvatarChannel, ChannelError, Kept};
use crate::discord::channels::council::Notice;
use crate::environment::Environment;
use crate::job::Job;
use crate::leveling::{MessageId, UserId};
use crate::store::user_point::profiles::{self, Link};
use crate::store::{self, updated_user};

/// How long before its expiry a link is renewed, if it lives long enough; see [`margin`].
const RENEW_BEFORE: TimeDelta = TimeDelta::hours(6);
/// Minimum time between two readings of the channel, whatever the links say.
const MIN_INTERVAL: TimeDelta = TimeDelta::minutes(1);
/// Maximum time between two readings, so that copies to which no user points are found.
const MAX_INTERVAL: TimeDelta = TimeDelta::days(1);
/// Cooldown after a reading of the channel failed.
const FAILURE_COOLDOWN: TimeDelta = TimeDelta::minutes(10);
/// Crashes may leave up to this many copies to which no user points. If there are more, the
/// database may be the wrong one; see [`AvatarLinkRenewal::to_delete`].
const MAX_CRASH_ORPHANS: usize = 25;
/// A copy younger than this is never an orphan: its row may not be committed yet.
const MIN_ORPHAN_AGE: TimeDelta = TimeDelta::minutes(15);

/// Scope of the council's notices about reading the channel.
const SCOPE: &str = "avatar-links";

/// The job that renews avatar links.
#[derive(Debug)]
pub struct AvatarLinkRenewal {
    env: Environment,
    channel: Arc<AvatarChannel>,
    state: Mutex<Readings>,
}

/// What this process remembers of its readings of the channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Readings {
    /// When the last complete reading began.
    last: Option<DateTime<Utc>>,
    /// Lifetime of a fresh link in that reading; the shortest, if they differ.
    life: Option<TimeDelta>,
    /// The channel is not read before this time.
    not_before: Option<DateTime<Utc>>,
    /// Whether the last attempt to read failed.
    has_failed: bool,
}

/// Result of a reading.
#[derive(Debug, Default)]
struct ChannelScan {
    /// Messages read.
    messages: u64,
    /// Users whose link was renewed.
    renewed: u64,
    /// Shortest lifetime of the fresh links.
    life: Option<TimeDelta>,
    /// Copies to which no user points, each with the user whose avatar it shows.
    orphans: Vec<(MessageId, UserId)>,
    /// Copies that users point to and that have not appeared in this reading.
    missing: BTreeSet<MessageId>,
}

impl Job for AvatarLinkRenewal {
    const NAME: &'static str = "avatar-links";
    const CADENCE: Duration = Duration::from_mins(1);

    async fn run_once(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        self.read_if_due(now).await
    }
}

impl AvatarLinkRenewal {
    /// Reads and cleans up `channel`.
    pub fn new(env: &Environment, channel: Arc<AvatarChannel>) -> Self {
        Self {
            env: env.clone(),
            channel,
            state: Mutex::default(),
        }
    }

    /// Reads the channel if a link is about to expire at `now`, or if it has not been read for
    /// a day.
    async fn read_if_due(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let readings = self.readings();
        if readings.is_too_soon(now) {
            return Ok(());
        }
        let mut session = self.env.database.acquire().await?;
        let first = profiles::first_expiry(&mut session).await?;
        // While there are no copies, the channel may not exist, and reading it would create it.
        if !readings.is_due(first, now) || !profiles::any_copy(&mut session).await? {
            return Ok(());
        }
        drop(session);
        let error = match self.read(now).await {
            Ok(()) => {
                // After the first reading too: a notice of an earlier process may be out of date.
                if readings.last.is_none() || readings.has_failed {
                    self.env.council.report_or_log(SCOPE, &[]).await;
                }
                return Ok(());
            }
            Err(error) => error,
        };
        self.set(|readings| {
            readings.not_before = Some(now + FAILURE_COOLDOWN);
            readings.has_failed = true;
        });
        Err(match error {
            ChannelError::Unrelated(error) => error,
            ChannelError::Unavailable(error) => error.into(),
            error => {
                let text = format!(
                    "I cannot read the channel with the copies of avatars, so their links will stop working: {error}."
                );
                let key = "avatar-channel-unread".to_owned();
                let buttons = None;
                self.env
                    .council
                    .report_or_log(SCOPE, &[Notice { key, text, buttons }])
                    .await;
                anyhow::anyhow!("the avatar channel cannot be read: {error}")
            }
        })
    }

    async fn read(&self, now: DateTime<Utc>) -> Result<(), ChannelError> {
        let bot = self.channel.bot().await?;
        let mut found = ChannelScan {
            missing: self.relied_upon().await.map_err(not_about_channel)?,
            ..ChannelScan::default()
        };
        let mut before = None;
        loop {
            let page = self.channel.page(bot, before).await?;
            let Some(oldest) = page.iter().map(|kept| kept.message).min() else {
                break;
            };
            before = Some(oldest);
            self.process_page(&page, now, &mut found)
                .await
                .map_err(not_about_channel)?;
        }
        let ChannelScan {
            messages,
            renewed,
            life,
            orphans,
            missing,
        } = found;
        tracing::info!(
            messages,
            renewed,
            orphans = orphans.len(),
            "the avatar channel was read"
        );
        self.replace_missing(missing).await?;
        self.set(|readings| {
            *readings = Readings {
                last: Some(now),
                life,
                not_before: Some(now + MIN_INTERVAL),
                has_failed: false,
            };
        });
        // Last, because there may be thousands; those that remain are found by the next reading.
        for orphan in self.to_delete(&orphans).await.map_err(not_about_channel)? {
            self.channel.delete(orphan).await?;
        }
        Ok(())
    }

    /// Processes one page of messages: stores the fresh links of copies that users point to, and
    /// adds the other copies that are old enough to the orphans.
    async fn process_page(
        &self,
        page: &[Kept],
        now: DateTime<Utc>,
        found: &mut ChannelScan,
    ) -> store::Result<()> {
        let ids: Vec<MessageId> = page.iter().map(|kept| kept.message).collect();
        let mut session = self.env.database.acquire().await?;
        let copies = profiles::copies_among(&mut session, &ids).await?;
        let copies: BTreeSet<MessageId> = copies.into_iter().collect();
        let is_copy = |kept: &&Kept| copies.contains(&kept.message);
        let fresh: Vec<(MessageId, Link)> = page
            .iter()
            .filter(is_copy)
            .filter_map(|kept| Some((kept.message, kept.link.clone()?)))
            .collect();
        found.messages += page.len() as u64;
        found.renewed += profiles::renew(&mut session, &fresh).await?;
        for copy in &copies {
            found.missing.remove(copy);
        }
        let lives = fresh.iter().filter_map(|(_, link)| life(link, now));
        found.life = found.life.into_iter().chain(lives).min();
        let old = |kept: &&Kept| sent_at(kept.message).is_some_and(|at| at + MIN_ORPHAN_AGE <= now);
        let orphans = page.iter().filter(|kept| !is_copy(kept)).filter(old);
        found
            .orphans
            .extend(orphans.filter_map(|kept| Some((kept.message, kept.our_copy_of?))));
        Ok(())
    }

    /// Queues new copies for those that were missing in the channel. Fails if one of them exists
    /// after all: then the bot is not allowed to read the channel's history.
    async fn replace_missing(&self, mut missing: BTreeSet<MessageId>) -> Result<(), ChannelError> {
        let relied_upon = self.relied_upon().await.map_err(not_about_channel)?;
        // Some may have been replaced during the reading.
        missing.retain(|copy| relied_upon.contains(copy));
        let Some(first) = missing.first() else {
            return Ok(());
        };
        if self.channel.has(*first).await? {
            return Err(ChannelError::Closed(
                "it does not show all of its messages; give the bot Read Message History there"
                    .to_owned(),
            ));
        }
        let users = self
            .want_new_copies(&missing)
            .await
            .map_err(not_about_channel)?;
        tracing::warn!(
            users = users.len(),
            "copies of avatars are missing from the channel; making new ones"
        );
        Ok(())
    }

    /// Selects the orphans to delete: all if there are few. If there are many, only those whose
    /// user has a newer copy or no avatar at all, because with the wrong database the bot would
    /// delete copies that cannot be made again.
    async fn to_delete(&self, orphans: &[(MessageId, UserId)]) -> store::Result<Vec<MessageId>> {
        if orphans.len() <= MAX_CRASH_ORPHANS {
            return Ok(orphans.iter().map(|(message, _)| *message).collect());
        }
        profiles::out_of_date(&mut *self.env.database.acquire().await?, orphans).await
    }

    async fn relied_upon(&self) -> store::Result<BTreeSet<MessageId>> {
        profiles::relied_upon(&mut *self.env.database.acquire().await?).await
    }

    async fn want_new_copies(&self, missing: &BTreeSet<MessageId>) -> store::Result<Vec<UserId>> {
        let mut transaction = self.env.database.begin().await?;
        let users = profiles::distrust(&mut transaction, missing).await?;
        updated_user::want_pictures_of(&mut transaction, &users).await?;
        store::commit(transaction).await?;
        Ok(users)
    }

    fn readings(&self) -> Readings {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, change: impl FnOnce(&mut Readings)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Readings {
    /// Whether it is too soon for a reading. A time more than [`FAILURE_COOLDOWN`] ahead is
    /// ignored: it was set before the clock was set back.
    fn is_too_soon(&self, now: DateTime<Utc>) -> bool {
        self.not_before
            .is_some_and(|at| now < at && at <= now + FAILURE_COOLDOWN)
    }

    /// Whether the channel must be read at `now`; `first` is when the first link expires.
    fn is_due(&self, first: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
        let long_ago = self
            .last
            .is_none_or(|last| last + MAX_INTERVAL <= now || last > now);
        long_ago || first.is_some_and(|first| first - margin(self.life) <= now)
    }
}

/// How long before its expiry a link of this lifetime is renewed: early enough to leave time for
/// failures, but at most a quarter of the lifetime, so that links are not renewed all the time.
fn margin(life: Option<TimeDelta>) -> TimeDelta {
    life.map_or(RENEW_BEFORE, |life| RENEW_BEFORE.min(life / 4))
}

/// Time from `now` until the link expires; `None` if it does not say.
fn life(link: &Link, now: DateTime<Utc>) -> Option<TimeDelta> {
    let expires_at = DateTime::from_timestamp_millis(link.expires_at?.millis())?;
    Some((expires_at - now).max(TimeDelta::zero()))
}

fn sent_at(message: MessageId) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(message.sent_at().millis())
}

fn not_about_channel(error: store::Error) -> ChannelError {
    ChannelError::Unrelated(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channel_is_read_before_the_first_link_expires_whatever_its_lifetime() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        let (hour, minute) = (TimeDelta::hours(1), TimeDelta::minutes(1));
        for (life, first, due) in [
            (None, hour * 7, false),
            (None, hour * 5, true),
            (Some(hour * 24), hour * 7, false),
            (Some(hour * 24), hour * 6, true),
            (Some(hour * 24 * 14), hour * 7, false),
            (Some(hour * 24 * 14), hour * 6, true),
            // With a lifetime of four hours, a link is renewed one hour before its end.
            (Some(hour * 4), hour * 2, false),
            (Some(hour * 4), hour, true),
            (Some(minute), TimeDelta::seconds(30), false),
            (Some(minute), TimeDelta::seconds(15), true),
            (Some(hour), -hour, true),
        ] {
            let readings = Readings {
                last: Some(now - minute),
                life,
                ..Readings::default()
            };
            assert_eq!(
                readings.is_due(Some(now + first), now),
                due,
                "{life:?} {first}"
            );
        }
        let read = |last| Readings {
            last,
            ..Readings::default()
        };
        assert!(read(None).is_due(None, now));
        assert!(!read(Some(now - hour)).is_due(None, now));
        assert!(read(Some(now - hour * 24)).is_due(None, now));
        assert!(read(Some(now + hour)).is_due(None, now), "a clock set back");
    }
}
