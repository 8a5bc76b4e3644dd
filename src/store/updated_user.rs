//! The table `updated_user`: observed profiles to store and avatars to copy.
//!
//! Each row passes through two queues: first the observed profile waits to be stored in
//! `user_point`; then, if the copy of the avatar may be out of date, the row waits for the copy.
//! This file sends no requests to Discord.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};

use super::durable_queue::impossibly_late;
use super::user_point::profile_of;
use super::user_point::profiles::attempts;
use super::{Connection, Result, bigint, message_id, read, user_id};
use crate::leveling::{Field, MessageId, ObservedProfile, Profile, UserId, without_nul};

const TABLE: &str = "updated_user";

/// No row is postponed for as long as this.
const MAX_DELAY: TimeDelta = TimeDelta::days(2);

/// A row and its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowVersion {
    /// The user of the row.
    pub user: UserId,
    /// Increases with every change of the row.
    pub version: i64,
}

/// An observed profile that is not stored yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnstoredProfile {
    /// The row and its version.
    pub key: RowVersion,
    /// Everything that was observed since the profile was last stored.
    pub profile: ObservedProfile,
}

/// A row whose profile is stored and whose avatar must still be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The row and its version.
    pub key: RowVersion,
    /// Whether the avatar has changed. Then the last error and the time of the next attempt are
    /// reset, since they concern the previous avatar.
    pub other_picture: bool,
}

/// A user whose avatar may have to be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueAvatar {
    /// The row and its version.
    pub key: RowVersion,
    /// The user's stored profile.
    pub profile: Profile,
    /// Hash of the avatar that the copy shows, if the copy is trusted.
    pub copied: Option<String>,
    /// The message that carries the copy.
    pub copy: Option<MessageId>,
    /// Number of failed attempts.
    pub attempts: u32,
}

/// The number of rows in each state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Observed profiles that are not stored yet.
    pub unstored: u64,
    /// Avatars that must still be copied, without the parked ones.
    pub pictures: u64,
    /// The avatars among these that have failed and will be retried.
    pub failing: u64,
    /// Since when the oldest row that is not parked has been waiting.
    pub oldest: Option<DateTime<Utc>>,
    /// Avatars that have failed too often to be retried.
    pub parked: u64,
}

/// An avatar whose copy has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The user.
    pub user: UserId,
    /// Number of failed attempts.
    pub attempts: u32,
    /// The error of the last attempt.
    pub why: Option<String>,
}

/// Queues observed profiles; `seen` names each user at most once. Users without a row in
/// `user_point` are skipped. A row that is queued already keeps its place, and the new fields are
/// merged into it.
pub async fn mark(connection: &mut Connection, seen: &[(UserId, ObservedProfile)]) -> Result<()> {
    let users: Vec<i64> = seen.iter().map(|(user, _)| bigint(user.get())).collect();
    let usernames: Vec<_> = seen
        .iter()
        .map(|(_, seen)| without_nul(&seen.username))
        .collect();
    let display_names = Column::new(seen, |seen| &seen.display_name);
    let avatar_hashes = Column::new(seen, |seen| &seen.avatar_hash);
    let nicknames = Column::new(seen, |seen| &seen.nickname);
    let guild_avatar_hashes = Column::new(seen, |seen| &seen.guild_avatar_hash);
    sqlx::query!(
        "insert into updated_user as queued
            (user_id, username, display_name, display_name_unseen, avatar_hash, avatar_hash_unseen,
             nickname, nickname_unseen, guild_avatar_hash, guild_avatar_hash_unseen, member_seen)
         select seen.*, not (nickname_unseen and guild_avatar_hash_unseen)
         from unnest($1::bigint[], $2::text[], $3::text[], $4::boolean[], $5::text[], $6::boolean[],
                     $7::text[], $8::boolean[], $9::text[], $10::boolean[])
              as seen (user_id, username, display_name, display_name_unseen, avatar_hash, avatar_hash_unseen,
                       nickname, nickname_unseen, guild_avatar_hash, guild_avatar_hash_unseen)
         where exists (select from user_point where user_point.user_id = seen.user_id)
         order by user_id
         on conflict (user_id) do update set
            version = excluded.version,
            username = excluded.username,
            display_name = case when excluded.display_name_unseen then queued.display_name
                           else excluded.display_name end,
            display_name_unseen = excluded.display_name_unseen
                and (queued.display_name_unseen or queued.stored),
            avatar_hash = case when excluded.avatar_hash_unseen then queued.avatar_hash
                          else excluded.avatar_hash end,
            avatar_hash_unseen = excluded.avatar_hash_unseen and (queued.avatar_hash_unseen or queued.stored),
            nickname = case when excluded.nickname_unseen then queued.nickname else excluded.nickname end,
            nickname_unseen = excluded.nickname_unseen
                and (queued.nickname_unseen or queued.stored or not queued.member_seen),
            guild_avatar_hash = case when excluded.guild_avatar_hash_unseen then queued.guild_avatar_hash
                                else excluded.guild_avatar_hash end,
            guild_avatar_hash_unseen = excluded.guild_avatar_hash_unseen
                and (queued.guild_avatar_hash_unseen or queued.stored or not queued.member_seen),
            member_seen = excluded.member_seen or (queued.member_seen and not queued.stored),
            stored = false",
        &users,
        &usernames as &[Cow<'_, str>],
        &display_names.values as &[Option<Cow<'_, str>>],
        &display_names.unseen,
        &avatar_hashes.values as &[Option<Cow<'_, str>>],
        &avatar_hashes.unseen,
        &nicknames.values as &[Option<Cow<'_, str>>],
        &nicknames.unseen,
        &guild_avatar_hashes.values as &[Option<Cow<'_, str>>],
        &guild_avatar_hashes.unseen,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// One observed field of many users, as the columns of `unnest`.
struct Column<'a> {
    values: Vec<Option<Cow<'a, str>>>,
    unseen: Vec<bool>,
}

impl<'a> Column<'a> {
    fn new(seen: &'a [(UserId, ObservedProfile)], field: fn(&ObservedProfile) -> &Field) -> Self {
        let fields = seen.iter().map(|(_, seen)| match field(seen) {
            Field::Unseen | Field::Unclear => (None, true),
            Field::Empty => (None, false),
            Field::Value(text) => (Some(without_nul(text)), false),
        });
        let (values, unseen) = fields.unzip();
        Self { values, unseen }
    }
}

/// Those of these users who have a row.
pub async fn queued(connection: &mut Connection, users: &[UserId]) -> Result<Vec<UserId>> {
    let users: Vec<i64> = users.iter().map(|user| bigint(user.get())).collect();
    let rows = sqlx::query!(
        r#"select user_id as "user_id!" from unnest($1::bigint[]) as asked (user_id)
           join updated_user using (user_id)"#,
        &users,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| user_id(TABLE, row.user_id))
        .collect()
}

/// Queues a check of these users' avatars. All of them must have a row in `user_point`.
pub async fn want_pictures_of(connection: &mut Connection, users: &[UserId]) -> Result<()> {
    let users: Vec<i64> = users.iter().map(|user| bigint(user.get())).collect();
    sqlx::query!(
        "insert into updated_user (user_id, stored) select *, true from unnest($1::bigint[]) order by 1
         on conflict (user_id) do update set version = excluded.version",
        &users,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Queues those of these users who have an avatar without a trusted copy. They are due immediately.
/// Returns the number of rows written.
pub async fn want_pictures_anew(connection: &mut Connection, users: &[UserId]) -> Result<u64> {
    let users: Vec<i64> = users.iter().map(|user| bigint(user.get())).collect();
    let done = sqlx::query!(
        "insert into updated_user (user_id, stored)
         select user_id, true from user_point
         where user_id = any($1) and avatar_copy_hash is null
            and coalesce(guild_avatar_hash, avatar_hash) is not null
         order by user_id
         on conflict (user_id) do update set next_attempt_at = 'epoch'",
        &users,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Queues all users whose copy does not show their current avatar. They are due immediately.
/// Deleted accounts are left out, since their avatars are no longer available. Returns the number
/// of rows written.
pub async fn want_missing_pictures(connection: &mut Connection) -> Result<u64> {
    let done = sqlx::query!(
        "insert into updated_user (user_id, stored)
         select user_id, true from user_point
         where coalesce(guild_avatar_hash, avatar_hash) is distinct from avatar_copy_hash and gone_at is null
         order by user_id
         on conflict (user_id) do update set next_attempt_at = 'epoch'",
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// At most `limit` observed profiles that are not stored yet, oldest first.
pub async fn unstored(connection: &mut Connection, limit: u16) -> Result<Vec<UnstoredProfile>> {
    let rows = sqlx::query!(
        r#"select user_id, version, username as "username!", display_name, display_name_unseen,
                  avatar_hash, avatar_hash_unseen, nickname, guild_avatar_hash,
                  (nickname_unseen or not member_seen) as "nickname_unseen!",
                  (guild_avatar_hash_unseen or not member_seen) as "guild_avatar_hash_unseen!"
           from updated_user where not stored order by queued_at, user_id limit $1"#,
        i64::from(limit),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(UnstoredProfile {
                key: RowVersion {
                    user: user_id(TABLE, row.user_id)?,
                    version: row.version,
                },
                profile: ObservedProfile {
                    username: row.username,
                    display_name: field_of(row.display_name, row.display_name_unseen),
                    avatar_hash: field_of(row.avatar_hash, row.avatar_hash_unseen),
                    nickname: field_of(row.nickname, row.nickname_unseen),
                    guild_avatar_hash: field_of(
                        row.guild_avatar_hash,
                        row.guild_avatar_hash_unseen,
                    ),
                },
            })
        })
        .collect()
}

/// Locks the rows of these users, whatever their version, until the transaction ends.
pub async fn hold(connection: &mut Connection, rows: &[RowVersion]) -> Result<()> {
    let (users, _) = columns(rows);
    sqlx::query!(
        "select user_id from updated_user where user_id = any($1) order by user_id for no key update",
        &users,
    )
    .fetch_all(connection)
    .await?;
    Ok(())
}

/// Marks the profiles of these rows as stored; their avatars must still be copied. Rows that have
/// changed since stay as they are.
pub async fn leave_pictures(connection: &mut Connection, rows: &[Unfinished]) -> Result<()> {
    let others: Vec<bool> = rows.iter().map(|row| row.other_picture).collect();
    let rows: Vec<RowVersion> = rows.iter().map(|row| row.key).collect();
    let (users, versions) = columns(&rows);
    sqlx::query!(
        "with held as (
            select user_id from updated_user where user_id = any($1) order by user_id for no key update
         )
         update updated_user set stored = true,
            next_attempt_at = case when done.other then 'epoch' else next_attempt_at end,
            last_error = case when done.other then null else last_error end
         from unnest($1::bigint[], $2::bigint[], $3::boolean[]) as done (user_id, version, other)
            join held using (user_id)
         where updated_user.user_id = done.user_id and updated_user.version = done.version",
        &users,
        &versions,
        &others,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes these finished rows. Rows that have changed since stay.
pub async fn remove(connection: &mut Connection, rows: &[RowVersion]) -> Result<()> {
    let (users, versions) = columns(rows);
    sqlx::query!(
        "with held as (
            select user_id from updated_user where user_id = any($1) order by user_id for update
         )
         delete from updated_user
         using unnest($1::bigint[], $2::bigint[]) as done (user_id, version) join held using (user_id)
         where updated_user.user_id = done.user_id and updated_user.version = done.version",
        &users,
        &versions,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// At most `limit` avatars that are due at `now` and have failed fewer than `max_attempts` times,
/// without those of the users `except`. New ones come first, oldest first, so that they do not wait
/// behind retries.
pub async fn due(
    connection: &mut Connection,
    now: DateTime<Utc>,
    max_attempts: u32,
    except: &[UserId],
    limit: u16,
) -> Result<Vec<DueAvatar>> {
    let except: Vec<i64> = except.iter().map(|user| bigint(user.get())).collect();
    // Two ranges of one index, each read in index order and only up to the limit.
    let rows = sqlx::query!(
        r#"select user_id as "user_id!", version as "version!", username, display_name, avatar_hash, nickname,
                  guild_avatar_hash, avatar_copy_hash, avatar_message_id, profile_attempts as "profile_attempts!"
           from (
               (select queued.next_attempt_at, queued.queued_at, queued.version, user_point.*
                from updated_user as queued join user_point using (user_id)
                where stored and next_attempt_at <= $1 and profile_attempts < $3 and user_id <> all($4)
                order by next_attempt_at, queued_at, user_id limit $5)
               union all
               (select queued.next_attempt_at, queued.queued_at, queued.version, user_point.*
                from updated_user as queued join user_point using (user_id)
                where stored and next_attempt_at > $2 and profile_attempts < $3 and user_id <> all($4)
                order by next_attempt_at, queued_at, user_id limit $5)
           ) as due
           order by next_attempt_at, queued_at, user_id limit $5"#,
        now,
        impossibly_late(now, MAX_DELAY),
        integer(max_attempts),
        &except,
        i64::from(limit),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(DueAvatar {
                key: RowVersion {
                    user: user_id(TABLE, row.user_id)?,
                    version: row.version,
                },
                profile: profile_of!(row).unwrap_or_default(),
                copied: row.avatar_copy_hash,
                copy: row
                    .avatar_message_id
                    .map(|id| message_id(TABLE, id))
                    .transpose()?,
                attempts: attempts(row.profile_attempts)?,
            })
        })
        .collect()
}

/// Claims these rows: they are not due again before `until`, whatever happens to the worker.
pub async fn claim(
    connection: &mut Connection,
    rows: &[RowVersion],
    until: DateTime<Utc>,
) -> Result<()> {
    let (users, versions) = columns(rows);
    sqlx::query!(
        "with held as (
            select user_id from updated_user where user_id = any($1) order by user_id for no key update
         )
         update updated_user set next_attempt_at = $3
         from unnest($1::bigint[], $2::bigint[]) as taken (user_id, version) join held using (user_id)
         where updated_user.user_id = taken.user_id and updated_user.version = taken.version",
        &users,
        &versions,
        until,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores the error `why` of an avatar and sets its next attempt to `next`, unless the row has
/// changed since.
pub async fn postpone(
    connection: &mut Connection,
    row: RowVersion,
    next: DateTime<Utc>,
    why: &str,
) -> Result<()> {
    sqlx::query!(
        "update updated_user set next_attempt_at = $3, last_error = $4 where user_id = $1 and version = $2",
        bigint(row.user.get()),
        row.version,
        next,
        &*without_nul(why),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Makes the rows of these users due immediately.
pub async fn hurry(connection: &mut Connection, users: &[UserId]) -> Result<()> {
    let users: Vec<i64> = users.iter().map(|user| bigint(user.get())).collect();
    sqlx::query!(
        "with held as (
            select user_id from updated_user where user_id = any($1) order by user_id for no key update
         )
         update updated_user set next_attempt_at = 'epoch'
         from held where updated_user.user_id = held.user_id",
        &users,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The number of rows in each state. Avatars that have failed `max_attempts` times are parked.
pub async fn queue(connection: &mut Connection, max_attempts: u32) -> Result<QueueCounts> {
    let row = sqlx::query!(
        r#"select count(*) filter (where not stored) as "unstored!",
                  count(*) filter (where stored and profile_attempts < $1) as "pictures!",
                  count(*) filter (where stored and profile_attempts between 1 and $1 - 1) as "failing!",
                  min(queued_at) filter (where not stored or profile_attempts < $1) as oldest,
                  count(*) filter (where stored and profile_attempts >= $1) as "parked!"
           from updated_user join user_point using (user_id)"#,
        integer(max_attempts),
    )
    .fetch_one(connection)
    .await?;
    let count = |value| read(TABLE, "count", value, Some);
    Ok(QueueCounts {
        unstored: count(row.unstored)?,
        pictures: count(row.pictures)?,
        failing: count(row.failing)?,
        oldest: row.oldest,
        parked: count(row.parked)?,
    })
}

/// At most `limit` avatars whose copy has failed, those with the most failures first.
pub async fn failed(connection: &mut Connection, limit: u16) -> Result<Vec<Failed>> {
    let rows = sqlx::query!(
        "select user_id, profile_attempts, last_error
         from updated_user join user_point using (user_id)
         where stored and (profile_attempts > 0 or last_error is not null)
         order by profile_attempts desc, queued_at, user_id limit $1",
        i64::from(limit),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Failed {
                user: user_id(TABLE, row.user_id)?,
                attempts: attempts(row.profile_attempts)?,
                why: row.last_error,
            })
        })
        .collect()
}

fn field_of(value: Option<String>, unseen: bool) -> Field {
    if unseen { Field::Unseen } else { value.into() }
}

fn columns(rows: &[RowVersion]) -> (Vec<i64>, Vec<i64>) {
    rows.iter()
        .map(|row| (bigint(row.user.get()), row.version))
        .unzip()
}

fn integer(number: u32) -> i32 {
    i32::try_from(number).expect("a small limit")
}
