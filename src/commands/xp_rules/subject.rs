//! Finds the channel, role or user that a rule on XP is about, by mention, id or name.
//!
//! Channels are listed by Discord each time, since the bot keeps no names of channels.

use super::typed::{TypedName, TypedSubject};
use crate::commands::args::{PickedId, UserArgument};
use crate::commands::context::{Context, Error};
use crate::commands::resolve_user::{ResolvedUser, resolve_user};
use crate::commands::rights::guild_roles;
use crate::discord::guild;
use crate::discord::payload::PartialChannel;
use crate::error::UserError;
use crate::leveling::{ChannelId, Grouped, GuildRole, RuleSubject, UserId, escape, escape_text};

/// How many channels and roles of one name are listed.
const MAX_LISTED: usize = 5;
/// Discord's limit for the name of a channel, in characters.
const MAX_NAME: usize = 100;

/// What a rule is to be about, in a text or a slash command.
#[derive(Clone, Debug)]
pub(super) enum SubjectArgument {
    Typed(TypedSubject),
    Channel(PickedId),
    Role(PickedId),
    User(UserArgument),
    Everyone,
}

/// What a rule is about, with a name to show.
pub(super) enum Subject {
    Everyone,
    Channel(NamedChannel),
    Role(GuildRole),
    User(ResolvedUser),
}

/// A channel, category or thread of the guild.
pub(super) struct NamedChannel {
    pub id: ChannelId,
    /// With `#`, escaped.
    pub name: String,
    pub contents: Contents,
    /// A thread's channel and that one's category, or a channel's category: each with its name.
    pub parents: Vec<(ChannelId, String)>,
}

/// What else a rule about a channel applies to.
pub(super) enum Contents {
    /// So many channels.
    Category(usize),
    /// Its posts: a forum or a channel for media.
    Forum,
    /// Its threads.
    Channel,
    Thread,
}

impl Subject {
    pub fn rule_subject(&self) -> RuleSubject {
        match self {
            Self::Everyone => RuleSubject::Everyone,
            Self::Channel(channel) => RuleSubject::Channel(channel.id),
            Self::Role(role) => RuleSubject::Role(role.id),
            Self::User(user) => RuleSubject::User(user.id),
        }
    }

    /// The beginning of a sentence on what the subject earns, such as `Messages in #general earn`.
    pub fn earns(&self) -> String {
        match self {
            Self::Everyone => "Everyone earns".to_owned(),
            Self::Channel(channel) => format!("Messages in {} earn", channel.name),
            Self::Role(role) => format!("Members with {} earn", escape(&role.name)),
            Self::User(user) => format!("{} earns", escape(&user.name)),
        }
    }
}

/// Finds what the argument means. An error tells what to type instead.
pub(super) async fn find_subject(
    ctx: Context<'_>,
    argument: SubjectArgument,
) -> Result<Subject, Error> {
    let typed = match argument {
        SubjectArgument::Everyone => return Ok(Subject::Everyone),
        SubjectArgument::User(user) => return user_subject(ctx, user).await,
        SubjectArgument::Channel(PickedId(id)) => TypedSubject::Channel(id),
        SubjectArgument::Role(PickedId(id)) => TypedSubject::Role(id),
        SubjectArgument::Typed(typed) => typed,
    };
    let everyone = ctx.data().bot.env.guild.get();
    match typed {
        TypedSubject::Everyone => Ok(Subject::Everyone),
        TypedSubject::EveryoneRole => Err(not_the_everyone_role().into()),
        TypedSubject::Role(id) | TypedSubject::Id(id) if id == everyone => {
            Err(not_the_everyone_role().into())
        }
        TypedSubject::Role(id) => {
            let roles = guild_roles(ctx.data()).await?;
            let role = roles.into_iter().find(|role| role.id.get() == id);
            role.map(Subject::Role).ok_or_else(|| no_role(id).into())
        }
        TypedSubject::Channel(id) => {
            let channels = Channels::list(ctx).await?;
            let channel = channels.with_id(ctx, id).await?;
            channel.ok_or_else(|| no_channel(id).into())
        }
        TypedSubject::User(id) => {
            let id = UserId::new(id).ok_or_else(|| nothing_with_id(id))?;
            user_subject(ctx, user_argument(ctx, id)).await
        }
        TypedSubject::Id(id) => with_id(ctx, id).await,
        TypedSubject::Name(name) => with_name(ctx, &name).await,
    }
}

async fn with_id(ctx: Context<'_>, id: u64) -> Result<Subject, Error> {
    let roles = guild_roles(ctx.data()).await?;
    if let Some(role) = roles.into_iter().find(|role| role.id.get() == id) {
        return Ok(Subject::Role(role));
    }
    let channels = Channels::list(ctx).await?;
    if let Some(channel) = channels.with_id(ctx, id).await? {
        return Ok(channel);
    }
    let user = UserId::new(id).ok_or_else(|| nothing_with_id(id))?;
    let found = user_subject(ctx, user_argument(ctx, user)).await;
    found.map_err(|error| match error.downcast_ref::<UserError>() {
        Some(UserError(sentence)) if sentence.starts_with("There is no user") => {
            nothing_with_id(id).into()
        }
        _ => error,
    })
}

/// Names are compared as they are, and if none is the same, without regard to case.
async fn with_name(ctx: Context<'_>, typed: &TypedName) -> Result<Subject, Error> {
    let everyone = ctx.data().bot.env.guild.get();
    let mut roles = guild_roles(ctx.data()).await?;
    roles.retain(|role| role.id.get() != everyone && !typed.is_channel);
    let mut channels = Channels::list(ctx).await?;
    let threads = guild::active_threads(&ctx.data().bot.env.rest, ctx.data().bot.env.guild).await?;
    channels.threads = threads.threads;
    let all_channels = || {
        let all = channels.channels.iter().chain(&channels.threads);
        all.filter(|_| !typed.is_role)
    };
    let wanted = typed.name.to_lowercase();
    let has_name = |name: &str, exactly: bool| {
        if exactly {
            name.trim() == typed.name
        } else {
            name.trim().to_lowercase() == wanted
        }
    };
    for exactly in [true, false] {
        let found: Vec<&PartialChannel> = all_channels()
            .filter(|one| {
                one.name
                    .as_deref()
                    .is_some_and(|name| has_name(name, exactly))
            })
            .collect();
        let called: Vec<&GuildRole> = roles
            .iter()
            .filter(|role| has_name(&role.name, exactly))
            .collect();
        match (&found[..], &called[..]) {
            ([], []) => {}
            ([channel], []) => {
                let named = channels.named(channel);
                return named.ok_or_else(|| no_channel(channel.id.get()).into());
            }
            ([], [role]) => return Ok(Subject::Role((*role).clone())),
            (found, called) => return Err(several(&typed.name, found, called).into()),
        }
    }
    let what = match (typed.is_channel, typed.is_role) {
        (true, _) => "channel",
        (_, true) => "role",
        _ => "channel or role",
    };
    let name = escape(&typed.name);
    Err(UserError(format!(
        "There is no {what} called {name}. Mention the channel, role or user, or type its name or id."
    ))
    .into())
}

async fn user_subject(ctx: Context<'_>, user: UserArgument) -> Result<Subject, Error> {
    let user = resolve_user(ctx, user).await?;
    user.check_human()?;
    Ok(Subject::User(user))
}

/// With the account, if Discord sent it with the message.
fn user_argument(ctx: Context<'_>, id: UserId) -> UserArgument {
    match ctx {
        Context::Prefix(ctx) => UserArgument::mentioned(id, ctx.msg),
        Context::Application(_) => UserArgument::Other {
            id,
            user: None,
            nickname: None,
        },
    }
}

/// The guild's channels as Discord lists them now.
struct Channels {
    channels: Vec<PartialChannel>,
    /// The active threads, if they were listed too.
    threads: Vec<PartialChannel>,
}

impl Channels {
    async fn list(ctx: Context<'_>) -> Result<Self, Error> {
        let env = &ctx.data().bot.env;
        let list = guild::channels(&env.rest, env.guild).await?;
        Ok(Self {
            channels: list.channels,
            threads: Vec::new(),
        })
    }

    /// The channel or thread with this id; `None` if the guild has none.
    async fn with_id(&self, ctx: Context<'_>, id: u64) -> Result<Option<Subject>, Error> {
        if let Some(channel) = self.find(id) {
            return Ok(self.named(channel));
        }
        let Some(id) = ChannelId::new(id) else {
            return Ok(None);
        };
        let env = &ctx.data().bot.env;
        let thread = guild::channel(&env.rest, id).await?;
        let of_guild = |thread: &PartialChannel| {
            let guild = thread.guild_id;
            guild.is_some_and(|guild| guild.get() == env.guild.get())
        };
        Ok(thread
            .filter(of_guild)
            .and_then(|thread| self.named(&thread)))
    }

    fn find(&self, id: u64) -> Option<&PartialChannel> {
        self.channels.iter().find(|channel| channel.id.get() == id)
    }

    fn named(&self, channel: &PartialChannel) -> Option<Subject> {
        const MAX_PARENTS: usize = 2;
        let parent = |of: &PartialChannel| self.find(of.parent_id?.get());
        let parents = std::iter::successors(parent(channel), |one| parent(one));
        let named = |one: &PartialChannel| {
            Some((ChannelId::try_from(one.id).ok()?, name_of(one, MAX_NAME)))
        };
        Some(Subject::Channel(NamedChannel {
            id: channel.id.try_into().ok()?,
            name: name_of(channel, MAX_NAME),
            contents: self.contents(channel),
            parents: parents.take(MAX_PARENTS).filter_map(named).collect(),
        }))
    }

    fn contents(&self, channel: &PartialChannel) -> Contents {
        if channel.is_category() {
            let is_in_it = |one: &&PartialChannel| one.parent_id == Some(channel.id);
            Contents::Category(self.channels.iter().filter(is_in_it).count())
        } else if channel.is_thread() {
            Contents::Thread
        } else if channel.holds_messages() {
            Contents::Channel
        } else {
            Contents::Forum
        }
    }
}

/// The channel's name with `#`, escaped, and cut off after `longest` characters.
pub(super) fn name_of(channel: &PartialChannel, longest: usize) -> String {
    let name = channel.name.as_deref();
    match name.and_then(|name| escape_text(name, longest)) {
        Some(name) => format!("#{name}"),
        None => format!("<#{}>", channel.id),
    }
}

fn several(name: &str, channels: &[&PartialChannel], roles: &[&GuildRole]) -> UserError {
    let channels = channels.iter().map(|one| {
        let what = if one.is_category() {
            "the category"
        } else if one.is_thread() {
            "the thread"
        } else {
            "the channel"
        };
        format!("{what} `{}`", one.id)
    });
    let roles = roles.iter().map(|role| format!("the role `{}`", role.id));
    let all: Vec<String> = channels.chain(roles).collect();
    let more = match all.len().checked_sub(MAX_LISTED) {
        None | Some(0) => String::new(),
        Some(more) => format!(" and {} more", Grouped(more)),
    };
    let listed = all[..all.len().min(MAX_LISTED)].join(", ");
    UserError(format!(
        "{} channels or roles are called {}: {listed}{more}. Type the id of the one that you mean, or mention it.",
        Grouped(all.len()),
        escape(name)
    ))
}

/// Discord gives this role to everyone, and its id is the guild's.
pub(super) fn not_the_everyone_role() -> UserError {
    UserError(
        "A rule cannot be about the role that everyone has. To change what everyone earns, use `xp_multiplier` with the \
         word `everyone`, such as `xp_multiplier everyone 200`."
            .to_owned(),
    )
}

fn no_channel(id: u64) -> UserError {
    UserError(format!(
        "There is no channel with the id {id} in this server, or I cannot see it. Mention the channel, or type its name."
    ))
}

fn no_role(id: u64) -> UserError {
    UserError(format!(
        "There is no role with the id {id} in this server. Mention the role, or type its name."
    ))
}

fn nothing_with_id(id: u64) -> UserError {
    UserError(format!(
        "There is no channel, role or user with the id {id}. Mention the one that you mean, or type its name."
    ))
}
