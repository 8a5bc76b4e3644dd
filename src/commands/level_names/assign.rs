//! Gives a level its role: saves the name, creates, renames or takes over the role, and requests an
//! update of the members' roles.

use std::collections::BTreeSet;
use std::time::Duration;

use super::decide::{WantedRole, decide};
use super::{RoleEdit, say};
use crate::commands::args::LevelArgument;
use crate::commands::context::{Data, Error};
use crate::commands::respond::MessageRef;
use crate::discord::RestError;
use crate::discord::guild::{members, roles};
use crate::discord::messages::button_labels;
use crate::discord::messages::buttons::{self, ButtonAction, ButtonStyle};
use crate::discord::messages::reply::Reply;
use crate::environment::Environment;
use crate::error::UserError;
use crate::leveling::level_roles::{Step, after};
use crate::leveling::{
    Grouped, GuildRole, Level, LevelNumber, LevelRoles, Naming, RoleId, RoleName, RolePosition,
    ShownChannels, escape,
};
use crate::roles::opens;
use crate::store;
use crate::xp::LevelNamesLock;

const DATABASE_TIMEOUT: Duration = Duration::from_secs(5);

/// The result of giving a level a role.
pub(in crate::commands) enum Outcome {
    /// A question; nothing is changed before the moderator answers it.
    Question(Box<Reply>),
    Assigned(Assigned),
}

/// A level that carries its role now, but whose members do not hold it yet.
pub(in crate::commands) struct Assigned {
    sentence: String,
    /// What the moderator may have to do next; the end of the answer.
    reminder: &'static str,
    role: RoleId,
}

/// Where a new role stands, and why a moderator may want to move it.
const NEW_ROLE_REMINDER: &str = " The new role stands below all others: to show its members apart or in its colour, \
                                 move it up in Server Settings, Roles, but keep it below my own role.";

impl Assigned {
    /// The first part of the answer.
    pub fn reply(&self) -> Reply {
        Reply::text(format!("{}{}", self.sentence, self.reminder))
    }

    /// Reconciles the members' roles in the background, and adds to `answer` how many members got
    /// or lost this one.
    pub fn apply_to_members(self, data: &Data, answer: Option<MessageRef>) {
        let (rest, schedule) = (data.bot.env.rest.clone(), data.bot.roles.schedule.clone());
        data.under_way.spawn(async move {
            let applied = match schedule.run_and_wait().await {
                Ok(report) => match report.by_role.get(&self.role).unwrap_or(&0) {
                    0 => "No members were affected.".to_owned(),
                    1 => "Applied to 1 member.".to_owned(),
                    count => format!("Applied to {} members.", Grouped(count)),
                },
                Err(_) => "Members' roles will be updated as soon as Discord responds.".to_owned(),
            };
            let reply = Reply::text(format!("{} {applied}{}", self.sentence, self.reminder));
            if let Some(answer) = answer {
                answer.complete(&rest, &reply).await;
            }
        });
    }
}

/// Gives a level a role. A role that members already hold, or that opens channels which others
/// cannot see, is taken over only after the moderator has confirmed it.
pub(in crate::commands) async fn assign(
    edit: RoleEdit<'_>,
    level: &LevelArgument,
    wanted: &WantedRole,
) -> Result<Outcome, Error> {
    let data = edit.data;
    // If two moderators change a level at the same time, the second change waits for the first one
    // and starts from its result.
    let lock = data.bot.roles.names.lock().await?;
    let (roles, bot_position) = edit.roles_and_bot_position().await?;
    let levels = data.bot.env.xp.levels();
    let Some(row) = levels.find(level.value) else {
        return Err(say::no_level(&levels, &level.typed).into());
    };
    let rights = data.rights.protected();
    let (naming, name) = decide(&levels, &roles, bot_position, &rights, row, wanted)?;
    let assigned = match naming {
        Naming::Create => create(edit, lock, row.number, &name).await?,
        Naming::Rename(role) | Naming::Take(role)
            if !is_confirmed(edit, row, role, wanted).await? =>
        {
            // Counting the holders takes long, so others may change levels meanwhile. Nothing is
            // changed yet.
            drop(lock);
            let level_roles = level_roles_with(edit, row, role, &roles, bot_position);
            let question = take_over_question(edit, row, role, &level_roles).await?;
            if let Some(question) = question {
                return Ok(Outcome::Question(Box::new(question)));
            }
            let nobody_holds_it = WantedRole::Confirmed {
                role: role.id,
                channels: None,
            };
            return Box::pin(assign(edit, level, &nobody_holds_it)).await;
        }
        Naming::Rename(role) => rename(edit, lock, row.number, role, &name).await?,
        Naming::Take(role) => take_over(lock, row, row.role_in(&roles), role).await?,
    };
    tracing::info!(level = %row.number, by = %edit.caller, "a level's role was set");
    data.bot.roles.book.forget();
    Ok(Outcome::Assigned(assigned))
}

/// Whether nothing has to be asked before the level carries the role: the level carries it already,
/// or the moderator has agreed to all that has to be asked about now.
async fn is_confirmed(
    edit: RoleEdit<'_>,
    row: &Level,
    role: &GuildRole,
    wanted: &WantedRole,
) -> Result<bool, Error> {
    let needed = role.in_channels.needs_consent();
    if row.role_id == Some(role.id) {
        // An imported role is not the level's own before a moderator has agreed to it.
        let is_unseen = needed.is_some() && is_unseen(edit, row.number).await?;
        if !is_unseen {
            return Ok(true);
        }
    }
    Ok(match wanted {
        WantedRole::Confirmed { channels, .. } => needed.is_none() || *channels == needed,
        WantedRole::Mentioned(_) | WantedRole::Named { .. } => false,
    })
}

/// Whether the level's role id was imported and has not been accepted as one of this guild.
async fn is_unseen(edit: RoleEdit<'_>, level: LevelNumber) -> Result<bool, Error> {
    let unseen = store::within(DATABASE_TIMEOUT, async {
        let mut session = edit.data.bot.env.database.acquire().await?;
        store::level::unseen(&mut session).await
    });
    Ok(unseen.await?.contains(&level))
}

/// For the council's button: links a level to the role with its name, or to its imported role,
/// although the role opens channels that others cannot see.
pub(in crate::commands) async fn link_anyway(
    edit: RoleEdit<'_>,
    level: LevelNumber,
    role: RoleId,
    channels: ShownChannels,
) -> Result<Assigned, Error> {
    let (roles, _) = edit.roles_and_bot_position().await?;
    let found = roles.iter().find(|known| known.id == role);
    let name = &found.ok_or_else(say::role_is_gone)?.name;
    let levels = edit.data.bot.env.xp.levels();
    let row = levels.find(level.0.into());
    let is_waiting = row.is_some_and(|row| {
        let waits_for_its_name =
            || row.role_in(&roles).is_none() && row.stored_name() == Some(name);
        row.role_id == Some(role) || waits_for_its_name()
    });
    if !is_waiting {
        let sentence = format!(
            "Level {level} no longer waits for the role {}.",
            escape(name)
        );
        return Err(UserError(sentence).into());
    }
    let wanted = WantedRole::Confirmed {
        role,
        channels: Some(channels),
    };
    match assign(edit, &LevelArgument::from(level), &wanted).await? {
        Outcome::Assigned(assigned) => Ok(assigned),
        Outcome::Question(_) => {
            // Rewrites the message in the council.
            edit.data.bot.roles.schedule.levels_soon();
            Err(UserError(format!(
                "{} opens other channels by now. The message above will name them; press its button again.",
                escape(name)
            ))
            .into())
        }
    }
}

/// For the council's button: creates a level's deleted role again.
pub(in crate::commands) async fn restore(
    edit: RoleEdit<'_>,
    level: LevelNumber,
) -> Result<Assigned, Error> {
    let levels = edit.data.bot.env.xp.levels();
    let row = levels.find(level.0.into());
    let Some(name) = row.and_then(|row| row.role_name.clone()) else {
        return Err(UserError(format!("Level {level} no longer has a role.")).into());
    };
    let wanted = WantedRole::Named {
        name: RoleName::of_level(&name),
        typed: name,
    };
    match assign(edit, &LevelArgument::from(level), &wanted).await? {
        Outcome::Assigned(assigned) => Ok(assigned),
        // Someone has created a role of this name meanwhile, and it has holders.
        Outcome::Question(_) => Err(UserError(format!(
            "A role with that name exists now; `set_level_name {level}` takes it over."
        ))
        .into()),
    }
}

/// Takes over a role after the moderator has confirmed what happens to its holders.
pub(in crate::commands) async fn take_over_confirmed(
    edit: RoleEdit<'_>,
    level: LevelNumber,
    role: RoleId,
    channels: Option<ShownChannels>,
) -> Result<Outcome, Error> {
    let wanted = WantedRole::Confirmed { role, channels };
    assign(edit, &LevelArgument::from(level), &wanted).await
}

/// Saves the name first: if the bot dies before it saves the role's id, the role is found by name.
async fn create(
    edit: RoleEdit<'_>,
    mut lock: LevelNamesLock<'_>,
    level: LevelNumber,
    name: &RoleName,
) -> Result<Assigned, Error> {
    let Environment { rest, guild, .. } = &edit.data.bot.env;
    lock.save(level, None, Some(name.as_str())).await?;
    let reason = edit.reason(&format!("the role of level {level}"));
    let role = match roles::create(rest, *guild, name.as_str(), &reason).await {
        Ok(role) => role,
        Err(error) => {
            // The call may have failed after Discord created the role.
            let created = find_created(edit, name).await;
            let next_step = format!(
                "The name of level {level} is saved. Type the command again to create its role."
            );
            created.ok_or_else(|| {
                say::with_next_step(say::call_failed(error, "make a role"), &next_step)
            })?
        }
    };
    let linked = lock.save(level, Some(role.id), Some(&role.name)).await;
    let next_step = "The role was created. Type the command again to link it to the level.";
    linked.map_err(|error| say::with_next_step(error, next_step))?;
    let name = escape(&role.name);
    Ok(Assigned {
        sentence: format!("Level {level} now carries the role {name}. It was just created."),
        reminder: NEW_ROLE_REMINDER,
        role: role.id,
    })
}

/// The only role of this name, if it has no permissions and no integration manages it, like the
/// roles that the bot creates.
async fn find_created(edit: RoleEdit<'_>, name: &RoleName) -> Option<GuildRole> {
    let roles = roles::list(&edit.data.bot.env.rest, edit.data.bot.env.guild).await;
    let named = |role: &GuildRole| role.name == name.as_str();
    let mut named = roles.ok()?.into_iter().filter(named);
    let only = named.next().filter(|_| named.next().is_none());
    only.filter(|role| role.permissions == 0 && !role.managed)
}

/// Renames the role first. If the bot dies before it saves the name, the role looks as if a person
/// had renamed it, and the level later takes over the role's new name.
async fn rename(
    edit: RoleEdit<'_>,
    mut lock: LevelNamesLock<'_>,
    level: LevelNumber,
    role: &GuildRole,
    name: &RoleName,
) -> Result<Assigned, Error> {
    let Environment { rest, guild, .. } = &edit.data.bot.env;
    let reason = edit.reason(&format!("the role of level {level}"));
    let renamed = roles::rename(rest, *guild, role.id, name.as_str(), &reason).await;
    let renamed = renamed.map_err(|error| say::call_failed(error, "rename that role"))?;
    let saved = lock.save(level, Some(role.id), Some(&renamed)).await;
    let next_step = "The role itself was renamed. Type the command again to save that.";
    saved.map_err(|error| say::with_next_step(error, next_step))?;
    Ok(Assigned {
        sentence: renamed_sentence(&role.name, &renamed, level),
        reminder: "",
        role: role.id,
    })
}

/// Links the level to a role that the guild already has. `before` is the role that the level
/// carried until now.
async fn take_over(
    mut lock: LevelNamesLock<'_>,
    row: &Level,
    before: Option<&GuildRole>,
    role: &GuildRole,
) -> Result<Assigned, Error> {
    let level = row.number;
    lock.save(level, Some(role.id), Some(&role.name)).await?;
    let is_renamed = row.role_name.as_ref() != Some(&role.name);
    let sentence = if row.role_id == Some(role.id) && is_renamed {
        let old = row.role_name.as_deref().unwrap_or_default();
        renamed_sentence(old, &role.name, level)
    } else {
        let replaced = before.map(|before| {
            let before = escape(&before.name);
            format!(" {before} stays in the guild but is no longer a level role.")
        });
        format!(
            "Level {level} now carries the role {}. It was already in the guild.{}",
            escape(&role.name),
            replaced.unwrap_or_default()
        )
    };
    Ok(Assigned {
        sentence,
        reminder: "",
        role: role.id,
    })
}

fn renamed_sentence(old: &str, new: &str, level: LevelNumber) -> String {
    let (old, new) = (escape(old), escape(new));
    format!("Renamed {old} to {new} for level {level}.")
}

/// The guild's level roles as they would be if the level carried this role.
fn level_roles_with(
    edit: RoleEdit<'_>,
    row: &Level,
    role: &GuildRole,
    roles: &[GuildRole],
    bot_position: RolePosition,
) -> LevelRoles {
    let link = Step::Link {
        level: row.number,
        role: role.id,
        name: role.name.clone(),
    };
    let levels = after(&edit.data.bot.env.xp.levels(), &[link]);
    let rewards = edit.data.bot.env.settings.role_rewards();
    let rights = edit.data.rights.protected();
    // Treats the role as agreed to, because the moderator is assigning it.
    let unseen = BTreeSet::new();
    LevelRoles::new(&levels, roles, bot_position, &rights, &unseen, rewards)
}

/// Says what taking over the role means for the members, and which channels it opens for them;
/// `None` if nobody holds it and it opens none. `level_roles` are
/// those of the guild after that.
async fn take_over_question(
    edit: RoleEdit<'_>,
    row: &Level,
    role: &GuildRole,
    level_roles: &LevelRoles,
) -> Result<Option<Reply>, Error> {
    let (data, level) = (edit.data, row.number);
    let consent = role.in_channels.needs_consent();
    let (mut holders, mut gain, mut lose) = (0_u32, 0_u32, 0_u32);
    let counted = members::each(&data.bot.env.rest, data.bot.env.guild, |member| {
        let holds = member.roles.contains(&role.id);
        let standing = data.bot.env.xp.get(member.user).map(|user| user.standing);
        let plan = level_roles.plan(&member.roles, standing.as_ref());
        holders += u32::from(holds);
        gain += u32::from(!member.bot && plan.add.contains(&role.id));
        lose += u32::from(plan.remove.contains(&role.id));
    });
    let meaning = match counted.await {
        Ok(()) if holders == 0 && consent.is_none() => return Ok(None),
        Ok(()) => {
            let hold = match holders {
                0 => "Nobody holds it".to_owned(),
                1 => "1 member holds it".to_owned(),
                holders => format!("{} members hold it", Grouped(holders)),
            };
            format!(
                "{hold}. As the role of level {level}, {} would gain it and {} would lose it.",
                Grouped(gain),
                Grouped(lose)
            )
        }
        Err(RestError::Refused { status: 403, .. }) => format!(
            "I can't count how many members would gain or lose it as the role of level {level}: Discord shows me the \
             members only when the Server Members Intent is on, on the Bot page of the developer portal."
        ),
        Err(error) => return Err(error.into()),
    };
    let take_over = ButtonAction::TakeOverRole {
        level,
        role: role.id,
        channels: consent,
    };
    let name = escape(&role.name);
    let (opens, yes, no) = if consent.is_some() {
        let opens = opens(&role.in_channels, escape);
        let opens = format!(" It {opens}. Whoever reaches level {level} gets in.");
        (opens, button_labels::USE_ANYWAY, button_labels::CANCEL)
    } else {
        let (yes, no) = (button_labels::TAKE_OVER, button_labels::LEAVE_ROLE);
        (String::new(), yes, no)
    };
    let choice = [
        (take_over, yes, ButtonStyle::Danger),
        (ButtonAction::KeepAsIs, no, ButtonStyle::Secondary),
    ];
    let sentence = format!("The role {name} is already in the guild.{opens} {meaning}");
    let buttons = buttons::row(edit.caller, &choice);
    Ok(Some(Reply::text(sentence).with_buttons(buttons)))
}
