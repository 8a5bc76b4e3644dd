//! XP at run time: the cache that all parts read, and the engine, the only task that writes XP.
//! Nothing here depends on Discord.

mod adjustment;
mod backlog;
mod batch;
mod cache;
mod commit_permit;
mod committer;
mod engine;
mod future_ids;
mod inbox;
mod late_messages;
mod level_names;
mod observations;
mod request;
mod rule_request;
mod unplaced;
mod unsaved_profiles;

pub use adjustment::{Adjusted, Adjustment, AdjustmentError, AdjustmentRequest, XpState};
pub use batch::{AwardRules, recompute, recompute_from};
pub use cache::{BoardRow, Card, ListStart, ObservedIn, XpCache};
pub use engine::{CommitLimits, Engine, EngineEnd, EngineHandles, Gap};
pub use future_ids::repair_future_ids;
pub use inbox::{
    EligibleMessage, History, Inbox, LateHistory, MemberList, MissingHistory, NotCounted,
};
pub use level_names::{LevelNames, LevelNamesLock};
pub use observations::{ChannelList, ListedMembers, Observation};
pub use rule_request::{RuleAnswer, RuleRequest};
pub use unplaced::UnplacedMessages;
pub use unsaved_profiles::{Compared, Observed, Saver, UnsavedProfiles};
