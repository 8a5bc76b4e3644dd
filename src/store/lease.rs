//! The lease: the right to write to the database, which one bot holds at a time.
//!
//! The owner updates a heartbeat in the table `lease` from a session of its own. It never waits for
//! a row that a batch or another transaction may have locked. A standby considers the owner gone
//! when that session has ended (crash or kill) or when the heartbeat stops (hang). It measures time
//! only by its own monotonic clock and trusts no wall clock, here or in the database. A bot that
//! takes over raises the watermark's `owner_epoch`. From then on every write of the old owner is
//! refused, however late it comes.
//!
//! Versions without the table `lease` keep their heartbeat in `watermark`: see the migration that
//! adds `lease`.

use std::time::{Duration, Instant};

use sqlx::Connection as _;
use tokio_util::sync::CancellationToken;

use super::gateway_session::{self, LeftSession};
use super::watermark::{self, Lost, Watermark, frontier};
use super::{ANSWER_TIMEOUT, Connection, Database, Result, begin, commit, within};
use crate::backoff::Backoff;

/// Interval between two heartbeats of the owner.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// A standby takes over after this time without a heartbeat.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_millis(3_500);
/// The same if the owner's session has ended. A live owner opens a new session within this time.
const HEARTBEAT_TIMEOUT_WITHOUT_SESSION: Duration = Duration::from_secs(2);
/// Timeout of a takeover. It may have to wait for a batch that holds the watermark's row.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(20);
/// After this time a warning reports an owner that was asked to end and still runs. An owner ends
/// within ten seconds.
const END_TIMEOUT: Duration = Duration::from_secs(15);
/// Interval at which a standby reads the owner's state.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Delays between the owner's attempts to reach a database that does not answer.
const RECONNECT_BACKOFF: Backoff = Backoff::new(POLL_INTERVAL, HEARTBEAT_INTERVAL);

/// The right to write, until another bot takes it.
#[derive(Debug)]
pub struct Lease {
    database: Database,
    /// The session whose end tells others that the owner is gone.
    session: Connection,
    owner_epoch: i64,
    /// The value that our last heartbeat wrote.
    heartbeat: i64,
    /// Cancelled when a standby asks this bot to end.
    asked_to_end: CancellationToken,
}

/// The result of taking over the database.
#[derive(Debug)]
pub struct Claimed {
    /// The right to write.
    pub lease: Lease,
    /// Up to where messages have been applied.
    pub watermark: Watermark,
    /// The gateway session that the previous owner left. It has been removed from the database, so
    /// if it is dropped, the bot must begin a new session.
    pub session: Option<LeftSession>,
}

/// What a standby does while another bot owns the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standby {
    /// Waits until the owner ends by itself or its heartbeat stops.
    Wait,
    /// Asks the owner to shut down. Each owner is asked once.
    AskOwnerToEnd,
}

/// The owner's state as a standby reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holder {
    owner_epoch: i64,
    heartbeat: i64,
    /// Nobody owns the database: the last owner released it.
    free: bool,
    /// The owner's session still exists.
    alive: bool,
    /// The heartbeat is in `lease`; older versions keep it in `watermark`.
    on_lease: bool,
}

impl Holder {
    /// Whether a standby that has seen no change for this time may take over.
    fn is_gone_after(self, unchanged: Duration) -> bool {
        self.free
            || unchanged
                >= if self.alive {
                    HEARTBEAT_TIMEOUT
                } else {
                    HEARTBEAT_TIMEOUT_WITHOUT_SESSION
                }
    }
}

/// Takes the database if no bot owns it; `None` if a live bot does. Waits a few seconds if the
/// owner's session has ended.
pub async fn claim_if_free(database: &Database) -> Result<Option<Claimed>> {
    let mut session = database.connect_apart().await?;
    let first = read_holder(&mut session).await?;
    let mut started = Instant::now();
    let mut seen = first;
    while seen == first && !seen.alive && !seen.is_gone_after(started.elapsed()) {
        tokio::time::sleep(POLL_INTERVAL).await;
        let read_started = Instant::now();
        seen = read_holder(&mut session).await?;
        started += read_started.elapsed();
    }
    if seen == first && seen.is_gone_after(started.elapsed()) {
        return claim(database, session, seen).await;
    }
    Ok(None)
}

/// Takes the database as soon as no bot owns it: waits as a standby while another bot is alive, and
/// takes over when it ends or its heartbeat stops. `None` on `cancel`.
pub async fn claim_when_free(
    database: &Database,
    cancel: &CancellationToken,
    standby: Standby,
) -> Result<Option<Claimed>> {
    let claimed = cancel
        .run_until_cancelled(wait_and_claim(database, standby))
        .await;
    claimed.transpose()
}

/// Waits until this bot owns the database. Keeps waiting while Postgres is unavailable, so that a
/// bot is ready when it returns.
async fn wait_and_claim(database: &Database, standby: Standby) -> Result<Claimed> {
    let mut session = database.connect_apart().await?;
    let mut last: Option<(Holder, Instant)> = None;
    let mut owner_asked: Option<AskedOwner> = None;
    let mut away = false;
    loop {
        let read_started = Instant::now();
        let read = read_holder(&mut session).await;
        // Whatever delayed this query may have delayed the owner's heartbeat too, so its duration
        // does not count.
        last = last.map(|(seen, since)| (seen, since + read_started.elapsed()));
        let holder = match read {
            Ok(holder) => holder,
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!(%error, "the database does not answer; waiting for it");
                }
                tokio::time::sleep(POLL_INTERVAL).await;
                if let Ok(new) = database.connect_apart().await {
                    session = new;
                }
                last = last.map(|(seen, _)| (seen, Instant::now()));
                continue;
            }
        };
        away = false;
        let since = match last {
            Some((seen, since)) if seen == holder => since,
            _ => Instant::now(),
        };
        if holder.is_gone_after(since.elapsed()) {
            let claimed = async { claim(database, database.connect_apart().await?, holder).await };
            match claimed.await {
                Ok(Some(claimed)) => return Ok(claimed),
                // Another bot took over first, or the owner is alive.
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "the database could not be taken over yet; trying again");
                }
            }
            last = None;
            tokio::time::sleep(POLL_INTERVAL).await;
            continue;
        }
        if last.is_none() {
            tracing::info!("another wall_e owns the database; waiting to take over when it ends");
        }
        if standby == Standby::AskOwnerToEnd {
            owner_asked = ask_to_end(&mut session, holder.owner_epoch, owner_asked).await;
        }
        last = Some((holder, since));
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// An owner that was asked to end.
#[derive(Clone, Copy, Debug)]
struct AskedOwner {
    owner_epoch: i64,
    since: Instant,
    reported: bool,
}

/// Asks the owner to end, once, and warns if it does not.
async fn ask_to_end(
    session: &mut Connection,
    owner_epoch: i64,
    asked: Option<AskedOwner>,
) -> Option<AskedOwner> {
    if let Some(asked) = asked.filter(|asked| asked.owner_epoch == owner_epoch) {
        let is_late = asked.since.elapsed() >= END_TIMEOUT;
        if is_late && !asked.reported {
            tracing::warn!(
                "the other bot was asked to stop but is still running, perhaps because it is an older version; stop \
                 it yourself, and this one takes over"
            );
        }
        return Some(AskedOwner {
            reported: is_late,
            ..asked
        });
    }
    let asking = sqlx::query!(
        "update lease set yield_epoch = owner_epoch where owner_epoch = $1",
        owner_epoch
    );
    let asking = within(ANSWER_TIMEOUT, async { Ok(asking.execute(session).await?) });
    match asking.await {
        Ok(_) => {
            tracing::info!("asked the bot that holds the database to end");
            Some(AskedOwner {
                owner_epoch,
                since: Instant::now(),
                reported: false,
            })
        }
        // The next poll shows whether the database is unavailable.
        Err(error) => {
            tracing::warn!(%error, "the other bot could not be asked to end yet; trying again");
            None
        }
    }
}

impl Lease {
    /// Cancels `token` when a standby asks this bot to end. Without this call such a request has no
    /// effect.
    #[must_use]
    pub fn cancel_when_asked_to_end(mut self, token: CancellationToken) -> Self {
        self.asked_to_end = token;
        self
    }

    /// Sends heartbeats until `cancel`, then releases the database. Returns early only if the lease
    /// is lost, with the reason. Keeps trying while the database is unavailable.
    pub async fn keep(mut self, cancel: CancellationToken) -> Option<Lost> {
        let lost = cancel.run_until_cancelled(self.keep_beating()).await;
        if lost.is_none()
            && let Err(error) = self.release().await
        {
            tracing::warn!(%error, "the database could not be released; the next bot takes over some seconds later");
        }
        lost
    }

    /// Sends heartbeats until the lease is lost.
    async fn keep_beating(&mut self) -> Lost {
        let mut failures = 0;
        loop {
            match self.beat().await {
                Ok(None) => {
                    failures = 0;
                    tokio::time::sleep(HEARTBEAT_INTERVAL).await;
                }
                Ok(Some(lost)) => return lost,
                Err(error) => {
                    // After the first failure the new session sends a heartbeat without delay,
                    // since a standby may consider this bot dead meanwhile. If that fails too,
                    // the server is unavailable, and the backoff applies.
                    if failures == 0 {
                        tracing::warn!(%error, "the database does not answer; claiming it again when it does");
                    } else {
                        let delay = RECONNECT_BACKOFF.delay(failures - 1);
                        tokio::time::sleep(delay).await;
                    }
                    failures += 1;
                    if let Ok(session) = self.database.connect_apart().await {
                        self.session = session;
                    }
                }
            }
        }
    }

    /// Releases the database, so that the next bot can take over immediately.
    pub async fn release(mut self) -> Result<()> {
        if self.clear_owner().await.is_err() {
            // The session may have been broken already: try once with a new one.
            self.session = self.database.connect_apart().await?;
            self.clear_owner().await?;
        }
        Ok(self.session.close().await?)
    }

    async fn clear_owner(&mut self) -> Result<()> {
        let released = sqlx::query!(
            "with before_the_lease as (
                update watermark set owner_pid = null
                where only_row in (select only_row from watermark
                                   where owner_epoch = $1 for update skip locked)
             )
             update lease set owner_pid = null where owner_epoch = $1",
            self.owner_epoch
        );
        within(ANSWER_TIMEOUT, async {
            Ok(released.execute(&mut self.session).await?)
        })
        .await?;
        Ok(())
    }

    /// Sends one heartbeat. Returns why the lease is lost if the row has another owner or an older
    /// heartbeat than this bot wrote.
    async fn beat(&mut self) -> Result<Option<Lost>> {
        let beat = sqlx::query!(
            "with before_the_lease as (
                update watermark set heartbeat = heartbeat + 1, owner_pid = pg_backend_pid(),
                    owner_started_at = (select backend_start from pg_stat_activity where pid = pg_backend_pid())
                where only_row in (select only_row from watermark
                                   where owner_epoch = $1 for update skip locked)
             )
             update lease set heartbeat = heartbeat + 1, owner_pid = pg_backend_pid(),
                owner_started_at = (select backend_start from pg_stat_activity where pid = pg_backend_pid())
             where owner_epoch = $1 and exists (select from watermark where owner_epoch = $1)
             returning heartbeat, yield_epoch = owner_epoch as yield_requested",
            self.owner_epoch,
        );
        within(ANSWER_TIMEOUT, async {
            let Some(row) = beat.fetch_optional(&mut self.session).await? else {
                let now = watermark::read(&mut self.session).await?;
                return Ok(Some(if now.owner_epoch > self.owner_epoch {
                    Lost::TakenOver
                } else {
                    Lost::Rewound
                }));
            };
            if row.heartbeat <= self.heartbeat {
                return Ok(Some(Lost::Rewound));
            }
            self.heartbeat = row.heartbeat;
            if row.yield_requested == Some(true) && !self.asked_to_end.is_cancelled() {
                tracing::info!("another wall_e is ready to take over and asks this one to stop");
                self.asked_to_end.cancel();
            }
            Ok(None)
        })
        .await
    }
}

async fn read_holder(session: &mut Connection) -> Result<Holder> {
    // Without the privilege to see other users' sessions `backend_start` is null. Then the owner
    // counts as alive as long as a session has its pid, and only the heartbeat shows its end.
    let holder = sqlx::query_as!(
        Holder,
        r#"select watermark.owner_epoch, lease.owner_epoch = watermark.owner_epoch as "on_lease!",
               beat.heartbeat as "heartbeat!", beat.owner_pid is null as "free!", exists (
                   select from pg_stat_activity session
                   where session.pid = beat.owner_pid
                     and coalesce(session.backend_start = beat.owner_started_at, true)
               ) as "alive!"
           from watermark, lease, lateral (
               select lease.heartbeat, lease.owner_pid, lease.owner_started_at
               where lease.owner_epoch = watermark.owner_epoch
               union all
               select watermark.heartbeat, watermark.owner_pid, watermark.owner_started_at
               where lease.owner_epoch <> watermark.owner_epoch
           ) beat"#
    );
    within(ANSWER_TIMEOUT, async {
        Ok(holder.fetch_one(session).await?)
    })
    .await
}

/// Takes the database from the owner `seen`; `None` if its state has changed since.
async fn claim(
    database: &Database,
    mut session: Connection,
    seen: Holder,
) -> Result<Option<Claimed>> {
    let claiming = async {
        let mut transaction = begin(&mut session).await?;
        // If the old owner is saving a batch, it has locked this row. The update waits for it, so
        // that batch counts. The epoch rises by a random step: two bots that take over from the
        // same row on two sides of a failover must not get the same epoch.
        let fenced = sqlx::query!(
            "update watermark set owner_epoch = owner_epoch + 1 + floor(random() * 1000000)::bigint,
                heartbeat = heartbeat + 1, owner_pid = pg_backend_pid(),
                owner_started_at = (select backend_start from pg_stat_activity where pid = pg_backend_pid())
             where owner_epoch = $1 and ($3 or heartbeat = $2)
             returning message_id, owner_epoch, batch_no",
            seen.owner_epoch,
            seen.heartbeat,
            seen.on_lease,
        );
        let Some(row) = fenced.fetch_optional(&mut *transaction).await? else {
            return Ok(None);
        };
        let watermark = Watermark {
            frontier: frontier(row.message_id)?,
            owner_epoch: row.owner_epoch,
            batch_no: row.batch_no,
        };
        // The owner may have sent a heartbeat during the wait.
        let taken = sqlx::query!(
            "update lease set owner_epoch = $4, heartbeat = heartbeat + 1, owner_pid = pg_backend_pid(),
                owner_started_at = (select backend_start from pg_stat_activity where pid = pg_backend_pid())
             where not $3 or (owner_epoch = $1 and heartbeat = $2)
             returning heartbeat",
            seen.owner_epoch,
            seen.heartbeat,
            seen.on_lease,
            watermark.owner_epoch,
        );
        let Some(row) = taken.fetch_optional(&mut *transaction).await? else {
            return Ok(None);
        };
        let left = gateway_session::take(&mut transaction, seen.owner_epoch).await?;
        commit(transaction).await?;
        Ok(Some((watermark, row.heartbeat, left)))
    };
    // Unless the takeover succeeds, the session is dropped, which rolls the transaction back.
    let claimed = within(CLAIM_TIMEOUT, claiming).await?;
    Ok(claimed.map(|(watermark, heartbeat, left)| {
        let lease = Lease {
            database: database.clone(),
            session,
            owner_epoch: watermark.owner_epoch,
            heartbeat,
            asked_to_end: CancellationToken::new(),
        };
        Claimed {
            lease,
            watermark,
            session: left,
        }
    }))
}
