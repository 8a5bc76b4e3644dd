//! Which messages may earn XP, and which may run a command.
//!
//! Uses only facts that both the gateway and the REST history carry, so that a message that is
//! read later is judged as it would have been live.

use super::{ChannelId, MessageId, ObservedProfile, UserId};

/// A message as an event or the history shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedMessage {
    /// Its id, which contains its time.
    pub id: MessageId,
    /// Where it was written.
    pub channel: ChannelId,
    /// Who wrote it.
    pub author: UserId,
    /// What kind of message it is, and of author.
    pub facts: MessageFacts,
    /// The author's profile as the message shows it; `None` if it shows no name.
    pub profile: Option<ObservedProfile>,
}

/// The facts of a message that decide whether it may earn XP or run a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the flags are independent")]
pub struct MessageFacts {
    /// Discord's message type: 0 is an ordinary message, 19 a reply.
    pub kind: u8,
    /// The author is a bot account.
    pub by_bot: bool,
    /// The author is Discord itself.
    pub by_system: bool,
    /// Sent through a webhook.
    pub by_webhook: bool,
    /// It forwards another message (reference type 1).
    pub forwarded: bool,
}

const ORDINARY: u8 = 0;
const REPLY: u8 = 19;

/// Whether a message may earn XP. Commands, thread messages and forum posts count too. The
/// receiver of the message checks the guild.
pub fn may_earn(message: &MessageFacts) -> bool {
    was_typed(*message)
}

/// Whether a message may run a text command: the same rule as for XP.
pub fn may_command(message: &MessageFacts) -> bool {
    was_typed(*message)
}

/// Whether a human wrote this message in their own words.
fn was_typed(message: MessageFacts) -> bool {
    let MessageFacts {
        kind,
        by_bot,
        by_system,
        by_webhook,
        forwarded,
    } = message;
    matches!(kind, ORDINARY | REPLY) && !by_bot && !by_system && !by_webhook && !forwarded
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: MessageFacts = MessageFacts {
        kind: ORDINARY,
        by_bot: false,
        by_system: false,
        by_webhook: false,
        forwarded: false,
    };

    #[test]
    fn only_ordinary_messages_and_replies_by_humans_earn_and_command() {
        for kind in [ORDINARY, REPLY] {
            let message = MessageFacts { kind, ..HELLO };
            assert!(may_earn(&message) && may_command(&message));
        }
        for (why, message) in [
            (
                "a bot",
                MessageFacts {
                    by_bot: true,
                    ..HELLO
                },
            ),
            (
                "Discord",
                MessageFacts {
                    by_system: true,
                    ..HELLO
                },
            ),
            (
                "a webhook",
                MessageFacts {
                    by_webhook: true,
                    ..HELLO
                },
            ),
            (
                "a forward",
                MessageFacts {
                    forwarded: true,
                    ..HELLO
                },
            ),
            (
                "a forwarding reply",
                MessageFacts {
                    kind: REPLY,
                    forwarded: true,
                    ..HELLO
                },
            ),
        ] {
            assert!(!may_earn(&message) && !may_command(&message), "{why}");
        }
        for kind in (0..=u8::MAX).filter(|kind| !matches!(*kind, ORDINARY | REPLY)) {
            let message = MessageFacts { kind, ..HELLO };
            assert!(!may_earn(&message) && !may_command(&message), "type {kind}");
        }
    }
}
