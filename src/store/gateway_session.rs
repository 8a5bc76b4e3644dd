//! The table `gateway_session`: the session with Discord's gateway that a bot leaves at an
//! orderly end to whoever takes the database next.
//!
//! Decides only whether a session is young enough; resumes nothing.

use super::watermark::Watermark;
use super::{Connection, Result, bigint, read};
use crate::leveling::{GuildId, UserId};

const TABLE: &str = "gateway_session";

/// A session that may be resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftSession {
    /// Who began it.
    pub terms: SessionTerms,
    /// Discord's id.
    pub id: String,
    /// Of the last event whose effects are committed.
    pub sequence: u64,
    /// Where Discord wants it to be resumed; `None` for the usual address.
    pub resume_url: Option<String>,
}

/// On what terms a session was begun. Only a bot with the same ones can go on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTerms {
    /// The bot's account.
    pub bot: UserId,
    /// The guild served.
    pub guild: GuildId,
    /// The intents, as Discord numbers them.
    pub intents: u64,
}

/// Leaves a session to whoever takes the database next, if the row still stands where this bot
/// left it: whether it does. Everything else must be committed before.
pub async fn leave(
    connection: &mut Connection,
    session: &LeftSession,
    from: Watermark,
) -> Result<bool> {
    // Locked, so that a bot that takes over finds the session or keeps it from being left.
    let left = sqlx::query!(
        "with ours as (select from watermark where owner_epoch = $1 and batch_no = $2 for update)
         insert into gateway_session
            (owner_epoch, bot_id, guild_id, intents, session_id, sequence, resume_url, left_at)
         select $1, $3, $4, $5, $6, $7, $8, clock_timestamp() from ours",
        from.owner_epoch,
        from.batch_no,
        bigint(session.terms.bot.get()),
        bigint(session.terms.guild.get()),
        bigint(session.terms.intents),
        session.id,
        bigint(session.sequence),
        session.resume_url,
    )
    .execute(connection)
    .await?;
    Ok(left.rows_affected() == 1)
}

/// Takes the session out of the table; `None` if the owner before has left none, or left it
/// more than two minutes ago: by then Discord has ended it, or has more to send again than it
/// keeps.
pub(super) async fn take(
    connection: &mut Connection,
    owner_before: i64,
) -> Result<Option<LeftSession>> {
    let taken = sqlx::query!(
        r#"delete from gateway_session returning bot_id, guild_id, intents, session_id, sequence, resume_url,
               owner_epoch = $1
                   and left_at between clock_timestamp() - interval '2 minutes' and clock_timestamp() as "is_usable!""#,
        owner_before,
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = taken.filter(|row| row.is_usable) else {
        return Ok(None);
    };
    let terms = SessionTerms {
        bot: read(TABLE, "bot_id", row.bot_id, UserId::new)?,
        guild: read(TABLE, "guild_id", row.guild_id, GuildId::new)?,
        intents: read(TABLE, "intents", row.intents, Some)?,
    };
    Ok(Some(LeftSession {
        terms,
        id: row.session_id,
        sequence: read(TABLE, "sequence", row.sequence, Some)?,
        resume_url: row.resume_url,
    }))
}
