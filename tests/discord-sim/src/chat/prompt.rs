//! The chat as it is typed: on a terminal with a line editor, else line by line.

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::chat::complete::Vocabulary;
use crate::chat::editor::{self, Editor};
use crate::chat::line::{self, HELP, Line};
use crate::chat::screen::{Screen, Terminal};
use crate::chat::xp::{Said, XpProgram};
use crate::chat::{Heard, Room};
use crate::objects::id_in;

pub(super) const PROMPT: &str = "> ";

/// What to type first, for somebody who has never seen this.
const WELCOME: &str = "\
alice: hello             earns XP, and   alice: .rank   shows how much
mod: /rank user:alice    is a slash command; Tab completes names and commands
!help                    shows everything else; exit, quit or Ctrl-D ends";

const NOT_UTF8: &str = "That was not UTF-8, so it was ignored. Set your terminal to UTF-8.";

/// How often what can be completed is brought up to date.
const LEARN_EVERY: Duration = Duration::from_millis(500);

/// Something that came from the keyboard.
#[derive(Debug)]
pub(super) enum Typed {
    Line(String),
    /// Bytes that are no text.
    Invalid,
    /// Reading failed, for this reason.
    Broken(String),
}

/// Whether a line ends the chat.
pub(super) fn is_farewell(line: &str) -> bool {
    matches!(line.trim(), "exit" | "quit" | "!exit" | "!quit")
}

/// Talks until the input ends. With a program that tells what messages earn, that is shown too.
pub async fn talk(room: Room, xp: Option<XpProgram>) -> io::Result<()> {
    let on_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let editor = on_terminal.then(|| Editor::open(vocabulary(&room)).ok());
    if let Some(mut editor) = editor.flatten() {
        let (typed, ended) = (editor.take_typed(), editor.ended());
        let mut screen = Screen::new(editor);
        screen.show(WELCOME);
        return converse(room, screen, typed, ended, xp).await;
    }
    let mut screen = Screen::new(Lines { on_terminal });
    screen.show(&format!(
        "You speak for the people of a made-up guild. What you can type:\n\n{HELP}\n\n{}\n\
         Ctrl-D ends.",
        room.who_is_there()
    ));
    screen.terminal.ask();
    converse(room, screen, typed_lines(), CancellationToken::new(), xp).await?;
    if on_terminal {
        writeln!(io::stdout())?;
    }
    Ok(())
}

async fn converse<T: Place>(
    mut room: Room,
    mut screen: Screen<T>,
    mut typed: UnboundedReceiver<Typed>,
    ended: CancellationToken,
    xp: Option<XpProgram>,
) -> io::Result<()> {
    let (notes_to, mut notes) = unbounded_channel::<String>();
    let mut learn = interval(LEARN_EVERY);
    learn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = screen.due();
        let wait = sleep_until(due.unwrap_or_else(Instant::now));
        tokio::select! {
            biased;
            () = ended.cancelled(), if typed.is_empty() => break,
            Some(heard) = room.hear() => show_heard(&mut room, &mut screen, &heard),
            Some(note) = notes.recv() => screen.show(&note),
            () = wait, if due.is_some() => screen.show_due(Instant::now()),
            _ = learn.tick() => screen.terminal.learn(&room),
            line = typed.recv() => match line {
                None => break,
                Some(Typed::Broken(why)) => return Err(io::Error::other(why)),
                Some(Typed::Invalid) => {
                    screen.line_entered();
                    screen.show(NOT_UTF8);
                }
                Some(Typed::Line(line)) if is_farewell(&line) => break,
                Some(Typed::Line(line)) => {
                    screen.line_entered();
                    let shown = tokio::select! {
                        biased;
                        shown = act(&mut room, &line, xp.as_ref(), &notes_to) => shown,
                        // It may wait for the bot for minutes.
                        () = ended.cancelled() => break,
                    };
                    screen.show(&shown);
                    screen.terminal.ask();
                }
            }
        }
    }
    Ok(())
}

fn show_heard<T: Place>(room: &mut Room, screen: &mut Screen<T>, heard: &Heard) {
    let message = id_in(&heard.message["id"]).unwrap_or_default();
    if let Some(shown) = room.drawn(heard) {
        screen.message(message, heard.news, &shown, Instant::now());
    }
}

/// Does what a line says; what is to be shown at once.
async fn act(
    room: &mut Room,
    line: &str,
    xp: Option<&XpProgram>,
    notes: &UnboundedSender<String>,
) -> String {
    let line = match line::parse(line) {
        Ok(line) => line,
        Err(why) => return why,
    };
    let speech = match &line {
        Line::Say { who, text, .. } => room
            .sim
            .find_user(who.trim_start_matches('@'))
            .map(|user| (user, who, text)),
        _ => None,
    };
    let asked = xp.zip(speech).map(|(xp, (user, who, text))| {
        let (name, text) = (who.clone(), text.clone());
        (xp.clone(), user, name, text)
    });
    let before = match &asked {
        Some((xp, user, ..)) => Some(xp.before(*user).await),
        None => None,
    };
    let shown = room.act(line).await.unwrap_or_else(|why| why);
    if let (Some((xp, user, name, text)), Some(message)) = (asked, room.take_said()) {
        let said = Said {
            user,
            name,
            message,
            text,
        };
        let notes = notes.clone();
        tokio::spawn(async move {
            let earned = match before {
                Some(Ok(before)) => xp.earned(&said, &before).await,
                Some(Err(why)) => Err(why),
                None => Ok(None),
            };
            let note = earned.unwrap_or_else(Some);
            if let Some(note) = note {
                // Nobody is left to see it if the chat has ended.
                let _ = notes.send(format!("  {note}"));
            }
        });
    }
    shown
}

/// What there is to complete with now.
fn vocabulary(room: &Room) -> Vocabulary {
    let (buttons, menu_options) = room.pressable();
    Vocabulary {
        people: room.sim.people(),
        channels: room.sim.channel_names(),
        roles: room.sim.role_names(),
        commands: room.sim.commands(),
        buttons,
        menu_options,
    }
}

/// A terminal that somebody types on, or what stands for one.
trait Place: Terminal {
    /// Learns what can be completed.
    fn learn(&mut self, room: &Room);
    /// Asks for the next line, after one was answered.
    fn ask(&mut self);
}

impl Place for Editor {
    fn learn(&mut self, room: &Room) {
        self.know(vocabulary(room));
    }

    fn ask(&mut self) {}
}

impl Terminal for Editor {
    fn window(&self) -> Option<(usize, usize)> {
        Some(editor::window())
    }

    fn line(&self) -> String {
        Editor::line(self)
    }

    fn is_disturbed(&mut self) -> bool {
        self.has_listed()
    }

    fn print(&mut self, text: String) {
        Editor::print(self, text);
    }
}

/// Lines without an editor: pipes, files, and terminals that cannot move their cursor.
struct Lines {
    on_terminal: bool,
}

impl Lines {
    fn write(text: &str) {
        let mut out = io::stdout().lock();
        // The reader may be gone; the input is read to its end all the same.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

impl Place for Lines {
    fn learn(&mut self, _: &Room) {}

    fn ask(&mut self) {
        if self.on_terminal {
            Self::write(PROMPT);
        }
    }
}

impl Terminal for Lines {
    fn window(&self) -> Option<(usize, usize)> {
        None
    }

    fn line(&self) -> String {
        String::new()
    }

    fn is_disturbed(&mut self) -> bool {
        true
    }

    fn print(&mut self, text: String) {
        Self::write(&text);
    }
}

/// Lines as they come. Reading blocks, so it has a thread of its own; the thread ends with the
/// input or with the program.
fn typed_lines() -> UnboundedReceiver<Typed> {
    let (to, typed) = unbounded_channel();
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let typed = match input.read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => String::from_utf8(line).map_or(Typed::Invalid, Typed::Line),
                Err(why) => Typed::Broken(why.to_string()),
            };
            let broken = matches!(typed, Typed::Broken(_));
            if to.send(typed).is_err() || broken {
                return;
            }
        }
    });
    typed
}
