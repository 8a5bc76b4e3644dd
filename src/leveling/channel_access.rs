//! What channels' permission overwrites give the holders of a role: moderation permissions in a
//! channel, and the sight of channels that other members cannot see.
//!
//! Pure: the channels are arguments. Source: Discord's documentation, topic "Permissions",
//! "Permission Overwrites".

use std::collections::BTreeSet;

use super::permission_bits::{ADMINISTRATOR, MODERATION, VIEW_CHANNEL};
use super::{ChannelId, GuildRole, RoleId, UserId};

/// A channel's permission overwrite for one role or member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Overwrite {
    /// The role or member that it applies to.
    pub target: OverwriteTarget,
    /// The permission bits that it grants.
    pub allow: u64,
    /// The permission bits that it removes.
    pub deny: u64,
}

/// The role or member that an overwrite applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OverwriteTarget {
    /// The holders of a role; for the role with the guild's id (`@everyone`), all members.
    Role(RoleId),
    /// One member, by user id.
    Member(UserId),
}

/// A channel with its overwrites. Threads have none of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelOverwrites {
    /// The channel.
    pub channel: NamedChannel,
    /// The category that it belongs to.
    pub parent: Option<ChannelId>,
    /// `None` if Discord's description of them was not understood.
    pub overwrites: Option<Vec<Overwrite>>,
}

/// A channel and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedChannel {
    /// The channel's id.
    pub id: ChannelId,
    /// Untrusted text, as every name; not escaped.
    pub name: String,
}

/// What channels give the holders of a role beyond what the role grants in the whole guild.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleInChannels {
    /// Channels in which the role grants permissions in `MODERATION`.
    pub moderates: Vec<NamedChannel>,
    /// Channels that the role's holders can see and a member without any role cannot.
    pub opens: Vec<NamedChannel>,
    /// Channels whose overwrites were not understood: the role may open or moderate them.
    pub unread: Vec<NamedChannel>,
}

/// Identifies the channels that a moderator has been shown, so that their consent counts for no
/// others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShownChannels(pub u64);

impl RoleInChannels {
    /// Whether a moderator must agree before a level carries the role. `None` if not; else what
    /// they agree to.
    pub fn needs_consent(&self) -> Option<ShownChannels> {
        let mut channels = self.opens.iter().chain(&self.unread).peekable();
        channels.peek()?;
        // FNV-1a: the same for every process, because a button outlives the bot.
        let bytes = channels.flat_map(|channel| channel.id.get().to_le_bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Some(ShownChannels(hash))
    }
}

/// Adds to each role what the guild's channels give its holders. `everyone` is the role that all
/// members have.
pub fn add_channels(roles: &mut [GuildRole], everyone: RoleId, channels: &[ChannelOverwrites]) {
    let all = roles.iter().find(|role| role.id == everyone);
    let base = all.map_or(0, |role| role.permissions);
    let mut channels: Vec<_> = channels.iter().collect();
    channels.sort_unstable_by_key(|channel| channel.channel.id);
    for role in roles.iter_mut().filter(|role| role.id != everyone) {
        let mut found = RoleInChannels::default();
        for channel in &channels {
            let named = || channel.channel.clone();
            let Some(overwrites) = &channel.overwrites else {
                found.unread.push(named());
                continue;
            };
            let of = |id| overwrite_of(overwrites, id);
            if of(role.id).0 & MODERATION != 0 {
                found.moderates.push(named());
            }
            let others = apply(base, of(everyone));
            let holders = apply(base | role.permissions, of(everyone));
            let holders = apply(holders, of(role.id));
            if sees(base | role.permissions, holders) && !sees(base, others) {
                found.opens.push(named());
            }
        }
        let parents: BTreeSet<_> = channels
            .iter()
            .filter(|channel| found.opens.contains(&channel.channel))
            .filter_map(|channel| channel.parent)
            .collect();
        // A category shows nothing besides its channels.
        found.opens.retain(|channel| !parents.contains(&channel.id));
        role.in_channels = found;
    }
}

/// What a channel grants and removes for the holders of a role.
fn overwrite_of(overwrites: &[Overwrite], role: RoleId) -> (u64, u64) {
    let target = OverwriteTarget::Role(role);
    let own = overwrites.iter().filter(|one| one.target == target);
    own.fold((0, 0), |(allow, deny), one| {
        (allow | one.allow, deny | one.deny)
    })
}

fn apply(granted: u64, (allow, deny): (u64, u64)) -> u64 {
    granted & !deny | allow
}

/// Whether a member with these permissions in the guild and in a channel sees the channel.
fn sees(in_guild: u64, in_channel: u64) -> bool {
    in_guild & ADMINISTRATOR != 0 || in_channel & VIEW_CHANNEL != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leveling::permission_bits::{CONNECT, MANAGE_ROLES, SEND_MESSAGES};

    const EVERYONE: u64 = 1;
    const ROLE: u64 = 2;
    const OTHER: u64 = 3;
    const VIEW: u64 = VIEW_CHANNEL;
    const MANAGE_MESSAGES: u64 = 1 << 13;
    const PIN_MESSAGES: u64 = 1 << 51;

    fn role_id(role: u64) -> RoleId {
        RoleId::new(role).unwrap()
    }

    fn named(id: u64) -> NamedChannel {
        NamedChannel {
            id: ChannelId::new(id).unwrap(),
            name: format!("channel-{id}"),
        }
    }

    fn of_role(role: u64, allow: u64, deny: u64) -> Overwrite {
        Overwrite {
            target: OverwriteTarget::Role(role_id(role)),
            allow,
            deny,
        }
    }

    fn of_member(allow: u64) -> Overwrite {
        Overwrite {
            target: OverwriteTarget::Member(UserId::new(ROLE).unwrap()),
            allow,
            deny: 0,
        }
    }

    fn channel(id: u64, overwrites: Option<Vec<Overwrite>>) -> ChannelOverwrites {
        ChannelOverwrites {
            channel: named(id),
            parent: None,
            overwrites,
        }
    }

    /// What channels give the holders of the role, where the guild grants everyone and the role
    /// these permissions.
    fn found(everyone: u64, own: u64, channels: &[ChannelOverwrites]) -> RoleInChannels {
        let role = |id, permissions| GuildRole {
            permissions,
            ..GuildRole::plain(role_id(id), "Role", 1)
        };
        let mut roles = [role(EVERYONE, everyone), role(ROLE, own), role(OTHER, 0)];
        add_channels(&mut roles, role_id(EVERYONE), channels);
        assert_eq!(roles[0].in_channels, RoleInChannels::default());
        roles[1].in_channels.clone()
    }

    /// Whether the role opens and moderates a channel with these overwrites.
    fn opens_and_moderates(everyone: u64, own: u64, overwrites: &[Overwrite]) -> (bool, bool) {
        let found = found(everyone, own, &[channel(7, Some(overwrites.to_vec()))]);
        for list in [&found.opens, &found.moderates] {
            assert!(list.is_empty() || *list == [named(7)]);
        }
        assert_eq!(found.needs_consent().is_some(), !found.opens.is_empty());
        (!found.opens.is_empty(), !found.moderates.is_empty())
    }

    #[test]
    fn which_channels_a_role_opens() {
        const ADMIN: u64 = ADMINISTRATOR;
        let closed = of_role(EVERYONE, 0, VIEW);
        let own_view = of_role(ROLE, VIEW, 0);
        let other_view = of_role(OTHER, VIEW, 0);
        let no_view = of_role(ROLE, 0, VIEW);
        let all_view = of_role(EVERYONE, VIEW, 0);
        let member = of_member(VIEW | MANAGE_MESSAGES);
        let [no_connect, connect] = [of_role(EVERYONE, 0, CONNECT), of_role(ROLE, CONNECT, 0)];
        // Permissions of @everyone and of the role in the guild; the channel's overwrites.
        for (everyone, own, overwrites, opens) in [
            (VIEW, 0, &[][..], false),
            (VIEW, 0, &[own_view], false),
            (VIEW, 0, &[closed], false),
            // The usual private channel, in either order.
            (VIEW, 0, &[closed, own_view], true),
            (VIEW, 0, &[own_view, closed], true),
            (VIEW, 0, &[closed, other_view], false),
            // A member with the id of the role is somebody else.
            (VIEW, 0, &[closed, member], false),
            // A guild in which nobody sees anything without a role.
            (0, 0, &[own_view], true),
            (0, VIEW, &[], true),
            (0, VIEW, &[no_view], false),
            (0, VIEW, &[closed], false),
            (0, VIEW, &[all_view], false),
            // An administrator sees everything.
            (VIEW, ADMIN, &[closed], true),
            (ADMIN, 0, &[closed, own_view], false),
            // To join a voice channel that everyone sees is not to see it.
            (VIEW, 0, &[no_connect, connect], false),
        ] {
            let found = opens_and_moderates(everyone, own, overwrites);
            assert_eq!(found, (opens, false), "{everyone:b} {own:b} {overwrites:?}");
        }
    }

    #[test]
    fn in_which_channels_a_role_moderates() {
        for (overwrites, expected) in [
            (&[of_role(ROLE, MANAGE_MESSAGES, 0)][..], (false, true)),
            (&[of_role(ROLE, PIN_MESSAGES, 0)], (false, true)),
            // In a channel, this bit is Manage Permissions.
            (&[of_role(ROLE, MANAGE_ROLES, 0)], (false, true)),
            (&[of_role(ROLE, SEND_MESSAGES, 0)], (false, false)),
            (&[of_role(ROLE, 0, MANAGE_MESSAGES)], (false, false)),
            (&[of_role(OTHER, MANAGE_MESSAGES, 0)], (false, false)),
            (&[of_role(EVERYONE, MANAGE_MESSAGES, 0)], (false, false)),
            (
                &[
                    of_role(EVERYONE, 0, VIEW),
                    of_role(ROLE, VIEW | MANAGE_MESSAGES, 0),
                ],
                (true, true),
            ),
        ] {
            let found = opens_and_moderates(VIEW, 0, overwrites);
            assert_eq!(found, expected, "{overwrites:?}");
        }
    }

    #[test]
    fn a_category_is_named_only_if_none_of_its_channels_is() {
        let private = || Some(vec![of_role(EVERYONE, 0, VIEW), of_role(ROLE, VIEW, 0)]);
        let inside = |id, overwrites| ChannelOverwrites {
            parent: Some(named(7).id),
            ..channel(id, overwrites)
        };
        let channels = [inside(9, private()), channel(7, private())];
        assert_eq!(found(VIEW, 0, &channels).opens, [named(9)]);
        let channels = [channel(7, private()), inside(9, Some(vec![]))];
        assert_eq!(found(VIEW, 0, &channels).opens, [named(7)]);
    }

    #[test]
    fn what_was_not_understood_is_not_taken_for_nothing() {
        let found = found(VIEW, 0, &[channel(8, None), channel(7, Some(vec![]))]);
        assert_eq!(found.unread, [named(8)]);
        assert!(found.needs_consent().is_some());
    }

    #[test]
    fn consent_is_for_the_channels_that_were_shown() {
        let private = |id| channel(id, Some(vec![of_role(ROLE, VIEW, 0)]));
        let consent = |channels: &[u64]| {
            let channels: Vec<_> = channels.iter().copied().map(private).collect();
            found(0, 0, &channels).needs_consent()
        };
        assert_eq!(consent(&[]), None);
        assert_eq!(consent(&[7, 8]), consent(&[8, 7]));
        for others in [&[7][..], &[7, 9], &[7, 8, 9]] {
            assert_ne!(consent(&[7, 8]), consent(others));
        }
        // Part of the ids of buttons that are in the guild's channels: it must never change.
        assert_eq!(consent(&[7]), Some(ShownChannels(0x4bd7_a317_074c_5b62)));
    }
}
