//! The table `gateway_session`: the gateway session that a bot leaves to the next owner of the
//! database when it shuts down.
//!
//! Only checks whether a session is recent enough; the gateway module resumes it.

use super::watermark::Watermark;
use super::{Connection, Result, bigint, read};
use crate::leveling::{GuildId, UserId, without_nul};

const TABLE: &str = "gateway_session";

/// A session that may be resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftSession {
    /// What the next bot must have in common with the one that began the session.
    pub terms: SessionTerms,
    /// The session id that Discord assigned.
    pub id: String,
    /// Sequence number of the last event whose effects are committed.
    pub sequence: u64,
    /// The URL that Discord sent for resuming; `None` for the default one.
    pub resume_url: Option<String>,
}

/// The parameters of a gateway session. Only a bot with the same ones can resume it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTerms {
    /// The bot's account.
    pub bot: UserId,
    /// The guild served.
    pub guild: GuildId,
    /// The gateway intents, as Discord's bit set.
    pub intents: u64,
}

/// Stores a session for the next owner of the database. Returns `false` and stores nothing if the
/// watermark is not at `from` any more. Everything else must be committed before.
pub async fn leave(
    connection: &mut Connection,
    session: &LeftSession,
    from: Watermark,
) -> Result<bool> {
    // The watermark is locked, so that a bot that takes over either finds the session or makes this
    // statement store nothing.
    let resume_url = session.resume_url.as_deref().map(without_nul);
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
        &*without_nul(&session.id),
        bigint(session.sequence),
        resume_url.as_deref(),
    )
    .execute(connection)
    .await?;
    Ok(left.rows_affected() == 1)
}

/// Removes the session from the table and returns it. `None` if the previous owner left none, or
/// left it more than two minutes ago: by then Discord has ended the session, or has dropped events
/// that it would have to replay.
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
