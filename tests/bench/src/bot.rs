//! Clients of the simulator as processes of their own: the real bot, and the reference.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::ValueEnum as _;
use discord_sim::Sim;
use fault_lab::{Signal, send_signal};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::counter::Library;
use crate::cpu;
use crate::database::Scratch;

/// A million users are read in seconds; this is for machines that are busy.
const CLIENT_TIMEOUT: Duration = Duration::from_mins(2);
const POLL_INTERVAL: Duration = Duration::from_millis(4);

/// A running client; killed when it goes out of scope.
pub struct Client {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    directory: TempDir,
}

impl Client {
    /// The real bot, as it is built beside this program.
    pub fn wall_e(sim: &Sim, database_url: &str) -> anyhow::Result<Self> {
        Self::wall_e_with(&[], sim, database_url)
    }

    /// The same, in the place of one that runs.
    pub fn wall_e_taking_over(sim: &Sim, database_url: &str) -> anyhow::Result<Self> {
        Self::wall_e_with(&["--take-over"], sim, database_url)
    }

    fn wall_e_with(flags: &[&str], sim: &Sim, database_url: &str) -> anyhow::Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("wall_e");
        if !binary.exists() {
            bail!(
                "{} is missing: ./run_walle.sh bench builds it",
                binary.display()
            );
        }
        let mut command = Command::new(binary);
        command
            .arg("run")
            .args(flags)
            .env("WALLE_GUILD_ID", sim.guild_id().to_string())
            .env("DATABASE_URL", database_url);
        Self::start(command, sim)
    }

    /// A client that counts this many messages, then says so.
    pub fn counting(sim: &Sim, library: Library, messages: usize) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let library = library
            .to_possible_value()
            .context("every library has a name")?;
        command.args(["count", library.get_name(), &messages.to_string()]);
        Self::start(command, sim)
    }

    fn start(mut command: Command, sim: &Sim) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let log = File::create(directory.path().join("log"))?;
        let mut child = command
            .env_remove("RUST_LOG")
            .env("WALLE_TOKEN", sim.token())
            .env("WALLE_DISCORD_API", sim.api_url())
            .env("WALLE_DISCORD_CA", sim.ca_path())
            .env("WALLE_DISCORD_CDN", sim.cdn_url())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let said = child.stdout.take().context("the client has an output")?;
        Ok(Self {
            child,
            said: BufReader::new(said).lines(),
            directory,
        })
    }

    /// Waits until the gateway has greeted it.
    pub async fn connected(&mut self, sim: &Sim) -> anyhow::Result<()> {
        self.wait("to connect", || sim.is_connected()).await
    }

    /// Waits until it has done all that it does at its start.
    pub async fn settled(&mut self, sim: &Sim) -> anyhow::Result<()> {
        self.wait("to register its commands", || !sim.commands().is_empty())
            .await
    }

    /// Waits until what somebody writes now has been counted and committed: the bot has
    /// caught up by then.
    pub async fn counts(&mut self, sim: &Sim, database: &mut Scratch) -> anyhow::Result<()> {
        let author = sim.user("alice");
        let message = i64::try_from(sim.say(author, sim.channel("general"), "Hello"))?;
        let started = Instant::now();
        while database.frontier().await? < message {
            if let Some(status) = self.child.try_wait()? {
                bail!("the client ended with {status}:\n{}", self.log());
            }
            if started.elapsed() > CLIENT_TIMEOUT {
                bail!("the client counts nothing:\n{}", self.log());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Waits for the next line of its output.
    pub async fn says_something(&mut self) -> anyhow::Result<()> {
        let line = tokio::time::timeout(CLIENT_TIMEOUT, self.said.next_line()).await;
        match line.context("the client says nothing")?? {
            Some(_) => Ok(()),
            None => bail!("the client has ended:\n{}", self.log()),
        }
    }

    /// The memory it has in use, in bytes.
    pub fn resident_bytes(&self) -> anyhow::Result<usize> {
        let process = self.child.id().context("the client has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        let kilobytes: usize = kilobytes.context("no VmRSS")?.parse()?;
        Ok(kilobytes * 1024)
    }

    /// How much of the processors it has used; `None` where that cannot be seen.
    pub fn cpu(&self) -> Option<Duration> {
        cpu::of_process(self.child.id()?)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        send_signal(self.child.id().context("the client has ended")?, signal)
    }

    /// Asks it to end, and waits: after a crash the next one would be cautious, and
    /// that is not what is measured.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        self.ended().await
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        tokio::time::timeout(CLIENT_TIMEOUT, self.child.wait())
            .await
            .context("the client does not end")??;
        Ok(())
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    async fn wait(&mut self, what: &str, mut look: impl FnMut() -> bool) -> anyhow::Result<()> {
        let started = Instant::now();
        while !look() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the client ended with {status}:\n{}", self.log());
            }
            if started.elapsed() > CLIENT_TIMEOUT {
                bail!("the client took too long {what}:\n{}", self.log());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }
}
