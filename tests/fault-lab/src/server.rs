//! A real Postgres of one's own, made afresh, that can be stopped, killed and started.
//!
//! It lives beside the server that `DATABASE_URL` names, which must be a private one on a
//! unix socket (as `run_walle.sh` starts it): that directory's owner runs it. Its programs
//! are those on the PATH. It does not survive its maker, and leaves nothing behind.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};

use crate::gate::Address;
use crate::signal::{Signal, send_signal};

const PORT: u16 = 5432;
/// For a start, with a recovery after a crash, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);
/// Commits outlive the server's own death (`synchronous_commit` stays on), which is what
/// is tested; the machine's death is not, so nothing need reach a disk.
const SETTINGS: [&str; 5] = [
    "listen_addresses=",
    "fsync=off",
    "full_page_writes=off",
    "max_connections=50",
    "logging_collector=off",
];

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// In order: sessions are ended, then a checkpoint.
    Fast,
    /// At once: the next start recovers from the log.
    Immediate,
    /// As by the kernel when memory is short.
    Killed,
}

/// A running Postgres, or one between two starts.
#[derive(Debug)]
pub struct Server {
    home: PathBuf,
    owner: (u32, u32),
    process: Option<Child>,
}

impl Server {
    /// Makes a cluster beside the one at `beside` and starts it; its superuser is `role`.
    pub async fn make(beside: &Address, role: &str) -> anyhow::Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let Address::Socket(socket) = beside else {
            bail!(
                "a server of one's own needs a private one beside it: start this with ./run_walle.sh"
            );
        };
        let parent = socket.parent().context("a socket is in a directory")?;
        let metadata = std::fs::metadata(parent).context("the private Postgres' directory")?;
        // Short: the path of a socket must not be long.
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let home = parent.join(format!("{}.{number}", std::process::id()));
        std::fs::create_dir(&home).with_context(|| home.display().to_string())?;
        let owner = (metadata.uid(), metadata.gid());
        std::os::unix::fs::chown(&home, Some(owner.0), Some(owner.1))?;
        let mut server = Self {
            home,
            owner,
            process: None,
        };
        let made = server
            .command("initdb")
            .args([
                "--pgdata=data",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
            ])
            .arg(format!("--username={role}"))
            .output()
            .await
            .context("initdb cannot be run")?;
        if !made.status.success() {
            bail!("initdb: {}", String::from_utf8_lossy(&made.stderr));
        }
        server.start().await?;
        Ok(server)
    }

    /// Where it listens while it runs.
    pub fn address(&self) -> Address {
        Address::of(&self.socket_directory().display().to_string(), PORT)
    }

    /// The directory of its socket, as connection options want it.
    pub fn socket_directory(&self) -> &Path {
        &self.home
    }

    /// The port that is in its socket's name.
    pub fn port(&self) -> u16 {
        PORT
    }

    /// Starts it, and waits until it lets sessions in.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        while !(self.runs() && self.answers().await?) {
            if started.elapsed() > PATIENCE {
                bail!(
                    "Postgres does not start: {}/log says why",
                    self.home.display()
                );
            }
            if !self.runs() {
                // The first time, and while what is left of a killed one holds its memory.
                self.process = Some(self.launch()?);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    fn launch(&self) -> anyhow::Result<Child> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.home.join("log"))?;
        let mut postgres = self.command("postgres");
        postgres.args(["-D", "data"]);
        let sockets = format!("unix_socket_directories={}", self.home.display());
        let port = format!("port={PORT}");
        for setting in SETTINGS
            .into_iter()
            .chain([sockets.as_str(), port.as_str()])
        {
            postgres.args(["-c", setting]);
        }
        let process = postgres.stdout(Stdio::null()).stderr(log).spawn();
        process.context("postgres cannot be run")
    }

    fn runs(&mut self) -> bool {
        let process = self.process.as_mut();
        process.is_some_and(|process| process.try_wait().is_ok_and(|ended| ended.is_none()))
    }

    /// Ends it, and waits until it has.
    pub async fn stop(&mut self, how: Stop) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let signal = match how {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
            Stop::Killed => Signal::KILL,
        };
        let pid = process.id().context("Postgres has ended by itself")?;
        send_signal(pid, signal)?;
        let ended = tokio::time::timeout(PATIENCE, process.wait()).await;
        ended.context("Postgres does not end")??;
        Ok(())
    }

    async fn answers(&self) -> anyhow::Result<bool> {
        let ready = self
            .command("pg_isready")
            .arg(format!("--host={}", self.home.display()))
            .arg(format!("--port={PORT}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        Ok(ready.await.context("pg_isready cannot be run")?.success())
    }

    /// One of Postgres' programs, as the owner, in the server's directory. The kernel ends
    /// it when this process is gone.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "QUIT"]);
        if std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
            let (user, group) = self.owner;
            command
                .args([format!("--reuid={user}"), format!("--regid={group}")])
                .arg("--clear-groups");
        }
        command
            .arg("--")
            .arg(program)
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.start_kill();
            // Its backends see that it is gone and end by themselves.
            let started = Instant::now();
            while process.try_wait().is_ok_and(|ended| ended.is_none())
                && started.elapsed() < PATIENCE
            {
                std::thread::sleep(LOOK);
            }
        }
        let _ = std::fs::remove_dir_all(&self.home);
    }
}
