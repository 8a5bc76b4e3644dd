//! A value and its past changes. Each change holds for the messages after one id, so which value
//! applies to a message never depends on a clock.

use super::MessageId;

/// The changes of one value, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline<T> {
    /// Each with the message after which it holds; `None` for all messages.
    changes: Vec<(Option<MessageId>, T)>,
}

impl<T> Default for Timeline<T> {
    fn default() -> Self {
        Self {
            changes: Vec::new(),
        }
    }
}

impl<T> Timeline<T> {
    /// The value that applies to a message; `None` if nothing was recorded, or only for later
    /// messages.
    pub fn at(&self, message: MessageId) -> Option<&T> {
        let mut newest_first = self.changes.iter().rev();
        let (_, value) = newest_first.find(|(after, _)| *after < Some(message))?;
        Some(value)
    }

    /// The newest value.
    pub fn newest(&self) -> Option<&T> {
        Some(&self.changes.last()?.1)
    }

    /// The message after which the newest value holds; `None` if it holds for all messages, or if
    /// there is no value.
    pub fn last_change(&self) -> Option<MessageId> {
        self.changes.last()?.0
    }

    /// Whether a value is recorded for every message, however old.
    pub fn is_for_all_messages(&self) -> bool {
        self.changes
            .first()
            .is_some_and(|(after, _)| after.is_none())
    }

    /// Adds a change for the messages after `after`. If the last change holds from a later message,
    /// the new one takes its place, so that nothing changes for older messages. Returns the message
    /// after which the new change holds.
    pub fn change(&mut self, after: Option<MessageId>, value: T) -> Option<MessageId> {
        let after = after.max(self.last_change());
        self.changes.retain(|(earlier, _)| *earlier < after);
        self.changes.push((after, value));
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_holds_for_the_messages_after_it_and_never_before() {
        let id = |id| MessageId::new(id).unwrap();
        let mut value = Timeline::default();
        assert_eq!((value.at(id(1)), value.newest()), (None, None));
        assert_eq!(value.change(MessageId::new(10), 'a'), MessageId::new(10));
        assert_eq!(value.change(MessageId::new(20), 'b'), MessageId::new(20));
        // A change for an earlier message than the newest change replaces the newest.
        assert_eq!(value.change(MessageId::new(15), 'c'), MessageId::new(20));
        for (at, expected) in [
            (10, None),
            (11, Some('a')),
            (20, Some('a')),
            (21, Some('c')),
        ] {
            assert_eq!(value.at(id(at)).copied(), expected, "{at}");
        }
        assert_eq!(value.newest(), Some(&'c'));
        let mut always = Timeline::default();
        assert_eq!(always.change(None, 'a'), None);
        assert_eq!(always.change(None, 'b'), None);
        assert_eq!(always.at(id(1)), Some(&'b'));
    }
}
