//! The table `user_point`: each user's XP and last known profile.

mod batch;
pub mod profiles;

use std::borrow::Cow;
use std::collections::BTreeMap;

use futures_util::TryStreamExt;

pub use self::batch::save;
use super::{Connection, Result, bigint, points, timestamp, timestamptz, user_id};
use crate::leveling::{Fingerprint, MessageId, Profile, Standing, Timestamp, UserId, without_nul};

const TABLE: &str = "user_point";

/// The profile in a row's five profile columns; `None` if no name is stored.
macro_rules! profile_of {
    ($row:ident) => {
        $row.username.map(|username| crate::leveling::Profile {
            account: crate::leveling::Account {
                username,
                display_name: $row.display_name,
                avatar_hash: $row.avatar_hash,
            },
            member: crate::leveling::Membership {
                nickname: $row.nickname,
                avatar_hash: $row.guild_avatar_hash,
            },
        })
    };
}
pub(super) use profile_of;

/// The columns of a user that the cache needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedUser {
    /// The user of the row.
    pub user: UserId,
    /// Their XP.
    pub standing: Standing,
    /// Whether they chose to be hidden.
    pub hidden: bool,
    /// Whether a name is stored.
    pub named: bool,
    /// Fingerprint of the stored profile. `None` if there is none, if the account was deleted, or
    /// if a newer observed profile is queued but not stored yet.
    pub seen: Option<Fingerprint>,
}

/// A user's row as a batch saves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedUser {
    /// The user of the row.
    pub user: UserId,
    /// Their XP, including this batch.
    pub standing: Standing,
    /// The observed profile of a user who had no row before.
    pub profile: Option<Profile>,
}

/// A row of another bot's database to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedUser {
    /// The user of the row.
    pub user: UserId,
    /// Their XP.
    pub standing: Standing,
    /// Whether they had chosen to be hidden.
    pub hidden: bool,
    /// Names and avatar, if the dump has a name.
    pub profile: Option<Profile>,
    /// The copy of their avatar.
    pub avatar: AvatarCopy,
}

/// The other bot's copy of an avatar, posted in a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AvatarCopy {
    /// The message that carries it.
    pub message_id: Option<MessageId>,
    /// Its signed URL.
    pub link: Option<String>,
    /// When the link stops working.
    pub expires_at: Option<Timestamp>,
}

/// How many users an import changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Users who had no row.
    pub added: u64,
    /// Users for whom the dump added something: points, a name, an avatar, or that they are hidden.
    pub completed: u64,
    /// Users whose rows did not change.
    pub kept: u64,
}

/// Passes every user to `take`, in no particular order. The rows are streamed, so that a million
/// users are not held in memory twice.
pub async fn load_all(connection: &mut Connection, mut take: impl FnMut(CachedUser)) -> Result<()> {
    let mut rows = sqlx::query!(
        r#"select user_id, points, message_count, last_awarded_at, hidden,
                  username, display_name, nickname, avatar_hash, guild_avatar_hash, 
                  (gone_at is not null or exists (select from updated_user as queued
                   where queued.user_id = user_point.user_id and not stored)) as "doubtful!"
           from user_point"#
    )
    .fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let profile = profile_of!(row);
        take(CachedUser {
            user: user_id(TABLE, row.user_id)?,
            standing: Standing {
                points: points(TABLE, "points", row.points)?,
                message_count: super::read(TABLE, "message_count", row.message_count, Some)?,
                last_awarded_at: row.last_awarded_at.and_then(timestamp),
            },
            hidden: row.hidden,
            named: profile.is_some(),
            seen: profile
                .filter(|_| !row.doubtful)
                .map(|profile| profile.fingerprint()),
        });
    }
    Ok(())
}

/// Whether the table is empty.
pub async fn is_empty(connection: &mut Connection) -> Result<bool> {
    let row = sqlx::query!(r#"select not exists (select from user_point) as "empty!""#)
        .fetch_one(connection)
        .await?;
    Ok(row.empty)
}

/// The stored profile; `None` if the user has no row or no stored name.
pub async fn profile(connection: &mut Connection, user: UserId) -> Result<Option<Profile>> {
    let row = sqlx::query!(
        "select username, display_name, nickname, avatar_hash, guild_avatar_hash from user_point where user_id = $1",
        bigint(user.get()),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.and_then(|row| profile_of!(row)))
}

/// The stored profiles of these users, in one query. Users without a row or a stored name are left
/// out.
pub async fn profiles_of(
    connection: &mut Connection,
    users: &[UserId],
) -> Result<BTreeMap<UserId, Profile>> {
    let ids: Vec<i64> = users.iter().map(|user| bigint(user.get())).collect();
    let rows = sqlx::query!(
        "select user_id, username, display_name, nickname, avatar_hash, guild_avatar_hash
         from user_point where user_id = any($1)",
        &ids,
    )
    .fetch_all(connection)
    .await?;
    let mut found = BTreeMap::new();
    for row in rows {
        let user = user_id(TABLE, row.user_id)?;
        if let Some(profile) = profile_of!(row) {
            found.insert(user, profile);
        }
    }
    Ok(found)
}

/// Users whose last award is later than `at`, sorted by id.
pub async fn awarded_after(connection: &mut Connection, at: Timestamp) -> Result<Vec<UserId>> {
    let ids = sqlx::query_scalar!(
        "select user_id from user_point where last_awarded_at > $1 order by user_id",
        timestamptz(at),
    )
    .fetch_all(connection)
    .await?;
    ids.into_iter().map(|id| user_id(TABLE, id)).collect()
}

/// The latest of all users' last awards that is not later than `at`.
pub async fn newest_award(connection: &mut Connection, at: Timestamp) -> Result<Option<Timestamp>> {
    let newest = sqlx::query_scalar!(
        "select max(last_awarded_at) from user_point where last_awarded_at <= $1",
        timestamptz(at),
    )
    .fetch_one(connection)
    .await?;
    Ok(newest.and_then(timestamp))
}

/// Sets the time of these users' last awards.
pub async fn put_awards_back(
    connection: &mut Connection,
    awards: &[(UserId, Timestamp)],
) -> Result<()> {
    let users: Vec<i64> = awards.iter().map(|(user, _)| bigint(user.get())).collect();
    let times: Vec<_> = awards.iter().map(|(_, at)| timestamptz(*at)).collect();
    sqlx::query!(
        "with locked as (
            select user_id from user_point where user_id = any($1) order by user_id for update
         )
         update user_point set last_awarded_at = award.at
         from locked join unnest($1::bigint[], $2::timestamptz[]) as award (user_id, at) using (user_id)
         where user_point.user_id = locked.user_id",
        &users,
        &times,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores whether a user is hidden, also for a user without XP. Their XP and names are not changed.
pub async fn hide(connection: &mut Connection, user: UserId, hidden: bool) -> Result<()> {
    sqlx::query!(
        "insert into user_point (user_id, hidden) values ($1, $2)
         on conflict (user_id) do update set hidden = excluded.hidden",
        bigint(user.get()),
        hidden,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Imports users of a dump; `users` names each user at most once. Existing rows only gain: the
/// greater points and the later award are kept, and a user who is hidden on either side stays
/// hidden. So importing an old dump again removes nothing.
pub async fn import(connection: &mut Connection, users: &[ImportedUser]) -> Result<Imported> {
    let ids: Vec<i64> = users.iter().map(|row| bigint(row.user.get())).collect();
    let standings: Vec<_> = users.iter().map(|row| row.standing).collect();
    let columns = StandingColumns::new(&standings);
    let hidden: Vec<bool> = users.iter().map(|row| row.hidden).collect();
    let profiles = ProfileColumns::new(&users.iter().map(|row| row.profile.as_ref()));
    let message_ids: Vec<_> = users
        .iter()
        .map(|row| row.avatar.message_id.map(|id| bigint(id.get())))
        .collect();
    let links: Vec<_> = users.iter().map(|row| row.avatar.link.as_deref()).collect();
    let expiries: Vec<_> = users
        .iter()
        .map(|row| row.avatar.expires_at.map(timestamptz))
        .collect();
    let rows = sqlx::query!(
        r#"insert into user_point as stored
            (user_id, points, message_count, last_awarded_at, hidden, username, nickname, avatar_hash,
             avatar_message_id, avatar_link, avatar_link_expires_at, avatar_copy_hash)
         select *, case when copy is not null then hash end
         from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::boolean[],
                     $6::text[], $7::text[], $8::text[], $9::bigint[], $10::text[], $11::timestamptz[])
              as dump (id, points, messages, awarded, hidden, name, nick, hash, copy, link, expires)
         order by id
         on conflict (user_id) do update set
            points = greatest(stored.points, excluded.points),
            message_count = greatest(stored.message_count, excluded.message_count),
            last_awarded_at = greatest(stored.last_awarded_at, excluded.last_awarded_at),
            hidden = stored.hidden or excluded.hidden,
            username = coalesce(stored.username, excluded.username),
            nickname = case when stored.username is null then excluded.nickname else stored.nickname end,
            avatar_hash = case when stored.username is null then excluded.avatar_hash else stored.avatar_hash end,
            avatar_message_id = coalesce(stored.avatar_message_id, excluded.avatar_message_id),
            avatar_link = case when stored.avatar_message_id is null then excluded.avatar_link
                          else stored.avatar_link end,
            avatar_link_expires_at = case when stored.avatar_message_id is null then excluded.avatar_link_expires_at
                                     else stored.avatar_link_expires_at end,
            avatar_copy_hash = case when stored.avatar_message_id is null then excluded.avatar_copy_hash
                               else stored.avatar_copy_hash end
         where excluded.points > stored.points
            or excluded.message_count > stored.message_count
            or (excluded.hidden and not stored.hidden)
            or (stored.username is null and excluded.username is not null)
            or (stored.avatar_message_id is null and excluded.avatar_message_id is not null)
         returning xmax = 0 as "added!""#,
        &ids,
        &columns.points,
        &columns.message_counts,
        &columns.last_awarded as &[Option<_>],
        &hidden,
        &profiles.usernames as &[Option<Cow<'_, str>>],
        &profiles.nicknames as &[Option<Cow<'_, str>>],
        &profiles.avatar_hashes as &[Option<Cow<'_, str>>],
        &message_ids as &[Option<i64>],
        &links as &[Option<&str>],
        &expiries as &[Option<_>],
    )
    .fetch_all(connection)
    .await?;
    let added = rows.iter().filter(|row| row.added).count() as u64;
    let completed = rows.len() as u64 - added;
    Ok(Imported {
        added,
        completed,
        kept: users.len() as u64 - added - completed,
    })
}

/// Standings as the columns of `unnest`.
struct StandingColumns {
    points: Vec<i64>,
    message_counts: Vec<i64>,
    last_awarded: Vec<Option<chrono::DateTime<chrono::Utc>>>,
}

impl StandingColumns {
    fn new(standings: &[Standing]) -> Self {
        Self {
            points: standings
                .iter()
                .map(|standing| bigint(standing.points.get()))
                .collect(),
            message_counts: standings
                .iter()
                .map(|standing| bigint(standing.message_count))
                .collect(),
            last_awarded: standings
                .iter()
                .map(|standing| standing.last_awarded_at.map(timestamptz))
                .collect(),
        }
    }
}

/// Profiles as the columns of `unnest`.
struct ProfileColumns<'a> {
    usernames: Vec<Option<Cow<'a, str>>>,
    display_names: Vec<Option<Cow<'a, str>>>,
    avatar_hashes: Vec<Option<Cow<'a, str>>>,
    nicknames: Vec<Option<Cow<'a, str>>>,
    guild_avatar_hashes: Vec<Option<Cow<'a, str>>>,
}

impl<'a> ProfileColumns<'a> {
    fn new(profiles: &(impl Iterator<Item = Option<&'a Profile>> + Clone)) -> Self {
        let column = |of: fn(&'a Profile) -> Option<&'a str>| -> Vec<_> {
            profiles
                .clone()
                .map(|profile| profile.and_then(of).map(without_nul))
                .collect()
        };
        Self {
            usernames: column(|profile| Some(&profile.account.username)),
            display_names: column(|profile| profile.account.display_name.as_deref()),
            avatar_hashes: column(|profile| profile.account.avatar_hash.as_deref()),
            nicknames: column(|profile| profile.member.nickname.as_deref()),
            guild_avatar_hashes: column(|profile| profile.member.avatar_hash.as_deref()),
        }
    }
}
