//! The SQL that saves a batch of awards, or one adjustment: the users' XP, and profiles with it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{ProfileColumns, SavedUser, StandingColumns};
use crate::leveling::{Profile, UserId};
use crate::store::{Connection, Result, bigint};

/// Saves the XP of a batch's users in one statement, with the profile of each user who is in
/// `profiles`. `users` names each user at most once. The column `hidden` is not changed.
pub async fn save(
    connection: &mut Connection,
    users: &[SavedUser],
    profiles: &BTreeMap<UserId, Profile>,
) -> Result<()> {
    let ids: Vec<i64> = users.iter().map(|row| bigint(row.user.get())).collect();
    let standings: Vec<_> = users.iter().map(|row| row.standing).collect();
    let columns = StandingColumns::new(&standings);
    let profiles: Vec<_> = users.iter().map(|row| profiles.get(&row.user)).collect();
    let profiles = ProfileColumns::new(&profiles.iter().copied());
    sqlx::query!(
        "insert into user_point as stored
            (user_id, points, message_count, last_awarded_at,
             username, display_name, nickname, avatar_hash, guild_avatar_hash)
         select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[],
                              $5::text[], $6::text[], $7::text[], $8::text[], $9::text[]) order by 1
         on conflict (user_id) do update set
            points = excluded.points,
            message_count = excluded.message_count,
            last_awarded_at = excluded.last_awarded_at,
            username = coalesce(excluded.username, stored.username),
            display_name = case when excluded.username is null then stored.display_name else excluded.display_name end,
            nickname = case when excluded.username is null then stored.nickname else excluded.nickname end,
            avatar_hash = case when excluded.username is null then stored.avatar_hash else excluded.avatar_hash end,
            guild_avatar_hash = case when excluded.username is null then stored.guild_avatar_hash
                                else excluded.guild_avatar_hash end",
        &ids,
        &columns.points,
        &columns.message_counts,
        &columns.last_awarded as &[Option<_>],
        &profiles.usernames as &[Option<Cow<'_, str>>],
        &profiles.display_names as &[Option<Cow<'_, str>>],
        &profiles.nicknames as &[Option<Cow<'_, str>>],
        &profiles.avatar_hashes as &[Option<Cow<'_, str>>],
        &profiles.guild_avatar_hashes as &[Option<Cow<'_, str>>],
    )
    .execute(connection)
    .await?;
    Ok(())
}
