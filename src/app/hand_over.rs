//! Hands the gateway session over from a process that ends to the next one, which resumes it.
//!
//! A process stores its session only at an orderly end, in a separate transaction after everything
//! that the session's events brought is committed. If it dies before that, no session is stored.
//! Then, or if the session cannot be resumed, no XP is lost: the next process begins a new session
//! and reads the missed messages from the history.

use std::time::{Duration, Instant};

use crate::bot::Bot;
use crate::discord::gateway::{Gateway, INTENTS, Session};
use crate::listeners::Listeners;
use crate::store;
use crate::store::gateway_session::{self, LeftSession, SessionTerms};
use crate::xp::EngineEnd;

/// If a start takes longer than this, Discord has certainly dropped the session.
const MAX_START: Duration = Duration::from_mins(2);

/// Stores `session` in the database if the engine has applied everything that was read and no
/// other part of the bot holds unsaved state or needs a new session. Call this after everything
/// else is committed.
pub async fn leave(bot: &Bot, session: Session, engine: EngineEnd) {
    let can_go_on = bot.env.known_guild.is_kept_by_events()
        && bot.gate.is_clear()
        && !bot.env.council.has_unsaved_deletions();
    if !can_go_on || !engine.is_complete {
        return;
    }
    let session = LeftSession {
        terms: terms(bot),
        id: session.id,
        sequence: session.sequence,
        resume_url: session.resume_url,
    };
    let leaving = async {
        let mut connection = bot.env.database.acquire().await?;
        gateway_session::leave(&mut connection, &session, engine.watermark).await
    };
    let left: store::Result<bool> = leaving.await;
    match left {
        Ok(true) => {
            tracing::info!("a bot that starts within two minutes continues this gateway session");
        }
        // Another process has taken over; it reads the history.
        Ok(false) => {}
        Err(error) => tracing::warn!(
            %error,
            "the gateway session could not be saved for the next bot, which will read the history instead"
        ),
    }
}

/// Lets `gateway` resume the session that the previous process left, if its terms are the same
/// and this process took it less than two minutes ago.
pub async fn take(
    left: Option<(LeftSession, Instant)>,
    listeners: &Listeners,
    gateway: Gateway,
) -> Gateway {
    let is_fit = |(left, taken_at): &(LeftSession, Instant)| {
        left.terms == terms(&listeners.bot) && taken_at.elapsed() < MAX_START
    };
    let Some((left, _)) = left.filter(is_fit) else {
        return gateway;
    };
    if let Err(error) = listeners.take_up_session().await {
        tracing::warn!(
            %error,
            "the previous gateway session cannot be resumed; starting a new one"
        );
        return gateway;
    }
    gateway.resuming(Session {
        id: left.id,
        sequence: left.sequence,
        resume_url: left.resume_url,
    })
}

/// What the next process must have in common with this one.
fn terms(bot: &Bot) -> SessionTerms {
    SessionTerms {
        bot: bot.id,
        guild: bot.env.guild,
        intents: INTENTS.bits(),
    }
}
