//! The handles of the running bot, as one value. The other subcommands have only an
//! [`Environment`].
//!
//! Contains no logic.

use crate::environment::Environment;
use crate::leveling::UserId;
use crate::message_gate::MessageGate;
use crate::roles::Roles;
use crate::xp::Inbox;

/// What commands, event handlers and jobs share. Cheap to clone; all clones share the same state.
#[derive(Clone, Debug)]
pub struct Bot {
    /// The bot's own user id.
    pub id: UserId,
    /// The handles that do not need a running bot.
    pub env: Environment,
    /// The level roles, how to give and take them, and the schedule of reconciles.
    pub roles: Roles,
    /// The engine's inbox: it takes messages, history and adjustments, and says when earlier
    /// messages are counted.
    pub inbox: Inbox,
    /// Takes messages that may earn XP, and passes them on to the inbox unless their ids lie in
    /// the future.
    pub gate: MessageGate,
}
