//! What the bot does to roles, and to members by giving and taking them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::clock::Id;
use crate::objects::{self, id_in, text};
use crate::permissions::{self, MANAGE_ROLES};
use crate::rest::validate::{Form, items, permission_bits};
use crate::rest::{Call, MISSING_PERMISSIONS, Outcome, Refusal, UNKNOWN_MEMBER, unknown_route};
use crate::roles::stored_name;
use crate::state::{Guild, Role, State};

pub(crate) const UNKNOWN_ROLE: Refusal = Refusal::not_found(10_011, "Unknown Role");
const TWO_FACTOR_REQUIRED: Refusal =
    Refusal::new(403, 60_003, "Two factor is required for this operation");
const INVALID_ROLE: Refusal = Refusal::new(400, 50_028, "Invalid Role");
const TOO_MANY: Refusal = Refusal::new(400, 30_005, "Maximum number of guild roles reached (250)");
/// `@everyone` is one of them.
const MOST_ROLES: usize = 250;

/// What a body says of a role.
#[derive(Debug, Default)]
struct Wanted {
    name: Option<String>,
    permissions: Option<u64>,
    color: Option<u64>,
    hoist: Option<bool>,
    mentionable: Option<bool>,
}

impl State {
    pub(super) fn route_roles(&mut self, guild: Id, rest: &[&str], call: &Call) -> Outcome {
        let role = |segment| super::id("role_id", segment);
        match (call.method.as_str(), rest) {
            ("GET", []) => self.list_roles(guild),
            ("POST", []) => self.post_role(guild, call),
            ("PATCH", []) => self.patch_positions(guild, call),
            ("GET", ["member-counts"]) => self.count_members(guild),
            ("GET", [id]) => self.get_role(guild, role(id)?),
            ("PATCH", [id]) => self.patch_role(guild, role(id)?, call),
            ("DELETE", [id]) => self.remove_role(guild, role(id)?),
            _ => unknown_route(call),
        }
    }

    fn list_roles(&self, guild: Id) -> Outcome {
        Ok((200, objects::roles(self.own_guild(guild)?).into()))
    }

    fn get_role(&self, guild: Id, role: Id) -> Outcome {
        let roles = &self.own_guild(guild)?.roles;
        Ok((200, objects::role(roles.get(&role).ok_or(UNKNOWN_ROLE)?)))
    }

    /// How many have each role but `@everyone`. Generated members have none
    /// until they are touched.
    fn count_members(&self, guild: Id) -> Outcome {
        let guild = self.own_guild(guild)?;
        let counts: BTreeMap<String, usize> = guild
            .ladder()
            .iter()
            .map(|role| {
                let members = guild.members.values();
                let having = members.filter(|member| member.roles.contains(&role.id));
                (text(role.id), having.count())
            })
            .collect();
        Ok((200, json!(counts)))
    }

    fn post_role(&mut self, guild: Id, call: &Call) -> Outcome {
        let found = self.role_manager(guild)?;
        let wanted = Wanted::read(&call.body)?;
        wanted.check_grants(0, found.permissions(self.bot))?;
        if found.roles.len() >= MOST_ROLES {
            return Err(TOO_MANY);
        }
        let everyone = found.roles.get(&guild).map(|role| role.permissions);
        let id = self.clock.snowflake();
        let mut role = Role::new(id, "new role", everyone.unwrap_or(0));
        wanted.apply(&mut role);
        self.create_role(guild, role);
        self.get_role(guild, id)
    }

    fn patch_role(&mut self, guild: Id, role: Id, call: &Call) -> Outcome {
        let found = self.role_manager(guild)?;
        let now = found.roles.get(&role).ok_or(UNKNOWN_ROLE)?;
        if !found.outranks(self.bot, now) {
            return Err(MISSING_PERMISSIONS);
        }
        let mut wanted = Wanted::read(&call.body)?;
        wanted.check_grants(now.permissions, found.permissions(self.bot))?;
        if role == guild {
            if wanted.name.is_some() {
                return Err(INVALID_ROLE);
            }
            // The other fields mean nothing there, and are passed over.
            wanted = Wanted {
                permissions: wanted.permissions,
                ..Wanted::default()
            };
        }
        self.change_role(guild, role, |role| wanted.apply(role));
        self.get_role(guild, role)
    }

    /// Positions are taken as they are given: two roles can share one.
    fn patch_positions(&mut self, guild: Id, call: &Call) -> Outcome {
        let found = self.role_manager(guild)?;
        let mut form = Form::default();
        let mut places = Vec::new();
        for (at, place) in items(&call.body).iter().enumerate() {
            let id = id_in(&place["id"]).unwrap_or_default();
            let role = found.roles.get(&id).ok_or(UNKNOWN_ROLE)?;
            let Some(position) = place["position"].as_u64() else {
                continue;
            };
            if id == guild || position == 0 {
                let message = "int value should be greater than or equal to 1.";
                form.refuse(&format!("{at}.position"), "NUMBER_TYPE_MIN", message);
            }
            let moved = Role {
                position,
                ..role.clone()
            };
            if !found.outranks(self.bot, role) || !found.outranks(self.bot, &moved) {
                return Err(MISSING_PERMISSIONS);
            }
            places.push((id, position));
        }
        form.check()?;
        self.place_roles(guild, &places);
        self.list_roles(guild)
    }

    fn remove_role(&mut self, guild: Id, role: Id) -> Outcome {
        let found = self.role_manager(guild)?;
        let now = found.roles.get(&role).ok_or(UNKNOWN_ROLE)?;
        if role == guild || now.managed_by.is_some() {
            return Err(INVALID_ROLE);
        }
        if !found.outranks(self.bot, now) {
            return Err(MISSING_PERMISSIONS);
        }
        self.delete_role(guild, role);
        Ok((204, Value::Null))
    }

    pub(super) fn grant_role(&mut self, guild: Id, user: Id, role: Id) -> Outcome {
        if !self.may_grant(guild, user, role)? {
            self.change_member(guild, user, |member| {
                member.roles.insert(role);
            });
        }
        Ok((204, Value::Null))
    }

    pub(super) fn revoke_role(&mut self, guild: Id, user: Id, role: Id) -> Outcome {
        if self.may_grant(guild, user, role)? {
            self.change_member(guild, user, |member| {
                member.roles.remove(&role);
            });
        }
        Ok((204, Value::Null))
    }

    /// Whether a member has a role, if the bot may give and take it at all.
    fn may_grant(&self, guild: Id, user: Id, role: Id) -> Result<bool, Refusal> {
        let found = self.role_manager(guild)?;
        let member = found.member(user).ok_or(UNKNOWN_MEMBER)?;
        // Everyone has `@everyone`: to members it is no role.
        let now = found.roles.get(&role).filter(|_| role != guild);
        let now = now.ok_or(UNKNOWN_ROLE)?;
        if now.managed_by.is_some() || !found.outranks(self.bot, now) {
            return Err(MISSING_PERMISSIONS);
        }
        Ok(member.roles.contains(&role))
    }

    /// A guild in which the bot may deal with roles.
    fn role_manager(&self, guild: Id) -> Result<&Guild, Refusal> {
        let guild = self.own_guild(guild)?;
        if guild.permissions(self.bot) & MANAGE_ROLES == 0 {
            return Err(MISSING_PERMISSIONS);
        }
        if guild.two_factor && !self.settings.owner_has_two_factor {
            return Err(TWO_FACTOR_REQUIRED);
        }
        Ok(guild)
    }
}

impl Wanted {
    fn read(body: &Value) -> Result<Self, Refusal> {
        let mut form = Form::default();
        form.max_length("name", &body["name"], 100);
        let permissions = permission_bits(&mut form, "permissions", &body["permissions"]);
        let color = body["colors"]["primary_color"].as_u64();
        let color = color.or(body["color"].as_u64());
        if color.is_some_and(|color| color > 0xFF_FFFF) {
            let message = "int value should be less than or equal to 16777215.";
            form.refuse("color", "NUMBER_TYPE_MAX", message);
        }
        form.check()?;
        Ok(Self {
            name: body["name"].as_str().map(stored_name),
            permissions,
            color,
            hoist: body["hoist"].as_bool(),
            mentionable: body["mentionable"].as_bool(),
        })
    }

    /// Nobody grants what they do not have; what a role has it may keep.
    fn check_grants(&self, before: u64, held: u64) -> Result<(), Refusal> {
        let new = self.permissions.unwrap_or(0) & !before;
        if new & !held & permissions::ALL == 0 {
            Ok(())
        } else {
            Err(MISSING_PERMISSIONS)
        }
    }

    fn apply(self, role: &mut Role) {
        role.name = self.name.unwrap_or_else(|| role.name.clone());
        // Bits without a meaning are dropped.
        let permissions = self.permissions.map(|bits| bits & permissions::ALL);
        role.permissions = permissions.unwrap_or(role.permissions);
        role.color = self.color.unwrap_or(role.color);
        role.hoist = self.hoist.unwrap_or(role.hoist);
        role.mentionable = self.mentionable.unwrap_or(role.mentionable);
    }
}
