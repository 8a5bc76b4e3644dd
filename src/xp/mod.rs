//! XP while the bot runs: the cache that everyone reads, and the engine, the one
//! task that writes. Nothing in here knows Discord.

mod batch;
mod cache;
mod engine;
mod inbox;

pub use batch::{recompute, recompute_from};
pub use cache::{Card, XpCache};
pub use engine::{Engine, EngineHandles, Gap};
pub use inbox::{History, Inbox, Seen};
