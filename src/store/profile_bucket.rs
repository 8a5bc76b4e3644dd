//! The table `profile_bucket_in_progress`: one row with the progress of the rotating profile
//! refresh.

use chrono::{DateTime, Utc};

use super::user_point::profiles::{bucket_number, smallint};
use super::{Connection, Result, bigint, user_id};
use crate::leveling::UserId;
use crate::leveling::buckets::BucketNumber;

const TABLE: &str = "profile_bucket_in_progress";

/// The progress of the rotating refresh: how far its round through one bucket has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// The bucket whose users are being refreshed.
    pub bucket: BucketNumber,
    /// When this bucket began; `None` before the very first one.
    pub began_at: Option<DateTime<Utc>>,
    /// The user who was looked up last, if any.
    pub last_user: Option<UserId>,
    /// When that user was looked up.
    pub last_look_at: Option<DateTime<Utc>>,
}

/// Reads the progress.
pub async fn load(connection: &mut Connection) -> Result<Round> {
    let row = sqlx::query!(
        "select bucket_number, began_at, last_user_id, last_look_at from profile_bucket_in_progress"
    )
    .fetch_one(connection)
    .await?;
    let last_user = Some(row.last_user_id).filter(|id| *id != 0);
    Ok(Round {
        bucket: bucket_number(TABLE, row.bucket_number)?,
        began_at: row.began_at,
        last_user: last_user.map(|id| user_id(TABLE, id)).transpose()?,
        last_look_at: row.last_look_at,
    })
}

/// Stores the progress.
pub async fn save(connection: &mut Connection, round: &Round) -> Result<()> {
    sqlx::query!(
        "update profile_bucket_in_progress
         set bucket_number = $1, began_at = $2, last_user_id = $3, last_look_at = $4",
        smallint(round.bucket),
        round.began_at,
        round.last_user.map_or(0, |user| bigint(user.get())),
        round.last_look_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}
