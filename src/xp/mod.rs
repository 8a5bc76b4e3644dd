//! XP while the bot runs: the cache that everyone reads, and the engine, the one
//! task that writes. Nothing in here knows Discord.

mod batch;
mod cache;
mod change;
mod engine;
mod inbox;
mod late;
mod level_names;
mod mend;
mod ticket;
mod unsaved;

pub use batch::{recompute, recompute_from};
pub use cache::{Card, ListStart, Origin, Row, XpCache};
pub use change::{Account, Change, ChangeError, ChangeRequest, Changed};
pub use engine::{CommitLimits, Engine, EngineEnd, EngineHandles, Gap};
pub use inbox::{History, Inbox, LateHistory, MissingHistory, NotCounted, Seen};
pub use level_names::{Alone, LevelNames};
pub use mend::{Clocks, mend};
pub use unsaved::{Compared, Observed, Saver, UnsavedProfiles};
