//! The work that comes round by itself: one visible table, one file each.
//!
//! Each task has a `run_once(now)` that can be repeated without harm; the loop here
//! only decides when, and `now` is Discord's time. A deadline is a row in the database, never a long sleep.

pub mod catch_up;
pub mod close_buttons;
pub mod late_history;
pub mod level_ups;
pub mod right_roles;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::discord::council::Council;
use crate::discord::message_gate::MessageGate;
use crate::discord::time::{DiscordTime, TimeKeeper};
use crate::leveling::UserId;
use crate::profiles::{self, Actives, Links, Lurkers};
use crate::roles::{Register, RoleWork, VerificationsTask};
use crate::xp::Gap;
use catch_up::CatchUp;
use close_buttons::CloseButtons;
use late_history::CountLateHistory;
use level_ups::LevelUps;
use right_roles::WatchRightRoles;

/// How often the outbox is looked at when nobody says that there is something in it.
const LEVEL_UPS_EVERY: Duration = Duration::from_secs(5);

/// How often buttons are looked for that have stopped working.
const CLOSE_BUTTONS_EVERY: Duration = Duration::from_secs(5);

/// How often it is looked whether the settings name roles that there are.
const RIGHT_ROLES_EVERY: Duration = Duration::from_mins(1);

/// How often members are looked for whose roles could not be put right at once.
const ROLE_WORK_EVERY: Duration = Duration::from_secs(5);

/// How often the queue of changed profiles is looked at.
const ACTIVES_EVERY: Duration = Duration::from_secs(2);

/// How often it is looked whether links are about to expire.
const LINKS_EVERY: Duration = Duration::from_mins(1);

/// How often it is looked whether somebody's profile is to be looked up.
const LURKERS_EVERY: Duration = Duration::from_secs(1);

/// How often the council is told what it could not be told before. Discord limits how often old
/// messages are rewritten, and does not say by how much.
const COUNCIL_EVERY: Duration = Duration::from_mins(5);
/// How often history is looked for that could not be read and is due again.
const LATE_HISTORY_EVERY: Duration = Duration::from_secs(2);

/// How long a task that panicked rests.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// Every task, with what wakes it besides its cadence.
#[derive(Debug)]
pub struct Tasks {
    /// Discord's time, which is the time of every task.
    pub time: DiscordTime,
    /// Keeps it.
    pub time_keeper: TimeKeeper,
    /// Decides on messages from the future.
    pub gate: MessageGate,
    /// Every 5 s, and after each commit that brought a level.
    pub level_ups: LevelUps,
    /// Notified after such a commit.
    pub outbox_filled: Arc<Notify>,
    /// Every 5 s.
    pub close_buttons: CloseButtons,
    /// Every minute, and when the guild's roles change.
    pub right_roles: WatchRightRoles,
    /// Every 5 min.
    pub council: Arc<Council>,
    /// Every day, at every session, and when asked.
    pub verifications: VerificationsTask,
    /// As members come.
    pub register: Register,
    /// As profiles are seen that have changed.
    pub profile_register: profiles::Register,
    /// Whose these are.
    pub sightings: mpsc::UnboundedReceiver<UserId>,
    /// Every 2 s, and when such a profile was written down.
    pub actives: Actives,
    /// Notified then.
    pub profiles_changed: Arc<Notify>,
    /// Every minute.
    pub links: Links,
    /// Every second.
    pub lurkers: Lurkers,
    /// Whose roles are to be looked at.
    pub members: mpsc::Receiver<UserId>,
    /// Every 5 s, and when a member's roles are to be looked at.
    pub role_work: RoleWork,
    /// Notified then.
    pub role_work_filled: Arc<Notify>,
    /// Every 2 s, and when some history was set aside.
    pub late_history: CountLateHistory,
    /// Notified then.
    pub history_set_aside: Arc<Notify>,
    /// Whenever the engine finds a gap.
    pub catch_up: CatchUp,
    /// The gap that is open now.
    pub gaps: watch::Receiver<Option<Gap>>,
}

impl Tasks {
    /// Starts all of them. Each ends at `cancel`, wherever it is: all of them can be
    /// taken up again from what the database and Discord hold. The registers go on, and end by
    /// themselves once they are closed.
    #[expect(
        clippy::too_many_lines,
        reason = "one visible table: some lines for each task"
    )]
    pub fn spawn(self, tracker: &TaskTracker, cancel: &CancellationToken, registers: &Registers) {
        let Self {
            time,
            time_keeper,
            gate,
            level_ups,
            outbox_filled,
            close_buttons,
            right_roles,
            council,
            verifications,
            register,
            members,
            profile_register,
            sightings,
            actives,
            profiles_changed,
            links,
            lurkers,
            role_work,
            role_work_filled,
            late_history,
            history_set_aside,
            catch_up,
            gaps,
        } = self;
        let rounds = Rounds {
            tracker,
            cancel,
            time: time.clone(),
        };
        let time_keeper = Arc::new(time_keeper);
        spawn(tracker, cancel, "discord-time", move || {
            let time_keeper = Arc::clone(&time_keeper);
            async move { time_keeper.run().await }
        });
        spawn(tracker, cancel, "message-gate", move || {
            let gate = gate.clone();
            async move { gate.run().await }
        });
        let level_ups = Arc::new(level_ups);
        rounds.add("level-ups", LEVEL_UPS_EVERY, outbox_filled, move |now| {
            let level_ups = Arc::clone(&level_ups);
            async move { level_ups.run_once(now).await }
        });
        let close_buttons = Arc::new(close_buttons);
        rounds.add("close-buttons", CLOSE_BUTTONS_EVERY, nobody(), move |now| {
            let close_buttons = Arc::clone(&close_buttons);
            // By the machine's clock alone they could go at once: whoever presses one that is
            // late is told so all the same.
            let is_known = time.is_known();
            async move {
                if is_known {
                    close_buttons.run_once(now).await?;
                }
                Ok(())
            }
        });
        let roles_changed = right_roles.guild.changes();
        let right_roles = Arc::new(right_roles);
        rounds.add("right-roles", RIGHT_ROLES_EVERY, roles_changed, move |_| {
            let right_roles = Arc::clone(&right_roles);
            async move { right_roles.run_once().await }
        });
        rounds.add("council", COUNCIL_EVERY, nobody(), move |_| {
            let council = Arc::clone(&council);
            async move { council.tell_again().await }
        });
        let role_work = Arc::new(role_work);
        rounds.add("role-work", ROLE_WORK_EVERY, role_work_filled, move |now| {
            let role_work = Arc::clone(&role_work);
            async move { role_work.run_once(now).await }
        });
        let actives = Arc::new(actives);
        rounds.add("actives", ACTIVES_EVERY, profiles_changed, move |now| {
            let actives = Arc::clone(&actives);
            async move { actives.run_once(now).await }
        });
        let links = Arc::new(links);
        rounds.add("links", LINKS_EVERY, nobody(), move |now| {
            let links = Arc::clone(&links);
            async move { links.run_once(now).await }
        });
        let lurkers = Arc::new(lurkers);
        rounds.add("lurkers", LURKERS_EVERY, nobody(), move |now| {
            let lurkers = Arc::clone(&lurkers);
            async move { lurkers.run_once(now).await }
        });

        let late_history = Arc::new(late_history);
        rounds.add(
            "late-history",
            LATE_HISTORY_EVERY,
            history_set_aside,
            move |now| {
                let late_history = Arc::clone(&late_history);
                async move { Box::pin(late_history.run_once(now)).await }
            },
        );

        let verifications = Arc::new(Mutex::new(verifications));
        spawn(tracker, cancel, "verifications", move || {
            let verifications = Arc::clone(&verifications);
            async move { verifications.lock().await.run().await }
        });
        let register = Arc::new((register, Mutex::new(members)));
        registers.spawn("register", move |close| {
            let register = Arc::clone(&register);
            async move { register.0.run(&mut *register.1.lock().await, &close).await }
        });
        let profile_register = Arc::new((profile_register, Mutex::new(sightings)));
        registers.spawn("profile-register", move |close| {
            let register = Arc::clone(&profile_register);
            async move { register.0.run(&mut *register.1.lock().await, &close).await }
        });
        let catch_up = Arc::new(catch_up);
        spawn(tracker, cancel, "catch-up", move || {
            let (catch_up, gaps) = (Arc::clone(&catch_up), gaps.clone());
            async move { Box::pin(catch_up.run(gaps)).await }
        });
    }
}

/// What writes down what events have told of members: the last to end, so that nothing of it is
/// lost. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Registers {
    tracker: TaskTracker,
    close: CancellationToken,
    give_up: CancellationToken,
}

impl Registers {
    /// Has them write down what they were told before, for so long; whether they have.
    pub async fn finish(&self, patience: Duration) -> bool {
        self.close.cancel();
        self.tracker.close();
        let finished = timeout(patience, self.tracker.wait()).await.is_ok();
        self.give_up.cancel();
        self.tracker.wait().await;
        finished
    }

    fn spawn<F>(
        &self,
        name: &'static str,
        register: impl Fn(CancellationToken) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let close = self.close.clone();
        spawn(&self.tracker, &self.give_up, name, move || {
            register(close.clone())
        });
    }
}

/// Where tasks are started that come round.
struct Rounds<'a> {
    tracker: &'a TaskTracker,
    cancel: &'a CancellationToken,
    time: DiscordTime,
}

impl Rounds<'_> {
    /// Has `work` done now, then again after each `cadence` or when woken.
    fn add<F>(
        &self,
        name: &'static str,
        cadence: Duration,
        wake: Arc<Notify>,
        work: impl Fn(DateTime<Utc>) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let shared = Arc::new((wake, work, self.time.clone()));
        spawn(self.tracker, self.cancel, name, move || {
            let shared = Arc::clone(&shared);
            async move {
                let (wake, work, time) = &*shared;
                every(name, cadence, wake, || work(time.now())).await;
            }
        });
    }
}

/// What wakes a task that only its cadence does.
fn nobody() -> Arc<Notify> {
    Arc::default()
}

/// Runs a task until it ends or `cancel`. One that panics is begun again: the others,
/// and XP, go on meanwhile.
fn spawn<F>(
    tracker: &TaskTracker,
    cancel: &CancellationToken,
    name: &'static str,
    task: impl Fn() -> F + Send + Sync + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let cancel = cancel.clone();
    tracker.spawn(async move {
        let running = async {
            while AssertUnwindSafe(task()).catch_unwind().await.is_err() {
                // The panic itself is in the log already.
                tracing::error!(task = name, "the task has crashed; starting it again");
                tokio::time::sleep(AFTER_PANIC).await;
            }
        };
        cancel.run_until_cancelled(running).await;
    });
}

/// Runs `work` now, then again after each `cadence` or when woken. A failure is said
/// once, and its end too.
async fn every<F>(name: &'static str, cadence: Duration, wake: &Notify, work: impl Fn() -> F)
where
    F: Future<Output = anyhow::Result<()>>,
{
    let mut failing = false;
    loop {
        match work().await {
            Ok(()) if failing => {
                failing = false;
                tracing::info!(task = name, "the task works again");
            }
            Err(error) if !failing => {
                failing = true;
                tracing::error!(
                    task = name,
                    error = format!("{error:#}"),
                    "the task failed; trying again"
                );
            }
            _ => {}
        }
        tokio::select! {
            () = tokio::time::sleep(cadence) => {}
            () = wake.notified() => {}
        }
    }
}
