//! How a bot leaves its gateway session to the next one, and how that one takes it.
//!
//! Only an orderly end leaves a session, once everything is committed that its events have
//! brought. It is stored after that, and not with it: a bot that dies in between leaves none. A
//! session that is not left or not taken costs no XP: the next bot begins another one, and reads
//! from the history what it has missed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::discord::council::Council;
use crate::discord::gateway::{Gateway, INTENTS, Session};
use crate::discord::known_guild::KnownGuild;
use crate::discord::message_gate::MessageGate;
use crate::environment::Environment;
use crate::leveling::UserId;
use crate::listeners::Listeners;
use crate::store::gateway_session::{self, LeftSession, SessionTerms};
use crate::store::{self, Database};
use crate::xp::EngineEnd;

/// How long a start may take before Discord has given up the session for sure.
const MAX_START: Duration = Duration::from_mins(2);

/// What decides whether a session can be left.
#[derive(Debug)]
pub struct HandOver {
    /// On what terms it was begun.
    terms: SessionTerms,
    council: Arc<Council>,
    /// The guild as events have told of it.
    known_guild: KnownGuild,
    /// Where messages wait whose time has not come.
    gate: MessageGate,
}

impl HandOver {
    /// For the session of `bot`.
    pub fn new(env: &Environment, bot: UserId, known_guild: KnownGuild, gate: MessageGate) -> Self {
        let terms = SessionTerms {
            bot,
            guild: env.guild,
            intents: INTENTS.bits(),
        };
        Self {
            terms,
            council: Arc::clone(&env.council),
            known_guild,
            gate,
        }
    }

    /// Leaves `session` in the database, if the engine has applied all that was read and
    /// nothing else waits for a session to begin. Call it when all else is committed.
    pub async fn leave(&self, session: Session, engine: EngineEnd, database: &Database) {
        let can_go_on = self.known_guild.is_kept_by_events()
            && self.gate.is_clear()
            && !self.council.has_unsaved_deletions();
        if !can_go_on || !engine.is_complete {
            return;
        }
        let session = LeftSession {
            terms: self.terms,
            id: session.id,
            sequence: session.sequence,
            resume_url: session.resume_url,
        };
        let leaving = async {
            let mut connection = database.acquire().await?;
            gateway_session::leave(&mut connection, &session, engine.watermark).await
        };
        let left: store::Result<bool> = leaving.await;
        match left {
            Ok(true) => {
                tracing::info!("a bot that starts within two minutes goes on where this one ended");
            }
            // Another bot has taken over; it reads the history.
            Ok(false) => {}
            Err(error) => tracing::warn!(
                %error,
                "the gateway session could not be left to the next bot, which reads the history instead"
            ),
        }
    }

    /// Has `gateway` resume the session that the bot before has left, if this one is the same and
    /// took it not long ago.
    pub async fn take(
        &self,
        left: Option<(LeftSession, Instant)>,
        listeners: &Listeners,
        gateway: Gateway,
    ) -> Gateway {
        let is_fit = |(left, taken_at): &(LeftSession, Instant)| {
            left.terms == self.terms && taken_at.elapsed() < MAX_START
        };
        let Some((left, _)) = left.filter(is_fit) else {
            return gateway;
        };
        if let Err(error) = listeners.take_up_session().await {
            tracing::warn!(
                %error,
                "the gateway session of the bot before cannot be resumed; another one is begun"
            );
            return gateway;
        }
        gateway.resuming(Session {
            id: left.id,
            sequence: left.sequence,
            resume_url: left.resume_url,
        })
    }
}
