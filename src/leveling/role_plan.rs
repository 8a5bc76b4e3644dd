//! Which level roles a member should hold, and what to change.
//!
//! Pure functions of the levels, the guild's roles and the member that return the changes. They
//! never return a role that no level carries.

use std::collections::BTreeSet;

use super::{
    GuildRole, LevelNumber, Levels, Points, ProtectedRoles, RoleId, RolePosition, RoleRewards,
    Standing, may_be_changed,
};

/// The role changes for one member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolePlan {
    /// Roles to add, lowest level first.
    pub add: Vec<RoleId>,
    /// Roles to remove, lowest level first.
    pub remove: Vec<RoleId>,
    /// Whether nothing may be removed unless everything in `add` has been added: the added role
    /// replaces the removed ones, and a member must not end up with neither.
    pub remove_after_add: bool,
    /// Roles that should be added or removed but are blocked; see [`LevelRoles::new`].
    pub blocked: Vec<RoleId>,
}

impl RolePlan {
    /// Whether there is nothing to add and nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}

/// The level roles that exist in a guild.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LevelRoles {
    /// Lowest level first.
    roles: Vec<LevelRole>,
    rewards: RoleRewards,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct LevelRole {
    level: LevelNumber,
    /// Members with at least this many points have reached it.
    from: Points,
    role: RoleId,
    /// Whether the bot cannot, or must not, add or remove it.
    blocked: bool,
}

impl LevelRoles {
    /// The roles that levels carry and that exist in the guild. `bot_position` is the position of
    /// the bot's highest role. A role is blocked, that is only reported and never changed, if it
    /// is not below that position or an integration manages it. It is also blocked if it grants
    /// moderation permissions or rights in the settings, since nobody may earn those with XP; and if
    /// it opens channels and its level is one of `unseen`: its id was imported, and no moderator has
    /// agreed to it yet.
    pub fn new(
        levels: &Levels,
        roles: &[GuildRole],
        bot_position: RolePosition,
        rights: &ProtectedRoles,
        unseen: &BTreeSet<LevelNumber>,
        rewards: RoleRewards,
    ) -> Self {
        let carried = levels.rows().iter().filter_map(|level| {
            let role = level.role_in(roles)?;
            Some(LevelRole {
                level: level.number,
                from: level.total_points_required,
                role: role.id,
                blocked: may_be_changed(role, bot_position).is_err()
                    || role.moderates()
                    || role.in_channels.needs_consent().is_some() && unseen.contains(&level.number)
                    || rights.covers(role),
            })
        });
        Self {
            roles: carried.collect(),
            rewards,
        }
    }

    /// The changes for a member who holds the roles `held`, in any order. An untracked member
    /// holds no level role.
    ///
    /// Under [`RoleRewards::Stack`] a member holds the roles of all levels up to their own. Under
    /// [`RoleRewards::Replace`] they hold only the highest of these that is not blocked. A higher
    /// one that is blocked is not missed by a member who holds it anyway.
    pub fn plan(&self, held: &[RoleId], standing: Option<&Standing>) -> RolePlan {
        let points = points(standing);
        let highest = |is_possible: fn(&LevelRole) -> bool| {
            let reached = self.reached(points);
            reached
                .rev()
                .find(|one| is_possible(one))
                .map(|one| one.role)
        };
        // What a member should hold, and what they should hold instead if the bot could give it.
        let (only, ideal) = (highest(|one| !one.blocked), highest(|_| true));
        let mut plan = RolePlan {
            remove_after_add: self.rewards == RoleRewards::Replace,
            ..RolePlan::default()
        };
        for level_role in &self.roles {
            let role = level_role.role;
            let wanted = match self.rewards {
                RoleRewards::Stack => points.is_some_and(|points| level_role.from <= points),
                RoleRewards::Replace if level_role.blocked => ideal == Some(role),
                RoleRewards::Replace => only == Some(role),
            };
            if wanted == held.contains(&role) {
                continue;
            }
            let list = match (level_role.blocked, wanted) {
                (true, _) => &mut plan.blocked,
                (false, true) => &mut plan.add,
                (false, false) => &mut plan.remove,
            };
            list.push(role);
        }
        plan
    }

    /// The part of [`Self::plan`] that never takes anything from a member without giving them
    /// more. Stacked roles are only added. A role that replaces others is added, and the lower
    /// ones are removed; but nothing happens to a member who holds a higher one, since only a
    /// reconcile decides that they lose it.
    pub fn promotion(&self, held: &[RoleId], standing: Option<&Standing>) -> RolePlan {
        let mut plan = self.plan(held, standing);
        match self.rewards {
            RoleRewards::Stack => plan.remove.clear(),
            RoleRewards::Replace => {
                let mut reached = self.reached(points(standing)).rev();
                let only = reached.find(|one| !one.blocked).map(|one| one.level);
                let is_above = |role: &RoleId| {
                    let level_role = self.roles.iter().find(|one| one.role == *role);
                    level_role.is_some_and(|one| only.is_none_or(|only| one.level > only))
                };
                if plan.remove.iter().any(is_above) {
                    (plan.add, plan.remove) = (Vec::new(), Vec::new());
                }
            }
        }
        plan
    }

    /// The unblocked roles that a member gains by rising from one level to another, lowest level
    /// first. `from` is `None` if the member had earned nothing yet; then level 0's role is
    /// included. At most one if it replaces the others.
    pub fn gained(&self, from: Option<LevelNumber>, to: LevelNumber) -> Vec<RoleId> {
        let is_gained = |one: &&LevelRole| from.is_none_or(|from| one.level > from);
        let up_to = self
            .roles
            .iter()
            .filter(|one| !one.blocked && one.level <= to);
        let skipped = match self.rewards {
            RoleRewards::Stack => 0,
            RoleRewards::Replace => up_to.clone().count().saturating_sub(1),
        };
        let gained = up_to.skip(skipped).filter(is_gained);
        gained.map(|one| one.role).collect()
    }

    /// Whether a member holds at most one level role.
    pub fn replace_each_other(&self) -> bool {
        self.rewards == RoleRewards::Replace
    }

    /// The roles of all levels that these points reach, lowest first.
    fn reached(&self, points: Option<Points>) -> impl DoubleEndedIterator<Item = &LevelRole> {
        let roles = self.roles.iter();
        roles.filter(move |one| points.is_some_and(|points| one.from <= points))
    }

    /// The roles that the bot can and may add and remove.
    pub fn usable(&self) -> BTreeSet<RoleId> {
        let usable = self.roles.iter().filter(|level_role| !level_role.blocked);
        usable.map(|level_role| level_role.role).collect()
    }

    /// Whether the guild has no level role.
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty()
    }

    /// Whether a level carries this role.
    pub fn contains(&self, role: RoleId) -> bool {
        self.roles.iter().any(|level_role| level_role.role == role)
    }

    /// Leaves out one role, which turned out to be deleted or out of the bot's reach.
    pub fn without(&mut self, role: RoleId) {
        self.roles.retain(|level_role| level_role.role != role);
    }
}

/// The points that decide a member's level roles; `None` for an untracked member.
fn points(standing: Option<&Standing>) -> Option<Points> {
    let tracked = standing.filter(|standing| standing.is_tracked());
    tracked.map(|standing| standing.points)
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use proptest::prelude::*;
    use proptest::sample::subsequence;

    use super::*;
    use crate::leveling::{ChannelId, NamedChannel, RoleInChannels, Timestamp, mee6_total};

    const BOT_POSITION: RolePosition = (10, Reverse(RoleId::new(1_000).unwrap()));
    /// Levels that carry a role. Its id is 100 plus the level's number.
    const CARRY: [u16; 7] = [0, 1, 2, 3, 5, 8, 9];
    const TWO_STANDS_AT_REACH: u64 = 102;
    const THREE_IS_MANAGED: u64 = 103;
    const NINE_IS_GONE: u64 = 109;

    fn id(role: u64) -> RoleId {
        RoleId::new(role).unwrap()
    }

    fn levels() -> Levels {
        let names: Vec<_> = (0..=10).map(|number| format!("Level {number}")).collect();
        Levels::with_roles((0..).zip(&names).map(|(number, name)| {
            let carries = CARRY.contains(&number);
            let role = carries.then(|| 100 + u64::from(number));
            (role, carries.then_some(name.as_str()))
        }))
    }

    /// The level roles and a few others.
    fn roles() -> Vec<GuildRole> {
        let ids = (100..109).chain(200..205);
        ids.map(|role| GuildRole {
            managed: role == THREE_IS_MANAGED,
            ..GuildRole::plain(
                id(role),
                role.to_string(),
                if role == TWO_STANDS_AT_REACH { 11 } else { 3 },
            )
        })
        .collect()
    }

    fn level_roles() -> LevelRoles {
        rewarding(RoleRewards::Stack)
    }

    fn replacing() -> LevelRoles {
        rewarding(RoleRewards::Replace)
    }

    fn rewarding(rewards: RoleRewards) -> LevelRoles {
        LevelRoles::new(
            &levels(),
            &roles(),
            BOT_POSITION,
            &ProtectedRoles::default(),
            &BTreeSet::new(),
            rewards,
        )
    }

    fn standing(points: u64, message_count: u64) -> Standing {
        Standing {
            points: Points::new(points).unwrap(),
            message_count,
            last_awarded_at: Timestamp::from_millis(1_700_000_000_000),
        }
    }

    fn ids(roles: &[RoleId]) -> Vec<u64> {
        roles.iter().map(|role| role.get()).collect()
    }

    #[test]
    fn level_roles_stack_up_to_the_members_level() {
        let at = |level| Some(standing(mee6_total(level), 1));
        for (held, standing, add, remove, blocked) in [
            (vec![], None, vec![], vec![], vec![]),
            (vec![], Some(standing(0, 0)), vec![], vec![], vec![]),
            // Zero points after a message, and points without a message.
            (vec![], Some(standing(0, 1)), vec![100], vec![], vec![]),
            (vec![], Some(standing(99, 0)), vec![100], vec![], vec![]),
            (vec![200], at(1), vec![100, 101], vec![], vec![]),
            (vec![101, 200], at(1), vec![100], vec![], vec![]),
            (vec![101, 100], at(1), vec![], vec![], vec![]),
            // Roles that cannot be given do not prevent the others.
            (vec![], at(5), vec![100, 101, 105], vec![], vec![102, 103]),
            (vec![102, 103], at(5), vec![100, 101, 105], vec![], vec![]),
            (
                vec![],
                at(9),
                vec![100, 101, 105, 108],
                vec![],
                vec![102, 103],
            ),
            // The points went down.
            (
                vec![100, 101, 108, 105],
                at(1),
                vec![],
                vec![105, 108],
                vec![],
            ),
            (
                vec![100, 101, 102, 103],
                at(1),
                vec![],
                vec![],
                vec![102, 103],
            ),
            (
                vec![100, 102, 105, 204],
                None,
                vec![],
                vec![100, 105],
                vec![102],
            ),
            // A role that was deleted from the guild: Discord removes it from its holders.
            (vec![100, 109], at(0), vec![], vec![], vec![]),
        ] {
            let held: Vec<_> = held.into_iter().map(id).collect();
            let plan = level_roles().plan(&held, standing.as_ref());
            let planned = (ids(&plan.add), ids(&plan.remove), ids(&plan.blocked));
            assert_eq!(planned, (add, remove, blocked), "{held:?} {standing:?}");
        }
    }

    #[test]
    fn a_role_that_replaces_others_is_the_only_one() {
        let at = |level| Some(standing(mee6_total(level), 1));
        for (held, standing, add, remove, blocked) in [
            (vec![], None, vec![], vec![], vec![]),
            (vec![], Some(standing(0, 0)), vec![], vec![], vec![]),
            (vec![], Some(standing(0, 1)), vec![100], vec![], vec![]),
            (vec![200], at(1), vec![101], vec![], vec![]),
            (vec![100, 101, 200], at(1), vec![], vec![100], vec![]),
            (vec![100], at(1), vec![101], vec![100], vec![]),
            // Between two named levels.
            (vec![105], at(7), vec![], vec![], vec![]),
            // The role of level 3 belongs to an integration, that of level 2 is out of reach: the
            // next lower one takes their place, and the highest of them is reported.
            (vec![], at(2), vec![101], vec![], vec![102]),
            (vec![], at(4), vec![101], vec![], vec![103]),
            (vec![100], at(4), vec![101], vec![100], vec![103]),
            // A person gave it: nothing is missing. The other cannot be taken.
            (vec![101, 103], at(4), vec![], vec![], vec![]),
            (vec![101, 102], at(4), vec![], vec![], vec![102, 103]),
            // Above them again.
            (
                vec![100, 101, 102],
                at(5),
                vec![105],
                vec![100, 101],
                vec![102],
            ),
            // The points went down.
            (vec![108], at(1), vec![101], vec![108], vec![]),
            (vec![108, 204], None, vec![], vec![108], vec![]),
            // The role of level 9 is gone from the guild.
            (vec![105], at(9), vec![108], vec![105], vec![]),
        ] {
            let held: Vec<_> = held.into_iter().map(id).collect();
            let plan = replacing().plan(&held, standing.as_ref());
            let planned = (ids(&plan.add), ids(&plan.remove), ids(&plan.blocked));
            assert_eq!(planned, (add, remove, blocked), "{held:?} {standing:?}");
            assert!(plan.remove_after_add);
        }
    }

    #[test]
    fn a_promotion_takes_only_what_it_replaces() {
        let at = |level| Some(standing(mee6_total(level), 1));
        for (rewards, held, standing, add, remove) in [
            (
                RoleRewards::Stack,
                vec![100, 108],
                at(5),
                vec![101, 105],
                vec![],
            ),
            (RoleRewards::Stack, vec![100], None, vec![], vec![]),
            (
                RoleRewards::Replace,
                vec![100, 101],
                at(5),
                vec![105],
                vec![100, 101],
            ),
            (
                RoleRewards::Replace,
                vec![100, 105],
                at(5),
                vec![],
                vec![100],
            ),
            (RoleRewards::Replace, vec![], at(5), vec![105], vec![]),
            // Whether they lose the higher one is not decided here.
            (RoleRewards::Replace, vec![100, 108], at(5), vec![], vec![]),
            (RoleRewards::Replace, vec![100], None, vec![], vec![]),
            // A person gave the higher one, and the bot cannot take it.
            (
                RoleRewards::Replace,
                vec![100, 103],
                at(1),
                vec![101],
                vec![100],
            ),
        ] {
            let held: Vec<_> = held.into_iter().map(id).collect();
            let plan = rewarding(rewards).promotion(&held, standing.as_ref());
            let planned = (ids(&plan.add), ids(&plan.remove));
            assert_eq!(planned, (add, remove), "{rewards:?} {held:?} {standing:?}");
        }
    }

    #[test]
    fn a_rise_brings_one_role_where_it_replaces_the_others() {
        for (from, to, gained) in [
            (None, 0, vec![100]),
            (None, 1, vec![101]),
            (Some(0), 0, vec![]),
            (Some(0), 1, vec![101]),
            (Some(1), 4, vec![]),
            (Some(0), 4, vec![101]),
            (Some(1), 5, vec![105]),
            (Some(0), 10, vec![108]),
            (Some(8), 10, vec![]),
            (Some(5), 2, vec![]),
        ] {
            let brought = replacing().gained(from.map(LevelNumber), LevelNumber(to));
            assert_eq!(ids(&brought), gained, "{from:?} to {to}");
        }
        assert!(replacing().replace_each_other() && !level_roles().replace_each_other());
    }

    #[test]
    fn a_rise_brings_the_roles_of_every_level_on_the_way() {
        for (from, to, gained) in [
            (None, 0, vec![100]),
            (None, 1, vec![100, 101]),
            (Some(0), 0, vec![]),
            (Some(0), 1, vec![101]),
            (Some(1), 4, vec![]),
            (Some(1), 5, vec![105]),
            (Some(0), 10, vec![101, 105, 108]),
            (Some(8), 10, vec![]),
            (Some(5), 2, vec![]),
        ] {
            let brought = level_roles().gained(from.map(LevelNumber), LevelNumber(to));
            assert_eq!(ids(&brought), gained, "{from:?} to {to}");
        }
    }

    #[test]
    fn a_role_that_is_gone_is_no_level_role() {
        let mut roles = level_roles();
        assert!(roles.contains(id(101)) && roles.contains(id(TWO_STANDS_AT_REACH)));
        assert!(!roles.contains(id(NINE_IS_GONE)) && !roles.contains(id(200)));
        roles.without(id(101));
        assert!(!roles.contains(id(101)));
        assert_eq!(ids(&roles.gained(None, LevelNumber(4))), [100]);
        let plan = roles.plan(&[id(101)], None);
        assert_eq!(plan, RolePlan::default());
        assert!(!roles.is_empty());
        for role in [100, 102, 103, 105, 108] {
            roles.without(id(role));
        }
        assert!(roles.is_empty());
        let none = LevelRoles::new(
            &levels(),
            &[],
            BOT_POSITION,
            &ProtectedRoles::default(),
            &BTreeSet::new(),
            RoleRewards::Stack,
        );
        assert!(none.is_empty());
    }

    #[test]
    fn a_role_that_channels_make_powerful_is_given_to_nobody() {
        let channel = NamedChannel {
            id: ChannelId::new(7).unwrap(),
            name: "staff".to_owned(),
        };
        let moderates = RoleInChannels {
            moderates: vec![channel.clone()],
            ..RoleInChannels::default()
        };
        let opens = RoleInChannels {
            opens: vec![channel],
            ..RoleInChannels::default()
        };
        // What the role of level 1 is given by channels; whether its id was imported and nobody has
        // agreed to it; whether it is given.
        for (in_channels, is_unseen, is_given) in [
            (RoleInChannels::default(), true, true),
            (moderates.clone(), false, false),
            (opens.clone(), false, true),
            (opens, true, false),
        ] {
            let mut roles = roles();
            let role = roles.iter_mut().find(|role| role.id == id(101)).unwrap();
            role.in_channels = in_channels.clone();
            let unseen = is_unseen.then_some(LevelNumber(1)).into_iter().collect();
            let rights = ProtectedRoles::default();
            let level_roles = LevelRoles::new(
                &levels(),
                &roles,
                BOT_POSITION,
                &rights,
                &unseen,
                RoleRewards::Stack,
            );
            let gained = ids(&level_roles.gained(None, LevelNumber(1)));
            assert_eq!(gained.contains(&101), is_given, "{in_channels:?}");
            assert_eq!(level_roles.usable().contains(&id(101)), is_given);
            // Nor is it taken from those who hold it.
            let plan = level_roles.plan(&[id(101)], None);
            assert_eq!(plan.remove.is_empty(), !is_given);
        }
    }

    fn any_held() -> impl Strategy<Value = Vec<RoleId>> {
        let ids: Vec<_> = roles().iter().map(|role| role.id).collect();
        subsequence(ids.clone(), 0..=ids.len())
    }

    fn any_standing() -> impl Strategy<Value = Option<Standing>> {
        let points = prop_oneof![
            0_u64..6_000,
            (0_u16..11, -1_i64..=1)
                .prop_map(|(level, beside)| mee6_total(level).saturating_add_signed(beside)),
        ];
        let tracked = (points, 0_u64..3).prop_map(|(points, count)| standing(points, count));
        proptest::option::weighted(0.9, tracked)
    }

    fn any_rewards() -> impl Strategy<Value = RoleRewards> {
        prop_oneof![Just(RoleRewards::Stack), Just(RoleRewards::Replace)]
    }

    /// The level roles among these that the bot may change.
    fn changeable(held: &[RoleId]) -> BTreeSet<u64> {
        let usable = replacing().usable();
        let held = held.iter().filter(|role| usable.contains(role));
        held.map(|role| role.get()).collect()
    }

    /// The highest of the unblocked roles up to this level.
    fn highest_up_to(level: u16) -> u64 {
        let possible = [0, 1, 5, 8].into_iter().filter(|one| *one <= level);
        100 + u64::from(possible.max().unwrap())
    }

    /// The member's roles after the plan was carried out.
    fn applied(plan: &RolePlan, held: &[RoleId]) -> Vec<RoleId> {
        let kept = held.iter().filter(|role| !plan.remove.contains(role));
        kept.chain(&plan.add).copied().collect()
    }

    proptest! {
        #[test]
        fn a_plan_that_was_carried_out_leaves_nothing_to_do(
            held in any_held(),
            standing in any_standing(),
            rewards in any_rewards(),
        ) {
            let roles = rewarding(rewards);
            let plan = roles.plan(&held, standing.as_ref());
            let after = applied(&plan, &held);
            let next = roles.plan(&after, standing.as_ref());
            prop_assert!(next.is_empty(), "{next:?}");
            prop_assert_eq!(&next.blocked, &plan.blocked, "what is blocked stays as it is");
            // Carrying out a plan twice changes nothing more.
            let twice: BTreeSet<_> = applied(&plan, &after).into_iter().collect();
            prop_assert_eq!(twice, after.into_iter().collect());
        }

        #[test]
        fn only_level_roles_are_touched_and_none_that_is_blocked(
            held in any_held(),
            standing in any_standing(),
            rewards in any_rewards(),
        ) {
            let roles = rewarding(rewards);
            let plan = roles.plan(&held, standing.as_ref());
            let blocked = [id(TWO_STANDS_AT_REACH), id(THREE_IS_MANAGED)];
            for role in plan.add.iter().chain(&plan.remove) {
                prop_assert!(roles.contains(*role) && !blocked.contains(role));
            }
            for role in &plan.blocked {
                prop_assert!(blocked.contains(role));
            }
            for role in &plan.add {
                prop_assert!(!held.contains(role));
            }
            for role in &plan.remove {
                prop_assert!(held.contains(role));
            }
        }

        #[test]
        fn how_the_held_roles_are_listed_does_not_matter(
            (held, shuffled) in any_held()
                .prop_flat_map(|held| (Just(held.clone()), Just([held.clone(), held].concat()).prop_shuffle())),
            standing in any_standing(),
            rewards in any_rewards(),
        ) {
            let roles = rewarding(rewards);
            let plan = roles.plan(&held, standing.as_ref());
            prop_assert_eq!(roles.plan(&shuffled, standing.as_ref()), plan);
        }

        #[test]
        fn more_points_never_mean_fewer_roles(
            held in any_held(),
            points in 0_u64..6_000,
            more in 0_u64..6_000,
        ) {
            let roles = level_roles();
            let after = |points| {
                let plan = roles.plan(&held, Some(&standing(points, 1)));
                BTreeSet::from_iter(applied(&plan, &held))
            };
            prop_assert!(after(points).is_subset(&after(points + more)));
        }

        #[test]
        fn what_a_rise_brings_is_what_the_plan_adds(from in 0_u16..11, to in 0_u16..11) {
            let roles = level_roles();
            let at = |level| standing(mee6_total(level), 1);
            let held = applied(&roles.plan(&[], Some(&at(from))), &[]);
            let gained = roles.gained(Some(LevelNumber(from)), LevelNumber(to));
            prop_assert_eq!(roles.plan(&held, Some(&at(to))).add, gained);
            let first = roles.gained(None, LevelNumber(to));
            prop_assert_eq!(roles.plan(&[], Some(&at(to))).add, first);
        }

        #[test]
        fn a_role_that_is_left_out_is_left_alone(
            held in any_held(),
            standing in any_standing(),
            rewards in any_rewards(),
        ) {
            let mut roles = rewarding(rewards);
            roles.without(id(101));
            let plan = roles.plan(&held, standing.as_ref());
            let named = [plan.add, plan.remove, plan.blocked].concat();
            prop_assert!(!named.contains(&id(101)));
        }

        #[test]
        fn under_replace_a_member_ends_with_the_highest_role_that_can_be_given(
            held in any_held(),
            level in 0_u16..11,
        ) {
            let standing = standing(mee6_total(level), 1);
            let plan = replacing().plan(&held, Some(&standing));
            prop_assert!(plan.add.len() <= 1);
            let after = changeable(&applied(&plan, &held));
            prop_assert_eq!(after, [highest_up_to(level)].into());
            // If the role cannot be added, nothing is removed, and the next lower one is tried.
            if let [refused] = plan.add[..] {
                let mut rest = replacing();
                rest.without(refused);
                let next = rest.plan(&held, Some(&standing));
                let lower = ids(&next.add).iter().all(|role| *role < refused.get());
                prop_assert!(lower, "{:?}", next);
            }
        }

        #[test]
        fn under_replace_an_untracked_member_holds_no_level_role(held in any_held()) {
            let plan = replacing().plan(&held, None);
            prop_assert_eq!(changeable(&applied(&plan, &held)), BTreeSet::new());
        }

        #[test]
        fn a_promotion_never_leaves_a_member_with_a_lower_role(
            held in any_held(),
            standing in any_standing(),
            rewards in any_rewards(),
        ) {
            let roles = rewarding(rewards);
            let plan = roles.plan(&held, standing.as_ref());
            let promotion = roles.promotion(&held, standing.as_ref());
            prop_assert!(promotion.add.iter().all(|role| plan.add.contains(role)));
            prop_assert!(promotion.remove.iter().all(|role| plan.remove.contains(role)));
            let before = changeable(&held);
            let after = changeable(&applied(&promotion, &held));
            prop_assert!(after.last() >= before.last(), "{before:?} {after:?}");
        }

        #[test]
        fn from_stacked_to_replaced_and_back(level in 0_u16..11) {
            let standing = Some(standing(mee6_total(level), 1));
            let stacked = applied(&level_roles().plan(&[], standing.as_ref()), &[]);
            let swap = replacing().plan(&stacked, standing.as_ref());
            prop_assert!(swap.add.is_empty(), "they hold it already");
            let replaced = applied(&swap, &stacked);
            prop_assert_eq!(ids(&replaced), [highest_up_to(level)]);
            let back = applied(&level_roles().plan(&replaced, standing.as_ref()), &replaced);
            prop_assert_eq!(changeable(&back), changeable(&stacked));
        }

        #[test]
        fn what_a_rise_brings_under_replace_is_what_the_plan_adds(from in 0_u16..11, rise in 0_u16..11) {
            let (roles, to) = (replacing(), (from + rise).min(10));
            let at = |level| standing(mee6_total(level), 1);
            let held = applied(&roles.plan(&[], Some(&at(from))), &[]);
            let gained = roles.gained(Some(LevelNumber(from)), LevelNumber(to));
            prop_assert_eq!(roles.promotion(&held, Some(&at(to))).add, gained);
            let first = roles.gained(None, LevelNumber(to));
            prop_assert_eq!(roles.plan(&[], Some(&at(to))).add, first);
        }
    }
}
