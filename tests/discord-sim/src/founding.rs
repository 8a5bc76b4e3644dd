//! How a described world comes to be: from [`World`] to [`State`].

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::{Id, time_of};
use crate::permissions::{self, Overwrite};
use crate::state::{Channel, Guild, Manager, Member, Role, State, User};
use crate::world::{ChannelSpec, GuildSpec, PersonSpec, World};
use crate::{fixtures, members};

const DAY_MS: u64 = 86_400_000;

impl State {
    /// Makes everything that is described.
    pub(crate) fn settle(&mut self, world: &World) {
        let bot = User {
            id: world.bot.id,
            username: world.bot.name.clone(),
            global_name: None,
            avatar: None,
            bot: true,
        };
        for guild in std::iter::once(&world.guild).chain(&world.others) {
            self.found(guild, &bot);
        }
        self.users.insert(bot.id, bot);
    }

    fn found(&mut self, spec: &GuildSpec, bot: &User) {
        for person in &spec.people {
            self.names.insert(person.name.clone(), person.id);
            self.users.insert(person.id, account(person));
        }
        let mut guild = Guild {
            id: spec.id,
            name: spec.name.clone(),
            owner: self.names.get(&spec.owner).copied().unwrap_or(bot.id),
            generated: spec.members.min(members::CAPACITY),
            roles: roles(spec, bot),
            members: BTreeMap::new(),
            gone: BTreeSet::new(),
            banned: BTreeSet::new(),
            former: BTreeSet::new(),
            two_factor: false,
            onboarding: false,
            bot_is_in: true,
            in_outage: false,
        };
        // The named were there a day after the guild was made.
        let joined_at_ms = time_of(spec.id) + DAY_MS;
        let of_bot = guild.role_named(&bot.username).map(|role| role.id);
        let bot_member = Member::new(joined_at_ms, of_bot.into_iter().collect());
        guild.members.insert(bot.id, bot_member);
        for person in &spec.people {
            let mut member = Member::new(joined_at_ms, ids_of(&guild, &person.roles));
            member.nick.clone_from(&person.nick);
            guild.members.insert(person.id, member);
        }
        if spec.level_roles {
            give_level_roles(&mut guild);
        }
        let mut ids_by_name: BTreeMap<&str, Id> = BTreeMap::new();
        for (position, channel) in spec.channels.iter().enumerate() {
            let parent = channel.parent.as_deref();
            ids_by_name.insert(&channel.name, channel.id);
            self.channels.insert(
                channel.id,
                Channel {
                    guild: Some(spec.id),
                    parent: parent.and_then(|name| ids_by_name.get(name).copied()),
                    position,
                    overwrites: overwrites(&guild, channel),
                    ..Channel::new(channel.id, channel.kind, &channel.name)
                },
            );
        }
        self.guilds.insert(guild.id, guild);
    }
}

fn account(person: &PersonSpec) -> User {
    User {
        id: person.id,
        username: person.name.clone(),
        global_name: person.display_name.clone(),
        avatar: person.avatar.clone(),
        bot: person.bot,
    }
}

/// `@everyone` lowest, then those described, and the bot's own above them.
fn roles(spec: &GuildSpec, bot: &User) -> BTreeMap<Id, Role> {
    let everyone = Role {
        position: 0,
        ..Role::new(spec.id, "@everyone", permissions::EVERYONE)
    };
    let described = spec.roles.iter().zip(1..).map(|(role, position)| Role {
        position,
        mentionable: role.mentionable,
        ..Role::new(role.id, &role.name, role.permissions)
    });
    let of_bot = Role {
        position: spec.roles.len() as u64 + 1,
        managed_by: Some(Manager::Bot(bot.id)),
        ..Role::new(spec.id + 1, &bot.username, permissions::BOT)
    };
    std::iter::once(everyone)
        .chain(described)
        .chain([of_bot])
        .map(|role| (role.id, role))
        .collect()
}

/// Those who have earned something hold the roles of their levels.
fn give_level_roles(guild: &mut Guild) {
    let ids: BTreeMap<&str, Id> = guild
        .roles
        .values()
        .map(|role| (&*role.name, role.id))
        .collect();
    let holders: Vec<(Id, Member)> = fixtures::held_level_roles(guild.generated)
        .into_iter()
        .filter_map(|(user, names)| {
            let mut member = guild.member(user)?;
            member
                .roles
                .extend(names.iter().filter_map(|name| ids.get(name)));
            Some((user, member))
        })
        .collect();
    guild.members.extend(holders);
}

/// A channel that only some roles see hides itself from everyone else.
fn overwrites(guild: &Guild, channel: &ChannelSpec) -> Vec<Overwrite> {
    if channel.only.is_empty() {
        return Vec::new();
    }
    let overwrite = |target, allow, deny| Overwrite {
        target,
        member: false,
        allow,
        deny,
    };
    let hidden = overwrite(guild.id, 0, permissions::VIEW_CHANNEL);
    let shown = ids_of(guild, &channel.only)
        .into_iter()
        .map(|role| overwrite(role, permissions::VIEW_CHANNEL, 0));
    std::iter::once(hidden).chain(shown).collect()
}

fn ids_of(guild: &Guild, role_names: &[String]) -> BTreeSet<Id> {
    let named = role_names.iter().filter_map(|name| guild.role_named(name));
    named.map(|role| role.id).collect()
}
