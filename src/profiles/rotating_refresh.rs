//! Asks Discord for every user's profile once in two weeks, so that members who never write have a
//! current profile too. (The original bot called them lurkers.) Users are spread over buckets; each
//! hour one bucket is refreshed, its users evenly spaced within the hour.
//!
//! Progress is saved after each user, so a restart skips nobody. The job also asks about the users
//! in [`Unclear`], whose profile an event showed incompletely.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::fetch::{FetchedProfile, fetch};
use super::unclear::Unclear;
use crate::discord::RestError;
use crate::environment::Environment;
use crate::job::Job;
use crate::leveling::UserId;
use crate::leveling::buckets::{BUCKET_DURATION, BucketNumber, assign, next_look};
use crate::store::profile_bucket::{self, Round};
use crate::store::user_point::profiles;
use crate::store::{self, updated_user};
use crate::xp::ObservedIn;

/// Users assigned to buckets in one transaction.
const BATCH_SIZE: u16 = 1_000;
/// How often the database is read while no user is due. A new user waits up to
/// this long for a bucket.
const POLL_INTERVAL: TimeDelta = TimeDelta::minutes(1);
/// How soon a request is repeated that Discord did not answer.
const RETRY_DELAY: TimeDelta = TimeDelta::seconds(30);

/// The job that refreshes all users in turn.
#[derive(Debug)]
pub struct RotatingRefresh {
    env: Environment,
    /// Users whose profile an event showed incompletely.
    unclear: Unclear,
    /// No user of a bucket is due before this time. A time more than [`POLL_INTERVAL`] ahead is
    /// ignored: it was set before the clock was set back.
    idle_until: Mutex<Option<DateTime<Utc>>>,
    /// Cached, because counting reads all users. Counted again when a whole batch of users has no
    /// bucket, as after an import.
    bucket_sizes: Mutex<Option<BucketSizes>>,
}

/// Number of users in each bucket; empty buckets are left out.
type BucketSizes = Vec<(BucketNumber, u64)>;

/// The next step of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextStep {
    /// Ask Discord for this user's profile.
    Refresh(UserId),
    /// Go on to the next bucket.
    Advance,
    /// Do nothing before this time.
    Wait(DateTime<Utc>),
}

impl Job for RotatingRefresh {
    const NAME: &'static str = "rotating-refresh";
    const CADENCE: Duration = Duration::from_secs(1);

    /// Assigns buckets to users without one, then refreshes at most one user of the current bucket
    /// and at most one of [`Unclear`].
    async fn run_once(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        if let Some(user) = self.unclear.next(Instant::now()) {
            self.ask_about_unclear(user).await?;
        }
        let idle_until = self.idle_until();
        if idle_until.is_some_and(|until| now < until && until <= now + POLL_INTERVAL) {
            return Ok(());
        }
        let mut sizes = None;
        while self.assign_buckets(&mut sizes).await? {}
        loop {
            let mut session = self.env.database.acquire().await?;
            let round = profile_bucket::load(&mut session).await?;
            let began = began(&round, now);
            let next = profiles::next_of(&mut session, round.bucket, round.last_user).await?;
            match what_next(&round, began, next, now) {
                NextStep::Advance => {
                    let next_round = Round {
                        bucket: round.bucket.next(),
                        began_at: Some(next_beginning(began, now)),
                        last_user: None,
                        last_look_at: None,
                    };
                    profile_bucket::save(&mut session, &next_round).await?;
                }
                NextStep::Wait(until) => {
                    if round.began_at != Some(began) {
                        let started = Round {
                            began_at: Some(began),
                            ..round
                        };
                        profile_bucket::save(&mut session, &started).await?;
                    }
                    self.idle(until.min(now + POLL_INTERVAL));
                    return Ok(());
                }
                NextStep::Refresh(user) => {
                    drop(session);
                    let done = Round {
                        began_at: Some(began),
                        last_user: Some(user),
                        last_look_at: Some(now),
                        ..round
                    };
                    return self.refresh(user, &done, now).await;
                }
            }
        }
    }
}

impl RotatingRefresh {
    /// Asks about the users in `unclear` as well.
    pub fn new(env: &Environment, unclear: Unclear) -> Self {
        Self {
            env: env.clone(),
            unclear,
            idle_until: Mutex::default(),
            bucket_sizes: Mutex::default(),
        }
    }

    /// Assigns buckets to one batch of users who have none. Returns whether there were any. `sizes`
    /// carries the bucket sizes from one batch to the next.
    async fn assign_buckets(&self, sizes: &mut Option<BucketSizes>) -> store::Result<bool> {
        let mut transaction = self.env.database.begin().await?;
        let users = profiles::without_bucket(&mut transaction, BATCH_SIZE).await?;
        if users.is_empty() {
            return Ok(false);
        }
        let is_batch_full = users.len() == usize::from(BATCH_SIZE);
        let known = sizes.take().or_else(|| {
            let mut known = self
                .bucket_sizes
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            known.take().filter(|_| !is_batch_full)
        });
        let mut counts = match known {
            Some(counts) => counts,
            None => profiles::buckets(&mut transaction).await?,
        };
        let assigned = assign(&counts, users.len());
        let spread: Vec<_> = users.into_iter().zip(assigned).collect();
        profiles::put(&mut transaction, &spread).await?;
        store::commit(transaction).await?;
        add(&mut counts, spread.iter().map(|(_, bucket)| *bucket));
        *self
            .bucket_sizes
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(counts.clone());
        *sizes = Some(counts);
        Ok(true)
    }

    /// Asks Discord for a user's profile. Saves the answer and the progress (`done`) in one
    /// transaction.
    async fn refresh(&self, user: UserId, done: &Round, now: DateTime<Utc>) -> anyhow::Result<()> {
        let known = self.env.xp.seen(user);
        let found = match fetch(&self.env, user).await {
            Ok(found) => Some(found),
            // Trying again soon would not help.
            Err(error @ (RestError::Refused { .. } | RestError::NotUnderstood(_))) => {
                tracing::warn!(%user, %error, "a user could not be looked up; trying again in two weeks");
                None
            }
            Err(error) => {
                self.idle(now + RETRY_DELAY);
                return Err(error.into());
            }
        };
        // An event showed the user meanwhile, and Discord's answer may be older.
        let found = found.filter(|_| self.env.xp.seen(user) == known);
        let seen = match &found {
            Some(FetchedProfile::There(seen)) => seen.news(known).is_some().then_some(seen),
            _ => None,
        };
        let gone = found == Some(FetchedProfile::Gone);
        let mut transaction = self.env.database.begin().await?;
        if seen.is_some() || gone {
            // With the row locked, a newer profile is either saved already or waits for this
            // transaction.
            profiles::hold(&mut transaction, &[user]).await?;
        }
        if let Some(seen) = seen {
            updated_user::mark(&mut transaction, &[(user, seen.clone())]).await?;
        }
        if gone {
            profiles::mark_gone(&mut transaction, user, now).await?;
        }
        profile_bucket::save(&mut transaction, done).await?;
        if (seen.is_some() || gone) && self.env.xp.seen(user) != known {
            // An event just showed the user, and its profile may be waiting for the row. The
            // progress is rolled back too, so the user is looked up again.
            return Ok(store::roll_back(transaction).await?);
        }
        store::commit(transaction).await?;
        if let Some(seen) = seen {
            self.env.xp.note_looked_up(user, known, seen);
        }
        if gone {
            self.env.xp.forget_profile(user);
            tracing::info!(%user, "an account was deleted; its last name and avatar are kept");
        }
        Ok(())
    }

    /// Asks Discord for the profile of a user from [`Unclear`].
    async fn ask_about_unclear(&self, user: UserId) -> Result<(), RestError> {
        let known = self.env.xp.seen(user);
        let found = match fetch(&self.env, user).await {
            Ok(found) => found,
            // Asking again would not help; the next member list shows the user.
            Err(error @ (RestError::Refused { .. } | RestError::NotUnderstood(_))) => {
                tracing::warn!(%user, %error, "a user could not be looked up");
                self.unclear.start_cooldown(user, Instant::now());
                return Ok(());
            }
            Err(error) => {
                self.unclear.ask_later(user, Instant::now());
                return Err(error);
            }
        };
        if self.env.xp.seen(user) != known {
            // An event showed the user meanwhile, and Discord's answer may be older.
            self.unclear.ask(user, Instant::now());
            return Ok(());
        }
        match found {
            FetchedProfile::There(seen) if seen.news(known).is_some() => {
                self.env.xp.observe(user, seen, ObservedIn::Answer(known));
            }
            // A deleted account is handled when its bucket is refreshed.
            FetchedProfile::There(_) | FetchedProfile::Gone => {
                self.unclear.start_cooldown(user, Instant::now());
            }
        }
        Ok(())
    }

    fn idle_until(&self) -> Option<DateTime<Utc>> {
        *self
            .idle_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self, until: DateTime<Utc>) {
        *self
            .idle_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(until);
    }
}

/// Adds the users that were assigned to buckets.
fn add(counts: &mut BucketSizes, assigned: impl Iterator<Item = BucketNumber>) {
    let mut by_bucket: BTreeMap<BucketNumber, u64> = counts.drain(..).collect();
    for bucket in assigned {
        *by_bucket.entry(bucket).or_default() += 1;
    }
    counts.extend(by_bucket);
}

/// When the bucket's hour began: `now` if it has not begun, or if the stored time is in the future
/// because the clock was set back.
fn began(round: &Round, now: DateTime<Utc>) -> DateTime<Utc> {
    round.began_at.map_or(now, |began| began.min(now))
}

/// The next step at `now`. `next` is the bucket's next user and the number of users left, including
/// that one.
fn what_next(
    round: &Round,
    began: DateTime<Utc>,
    next: Option<(UserId, u32)>,
    now: DateTime<Utc>,
) -> NextStep {
    let Some((user, left)) = next else {
        let ends = began + BUCKET_DURATION;
        return if ends <= now {
            NextStep::Advance
        } else {
            NextStep::Wait(ends)
        };
    };
    let last = round.last_look_at.map_or(began, |last| last.min(now));
    let due = next_look(began, last, left);
    if due <= now {
        NextStep::Refresh(user)
    } else {
        NextStep::Wait(due)
    }
}

/// When the next bucket begins, after one that began at `began`: when that one's hour ended. If the
/// bot has fallen behind by another hour or more it begins now, so that no bucket is rushed.
fn next_beginning(began: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    let ends = began + BUCKET_DURATION;
    if ends + BUCKET_DURATION <= now {
        now
    } else {
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_continues_where_it_stopped() {
        let began = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        let minutes = TimeDelta::minutes;
        let user = UserId::new(7).unwrap();
        let round = |last: Option<TimeDelta>| Round {
            bucket: BucketNumber::FIRST,
            began_at: Some(began),
            last_user: None,
            last_look_at: last.map(|last| began + last),
        };
        for (last, next, after, expected) in [
            // Three users in an hour: each twenty minutes.
            (
                None,
                Some((user, 3)),
                minutes(19),
                NextStep::Wait(began + minutes(20)),
            ),
            (None, Some((user, 3)), minutes(20), NextStep::Refresh(user)),
            (
                Some(minutes(20)),
                Some((user, 2)),
                minutes(39),
                NextStep::Wait(began + minutes(40)),
            ),
            (
                Some(minutes(40)),
                Some((user, 1)),
                minutes(60),
                NextStep::Refresh(user),
            ),
            // Idle for the remainder of the hour, then the next bucket.
            (
                Some(minutes(59)),
                None,
                minutes(59),
                NextStep::Wait(began + BUCKET_DURATION),
            ),
            (Some(minutes(60)), None, minutes(60), NextStep::Advance),
            (None, None, minutes(61), NextStep::Advance),
            // After a day offline nobody is skipped.
            (
                None,
                Some((user, 3)),
                TimeDelta::days(1),
                NextStep::Refresh(user),
            ),
        ] {
            let round = round(last);
            let found = what_next(&round, began, next, began + after);
            assert_eq!(found, expected, "{last:?} {next:?} {after}");
        }
    }

    #[test]
    fn a_bucket_starts_when_the_last_one_ends_or_now_after_a_long_delay() {
        let began_at = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        for (after, next) in [
            (TimeDelta::minutes(60), TimeDelta::minutes(60)),
            (TimeDelta::minutes(90), TimeDelta::minutes(60)),
            (TimeDelta::minutes(120), TimeDelta::minutes(120)),
            (TimeDelta::days(3), TimeDelta::days(3)),
        ] {
            assert_eq!(next_beginning(began_at, began_at + after), began_at + next);
        }
        let round = Round {
            bucket: BucketNumber::FIRST,
            began_at: Some(began_at),
            last_user: None,
            last_look_at: None,
        };
        let earlier = began_at - TimeDelta::days(1);
        assert_eq!(began(&round, earlier), earlier, "a clock set back");
    }
}
