//! The bot as a process: the real binary, with its log in a file.

use std::fs::File;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use discord_sim::Sim;
use fault_lab::{Signal, send_signal};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::wait;

/// In the place of a password where the tests' server asks for none.
const CANARY: &str = "canary-of-a-password";

/// A running bot; killed when it goes out of scope, when its log is searched for what it
/// must keep to itself.
pub struct Bot {
    child: Child,
    log: PathBuf,
    secrets: Vec<String>,
    _directory: TempDir,
}

/// The binary, with an environment in which only what is given here is set.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wall_e"));
    for (name, _) in std::env::vars() {
        if name.starts_with("WALLE_") || matches!(name.as_str(), "DATABASE_URL" | "RUST_LOG") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

impl Bot {
    /// A bot that has connected to the simulator.
    pub async fn start(sim: &Sim, database_url: &str) -> Self {
        let mut bot = Self::launch(sim, database_url, &[]);
        bot.connected(sim).await;
        bot
    }

    /// A bot that has only been started, with settings of its own.
    pub fn launch(sim: &Sim, database_url: &str, settings: &[(&str, &str)]) -> Self {
        Self::launch_with(sim, database_url, settings, &[])
    }

    /// The same, with flags.
    pub fn launch_with(
        sim: &Sim,
        database_url: &str,
        settings: &[(&str, &str)],
        flags: &[&str],
    ) -> Self {
        Self::spawn("run", sim, database_url, settings, flags)
    }

    /// What only marks whose profile has changed.
    pub fn listener(sim: &Sim, database_url: &str) -> Self {
        Self::spawn("listen", sim, database_url, &[], &[])
    }

    fn spawn(
        subcommand: &str,
        sim: &Sim,
        database_url: &str,
        settings: &[(&str, &str)],
        flags: &[&str],
    ) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let log = directory.path().join("bot.log");
        let (url, password) = with_password(database_url);
        let child = command()
            .arg(subcommand)
            .args(flags)
            .env("WALLE_TOKEN", sim.token())
            .env("WALLE_GUILD_ID", sim.guild_id().to_string())
            .env("WALLE_DISCORD_API", sim.api_url())
            .env("WALLE_DISCORD_CA", sim.ca_path())
            .env("WALLE_DISCORD_CDN", sim.cdn_url())
            .env("DATABASE_URL", url)
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log file"))
            .spawn()
            .expect("the binary starts");
        Self {
            child,
            log,
            secrets: vec![sim.token(), password],
            _directory: directory,
        }
    }

    /// Waits until it is connected and its slash commands are registered.
    pub async fn connected(&mut self, sim: &Sim) {
        wait("the bot to connect", async || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the bot ended with {status}:\n{}", self.log());
            }
            (sim.is_connected() && !sim.commands().is_empty()).then_some(())
        })
        .await;
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log can be read")
    }

    /// Waits for a line of the log that contains `text`.
    pub async fn logged(&self, text: &str) {
        wait(&format!("{text:?} in the log"), async || {
            self.log().contains(text).then_some(())
        })
        .await;
    }

    /// Asks it to end, and how it did.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        send_signal(self.id(), signal).expect("the signal is sent");
    }

    /// How it ends.
    pub async fn ended(&mut self) -> ExitStatus {
        wait("the bot to end", async || {
            self.child.try_wait().expect("the bot can be waited for")
        })
        .await
    }

    /// Ends it as a power cut would.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("the bot can be killed");
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("the bot still runs")
    }
}

impl Drop for Bot {
    #[expect(clippy::print_stderr, reason = "shown with a test that failed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
            return;
        }
        let log = self.log();
        for secret in &self.secrets {
            assert!(!log.contains(secret), "a secret is in the log:\n{log}");
        }
    }
}

/// The URL with a password in it, and the password: its own, or one that is as good as any.
fn with_password(url: &str) -> (String, String) {
    let mut url = reqwest::Url::parse(url).expect("DATABASE_URL is a URL");
    if url.password().is_none() {
        url.set_password(Some(CANARY)).expect("a URL with a host");
    }
    let password = url.password().unwrap_or_default().to_owned();
    (url.into(), password)
}
