//! Verification: every named level has its role, every member exactly the level roles that
//! their points give.
//!
//! What is wanted is computed, and only the differences are sent; other roles are never
//! touched. Members are read in pages and not kept. All of it can be cut off anywhere and
//! begun again: the next one finds what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

use super::level_role_cache::LevelRoleCache;
use super::role_problems::{self, Withheld};
use crate::discord::codes::TOO_MANY_ROLES;
use crate::discord::council::Notice;
use crate::discord::member_roles::MemberRoles;
use crate::discord::member_states::Seen;
use crate::discord::right_roles::RightRoles;
use crate::discord::{RestError, guild};
use crate::environment::Environment;
use crate::leveling::level_roles::{Step, Trouble, after, reconcile};
use crate::leveling::{
    BELOW_ALL_ROLES, GuildRole, LevelRoles, RoleId, RolePlan, RolePosition, Standing, Timestamp,
    UserId, may_be_changed, out_of_reach,
};
use crate::profiles::Sightings;
use crate::store::{self, reconcile_state};
use crate::xp::LevelNames;

/// A plan that takes roles from more members than this, and from more than one in a hundred,
/// waits for a moderator: a wrong database must not strip a guild.
const MOST_LOSING: u64 = 25;
/// For so many members in a row Discord does not answer: then it is away for all of them.
const AWAY_AFTER: u32 = 3;
/// How often the members are read again to see that what was done has come about.
const PASSES: u32 = 3;
/// How long a moderator's word is good.
pub const ALLOWED_FOR: TimeDelta = TimeDelta::hours(1);
const REASON: &str = "level roles follow XP";

/// Verifies levels and members.
#[derive(Clone, Debug)]
pub struct RoleReconciler {
    pub(super) env: Environment,
    /// What levels carry.
    pub(super) names: LevelNames,
    /// What level roles there are.
    pub(super) book: LevelRoleCache,
    /// Gives and takes.
    pub(super) calls: MemberRoles,
    /// The roles that give rights, which no level may carry.
    rights: RightRoles,
    /// Shown everyone who is read, since their names and avatars come with their roles. `None` at
    /// a terminal, where the council is not told of problems either.
    bot: Option<Sightings>,
}

/// How far a verification is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Members read.
    pub members: u64,
    /// Of these, members whose roles are not what they should be.
    pub wrong: u64,
    /// Of these, members who have been put right.
    pub done: u64,
}

/// What is not as it should be.
#[derive(Debug)]
pub struct Found {
    /// What levels lack.
    pub steps: Vec<Step>,
    /// What a person must see to.
    pub troubles: Vec<Trouble>,
    /// How many members there are.
    pub members: u64,
    /// How many would keep roles that they should lose, until a moderator says so.
    pub withheld: u64,
    /// How many lack or hold roles that the bot can neither give nor take.
    pub out_of_reach: u64,
    /// Those whose roles are wrong and can be put right.
    pub differences: Vec<Difference>,
    /// What the guild's roles are called; hostile text.
    pub role_names: BTreeMap<RoleId, String>,
}

/// A member whose roles are wrong.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Who it is.
    pub user: UserId,
    /// The name that Discord shows, if it sent one; hostile text.
    pub name: Option<String>,
    /// What they hold.
    held: Vec<RoleId>,
    /// What was to be changed when it was found.
    pub plan: RolePlan,
}

/// What a verification has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Members read.
    pub members: u64,
    /// Members who were not as they should be.
    pub wrong: u64,
    /// Of these, members who lack or hold roles that the bot can neither give nor take.
    pub out_of_reach: u64,
    /// Why it cannot, and what to do about it.
    pub why_out_of_reach: Vec<String>,
    /// Roles given.
    pub given: u64,
    /// Roles taken.
    pub taken: u64,
    /// Members who could not be put right now.
    pub left: u64,
    /// Members who keep roles that they should lose, until a moderator says so.
    pub withheld: u64,
    /// Calls that succeeded, by role.
    pub by_role: BTreeMap<RoleId, u64>,
    /// Whether the council has yet to be told of something.
    pub untold: bool,
}

/// The levels, once they agree with the guild's roles.
#[derive(Debug)]
pub(super) struct LevelsRight {
    /// The level roles that there are.
    level_roles: LevelRoles,
    /// Those that the bot can neither give nor take.
    out_of_reach: BTreeSet<RoleId>,
    /// Why it cannot, and what to do about it.
    why_out_of_reach: Vec<String>,
    /// What a person must see to.
    notices: Vec<Notice>,
    /// Whether the council could be told.
    pub is_told: bool,
}

/// What a reading of all members has found.
#[derive(Debug, Default)]
struct Members {
    count: u64,
    /// Whose roles are not what they should be.
    wrong: u64,
    /// Of these, who lacks or holds a role that is out of reach.
    out_of_reach: u64,
    /// Those of whom something can be put right.
    differences: Vec<Difference>,
}

impl RoleReconciler {
    /// For a bot that runs if there are `sightings`, else for a person at a terminal.
    pub fn new(env: &Environment, rights: RightRoles, sightings: Option<Sightings>) -> Self {
        Self {
            names: LevelNames::new(env.database.clone(), Arc::clone(&env.xp)),
            book: LevelRoleCache::new(env, rights.clone()),
            calls: MemberRoles::new(env.rest.clone(), env.guild),
            env: env.clone(),
            rights,
            bot: sightings,
        }
    }

    /// What a verification would do at `now`, without doing any of it.
    pub async fn look(&self, now: Timestamp) -> anyhow::Result<Found> {
        self.see_onboarding(now).await?;
        let (roles, bot_position) = self.book.read().await?;
        let (steps, troubles) = self.compare_levels(&roles, bot_position).await?;
        // As they will be: an imported level carries no role yet.
        let levels = after(&self.env.xp.levels(), &steps);
        let level_roles = LevelRoles::new(&levels, &roles, bot_position, &self.rights.protected());
        let beyond = out_of_reach(&levels, &roles, bot_position);
        let members = self.read_members(&level_roles, &beyond, |_| {}).await?;
        let losing = losing(&members.differences);
        let are_many = are_many(losing, members.count);
        Ok(Found {
            steps,
            troubles,
            members: members.count,
            withheld: if are_many { losing } else { 0 },
            out_of_reach: members.out_of_reach,
            differences: members.differences,
            role_names: roles.into_iter().map(|role| (role.id, role.name)).collect(),
        })
    }

    /// Puts levels and members right, as of `now`. Unless all that was missed has been counted,
    /// nobody loses a role.
    pub async fn run(
        &self,
        now: DateTime<Utc>,
        caught_up: bool,
        progress: &watch::Sender<Progress>,
    ) -> anyhow::Result<Report> {
        progress.send_replace(Progress::default());
        let levels = self.put_levels_right(now).await?;
        self.book.is_being_verified();
        let verified = self.verify(now, caught_up, levels, progress).await;
        if verified.is_err() || !caught_up {
            self.book.set_unverified();
        }
        verified
    }

    async fn verify(
        &self,
        now: DateTime<Utc>,
        caught_up: bool,
        levels: LevelsRight,
        progress: &watch::Sender<Progress>,
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
        // Once for all passes: what was said to the council holds to the end.
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
            if are_many(losing, members) && !is_allowed && report.withheld == 0 {
                withholds = true;
                report.withheld = losing;
                let asks = role_problems::removals(Withheld { losing, members });
                report.untold |= !self.tell("removals", &[asks]).await;
            }
            if pass == 1 {
                report.members = members;
                report.wrong = found.wrong;
                report.out_of_reach = found.out_of_reach;
                if found.out_of_reach > 0 {
                    report.why_out_of_reach.clone_from(&why_out_of_reach);
                }
            }
            let (differences, changed) = (found.differences, report.given + report.taken);
            self.apply(&mut refused, differences, withholds, &mut report, progress)
                .await?;
            for role in refused.keys() {
                level_roles.without(*role);
            }
            // A call that Discord answered well may have come to nothing: seen by reading
            // again, once there was something to see.
            if report.given + report.taken == changed {
                break;
            }
        }
        if caught_up && report.withheld == 0 {
            report.untold |= !self.tell("removals", &[]).await;
        }
        self.book.set_refusals(&refused);
        let of_refused = self.notices_of_refused(None).await?;
        // Unless something has changed meanwhile: then another verification follows, and what
        // is solved is said after that.
        let is_solved = caught_up && !self.book.is_unverified();
        report.untold |= !self.tell_of_levels(is_solved, &notices, &of_refused).await;
        let mut session = self.env.database.acquire().await?;
        reconcile_state::finished(&mut session, now).await?;
        if allowed.is_some() && caught_up && report.withheld == 0 {
            reconcile_state::use_up(&mut session).await?;
        }
        Ok(report)
    }

    /// Links, follows and makes level roles at `now`; the level roles there are then. The council is told
    /// of what a person must see to, but not that something is solved as long as members are
    /// still to be verified for it.
    pub(super) async fn put_levels_right(&self, now: DateTime<Utc>) -> anyhow::Result<LevelsRight> {
        self.remember_onboarding(now).await?;
        let mut alone = self.names.lock().await?;
        let (mut roles, mut bot_position) = self.book.read().await?;
        let (steps, mut troubles) = self.compare_levels(&roles, bot_position).await?;
        // Without the right to manage roles it is not tried: that is one problem, not two.
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
                    match guild::create_role(&self.env.rest, self.env.guild, &name, &reason).await {
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
            (roles, bot_position) = self.book.read().await?;
            troubles = self.compare_levels(&roles, bot_position).await?.1;
        }
        self.book.forget();
        drop(alone);
        let mut notices = Vec::new();
        if bot_position == BELOW_ALL_ROLES {
            notices.push(role_problems::cannot_manage_roles());
            // That goes without saying then.
            troubles.retain(|trouble| !matches!(trouble, Trouble::OutOfReach { .. }));
        }
        notices.extend(role_problems::notices(&troubles));
        let why_out_of_reach = role_problems::why_out_of_reach(&notices);
        if lacks_some {
            notices.push(role_problems::cannot_create_roles());
        }
        let level_roles = self.book.level_roles_of(&roles, bot_position);
        self.book.usable_are(level_roles.usable());
        let of_refused = self
            .notices_of_refused(Some((&roles, bot_position)))
            .await?;
        let is_solved = !self.book.is_unverified();
        let is_told = self.tell_of_levels(is_solved, &notices, &of_refused).await;
        Ok(LevelsRight {
            level_roles,
            out_of_reach: out_of_reach(&self.env.xp.levels(), &roles, bot_position),
            why_out_of_reach,
            notices,
            is_told,
        })
    }

    /// Asks whether joiners have an onboarding to pass before they get roles. Returns whether
    /// members may have to wait no more.
    async fn see_onboarding(&self, now: Timestamp) -> anyhow::Result<bool> {
        if !self.env.members.awaits_onboarding() {
            return Ok(false);
        }
        let has = guild::has_onboarding(&self.env.rest, self.env.guild).await?;
        Ok(self.env.members.guild_has_onboarding(has, now) && !has)
    }

    /// Stores since when there is an onboarding to pass. Members who joined before that are not
    /// held back, and after a restart only this time tells them from members who joined later.
    async fn remember_onboarding(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let now = Timestamp::from_millis(now.timestamp_millis()).context("it is 1970")?;
        if self.see_onboarding(now).await? {
            self.book.set_unverified();
        }
        let since = self.env.members.onboarding_since();
        reconcile_state::set_onboarding_since(&mut *self.env.database.acquire().await?, since)
            .await?;
        Ok(())
    }

    async fn compare_levels(
        &self,
        roles: &[GuildRole],
        bot_position: RolePosition,
    ) -> anyhow::Result<(Vec<Step>, Vec<Trouble>)> {
        let unseen = store::level::unseen(&mut *self.env.database.acquire().await?).await?;
        Ok(reconcile(
            &self.env.xp.levels(),
            &unseen,
            roles,
            bot_position,
            &self.rights.protected(),
        ))
    }

    /// How many members there are, and those whose roles are wrong. `beyond` are the level
    /// roles that the bot can neither give nor take.
    async fn read_members(
        &self,
        level_roles: &LevelRoles,
        beyond: &BTreeSet<RoleId>,
        mut seen: impl FnMut(Progress),
    ) -> anyhow::Result<Members> {
        let mut members = Members::default();
        let started = self.bot.as_ref().map(Sightings::list_starts);
        guild::each_member(&self.env.rest, self.env.guild, |member| {
            members.count += 1;
            let name = member
                .seen
                .as_ref()
                .map(|seen| seen.shown_name().to_owned());
            if let (Some(sightings), Some(started), Some(seen), false) =
                (&self.bot, started, member.seen, member.bot)
            {
                sightings.listed(member.user, seen, started);
            }
            if member.bot {
                return;
            }
            // Who has not passed the screening yet would pass it by getting a role.
            let waits = self
                .env
                .members
                .observe(member.user, member.screening, Seen::There);
            if !waits {
                let standing = self.standing(member.user);
                let plan = level_roles.plan(&member.roles, standing.as_ref());
                let is_beyond = plan.blocked.iter().any(|role| beyond.contains(role));
                members.out_of_reach += u64::from(is_beyond);
                members.wrong += u64::from(is_beyond || !plan.is_empty());
                if !plan.is_empty() {
                    members.differences.push(Difference {
                        user: member.user,
                        name,
                        held: member.roles,
                        plan,
                    });
                }
            }
            if members.count.is_multiple_of(1_000) {
                seen(members.progress());
            }
        })
        .await?;
        seen(members.progress());
        Ok(members)
    }

    /// Makes the differences; `refused` collects the roles that turn out to be gone or out of
    /// reach: the rest goes on, and the council is told at the end. It goes on
    /// too when Discord does not answer for one member, and fails at the end.
    async fn apply(
        &self,
        refused: &mut BTreeMap<RoleId, isize>,
        differences: Vec<Difference>,
        withholds: bool,
        report: &mut Report,
        progress: &watch::Sender<Progress>,
    ) -> anyhow::Result<()> {
        let (mut left, mut unanswered, mut in_a_row) = (0, None, 0);
        for difference in differences {
            // By now they may have earned something, and a level may carry another role.
            let level_roles = self.book.level_roles().await?;
            let standing = self.standing(difference.user);
            let mut plan = level_roles.plan(&difference.held, standing.as_ref());
            // What was not counted when it was looked whether it is too much is left.
            let counted = &difference.plan.remove;
            plan.remove
                .retain(|role| !withholds && counted.contains(role));
            let wanted = plan.add.len() + plan.remove.len();
            plan.add.retain(|role| !refused.contains_key(role));
            plan.remove.retain(|role| !refused.contains_key(role));
            let is_cut = plan.add.len() + plan.remove.len() < wanted;
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
        // A later pass knows nothing of roles that were refused in the first.
        report.left = if refused.is_empty() {
            left
        } else {
            report.left.max(left)
        };
        unanswered.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Of roles that Discord refuses although the bot should reach them; of all others it is told
    /// where levels are put right. `known` are the guild's roles and the bot's position among
    /// them, if they have just been read.
    async fn notices_of_refused(
        &self,
        known: Option<(&[GuildRole], RolePosition)>,
    ) -> Result<Vec<Notice>, RestError> {
        let refused = self.book.refusals();
        if refused.is_empty() {
            return Ok(Vec::new());
        }
        let read;
        let (roles, bot_position) = if let Some(known) = known {
            known
        } else {
            read = self.book.read().await?;
            (&*read.0, read.1)
        };
        let levels = self.env.xp.levels();
        let unexplained = roles.iter().filter_map(|role| {
            let code = *refused.get(&role.id)?;
            let level = levels.carrying(role.id)?;
            may_be_changed(role, bot_position).ok()?;
            Some((level.number, role.name.as_str(), code))
        });
        let mut unexplained: Vec<_> = unexplained.collect();
        unexplained.sort_unstable();
        Ok(role_problems::refused(&unexplained))
    }

    /// Tells the council what is wrong with levels' roles; that the rest is solved only if it
    /// is. Whether the council could be told.
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

    /// All problems of a scope; whether the council could be told.
    async fn tell(&self, scope: &'static str, notices: &[Notice]) -> bool {
        match self.bot {
            Some(_) => self.env.council.report_or_log(scope, notices).await,
            None => true,
        }
    }

    /// Problems of a scope, of which none is marked as solved; whether the council could be told.
    async fn add(&self, scope: &'static str, notices: &[Notice]) -> bool {
        match self.bot {
            Some(_) => self.env.council.add_or_log(scope, notices).await,
            None => true,
        }
    }
}

impl Members {
    fn progress(&self) -> Progress {
        Progress {
            members: self.count,
            wrong: self.differences.len() as u64,
            done: 0,
        }
    }
}

/// How many would lose a role.
fn losing(differences: &[Difference]) -> u64 {
    let losing = differences.iter().filter(|one| !one.plan.remove.is_empty());
    losing.count() as u64
}

/// Whether these are more than may lose roles without a moderator's word.
fn are_many(losing: u64, members: u64) -> bool {
    losing > MOST_LOSING && losing * 100 > members
}
