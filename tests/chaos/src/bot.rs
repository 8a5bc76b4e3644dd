//! The real bot as a process; every one of a seed logs into the same file.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use discord_sim::Sim;
use fault_lab::{Signal, WallClock, send_signal};
use tokio::process::{Child, Command};

/// It promises to be done within 10 seconds; this is for machines that are busy.
const LEAVE: Duration = Duration::from_secs(30);

const SIGTERM: i32 = 15;

/// What the bot did wrong. Every other error of a seed is the chaos' own.
#[derive(Debug)]
pub struct BotFault(pub String);

impl std::fmt::Display for BotFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BotFault {}

/// A running bot; killed when it goes out of scope.
#[derive(Debug)]
pub struct Bot(Child);

impl Bot {
    /// Starts the bot that is built beside this program; it sees `clock`, if there is one.
    pub fn start(
        sim: &Sim,
        database_url: &str,
        clock: Option<&WallClock>,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("wall_e");
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        // Ended by the kernel when this program is, however that happens.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&binary);
        for (name, _) in std::env::vars() {
            if name.starts_with("WALLE_") {
                command.env_remove(name);
            }
        }
        if let Some(clock) = clock {
            command.envs(clock.environment());
        }
        let child = command
            .arg("run")
            .env("RUST_LOG", "info,serenity=warn")
            .env("WALLE_TOKEN", sim.token())
            .env("WALLE_GUILD_ID", sim.guild_id().to_string())
            .env("WALLE_DISCORD_API", sim.api_url())
            .env("WALLE_DISCORD_CA", sim.ca_path())
            .env("WALLE_DISCORD_CDN", sim.cdn_url())
            .env("WALLE_CATCH_UP_HOURS", "48")
            .env("WALLE_HTTP_ADDR", "")
            .env("DATABASE_URL", database_url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{}: ./run_walle.sh chaos builds it", binary.display()))?;
        Ok(Self(child))
    }

    /// An error if it has ended without being asked.
    pub fn still_runs(&mut self) -> anyhow::Result<()> {
        match self.0.try_wait()? {
            Some(status) => bail!(BotFault(format!("the bot ended by itself with {status}"))),
            None => Ok(()),
        }
    }

    /// Ends it as a power cut would.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.0.kill().await?)
    }

    /// Asks it to end.
    pub async fn terminate(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.ended().await?;
        // One that has only just been started knows of no signal yet, and of nothing that
        // it could lose.
        if !status.success() && status.signal() != Some(SIGTERM) {
            bail!(BotFault(format!(
                "the bot was asked to end and did so with {status}"
            )));
        }
        Ok(())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        send_signal(self.0.id().context("the bot has ended")?, signal)
    }

    /// How it ends.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let ended = tokio::time::timeout(LEAVE, self.0.wait()).await;
        Ok(ended.map_err(|_| BotFault("the bot does not end".into()))??)
    }
}
