//! The gateway, connected, on a thread and a runtime of its own, and looked after:
//! serenity has ways to hang, to spin and to knock for ever, none of which it ends by
//! itself.
//!
//! serenity spawns a task for every event, on the runtime on which the client was
//! built. On a `current_thread` one these run in the order in which they came; on
//! any other thousands are overtaken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures_util::future::BoxFuture;
use serenity::all::{GatewayError, OnlineStatus, ShardId, ShardManager};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};
use tokio::time::Instant;

use super::address;
use super::budget::Budget;
use super::overheard::Overheard;
use super::rest::Rest;
use super::watchdog::{self, Sight, Verdict, Watchdog};
use crate::error::Stop;

/// How long serenity's client may take to be built; it makes one call.
const BUILD_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the gateway is looked after.
const LOOK: Duration = Duration::from_secs(1);
/// How soon a client is built again that could not be built anew.
const REBUILD: Duration = Duration::from_secs(30);

/// The one shard: a guild of its own needs no second.
const SHARD: ShardId = ShardId(0);

/// Builds serenity's client; more than once, if one must be abandoned.
pub(super) type Build =
    Arc<dyn Fn() -> BoxFuture<'static, anyhow::Result<serenity::Client>> + Send + Sync>;

/// The gateway, and all that it takes to bring it back.
pub struct Gateway {
    build: Build,
    rest: Rest,
    overheard: Overheard,
    budget: Budget,
    /// How many sessions the budget knows of.
    counted: u64,
    connection: Connection,
}

impl Gateway {
    pub(super) fn new(
        build: Build,
        rest: Rest,
        overheard: Overheard,
        connection: Connection,
    ) -> Self {
        // What was heard before belongs to an earlier gateway of this process, and may be
        // months old.
        let counted = overheard.borrow().identifies;
        Self {
            build,
            rest,
            overheard,
            budget: Budget::default(),
            counted,
            connection,
        }
    }

    /// Finds the gateway and connects.
    pub(super) async fn connect(&mut self) -> Result<(), Stop> {
        let url = address::find_gateway(&self.rest).await?;
        self.connection.start(url);
        Ok(())
    }

    /// Waits until the gateway has ended for good, and says why. Meanwhile it is looked
    /// after.
    pub async fn ended(&mut self) -> Stop {
        self.ended_with(watchdog::CONNECTING).await
    }

    /// The same, where an attempt to connect may take this many seconds.
    pub async fn ended_with(&mut self, connecting: u32) -> Stop {
        loop {
            let Connection {
                ended,
                shards,
                url,
                held_back,
                ticks,
                ..
            } = &mut self.connection;
            let (budget, counted) = (&mut self.budget, &mut self.counted);
            let pause = async || address::session_pause(&self.rest).await;
            let heard = self.overheard.clone();
            let pacing = pace(budget, counted, heard, url, held_back, pause);
            tokio::select! {
                ended = ended => {
                    return ended.unwrap_or_else(|_| Stop::Other(anyhow!("the gateway's thread has died")));
                }
                stop = refused(self.overheard.clone()) => return stop,
                stop = pacing => return stop,
                () = watch(shards, url, ticks, &self.overheard, connecting) => {}
            }
            tracing::error!(
                "Discord's gateway keeps the bot waiting without an answer; a new client is made"
            );
            if let Err(stop) = self.begin_again().await {
                return stop;
            }
        }
    }

    /// Leaves the connection to itself and makes another.
    async fn begin_again(&mut self) -> Result<(), Stop> {
        self.connection.let_go();
        self.connection = loop {
            match Connection::open_patiently(&self.build).await {
                Ok(connection) => break connection,
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "there is no new client yet; trying again");
                    tokio::time::sleep(REBUILD).await;
                }
            }
        };
        tokio::time::sleep(self.budget.wait(Instant::now())).await;
        self.connect().await
    }

    /// Closes the connection: no event comes after this. A session that is held back is
    /// never begun, as its lock is kept.
    pub async fn close(&self) {
        self.connection.shards.shutdown_all().await;
    }

    /// Lets the gateway's thread end, and waits for it.
    pub async fn join(mut self) {
        self.connection.let_go();
        let _ = tokio::task::spawn_blocking(move || self.connection.thread.join()).await;
    }
}

/// serenity's client on its thread, at first waiting to be told where to connect.
pub(super) struct Connection {
    shards: Arc<ShardManager>,
    /// What serenity locks before each connection, to read the address.
    url: Arc<Mutex<String>>,
    /// That lock, while no session may be begun.
    held_back: Option<OwnedMutexGuard<String>>,
    start: Option<oneshot::Sender<String>>,
    ended: oneshot::Receiver<Stop>,
    /// Goes up as long as the thread gets round.
    ticks: Arc<AtomicU64>,
    /// Dropped to let the thread end, when nothing that runs on it is needed any more.
    keep_thread: Option<oneshot::Sender<()>>,
    thread: std::thread::JoinHandle<()>,
}

/// Discord did not answer the one call that serenity makes when its client is built, or
/// told it to come back so late that it still sleeps.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("Discord does not answer")]
struct NoAnswer;

/// What the thread tells of the client it has built.
type Built = (Arc<ShardManager>, Arc<Mutex<String>>);

impl Connection {
    /// The same, for as long as it takes Discord to answer.
    pub async fn open_patiently(build: &Build) -> anyhow::Result<Self> {
        loop {
            match Self::open(build).await {
                Err(error) if error.is::<NoAnswer>() => {
                    tracing::warn!(%error, "Discord cannot be reached; trying again");
                }
                other => return other,
            }
        }
    }

    /// Starts the thread and builds the client on it.
    async fn open(build: &Build) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the gateway's runtime cannot be built")?;
        let (tell, told) = oneshot::channel();
        let (start, address) = oneshot::channel();
        let (report, ended) = oneshot::channel();
        let (keep_thread, released) = oneshot::channel();
        let ticks = Arc::new(AtomicU64::new(0));
        let serving = serve(build(), tell, address, Arc::clone(&ticks), report, released);
        let thread = std::thread::Builder::new()
            .name("gateway".to_owned())
            .spawn(move || {
                runtime.block_on(serving);
                // A name that is still being looked up is not waited for.
                runtime.shutdown_background();
            })
            .context("the gateway's thread cannot be started")?;
        let (shards, url) = told.await.context("the gateway's thread has died")??;
        Ok(Self {
            shards,
            url,
            held_back: None,
            start: Some(start),
            ended,
            ticks,
            keep_thread: Some(keep_thread),
            thread,
        })
    }

    fn start(&mut self, url: String) {
        if let Some(start) = self.start.take() {
            // Only a thread that has died does not listen, and `ended` reports that.
            let _ = start.send(url);
        }
    }

    fn let_go(&mut self) {
        self.keep_thread = None;
    }
}

/// What the gateway's thread does, until it is released or the client ends.
async fn serve(
    building: BoxFuture<'static, anyhow::Result<serenity::Client>>,
    tell: oneshot::Sender<anyhow::Result<Built>>,
    address: oneshot::Receiver<String>,
    ticks: Arc<AtomicU64>,
    report: oneshot::Sender<Stop>,
    mut released: oneshot::Receiver<()>,
) {
    let built = tokio::time::timeout(BUILD_TIMEOUT, building).await;
    let mut client = match built.unwrap_or_else(|_| Err(NoAnswer.into())) {
        Ok(client) => client,
        Err(error) => return drop(tell.send(Err(error))),
    };
    let shards = Arc::clone(&client.shard_manager);
    let url = Arc::clone(&client.ws_url);
    let _ = tell.send(Ok((shards, Arc::clone(&url))));
    let Ok(found) = address.await else { return };
    tokio::select! {
        // Whoever holds back the first session holds it back from here.
        mut address = url.lock() => *address = found,
        _ = &mut released => return,
    }
    tokio::spawn(tick(ticks));
    tokio::select! {
        ended = client.start() => {
            let _ = report.send(stop_for(ended));
            // Commands under way and the sockets they use live on this runtime.
            let _ = released.await;
        }
        _ = &mut released => {}
    }
}

/// Shows that the thread gets round to its tasks.
async fn tick(ticks: Arc<AtomicU64>) {
    loop {
        ticks.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(LOOK / 2).await;
    }
}

/// Gives the shard a new start when that is what it takes. Returns when even that would
/// not help.
async fn watch(
    shards: &ShardManager,
    url: &Mutex<String>,
    ticks: &AtomicU64,
    overheard: &Overheard,
    connecting: u32,
) {
    let mut watchdog = Watchdog::new(connecting);
    loop {
        tokio::time::sleep(LOOK).await;
        let runner = shards
            .runners
            .lock()
            .await
            .get(&SHARD)
            .map(|runner| (runner.latency, runner.runner_tx.clone()));
        let sight = Sight {
            ticks: ticks.load(Ordering::Relaxed),
            shard: runner.is_some(),
            latency: runner.as_ref().and_then(|(latency, _)| *latency),
            failures: overheard.borrow().failures,
            held_back: url.try_lock().is_err(),
        };
        match (watchdog.look(sight), runner) {
            (Verdict::Abandon, _) => return,
            (Verdict::Restart, Some((_, shard))) => {
                tracing::error!("the gateway connection hangs; making a new one");
                // Told directly: serenity's own way leads through the thread that is stuck. A
                // message that cannot be sent is what makes it see that nobody is there; asked
                // to restart, it would wait for a dead connection's farewell in circles.
                shard.set_presence(None, OnlineStatus::Online);
                shards.restart(SHARD).await;
            }
            _ => {}
        }
    }
}

/// Keeps serenity from beginning sessions faster than they may be begun, by holding the
/// lock that each connection takes first; it is left in `held_back` if this is given up
/// meanwhile. `pause` is what Discord's own count asks for. A
/// session that could be resumed waits too; what it misses is read from the history.
async fn pace(
    budget: &mut Budget,
    counted: &mut u64,
    mut overheard: Overheard,
    url: &Arc<Mutex<String>>,
    held_back: &mut Option<OwnedMutexGuard<String>>,
    pause: impl AsyncFn() -> Result<Duration, Stop>,
) -> Stop {
    loop {
        let wait = budget.wait(Instant::now());
        if !wait.is_zero() {
            let until = Instant::now() + wait;
            *held_back = Some(Arc::clone(url).lock_owned().await);
            tracing::warn!(
                wait_s = wait.as_secs(),
                "sessions were begun one after the other; the next one waits"
            );
            match pause().await {
                Ok(pause) => tokio::time::sleep_until(until.max(Instant::now() + pause)).await,
                Err(stop) => return stop,
            }
            *held_back = None;
        }
        let Ok(heard) = overheard
            .wait_for(|heard| heard.identifies > *counted)
            .await
        else {
            // Nobody listens to serenity, so nothing is ever heard.
            return std::future::pending().await;
        };
        for _ in *counted..heard.identifies {
            budget.spend(Instant::now());
        }
        *counted = heard.identifies;
    }
}

/// Waits for a refusal after which serenity comes back in vain, for ever.
async fn refused(mut overheard: Overheard) -> Stop {
    let code = match overheard.wait_for(|heard| heard.refused.is_some()).await {
        Ok(heard) => heard.refused,
        Err(_) => None,
    };
    match code {
        Some(4_010) => Stop::ShardRefused,
        Some(4_011) => Stop::ShardingRequired,
        Some(_) => Stop::VersionRefused,
        None => std::future::pending().await,
    }
}

/// What the end of serenity's client means for the process.
fn stop_for(result: serenity::Result<()>) -> Stop {
    match result {
        Ok(()) => Stop::Other(anyhow!("the gateway connection was closed for good")),
        Err(serenity::Error::Gateway(GatewayError::InvalidAuthentication)) => Stop::TokenRefused,
        Err(serenity::Error::Gateway(GatewayError::DisallowedGatewayIntents)) => Stop::IntentOff,
        Err(serenity::Error::Gateway(GatewayError::InvalidGatewayIntents)) => Stop::IntentsUnknown,
        Err(error) => {
            Stop::Other(anyhow::Error::new(error).context("the gateway connection ended"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discord::overheard::Heard;
    use tokio::sync::watch;

    /// How long the address is withheld after two sessions of a budget of one in 200 ms.
    async fn withheld(discords_pause: Duration) -> Duration {
        let (heard, overheard) = watch::channel(Heard::default());
        let (url, mut held_back) = (Arc::new(Mutex::new(String::new())), None);
        let (mut budget, mut counted) = (Budget::new(2, Duration::from_millis(200)), 0);
        let pause = async || Ok(discords_pause);
        let pacing = pace(
            &mut budget,
            &mut counted,
            overheard,
            &url,
            &mut held_back,
            pause,
        );
        let started = Instant::now();
        let connecting = async {
            heard.send_modify(|heard| heard.identifies = 2);
            while url.try_lock().is_ok() {
                tokio::task::yield_now().await;
            }
            let _free_again = url.lock().await;
            started.elapsed()
        };
        let both = async {
            tokio::select! {
                stop = pacing => panic!("{stop}"),
                withheld = connecting => withheld,
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), both).await;
        in_time.expect("the address is withheld, and given back")
    }

    #[tokio::test]
    async fn sessions_that_come_too_often_wait_for_the_budget_and_for_discords_own_count() {
        for (discords_pause_ms, least_ms) in [(0, 200), (100, 200), (500, 500)] {
            let withheld = withheld(Duration::from_millis(discords_pause_ms)).await;
            let least = Duration::from_millis(least_ms);
            assert!(withheld >= least, "{withheld:?}, not {least:?}");
        }
    }

    #[tokio::test]
    async fn an_end_while_a_session_waits_does_not_let_it_begin() {
        let (heard, overheard) = watch::channel(Heard::default());
        let (url, mut held_back) = (Arc::new(Mutex::new(String::new())), None);
        let (mut budget, mut counted) = (Budget::new(1, Duration::from_hours(1)), 0);
        heard.send_modify(|heard| heard.identifies = 1);
        let pause = async || Ok(Duration::ZERO);
        let pacing = pace(
            &mut budget,
            &mut counted,
            overheard,
            &url,
            &mut held_back,
            pause,
        );
        let waiting = async {
            while url.try_lock().is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            stop = pacing => panic!("{stop}"),
            () = waiting => {}
        }
        assert!(url.try_lock().is_err());
    }
}
