//! Which messages may earn XP at all, and which may run a command.
//!
//! Only facts are used that the gateway and the REST history both carry: a
//! message read back later must be judged as it would have been live.

/// What of a message decides whether it may earn XP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct MessageFacts {
    /// Discord's message type; 0 is an ordinary one, 19 a reply.
    pub kind: u8,
    /// The author is a bot's account.
    pub by_bot: bool,
    /// The author is Discord itself.
    pub by_system: bool,
    /// Sent through a webhook.
    pub by_webhook: bool,
    /// Someone else's message, passed on (reference type 1).
    pub forwarded: bool,
}

const ORDINARY: u8 = 0;
const REPLY: u8 = 19;

/// Whether a message may earn XP. Commands count, and so do threads and forum posts; the
/// guild is checked where the message is received.
pub fn may_earn(message: &MessageFacts) -> bool {
    was_typed(*message)
}

/// Whether a message may run a text command.
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
