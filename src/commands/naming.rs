//! What moderators do to level names: decided by `leveling`, saved, and done in Discord.
//!
//! Everything here can be cut off anywhere and begun again. A name is saved before its role
//! is made, and a role renamed before the name is saved: what is in the guild then shows
//! what is left to do, and the same command does it.

use poise::serenity_prelude::{self as serenity, CommandOptionType, CreateCommandOption};
use poise::{PopArgument, SlashArgError, SlashArgument};

use super::answering::MessageRef;
use super::person::caller_id;
use super::{Context, Data, Error, sentence_for};
use crate::discord::buttons::{self, Look, Wish};
use crate::discord::codes::{TOO_MANY_ROLES, UNKNOWN_ROLE};
use crate::discord::reply::Reply;
use crate::discord::{RestError, guild};
use crate::error::UserError;
use crate::leveling::{
    BELOW_ALL_ROLES, Grouped, GuildRole, Level, LevelNumber, Levels, Naming, Refusal, RoleId,
    RoleName, RolePosition, RoleStays, UserId, carry_role, escape, may_be_deleted, name_level,
    take_role,
};
use crate::xp::LevelNamesLock;

const GONE: &str = "That role is no longer in the guild.";
/// Who does something, and with what.
pub(super) struct Scene<'a> {
    pub data: &'a Data,
    pub bot: UserId,
    pub caller: UserId,
}

impl<'a> Scene<'a> {
    pub fn of(ctx: Context<'a>) -> Result<Self, Error> {
        Ok(Self {
            data: ctx.data(),
            bot: ctx.data().setting.bot,
            caller: caller_id(ctx)?,
        })
    }

    /// Stands in the guild's audit log.
    pub fn reason(&self, what: &str) -> String {
        format!("{what}, as {} asked", self.caller)
    }
}

/// The role that a level is to carry.
pub(super) enum Wanted {
    /// This very one, which was mentioned.
    Pointed(RoleId),
    /// One of this name, there or not.
    Named {
        /// A role that is called exactly this, as the suggestions are, is the one.
        typed: String,
        /// What becomes of it as a name.
        name: RoleName,
    },
    /// This very one, whose holders the moderator knows of.
    Confirmed(RoleId),
}

/// What has come of a wish for a level's role.
pub(super) enum Carried {
    /// A question first.
    Asked(Box<Reply>),
    /// It carries it; the members follow.
    Done(Done),
}

/// A level carries a role, and its members are still to get it.
pub(super) struct Done {
    sentence: String,
    role: RoleId,
}

impl Done {
    /// What can be said at once.
    pub fn reply(&self) -> Reply {
        Reply::text(self.sentence.clone())
    }

    /// Has the members' roles put right, and says in `answer` how many it concerned.
    pub fn follow(self, data: &Data, answer: Option<MessageRef>) {
        let (rest, verifications) = (data.rest.clone(), data.setting.verifications.clone());
        data.setting.under_way.spawn(async move {
            let concerned = match verifications.made().await {
                Ok(report) => match report.by_role.get(&self.role).unwrap_or(&0) {
                    0 => "No members were affected.".to_owned(),
                    1 => "Applied to 1 member.".to_owned(),
                    count => format!("Applied to {} members.", Grouped(count)),
                },
                Err(_) => "Members' roles will be updated as soon as Discord responds.".to_owned(),
            };
            let reply = Reply::text(format!("{} {concerned}", self.sentence));
            if let Some(answer) = answer {
                answer.complete(&rest, &reply).await;
            }
        });
    }
}

/// Lets a level carry a role. One that members hold already is taken over only when that is
/// confirmed, and asked about otherwise.
pub(super) async fn carry(
    scene: &Scene<'_>,
    number: &Number,
    wanted: &Wanted,
) -> Result<Carried, Error> {
    let data = scene.data;
    // Two moderators at one level: the second works on what the first has made of it.
    let alone = data.setting.names.lock().await?;
    let (roles, bot_position) = roles_and_bot_position(scene).await?;
    let levels = data.setting.xp.levels();
    let rights = data.setting.rights.protected();
    let Some(level) = levels.find(number.value) else {
        return Err(no_level(&levels, &number.typed).into());
    };
    let (name, decided) = match wanted {
        Wanted::Named { typed, name } => {
            let exact = roles.iter().find(|role| role.name == *typed);
            let name = exact.map_or_else(|| name.clone(), RoleName::of);
            let decided = name_level(&levels, &roles, bot_position, &rights, level, &name);
            (name, decided)
        }
        Wanted::Pointed(id) => {
            let role = roles.iter().find(|role| role.id == *id);
            let role = role.ok_or_else(|| no_role(*id))?;
            let decided = carry_role(&levels, bot_position, &rights, level, role);
            (RoleName::of(role), decided)
        }
        Wanted::Confirmed(id) => {
            let role = roles.iter().find(|role| role.id == *id);
            let role = role.ok_or_else(|| UserError(GONE.to_owned()))?;
            let decided = take_role(&levels, bot_position, &rights, level, role);
            (RoleName::of(role), decided)
        }
    };
    let done = match decided.map_err(|refusal| refused(&refusal, &name))? {
        Naming::Create => create(scene, alone, level, &name).await?,
        Naming::Rename(role) => rename(scene, alone, level, role, &name).await?,
        Naming::Take(role) => {
            let knows = matches!(wanted, Wanted::Confirmed(_)) || level.role_id == Some(role.id);
            if knows {
                take(alone, level, level.role_in(&roles), role).await?
            } else {
                // Nothing is changed yet: others need not wait for the count.
                drop(alone);
                if let Some(question) = question(scene, level, role).await? {
                    return Ok(Carried::Asked(Box::new(question)));
                }
                let nobody_holds_it = Wanted::Confirmed(role.id);
                return Box::pin(carry(scene, number, &nobody_holds_it)).await;
            }
        }
    };
    tracing::info!(level = %level.number, by = %scene.caller, "a level's role was set");
    data.setting.book.forget();
    Ok(Carried::Done(done))
}

/// Lets a level carry no role any more, and offers to delete the role. `roles` are those of
/// the guild as far as is known without asking.
pub(super) async fn take_off(
    scene: &Scene<'_>,
    number: &Number,
    roles: &[GuildRole],
) -> Result<Reply, Error> {
    let data = scene.data;
    let mut alone = data.setting.names.lock().await?;
    let levels = data.setting.xp.levels();
    let Some(level) = levels.find(number.value) else {
        return Err(no_level(&levels, &number.typed).into());
    };
    if level.role_name.is_none() && level.role_id.is_none() {
        return Err(UserError(format!("Level {} has no role.", level.number)).into());
    }
    let role = level.role_in(roles);
    let name = role.map(|role| role.name.as_str());
    let name = name.or(level.role_name.as_deref()).unwrap_or("its role");
    alone.save(level.number, None, None).await?;
    data.setting.book.forget();
    tracing::info!(level = %level.number, by = %scene.caller, "a level's role was taken off");
    let sentence = format!("Level {} no longer carries {}.", level.number, escape(name));
    let Some(role) = role.map(|role| role.id) else {
        // The council has been told that it is missing.
        data.setting.verifications.levels_soon();
        return Ok(Reply::text(sentence));
    };
    let offer = buttons::row(
        scene.caller,
        &[(
            Wish::OfferDelete { role },
            "Delete the role too",
            Look::Dangerous,
        )],
    );
    let stays = " The role itself stays in the guild, and its members keep it.";
    Ok(Reply::text(sentence + stays).with_buttons(offer))
}

/// Makes a level's role again that somebody has deleted.
pub(super) async fn restore(scene: &Scene<'_>, level: LevelNumber) -> Result<Done, Error> {
    let levels = scene.data.setting.xp.levels();
    let name = levels
        .find(level.0.into())
        .and_then(|level| level.role_name.clone());
    let Some(name) = name else {
        return Err(UserError(format!("Level {level} no longer has a role.")).into());
    };
    let wanted = Wanted::Named {
        name: RoleName::of_level(&name),
        typed: name,
    };
    match carry(scene, &Number::from(level), &wanted).await? {
        Carried::Done(done) => Ok(done),
        // Someone else has made one of this name, and it has holders.
        Carried::Asked(_) => Err(UserError(format!(
            "A role with that name exists now; `set_level_name {level}` takes it over."
        ))
        .into()),
    }
}

/// Lets a level whose role is gone carry none any more.
pub(super) async fn drop_name(scene: &Scene<'_>, level: LevelNumber) -> Result<Reply, Error> {
    let (roles, _) = roles_and_bot_position(scene).await?;
    let levels = scene.data.setting.xp.levels();
    let carried = levels
        .find(level.0.into())
        .and_then(|level| level.role_in(&roles));
    if let Some(role) = carried {
        let sentence = format!(
            "Level {level} carries {} again; `remove_level_name {level}` takes it off.",
            escape(&role.name)
        );
        return Err(UserError(sentence).into());
    }
    take_off(scene, &Number::from(level), &roles).await
}

/// Asks once more before a role is deleted.
pub(super) async fn offer_delete(scene: &Scene<'_>, role: RoleId) -> Result<Reply, Error> {
    let role = deletable(scene, role).await?;
    let sentence = format!(
        "Delete the role {} from the guild? Everyone who has it loses it, and this cannot be undone.",
        escape(&role.name)
    );
    let choice = buttons::row(
        scene.caller,
        &[
            (Wish::Delete { role: role.id }, "Delete it", Look::Dangerous),
            (Wish::Leave, "Keep it", Look::Plain),
        ],
    );
    Ok(Reply::text(sentence).with_buttons(choice))
}

/// Deletes a role that no level carries.
pub(super) async fn delete(scene: &Scene<'_>, role: RoleId) -> Result<Reply, Error> {
    let data = scene.data;
    let _alone = data.setting.names.lock().await?;
    let role = deletable(scene, role).await?;
    let reason = scene.reason("no longer a level role");
    let deleted = guild::delete_role(&data.rest, data.setting.guild, role.id, &reason).await;
    deleted.map_err(|error| not_done(error, "delete that role"))?;
    tracing::info!(role = %role.id, by = %scene.caller, "a role was deleted");
    Ok(Reply::text(format!(
        "The role {} is deleted.",
        escape(&role.name)
    )))
}

/// The role, if it is still there, no level's, and ours to delete.
async fn deletable(scene: &Scene<'_>, id: RoleId) -> Result<GuildRole, Error> {
    let (roles, bot_position) = roles_and_bot_position(scene).await?;
    let levels = scene.data.setting.xp.levels();
    let Some(role) = roles.iter().find(|role| role.id == id) else {
        return Err(UserError(GONE.to_owned()).into());
    };
    let name = escape(&role.name);
    let rights = scene.data.setting.rights.protected();
    let Err(stays) = may_be_deleted(&levels, bot_position, &rights, role) else {
        return Ok(role.clone());
    };
    let sentence = match stays {
        RoleStays::CarriedBy(level) => format!("Level {level} carries {name} again; it stays."),
        RoleStays::OutOfHand(refusal) => out_of_hand(&refusal),
        RoleStays::GivesRights => {
            format!(
                "{name} gives its members rights over the bot. Delete it in Discord if you want it gone."
            )
        }
    };
    Err(UserError(sentence).into())
}

/// Reads the guild's roles from Discord and computes the position of the bot's highest role.
/// Refuses if the bot may not manage roles.
pub(super) async fn roles_and_bot_position(
    scene: &Scene<'_>,
) -> Result<(Vec<GuildRole>, RolePosition), Error> {
    let (rest, guild) = (&scene.data.rest, scene.data.setting.guild);
    let roles = guild::roles(rest, guild).await?;
    let bot_position = guild::bot_position(rest, guild, scene.bot, &roles).await?;
    if bot_position == BELOW_ALL_ROLES {
        let sentence = "I don't have permission to manage roles. Give my role the Manage Roles permission in Server \
                        Settings, Roles.";
        return Err(UserError(sentence.to_owned()).into());
    }
    Ok((roles, bot_position))
}

/// The name is saved first: a role that is made and not linked any more is found by it.
async fn create(
    scene: &Scene<'_>,
    mut alone: LevelNamesLock<'_>,
    level: &Level,
    name: &RoleName,
) -> Result<Done, Error> {
    let (data, number) = (scene.data, level.number);
    alone.save(number, None, Some(name.as_str())).await?;
    let reason = scene.reason(&format!("the role of level {number}"));
    let (rest, guild) = (&data.rest, data.setting.guild);
    let role = match guild::create_role(rest, guild, name.as_str(), &reason).await {
        Ok(role) => role,
        Err(error) => {
            // Perhaps it was made all the same.
            let made = made(scene, name).await;
            let rest = format!(
                "The name of level {number} is saved. Type the command again to create its role."
            );
            made.ok_or_else(|| and(not_done(error, "make a role"), &rest))?
        }
    };
    let linked = alone.save(number, Some(role.id), Some(&role.name));
    let made = "The role was created. Type the command again to link it to the level.";
    linked.await.map_err(|error| and(error, made))?;
    Ok(Done {
        sentence: format!(
            "Level {number} now carries the role {}. It was just created.",
            escape(&role.name)
        ),
        role: role.id,
    })
}

/// The one role of this name, if there is one and it looks as we make them.
async fn made(scene: &Scene<'_>, name: &RoleName) -> Option<GuildRole> {
    let roles = guild::roles(&scene.data.rest, scene.data.setting.guild).await;
    let named = |role: &GuildRole| role.name == name.as_str();
    let mut named = roles.ok()?.into_iter().filter(named);
    let only = named.next().filter(|_| named.next().is_none());
    only.filter(|role| role.permissions == 0 && !role.managed)
}

/// Discord first: a rename that is not saved any more looks like one by hand, which is
/// followed.
async fn rename(
    scene: &Scene<'_>,
    mut alone: LevelNamesLock<'_>,
    level: &Level,
    role: &GuildRole,
    name: &RoleName,
) -> Result<Done, Error> {
    let (data, number) = (scene.data, level.number);
    let reason = scene.reason(&format!("the role of level {number}"));
    let (rest, guild) = (&data.rest, data.setting.guild);
    let renamed = guild::rename_role(rest, guild, role.id, name.as_str(), &reason).await;
    let renamed = renamed.map_err(|error| not_done(error, "rename that role"))?;
    let saved = alone.save(number, Some(role.id), Some(&renamed));
    let done = "The role itself was renamed. Type the command again to save that.";
    saved.await.map_err(|error| and(error, done))?;
    Ok(Done {
        sentence: format!(
            "Renamed {} to {} for level {number}.",
            escape(&role.name),
            escape(&renamed)
        ),
        role: role.id,
    })
}

async fn take(
    mut alone: LevelNamesLock<'_>,
    level: &Level,
    before: Option<&GuildRole>,
    role: &GuildRole,
) -> Result<Done, Error> {
    let number = level.number;
    let name = escape(&role.name);
    alone.save(number, Some(role.id), Some(&role.name)).await?;
    if level.role_id == Some(role.id) {
        let old = escape(level.role_name.as_deref().unwrap_or_default());
        return Ok(Done {
            sentence: format!("Renamed {old} to {name} for level {number}."),
            role: role.id,
        });
    }
    let replaced = match before {
        Some(before) => format!(
            " {} stays in the guild but is no longer a level role.",
            escape(&before.name)
        ),
        None => String::new(),
    };
    Ok(Done {
        sentence: format!(
            "Level {number} now carries the role {name}. It was already in the guild.{replaced}"
        ),
        role: role.id,
    })
}

/// What taking over a role means for its holders; `None` if nobody holds it.
async fn question(
    scene: &Scene<'_>,
    level: &Level,
    role: &GuildRole,
) -> Result<Option<Reply>, Error> {
    let data = scene.data;
    let (mut holders, mut gain, mut lose) = (0_u32, 0_u32, 0_u32);
    let counted = guild::each_member(&data.rest, data.setting.guild, |member| {
        let holds = member.roles.contains(&role.id);
        let standing = data.setting.xp.get(member.user).map(|user| user.standing);
        let reached = standing.is_some_and(|standing| {
            standing.is_tracked() && standing.points >= level.total_points_required
        });
        holders += u32::from(holds);
        gain += u32::from(reached && !holds && !member.bot);
        lose += u32::from(holds && !reached);
    });
    let what_it_means = match counted.await {
        Ok(()) if holders == 0 => return Ok(None),
        Ok(()) => format!(
            "{}. As the role of level {}, {} would gain it and {} would lose it.",
            match holders {
                1 => "1 member holds it".to_owned(),
                holders => format!("{} members hold it", Grouped(holders)),
            },
            level.number,
            Grouped(gain),
            Grouped(lose)
        ),
        Err(RestError::Refused { status: 403, .. }) => format!(
            "I can't count how many members would gain or lose it as the role of level {}: Discord shows me the \
             members only when the Server Members Intent is on, on the Bot page of the developer portal.",
            level.number
        ),
        Err(error) => return Err(error.into()),
    };
    let wish = Wish::Take {
        level: level.number,
        role: role.id,
    };
    let choice = buttons::row(
        scene.caller,
        &[
            (wish, "Take it over", Look::Dangerous),
            (Wish::Leave, "Leave it", Look::Plain),
        ],
    );
    let sentence = format!(
        "The role {} is already in the guild. {what_it_means}",
        escape(&role.name)
    );
    Ok(Some(Reply::text(sentence).with_buttons(choice)))
}

/// A sentence on why a level cannot carry a role.
fn refused(refusal: &Refusal<'_>, name: &RoleName) -> UserError {
    let name = escape(name.as_str());
    UserError(match refusal {
        Refusal::BelongsTo(other) => format!("{name} already belongs to level {other}."),
        Refusal::GivesRights => format!(
            "{name} gives its members rights over the bot, so it can't be earned by talking. Choose another name."
        ),
        Refusal::Several(count) => {
            format!("There are {count} roles called {name}; rename or delete all but one of them.")
        }
        Refusal::Moderates(role) => format!(
            "{} has moderation permissions, so it can't be earned by talking. Remove those permissions, or choose \
             another role.",
            escape(&role.name)
        ),
        Refusal::Managed(_) | Refusal::OutOfReach(_) => out_of_hand(refusal),
    })
}

/// A sentence on why the bot cannot change a role.
fn out_of_hand(refusal: &Refusal<'_>) -> String {
    match refusal {
        Refusal::Managed(role) => format!(
            "{} belongs to an integration, and only that can give it. Choose another role.",
            escape(&role.name)
        ),
        Refusal::OutOfReach(role) => format!(
            "{} is not below my own role, so I cannot change it. Drag my role above it in Server Settings, Roles.",
            escape(&role.name)
        ),
        _ => "I cannot change that role.".to_owned(),
    }
}

fn no_role(id: RoleId) -> UserError {
    UserError(format!(
        "There is no role with the id {id} in this server. Type the role's name, or mention the role."
    ))
}

fn no_level(levels: &Levels, typed: &str) -> UserError {
    let free: Vec<u16> = levels
        .rows()
        .iter()
        .filter(|level| level.role_name.is_none())
        .map(|level| level.number.0)
        .collect();
    let free = match &free[..] {
        [] => "All levels have a role.".to_owned(),
        free => format!("Levels without a role: {}.", ranges(free)),
    };
    UserError(format!("There is no level {typed}. {free}"))
}

/// Rising numbers, with a dash for each stretch: `0–4, 6, 8–9`.
fn ranges(numbers: &[u16]) -> String {
    let mut stretches: Vec<(u16, u16)> = Vec::new();
    for &number in numbers {
        match stretches.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => stretches.push((number, number)),
        }
    }
    let show = |(first, last): &(u16, u16)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}–{last}")
        }
    };
    stretches.iter().map(show).collect::<Vec<_>>().join(", ")
}

/// What went wrong, and what it leaves to do.
fn and(error: Error, rest: &str) -> Error {
    let why = match error.downcast::<UserError>() {
        Ok(UserError(why)) => why,
        Err(error) => sentence_for(&error, "set_level_name"),
    };
    UserError(format!("{why} {rest}")).into()
}

/// What a person can do about a call that failed, or what goes to the log.
fn not_done(error: RestError, what: &str) -> Error {
    let sentence = match &error {
        RestError::Refused { code, .. } if *code == TOO_MANY_ROLES => {
            "The guild has as many roles as Discord allows. Delete one first.".to_owned()
        }
        RestError::Refused { code, .. } if *code == UNKNOWN_ROLE => GONE.to_owned(),
        RestError::Refused { status: 403, .. } => format!(
            "Discord does not let me {what}: I need the Manage Roles permission, and my role must be above that one."
        ),
        _ => return error.into(),
    };
    UserError(sentence).into()
}

/// The number of a level as it was typed: any whole number, there or not.
#[derive(Clone, Debug)]
pub(super) struct Number {
    /// The digits, for the answer.
    typed: String,
    /// No level has a number as high as those that do not fit.
    value: u64,
}

impl From<LevelNumber> for Number {
    fn from(level: LevelNumber) -> Self {
        Self {
            typed: level.to_string(),
            value: level.0.into(),
        }
    }
}

/// What was typed is no number.
#[derive(Debug, thiserror::Error)]
#[error("that is not a level's number")]
struct NotANumber;

impl Number {
    fn parse(typed: &str) -> Option<Self> {
        const LONGEST: usize = 40;
        let (negative, digits) = match typed.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, typed),
        };
        let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        (all_digits && typed.len() <= LONGEST).then(|| Self {
            typed: typed.to_owned(),
            value: if negative {
                u64::MAX
            } else {
                digits.parse().unwrap_or(u64::MAX)
            },
        })
    }
}

#[serenity::async_trait]
impl<'a> PopArgument<'a> for Number {
    async fn pop_from(
        args: &'a str,
        attachment_index: usize,
        _: &serenity::Context,
        _: &serenity::Message,
    ) -> Result<(&'a str, usize, Self), (Box<dyn std::error::Error + Send + Sync>, Option<String>)>
    {
        let (first, rest) = args.split_once(char::is_whitespace).unwrap_or((args, ""));
        let number = Number::parse(first).ok_or_else(|| (NotANumber.into(), None))?;
        Ok((rest.trim_start(), attachment_index, number))
    }
}

#[serenity::async_trait]
impl SlashArgument for Number {
    async fn extract(
        _: &serenity::Context,
        _: &serenity::CommandInteraction,
        value: &serenity::ResolvedValue<'_>,
    ) -> Result<Self, SlashArgError> {
        let mismatch = || SlashArgError::new_command_structure_mismatch("expected a number");
        match *value {
            serenity::ResolvedValue::Integer(number) => {
                Number::parse(&number.to_string()).ok_or_else(mismatch)
            }
            _ => Err(mismatch()),
        }
    }

    fn create(builder: CreateCommandOption) -> CreateCommandOption {
        builder.kind(CommandOptionType::Integer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_any_that_people_type() {
        for (typed, value) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("100", Some(100)),
            ("-1", Some(u64::MAX)),
            ("-0", Some(u64::MAX)),
            ("99999999999999999999", Some(u64::MAX)),
            ("+5", None),
            ("five", None),
            ("", None),
            ("-", None),
            ("5.0", None),
            ("５", None),
        ] {
            assert_eq!(
                Number::parse(typed).map(|number| number.value),
                value,
                "{typed:?}"
            );
        }
        assert!(Number::parse(&"9".repeat(41)).is_none());
    }

    #[test]
    fn stretches_of_numbers_are_short() {
        for (numbers, shown) in [
            (&[][..], ""),
            (&[5], "5"),
            (&[0, 1, 2, 4, 6, 7], "0–2, 4, 6–7"),
        ] {
            assert_eq!(ranges(numbers), shown);
        }
    }
}
