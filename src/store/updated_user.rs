//! The table `updated_user`: profiles that have changed, and pictures that are to be copied.
//!
//! Two queues in one: what was seen waits to be stored, and then, where another picture is
//! wanted, for that. Knows nothing of Discord.

use chrono::{DateTime, TimeDelta, Utc};

use super::user_point::profile_of;
use super::user_point::profiles::attempts;
use super::{Connection, Result, bigint, message_id, read, user_id};
use crate::leveling::{Field, MessageId, Profile, Sighting, UserId};

const TABLE: &str = "updated_user";

/// Longer than anything is ever postponed.
const LATEST: TimeDelta = TimeDelta::days(2);

/// A row, and which change of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Whose profile it is.
    pub user: UserId,
    /// Rises with every change.
    pub version: i64,
}

/// What was seen of a user and is not stored yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which row it is.
    pub ticket: Ticket,
    /// All that was seen since the last time it was stored.
    pub sighting: Sighting,
}

/// A row of which the picture is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Which row it is.
    pub ticket: Ticket,
    /// Whether it is another picture than the one before: why that failed, and when it was
    /// to be tried again, says nothing of this one.
    pub other_picture: bool,
}

/// A picture that is wanted, perhaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which row it is.
    pub ticket: Ticket,
    /// What shows the user by now.
    pub profile: Profile,
    /// Which avatar the copy shows, if it is to be relied upon.
    pub copied: Option<String>,
    /// The message that carries the copy.
    pub copy: Option<MessageId>,
    /// How often it has failed.
    pub attempts: u32,
}

/// How full the queue is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Profiles that are not stored yet.
    pub unstored: u64,
    /// Pictures that have yet to be copied, the parked not among them.
    pub pictures: u64,
    /// Of these, those that have failed and are tried again.
    pub failing: u64,
    /// Since when the oldest of all of these has waited.
    pub oldest: Option<DateTime<Utc>>,
    /// Pictures that have failed too often.
    pub parked: u64,
}

/// A picture that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Whose it is.
    pub user: UserId,
    /// How often it has failed.
    pub attempts: u32,
    /// Why it did the last time.
    pub why: Option<String>,
}

/// Queues what was seen of users, each at most once. Who is not in `user_point` is passed
/// over; what waits already keeps its place, and is completed.
pub async fn mark(connection: &mut Connection, seen: &[(UserId, Sighting)]) -> Result<()> {
    let users: Vec<i64> = seen.iter().map(|(user, _)| bigint(user.get())).collect();
    let usernames: Vec<&str> = seen
        .iter()
        .map(|(_, seen)| seen.username.as_str())
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
        &usernames as &[&str],
        &display_names.values as &[Option<&str>],
        &display_names.unseen,
        &avatar_hashes.values as &[Option<&str>],
        &avatar_hashes.unseen,
        &nicknames.values as &[Option<&str>],
        &nicknames.unseen,
        &guild_avatar_hashes.values as &[Option<&str>],
        &guild_avatar_hashes.unseen,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What was seen of one field of many users.
struct Column<'a> {
    values: Vec<Option<&'a str>>,
    unseen: Vec<bool>,
}

impl<'a> Column<'a> {
    fn new(seen: &'a [(UserId, Sighting)], field: fn(&Sighting) -> &Field) -> Self {
        let fields = seen.iter().map(|(_, seen)| match field(seen) {
            Field::Unseen | Field::Unclear => (None, true),
            Field::Empty => (None, false),
            Field::Value(text) => (Some(text.as_str()), false),
        });
        let (values, unseen) = fields.unzip();
        Self { values, unseen }
    }
}

/// Which of these users have a row.
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

/// Has the pictures of these users looked at, who are in `user_point`.
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

/// The same for those of these users who show a picture of which no copy is relied upon, at
/// once.
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

/// The same for everyone whose copy does not show what it should, at once. Who is gone has no
/// picture any more of which one could be made.
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

/// At most so many sightings that are not stored yet, the oldest first.
pub async fn unstored(connection: &mut Connection, limit: u16) -> Result<Vec<Seen>> {
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
            Ok(Seen {
                ticket: Ticket {
                    user: user_id(TABLE, row.user_id)?,
                    version: row.version,
                },
                sighting: Sighting {
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

/// Locks these rows until the transaction ends, those that are finished and those that are left
/// alike.
pub async fn hold(connection: &mut Connection, rows: &[Ticket]) -> Result<()> {
    let (users, _) = columns(rows);
    sqlx::query!(
        "select user_id from updated_user where user_id = any($1) order by user_id for no key update",
        &users,
    )
    .fetch_all(connection)
    .await?;
    Ok(())
}

/// What these rows say is stored; their pictures are left to do.
pub async fn leave_pictures(connection: &mut Connection, rows: &[Unfinished]) -> Result<()> {
    let tickets: Vec<Ticket> = rows.iter().map(|row| row.ticket).collect();
    let others: Vec<bool> = rows.iter().map(|row| row.other_picture).collect();
    let (users, versions) = columns(&tickets);
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

/// Forgets these rows: all is done. What has changed since stays.
pub async fn finish(connection: &mut Connection, rows: &[Ticket]) -> Result<()> {
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

/// At most so many pictures that are due at `now` and have failed fewer than `most` times, and
/// none of the users `but`: first those that are fresh, the oldest of them first, so that they
/// do not wait behind what is tried again. One that is due later than any wait would explain
/// was postponed before the clock was set back.
pub async fn pictures(
    connection: &mut Connection,
    now: DateTime<Utc>,
    most: u32,
    but: &[UserId],
    limit: u16,
) -> Result<Vec<Wanted>> {
    let but: Vec<i64> = but.iter().map(|user| bigint(user.get())).collect();
    // Two ranges of one index, each read in its order and only as far as it takes.
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
        now + LATEST,
        integer(most),
        &but,
        i64::from(limit),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Wanted {
                ticket: Ticket {
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

/// These are being worked on: whatever becomes of that, they are not taken again before then.
pub async fn claim(
    connection: &mut Connection,
    rows: &[Ticket],
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

/// Tries a picture again at `next`, unless it has changed since.
pub async fn postpone(
    connection: &mut Connection,
    row: Ticket,
    next: DateTime<Utc>,
    why: &str,
) -> Result<()> {
    sqlx::query!(
        "update updated_user set next_attempt_at = $3, last_error = $4 where user_id = $1 and version = $2",
        bigint(row.user.get()),
        row.version,
        next,
        why,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Tries the pictures of these users at once.
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

/// How full the queue is, where pictures that have failed `most` times are parked.
pub async fn queue(connection: &mut Connection, most: u32) -> Result<Queue> {
    let row = sqlx::query!(
        r#"select count(*) filter (where not stored) as "unstored!",
                  count(*) filter (where stored and profile_attempts < $1) as "pictures!",
                  count(*) filter (where stored and profile_attempts between 1 and $1 - 1) as "failing!",
                  min(queued_at) filter (where not stored or profile_attempts < $1) as oldest,
                  count(*) filter (where stored and profile_attempts >= $1) as "parked!"
           from updated_user join user_point using (user_id)"#,
        integer(most),
    )
    .fetch_one(connection)
    .await?;
    let count = |value| read(TABLE, "count", value, Some);
    Ok(Queue {
        unstored: count(row.unstored)?,
        pictures: count(row.pictures)?,
        failing: count(row.failing)?,
        oldest: row.oldest,
        parked: count(row.parked)?,
    })
}

/// At most so many pictures that have failed, the most often first.
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

fn columns(rows: &[Ticket]) -> (Vec<i64>, Vec<i64>) {
    rows.iter()
        .map(|row| (bigint(row.user.get()), row.version))
        .unzip()
}

fn integer(number: u32) -> i32 {
    i32::try_from(number).expect("a small number")
}
