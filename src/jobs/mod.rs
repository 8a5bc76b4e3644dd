//! All background work, listed in one place: [`spawn_all`] starts every job, service and register.
//!
//! A [`Job`](crate::job::Job) runs again after each cadence. A service runs all the time. A
//! register writes to the database what events have told, and ends last. Each job has its own file,
//! in this directory or in the module that it belongs to.

pub mod catch_up;
pub mod close_buttons;
pub mod council;
pub mod late_history;
pub mod level_ups;
pub mod right_roles;
mod runner;

use std::sync::Arc;

use tokio::sync::{Mutex, Notify, mpsc, watch};

use crate::discord::cdn::Cdn;
use crate::discord::channels::avatar_channel::AvatarChannel;
use crate::discord::channels::history::ReadingMemory;
use crate::discord::guild::known_guild::KnownGuild;
use crate::discord::guild::right_roles::RightRoles;
use crate::discord::time::TimeKeeper;
use crate::environment::Environment;
use crate::leveling::UserId;
use crate::message_gate::MessageGate;
use crate::profiles::{
    self, AvatarLinkRenewal, AvatarMirror, ProfileSync, RotatingRefresh, Unclear,
};
use crate::roles::{self, ReconcileTask, RoleSync, Roles};
use crate::xp::{Gap, Inbox};
use catch_up::CatchUp;
use close_buttons::CloseButtons;
use council::TellCouncil;
use late_history::CountLateHistory;
use level_ups::LevelUps;
use right_roles::WatchRightRoles;
pub use runner::{Registers, Runner};

/// What the jobs need besides the [`Environment`].
#[derive(Debug)]
pub struct Parts {
    /// The level roles, and the REST calls that add and remove them.
    pub roles: Roles,
    /// Reconciles all members' level roles, at a set time or on request.
    pub verifications: ReconcileTask,
    /// The roles to which the settings give rights.
    pub right_roles: RightRoles,
    /// The guild's owner and roles, kept current by events.
    pub known_guild: KnownGuild,
    /// Holds back messages whose ids lie in the future until their time has come.
    pub gate: MessageGate,
    /// Sends messages and history to the XP engine.
    pub inbox: Inbox,
    /// The gap whose history the engine is waiting for, if any.
    pub gaps: watch::Receiver<Option<Gap>>,
    /// Notified after each commit that added level-ups to the outbox.
    pub outbox_filled: Arc<Notify>,
    /// Maximum age of missed messages that are read, in hours.
    pub catch_up_hours: u32,
    /// Members whose roles must be checked.
    pub members: mpsc::Receiver<UserId>,
    /// Users whose changed profiles must be queued.
    pub observed: mpsc::UnboundedReceiver<UserId>,
    /// Users whose profile an event showed incompletely.
    pub unclear: Unclear,
    /// Downloads avatars.
    pub cdn: Cdn,
    /// The channel that holds the copies of avatars.
    pub avatars: Arc<AvatarChannel>,
}

/// Starts all jobs, services and registers.
pub fn spawn_all(env: &Environment, parts: Parts, runner: &Runner, registers: &Registers) {
    let roles = &parts.roles;
    let memory = Arc::<ReadingMemory>::default();
    let (members_waiting, profiles_waiting, set_aside) =
        <(Arc<Notify>, Arc<Notify>, Arc<Notify>)>::default();

    runner.job(LevelUps::new(env, roles, parts.outbox_filled));
    runner.job(CloseButtons::new(env));
    runner.job(WatchRightRoles::new(
        env,
        parts.known_guild,
        parts.right_roles,
    ));
    runner.job(TellCouncil::new(env));
    runner.job(RoleSync::new(env, roles, Arc::clone(&members_waiting)));
    let copies = AvatarMirror::new(env, parts.cdn, Arc::clone(&parts.avatars));
    runner.job(ProfileSync::new(env, copies, Arc::clone(&profiles_waiting)));
    runner.job(AvatarLinkRenewal::new(env, parts.avatars));
    runner.job(RotatingRefresh::new(env, parts.unclear));
    runner.job(CountLateHistory::new(
        env,
        parts.inbox.clone(),
        Arc::clone(&memory),
        Arc::clone(&set_aside),
    ));

    let time = TimeKeeper::new(env.time.clone(), env.rest.clone());
    runner.service("discord-time", time, |time| async move { time.run().await });
    runner.service("message-gate", parts.gate, |gate| async move {
        gate.run().await;
    });
    let from_engine = (parts.inbox, parts.gaps);
    let catch_up = CatchUp::new(env, parts.catch_up_hours, from_engine, memory, set_aside);
    runner.service("catch-up", catch_up, |catch_up| async move {
        Box::pin(catch_up.run()).await;
    });
    let verifications = Mutex::new(parts.verifications);
    runner.service("verifications", verifications, |verifications| async move {
        verifications.lock().await.run().await;
    });

    let register = roles::RoleSyncRegister::new(env, members_waiting);
    let members = (register, Mutex::new(parts.members));
    registers.spawn("register", members, |it, close| async move {
        it.0.run(&mut *it.1.lock().await, &close).await;
    });
    let register =
        profiles::ProfileRegister::new(env.database.clone(), Arc::clone(&env.xp), profiles_waiting);
    let observed = (register, Mutex::new(parts.observed));
    registers.spawn("profile-register", observed, |it, close| async move {
        it.0.run(&mut *it.1.lock().await, &close).await;
    });
}
