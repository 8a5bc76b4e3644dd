//! Decides whose message is posted next in a channel, and whose is dropped when too many wait.
//!
//! Pure: messages are entries with a number, and there is no clock. Authors take turns, so that an
//! author with many messages delays only their own.

use std::collections::VecDeque;

use crate::leveling::UserId;

/// Most messages that may wait in one channel. At Discord's limit of five messages in five seconds,
/// the last of them would wait for 100 seconds.
const MAX_WAITING: usize = 100;

/// Which messages are posted before others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Level-up messages, answers to moderators' commands, and messages that the bot posts unasked.
    Ahead,
    /// Everything else.
    Usual,
}

/// The author whose turn a message uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// The user whose command or message caused it.
    User(UserId),
    /// No user caused it: the bot posts it unasked.
    Bot,
}

/// The numbers of the messages that wait in one channel.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    ahead: TurnLane,
    usual: TurnLane,
}

/// Authors in the order of their turns, each with their waiting entries, oldest first.
#[derive(Debug, Default)]
struct TurnLane(VecDeque<(Author, VecDeque<u64>)>);

impl Waiting {
    /// Adds an entry. If more than [`MAX_WAITING`] wait then, drops one and returns it; that can be
    /// the new one. The dropped entry is the newest of the author with the most entries waiting; if
    /// several authors have the most, the newest of all their entries. Entries with
    /// [`Priority::Usual`] are dropped first.
    pub fn add(&mut self, entry: u64, priority: Priority, author: Author) -> Option<u64> {
        match priority {
            Priority::Ahead => self.ahead.add(entry, author),
            Priority::Usual => self.usual.add(entry, author),
        }
        if self.ahead.len() + self.usual.len() <= MAX_WAITING {
            return None;
        }
        self.usual.leave_out().or_else(|| self.ahead.leave_out())
    }

    /// Removes and returns the entry whose turn it is.
    pub fn next(&mut self) -> Option<u64> {
        self.ahead.next().or_else(|| self.usual.next())
    }

    /// Removes an entry whose caller has stopped waiting.
    pub fn remove(&mut self, entry: u64) {
        self.ahead.remove(entry);
        self.usual.remove(entry);
    }
}

impl TurnLane {
    fn len(&self) -> usize {
        self.0.iter().map(|(_, entries)| entries.len()).sum()
    }

    fn add(&mut self, entry: u64, author: Author) {
        match self.0.iter_mut().find(|(of, _)| *of == author) {
            Some((_, entries)) => entries.push_back(entry),
            None => self.0.push_back((author, VecDeque::from([entry]))),
        }
    }

    fn next(&mut self) -> Option<u64> {
        let (author, mut entries) = self.0.pop_front()?;
        let entry = entries.pop_front();
        if !entries.is_empty() {
            self.0.push_back((author, entries));
        }
        entry
    }

    fn leave_out(&mut self) -> Option<u64> {
        let newest = |entries: &VecDeque<u64>| entries.back().copied();
        let (_, entries) = self
            .0
            .iter_mut()
            .max_by_key(|(_, entries)| (entries.len(), newest(entries)))?;
        let left_out = entries.pop_back();
        self.drop_empty();
        left_out
    }

    fn remove(&mut self, entry: u64) {
        for (_, entries) in &mut self.0 {
            entries.retain(|other| *other != entry);
        }
        self.drop_empty();
    }

    fn drop_empty(&mut self) {
        self.0.retain(|(_, entries)| !entries.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(id: u64) -> Author {
        Author::User(UserId::new(id).expect("an id"))
    }

    fn drain(waiting: &mut Waiting) -> Vec<u64> {
        std::iter::from_fn(|| waiting.next()).collect()
    }

    #[test]
    fn authors_take_turns_and_some_messages_go_ahead() {
        let mut waiting = Waiting::default();
        for (entry, priority, author) in [
            (1, Priority::Usual, user(7)),
            (2, Priority::Usual, user(7)),
            (3, Priority::Usual, user(7)),
            (4, Priority::Usual, user(8)),
            (5, Priority::Ahead, user(8)),
            (6, Priority::Ahead, Author::Bot),
            (7, Priority::Ahead, user(8)),
        ] {
            assert_eq!(waiting.add(entry, priority, author), None);
        }
        waiting.remove(2);
        assert_eq!(drain(&mut waiting), [5, 6, 7, 1, 4, 3]);
    }

    #[test]
    fn whoever_has_the_most_waiting_is_left_out_first() {
        let mut waiting = Waiting::default();
        let most = MAX_WAITING as u64;
        for entry in 0..most - 1 {
            assert_eq!(waiting.add(entry, Priority::Usual, user(7)), None);
        }
        assert_eq!(waiting.add(most, Priority::Usual, user(8)), None);
        let flooder = waiting.add(most + 1, Priority::Usual, user(9));
        assert_eq!(flooder, Some(most - 2));
        let own = waiting.add(most + 2, Priority::Usual, user(7));
        assert_eq!(own, Some(most + 2));
        // An entry with `Priority::Ahead` displaces one with `Priority::Usual`.
        let line = waiting.add(most + 3, Priority::Ahead, user(8));
        assert_eq!(line, Some(most - 3));
        let sent = drain(&mut waiting);
        assert_eq!(sent[..4], [most + 3, 0, most, most + 1]);
    }

    #[test]
    fn where_all_have_one_waiting_the_newest_is_left_out() {
        let mut waiting = Waiting::default();
        for entry in 1..=MAX_WAITING as u64 {
            assert_eq!(waiting.add(entry, Priority::Usual, user(entry)), None);
        }
        assert_eq!(waiting.add(999, Priority::Usual, user(999)), Some(999));
    }

    proptest! {
        #[test]
        fn every_entry_is_sent_or_left_out_once(
            added in proptest::collection::vec((any::<bool>(), 1_u64..6), 0..250)
        ) {
            let mut waiting = Waiting::default();
            let mut gone = Vec::new();
            for (entry, (ahead, author)) in (0..).zip(&added) {
                let priority = if *ahead { Priority::Ahead } else { Priority::Usual };
                gone.extend(waiting.add(entry, priority, user(*author)));
            }
            gone.extend(drain(&mut waiting));
            gone.sort_unstable();
            let all: Vec<u64> = (0..added.len() as u64).collect();
            prop_assert_eq!(gone, all);
        }
    }
}
