//! The composition root: builds all parts of the bot, starts them, and ends them in order. It also
//! runs the other subcommands.
//!
//! Contains no logic beyond what depends on what, and which part ends before which.

mod hand_over;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use secrecy::SecretString;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backoff::Backoff;
use crate::bans::BanObserver;
use crate::bot::Bot;
use crate::check;
use crate::commands::rights::Rights;
use crate::commands::{Commands, Data, RateLimits};
use crate::config;
use crate::discord::Rest;
use crate::discord::cdn::Cdn;
use crate::discord::channels::avatar_channel::AvatarChannel;
use crate::discord::channels::council::Council;
use crate::discord::gateway;
use crate::discord::gateway::{Gateway, Session};
use crate::discord::guild::known_guild::KnownGuild;
use crate::discord::guild::member_states::MemberStates;
use crate::discord::guild::right_roles::RightRoles;
use crate::discord::rest::client;
use crate::discord::time::DiscordTime;
use crate::environment::Environment;
use crate::error::Stop;
use crate::guild_settings::GuildSettings;
use crate::import;
use crate::import::level_names::ChosenNames;
use crate::jobs::{self, Registers, Runner};
use crate::leveling::{GuildId, UserId};
use crate::listeners::Listeners;
use crate::listeners::onlooker::Onlooker;
use crate::listeners::unreadable::Unparsed;
use crate::message_gate::MessageGate;
use crate::profiles::{self, ProfileObserver};
use crate::roles::{self, MemberObservers, RoleReconciler};
use crate::store::gateway_session::LeftSession;
use crate::store::lease::{self, Claimed, Lease, Standby};
use crate::store::watermark::{Lost, Watermark};
use crate::store::{self, Database};
use crate::xp::{self, Engine, EngineEnd, EngineHandles, XpCache};

/// Limit for the whole shutdown. Service managers kill a process 10 s after they ask it to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(9);
// Limits for the steps of the shutdown, in their order.
/// Close the gateway connection.
const CLOSE_GATEWAY_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Save which of the council's messages were deleted.
const NOTE_DELETIONS_TIMEOUT: Duration = Duration::from_millis(500);
/// Answer the commands in progress.
const ANSWER_COMMANDS_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Commit the messages that the engine holds.
const SAVE_XP_TIMEOUT: Duration = Duration::from_secs(3);
/// Let the registers write what they received.
const REGISTERS_TIMEOUT: Duration = Duration::from_millis(500);
/// Any other step: end the tasks, store the session, release the lease, close the database.
const RELEASE_TIMEOUT: Duration = Duration::from_millis(500);

/// Backoff between restarts after the database lost commits. Each restart begins a new gateway
/// session, and Discord limits how many may begin in a day.
const RESTART_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(5));
/// The backoff starts over after a run that lasted this long.
const HEALTHY_AFTER: Duration = Duration::from_mins(15);
/// Retry delay while the database cannot be used after it lost commits.
const DATABASE_RETRY_DELAY: Duration = Duration::from_secs(2);

/// Runs the bot until `cancel` is cancelled (then returns `Ok`) or until it cannot continue.
///
/// If the database has lost commits, in a failover for example, the bot does not end: all parts end
/// in order and start over from what the database holds, once it can be used again. The lost
/// messages are read again from Discord's history.
pub async fn run(mut settings: config::Run, cancel: CancellationToken) -> Result<(), Stop> {
    let mut starts = 0;
    loop {
        let started = Instant::now();
        let pause = match Box::pin(run_once(settings.clone(), &cancel)).await {
            Err(stop) if cancel.is_cancelled() => return Err(stop),
            Err(Stop::Rewound) => {
                if started.elapsed() > HEALTHY_AFTER {
                    starts = 0;
                }
                let pause = RESTART_BACKOFF.delay(starts);
                starts += 1;
                tracing::error!(
                    next_in_ms = pause.as_millis(),
                    "the database has lost saved data (after a failover or a restore); starting over from what it holds"
                );
                pause
            }
            // A failover may take a while. The database worked before, so the settings are right,
            // and trying again needs nothing from Discord.
            Err(Stop::Database(error)) if starts > 0 => {
                let error = format!("{error:#}");
                tracing::warn!(
                    error,
                    "the database cannot be used yet after it lost saved data; trying again"
                );
                DATABASE_RETRY_DELAY
            }
            result => return result,
        };
        // `--take-over` was meant for the owner at the start, not for one that came since.
        settings.take_over = false;
        let paused = cancel.run_until_cancelled(tokio::time::sleep(pause));
        if paused.await.is_none() {
            return Ok(());
        }
    }
}

async fn run_once(settings: config::Run, cancel: &CancellationToken) -> Result<(), Stop> {
    let guild = settings.guild.id()?;
    let token = settings.discord.token()?;
    let names = ChosenNames::read(&settings.level_names);
    let opening = cancel
        .run_until_cancelled(open_and_name(&settings.database, names))
        .await;
    let Some(database) = opening.transpose()? else {
        return Ok(());
    };
    let standby = if settings.take_over {
        Standby::AskOwnerToEnd
    } else {
        Standby::Wait
    };
    let claimed = lease::claim_when_free(&database, cancel, standby).await?;
    let Some(claimed) = claimed else {
        return Ok(());
    };
    let claimed_at = Instant::now();
    let Claimed {
        lease,
        watermark,
        session,
    } = claimed;
    // From here on `cancel` has two causes: a signal, or another process that takes over.
    let cancel = &cancel.child_token();
    let lease = lease.cancel_when_asked_to_end(cancel.clone());
    // The lease is renewed from here on, so that a slow start does not look like a dead process.
    let mut running = Running::start(database.clone(), lease);
    let background = running.background.clone();
    let from = (watermark, session.map(|session| (session, claimed_at)));
    let starting = build(&database, background, from, guild, token, settings);
    let ready = tokio::select! {
        ready = starting => ready.map(Some),
        stop = running.failed() => Err(stop),
        () = cancel.cancelled() => Ok(None),
    };
    let result = match ready {
        Ok(Some(ready)) => running.connect(ready, cancel).await,
        Ok(None) => Ok(()),
        Err(stop) => Err(stop),
    };
    tracing::info!("shutting down");
    let goodbye = match result {
        Ok(()) => Goodbye::HandOver,
        Err(_) => Goodbye::EndSession,
    };
    let ended = timeout(SHUTDOWN_TIMEOUT, running.end(goodbye)).await;
    result.and(ended.unwrap_or_else(|_| {
        Err(Stop::Other(anyhow!(
            "shutdown took too long and was cut short"
        )))
    }))
}

/// The parts of the bot that are built but not yet started.
struct Assembled {
    bot: Bot,
    engine: Engine,
    jobs: jobs::Parts,
    gateway: Gateway,
    listeners: Listeners,
    stops: mpsc::Receiver<Stop>,
}

/// Loads what the bot needs from Discord and the database, and builds all parts. Starts none.
async fn build(
    database: &Database,
    background: Background,
    (watermark, left): (Watermark, Option<(LeftSession, Instant)>),
    guild: GuildId,
    token: SecretString,
    settings: config::Run,
) -> Result<Assembled, Stop> {
    let rest = client::rest(&settings.discord, &token, background.revoked.clone())?;
    let account = gateway::who_are_we(&rest).await?;
    tracing::info!(name = account.name, "Discord accepted the bot's token");
    // Before anything that compares times.
    let time = DiscordTime::default();
    time.find(&rest).await?;
    let repaired = repair_future_ids(database, watermark, &time, &settings).await?;
    // If the watermark was put back, history must be read again, which only a new session causes.
    let left = left.filter(|_| repaired == watermark);
    let access = (settings.rights, &settings.joining);
    let shared = environment(database, guild, rest, time, settings.council, access);
    let (env, members_to_check) = shared.await?;
    env.council.load().await?;

    let outbox_filled = Arc::new(Notify::new());
    let (engine, EngineHandles { inbox, gaps }) = Engine::new(
        env.database.clone(),
        Arc::clone(&env.xp),
        settings.zone,
        repaired,
        Arc::clone(&outbox_filled),
    );
    let (profiles, changed_users) = ProfileObserver::new(Arc::clone(&env.xp));
    let (bans, ban_news) = BanObserver::new();
    let observers = MemberObservers {
        profiles: profiles.clone(),
        inbox: inbox.clone(),
    };
    let reconciler = RoleReconciler::new(&env, Some(observers));
    let (roles, reconcile_task) =
        reconciler.at_every(settings.verify_at, settings.zone, inbox.clone());
    let (rest, database) = (env.rest.clone(), env.database.clone());
    let avatars = AvatarChannel::new(rest.clone(), database, guild, settings.avatars);
    let jobs = jobs::Parts {
        reconcile_task,
        gaps,
        outbox_filled,
        catch_up_hours: settings.catch_up_hours,
        members_to_check,
        bans: bans.clone(),
        ban_news,
        changed_users,
        unclear: profiles.unclear(),
        cdn: Cdn::new(&settings.cdn, &settings.discord)?,
        avatars: Arc::new(avatars),
    };
    let bot = Bot {
        id: account.id,
        gate: MessageGate::new(env.time.clone(), inbox.clone()),
        env,
        roles,
        inbox,
    };
    let commands = Commands::new(Data {
        bot: bot.clone(),
        prefix: settings.prefix,
        rights: Rights::new(bot.env.right_roles.clone()),
        under_way: background.under_way,
        limits: RateLimits::default(),
    });
    let (stop, stops) = mpsc::channel(4);
    let listeners = Listeners {
        bot: bot.clone(),
        profiles,
        bans,
        commands: commands.await?,
        flags: Arc::default(),
        stop,
        unparsed: Unparsed::default(),
        tasks: background.tasks,
        end: background.end_tasks,
        notes: background.notes,
    };
    Ok(Assembled {
        gateway: hand_over::take(left, &listeners, Gateway::new(token, rest)).await,
        bot,
        engine,
        jobs,
        listeners,
        stops,
    })
}

/// Corrects a frontier, last awards and missing intervals that lie in the future. Does nothing
/// while Discord's time is not known. Returns the watermark to continue from.
async fn repair_future_ids(
    database: &Database,
    watermark: Watermark,
    time: &DiscordTime,
    settings: &config::Run,
) -> Result<Watermark, Stop> {
    let Some(clocks) = time.clocks() else {
        return Ok(watermark);
    };
    let (hours, zone) = (settings.catch_up_hours, settings.zone);
    Ok(xp::repair_future_ids(database, watermark, clocks, hours, zone).await??)
}

/// Loads the handles that everything shares. Also returns the receiver of the members whose roles
/// must be checked.
async fn environment(
    database: &Database,
    guild: GuildId,
    rest: Rest,
    time: DiscordTime,
    council: String,
    (rights, joining): (config::RightsSettings, &config::Joining),
) -> Result<(Environment, mpsc::Receiver<UserId>), Stop> {
    let (known_guild, database) = (KnownGuild::new(rest.clone(), guild), database.clone());
    let right_roles = RightRoles::load(rights, known_guild.clone(), database.clone()).await?;
    let seen_by = right_roles.clone();
    let council = Council::new(rest.clone(), database.clone(), guild, council, seen_by);
    let since = store::reconcile_state::onboarding_since(&mut *database.acquire().await?).await?;
    let (members, members_to_check) = MemberStates::new(joining.await_onboarding.0, since);
    let env = Environment {
        guild,
        xp: Arc::new(load_xp(&database).await?),
        settings: GuildSettings::load(&database).await?,
        council: Arc::new(council),
        members,
        database,
        rest,
        time,
        known_guild,
        right_roles,
    };
    Ok((env, members_to_check))
}

/// Loads the levels and all users' XP into the cache.
async fn load_xp(database: &Database) -> Result<XpCache, Stop> {
    let started = Instant::now();
    let levels = store::level::load(&mut *database.acquire().await?).await?;
    let xp = XpCache::load(database, levels).await?;
    tracing::info!(
        users = xp.len(),
        in_ms = started.elapsed().as_millis(),
        "XP is loaded"
    );
    Ok(xp)
}

/// `wall_e migrate`: applies pending migrations, and creates the levels in a fresh database.
pub async fn migrate(settings: &config::DatabaseUrl) -> Result<(), Stop> {
    open_database(settings).await?.close().await;
    tracing::info!("the database is up to date");
    Ok(())
}

/// `wall_e verify-roles`: corrects all members' level roles, or with `dry_run` only prints what
/// would change.
pub async fn verify_roles(settings: config::Verify, cancel: CancellationToken) -> Result<(), Stop> {
    let (guild, token) = (settings.guild.id()?, settings.discord.token()?);
    let database = Database::connect(&settings.database.database_url).await?;
    let rest = client::rest(&settings.discord, &token, cancel.child_token())?;
    let reconciling = async {
        // Only a running bot reports to the council, and follows changes of members.
        let (council, time) = (String::new(), DiscordTime::default());
        let access = (settings.rights, &settings.joining);
        let (env, _) = environment(&database, guild, rest, time, council, access).await?;
        let reconciler = RoleReconciler::new(&env, None);
        let done = roles::run_cli(&reconciler, settings.dry_run, settings.json).await;
        done.map_err(Stop::Other)
    };
    let reconciling = Box::pin(cancel.run_until_cancelled(reconciling));
    let outcome = if settings.dry_run {
        reconciling.await
    } else {
        // Not while a bot is running: it would do the same work, without noticing changes made here
        // to the levels' roles. The lease is taken first, because XP may change until the bot ends.
        let claimed = lease::claim_if_free(&database).await?;
        let Claimed { lease, .. } = claimed.ok_or_else(|| {
            Stop::Other(anyhow!(
                "a bot is running: type /verify_roles in Discord, or stop it first"
            ))
        })?;
        let done = CancellationToken::new();
        let mut keeping = tokio::spawn(lease.keep(done.clone()));
        tokio::select! {
            outcome = reconciling => {
                done.cancel();
                let _ = keeping.await;
                outcome
            }
            _ = &mut keeping => Some(Err(Stop::Other(anyhow!(
                "a bot was started meanwhile; it will do the rest"
            )))),
        }
    };
    database.close().await;
    outcome.unwrap_or_else(|| {
        Err(Stop::Other(anyhow!(
            "interrupted; you can run it again safely"
        )))
    })
}

/// `wall_e listen`: only queues changed profiles, until `cancel` is cancelled. While the bot is
/// down, these changes are otherwise noticed only at its next session. May run beside a bot.
pub async fn listen(settings: config::Listen, cancel: CancellationToken) -> Result<(), Stop> {
    let (guild, token) = (settings.guild.id()?, settings.discord.token()?);
    let database = open_database(&settings.database).await?;
    let xp = Arc::new(load_xp(&database).await?);
    let (observer, mut seen) = ProfileObserver::new(Arc::clone(&xp));
    let (revoked, (stop, mut stops)) = (CancellationToken::new(), mpsc::channel(4));
    let listener = Onlooker {
        guild,
        profiles: observer.with_strangers(),
        stop,
        unparsed: Unparsed::default(),
    };
    let register = profiles::ProfileRegister::new(database.clone(), xp, Arc::default());
    let rest = client::rest(&settings.discord, &token, revoked.clone())?;
    let gateway = Gateway::new(token, rest);
    let never_closed = CancellationToken::new();
    let registering = tokio::spawn(async move { register.run(&mut seen, &never_closed).await });
    let (end_reading, goodbye) = oneshot::channel();
    let on_event = move |kind: &str, text: &str| listener.on_event(kind, text);
    let mut reading = tokio::spawn(read(gateway, on_event, goodbye));
    let result = tokio::select! {
        () = cancel.cancelled() => Ok(()),
        ended = &mut reading => Err(why_reading_ended(ended)),
        Some(stop) = stops.recv() => Err(stop),
        () = revoked.cancelled() => Err(Stop::TokenRefused),
    };
    let _ = end_reading.send(Goodbye::EndSession);
    if !reading.is_finished() {
        // When the reader ends, the last sender is dropped, so the register writes what is left and
        // ends too.
        let _ = timeout(CLOSE_GATEWAY_TIMEOUT, &mut reading).await;
    }
    let _ = timeout(SAVE_XP_TIMEOUT, registering).await;
    let _ = timeout(RELEASE_TIMEOUT, database.close()).await;
    result
}

/// `wall_e import`: imports the data of another bot.
pub async fn import(settings: &config::Import, cancel: CancellationToken) -> Result<(), Stop> {
    let config::ImportFormat::Django = settings.from;
    // The files first, so that bad data is found before the database is changed.
    let dump = import::django::read(&settings.files)?;
    let database = open_database(&settings.database).await?;
    let report = cancel
        .run_until_cancelled(import::save(&database, dump, settings.fresh_only))
        .await;
    database.close().await;
    let interrupted = || {
        Err(anyhow!(
            "interrupted; the import changed either everything or nothing, and you can run it again safely"
        ))
    };
    report.unwrap_or_else(interrupted).map_err(Stop::Other)
}

/// `wall_e check`: checks the database for contradictions, or compares it with a log of messages.
pub async fn check(settings: &config::Check) -> Result<(), Stop> {
    let database = Database::connect(&settings.database.database_url).await?;
    let replay = settings.replay.as_deref();
    let found = check::run(&database, replay, &settings.from, settings.zone).await;
    database.close().await;
    Ok(found?)
}

/// Opens and migrates the database, and names the levels of a fresh one.
async fn open_and_name(
    settings: &config::DatabaseUrl,
    names: anyhow::Result<ChosenNames>,
) -> Result<Database, Stop> {
    let database = open_database(settings).await?;
    import::name_levels(&database, names).await?;
    Ok(database)
}

/// Opens the database, applies pending migrations, and creates the levels in a fresh one.
async fn open_database(settings: &config::DatabaseUrl) -> Result<Database, Stop> {
    let database = Database::connect(&settings.database_url).await?;
    database.migrate().await?;
    import::seed_levels(&database)
        .await
        .map_err(Stop::Database)?;
    Ok(database)
}

/// How to close the gateway connection.
#[derive(Clone, Copy, Debug)]
enum Goodbye {
    /// End the session as well.
    EndSession,
    /// Keep the session, so that another process may resume it.
    HandOver,
}

/// Passes events to `on_event`, one after the other, until `end` or until the connection cannot be
/// restored. Returns the session if another process may resume it; all events up to its sequence
/// number have been passed on.
async fn read(
    mut gateway: Gateway,
    on_event: impl Fn(&str, &str),
    end: oneshot::Receiver<Goodbye>,
) -> Result<Option<Session>, Stop> {
    let reading = async {
        loop {
            match gateway.next().await {
                Ok(frame) => on_event(frame.kind(), frame.data()),
                Err(stop) => return stop,
            }
        }
    };
    // Reading stops only between two events, so none is received without being passed on.
    let goodbye = tokio::select! {
        stop = reading => return Err(stop),
        goodbye = end => goodbye,
    };
    match goodbye {
        Ok(Goodbye::HandOver) => Ok(gateway.hand_over().await),
        Ok(Goodbye::EndSession) | Err(_) => {
            gateway.close().await;
            Ok(None)
        }
    }
}

/// The error for a gateway reader that ended without being asked to.
fn why_reading_ended(ended: Result<Result<Option<Session>, Stop>, JoinError>) -> Stop {
    match ended {
        Ok(Err(stop)) => stop,
        Ok(Ok(_)) => Stop::Other(anyhow!("the gateway connection ended unexpectedly")),
        Err(error) => Stop::Other(anyhow::Error::new(error).context("the gateway reader crashed")),
    }
}

/// Trackers and cancellation tokens of the background tasks. Cheap to clone; clones share them.
#[derive(Clone, Default)]
struct Background {
    tasks: TaskTracker,
    end_tasks: CancellationToken,
    registers: Registers,
    /// Tasks that save which of the council's messages and channels were deleted.
    notes: TaskTracker,
    /// Commands that are being executed.
    under_way: TaskTracker,
    /// Cancelled when Discord refuses the token.
    revoked: CancellationToken,
}

/// The running parts of the bot; [`Running::end`] ends them in order.
struct Running {
    database: Database,
    lease: JoinHandle<Option<Lost>>,
    end_lease: CancellationToken,
    /// `None` before it is started and after its result was taken.
    engine: Option<JoinHandle<Result<EngineEnd, Lost>>>,
    end_engine: CancellationToken,
    /// The gateway's reader; `None` before it is started and after its result was taken.
    reading: Option<JoinHandle<Result<Option<Session>, Stop>>>,
    end_reading: Option<oneshot::Sender<Goodbye>>,
    /// `None` before the other parts are started.
    bot: Option<Bot>,
    background: Background,
}

impl Running {
    /// Starts renewing the lease; nothing else yet.
    fn start(database: Database, lease: Lease) -> Self {
        let end_lease = CancellationToken::new();
        Self {
            database,
            lease: tokio::spawn(lease.keep(end_lease.clone())),
            end_lease,
            engine: None,
            end_engine: CancellationToken::new(),
            reading: None,
            end_reading: None,
            bot: None,
            background: Background::default(),
        }
    }

    /// Starts the other parts and connects to the gateway. Returns when the bot must end: `Ok` if
    /// it was asked to.
    async fn connect(&mut self, ready: Assembled, cancel: &CancellationToken) -> Result<(), Stop> {
        let Assembled {
            bot,
            engine,
            jobs,
            gateway,
            listeners,
            mut stops,
        } = ready;
        self.engine = Some(tokio::spawn(engine.run(self.end_engine.clone())));
        let Background {
            tasks, end_tasks, ..
        } = self.background.clone();
        let runner = Runner::new(tasks, end_tasks, bot.env.time.clone());
        jobs::spawn_all(&bot, jobs, &runner, &self.background.registers);
        self.bot = Some(bot);
        let on_event = move |kind: &str, text: &str| listeners.on_event(kind, text);
        let (end_reading, goodbye) = oneshot::channel();
        self.end_reading = Some(end_reading);
        self.reading = Some(tokio::spawn(read(gateway, on_event, goodbye)));
        tokio::select! {
            () = cancel.cancelled() => Ok(()),
            Some(stop) = stops.recv() => Err(stop),
            stop = self.failed() => Err(stop),
        }
    }

    /// Waits until a part ends that must not end, and returns the error for it.
    async fn failed(&mut self) -> Stop {
        tokio::select! {
            ended = ended(&mut self.engine) => match ended {
                Ok(Err(lost)) => lost.into(),
                Ok(Ok(_)) => Stop::Other(anyhow!("the XP engine ended unexpectedly")),
                Err(error) => Stop::Other(anyhow::Error::new(error).context("the XP engine crashed")),
            },
            ended = ended(&mut self.reading) => why_reading_ended(ended),
            ended = &mut self.lease => match ended {
                Ok(Some(lost)) => lost.into(),
                Ok(None) => Stop::Other(anyhow!("the database lease was released unexpectedly")),
                Err(error) => Stop::Other(anyhow::Error::new(error).context("the lease task crashed")),
            },
            () = self.background.revoked.cancelled() => Stop::TokenRefused,
        }
    }

    /// Ends all parts: closes the gateway, finishes commands, commits all received messages, stores
    /// the session if possible, and releases the lease and the database.
    async fn end(mut self, goodbye: Goodbye) -> Result<(), Stop> {
        let session = self.end_reading(goodbye).await;
        let Background {
            tasks,
            end_tasks,
            registers,
            notes,
            under_way,
            ..
        } = &self.background;
        notes.close();
        let deletions_noted = timeout(NOTE_DELETIONS_TIMEOUT, notes.wait()).await.is_ok();
        end_tasks.cancel();
        tasks.close();
        under_way.close();
        let _ = timeout(ANSWER_COMMANDS_TIMEOUT, under_way.wait()).await;
        // Before the engine, because some tasks may still send it messages.
        let tasks_ended = timeout(RELEASE_TIMEOUT, tasks.wait()).await.is_ok();
        self.end_engine.cancel();
        let saved = match &mut self.engine {
            Some(engine) => Some(timeout(SAVE_XP_TIMEOUT, engine).await),
            None => None,
        };
        // After the engine, which leaves the profiles of users who earned nothing to the registers.
        let registers_finished = registers.finish(REGISTERS_TIMEOUT).await;
        if let (Some(session), Some(Ok(Ok(Ok(engine)))), Some(bot)) = (session, &saved, &self.bot)
            && deletions_noted
            && tasks_ended
            && registers_finished
        {
            let leaving = hand_over::leave(bot, session, *engine);
            let _ = timeout(RELEASE_TIMEOUT, leaving).await;
        }
        self.end_lease.cancel();
        if !self.lease.is_finished() {
            let _ = timeout(RELEASE_TIMEOUT, &mut self.lease).await;
        }
        let _ = timeout(RELEASE_TIMEOUT, self.database.close()).await;
        match saved {
            None | Some(Ok(Ok(Ok(_)))) => Ok(()),
            Some(Ok(Ok(Err(lost)))) => Err(lost.into()),
            Some(Ok(Err(error))) => Err(Stop::Other(
                anyhow::Error::new(error).context("the XP engine crashed"),
            )),
            Some(Err(_)) => Err(Stop::Database(anyhow!(
                "the last messages could not be saved; the next start reads them again"
            ))),
        }
    }

    /// Closes the gateway connection. Returns the session if the next process may resume it.
    async fn end_reading(&mut self, goodbye: Goodbye) -> Option<Session> {
        let _ = self.end_reading.take()?.send(goodbye);
        let ended = timeout(CLOSE_GATEWAY_TIMEOUT, self.reading.as_mut()?).await;
        ended.ok()?.ok()?.ok()?
    }
}

/// Waits for a task and takes its result, setting `task` to `None`. Never returns if there is no
/// task.
async fn ended<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, JoinError> {
    let Some(running) = task else {
        return std::future::pending().await;
    };
    let ended = running.await;
    *task = None;
    ended
}
