//! Discord's ids (snowflakes) and the creation time that they contain.
//!
//! Each kind of id has its own type, so that a role's id cannot be passed as a user's. No id is
//! zero or above `i64::MAX`, so every id fits into Postgres' `bigint`.

use std::fmt;
use std::num::{NonZeroI64, NonZeroU64};

/// Discord's epoch, the start of 2015, in Unix milliseconds. Snowflakes count time from here.
/// Source: Discord's reference, "Snowflakes".
const DISCORD_EPOCH_MS: i64 = 1_420_070_400_000;

macro_rules! snowflake {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(NonZeroU64);

        impl $name {
            /// `None` for zero and for anything above `i64::MAX`, which no id
            /// reaches before the year 2084.
            pub const fn new(id: u64) -> Option<Self> {
                if id > i64::MAX as u64 {
                    return None;
                }
                match NonZeroU64::new(id) {
                    Some(id) => Some(Self(id)),
                    None => None,
                }
            }

            /// The number, for requests to Discord, the database and logs.
            pub const fn get(self) -> u64 {
                self.0.get()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    )*};
}

snowflake! {
    /// A guild (what people call a server).
    GuildId,
    /// A channel, a thread or a forum post.
    ChannelId,
    /// A message; its id contains the time when it was sent.
    MessageId,
    /// A role of a guild.
    RoleId,
    /// A person's or a bot's account.
    UserId,
    /// An interaction or a message that requested something. Snowflakes are unique across kinds,
    /// so the id of an interaction never equals that of a message.
    RequestId,
}

impl MessageId {
    /// When the message was sent by Discord's clock, in millisecond precision.
    pub fn sent_at(self) -> Timestamp {
        time_within(self.0)
    }

    /// The lowest id that a message sent at `at` can have; `None` before 2015 or if it
    /// would exceed `i64::MAX`.
    pub fn first_at(at: Timestamp) -> Option<Self> {
        let since_epoch = u64::try_from(at.millis() - DISCORD_EPOCH_MS).ok()?;
        Self::new(since_epoch.checked_mul(1 << 22)?)
    }
}

impl RequestId {
    /// When the request was made by Discord's clock, in millisecond precision.
    pub fn asked_at(self) -> Timestamp {
        time_within(self.0)
    }

    /// The same id as a message's id, for callers that need one. The request may have been an
    /// interaction, and then there is no such message.
    pub fn as_message(self) -> MessageId {
        MessageId(self.0)
    }
}

impl From<MessageId> for RequestId {
    fn from(message: MessageId) -> Self {
        Self(message.0)
    }
}

fn time_within(id: NonZeroU64) -> Timestamp {
    let since_epoch = i64::try_from(id.get() >> 22).expect("42 bits fit");
    Timestamp::from_millis(DISCORD_EPOCH_MS + since_epoch).expect("after 2015")
}

/// A point in time: milliseconds since 1970 UTC, negative before that.
///
/// Zero is excluded: the Python bot stored it for "never". This also makes `Option<Timestamp>` as
/// small as an `i64`, which matters for a million users in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(NonZeroI64);

impl Timestamp {
    /// `None` for zero, which stands for "never".
    pub const fn from_millis(millis: i64) -> Option<Self> {
        match NonZeroI64::new(millis) {
            Some(millis) => Some(Self(millis)),
            None => None,
        }
    }

    /// Milliseconds since 1970 UTC.
    pub const fn millis(self) -> i64 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snowflake_tells_its_time() {
        // The example in Discord's reference.
        let id = MessageId::new(175_928_847_299_117_063).unwrap();
        assert_eq!(id.sent_at().millis(), 1_462_015_105_796);
        assert_eq!(
            MessageId::first_at(id.sent_at()).unwrap().sent_at(),
            id.sent_at()
        );
        let request = RequestId::from(id);
        assert_eq!(request.asked_at(), id.sent_at());
        assert_eq!(request.as_message(), id);
    }

    #[test]
    fn ids_that_no_database_could_hold_are_refused() {
        assert_eq!(UserId::new(0), None);
        assert_eq!(UserId::new(1 << 63), None);
        assert_eq!(UserId::new(u64::MAX), None);
        assert!(UserId::new(i64::MAX as u64).is_some());
    }

    #[test]
    fn never_is_not_a_moment_and_costs_nothing() {
        assert_eq!(Timestamp::from_millis(0), None);
        assert_eq!(size_of::<Option<Timestamp>>(), 8);
        assert_eq!(size_of::<Option<UserId>>(), 8);
    }
}
