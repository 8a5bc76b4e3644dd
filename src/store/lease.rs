//! Who may write: the ownership of the database, held by one bot at a time.
//!
//! The owner beats on the table `lease` from a session of its own, and waits for no row that a
//! batch or anything else may hold. It is gone when that session has ended (a crash, a kill)
//! or when the beat stops (a hang). Time is only ever measured by the watcher's own monotonic
//! clock; no wall clock, here or in the database, is trusted. Whoever takes over raises the
//! watermark's `owner_epoch`, and from then on every write of the old owner is refused,
//! however late it comes.
//!
//! Versions before the table `lease` beat on the watermark: see the migration that adds it.

use std::time::{Duration, Instant};

use sqlx::Connection as _;
use tokio_util::sync::CancellationToken;

use super::gateway_session::{self, LeftSession};
use super::watermark::{self, Lost, Watermark, frontier};
use super::{ANSWER_TIMEOUT, Connection, Database, Result, begin, commit, within};
use crate::backoff::backoff;

/// How often the owner beats.
const BEAT: Duration = Duration::from_secs(1);
/// How long a watcher waits without a beat before it takes over.
const SILENCE: Duration = Duration::from_millis(3_500);
/// The same when the owner's session has ended: a living one has a new session by then.
const SILENCE_WITHOUT_SESSION: Duration = Duration::from_secs(2);
/// How long the row may be held by a batch that is being saved.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(20);
/// How long an owner that was asked to end may take before that is reported: it promises to end
/// within ten seconds.
const END_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a watcher looks.
const LOOK: Duration = Duration::from_millis(250);

/// The right to write, until someone else takes it.
#[derive(Debug)]
pub struct Lease {
    database: Database,
    /// The session whose end tells others that the owner is gone.
    session: Connection,
    owner_epoch: i64,
    /// Where our last beat left the count.
    heartbeat: i64,
    /// Cancelled when a bot that stands by asks for the database.
    asked_to_end: CancellationToken,
}

/// What comes with the database.
#[derive(Debug)]
pub struct Claimed {
    /// The right to write.
    pub lease: Lease,
    /// Up to where messages have been applied.
    pub watermark: Watermark,
    /// The session with Discord's gateway that the owner before has left. It is in the database
    /// no more: who drops it begins another one.
    pub session: Option<LeftSession>,
}

/// What a standby does while another bot owns the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standby {
    /// Waits until the owner ends by itself or falls silent.
    Wait,
    /// Asks the owner for an orderly end. Every owner it meets is asked once.
    AskOwnerToEnd,
}

/// The owner as a watcher sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holder {
    owner_epoch: i64,
    heartbeat: i64,
    /// Nobody holds it: the last owner gave it free.
    free: bool,
    /// The owner's session is still there.
    alive: bool,
    /// It beats on the lease; one of before the lease beats on the watermark.
    on_lease: bool,
}

impl Holder {
    /// Whether someone who has watched it unchanged for so long may take it.
    fn is_gone_after(self, unchanged: Duration) -> bool {
        self.free
            || unchanged
                >= if self.alive {
                    SILENCE
                } else {
                    SILENCE_WITHOUT_SESSION
                }
    }
}

/// Takes the database if nobody has it; `None` if a living bot does.
pub async fn claim_if_free(database: &Database) -> Result<Option<Claimed>> {
    let mut session = database.connect_apart().await?;
    let first = look(&mut session).await?;
    let mut started = Instant::now();
    let mut seen = first;
    while seen == first && !seen.alive && !seen.is_gone_after(started.elapsed()) {
        tokio::time::sleep(LOOK).await;
        let asked = Instant::now();
        seen = look(&mut session).await?;
        started += asked.elapsed();
    }
    if seen == first && seen.is_gone_after(started.elapsed()) {
        return claim(database, session, seen).await;
    }
    Ok(None)
}

/// Takes the database as soon as nobody has it: waits as a standby while another
/// bot lives, and takes over when it ends or falls silent. `None` on `cancel`.
pub async fn claim_when_free(
    database: &Database,
    cancel: &CancellationToken,
    standby: Standby,
) -> Result<Option<Claimed>> {
    let claimed = cancel.run_until_cancelled(watch(database, standby)).await;
    claimed.transpose()
}

/// Watches until the database is ours. A Postgres that is away is waited for: its
/// return is not the moment to be without a bot.
async fn watch(database: &Database, standby: Standby) -> Result<Claimed> {
    let mut session = database.connect_apart().await?;
    let mut last: Option<(Holder, Instant)> = None;
    let mut owner_asked: Option<AskedOwner> = None;
    let mut away = false;
    loop {
        let asked = Instant::now();
        let looked = look(&mut session).await;
        // Whatever held this up may have held up the owner's beat: it is no silence.
        last = last.map(|(seen, since)| (seen, since + asked.elapsed()));
        let holder = match looked {
            Ok(holder) => holder,
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!(%error, "the database does not answer; waiting for it");
                }
                tokio::time::sleep(LOOK).await;
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
                // Someone else was faster.
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "the database could not be taken over yet"),
            }
            last = None;
            tokio::time::sleep(LOOK).await;
            continue;
        }
        if last.is_none() {
            tracing::info!("another wall_e holds the database; waiting to take over when it ends");
        }
        if standby == Standby::AskOwnerToEnd {
            owner_asked = ask_to_end(&mut session, holder.owner_epoch, owner_asked).await;
        }
        last = Some((holder, since));
        tokio::time::sleep(LOOK).await;
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
        // The next look tells whether the database is away.
        Err(error) => {
            tracing::warn!(%error, "the other bot could not be asked to end yet");
            None
        }
    }
}

impl Lease {
    /// Cancels `token` when a bot that stands by asks this one to end. Without this call the
    /// request has no effect.
    #[must_use]
    pub fn cancel_when_asked_to_end(mut self, token: CancellationToken) -> Self {
        self.asked_to_end = token;
        self
    }

    /// Beats until `cancel`, then gives the database free. Returns early only with the
    /// reason why it is not ours any more. A database that is away is waited for.
    pub async fn keep(mut self, cancel: CancellationToken) -> Option<Lost> {
        let beating = cancel.run_until_cancelled(self.beat_on()).await;
        if beating.is_none()
            && let Err(error) = self.release().await
        {
            tracing::warn!(%error, "the database could not be released; the next bot will wait some seconds for it");
        }
        beating
    }

    /// Returns when the database is not ours any more.
    async fn beat_on(&mut self) -> Lost {
        let mut failures = 0;
        loop {
            match self.beat().await {
                Ok(None) => {
                    failures = 0;
                    tokio::time::sleep(BEAT).await;
                }
                Ok(Some(lost)) => return lost,
                Err(error) => {
                    match failures {
                        // A new session beats at once: until then a watcher may think us
                        // dead. One that fails as well meets a server that refuses.
                        0 => {
                            tracing::warn!(%error, "the database does not answer; claiming it again when it does");
                        }
                        _ => tokio::time::sleep(backoff(failures - 1, LOOK, BEAT)).await,
                    }
                    failures += 1;
                    if let Ok(session) = self.database.connect_apart().await {
                        self.session = session;
                    }
                }
            }
        }
    }

    /// Gives the database free, so that the next bot need not wait.
    pub async fn release(mut self) -> Result<()> {
        if self.give_free().await.is_err() {
            // The session may have died without our noticing.
            self.session = self.database.connect_apart().await?;
            self.give_free().await?;
        }
        Ok(self.session.close().await?)
    }

    async fn give_free(&mut self) -> Result<()> {
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

    /// Beats once. A row that is not ours, or that counts beats which we left behind
    /// already, says why.
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

async fn look(session: &mut Connection) -> Result<Holder> {
    // Without the right to see another role's sessions their start is null: then
    // only the beat can tell.
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

/// Takes the database from the owner as it was seen; `None` if it has moved since.
async fn claim(
    database: &Database,
    mut session: Connection,
    seen: Holder,
) -> Result<Option<Claimed>> {
    let claiming = async {
        let mut transaction = begin(&mut session).await?;
        // A batch of the old owner that is being saved holds this row: it is waited for, and
        // counts. The step is drawn: two bots that take over on two sides of a failover, from
        // the same row, must not come to the same epoch.
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
        // The owner may have beaten while that was waited for.
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
    // Its session ends with it, unless it is ours now.
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
