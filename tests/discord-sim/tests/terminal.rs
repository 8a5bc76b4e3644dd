//! The chat on a terminal: the program runs on a pseudo-terminal, and what it prints is drawn by a
//! terminal emulator, so that the tests see what a person would see.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{Command, Pts, Pty, open};
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::support::{Client, INTENTS, Rest, id};

const PATIENCE: Duration = Duration::from_secs(30);
const LEFT: &str = "\x1b[D";
const UP: &str = "\x1b[A";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";

/// What the emulator shows, and a bell for when that changes.
type Display = Arc<(Mutex<vt100::Parser>, Condvar)>;

/// The chat on a terminal.
struct Terminal {
    chat: Child,
    pty: Arc<Pty>,
    /// Held open, as the shell holds it that the chat was started from.
    _pts: Pts,
    display: Display,
}

impl Terminal {
    fn open(state: &Path, columns: u16, arguments: &[&str]) -> Self {
        let (pty, pts) = open().expect("a pseudo-terminal");
        pty.resize(Size::new(24, columns)).expect("a size");
        let chat = Command::new(env!("CARGO_BIN_EXE_discord-sim"))
            .args(["chat", "--state-dir"])
            .arg(state)
            .args(arguments)
            .env("TERM", "xterm")
            .env("TZ", "UTC")
            .env("XP_DIR", state)
            .spawn_borrowed(&pts)
            .expect("the chat starts");
        let pty = Arc::new(pty);
        let parser = vt100::Parser::new(24, columns, 0);
        let display: Display = Arc::new((Mutex::new(parser), Condvar::new()));
        let (from, to) = (Arc::clone(&pty), Arc::clone(&display));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = (&*from).read(&mut bytes) {
                to.0.lock().expect("no panic").process(&bytes[..count]);
                to.1.notify_all();
            }
        });
        Self {
            chat,
            pty,
            _pts: pts,
            display,
        }
    }

    fn press(&self, keys: impl AsRef<[u8]>) {
        (&*self.pty).write_all(keys.as_ref()).expect("a terminal");
    }

    fn resize(&self, columns: u16) {
        let mut parser = self.display.0.lock().expect("no panic");
        parser.screen_mut().set_size(24, columns);
        self.pty.resize(Size::new(24, columns)).expect("a size");
    }

    /// The rows that the screen shows, as soon as they are as wanted.
    fn see(&self, what: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        self.see_cursor(what, |rows, _| wanted(rows))
    }

    /// The same, where the cursor's row and column count too.
    fn see_cursor(
        &self,
        what: &str,
        wanted: impl Fn(&[String], (u16, u16)) -> bool,
    ) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut parser = self.display.0.lock().expect("no panic");
        loop {
            let (rows, cursor) = (rows(&parser), parser.screen().cursor_position());
            if wanted(&rows, cursor) {
                return rows;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(parser);
                panic!("{what}, cursor at {cursor:?}:\n{}", rows.join("\n"));
            }
            let rung = self.display.1.wait_timeout(parser, left);
            parser = rung.expect("no panic").0;
        }
    }

    /// Waits until the line that is being typed is this one, with the cursor at this column, and
    /// something is above it.
    fn see_line(&self, line: &str, column: u16, above: &str) -> Vec<String> {
        self.see_cursor(&format!("{line:?} below {above:?}"), |rows, cursor| {
            let (last, before) = rows.split_last().expect("a row");
            let has_cursor = (usize::from(cursor.0), cursor.1) == (before.len(), column);
            last == line && has_cursor && before.iter().any(|row| row.contains(above))
        })
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&*self.pty).expect("a terminal").local_modes;
        !modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Waits until the chat has ended.
    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.chat.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.chat.kill();
        let _ = self.chat.wait();
    }
}

/// The screen's rows down to the cursor's or the last that shows something.
fn rows(parser: &vt100::Parser) -> Vec<String> {
    let (_, columns) = parser.screen().size();
    let all: Vec<String> = parser.screen().rows(0, columns).collect();
    let (row, _) = parser.screen().cursor_position();
    let shown = all.iter().rposition(|row| !row.is_empty()).unwrap_or(0);
    let mut rows = all[..=shown.max(row.into())].to_vec();
    for row in &mut rows {
        row.truncate(row.trim_end().len());
    }
    rows
}

/// A bot that says what the test wants, and hears people.
pub(crate) struct Bot {
    rest: Rest,
    channel: String,
    heard: UnboundedReceiver<String>,
}

impl Bot {
    /// Connects to the simulation that left its settings here.
    pub(crate) async fn connect(state: &Path) -> Self {
        let deadline = Instant::now() + PATIENCE;
        let env = loop {
            if let Ok(env) = std::fs::read_to_string(state.join("env")) {
                break env;
            }
            assert!(Instant::now() < deadline, "the simulation does not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let value = |name: &str| {
            let line = env.lines().find_map(|line| line.strip_prefix(name));
            line.expect(name).trim_matches(['=', '\'']).to_owned()
        };
        let address = value("WALLE_DISCORD_API").replace("https://", "");
        let address = address.parse().expect("an address");
        let token = value("WALLE_TOKEN");
        let rest = Rest::at(address, Path::new(&value("WALLE_DISCORD_CA")), &token);
        let (_, gateway) = rest.get("/gateway/bot").await;
        let (_, me) = rest.get("/users/@me").await;
        let user = json!({ "name": "user", "description": "d", "type": 6 });
        let commands = json!([
            { "name": "rank", "description": "d", "options": [user] },
            { "name": "ranks", "description": "d" },
        ]);
        let commands_path = format!(
            "/applications/{}/guilds/{}/commands",
            id(&me),
            value("WALLE_GUILD_ID")
        );
        let (status, answer) = rest.send(Method::PUT, &commands_path, &commands).await;
        assert_eq!(status, 200, "{answer}");
        let mut client = Client::connect_to(gateway["url"].as_str().expect("a URL")).await;
        client.identify(&token, INTENTS).await;
        client.event("READY").await;
        let guild = client.event("GUILD_CREATE").await;
        let channels = guild["channels"].as_array().expect("channels");
        let general = channels.iter().find(|one| one["name"] == "general");
        let channel = id(general.expect("general")).to_string();
        let (to, heard) = unbounded_channel();
        tokio::spawn(async move {
            loop {
                let payload = client.next().await;
                let message = &payload["d"];
                if payload["t"] == "MESSAGE_CREATE" && message["author"]["bot"] != true {
                    let text = message["content"].as_str().unwrap_or_default();
                    let name = message["author"]["username"].as_str().unwrap_or_default();
                    if to.send(format!("{name}: {text}")).is_err() {
                        return;
                    }
                }
            }
        });
        Self {
            rest,
            channel,
            heard,
        }
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Value {
        loop {
            let (status, answer) = self.rest.send(method.clone(), path, body).await;
            if status == 429 {
                let after = answer["retry_after"].as_f64().expect("how long");
                tokio::time::sleep(Duration::from_secs_f64(after)).await;
                continue;
            }
            assert!((200..300).contains(&status), "{status} {answer}");
            return answer;
        }
    }

    /// Says something; the message's path.
    async fn say(&self, body: &Value) -> String {
        let path = format!("/channels/{}/messages", self.channel);
        let said = self.send(Method::POST, &path, body).await;
        format!("{path}/{}", id(&said))
    }

    async fn edit(&self, message: &str, text: &str) {
        self.send(Method::PATCH, message, &json!({ "content": text }))
            .await;
    }

    /// What somebody says next.
    async fn hears(&mut self) -> String {
        let heard = tokio::time::timeout(PATIENCE, self.heard.recv()).await;
        heard.expect("somebody says something").expect("a gateway")
    }
}

/// The chat and a bot in it, ready to be typed to.
async fn chat(columns: u16, arguments: &[&str]) -> (Terminal, Bot, tempfile::TempDir) {
    let state = tempfile::tempdir().expect("a directory");
    let terminal = Terminal::open(state.path(), columns, arguments);
    let bot = Bot::connect(state.path()).await;
    terminal.see("the prompt", |rows| {
        rows.last().is_some_and(|last| last == ">") && rows.concat().contains("Ctrl-D")
    });
    (terminal, bot, state)
}

fn text(text: &str) -> Value {
    json!({ "content": text })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_in_three_lines_what_to_type_first() {
    let (terminal, ..) = chat(80, &[]).await;
    let rows = terminal.see("the prompt", |rows| {
        rows.last().is_some_and(|last| last == ">")
    });
    let said = rows
        .iter()
        .skip_while(|row| *row != "The bot is connected.")
        .skip(2);
    let said: Vec<&String> = said.collect();
    assert_eq!(said.len(), 4, "{said:#?}");
    for example in [
        "alice: hello",
        "alice: .rank",
        "mod: /rank user:alice",
        "!help",
        "Ctrl-D",
    ] {
        assert!(said.iter().any(|row| row.contains(example)), "{said:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_line_stays_when_something_arrives() {
    let (terminal, mut bot, _state) = chat(80, &[]).await;
    terminal.press("alice: hal");
    terminal.see_line("> alice: hal", 12, "");
    bot.say(&text("the news")).await;
    terminal.see_line("> alice: hal", 12, "  the news");
    // The cursor stays within the line, too.
    terminal.press(format!("{LEFT}{LEFT}"));
    bot.say(&text("more news")).await;
    terminal.see_line("> alice: hal", 10, "  more news");
    terminal.press("e");
    terminal.see_line("> alice: heal", 11, "");
    terminal.press("\r");
    assert_eq!(bot.hears().await, "alice: heal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrows_and_history_work() {
    let (terminal, mut bot, _state) = chat(80, &[]).await;
    terminal.press(format!("alice: helo{LEFT}l\r"));
    assert_eq!(bot.hears().await, "alice: hello");
    terminal.press("bob: hi\r");
    assert_eq!(bot.hears().await, "bob: hi");
    terminal.press(format!("{UP}{UP}"));
    terminal.see_line("> alice: hello", 14, "> bob: hi");
    terminal.press("!\r");
    assert_eq!(bot.hears().await, "alice: hello!");
    // Several lines at once, as they are pasted.
    terminal.press("alice: one\ralice: two\ralice: three\r");
    for said in ["alice: one", "alice: two", "alice: three"] {
        assert_eq!(bot.hears().await, said);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tab_completes_people_commands_options_and_roles() {
    let (terminal, mut bot, _state) = chat(80, &[]).await;
    terminal.press("ali\t");
    terminal.see_line("> alice:", 9, "");
    terminal.press(".ra\t");
    // Both are listed, and what they have in common is there.
    terminal.see_line("> alice: .rank", 14, ".rank   .ranks");
    terminal.press("s\r");
    assert_eq!(bot.hears().await, "alice: .ranks");
    terminal.press("mod: /ra\t \t\t");
    terminal.see_line("> mod: /rank user:", 18, "");
    terminal.press("bo\t");
    terminal.see_line("> mod: /rank user:bo", 20, "bob   boss");
    terminal.press("b\t");
    terminal.see_line("> mod: /rank user:bob", 22, "");
    terminal.press("\x15mod: .set 5 \"mi\t");
    terminal.see_line("> mod: .set 5 \"Minions\"", 24, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_text_end_nothing() {
    let (mut terminal, mut bot, _state) = chat(80, &[]).await;
    terminal.press(b"alice: h");
    terminal.see_line("> alice: h", 10, "");
    terminal.press(b"\xff");
    terminal.see_line("> alice: h", 10, "That was not UTF-8");
    // A letter of Latin-1 is known to be none when the next one comes.
    terminal.press(format!("{LEFT}\u{e9}"));
    terminal.see_line("> alice: \u{e9}h", 10, "");
    terminal.press(b"\xe9t");
    terminal.see("the line after Latin-1", |rows| {
        let sentence = |row: &&String| row.starts_with("That was not UTF-8");
        rows.iter().filter(sentence).count() == 2 && rows.last().unwrap() == "> alice: \u{e9}h"
    });
    terminal.press("\r");
    assert_eq!(bot.hears().await, "alice: \u{e9}h");
    terminal.press(CTRL_D);
    assert!(terminal.ended().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrow_window_is_enough() {
    for columns in [20, 30, 40] {
        let (terminal, mut bot, _state) = chat(columns, &[]).await;
        let words = "one two three four five six seven eight nine ten eleven twelve";
        // Longer than a row or two: it is drawn again as a whole below what arrives.
        terminal.press(format!("alice: {words}"));
        let typed = |rows: &[String]| rows.concat().replace(' ', "").ends_with("eleventwelve");
        terminal.see("the line", typed);
        let embed = json!({ "title": "A card", "description": words });
        bot.say(&json!({ "embeds": [embed] })).await;
        let rows = terminal.see("the card above the line", |rows| {
            typed(rows) && rows.iter().any(|row| row.starts_with("  \u{2570}"))
        });
        let top = rows
            .iter()
            .position(|row| row.starts_with("  \u{256d}"))
            .unwrap();
        let bottom = rows
            .iter()
            .position(|row| row.starts_with("  \u{2570}"))
            .unwrap();
        let inside = &rows[top + 1..bottom];
        assert!(
            inside.iter().all(|row| row.starts_with("  \u{2502} ")),
            "{rows:#?}"
        );
        let text: Vec<&str> = inside.iter().map(|row| row[6..].trim()).collect();
        assert_eq!(text.join(" "), format!("A card {words}"), "{rows:#?}");
        // The line is there once.
        assert_eq!(rows.concat().matches("alice: one").count(), 1, "{rows:#?}");
        terminal.press("\r");
        assert_eq!(bot.hears().await, format!("alice: {words}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_changes_its_width_is_followed() {
    let (terminal, mut bot, _state) = chat(80, &[]).await;
    terminal.press("alice: hello");
    terminal.see_line("> alice: hello", 14, "");
    terminal.resize(30);
    let message = bot.say(&text("0 words, and all of them fit in")).await;
    terminal.see_line("> alice: hello", 14, "  in");
    bot.edit(&message, "1 word").await;
    let rows = terminal.see_line("> alice: hello", 14, "  1 word");
    assert!(!rows.iter().any(|row| row.contains("fit")), "{rows:#?}");
    terminal.press("\r");
    assert_eq!(bot.hears().await, "alice: hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_drawn_in_its_place() {
    let (terminal, bot, _state) = chat(80, &[]).await;
    terminal.press("alice: wai");
    let message = bot.say(&text("0 %\nof all")).await;
    terminal.see_line("> alice: wai", 12, "  0 %");
    for percent in [20, 40, 60] {
        bot.edit(&message, &format!("{percent} %\nof all")).await;
        let rows = terminal.see_line("> alice: wai", 12, &format!("  {percent} %"));
        let shown = |part: &str| rows.iter().filter(|row| row.contains(part)).count();
        assert_eq!(
            (shown(" %"), shown("of all"), shown("wall_e in")),
            (1, 1, 1),
            "{rows:#?}"
        );
    }
    // Where something stands below it, it is drawn again there, but not with each edit.
    bot.say(&text("between")).await;
    terminal.see_line("> alice: wai", 12, "  between");
    bot.edit(&message, "80 %").await;
    bot.edit(&message, "100 %").await;
    let rows = terminal.see_line("> alice: wai", 12, "  100 %");
    assert!(!rows.iter().any(|row| row.contains("80 %")), "{rows:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_and_people_are_drawn() {
    let (terminal, bot, _state) = chat(80, &[]).await;
    bot.say(&text("since <t:1700000000:D>, <t:1700000000:R>"))
        .await;
    terminal.see("the date", |rows| {
        rows.iter()
            .any(|row| row.starts_with("  since November 14, 2023, ") && row.ends_with("ago"))
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_message_earned_is_shown() {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/xp.sh");
    let (terminal, mut bot, _state) = chat(80, &["--xp-from", program]).await;
    terminal.press("alice: hello\rbob");
    assert_eq!(bot.hears().await, "alice: hello");
    terminal.see_line("> bob", 5, "  +19 XP for alice");
    terminal.press(": fail\r");
    terminal.see("the failure", |rows| {
        // Where the line is broken depends on where this checkout is.
        let words: Vec<&str> = rows.iter().flat_map(|row| row.split_whitespace()).collect();
        words
            .join(" ")
            .contains("xp.sh failed: the database is away")
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chat_ends_when_it_is_told_to() {
    for ending in [
        "exit\r",
        "quit\r",
        " exit \r",
        CTRL_D,
        CTRL_C,
        "alice: hal\x03",
        "!drop\r!wait\rexit\r",
    ] {
        let (mut terminal, _bot, _state) = chat(80, &[]).await;
        assert!(terminal.is_raw());
        terminal.press(ending);
        assert!(terminal.ended().success(), "{ending:?}");
        assert!(!terminal.is_raw(), "{ending:?}");
    }
    for signal in [Signal::TERM, Signal::INT] {
        let (mut terminal, _bot, _state) = chat(80, &[]).await;
        terminal.press("alice: hal");
        terminal.see_line("> alice: hal", 12, "");
        let pid = i32::try_from(terminal.chat.id())
            .ok()
            .and_then(Pid::from_raw);
        kill_process(pid.expect("a process"), signal).expect("it runs");
        assert!(terminal.ended().success(), "{signal:?}");
        assert!(!terminal.is_raw(), "{signal:?}");
    }
}
