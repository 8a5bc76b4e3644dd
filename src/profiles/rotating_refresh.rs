//! Looks every user up once in two weeks, one bucket of users each hour and evenly within the hour,
//! so that members who never write have a current profile too. (The original bot called them
//! lurkers.)
//!
//! Progress is saved after each look, so a restart skips nobody. Also asks for the users of whom an
//! event left something open.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::fetch::{Found, fetch};
use super::unclear::Unclear;
use crate::discord::RestError;
use crate::environment::Environment;
use crate::job::Job;
use crate::leveling::UserId;
use crate::leveling::buckets::{BucketNumber, LASTS, assign, next_look};
use crate::store::profile_bucket::{self, Round};
use crate::store::user_point::profiles;
use crate::store::{self, updated_user};
use crate::xp::Origin;

/// Users put into buckets at a time.
const AT_ONCE: u16 = 1_000;
/// How long nothing is looked for when nothing is due: newcomers wait so long for a bucket.
const LOOK: TimeDelta = TimeDelta::minutes(1);
/// How soon a user is tried again of whom Discord told nothing.
const RETRY: TimeDelta = TimeDelta::seconds(30);

/// Looks everyone up in turn.
#[derive(Debug)]
pub struct RotatingRefresh {
    env: Environment,
    /// Of whom an event left open what they still have.
    unclear: Unclear,
    /// Nothing is due before that, and after so much more the clock was set back.
    idle_until: Mutex<Option<DateTime<Utc>>>,
    /// How many users each bucket has. Counted once, since it takes reading all users, and again
    /// where many have no bucket, as after an import.
    filled: Mutex<Option<Filled>>,
}

/// How many users each bucket has; empty ones are left out.
type Filled = Vec<(BucketNumber, u64)>;

/// What is to be done at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// To look this user up.
    Look(UserId),
    /// To go on to the next bucket.
    Turn,
    /// Nothing before that.
    Wait(DateTime<Utc>),
}

impl Job for RotatingRefresh {
    const NAME: &'static str = "rotating-refresh";
    const CADENCE: Duration = Duration::from_secs(1);

    /// Puts whoever has no bucket into one, and looks up who is due at `now`: one user at
    /// most, and one of whom something is unclear.
    async fn run_once(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        if let Some(user) = self.unclear.next(Instant::now()) {
            self.clear_up(user).await?;
        }
        let idle_until = self.idle_until();
        if idle_until.is_some_and(|until| now < until && until <= now + LOOK) {
            return Ok(());
        }
        let mut filled = None;
        while self.spread(&mut filled).await? {}
        loop {
            let mut session = self.env.database.acquire().await?;
            let round = profile_bucket::load(&mut session).await?;
            let began = began(&round, now);
            let next = profiles::next_of(&mut session, round.bucket, round.last_user).await?;
            match what_next(&round, began, next, now) {
                Next::Turn => {
                    let turned = Round {
                        bucket: round.bucket.next(),
                        began_at: Some(next_beginning(began, now)),
                        last_user: None,
                        last_look_at: None,
                    };
                    profile_bucket::save(&mut session, &turned).await?;
                }
                Next::Wait(until) => {
                    if round.began_at != Some(began) {
                        let now_known = Round {
                            began_at: Some(began),
                            ..round
                        };
                        profile_bucket::save(&mut session, &now_known).await?;
                    }
                    self.idle(until.min(now + LOOK));
                    return Ok(());
                }
                Next::Look(user) => {
                    drop(session);
                    let done = Round {
                        began_at: Some(began),
                        last_user: Some(user),
                        last_look_at: Some(now),
                        ..round
                    };
                    return self.look(user, &done, now).await;
                }
            }
        }
    }
}

impl RotatingRefresh {
    /// The job.
    pub fn new(env: &Environment, unclear: Unclear) -> Self {
        Self {
            env: env.clone(),
            unclear,
            idle_until: Mutex::default(),
            filled: Mutex::default(),
        }
    }

    /// Spreads a page of users who have no bucket; whether there were any. `filled` is counted
    /// for the first page and kept for the others.
    async fn spread(&self, filled: &mut Option<Filled>) -> store::Result<bool> {
        let mut transaction = self.env.database.begin().await?;
        let users = profiles::without_bucket(&mut transaction, AT_ONCE).await?;
        if users.is_empty() {
            return Ok(false);
        }
        let is_page_full = users.len() == usize::from(AT_ONCE);
        let known = filled.take().or_else(|| {
            let mut known = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
            known.take().filter(|_| !is_page_full)
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
        *self.filled.lock().unwrap_or_else(PoisonError::into_inner) = Some(counts.clone());
        *filled = Some(counts);
        Ok(true)
    }

    /// Looks a user up, and remembers in the same transaction what was found and that it was.
    async fn look(&self, user: UserId, done: &Round, now: DateTime<Utc>) -> anyhow::Result<()> {
        let known = self.env.xp.seen(user);
        let found = match fetch(&self.env, user).await {
            Ok(found) => Some(found),
            // Not now, and not by trying again either.
            Err(error @ (RestError::Refused { .. } | RestError::NotUnderstood(_))) => {
                tracing::warn!(%user, %error, "a user could not be looked up; trying again in two weeks");
                None
            }
            Err(error) => {
                self.idle(now + RETRY);
                return Err(error.into());
            }
        };
        // Heard of meanwhile: what was asked for may be older.
        let found = found.filter(|_| self.env.xp.seen(user) == known);
        let seen = match &found {
            Some(Found::There(seen)) => seen.news(known).is_some().then_some(seen),
            _ => None,
        };
        let gone = found == Some(Found::Gone);
        let mut transaction = self.env.database.begin().await?;
        if seen.is_some() || gone {
            // Whoever saves something newer has done so by now, or waits for this.
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
            // Heard of just now, and perhaps waiting for the row: it is looked up again.
            return Ok(store::roll_back(transaction).await?);
        }
        store::commit(transaction).await?;
        if let Some(seen) = seen {
            self.env.xp.note_looked_up(user, known, seen);
        }
        if gone {
            self.env.xp.forget_profile(user);
            tracing::info!(%user, "an account is no more; its last name and avatar are kept");
        }
        Ok(())
    }

    /// Asks what a user still has of whom an event left that open.
    async fn clear_up(&self, user: UserId) -> Result<(), RestError> {
        let known = self.env.xp.seen(user);
        let found = match fetch(&self.env, user).await {
            Ok(found) => found,
            // Asking again would not help; the next list of members shows them.
            Err(error @ (RestError::Refused { .. } | RestError::NotUnderstood(_))) => {
                tracing::warn!(%user, %error, "a user could not be looked up");
                self.unclear.rest(user, Instant::now());
                return Ok(());
            }
            Err(error) => {
                self.unclear.ask_later(user, Instant::now());
                return Err(error);
            }
        };
        if self.env.xp.seen(user) != known {
            // Heard of meanwhile: the answer may be older.
            self.unclear.ask(user, Instant::now());
            return Ok(());
        }
        match found {
            Found::There(seen) if seen.news(known).is_some() => {
                self.env.xp.observe(user, seen, Origin::Answer(known));
            }
            // The round finds out who is gone.
            Found::There(_) | Found::Gone => self.unclear.rest(user, Instant::now()),
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

/// Counts these in.
fn add(counts: &mut Filled, assigned: impl Iterator<Item = BucketNumber>) {
    let mut by_bucket: BTreeMap<BucketNumber, u64> = counts.drain(..).collect();
    for bucket in assigned {
        *by_bucket.entry(bucket).or_default() += 1;
    }
    counts.extend(by_bucket);
}

/// When the bucket began: now, if it never did; and not in the future, where the clock was set
/// back.
fn began(round: &Round, now: DateTime<Utc>) -> DateTime<Utc> {
    round.began_at.map_or(now, |began| began.min(now))
}

/// What a round needs at `now`, where `next` is the bucket's next user, and how many are left
/// with them.
fn what_next(
    round: &Round,
    began: DateTime<Utc>,
    next: Option<(UserId, u32)>,
    now: DateTime<Utc>,
) -> Next {
    let Some((user, left)) = next else {
        let ends = began + LASTS;
        return if ends <= now {
            Next::Turn
        } else {
            Next::Wait(ends)
        };
    };
    let last = round.last_look_at.map_or(began, |last| last.min(now));
    let due = next_look(began, last, left);
    if due <= now {
        Next::Look(user)
    } else {
        Next::Wait(due)
    }
}

/// When the next bucket begins, of one that began then: where the last one ended, and after a
/// pause now, so that none is hurried through.
fn next_beginning(began: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    let ends = began + LASTS;
    if ends + LASTS <= now { now } else { ends }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_goes_on_where_it_was() {
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
                Next::Wait(began + minutes(20)),
            ),
            (None, Some((user, 3)), minutes(20), Next::Look(user)),
            (
                Some(minutes(20)),
                Some((user, 2)),
                minutes(39),
                Next::Wait(began + minutes(40)),
            ),
            (
                Some(minutes(40)),
                Some((user, 1)),
                minutes(60),
                Next::Look(user),
            ),
            // The rest of the hour is idle, and then comes the next bucket.
            (
                Some(minutes(59)),
                None,
                minutes(59),
                Next::Wait(began + LASTS),
            ),
            (Some(minutes(60)), None, minutes(60), Next::Turn),
            (None, None, minutes(61), Next::Turn),
            // Back after a day: nobody is skipped.
            (None, Some((user, 3)), TimeDelta::days(1), Next::Look(user)),
        ] {
            let round = round(last);
            let found = what_next(&round, began, next, began + after);
            assert_eq!(found, expected, "{last:?} {next:?} {after}");
        }
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap_and_without_hurry() {
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
