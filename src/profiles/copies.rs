//! Copies of avatars: fetched from the CDN, posted in the avatar channel, and remembered; then
//! the one before is deleted.
//!
//! Cut off at any point, it leaves at most one message that nobody points to, and never a user
//! without a picture who had one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::clock::Clock;
use super::look_up::{Found, look_up};
use super::tell::tell;
use crate::backoff::backoff;
use crate::discord::avatar_channel::{AvatarChannel, ChannelError};
use crate::discord::cdn::{Cdn, NoImage};
use crate::discord::council::{Council, Notice};
use crate::discord::member_states::MemberStates;
use crate::discord::{Rest, RestError};
use crate::leveling::{
    AvatarHash, CopyPlan, Field, GuildId, MessageId, Picture, Sighting, UserId, copy_plan,
};
use crate::store::updated_user::{self, Ticket, Wanted};
use crate::store::user_point::profiles::{self, NewCopy, NewProfile};
use crate::store::{self, Database};
use crate::xp::XpCache;

/// A picture that has failed so often waits for a person.
pub const MOST_ATTEMPTS: u32 = 15;
const RETRY_LEAST: Duration = Duration::from_secs(5);
const RETRY_MOST: Duration = Duration::from_hours(1);
/// How soon a picture is taken again of which nobody knows what became.
const TAKEN: Duration = Duration::from_secs(5);
/// How soon a picture is tried again that Discord had trouble with.
const PUT_OFF: Duration = Duration::from_mins(1);
/// How long the channel is left alone that could not be used.
const REST_LEAST: Duration = Duration::from_secs(10);
const REST_MOST: Duration = Duration::from_mins(10);
/// By which the council's notices about avatars are known.
const SCOPE: &str = "avatars";

/// What copies are made with.
#[derive(Debug)]
pub struct Copies {
    /// Where everything is remembered.
    pub database: Database,
    /// Told whom to look at anew.
    pub xp: Arc<XpCache>,
    /// Asked what is true when the CDN has not what was seen.
    pub rest: Rest,
    /// The guild served.
    pub guild: GuildId,
    /// Shown the members who are looked up.
    pub members: MemberStates,
    /// Where images come from.
    pub cdn: Cdn,
    /// Where they go.
    pub channel: Arc<AvatarChannel>,
    /// Told when the channel cannot be used.
    pub council: Arc<Council>,
    /// How it stands with the channel.
    pub state: Mutex<Channel>,
}

/// How it stands with the channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// Nothing was posted yet: what an earlier bot has told the council may be out of date.
    #[default]
    Unknown,
    Usable,
    /// Failed so often, and left alone until then.
    Resting {
        failures: u32,
        until: DateTime<Utc>,
    },
}

impl Channel {
    /// Whether it is to be left alone, unless the clock was set back since.
    fn rests(self, now: DateTime<Utc>) -> bool {
        matches!(self, Self::Resting { until, .. } if now < until && until <= now + REST_MOST)
    }
}

impl Copies {
    /// Whether the channel is to be left alone.
    pub(super) fn rests(&self, now: DateTime<Utc>) -> bool {
        self.state().rests(now)
    }

    /// Has the cache compare with what is stored now.
    pub(super) fn stored(&self, stored: &[NewProfile]) {
        for NewProfile { user, profile, .. } in stored {
            self.xp.profile_is_stored(*user, profile.fingerprint());
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
        let mut session = self.database.acquire().await?;
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
                let mut session = self.database.acquire().await?;
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
        let image = match self.cdn.fetch(&picture.path(user, self.guild)).await {
            Ok(image) => image,
            Err(NoImage::NotThere) => return self.ask(wanted, picture, clock).await,
            Err(error) => return self.failed(wanted, &error.to_string(), clock).await,
        };
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
                self.channel_works().await;
                Ok(())
            }
            Err(ChannelError::Refused(error)) => {
                self.failed(wanted, &error.to_string(), clock).await
            }
            Err(ChannelError::Closed(why)) => {
                self.channel_fails(&why, clock.now()).await;
                Ok(())
            }
            Err(ChannelError::Passing(error)) => {
                // Not this one's fault, perhaps; and if it is, others are not to wait behind it.
                let next = clock.now() + backoff(0, PUT_OFF, PUT_OFF);
                let mut session = self.database.acquire().await?;
                let why = error.to_string();
                updated_user::postpone(&mut session, wanted.ticket, next, &why).await?;
                Err(error)
            }
        }
    }

    /// In one transaction: what the copy is, and that nothing is left to do.
    async fn remember(&self, wanted: &Wanted, copy: Option<&NewCopy>) -> store::Result<()> {
        let mut transaction = self.database.begin().await?;
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
        let known = self.xp.seen(user);
        let found = match look_up(&self.rest, self.guild, &self.members, user).await {
            Ok(found) => found,
            Err(error @ RestError::Refused { .. }) => {
                return self.failed(wanted, &error.to_string(), clock).await;
            }
            Err(error) => return Err(error.into()),
        };
        if self.xp.seen(user) != known {
            // Heard of meanwhile: what was asked for may be older.
            return Ok(());
        }
        match with_no_guild_avatar(found, picture) {
            Found::There(seen) if wanted.profile.clone().after(seen.clone()) != wanted.profile => {
                let mut transaction = self.database.begin().await?;
                // Whoever saves something newer has done so by now, or waits for this.
                profiles::hold(&mut transaction, &[user]).await?;
                updated_user::mark(&mut transaction, &[(user, seen.clone())]).await?;
                if self.xp.seen(user) != known {
                    return Ok(store::roll_back(transaction).await?);
                }
                store::commit(transaction).await?;
                // Else a change back to what was seen before would be no news.
                self.xp.note_looked_up(user, known, &seen);
                Ok(())
            }
            Found::There(_) => {
                self.failed(wanted, &NoImage::NotThere.to_string(), clock)
                    .await
            }
            Found::Gone => {
                let mut transaction = self.database.begin().await?;
                profiles::mark_gone(&mut transaction, user, clock.now()).await?;
                updated_user::finish(&mut transaction, &[wanted.ticket]).await?;
                store::commit(transaction).await?;
                self.xp.forget_profile(user);
                tracing::info!(%user, "an account is no more; its last name and avatar are kept");
                Ok(())
            }
        }
    }

    async fn failed(&self, wanted: &Wanted, why: &str, clock: Clock) -> anyhow::Result<()> {
        let Ticket { user, version } = wanted.ticket;
        let next = clock.now() + backoff(wanted.attempts, RETRY_LEAST, RETRY_MOST);
        let mut transaction = self.database.begin().await?;
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
            tracing::debug!(%user, attempts, why, "an avatar could not be copied; it is tried again");
        }
        Ok(())
    }

    async fn channel_fails(&self, why: &str, now: DateTime<Utc>) {
        let failures = match self.state() {
            // Another of the few that are copied together has said so already.
            resting if resting.rests(now) => return,
            Channel::Resting { failures, .. } => failures + 1,
            _ => 0,
        };
        let until = now + backoff(failures, REST_LEAST, REST_MOST);
        self.set(Channel::Resting { failures, until });
        let notice = Notice {
            key: "avatar-channel".to_owned(),
            text: format!(
                "I cannot keep copies of avatars, so new ones are missing from the leaderboard: {why}."
            ),
            buttons: None,
        };
        tell(&self.council, SCOPE, &[notice]).await;
    }

    async fn channel_works(&self) {
        if self.state() != Channel::Usable {
            self.set(Channel::Usable);
            tell(&self.council, SCOPE, &[]).await;
        }
    }

    fn state(&self) -> Channel {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: Channel) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
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
