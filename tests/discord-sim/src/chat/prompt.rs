//! The chat on a terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::chat::Room;
use crate::chat::line::{self, HELP};

const PROMPT: &str = "> ";

/// Talks until the input ends.
pub async fn talk(mut room: Room) -> io::Result<()> {
    let mut screen = Screen {
        is_terminal: io::stdout().is_terminal() && io::stdin().is_terminal(),
    };
    screen.show(&format!(
        "You speak for the people of a made-up guild. What you can type:\n\n{HELP}\n\n{}\n\
         Ctrl-D ends.",
        room.who_is_there()
    ))?;
    let mut typed = typed_lines();
    loop {
        tokio::select! {
            Some(heard) = room.hear() => {
                if let Some(shown) = room.drawn(&heard) {
                    screen.show(&shown)?;
                }
            }
            line = typed.recv() => {
                let Some(line) = line else {
                    break;
                };
                let shown = match line::parse(&line) {
                    Ok(line) => room.act(line).await,
                    Err(why) => Err(why),
                };
                screen.show(&shown.unwrap_or_else(|why| why))?;
            }
        }
    }
    screen.end()
}

/// Lines as they are typed. Reading blocks, so it has a thread of its own; the
/// thread ends with the input or with the program.
fn typed_lines() -> UnboundedReceiver<String> {
    let (to, typed) = unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else {
                break;
            };
            if to.send(line).is_err() {
                break;
            }
        }
    });
    typed
}

/// What is on the terminal: text, and the prompt below it.
struct Screen {
    is_terminal: bool,
}

impl Screen {
    /// Shows a text where the prompt was, then the prompt again.
    fn show(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.is_terminal {
            // To the line's begin, and what is on it away.
            write!(out, "\r\x1b[K")?;
        }
        if !text.is_empty() {
            writeln!(out, "{text}")?;
        }
        if self.is_terminal {
            write!(out, "{PROMPT}")?;
        }
        out.flush()
    }

    fn end(&mut self) -> io::Result<()> {
        if self.is_terminal {
            writeln!(io::stdout())?;
        }
        Ok(())
    }
}
