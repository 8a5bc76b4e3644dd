//! The line that is being typed on a terminal: it stays whole while text is printed above it.
//!
//! The line editor blocks, so it has a thread of its own, and so has what prints: it waits while
//! a list of completions or a search in the history is on the screen.

use std::io::{self, Write};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, ExternalPrinter as _, Helper};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use crate::chat::complete::{Vocabulary, complete};
use crate::chat::prompt::{PROMPT, Typed, is_farewell};

/// What the program and the line editor's thread share.
#[derive(Debug, Default)]
struct Shared {
    vocabulary: Vocabulary,
    /// What is typed so far, and where the cursor is.
    line: String,
    position: usize,
    /// A list of completions was printed since somebody asked last.
    has_listed: bool,
}

/// A line editor on the terminal of this process.
#[derive(Debug)]
pub(super) struct Editor {
    typed: Option<UnboundedReceiver<Typed>>,
    print: Sender<String>,
    shared: Arc<Mutex<Shared>>,
    ended: CancellationToken,
    /// How the terminal was: a signal may end the program while a line is typed.
    before: Termios,
}

impl Editor {
    /// Begins to read lines; fails where there is no terminal that can do it.
    pub(super) fn open(vocabulary: Vocabulary) -> Result<Self, ReadlineError> {
        // Without bracketed paste each pasted line is a line, as if it had been typed.
        let config = Config::builder()
            .auto_add_history(true)
            .bracketed_paste(false)
            .completion_type(CompletionType::List)
            .completion_show_all_if_ambiguous(true)
            .build();
        let before = tcgetattr(io::stdin()).map_err(io::Error::from)?;
        let history = MemHistory::with_config(&config);
        let mut lines = rustyline::Editor::with_history(config, history)?;
        let mut printer = lines.create_external_printer()?;
        let shared = Arc::new(Mutex::new(Shared {
            vocabulary,
            ..Shared::default()
        }));
        lines.set_helper(Some(Help(Arc::clone(&shared))));
        let (to, typed) = unbounded_channel();
        let ended = CancellationToken::new();
        let (print, texts) = channel::<String>();
        std::thread::spawn(move || {
            for text in texts {
                if printer.print(text).is_err() {
                    break;
                }
            }
        });
        let end = ended.clone().drop_guard();
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            let _end = end;
            read_lines(lines, &of_thread, &to);
        });
        Ok(Self {
            typed: Some(typed),
            print,
            shared,
            ended,
            before,
        })
    }

    /// The lines, as they are typed.
    pub(super) fn take_typed(&mut self) -> UnboundedReceiver<Typed> {
        self.typed.take().unwrap_or_else(|| unbounded_channel().1)
    }

    /// Cancelled as soon as nothing more can be typed.
    pub(super) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Sets what can be completed.
    pub(super) fn know(&self, vocabulary: Vocabulary) {
        lock(&self.shared).vocabulary = vocabulary;
    }

    /// Prints above the line that is being typed.
    pub(super) fn print(&self, text: String) {
        // The thread that prints ends with the terminal only, and then nobody reads it.
        let _ = self.print.send(text);
    }

    /// The line that is being typed, as it stands on the screen.
    pub(super) fn line(&self) -> String {
        format!("{PROMPT}{}", lock(&self.shared).line)
    }

    /// Whether completions have been listed since it was asked last.
    pub(super) fn has_listed(&self) -> bool {
        std::mem::take(&mut lock(&self.shared).has_listed)
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        // Nothing is left to do if the terminal is gone.
        if !self.ended.is_cancelled() {
            let _ = io::stdout().write_all(b"\n");
        }
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Columns and rows of the terminal.
pub(super) fn window() -> (usize, usize) {
    let size = tcgetwinsize(io::stdout()).ok();
    let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()))
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_lines(
    mut lines: rustyline::Editor<Help, MemHistory>,
    shared: &Mutex<Shared>,
    to: &UnboundedSender<Typed>,
) {
    let mut initial = (String::new(), String::new());
    loop {
        let line = lines.readline_with_initial(PROMPT, (&initial.0, &initial.1));
        initial = Default::default();
        let typed = match line {
            Ok(line) if is_farewell(&line) => return,
            Ok(line) => Typed::Line(line),
            Err(ReadlineError::Io(why)) if why.kind() == io::ErrorKind::InvalidData => {
                // What was typed before is offered again.
                let shared = lock(shared);
                let (before, after) = shared.line.split_at(shared.position);
                initial = (before.to_owned(), after.to_owned());
                Typed::Invalid
            }
            // Ctrl-D, Ctrl-C, SIGINT
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => return,
            Err(why) => {
                // Nobody is left to tell if the program is ending.
                let _ = to.send(Typed::Broken(why.to_string()));
                return;
            }
        };
        if to.send(typed).is_err() {
            return;
        }
    }
}

/// Answers what the line editor asks.
struct Help(Arc<Mutex<Shared>>);

impl Completer for Help {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let mut shared = lock(&self.0);
        let (start, found) = complete(&shared.vocabulary, &line[..position]);
        shared.has_listed |= found.len() > 1;
        let pair = |replacement: String| Pair {
            display: replacement.trim_end().to_owned(),
            replacement,
        };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

impl Hinter for Help {
    type Hint = String;

    /// Gives none, and takes down what is typed: it is asked whenever that changes.
    fn hint(&self, line: &str, position: usize, _: &Context<'_>) -> Option<String> {
        let mut shared = lock(&self.0);
        line.clone_into(&mut shared.line);
        shared.position = position;
        None
    }
}

impl Highlighter for Help {}
impl Validator for Help {}
impl Helper for Help {}
