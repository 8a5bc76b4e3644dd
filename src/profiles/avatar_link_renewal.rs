//! Renews avatar links before they expire, a hundred a call, by reading the avatar channel. The
//! same reading finds copies that no user points to, and copies that are missing.
//!
//! How long links live is read from the links: it has been two weeks, is a day now, and may
//! change.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::discord::avatar_channel::{AvatarChannel, ChannelError, Kept};
use crate::discord::council::Notice;
use crate::environment::Environment;
use crate::job::Job;
use crate::leveling::{MessageId, UserId};
use crate::store::user_point::profiles::{self, Link};
use crate::store::{self, updated_user};

/// How long before it expires a link is renewed, where it lives long enough.
const BEFORE: TimeDelta = TimeDelta::hours(6);
/// How far apart two readings of the channel are at least, whatever the links say.
const LEAST: TimeDelta = TimeDelta::minutes(1);
/// How far apart they are at most: what nobody points to is found then.
const MOST: TimeDelta = TimeDelta::days(1);
/// How long the channel is left alone that could not be read.
const AFTER_TROUBLE: TimeDelta = TimeDelta::minutes(10);
/// As many copies that nobody points to as crashes may leave.
const FEW: usize = 25;
/// A copy younger than this may be about to be pointed to.
const YOUNG: TimeDelta = TimeDelta::minutes(15);

/// By which the council's notices about it are known.
const SCOPE: &str = "avatar-links";

/// Renews links.
#[derive(Debug)]
pub struct AvatarLinkRenewal {
    env: Environment,
    /// What is read.
    channel: Arc<AvatarChannel>,
    state: Mutex<Readings>,
}

/// What is known of the readings of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Readings {
    /// When the last one began.
    last: Option<DateTime<Utc>>,
    /// How long a fresh link lived then.
    life: Option<TimeDelta>,
    /// Nothing is read before that.
    not_before: Option<DateTime<Utc>>,
    /// Whether the last attempt has failed.
    troubled: bool,
}

/// What a reading has found.
#[derive(Debug, Default)]
struct Found {
    messages: u64,
    renewed: u64,
    /// The shortest that a fresh link lives.
    life: Option<TimeDelta>,
    /// Copies that nobody points to, and whose they are.
    orphans: Vec<(MessageId, UserId)>,
    /// Copies that were relied upon before the reading and have not come up in it.
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
    /// The job.
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
        if readings.rest(now) {
            return Ok(());
        }
        let mut session = self.env.database.acquire().await?;
        let first = profiles::first_expiry(&mut session).await?;
        // A channel is made when there is something to put into it.
        if !readings.is_due(first, now) || !profiles::any_copy(&mut session).await? {
            return Ok(());
        }
        drop(session);
        let error = match self.read(now).await {
            Ok(()) => {
                // The first time, what an earlier bot has told may be out of date.
                if readings.last.is_none() || readings.troubled {
                    self.env.council.report_or_log(SCOPE, &[]).await;
                }
                return Ok(());
            }
            Err(error) => error,
        };
        self.set(|readings| {
            readings.not_before = Some(now + AFTER_TROUBLE);
            readings.troubled = true;
        });
        Err(match error {
            ChannelError::Passing(error) => error,
            ChannelError::Away(error) => error.into(),
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
        let mut found = Found {
            missing: self.relied_upon().await.map_err(passing)?,
            ..Found::default()
        };
        let mut before = None;
        loop {
            let page = self.channel.page(bot, before).await?;
            let Some(oldest) = page.iter().map(|kept| kept.message).min() else {
                break;
            };
            before = Some(oldest);
            self.take(&page, now, &mut found).await.map_err(passing)?;
        }
        let Found {
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
        self.make_up_for(missing).await?;
        self.set(|readings| {
            *readings = Readings {
                last: Some(now),
                life,
                not_before: Some(now + LEAST),
                troubled: false,
            };
        });
        // Last of all: there may be thousands, and those that are left come up again.
        for orphan in self.to_delete(&orphans).await.map_err(passing)? {
            self.channel.delete(orphan).await?;
        }
        Ok(())
    }

    /// One page: fresh links for the copies, and the rest may be for nobody.
    async fn take(
        &self,
        page: &[Kept],
        now: DateTime<Utc>,
        found: &mut Found,
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
        let old = |kept: &&Kept| sent_at(kept.message).is_some_and(|at| at + YOUNG <= now);
        let orphans = page.iter().filter(|kept| !is_copy(kept)).filter(old);
        found
            .orphans
            .extend(orphans.filter_map(|kept| Some((kept.message, kept.our_copy_of?))));
        Ok(())
    }

    /// New copies are wanted for those that were not in the channel, unless it only looks
    /// empty because the bot may not read it.
    async fn make_up_for(&self, mut missing: BTreeSet<MessageId>) -> Result<(), ChannelError> {
        let relied_upon = self.relied_upon().await.map_err(passing)?;
        // Some may have been replaced meanwhile.
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
        let users = self.want_new_copies(&missing).await.map_err(passing)?;
        tracing::warn!(
            users = users.len(),
            "copies of avatars are missing from the channel; making new ones"
        );
        Ok(())
    }

    /// Copies that nobody points to are deleted; of many only those of users who have newer
    /// ones: a wrong database must not empty a channel that nobody could fill again.
    async fn to_delete(&self, orphans: &[(MessageId, UserId)]) -> store::Result<Vec<MessageId>> {
        if orphans.len() <= FEW {
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
    /// Whether it is too soon, unless the clock was set back since.
    fn rest(&self, now: DateTime<Utc>) -> bool {
        self.not_before
            .is_some_and(|at| now < at && at <= now + AFTER_TROUBLE)
    }

    /// Whether the channel is to be read, where the first link expires at `first`.
    fn is_due(&self, first: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
        let long_ago = self
            .last
            .is_none_or(|last| last + MOST <= now || last > now);
        long_ago || first.is_some_and(|first| first - margin(self.life) <= now)
    }
}

/// How long before its end a link is renewed that lives so long: early enough for everything
/// that can go wrong, and not so early that it is renewed all the time.
fn margin(life: Option<TimeDelta>) -> TimeDelta {
    life.map_or(BEFORE, |life| BEFORE.min(life / 4))
}

fn life(link: &Link, now: DateTime<Utc>) -> Option<TimeDelta> {
    let expires_at = DateTime::from_timestamp_millis(link.expires_at?.millis())?;
    Some((expires_at - now).max(TimeDelta::zero()))
}

fn sent_at(message: MessageId) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(message.sent_at().millis())
}

fn passing(error: store::Error) -> ChannelError {
    ChannelError::Passing(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channel_is_read_before_the_first_link_expires_whatever_the_period() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        let (hour, minute) = (TimeDelta::hours(1), TimeDelta::minutes(1));
        for (life, first, due) in [
            (None, hour * 7, false),
            (None, hour * 5, true),
            (Some(hour * 24), hour * 7, false),
            (Some(hour * 24), hour * 6, true),
            (Some(hour * 24 * 14), hour * 7, false),
            (Some(hour * 24 * 14), hour * 6, true),
            // A period of four hours: not all the time.
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
