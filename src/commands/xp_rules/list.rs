//! `.xp_rules`: the rules on XP that are in force, and those that ended because their channel or
//! role was deleted.

use std::collections::BTreeMap;
use std::time::Duration;

use poise::serenity_prelude::CreateEmbed;

use super::rules_in_force::{DeletedRule, RuleInForce, fold};
use super::subject::name_of;
use crate::commands::args::PageNumber;
use crate::commands::context::{Context, Data, Error, Manual, caller_id};
use crate::commands::pages::{footer, page_count, rows_on};
use crate::commands::resolve_user::StoredNames;
use crate::commands::respond::{answer, defer, settle};
use crate::commands::rights::guild_roles;
use crate::discord::guild;
use crate::discord::messages::buttons::{self, PagedList};
use crate::discord::messages::colors::INFO;
use crate::discord::messages::reply::Reply;
use crate::leveling::{
    ChannelId, MessageId, RoleId, RuleSubject, RuleTerm, Timestamp, UserId, XpRule, escape_text,
};
use crate::store;

const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// How many rules of deleted channels and roles are listed.
const MAX_DELETED: usize = 5;
/// Longest name, in characters. Ten rules then fit into an embed even if all is escaped.
const MAX_NAME: usize = 50;

/// List the rules on XP, with who made them
#[poise::command(
    prefix_command,
    slash_command,
    custom_data = Manual::moderators("xp_rules [page]", "xp_rules")
)]
pub(in crate::commands) async fn xp_rules(
    ctx: Context<'_>,
    #[description = "Which page; the first if left out"]
    #[min = 1]
    page: Option<PageNumber>,
) -> Result<(), Error> {
    // Discord has to be asked for the names of channels.
    defer(ctx).await?;
    settle(ctx).await;
    let asked = MessageId::new(ctx.id()).ok_or_else(|| anyhow::anyhow!("the id is invalid"))?;
    let list = RuleList::read(ctx.data(), asked.sent_at()).await?;
    let page = PageNumber::of(page, list.page_count())?;
    answer(ctx, list.draw(ctx.data(), caller_id(ctx)?, page).await).await
}

/// The rows of the list.
pub(in crate::commands) struct RuleList(Vec<Row>);

#[derive(Clone, Copy)]
enum Row {
    InForce(RuleInForce),
    Deleted(DeletedRule),
}

impl RuleList {
    /// Reads what is in force for messages that are sent at `at`.
    pub async fn read(data: &Data, at: Timestamp) -> Result<Self, Error> {
        let database = &data.bot.env.database;
        let read = store::within(READ_TIMEOUT, async {
            store::xp_rule::all(&mut *database.acquire().await?).await
        });
        let (rules, deleted) = fold(&read.await?, at);
        let deleted = deleted.into_iter().take(MAX_DELETED).map(Row::Deleted);
        let rows = rules.into_iter().map(Row::InForce).chain(deleted);
        Ok(Self(rows.collect()))
    }

    pub fn page_count(&self) -> usize {
        page_count(self.0.len())
    }

    pub async fn draw(&self, data: &Data, caller: UserId, page: usize) -> Reply {
        if self.0.is_empty() {
            return Reply::text(
                "There are no rules on XP. `no_xp` and `xp_multiplier` set some; `help` explains them.",
            );
        }
        let shown = rows_on(page);
        let rows: Vec<Row> = self
            .0
            .iter()
            .copied()
            .skip(shown.start)
            .take(shown.len())
            .collect();
        let names = Names::read(data, &rows).await;
        let (mut text, mut heading) = (Vec::new(), "");
        for row in &rows {
            if heading != row.heading() {
                heading = row.heading();
                text.push(format!("**{heading}**"));
            }
            text.push(row.line(&names));
        }
        let embed = CreateEmbed::new()
            .title("Rules on XP")
            .description(text.join("\n"))
            .footer(footer(page, self.page_count()))
            .color(INFO);
        Reply::embed(embed).with_buttons(buttons::page_buttons(caller, PagedList::XpRules, page))
    }
}

impl Row {
    fn subject(&self) -> RuleSubject {
        match self {
            Self::InForce(rule) => rule.subject,
            Self::Deleted(rule) => rule.subject,
        }
    }

    fn heading(&self) -> &'static str {
        match self {
            Self::Deleted(_) => "Ended, since the channel or role was deleted",
            Self::InForce(rule) => match rule.subject {
                RuleSubject::Everyone => "Everyone",
                RuleSubject::Channel(_) => "Categories and channels",
                RuleSubject::Role(_) => "Roles",
                RuleSubject::User(_) => "Users",
            },
        }
    }

    fn line(&self, names: &Names) -> String {
        match self {
            Self::InForce(rule) => {
                let since = seconds(rule.request.asked_at());
                let until = rule.term.until.map_or_else(String::new, |until| {
                    let until = seconds(until);
                    format!(" until <t:{until}:f> (<t:{until}:R>)")
                });
                format!(
                    "{}: {}{until}; since <t:{since}:f>, by {}",
                    names.of(rule.subject),
                    says(rule.term),
                    names.users.with_mention(rule.moderator)
                )
            }
            Self::Deleted(rule) => {
                let ended = rule.after.map_or_else(String::new, |after| {
                    format!("; ended <t:{}:f>", seconds(after.sent_at()))
                });
                format!("{}: {}{ended}", names.of(rule.subject), says(rule.term))
            }
        }
    }
}

fn says(term: RuleTerm) -> String {
    match term.rule {
        XpRule::NoXp => "no XP".to_owned(),
        XpRule::Multiplier(percent) => format!("{percent} XP"),
    }
}

fn seconds(time: Timestamp) -> i64 {
    time.millis().div_euclid(1_000)
}

/// The names of what a page is about, escaped. What has no known name is shown by its id.
#[derive(Default)]
struct Names {
    channels: BTreeMap<ChannelId, String>,
    roles: BTreeMap<RoleId, String>,
    users: StoredNames,
}

impl Names {
    async fn read(data: &Data, rows: &[Row]) -> Self {
        let mut users = Vec::new();
        for row in rows {
            if let RuleSubject::User(user) = row.subject() {
                users.push(user);
            }
            if let Row::InForce(rule) = row {
                users.push(rule.moderator);
            }
        }
        let has = |is_one: fn(&RuleSubject) -> bool| rows.iter().any(|row| is_one(&row.subject()));
        let channels = async {
            if has(|subject| matches!(subject, RuleSubject::Channel(_))) {
                channel_names(data).await
            } else {
                BTreeMap::new()
            }
        };
        let roles = async {
            if has(|subject| matches!(subject, RuleSubject::Role(_))) {
                role_names(data).await
            } else {
                BTreeMap::new()
            }
        };
        let users = StoredNames::read(&data.bot.env.database, &users);
        let (channels, roles, users) = tokio::join!(channels, roles, users);
        Self {
            channels,
            roles,
            users,
        }
    }

    fn of(&self, subject: RuleSubject) -> String {
        match subject {
            RuleSubject::Everyone => "everyone".to_owned(),
            RuleSubject::Channel(channel) => {
                let name = self.channels.get(&channel);
                name.cloned()
                    .unwrap_or_else(|| format!("the channel {channel}"))
            }
            RuleSubject::Role(role) => {
                let name = self.roles.get(&role);
                name.cloned().unwrap_or_else(|| format!("the role {role}"))
            }
            RuleSubject::User(user) => self.users.with_mention(user),
        }
    }
}

/// Of the channels and the active threads, as far as Discord lists them now.
async fn channel_names(data: &Data) -> BTreeMap<ChannelId, String> {
    let env = &data.bot.env;
    let (channels, threads) = tokio::join!(
        guild::channels(&env.rest, env.guild),
        guild::active_threads(&env.rest, env.guild)
    );
    let channels = channels.map(|list| list.channels);
    let threads = threads.map(|list| list.threads);
    let mut names = BTreeMap::new();
    for list in [channels, threads] {
        match list {
            Ok(list) => {
                for channel in list {
                    if let Ok(id) = channel.id.try_into() {
                        names.insert(id, name_of(&channel, MAX_NAME));
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the rules are listed without the names of channels");
            }
        }
    }
    names
}

async fn role_names(data: &Data) -> BTreeMap<RoleId, String> {
    match guild_roles(data).await {
        Ok(roles) => roles
            .into_iter()
            .filter_map(|role| Some((role.id, escape_text(&role.name, MAX_NAME)?)))
            .collect(),
        Err(error) => {
            tracing::warn!(%error, "the rules are listed without the names of roles");
            BTreeMap::new()
        }
    }
}
