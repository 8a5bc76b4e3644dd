//! The command line: parses it, starts the log, runs what was asked for.

use std::fmt;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing_subscriber::field::{RecordFields, VisitOutput as _};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry};
use wall_e::app;
use wall_e::config::{self, Cli, CliCommand, Log, LogFormat, UnknownSetting};
use wall_e::error::Stop;
use wall_e::exit_code;
use wall_e::leveling::spell_out;

/// Log directives that come before the operator's filter. They log errors of all targets, even if
/// the filter names only some. That includes the error that ends the bot. They also limit libraries
/// that would log people's messages or secrets: serenity traces requests with their bodies and
/// quotes what it cannot parse, and sqlx quotes unknown parameters of the database's URL.
const QUIET: &str = "error,serenity=warn,serenity::http=error,serenity::gateway::ws=off,twilight_gateway=warn,twilight_http_ratelimiting=warn,sqlx_postgres::options=off,sqlx=warn";

fn main() -> ExitCode {
    let sealed = seal_memory();
    let cli = Cli::parse();
    start_log(&cli.log);
    if let Err(error) = sealed {
        tracing::warn!(%error, "core dumps could not be disabled; a core dump of this process would contain the token");
    }
    for UnknownSetting { name, nearest } in config::unknown_settings() {
        let hint = nearest.map(|nearest| format!("; did you mean {nearest}?"));
        tracing::warn!(
            "{name} is set, but wall_e has no such setting{}",
            hint.unwrap_or_default()
        );
    }
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Stop::Other(error.into()))
        .and_then(|runtime| {
            let ended = runtime.block_on(run(cli.command));
            // Does not wait for tasks that are still running: they have had their time.
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

/// Prevents core dumps, since the process's memory contains the token. The limit prevents dumps to
/// files. Dumps that are piped to a collector ignore the limit; the second call prevents those, and
/// also stops other processes of the same user from reading this one's memory.
fn seal_memory() -> rustix::io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

async fn run(command: CliCommand) -> Result<(), Stop> {
    let cancel = CancellationToken::new();
    cancel_on_signal(cancel.clone()).map_err(|error| Stop::Other(error.into()))?;
    let asked_to_end = cancel.clone();
    let interrupted = || Err(Stop::Other(anyhow::anyhow!("interrupted")));
    match command {
        CliCommand::Run(settings) => Box::pin(app::run(settings, cancel)).await,
        CliCommand::Listen(settings) => Box::pin(app::listen(settings, cancel)).await,
        CliCommand::Import(settings) => app::import(&settings, cancel).await,
        // `migrate` and `check` may be dropped at any await point.
        CliCommand::Migrate(database) => {
            let migrating = asked_to_end.run_until_cancelled(app::migrate(&database));
            migrating.await.unwrap_or_else(interrupted)
        }
        CliCommand::VerifyRoles(settings) => Box::pin(app::verify_roles(settings, cancel)).await,
        CliCommand::Check(settings) => {
            let checking = asked_to_end.run_until_cancelled(app::check(&settings));
            checking.await.unwrap_or_else(interrupted)
        }
    }
}

/// The first SIGTERM or Ctrl-C cancels the token for an orderly shutdown; the second exits at once.
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
                std::process::exit(exit_code::INTERRUPTED);
            }
            tracing::info!("asked to end");
            cancel.cancel();
        }
    });
    Ok(())
}

/// Logs to stderr from now on.
fn start_log(log: &Log) {
    // A later directive overrides an earlier one only for the same target. So if the operator's
    // filter is just `info` or `debug`, the limits on libraries stay. Their spans would contain
    // messages and tokens.
    let filter = EnvFilter::builder().parse_lossy(format!("{QUIET},{}", log.filter));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match log.format {
        LogFormat::Text => lines.fmt_fields(OneLine).with_target(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    // The filter is on the whole registry. A filter on one layer remembers its last decision: if a
    // library only asks whether a level is enabled, and logs nothing, our next line could be lost.
    Registry::default().with(filter).with(lines).init();
}

/// Formats fields as tracing does, but escapes line breaks and control characters, which may be in
/// names and in texts from Discord, Postgres or files. (The JSON format escapes them itself.)
#[derive(Clone, Copy, Debug)]
struct OneLine;

impl<'writer> FormatFields<'writer> for OneLine {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = OneLineVisitor(DefaultVisitor::new(writer, true));
        fields.record(&mut visitor);
        visitor.0.finish()
    }
}

struct OneLineVisitor<'a>(DefaultVisitor<'a>);

impl Visit for OneLineVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = spell_out(&format!("{value:?}"));
        self.0.record_debug(field, &format_args!("{text}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Result, Write};
    use std::sync::{Arc, Mutex};

    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_breaks_a_log_line() {
        let hostile = "a\nERROR forged\r\u{1b}[31m\u{85}\u{2028}\u{202e}b";
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .fmt_fields(OneLine);
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            let error = std::io::Error::other(hostile);
            let span = tracing::error_span!("span", name = %hostile);
            let _entered = span.enter();
            tracing::info!(shown = %hostile, quoted = hostile, ?hostile, %error, "{hostile}");
            tracing::info!(error = &error as &dyn std::error::Error, number = 5, plain = %"é 👩‍👧", "plain");
        });
        let said = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(said.lines().count(), 2, "{said:?}");
        assert!(said.lines().all(|line| spell_out(line) == line), "{said:?}");
        let shown = "a\\nERROR forged\\r\\u{1b}[31m\\u{85}\\u{2028}\\u{202e}b";
        assert!(said.contains(&format!("shown={shown}")), "{said}");
        assert!(said.contains("number=5 plain=é 👩‍👧"), "{said}");
    }

    #[test]
    fn memory_is_sealed() {
        seal_memory().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).maximum, Some(0));
    }
}
