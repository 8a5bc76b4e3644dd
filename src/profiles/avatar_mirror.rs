//! Copies of avatars: fetched from the CDN, posted in the avatar channel, and remembered; then
//! the one before is deleted.
//!
//! Cut off at any point, it leaves at most one message that nobody points to, and never a user
//! without a picture who had one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::breaker::{Admits, Breaker, Pause, REST_MOST};
use super::clock::Clock;
use super::failure::{About, of_fetch, of_post};
use super::fetch::{Found, fetch};
use crate::backoff::backoff;
use crate::discord::RestError;
use crate::discord::avatar_channel::{AvatarChannel, ChannelError};
use crate::discord::cdn::{Cdn, NoImage};
use crate::discord::council::Notice;
use crate::environment::Environment;
use crate::leveling::{
    AvatarHash, CopyPlan, Field, MessageId, Picture, Sighting, UserId, copy_plan,
};
use crate::store;
use crate::store::updated_user::{self, Ticket, Wanted};
use crate::store::user_point::profiles::{self, NewCopy, NewProfile};

/// A picture that has failed so often waits for a person.
pub const MOST_ATTEMPTS: u32 = 15;
const RETRY_LEAST: Duration = Duration::from_secs(5);
const RETRY_MOST: Duration = Duration::from_hours(1);
/// How soon a picture is taken again of which nobody knows what became.
const TAKEN: Duration = Duration::from_secs(5);
/// How soon a picture is tried again that Discord had trouble with.
const PUT_OFF: Duration = Duration::from_mins(1);
/// How long the CDN or the channel is left alone at first; each time it is tried in vain, twice
/// as long, up to [`REST_MOST`].
const REST_LEAST: Duration = Duration::from_secs(5);
/// By which the council's notices about avatars are known.
const SCOPE: &str = "avatars";

/// Makes copies.
#[derive(Debug)]
pub struct AvatarMirror {
    env: Environment,
    /// Where images come from.
    cdn: Cdn,
    /// Where they go.
    channel: Arc<AvatarChannel>,
    /// How it stands with the CDN and the channel.
    state: MirrorState,
}

/// How it stands with what all copies need. `Default` knows nothing yet.
#[derive(Debug, Default)]
struct MirrorState {
    breakers: Mutex<Breakers>,
    /// Held while the council is told: what it is told last must be what is true last.
    telling: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Breakers {
    host: Breaker,
    channel: Breaker,
    /// Whether somebody must do something about the channel.
    is_closed: bool,
}

/// What all copies need.
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

    /// How many copies may be made at `now`.
    pub(super) fn admits(&self, now: DateTime<Utc>) -> Admits {
        let breakers = self.breakers();
        breakers.host.admits(now).min(breakers.channel.admits(now))
    }

    /// Has the cache compare with what is stored now.
    pub(super) fn stored(&self, stored: &[NewProfile]) {
        for NewProfile { user, profile, .. } in stored {
            self.env.xp.profile_is_stored(*user, profile.fingerprint());
        }
    }

    /// At most so many pictures that are due at `now`, none of them of these users. Written down
    /// before anything is done: a database that only reads lets nothing be posted.
    pub(super) async fn take(
        &self,
        now: DateTime<Utc>,
        but: &[UserId],
        limit: u16,
    ) -> store::Result<Vec<Wanted>> {
        let mut session = self.env.database.acquire().await?;
        let due = updated_user::pictures(&mut session, now, MOST_ATTEMPTS, but, limit).await?;
        if !due.is_empty() {
            let taken: Vec<Ticket> = due.iter().map(|wanted| wanted.ticket).collect();
            updated_user::claim(&mut session, &taken, now + TAKEN).await?;
        }
        Ok(due)
    }

    /// Does what a user's picture needs.
    pub(super) async fn copy(&self, wanted: &Wanted, clock: Clock) -> anyhow::Result<()> {
        let Wanted {
            ticket,
            profile,
            copied,
            copy,
            ..
        } = wanted;
        match copy_plan(profile, copied.as_deref(), copy.is_some()) {
            CopyPlan::Keep => {
                let mut session = self.env.database.acquire().await?;
                updated_user::finish(&mut session, &[*ticket]).await?;
                Ok(())
            }
            CopyPlan::Drop => {
                self.remember(wanted, None).await?;
                self.clear_away(*copy).await;
                Ok(())
            }
            CopyPlan::Make(picture) => self.make(wanted, &picture, clock).await,
        }
    }

    async fn make(&self, wanted: &Wanted, picture: &Picture, clock: Clock) -> anyhow::Result<()> {
        let user = wanted.ticket.user;
        let image = match self.cdn.fetch(&picture.path(user, self.env.guild)).await {
            Ok(image) => image,
            Err(error) => return self.not_fetched(wanted, picture, &error, clock).await,
        };
        self.works(Part::Host, user).await;
        let version = wanted.ticket.version;
        match self.channel.post(user, &image, version).await {
            Ok((message, link)) => {
                let hash: AvatarHash = picture.hash().clone();
                let copy = NewCopy {
                    hash,
                    message,
                    link,
                };
                self.remember(wanted, Some(&copy)).await?;
                self.clear_away(wanted.copy.filter(|before| *before != message))
                    .await;
                self.works(Part::Channel, user).await;
                Ok(())
            }
            Err(error) => self.not_posted(wanted, error, clock).await,
        }
    }

    async fn not_fetched(
        &self,
        wanted: &Wanted,
        picture: &Picture,
        error: &NoImage,
        clock: Clock,
    ) -> anyhow::Result<()> {
        let why = error.to_string();
        let user = wanted.ticket.user;
        match self.about_fetch(error, user) {
            About::Image if *error == NoImage::NotThere => self.ask(wanted, picture, clock).await,
            About::Image | About::ImageUnlessSeveral => self.failed(wanted, &why, clock).await,
            About::Host => {
                self.fails(Part::Host, &why, clock.now()).await;
                Ok(self.put_off(wanted, &why, clock).await?)
            }
            _ => Ok(self.put_off(wanted, &why, clock).await?),
        }
    }

    /// What a fetch that failed is about, after all that has failed and come through before.
    fn about_fetch(&self, error: &NoImage, user: UserId) -> About {
        let host = &mut self.breakers().host;
        match of_fetch(error) {
            About::HostUnlessAlone | About::HostIfSeveral if host.fails_alone(user) => About::Image,
            About::HostUnlessAlone => About::Host,
            About::ImageUnlessSeveral | About::HostIfSeveral if host.suspects(user) => About::Host,
            about => about,
        }
    }

    async fn not_posted(
        &self,
        wanted: &Wanted,
        error: ChannelError,
        clock: Clock,
    ) -> anyhow::Result<()> {
        let why = error.to_string();
        let about = match of_post(&error) {
            About::ChannelUnlessAlone
                if self.breakers().channel.fails_alone(wanted.ticket.user) =>
            {
                About::Image
            }
            about => about,
        };
        match about {
            About::Image => self.failed(wanted, &why, clock).await,
            About::Channel | About::ChannelUnlessAlone => {
                let is_closed = matches!(error, ChannelError::Closed(_));
                self.breakers().is_closed = is_closed;
                self.fails(Part::Channel, &why, clock.now()).await;
                if is_closed {
                    return Ok(());
                }
                // If it is this one's fault all the same, others are not to wait behind it.
                Ok(self.put_off(wanted, &why, clock).await?)
            }
            _ => {
                self.put_off(wanted, &why, clock).await?;
                Err(error.into())
            }
        }
    }

    /// Tries an image again later without counting an attempt: it is not its fault, as far as is
    /// known.
    async fn put_off(&self, wanted: &Wanted, why: &str, clock: Clock) -> store::Result<()> {
        let next = clock.now() + backoff(0, PUT_OFF, PUT_OFF);
        let mut session = self.env.database.acquire().await?;
        updated_user::postpone(&mut session, wanted.ticket, next, why).await
    }

    /// In one transaction: what the copy is, and that nothing is left to do.
    async fn remember(&self, wanted: &Wanted, copy: Option<&NewCopy>) -> store::Result<()> {
        let mut transaction = self.env.database.begin().await?;
        profiles::set_copy(&mut transaction, wanted.ticket.user, copy).await?;
        updated_user::finish(&mut transaction, &[wanted.ticket]).await?;
        store::commit(transaction).await
    }

    /// Deletes the message that nobody points to any more. What stays is found later.
    async fn clear_away(&self, before: Option<MessageId>) {
        if let Some(before) = before
            && let Err(error) = self.channel.delete(before).await
        {
            tracing::debug!(%error, message = %before, "an old avatar could not be deleted yet");
        }
    }

    /// The CDN has not what was seen: has it changed since, or is the account gone?
    async fn ask(&self, wanted: &Wanted, picture: &Picture, clock: Clock) -> anyhow::Result<()> {
        let user = wanted.ticket.user;
        let known = self.env.xp.seen(user);
        let found = match fetch(&self.env, user).await {
            Ok(found) => found,
            // That says nothing of the image.
            Err(error @ RestError::Refused { .. }) => {
                return Ok(self.put_off(wanted, &error.to_string(), clock).await?);
            }
            Err(error) => return Err(error.into()),
        };
        if self.env.xp.seen(user) != known {
            // Heard of meanwhile: what was asked for may be older.
            return Ok(());
        }
        match with_no_guild_avatar(found, picture) {
            Found::There(seen) if wanted.profile.clone().after(seen.clone()) != wanted.profile => {
                let mut transaction = self.env.database.begin().await?;
                // Whoever saves something newer has done so by now, or waits for this.
                profiles::hold(&mut transaction, &[user]).await?;
                updated_user::mark(&mut transaction, &[(user, seen.clone())]).await?;
                if self.env.xp.seen(user) != known {
                    return Ok(store::roll_back(transaction).await?);
                }
                store::commit(transaction).await?;
                // Else a change back to what was seen before would be no news.
                self.env.xp.note_looked_up(user, known, &seen);
                Ok(())
            }
            Found::There(_) => {
                self.failed(wanted, &NoImage::NotThere.to_string(), clock)
                    .await
            }
            Found::Gone => {
                let mut transaction = self.env.database.begin().await?;
                profiles::mark_gone(&mut transaction, user, clock.now()).await?;
                updated_user::finish(&mut transaction, &[wanted.ticket]).await?;
                store::commit(transaction).await?;
                self.env.xp.forget_profile(user);
                tracing::info!(%user, "an account is no more; its last name and avatar are kept");
                Ok(())
            }
        }
    }

    async fn failed(&self, wanted: &Wanted, why: &str, clock: Clock) -> anyhow::Result<()> {
        let Ticket { user, version } = wanted.ticket;
        let next = clock.now() + backoff(wanted.attempts, RETRY_LEAST, RETRY_MOST);
        let mut transaction = self.env.database.begin().await?;
        let counted = profiles::count_attempt(&mut transaction, user, version).await?;
        updated_user::postpone(&mut transaction, wanted.ticket, next, why).await?;
        store::commit(transaction).await?;
        let Some(attempts) = counted else {
            return Ok(());
        };
        if attempts >= MOST_ATTEMPTS {
            tracing::error!(
                %user, attempts, why,
                "an avatar could not be copied and is parked: `profile_queue` lists it, `reset_attempts` tries it again"
            );
        } else {
            tracing::debug!(%user, attempts, why, "an avatar could not be copied; trying again");
        }
        Ok(())
    }

    /// What all copies need has failed: it rests as a whole, and nobody's attempts are counted.
    async fn fails(&self, part: Part, why: &str, now: DateTime<Utc>) {
        let is_news = {
            let mut breakers = self.breakers();
            let breaker = breakers.of(part);
            let pause = |retries| backoff(retries, REST_LEAST, REST_MOST);
            let is_first = breaker.rest().is_none();
            let is_news = breaker.fails(why, now, pause);
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
            self.tell().await;
        }
    }

    async fn works(&self, part: Part, user: UserId) {
        let (rest, is_news) = self.breakers().of(part).works(user);
        if let Some(rest) = rest {
            tracing::info!(part = part.name(), since = %rest.since, "avatars can be copied again");
        }
        if is_news && !self.tell().await {
            self.breakers().of(part).doubt();
        }
    }

    /// Tells the council how it stands; whether that was possible.
    async fn tell(&self) -> bool {
        let _telling = self.state.telling.lock().await;
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

    /// What the council is told: at once of what somebody must see to, of the rest when it has
    /// been tried again in vain.
    fn notices(&self) -> Vec<Notice> {
        let lasts = |rest: &&Pause| rest.retries > 0;
        let host = self.host.rest().filter(lasts).map(|rest| {
            let text = format!(
                "Discord's CDN has given me no avatar since <t:{}:f>: {}. New avatars are missing from the leaderboard until \
                 it does. I keep trying, and everything else works as usual.",
                rest.since.timestamp(),
                rest.why
            );
            ("avatar-cdn", text)
        });
        let channel = self
            .channel
            .rest()
            .filter(|rest| self.is_closed || lasts(rest));
        let channel = channel.map(|rest| {
            let text = format!(
                "I have not been able to store copies of avatars since <t:{}:f>, so new ones are missing from the \
                 leaderboard: {}.",
                rest.since.timestamp(),
                rest.why
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
    /// For the log.
    fn name(self) -> &'static str {
        match self {
            Self::Host => "Discord's CDN",
            Self::Channel => "the avatar channel",
        }
    }
}

/// Of somebody who has left and whose avatar for this guild is gone, the account's is left.
fn with_no_guild_avatar(found: Found, picture: &Picture) -> Found {
    match (found, picture) {
        (Found::There(seen), Picture::Guild(_)) if seen.guild_avatar_hash == Field::Unseen => {
            Found::There(Sighting {
                guild_avatar_hash: Field::Empty,
                ..seen
            })
        }
        (found, _) => found,
    }
}
