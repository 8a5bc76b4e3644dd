//! The table `xp_rule`: the guild's rules on XP, as they began, were replaced and ended.
//!
//! Append-only: a rule is ended or replaced by another row.

use super::{Connection, Error, Result, after_id, bigint, read, timestamp, timestamptz, user_id};
use crate::leveling::{
    ChannelId, MessageId, Percent, RequestId, RoleId, RuleChange, RuleKind, RuleSubject, RuleTerm,
    UserId, XpRule,
};

const TABLE: &str = "xp_rule";

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XpRuleRow {
    /// What asked for it, and who; `None` if the rule ended because its channel or role was
    /// deleted.
    pub request: Option<(RequestId, UserId)>,
    /// What it changes.
    pub change: RuleChange,
}

/// All rows, in the order in which they were added.
pub async fn all(connection: &mut Connection) -> Result<Vec<XpRuleRow>> {
    let rows = sqlx::query!(
        "select id, request_id, moderator_id, subject, subject_id, kind, is_set, percent, after_id, until
         from xp_rule order by id"
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let kind = kind_of(&row.kind, row.id)?;
            let request = match (row.request_id, row.moderator_id) {
                (Some(request), Some(moderator)) => Some((
                    read(TABLE, "request_id", request, RequestId::new)?,
                    user_id(TABLE, moderator)?,
                )),
                _ => None,
            };
            let rule = match kind {
                RuleKind::NoXp => XpRule::NoXp,
                RuleKind::Multiplier => {
                    let percent = row.percent.and_then(|percent| u16::try_from(percent).ok());
                    // A row that ends a multiplier has none.
                    XpRule::Multiplier(percent.and_then(Percent::new).unwrap_or(Percent::USUAL))
                }
            };
            Ok(XpRuleRow {
                request,
                change: RuleChange {
                    subject: subject_of(&row.subject, row.subject_id)?,
                    kind,
                    term: row.is_set.then(|| RuleTerm {
                        rule,
                        until: row.until.and_then(timestamp),
                    }),
                    after: after_id(TABLE, row.after_id)?,
                },
            })
        })
        .collect()
}

/// Adds a row. Returns `false` and adds nothing if its request has added one before.
pub async fn add(connection: &mut Connection, row: &XpRuleRow) -> Result<bool> {
    let RuleChange {
        subject,
        kind,
        term,
        after,
    } = row.change;
    let (subject, subject_id) = subject_columns(subject);
    let percent = term.and_then(|term| match term.rule {
        XpRule::NoXp => None,
        XpRule::Multiplier(percent) => Some(i32::from(percent.get())),
    });
    let added = sqlx::query!(
        "insert into xp_rule
            (request_id, moderator_id, subject, subject_id, kind, is_set, percent, after_id, until)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict (request_id) do nothing",
        row.request.map(|(request, _)| bigint(request.get())),
        row.request.map(|(_, moderator)| bigint(moderator.get())),
        subject,
        subject_id,
        kind_column(kind),
        term.is_some(),
        percent,
        after.map_or(0, |after| bigint(after.get())),
        term.and_then(|term| term.until).map(timestamptz),
    )
    .execute(connection)
    .await?;
    Ok(added.rows_affected() == 1)
}

/// Moves what was recorded after an id from the future to `newest`. Returns whether there was any.
pub async fn put_back(connection: &mut Connection, newest: MessageId) -> Result<bool> {
    let newest = bigint(newest.get());
    let moved = sqlx::query!(
        "update xp_rule set after_id = $1 where after_id > $1",
        newest
    )
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() > 0)
}

fn kind_column(kind: RuleKind) -> &'static str {
    match kind {
        RuleKind::NoXp => "no_xp",
        RuleKind::Multiplier => "multiplier",
    }
}

fn kind_of(kind: &str, row: i64) -> Result<RuleKind> {
    match kind {
        "no_xp" => Ok(RuleKind::NoXp),
        "multiplier" => Ok(RuleKind::Multiplier),
        _ => Err(Error::Corrupt {
            table: TABLE,
            what: "a rule of an unknown kind, with id",
            value: row,
        }),
    }
}

fn subject_columns(subject: RuleSubject) -> (&'static str, i64) {
    match subject {
        RuleSubject::Everyone => ("everyone", 0),
        RuleSubject::Channel(channel) => ("channel", bigint(channel.get())),
        RuleSubject::Role(role) => ("role", bigint(role.get())),
        RuleSubject::User(user) => ("user", bigint(user.get())),
    }
}

fn subject_of(subject: &str, id: i64) -> Result<RuleSubject> {
    match subject {
        "everyone" => Ok(RuleSubject::Everyone),
        "channel" => Ok(RuleSubject::Channel(read(
            TABLE,
            "subject_id",
            id,
            ChannelId::new,
        )?)),
        "role" => Ok(RuleSubject::Role(read(
            TABLE,
            "subject_id",
            id,
            RoleId::new,
        )?)),
        "user" => Ok(RuleSubject::User(read(
            TABLE,
            "subject_id",
            id,
            UserId::new,
        )?)),
        _ => Err(Error::Corrupt {
            table: TABLE,
            what: "a rule about an unknown kind of subject, with id",
            value: id,
        }),
    }
}
