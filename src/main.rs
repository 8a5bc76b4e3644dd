//! The command line: parses it, starts the log, runs what was asked for.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry};
use wall_e::app;
use wall_e::config::{Cli, Command, Log, LogFormat};
use wall_e::discord::overheard::{Overheard, overhear};
use wall_e::error::Stop;

/// What holds under every filter: why the bot ends is always said, and libraries are kept
/// quiet that would put people's words or secrets into the log: serenity traces
/// requests with their bodies and quotes what it cannot parse, sqlx quotes parameters
/// of the database's URL that it does not know.
const QUIET: &str = "error,serenity=warn,serenity::http=error,serenity::gateway::ws=off,sqlx_postgres::options=off,sqlx=warn";

fn main() -> ExitCode {
    let sealed = seal_memory();
    let cli = Cli::parse();
    let overheard = start_log(&cli.log);
    if let Err(error) = sealed {
        tracing::warn!(%error, "a core dump of this process could not be ruled out: it would hold the token");
    }
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Stop::Other(error.into()))
        .and_then(|runtime| {
            let ended = runtime.block_on(run(cli.command, overheard));
            // What is left by now has had its time.
            runtime.shutdown_background();
            ended
        });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            tracing::error!(exit_code = stop.exit_code(), "{stop}");
            ExitCode::from(stop.exit_code())
        }
    }
}

/// Keeps the memory, in which the token is, out of core dumps: those that are files by the
/// limit, those that are piped to a collector (which ask no limit) by the second call.
/// It also keeps other processes of the same user from reading along.
fn seal_memory() -> rustix::io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

async fn run(command: Command, overheard: Overheard) -> Result<(), Stop> {
    let cancel = CancellationToken::new();
    cancel_on_signal(cancel.clone()).map_err(|error| Stop::Other(error.into()))?;
    let asked_to_end = cancel.clone();
    let interrupted = || Err(Stop::Other(anyhow::anyhow!("interrupted")));
    match command {
        Command::Run(settings) => Box::pin(app::run(settings, overheard, cancel)).await,
        Command::Listen(settings) => Box::pin(app::listen(settings, overheard, cancel)).await,
        Command::Import(settings) => app::import(&settings, cancel).await,
        // These can be cut off anywhere.
        Command::Migrate(database) => {
            let migrating = asked_to_end.run_until_cancelled(app::migrate(&database));
            migrating.await.unwrap_or_else(interrupted)
        }
        Command::VerifyRoles(settings) => Box::pin(app::verify_roles(settings, cancel)).await,
        Command::Check(settings) => {
            let checking = asked_to_end.run_until_cancelled(app::check(&settings));
            checking.await.unwrap_or_else(interrupted)
        }
    }
}

/// SIGTERM and Ctrl-C ask for an orderly end, a second one for an immediate end.
fn cancel_on_signal(cancel: CancellationToken) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if cancel.is_cancelled() {
                std::process::exit(130);
            }
            tracing::info!("asked to end");
            cancel.cancel();
        }
    });
    Ok(())
}

/// Starts the log, and what listens to serenity beside it.
fn start_log(log: &Log) -> Overheard {
    // What comes last wins, but only where it names the same: `info` or `debug` alone
    // never makes the libraries talk, whose spans hold messages and tokens.
    let filter = EnvFilter::builder().parse_lossy(format!("{QUIET},{}", log.filter));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match log.format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let (ear, overheard) = overhear();
    Registry::default()
        .with(lines.with_filter(filter))
        .with(ear)
        .init();
    overheard
}

#[cfg(test)]
mod tests {
    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn memory_is_sealed() {
        seal_memory().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).maximum, Some(0));
    }
}
