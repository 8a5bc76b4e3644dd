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

use crate::bans::{BanNews, BanObserver, BanRegister, ReadBanList};
use crate::bot::Bot;
use crate::discord::cdn::Cdn;
use crate::discord::channels::avatar_channel::AvatarChannel;
use crate::discord::channels::history::ReadingMemory;
use crate::discord::time::TimeKeeper;
use crate::leveling::UserId;
use crate::profiles::{
    self, AvatarLinkRenewal, AvatarMirror, ProfileSync, RotatingRefresh, Unclear,
};
use crate::roles::{self, ReconcileTask, RoleSync};
use crate::xp::Gap;
use catch_up::CatchUp;
use close_buttons::CloseButtons;
use council::TellCouncil;
use late_history::CountLateHistory;
use level_ups::LevelUps;
use right_roles::WatchRightRoles;
pub use runner::{Registers, Runner};

/// What only the jobs need, besides the handles of the [`Bot`].
#[derive(Debug)]
pub struct Parts {
    /// Reconciles all members' level roles, at a set time or on request.
    pub reconcile_task: ReconcileTask,
    /// The gap whose history the engine is waiting for, if any.
    pub gaps: watch::Receiver<Option<Gap>>,
    /// Notified after each commit that added level-ups to the outbox.
    pub outbox_filled: Arc<Notify>,
    /// Maximum age of missed messages that are read, in hours.
    pub catch_up_hours: u32,
    /// Members whose roles must be checked.
    pub members_to_check: mpsc::Receiver<UserId>,
    /// Requests and receives the guild's list of bans.
    pub bans: BanObserver,
    /// Bans that must be saved.
    pub ban_news: mpsc::Receiver<BanNews>,
    /// Users whose changed profiles must be queued.
    pub changed_users: mpsc::UnboundedReceiver<UserId>,
    /// Users whose profile an event showed incompletely.
    pub unclear: Unclear,
    /// Downloads avatars.
    pub cdn: Cdn,
    /// The channel that holds the copies of avatars.
    pub avatars: Arc<AvatarChannel>,
}

/// Starts all jobs, services and registers.
pub fn spawn_all(bot: &Bot, parts: Parts, runner: &Runner, registers: &Registers) {
    let env = &bot.env;
    let memory = Arc::<ReadingMemory>::default();
    let (members_waiting, profiles_waiting) = <(Arc<Notify>, Arc<Notify>)>::default();

    runner.job(LevelUps::new(bot, parts.outbox_filled));
    runner.job(CloseButtons::new(env));
    runner.job(WatchRightRoles::new(env));
    runner.job(TellCouncil::new(env));
    runner.job(ReadBanList::new(env, parts.bans));
    runner.job(RoleSync::new(env, &bot.roles, Arc::clone(&members_waiting)));
    let copies = AvatarMirror::new(env, parts.cdn, Arc::clone(&parts.avatars));
    runner.job(ProfileSync::new(env, copies, Arc::clone(&profiles_waiting)));
    runner.job(AvatarLinkRenewal::new(env, parts.avatars));
    runner.job(RotatingRefresh::new(env, parts.unclear));
    runner.job(CountLateHistory::new(bot, Arc::clone(&memory)));

    let time = TimeKeeper::new(env.time.clone(), env.rest.clone());
    runner.service("discord-time", time, |time| async move { time.run().await });
    runner.service("message-gate", bot.gate.clone(), |gate| async move {
        gate.run().await;
    });
    let catch_up = CatchUp::new(bot, parts.catch_up_hours, parts.gaps, memory);
    runner.service("catch-up", catch_up, |catch_up| async move {
        Box::pin(catch_up.run()).await;
    });
    let reconcile_task = Mutex::new(parts.reconcile_task);
    runner.service("reconcile", reconcile_task, |task| async move {
        task.lock().await.run().await;
    });

    let register = roles::RoleSyncRegister::new(env, members_waiting);
    let members = (register, Mutex::new(parts.members_to_check));
    registers.spawn("register", members, |it, close| async move {
        it.0.run(&mut *it.1.lock().await, &close).await;
    });
    let bans = BanRegister::new(env.database.clone(), Arc::clone(&env.xp));
    let bans = (bans, Mutex::new(parts.ban_news));
    registers.spawn("ban-register", bans, |it, close| async move {
        it.0.run(&mut *it.1.lock().await, &close).await;
    });
    let register =
        profiles::ProfileRegister::new(env.database.clone(), Arc::clone(&env.xp), profiles_waiting);
    let users = (register, Mutex::new(parts.changed_users));
    registers.spawn("profile-register", users, |it, close| async move {
        it.0.run(&mut *it.1.lock().await, &close).await;
    });
}
