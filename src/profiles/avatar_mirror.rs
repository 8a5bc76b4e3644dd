//! Copies avatars: downloads the image from the CDN, posts it in the avatar channel, stores the
//! message id and link, then deletes the user's previous copy.
//!
//! If a copy is cut off at any point, it leaves at most one message that no user points to, and a
//! user who had an avatar keeps it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::breaker::{Admits, Breaker, MAX_PAUSE, Pause};
use super::clock::Clock;
use super::failure::{FailureCause, classify_fetch_error, classify_post_error};
use super::fetch::{FetchedProfile, fetch};
use crate::backoff::{Backoff, RetryPolicy};
use crate::discord::RestError;
use crate::discord::cdn::{Cdn, NoImage};
use crate::discord::channels::avatar_channel::{AvatarChannel, ChannelError};
use crate::discord::channels::council::Notice;
use crate::environment::Environment;
use crate::leveling::{
    AvatarHash, CopyPlan, Field, MessageId, ObservedProfile, Picture, UserId, copy_plan,
};
use crate::store;
use crate::store::updated_user::{self, DueAvatar, RowVersion};
use crate::store::user_point::profiles::{self, NewCopy, NewProfile};

/// After this many failures an avatar is parked until the user changes it or a moderator resets its
/// attempts.
pub const MAX_ATTEMPTS: u32 = 15;
const RETRIES: RetryPolicy = RetryPolicy {
    backoff: Backoff::new(Duration::from_secs(5), Duration::from_hours(1)),
    max_attempts: MAX_ATTEMPTS,
};
/// Retry delay for a copy whose outcome is unknown.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(5);
/// Retry delay after a failure that is not counted as an attempt.
const POSTPONE: Backoff = Backoff::new(Duration::from_mins(1), Duration::from_mins(1));
/// First pause after the CDN or the avatar channel failed. It doubles with each test copy that
/// fails, up to [`MAX_PAUSE`].
const PAUSE: Backoff = Backoff::new(Duration::from_secs(5), MAX_PAUSE);
/// Scope of the council's notices about avatars.
const SCOPE: &str = "avatars";

/// Copies avatars into the avatar channel.
#[derive(Debug)]
pub struct AvatarMirror {
    env: Environment,
    cdn: Cdn,
    channel: Arc<AvatarChannel>,
    state: MirrorState,
}

/// Whether the CDN and the avatar channel work.
#[derive(Debug, Default)]
struct MirrorState {
    breakers: Mutex<Breakers>,
    /// Held while a report to the council is made and sent, so that the last report sent is the
    /// newest.
    reporting: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Breakers {
    host: Breaker,
    channel: Breaker,
    /// Whether the channel failed in a way that only a moderator can fix.
    is_closed: bool,
}

/// One of the two things that every copy needs; each has its own breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Host,
    Channel,
}

impl AvatarMirror {
    /// Fetches from `cdn` and posts in `channel`.
    pub fn new(env: &Environment, cdn: Cdn, channel: Arc<AvatarChannel>) -> Self {
        Self {
            env: env.clone(),
            cdn,
            channel,
            state: MirrorState::default(),
        }
    }

    /// How many copies may run at `now`: the lower limit of the two breakers.
    pub(super) fn admits(&self, now: DateTime<Utc>) -> Admits {
        let breakers = self.breakers();
        breakers.host.admits(now).min(breakers.channel.admits(now))
    }

    /// Tells the cache which profiles were stored, so that it compares new ones with these.
    pub(super) fn stored(&self, stored: &[NewProfile]) {
        for NewProfile { user, profile, .. } in stored {
            self.env.xp.profile_is_stored(*user, profile.fingerprint());
        }
    }

    /// Claims up to `limit` avatars that are due at `now`, except those of the users in
    /// `except`. The claim is
    /// written before any copy begins, so that nothing is posted while the database is read-only.
    pub(super) async fn take(
        &self,
        now: DateTime<Utc>,
        except: &[UserId],
        limit: u16,
    ) -> store::Result<Vec<DueAvatar>> {
        let mut session = self.env.database.acquire().await?;
        let due = updated_user::due(&mut session, now, MAX_ATTEMPTS, except, limit).await?;
        if !due.is_empty() {
            let taken: Vec<RowVersion> = due.iter().map(|row| row.key).collect();
            updated_user::claim(&mut session, &taken, now + CLAIM_TIMEOUT).await?;
        }
        Ok(due)
    }

    /// Copies a user's avatar, removes its copy, or does nothing if the copy is current.
    pub(super) async fn copy(&self, due: &DueAvatar, clock: Clock) -> anyhow::Result<()> {
        let DueAvatar {
            key,
            profile,
            copied,
            copy,
            ..
        } = due;
        match copy_plan(profile, copied.as_deref(), copy.is_some()) {
            CopyPlan::Keep => {
                let mut session = self.env.database.acquire().await?;
                updated_user::remove(&mut session, &[*key]).await?;
                Ok(())
            }
            CopyPlan::Drop => {
                self.store_copy(due, None).await?;
                self.delete_old_copy(*copy).await;
                Ok(())
            }
            CopyPlan::Make(picture) => self.make(due, &picture, clock).await,
        }
    }

    async fn make(&self, due: &DueAvatar, picture: &Picture, clock: Clock) -> anyhow::Result<()> {
        let user = due.key.user;
        let image = match self.cdn.fetch(&picture.path(user, self.env.guild)).await {
            Ok(image) => image,
            Err(error) => return self.not_fetched(due, picture, &error, clock).await,
        };
        self.record_success(Part::Host, user).await;
        let version = due.key.version;
        match self.channel.post(user, &image, version).await {
            Ok((message, link)) => {
                let hash: AvatarHash = picture.hash().clone();
                let copy = NewCopy {
                    hash,
                    message,
                    link,
                };
                self.store_copy(due, Some(&copy)).await?;
                self.delete_old_copy(due.copy.filter(|before| *before != message))
                    .await;
                self.record_success(Part::Channel, user).await;
                Ok(())
            }
            Err(error) => self.not_posted(due, error, clock).await,
        }
    }

    async fn not_fetched(
        &self,
        due: &DueAvatar,
        picture: &Picture,
        error: &NoImage,
        clock: Clock,
    ) -> anyhow::Result<()> {
        let why = error.to_string();
        let user = due.key.user;
        match self.about_fetch(error, user) {
            FailureCause::Image if *error == NoImage::NotThere => {
                self.look_up_missing(due, picture, clock).await
            }
            FailureCause::Image | FailureCause::ImageUnlessSeveralFail => {
                self.failed(due, &why, clock).await
            }
            FailureCause::Cdn => {
                self.record_outage(Part::Host, &why, clock.now()).await;
                Ok(self.postpone(due, &why, clock).await?)
            }
            _ => Ok(self.postpone(due, &why, clock).await?),
        }
    }

    /// Classifies a failed download, considering earlier failures and successes. Anything but
    /// `Image`, `ImageUnlessSeveralFail` and `Cdn` means that the cause is unknown.
    fn about_fetch(&self, error: &NoImage, user: UserId) -> FailureCause {
        let host = &mut self.breakers().host;
        match classify_fetch_error(error) {
            FailureCause::CdnUnlessOthersWork | FailureCause::CdnIfSeveralFail
                if host.record_failure_of(user) =>
            {
                FailureCause::Image
            }
            FailureCause::CdnUnlessOthersWork => FailureCause::Cdn,
            FailureCause::ImageUnlessSeveralFail | FailureCause::CdnIfSeveralFail
                if host.record_suspect(user) =>
            {
                FailureCause::Cdn
            }
            about => about,
        }
    }

    async fn not_posted(
        &self,
        due: &DueAvatar,
        error: ChannelError,
        clock: Clock,
    ) -> anyhow::Result<()> {
        let why = error.to_string();
        let about = match classify_post_error(&error) {
            FailureCause::ChannelUnlessOthersWork
                if self.breakers().channel.record_failure_of(due.key.user) =>
            {
                FailureCause::Image
            }
            about => about,
        };
        match about {
            FailureCause::Image => self.failed(due, &why, clock).await,
            FailureCause::Channel | FailureCause::ChannelUnlessOthersWork => {
                let is_closed = matches!(error, ChannelError::Closed(_));
                self.breakers().is_closed = is_closed;
                self.record_outage(Part::Channel, &why, clock.now()).await;
                if is_closed {
                    return Ok(());
                }
                // Postponed, so that other avatars go first in case this image is to blame.
                Ok(self.postpone(due, &why, clock).await?)
            }
            _ => {
                self.postpone(due, &why, clock).await?;
                Err(error.into())
            }
        }
    }

    /// Schedules a retry without counting an attempt: the image is not known to be at fault.
    async fn postpone(&self, due: &DueAvatar, why: &str, clock: Clock) -> store::Result<()> {
        let next = clock.now() + POSTPONE.delay(0);
        let mut session = self.env.database.acquire().await?;
        updated_user::postpone(&mut session, due.key, next, why).await
    }

    /// Stores the new copy (or that there is none) and deletes the queue row, in one transaction.
    async fn store_copy(&self, due: &DueAvatar, copy: Option<&NewCopy>) -> store::Result<()> {
        let mut transaction = self.env.database.begin().await?;
        profiles::set_copy(&mut transaction, due.key.user, copy).await?;
        updated_user::remove(&mut transaction, &[due.key]).await?;
        store::commit(transaction).await
    }

    /// Deletes the message of the previous copy. If that fails, `avatar_link_renewal` deletes it
    /// later.
    async fn delete_old_copy(&self, before: Option<MessageId>) {
        if let Some(before) = before
            && let Err(error) = self.channel.delete(before).await
        {
            tracing::debug!(%error, message = %before, "an old avatar could not be deleted yet");
        }
    }

    /// The CDN does not have the avatar: asks Discord whether it changed or the account is deleted.
    async fn look_up_missing(
        &self,
        due: &DueAvatar,
        picture: &Picture,
        clock: Clock,
    ) -> anyhow::Result<()> {
        let user = due.key.user;
        let known = self.env.xp.seen(user);
        let found = match fetch(&self.env, user).await {
            Ok(found) => found,
            // This says nothing about the image.
            Err(error @ RestError::Refused { .. }) => {
                return Ok(self.postpone(due, &error.to_string(), clock).await?);
            }
            Err(error) => return Err(error.into()),
        };
        if self.env.xp.seen(user) != known {
            // An event showed the user meanwhile, and Discord's answer may be older.
            return Ok(());
        }
        match with_no_guild_avatar(found, picture) {
            FetchedProfile::There(seen)
                if due.profile.clone().after(seen.clone()) != due.profile =>
            {
                let mut transaction = self.env.database.begin().await?;
                // With the row locked, a newer profile is either saved already or waits for this
                // transaction.
                profiles::hold(&mut transaction, &[user]).await?;
                updated_user::mark(&mut transaction, &[(user, seen.clone())]).await?;
                if self.env.xp.seen(user) != known {
                    return Ok(store::roll_back(transaction).await?);
                }
                store::commit(transaction).await?;
                // Without this, a later change back to the old profile would not count as news.
                self.env.xp.note_looked_up(user, known, &seen);
                Ok(())
            }
            FetchedProfile::There(_) => {
                self.failed(due, &NoImage::NotThere.to_string(), clock)
                    .await
            }
            FetchedProfile::Gone => {
                let mut transaction = self.env.database.begin().await?;
                profiles::mark_gone(&mut transaction, user, clock.now()).await?;
                updated_user::remove(&mut transaction, &[due.key]).await?;
                store::commit(transaction).await?;
                self.env.xp.forget_profile(user);
                tracing::info!(%user, "an account was deleted; its last name and avatar are kept");
                Ok(())
            }
        }
    }

    /// Counts a failed attempt and schedules a retry; the last attempt parks the avatar.
    async fn failed(&self, due: &DueAvatar, why: &str, clock: Clock) -> anyhow::Result<()> {
        let RowVersion { user, version } = due.key;
        let next = RETRIES.next_attempt(due.attempts, clock.now());
        let mut transaction = self.env.database.begin().await?;
        let counted = profiles::count_attempt(&mut transaction, user, version).await?;
        updated_user::postpone(&mut transaction, due.key, next, why).await?;
        store::commit(transaction).await?;
        let Some(attempts) = counted else {
            return Ok(());
        };
        if attempts >= MAX_ATTEMPTS {
            tracing::error!(
                %user, attempts, why,
                "an avatar could not be copied and is parked: `profile_queue` lists it, `reset_attempts` tries it again"
            );
        } else {
            tracing::debug!(%user, attempts, why, "an avatar could not be copied; trying again");
        }
        Ok(())
    }

    /// Pauses all copies because `part` failed. Counts no user's attempt.
    async fn record_outage(&self, part: Part, why: &str, now: DateTime<Utc>) {
        let is_news = {
            let mut breakers = self.breakers();
            let breaker = breakers.of(part);
            let pause_length = |retries| PAUSE.delay(retries);
            let is_first = breaker.pause().is_none();
            let is_news = breaker.record_outage(why, now, pause_length);
            if is_news && is_first {
                let part = part.name();
                tracing::warn!(
                    part,
                    why,
                    "avatars cannot be copied; trying again, one at a time"
                );
            }
            is_news
        };
        if is_news {
            self.report().await;
        }
    }

    /// Records that `part` works, and reports it if that is news.
    async fn record_success(&self, part: Part, user: UserId) {
        let (ended, is_news) = self.breakers().of(part).record_success(user);
        if let Some(pause) = ended {
            tracing::info!(part = part.name(), since = %pause.since, "avatars can be copied again");
        }
        if is_news && !self.report().await {
            self.breakers().of(part).mark_unreported();
        }
    }

    /// Reports the current state to the council. Returns whether that succeeded.
    async fn report(&self) -> bool {
        let _guard = self.state.reporting.lock().await;
        let notices = self.breakers().notices();
        self.env.council.report_or_log(SCOPE, &notices).await
    }

    fn breakers(&self) -> MutexGuard<'_, Breakers> {
        let breakers = self.state.breakers.lock();
        breakers.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Breakers {
    fn of(&mut self, part: Part) -> &mut Breaker {
        match part {
            Part::Host => &mut self.host,
            Part::Channel => &mut self.channel,
        }
    }

    /// The council's notices. A failure that a moderator must fix is reported at once, any other
    /// after the first test copy failed.
    fn notices(&self) -> Vec<Notice> {
        let lasts = |pause: &&Pause| pause.retries > 0;
        let host = self.host.pause().filter(lasts).map(|pause| {
            let text = format!(
                "Discord's CDN has given me no avatar since <t:{}:f>: {}. New avatars are missing from the leaderboard until \
                 it does. I keep trying, and everything else works as usual.",
                pause.since.timestamp(),
                pause.why
            );
            ("avatar-cdn", text)
        });
        let channel = self
            .channel
            .pause()
            .filter(|pause| self.is_closed || lasts(pause));
        let channel = channel.map(|pause| {
            let text = format!(
                "I have not been able to store copies of avatars since <t:{}:f>, so new ones are missing from the \
                 leaderboard: {}.",
                pause.since.timestamp(),
                pause.why
            );
            ("avatar-channel", text)
        });
        let notice = |(key, text): (&str, String)| Notice {
            key: key.to_owned(),
            text,
            buttons: None,
        };
        host.into_iter().chain(channel).map(notice).collect()
    }
}

impl Part {
    /// Name for the log.
    fn name(self) -> &'static str {
        match self {
            Self::Host => "Discord's CDN",
            Self::Channel => "the avatar channel",
        }
    }
}

/// Removes the guild avatar from the answer about a user who left: Discord's answer about an
/// account does not mention it, and the CDN no longer has it. The account's avatar takes its place.
fn with_no_guild_avatar(found: FetchedProfile, picture: &Picture) -> FetchedProfile {
    match (found, picture) {
        (FetchedProfile::There(seen), Picture::Guild(_))
            if seen.guild_avatar_hash == Field::Unseen =>
        {
            FetchedProfile::There(ObservedProfile {
                guild_avatar_hash: Field::Empty,
                ..seen
            })
        }
        (found, _) => found,
    }
}
