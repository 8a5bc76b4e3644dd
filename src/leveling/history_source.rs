//! The lists through which Discord returns a guild's history. Reading each can fail separately.

use std::fmt;

use super::ChannelId;

/// A list that must be read from Discord for a complete history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HistorySource {
    /// The messages of a channel, thread or forum post.
    Messages(ChannelId),
    /// The archived threads or posts of a channel.
    ArchivedThreads(ChannelId),
    /// The active threads of the guild.
    ActiveThreads,
}

impl HistorySource {
    /// Whether it lists threads instead of messages.
    pub fn is_thread_list(self) -> bool {
        !matches!(self, Self::Messages(_))
    }

    /// The channel of the list; `None` for the guild's active threads.
    pub fn channel(self) -> Option<ChannelId> {
        match self {
            Self::Messages(channel) | Self::ArchivedThreads(channel) => Some(channel),
            Self::ActiveThreads => None,
        }
    }
}

/// The form used in logs.
impl fmt::Display for HistorySource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Messages(channel) => write!(formatter, "messages of {channel}"),
            Self::ArchivedThreads(channel) => write!(formatter, "archived threads of {channel}"),
            Self::ActiveThreads => formatter.write_str("active threads"),
        }
    }
}
