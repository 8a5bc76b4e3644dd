//! What a message earned, as a program tells it: the simulator itself knows no XP.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;

use crate::Id;

/// How long it may take until it is known.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A program that tells what messages earned. It is asked about the author before each message
/// (`SIM_USER`), and about the message until it prints something (`SIM_MESSAGE`, `SIM_TEXT`,
/// `SIM_NAME`, and in `SIM_BEFORE` what it printed before).
#[derive(Debug, Clone)]
pub struct XpProgram(PathBuf);

impl XpProgram {
    /// The program at this path.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// What the author has, in the program's own words.
    pub(super) async fn before(&self, user: Id) -> Result<String, String> {
        self.ask(&[("SIM_USER", &user.to_string())]).await
    }

    /// What a message earned; none if that is not known in time.
    pub(super) async fn earned(&self, said: &Said, before: &str) -> Result<Option<String>, String> {
        let (user, message) = (said.user.to_string(), said.message.to_string());
        let variables = [
            ("SIM_USER", &*user),
            ("SIM_MESSAGE", &message),
            ("SIM_TEXT", &said.text),
            ("SIM_NAME", &said.name),
            ("SIM_BEFORE", before),
        ];
        let deadline = Instant::now() + KNOWN_WITHIN;
        let mut pause = FIRST_PAUSE;
        while Instant::now() < deadline {
            let answer = self.ask(&variables).await?;
            if !answer.is_empty() {
                return Ok(Some(answer));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(None)
    }

    async fn ask(&self, variables: &[(&str, &str)]) -> Result<String, String> {
        let output = Command::new(&self.0)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|why| format!("{} cannot be run: {why}.", self.0.display()))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{} failed: {}", self.0.display(), why.trim()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// Something that somebody said.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) user: Id,
    pub(super) name: String,
    pub(super) message: Id,
    pub(super) text: String,
}
