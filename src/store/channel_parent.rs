//! The table `channel_parent`: in which category each channel stands, and in which channel each
//! thread, with the message after which it does.

use super::{Connection, Result, after_id, bigint, channel_id, read};
use crate::leveling::{ChannelId, MessageId, XpRecord};

const TABLE: &str = "channel_parent";

/// All rows, each channel's in order.
pub async fn all(connection: &mut Connection) -> Result<Vec<XpRecord>> {
    let rows = sqlx::query!(
        "select channel_id, after_id, parent_id from channel_parent order by channel_id, after_id"
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let parent = row.parent_id;
            let parent = parent.map(|parent| read(TABLE, "parent_id", parent, ChannelId::new));
            Ok(XpRecord::Parent {
                channel: channel_id(TABLE, row.channel_id)?,
                parent: parent.transpose()?,
                after: after_id(TABLE, row.after_id)?,
            })
        })
        .collect()
}

/// Where a channel stands: its parent, and the message after which that holds.
pub(super) type Row = (ChannelId, Option<ChannelId>, Option<MessageId>);

/// Adds rows. A later row replaces an earlier one for the same messages.
pub(super) async fn add(connection: &mut Connection, rows: &[Row]) -> Result<()> {
    let channels: Vec<i64> = rows.iter().map(|row| bigint(row.0.get())).collect();
    let parents = rows.iter().map(|row| row.1.map(|id| bigint(id.get())));
    let parents: Vec<Option<i64>> = parents.collect();
    let afters = rows
        .iter()
        .map(|row| row.2.map_or(0, |id| bigint(id.get())));
    let afters: Vec<i64> = afters.collect();
    sqlx::query!(
        "insert into channel_parent (channel_id, after_id, parent_id)
         select distinct on (channel_id, after_id) channel_id, after_id, parent_id
         from unnest($1::bigint[], $2::bigint[], $3::bigint[])
            with ordinality as new (channel_id, after_id, parent_id, position)
         order by channel_id, after_id, position desc
         on conflict (channel_id, after_id) do update set parent_id = excluded.parent_id",
        &channels,
        &afters,
        &parents as &[Option<i64>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves what was recorded after an id from the future to `newest`. Returns whether there was any.
pub async fn put_back(connection: &mut Connection, newest: MessageId) -> Result<bool> {
    let newest = bigint(newest.get());
    let moved = sqlx::query!(
        "with future as (delete from channel_parent where after_id > $1 returning *),
            newest as (select distinct on (channel_id) channel_id, parent_id from future
                       order by channel_id, after_id desc)
         insert into channel_parent (channel_id, after_id, parent_id)
         select channel_id, $1, parent_id from newest order by channel_id
         on conflict (channel_id, after_id) do update set parent_id = excluded.parent_id",
        newest,
    )
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() > 0)
}
