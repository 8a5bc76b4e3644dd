//! The parts in which a guild's history is listed. Each can fail by itself.

use std::fmt;

use super::ChannelId;

/// A list of Discord's that has to be read for a complete history.
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
    /// Whether it is a list of threads, and not of messages.
    pub fn is_list(self) -> bool {
        !matches!(self, Self::Messages(_))
    }

    /// The channel that it belongs to; `None` for the guild's own list.
    pub fn channel(self) -> Option<ChannelId> {
        match self {
            Self::Messages(channel) | Self::ArchivedThreads(channel) => Some(channel),
            Self::ActiveThreads => None,
        }
    }
}

/// For logs.
impl fmt::Display for HistorySource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Messages(channel) => write!(formatter, "messages of {channel}"),
            Self::ArchivedThreads(channel) => write!(formatter, "archived threads of {channel}"),
            Self::ActiveThreads => formatter.write_str("active threads"),
        }
    }
}
