//! The simulator as a program: for the sandbox, and to try a bot by hand.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use discord_sim::chat::{self, Room, XpProgram};
use discord_sim::{Sim, World, fixtures};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A Discord that runs on this machine.
///
/// Serves Discord's gateway and REST API (v10) on 127.0.0.1, with a made-up
/// guild. No account, no token of your own and no network are needed, and
/// nothing leaves this machine.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  Serve, then start a bot with what it needs to know:
    discord-sim serve --state-dir /tmp/sim --members 7120 &
    until [ -e /tmp/sim/env ]; do sleep 0.1; done
    set -a; . /tmp/sim/env; set +a
    wall_e run

  Talk to the bot as the people of the guild:
    discord-sim chat --state-dir /tmp/sim --world fixtures/sandbox/guild.json

  Play a conversation and check the answers (exit status 1 if one differs):
    discord-sim chat --state-dir /tmp/sim --world fixtures/sandbox/guild.json \\
      --script fixtures/sandbox/conversation.txt

  Make the made-up guild's files:
    discord-sim fixtures fixtures/sandbox --members 7120

The program of --xp-from is run before each message that somebody says, with
SIM_USER (the author's id), and after it, until it prints something, with
SIM_USER, SIM_NAME, SIM_MESSAGE (the message's id), SIM_TEXT, and SIM_BEFORE
(what it printed before the message).

RUST_LOG sets what is logged, to standard error (default: warn).";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until Ctrl-C or SIGTERM.
    Serve {
        #[command(flatten)]
        place: Place,
        /// How many generated members the guild has, besides the named people.
        #[arg(long, value_name = "N")]
        members: Option<u32>,
        /// The guild, as `discord-sim fixtures` writes it. Default: a small one.
        #[arg(long, value_name = "FILE")]
        world: Option<PathBuf>,
    },
    /// Serve, and talk to the bot as the people of the guild.
    Chat {
        #[command(flatten)]
        place: Place,
        /// The guild, as `discord-sim fixtures` writes it. Default: a small one.
        #[arg(long, value_name = "FILE")]
        world: Option<PathBuf>,
        /// Play this file instead of reading the keyboard. It holds lines of the chat,
        /// `# comment`, `expect REGEX` (the bot's next answer must match) and
        /// `expect nothing` (the next answer must be to a later line).
        #[arg(long, value_name = "FILE")]
        script: Option<PathBuf>,
        /// A program that says what a message earned; the chat shows that below the message.
        #[arg(long, value_name = "PROGRAM", conflicts_with = "script")]
        xp_from: Option<PathBuf>,
    },
    /// Write the made-up guild: levels.json, userpoints.json, guild.json.
    Fixtures {
        /// Where to write it.
        directory: PathBuf,
        /// How many generated members the guild has, and how many of all its
        /// users have earned something.
        #[arg(long, value_name = "N", default_value_t = 7_120)]
        members: u32,
    },
}

#[derive(Debug, clap::Args)]
struct Place {
    /// Where to put ca.pem (the certificate to trust) and env (the settings for a
    /// bot, as shell variables). env is written last: when it exists, the simulator
    /// is ready.
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .init();
    let arguments = Arguments::parse();
    let done = tokio::select! {
        done = run(arguments.command) => done,
        interrupted = interrupted() => interrupted,
    };
    if let Err(error) = done {
        // Nothing is left to do if standard error is gone too.
        let _ = writeln!(io::stderr(), "discord-sim: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve {
            place,
            members,
            world,
        } => serve(&place.state_dir, members, world).await,
        Command::Chat {
            place,
            world,
            script,
            xp_from,
        } => chat(&place.state_dir, world, script, xp_from).await,
        Command::Fixtures { directory, members } => fixtures::write(&directory, members),
    }
}

/// Waits for Ctrl-C or SIGTERM.
async fn interrupted() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn serve(
    directory: &Path,
    members: Option<u32>,
    world: Option<PathBuf>,
) -> anyhow::Result<()> {
    let mut world = read_world(world)?;
    world.guild.members = members.unwrap_or(world.guild.members);
    let (sim, _env) = start(world, directory).await?;
    writeln!(
        io::stdout(),
        "Discord is at {}; {} has the settings for a bot. Press Ctrl-C to stop.",
        sim.api_url(),
        directory.join("env").display()
    )?;
    std::future::pending().await
}

async fn chat(
    directory: &Path,
    world: Option<PathBuf>,
    script: Option<PathBuf>,
    xp_from: Option<PathBuf>,
) -> anyhow::Result<()> {
    let script = script
        .map(|path| {
            std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read the script {}", path.display()))
        })
        .transpose()?;
    let (sim, _env) = start(read_world(world)?, directory).await?;
    writeln!(
        io::stdout(),
        "Waiting for the bot to connect (its settings are in {}) …",
        directory.join("env").display()
    )?;
    let mut room = Room::new(sim);
    anyhow::ensure!(
        room.wait_for_bot().await,
        "no bot connected within two minutes: start one with the variables in {}",
        directory.join("env").display()
    );
    writeln!(io::stdout(), "The bot is connected.\n")?;
    match script {
        Some(script) => chat::play(&mut room, &script, &mut io::stdout().lock()).await?,
        None => chat::talk(room, xp_from.map(XpProgram::new)).await?,
    }
    Ok(())
}

fn read_world(path: Option<PathBuf>) -> anyhow::Result<World> {
    path.map_or_else(|| Ok(World::new()), |path| World::read(&path))
}

/// Starts the simulation and says how to find it.
async fn start(world: World, directory: &Path) -> anyhow::Result<(Sim, EnvFile)> {
    let env = EnvFile(directory.join("env"));
    env.remove();
    let sim = Sim::start_in(world, directory).await?;
    let lines = [
        variable("WALLE_DISCORD_API", &sim.api_url()),
        variable("WALLE_DISCORD_CDN", &sim.cdn_url()),
        variable("WALLE_DISCORD_CA", &absolute(&sim.ca_path())),
        variable("WALLE_TOKEN", &sim.token()),
        variable("WALLE_GUILD_ID", &sim.guild_id().to_string()),
    ];
    env.appear(&lines.concat())?;
    Ok((sim, env))
}

/// What a bot has to know, as a file that is there as long as the simulator is.
struct EnvFile(PathBuf);

impl EnvFile {
    /// Appears at once and whole.
    fn appear(&self, text: &str) -> anyhow::Result<()> {
        let unfinished = self.0.with_extension("part");
        std::fs::write(&unfinished, text)
            .and_then(|()| std::fs::rename(&unfinished, &self.0))
            .with_context(|| format!("cannot write {}", self.0.display()))
    }

    fn remove(&self) {
        // Usually there is none from an earlier run.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Drop for EnvFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A line that a shell can read.
fn variable(name: &str, value: &str) -> String {
    format!("{name}='{}'\n", value.replace('\'', r"'\''"))
}

fn absolute(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.display().to_string()
}
