//! The reconcile of everyone's level roles. After it, every named level has its role, and every
//! member holds exactly the level roles that their points earn.
//!
//! A reconcile computes which level roles members should hold, and sends Discord only the
//! differences. It changes no other roles. It reads the members in pages, and keeps only those
//! with wrong roles in memory. It can be interrupted at any point: the next one finds the
//! remaining differences.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

use super::level_role_cache::LevelRoleCache;
use super::role_problems::{self, Withheld};
use crate::discord::RestError;
use crate::discord::channels::council::Notice;
use crate::discord::guild::member_roles::MemberRoles;
use crate::discord::guild::member_states::ShownBy;
use crate::discord::guild::members::Member;
use crate::discord::guild::{self, members, roles};
use crate::discord::rest::error_codes::TOO_MANY_ROLES;
use crate::environment::Environment;
use crate::leveling::level_roles::{Step, Trouble, after, reconcile};
use crate::leveling::{
    BELOW_ALL_ROLES, GuildRole, LevelRoles, RoleId, RolePlan, RolePosition, RoleRewards, Standing,
    Timestamp, UserId, may_be_changed, out_of_reach, removal_brake,
};
use crate::profiles::ProfileObserver;
use crate::store::{self, reconcile_state};
use crate::xp::{Inbox, LevelNames, Observation};

/// The reconcile fails when Discord has not answered for this many members in a row.
const AWAY_AFTER: u32 = 3;
/// Maximum number of times that all members are read. Each read after the first one checks that
/// the changes took effect.
const PASSES: u32 = 3;
/// How long a moderator's confirmation is valid.
pub const ALLOWED_FOR: TimeDelta = TimeDelta::hours(1);
const REASON: &str = "level roles follow XP";

/// Reconciles the levels and everyone's level roles. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RoleReconciler {
    pub(super) env: Environment,
    /// The levels' names and roles, and how to change them.
    pub(super) names: LevelNames,
    /// The guild's level roles, cached.
    pub(super) book: LevelRoleCache,
    /// Gives roles to members and takes them.
    pub(super) calls: MemberRoles,
    /// What else is done with the members that are read. `None` at a terminal, where problems are
    /// not reported to the council either.
    observers: Option<MemberObservers>,
}

/// Who else wants to see the members that are read.
#[derive(Clone, Debug)]
pub struct MemberObservers {
    /// Receives the name and avatar of every member, which Discord sends with their roles.
    pub profiles: ProfileObserver,
    /// Receives the members whose roles decide what their messages earn.
    pub inbox: Inbox,
}

/// The progress of a reconcile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReconcileProgress {
    /// Members read.
    pub members: u64,
    /// Of these, members whose roles are wrong and can be corrected.
    pub wrong: u64,
    /// Of these, members whose roles have been corrected.
    pub done: u64,
}

/// What a reconcile would change, and what it could not.
#[derive(Debug)]
pub struct Findings {
    /// Steps that make the levels agree with the guild's roles.
    pub steps: Vec<Step>,
    /// Problems that a person must fix.
    pub troubles: Vec<Trouble>,
    /// The number of members, bots included.
    pub members: u64,
    /// Members who would keep surplus roles until a moderator confirms the removal.
    pub withheld: u64,
    /// Members with wrong level roles that the bot can neither give nor take.
    pub out_of_reach: u64,
    /// Members whose roles are wrong and can be corrected.
    pub differences: Vec<Difference>,
    /// The names of the guild's roles. Untrusted text.
    pub role_names: BTreeMap<RoleId, String>,
}

/// The number of changes that a reconcile would make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeCount {
    /// The number of members, bots included.
    pub members: u64,
    /// Members who would get a role.
    pub gaining: u64,
    /// Roles that would be given.
    pub given: u64,
    /// Members who would lose a role.
    pub losing: u64,
    /// Roles that would be taken.
    pub taken: u64,
    /// Whether the bot has the permission to manage roles. Without it nothing would change.
    pub can_manage_roles: bool,
}

/// A member whose roles are wrong.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The member.
    pub user: UserId,
    /// The name that Discord shows, if it sent one. Untrusted text.
    pub name: Option<String>,
    /// All roles that the member held when they were read.
    held: Vec<RoleId>,
    /// The changes that the member needed when they were read.
    pub plan: RolePlan,
}

/// The outcome of a reconcile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Members read.
    pub members: u64,
    /// Members whose roles were wrong.
    pub wrong: u64,
    /// Of these, members with wrong level roles that the bot can neither give nor take.
    pub out_of_reach: u64,
    /// Why the bot can neither give nor take those roles, and the remedies.
    pub why_out_of_reach: Vec<String>,
    /// Roles given.
    pub given: u64,
    /// Roles taken.
    pub taken: u64,
    /// Members whose roles could not all be corrected.
    pub left: u64,
    /// Members who keep surplus roles until a moderator confirms the removal.
    pub withheld: u64,
    /// Members who keep surplus roles until the messages that were missed are counted.
    pub kept: u64,
    /// How often each role was given or taken.
    pub by_role: BTreeMap<RoleId, u64>,
    /// Whether a report to the council failed and has to be repeated.
    pub untold: bool,
}

/// The state of the levels after they were compared with the guild's roles.
#[derive(Debug)]
pub(super) struct LevelsRight {
    /// The guild's level roles.
    level_roles: LevelRoles,
    /// The level roles that the bot can neither give nor take.
    out_of_reach: BTreeSet<RoleId>,
    /// Why the bot can neither give nor take those roles, and the remedies.
    why_out_of_reach: Vec<String>,
    /// Problems that a person must fix.
    notices: Vec<Notice>,
    /// Whether the report to the council succeeded.
    pub is_told: bool,
}

/// The result of reading all members once.
#[derive(Debug, Default)]
struct MemberFindings {
    count: u64,
    /// Members whose roles are wrong.
    wrong: u64,
    /// Of these, members with a wrong level role that the bot can neither give nor take.
    out_of_reach: u64,
    /// Members for whom at least one role can be corrected.
    differences: Vec<Difference>,
}

impl RoleReconciler {
    /// The running bot passes `observers`; the command line passes `None`.
    pub fn new(env: &Environment, observers: Option<MemberObservers>) -> Self {
        Self {
            names: LevelNames::new(env.database.clone(), Arc::clone(&env.xp)),
            book: LevelRoleCache::new(env),
            calls: MemberRoles::new(env.rest.clone(), env.guild),
            env: env.clone(),
            observers,
        }
    }

    /// Computes what a reconcile would do at `now`. Changes no role and no level.
    pub async fn look(&self, now: Timestamp) -> anyhow::Result<Findings> {
        self.see_onboarding(now).await?;
        self.refresh_settings().await?;
        let (guild_roles, bot_position) = self.book.read().await?;
        let (steps, troubles) = self.compare_levels(&guild_roles, bot_position).await?;
        // Use the levels as they will be after the steps: an imported level carries no role before
        // it is linked to one.
        let levels = after(&self.env.xp.levels(), &steps);
        let (rights, unseen) = (self.env.right_roles.protected(), self.book.unseen().await?);
        let rewards = self.env.settings.role_rewards();
        let level_roles = LevelRoles::new(
            &levels,
            &guild_roles,
            bot_position,
            &rights,
            &unseen,
            rewards,
        );
        let beyond = out_of_reach(&levels, &guild_roles, bot_position);
        let found = self.read_members(&level_roles, &beyond, |_| {}).await?;
        let losing = losing(&found.differences);
        let is_withheld = removal_brake::needs_confirmation(losing, found.count);
        Ok(Findings {
            steps,
            troubles,
            members: found.count,
            withheld: if is_withheld { losing } else { 0 },
            out_of_reach: found.out_of_reach,
            differences: found.differences,
            role_names: guild_roles
                .into_iter()
                .map(|role| (role.id, role.name))
                .collect(),
        })
    }

    /// Counts the changes that a reconcile would make under `rewards`. Changes no role and no
    /// level. `read` is called with the number of members read.
    pub async fn count(
        &self,
        rewards: RoleRewards,
        mut read: impl FnMut(u64),
    ) -> anyhow::Result<ChangeCount> {
        let (roles, bot_position) = self.book.read().await?;
        if let Some(to) = &self.observers {
            let ids = roles.iter().map(|role| role.id);
            to.inbox
                .observe_list(Observation::Roles(ids.collect()))
                .await;
        }
        let (levels, rights) = (self.env.xp.levels(), self.env.right_roles.protected());
        let unseen = self.book.unseen().await?;
        let level_roles = LevelRoles::new(&levels, &roles, bot_position, &rights, &unseen, rewards);
        let mut count = ChangeCount {
            can_manage_roles: bot_position != BELOW_ALL_ROLES,
            ..ChangeCount::default()
        };
        members::each(&self.env.rest, self.env.guild, |member| {
            count.members += 1;
            if let Some(plan) = self.plan_for(&level_roles, &member) {
                count.add(&plan);
            }
            if count.members.is_multiple_of(1_000) {
                read(count.members);
            }
        })
        .await?;
        Ok(count)
    }

    /// Corrects the levels and everyone's level roles, as of `now`. If some missed messages are
    /// not counted yet (`caught_up` is false), nobody loses a role.
    pub async fn run(
        &self,
        now: DateTime<Utc>,
        caught_up: bool,
        progress: &watch::Sender<ReconcileProgress>,
    ) -> anyhow::Result<Report> {
        progress.send_replace(ReconcileProgress::default());
        self.refresh_settings().await?;
        let levels = self.put_levels_right(now).await?;
        self.book.reconcile_begins();
        let outcome = self
            .reconcile_members(now, caught_up, levels, progress)
            .await;
        if outcome.is_err() || !caught_up {
            self.book.set_needs_reconcile();
        }
        outcome
    }

    async fn reconcile_members(
        &self,
        now: DateTime<Utc>,
        caught_up: bool,
        levels: LevelsRight,
        progress: &watch::Sender<ReconcileProgress>,
    ) -> anyhow::Result<Report> {
        let LevelsRight {
            mut level_roles,
            out_of_reach,
            why_out_of_reach,
            notices,
            is_told,
        } = levels;
        let mut refused = BTreeMap::new();
        let allowed =
            reconcile_state::allowed(&mut *self.env.database.acquire().await?, now).await?;
        let mut report = Report {
            untold: !is_told,
            ..Report::default()
        };
        // Never reset between passes: after the council has been asked to confirm removals, no
        // later pass may take roles.
        let mut withholds = !caught_up;
        for pass in 1..=PASSES {
            let found = self
                .read_members(&level_roles, &out_of_reach, |so_far| {
                    if pass == 1 {
                        progress.send_replace(so_far);
                    }
                })
                .await?;
            let (members, losing) = (found.count, losing(&found.differences));
            let is_allowed = allowed.map_or(0, u64::from) >= losing;
            if removal_brake::needs_confirmation(losing, members)
                && !is_allowed
                && report.withheld == 0
            {
                withholds = true;
                report.withheld = losing;
                let asks = role_problems::removals(Withheld { losing, members });
                report.untold |= !self.tell("removals", &[asks]).await;
            }
            if pass == 1 {
                report.members = members;
                report.wrong = found.wrong;
                if !caught_up && report.withheld == 0 {
                    report.kept = losing;
                }
                report.out_of_reach = found.out_of_reach;
                if found.out_of_reach > 0 {
                    report.why_out_of_reach.clone_from(&why_out_of_reach);
                }
            }
            let (differences, changed) = (found.differences, report.given + report.taken);
            let refused_before = refused.len();
            self.apply(&mut refused, differences, withholds, &mut report, progress)
                .await?;
            for role in refused.keys() {
                level_roles.without(*role);
            }
            // A call may have had no effect although Discord reported success. So all members are
            // read again if this pass changed any roles. A role that replaces the others and was
            // refused is followed by the next lower one.
            let needs_another = level_roles.replace_each_other() && refused.len() > refused_before;
            if report.given + report.taken == changed && !needs_another {
                break;
            }
        }
        if caught_up && report.withheld == 0 {
            report.untold |= !self.tell("removals", &[]).await;
        }
        self.book.set_refusals(&refused);
        let of_refused = self.notices_of_refused(None).await?;
        // If something changed during this reconcile that requires another one, the next one
        // reports which problems are solved.
        let is_solved = caught_up && !self.book.needs_reconcile();
        report.untold |= !self.tell_of_levels(is_solved, &notices, &of_refused).await;
        let mut session = self.env.database.acquire().await?;
        reconcile_state::finished(&mut session, now).await?;
        if allowed.is_some() && caught_up && report.withheld == 0 {
            reconcile_state::use_up(&mut session).await?;
        }
        Ok(report)
    }

    /// Reads the guild's settings again. Another process may have changed them, or the outcome of
    /// this process's last change may have been unknown.
    async fn refresh_settings(&self) -> anyhow::Result<()> {
        if self.env.settings.refresh().await? {
            self.book.forget();
        }
        Ok(())
    }

    /// Links levels to roles, follows renamed roles and creates missing ones. Returns the resulting
    /// level roles. Reports problems to the council. While everyone still has to be reconciled, it
    /// does not report problems as solved.
    pub(super) async fn put_levels_right(&self, now: DateTime<Utc>) -> anyhow::Result<LevelsRight> {
        self.remember_onboarding(now).await?;
        let mut alone = self.names.lock().await?;
        let (mut guild_roles, mut bot_position) = self.book.read().await?;
        let (steps, mut troubles) = self.compare_levels(&guild_roles, bot_position).await?;
        // Without the permission to manage roles, the bot does not try to create any: the council
        // would get a second notice with the same cause.
        let (mut may_make, mut lacks_some) = (bot_position != BELOW_ALL_ROLES, false);
        let changes = !steps.is_empty();
        for step in steps {
            tracing::info!("correcting a level: {step}");
            match step {
                Step::Link { level, role, name } => {
                    alone.save(level, Some(role), Some(&name)).await?;
                    self.book.forget();
                }
                Step::Follow(renamed) => {
                    alone.rename(&renamed).await?;
                    self.book.forget();
                }
                Step::Seen { level } => {
                    store::level::mark_seen(&mut *self.env.database.acquire().await?, level)
                        .await?;
                }
                Step::Create { level, name } if may_make => {
                    let reason = format!("the role of level {level}");
                    match roles::create(&self.env.rest, self.env.guild, &name, &reason).await {
                        Ok(role) => {
                            alone.save(level, Some(role.id), Some(&role.name)).await?;
                            self.book.forget();
                        }
                        Err(RestError::Refused {
                            status,
                            code,
                            message,
                            ..
                        }) => {
                            tracing::error!(status, code, message, %level, "a level's role cannot be made");
                            lacks_some = true;
                            may_make = status != 403 && code != TOO_MANY_ROLES;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                Step::Create { .. } => {}
            }
        }
        if changes {
            (guild_roles, bot_position) = self.book.read().await?;
            troubles = self.compare_levels(&guild_roles, bot_position).await?.1;
        }
        self.book.forget();
        drop(alone);
        let mut notices = Vec::new();
        if bot_position == BELOW_ALL_ROLES {
            notices.push(role_problems::cannot_manage_roles());
            // These follow from the missing permission.
            troubles.retain(|trouble| !matches!(trouble, Trouble::OutOfReach { .. }));
        }
        self.book.asked_about(asked_about(&troubles));
        notices.extend(role_problems::notices(&troubles));
        let why_out_of_reach = role_problems::why_out_of_reach(&notices);
        if lacks_some {
            notices.push(role_problems::cannot_create_roles());
        }
        let level_roles = self.book.level_roles_of(&guild_roles, bot_position).await;
        self.book.usable_are(level_roles.usable());
        let of_refused = self
            .notices_of_refused(Some((&guild_roles, bot_position)))
            .await?;
        let is_solved = !self.book.needs_reconcile();
        let is_told = self.tell_of_levels(is_solved, &notices, &of_refused).await;
        Ok(LevelsRight {
            level_roles,
            out_of_reach: out_of_reach(&self.env.xp.levels(), &guild_roles, bot_position),
            why_out_of_reach,
            notices,
            is_told,
        })
    }

    /// Asks Discord whether new members must complete an onboarding before they get roles. Returns
    /// whether members who waited for it may get roles now.
    async fn see_onboarding(&self, now: Timestamp) -> anyhow::Result<bool> {
        if !self.env.members.awaits_onboarding() {
            return Ok(false);
        }
        let has = guild::has_onboarding(&self.env.rest, self.env.guild).await?;
        Ok(self.env.members.guild_has_onboarding(has, now) && !has)
    }

    /// Stores the time since which new members must complete an onboarding. Members who joined
    /// before it need not wait for roles. After a restart, only the stored time shows who they are.
    async fn remember_onboarding(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let now =
            Timestamp::from_millis(now.timestamp_millis()).context("the current time is zero")?;
        if self.see_onboarding(now).await? {
            self.book.set_needs_reconcile();
        }
        let since = self.env.members.onboarding_since();
        reconcile_state::set_onboarding_since(&mut *self.env.database.acquire().await?, since)
            .await?;
        Ok(())
    }

    async fn compare_levels(
        &self,
        guild_roles: &[GuildRole],
        bot_position: RolePosition,
    ) -> anyhow::Result<(Vec<Step>, Vec<Trouble>)> {
        let unseen = self.book.unseen().await?;
        Ok(reconcile(
            &self.env.xp.levels(),
            &unseen,
            guild_roles,
            bot_position,
            &self.env.right_roles.protected(),
        ))
    }

    /// Reads all members. Counts them and collects those whose roles are wrong. `beyond` are the
    /// level roles that the bot can neither give nor take. `seen` is called with the progress every
    /// 1,000 members and at the end.
    async fn read_members(
        &self,
        level_roles: &LevelRoles,
        beyond: &BTreeSet<RoleId>,
        mut seen: impl FnMut(ReconcileProgress),
    ) -> anyhow::Result<MemberFindings> {
        let mut found = MemberFindings::default();
        let observers = self.observers.as_ref();
        let started = observers.map(|to| to.profiles.list_starts());
        let list = match observers {
            Some(to) if self.env.xp.xp_rules().names_roles() => {
                Some(to.inbox.list_members(None).await)
            }
            _ => None,
        };
        let mut role_changes = Vec::new();
        members::each(&self.env.rest, self.env.guild, |mut member| {
            found.count += 1;
            let name = member
                .seen
                .as_ref()
                .map(|seen| seen.shown_name().to_owned());
            if let (Some(to), Some(started), Some(seen), false) =
                (observers, started, member.seen.take(), member.bot)
            {
                to.profiles.listed(member.user, seen, started);
            }
            let names_roles = list.is_some() && !member.bot;
            if names_roles && self.env.xp.xp_rules().differs(member.user, &member.roles) {
                role_changes.push((member.user, member.roles.as_slice().into()));
            }
            if let Some(plan) = self.plan_for(level_roles, &member) {
                let is_beyond = plan.blocked.iter().any(|role| beyond.contains(role));
                found.out_of_reach += u64::from(is_beyond);
                found.wrong += u64::from(is_beyond || !plan.is_empty());
                if !plan.is_empty() {
                    found.differences.push(Difference {
                        user: member.user,
                        name,
                        held: member.roles,
                        plan,
                    });
                }
            }
            if found.count.is_multiple_of(1_000) {
                seen(found.progress());
            }
        })
        .await?;
        if let Some(list) = list {
            list.add(role_changes).await;
        }
        seen(found.progress());
        Ok(found)
    }

    /// The changes for a member who was read; `None` for a bot, and for a member who may not get
    /// roles yet.
    fn plan_for(&self, level_roles: &LevelRoles, member: &Member) -> Option<RolePlan> {
        if member.bot {
            return None;
        }
        // Discord treats a member who gets a role as having passed the screening. So members who
        // have not passed it are skipped.
        let (user, states) = (member.user, &self.env.members);
        if states.observe(user, member.screening, ShownBy::Other) {
            return None;
        }
        Some(level_roles.plan(&member.roles, self.standing(user).as_ref()))
    }

    /// Corrects the members' roles. Roles that turn out to be gone or out of reach are added to
    /// `refused` and not tried again; the caller reports them to the council. If Discord does not
    /// answer for a member, this continues with the others and fails at the end. After
    /// [`AWAY_AFTER`] such members in a row it fails at once.
    async fn apply(
        &self,
        refused: &mut BTreeMap<RoleId, isize>,
        differences: Vec<Difference>,
        withholds: bool,
        report: &mut Report,
        progress: &watch::Sender<ReconcileProgress>,
    ) -> anyhow::Result<()> {
        let (mut left, mut unanswered, mut in_a_row) = (0, None, 0);
        for difference in differences {
            // Since the member was read, they may have earned XP, and a level may carry another
            // role.
            let level_roles = self.book.level_roles().await?;
            let standing = self.standing(difference.user);
            let wanted = allowed_plan(&level_roles, &difference, standing.as_ref(), withholds);
            let mut wanted_roles = wanted.add.iter().chain(&wanted.remove);
            let is_cut = wanted_roles.any(|role| refused.contains_key(role));
            let plan = if is_cut {
                let mut accepted = (*level_roles).clone();
                for role in refused.keys() {
                    accepted.without(*role);
                }
                allowed_plan(&accepted, &difference, standing.as_ref(), withholds)
            } else {
                wanted
            };
            let applied = match self.calls.apply(difference.user, &plan, REASON).await {
                Err(error) if error.is_away() && in_a_row + 1 < AWAY_AFTER => {
                    in_a_row += 1;
                    unanswered.get_or_insert(error);
                    continue;
                }
                answered => answered?,
            };
            in_a_row = 0;
            if !applied.out_of_reach.is_empty() {
                refused.extend(applied.out_of_reach.iter().copied());
                self.book.forget();
            }
            report.given += applied.given.len() as u64;
            report.taken += applied.taken.len() as u64;
            for role in applied.given.iter().chain(&applied.taken) {
                *report.by_role.entry(*role).or_default() += 1;
            }
            let is_left = is_cut || !applied.is_whole();
            left += u64::from(is_left);
            progress.send_modify(|progress| {
                let done = progress.done + u64::from(!is_left);
                progress.done = done.min(progress.wrong);
            });
        }
        // A later pass does not try the refused roles, so it may count fewer members.
        report.left = if refused.is_empty() {
            left
        } else {
            report.left.max(left)
        };
        unanswered.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Notices about roles that Discord refuses although the bot should be able to give and take
    /// them. All other problems are reported by [`Self::put_levels_right`]. `known` are the guild's
    /// roles and the bot's position among them, if they have just been read.
    async fn notices_of_refused(
        &self,
        known: Option<(&[GuildRole], RolePosition)>,
    ) -> Result<Vec<Notice>, RestError> {
        let refused = self.book.refusals();
        if refused.is_empty() {
            return Ok(Vec::new());
        }
        let read;
        let (guild_roles, bot_position) = if let Some(known) = known {
            known
        } else {
            read = self.book.read().await?;
            (&*read.0, read.1)
        };
        let levels = self.env.xp.levels();
        let unexplained = guild_roles.iter().filter_map(|role| {
            let code = *refused.get(&role.id)?;
            let level = levels.carrying(role.id)?;
            may_be_changed(role, bot_position).ok()?;
            Some((level.number, role.name.as_str(), code))
        });
        let mut unexplained: Vec<_> = unexplained.collect();
        unexplained.sort_unstable();
        Ok(role_problems::refused(&unexplained))
    }

    /// Reports the problems with the levels' roles to the council. If `is_solved`, all earlier
    /// problems that are not among them are marked as solved. Returns whether the report succeeded.
    async fn tell_of_levels(&self, is_solved: bool, levels: &[Notice], refused: &[Notice]) -> bool {
        let mut told = true;
        for (scope, notices) in [("levels", levels), ("refused", refused)] {
            told &= if is_solved {
                self.tell(scope, notices).await
            } else {
                self.add(scope, notices).await
            };
        }
        told
    }

    fn standing(&self, user: UserId) -> Option<Standing> {
        self.env.xp.get(user).map(|user| user.standing)
    }

    /// Reports all problems of a scope to the council. Earlier problems that are not among them are
    /// marked as solved. Returns whether the report succeeded.
    async fn tell(&self, scope: &'static str, notices: &[Notice]) -> bool {
        match self.observers {
            Some(_) => self.env.council.report_or_log(scope, notices).await,
            None => true,
        }
    }

    /// Reports problems of a scope to the council and marks none as solved. Returns whether the
    /// report succeeded.
    async fn add(&self, scope: &'static str, notices: &[Notice]) -> bool {
        match self.observers {
            Some(_) => self.env.council.add_or_log(scope, notices).await,
            None => true,
        }
    }
}

impl ChangeCount {
    fn add(&mut self, plan: &RolePlan) {
        self.gaining += u64::from(!plan.add.is_empty());
        self.given += plan.add.len() as u64;
        self.losing += u64::from(!plan.remove.is_empty());
        self.taken += plan.remove.len() as u64;
    }
}

impl MemberFindings {
    fn progress(&self) -> ReconcileProgress {
        ReconcileProgress {
            members: self.count,
            wrong: self.differences.len() as u64,
            done: 0,
        }
    }
}

/// The roles that are problems because of what channels give their holders.
fn asked_about(troubles: &[Trouble]) -> BTreeSet<RoleId> {
    let roles = troubles.iter().filter_map(|trouble| match trouble {
        Trouble::OpensChannels { role, .. } => Some(*role),
        Trouble::Moderates { role, channels, .. } if !channels.is_empty() => Some(*role),
        _ => None,
    });
    roles.collect()
}

/// The changes that a member needs and that may be made. If `withholds`, no role is taken. Otherwise
/// only those are taken that the counted plan takes.
fn allowed_plan(
    level_roles: &LevelRoles,
    difference: &Difference,
    standing: Option<&Standing>,
    withholds: bool,
) -> RolePlan {
    let held = &difference.held;
    if withholds {
        let mut plan = level_roles.promotion(held, standing);
        plan.remove.clear();
        return plan;
    }
    let mut plan = level_roles.plan(held, standing);
    let counted = &difference.plan.remove;
    plan.remove.retain(|role| counted.contains(role));
    plan
}

/// The number of members who would lose a role.
fn losing(differences: &[Difference]) -> u64 {
    let losing = differences.iter().filter(|one| !one.plan.remove.is_empty());
    losing.count() as u64
}
