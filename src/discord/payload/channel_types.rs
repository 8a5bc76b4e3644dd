//! Discord's channel types, and what channels of a type hold. Source: Discord's reference, "Channel
//! Types".

use super::PartialChannel;

/// A text channel: the only type that can have private threads.
pub const TEXT: u8 = 0;
const VOICE: u8 = 2;
const CATEGORY: u8 = 4;
const ANNOUNCEMENT: u8 = 5;
const ANNOUNCEMENT_THREAD: u8 = 10;
const PRIVATE_THREAD: u8 = 12;
const STAGE: u8 = 13;
const FORUM: u8 = 15;
const MEDIA: u8 = 16;

/// Whether a channel of this type is a thread.
pub(super) fn is_thread(kind: u8) -> bool {
    matches!(kind, ANNOUNCEMENT_THREAD..=PRIVATE_THREAD)
}

impl PartialChannel {
    /// Whether it is an announcement, public or private thread.
    pub fn is_thread(&self) -> bool {
        is_thread(self.kind)
    }

    /// Whether it is a category, which holds channels.
    pub fn is_category(&self) -> bool {
        self.kind == CATEGORY
    }

    /// Whether its messages can only be read with the Connect permission.
    pub fn is_voice(&self) -> bool {
        matches!(self.kind, VOICE | STAGE)
    }

    /// Whether channels of its type have messages of their own.
    pub fn holds_messages(&self) -> bool {
        matches!(self.kind, TEXT | ANNOUNCEMENT) || self.is_voice() || self.is_thread()
    }

    /// Whether channels of its type have threads.
    pub fn holds_threads(&self) -> bool {
        matches!(self.kind, TEXT | ANNOUNCEMENT | FORUM | MEDIA)
    }
}
