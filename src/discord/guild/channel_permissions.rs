//! Computes a member's permissions in a channel by Discord's documented algorithm. Pure: makes no
//! calls, and does not decide what a missing permission means.
//!
//! Source: Discord's documentation, topic "Permissions", "Permission Overwrites".

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::leveling::permission_bits::{ADMINISTRATOR, VIEW_CHANNEL};
use crate::leveling::{GuildId, GuildRole, Overwrite, OverwriteTarget, RoleId, UserId};

const ALL: u64 = u64::MAX;

/// The inputs that determine a member's permissions in any channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PermissionHolder {
    user: UserId,
    /// The `@everyone` role.
    everyone: Option<RoleId>,
    /// The held roles without `@everyone`, sorted by id.
    roles: Vec<RoleId>,
    /// The permissions that the roles grant in the guild; all bits for owner and administrators.
    base: u64,
}

impl PermissionHolder {
    /// Describes `user` in `guild`, who holds the roles `held`; `all` are the guild's roles.
    pub fn new(
        guild: GuildId,
        owner: UserId,
        user: UserId,
        held: &[RoleId],
        all: &[GuildRole],
    ) -> Self {
        let everyone = RoleId::new(guild.get());
        let counts = |role: &&GuildRole| held.contains(&role.id) || Some(role.id) == everyone;
        let granted = all.iter().filter(counts);
        let granted = granted.fold(0, |granted, role| granted | role.permissions);
        let unlimited = user == owner || granted & ADMINISTRATOR != 0;
        let mut roles = held.to_vec();
        roles.sort_unstable();
        Self {
            user,
            everyone,
            roles,
            base: if unlimited { ALL } else { granted },
        }
    }

    /// The member's permission bits in a channel with these overwrites; for a thread, pass those
    /// of its parent. Zero if the member cannot see the channel.
    pub fn in_channel(&self, overwrites: &[Overwrite]) -> u64 {
        if self.base == ALL {
            return ALL;
        }
        let of_everyone =
            |target| matches!(target, OverwriteTarget::Role(role) if Some(role) == self.everyone);
        let of_roles =
            |target| matches!(target, OverwriteTarget::Role(role) if self.roles.contains(&role));
        let own = |target| target == OverwriteTarget::Member(self.user);
        // Each step overrides the one before it; within a step, allow overrides deny.
        let steps: [&dyn Fn(OverwriteTarget) -> bool; 3] = [&of_everyone, &of_roles, &own];
        let granted = steps.into_iter().fold(self.base, |granted, applies| {
            let applying = overwrites.iter().filter(|one| applies(one.target));
            let (allow, deny) = applying.fold((0, 0), |(allow, deny), one| {
                (allow | one.allow, deny | one.deny)
            });
            granted & !deny | allow
        });
        if granted & VIEW_CHANNEL == 0 {
            0
        } else {
            granted
        }
    }
}

/// Reads a channel's overwrites from Discord's JSON. `None` if the list is missing or any
/// overwrite cannot be read: the permissions in the channel are then unknown.
pub(in crate::discord) fn lenient_overwrites<'de, D: Deserializer<'de>>(
    list: D,
) -> Result<Option<Vec<Overwrite>>, D::Error> {
    let list = Value::deserialize(list)?;
    let read = || list.as_array()?.iter().map(read_overwrite).collect();
    Ok(read())
}

fn read_overwrite(overwrite: &Value) -> Option<Overwrite> {
    const ROLE: u64 = 0;
    const MEMBER: u64 = 1;
    let number = |field: &str| overwrite[field].as_str()?.parse::<u64>().ok();
    let id = number("id")?;
    let target = match overwrite["type"].as_u64()? {
        ROLE => OverwriteTarget::Role(RoleId::new(id)?),
        MEMBER => OverwriteTarget::Member(UserId::new(id)?),
        _ => return None,
    };
    Some(Overwrite {
        target,
        allow: number("allow")?,
        deny: number("deny")?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::leveling::permission_bits::{CONNECT, READ_MESSAGE_HISTORY, SEND_MESSAGES};

    const GUILD: u64 = 1;
    const OWNER: u64 = 2;
    const BOT: u64 = 3;
    const BOTS: u64 = 10;
    const STAFF: u64 = 11;
    const OTHERS: u64 = 12;
    const SEND: u64 = SEND_MESSAGES;

    fn role(id: u64, permissions: u64) -> GuildRole {
        GuildRole {
            permissions,
            ..GuildRole::plain(RoleId::new(id).unwrap(), "", 1)
        }
    }

    fn holder(user: u64, held: &[u64], all: &[GuildRole]) -> PermissionHolder {
        let held: Vec<_> = held.iter().map(|id| RoleId::new(*id).unwrap()).collect();
        let user_id = |id| UserId::new(id).unwrap();
        PermissionHolder::new(
            GuildId::new(GUILD).unwrap(),
            user_id(OWNER),
            user_id(user),
            &held,
            all,
        )
    }

    fn of_role(id: u64, allow: u64, deny: u64) -> Overwrite {
        let target = OverwriteTarget::Role(RoleId::new(id).unwrap());
        Overwrite {
            target,
            allow,
            deny,
        }
    }

    fn of_member(id: u64, allow: u64, deny: u64) -> Overwrite {
        let target = OverwriteTarget::Member(UserId::new(id).unwrap());
        Overwrite {
            target,
            allow,
            deny,
        }
    }

    #[test]
    fn exceptions_apply_in_discords_order() {
        let roles = [
            role(GUILD, VIEW_CHANNEL | READ_MESSAGE_HISTORY),
            role(BOTS, SEND),
            role(STAFF, 0),
            role(OTHERS, CONNECT),
        ];
        let bot = holder(BOT, &[BOTS, STAFF], &roles);
        let (view, read) = (VIEW_CHANNEL, READ_MESSAGE_HISTORY);
        for (overwrites, expected, why) in [
            (vec![], view | read | SEND, "roles add up"),
            (vec![of_role(GUILD, 0, view)], 0, "unseen, nothing is left"),
            (vec![of_role(GUILD, 0, read)], view | SEND, "for everyone"),
            (
                vec![of_role(STAFF, view, 0), of_role(GUILD, 0, view)],
                view | read | SEND,
                "a role overrules everyone, in whatever order they are listed",
            ),
            (
                vec![of_role(BOTS, 0, read), of_role(STAFF, read, 0)],
                view | read | SEND,
                "of several roles, the one that allows",
            ),
            (
                vec![of_role(BOTS, read, 0), of_member(BOT, 0, read)],
                view | SEND,
                "a member's own overrules the roles",
            ),
            (
                vec![of_role(BOTS, 0, view), of_member(BOT, view, 0)],
                view | read | SEND,
                "also where it allows",
            ),
            (
                vec![of_member(OWNER, 0, view), of_role(OTHERS, 0, view)],
                view | read | SEND,
                "others' exceptions are others'",
            ),
            (
                vec![of_member(GUILD, 0, view)],
                view | read | SEND,
                "the guild's id as a member's is nobody's",
            ),
        ] {
            assert_eq!(bot.in_channel(&overwrites), expected, "{why}");
        }
    }

    #[test]
    fn no_exception_applies_to_owner_and_administrators() {
        let roles = [role(GUILD, 0), role(BOTS, ADMINISTRATOR)];
        let closed = [
            of_role(GUILD, 0, ALL),
            of_role(BOTS, 0, ALL),
            of_member(BOT, 0, ALL),
            of_member(OWNER, 0, ALL),
        ];
        assert_eq!(holder(BOT, &[BOTS], &roles).in_channel(&closed), ALL);
        assert_eq!(holder(OWNER, &[], &roles).in_channel(&closed), ALL);
        assert_eq!(holder(BOT, &[], &roles).in_channel(&closed), 0);
    }

    #[test]
    fn exceptions_that_are_not_understood_are_unknown() {
        let good = json!({ "id": "10", "type": 0, "allow": "1024", "deny": "0", "new": [] });
        let read = |list: Value| lenient_overwrites(list).unwrap();
        assert_eq!(
            read(json!([good, { "id": "3", "type": 1, "allow": "0", "deny": "1024" }])),
            Some(vec![
                of_role(10, VIEW_CHANNEL, 0),
                of_member(3, 0, VIEW_CHANNEL)
            ])
        );
        assert_eq!(read(json!([])), Some(vec![]));
        for odd in [
            json!({ "id": "10", "type": 2, "allow": "0", "deny": "0" }),
            json!({ "id": "0", "type": 0, "allow": "0", "deny": "0" }),
            json!({ "id": "10", "type": 0, "allow": 1, "deny": "0" }),
            json!({ "id": "10", "allow": "0", "deny": "0" }),
            json!("10"),
        ] {
            assert_eq!(read(json!([good, odd])), None, "{odd}");
        }
        assert_eq!(read(Value::Null), None);
    }

    proptest! {
        #[test]
        fn the_order_of_the_list_does_not_matter(
            list in proptest::collection::vec((1_u64..13, any::<bool>(), any::<u64>(), any::<u64>()), 0..8),
            base in any::<u64>(),
        ) {
            let bot = holder(BOT, &[BOTS, STAFF], &[role(GUILD, base & !ADMINISTRATOR)]);
            let mut list: Vec<_> = list
                .into_iter()
                .map(|(id, member, allow, deny)| if member { of_member(id, allow, deny) } else { of_role(id, allow, deny) })
                .collect();
            let granted = bot.in_channel(&list);
            list.reverse();
            prop_assert_eq!(bot.in_channel(&list), granted);
        }
    }
}
