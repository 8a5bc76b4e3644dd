//! The profile columns of the table `user_point`: names, avatars, avatar copies and the bucket of
//! the rotating refresh. The jobs that keep profiles current write them, and so do the commands
//! that reset attempts and profiles.

use std::borrow::Cow;
use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::{ProfileColumns, profile_of};
use crate::leveling::buckets::BucketNumber;
use crate::leveling::{AvatarHash, MessageId, Profile, Timestamp, UserId};
use crate::store::{Connection, Result, bigint, message_id, read, timestamptz, user_id};

const TABLE: &str = "user_point";

/// A user's stored profile and avatar copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The user.
    pub user: UserId,
    /// Names and avatars; `None` if no name is stored yet.
    pub profile: Option<Profile>,
    /// Hash of the avatar that the copy shows, if the copy is trusted.
    pub copied: Option<String>,
    /// The message that carries the copy.
    pub copy: Option<MessageId>,
    /// Whether the account was found to be deleted.
    pub gone: bool,
}

/// A profile to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProfile {
    /// The user.
    pub user: UserId,
    /// The complete profile.
    pub profile: Profile,
    /// Whether the avatar has changed. Then the failed attempts are reset, since they concern the
    /// previous avatar.
    pub other_picture: bool,
}

/// A newly posted copy of an avatar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCopy {
    /// Hash of the avatar that it shows.
    pub hash: AvatarHash,
    /// The message that carries it.
    pub message: MessageId,
    /// The link to the image.
    pub link: Link,
}

/// A link to a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The URL, signed by Discord.
    pub url: String,
    /// When it expires; `None` if the URL does not contain it.
    pub expires_at: Option<Timestamp>,
}

/// Reads these users' profiles and copies, and locks their rows until the transaction ends.
pub async fn hold(connection: &mut Connection, users: &[UserId]) -> Result<Vec<Shown>> {
    let users: Vec<i64> = users.iter().map(|user| bigint(user.get())).collect();
    let rows = sqlx::query!(
        r#"select user_id, username, display_name, avatar_hash, nickname, guild_avatar_hash,
                  avatar_copy_hash, avatar_message_id, gone_at is not null as "gone!"
           from user_point where user_id = any($1) order by user_id for no key update"#,
        &users,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Shown {
                user: user_id(TABLE, row.user_id)?,
                profile: profile_of!(row),
                copied: row.avatar_copy_hash,
                copy: row
                    .avatar_message_id
                    .map(|id| message_id(TABLE, id))
                    .transpose()?,
                gone: row.gone,
            })
        })
        .collect()
}

/// Stores profiles. A user who was observed does not count as deleted any more.
pub async fn store(connection: &mut Connection, profiles: &[NewProfile]) -> Result<()> {
    let users: Vec<i64> = profiles.iter().map(|new| bigint(new.user.get())).collect();
    let columns = ProfileColumns::new(&profiles.iter().map(|new| Some(&new.profile)));
    let others: Vec<bool> = profiles.iter().map(|new| new.other_picture).collect();
    sqlx::query!(
        "with held as (
            select user_id from user_point where user_id = any($1) order by user_id for no key update
         )
         update user_point set
            username = seen.username, display_name = seen.display_name, avatar_hash = seen.avatar_hash,
            nickname = seen.nickname, guild_avatar_hash = seen.guild_avatar_hash,
            profile_attempts = case when seen.other then 0 else profile_attempts end,
            gone_at = null
         from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[])
              as seen (user_id, username, display_name, avatar_hash, nickname, guild_avatar_hash, other)
            join held using (user_id)
         where user_point.user_id = seen.user_id",
        &users,
        &columns.usernames as &[Option<Cow<'_, str>>],
        &columns.display_names as &[Option<Cow<'_, str>>],
        &columns.avatar_hashes as &[Option<Cow<'_, str>>],
        &columns.nicknames as &[Option<Cow<'_, str>>],
        &columns.guild_avatar_hashes as &[Option<Cow<'_, str>>],
        &others,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Replaces a user's copy and resets the failed attempts. `None` removes the copy.
pub async fn set_copy(
    connection: &mut Connection,
    user: UserId,
    copy: Option<&NewCopy>,
) -> Result<()> {
    sqlx::query!(
        "update user_point set
            avatar_copy_hash = $2, avatar_message_id = $3, avatar_link = $4, avatar_link_expires_at = $5,
            profile_attempts = 0
         where user_id = $1",
        bigint(user.get()),
        copy.map(|copy| copy.hash.as_str()),
        copy.map(|copy| bigint(copy.message.get())),
        copy.map(|copy| copy.link.url.as_str()),
        copy.and_then(|copy| copy.link.expires_at).map(timestamptz),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts a failed attempt and returns the new number of attempts. `None` if the row in
/// `updated_user` has another version by now, since it may be about another avatar.
pub async fn count_attempt(
    connection: &mut Connection,
    user: UserId,
    version: i64,
) -> Result<Option<u32>> {
    let row = sqlx::query!(
        "update user_point set profile_attempts = profile_attempts + 1
         where user_id = $1
             and exists (select from updated_user queued where queued.user_id = $1 and queued.version = $2)
         returning profile_attempts",
        bigint(user.get()),
        version,
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| attempts(row.profile_attempts)).transpose()
}

/// Resets a user's failed attempts and returns how many there were. `None` if the user has no row.
pub async fn reset_attempts(connection: &mut Connection, user: UserId) -> Result<Option<u32>> {
    let row = sqlx::query!(
        "update user_point set profile_attempts = 0
         from (select profile_attempts as before from user_point where user_id = $1) as counted
         where user_id = $1
         returning before",
        bigint(user.get()),
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| attempts(row.before)).transpose()
}

/// Resets the failed attempts of the next `limit` users after the id `after` who have any. Returns
/// the users, sorted by id, with the number of attempts that each had.
pub async fn reset_next_attempts(
    connection: &mut Connection,
    after: Option<UserId>,
    limit: u16,
) -> Result<Vec<(UserId, u32)>> {
    let rows = sqlx::query!(
        "with failed as (
            select user_id, profile_attempts from user_point
            where user_id > $1 and profile_attempts > 0
            order by user_id limit $2 for no key update
         )
         update user_point set profile_attempts = 0
         from failed where user_point.user_id = failed.user_id
         returning failed.user_id, failed.profile_attempts",
        after.map_or(0, |user| bigint(user.get())),
        i64::from(limit),
    )
    .fetch_all(connection)
    .await?;
    let mut failed = rows
        .into_iter()
        .map(|row| {
            let user = user_id(TABLE, row.user_id)?;
            Ok((user, attempts(row.profile_attempts)?))
        })
        .collect::<Result<Vec<_>>>()?;
    failed.sort_unstable();
    Ok(failed)
}

/// Removes the copies, the buckets and the failed attempts of the next `limit` users after the id
/// `after`. Returns these users, sorted by id. Skips users who have none of these, and deleted
/// accounts, whose avatars could not be copied again.
pub async fn reset_next(
    connection: &mut Connection,
    after: Option<UserId>,
    limit: u16,
) -> Result<Vec<UserId>> {
    let rows = sqlx::query!(
        "with held as (
            select user_id from user_point
            where user_id > $1 and gone_at is null
                and (avatar_copy_hash is not null or avatar_message_id is not null or avatar_link is not null
                     or bucket_number is not null or profile_attempts > 0)
            order by user_id limit $2 for no key update
         )
         update user_point set
            avatar_copy_hash = null, avatar_message_id = null, avatar_link = null, avatar_link_expires_at = null,
            bucket_number = null, profile_attempts = 0
         from held where user_point.user_id = held.user_id
         returning user_point.user_id",
        after.map_or(0, |user| bigint(user.get())),
        i64::from(limit),
    )
    .fetch_all(connection)
    .await?;
    let mut users = rows
        .into_iter()
        .map(|row| user_id(TABLE, row.user_id))
        .collect::<Result<Vec<_>>>()?;
    users.sort_unstable();
    Ok(users)
}

/// Marks an account as deleted since `at`, unless it is marked already.
pub async fn mark_gone(connection: &mut Connection, user: UserId, at: DateTime<Utc>) -> Result<()> {
    sqlx::query!(
        "update user_point set gone_at = coalesce(gone_at, $2) where user_id = $1",
        bigint(user.get()),
        at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether any user has a copy.
pub async fn any_copy(connection: &mut Connection) -> Result<bool> {
    let row =
        sqlx::query!(r#"select min(avatar_message_id) is not null as "any!" from user_point"#)
            .fetch_one(connection)
            .await?;
    Ok(row.any)
}

/// The earliest expiry among the links of trusted copies.
pub async fn first_expiry(connection: &mut Connection) -> Result<Option<DateTime<Utc>>> {
    let row = sqlx::query!(
        "select min(avatar_link_expires_at) as first from user_point where avatar_copy_hash is not null"
    )
    .fetch_one(connection)
    .await?;
    Ok(row.first)
}

/// Those of these messages that carry a user's copy.
pub async fn copies_among(
    connection: &mut Connection,
    messages: &[MessageId],
) -> Result<Vec<MessageId>> {
    let messages: Vec<i64> = messages.iter().map(|id| bigint(id.get())).collect();
    let rows = sqlx::query!(
        r#"select avatar_message_id as "id!" from user_point where avatar_message_id = any($1)"#,
        &messages,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| message_id(TABLE, row.id))
        .collect()
}

/// Those of these messages whose copy is out of date. Each message is paired with the user whose
/// avatar it shows. A copy is out of date if the user has a newer one, or is known to have no
/// avatar. A copy of a user who has no row here is not, since another database may use it.
pub async fn out_of_date(
    connection: &mut Connection,
    copies: &[(MessageId, UserId)],
) -> Result<Vec<MessageId>> {
    let (messages, users): (Vec<i64>, Vec<i64>) = copies
        .iter()
        .map(|(message, user)| (bigint(message.get()), bigint(user.get())))
        .unzip();
    let rows = sqlx::query!(
        r#"select copy.message_id as "id!"
           from unnest($1::bigint[], $2::bigint[]) as copy (message_id, user_id)
           join user_point using (user_id)
           where avatar_message_id > copy.message_id
              or (avatar_message_id is null and username is not null and avatar_hash is null
                  and guild_avatar_hash is null)"#,
        &messages,
        &users,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| message_id(TABLE, row.id))
        .collect()
}

/// Stores new links for the copies in these messages, in one statement. Returns the number of users
/// changed.
pub async fn renew(connection: &mut Connection, links: &[(MessageId, Link)]) -> Result<u64> {
    let messages: Vec<i64> = links.iter().map(|(id, _)| bigint(id.get())).collect();
    let urls: Vec<&str> = links.iter().map(|(_, link)| link.url.as_str()).collect();
    let expiries: Vec<_> = links
        .iter()
        .map(|(_, link)| link.expires_at.map(timestamptz))
        .collect();
    let done = sqlx::query!(
        "with held as (
            select user_id, avatar_message_id as message_id from user_point
            where avatar_message_id = any($1) order by user_id for no key update
         )
         update user_point set avatar_link = fresh.link, avatar_link_expires_at = fresh.expires_at
         from unnest($1::bigint[], $2::text[], $3::timestamptz[]) as fresh (message_id, link, expires_at)
            join held using (message_id)
         where user_point.user_id = held.user_id and avatar_message_id = fresh.message_id",
        &messages,
        &urls as &[&str],
        &expiries as &[Option<_>],
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// The messages of all trusted copies.
pub async fn relied_upon(connection: &mut Connection) -> Result<BTreeSet<MessageId>> {
    let rows = sqlx::query!(
        r#"select avatar_message_id as "id!" from user_point
           where avatar_copy_hash is not null and avatar_message_id is not null"#,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| message_id(TABLE, row.id))
        .collect()
}

/// Marks the copies in these messages as not trusted. Their links stay until new copies replace
/// them. Returns the users concerned.
pub async fn distrust(
    connection: &mut Connection,
    messages: &BTreeSet<MessageId>,
) -> Result<Vec<UserId>> {
    let messages: Vec<i64> = messages.iter().map(|id| bigint(id.get())).collect();
    let rows = sqlx::query!(
        "with held as (
            select user_id from user_point
            where avatar_copy_hash is not null and avatar_message_id = any($1)
            order by user_id for no key update
         )
         update user_point set avatar_copy_hash = null
         from held where user_point.user_id = held.user_id and avatar_message_id = any($1)
         returning user_point.user_id",
        &messages,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| user_id(TABLE, row.user_id))
        .collect()
}

/// At most `limit` users who have no bucket yet, sorted by id.
pub async fn without_bucket(connection: &mut Connection, limit: u16) -> Result<Vec<UserId>> {
    // By the bucket first, so that only the index by bucket has this order. Postgres would take
    // the primary key while most users have no bucket, and pass over all that got one meanwhile.
    let rows = sqlx::query!(
        "select user_id from user_point where bucket_number is null
         order by bucket_number, user_id limit $1",
        i64::from(limit),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| user_id(TABLE, row.user_id))
        .collect()
}

/// The number of users in each bucket that is not empty.
pub async fn buckets(connection: &mut Connection) -> Result<Vec<(BucketNumber, u64)>> {
    let rows = sqlx::query!(
        r#"select bucket_number as "bucket!", count(*) as "users!" from user_point
           where bucket_number is not null group by bucket_number"#
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let users = read(TABLE, "count", row.users, Some)?;
            Ok((bucket_number(TABLE, row.bucket)?, users))
        })
        .collect()
}

/// Assigns buckets to users.
pub async fn put(connection: &mut Connection, users: &[(UserId, BucketNumber)]) -> Result<()> {
    let ids: Vec<i64> = users.iter().map(|(user, _)| bigint(user.get())).collect();
    let buckets: Vec<i16> = users.iter().map(|(_, bucket)| smallint(*bucket)).collect();
    sqlx::query!(
        "with held as (
            select user_id from user_point where user_id = any($1) order by user_id for no key update
         )
         update user_point set bucket_number = spread.bucket
         from unnest($1::bigint[], $2::smallint[]) as spread (user_id, bucket) join held using (user_id)
         where user_point.user_id = spread.user_id",
        &ids,
        &buckets,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The next user of a bucket after the id `after` whose account is not deleted, and the number of
/// such users that are left, including this one.
pub async fn next_of(
    connection: &mut Connection,
    bucket: BucketNumber,
    after: Option<UserId>,
) -> Result<Option<(UserId, u32)>> {
    let row = sqlx::query!(
        r#"select user_id, count(*) over () as "left!" from user_point
           where bucket_number = $1 and user_id > $2 and gone_at is null
           order by user_id limit 1"#,
        smallint(bucket),
        after.map_or(0, |user| bigint(user.get())),
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let left = read(TABLE, "count", row.left, |left| u32::try_from(left).ok())?;
        Ok((user_id(TABLE, row.user_id)?, left))
    })
    .transpose()
}

/// Parses the column `profile_attempts`.
pub(in crate::store) fn attempts(value: i32) -> Result<u32> {
    read(TABLE, "profile_attempts", value.into(), |count| {
        u32::try_from(count).ok()
    })
}

pub(in crate::store) fn smallint(bucket: BucketNumber) -> i16 {
    i16::try_from(bucket.get()).expect("a bucket number is at most 336")
}

pub(in crate::store) fn bucket_number(table: &'static str, value: i16) -> Result<BucketNumber> {
    read(table, "bucket_number", value.into(), |number| {
        BucketNumber::new(u16::try_from(number).ok()?)
    })
}
