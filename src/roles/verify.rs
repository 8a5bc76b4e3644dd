//! Verification: every named level has its role, every member exactly the level roles that
//! their points give.
//!
//! What is wanted is computed, and only the differences are sent; other roles are never
//! touched. Members are read in pages and not kept. All of it can be cut off anywhere and
//! begun again: the next one finds what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

use super::book::RoleBook;
use super::troubles::{self, Withheld};
use crate::discord::council::{Council, Notice};
use crate::discord::right_roles::RightRoles;
use crate::discord::role_calls::RoleCalls;
use crate::discord::{Rest, RestError, guild};
use crate::leveling::level_roles::{Step, Trouble, after, reconcile};
use crate::leveling::{
    GuildId, GuildRole, Height, LevelRoles, RoleId, RolePlan, Standing, UserId, may_be_changed,
};
use crate::profiles::Sightings;
use crate::store::{self, Database, verification};
use crate::xp::{LevelNames, XpCache};

/// A plan that takes roles from more members than this, and from more than one in a hundred,
/// waits for a moderator: a wrong database must not strip a guild.
const MOST_LOSING: u64 = 25;
/// Discord's limit of roles is reached.
const TOO_MANY_ROLES: isize = 30_005;
/// For so many members in a row Discord does not answer: then it is away for all of them.
const AWAY_AFTER: u32 = 3;
/// How often the members are read again to see that what was done has come about.
const PASSES: u32 = 3;
/// How long a moderator's word is good.
pub const ALLOWED_FOR: TimeDelta = TimeDelta::hours(1);
const REASON: &str = "level roles follow XP";

/// What a verification works with.
#[derive(Clone, Debug)]
pub struct VerifyRoles {
    /// Where levels, and the time of the last verification, are.
    pub database: Database,
    /// Everyone's points.
    pub xp: Arc<XpCache>,
    /// What levels carry.
    pub names: LevelNames,
    /// Reads roles and members.
    pub rest: Rest,
    /// What level roles there are.
    pub book: RoleBook,
    /// Gives and takes.
    pub calls: RoleCalls,
    /// The guild served.
    pub guild: GuildId,
    /// The roles that give rights, which no level may carry.
    pub rights: RightRoles,
    /// Who is told of what a person must do; nobody but the log without it.
    pub council: Option<Arc<Council>>,
    /// Shown everyone who is read: their names and avatars come with their roles.
    pub sightings: Option<Sightings>,
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
    /// Those whose roles are wrong.
    pub differences: Vec<Difference>,
}

/// A member whose roles are wrong.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Who it is.
    pub user: UserId,
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
}

impl VerifyRoles {
    /// What a verification would do, without doing any of it.
    pub async fn look(&self) -> anyhow::Result<Found> {
        let (roles, reach) = self.book.read().await?;
        let (steps, troubles) = self.compare_levels(&roles, reach).await?;
        // As they will be: an imported level carries no role yet.
        let levels = after(&self.xp.levels(), &steps);
        let level_roles = LevelRoles::new(&levels, &roles, reach, &self.rights.protected());
        let (members, differences) = self.read_members(&level_roles, |_| {}).await?;
        let losing = losing(&differences);
        Ok(Found {
            steps,
            troubles,
            members,
            withheld: if are_many(losing, members) { losing } else { 0 },
            differences,
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
        let mut level_roles = self.put_levels_right().await?;
        let mut refused = BTreeSet::new();
        let allowed = verification::allowed(&mut *self.database.acquire().await?, now).await?;
        let mut report = Report::default();
        // Once for all passes: what was said to the council holds to the end.
        let mut withholds = !caught_up;
        for pass in 1..=PASSES {
            let (members, differences) = self
                .read_members(&level_roles, |so_far| {
                    if pass == 1 {
                        progress.send_replace(so_far);
                    }
                })
                .await?;
            let losing = losing(&differences);
            let is_allowed = allowed.map_or(0, u64::from) >= losing;
            if are_many(losing, members) && !is_allowed && report.withheld == 0 {
                withholds = true;
                report.withheld = losing;
                let asks = troubles::removals(Withheld { losing, members });
                self.tell("removals", &[asks]).await;
            }
            if pass == 1 {
                report.members = members;
                report.wrong = differences.len() as u64;
                progress.send_modify(|progress| progress.wrong = report.wrong);
            }
            let changed = report.given + report.taken;
            self.apply(&mut refused, differences, withholds, &mut report, progress)
                .await?;
            for role in &refused {
                level_roles.without(*role);
            }
            // A call that Discord answered well may have come to nothing: seen by reading
            // again, once there was something to see.
            if report.given + report.taken == changed {
                break;
            }
        }
        if caught_up && report.withheld == 0 {
            self.tell("removals", &[]).await;
        }
        self.tell_of_refused(&refused).await?;
        let mut session = self.database.acquire().await?;
        verification::finished(&mut session, now).await?;
        if allowed.is_some() && caught_up && report.withheld == 0 {
            verification::use_up(&mut session).await?;
        }
        Ok(report)
    }

    /// Links, follows and makes level roles; the level roles there are then.
    pub(super) async fn put_levels_right(&self) -> anyhow::Result<LevelRoles> {
        let mut alone = self.names.alone().await?;
        let (mut roles, mut reach) = self.book.read().await?;
        let (steps, mut troubles) = self.compare_levels(&roles, reach).await?;
        let (mut may_make, mut lacks_some) = (true, false);
        let changes = !steps.is_empty();
        for step in steps {
            tracing::info!(?step, "a level is put right");
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
                    store::level::mark_seen(&mut *self.database.acquire().await?, level).await?;
                }
                Step::Create { level, name } if may_make => {
                    let reason = format!("the role of level {level}");
                    match guild::create_role(&self.rest, self.guild, &name, &reason).await {
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
            (roles, reach) = self.book.read().await?;
            troubles = self.compare_levels(&roles, reach).await?.1;
        }
        self.book.forget();
        drop(alone);
        let mut notices = Vec::new();
        if reach == guild::NOWHERE {
            notices.push(troubles::cannot_manage());
            // That goes without saying then.
            troubles.retain(|trouble| !matches!(trouble, Trouble::OutOfReach { .. }));
        }
        notices.extend(troubles::levels(&troubles));
        if lacks_some {
            notices.push(troubles::cannot_make());
        }
        self.tell("levels", &notices).await;
        Ok(self.book.level_roles_of(&roles, reach))
    }

    async fn compare_levels(
        &self,
        roles: &[GuildRole],
        reach: Height,
    ) -> anyhow::Result<(Vec<Step>, Vec<Trouble>)> {
        let unseen = store::level::unseen(&mut *self.database.acquire().await?).await?;
        Ok(reconcile(
            &self.xp.levels(),
            &unseen,
            roles,
            reach,
            &self.rights.protected(),
        ))
    }

    /// How many members there are, and those whose roles are wrong.
    async fn read_members(
        &self,
        level_roles: &LevelRoles,
        mut seen: impl FnMut(Progress),
    ) -> anyhow::Result<(u64, Vec<Difference>)> {
        let (mut members, mut differences) = (0, Vec::new());
        let started = self.sightings.as_ref().map(Sightings::list_starts);
        guild::each_member(&self.rest, self.guild, |member| {
            members += 1;
            if let (Some(sightings), Some(started), Some(seen), false) =
                (&self.sightings, started, member.seen, member.bot)
            {
                sightings.listed(member.user, seen, started);
            }
            // Who has not passed the screening yet would pass it by getting a role.
            if member.pending {
                self.book.awaits(member.user);
            } else if !member.bot {
                let standing = self.standing(member.user);
                let plan = level_roles.plan(&member.roles, standing.as_ref());
                if !plan.is_empty() {
                    differences.push(Difference {
                        user: member.user,
                        held: member.roles,
                        plan,
                    });
                }
            }
            if members % 1_000 == 0 {
                seen(Progress {
                    members,
                    wrong: differences.len() as u64,
                    done: 0,
                });
            }
        })
        .await?;
        seen(Progress {
            members,
            wrong: differences.len() as u64,
            done: 0,
        });
        Ok((members, differences))
    }

    /// Makes the differences; `refused` collects the roles that turn out to be gone or out of
    /// reach: the rest goes on, and the council is told at the end. It goes on
    /// too when Discord does not answer for one member, and fails at the end.
    async fn apply(
        &self,
        refused: &mut BTreeSet<RoleId>,
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
            plan.add.retain(|role| !refused.contains(role));
            plan.remove.retain(|role| !refused.contains(role));
            let is_cut = plan.add.len() + plan.remove.len() < wanted;
            let applied = match self.calls.apply(difference.user, &plan, REASON).await {
                Err(error @ RestError::Unreachable(_)) if in_a_row + 1 < AWAY_AFTER => {
                    in_a_row += 1;
                    unanswered.get_or_insert(error);
                    continue;
                }
                answered => answered?,
            };
            in_a_row = 0;
            if !applied.out_of_reach.is_empty() {
                refused.extend(&applied.out_of_reach);
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

    /// Tells of roles that Discord refuses although the bot should reach them; of all others it
    /// is told where levels are put right.
    async fn tell_of_refused(&self, refused: &BTreeSet<RoleId>) -> Result<(), RestError> {
        let mut notices = Vec::new();
        if !refused.is_empty() {
            let (roles, reach) = self.book.read().await?;
            let levels = self.xp.levels();
            let unexplained = roles
                .iter()
                .filter(|role| refused.contains(&role.id) && may_be_changed(role, reach).is_ok());
            notices.extend(unexplained.filter_map(|role| {
                let level = levels.carrying(role.id)?;
                Some(troubles::refused(level.number, &role.name))
            }));
        }
        self.tell("refused", &notices).await;
        Ok(())
    }

    fn standing(&self, user: UserId) -> Option<Standing> {
        self.xp.get(user).map(|user| user.standing)
    }

    async fn tell(&self, scope: &'static str, notices: &[Notice]) {
        let Some(council) = &self.council else {
            return;
        };
        if let Err(error) = council.tell(scope, notices).await {
            let error = format!("{error:#}");
            tracing::warn!(
                error,
                "the council could not be told; it is at the next verification"
            );
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
