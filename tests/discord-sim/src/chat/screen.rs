//! What is on the screen above the line that is being typed.
//!
//! A message that is edited again and again is drawn where it stands as long as it is the last
//! thing on the screen; else it is printed below at most now and then.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::Id;
use crate::chat::News;
use crate::chat::layout::{fit, rows};

/// How often an edited message is printed where it cannot be drawn in its place.
const EDIT_EVERY: Duration = Duration::from_secs(5);

/// Where text is printed.
pub(super) trait Terminal {
    /// Columns and rows; none where lines are of any length and nothing can be drawn again.
    fn window(&self) -> Option<(usize, usize)>;
    /// The line below everything, which somebody is typing.
    fn line(&self) -> String;
    /// Whether something else was printed above that line since it was asked last.
    fn is_disturbed(&mut self) -> bool;
    /// Prints whole lines above that line.
    fn print(&mut self, text: String);
}

/// The screen.
#[derive(Debug)]
pub(super) struct Screen<T> {
    pub(super) terminal: T,
    last: Option<Block>,
    edits: BTreeMap<Id, Edits>,
}

/// A message that is the last thing on the screen.
#[derive(Debug)]
struct Block {
    message: Id,
    rows: usize,
    columns: usize,
}

/// How an edited message was printed.
#[derive(Debug)]
struct Edits {
    printed: Instant,
    /// What it has become since.
    waiting: Option<String>,
}

impl<T: Terminal> Screen<T> {
    pub(super) fn new(terminal: T) -> Self {
        Self {
            terminal,
            last: None,
            edits: BTreeMap::new(),
        }
    }

    /// Prints something that is no message.
    pub(super) fn show(&mut self, text: &str) {
        if !text.is_empty() {
            self.print(text, "");
            self.last = None;
        }
    }

    /// Somebody has entered a line, which stands below everything now. What changes from here on
    /// may be the answer, so it is shown at once.
    pub(super) fn line_entered(&mut self) {
        self.last = None;
        self.edits.retain(|_, edits| edits.waiting.is_some());
    }

    /// Shows a message that is new, edited or deleted.
    pub(super) fn message(&mut self, message: Id, news: News, text: &str, now: Instant) {
        self.edits
            .retain(|_, edits| edits.waiting.is_some() || now < edits.printed + EDIT_EVERY);
        if news == News::Deleted || self.terminal.window().is_none() {
            self.edits.remove(&message);
        }
        let again = (news != News::Said)
            .then(|| self.back_to(message))
            .flatten();
        let held = self.edits.get_mut(&message);
        match (again, held) {
            (Some(back), _) => self.place(message, text, &back, now),
            (None, Some(edits)) if news == News::Edited => edits.waiting = Some(text.to_owned()),
            _ => self.place(message, text, "", now),
        }
    }

    /// When something that waits is to be shown.
    pub(super) fn due(&self) -> Option<Instant> {
        let waiting = self.edits.values().filter(|edits| edits.waiting.is_some());
        waiting.map(|edits| edits.printed + EDIT_EVERY).min()
    }

    /// Shows what has waited long enough.
    pub(super) fn show_due(&mut self, now: Instant) {
        let is_due = |edits: &Edits| now >= edits.printed + EDIT_EVERY;
        let due: Vec<(Id, String)> = self
            .edits
            .iter_mut()
            .filter(|(_, edits)| is_due(edits))
            .filter_map(|(&message, edits)| Some((message, edits.waiting.take()?)))
            .collect();
        for (message, text) in due {
            self.place(message, &text, "", now);
        }
    }

    /// Prints a message, and remembers that it is the last thing on the screen.
    fn place(&mut self, message: Id, text: &str, back: &str, now: Instant) {
        self.print(text, back);
        let waiting = None;
        self.edits.insert(
            message,
            Edits {
                printed: now,
                waiting,
            },
        );
        self.last = self.terminal.window().map(|(columns, _)| Block {
            message,
            rows: rows(&fit(text, columns), columns),
            columns,
        });
    }

    /// What takes the cursor back to where a message begins and clears all from there; none if
    /// it is not the last thing on the screen any more, or does not fit on it.
    fn back_to(&mut self, message: Id) -> Option<String> {
        if self.terminal.is_disturbed() {
            self.last = None;
        }
        let last = self.last.as_ref()?;
        let (columns, height) = self.terminal.window()?;
        let below = rows(&self.terminal.line(), columns) + 1;
        let fits = last.rows + below <= height;
        (last.message == message && last.columns == columns && fits)
            .then(|| format!("\x1b[{}A\r\x1b[J", last.rows))
    }

    fn print(&mut self, text: &str, back: &str) {
        let window = self.terminal.window();
        let text = window.map_or_else(|| text.to_owned(), |(columns, _)| fit(text, columns));
        self.terminal.print(format!("{back}{text}\n"));
        // What was listed before this is above it.
        self.terminal.is_disturbed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Paper {
        printed: Vec<String>,
        disturbed: bool,
        columns: usize,
    }

    impl Terminal for Paper {
        fn window(&self) -> Option<(usize, usize)> {
            Some((self.columns, 10))
        }

        fn line(&self) -> String {
            "> half".into()
        }

        fn is_disturbed(&mut self) -> bool {
            std::mem::take(&mut self.disturbed)
        }

        fn print(&mut self, text: String) {
            self.printed.push(text);
        }
    }

    fn screen() -> Screen<Paper> {
        Screen::new(Paper {
            columns: 40,
            ..Paper::default()
        })
    }

    fn printed(screen: &mut Screen<Paper>) -> Vec<String> {
        std::mem::take(&mut screen.terminal.printed)
    }

    #[tokio::test]
    async fn the_last_message_is_drawn_in_its_place() {
        let (mut screen, now) = (screen(), Instant::now());
        screen.message(1, News::Said, "one\ntwo", now);
        screen.message(1, News::Edited, "three", now);
        screen.message(1, News::Deleted, "gone", now);
        assert_eq!(
            printed(&mut screen),
            [
                "one\ntwo\n",
                "\x1b[2A\r\x1b[Jthree\n",
                "\x1b[1A\r\x1b[Jgone\n"
            ]
        );
    }

    #[tokio::test]
    async fn a_message_above_something_else_is_printed_now_and_then() {
        for disturb in [
            (|screen| screen.show("a note")) as fn(&mut Screen<Paper>),
            |screen| screen.message(2, News::Said, "another", Instant::now()),
            |screen| screen.terminal.disturbed = true,
            |screen| screen.terminal.columns = 30,
        ] {
            let (mut screen, now) = (screen(), Instant::now());
            screen.message(1, News::Said, "0 %", now);
            disturb(&mut screen);
            printed(&mut screen);
            for step in 1..100 {
                screen.message(1, News::Edited, &format!("{step} %"), now);
            }
            assert_eq!(printed(&mut screen), [""; 0]);
            let due = screen.due().expect("the last edit waits");
            assert_eq!(due, now + EDIT_EVERY);
            screen.show_due(due);
            assert_eq!(printed(&mut screen), ["99 %\n"]);
            assert_eq!(screen.due(), None);
            // It is the last thing now.
            screen.message(1, News::Edited, "100 %", due);
            assert_eq!(printed(&mut screen), ["\x1b[1A\r\x1b[J100 %\n"]);
        }
    }

    #[tokio::test]
    async fn an_edit_after_a_line_was_entered_is_an_answer() {
        let (mut screen, now) = (screen(), Instant::now());
        screen.message(1, News::Said, "page 1", now);
        screen.line_entered();
        screen.message(1, News::Edited, "page 2", now);
        assert_eq!(printed(&mut screen), ["page 1\n", "page 2\n"]);
    }

    #[tokio::test]
    async fn what_is_higher_than_the_window_is_not_drawn_over() {
        let (mut screen, now) = (screen(), Instant::now());
        screen.message(1, News::Said, "a\nb\nc\nd\ne\nf\ng\nh\ni", now);
        screen.message(1, News::Edited, "j", now);
        assert_eq!(printed(&mut screen).len(), 1);
        screen.show_due(now + EDIT_EVERY);
        assert_eq!(printed(&mut screen), ["j\n"]);
    }
}
